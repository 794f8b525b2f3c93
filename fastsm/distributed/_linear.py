"""A linear layer whose classes are spread over ranks, with `class_range` and `sharded_argmax`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments, nn
from fastsm.distributed._reductions import allreduce
from fastsm.nn.initializers import Initializer
from fastsm.typing import Array, Communicator

__all__ = ["ShardedLinear", "class_range", "sharded_argmax"]


def class_range(n_classes: int, comm: Communicator) -> tuple[int, int]:
    """Return the range of this rank's classes, which are divided as evenly as possible.

    Parameters
    ----------
    n_classes : int
        The number of classes over all ranks.
    comm : mpi4py.MPI.Comm
        The communicator.

    Returns
    -------
    start, stop : int
        The rank has the classes ``range(start, stop)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from fastsm import distributed
    >>> distributed.class_range(1000, MPI.COMM_SELF)
    (0, 1000)
    """
    count = _arguments.positive_integer("n_classes", n_classes)
    rank, size = _arguments.communicator(comm).Get_rank(), comm.Get_size()
    return count * rank // size, count * (rank + 1) // size


def sharded_argmax(logits_shard: ArrayLike, /, *, comm: Communicator, class_start: int) -> Array:
    """Return the class with the largest logit in each row, where each rank has the logits of its own classes.

    All ranks of the communicator must call it together.

    Parameters
    ----------
    logits_shard : array_like
        Shape (N, c): all rows, the classes from `class_start` on.
    comm : mpi4py.MPI.Comm
        The communicator.
    class_start : int
        The rank's first class.

    Returns
    -------
    ndarray
        Shape (N,), int64, the same on all ranks; the first class if logits are equal.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from fastsm import distributed
    >>> distributed.sharded_argmax([[0.0, 2.0, 1.0]], comm=MPI.COMM_SELF, class_start=0)
    array([1])
    """
    x = _arguments.matrix("logits_shard", logits_shard, "(N, c)")
    start = _arguments.any_integer("class_start", class_start)
    own, best = np.full(len(x), -np.inf), np.zeros(len(x), np.int64)
    if x.shape[1]:
        best = x.argmax(axis=1)
        own = x[np.arange(len(x)), best].astype(np.float64)
    largest = allreduce("MAX", _arguments.communicator(comm), own.copy())
    nowhere = np.iinfo(np.int64).max
    return allreduce("MIN", comm, np.where((own == largest) & (x.shape[1] > 0), best + start, nowhere))


class ShardedLinear(nn.Linear):
    """The last layer of a network with very many classes: each rank has the weights of its own classes.

    The output is this rank's shard of the logits, shape (N, stop - start). The gradient over the input is
    summed over the ranks: the layers before, which all ranks have, stay the same on all of them.

    Parameters
    ----------
    n_in : int
        Number of features of the input.
    n_classes : int
        The number of classes over all ranks, at least one for each rank.
    comm : mpi4py.MPI.Comm
        The communicator.
    bias, init
        As for `fastsm.nn.Linear`.
    rng : None or int
        The seed of the weights; each rank derives its own from it.

    Attributes
    ----------
    start, stop : int
        The range of this rank's classes, from `class_range`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> from fastsm import distributed
    >>> layer = distributed.ShardedLinear(2, 3, MPI.COMM_SELF, init="ones")
    >>> layer.forward([[1.0, 2.0]])
    array([[3., 3., 3.]])
    >>> layer.gathered()
    Linear(2, 3)
    """

    def __init__(
        self,
        n_in: int,
        n_classes: int,
        comm: Communicator,
        *,
        bias: bool = True,
        init: str | Initializer = "he_normal",
        rng: int | None = None,
    ) -> None:
        self.comm = _arguments.communicator(comm)
        self.n_classes = _arguments.positive_integer("n_classes", n_classes)
        self.start, self.stop = class_range(n_classes, comm)
        if self.n_classes < comm.Get_size():
            raise ValueError(
                f"`n_classes` must be at least the number of ranks, {comm.Get_size()}, got {n_classes}"
            )
        generator = None if rng is None else np.random.default_rng([_arguments.seed(rng), self.start])
        super().__init__(n_in, self.stop - self.start, bias=bias, init=init, rng=generator)

    def config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again, without the communicator, in the types of JSON."""
        config = super().config()
        del config["n_out"]
        return {**config, "n_classes": self.n_classes}

    def gathered(self) -> nn.Linear:
        """Return the layer with all classes, on all ranks: to save it or to use it on one machine."""
        layer = nn.Linear(self.n_in, self.n_classes, bias=self.bias)
        parts = self.comm.allgather({name: np.asarray(value) for name, value in self.params.items()})
        layer.params = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in self.params}
        layer.grads = {name: np.zeros_like(value) for name, value in layer.params.items()}
        return layer

    def _backward(self, dy: Array, input_grad: bool, reuse: bool) -> Array | None:
        dx = super()._backward(dy, input_grad, reuse)
        return None if dx is None else allreduce("SUM", self.comm, dx)

    def __repr__(self) -> str:
        return f"ShardedLinear({self.n_in}, {self.start}:{self.stop} of {self.n_classes})"
