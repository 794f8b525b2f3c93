"""Data sets in memory, and the error for files that do not hold one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastsm.typing import Array

if TYPE_CHECKING:
    from fastsm.data._table import Table

__all__ = [
    "DataError",
    "Dataset",
    "Splits",
    "listed",
    "make_datasets",
    "renumbered",
    "rows_of_part",
    "split",
    "test_rows",
]


class DataError(ValueError):
    """A file or data set cannot be used: one sentence names it and says what to do.

    Examples
    --------
    >>> from fastsm import data
    >>> try:
    ...     data.load("mnits")
    ... except data.DataError as error:
    ...     print(error)
    'mnits' is neither a data set nor a path: give digits, fashion-mnist, kmnist, mnist, or a file or folder
    """


def listed(names: Iterable[str]) -> str:
    """Return the first names in one line for an error message; characters that do not print are escaped."""
    shown = [name if name.isprintable() else ascii(name) for name in itertools.islice(names, 9)]
    return f"{', '.join(shown[:8]) or 'nothing':.200}{', ...' * (len(shown) > 8)}"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of numbers, each with its class.

    Attributes
    ----------
    X : ndarray of uint8, float32 or float64, shape (N, features)
        The rows, C-contiguous. Images stay uint8: `fastsm.fit` uses them as ``X / 255``.
    y : ndarray of int64 or float64, shape (N,)
        The classes, each an index of `classes`; or numbers to learn, if there are no classes.
    classes : tuple of str
        The names of the classes.
    shape : tuple of int or None
        The shape of the image in each row, None if rows are not images.

    Raises
    ------
    TypeError
        If `X` or `y` has another dtype.
    ValueError
        If the shapes do not match, or an element of `y` is not an index of `classes`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import data
    >>> data.Dataset(np.zeros((3, 4), np.uint8), np.array([0, 1, 1]), ("cat", "dog"), (2, 2))
    Dataset(3 x 4 uint8, 2 classes, images of 2 x 2)
    """

    X: Array
    y: NDArray[Any]
    classes: tuple[str, ...]
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check that dtypes and shapes match."""
        for name, array in (("X", self.X), ("y", self.y)):
            if not isinstance(array, np.ndarray):
                kind = type(array).__name__
                raise TypeError(f"`{name}` must be an array, got {kind}: convert it with np.asarray({name})")
        if self.X.dtype not in (np.uint8, np.float32, np.float64):
            raise TypeError(f"`X` must have dtype uint8, float32 or float64, got {self.X.dtype}")
        if self.X.ndim != 2 or not self.X.flags.c_contiguous:
            raise ValueError(f"`X` must be C-contiguous with shape (N, features), got shape {self.X.shape}")
        wanted = np.dtype(np.int64 if self.classes else np.float64)
        if self.y.dtype != wanted:
            raise TypeError(f"`y` must have dtype {wanted}, got {self.y.dtype}")
        if self.y.shape != self.X.shape[:1]:
            raise ValueError(f"`y` must have shape ({len(self.X)},), got {self.y.shape}")
        if self.classes and self.y.size and not 0 <= self.y.min() <= self.y.max() < len(self.classes):
            raise ValueError(
                f"`y` must lie in [0, {len(self.classes)}), got {self.y.min()} to {self.y.max()}"
            )
        if self.shape is not None and math.prod(self.shape) != self.X.shape[1]:
            raise ValueError(f"`shape` must have {self.X.shape[1]} pixels, got {self.shape}")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.X)

    def __repr__(self) -> str:
        """Return a summary without the numbers."""
        rows, features = self.X.shape
        images = "" if self.shape is None else f", images of {' x '.join(map(str, self.shape))}"
        what = f"{len(self.classes)} classes" if self.classes else "numbers to learn"
        return f"Dataset({rows} x {features} {self.X.dtype}, {what}{images})"


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set split into training and test data.

    Attributes
    ----------
    name : str
        The name of the data set.
    train, test : Dataset
        The two parts, with the same features and classes.
    source : str
        Its origin: a path, or ``"bundled with fastsm"``.
    val : Dataset or None
        Validation data from a file of their own.
    table : Table or None
        How the columns of a table became rows of numbers.
    notes : tuple of str
        What was done to pictures in files, and what was left out.

    Examples
    --------
    >>> from fastsm import data
    >>> data.load("digits").test
    Dataset(360 x 64 float32, 10 classes, images of 8 x 8)
    """

    name: str
    train: Dataset
    test: Dataset
    source: str
    val: Dataset | None = None
    table: Table | None = None
    notes: tuple[str, ...] = ()


