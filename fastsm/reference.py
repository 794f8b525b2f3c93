"""The functional API written out in NumPy: formulas to read, and an oracle to test against.

Each function has a fast twin in `fastsm` with the same name and signature, except that only the fast one
takes ``out=`` and ``num_threads=``, and only this one takes ``np.longdouble``. The two share no code. A *row*
is the C values along `axis`.

**Why a vector-Jacobian product, and not a derivative.** tanh works on each number alone: its derivative has
one number for each entry, and backpropagation multiplies, ``dz = dy * tanh'(z)``. In softmax every output
depends on every input of its row, so the derivative of one row is a C x C matrix, the Jacobian::

    J_ij = d(y_i) / d(z_j) = y_i (1 - y_i) if i = j, else -y_i y_j        J = diag(y) - y y^T

No elementwise product can apply it: the shapes do not fit. With dy and dz for the loss's gradients over y and
z, the chain rule ``dz_j = sum_i dy_i J_ij`` multiplies a vector by the Jacobian; in that product (the VJP)
the matrix disappears::

    dz = J^T dy = diag(y) dy - y (y^T dy) = y * (dy - <y, dy>)

C numbers in, C numbers out, for any loss. It is a function of the output y, so z need not be kept. In a batch
each row has its own J and its own <y, dy>, independent of the other rows::

    dz = y * (dy - np.sum(y * dy, axis=-1, keepdims=True))                # (N, C)

**Why p - y belongs to cross-entropy alone.** The loss L = -sum_k t_k log p_k has the gradient dp = -t / p.
Through the VJP, with p for the output::

    dz = p * (-t / p + sum(t)) = p sum(t) - t                             # p - t where sum(t) = 1

Softmax's factor p cancels the division by p. No other loss has that division, so p - t is the gradient of no
other loss: pass the dL/dp of another loss to `softmax_vjp`.

**SciPy's arguments.** `special_logsumexp` is the twin of `fastsm.special.logsumexp`. Softmax over several
axes is softmax over the axis that they make together.

**Rounding.** The row's maximum m is subtracted first, so that exp cannot overflow. Then sum_j exp(x_j - m)
is 1 + rest, where the 1 is the term of the maximum. Apart from the 1, `rest` may be far smaller than the
spacing of numbers near 1, and is not rounded away: log(1 + rest) is ``log1p(rest)``, and 1 - p at the maximum
is ``rest / (1 + rest)``.

Sources: P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax
functions", IMA J. Numer. Anal. 41(4), 2021 (the shift; log1p). C. Szegedy et al., "Rethinking the Inception
architecture for computer vision", CVPR 2016, section 7 (label smoothing).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_grad",
    "cross_entropy",
    "cross_entropy_with_grad",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_vjp",
    "softmax",
    "softmax_jacobian",
    "softmax_vjp",
    "special_logsumexp",
]

Array: TypeAlias = NDArray[Any]
Mask: TypeAlias = ArrayLike | None


@np.errstate(all="ignore")
def softmax(x: ArrayLike, /, *, axis: int = -1, temperature: float = 1.0, where: Mask = None) -> Array:
    """Probabilities: exp(x / T), divided by its sum over the row.

    Parameters
    ----------
    x : array_like
        Logits. Float16 and bfloat16 are computed in float32; integers and bools become float64.
    axis : int
        The axis of the classes: the last one by default (in SciPy: all axes together).
    temperature : float
        Positive T that divides the logits.
    where : array_like of bool, optional
        Entries that are False, broadcast to the shape of `x`, are left out: they get probability 0.

    Returns
    -------
    ndarray
        Shape and dtype of `x`. A row with NaN, +inf or only -inf is NaN; a fully masked row is 0.

    Examples
    --------
    >>> softmax([[0.0, 0.0], [0.0, 1.0]])
    array([[0.5       , 0.5       ],
           [0.26894142, 0.73105858]])
    """
    x = np.asarray(x)
    rows, kept = _masked(x, axis, where)
    e = np.exp(_shifted(rows, _positive(temperature)))
    y = e / np.sum(e, axis=-1, keepdims=True)
    return _back(np.where(kept, y, 0), axis, x)


@np.errstate(all="ignore")
def log_softmax(x: ArrayLike, /, *, axis: int = -1, temperature: float = 1.0, where: Mask = None) -> Array:
    """Logarithm of `softmax`, with the same parameters; masked entries are -inf.

    Examples
    --------
    >>> log_softmax([0.0, -40.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    x = np.asarray(x)
    rows, kept = _masked(x, axis, where)
    d = _shifted(rows, _positive(temperature))
    log_y = d - np.log1p(_rest(d))
    return _back(np.where(kept, log_y, -np.inf), axis, x)


@np.errstate(all="ignore")
def logsumexp(x: ArrayLike, /, *, axis: int = -1, where: Mask = None, keepdims: bool = False) -> Array:
    """Log of the sum of exp(x) over each row; `x`, `axis` and `where` as in `softmax`.

    The result has the shape of `x` without `axis`, or with `axis` of length 1 if `keepdims`. An empty sum (no
    classes, all masked, all -inf) gives -inf; a row with +inf gives +inf, unless it has NaN.

    Examples
    --------
    >>> logsumexp([[0.0, 0.0], [0.0, -40.0]])
    array([6.93147181e-01, 4.24835426e-18])
    """
    x = np.asarray(x)
    rows, _ = _masked(x, axis, where)
    m = np.max(rows, axis=-1, keepdims=True, initial=-np.inf)
    total = np.where(np.isinf(m), m, m + np.log1p(_rest(rows - m)))
    result = total[..., 0].astype(_dtype(x))
    return np.expand_dims(result, axis) if keepdims and x.ndim else result[()]


@np.errstate(all="ignore")
def softmax_vjp(y: ArrayLike, dy: ArrayLike, /, *, axis: int = -1, temperature: float = 1.0) -> Array:
    """Gradient over softmax's input from the gradient over its output: dz = y * (dy - <y, dy>) / T.

    Parameters
    ----------
    y : array_like
        The output of `softmax`, not its input.
    dy : array_like
        Gradient of any loss over `y`, of the same shape.
    axis, temperature
        As given to `softmax`.

    Returns
    -------
    ndarray
        dz, with the shape and dtype of `y`. Each row sums to 0.

    Examples
    --------
    >>> softmax_vjp([0.25, 0.75], [1.0, 0.0])
    array([ 0.1875, -0.1875])
    """
    y, dy = np.asarray(y), np.asarray(dy)
    _check_shape("dy", dy, y.shape)
    p, g = _rows(y, axis), _rows(dy, axis)
    dz = p * (g - np.sum(p * g, axis=-1, keepdims=True)) / _positive(temperature)
    return _back(dz, axis, y)


@np.errstate(all="ignore")
def log_softmax_vjp(log_y: ArrayLike, dy: ArrayLike, /, *, axis: int = -1, temperature: float = 1.0) -> Array:
    """Gradient over log_softmax's input from the one over its output: dz = (dy - exp(log_y) sum(dy)) / T.

    As `softmax_vjp`, but with the Jacobian I - 1 y^T (1: a column of ones), where y = exp(log_y).

    Examples
    --------
    >>> log_softmax_vjp(np.log([0.25, 0.75]), [-1.0, 0.0])
    array([-0.75,  0.75])
    """
    log_y, dy = np.asarray(log_y), np.asarray(dy)
    _check_shape("dy", dy, log_y.shape)
    p, g = np.exp(_rows(log_y, axis)), _rows(dy, axis)
    dz = (g - p * np.sum(g, axis=-1, keepdims=True)) / _positive(temperature)
    return _back(dz, axis, log_y)


@np.errstate(all="ignore")
def logsumexp_vjp(x: ArrayLike, lse: ArrayLike, dy: ArrayLike, /, *, axis: int = -1) -> Array:
    """Gradient over logsumexp's input from the one over its output: dx = dy * exp(x - lse).

    As `softmax_vjp`, but `lse` and `dy` have the shape of `x` without `axis`, or with length 1 there.

    Examples
    --------
    >>> logsumexp_vjp([0.0, 0.0], np.log(2), 3.0)
    array([1.5, 1.5])
    """
    x, rows = np.asarray(x), _rows(np.asarray(x), axis)
    kept = (*rows.shape[:-1], 1)
    total, g = (np.asarray(value).reshape(kept).astype(rows.dtype) for value in (lse, dy))
    return _back(g * np.exp(rows - total), axis, x)


@np.errstate(all="ignore")
def softmax_jacobian(y: ArrayLike) -> Array:
    """J = diag(y) - y y^T of each row along the last axis, shape (..., C, C); `y` as in `softmax_vjp`.

    Examples
    --------
    >>> softmax_jacobian([0.25, 0.75])
    array([[ 0.1875, -0.1875],
           [-0.1875,  0.1875]])
    """
    y = np.asarray(y)
    if y.ndim == 0:
        raise ValueError("`y` must have at least one axis, got shape ()")
    p = _rows(y, -1)
    jacobian: Array = p[..., :, None] * (np.eye(p.shape[-1], dtype=p.dtype) - p[..., None, :])
    return jacobian.astype(_dtype(y))


@np.errstate(all="ignore")
def special_logsumexp(
    a: ArrayLike, axis: int | tuple[int, ...] | None = None, b: ArrayLike | None = None,
    keepdims: bool = False, return_sign: bool = False,
) -> Any:  # fmt: skip
    """log|sum(b * exp(a))| over any axes, and the sign of the sum, or NaN for a negative one.

    The shift is the maximum over the elements whose weight is not 0, which alone count.

    Examples
    --------
    >>> special_logsumexp([[0.0, 0.0]], b=[[3.0, -1.0]]).round(4)
    np.float64(0.6931)
    """
    x, w = np.broadcast_arrays(np.atleast_1d(a), 1 if b is None else b)
    dtype = _dtype(np.empty(0, np.result_type(np.asarray(a), 1 if b is None else np.asarray(b))))
    x = np.where(w == 0, -np.inf, x.astype(np.promote_types(dtype, np.float64)))
    m = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isinf(m), 0, m)
    total = np.sum(np.where(w == 0, 0, w * np.exp(x - shift)), axis=axis, keepdims=True)
    value, sign = shift + np.log(np.abs(total)), np.sign(total)
    results = [value, sign] if return_sign else [np.where(sign < 0, np.nan, value)]
    axes = tuple(range(x.ndim)) if axis is None else axis
    results = [r.astype(dtype) if keepdims else np.squeeze(r, axes).astype(dtype)[()] for r in results]
    return tuple(results) if return_sign else results[0]


def cross_entropy(
    logits: ArrayLike, targets: ArrayLike, /, *, axis: int = -1, where: Mask = None,
    class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None, label_smoothing: float = 0.0,
    temperature: float = 1.0, reduction: str = "mean",
) -> Any:  # fmt: skip
    """Cross-entropy -sum_j t_j log p_j of each row's p = softmax(logits / T), reduced to one number.

    The targets are t_j = w_j ((1 - e) y_j + e / C), with y a row of probabilities, or 1 for the label's class
    and 0 for all others, w the class weights and e the label smoothing.

    Parameters
    ----------
    logits : array_like
        The C values along `axis` are a row.
    targets : array_like
        Integer labels in [0, C), in the shape of `logits` without `axis`; or floating y, like `logits`.
    axis : int
        The axis of the classes.
    where : array_like of bool, optional
        The classes that take part, broadcast to the shape of `logits`; a target elsewhere is an error.
    class_weight, sample_weight : array_like, optional
        w, shape (C,), and a factor for each row, in the shape of `logits` without `axis`; 1 by default.
    ignore_index : int, optional
        Rows with this label do not count, for any logits.
    label_smoothing, temperature : float
        e, from 0 to 1; positive T that divides the logits.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the total weight of the kept rows: of sample_weight * class_weight[label]
        for labels, of sample_weight for probabilities. If that is 0, so are the loss and its gradient.

    Returns
    -------
    scalar, or ndarray of the rows' losses for "none"
        In the dtype of `logits`, but float32 for 16 bits and float64 for integers and bools; mean and sum are
        added up in float64.

    Examples
    --------
    >>> cross_entropy([[0.0, 0.0], [0.0, -40.0]], [1, 0], reduction="none")
    array([6.93147181e-01, 4.24835426e-18])
    """
    loss, _ = cross_entropy_with_grad(
        logits, targets, axis=axis, where=where, class_weight=class_weight, sample_weight=sample_weight,
        ignore_index=ignore_index, label_smoothing=label_smoothing, temperature=temperature,
        reduction=reduction,
    )  # fmt: skip
    return loss


@np.errstate(all="ignore")
def cross_entropy_with_grad(
    logits: ArrayLike, targets: ArrayLike, /, *, axis: int = -1, where: Mask = None,
    class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None, label_smoothing: float = 0.0,
    temperature: float = 1.0, reduction: str = "mean",
) -> tuple[Any, Array]:  # fmt: skip
    """`cross_entropy` and its gradient over the logits: in each row (p sum(t) - t) / T, weighted alike.

    The gradient has the shape and dtype of `logits`; for "none" each row is the gradient of its own loss.

    Examples
    --------
    >>> cross_entropy_with_grad([[0.0, 0.0]], [1], reduction="none")
    (array([0.69314718]), array([[ 0.5, -0.5]]))
    """
    logits = np.asarray(logits)
    if logits.ndim == 0:
        raise ValueError("`logits` must have at least one axis, got shape ()")
    x, allowed = _masked(logits, axis, where)
    w = _weights("class_weight", class_weight, x.shape[-1:], x.dtype)
    s = _weights("sample_weight", sample_weight, x.shape[:-1], x.dtype)
    y, kept, are_labels = _targets(np.asarray(targets), logits, x, axis, ignore_index)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"`label_smoothing` must be from 0 to 1, got {label_smoothing}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"`reduction` must be one of mean, sum, none, got {reduction!r}")

    e = float(label_smoothing)
    t = w * ((1 - e) * y + e * allowed / np.maximum(np.sum(allowed, axis=-1, keepdims=True), 1))
    losses, grad = _losses_and_gradients(x, t, _positive(temperature))
    counts = kept & (s != 0)  # a row that does not count may hold anything
    if are_labels and not e:
        counts &= np.sum(t, axis=-1) != 0
    if np.any((y != 0) & ~allowed & counts[..., None]):
        raise ValueError("`targets` must lie where `where` is True")
    losses = np.where(counts, _product(s, losses), 0)
    grad = np.where(counts[..., None], s[..., None] * grad, 0)

    wide = np.promote_types(x.dtype, np.float64)  # for sums over many rows
    loss = losses if reduction == "none" else np.sum(losses, dtype=wide)
    if reduction == "mean":
        weights = s * np.sum(w * y, axis=-1) if are_labels else s
        total = np.sum(weights, where=kept, dtype=wide)
        loss, grad = (loss / total, grad / total) if total != 0 else (np.zeros(()), np.zeros_like(grad))
    return loss.astype(x.dtype)[()], _back(grad, axis, logits)


def binary_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, /, *, pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0, reduction: str = "mean",
) -> Any:  # fmt: skip
    """-(w y log p + (1 - y) log(1 - p)) of each element's p = 1 / (1 + exp(-z)), reduced to one number.

    Parameters
    ----------
    logits : array_like
        z, of any shape.
    targets : array_like
        y from 0 to 1 (integers and bools too), in the shape of `logits`, or (N,) for logits (N, 1).
    pos_weight : array_like, optional
        w, at least 0: a number, or one for each index of the last axis; 1 by default.
    sample_weight : array_like, optional
        A factor for each element, or for each index of the first axis; 1 by default.
    label_smoothing : float
        e, from 0 to 1: y becomes (1 - e) y + e / 2.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by that of the sample weights; if that is 0, so are the loss and its gradient.

    Returns
    -------
    scalar, or ndarray of the elements' losses for "none"
        In the dtype of `logits`, but float32 for 16 bits, and float64 for integers and bools.

    Examples
    --------
    >>> binary_cross_entropy([0.0, 40.0], [0, 1], reduction="none")
    array([6.93147181e-01, 4.24835426e-18])
    """
    loss, _ = binary_cross_entropy_with_grad(
        logits, targets, pos_weight=pos_weight, sample_weight=sample_weight, label_smoothing=label_smoothing,
        reduction=reduction,
    )  # fmt: skip
    return loss


