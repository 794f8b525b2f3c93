"""Rows over several axes: the axes are sorted by stride, so that most of them are one axis for the kernels.

An array whose axes are sorted so lies in memory as in C order, and neighbours among the axes to reduce merge
into one. Where a kept axis lies between two reduced ones, logsumexp reduces the inner ones first. Arrays that
the kernels cannot take (integers, 16 bits, gaps between elements) are copied a block at a time.
"""

from __future__ import annotations

import math

import numpy as np

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.functional import _general
from fastsm.typing import Array, DType

__all__: list[str] = []

BLOCK = 1 << 17  # elements that are copied at a time


def logsumexp(x: Array, axes: tuple[int, ...], work: DType) -> Array:
    """Return logsumexp over `axes`, which are kept with length 1, in the dtype `work`."""
    shape = tuple(1 if k in axes else n for k, n in enumerate(x.shape))
    if x.size == 0:
        return np.full(shape, -np.inf, work)
    slim, slim_axes = squeezed(x, axes)
    return _reduced(slim, slim_axes, work).reshape(shape)


def softmax(operation: int, x: Array, axes: tuple[int, ...], dtype: DType) -> Array:
    """Return softmax or log_softmax over `axes`, of this dtype."""
    if x.size == 0:
        return np.empty(x.shape, dtype)
    work = _arguments.compute_dtype(dtype)
    result = np.empty_like(x, dtype=work, subok=False)
    target, slim_axes = squeezed(result, axes)
    order, first, last = _sorted(target, slim_axes)
    if sorted(order[first:last]) != sorted(slim_axes):
        # A kept axis lies between: the result gets an order of memory of its own.
        shape = tuple(k for k in range(x.ndim) if k not in axes) + axes
        result = np.empty([x.shape[k] for k in shape], work).transpose(np.argsort(shape))
        target, slim_axes = squeezed(result, axes)
        order, first, last = _sorted(target, slim_axes)
    source = x.reshape(target.shape).transpose(order)
    target = _merged(target.transpose(order), first, last)
    if not (
        _merges(source, first, last)
        and kernels.compute_rows(operation, _merged(source, first, last), None, target, first, 1.0, 0)
    ):
        _general.convert(x, result)
        kernels.compute_rows(operation, target, None, target, first, 1.0, 0)
    if dtype == work:
        return result
    narrow = np.empty_like(result, dtype=dtype)
    _general.convert(result, narrow)
    return narrow


def squeezed(x: Array, axes: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """Return a view without the axes of length 1, and where the others of `axes` are in it."""
    left = [k for k, n in enumerate(x.shape) if n != 1]
    return x.squeeze(), tuple(i for i, k in enumerate(left) if k in axes)


def by_stride(x: Array, axes: list[int]) -> list[int]:
    """Return axes with the longest strides first, as in C order."""
    return sorted(axes, key=lambda k: -abs(x.strides[k]))


def _sorted(x: Array, axes: tuple[int, ...]) -> tuple[list[int], int, int]:
    """Return all axes by stride, and the part of them that is the innermost of `axes` that merge."""
    order = by_stride(x, list(range(x.ndim)))
    last = max((i + 1 for i, k in enumerate(order) if k in axes), default=x.ndim)
    first = last - 1 if axes else last
    while (
        axes and first > 0 and order[first - 1] in axes and _merges(x.transpose(order), first - 1, first + 1)
    ):
        first -= 1
    return order, first, last


def _merges(x: Array, first: int, last: int) -> bool:
    """Whether axes `first` to `last` - 1, all longer than 1, are one in memory."""
    return all(x.strides[k] == x.strides[k + 1] * x.shape[k + 1] for k in range(first, last - 1))


def _merged(x: Array, first: int, last: int) -> Array:
    """Return a view in which axes `first` to `last` - 1 are one; no axes become one of length 1."""
    return x.reshape((*x.shape[:first], math.prod(x.shape[first:last]), *x.shape[last:]))


def _reduced(x: Array, axes: tuple[int, ...], work: DType) -> Array:
    """Return logsumexp without `axes`, of an array whose axes are all longer than 1."""
    order, first, last = _sorted(x, axes)
    rows = _merged(x.transpose(order), first, last)
    left = order[:first] + order[last:]
    values = np.empty([x.shape[k] for k in left], work)
    if not _apply(rows, first, values):
        _in_blocks(rows, first, values)
    values = values.transpose(np.argsort(left))
    rest = tuple(sorted(left).index(k) for k in axes if k in left)
    return _reduced(values, rest, work) if rest else values


def _apply(x: Array, axis: int, values: Array) -> bool:
    return x.dtype == values.dtype and kernels.compute_rows(
        _general.LOGSUMEXP, x, None, values.reshape(-1), axis, 1.0, 0
    )


def _in_blocks(x: Array, axis: int, values: Array) -> None:
    """Write logsumexp over `axis` into `values`, from copies of at most `BLOCK` elements."""
    kept = [k for k, n in enumerate(x.shape) if k != axis and n > 1]
    if x.size <= BLOCK:
        copy, _ = _general.workable_copies(x, None, axis, values.dtype)
        block = np.empty(values.shape, values.dtype)
        _apply(copy, axis, block)
        values[...] = block
    elif kept:
        step = max(1, BLOCK * x.shape[kept[0]] // x.size)
        for start in range(0, x.shape[kept[0]], step):
            part = (slice(None),) * kept[0] + (slice(start, start + step),)
            of_values = part if kept[0] < axis else part[1:]
            _in_blocks(x[part], axis, values[of_values])
    else:
        parts = np.empty(-(-x.size // BLOCK), values.dtype)
        row = x.reshape(-1)
        for i in range(len(parts)):
            _in_blocks(row[i * BLOCK : (i + 1) * BLOCK], 0, parts[i : i + 1].reshape(()))
        _apply(parts, 0, values)
