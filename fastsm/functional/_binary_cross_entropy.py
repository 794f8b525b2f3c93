"""Binary cross-entropy, alone and with its gradient: each output is a yes-or-no question of its own."""

from __future__ import annotations

from typing import Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.functional import _general
from fastsm.functional._partial_classes import zero_safe_product
from fastsm.typing import Array, Computed, Domain, DType, Reduction, ScalarOrArray

__all__ = [
    "BinaryOptions",
    "binary_cross_entropy",
    "binary_cross_entropy_with_grad",
    "checked_pos_weight",
    "compute",
]


class BinaryOptions(NamedTuple):
    """The options of `binary_cross_entropy`; not yet checked."""

    pos_weight: ArrayLike | None = None
    sample_weight: ArrayLike | None = None
    label_smoothing: float = 0.0
    reduction: Reduction = "mean"
    on: Domain = "logits"


@overload
def binary_cross_entropy(
    logits: NDArray[Computed], targets: ArrayLike, /, *, pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
) -> Computed: ...  # fmt: skip
@overload
def binary_cross_entropy(
    logits: NDArray[Computed], targets: ArrayLike, /, *, pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0, reduction: Literal["none"],
) -> NDArray[Computed]: ...  # fmt: skip
@overload
def binary_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, /, *, pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0, reduction: Reduction = "mean",
) -> ScalarOrArray: ...  # fmt: skip
def binary_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> ScalarOrArray:
    r"""Cross-entropy between yes-or-no targets and the sigmoid of logits, element by element.

    Parameters
    ----------
    logits : array_like
        Any shape: (N,) or (N, 1) for one question, (N, C) for C of them (several labels a row). Not
        probabilities: the function applies the sigmoid itself.
    targets : array_like
        Floating from 0 to 1, or integers or bools that are 0 or 1; the shape of `logits`, or (N,) for logits
        of shape (N, 1).
    pos_weight : float or array_like, optional
        A factor for the loss of a "yes", at least 0: a number, or one for each index of the last axis, (C,).
    sample_weight : array_like, optional
        Weights in the shape of `logits`, or one for each index of the first axis, (N,). The mean divides by
        their sum over all elements.
    label_smoothing : float, default 0.0
        From 0 to 1: the targets become ``(1 - e) y + e / 2``.
    reduction : {"mean", "sum", "none"}, default "mean"
        The weighted mean or sum over all elements, or the weighted loss of each.

    Returns
    -------
    scalar or ndarray
        The loss in nats, in the dtype of the logits (float32 for those of 16 bits); for ``"none"`` an array
        with the shape of the logits. With nothing to average the mean is 0. An element of weight 0 may hold
        anything, also NaN: its loss and gradient are 0.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value, such as a target of 2.

    See Also
    --------
    binary_cross_entropy_with_grad : the loss and its gradient.
    cross_entropy : one class among several.

    Notes
    -----
    The loss is :math:`w y \operatorname{softplus}(-z) + (1 - y) \operatorname{softplus}(z)` with
    :math:`\operatorname{softplus}(z) = \max(z, 0) + \log(1 + e^{-|z|})` [1]_: terms of one sign, so it keeps
    its relative accuracy near 0. A factor of 0 against an infinity counts as 0. The rule for `pos_weight` is
    PyTorch's.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer 2006, equation 4.90.

    Examples
    --------
    >>> import fastsm
    >>> fastsm.binary_cross_entropy([0.0, 2.0], [1, 0], reduction="none").round(4)
    array([0.6931, 2.1269])
    >>> print(fastsm.binary_cross_entropy([40.0], [1]))
    4.248354255291589e-18
    """
    options = BinaryOptions(pos_weight, sample_weight, label_smoothing, reduction)
    return compute("logits", logits, targets, options, with_gradient=False)[0]