@np.errstate(all="ignore")
def binary_cross_entropy_with_grad(
    logits: ArrayLike, targets: ArrayLike, /, *, pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0, reduction: str = "mean",
) -> tuple[Any, Array]:  # fmt: skip
    """`binary_cross_entropy` and its gradient over the logits: (1 - y) p - w y (1 - p), weighted alike.

    Examples
    --------
    >>> binary_cross_entropy_with_grad([0.0, 40.0], [0, 1], reduction="none")
    (array([6.93147181e-01, 4.24835426e-18]), array([ 5.00000000e-01, -4.24835426e-18]))
    """
    logits, y = np.asarray(logits), np.asarray(targets)
    shape, dtype = logits.shape, np.promote_types(_dtype(logits), np.float32)
    if y.shape == shape[:1] and shape[1:] == (1,):
        y = y.reshape(shape)
    _check_shape("targets", y, shape)
    s = np.asarray(1 if sample_weight is None else sample_weight, dtype)
    if s.ndim and s.shape == shape[:1]:
        s = s.reshape(shape[:1] + (1,) * (len(shape) - 1))
    s = np.broadcast_to(s, shape)
    if np.any((s != 0) & ((y < 0) | (y > 1))):
        raise ValueError("`targets` must be from 0 to 1")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"`label_smoothing` must be from 0 to 1, got {label_smoothing}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"`reduction` must be one of mean, sum, none, got {reduction!r}")

    z, y = logits.astype(dtype), y.astype(dtype)
    y = (1 - label_smoothing) * y + label_smoothing / 2
    yes, no = y * np.asarray(1 if pos_weight is None else pos_weight, dtype), 1 - y
    losses = _product(yes, np.logaddexp(0, -z)) + _product(no, np.logaddexp(0, z))
    grad = no / (1 + np.exp(-z)) - yes / (1 + np.exp(z))
    counts = (s != 0) & ((yes != 0) | (no != 0))  # an element that does not count may hold anything
    losses, grad = np.where(counts, s * losses, 0), np.where(counts, s * grad, 0)

    wide = np.promote_types(dtype, np.float64)
    loss = losses if reduction == "none" else np.sum(losses, dtype=wide)
    if reduction == "mean":
        total = np.sum(s, dtype=wide)
        loss, grad = (loss / total, grad / total) if total != 0 else (np.zeros(()), np.zeros_like(grad))
    return loss.astype(dtype)[()], grad.astype(_dtype(logits))[()]


