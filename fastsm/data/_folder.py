"""Read a folder with four files named as those of MNIST, or with a folder of pictures for each class."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from fastsm.data._dataset import DataError, Dataset, listed, make_datasets, rows_of_part
from fastsm.data._idx import load_idx
from fastsm.data._images import PICTURES, Pictures, sides
from fastsm.data._limits import LIMIT, regular_size
from fastsm.typing import Array

__all__ = ["FILES", "files_in", "load_images", "pictures_in", "read_class_folders", "read_folder"]

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

_PREFIXED = re.compile(r"(.+)-train-images[-.]idx3-ubyte(\.gz)?")
# The names of folders for parts of the data.
_PARTS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_SIDE, _SMALL = 28, 64 * 64  # the default size of pictures; pixels up to which they keep their own


def _spellings(name: str) -> Iterator[str]:
    """Yield the names in use for a file."""
    for stem in (name, name.replace("-idx", ".idx")):
        yield stem
        yield f"{stem}.gz"


def files_in(path: str) -> list[str]:
    """Return the paths of the four files, empty if none is there; raise DataError if only some are.

    `path` is their folder; or, for names as those of EMNIST ("emnist-letters-train-images-idx3-ubyte"), the
    folder and the begin of the names.
    """
    folder, prefix = path, ""
    if not os.path.isdir(path):
        folder, prefix = os.path.dirname(path) or ".", f"{os.path.basename(path)}-"
    elif sets := sorted({m[1] for name in os.listdir(path) if (m := _PREFIXED.fullmatch(name))}):
        if len(sets) > 1:
            raise DataError(
                f"{path!r} has several data sets: give one, {os.path.join(path, sets[0])!r} or so"
            )
        prefix = f"{sets[0]}-"
    names = [f"{prefix}{name.replace('t10k', 'test') if prefix else name}" for name in FILES]
    found = [
        next((file for s in _spellings(name) if os.path.isfile(file := os.path.join(folder, s))), None)
        for name in names
    ]
    paths = [file for file in found if file is not None]
    if paths and len(paths) < len(FILES):
        missing = ", ".join(name for name, file in zip(names, found, strict=True) if file is None)
        raise DataError(f"{folder!r} lacks {missing} (plain or .gz): put it there too")
    return paths


def load_images(path: str | os.PathLike[str], rows: tuple[int, int] | None = None) -> Array:
    """Return the images in an IDX file; those of EMNIST, which are stored by columns, upright."""
    images = load_idx(path, rows=rows)
    is_sideways = os.path.basename(path).startswith("emnist-") and images.ndim == 3
    return np.ascontiguousarray(images.swapaxes(1, 2)) if is_sideways else images


def read_folder(
    folder: str, classes: tuple[str, ...] | None = None, part: tuple[int, int] = (0, 1)
) -> tuple[Dataset, Dataset]:
    """Return the training data, of which only the rows of `part` are read, and the test data."""
    paths = files_in(folder)
    labels, test_images, test_labels = load_idx(paths[1]), load_images(paths[2]), load_idx(paths[3])
    own = rows_of_part(len(labels), part) if labels.ndim else slice(0)
    names = _names(re.sub(r"train-labels.*", "mapping.txt", paths[1]))
    images = load_images(paths[0], None if part == (0, 1) else (own.start, own.stop))
    if classes is None and (names or part != (0, 1)):  # the classes of all rows, not only of this part
        values = np.unique(np.concatenate([labels.reshape(-1), test_labels.reshape(-1)]))
        classes = tuple(names.get(value, str(value)) for value in values.tolist())
        labels, test_labels = np.searchsorted(values, labels), np.searchsorted(values, test_labels)
    train, test = make_datasets(
        repr(folder), (images, labels[own]), (test_images, test_labels), classes=classes
    )
    return train, test


def _names(path: str) -> dict[int, str]:
    """Return the characters of labels, in EMNIST's file "1 65 97" a line; empty without the file."""
    if not os.path.isfile(path) or regular_size(path) > 1 << 16:
        return {}
    with open(path, encoding="ascii", errors="replace") as file:
        lines = [re.fullmatch(r"(\d{1,5}) (\d{1,5})( \d+)?\s*", line) for line in file]
    return {int(m[1]): chr(int(m[2])) for m in lines if m}


