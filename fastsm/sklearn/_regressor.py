"""The regressor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from numpy.typing import ArrayLike
from sklearn import neural_network
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from fastsm.sklearn._base import BaseMLP
from fastsm.sklearn._encoders import NumberEncoder
from fastsm.sklearn._losses import regressor_loss
from fastsm.sklearn._parameters import REGRESSOR, documented, is_stochastic
from fastsm.typing import Array

__all__ = ["MLPRegressor"]


@documented
@dataclass(repr=False, eq=False)
class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """Multilayer perceptron that predicts numbers: scikit-learn's ``MLPRegressor``, with fastsm, and more.

    Everything that scikit-learn's has is here with the same name, default and meaning; what comes after
    `max_fun` is new, and so are some values of the parameters before. Parameters that a solver has no use for
    are not looked at.

    Parameters
    ----------
    loss : str or loss, default="squared_error"
        What is minimised:

        - "squared_error": half the squared error, summed over the outputs of a row.
        - "poisson": half the Poisson deviance of the exponential of the outputs, which is the prediction, for
          targets of at least 0.
        - "mse", "mae": the mean over the outputs of the squared or of the absolute error.
        - A loss on outputs of `fastsm.nn`, or your own made by ``fastsm.nn.loss(on="output")``.
    [parameters]

    Attributes
    ----------
    out_activation_ : {"identity", "exp"}
        What makes predictions of the outputs.
    [attributes]

    See Also
    --------
    MLPClassifier : predicts classes.
    from_sklearn : takes over scikit-learn's fitted estimators.

    Notes
    -----
    With scikit-learn's options the gradient and the steps are those of scikit-learn, and so are the initial
    weights [1]_ for a `random_state`. With several outputs, scikit-learn's loss is the mean over them while
    its gradient is that of the sum, so that "lbfgs" follows slopes that are not those of its function. Here
    both are those of the sum; without the penalty `loss_` is scikit-learn's times the number of outputs.

    References
    ----------
    [references]

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.sklearn import MLPRegressor
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=(8,), activation="tanh", solver="lbfgs", random_state=0)
    >>> model.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.99
    True
    """

    _scikit_learns = neural_network.MLPRegressor
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = REGRESSOR

    loss: Any = "squared_error"
    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str = "relu"

    @available_if(is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network for one epoch on these rows, going on from where it is.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The numbers to predict.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How much each row counts.

        Returns
        -------
        self
            The estimator.
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, incremental=True)

    def _new_encoder(self, y: Any, classes: ArrayLike | None) -> NumberEncoder:
        return NumberEncoder(y, self.loss)

    def _check_targets(self, y: Any, incremental: bool) -> None:
        if NumberEncoder(y, self.loss).out_activation != self.out_activation_:
            rule = "must stay" if self.out_activation_ == "exp" else "must not become"
            raise ValueError(
                f"`loss` {rule} 'poisson' when a trained network is trained further, got {self.loss!r}"
            )

    def _loss(self) -> Any:
        return regressor_loss(self.loss)

    def _score_logits(self, logits: Array, y: Any, sample_weight: Array | None) -> float:
        return float(r2_score(y, self._encoder.decode(logits), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
