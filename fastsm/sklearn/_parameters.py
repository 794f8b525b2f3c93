"""The parameters of the estimators, and what they may be, in the form in which scikit-learn checks them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from fastsm.optim._optimizers import OPTIMIZERS
from fastsm.sklearn._losses import CLASSIFICATION, REGRESSION
from fastsm.sklearn._network import ACTIVATIONS
from fastsm.sklearn._optimizers import LEARNING_RATES

__all__ = [
    "ACTIVATIONS_OF_SCIKIT_LEARN",
    "CLASSIFIER",
    "KNOWN_TO_SCIKIT_LEARN",
    "REGRESSOR",
    "Parameters",
    "documented",
    "is_stochastic",
]

Class = TypeVar("Class", bound=type)

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
    "solver": [StrOptions({"lbfgs", *OPTIMIZERS})],
    "alpha": [_at_least_0],
    "batch_size": [StrOptions({"auto"}), _counts],
    "learning_rate": [StrOptions(LEARNING_RATES), callable],
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
    """The parameters that both estimators have: scikit-learn's, then those of this package.

    The first two may be passed by position, and stand in each estimator, as their places differ.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        How many units each hidden layer has. An empty sequence makes a linear model.
    activation : str, default="relu"
        The activation after each hidden layer: "identity", "logistic", "tanh" or "relu" as in scikit-learn,
        or any other that `fastsm.nn.MLP` knows by name.
    solver : {"adam", "sgd", "lbfgs", "adamw", "rmsprop"}, default="adam"
        "sgd" is gradient descent with momentum, "adam" [2]_ adapts its steps to the size of the gradients,
        "adamw" [3]_ is Adam with a weight decay of its own (see `alpha`), and "rmsprop" divides each step by
        a running root mean square of the gradient: all on mini-batches. "lbfgs" [4]_ is a quasi-Newton method
        on all rows, in float64: for small data it often needs less time and finds better weights.
    alpha : float, default=0.0001
        Strength of the penalty ``alpha / 2 * |W|^2 / n`` that is added to the mean loss of n rows: of a
        batch, or of all with "lbfgs". W are the weights without the intercepts. With "adamw" each step takes
        the part ``learning_rate * alpha`` off the weights instead.
    batch_size : int or "auto", default="auto"
        Rows of a mini-batch; "auto" is ``min(200, n_samples)``.
    learning_rate : str or callable, default="constant"
        How the learning rate changes, with any solver but "lbfgs".

        - "constant": it is `learning_rate_init`.
        - "invscaling": ``learning_rate_init / (t_ + 1) ** power_t``, set after each epoch.
        - "adaptive": it is divided by 5 where training would otherwise stop (see `tol`), until it is 1e-6.
        - "cosine": from `learning_rate_init` down to 0 along half a wave of a cosine, over `max_iter` epochs.
        - "warmup_cosine": the same after the first twentieth of the steps, which lead up in a straight line.
        - "one_cycle": up to `learning_rate_init` in the first 30 % of the steps, and down again.
        - "step": divided by 10 after each third of the steps.
        - A function of the number of steps done so far, such as the schedules in `fastsm.optim.schedules`,
          which returns the learning rate of the next step; `learning_rate_init` is not used then.
    learning_rate_init : float, default=0.001
        The learning rate at the start, or where it is highest.
    power_t : float, default=0.5
        The exponent of "invscaling".
    max_iter : int, default=200
        The largest number of epochs, or of iterations with "lbfgs".
    shuffle : bool, default=True
        Whether each epoch takes the rows in a new random order.
    random_state : int, RandomState instance or None, default=None
        Where the initial weights, the order of the rows, the split for early stopping and the masks of
        dropout come from. An int makes every fit give the same result.
    tol : float, default=1e-4
        Training ends after more than `n_iter_no_change` epochs in a row without an improvement of the loss by
        so much, or with early stopping of the validation score. For "lbfgs" it is the largest entry of the
        gradient at which to end.
    verbose : bool, default=False
        Whether to print the loss of each iteration.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights that it came to the last time.
    momentum : float, default=0.9
        Of "sgd": how much of a step goes into the next one.
    nesterovs_momentum : bool, default=True
        Of "sgd": whether its momentum looks ahead.
    early_stopping : bool, default=False
        Whether the validation score decides when to stop, instead of the loss, and which weights to keep:
        those with the best score. The validation data are `X_val` and `y_val` of `fit`, or else a part of the
        training data, which is set aside.
    validation_fraction : float, default=0.1
        How large that part is.
    beta_1 : float, default=0.9
        Of "adam" and "adamw": how much of the running mean of the gradient is kept from step to step.
    beta_2 : float, default=0.999
        Of "adam" and "adamw": the same for the mean of its square, of which "rmsprop" keeps 0.99.
    epsilon : float, default=1e-8
        Of "adam", "adamw" and "rmsprop": keeps divisions finite.
    n_iter_no_change : int, default=10
        How many epochs without an improvement by `tol` are accepted.
    max_fun : int, default=15000
        Of "lbfgs": the largest number of evaluations of the loss.
    dropout : float, default=0.0
        Probability to drop each unit of the hidden layers in training [5]_. Not for "lbfgs".
    layer_norm : bool, default=False
        Whether the values of each hidden layer are normalized before its activation [6]_.
    clip_norm : float or None, default=None
        The largest norm of the gradient of the loss of a batch, without the penalty; a longer one is
        shortened to it. Not for "lbfgs".
    dtype : {"float32", "float64"}, numpy.float32, numpy.float64 or None, default=None
        What is computed in; None is the dtype of `X` if that is float32, otherwise float64.
    n_threads : int or None, default=None
        How many threads to use. By default as many as ``OMP_NUM_THREADS`` says in the environment, where
        joblib tells its processes their share; if it says nothing, products of matrices get more than one
        thread only where they are large enough to gain from it.
    callbacks : sequence of objects or None, default=None
        Objects with any of the methods ``on_train_begin(run)``, ``on_epoch_begin(run)``,
        ``on_batch_end(run)``, ``on_epoch_end(run)`` and ``on_train_end(run)``: see `fastsm.callbacks`. `run`
        has ``model``, ``optimizer``, ``epoch``, ``step``, ``logs``, ``history`` and ``stop()``. With "lbfgs"
        an iteration is an epoch.

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS 2010.
    .. [2] D. P. Kingma and J. Ba, "Adam: A method for stochastic optimization", ICLR 2015.
    .. [3] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    .. [4] R. H. Byrd, P. Lu, J. Nocedal and C. Zhu, "A limited memory algorithm for bound constrained
       optimization", SIAM Journal on Scientific Computing 16, 1995.
    .. [5] N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov, "Dropout: a simple way
       to prevent neural networks from overfitting", JMLR 15, 2014.
    .. [6] J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016.
    """

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


def documented(cls: Class) -> Class:
    """Put sections of the docstrings of base classes where their titles stand in brackets."""
    text = inspect.cleandoc(cls.__doc__ or "")
    for base in cls.__mro__[1:]:
        if base.__module__.startswith(__package__):
            sections = re.split(r"^(\w+)\n-+\n", inspect.cleandoc(base.__doc__ or ""), flags=re.MULTILINE)
            for title, section in zip(sections[1::2], sections[2::2], strict=True):
                text = text.replace(f"[{title.lower()}]", section.strip())
    cls.__doc__ = text or None  # there is none with python -OO
    return cls


def is_stochastic(estimator: Any) -> bool:
    """Whether there is a `partial_fit`; an AttributeError says why not."""
    if estimator.solver not in OPTIMIZERS:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True
