"""SciPy's logsumexp, softmax and log_softmax on the kernels.

Each function first tries the short path, which takes plain arrays only; all else is looked at in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.functional._general import LOG_SOFTMAX, LOGSUMEXP, SOFTMAX
from fastsm.special import _patch, _rows, _weighted
from fastsm.typing import Array, DType

__all__ = ["log_softmax", "logsumexp", "softmax"]


def logsumexp(
    a: ArrayLike,
    axis: int | Sequence[int] | None = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Any:
    r"""Logarithm of a sum of exponentials, with weights and over any axes, as `scipy.special.logsumexp`.

    Parameters
    ----------
    a : array_like
        Any shape and real dtype; complex and extended numbers are passed to SciPy.
    axis : int, tuple or list of int, optional
        The axes to sum over; by default all.
    b : array_like, optional
        Factors of the exponentials, of any sign, in a shape that broadcasts with that of `a`. An element with
        factor 0 does not count, whatever it is.
    keepdims : bool, default False
        Keep the axes, with length 1.
    return_sign : bool, default False
        Return the logarithm of the sum's absolute value, and its sign. Otherwise a negative sum is NaN.

    Returns
    -------
    ndarray or scalar
        ``log(sum(b * exp(a)))``; in the dtype of `a`, or of `a` and `b` as NumPy promotes them, with float64
        for integers and bools. An empty sum is ``-inf``.
    sign : ndarray or scalar
        Only with `return_sign`: 1, 0, -1, or NaN where the sum is NaN.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype, or numbers are complex or extended and SciPy is missing.
    ValueError
        If an argument has a wrong shape or value.

    See Also
    --------
    fastsm.logsumexp : one axis, with ``where=``, ``out=`` and `fastsm.logsumexp_vjp`.

    Notes
    -----
    :math:`m + \log|w| + \operatorname{log1p}(r / w)` with the maximum :math:`m`, the weights :math:`w` there,
    and the weighted sum :math:`r` of the other exponentials [1]_. Without `b` the kernels compute it in the
    dtype of `a`, with it NumPy does in float64.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax
       functions", IMA Journal of Numerical Analysis 41, 2021, algorithm 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.special import logsumexp
    >>> print(logsumexp([[1000.0, 1000.0], [0.0, 0.0]]))
    1000.6931471805599
    >>> logsumexp([[1000.0, 1000.0], [0.0, 0.0]], axis=1)
    array([1.00069315e+03, 6.93147181e-01])
    >>> value, sign = logsumexp([1000.0, 1001.0], b=[1, -1], return_sign=True)
    >>> print(value.round(4), sign)
    1000.5413 -1.0
    """
    if b is None and return_sign is False and type(keepdims) is bool:
        result = None
        if axis is not None:
            result = kernels.try_plain(LOGSUMEXP, a, None, None, axis, 1.0, keepdims, None)
        elif type(a) is np.ndarray:
            if a.ndim == 1:
                result = kernels.try_plain(LOGSUMEXP, a, None, None, 0, 1.0, keepdims, None)
            elif a.flags.c_contiguous and not keepdims:
                result = kernels.try_plain(LOGSUMEXP, a.reshape(-1), None, None, 0, 1.0, False, None)
        if result is not None:
            return result
    return _logsumexp(a, axis, b, keepdims, return_sign)


def softmax(x: ArrayLike, axis: int | Sequence[int] | None = None) -> Any:
    r"""Softmax over any axes, as `scipy.special.softmax`.

    Parameters
    ----------
    x : array_like
        Any shape and real dtype; complex and extended numbers are passed to SciPy.
    axis : int, tuple or list of int, optional
        The axes whose elements sum to 1 together; by default all.

    Returns
    -------
    ndarray or scalar
        Probabilities, in the shape and dtype of `x` (float64 for integers and bools). NaN or ``+inf`` makes
        all elements of its sum NaN; so do elements that are all ``-inf``.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype, or numbers are complex or extended and SciPy is missing.
    ValueError
        If `axis` has a wrong value.

    See Also
    --------
    fastsm.softmax : one axis, by default the last, with ``where=``, ``out=`` and ``temperature=``.

    Examples
    --------
    >>> from fastsm.special import softmax
    >>> softmax([[0.0, 0.0], [0.0, 0.0]])
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    return _softmax(SOFTMAX, x, axis)


