"""A training that is shared by the ranks of an MPI communicator: each has its part of every mini-batch.

A step takes one reduction: of the flat gradient, which each rank multiplies by the weight of its rows, with
the sum of their losses and of their weights at the end. Divided by all the weight it is the gradient of the
whole batch, whatever its split. Everything else that ranks tell each other is told once an epoch or once a
training.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np

from fastsm.functional import _threads
from fastsm.functional._cores import usable_cores
from fastsm.nn._dropout import Dropout
from fastsm.typing import Array

__all__ = ["ALONE", "Alone", "Ranks"]

T = TypeVar("T")


class Alone:
    """The methods of `Ranks` for a training in one process, which has all rows."""

    rank, size = 0, 1
    idle = False

    def agreeing(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def ending_together(self, shared: Callable[[BaseException], bool]) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def count_rows(self, rows: int) -> int:
        """Return the number of rows."""
        return rows

    def begin(self, run: Any) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def broadcast(self, value: T) -> T:
        """Return the value."""
        return value

    def any_rank(self, value: bool) -> bool:
        """Return the value."""
        return value

    def sum_numbers(self, values: Sequence[Any]) -> list[Any]:
        """Return the values."""
        return list(values)

    def order(self, seed: int, epoch: int, rows: int) -> Array:
        """Return the order of the rows in an epoch: a function of the arguments, as it may be resumed."""
        return np.random.default_rng([seed, epoch]).permutation(rows)

    def evaluated_rows(self, rows: int) -> Array:
        """Return all rows, in their order."""
        return np.arange(rows)

    def batches(self, order: Array, size: int) -> Iterator[Array]:
        """Yield the rows of each batch."""
        return (order[first : first + size] for first in range(0, len(order), size))

    def reduce_gradient(self, grads: Array, value: float, weight: float) -> tuple[Array, float, float, float]:
        """Return the gradient, the factor to multiply it by, the loss and the weight of the batch."""
        return grads, 1.0, value, weight

    def threads(self) -> int | None:
        """Return None: the number of threads stays as it is."""
        return None


ALONE = Alone()


class Ranks(Alone):
    """What one rank knows of all of them, and says to them.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The communicator.
    sharded : bool
        Whether each rank has rows of its own; otherwise all have the same, and take their parts of them.

    Attributes
    ----------
    rank, size : int
        The number of this rank, and of all.
    idle : bool
        Whether this rank has no row in the current batch. It then computes another row, of weight 0.
    """

    def __init__(self, comm: Any, sharded: bool) -> None:
        self.comm, self.sharded = comm, sharded
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.idle = False
        self._counts: list[int] = []
        self._dropouts: list[Dropout] = []
        self._buffer = self._grads = np.empty(0)

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Fail on all ranks if one of them fails."""
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        said = None if failure is None else f"{type(failure).__name__}: {failure}"
        messages = self.comm.allgather(said)
        if failure is not None:
            raise failure
        for rank, message in enumerate(messages):
            if message is not None:
                raise RuntimeError(f"rank {rank} cannot train: {message}")

    @contextmanager
    def ending_together(self, shared: Callable[[BaseException], bool]) -> Iterator[None]:
        """End all processes when one of them fails; the others would wait for it for ever.

        `shared` says which errors are raised by all ranks at once, and can be raised as usual.
        """
        try:
            yield
        except BaseException as error:
            if shared(error):
                raise
            print(f"fastsm: rank {self.rank} failed, which ends all {self.size}:", file=sys.stderr)
            traceback.print_exc()
            sys.stderr.flush()
            self.comm.Abort(130 if isinstance(error, KeyboardInterrupt) else 1)
            raise  # not every launcher is quick

    def count_rows(self, rows: int) -> int:
        """Return the total number of rows over all ranks; `rows` is the number on this one."""
        self._counts = self.comm.allgather(rows)
        if not self.sharded:
            return rows
        if not all(self._counts):
            raise ValueError(f"`X` must have at least one row on each rank, got {self._counts}")
        return sum(self._counts)

    def begin(self, run: Any) -> None:
        """Check that all ranks are about to do the same, and give all of them the first one's numbers."""
        model = run.model
        mine = {
            "model": (repr(model), model.dtype.name, model.params.size),
            "optimizer": (type(run.optimizer).__name__, run.optimizer.steps),
            "X": self._counts if self.sharded else self._counts[self.rank],
            "batch_size": run.batch_size,
            "epochs": run.epochs,
            "metrics": run.names,
            "resume_from": run.epoch,
            "sharded": self.sharded,
        }
        every = self.comm.allgather(mine)
        for name in mine:
            found = [one[name] for one in every]
            if any(other != found[0] for other in found):
                raise ValueError(f"`{name}` must be the same on all ranks, got {found}")
        run.seed = self.broadcast(run.seed)
        self.comm.Bcast(model.params, root=0)
        for layer in model.layers:
            if hasattr(layer, "state") and hasattr(layer, "set_state"):
                layer.set_state(self.comm.bcast(layer.state(), root=0))
        self._dropouts = [layer for layer in model.layers if isinstance(layer, Dropout)]
        self._buffer = np.empty(model.params.size + 2, model.dtype)
        self._grads = self._buffer[:-2]

    def end(self) -> None:
        """Let dropout see whole batches again."""
        for layer in self._dropouts:
            layer._set_part(None)

    def broadcast(self, value: T) -> T:
        """Return what the first rank has."""
        result: T = self.comm.bcast(value, root=0)
        return result

    def any_rank(self, value: bool) -> bool:
        """Return whether it is true on any rank."""
        return any(self.comm.allgather(value))

    def sum_numbers(self, values: Sequence[Any]) -> list[Any]:
        """Return the sums over all ranks of some numbers or small arrays, the same on all of them."""
        gathered = self.comm.allgather(list(values))
        return [sum(each[1:], start=each[0]) for each in zip(*gathered, strict=True)]

    def order(self, seed: int, epoch: int, rows: int) -> Array:
        """Return the order of this rank's rows in an epoch; with `sharded` each rank has one of its own."""
        if not self.sharded:
            return super().order(seed, epoch, rows)
        return np.random.default_rng([seed, epoch, self.rank + 1]).permutation(rows)

    def evaluated_rows(self, rows: int) -> Array:
        """Return the rows that this rank evaluates."""
        if self.sharded:
            return np.arange(rows)
        return np.arange(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def batches(self, order: Array, size: int) -> Iterator[Array]:
        """Yield this rank's rows of each batch, and tell dropout which of the batch's rows these are."""
        steps = -(-(sum(self._counts) if self.sharded else len(order)) // size)
        for step in range(steps):
            if self.sharded:
                cuts = [(n * step // steps, n * (step + 1) // steps) for n in self._counts]
                start, stop = cuts[self.rank]
                before = sum(last - first for first, last in cuts[: self.rank])
                total = sum(last - first for first, last in cuts)
            else:
                first, total = step * size, min(size, len(order) - step * size)
                before, after = total * self.rank // self.size, total * (self.rank + 1) // self.size
                start, stop = first + before, first + after
            self.idle = start == stop
            for layer in self._dropouts:
                layer._set_part((before, total))
            yield order[:1] if self.idle else order[start:stop]

    def reduce_gradient(self, grads: Array, value: float, weight: float) -> tuple[Array, float, float, float]:
        """Return the gradient, the factor to multiply it by, the loss and the weight of the whole batch."""
        buffer, weight = self._buffer, 0.0 if self.idle else weight
        if weight:
            np.multiply(grads, weight, out=self._grads)
            buffer[-2:] = value * weight, weight
        else:
            buffer[...] = 0
        from mpi4py import MPI  # the communicator comes from it

        self.comm.Allreduce(MPI.IN_PLACE, buffer, op=MPI.SUM)
        total = float(buffer[-1])
        share = 1 / total if total else 0.0
        return self._grads, share, float(buffer[-2]) / total if total else 0.0, total

    def threads(self) -> int | None:
        """Return this rank's share of the machine's threads."""
        from mpi4py import MPI

        local = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        neighbours = local.Get_size()
        local.Free()
        own = _threads.get_num_threads()
        # A launcher that binds ranks to cores has divided them already.
        bound = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < (os.cpu_count() or 1)
        return own if bound else max(1, min(own, usable_cores() // neighbours))