# ---- pictures ----


def read_class_folders(
    folder: str, form: Pictures | None, size: int | None, notes: list[str]
) -> dict[str, Dataset]:
    """Return the pictures in a folder with a folder for each class, as "all" or "train", "val" and "test".

    Each becomes what `form` says, by default of one size: `size` x `size`, or their own size if it is the
    same and small. What is done is added to `notes`.
    """
    inside = {name.lower(): name for name in _folders(folder)}
    where = {"all": folder}
    if "train" in inside and len(inside) > 1 and set(inside) <= set(_PARTS):
        where = {_PARTS[name]: os.path.join(folder, inside[name]) for name in inside}
    files = {part: list(_files(path)) for part, path in where.items()}
    names = sorted(
        {name for rows in files.values() for name, _ in rows},
        key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name),
    )
    if len(names) < (2 if form is None else 1):
        raise DataError(
            f"{folder!r} must have a folder of pictures for each of two classes or more, or the four files"
            f" {', '.join(FILES)} (plain or .gz), got {listed(sorted(os.listdir(folder)))}"
        )
    paths = [path for rows in files.values() for _, path in rows]
    made = form or Pictures((*_size(paths, size, notes), 3))
    features = made.features
    if len(paths) * features > LIMIT:
        raise DataError(f"{folder!r} has {len(paths)} pictures, too many for {features} values each")
    X = np.empty((len(paths), features), np.uint8 if made.white is None else np.float32)
    done: Counter[str] = Counter()
    for row, path in zip(X, paths, strict=True):
        said: list[str] = []
        row[...] = made.read(path, notes=said)
        done.update(said)
    notes += [f"{count} of {len(paths)} pictures: {what}" for what, count in done.items()]
    shape, rgb = made.shape, X.reshape(-1, features // 3, 3) if form is None else None
    if rgb is not None and (rgb == rgb[..., :1]).all():
        shape, X = shape[:2], rgb[..., 0].copy()
    numbers, result, first = {name: i for i, name in enumerate(names)}, {}, 0
    for part, rows in files.items():
        y = np.array([numbers[name] for name, _ in rows], np.int64)
        result[part] = Dataset(X[first : first + len(y)], y, tuple(names), shape)
        first += len(y)
    return result


def pictures_in(folder: str) -> list[str]:
    """Return the paths of the pictures in a folder and the folders in it; hidden files are left out."""
    found = (os.path.join(where, name) for where, _, names in os.walk(folder) for name in names)
    return sorted(
        path
        for path in found
        if path.lower().endswith(PICTURES) and not os.path.basename(path).startswith(".")
    )


def _folders(folder: str) -> list[str]:
    names = (name for name in sorted(os.listdir(folder)) if not name.startswith((".", "__")))
    return [name for name in names if os.path.isdir(os.path.join(folder, name))]


def _files(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the class and the path of each picture."""
    for name in _folders(folder):
        paths = pictures_in(os.path.join(folder, name))
        if not paths:
            raise DataError(
                f"{os.path.join(folder, name)!r} must have pictures of the class {name!r}"
                f" ({', '.join(PICTURES)}), got none"
            )
        for path in paths:
            yield name, path


def _size(paths: Sequence[str], size: int | None, notes: list[str]) -> tuple[int, int]:
    """Return the height and the width that pictures get."""
    found = Counter(map(sides, paths))
    result = next(iter(found))
    if size is not None or len(found) > 1 or math.prod(result) > _SMALL:
        result = (size or _SIDE, size or _SIDE)
    changed = len(paths) - found[result]
    if changed:
        notes.append(f"{changed} of {len(paths)} pictures: resized to {result[0]} x {result[1]}")
    return result
