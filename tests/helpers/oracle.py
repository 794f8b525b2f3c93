"""Extended-precision oracles, measures of error, and memory layouts. Shares no code with fastsm.

The oracles work along the last axis, and are written from the definitions. They check float32 in float64,
and float64 in `np.longdouble` where that has 64 bits of mantissa or more (elsewhere: mpmath, fewer numbers).
"""

import re
import sys

import numpy as np
import pytest

# The prefix of a dtype in the other byte order.
SWAPPED = ">" if sys.byteorder == "little" else "<"

WIDE = {np.float32: np.float64, np.float64: np.longdouble}

needs_longdouble = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is double here")

# For tests that compare with an oracle.
DTYPES = [np.float32, pytest.param(np.float64, marks=needs_longdouble)]


def native(message):
    """Return the message for this machine's byte order; it is given as on little-endian machines."""
    return re.sub(r"<(?=[Uif]\d)", "<" if sys.byteorder == "little" else ">", message)


# ---- measures of error ----


def eps(dtype):
    """Return the spacing of the numbers above 1, which is twice the largest relative rounding error."""
    return float(np.finfo(dtype).eps)


def zero_below(dtype):
    """Return the value below which exponentials are exactly 0: 2^-125.5 (float64: 2^-1021.5)."""
    return 2.0 ** (np.finfo(dtype).minexp + 0.5)


def unit(exact, dtype):
    """Return the unit in the last place (ULP) of each number in a dtype."""
    info = np.finfo(dtype)
    exponent = np.frexp(np.where(np.isfinite(exact), exact, 1))[1] - 1
    return np.ldexp(exact.dtype.type(1), np.maximum(exponent, info.minexp) - info.nmant)


def error(result, exact, unit=1):
    """Return |result - exact| / unit: 0 for equal infinities and two NaN, inf for one NaN."""
    result = np.asarray(result, exact.dtype)
    with np.errstate(invalid="ignore"):
        difference = np.abs(result - exact) / unit
    same = (result == exact) | (np.isnan(result) & np.isnan(exact))
    return np.where(same, 0, np.where(np.isnan(difference), np.inf, difference)).astype(np.float64)


# ---- softmax and its relatives ----


def shifted(x):
    """Return x - max(x), rounded to the dtype of x as in the kernels, then widened."""
    with np.errstate(invalid="ignore"):
        return (x - x.max(axis=-1, keepdims=True)).astype(WIDE[x.dtype.type])


def rest(d):
    """Return the sum of exp(d) without one maximum (d = 0); the axis is kept with length 1."""
    below = np.sum(np.where(d == 0, 0, np.exp(d)), axis=-1, keepdims=True)
    return below + (np.sum(d == 0, axis=-1, keepdims=True) - 1)


def softmax(x, temperature=1):
    """Return exp(x / T) / sum(exp(x / T))."""
    d = shifted(x) / temperature
    return np.exp(d) / (1 + rest(d))


def log_softmax(x, temperature=1):
    """Return x / T - logsumexp(x / T)."""
    d = shifted(x) / temperature
    return d - np.log1p(rest(d))


def logsumexp(x):
    """Return log(sum(exp(x)))."""
    return x.max(axis=-1).astype(WIDE[x.dtype.type]) + np.log1p(rest(shifted(x)))[..., 0]


# ---- cross-entropy ----


def times(a, b):
    """Return a * b, with 0 times an infinity 0."""
    with np.errstate(invalid="ignore"):
        return np.where((a == 0) & np.isinf(b), 0, a * b)


def one_hot(labels, classes, dtype):
    """Return one-hot rows for labels; the row of label -1 is all 0."""
    return (labels[..., None] == np.arange(classes)).astype(dtype)


def soft_targets(targets, classes, class_weight=1.0, smoothing=0.0):
    """Return t_j = w_j ((1 - e) y_j + e / C) for labels or for probabilities."""
    y = one_hot(targets, classes, float) if targets.dtype.kind == "i" else targets
    y, smoothing = y.astype(np.longdouble), np.longdouble(smoothing)
    return class_weight * ((1 - smoothing) * y + smoothing / classes)


def row_weights(targets, class_weight=None, sample_weight=None):
    """Return the weight of each row in a mean, and the factor of its loss; label -1 is ignored."""
    rows = targets.shape if targets.dtype.kind == "i" else targets.shape[:-1]
    factor = np.ones(rows) if sample_weight is None else sample_weight
    if targets.dtype.kind != "i":
        return factor, factor
    factor = np.where(targets == -1, 0, factor)
    return factor * (1 if class_weight is None else class_weight[targets]), factor


def others(values):
    """Return the sum of the other elements of the row, for each element, without cancellation."""
    total = np.sum(values, axis=-1, keepdims=True)
    dominates = values > total / 2
    without = np.sum(np.where(dominates, 0, values), axis=-1, keepdims=True)
    return np.where(dominates, without, total - values)


def cross_entropy(x, t, temperature=1.0):
    """Return the loss of each row for targets t, and its gradient over x."""
    wide = WIDE[x.dtype.type]
    t = t.astype(wide)
    d = shifted(x) / wide(temperature)
    loss = np.sum(times(t, np.log1p(rest(d)) - d), axis=-1)
    p = np.exp(d) / (1 + rest(d))
    # p_j sum(t) - t_j = p_j sum(t without t_j) - (1 - p_j) t_j, where 1 - p_j is the sum of the other p
    return loss, (p * others(t) - others(p) * t) / wide(temperature)


# ---- the same rows in other memory layouts ----

GUARD = 77.0  # the elements around them


def _contiguous(rows):
    return rows.copy(), -1


def _first_axis(rows):
    return np.ascontiguousarray(rows.T), 0


def _middle_axis(rows):
    n, classes = rows.shape
    return np.ascontiguousarray(rows.reshape(2, n // 2, classes).swapaxes(1, 2)), 1


def _fortran(rows):
    return np.asfortranarray(rows), 1


def _inside(rows):
    n, classes = rows.shape
    around = np.full((n + 2, classes + 5), GUARD, rows.dtype)
    result = around[1:-1, 3:-2]
    result[...] = rows
    return result, -1


def _inside_first_axis(rows):
    result, _ = _inside(np.ascontiguousarray(rows.T))
    return result, 0


def _scattered(rows):
    n, classes = rows.shape
    around = np.full((2 * n, 3 * classes), GUARD, rows.dtype)
    result = around[::-2, ::-3]
    result[...] = rows
    return result, -1


# name: function from an even number of rows to (array, axis of the classes)
LAYOUTS = {
    "last-axis": _contiguous,
    "first-axis": _first_axis,
    "middle-axis": _middle_axis,
    "fortran": _fortran,
    "inside-another": _inside,
    "inside-another-first-axis": _inside_first_axis,
    "scattered": _scattered,
}


def as_rows(array, axis, rows):
    """Return an array of one of the layouts, its classes along `axis`, in the shape of `rows`."""
    return np.moveaxis(array, axis, -1).reshape(rows.shape)


def owner(view):
    """Return the array that owns the memory of a view."""
    while view.base is not None:
        view = view.base
    return view
