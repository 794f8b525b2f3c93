"""Arrays in a file of the safetensors layout, which is described at https://github.com/huggingface/safetensors.

The file begins with the length of the header in 8 bytes. The header is a JSON object: the name of each array
with its dtype, shape and place, and under ``__metadata__`` texts with names. The arrays follow, little-endian
and without gaps.

A file that is read is not trusted. The header is checked as a whole, against the size of the file, before
memory is taken for an array. Arrays are read one by one, to where they are wanted.
"""

import contextlib
import importlib
import io
import json
import math
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from fastsm._arguments import Array
from fastsm._files import _atomic, _json

__all__ = ["CODES", "METADATA", "Tensors", "opened", "stored", "write"]

METADATA = "__metadata__"
#: The names that NumPy's dtypes have in a file.
CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
    "bool": "BOOL",
}  # fmt: skip
_NAMES = {code: name for name, code in CODES.items()}
# Enough for a long history; parsing JSON takes some ten times its size.
_LONGEST_HEADER = 1 << 24
_MOST_ARRAYS = 1 << 16
_MOST_AXES = 32


# ---- writing ----


def stored(array: Array) -> Array:
    """Return an array as it lies in a file: little-endian, in C order."""
    little = array.dtype if array.dtype.name == "bfloat16" else array.dtype.newbyteorder("<")
    return np.ascontiguousarray(array, little).reshape(array.shape)


def write(path: str | os.PathLike[str], metadata: Mapping[str, str], arrays: Mapping[str, Array]) -> None:
    """Write `stored` arrays, so that the file is either as it was or complete, even if the power fails.

    There is no time in the file: the same arrays make the same bytes.
    """
    # Wide elements first, so that each array is aligned; otherwise in the order given.
    names = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)
    header: dict[str, Any] = {METADATA: dict(metadata)}
    stop = 0
    for name in names:
        array = arrays[name]
        start, stop = stop, stop + array.nbytes
        code = CODES[array.dtype.name]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, stop]}
    text = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _LONGEST_HEADER or len(arrays) > _MOST_ARRAYS:
        raise ValueError(f"`{os.fspath(path)}` cannot hold so much besides its arrays")

    def fill(file: IO[bytes]) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(_bytes(arrays[name]))

    _atomic.replace(path, fill)


def _bytes(array: Array) -> memoryview:
    """Return the memory of an array in C order."""
    return array.reshape(-1).view(np.uint8).data


def crc(array: Array) -> int:
    """Return the checksum of a `stored` array."""
    return zlib.crc32(_bytes(array))


# ---- reading ----