@overload
def binary_cross_entropy_with_grad(
    logits: NDArray[Computed], targets: ArrayLike, /, *, pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean", out: Array | None = None,
) -> tuple[Computed, NDArray[Computed]]: ...  # fmt: skip
@overload
def binary_cross_entropy_with_grad(
    logits: NDArray[Computed], targets: ArrayLike, /, *, pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0, reduction: Literal["none"],
    out: Array | None = None,
) -> tuple[NDArray[Computed], NDArray[Computed]]: ...  # fmt: skip
@overload
def binary_cross_entropy_with_grad(
    logits: ArrayLike, targets: ArrayLike, /, *, pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0, reduction: Reduction = "mean",
    out: Array | None = None,
) -> tuple[ScalarOrArray, Array]: ...  # fmt: skip
def binary_cross_entropy_with_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    out: Array | None = None,
) -> tuple[ScalarOrArray, Array]:
    r"""Binary cross-entropy and its gradient over the logits.

    Parameters
    ----------
    logits, targets, pos_weight, sample_weight, label_smoothing, reduction
        As for `binary_cross_entropy`.
    out : ndarray, optional
        The array for the gradient; ``out=logits`` overwrites the logits. Nothing is written if an argument is
        wrong.

    Returns
    -------
    loss : scalar or ndarray
        As `binary_cross_entropy` returns it.
    grad : ndarray
        Gradient of the mean or the sum over the logits, with their shape and dtype; for ``"none"`` each
        element has the gradient of its own loss. `out` if it was given.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value, such as a target of 2.

    Notes
    -----
    The gradient is :math:`(1 - y)\, \sigma(z) - w y\, \sigma(-z)`, which is :math:`p - y` for a weight of 1.

    Examples
    --------
    >>> import fastsm
    >>> loss, grad = fastsm.binary_cross_entropy_with_grad([[0.0], [2.0]], [1, 0], reduction="sum")
    >>> print(loss.round(4))
    2.8201
    >>> grad.round(4)
    array([[-0.5   ],
           [ 0.8808]])
    """
    options = BinaryOptions(pos_weight, sample_weight, label_smoothing, reduction)
    return compute("logits", logits, targets, options, with_gradient=True, out=out)  # type: ignore[return-value]


