"""Cross-entropy of logits, alone and with its gradient."""

from __future__ import annotations

from typing import Literal, overload

from numpy.typing import ArrayLike, NDArray

from fastsm._kernels import kernels
from fastsm.functional import _general
from fastsm.functional._loss_options import LossOptions
from fastsm.typing import Array, Computed, Reduction, ScalarOrArray

__all__ = ["cross_entropy", "cross_entropy_with_grad"]

# The short path takes its arguments by position.
_LOSS_ONLY, _WITH_GRAD = False, True


@overload
def cross_entropy(
    logits: NDArray[Computed], targets: ArrayLike, /, *, axis: int = -1,
    where: ArrayLike | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0,
    reduction: Literal["mean", "sum"] = "mean", num_threads: int | None = None,
) -> Computed: ...  # fmt: skip
@overload
def cross_entropy(
    logits: NDArray[Computed], targets: ArrayLike, /, *, axis: int = -1,
    where: ArrayLike | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0,
    reduction: Literal["none"], num_threads: int | None = None,
) -> NDArray[Computed]: ...  # fmt: skip
@overload
def cross_entropy(
    logits: ArrayLike, targets: ArrayLike, /, *, axis: int = -1,
    where: ArrayLike | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0, reduction: Reduction = "mean",
    num_threads: int | None = None,
) -> ScalarOrArray: ...  # fmt: skip
def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
    num_threads: int | None = None,
) -> ScalarOrArray:
    r"""Cross-entropy between targets and the softmax of logits.

    Parameters
    ----------
    logits : array_like
        Any shape with at least one axis; the classes lie along `axis`. Not probabilities: the function
        applies softmax itself.
    targets : array_like
        Labels: integers in ``[0, C)``, the shape of `logits` without `axis`. Or probabilities: floating, the
        shape of `logits`; they need not sum to 1.
    axis : int, default -1
        The axis of the classes.
    where : array_like of bool, optional
        Which classes take part, in a shape that broadcasts to that of `logits`: legal actions, for instance.
        The others get probability 0 and gradient 0, and may hold anything; label smoothing spreads over those
        that take part. A label or a probability elsewhere is an error.
    class_weight : array_like, optional
        Shape (C,). With labels, each row has the weight of its class, and the mean divides by the sum of
        these weights; with probabilities, each class's term is weighted.
    sample_weight : array_like, optional
        One weight for each row, in the shape of `logits` without `axis`. The mean divides by their sum.
    ignore_index : int, optional
        Rows with this label do not count. It need not lie in ``[0, C)``. Labels only.
    label_smoothing : float, default 0.0
        From 0 to 1: the targets become ``(1 - e) y + e / C``.
    temperature : float, default 1.0
        Divides the logits. From 1e-30 to 1e30.
    reduction : {"mean", "sum", "none"}, default "mean"
        The weighted mean, the weighted sum, or the weighted loss of each row.
    num_threads : int, optional
        The number of threads that may share a large array in this call; see `set_num_threads`.

    Returns
    -------
    scalar or ndarray
        The loss in nats, in the dtype of the logits, but float32 for 16-bit logits; for ``"none"`` an array
        with the shape of the labels. With nothing to average (no rows, all ignored, total weight 0) the mean
        is 0. A row that is ignored or has weight 0 may hold anything, also NaN: its loss and gradient are 0.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value, such as a label out of range.

    See Also
    --------
    cross_entropy_with_grad : the loss and its gradient in the same passes.

    Notes
    -----
    The loss of a row is :math:`\sum_j t_j (\operatorname{logsumexp}(x / T) - x_j / T)` with
    :math:`t_j = w_j ((1 - e)\, y_j + e / C)` [1]_, times its sample weight; it keeps its relative accuracy
    near 0. A weight or probability of 0 against a logit of ``-inf`` counts as 0. The rules for
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
    if where is None:
        result = kernels.try_plain_cross_entropy(
            logits, targets, None, _LOSS_ONLY, axis, class_weight, sample_weight, ignore_index,
            label_smoothing, temperature, reduction, num_threads,
        )  # fmt: skip
        if result is not None:
            return result
    options = LossOptions(
        class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction, where
    )
    loss, _ = _general.cross_entropy(
        logits, targets, options, axis=axis, num_threads=num_threads, with_gradient=False
    )
    return loss


@overload
def cross_entropy_with_grad(
    logits: NDArray[Computed], targets: ArrayLike, /, *, axis: int = -1,
    where: ArrayLike | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0,
    reduction: Literal["mean", "sum"] = "mean", out: Array | None = None,
    num_threads: int | None = None,
) -> tuple[Computed, NDArray[Computed]]: ...  # fmt: skip
@overload
def cross_entropy_with_grad(
    logits: NDArray[Computed], targets: ArrayLike, /, *, axis: int = -1,
    where: ArrayLike | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0,
    reduction: Literal["none"], out: Array | None = None, num_threads: int | None = None,
) -> tuple[NDArray[Computed], NDArray[Computed]]: ...  # fmt: skip
@overload
def cross_entropy_with_grad(
    logits: ArrayLike, targets: ArrayLike, /, *, axis: int = -1,
    where: ArrayLike | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0, reduction: Reduction = "mean",
    out: Array | None = None, num_threads: int | None = None,
) -> tuple[ScalarOrArray, Array]: ...  # fmt: skip
def cross_entropy_with_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
    num_threads: int | None = None,
    out: Array | None = None,
) -> tuple[ScalarOrArray, Array]:
    r"""Cross-entropy and its gradient over the logits, in the same passes over memory.

    Parameters
    ----------
    logits, targets, axis, where, class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction, num_threads
        As for `cross_entropy`.
    out : ndarray, optional
        The array for the gradient; ``out=logits`` overwrites the logits. Nothing is written if an argument is
        wrong, such as a label out of range.

    Returns
    -------
    loss : scalar or ndarray
        As `cross_entropy` returns it.
    grad : ndarray
        Gradient of the mean or the sum over the logits, with their shape and dtype; for ``"none"`` each
        row has the gradient of its own loss. `out` if it was given.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value, such as a label out of range.

    Notes
    -----
    The gradient of a row is :math:`(p_j \sum_k t_k - t_j) / T`, which is the familiar :math:`p - y` when the
    targets sum to 1. It is the gradient of softmax and cross-entropy together; for another loss on
    probabilities use `softmax_vjp`. Near 0 it keeps its relative accuracy.

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
    if where is None:
        result = kernels.try_plain_cross_entropy(
            logits, targets, out, _WITH_GRAD, axis, class_weight, sample_weight, ignore_index,
            label_smoothing, temperature, reduction, num_threads,
        )  # fmt: skip
        if result is not None:
            return result  # type: ignore[no-any-return]
    options = LossOptions(
        class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction, where
    )
    return _general.cross_entropy(
        logits, targets, options, axis=axis, num_threads=num_threads, with_gradient=True, out=out
    )  # type: ignore[return-value]
