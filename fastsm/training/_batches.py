"""Rows of a data set, gathered into buffers that are used again for each mini-batch.

Images stay as they are, bytes: a kernel scales them to [0, 1] while it gathers. What the kernel cannot read
is converted once, at the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm._arguments._advice import about_bools, about_labels
from fastsm._kernels import kernels
from fastsm.typing import Array

__all__ = ["Batch", "Rows"]

# The rows that are searched together for what is not finite.
_SEARCHED = 4096
_GATHERED = (np.uint8, np.float32, np.float64)


class Batch(NamedTuple):
    """Some rows, in buffers that the next batch overwrites."""

    x: Array
    y: Array
    weight: Array | None


class Rows:
    """Inputs, targets and sample weights, checked.

    Parameters
    ----------
    x, y, sample_weight : array_like
        As `fit` takes them.
    dtype : dtype
        That of the model: the inputs come out in it.
    names : tuple of three str
        What messages call the arguments.
    takes_labels : bool
        Whether the loss takes labels; for others integers of two axes are numbers.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        dtype: np.dtype[Any],
        names: tuple[str, str, str] = ("X", "y", "sample_weight"),
        takes_labels: bool = True,
    ) -> None:
        self.dtype, self.names, self.takes_labels = dtype, names, takes_labels
        self.x = _inputs(names[0], x, dtype)
        self.y = _targets(names[1], y, (len(self.x),), dtype, takes_labels)
        self.weight = None
        if sample_weight is not None:
            self.weight = _arguments.weights(names[2], sample_weight, (len(self.x),))
            if not (self.weight >= 0).all() or not np.isfinite(self.weight).all():
                raise ValueError(f"`{names[2]}` must be finite and at least 0 everywhere")
        self.scale = 1 / 255 if self.x.dtype == np.uint8 else 1.0
        self.features = self.x.shape[1]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.x)

    def first_fault(self, ignore_index: int | None) -> str | None:
        """Return where the first NaN or infinity is in a row that counts, or None if all are finite."""
        counts = np.ones(len(self), bool) if self.weight is None else self.weight != 0
        if ignore_index is not None and self.y.ndim == 1:
            counts &= self.y != ignore_index
        for name, array in zip(self.names, (self.x, self.y), strict=False):
            for first in range(0, len(array), _SEARCHED):
                block = array[first : first + _SEARCHED]
                with np.errstate(over="ignore"):
                    finite = np.isfinite(block.astype(self.dtype))
                counted = counts[first : first + _SEARCHED].reshape(-1, *[1] * (block.ndim - 1))
                if (bad := ~finite & counted).any():
                    row, *column = (int(i) for i in np.argwhere(bad)[0])
                    place = f"row {first + row}" + "".join(f", column {i}" for i in column)
                    value = block[row, *column]
                    about = f", too large for {self.dtype}," if np.isfinite(value) else ""
                    return f"`{name}` has {value}{about} in {place}"
        return None

    def batches(self, size: int, order: Array) -> Iterator[Batch]:
        """Yield the rows in this order, `size` at a time; the last batch may be smaller."""
        size = min(size, len(order))
        return self.gathered((order[first : first + size] for first in range(0, len(order), size or 1)), size)

    def gathered(self, parts: Iterable[Array], size: int) -> Iterator[Batch]:
        """Yield the rows that have the numbers in each of `parts`, which are `size` or fewer."""
        gather, take, weight = self._gather, self.y.take, self.weight
        buffers = batch = self._buffers(size)
        for rows in parts:
            if len(rows) != len(batch.y):
                batch = Batch(*(None if b is None else b[: len(rows)] for b in buffers))  # type: ignore[arg-type]
            x, y, w = batch
            gather(rows, x)
            # The order is a permutation: "clip" only spares NumPy a buffer of its own.
            take(rows, 0, y, "clip")
            if w is not None and weight is not None:
                weight.take(rows, 0, w, "clip")
            yield batch

    def _gather(self, rows: Array, x: Array) -> None:
        """Write the inputs of these rows into `x`."""
        kernels.gather(self.x, rows, x, self.scale)

    def _buffers(self, size: int) -> Batch:
        x = np.empty((size, self.features), self.dtype)
        y = np.empty((size, *self.y.shape[1:]), self.y.dtype)
        return Batch(x, y, None if self.weight is None else np.empty(size))


def _inputs(name: str, value: ArrayLike, dtype: np.dtype[Any]) -> Array:
    """Return inputs as the kernel gathers them: as they are if possible."""
    x = _arguments.array(name, value)
    advice = f": reshape it with {name}.reshape(len({name}), -1)" if x.ndim > 2 else ""
    _arguments.check_shape(name, x, x.ndim == 2, "(N, features)", advice)
    kept = x.dtype if x.dtype in _GATHERED else dtype
    return np.require(x, kept.newbyteorder("="), ["C_CONTIGUOUS", "ALIGNED"])


def _targets(
    name: str, value: ArrayLike, rows: tuple[int], dtype: np.dtype[Any], takes_labels: bool
) -> Array:
    """Return labels in int64, or values in the dtype of the model."""
    y = _arguments.plain(name, value)
    known = "iu" if takes_labels else "biu"
    if y.dtype.kind in known and (takes_labels or y.ndim != 2):
        about = (
            "" if y.shape == rows else about_labels(name, y.astype(np.int64), (*rows, *y.shape[1:2]), rows, 1)
        )
        _arguments.check_shape(name, y, y.shape == rows, f"{rows} for labels", about)
        if y.dtype.newbyteorder("=") == np.uint64 and y.size and y.max() >= 1 << 63:
            raise ValueError(f"`{name}` must lie below 2**63, got {y.max()}")
        return np.require(y, np.int64, ["C_CONTIGUOUS", "ALIGNED"])
    if not (_arguments.is_floating(y.dtype) or y.dtype.kind in known):
        about = about_bools(name, y, rows)
        if y.dtype.kind in "OTU" and y.ndim == 1:
            about = f": give np.unique({name}, return_inverse=True)[1] as labels"
        raise TypeError(
            f"`{name}` must have an integer dtype (labels) or a floating one (values), got {y.dtype}{about}"
        )
    about = f": reshape it with {name}.reshape(-1, 1)" if y.shape == rows else ""
    if takes_labels and y.shape == rows:
        about = about_labels(name, y, (), rows, 1) or about
    fits = y.ndim == 2 and y.shape[:1] == rows
    _arguments.check_shape(name, y, fits, f"({rows[0]}, outputs) for values", about)
    return np.require(y, dtype, ["C_CONTIGUOUS", "ALIGNED"])