def _losses_and_gradients(x: Array, t: Array, temperature: float) -> tuple[Array, Array]:
    """Return -sum_j t_j log p_j and (p sum(t) - t) / T of each row."""
    d = _shifted(x, temperature)
    rest = _rest(d)
    losses = np.sum(_product(t, np.log1p(rest) - d), axis=-1)
    p, sum_t = np.exp(d) / (1 + rest), np.sum(t, axis=-1, keepdims=True)
    at_maximum = _others(t, t, d < 0) - sum_t * (rest / (1 + rest))  # (sum(t) - t) - sum(t) (1 - p)
    return losses, np.where(d == 0, at_maximum, p * sum_t - t) / temperature


def _shifted(x: Array, temperature: float) -> Array:
    """Return d = (x - max(x)) / T of each row: at most 0, so exp(d) is at most 1."""
    m = np.max(x, axis=-1, keepdims=True, initial=-np.inf)
    return np.asarray((x - m) / temperature)


def _rest(d: Array) -> Array:
    """Return the sum of exp(d) without the 1 of one maximum, shape (..., 1)."""
    return _others(np.exp(d), 1, d < 0)


def _others(values: Array, own: ArrayLike, below: Array) -> Array:
    """Return the sum of a row's values without `own`, the value of an entry that is not `below` the maximum.

    `own` is subtracted from the sum over the maximum and its ties, so that the small rest is not rounded.
    """
    small: Array = np.sum(np.where(below, values, 0), axis=-1, keepdims=True)
    large: Array = np.sum(np.where(below, 0, values), axis=-1, keepdims=True)
    return small + (large - own)


