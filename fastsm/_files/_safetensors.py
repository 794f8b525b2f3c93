"""Read and write arrays in the safetensors layout: https://github.com/huggingface/safetensors.

The file begins with the length of the header in 8 bytes. The header is a JSON object: for each array its
name, dtype, shape and offsets, and under ``__metadata__`` strings by name. The arrays follow, little-endian
and without gaps.

Files are not trusted: the whole header is checked, also against the size of the file, before memory is
allocated for an array. Arrays are read one by one, into given memory if wanted.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, NamedTuple, TypeGuard

import numpy as np

from fastsm._files._atomic import regular_size, write_atomically
from fastsm._files._json import parse_json
from fastsm.typing import Array, DType

__all__ = ["CODES", "METADATA", "Tensors", "as_stored", "checksum_of", "open_tensors", "write_tensors"]

METADATA = "__metadata__"
#: The names of NumPy's dtypes in a file.
CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
    "bool": "BOOL",
}  # fmt: skip
_NAMES = {code: name for name, code in CODES.items()}
# Enough for a long history; parsing JSON takes about ten times its size in memory.
_LONGEST_HEADER = 1 << 24
_MOST_ARRAYS = 1 << 16
_MOST_AXES = 32


# ---- writing ----


def as_stored(array: Array) -> Array:
    """Return an array as files store it: little-endian, in C order."""
    little = array.dtype if array.dtype.name == "bfloat16" else array.dtype.newbyteorder("<")
    return np.ascontiguousarray(array, little).reshape(array.shape)


def write_tensors(
    path: str | os.PathLike[str], metadata: Mapping[str, str], arrays: Mapping[str, Array]
) -> None:
    """Write arrays that `as_stored` returned, atomically; the same arrays make the same bytes."""
    # Wide elements first, so that each array is aligned; otherwise in the order given.
    names = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)
    header: dict[str, object] = {METADATA: dict(metadata)}
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

    write_atomically(path, fill)


def _bytes(array: Array) -> memoryview:
    """Return the memory of an array in C order."""
    return array.reshape(-1).view(np.uint8).data


def checksum_of(array: Array) -> int:
    """Return the checksum of an array that `as_stored` returned."""
    return zlib.crc32(_bytes(array))


# ---- reading ----


class _Entry(NamedTuple):
    """The description of an array in the header."""

    dtype: DType
    shape: tuple[int, ...]
    start: int
    stop: int


@contextlib.contextmanager
def open_tensors(path: str | os.PathLike[str]) -> Iterator[Tensors]:
    """Open a file; errors inside the block become a ValueError of one sentence that names the file.

    Raise OSError as `open` does.
    """
    regular_size(path)
    with open(path, "rb") as file:
        try:
            yield Tensors(file)
        except (ValueError, TypeError, OverflowError) as error:
            reason = " ".join(str(error).split())  # the repr of an array may have several lines
            raise ValueError(
                f"`path` must be a usable file of fastsm, got {os.fspath(path)!r}: {reason}"
            ) from error


class Tensors:
    """The arrays of an open file with a checked header.

    Attributes
    ----------
    metadata : dict of str to str
        The strings in the header.
    unread : set of str
        The names of the arrays that have not been read yet.
    rows : list of tuple
        The name, dtype, shape and checksum of each array that has been read.
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
        """Return an array that has not been read yet, in `out` if given: C order, same dtype and shape."""
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
            raise ValueError("it became shorter while it was read")
        self.rows.append((name, dtype.name, list(shape), zlib.crc32(memory)))
        if dtype == np.bool_ and out.view(np.uint8).max(initial=0) > 1:
            raise ValueError(f"its array {name[:50]!r} of bools must hold zeros and ones")
        if sys.byteorder == "big":
            out.byteswap(inplace=True)
        return out


def _header(file: io.BufferedReader) -> tuple[dict[str, object], int, int]:
    """Return the header, the offset of the arrays, and their size in bytes."""
    size = os.fstat(file.fileno()).st_size
    begin = file.read(8)
    if begin[:2] == b"PK":
        raise ValueError("it is a zip archive such as .npz, and models are in the safetensors layout")
    length = int.from_bytes(begin, "little")
    if len(begin) < 8 or length > size - 8:
        raise ValueError("its header does not fit into it: it is cut off, or not in the safetensors layout")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, more than {_LONGEST_HEADER}")
    text = file.read(length)
    if text[:1] != b"{":
        raise ValueError("its header must begin with a brace")
    return parse_json(text.decode(), "its header"), 8 + length, size - 8 - length


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"its {METADATA} must be an object of strings")
    return value


def _entry(name: str, described: object) -> _Entry:
    """Return the checked description of an array."""
    its = f"its array {name[:50]!r}"
    if not isinstance(described, dict) or set(described) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{its} must have a dtype, a shape and data_offsets, and nothing else")
    shape, offsets, dtype = described["shape"], described["data_offsets"], _dtype(its, described["dtype"])
    if not _are_counts(shape) or len(shape) > _MOST_AXES:
        raise ValueError(f"{its} must have a shape of at most {_MOST_AXES} lengths")
    # Lengths of 0 count as 1: the others must be bounded, too.
    if math.prod(max(length, 1) for length in shape) * dtype.itemsize >= 1 << 62:
        raise ValueError(f"{its} must have a shape that fits into memory")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{its} must have two data_offsets")
    start, stop = offsets
    if stop - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{its} must have data_offsets that match its shape and dtype")
    return _Entry(dtype, tuple(shape), start, stop)


def _are_counts(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _dtype(its: str, code: object) -> DType:
    if not isinstance(code, str) or code not in _NAMES:
        raise ValueError(f"{its} must have one of the dtypes {', '.join(_NAMES)}")
    if code != "BF16":
        return np.dtype(_NAMES[code])
    try:
        bfloat16: type = importlib.import_module("ml_dtypes").bfloat16
    except ImportError:
        raise ValueError(f"{its} has dtype bfloat16, which needs the package ml_dtypes") from None
    return np.dtype(bfloat16)
