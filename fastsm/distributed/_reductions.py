"""Reductions over the ranks of a communicator, in place."""

from typing import Any

from fastsm._arguments import Array

__all__ = ["maximum", "minimum", "total"]


def maximum(comm: Any, array: Array) -> Array:
    """Return the largest of all ranks, element by element, in the array itself."""
    return _reduce(comm, array, "MAX")


def minimum(comm: Any, array: Array) -> Array:
    """Return the smallest of all ranks, element by element, in the array itself."""
    return _reduce(comm, array, "MIN")


def total(comm: Any, array: Array) -> Array:
    """Return the sum over all ranks, element by element, in the array itself."""
    return _reduce(comm, array, "SUM")


def _reduce(comm: Any, array: Array, name: str) -> Array:
    # Whoever has a communicator has mpi4py; fastsm itself does not need it.
    from mpi4py import MPI

    comm.Allreduce(MPI.IN_PLACE, array, op=getattr(MPI, name))
    return array
