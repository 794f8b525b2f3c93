"""Read a folder with four files named as those of MNIST."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from fastsm.data._dataset import DataError, Dataset, make_datasets, rows_of_part
from fastsm.data._idx import load_idx

__all__ = ["FILES", "files_in", "read_folder"]

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _spellings(name: str) -> Iterator[str]:
    """Yield the names in use for a file."""
    for stem in (name, name.replace("-idx", ".idx")):
        yield stem
        yield f"{stem}.gz"


def files_in(folder: str) -> list[str]:
    """Return the paths of the four files, empty if none is there; raise DataError if only some are."""
    found = [
        next((path for s in _spellings(name) if os.path.isfile(path := os.path.join(folder, s))), None)
        for name in FILES
    ]
    paths = [path for path in found if path is not None]
    if paths and len(paths) < len(FILES):
        missing = ", ".join(name for name, path in zip(FILES, found, strict=True) if path is None)
        raise DataError(f"{folder!r} lacks {missing} (plain or .gz): put it there too")
    return paths


def read_folder(
    folder: str, classes: tuple[str, ...] | None = None, part: tuple[int, int] = (0, 1)
) -> tuple[Dataset, Dataset]:
    """Return the training data, of which only the rows of `part` are read, and the test data."""
    paths = files_in(folder)
    if not paths:
        raise DataError(
            f"{folder!r} must have the four files {', '.join(FILES)} (plain or .gz), got none of them"
        )
    labels, test_images, test_labels = map(load_idx, paths[1:])
    own = rows_of_part(len(labels), part) if labels.ndim else slice(0)
    if part == (0, 1):
        images = load_idx(paths[0])
    else:
        images = load_idx(paths[0], rows=(own.start, own.stop))
        if classes is None:  # the classes of all rows, even those that are not in this part
            values = np.unique(np.concatenate([labels.reshape(-1), test_labels.reshape(-1)]))
            classes = tuple(map(str, values.tolist()))
            labels, test_labels = np.searchsorted(values, labels), np.searchsorted(values, test_labels)
        labels = labels[own]
    train, test = make_datasets(repr(folder), (images, labels), (test_images, test_labels), classes=classes)
    return train, test
