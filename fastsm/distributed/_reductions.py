"""Reductions over the ranks of a communicator."""

from __future__ import annotations

from typing import Literal

from fastsm.typing import Array, Communicator

__all__ = ["allreduce"]


def allreduce(operation: Literal["MAX", "MIN", "SUM"], comm: Communicator, array: Array) -> Array:
    """Replace each element by its maximum, minimum or sum over all ranks, and return the array."""
    from mpi4py import MPI  # fastsm works without mpi4py: only callers with a communicator need it

    comm.Allreduce(MPI.IN_PLACE, array, getattr(MPI, operation))
    return array