def _product(weight: Array, value: Array) -> Array:
    """Multiply, with 0 times infinity as 0: an entry without weight does not count. NaN stays NaN."""
    return np.where((weight == 0) & np.isinf(value), 0, weight * value)


def _targets(
    targets: Array, logits: Array, x: Array, axis: int, ignore_index: int | None
) -> tuple[Array, Array, bool]:
    """Return the rows of target probabilities y, which rows are kept, and whether the targets are labels."""
    classes, shape = x.shape[-1], x.shape[:-1]
    if targets.dtype.kind in "iu":
        _check_shape("targets", targets, shape)
        kept = np.full(shape, True) if ignore_index is None else np.asarray(targets != ignore_index)
        bad = kept & ((targets < 0) | (targets >= classes))
        if np.any(bad):
            at = tuple(np.argwhere(bad)[0].tolist())
            raise ValueError(f"`targets` must lie in [0, {classes}), got {targets[at]} at position {at}")
        y = targets[..., None] == np.arange(classes)
        return y.astype(x.dtype), kept, True
    if targets.dtype.kind == "b":
        raise TypeError("`targets` must have an integer dtype (labels) or a floating one, got bool")
    if ignore_index is not None:
        raise ValueError(f"`ignore_index` must be None with probability targets, got {ignore_index}")
    _check_shape("targets", targets, logits.shape)
    return _rows(targets, axis).astype(x.dtype), np.full(shape, True), False


