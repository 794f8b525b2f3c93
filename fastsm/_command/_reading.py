"""Read the inputs of ``fastsm predict`` from files of several formats."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fastsm import data
from fastsm._command._errors import BAD_DATA, CommandError
from fastsm._command._models import Trained
from fastsm.data._archives import open_archive, read_members
from fastsm.data._columns import check_numbers, is_missing
from fastsm.data._dataset import listed
from fastsm.data._folder import load_images, pictures_in
from fastsm.data._images import PICTURES
from fastsm.data._limits import regular_size
from fastsm.data._npy import read_array
from fastsm.data._table_files import TABLES, read_table
from fastsm.data._tables import read_inputs
from fastsm.typing import Array

__all__ = ["read_rows", "with_pictures"]

_NAMES = ("X", "x", "images", "x_test", "X_test", "test_images")


def with_pictures(names: list[str]) -> list[str]:
    """Return the names, with the pictures in them instead of folders."""
    result = []
    for name in names:
        found = pictures_in(name) if os.path.isdir(name) else [name]
        if not found:
            raise CommandError(f"{name} must have pictures ({', '.join(PICTURES)}), got none", BAD_DATA)
        result += found
    return result


def read_rows(name: str, trained: Trained, *, invert: bool, notes: list[str] | None = None) -> Array:
    """Return the rows in a file, shape (N, features); add what was noticed to `notes`."""
    path, table, pictures = Path(name), trained.model.table, trained.model.pictures
    notes = [] if notes is None else notes
    kind = path.suffix.lower()
    try:
        if kind in (".npy", ".npz"):
            x = _numpy(path, kind)
        elif name.lower().endswith(TABLES):
            x = _numbers(name) if table is None else read_inputs(name, table, notes)
        elif kind in PICTURES:
            if pictures is None:
                raise ValueError("the model was not trained on pictures")
            x = pictures.read(name, invert=invert, notes=notes)[None]
        else:
            x = load_images(path)
    except (ValueError, OSError) as error:
        reason = str(error)
        message = reason if name in reason else f"{name} cannot be read: {reason}"
        raise CommandError(message, BAD_DATA) from error
    return _rows(x, trained, name)


def _rows(x: Array, trained: Trained, name: str) -> Array:
    """Return an array as rows of finite numbers in a dtype that the model takes."""
    if x.dtype.kind not in "fiub":
        raise CommandError(f"{name} must hold numbers, got {x.dtype}", BAD_DATA)
    if x.shape == (trained.features,) or x.shape == trained.shape:
        x = x[None]  # one row, or one image
    if x.ndim < 2:
        raise CommandError(
            f"{name} must hold rows of {trained.features} values, got shape {x.shape}", BAD_DATA
        )
    x = x.reshape(len(x), -1) if x.size else x.reshape(0, trained.features)
    if x.dtype.kind in "fb":
        with np.errstate(over="ignore"):
            x = x.astype(trained.model.dtype)
        if not np.isfinite(x).all():
            raise CommandError(f"{name} must hold finite numbers, got NaN or infinity", BAD_DATA)
    return np.ascontiguousarray(x)


def _numpy(path: Path, kind: str) -> Array:
    if kind == ".npy":
        size = regular_size(str(path))
        with path.open("rb") as file:
            return read_array(file, size, repr(str(path)))
    with open_archive(str(path)) as (archive, members):
        name = next((n for n in _NAMES if n in members), next(iter(members), ""))
        if name not in members or (name not in _NAMES and len(members) > 1):
            raise ValueError(f"it must hold an array X, got {listed(members)}")
        return read_members(archive, [members[name]], str(path))[0]


def _numbers(path: str) -> Array:
    """Return a table of numbers without its column of labels, for a model that was not trained on a table."""
    file = read_table(path, lambda names: [name for name in names if name.lower() == "label"])
    parts, first = [], 0
    for chunk in file.chunks:
        columns = []
        for name in file.names:
            if name.lower() != "label":
                columns.append(check_numbers(repr(path), name, chunk[name], first))
                missing = is_missing(columns[-1])
                if missing.any():
                    row = first + int(missing.argmax()) + 1
                    raise data.DataError(f"{path!r} has no number in row {row}, column {name!r}: fill it in")
        if not columns:
            raise data.DataError(f"{path!r} must have columns of numbers")
        # Bytes of a table may be counts: only files of bytes are bytes.
        parts.append(np.stack(columns, axis=1).astype(np.result_type(np.int16, *columns)))
        first += len(parts[-1])
    return np.concatenate(parts)
