"""The processes that share a training started by mpirun, or the only one."""

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from fastsm._command._errors import FAILURE, INTERRUPTED, CommandError, UsageError
from fastsm._command._output import printable

__all__ = ["Alone", "World", "world"]

T = TypeVar("T")

# What the first rank gets to tell an error that all have, before another one does.
_PATIENCE = 1.0  # seconds


def world(mpi: bool) -> "Alone":
    """Return the processes that there are."""
    if not mpi:
        return Alone()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: without an MPI library
        raise UsageError(
            f"--mpi needs mpi4py and an MPI library (pip install fastsm[mpi] mpich): {error}"
        ) from None
    comm = MPI.COMM_WORLD
    return World(comm) if comm.Get_size() > 1 else Alone()


class Alone:
    """A process that shares nothing."""

    comm: Any = None
    rank, size = 0, 1

    def first_does(self, action: Callable[[], T]) -> T:
        """Return what the first rank gets from this, which the others do not do."""
        return action()

    def add(self, value: Any) -> Any:
        """Return the sum over all ranks."""
        return value

    def end(self, error: BaseException) -> NoReturn:
        """End what cannot go on."""
        raise error


class World(Alone):
    """One of several."""

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()

    def first_does(self, action: Callable[[], T]) -> T:
        """Return what the first rank gets from this, which the others do not do."""
        result: T = self.comm.bcast(action() if self.rank == 0 else None, root=0)
        return result

    def add(self, value: Any) -> Any:
        """Return the sum over all ranks."""
        gathered = self.comm.allgather(value)
        return sum(gathered[1:], start=gathered[0])

    def end(self, error: BaseException) -> NoReturn:
        """Tell what happened and end all ranks: the others would wait for this one."""
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
        self.comm.Abort(code)
        os._exit(code)  # not every launcher is quick
