"""Arrays with a row for each sample, allocated once and reused in every step."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.typing import Array, DType

__all__: list[str] = []


class Buffer:
    """Memory for one array with a row for each sample.

    It grows with the largest batch; a smaller batch, such as the last of an epoch, gets the first rows. A
    copy of a buffer is empty, as its contents belong to no state.
    """

    __slots__ = ("_rows", "_whole")

    def __init__(self) -> None:
        self._whole: Array = np.empty(0, np.float32)
        self._rows = self._whole

    def get(self, shape: tuple[int, ...], dtype: DType) -> Array:
        """Return a C-contiguous array of this shape, a view of the memory that the last call returned."""
        rows = self._rows
        if rows.shape == shape and rows.dtype == dtype:
            return rows
        whole = self._whole
        if whole.dtype != dtype or whole.shape[1:] != shape[1:] or len(whole) < shape[0]:
            self._whole = whole = np.empty(shape, dtype)
        self._rows = whole[: shape[0]]
        return self._rows

    def like(self, array: Array) -> Array:
        """Return an array with the shape and dtype of `array`."""
        return self.get(array.shape, array.dtype)

    def holds(self, array: Array) -> bool:
        """Whether `array` is one that this buffer returned, or a view of it."""
        return array.base is self._whole

    def __reduce__(self) -> tuple[type[Buffer], tuple[()]]:
        return Buffer, ()


def kernel_array(name: str, value: ArrayLike, dtype: DType) -> Array:
    """Return an array of this dtype that the kernels can take: `value` itself if possible, else a copy."""
    if type(value) is np.ndarray and value.dtype == dtype:
        flags = value.flags
        if flags.c_contiguous and flags.aligned:
            return value
    return np.require(_arguments.array(name, value), dtype, ["C_CONTIGUOUS", "ALIGNED"])


def shares_buffer(array: Array, returned: Array | None) -> bool:
    """Whether `array` lies in the same buffer as an array that was returned before."""
    return returned is not None and array.base is not None and array.base is returned.base
