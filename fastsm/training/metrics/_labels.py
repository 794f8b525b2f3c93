"""The classes of rows, from their outputs and from their targets."""

from __future__ import annotations

import numpy as np

from fastsm import _arguments
from fastsm.typing import Array

__all__ = ["dense", "first", "labels_of"]


def labels_of(outputs: Array, targets: Array) -> Array:
    """Return the labels, or the classes with the largest probability in dense targets."""
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        advice = "for one yes-or-no output take nn.BCELoss as the loss, for numbers metrics=[]"
        raise ValueError(
            f"`metrics` on classes need at least two of them, got outputs {outputs.shape}: {advice}"
        )
    if targets.ndim != 1:
        rows = dense(outputs, targets)
        several = np.count_nonzero(rows == 1, axis=1) > 1
        if several.any():
            raise ValueError(
                "`metrics` on classes need targets with one class in each row, got several in row"
                f" {int(several.argmax())}: of those by name 'auc' takes them"
            )
        return np.asarray(rows.argmax(axis=1))
    if targets.dtype.kind not in "iu":
        raise TypeError(f"`targets` must be integers if they are labels, got {targets.dtype}")
    labels, _, _ = _arguments.usable_labels("targets", targets, outputs.shape[1], None)
    return labels


def dense(outputs: Array, targets: Array) -> Array:
    """Return targets with one value for each output; other shapes would broadcast."""
    return _arguments.same_shape("targets", targets, outputs.shape)


def first(outputs: Array) -> Array:
    """Return the class with the largest output of each row, -1 where an output is NaN."""
    return np.asarray(np.where(np.isnan(outputs.max(axis=1)), -1, outputs.argmax(axis=1)))
