"""Load data for models, and check and convert them."""

from __future__ import annotations

import zlib

import numpy as np

from fastsm import data
from fastsm._command._errors import BAD_DATA, CommandError
from fastsm._command._options import Settings
from fastsm.typing import Array

__all__ = ["as_trained_on", "check_features", "fingerprint", "load_splits", "split_off"]


def load_splits(settings: Settings, part: tuple[int, int] = (0, 1)) -> data.Splits:
    """Return the training data, or a part of them, and the test data."""
    try:
        return data.load(
            settings["data"],
            data_dir=settings["data_dir"],
            download=settings["download"],
            label=settings["label"],
            part=part,
        )
    except (data.DataError, OSError) as error:
        raise CommandError(str(error), BAD_DATA) from error


def split_off(labels: Array, part: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the rows to keep and the rows to set aside, the same part of each class."""
    aside = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        aside[rows[: round(part * len(rows))]] = True
    return np.flatnonzero(~aside), np.flatnonzero(aside)


def fingerprint(x: Array, y: Array) -> int:
    """Return a checksum of the data."""
    return zlib.crc32(y.tobytes(), zlib.crc32(x.data if x.size else b""))


def check_features(x: Array, features: int, source: str) -> None:
    """Check that each row has the number of values that the model takes."""
    if x.shape[1] != features:
        raise CommandError(
            f"the rows of {source} have {x.shape[1]} values, and the model takes {features}", BAD_DATA
        )


def as_trained_on(x: Array, kind: str | None) -> Array:
    """Return inputs on the scale that the model was trained on; `kind` is the dtype of its training data.

    Bytes are divided by 255 in training. So for a model trained on bytes, whole numbers from 0 to 255 with at
    least one above 1 become bytes. For a model trained on other numbers, bytes become floats of equal value.
    """
    if kind == "uint8" and x.dtype != np.uint8 and x.size:
        low, high = x.min(), x.max()
        if low >= 0 and 1 < high <= 255 and bool((x == np.floor(x)).all()):
            return x.astype(np.uint8)
    if kind is not None and kind != "uint8" and x.dtype == np.uint8:
        return x.astype(np.float32)
    return x
