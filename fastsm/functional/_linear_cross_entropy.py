"""Cross-entropy from features and weights, a chunk of classes at a time, without all logits in memory."""

from __future__ import annotations

import math
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsm import _arguments
from fastsm._arguments._advice import about_labels
from fastsm.functional._loss_options import LossOptions
from fastsm.functional._partial_classes import PartialTargets, Sums
from fastsm.typing import Array, Computed, Reduction, ScalarOrArray

__all__ = ["linear_cross_entropy", "linear_cross_entropy_with_grad"]

# Logits in memory at a time, by default: 16 MB of float32.
_LOGITS = 1 << 22


@overload
def linear_cross_entropy(
    x: NDArray[Computed], weight: ArrayLike, targets: ArrayLike, /, *, bias: ArrayLike | None = None,
    chunk: int | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0, reduction: Literal["mean", "sum"] = "mean",
) -> Computed: ...  # fmt: skip
@overload
def linear_cross_entropy(
    x: NDArray[Computed], weight: ArrayLike, targets: ArrayLike, /, *, bias: ArrayLike | None = None,
    chunk: int | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0, reduction: Literal["none"],
) -> NDArray[Computed]: ...  # fmt: skip
@overload
def linear_cross_entropy(
    x: ArrayLike, weight: ArrayLike, targets: ArrayLike, /, *, bias: ArrayLike | None = None,
    chunk: int | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0, reduction: Reduction = "mean",
) -> ScalarOrArray: ...  # fmt: skip
@np.errstate(all="ignore")
def linear_cross_entropy(
    x: ArrayLike,
    weight: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    bias: ArrayLike | None = None,
    chunk: int | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> ScalarOrArray:
    r"""Cross-entropy of the logits ``x @ weight + bias``, without holding all of them in memory.

    For so many classes that the logits would fill the memory.

    Parameters
    ----------
    x : array_like
        Features, shape (N, n_in).
    weight : array_like
        Shape (n_in, C), floating.
    targets : array_like
        Labels, shape (N,), integers in ``[0, C)``.
    bias : array_like, optional
        Shape (C,).
    chunk : int, optional
        The number of classes to take at a time; ``N * chunk`` logits are in memory. By default about 4
        million logits, but at least 256 classes.
    class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction
        As for `cross_entropy`.

    Returns
    -------
    scalar or ndarray
        As `cross_entropy` returns it, in the dtype of the features, but float32 for 16-bit features.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value, such as a label out of range.

    See Also
    --------
    linear_cross_entropy_with_grad : the loss and its gradients, with a second product for each chunk.
    fastsm.distributed.sharded_cross_entropy : the classes spread over processes.

    Notes
    -----
    The sums of exponentials are merged chunk by chunk [1]_. NumPy computes the products.

    References
    ----------
    .. [1] M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsm
    >>> rng = np.random.default_rng(0)
    >>> x, weight = rng.standard_normal((4, 8)), rng.standard_normal((8, 1000))
    >>> loss = fastsm.linear_cross_entropy(x, weight, [7, 77, 777, 0], chunk=100)
    >>> bool(np.isclose(loss, fastsm.cross_entropy(x @ weight, [7, 77, 777, 0])))
    True
    """
    logits = _ChunkedLogits(x, weight, bias, chunk)
    options = LossOptions(class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction)
    y = logits.targets(targets, options)
    return logits.result(y.loss(logits.measure(y)))


@overload
def linear_cross_entropy_with_grad(
    x: NDArray[Computed], weight: ArrayLike, targets: ArrayLike, /, *, bias: ArrayLike | None = None,
    chunk: int | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0, reduction: Literal["mean", "sum"] = "mean",
) -> tuple[Computed, tuple[NDArray[Computed], NDArray[Computed], NDArray[Computed] | None]]: ...  # fmt: skip
@overload
def linear_cross_entropy_with_grad(
    x: ArrayLike, weight: ArrayLike, targets: ArrayLike, /, *, bias: ArrayLike | None = None,
    chunk: int | None = None, class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, temperature: float = 1.0, reduction: Literal["mean", "sum"] = "mean",
) -> tuple[ScalarOrArray, tuple[Array, Array, Array | None]]: ...  # fmt: skip
@np.errstate(all="ignore")
def linear_cross_entropy_with_grad(
    x: ArrayLike,
    weight: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    bias: ArrayLike | None = None,
    chunk: int | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> tuple[ScalarOrArray, tuple[Array, Array, Array | None]]:
    r"""Cross-entropy of the logits ``x @ weight + bias``, and its gradients, without holding all logits.

    Parameters
    ----------
    x, weight, targets, bias, chunk, class_weight, sample_weight, ignore_index, label_smoothing, temperature
        As for `linear_cross_entropy`.
    reduction : {"mean", "sum"}, default "mean"
        The weighted mean or sum.

    Returns
    -------
    loss : scalar
        In the dtype of the features, but float32 for 16-bit features.
    grads : tuple of ndarray
        Over `x`, `weight` and `bias` (None without a bias), with their shapes.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value, such as a label out of range.

    Notes
    -----
    Each chunk's logits are computed twice: for the sums, and for the gradient g over them. From that follow
    ``d_x += g @ weight.T``, ``d_weight = x.T @ g`` and ``d_bias = g.sum(axis=0)``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsm
    >>> rng = np.random.default_rng(0)
    >>> x, weight = rng.standard_normal((4, 8)), rng.standard_normal((8, 1000))
    >>> labels = [7, 77, 777, 0]
    >>> loss, (d_x, d_weight, _) = fastsm.linear_cross_entropy_with_grad(x, weight, labels, chunk=100)
    >>> whole, d_logits = fastsm.cross_entropy_with_grad(x @ weight, labels)
    >>> bool(np.allclose(d_x, d_logits @ weight.T) and np.allclose(d_weight, x.T @ d_logits))
    True
    """
    if _arguments.one_of("reduction", reduction, _arguments.REDUCTIONS) == "none":
        raise ValueError("`reduction` must be 'mean' or 'sum' for gradients over weights, got 'none'")
    logits = _ChunkedLogits(x, weight, bias, chunk)
    options = LossOptions(class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction)
    y = logits.targets(targets, options)
    sums = logits.measure(y)
    return logits.result(y.loss(sums)), logits.gradients(y, sums)


class _ChunkedLogits:
    """Features, weights, and a buffer for the logits of one chunk of the classes."""

    def __init__(self, x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None, chunk: int | None) -> None:
        features = _arguments.matrix("x", x, "(N, n_in)")
        matrix, n_in = _arguments.array("weight", weight), features.shape[1]
        _arguments.check_shape("weight", matrix, matrix.shape[:-1] == (n_in,), f"({n_in}, C)")
        self.dtype = _arguments.result_dtype(features)
        work = _arguments.compute_dtype(self.dtype)
        self.x, self.weight = features.astype(work, copy=False), matrix
        self.rows, self.classes = len(features), matrix.shape[1]
        self.bias = None
        if bias is not None:
            self.bias = _arguments.same_shape("bias", _arguments.array("bias", bias), (self.classes,))
        size = (
            max(256, _LOGITS // max(1, self.rows))
            if chunk is None
            else _arguments.positive_integer("chunk", chunk)
        )
        self.chunk = min(size, max(1, self.classes))
        self._logits = np.empty(self.rows * self.chunk, work)

    def targets(self, targets: ArrayLike, options: LossOptions) -> PartialTargets:
        """Return the labels and their weights."""
        labels = _arguments.plain("targets", targets)
        if labels.size and labels.dtype.kind not in "iu":
            about = ""
            if labels.dtype.kind == "f":
                about = about_labels("targets", labels, (self.rows, self.classes), (self.rows,), 1)
            raise TypeError(f"`targets` must have an integer dtype (labels), got {labels.dtype}{about}")
        result = PartialTargets(targets, (self.rows, self.classes), self.classes, options)
        if not result.counts.all():  # a row that does not count may hold NaN, and 0 times NaN is NaN
            self.x = np.where(result.counts[:, None], self.x, 0)
        return result

    def measure(self, targets: PartialTargets) -> Sums:
        """Return the sums over all classes."""
        sums = Sums.over_nothing(self.rows)
        for start in range(0, self.classes, self.chunk):
            _, logits = self._chunk(start)
            sums.add(targets.measure(logits, start))
        return sums

    def gradients(self, targets: PartialTargets, sums: Sums) -> tuple[Array, Array, Array | None]:
        """Return the gradients over features, weights and bias."""
        d_x, product = np.zeros_like(self.x), np.empty_like(self.x)
        d_weight = np.empty((self.x.shape[1], self.classes), self.x.dtype)
        d_bias = None if self.bias is None else np.empty(self.classes, self.x.dtype)
        for start in range(0, self.classes, self.chunk):
            weight, work = self._chunk(start)
            if targets.scale != 1:
                work *= targets.scale
            targets.gradient(work, start, sums)
            columns = slice(start, start + self.chunk)
            np.matmul(self.x.T, work, out=d_weight[:, columns])
            d_x += np.matmul(work, weight.T, out=product)
            if d_bias is not None:
                work.sum(axis=0, out=d_bias[columns])
        dtype = self.dtype
        return (
            d_x.astype(dtype, copy=False),
            d_weight.astype(dtype, copy=False),
            None if d_bias is None else d_bias.astype(dtype, copy=False),
        )

    def result(self, loss: float | Array) -> ScalarOrArray:
        """Return a loss in the dtype that it was computed in."""
        dtype = self.x.dtype
        return loss.astype(dtype) if isinstance(loss, np.ndarray) else dtype.type(loss)

    def _chunk(self, start: int) -> tuple[Array, Array]:
        """Return the weights of the chunk that begins at class `start`, and its logits, in the buffer."""
        columns = slice(start, min(start + self.chunk, self.classes))
        weight = self.weight[:, columns].astype(self.x.dtype, copy=False)
        shape = (self.rows, weight.shape[1])
        logits = self._logits[: math.prod(shape)].reshape(shape)
        np.matmul(self.x, weight, out=logits)
        if self.bias is not None:
            logits += self.bias[columns].astype(logits.dtype, copy=False)
        return weight, logits
