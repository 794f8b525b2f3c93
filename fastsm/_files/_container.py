"""Trees of dicts, lists, numbers, texts and arrays in one file: an .npz whose member ``header`` is JSON.

The arrays are members of their own, uncompressed and flat, so that ``np.load`` reads them too; the header
says where in the tree they belong, and their shapes. Nothing is pickled.

A file that is read is not trusted. Only what `write` writes is accepted, each size is checked against that of
the file before memory is taken for it, and checksums are verified. The tree is then as JSON allows: what it
means is for others to check.
"""

import json
import math
import os
import re
import struct
import zipfile
from typing import IO, Any

import numpy as np

from fastsm._arguments import Array
from fastsm._files import _archive

__all__ = ["read", "write"]

# Enough for a long history; parsing JSON takes some ten times its size.
_HEADER_LIMIT = 1 << 24
# The most that a member takes up in the directory at the end of the file: its name is at most 100 bytes.
_DIRECTORY_ENTRY = 46 + 100 + 32
# The header of a flat array in NumPy's format, version 1.0, letter by letter.
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '([<|][fiu][1248])', 'fortran_order': False,"
    rb" 'shape': \((\d{1,18}),\), \} *\n",
    re.DOTALL,
)
_ARRAY, _FLOAT = "$array", "$float"


def write(path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
    """Write a tree, so that the file is either as it was or complete, even if the power fails.

    Raises TypeError or ValueError, before anything is written, for what such a file cannot hold.
    """
    arrays: dict[str, Array] = {}
    header = json.dumps(_pack(tree, "", arrays), allow_nan=False).encode()
    if len(header) > _HEADER_LIMIT or len(arrays) >= _archive.MOST_MEMBERS:
        raise ValueError(f"`{os.fspath(path)}` cannot hold so much besides its arrays")
    members = {"header": np.frombuffer(header, np.uint8)} | {
        name: a.reshape(-1) for name, a in arrays.items()
    }

    def fill(file: IO[bytes]) -> None:
        directory = b"".join(_archive.write_member(file, name, array) for name, array in members.items())
        _archive.write_end(file, directory, len(members))

    _archive.replace(path, fill)


def _pack(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    """Return a value as JSON; arrays go to `arrays`, floats that JSON lacks become texts."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place or 'a file'} must have texts as keys, got {key!r}")
            if key.startswith("$"):
                raise ValueError(f"{place or 'a file'} must have no key that starts with $, got {key!r}")
        return {key: _pack(item, f"{place}.{key}" if place else key, arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item, f"{place}.{i}", arrays) for i, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        little = value.dtype.newbyteorder("<")
        if value.dtype.kind not in "fiu" or value.dtype.itemsize > 8:
            raise TypeError(f"{place} must have a real dtype to be saved, got {value.dtype}")
        name = re.sub(r"[^\w.]", "_", place, flags=re.ASCII)[:80]
        if name in arrays or name == "header":
            name = f"{name}.{len(arrays)}"
        arrays[name] = np.ascontiguousarray(value, little)
        return {_ARRAY: name, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{place} must be numbers, texts, arrays, lists or dicts to be saved, got {type(value).__name__}"
    )


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the tree in a file.

    Raises ValueError, in one sentence, for a file that is not as `write` leaves it; OSError as `open` does.
    """
    _archive.regular_size(path)
    with open(path, "rb") as file:
        try:
            return _read(file)
        except (
            ValueError, KeyError, IndexError, OverflowError, EOFError, RuntimeError, struct.error,
            zipfile.BadZipFile, zipfile.LargeZipFile,
        ) as error:  # fmt: skip
            raise ValueError(
                f"`path` must be a complete file written by fastsm, got {os.fspath(path)!r}: {error}"
            ) from error


def _read(file: IO[bytes]) -> dict[str, Any]:
    size = os.fstat(file.fileno()).st_size
    _archive.check_directory(file, size, _DIRECTORY_ENTRY)
    with zipfile.ZipFile(file) as archive:
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                raise ValueError("a member is compressed")
            if entry.flag_bits & ~0x800:
                raise ValueError("a member is encrypted or streamed")
            if entry.filename in entries:
                raise ValueError("two members have one name")
            entries[entry.filename] = entry
        if sum(entry.file_size for entry in entries.values()) > size:
            raise ValueError("its members are larger than the file")
        if "header.npy" not in entries or entries["header.npy"].file_size > _HEADER_LIMIT + 128:
            raise ValueError("it has no header of a usable size")
        packed = _parse(_array(archive, entries.pop("header.npy"), "u1").tobytes())
        if not isinstance(packed, dict):
            raise ValueError("its header is not a dict")
        tree = {key: _unpack(value, archive, entries) for key, value in packed.items()}
    if entries:
        raise ValueError("it has a member that the header does not mention")
    return tree


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, kinds: str) -> Array:
    """Return a flat array of one of these kinds and sizes, all of it checked."""
    data = archive.read(entry)
    match = _NPY.match(data[:256])
    if match is None or int.from_bytes(match[1], "little") != match.end() - 10:
        raise ValueError(f"{entry.filename} is not a flat array of numbers")
    code, count = match[2].decode(), int(match[3])
    if code[1:] not in kinds.split():
        raise ValueError(f"{entry.filename} has the wrong dtype {code!r}")
    dtype = np.dtype(code)
    if len(data) != match.end() + count * dtype.itemsize:
        raise ValueError(f"{entry.filename} has not the size that it declares")
    return np.frombuffer(data, dtype, count, match.end()).astype(dtype.newbyteorder("="))


def _parse(text: bytes) -> Any:
    """Return what the JSON says, strictly: no key twice, no NaN, no number that overflows."""

    def no_constant(name: str) -> Any:
        raise ValueError(f"its header has {name}, which is not JSON")

    def finite(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError("its header has a number that is too large")
        return value

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("its header has a key twice")
        return result

    try:
        return json.loads(text, parse_constant=no_constant, parse_float=finite, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None


def _unpack(value: Any, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> Any:
    """Return the tree with its arrays; each member is taken out of `entries`, so that it serves once."""
    if isinstance(value, list):
        return [_unpack(item, archive, entries) for item in value]
    if not isinstance(value, dict):
        return value
    if _FLOAT in value:
        if value.get(_FLOAT) not in ("nan", "inf", "-inf") or len(value) != 1:
            raise ValueError("its header has a number that is none")
        return float(value[_FLOAT])
    if _ARRAY not in value:
        return {key: _unpack(item, archive, entries) for key, item in value.items()}
    name, shape = value[_ARRAY], value.get("shape")
    if len(value) != 2 or not isinstance(name, str) or f"{name}.npy" not in entries:
        raise ValueError("an array that the header mentions is missing")
    if (
        not isinstance(shape, list)
        or not all(type(n) is int and 0 <= n < 1 << 62 for n in shape)
        or len(shape) > 32
    ):
        raise ValueError(f"{name} has no usable shape")
    array = _array(archive, entries.pop(f"{name}.npy"), "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8")
    if math.prod(shape) != array.size:
        raise ValueError(f"{name} has not the size of its shape {shape}")
    return array.reshape(shape)
