"""Masks: which elements take part in a softmax, and what that means for the targets of a loss."""

from __future__ import annotations

import numpy as np

from fastsm._kernels import kernels
from fastsm.typing import Array, DType

__all__ = ["check_allowed", "masked", "spread_smoothing"]


def masked(logits: Array, mask: Array, work: DType) -> Array:
    """Return a copy with -inf where the mask is False."""
    copy = np.array(logits, dtype=work, order="C")
    kernels.fill_where_not(copy, np.ascontiguousarray(mask), -np.inf)
    return copy


def check_allowed(targets: Array, mask: Array, axis: int, counts: Array) -> None:
    """Raise ValueError if a row that counts has its label, or a probability, where the mask is False.

    targets: labels, or probabilities in the shape of the mask; counts: which rows count.
    """
    if targets.shape == mask.shape:
        bad, what = ((targets != 0) & ~mask).any(axis) & counts, "a probability"
    else:
        labels = np.expand_dims(np.where(counts, targets, 0), axis)
        bad, what = ~np.take_along_axis(mask, labels, axis).squeeze(axis) & counts, "the label"
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f" of row {place[0] if len(place) == 1 else place}" if place else ""
        raise ValueError(f"`targets` must lie where `where` is True, got {what}{where} where it is False")


def spread_smoothing(
    targets: Array, mask: Array, axis: int, counts: Array, smoothing: float, work: DType
) -> Array:
    """Return probabilities in which the smoothing is spread over the classes that the mask allows."""
    number = np.count_nonzero(mask, axis=axis, keepdims=True)
    result: Array = np.asarray(mask / np.maximum(number, 1) * smoothing, dtype=work)
    if targets.shape == mask.shape:
        result += ((1 - smoothing) * targets).astype(work)
        return result
    labels = np.expand_dims(np.where(counts, targets, 0), axis)
    own = np.take_along_axis(result, labels, axis) + work.type(1 - smoothing)
    np.put_along_axis(result, labels, own, axis)
    return result
