"""The general path of the functional API: any layout, any dtype, any option.

The kernels work on float32 and float64 arrays whose rows or columns are contiguous, wherever those lie. What
does not fit is copied into something that does, worked on in place, and copied back.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm._kernels import _threads, kernels
from fastsm.typing import Array, DType

__all__: list[str] = []

# The largest of several weights may be less, or more than the inverse of it, without being scaled.
LEAST_WEIGHT = 1e-6

SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = kernels.SOFTMAX, kernels.LOG_SOFTMAX, kernels.LOGSUMEXP
SOFTMAX_VJP, LOG_SOFTMAX_VJP = kernels.SOFTMAX_VJP, kernels.LOG_SOFTMAX_VJP


def on_logits(
    operation: int,
    x: ArrayLike,
    axis: object,
    temperature: object,
    where: ArrayLike | None,
    out: object,
    num_threads: object,
) -> Any:
    """Softmax or log_softmax."""
    logits = _arguments.maskable("x", x)
    axis = _arguments.axis(axis, logits.ndim)
    scale = 1 / _arguments.temperature(temperature)
    threads = _arguments.num_threads(num_threads)
    dtype = _arguments.result_dtype(logits)
    result = _arguments.out_or_new(out, logits, dtype)
    _arguments.no_overlap(result, "x", logits, may_be_same=True)
    mask = None if where is None else _arguments.mask(where, logits.shape)
    work = _arguments.compute_dtype(dtype)
    if mask is not None:
        if out is not None:
            _arguments.no_overlap(result, "where", mask, may_be_same=False)
        logits = _masked(logits, mask, work)
    return _finish(out, _run(operation, logits, None, result, axis, scale, threads, work, mask))


def logsumexp(
    x: ArrayLike, axis: object, where: ArrayLike | None, keepdims: object, out: object, num_threads: object
) -> Any:
    """Logsumexp."""
    logits = _arguments.maskable("x", x)
    axis = _arguments.axis(axis, logits.ndim)
    threads = _arguments.num_threads(num_threads)
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
        logits = _masked(logits, mask, work)
    logits = logits.reshape(logits.shape or (1,))
    values = np.full(shape, -np.inf, work)
    if logits.size:
        flat = values.reshape(-1)
        if not _apply(LOGSUMEXP, logits, None, flat, axis, 1.0, threads):
            copy, _ = _fitting(logits, None, axis, work)
            _apply(LOGSUMEXP, copy, None, flat, axis, 1.0, threads)
    if result is None:
        result = values if values.dtype == dtype else np.empty(shape, dtype)
    if result is not values:
        _convert(values, result)
    return result[()] if out is None else out


def vjp(
    operation: int,
    name: str,
    y: ArrayLike,
    dy: ArrayLike,
    axis: object,
    temperature: object,
    out: object,
    num_threads: object,
) -> Any:
    """softmax_vjp or log_softmax_vjp; `name` is what the function calls its first argument."""
    output = _arguments.array(name, y)
    gradient = _arguments.array("dy", dy)
    _arguments.same_shape("dy", gradient, output.shape)
    axis = _arguments.axis(axis, output.ndim)
    scale = 1 / _arguments.temperature(temperature)
    threads = _arguments.num_threads(num_threads)
    dtype = _arguments.result_dtype(output)
    result = _arguments.out_or_new(out, output, dtype)
    _arguments.no_overlap(result, name, output, may_be_same=True)
    _arguments.no_overlap(result, "dy", gradient, may_be_same=True)
    work = _arguments.compute_dtype(dtype)
    return _finish(out, _run(operation, output, gradient, result, axis, scale, threads, work, None))


def _masked(logits: Array, mask: Array, work: DType) -> Array:
    """Return a copy with -inf where the mask is False."""
    copy = np.array(logits, dtype=work, order="C")
    kernels.fill_where_not(copy, np.ascontiguousarray(mask), -np.inf)
    return copy


def _finish(out: object, result: Array) -> Any:
    """Return `out` itself where it was given; a NumPy scalar for an array without axes, as NumPy does."""
    return out if out is not None else result[()]


def _apply(
    operation: int, x: Array, y: Array | None, out: Array, axis: int, scale: float, threads: int | None
) -> bool:
    """Let the kernels do it; False, and nothing done, if the layout does not suit them."""
    if not kernels.compute_rows(operation, x, y, out, axis, scale, 0, 0):
        return False

    def block(first: int, last: int) -> None:
        kernels.compute_rows(operation, x, y, out, axis, scale, first, last)

    classes = x.shape[axis]
    _threads.run(block, x.size // classes, classes, threads)
    return True


def _fitting(x: Array, y: Array | None, axis: int, work: DType) -> tuple[Array, Array | None]:
    """Return copies that the kernels can work on, in the order of memory of `x` if possible.

    The order decides between the families of kernels, so that it must not depend on why a copy was needed.
    """
    copy = np.empty_like(x, dtype=work, order="K", subok=False)
    _convert(x, copy)
    if not kernels.compute_rows(SOFTMAX, copy, None, copy, axis, 1.0, 0, 0):
        copy = np.array(x, dtype=work, order="C")
    if y is None:
        return copy, None
    other = np.empty_like(copy)
    _convert(y.reshape(copy.shape), other)
    return copy, other


def _convert(source: Array, target: Array) -> None:
    """Copy numbers; those of 16 bits by a kernel, where NumPy takes them one by one."""
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
    with np.errstate(over="ignore"):  # what is too large for 16 bits is infinite
        target[...] = source


def _flat(a: Array, b: Array) -> tuple[Array, Array] | None:
    """Return views of one axis of two arrays, in the same order, if they lie in memory as kernels need it."""
    if not (a.flags.aligned and b.flags.aligned and a.dtype.isnative and b.dtype.isnative):
        return None
    if a.flags.c_contiguous and b.flags.c_contiguous:
        return a.reshape(-1), b.reshape(-1)
    if a.flags.f_contiguous and b.flags.f_contiguous:
        return a.T.reshape(-1), b.T.reshape(-1)
    return None


def _run(
    operation: int,
    x: Array,
    y: Array | None,
    out: Array,
    axis: int,
    scale: float,
    threads: int | None,
    work: DType,
    mask: Array | None,
) -> Array:
    """Write the result of an operation into `out`, through copies where the kernels need them."""
    if x.size == 0:
        return out
    values = out
    if x.ndim == 0 or not _apply(operation, x, y, out, axis, scale, threads):
        values, y = _fitting(x.reshape(x.shape or (1,)), y, axis, work)
        _apply(operation, values, y, values, axis, scale, threads)
    if mask is not None:
        nothing = 0.0 if operation == SOFTMAX else -np.inf
        if values.flags.c_contiguous:
            kernels.fill_where_not(values, np.ascontiguousarray(mask), nothing)
        else:
            np.copyto(values, nothing, where=~mask.reshape(values.shape))
    if values is not out:
        _convert(values.reshape(out.shape), out)
    return out


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    with_gradient: bool,
    *,
    axis: object,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: object,
    label_smoothing: object,
    temperature: object,
    reduction: object,
    num_threads: object,
    out: object,
) -> tuple[Any, Array | None]:
    """Return the loss and, if asked for, its gradient over the logits."""
    x = _arguments.array("logits", logits)
    if x.ndim == 0:
        raise ValueError("`logits` must have at least one axis, got shape ()")
    axis = _arguments.axis(axis, x.ndim)
    scale = 1 / _arguments.temperature(temperature)
    smoothing = _arguments.label_smoothing(label_smoothing)
    how = _arguments.reduction(reduction)
    threads = _arguments.num_threads(num_threads)
    classes, rows = x.shape[axis], x.shape[:axis] + x.shape[axis + 1 :]
    if classes >= 1 << 31:  # a label is an int32 in the lanes of float kernels
        raise ValueError(f"`logits` must have fewer than 2**31 classes, got {classes}")
    dtype = _arguments.result_dtype(x)
    work = _arguments.compute_dtype(dtype)

    y = _arguments.targets(targets, x.shape, rows)
    is_index = y.dtype.kind in "iu"
    ignored = _arguments.ignore_index(ignore_index, labels=is_index)
    by_class = None if class_weight is None else _arguments.weights("class_weight", class_weight, (classes,))
    by_row = None if sample_weight is None else _arguments.weights("sample_weight", sample_weight, rows)
    gradient: Any = None
    if with_gradient:
        gradient = _arguments.out_or_new(out, x, dtype)
        _arguments.no_overlap(gradient, "logits", x, may_be_same=True)
        others = {"targets": y, "class_weight": class_weight, "sample_weight": sample_weight}
        for name, other in others.items():
            if isinstance(other, np.ndarray):
                _arguments.no_overlap(gradient, name, other, may_be_same=False)
    returned: Any = gradient if out is None else out

    if how == "mean":  # which is the same for any multiple of the weights that it divides by
        by_class = _scaled(by_class) if is_index else by_class
        by_row = _scaled(by_row)
    if is_index:
        y, ignored, weight = _arguments.usable_labels("targets", y, classes, ignored, by_class, by_row)
    else:
        weight = float(x.size // classes if classes else 0) if by_row is None else kernels.sum_of(by_row)

    if x.size == 0 or (how == "mean" and weight == 0):
        if gradient is not None:
            gradient[...] = 0
        return (np.zeros(rows, dtype)[()] if how == "none" else dtype.type(0)), returned

    losses = np.empty(rows, work)
    with np.errstate(over="ignore"):  # a weight too large for float32 is infinite
        by_class = None if by_class is None else by_class.astype(work)
        by_row = None if by_row is None else by_row.astype(work)

    def attempt(x: Array, y: Array, gradient: Array | None, first: int, last: int) -> int | None:
        return kernels.cross_entropy(
            x, y, gradient, losses, axis, by_class, by_row, ignored, smoothing, scale,
            1 / weight if how == "mean" else 1.0, first, last,
        )  # fmt: skip

    if not is_index:
        y = y.astype(work, copy=False)
    values = gradient
    if attempt(x, y, gradient, 0, 0) is None:
        x, copy = _fitting(x, None if is_index else y, axis, work)
        y = y if copy is None else copy
        values = x if with_gradient else None

    def block(first: int, last: int) -> None:
        bad = attempt(x, y, values, first, last)
        if bad is not None and bad >= 0:
            raise ValueError("`targets` must not change during the call, got a label out of range meanwhile")

    _threads.run(block, losses.size, classes, threads)
    if gradient is not None and values is not gradient and values is not None:
        _convert(values, gradient)
    with np.errstate(over="ignore"):  # what is too large for 16 bits is infinite
        if how == "none":
            return losses.astype(dtype, copy=False)[()], returned
        total = kernels.sum_of(losses)
        return dtype.type(total / weight if how == "mean" else total), returned


def _scaled(weights: Array | None) -> Array | None:
    """Return weights that are very large or all small times a power of 2, so that float32 holds them."""
    if weights is None or not weights.size:
        return weights
    largest = float(np.abs(weights).max())
    if LEAST_WEIGHT <= largest <= 1 / LEAST_WEIGHT or not 0 < largest < math.inf:
        return weights
    return np.asarray(np.ldexp(weights, -math.frexp(largest)[1]))
