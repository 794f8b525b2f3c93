"""Read IDX, the file format of MNIST: a short header, then the elements, big-endian."""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib

import numpy as np

from fastsm.data._dataset import DataError
from fastsm.data._limits import EXPANSION, LIMIT, check_expansion, regular_size
from fastsm.typing import Array, DType

__all__ = ["decompressed", "load_idx", "read_elements", "unreadable"]

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 64  # NumPy's limit


def load_idx(
    path: str | os.PathLike[str], *, limit: int = LIMIT, rows: tuple[int, int] | None = None
) -> Array:
    """Return the array in an IDX file, the format of MNIST [1]_, plain or compressed by gzip.

    The file is not trusted: the size in its header is checked before memory is allocated, at most one byte
    more is read, and gzip's checksum is verified. A compressed file may expand to 64 MB, or to 100 times its
    size if that is more.

    Parameters
    ----------
    path : path-like
        The file. Its first bytes say whether it is compressed, not its name.
    limit : int, default 2**32
        The largest size in bytes of all elements of the file.
    rows : tuple of two int, optional
        Read only the rows from ``rows[0]`` to before ``rows[1]``, and allocate memory for these only. All of
        them must lie in the file.

    Returns
    -------
    ndarray
        Any shape; uint8, int8, int16, int32, float32 or float64 in native byte order.

    Raises
    ------
    DataError
        If the file cannot be read, is not in this format, is too short or too long, is larger than `limit`,
        or does not have these `rows`.

    References
    ----------
    .. [1] Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", 1998,
       section "File formats for the MNIST database".

    Examples
    --------
    >>> import os, tempfile
    >>> from fastsm import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels-idx1-ubyte")
    ...     with open(path, "wb") as file:
    ...         _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 2, 1]))
    ...     data.load_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    name = os.fspath(path)
    try:
        size = regular_size(name)
        with open(name, "rb") as file:
            return _read(decompressed(file), name, size, limit, rows)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(name, error) from error


def decompressed(file: io.BufferedReader) -> io.BufferedReader | gzip.GzipFile:
    """Return the file itself, or a GzipFile over it if it is compressed."""
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if compressed else file


def unreadable(name: str, error: Exception) -> DataError:
    """Return the error for a file that the operating system or gzip cannot read."""
    if isinstance(error, (gzip.BadGzipFile, EOFError, zlib.error)):
        return DataError(f"{name!r} is damaged or cut off, fetch it again: {error}")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DataError(f"{name!r} cannot be read: {reason}")


def _read(file: io.BufferedIOBase, name: str, size: int, limit: int, rows: tuple[int, int] | None) -> Array:
    """Return the array, or some rows of it; `size` is the size of the file on disk."""
    start = _exactly(file, 4, name)
    if start[:2] != b"\0\0" or start[2] not in _DTYPES or not 1 <= start[3] <= _MAX_DIMENSIONS:
        raise DataError(
            f"{name!r} must be an IDX file, which starts with 00 00, a type (08 to 0e) and the number of"
            f" dimensions, got {start.hex(' ')}"
        )
    dtype: DType = np.dtype(_DTYPES[start[2]])
    shape = struct.unpack(f">{start[3]}I", _exactly(file, 4 * start[3], name))
    compressed = isinstance(file, gzip.GzipFile)
    # Lengths of 0 count as 1: the others must be bounded, too.
    needed = math.prod(max(n, 1) for n in shape) * dtype.itemsize
    promised = math.prod(shape) * dtype.itemsize
    if needed > limit:
        raise DataError(f"{name!r} promises {needed} bytes, more than the limit of {limit}")
    header, largest = 4 + 4 * start[3], EXPANSION * size if compressed else size
    if header + promised > largest or (not compressed and header + promised < size):
        raise DataError(
            f"{name!r} promises an array of shape {shape}, {promised} bytes, got"
            f" {'at most ' if compressed else ''}{largest - header}: it is cut off or not an IDX file"
        )
    if compressed:
        check_expansion(repr(name), size, promised)
    first, last = (0, shape[0]) if rows is None else rows
    if not 0 <= first <= last <= shape[0]:
        raise DataError(f"`rows` must lie in the {shape[0]} of {name!r}, got {rows}")
    array = np.empty((last - first, *shape[1:]), dtype)
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    file.seek(first * row_bytes, os.SEEK_CUR)
    read_elements(file, array, repr(name), after=(shape[0] - last) * row_bytes)
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_elements(file: io.BufferedIOBase, array: Array, where: str, after: int = 0) -> None:
    """Read all elements of an array, and check that exactly `after` bytes follow them."""
    view, done = array.reshape(-1).view(np.uint8).data, 0
    while done < array.nbytes:
        count = file.readinto(view[done : done + (1 << 20)])
        if not count:
            raise DataError(f"{where} promises {array.nbytes} bytes of elements, got {done}: it is cut off")
        done += count
    if after and file.seek(after - 1, os.SEEK_CUR) and not file.read(1):
        raise DataError(f"{where} ends {after} bytes or less after the rows that were read: it is cut off")
    if file.read(1):
        raise DataError(f"{where} has more than the {array.nbytes} bytes that it promises: fetch it again")


def _exactly(file: io.BufferedIOBase, count: int, name: str) -> bytes:
    """Return the next `count` bytes of the header."""
    result = file.read(count)
    if len(result) < count:
        raise DataError(f"{name!r} must be an IDX file, got one that ends within its header")
    return result
