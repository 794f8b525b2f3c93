"""Load data for models, and check and convert them."""

from __future__ import annotations

import os
import zlib

import numpy as np

from fastsm import data
from fastsm._command._errors import BAD_DATA, CommandError
from fastsm._command._models import Trained
from fastsm._command._options import Settings
from fastsm._command._train_options import NAMED
from fastsm.data._folder import files_in
from fastsm.data._sets import load_whole
from fastsm.typing import Array

__all__ = ["as_trained_on", "check_features", "fingerprint", "load_splits", "part_of", "split_off"]


def load_splits(settings: Settings, part: tuple[int, int] = (0, 1)) -> data.Splits:
    """Return the training data, or a part of them, and the test data."""
    try:
        return data.load(
            settings["data"],
            data_dir=settings["data_dir"],
            download=settings["download"],
            label=settings["label"],
            drop=settings["drop"],
            keep=settings["keep"],
            val=settings["val"],
            test=settings["test"],
            size=settings["size"],
            regression=settings["task"] == "regression",
            part=part,
        )
    except (data.DataError, OSError) as error:
        raise CommandError(str(error), BAD_DATA) from error


def part_of(trained: Trained, settings: Settings, notes: list[str]) -> tuple[data.Dataset, str]:
    """Return the part of a data set to measure a model with, and its name; raise DataError.

    What was done to pictures is added to `notes`.
    """
    name, stored, part = settings["data"], trained.settings, settings["part"]
    table, own = trained.model.table, _same_path(name, stored.get("data"))
    pictures = trained.model.pictures
    is_file = os.path.isfile(name) or (os.path.isdir(name) and name not in NAMED and not files_in(name))
    if not own and part in (None, "all") and is_file:
        return load_whole(name, table, pictures, notes), "all"
    if own and pictures is not None:
        pictures = pictures.plain()  # as in the training
    part = part or "test"
    val, test = (
        stored.get(key) if own and isinstance(stored.get(key), str) else None for key in ("val", "test")
    )
    splits = data.load(
        name,
        data_dir=settings["data_dir"],
        download=settings["download"],
        table=table,
        pictures=pictures,
        val=val,
        test=test,
    )
    notes.extend(splits.notes)
    if part == "test":
        return splits.test, part
    if part == "all":
        return _both(splits.train, splits.test), part
    if part == "val" and splits.val is not None:
        return splits.val, part
    aside = 0.0
    if own and splits.val is None:
        aside = stored.get("val_split", 0.0)
    seed = stored.get("seed", 0)
    if not (isinstance(aside, float) and 0 <= aside < 1 and type(seed) is int and seed >= 0):
        raise data.DataError(f"{trained.path.parent} must have the settings of its validation data")
    rows = split_off(splits.train, aside, seed)[part == "val"]
    one = splits.train
    return data.Dataset(one.X[rows], one.y[rows], one.classes, one.shape), part


def _same_path(name: str, stored: object) -> bool:
    """Whether two names are of the same data set."""
    return name == stored or (
        isinstance(stored, str)
        and os.path.exists(stored)
        and os.path.exists(name)
        and os.path.samefile(name, stored)
    )


def _both(one: data.Dataset, other: data.Dataset) -> data.Dataset:
    return data.Dataset(
        np.concatenate([one.X, other.X]), np.concatenate([one.y, other.y]), one.classes, one.shape
    )


def split_off(train: data.Dataset, part: float, seed: int) -> tuple[Array, Array]:
    """Return the rows to train on and the rows for validation, the same part of each class."""
    rng = np.random.default_rng([seed, 2])
    labels = train.y if train.classes else np.zeros(len(train), np.int64)
    aside = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        aside[rows[: round(part * len(rows))]] = True
    return np.flatnonzero(~aside), np.flatnonzero(aside)


def fingerprint(splits: data.Splits) -> int:
    """Return a checksum of the data."""
    result = 0
    for part in (splits.train, splits.val, splits.test):
        for array in () if part is None else (part.X, part.y):
            result = zlib.crc32(np.ascontiguousarray(array).data if array.size else b"", result)
    return result


def check_features(x: Array, features: int, source: str) -> None:
    """Check that each row has the number of values that the model takes."""
    if x.shape[1] != features:
        raise CommandError(
            f"the rows of {source} have {x.shape[1]} values, and the model takes {features}", BAD_DATA
        )


def as_trained_on(x: Array, trained: Trained, source: str) -> Array:
    """Return inputs on the scale that the model was trained on.

    Bytes are divided by 255 in training. For a model of bytes, integers must be bytes, and other numbers are
    from 0 to 1. For a model of other numbers, bytes become floats of equal value; but pixels that are more
    than twice as large as white are on another scale.
    """
    kind, pictures = trained.dtype, trained.model.pictures
    if pictures is not None and pictures.white is not None and x.size and x.max() > 2 * pictures.white:
        raise CommandError(
            f"{source} has numbers up to {x.max():g}, and the model takes pixels from 0 to"
            f" {pictures.white:g}: scale them",
            BAD_DATA,
        )
    if kind == "uint8" and x.dtype != np.uint8 and x.size:
        largest = 255 if x.dtype.kind in "iu" else 1
        if x.min() < 0 or x.max() > largest:
            raise CommandError(
                f"{source} has {x.dtype} from {x.min()} to {x.max()}, and the model takes pixels: integers"
                " from 0 to 255, or other numbers from 0 to 1",
                BAD_DATA,
            )
        return x.astype(np.uint8) if largest == 255 else x
    if kind is not None and kind != "uint8" and x.dtype == np.uint8:
        return x.astype(np.float32)
    return x
