"""The logarithm of a weighted sum of exponentials, on blocks of rows in float64.

The sum of a row is ``(top + rest + infinite) * exp(shift)``: the weights at the row's maximum, all other
terms, and what elements of infinite weight add. Kept apart, `rest` is not rounded away beside `top`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastsm.special._rows import BLOCK, by_stride
from fastsm.typing import Array

__all__: list[str] = []

CHUNK = 1 << 12  # elements of a row that are added up at a time
# Weights beyond 2**+-EXTREME become a part of the exponent, so that no product of two large or small numbers
# hides a term that counts.
EXTREME = 450
LOST = 1e-290  # a rest below this may have lost digits to underflow


class _Sums(NamedTuple):
    shift: Array
    top: Array
    rest: Array
    infinite: Array


def logsumexp(a: Array, b: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return log|sum(b exp(a))| over `axes`, which are kept with length 1, and the signs of the sums.

    The shapes of `a` and `b` are the same.
    """
    kept = by_stride(a, [k for k in range(a.ndim) if k not in axes])
    order = kept + by_stride(a if any(a.strides) else b, list(axes))
    x, weight = a.transpose(order), b.transpose(order)
    sums = _restored(_sums(x, weight, len(kept)), x, weight)
    value, sign = _logarithm(sums)
    undo, shape = np.argsort(kept), [1 if k in axes else n for k, n in enumerate(a.shape)]
    return value.transpose(undo).reshape(shape), sign.transpose(undo).reshape(shape)


def _sums(a: Array, b: Array, kept: int) -> _Sums:
    """Return the sums over all axes but the first `kept`."""
    shape = a.shape[:kept]
    length = math.prod(a.shape[kept:])
    if a.size == 0:
        zero = np.zeros(shape)
        return _Sums(zero - np.inf, zero, zero, zero)
    if length > CHUNK:  # where a row is cut depends on nothing but the row
        axis = next(k for k in range(kept, a.ndim) if a.shape[k] > 1)
        most = CHUNK * a.shape[axis] // length
    elif a.size > BLOCK and a.size > length:
        axis = next(k for k in range(kept) if a.shape[k] > 1)
        most = BLOCK * a.shape[axis] // a.size
    else:
        x = np.array(a, np.float64, order="C").reshape(*shape, length)
        return _sums_of_block(x, np.array(b, np.float64, order="C").reshape(x.shape))
    result = None
    parts = []
    step = max(1, most)
    for start in range(0, a.shape[axis], step):
        part = (slice(None),) * axis + (slice(start, start + step),)
        sums = _sums(a[part], b[part], kept)
        if axis < kept:
            parts.append(sums)
        else:
            result = sums if result is None else _added(result, sums)
    return result or _Sums(*(np.concatenate(arrays, axis) for arrays in zip(*parts, strict=True)))


def _sums_of_block(x: Array, weight: Array) -> _Sums:
    """Return the sums over the last axis, which is not empty; `x` and `weight` are overwritten."""
    infinite = np.zeros(x.shape[:-1])
    largest, least = np.abs(weight).max(), np.abs(weight).min()
    if not largest < np.inf:
        unusual = ~np.isfinite(weight)
        infinite = np.where(unusual, weight * (x > -np.inf), 0).sum(axis=-1)  # infinity times 0 is NaN
        weight[unusual] = 0
    if not 2.0**-EXTREME < least <= largest < 2.0**EXTREME:
        x[weight == 0] = -np.inf
        _fold_extreme(x, weight)
    weight[x == -np.inf] = 0
    m = x.max(axis=-1, keepdims=True)
    at_top = x == m
    top = np.where(at_top, weight, 0).sum(axis=-1)
    if m.max() == np.inf:
        top = np.where(m[..., 0] == np.inf, np.where(at_top, weight * x, 0).sum(axis=-1), top)
    x -= np.where(np.isfinite(m), m, 0)
    np.exp(x, out=x)
    x *= weight
    x[at_top] = 0
    return _Sums(m[..., 0], top, x.sum(axis=-1), infinite)


def _fold_extreme(x: Array, weight: Array) -> None:
    """Move the exponents of very large and very small weights into `x`."""
    fraction, exponent = np.frexp(weight)
    extreme = np.abs(exponent) > EXTREME
    x[extreme] += exponent[extreme] * math.log(2)
    weight[extreme] = fraction[extreme]


def _added(a: _Sums, b: _Sums) -> _Sums:
    """Return the sums of two parts of the rows."""
    m = np.maximum(a.shift, b.shift)  # NaN if one of them is
    top, rest = np.zeros(m.shape), np.zeros(m.shape)
    for part in (a, b):
        is_top = part.shift == m
        top += np.where(is_top, part.top, 0)
        rest += np.where(is_top, part.rest, (part.top + part.rest) * np.exp(part.shift - m))
    return _Sums(m, top, rest, a.infinite + b.infinite)


def _restored(sums: _Sums, a: Array, b: Array) -> _Sums:
    """Return the sums, with rows computed anew whose largest terms cancel, where that hides all others."""
    hidden = (sums.top == 0) & (np.abs(sums.rest) < LOST) & np.isfinite(sums.shift)
    if not hidden.any():
        return sums
    sums = _Sums(*(np.array(values) for values in sums))
    rows = np.argwhere(hidden)
    step = max(1, BLOCK * hidden.size // a.size)
    for start in range(0, len(rows), step):
        part = tuple(rows[start : start + step].T)
        shape = (len(rows[start : start + step]), a.size // hidden.size)
        x, weight = (np.array(array[part], np.float64, order="C").reshape(shape) for array in (a, b))
        again = _sums_of_block(*_without_ties(x, weight))
        for values, others in zip(sums[:3], again[:3], strict=True):
            values[part] = others.reshape(values[part].shape)
    return sums


def _without_ties(x: Array, weight: Array) -> tuple[Array, Array]:
    """Return rows, sorted, in which one of equal elements has the weight of all; inputs are overwritten."""
    weight[~np.isfinite(weight)] = 0
    _fold_extreme(x, weight)
    x[weight == 0] = -np.inf
    order = np.argsort(x, axis=-1)
    x, weight = np.take_along_axis(x, order, -1), np.take_along_axis(weight, order, -1)
    is_first = np.full(x.shape, True)
    is_first[:, 1:] = x[:, 1:] != x[:, :-1]
    starts = np.flatnonzero(is_first)
    totals = np.zeros(x.size)
    totals[starts] = np.add.reduceat(weight.ravel(), starts)
    return x, totals.reshape(x.shape)


def _logarithm(sums: _Sums) -> tuple[Array, Array]:
    """Return the logarithms of the absolute values of sums, and their signs."""
    m, top, rest, infinite = sums
    total = np.where(np.isnan(m), np.nan, top + rest + infinite)
    small = (np.abs(rest) < np.abs(top) / 2) & (infinite == 0) & ~np.isnan(m)
    logarithm = np.where(small, np.log1p(rest / top) + np.log(np.abs(top)), np.log(np.abs(total)))
    return logarithm + np.where(np.isfinite(m), m, 0), np.sign(total) + 0.0
