"""Cross-entropy of logits whose classes are spread over ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.distributed._linear import class_range
from fastsm.distributed._reductions import allreduce
from fastsm.functional._loss_options import LossOptions
from fastsm.functional._partial_classes import PartialTargets, Sums
from fastsm.nn.losses._class_loss import ClassLoss
from fastsm.typing import Array, Communicator, Reduction

__all__ = ["ShardedCrossEntropyLoss", "sharded_cross_entropy", "sharded_cross_entropy_with_grad"]


@np.errstate(all="ignore")
def sharded_cross_entropy(
    logits_shard: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    comm: Communicator,
    class_start: int,
    n_classes: int,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Any:
    r"""Cross-entropy where each rank has the logits of its own classes.

    All ranks of the communicator must call it together.

    Parameters
    ----------
    logits_shard : array_like
        Shape (N, c): all rows, the classes from `class_start` on. The shards of all ranks together hold each
        class once.
    targets : array_like
        Labels, shape (N,): integers in ``[0, n_classes)``, the same on all ranks. Or probabilities of the
        rank's own classes: floating, shape (N, c).
    comm : mpi4py.MPI.Comm
        The communicator.
    class_start : int
        The rank's first class.
    n_classes : int
        The number of classes over all ranks.
    class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction
        As for `fastsm.cross_entropy`, the same on all ranks; `class_weight` has the weights of all classes.

    Returns
    -------
    scalar or ndarray
        The same on all ranks: what `fastsm.cross_entropy` returns for the whole logits.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value, or the shards do not hold all classes.

    See Also
    --------
    fastsm.linear_cross_entropy : many classes on one machine, in chunks.

    Notes
    -----
    Each row takes two reductions [1]_: the maximum of one number and the sum of four. Logits stay on their
    rank.

    References
    ----------
    .. [1] M. Shoeybi et al., "Megatron-LM: training multi-billion parameter language models using model
       parallelism", arXiv:1909.08053, 2019, section 3.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from fastsm import distributed
    >>> logits = [[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]  # all classes, on a single rank
    >>> distributed.sharded_cross_entropy(
    ...     logits, [0, 1], comm=MPI.COMM_SELF, class_start=0, n_classes=3, reduction="none").round(4)
    array([0.2395, 1.0986])
    """
    shard = _Shard(logits_shard, None, comm, class_start, n_classes)
    options = LossOptions(class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction)
    y = shard.targets(targets, options)
    return shard.result(y.loss(shard.measure(y)))


@np.errstate(all="ignore")
def sharded_cross_entropy_with_grad(
    logits_shard: ArrayLike,
    targets: ArrayLike,
    /,
    *,
    comm: Communicator,
    class_start: int,
    n_classes: int,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
    out: Array | None = None,
) -> tuple[Any, Array]:
    """Cross-entropy where each rank has the logits of its own classes, and its gradient over these logits.

    Parameters
    ----------
    logits_shard, targets, comm, class_start, n_classes, class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction
        As for `sharded_cross_entropy`.
    out : ndarray, optional
        The array for the gradient; it may be `logits_shard`.

    Returns
    -------
    loss : scalar or ndarray
        As `sharded_cross_entropy` returns it.
    grad : ndarray
        The gradient over the rank's own logits, in their shape and dtype; `out` if that was given.

    Raises
    ------
    TypeError
        If an argument has a wrong type or dtype.
    ValueError
        If an argument has a wrong shape or value, or the shards do not hold all classes.

    Examples
    --------
    >>> import numpy as np
    >>> from mpi4py import MPI
    >>> from fastsm import distributed
    >>> logits = np.array([[120, 0, 0]], dtype=np.float32)
    >>> distributed.sharded_cross_entropy_with_grad(
    ...     logits, [1], comm=MPI.COMM_SELF, class_start=0, n_classes=3)
    (np.float32(120.0), array([[ 1., -1.,  0.]], dtype=float32))
    """  # noqa: E501
    shard = _Shard(logits_shard, out, comm, class_start, n_classes)
    options = LossOptions(class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction)
    y = shard.targets(targets, options)
    sums = shard.measure(y)
    y.gradient(shard.work, shard.start, sums)
    return shard.result(y.loss(sums)), shard.gradient()


class ShardedCrossEntropyLoss(ClassLoss):
    """`sharded_cross_entropy` as the loss of a model that ends in `ShardedLinear`.

    Every rank trains its own model by `fastsm.fit` without `comm`, with the same data, seed and options.

    Parameters
    ----------
    n_classes : int
        The number of classes over all ranks.
    comm : mpi4py.MPI.Comm
        The communicator; each rank has the classes of its `class_range`.
    class_weight, ignore_index, label_smoothing, temperature
        As for `fastsm.nn.CrossEntropyLoss`; `class_weight` has the weights of all classes.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.

    Examples
    --------
    >>> import fastsm
    >>> from mpi4py import MPI
    >>> from fastsm import data, distributed, nn, optim
    >>> X, y = data.load_digits()
    >>> head = distributed.ShardedLinear(32, 10, MPI.COMM_WORLD, rng=1)
    >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), head, rng=0)
    >>> loss = distributed.ShardedCrossEntropyLoss(10, MPI.COMM_WORLD)
    >>> adam = optim.Adam(0.01)
    >>> history = fastsm.fit(model, X, y, loss=loss, optimizer=adam, metrics=(), epochs=5, rng=0)
    >>> history["loss"][-1] < 0.5
    True
    """

    on = "logits"

    def __init__(
        self,
        n_classes: int,
        comm: Communicator,
        *,
        class_weight: ArrayLike | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(class_weight, ignore_index, label_smoothing)
        self.n_classes = _arguments.positive_integer("n_classes", n_classes)
        self.comm = _arguments.communicator(comm)
        self.temperature = _arguments.temperature(temperature)

    def __call__(
        self, outputs: ArrayLike, targets: ArrayLike, *, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the weighted mean over the rows, 0.0 if there is nothing to average."""
        return float(sharded_cross_entropy(outputs, targets, **self._options(sample_weight)))

    def value_and_grad(
        self,
        outputs: ArrayLike,
        targets: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and its gradient over the rank's own logits; `out` may be `outputs`."""
        options = self._options(sample_weight)
        value, grad = sharded_cross_entropy_with_grad(outputs, targets, out=out, **options)
        return float(value), grad

    def config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again, without the communicator, in the types of JSON."""
        own = {"label_smoothing": self.label_smoothing, "temperature": self.temperature}
        return {"n_classes": self.n_classes, **super().config(), **own}

    def _options(self, sample_weight: ArrayLike | None) -> dict[str, Any]:
        return {
            "comm": self.comm,
            "class_start": class_range(self.n_classes, self.comm)[0],
            "n_classes": self.n_classes,
            "class_weight": self.class_weight,
            "sample_weight": sample_weight,
            "ignore_index": self.ignore_index,
            "label_smoothing": self.label_smoothing,
            "temperature": self.temperature,
        }


class _Shard:
    """The logits of one rank, and the array in which their gradient is computed."""

    def __init__(
        self, logits: ArrayLike, out: Array | None, comm: Communicator, class_start: int, n_classes: int
    ) -> None:
        self.comm = _arguments.communicator(comm)
        x = _arguments.matrix("logits_shard", logits, "(N, c)")
        self.n_classes = _arguments.positive_integer("n_classes", n_classes)
        start = _arguments.any_integer("class_start", class_start)
        if not 0 <= start <= self.n_classes - x.shape[1]:
            last = self.n_classes - x.shape[1]
            raise ValueError(
                f"`class_start` must be from 0 to {last} for {x.shape[1]} of {n_classes} classes, got {start}"
            )
        self.start, self.dtype = start, _arguments.result_dtype(x)
        self._given, self._out = out, None
        if out is not None:
            self._out = _arguments.out(out, x.shape, self.dtype)
            _arguments.no_overlap(self._out, "logits_shard", x, may_be_same=True)
        self._logits = x
        self.work: Array = np.empty((0, 0))

    def targets(self, targets: ArrayLike, options: LossOptions) -> PartialTargets:
        """Return the checked targets with their weights."""
        x = self._logits
        result = PartialTargets(targets, (x.shape[0], x.shape[1]), self.n_classes, options)
        if self._out is not None and isinstance(targets, np.ndarray):
            _arguments.no_overlap(self._out, "targets", targets, may_be_same=False)
        return result

    def measure(self, targets: PartialTargets) -> Sums:
        """Return the sums over the classes of all ranks."""
        # All arguments have been checked: `out` may be written from here on.
        usable = self._out is not None and self._out.flags.c_contiguous and self._out.flags.aligned
        dtype = _arguments.compute_dtype(self.dtype)
        if usable and self._out is not None and self._out.dtype == dtype:
            self.work = self._out
            if not _arguments.share_memory(self._out, self._logits):  # otherwise `out` is the logits
                self.work[...] = self._logits
        else:
            self.work = np.array(self._logits, dtype, order="C")
        own = targets.measure(self.work, self.start)
        return self._over_ranks(own)

    def gradient(self) -> Array:
        """Return the gradient that was computed in `work`, in `out` if that was given."""
        if self._out is None or self._given is None:
            return self.work.astype(self.dtype, copy=False)
        if self.work is not self._out:
            self._out[...] = self.work
        return self._given

    def result(self, loss: Any) -> Any:
        """Return a loss in the dtype that it was computed in."""
        dtype = self.work.dtype
        return loss.astype(dtype) if isinstance(loss, np.ndarray) else dtype.type(loss)

    def _over_ranks(self, own: Sums) -> Sums:
        """Combine the sums of all ranks with one maximum and one sum."""
        rows = len(own.others)
        shift = allreduce("MAX", self.comm, own.others.copy())
        shift[shift == -np.inf] = 0
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            exponentials = np.exp(own.others - shift)
            # The last number counts the classes.
            numbers = np.concatenate([exponentials, *own.summed(), [self.work.shape[1]]])
            allreduce("SUM", self.comm, numbers)
            others = shift + np.log(numbers[:rows])
        if numbers[-1] != self.n_classes:
            raise ValueError(
                f"`logits_shard` must have {self.n_classes} classes on all ranks together,"
                f" got {numbers[-1]:g}"
            )
        label, weighted, weight = numbers[rows:-1].reshape(3, rows)
        return Sums(others, label, weighted, weight)