def rows_of_part(rows: int, part: tuple[int, int]) -> slice:
    """Return the rows of part number `part[0]`, counted from 0, of `part[1]` parts."""
    number, count = part
    return slice(rows * number // count, rows * (number + 1) // count)


def make_datasets(
    where: str, *parts: tuple[Array, Array], classes: tuple[str, ...] | None = None
) -> tuple[Dataset, ...]:
    """Return a data set for each part, all with the classes of all parts; errors name it as `where`."""
    rows = [_rows(where, X) for X, _ in parts]
    labels = [_labels(where, y, len(X)) for X, y in parts]
    if any(X.shape[1:] != rows[0].shape[1:] for X in rows):
        raise DataError(
            f"{where} must have the same features for training and test,"
            f" got {rows[0].shape[1:]} and {rows[1].shape[1:]}"
        )
    values, codes = np.unique(np.concatenate(labels), return_inverse=True)
    if classes is not None and values.dtype.kind == "i" and 0 <= values[0] <= values[-1] < len(classes):
        codes = np.concatenate(labels)
    elif classes is not None:
        raise DataError(
            f"{where} must have labels from 0 to {len(classes) - 1}, got {values[0]} to {values[-1]}"
        )
    else:
        classes = tuple(map(str, values.tolist()))
        if len(classes) < 2:
            raise DataError(f"{where} must have rows of at least two classes, got only {classes[0]!r}")
    ends = np.cumsum([len(y) for y in labels])[:-1]
    shape = rows[0].shape[1:] if rows[0].ndim > 2 else None
    return tuple(
        Dataset(X.reshape(len(X), -1), y, classes, shape)
        for X, y in zip(rows, np.split(codes.reshape(-1).astype(np.int64), ends), strict=True)
    )


def _rows(where: str, X: Array) -> Array:
    """Return the features as uint8, float32 or float64."""
    if X.ndim < 2 or X.size == 0:
        raise DataError(f"{where} must have rows of features, got an array of shape {X.shape}")
    if X.dtype.kind not in "biuf" or X.dtype.itemsize > 8:
        raise DataError(f"{where} must have numbers as features, got {X.dtype}")
    if X.dtype != np.uint8:
        # float32 holds half precision and short integers exactly.
        single = X.dtype.itemsize <= (4 if X.dtype.kind == "f" else 2)
        X = X.astype(np.float32 if single else np.float64, copy=False)
        if not np.isfinite(X).all():
            row = int(np.argmin(np.isfinite(X.reshape(len(X), -1)).all(axis=1)))
            raise DataError(
                f"{where} must have finite numbers as features, got NaN or infinity in row {row} (from 0):"
                " fill in or leave out what is missing"
            )
    return np.ascontiguousarray(X)


def _labels(where: str, y: Array, rows: int) -> Array:
    """Return the labels as integers or strings."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (rows,):
        raise DataError(f"{where} must have a label for each of its {rows} rows, got shape {y.shape}")
    if y.dtype.kind == "f" and np.array_equal(y, np.round(y)) and abs(y).max() < 2**53:
        y = y.astype(np.int64)
    if y.dtype.kind in "OU":
        return y
    if y.dtype.kind not in "iu" or y.max() >= 2**63:
        raise DataError(f"{where} must have integers or strings as labels, got {y.dtype}")
    return y.astype(np.int64)


def split(whole: Dataset) -> tuple[Dataset, Dataset]:
    """Return four fifths to train on and a fifth to test on, class by class; always the same rows."""
    test = test_rows(whole.y if whole.classes else np.zeros(len(whole), np.int64))

    def part(rows: NDArray[np.bool_]) -> Dataset:
        return Dataset(whole.X[rows], whole.y[rows], whole.classes, whole.shape)

    return part(~test), part(test)


def test_rows(y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows to test on: a fifth of each class, always the same."""
    counts = np.bincount(y)
    take = counts // 5
    # The largest remainders round up until a fifth of all rows is reached; a class of one row is not tested.
    order = np.argsort(-np.where(counts > 1, counts % 5, 0), kind="stable")
    missing = min(-(-len(y) // 5) - int(take.sum()), int((counts > 1).sum()))
    take[order[:missing]] += counts[order[:missing]] > 1
    # Every version of NumPy gives the same random bits; its permutations may change.
    bits: Array = np.random.PCG64(0).random_raw(len(y))
    shuffled = np.argsort(bits, kind="stable")
    grouped = shuffled[np.argsort(y[shuffled], kind="stable")]
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    test = np.zeros(len(y), bool)
    test[grouped[rank < np.repeat(take, counts)]] = True
    return test


def renumbered(where: str, whole: Dataset, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the labels of data as indices of `classes`; raise DataError for one that is not among them."""
    if tuple(whole.classes) == tuple(classes):
        return whole.y
    numbers = {name: i for i, name in enumerate(classes)}
    unknown = [name for name in whole.classes if name not in numbers]
    if unknown:
        raise DataError(
            f"{where} has the class {unknown[0]!r:.50}, which the model does not know: {listed(classes)}"
        )
    return np.asarray(np.array([numbers[name] for name in whole.classes], np.int64)[whole.y])
