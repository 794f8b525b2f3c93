"""What a data set is, in memory, and what is raised where a file does not hold one."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsm._arguments import Array

__all__ = ["DataError", "Dataset", "Splits", "listed", "part_of", "split", "splits"]


class DataError(ValueError):
    """Something is wrong with a file or a data set: one sentence that names it and says what to do.

    Examples
    --------
    >>> from fastsm import data
    >>> try:
    ...     data.load("mnits")
    ... except data.DataError as error:
    ...     print(error)
    'mnits' is no data set and no path: give digits, fashion-mnist, kmnist, mnist, or a file or folder
    """


def listed(names: Iterable[str]) -> str:
    """Return some names that a file has, for an error of one line; what cannot be printed is escaped."""
    shown = [name if name.isprintable() else ascii(name) for name in itertools.islice(names, 9)]
    return f"{', '.join(shown[:8]) or 'nothing':.200}{', ...' * (len(shown) > 8)}"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of numbers, and the class of each.

    Attributes
    ----------
    X : ndarray of uint8, float32 or float64, shape (N, features)
        The rows, C-contiguous. Images of bytes stay bytes: `fastsm.fit` takes them as ``X / 255``.
    y : ndarray of int64, shape (N,)
        The classes, each an index of `classes`.
    classes : tuple of str
        The names of the classes.
    shape : tuple of int or None
        The shape of the image that a row is, None if it is none.

    Raises
    ------
    TypeError
        If `X` or `y` has another dtype.
    ValueError
        If the shapes do not fit each other, or an element of `y` is no index of `classes`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import data
    >>> data.Dataset(np.zeros((3, 4), np.uint8), np.array([0, 1, 1]), ("cat", "dog"), (2, 2))
    Dataset(3 x 4 uint8, 2 classes, images of 2 x 2)
    """

    X: Array
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if self.X.dtype not in (np.uint8, np.float32, np.float64):
            raise TypeError(f"`X` must have dtype uint8, float32 or float64, got {self.X.dtype}")
        if self.X.ndim != 2 or not self.X.flags.c_contiguous:
            raise ValueError(f"`X` must be C-contiguous with shape (N, features), got shape {self.X.shape}")
        if self.y.dtype != np.int64:
            raise TypeError(f"`y` must have dtype int64, got {self.y.dtype}")
        if self.y.shape != self.X.shape[:1]:
            raise ValueError(f"`y` must have shape ({len(self.X)},), got {self.y.shape}")
        if self.y.size and not 0 <= self.y.min() <= self.y.max() < len(self.classes):
            raise ValueError(
                f"`y` must lie in [0, {len(self.classes)}), got {self.y.min()} to {self.y.max()}"
            )
        if self.shape is not None and math.prod(self.shape) != self.X.shape[1]:
            raise ValueError(f"`shape` must have {self.X.shape[1]} pixels, got {self.shape}")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.X)

    def __repr__(self) -> str:
        """Say what there is, without the numbers."""
        rows, features = self.X.shape
        images = "" if self.shape is None else f", images of {' x '.join(map(str, self.shape))}"
        return f"Dataset({rows} x {features} {self.X.dtype}, {len(self.classes)} classes{images})"


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set in two parts: one to train on, one to test on.

    Attributes
    ----------
    name : str
        What it is called.
    train, test : Dataset
        The parts, of the same features and classes.
    source : str
        Where it was read from: a path, or ``"bundled with fastsm"``.

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


def part_of(rows: int, part: tuple[int, int]) -> slice:
    """Return which rows are part number `part[0]`, from 0, of `part[1]`."""
    number, count = part
    return slice(rows * number // count, rows * (number + 1) // count)


def splits(
    where: str, *parts: tuple[Array, Array], classes: tuple[str, ...] | None = None
) -> tuple[Dataset, ...]:
    """Return the parts of a data set, with the classes of all of them; `where` names it in errors."""
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
    """Return the features in a dtype that models take; bytes stay bytes."""
    if X.ndim < 2 or X.size == 0:
        raise DataError(f"{where} must have rows of features, got an array of shape {X.shape}")
    if X.dtype.kind not in "biuf" or X.dtype.itemsize > 8:
        raise DataError(f"{where} must have numbers as features, got {X.dtype}")
    if X.dtype != np.uint8:
        # Halves and short integers fit float32.
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
    """Return the labels, integers or texts."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (rows,):
        raise DataError(f"{where} must have a label for each of its {rows} rows, got shape {y.shape}")
    if y.dtype.kind == "f" and np.array_equal(y, np.round(y)) and abs(y).max() < 2**53:
        y = y.astype(np.int64)
    if y.dtype.kind in "OU":
        return y
    if y.dtype.kind not in "iu" or y.max() >= 2**63:
        raise DataError(f"{where} must have integers or texts as labels, got {y.dtype}")
    return y.astype(np.int64)


def split(whole: Dataset) -> tuple[Dataset, Dataset]:
    """Return four fifths to train on and a fifth to test on, of each class too; always the same rows."""
    counts = np.bincount(whole.y, minlength=len(whole.classes))
    take = counts // 5
    # The largest remainders round up, until a fifth of all is reached; a class with one row is trained on.
    order = np.argsort(-np.where(counts > 1, counts % 5, 0), kind="stable")
    missing = min(-(-len(whole) // 5) - int(take.sum()), int((counts > 1).sum()))
    take[order[:missing]] += counts[order[:missing]] > 1
    # Random bits are the same in every version of NumPy, which permutations need not be.
    bits: NDArray[Any] = np.random.PCG64(0).random_raw(len(whole))
    shuffled = np.argsort(bits, kind="stable")
    grouped = shuffled[np.argsort(whole.y[shuffled], kind="stable")]
    rank = np.arange(len(whole)) - np.repeat(np.cumsum(counts) - counts, counts)
    test = np.zeros(len(whole), bool)
    test[grouped[rank < np.repeat(take, counts)]] = True

    def part(rows: NDArray[np.bool_]) -> Dataset:
        return Dataset(whole.X[rows], whole.y[rows], whole.classes, whole.shape)

    return part(~test), part(test)
