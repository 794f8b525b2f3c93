"""The processes of a training: those that mpirun started, or a single one."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn, Protocol, TypeVar

from fastsm._command._errors import FAILURE, INTERRUPTED, CommandError, UsageError
from fastsm._command._output import printable
from fastsm.typing import Array, Communicator

__all__ = ["OneProcess", "Processes", "find_processes"]

T = TypeVar("T")

# The other ranks wait, so that the first rank reports an error that all of them have.
_PATIENCE = 1.0  # seconds


class _World(Communicator, Protocol):
    """A communicator that can end all processes."""

    def Abort(self, errorcode: int = ..., /) -> object:
        """End all processes."""


def find_processes(mpi: bool) -> OneProcess:
    """Return the processes that share the training."""
    if not mpi:
        return OneProcess()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: without an MPI library
        raise UsageError(
            f"--mpi needs mpi4py and an MPI library (pip install fastsm[mpi] mpich): {error}"
        ) from None
    comm = MPI.COMM_WORLD
    return Processes(comm) if comm.Get_size() > 1 else OneProcess()


class OneProcess:
    """A single process."""

    comm: Communicator | None = None
    rank, size = 0, 1

    def on_first(self, action: Callable[[], T]) -> T:
        """Return the result of an action that only the first rank performs."""
        return action()

    def sum(self, counts: Array) -> Array:
        """Return the sum over all ranks."""
        return counts

    def fail(self, error: BaseException) -> NoReturn:
        """End the training with an error."""
        raise error


class Processes(OneProcess):
    """One of several processes."""

    def __init__(self, comm: _World) -> None:
        self.comm = self._world = comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()

    def on_first(self, action: Callable[[], T]) -> T:
        """Return the result of an action that only the first rank performs."""
        result: T = self._world.bcast(action() if self.rank == 0 else None, 0)
        return result

    def sum(self, counts: Array) -> Array:
        """Return the sum over all ranks."""
        gathered: list[Array] = self._world.allgather(counts)
        return sum(gathered[1:], start=gathered[0])

    def fail(self, error: BaseException) -> NoReturn:
        """Print the error and end all ranks, which would wait for this one."""
        if self.rank:
            time.sleep(_PATIENCE)
        code = FAILURE
        if isinstance(error, CommandError):
            code = error.code
            where = "" if self.rank == 0 else f" (rank {self.rank} of {self.size})"
            message = printable(" ".join(str(error).split()))
            print(f"fastsm train: error{where}: {message}", file=sys.stderr)
        elif isinstance(error, KeyboardInterrupt):
            code = INTERRUPTED
        else:
            traceback.print_exception(error)
        sys.stderr.flush()
        self._world.Abort(code)
        os._exit(code)  # Abort may return before the launcher ends this process