@np.errstate(all="ignore")
def compute(
    name: str,
    outputs: ArrayLike,
    targets: ArrayLike,
    options: BinaryOptions,
    *,
    with_gradient: bool,
    out: Array | None = None,
) -> tuple[ScalarOrArray, Array | None]:
    """Return the loss and, if asked for, its gradient over the outputs, which messages call `name`."""
    given = _arguments.array(name, outputs)
    smoothing = _arguments.label_smoothing(options.label_smoothing)
    how = _arguments.one_of("reduction", options.reduction, _arguments.REDUCTIONS)
    dtype, shape = _arguments.result_dtype(given), given.shape
    work = _arguments.compute_dtype(dtype)
    positive = checked_pos_weight(options.pos_weight, shape[-1:])
    weight = None if options.sample_weight is None else _element_weights(options.sample_weight, shape)
    y = _targets(targets, shape, work, weight)
    gradient = None
    if with_gradient:
        gradient = _arguments.out_or_new(out, given, dtype)
        _arguments.no_overlap(gradient, name, given, may_be_same=True)
        others = {"targets": targets, **options._asdict()}
        for other_name, other in others.items():
            if isinstance(other, np.ndarray):
                _arguments.no_overlap(gradient, other_name, other, may_be_same=False)

    x = given.astype(work).reshape(shape or (1,))
    y = (1 - smoothing) * y + smoothing / 2 if smoothing else y
    yes, no = y * np.asarray(positive, work), 1 - y
    values, grad = (_on_probs if options.on == "probs" else _on_logits)(x, yes, no, with_gradient)
    unused = np.zeros(x.shape, bool) if np.all(positive) else (yes == 0) & (no == 0)
    total = float(x.size)
    losses = values.astype(np.float64)
    factor = np.ones(1)
    if weight is not None:
        factor = _general._scaled(weight) if how == "mean" else weight  # type: ignore[assignment]
        unused = unused | (factor == 0)
        losses *= factor
        total = kernels.sum_of(factor.ravel()) * (x.size // max(factor.size, 1))
    losses[unused] = 0
    if how == "mean" and total:
        factor = factor / total
    elif how == "mean":
        factor = losses = np.zeros_like(losses)
    if grad is not None and gradient is not None:
        grad *= factor.astype(work)
        grad[unused] = 0
        _general.convert(grad.reshape(shape), gradient)
    returned = gradient if out is None else out
    if how == "none":
        return losses.astype(work).reshape(shape)[()], returned
    result = kernels.sum_of(losses.ravel())
    return work.type(result / total if how == "mean" and total else result), returned


def checked_pos_weight(value: ArrayLike | None, last: tuple[int, ...] | None = None) -> float | Array:
    """Return the factor for the loss of a "yes": a number, or one for each index of a last axis."""
    if value is None:
        return 1.0
    given = _arguments.plain("pos_weight", value)
    if given.ndim == 0:
        return _arguments.at_least_0("pos_weight", value)
    result = _arguments.weights("pos_weight", given, given.shape[-1:] if last is None else last)
    if not ((result >= 0) & np.isfinite(result)).all():
        raise ValueError("`pos_weight` must be finite and at least 0 everywhere")
    return result


def _element_weights(value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return the weights of rows or of elements, in a shape that broadcasts to that of the elements."""
    weight = _arguments.array("sample_weight", value).astype(np.float64, order="C")
    wanted = shape if len(shape) < 2 else f"{shape[:1]} or {shape}"
    _arguments.check_shape("sample_weight", weight, weight.shape in (shape[:1], shape), wanted)
    return weight.reshape(weight.shape + (1,) * (max(len(shape), 1) - weight.ndim))


def _targets(value: ArrayLike, shape: tuple[int, ...], work: DType, weight: Array | None) -> Array:
    """Return targets in the shape of the outputs; all with a weight but 0 must be from 0 to 1."""
    given = _arguments.array("targets", value)
    advice = ""
    if given.shape == shape[:1] and shape[1:] == (1,):
        given = given.reshape(shape)
    elif given.shape == shape[:1]:
        advice = ": for classes take cross_entropy, for several labels a row give a 0 or 1 for each output"
    elif given.shape == (*shape, 1):
        advice = ": give targets[..., 0]"
    y = _arguments.same_shape("targets", given, shape, advice).astype(work).reshape(shape or (1,))
    bad = (y < 0) | (y > 1)
    if weight is not None:
        bad &= weight != 0
    if bad.any():
        raise ValueError(f"`targets` must be from 0 to 1, got {given.reshape(y.shape)[bad][0]}")
    return y


def _on_logits(z: Array, yes: Array, no: Array, with_gradient: bool) -> tuple[Array, Array | None]:
    """Return yes softplus(-z) + no softplus(z), and its derivative over z."""
    small = np.exp(-np.abs(z))
    log = np.log1p(small)
    values = zero_safe_product(yes, np.maximum(-z, 0) + log) + zero_safe_product(no, np.maximum(z, 0) + log)
    if not with_gradient:
        return values, None
    # The sigmoids of |z| and -|z|, each with its relative accuracy.
    above, below = 1 / (1 + small), small / (1 + small)
    return values, no * np.where(z >= 0, above, below) - yes * np.where(z >= 0, below, above)


def _on_probs(p: Array, yes: Array, no: Array, with_gradient: bool) -> tuple[Array, Array | None]:
    """Return -yes log(p) - no log(1 - p), and its derivative over p."""
    values = -zero_safe_product(yes, np.log(p)) - zero_safe_product(no, np.log1p(-p))
    if not with_gradient:
        return values, None
    grad = no / (1 - p)
    grad[(no == 0) & (p == 1)] = 0
    own = yes / p
    own[(yes == 0) & (p == 0)] = 0
    return values, grad - own
