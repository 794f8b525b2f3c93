"""The general path of the functional API: any layout, any dtype, any option.

The kernels work on float32 and float64 arrays whose rows or columns are contiguous. Any other array is copied
into one that is, computed in place, and copied back. Numbers too large or too small for a dtype become
infinite or 0 there, without a floating-point warning from NumPy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.functional._loss_options import LossOptions
from fastsm.functional._masks import check_allowed, masked, spread_smoothing
from fastsm.functional._single_class import warn_if_single
from fastsm.typing import Array, DType, ScalarOrArray

__all__: list[str] = []

# What to do with a masked array where there is `where`.
_MASKED = ": pass its data, and `where=~x.mask`"

SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = kernels.SOFTMAX, kernels.LOG_SOFTMAX, kernels.LOGSUMEXP
SOFTMAX_VJP, LOG_SOFTMAX_VJP = kernels.SOFTMAX_VJP, kernels.LOG_SOFTMAX_VJP


class _Call(NamedTuple):
    """What the kernels are asked to compute, along which axis, and on how many threads."""

    operation: int
    axis: int
    scale: float
    threads: int  # at most; 0: those of the team


@np.errstate(all="ignore")
def on_logits(
    operation: int,
    x: ArrayLike,
    axis: object,
    temperature: object,
    where: ArrayLike | None,
    out: Array | None,
    num_threads: object,
) -> ScalarOrArray:
    """Return softmax or log_softmax."""
    logits = _arguments.array("x", x, _MASKED)
    axis = _arguments.axis(axis, logits.ndim)
    scale = 1 / _arguments.temperature(temperature)
    threads = _arguments.num_threads(num_threads) or 0
    dtype = _arguments.result_dtype(logits)
    warn_if_single(logits.shape, axis)
    result = _arguments.out_or_new(out, logits, dtype)
    _arguments.no_overlap(result, "x", logits, may_be_same=True)
    mask = None if where is None else _arguments.mask(where, logits.shape)
    work = _arguments.compute_dtype(dtype)
    if mask is not None:
        if out is not None:
            _arguments.no_overlap(result, "where", mask, may_be_same=False)
        logits = masked(logits, mask, work)
    _run(_Call(operation, axis, scale, threads), logits, None, result, work, mask)
    return _returned(out, result)


@np.errstate(all="ignore")
def logsumexp(
    x: ArrayLike,
    axis: object,
    where: ArrayLike | None,
    keepdims: object,
    out: Array | None,
    num_threads: object,
) -> ScalarOrArray:
    """Return logsumexp."""
    logits = _arguments.array("x", x, _MASKED)
    axis = _arguments.axis(axis, logits.ndim)
    threads = _arguments.num_threads(num_threads) or 0
    dtype = _arguments.result_dtype(logits)
    work = _arguments.compute_dtype(dtype)
    kept = (1,) if _arguments.flag("keepdims", keepdims) and logits.ndim else ()
    shape = logits.shape[:axis] + kept + logits.shape[axis + 1 :]
    result = None if out is None else _arguments.out(out, shape, dtype)
    if result is not None:
        _arguments.no_overlap(result, "x", logits, may_be_same=False)
    if where is not None:
        mask = _arguments.mask(where, logits.shape)
        if result is not None:
            _arguments.no_overlap(result, "where", mask, may_be_same=False)
        logits = masked(logits, mask, work)
    logits = logits.reshape(logits.shape or (1,))
    values = np.full(shape, -np.inf, work)
    if logits.size:
        flat, call = values.reshape(-1), _Call(LOGSUMEXP, axis, 1.0, threads)
        if not _apply(call, logits, None, flat):
            copy, _ = workable_copies(logits, None, axis, work)
            _apply(call, copy, None, flat)
    if result is None:
        result = values if values.dtype == dtype else np.empty(shape, dtype)
    if result is not values:
        convert(values, result)
    return _returned(out, result)


@np.errstate(all="ignore")
def vjp(
    operation: int,
    y: ArrayLike,
    dy: ArrayLike,
    axis: object,
    temperature: object,
    out: Array | None,
    num_threads: object,
) -> ScalarOrArray:
    """Return softmax_vjp or log_softmax_vjp."""
    name = "y" if operation == SOFTMAX_VJP else "log_y"
    output = _arguments.array(name, y)
    gradient = _arguments.array("dy", dy)
    _arguments.same_shape("dy", gradient, output.shape)
    axis = _arguments.axis(axis, output.ndim)
    scale = 1 / _arguments.temperature(temperature)
    threads = _arguments.num_threads(num_threads) or 0
    warn_if_single(output.shape, axis)
    dtype = _arguments.result_dtype(output)
    result = _arguments.out_or_new(out, output, dtype)
    _arguments.no_overlap(result, name, output, may_be_same=True)
    _arguments.no_overlap(result, "dy", gradient, may_be_same=True)
    work = _arguments.compute_dtype(dtype)
    _run(_Call(operation, axis, scale, threads), output, gradient, result, work)
    return _returned(out, result)


def _returned(out: Array | None, result: Array) -> ScalarOrArray:
    """Return `out` if it was given, else the result; without axes that is a scalar, as with NumPy."""
    return out if out is not None else result[()]


def _apply(call: _Call, x: Array, y: Array | None, out: Array) -> bool:
    """Compute `out` with the kernels; return False, with nothing done, if they cannot take the layout."""
    return kernels.compute_rows(call.operation, x, y, out, call.axis, call.scale, call.threads)


def workable_copies(x: Array, y: Array | None, axis: int, work: DType) -> tuple[Array, Array | None]:
    """Return copies that the kernels can take, in the order of memory of `x` if possible.

    The order of memory selects the family of kernels, so it must not depend on why the copy was needed.
    """
    copy = np.empty_like(x, dtype=work, order="K", subok=False)
    if not kernels.takes_layout(copy, axis):
        copy = np.empty(x.shape, work)
    convert(x, copy)
    if y is None:
        return copy, None
    other = np.empty_like(copy)
    convert(y.reshape(copy.shape), other)
    return copy, other


def convert(source: Array, target: Array) -> None:
    """Copy numbers; to and from 16 bits with a kernel, as NumPy converts them one by one."""
    for halves, singles in ((source, target), (target, source)):
        if (
            singles.dtype == np.float32
            and halves.dtype.itemsize == 2
            and _arguments.is_floating(halves.dtype)
        ):
            flat = _flat(halves, singles)
            if flat is None:
                break
            bits, bfloat = flat[0].view(np.uint16), halves.dtype.name == "bfloat16"
            if halves is source:
                kernels.widen_halves(bits, flat[1], bfloat)
            else:
                kernels.narrow_halves(flat[1], bits, bfloat)
            return
    target[...] = source


def _flat(a: Array, b: Array) -> tuple[Array, Array] | None:
    """Return 1-d views of two arrays in the same order, or None if the kernels cannot take their layout."""
    if not (a.flags.aligned and b.flags.aligned and a.dtype.isnative and b.dtype.isnative):
        return None
    if a.flags.c_contiguous and b.flags.c_contiguous:
        return a.reshape(-1), b.reshape(-1)
    if a.flags.f_contiguous and b.flags.f_contiguous:
        return a.T.reshape(-1), b.T.reshape(-1)
    return None


def _run(call: _Call, x: Array, y: Array | None, out: Array, work: DType, mask: Array | None = None) -> None:
    """Write the result of a call into `out`, through copies where the kernels need them."""
    if x.size == 0:
        return
    values = out
    if x.ndim == 0 or not _apply(call, x, y, out):
        values, y = workable_copies(x.reshape(x.shape or (1,)), y, call.axis, work)
        _apply(call, values, y, values)
    if mask is not None:
        masked = 0.0 if call.operation == SOFTMAX else -np.inf
        if values.flags.c_contiguous:
            kernels.fill_where_not(values, np.ascontiguousarray(mask), masked)
        else:
            np.copyto(values, masked, where=~mask.reshape(values.shape))
    if values is not out:
        convert(values.reshape(out.shape), out)


@np.errstate(all="ignore")
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    options: LossOptions,
    *,
    axis: object,
    num_threads: object,
    with_gradient: bool,
    out: Array | None = None,
) -> tuple[ScalarOrArray, Array | None]:
    """Return the loss and, if asked for, its gradient over the logits."""
    x = _arguments.array("logits", logits)
    if x.ndim == 0:
        raise ValueError("`logits` must have at least one axis, got shape ()")
    axis = _arguments.axis(axis, x.ndim)
    scale = 1 / _arguments.temperature(options.temperature)
    smoothing = _arguments.label_smoothing(options.label_smoothing)
    how = _arguments.one_of("reduction", options.reduction, _arguments.REDUCTIONS)
    threads = _arguments.num_threads(num_threads) or 0
    classes, rows = x.shape[axis], x.shape[:axis] + x.shape[axis + 1 :]
    warn_if_single(x.shape, axis)
    if classes >= 1 << 31:  # float kernels hold labels as int32
        raise ValueError(f"`logits` must have fewer than 2**31 classes, got {classes}")
    dtype = _arguments.result_dtype(x)
    work = _arguments.compute_dtype(dtype)

    y = _arguments.targets(targets, x.shape, rows, axis)
    is_index = y.dtype.kind in "iu"
    ignored = _arguments.ignore_index(options.ignore_index, labels=is_index)
    class_weight, sample_weight = options.class_weight, options.sample_weight
    by_class = None if class_weight is None else _arguments.weights("class_weight", class_weight, (classes,))
    by_row = None if sample_weight is None else _arguments.weights("sample_weight", sample_weight, rows)
    mask = None if options.where is None else _arguments.mask(options.where, x.shape)
    gradient: Array | None = None
    if with_gradient:
        gradient = _arguments.out_or_new(out, x, dtype)
        _arguments.no_overlap(gradient, "logits", x, may_be_same=True)
        others = {"targets": y, "class_weight": class_weight, "sample_weight": sample_weight, "where": mask}
        for name, other in others.items():
            if isinstance(other, np.ndarray):
                _arguments.no_overlap(gradient, name, other, may_be_same=False)
    returned = gradient if out is None else out

    if how == "mean":  # a common factor of the weights cancels
        by_class = _scaled(by_class) if is_index else by_class
        by_row = _scaled(by_row)
    if is_index:
        y, ignored, weight = _arguments.usable_labels("targets", y, classes, ignored, by_class, by_row)
    else:
        weight = float(x.size // classes if classes else 0) if by_row is None else kernels.sum_of(by_row)

    if x.size == 0 or (how == "mean" and weight == 0):
        if gradient is not None:
            gradient[...] = 0
        return (np.zeros(rows, work)[()] if how == "none" else work.type(0)), returned

    if mask is not None:
        counts = np.ones(rows, np.bool_) if by_row is None else by_row != 0
        if is_index:
            counts &= y != ignored
            counts &= True if by_class is None else by_class[np.where(counts, y, 0)] != 0
        check_allowed(y, mask, axis, counts)
        x = masked(x, mask, work)
        if smoothing:
            y = spread_smoothing(y, mask, axis, counts, smoothing, work)
            by_row = counts * (1.0 if by_row is None else by_row)
            is_index, smoothing = False, 0.0
    losses = np.empty(rows, work)
    by_class = None if by_class is None else by_class.astype(work)
    by_row = None if by_row is None else by_row.astype(work)

    def attempt(x: Array, y: Array, gradient: Array | None) -> int | None:
        return kernels.cross_entropy(
            x, y, gradient, losses, axis, by_class, by_row, ignored, smoothing, scale,
            1 / weight if how == "mean" else 1.0, threads,
        )  # fmt: skip

    if not is_index:
        y = y.astype(work, copy=False)
    values = gradient
    bad = attempt(x, y, gradient)
    if bad is None:
        x, copy = workable_copies(x, None if is_index else y, axis, work)
        values = x if with_gradient else None
        bad = attempt(x, y if copy is None else copy, values)
    if bad is not None and bad >= 0:
        raise ValueError("`targets` must not change during the call, got a label out of range meanwhile")
    if gradient is not None and values is not gradient and values is not None:
        convert(values, gradient)
    if how == "none":
        return losses[()], returned
    total = kernels.sum_of(losses)
    return work.type(total / weight if how == "mean" else total), returned


def _scaled(weights: Array | None) -> Array | None:
    """Return the weights, times a power of 2 if float32 could not hold them as they are."""
    if weights is None or not weights.size:
        return weights
    largest = float(np.abs(weights).max())
    if kernels.LEAST_WEIGHT <= largest <= 1 / kernels.LEAST_WEIGHT or not 0 < largest < math.inf:
        return weights
    return np.asarray(np.ldexp(weights, -math.frexp(largest)[1]))
