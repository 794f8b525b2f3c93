"""IDX, the file format of MNIST: a short header, then the elements, big-endian."""

import gzip
import math
import os
import stat
import struct
import zlib
from typing import IO, Any, cast

import numpy as np

from fastsm._checks import Array
from fastsm.data._dataset import DataError

__all__ = ["EXPANSION", "LIMIT", "fill", "load_idx", "regular_size", "unreadable"]

LIMIT = 1 << 32
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 64  # NumPy's
# The most that DEFLATE makes of a byte.
EXPANSION = 1032


def load_idx(path: str | os.PathLike[str], *, limit: int = LIMIT) -> Array:
    """Return the array in an IDX file, the format of MNIST [1]_, plain or compressed by gzip.

    The file is not trusted: the size that its header promises is checked before memory is taken for it, no
    more than that and one byte is read, and gzip's checksum is verified.

    Parameters
    ----------
    path : path-like
        The file. Whether it is compressed is seen from its first bytes, not from its name.
    limit : int, default 2**32
        The most bytes that the elements may take.

    Returns
    -------
    ndarray
        Any shape; uint8, int8, int16, int32, float32 or float64 in native byte order.

    Raises
    ------
    DataError
        If the file cannot be read, is not in this format, too short or too long, or larger than `limit`.

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
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not compressed:
                return _read(file, name, limit, size, exact=True)
            with gzip.GzipFile(fileobj=file) as plain:
                return _read(cast(IO[bytes], plain), name, limit, EXPANSION * size, exact=False)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception) -> DataError:
    """Return the error for a file that the system or gzip cannot read."""
    if isinstance(error, (gzip.BadGzipFile, EOFError, zlib.error)):
        return DataError(f"{name!r} is damaged or cut off, fetch it again: {error}")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DataError(f"{name!r} cannot be read: {reason}")


def regular_size(name: str) -> int:
    """Return the size of a file; of a pipe or a device there is none, and reading it may never end."""
    status = os.stat(name)
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{name!r} must be a regular file")
    return status.st_size


def _read(file: IO[bytes], name: str, limit: int, size: int, *, exact: bool) -> Array:
    """Return the array; `size` is how large the whole content is, or at most can be."""
    start = _exactly(file, 4, name)
    if start[:2] != b"\0\0" or start[2] not in _DTYPES or not 1 <= start[3] <= _MAX_DIMENSIONS:
        raise DataError(
            f"{name!r} must be an IDX file, which starts with 00 00, a type (08 to 0e) and the number of"
            f" dimensions, got {start.hex(' ')}"
        )
    dtype: np.dtype[Any] = np.dtype(_DTYPES[start[2]])
    shape = struct.unpack(f">{start[3]}I", _exactly(file, 4 * start[3], name))
    # Lengths of 0 count as 1, so that the others cannot be anything.
    needed = math.prod(max(n, 1) for n in shape) * dtype.itemsize
    promised = math.prod(shape) * dtype.itemsize
    if needed > limit:
        raise DataError(f"{name!r} promises {needed} bytes, more than the limit of {limit}")
    header = 4 + 4 * start[3]
    if header + promised > size or (exact and header + promised < size):
        raise DataError(
            f"{name!r} promises an array of shape {shape}, {promised} bytes, got"
            f" {'' if exact else 'at most '}{size - header}: it is cut off or not an IDX file"
        )
    array = np.empty(shape, dtype)
    fill(file, array, repr(name))
    return array.astype(dtype.newbyteorder("="), copy=False)


def fill(file: IO[bytes], array: Array, where: str) -> None:
    """Read the elements of a new array, and check that they are all that is left of the file."""
    view, done = memoryview(cast(Any, array.reshape(-1).view(np.uint8))), 0
    while done < array.nbytes:
        count = cast(Any, file).readinto(view[done : done + (1 << 20)])
        if not count:
            raise DataError(f"{where} promises {array.nbytes} bytes of elements, got {done}: it is cut off")
        done += count
    if file.read(1):
        raise DataError(f"{where} has more than the {array.nbytes} bytes that it promises: fetch it again")


def _exactly(file: IO[bytes], count: int, name: str) -> bytes:
    """Return this many bytes of the header."""
    result = file.read(count)
    if len(result) < count:
        raise DataError(f"{name!r} must be an IDX file, got one that ends within its header")
    return result
