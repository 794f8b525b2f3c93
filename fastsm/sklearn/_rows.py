"""Rows of a data set for training, dense or sparse."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from fastsm._arguments import Array
from fastsm.training._batches import Batch, Rows

__all__ = ["Data", "SparseRows", "rows_of", "split"]


class SparseRows(Rows):
    """Rows of a CSR matrix: those of a batch, and no others, are made dense, in a buffer."""

    def __init__(self, x: Any, y: Array, sample_weight: Array | None, dtype: np.dtype[Any]) -> None:
        # Targets and weights are gathered as those of dense rows are, beside inputs without a column.
        super().__init__(np.empty((x.shape[0], 0), dtype), y, sample_weight, dtype)
        self._matrix = x.astype(dtype, copy=False)

    def batches(self, size: int, order: Array) -> Iterator[Batch]:
        """Yield the rows in this order, `size` at a time; the last batch may be smaller."""
        size = min(size, len(order))
        buffer = np.empty((size, self._matrix.shape[1]), self.dtype)
        for i, (_, y, weight) in enumerate(super().batches(size, order)):
            x = buffer[: len(y)]
            self._matrix[order[i * size : i * size + len(y)]].toarray(out=x)
            yield Batch(x, y, weight)


class Data(NamedTuple):
    """Some of the rows of a data set."""

    rows: Rows
    #: Their positions.
    order: Array
    #: What `score` compares predictions of these rows with: as the user gave it.
    y: Any
    #: Their weights, for `score`.
    weight: Array | None

    def part(self, positions: Array) -> "Data":
        """Return some of these rows."""
        weight = None if self.weight is None else self.weight[positions]
        return Data(self.rows, self.order[positions], self.y[positions], weight)


def rows_of(
    X: Any, targets: Array, loss_weight: Array | None, dtype: np.dtype[Any], *, y: Any, weight: Array | None
) -> Data:
    """Return all rows of an array or a CSR matrix, which are gathered in `dtype`."""
    kind = Rows if isinstance(X, np.ndarray) else SparseRows
    return Data(kind(X, targets, loss_weight, dtype), np.arange(X.shape[0]), y, weight)


def split(
    data: Data, fraction: float, stratified: bool, random_state: np.random.RandomState
) -> tuple[Data, Data]:
    """Return the rows to train on and those held out for validation, the same that scikit-learn would."""
    train, held_out = train_test_split(
        np.arange(len(data.order)),
        random_state=random_state,
        test_size=fraction,
        stratify=data.y if stratified else None,
    )
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
        )
    return data.part(train), data.part(held_out)
