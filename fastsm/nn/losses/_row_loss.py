"""The base class of the losses: a value and a gradient for each row, and their weighted mean.

Subclasses compute the rows; the weights, the mean and the buffers are here. `on` says which outputs a loss
takes: ``"logits"``, ``"log_probs"``, ``"probs"``, or ``"output"`` for any. No loss of the library gives a
floating-point warning of NumPy; the function of a `UserLoss` may.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments, functional
from fastsm._kernels import kernels
from fastsm.nn._layer import Layer
from fastsm.nn._softmax import Softmax
from fastsm.typing import Array, Config, Domain

__all__ = ["DOMAINS", "FusedLoss", "RowLoss", "through_log_softmax"]

DOMAINS = ("logits", "log_probs", "probs", "output")


class RowLoss:
    """The weighted mean of a value for each row of an (N, C) array."""

    on: Domain = "output"
    #: Whether integer targets are labels.
    takes_labels = False

    def __call__(
        self, outputs: ArrayLike, targets: ArrayLike, *, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the loss: the weighted mean over the rows; with nothing to average, 0.0.

        Parameters
        ----------
        outputs : array_like
            The outputs of the model, shape (N, C).
        targets : array_like
            The targets, as described for the class.
        sample_weight : array_like, optional
            A factor for each row, shape (N,). The mean divides by `total_weight`.
        """
        x = _matrix(outputs)
        prepared = self._targets(targets, x)
        weight = (
            None if sample_weight is None else _arguments.weights("sample_weight", sample_weight, x.shape[:1])
        )
        total = self.total_weight(targets, weight)
        return 0.0 if total == 0 else _mean(self._rows(x, prepared, None), weight, total)

    def value_and_grad(
        self,
        outputs: ArrayLike,
        targets: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and its gradient over the outputs.

        Parameters
        ----------
        outputs, targets, sample_weight
            As for a call of the loss.
        out : ndarray, optional
            The array for the gradient, in the shape and dtype of `outputs`; it may be `outputs` itself.

        Returns
        -------
        value : float
            The weighted mean over the rows.
        grad : ndarray
            Its gradient, in the shape and dtype of `outputs`; `out` if it was given.
        """
        given = _arguments.array("outputs", outputs)
        x = _matrix(given)
        prepared = self._targets(targets, x)
        weight = (
            None if sample_weight is None else _arguments.weights("sample_weight", sample_weight, x.shape[:1])
        )
        result = _arguments.out_or_new(out, given, _arguments.result_dtype(given))
        shared = False
        if out is not None:
            _arguments.no_overlap(result, "outputs", given, may_be_same=True)
            for name, other in (("targets", targets), ("sample_weight", sample_weight)):
                if isinstance(other, np.ndarray):
                    _arguments.no_overlap(result, name, other, may_be_same=False)
            shared = np.may_share_memory(result, x)
        total = self.total_weight(targets, weight)
        returned = result if out is None else out
        if total == 0:
            result[...] = 0
            return 0.0, returned
        grad = np.empty_like(x) if shared or result.dtype != x.dtype else result
        values = self._rows(x, prepared, grad)
        value = _mean(values, weight, total)
        _share_out(grad, weight, total, result)
        return value, returned

    def total_weight(self, targets: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the divisor of the mean: the number of rows, or the sum of their weights.

        The exact mean over several batches is the sum of ``loss * total_weight``, divided by the sum of
        the weights.
        """
        rows = np.shape(targets)[:1]
        if not rows:
            raise ValueError("`targets` must have one entry for each row, got shape ()")
        if sample_weight is None:
            return float(rows[0])
        return kernels.sum_of(_arguments.weights("sample_weight", sample_weight, rows))

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON."""
        return {}

    def __repr__(self) -> str:
        """Return the call that makes this loss."""
        defaults = inspect.signature(type(self)).parameters
        arguments = [
            f"{name}={value!r}" for name, value in self.config().items() if value != defaults[name].default
        ]
        return f"{type(self).__name__}({', '.join(arguments)})"

    @np.errstate(all="ignore")
    def _targets(self, targets: ArrayLike, x: Array) -> Any:
        """Return the targets as `_rows` takes them: numbers, in the shape and dtype of the outputs."""
        t = _arguments.array("targets", targets)
        advice = ""
        if t.shape == x.shape[:1]:
            one_hot = x.shape[1] > 1 and t.dtype.kind in "iu"
            advice = f": give np.eye({x.shape[1]})[targets] for labels" if one_hot else ""
            advice = ": give targets[:, None]" if x.shape[1] == 1 else advice
        _arguments.same_shape("targets", t, x.shape, advice)
        return t.astype(x.dtype, copy=False)

    def _rows(self, x: Array, targets: Any, grad: Array | None) -> Array:
        """Return the value of each row, shape (N,); write the gradients to `grad` unless that is None."""
        raise NotImplementedError


class FusedLoss(RowLoss):
    """A loss that can be computed from the logits, together with the layer that makes them probabilities."""

    #: That layer.
    head: ClassVar[type[Layer]] = Softmax
    #: Of the softmax, if the loss is on logits.
    temperature = 1.0

    def over_logits(self, temperature: float) -> RowLoss:
        """Return the loss on the logits instead of their probabilities."""
        twin = copy.copy(self)
        twin.on, twin.temperature = "logits", temperature
        return twin


def through_log_softmax(
    rows: Callable[[Array, Array, Array | None], Array],
    x: Array,
    t: Array,
    grad: Array | None,
    temperature: float,
) -> Array:
    """Apply a loss on log-probabilities to logits: return the rows' values, write gradients to `grad`."""
    log_p = functional.log_softmax(x, temperature=temperature)
    values = rows(log_p, t, grad)
    if grad is not None:
        functional.log_softmax_vjp(log_p, grad, temperature=temperature, out=grad)
    return values


@np.errstate(all="ignore")
def _matrix(outputs: ArrayLike) -> Array:
    """Return the outputs as a matrix, in the dtype to compute in."""
    x = _arguments.matrix("outputs", outputs)
    return x.astype(_arguments.compute_dtype(_arguments.result_dtype(x)), copy=False)


@np.errstate(all="ignore")
def _mean(values: Array, weight: Array | None, total: float) -> float:
    """Return the weighted mean of the rows' values, summed in double precision."""
    values = np.array(values, np.float64, order="C")
    if weight is not None:
        _clear_unused(values, weight)
        values *= weight
    return kernels.sum_of(values) / total


@np.errstate(all="ignore")
def _share_out(grad: Array, weight: Array | None, total: float, result: Array) -> None:
    """Write the rows' own gradients to `result`, each times the row's share of the mean."""
    if weight is None:
        grad *= grad.dtype.type(1 / total)
    else:
        _clear_unused(grad, weight)
        grad *= (weight / total).astype(grad.dtype)[:, None]
    if grad is not result:
        result[...] = grad


def _clear_unused(values: Array, weight: Array) -> None:
    """Set the rows of weight 0 to 0, whatever they hold."""
    if not weight.all():
        values[weight == 0] = 0
