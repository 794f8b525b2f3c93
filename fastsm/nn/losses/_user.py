"""Losses of the user: a function of rows made into a loss."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType
from typing import SupportsIndex, TypeAlias, overload

from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.nn.losses._row_loss import DOMAINS, RowLoss
from fastsm.typing import Array, Domain

__all__ = ["UserLoss", "loss"]

LossFunction: TypeAlias = Callable[[Array, Array], tuple[ArrayLike, ArrayLike]]


class UserLoss(RowLoss):
    """A loss made of a function, which is `__wrapped__`."""

    __wrapped__: LossFunction
    __name__: str

    def __init__(self, function: LossFunction, on: Domain) -> None:
        if not callable(function):
            raise TypeError(f"`function` must be callable, got {type(function).__name__}")
        self.on = _arguments.one_of("on", on, DOMAINS)
        functools.update_wrapper(self, function)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[object, ...]:
        """Pickle a loss of a module by its name, as functions are: the loss has the function's name."""
        name = str(getattr(self, "__qualname__", ""))
        if getattr(sys.modules.get(self.__module__), name, None) is not self:
            return super().__reduce_ex__(protocol)
        function: object = self.__wrapped__
        by_value = self.__module__ == "__main__" and protocol.__index__() >= 4
        if not by_value or not isinstance(function, FunctionType):
            return name
        # Other processes have another `__main__`: cloudpickle, which joblib uses, sends its functions along,
        # and pickle itself finds the function at this place.
        function.__qualname__ = f"{name}.__wrapped__"
        return UserLoss, (function, self.on)

    def _targets(self, targets: ArrayLike, x: Array) -> Array:
        t = _arguments.plain("targets", targets)
        fits = t.shape[:1] == x.shape[:1]
        _arguments.check_shape("targets", t, fits, f"{x.shape[:1]} or ({len(x)}, ...)")
        return t.astype(x.dtype, copy=False) if t.dtype.kind == "f" else t

    def _rows(self, x: Array, targets: Array, grad: Array | None) -> Array:
        # Read-only, so that an error in the function cannot change arrays that layers keep.
        outputs = x.view()
        outputs.flags.writeable = False
        result = self.__wrapped__(outputs, targets)
        name = getattr(self, "__name__", "the loss")
        if not isinstance(result, tuple) or len(result) != 2:
            got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
            raise TypeError(f"`{name}` must return the values of the rows and their gradients, got {got}")
        values = _arguments.array("values", result[0])
        gradients = _arguments.array("gradients", result[1])
        if values.shape != x.shape[:1]:
            advice = ": the value of each row, not their mean" if values.ndim == 0 else ""
            raise ValueError(
                f"`{name}` must return values of shape {x.shape[:1]}, got {values.shape}{advice}"
            )
        if gradients.shape != x.shape:
            raise ValueError(f"`{name}` must return gradients of shape {x.shape}, got {gradients.shape}")
        if grad is not None:
            grad[...] = gradients
        return values

    def __repr__(self) -> str:
        """Return the name of the function and which outputs it takes."""
        return f"<loss {getattr(self, '__name__', 'without a name')} on {self.on}>"


@overload
def loss(function: LossFunction, /, *, on: Domain) -> UserLoss: ...
@overload
def loss(*, on: Domain) -> Callable[[LossFunction], UserLoss]: ...
def loss(
    function: LossFunction | None = None, /, *, on: Domain
) -> UserLoss | Callable[[LossFunction], UserLoss]:
    """Make a loss of a function that returns the value of each row and the gradient over it.

    The function needs only its own derivative: the mean over the batch, sample weights and the way back
    through the softmax are added to it.

    Parameters
    ----------
    function : callable
        ``function(outputs, targets) -> (values, gradients)`` for outputs of shape (N, C): the values have
        shape (N,), the gradients shape (N, C). It must not write to the outputs. Targets are passed as given,
        floating ones in the dtype of the outputs.
    on : {"probs", "log_probs", "logits", "output"}
        Which outputs it takes. With ``"probs"`` the model must end in `Softmax` or `Sigmoid`, with
        ``"log_probs"`` in `LogSoftmax`, with ``"logits"`` in neither; ``"output"`` takes any.

    Returns
    -------
    loss
        A loss as `fastsm.fit` and `value_and_grad` take it; without `function` a decorator.

    Raises
    ------
    TypeError
        If an argument has a wrong type; when called, if the function returns a wrong type.
    ValueError
        If `on` is none of these; when called, if the function returns a wrong shape.

    See Also
    --------
    fastsm.testing.check_grads : checks the gradients.

    Examples
    --------
    The squared Hellinger distance:

    >>> import numpy as np
    >>> from fastsm import nn, testing
    >>> @nn.loss(on="probs")
    ... def hellinger(p, y):
    ...     return 1 - np.sqrt(p * y).sum(axis=1), -0.5 * np.sqrt(y / p)
    >>> p, y = np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([[0.8, 0.2], [0.5, 0.5]])
    >>> round(hellinger(p, y), 4)
    0.1
    >>> testing.check_grads(hellinger, p, y).ok
    True
    """
    if function is None:
        return lambda function: UserLoss(function, on)
    return UserLoss(function, on)