class _Entry(NamedTuple):
    """What the header says of an array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator["Tensors"]:
    """Open a file; every error that is raised with it open becomes one sentence that names the file.

    Raises ValueError for what is wrong with the file, OSError as `open` does.
    """
    _atomic.regular_size(path)
    with open(path, "rb") as file:
        try:
            yield Tensors(file)
        except (ValueError, TypeError, OverflowError) as error:
            reason = " ".join(str(error).split())  # arrays may be shown in several lines
            raise ValueError(
                f"`path` must be a usable file of fastsm, got {os.fspath(path)!r}: {reason}"
            ) from error


class Tensors:
    """The arrays of an open file, whose header has been checked.

    Attributes
    ----------
    metadata : dict of str to str
        The texts in the header.
    unread : set of str
        The names of the arrays that have not been read.
    rows : list of tuple
        Of each array that has been read the name, dtype, shape and checksum.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        header, self._start, size = _header(file)
        self.metadata = _metadata(header.pop(METADATA, {}))
        if len(header) > _MOST_ARRAYS:
            raise ValueError(f"it has {len(header)} arrays, more than {_MOST_ARRAYS}")
        self._entries = {name: _entry(name, described) for name, described in header.items()}
        stop = 0
        for name, entry in sorted(self._entries.items(), key=lambda item: item[1][2:]):
            if entry.start != stop:
                raise ValueError(f"its array {name[:50]!r} must begin where the one before ends")
            stop = entry.stop
        if stop != size:
            fault = "ends before its arrays do" if stop > size else "goes on after its arrays"
            raise ValueError(f"it {fault}, which take {stop} bytes and not {size}")
        self.unread = set(self._entries)
        self.rows: list[tuple[str, str, list[int], int]] = []

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of an array, None if there is no such array."""
        entry = self._entries.get(name)
        return None if entry is None else entry.shape

    def read(self, name: str, out: Array | None = None) -> Array:
        """Return an array, each once; `out`, in C order, must have its dtype and shape, and takes it."""
        if name not in self.unread:
            raise ValueError(f"its array {name[:50]!r} is missing, or named twice in the settings")
        dtype, shape, start, _ = self._entries[name]
        if out is None:
            out = np.empty(shape, dtype)
        elif out.dtype != dtype or out.shape != shape:
            found = f"{dtype} and {shape}"
            raise ValueError(f"its array {name[:50]!r} must have {out.dtype} and {out.shape}, got {found}")
        self.unread.remove(name)
        self._file.seek(self._start + start)
        memory = _bytes(out)
        if self._file.readinto(memory) != len(memory):
            raise ValueError("it has become shorter meanwhile")
        self.rows.append((name, dtype.name, list(shape), zlib.crc32(memory)))
        if dtype == np.bool_ and out.view(np.uint8).max(initial=0) > 1:
            raise ValueError(f"its array {name[:50]!r} of bools must have zeros and ones")
        if sys.byteorder == "big":
            out.byteswap(inplace=True)
        return out


def _header(file: io.BufferedReader) -> tuple[dict[str, Any], int, int]:
    """Return the header, where the arrays begin, and how many bytes they take."""
    size = os.fstat(file.fileno()).st_size
    begin = file.read(8)
    if begin[:2] == b"PK":
        raise ValueError("it is a zip archive such as .npz, and models are files of the safetensors layout")
    length = int.from_bytes(begin, "little")
    if len(begin) < 8 or length > size - 8:
        raise ValueError("its header does not fit into it: it is cut off, or no file of safetensors")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {_LONGEST_HEADER}")
    text = file.read(length)
    if text[:1] != b"{":
        raise ValueError("its header must begin with a brace")
    return _json.parse(text.decode(), "its header"), 8 + length, size - 8 - length


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"its {METADATA} must be an object of texts")
    return value


def _entry(name: str, described: Any) -> _Entry:
    """Return what the header says of an array, if it is possible."""
    its = f"its array {name[:50]!r}"
    if not isinstance(described, dict) or set(described) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{its} must have a dtype, a shape and data_offsets, and nothing else")
    shape, offsets, dtype = described["shape"], described["data_offsets"], _dtype(its, described["dtype"])
    if not _are_counts(shape) or len(shape) > _MOST_AXES:
        raise ValueError(f"{its} must have a shape of at most {_MOST_AXES} lengths")
    # Lengths of 0 count as 1, so that the others cannot be anything.
    if math.prod(max(length, 1) for length in shape) * dtype.itemsize >= 1 << 62:
        raise ValueError(f"{its} must have a shape that fits into memory")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{its} must have two data_offsets")
    start, stop = offsets
    if stop - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{its} must take as many bytes as its shape and dtype say")
    return _Entry(dtype, tuple(shape), start, stop)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _dtype(its: str, code: Any) -> np.dtype[Any]:
    if not isinstance(code, str) or code not in _NAMES:
        raise ValueError(f"{its} must have one of the dtypes {', '.join(_NAMES)}")
    if code != "BF16":
        return np.dtype(_NAMES[code])
    try:
        bfloat16: type = importlib.import_module("ml_dtypes").bfloat16
    except ImportError:
        raise ValueError(f"{its} is of bfloat16, which needs the package ml_dtypes") from None
    return np.dtype(bfloat16)
