"""Softmax and its relatives on NumPy arrays: any axis, any number of dimensions, in place if asked.

Rules that hold for all of them:

* ``axis`` is -1 by default. (SciPy's default is ``None``, the whole array as one: not here.)
* float32 and float64 are computed as they are, float16 and ml_dtypes.bfloat16 in float32; the result has
  the dtype of the input. Integers and bools become float64.
* ``out`` has the shape and dtype of the result, any strides, and is what is returned. It may be the input
  itself: then the work is done in place. Any other overlap with an input is an error.
* A row is the elements along ``axis``. Its result does not depend on the other rows, on how many there
  are, on the number of threads or on working in place: bit for bit.
* NaN anywhere in a row makes the row NaN; so does ``+inf``, and so does a row of ``-inf`` only (logsumexp
  gives that infinity). A ``-inf`` among finite numbers has probability 0.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsm import _arguments
from fastsm._kernels import _threads, kernels
from fastsm.functional import _general
from fastsm.functional._general import LOG_SOFTMAX, LOG_SOFTMAX_VJP, LOGSUMEXP, SOFTMAX, SOFTMAX_VJP

__all__ = [
    "cross_entropy",
    "cross_entropy_with_grad",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "softmax",
    "softmax_jacobian",
    "softmax_vjp",
]

# Each function first tries the short path: one call into the kernels, which declines, by returning None and
# without having done anything, whatever is not a plain small array. Bad arguments are found after that.


def softmax(
    x: ArrayLike,
    /,
    *,
    axis: int = -1,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> Any:
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
        a row with none left gives zeros.
    out : ndarray, optional
        Where to put the result; ``out=x`` works in place.
    num_threads : int, optional
        How many threads may share a large array, for this call; see `set_num_threads`.

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
    if where is None and num_threads is None:
        result = kernels.quick(SOFTMAX, x, None, out, axis, temperature, _threads.serial_limit)
        if result is not None:
            return result
    return _general.on_logits(SOFTMAX, x, axis, temperature, where, out, num_threads)


def log_softmax(
    x: ArrayLike,
    /,
    *,
    axis: int = -1,
    temperature: float = 1.0,
    where: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> Any:
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
        Where to put the result; ``out=x`` works in place.
    num_threads : int, optional
        How many threads may share a large array, for this call; see `set_num_threads`.

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
    if where is None and num_threads is None:
        result = kernels.quick(LOG_SOFTMAX, x, None, out, axis, temperature, _threads.serial_limit)
        if result is not None:
            return result
    return _general.on_logits(LOG_SOFTMAX, x, axis, temperature, where, out, num_threads)


def logsumexp(
    x: ArrayLike,
    /,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> Any:
    r"""Logarithm of the sum of exponentials along an axis: ``log(sum(exp(x)))``.

    Parameters
    ----------
    x : array_like
        Any shape; float16, bfloat16, float32 or float64 (integers and bools become float64).
    axis : int, default -1
        The axis to sum over.
    where : array_like of bool, optional
        Which elements take part, in a shape that broadcasts to that of `x`. With none left the result is
        ``-inf``.
    keepdims : bool, default False
        Keep the axis, with length 1.
    out : ndarray, optional
        Where to put the result.
    num_threads : int, optional
        How many threads may share a large array, for this call; see `set_num_threads`.

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
    if where is None and num_threads is None and keepdims is False:
        result = kernels.quick(LOGSUMEXP, x, None, out, axis, 1.0, _threads.serial_limit)
        if result is not None:
            return result
    return _general.logsumexp(x, axis, where, keepdims, out, num_threads)


