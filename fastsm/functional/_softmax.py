"""Softmax, log-softmax and logsumexp.

Each function first tries the short path: one call into the kernels, which returns None, having done nothing,
for anything but plain small arrays. Then the general path checks the arguments.
"""

from __future__ import annotations

from typing import Literal, overload

from numpy.typing import ArrayLike, NDArray

from fastsm._kernels import kernels
from fastsm.functional import _general
from fastsm.functional._general import LOG_SOFTMAX, LOGSUMEXP, SOFTMAX
from fastsm.typing import Array, Float, ScalarOrArray

__all__ = ["log_softmax", "logsumexp", "softmax"]


@overload
def softmax(
    x: NDArray[Float], /, *, axis: int = -1, temperature: float = 1.0, where: ArrayLike | None = None,
    out: Array | None = None, num_threads: int | None = None,
) -> NDArray[Float]: ...  # fmt: skip
@overload
def softmax(
    x: ArrayLike, /, *, axis: int = -1, temperature: float = 1.0, where: ArrayLike | None = None,
    out: Array | None = None, num_threads: int | None = None,
) -> Array: ...  # fmt: skip
def softmax(
    x: ArrayLike,
    /,
    *,
    axis: int = -1,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ScalarOrArray:
    r"""Softmax along an axis: ``exp(x / T) / sum(exp(x / T))``.

    Parameters
    ----------
    x : array_like
        Logits, of any shape; float16, bfloat16, float32 or float64 (integers and bools become float64).
    axis : int, default -1
        The axis whose elements sum to 1.
    temperature : float, default 1.0
        Divides the logits. From 1e-30 to 1e30.
    where : array_like of bool, optional
        Which elements take part, in a shape that broadcasts to that of `x`. The others get probability 0;
        a row without any gives zeros.
    out : ndarray, optional
        The array for the result; ``out=x`` works in place.
    num_threads : int, optional
        The number of threads that may share a large array in this call; see `set_num_threads`.

    Returns
    -------
    ndarray
        Probabilities, with the shape and dtype of `x`; `out` if it was given. For an input without axes a
        NumPy scalar.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value.

    See Also
    --------
    softmax_vjp : the backward pass.
    log_softmax : the logarithm, accurate where this is near 0 or 1.

    Notes
    -----
    With the maximum :math:`m` of the row, :math:`y_j = e^{(x_j - m)/T} / \sum_k e^{(x_k - m)/T}` [1]_. The
    error is about 4 ULP of the exact softmax of the rounded differences :math:`x_j - m` on random rows: 4.3
    is the worst found. An exponential below 1.7e-38 (float64: 3.2e-308) counts as 0.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax
       functions", IMA Journal of Numerical Analysis 41, 2021, algorithm 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsm
    >>> fastsm.softmax([1.0, 2.0, 3.0]).round(4)
    array([0.09  , 0.2447, 0.6652])
    >>> x = np.array([[120, 0, 0], [0, 0, 0]], dtype=np.float32)
    >>> fastsm.softmax(x, out=x) is x
    True
    >>> x
    array([[1.        , 0.        , 0.        ],
           [0.33333334, 0.33333334, 0.33333334]], dtype=float32)
    """
    if where is None:
        result = kernels.try_plain(SOFTMAX, x, None, out, axis, temperature, False, num_threads)
        if result is not None:
            return result
    return _general.on_logits(SOFTMAX, x, axis, temperature, where, out, num_threads)


@overload
def log_softmax(
    x: NDArray[Float], /, *, axis: int = -1, temperature: float = 1.0, where: ArrayLike | None = None,
    out: Array | None = None, num_threads: int | None = None,
) -> NDArray[Float]: ...  # fmt: skip
@overload
def log_softmax(
    x: ArrayLike, /, *, axis: int = -1, temperature: float = 1.0, where: ArrayLike | None = None,
    out: Array | None = None, num_threads: int | None = None,
) -> Array: ...  # fmt: skip
def log_softmax(
    x: ArrayLike,
    /,
    *,
    axis: int = -1,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ScalarOrArray:
    r"""Logarithm of the softmax along an axis: ``x / T - logsumexp(x / T)``.

    Parameters
    ----------
    x : array_like
        Logits, of any shape; float16, bfloat16, float32 or float64 (integers and bools become float64).
    axis : int, default -1
        The axis whose probabilities sum to 1.
    temperature : float, default 1.0
        Divides the logits. From 1e-30 to 1e30.
    where : array_like of bool, optional
        Which elements take part, in a shape that broadcasts to that of `x`. The others get ``-inf``.
    out : ndarray, optional
        The array for the result; ``out=x`` works in place.
    num_threads : int, optional
        The number of threads that may share a large array in this call; see `set_num_threads`.

    Returns
    -------
    ndarray
        Log-probabilities, with the shape and dtype of `x`; `out` if it was given. For an input without axes
        a NumPy scalar.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value.

    See Also
    --------
    log_softmax_vjp : the backward pass.

    Notes
    -----
    :math:`(x_j - m)/T - \operatorname{log1p}(r)` with the maximum :math:`m` and the sum :math:`r` of the
    exponentials without the maximum's own 1 [1]_. That keeps the relative accuracy of results near 0, where
    :math:`\log(1 + r)` would lose :math:`r`.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax
       functions", IMA Journal of Numerical Analysis 41, 2021, algorithm 4.1.

    Examples
    --------
    >>> import fastsm
    >>> fastsm.log_softmax([0.0, -40.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    if where is None:
        result = kernels.try_plain(LOG_SOFTMAX, x, None, out, axis, temperature, False, num_threads)
        if result is not None:
            return result
    return _general.on_logits(LOG_SOFTMAX, x, axis, temperature, where, out, num_threads)


@overload
def logsumexp(
    x: NDArray[Float], /, *, axis: int = -1, where: ArrayLike | None = None, keepdims: Literal[True],
    out: Array | None = None, num_threads: int | None = None,
) -> NDArray[Float]: ...  # fmt: skip
@overload
def logsumexp(
    x: ArrayLike, /, *, axis: int = -1, where: ArrayLike | None = None, keepdims: bool = False,
    out: Array | None = None, num_threads: int | None = None,
) -> ScalarOrArray: ...  # fmt: skip
def logsumexp(
    x: ArrayLike,
    /,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ScalarOrArray:
    r"""Logarithm of the sum of exponentials along an axis: ``log(sum(exp(x)))``.

    Parameters
    ----------
    x : array_like
        Any shape; float16, bfloat16, float32 or float64 (integers and bools become float64).
    axis : int, default -1
        The axis to sum over.
    where : array_like of bool, optional
        Which elements take part, in a shape that broadcasts to that of `x`. A row without any gives
        ``-inf``.
    keepdims : bool, default False
        Keep the axis, with length 1.
    out : ndarray, optional
        The array for the result.
    num_threads : int, optional
        The number of threads that may share a large array in this call; see `set_num_threads`.

    Returns
    -------
    ndarray or scalar
        The shape of `x` without the axis, and its dtype; `out` if it was given.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value.

    Notes
    -----
    :math:`m + \operatorname{log1p}(r)`, see `log_softmax`.

    Examples
    --------
    >>> import fastsm
    >>> print(fastsm.logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    >>> print(fastsm.logsumexp([0.0, -40.0]))
    4.248354255291589e-18
    """
    if where is None and type(keepdims) is bool:
        result = kernels.try_plain(LOGSUMEXP, x, None, out, axis, 1.0, keepdims, num_threads)
        if result is not None:
            return result
    return _general.logsumexp(x, axis, where, keepdims, out, num_threads)
