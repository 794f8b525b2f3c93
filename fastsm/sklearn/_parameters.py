"""The parameters of the estimators, and what they may be, in the form in which scikit-learn checks them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from fastsm.sklearn._losses import CLASSIFICATION, REGRESSION
from fastsm.sklearn._network import ACTIVATIONS
from fastsm.sklearn._optimizers import LEARNING_RATES

__all__ = [
    "ACTIVATIONS_OF_SCIKIT_LEARN",
    "CLASSIFIER",
    "KNOWN_TO_SCIKIT_LEARN",
    "REGRESSOR",
    "Parameters",
    "is_stochastic",
]

#: Those that go through mini-batches.
STOCHASTIC_SOLVERS = ("sgd", "adam", "adamw", "rmsprop")
#: What scikit-learn knows of parameters that may be more here, and what becomes of the rest.
KNOWN_TO_SCIKIT_LEARN = {
    "solver": ({"lbfgs", "sgd", "adam"}, "adam"),
    "learning_rate": ({"constant", "invscaling", "adaptive"}, "constant"),
    "loss": ({"squared_error", "poisson"}, "squared_error"),
}
ACTIVATIONS_OF_SCIKIT_LEARN = ("identity", "logistic", "tanh", "relu")

_at_least_0 = Interval(Real, 0, None, closed="left")
_above_0 = Interval(Real, 0, None, closed="neither")
_counts = Interval(Integral, 1, None, closed="left")
_below_1 = Interval(Real, 0, 1, closed="left")

_SHARED: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", _counts],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "solver": [StrOptions({"lbfgs", *STOCHASTIC_SOLVERS})],
    "alpha": [_at_least_0],
    "batch_size": [StrOptions({"auto"}), _counts],
    "learning_rate": [StrOptions(set(LEARNING_RATES)), callable],
    "learning_rate_init": [_above_0],
    "power_t": [_at_least_0],
    "max_iter": [_counts],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [_at_least_0],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [_below_1],
    "beta_1": [_below_1],
    "beta_2": [_below_1],
    "epsilon": [_above_0],
    "n_iter_no_change": [_counts, Options(Real, {np.inf})],
    "max_fun": [_counts],
    "dropout": [_below_1],
    "layer_norm": ["boolean"],
    "clip_norm": [_above_0, None],
    "dtype": [StrOptions({"float32", "float64"}), Options(type, {np.float32, np.float64}), None],
    "n_threads": [_counts, None],
    "callbacks": [list, tuple, None],
}

CLASSIFIER: dict[str, list[Any]] = {
    **_SHARED,
    "loss": [StrOptions(set(CLASSIFICATION)), HasMethods(["value_and_grad"])],
    "class_weight": [StrOptions({"balanced"}), dict, list, None],
    "label_smoothing": [Interval(Real, 0, 1, closed="both")],
}

REGRESSOR: dict[str, list[Any]] = {
    **_SHARED,
    "loss": [StrOptions(set(REGRESSION)), HasMethods(["value_and_grad"])],
}


@dataclass(kw_only=True, repr=False, eq=False)
class Parameters:
    """The parameters that both estimators have, by keyword: scikit-learn's, then those of this package."""

    solver: str = "adam"
    alpha: float = 0.0001
    batch_size: int | str = "auto"
    learning_rate: str | Callable[[int], float] = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: int | np.random.RandomState | None = None
    tol: float = 1e-4
    verbose: bool = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: int = 10
    max_fun: int = 15000
    dropout: float = 0.0
    layer_norm: bool = False
    clip_norm: float | None = None
    dtype: Any = None
    n_threads: int | None = None
    callbacks: Sequence[Any] | None = None


def is_stochastic(estimator: Any) -> bool:
    """Whether there is a `partial_fit`; an AttributeError says why not."""
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True