def softmax_vjp(
    y: ArrayLike,
    dy: ArrayLike,
    /,
    *,
    axis: int = -1,
    temperature: float = 1.0,
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> Any:
    r"""Backward pass of softmax: from the gradient of any loss over ``y`` to its gradient over the logits.

    ``dz = y * (dy - sum(y * dy)) / T``, row by row: the vector-Jacobian product, without the matrix.

    Parameters
    ----------
    y : array_like
        What softmax returned (not its input: the derivative is a function of the output).
    dy : array_like
        Gradient of the loss over `y`, with its shape; converted to its dtype.
    axis : int, default -1
        The axis of the softmax.
    temperature : float, default 1.0
        The temperature of the softmax; ``1 / T`` is in the gradient.
    out : ndarray, optional
        Where to put the result; ``out=dy`` and ``out=y`` work in place.
    num_threads : int, optional
        How many threads may share a large array, for this call; see `set_num_threads`.

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
    if num_threads is None and dy is not None:
        result = kernels.quick(SOFTMAX_VJP, y, dy, out, axis, temperature, _threads.serial_limit)
        if result is not None:
            return result
    return _general.vjp(SOFTMAX_VJP, "y", y, dy, axis, temperature, out, num_threads)


def log_softmax_vjp(
    log_y: ArrayLike,
    dy: ArrayLike,
    /,
    *,
    axis: int = -1,
    temperature: float = 1.0,
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> Any:
    r"""Backward pass of log_softmax: ``dz = (dy - exp(log_y) * sum(dy)) / T``, row by row.

    Parameters
    ----------
    log_y : array_like
        What log_softmax returned.
    dy : array_like
        Gradient of the loss over `log_y`, with its shape; converted to its dtype.
    axis : int, default -1
        The axis of the log_softmax.
    temperature : float, default 1.0
        The temperature of the log_softmax; ``1 / T`` is in the gradient.
    out : ndarray, optional
        Where to put the result; ``out=dy`` and ``out=log_y`` work in place.
    num_threads : int, optional
        How many threads may share a large array, for this call; see `set_num_threads`.

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
    if num_threads is None and dy is not None:
        result = kernels.quick(LOG_SOFTMAX_VJP, log_y, dy, out, axis, temperature, _threads.serial_limit)
        if result is not None:
            return result
    return _general.vjp(LOG_SOFTMAX_VJP, "log_y", log_y, dy, axis, temperature, out, num_threads)


def softmax_jacobian(y: ArrayLike) -> NDArray[Any]:
    r"""Jacobian of softmax from its output: ``diag(y) - y y^T``, for learning and tests.

    Training never needs it: `softmax_vjp` multiplies by it without forming it.

    Parameters
    ----------
    y : array_like
        What softmax returned, shape (..., C), the classes along the last axis.

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
    output = output.astype(_arguments.result_dtype(output), copy=False)
    identity = np.eye(output.shape[-1], dtype=output.dtype)
    jacobian: NDArray[Any] = output[..., :, None] * (identity - output[..., None, :])
    return jacobian


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    axis: int = -1,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    reduction: str = "mean",
    num_threads: int | None = None,
) -> Any:
    r"""Cross-entropy between targets and the softmax of logits.

    Parameters
    ----------
    logits : array_like
        Any shape with at least one axis; the classes lie along `axis`. Not probabilities: softmax is part
        of the function.
    targets : array_like
        Labels: integers in ``[0, C)``, the shape of `logits` without `axis`. Or probabilities: floating, the
        shape of `logits`; they need not sum to 1.
    axis : int, default -1
        The axis of the classes.
    class_weight : array_like, optional
        Shape (C,). With labels each row counts with the weight of its class, and the mean divides by the
        sum of these weights; with probabilities each class's term is weighted.
    sample_weight : array_like, optional
        One weight for each row, the shape of `logits` without `axis`. The mean divides by their sum.
    ignore_index : int, optional
        Rows with this label count nothing. It need not lie in ``[0, C)``. Labels only.
    label_smoothing : float, default 0.0
        From 0 to 1: the targets become ``(1 - e) y + e / C``.
    temperature : float, default 1.0
        Divides the logits. From 1e-30 to 1e30.
    reduction : {"mean", "sum", "none"}, default "mean"
        The weighted mean, the weighted sum, or the weighted loss of each row.
    num_threads : int, optional
        How many threads may share a large array, for this call; see `set_num_threads`.

    Returns
    -------
    scalar or ndarray
        The loss in nats, in the dtype of the logits; for ``"none"`` an array with the shape of the labels.
        If nothing is left to average (no rows, all ignored, total weight 0) the mean is 0.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value, a label out of range among them.

    See Also
    --------
    cross_entropy_with_grad : the loss and its gradient in the same passes.

    Notes
    -----
    The loss of a row is :math:`\sum_j t_j (\operatorname{logsumexp}(x / T) - x_j / T)` with
    :math:`t_j = w_j ((1 - e)\, y_j + e / C)` [1]_, times its sample weight, and keeps its relative accuracy
    when it is near 0. A weight or probability of 0 against a logit of ``-inf`` counts as 0. The rules for
    the weights are PyTorch's.

    References
    ----------
    .. [1] C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
       section 7.

    Examples
    --------
    >>> import fastsm
    >>> logits = [[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    >>> fastsm.cross_entropy(logits, [0, 1], reduction="none").round(4)
    array([0.2395, 1.0986])
    >>> print(fastsm.cross_entropy([[0.0, -40.0]], [0]))
    4.248354255291589e-18
    """
    result = kernels.quick_cross_entropy(
        logits, targets, None, False, axis, class_weight, sample_weight, ignore_index, label_smoothing,
        temperature, reduction, num_threads, _threads.serial_limit,
    )  # fmt: skip
    if result is not None:
        return result
    return _general.cross_entropy(
        logits,
        targets,
        False,
        axis=axis,
        class_weight=class_weight,
        sample_weight=sample_weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        temperature=temperature,
        reduction=reduction,
        num_threads=num_threads,
        out=None,
    )[0]


def cross_entropy_with_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    axis: int = -1,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    reduction: str = "mean",
    num_threads: int | None = None,
    out: NDArray[Any] | None = None,
) -> tuple[Any, NDArray[Any]]:
    r"""Cross-entropy and its gradient over the logits, in the same passes over memory.

    Parameters
    ----------
    logits, targets, axis, class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction, num_threads
        As for `cross_entropy`.
    out : ndarray, optional
        Where to put the gradient; ``out=logits`` overwrites the logits with it. Nothing is written if an
        argument is wrong, a label out of range among them.

    Returns
    -------
    loss : scalar or ndarray
        As `cross_entropy` returns it.
    grad : ndarray
        Gradient of the mean or of the sum over the logits, with their shape and dtype; for ``"none"`` each
        row's gradient of its own loss. `out` if it was given.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value, a label out of range among them.

    Notes
    -----
    The gradient of a row is :math:`(p_j \sum_k t_k - t_j) / T`, which is the familiar :math:`p - y` when the
    targets sum to 1. It is the whole gradient of softmax and cross-entropy together and of nothing else; for
    another loss on probabilities use `softmax_vjp`. Near 0 it keeps its relative accuracy.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsm
    >>> logits = np.array([[120, 0, 0]], dtype=np.float32)
    >>> loss, grad = fastsm.cross_entropy_with_grad(logits, [1])
    >>> print(loss)
    120.0
    >>> grad
    array([[ 1., -1.,  0.]], dtype=float32)
    """  # noqa: E501
    result = kernels.quick_cross_entropy(
        logits, targets, out, True, axis, class_weight, sample_weight, ignore_index, label_smoothing,
        temperature, reduction, num_threads, _threads.serial_limit,
    )  # fmt: skip
    if result is not None:
        return result  # type: ignore[no-any-return]
    return _general.cross_entropy(
        logits,
        targets,
        True,
        axis=axis,
        class_weight=class_weight,
        sample_weight=sample_weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        temperature=temperature,
        reduction=reduction,
        num_threads=num_threads,
        out=out,
    )  # type: ignore[return-value]
