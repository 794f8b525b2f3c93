"""The vector-Jacobian products of softmax, log-softmax and logsumexp, and the Jacobian of softmax.

With the output ``y`` of softmax and the incoming gradient ``dy``, both rows::

    dz = (y * dy - y * <y, dy>) / T

The kernels are in src/vjp.pxd, the plain NumPy in fastsm/reference.py. As in _softmax.py each function first
tries the short path.
"""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.functional import _general
from fastsm.functional._general import LOG_SOFTMAX_VJP, SOFTMAX_VJP
from fastsm.functional._single_class import warn_if_single
from fastsm.typing import Array, Float, ScalarOrArray

__all__ = ["log_softmax_vjp", "logsumexp_vjp", "softmax_jacobian", "softmax_vjp"]

BLOCK = 1 << 15  # elements whose exponentials are computed at a time


@overload
def softmax_vjp(
    y: NDArray[Float], dy: ArrayLike, /, *, axis: int = -1, temperature: float = 1.0,
    out: Array | None = None, num_threads: int | None = None,
) -> NDArray[Float]: ...  # fmt: skip
@overload
def softmax_vjp(
    y: ArrayLike, dy: ArrayLike, /, *, axis: int = -1, temperature: float = 1.0,
    out: Array | None = None, num_threads: int | None = None,
) -> Array: ...  # fmt: skip
def softmax_vjp(
    y: ArrayLike,
    dy: ArrayLike,
    /,
    *,
    axis: int = -1,
    temperature: float = 1.0,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ScalarOrArray:
    r"""Backward pass of softmax: from the gradient of any loss over ``y`` to its gradient over the logits.

    ``dz = y * (dy - sum(y * dy)) / T``, row by row: the vector-Jacobian product, without the matrix.

    Parameters
    ----------
    y : array_like
        The output of softmax, not its input: the derivative is a function of the output.
    dy : array_like
        Gradient of the loss over `y`, with its shape; converted to its dtype.
    axis : int, default -1
        The axis of the softmax.
    temperature : float, default 1.0
        The temperature of the softmax; ``1 / T`` is in the gradient.
    out : ndarray, optional
        The array for the result; ``out=dy`` and ``out=y`` work in place.
    num_threads : int, optional
        The number of threads that may share a large array in this call; see `set_num_threads`.

    Returns
    -------
    ndarray
        Gradient of the loss over the logits, with the shape and dtype of `y`; `out` if it was given.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value.

    See Also
    --------
    softmax_jacobian : the matrix, for learning and tests.
    cross_entropy_with_grad : softmax and cross-entropy in one, where the product collapses to ``p - y``.

    Notes
    -----
    The Jacobian :math:`J = (\operatorname{diag}(y) - y y^T) / T` is symmetric, so
    :math:`J^T dy = y \circ (dy - \langle y, dy \rangle) / T` [1]_.

    References
    ----------
    .. [1] J. S. Bridle, "Training stochastic model recognition algorithms as networks can lead to maximum
       mutual information estimation of parameters", NIPS 2, 1989.

    Examples
    --------
    The squared error of a softmax output:

    >>> import numpy as np
    >>> import fastsm
    >>> y = fastsm.softmax(np.array([[1.0, 2.0, 3.0]]))
    >>> target = np.array([[0.0, 1.0, 0.0]])
    >>> fastsm.softmax_vjp(y, 2 * (y - target)).round(4)
    array([[-0.0317, -0.4998,  0.5314]])
    """
    result = kernels.try_plain(SOFTMAX_VJP, y, dy, out, axis, temperature, False, num_threads)
    if result is not None:
        return result
    return _general.vjp(SOFTMAX_VJP, y, dy, axis, temperature, out, num_threads)


@overload
def log_softmax_vjp(
    log_y: NDArray[Float], dy: ArrayLike, /, *, axis: int = -1, temperature: float = 1.0,
    out: Array | None = None, num_threads: int | None = None,
) -> NDArray[Float]: ...  # fmt: skip
@overload
def log_softmax_vjp(
    log_y: ArrayLike, dy: ArrayLike, /, *, axis: int = -1, temperature: float = 1.0,
    out: Array | None = None, num_threads: int | None = None,
) -> Array: ...  # fmt: skip
def log_softmax_vjp(
    log_y: ArrayLike,
    dy: ArrayLike,
    /,
    *,
    axis: int = -1,
    temperature: float = 1.0,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ScalarOrArray:
    r"""Backward pass of log_softmax: ``dz = (dy - exp(log_y) * sum(dy)) / T``, row by row.

    Parameters
    ----------
    log_y : array_like
        The output of log_softmax.
    dy : array_like
        Gradient of the loss over `log_y`, with its shape; converted to its dtype.
    axis : int, default -1
        The axis of the log_softmax.
    temperature : float, default 1.0
        The temperature of the log_softmax; ``1 / T`` is in the gradient.
    out : ndarray, optional
        The array for the result; ``out=dy`` and ``out=log_y`` work in place.
    num_threads : int, optional
        The number of threads that may share a large array in this call; see `set_num_threads`.

    Returns
    -------
    ndarray
        Gradient of the loss over the logits, with the shape and dtype of `log_y`; `out` if it was given.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value.

    Notes
    -----
    The Jacobian is :math:`(I - \mathbf{1} y^T) / T` with :math:`y = e^{\log y}`.

    Examples
    --------
    The negative log-likelihood of class 1 gives ``p - y``:

    >>> import numpy as np
    >>> import fastsm
    >>> log_y = fastsm.log_softmax(np.array([[1.0, 2.0, 3.0]]))
    >>> fastsm.log_softmax_vjp(log_y, np.array([[0.0, -1.0, 0.0]])).round(4)
    array([[ 0.09  , -0.7553,  0.6652]])
    """
    result = kernels.try_plain(LOG_SOFTMAX_VJP, log_y, dy, out, axis, temperature, False, num_threads)
    if result is not None:
        return result
    return _general.vjp(LOG_SOFTMAX_VJP, log_y, dy, axis, temperature, out, num_threads)


@overload
def logsumexp_vjp(
    x: NDArray[Float], lse: ArrayLike, dy: ArrayLike, /, *, axis: int = -1, out: Array | None = None,
    num_threads: int | None = None,
) -> NDArray[Float]: ...  # fmt: skip
@overload
def logsumexp_vjp(
    x: ArrayLike, lse: ArrayLike, dy: ArrayLike, /, *, axis: int = -1, out: Array | None = None,
    num_threads: int | None = None,
) -> Array: ...  # fmt: skip
@np.errstate(all="ignore")
def logsumexp_vjp(
    x: ArrayLike,
    lse: ArrayLike,
    dy: ArrayLike,
    /,
    *,
    axis: int = -1,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ScalarOrArray:
    r"""Backward pass of logsumexp: ``dx = dy * exp(x - lse)``, row by row.

    Parameters
    ----------
    x : array_like
        The input of logsumexp.
    lse : array_like
        The output of logsumexp, in the shape of `x` without the axis, or with length 1 there. It is used as
        it is: if `x` holds a part of the classes, pass the logsumexp over all of them.
    dy : array_like
        Gradient of the loss over `lse`, likewise; both are converted to the dtype of the computation.
    axis : int, default -1
        The axis of the logsumexp.
    out : ndarray, optional
        The array for the result; ``out=x`` works in place.
    num_threads : int, optional
        The number of threads that may share a large array in this call; for now this function needs one only.

    Returns
    -------
    ndarray
        Gradient of the loss over `x`, with its shape and dtype; `out` if it was given.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value.

    Notes
    -----
    The gradient of logsumexp is softmax: :math:`\partial l / \partial x_j = e^{x_j - l}`. A row that is all
    ``-inf``, or has ``+inf``, has no gradient: it is NaN where the difference of the infinities is.

    Examples
    --------
    >>> import fastsm
    >>> x = [[0.0, 0.0], [0.0, 1.0]]
    >>> fastsm.logsumexp_vjp(x, fastsm.logsumexp(x), [2.0, 1.0])
    array([[1.        , 1.        ],
           [0.26894142, 0.73105858]])
    """
    source = _arguments.array("x", x)
    axis = _arguments.axis(axis, source.ndim)
    _arguments.num_threads(num_threads)
    dtype = _arguments.result_dtype(source)
    shape = source.shape[:axis] + source.shape[axis + 1 :]
    kept = source.shape[:axis] + (1,) * (source.ndim > 0) + source.shape[axis + 1 :]
    rows = {}
    for name, value in (("lse", lse), ("dy", dy)):
        array = _arguments.array(name, value)
        rows[name] = _arguments.check_shape(name, array, array.shape in (shape, kept), shape)
    result = _arguments.out_or_new(out, source, dtype)
    _arguments.no_overlap(result, "x", source, may_be_same=True)
    for name, array in rows.items():
        _arguments.no_overlap(result, name, array, may_be_same=False)
    work = _arguments.compute_dtype(dtype)
    totals, gradient = (array.reshape(kept).astype(work) for array in rows.values())
    _exponentials(source, totals, gradient, result)
    return out if out is not None else result[()]


def _exponentials(x: Array, lse: Array, dy: Array, out: Array) -> None:
    """Write dy * exp(x - lse) into `out`, from blocks; `lse` and `dy` have length 1 along the axis."""
    if x.size > BLOCK:
        axis = max(range(x.ndim), key=lambda k: (x.shape[k] > 1) * abs(out.strides[k]))
        step = max(1, BLOCK * x.shape[axis] // x.size)
        for start in range(0, x.shape[axis], step):
            part = (slice(None),) * axis + (slice(start, start + step),)
            row = part if lse.shape[axis] > 1 else ()
            _exponentials(x[part], lse[row], dy[row], out[part])
        return
    block = np.empty_like(x, dtype=lse.dtype, subok=False)
    np.subtract(x, lse, out=block)
    np.exp(block, out=block)
    block *= dy
    _general.convert(block, out)


@overload
def softmax_jacobian(y: NDArray[Float]) -> NDArray[Float]: ...
@overload
def softmax_jacobian(y: ArrayLike) -> Array: ...
@np.errstate(all="ignore")
def softmax_jacobian(y: ArrayLike) -> Array:
    r"""Jacobian of softmax from its output: ``diag(y) - y y^T``, for learning and tests.

    Training needs no matrix: `softmax_vjp` multiplies by it without forming it.

    Parameters
    ----------
    y : array_like
        The output of softmax, shape (..., C), with the classes along the last axis.

    Returns
    -------
    ndarray
        Shape (..., C, C) and the dtype of `y`; element ``[..., i, j]`` is
        :math:`\partial y_i / \partial z_j = y_i (\delta_{ij} - y_j)`.

    Raises
    ------
    TypeError
        If `y` has a wrong dtype.
    ValueError
        If `y` has no axis.

    Examples
    --------
    >>> import fastsm
    >>> fastsm.softmax_jacobian([0.25, 0.75])
    array([[ 0.1875, -0.1875],
           [-0.1875,  0.1875]])
    """
    output = _arguments.array("y", y)
    if output.ndim == 0:
        raise ValueError("`y` must have at least one axis, got shape ()")
    warn_if_single(output.shape, output.ndim - 1)
    output = output.astype(_arguments.result_dtype(output), copy=False)
    identity = np.eye(output.shape[-1], dtype=output.dtype)
    jacobian: Array = output[..., :, None] * (identity - output[..., None, :])
    return jacobian
