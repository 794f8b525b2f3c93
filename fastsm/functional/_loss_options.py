"""The options that every form of cross-entropy takes."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike

from fastsm.typing import Reduction

__all__ = ["LossOptions"]


class LossOptions(NamedTuple):
    """The options of `fastsm.cross_entropy` that say how rows and classes count; not yet checked."""

    class_weight: ArrayLike | None
    sample_weight: ArrayLike | None
    ignore_index: int | None
    label_smoothing: float
    temperature: float
    reduction: Reduction
    where: ArrayLike | None = None