def _weights(name: str, weights: ArrayLike | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return the weights in the given dtype; ones for None."""
    weights = np.ones(shape) if weights is None else np.asarray(weights)
    _check_shape(name, weights, shape)
    return weights.astype(dtype)


def _check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape}, got {array.shape}")


def _positive(temperature: float) -> float:
    if not 0 < temperature < np.inf:
        raise ValueError(f"`temperature` must be positive and finite, got {temperature}")
    return float(temperature)


def _dtype(x: Array) -> np.dtype[Any]:
    """Return the dtype of a result: the dtype of x, but float64 for integers and bools."""
    if x.dtype.kind not in "biuf" and x.dtype.name != "bfloat16":
        raise TypeError(f"arrays must hold real numbers, got {x.dtype}")
    return np.dtype(np.float64) if x.dtype.kind in "biu" else x.dtype.newbyteorder("=")


def _rows(x: Array, axis: int) -> Array:
    """Return x with the classes last (0-d as one class), in the dtype to compute in."""
    dtype = np.promote_types(_dtype(x), np.float32)
    return np.ascontiguousarray(np.moveaxis(np.atleast_1d(x), axis, -1), dtype)  # NumPy sums these best


def _back(rows: Array, axis: int, x: Array) -> Array:
    """Undo `_rows`: give rows the axis, the shape and the dtype of x."""
    return np.moveaxis(rows, -1, axis).astype(_dtype(x), order="C").reshape(x.shape)[()]


def _masked(x: Array, axis: int, where: Mask) -> tuple[Array, Array]:
    """Return the rows of x with -inf where `where` is False, and which entries are kept."""
    mask = np.asarray(True if where is None else where)
    if mask.dtype != bool:
        raise TypeError(f"`where` must have dtype bool, got {mask.dtype}")
    kept = np.moveaxis(np.atleast_1d(np.broadcast_to(mask, x.shape)), axis, -1)
    return np.where(kept, _rows(x, axis), -np.inf), kept
