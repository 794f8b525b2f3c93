"""Arrays of batch size that are allocated once and used again in every step."""

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.typing import Array, DType

__all__: list[str] = []


class Buffer:
    """Memory for one array with a row for each sample.

    It grows when a batch is larger than all before; a smaller one, as the last of an epoch is, gets the
    first rows. A copy of a buffer is an empty one: what it holds is no part of anybody's state.
    """

    __slots__ = ("_rows", "_whole")

    def __init__(self) -> None:
        self._whole: Array = np.empty(0, np.float32)
        self._rows = self._whole

    def get(self, shape: tuple[int, ...], dtype: DType) -> Array:
        """Return a C-contiguous array of this shape; always a view, of the same memory as the last one."""
        rows = self._rows
        if rows.shape == shape and rows.dtype == dtype:
            return rows
        whole = self._whole
        if whole.dtype != dtype or whole.shape[1:] != shape[1:] or len(whole) < shape[0]:
            self._whole = whole = np.empty(shape, dtype)
        self._rows = whole[: shape[0]]
        return self._rows

    def like(self, array: Array) -> Array:
        """Return an array of the shape and dtype of another."""
        return self.get(array.shape, array.dtype)

    def holds(self, array: Array) -> bool:
        """Whether an array is one that this buffer has given out, or a view of it."""
        return array.base is self._whole

    def __reduce__(self) -> tuple[type["Buffer"], tuple[()]]:
        return Buffer, ()


def fitting(name: str, value: ArrayLike, dtype: DType) -> Array:
    """Return the array as the kernels take it, of this dtype: itself if it fits, a copy if not."""
    if type(value) is np.ndarray and value.dtype == dtype:
        flags = value.flags
        if flags.c_contiguous and flags.aligned:
            return value
    return np.require(_arguments.array(name, value), dtype, ["C_CONTIGUOUS", "ALIGNED"])


def shares_buffer(array: Array, returned: Array | None) -> bool:
    """Whether an array lies in the buffer of a layer that was returned."""
    return returned is not None and array.base is not None and array.base is returned.base
