"""Whether arrays overlap."""

from __future__ import annotations

import numpy as np

from fastsm.typing import Array

__all__ = ["overlaps_itself", "share_memory"]

HARDEST_OVERLAP = 100_000  # steps of a search that may take exponentially many


def share_memory(a: Array, b: Array) -> bool:
    """Whether two arrays share a byte; also True where that is too hard to decide."""
    try:
        return np.shares_memory(a, b, max_work=HARDEST_OVERLAP)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def overlaps_itself(array: Array) -> bool:
    """Whether two elements of an array share a byte.

    If any two do, so do two of which exactly one is first along some axis: moving both along the array keeps
    the difference of their addresses.
    """
    flags = array.flags
    if flags.c_contiguous or flags.f_contiguous:
        return False
    fronts = (np.moveaxis(array, axis, 0) for axis, length in enumerate(array.shape) if length > 1)
    return any(share_memory(front[:1], front[1:]) for front in fronts)