def log_softmax(x: ArrayLike, axis: int | Sequence[int] | None = None) -> Any:
    r"""Logarithm of softmax over any axes, as `scipy.special.log_softmax`.

    Parameters
    ----------
    x : array_like
        Any shape and real dtype; complex and extended numbers are passed to SciPy.
    axis : int, tuple or list of int, optional
        The axes whose probabilities sum to 1 together; by default all.

    Returns
    -------
    ndarray or scalar
        Log-probabilities, in the shape and dtype of `x` (float64 for integers and bools); exact near 0.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype, or numbers are complex or extended and SciPy is missing.
    ValueError
        If `axis` has a wrong value.

    See Also
    --------
    fastsm.log_softmax : one axis, by default the last, with ``where=``, ``out=`` and ``temperature=``.

    Examples
    --------
    >>> from fastsm.special import log_softmax
    >>> log_softmax([0.0, -40.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    return _softmax(LOG_SOFTMAX, x, axis)


def _softmax(operation: int, x: ArrayLike, axis: object) -> Any:
    """Return softmax or log_softmax."""
    result = None
    if axis is not None:
        result = kernels.try_plain(operation, x, None, None, axis, 1.0, False, None)
    elif type(x) is np.ndarray and x.ndim == 1:
        result = kernels.try_plain(operation, x, None, None, 0, 1.0, False, None)
    if result is not None:
        return result
    array = _arguments.plain("x", x)
    if _is_foreign(array):
        name = "softmax" if operation == SOFTMAX else "log_softmax"
        return _patch.scipy_function(name, f"`x` of {array.dtype}")(array, axis)
    array = _arguments.array("x", array)
    rows = array.reshape(array.shape or (1,))
    with np.errstate(all="ignore"):
        y = _rows.softmax(operation, rows, _arguments.axes(axis, rows.ndim), _arguments.result_dtype(array))
    return y.reshape(array.shape)[()]


def _logsumexp(a: ArrayLike, axis: object, b: ArrayLike | None, keepdims: object, return_sign: object) -> Any:
    """Return logsumexp of anything that it takes."""
    x = _arguments.plain("a", a)
    factors = None if b is None else _arguments.plain("b", b)
    for name, array in (("a", x), ("b", factors)):
        if array is not None and _is_foreign(array):
            scipys = _patch.scipy_function("logsumexp", f"`{name}` of {array.dtype}")
            return scipys(x, axis, factors, keepdims, return_sign)
    x = _arguments.array("a", x)
    x = x.reshape(x.shape or (1,))
    dtype = _arguments.result_dtype(x)
    if factors is not None:
        factors = _arguments.array("b", factors)
        dtype = _promoted(a, x, b, factors)
        if factors.ndim == 0 and factors == 1:
            factors = None
        else:
            x, factors = _broadcast(x, factors)
    axes = _arguments.axes(axis, x.ndim)
    with np.errstate(all="ignore"):
        if factors is None:
            value = _rows.logsumexp(x, axes, _arguments.compute_dtype(dtype))
            sign = np.where(np.isnan(value), value, value > -np.inf) if return_sign else None
        else:
            value, sign = _weighted.logsumexp(x, factors, axes)
            if not return_sign:
                value = np.where(sign < 0, np.nan, value)
        results = [value.astype(dtype, copy=False)]
        if return_sign:
            results.append(np.asarray(sign).astype(dtype, copy=False))
    if not keepdims:
        results = [np.squeeze(result, axes) for result in results]
    return (results[0][()], results[1][()]) if return_sign else results[0][()]


def _is_foreign(array: Array) -> bool:
    """Whether an array has complex or extended numbers."""
    return array.dtype.kind == "c" or (array.dtype.kind == "f" and array.dtype.char == "g")


def _promoted(a: Any, x: Array, b: Any, factors: Array) -> DType:
    """Return the dtype of a result, where numbers of Python take the dtype of the other."""
    plain_numbers = (bool, int, float)
    dtype = np.result_type(
        a if type(a) in plain_numbers else x.dtype, b if type(b) in plain_numbers else factors.dtype
    )
    return dtype if _arguments.is_floating(dtype) else np.dtype(np.float64)


def _broadcast(x: Array, factors: Array) -> tuple[Array, Array]:
    """Return both in their common shape."""
    if x.shape == factors.shape:
        return x, factors
    try:
        shape = np.broadcast_shapes(x.shape, factors.shape)
    except ValueError:
        wanted = f"a shape that broadcasts with {x.shape}"
        raise ValueError(f"`b` must have {wanted}, got {factors.shape}") from None
    return np.broadcast_to(x, shape), np.broadcast_to(factors, shape)
