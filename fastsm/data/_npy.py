"""Read an array of numbers or strings in NumPy's format: a header that is not trusted, then the elements.

The header is a dict as Python source. NumPy lets Python parse it, which a hostile header can make fail or use
much memory; the three entries that NumPy writes need no parser.
"""

from __future__ import annotations

import io
import math
import re

import numpy as np

from fastsm.data._dataset import DataError
from fastsm.data._idx import read_elements
from fastsm.typing import Array, DType

__all__ = ["read_array"]

_HEADER_LIMIT = 10_000
_MOST_DIMENSIONS = 32
# Possessive: backtracking over spaces would take quadratic time.
_ENTRY = r"\s*+'(descr|fortran_order|shape)'\s*+:\s*+('[^']*+'|True|False|\([\d,\s]*+\))\s*+"
_HEADER = re.compile(rf"\{{{_ENTRY},{_ENTRY},{_ENTRY}(?:,\s*+)?\}}\s*+")
_DTYPE = re.compile(r"[<>|=]?[a-zA-Z?]\d{0,6}(?:\[\w{1,8}\])?")


def read_array(file: io.BufferedIOBase, size: int, where: str) -> Array:
    """Return the array that fills a file of `size` bytes; errors name the file as `where`.

    The size is checked before memory is allocated, and strings are checked to be Unicode.
    """
    shape, fortran, dtype, start = _header(file, where)
    # Lengths of 0 count as 1: the others must be bounded, too.
    bounded = math.prod(max(n, 1) for n in shape) * dtype.itemsize < 1 << 62
    if not bounded or start + math.prod(shape) * dtype.itemsize != size:
        raise DataError(f"{where} does not have the size of its shape {shape}: save it again")
    array = np.empty(shape[::-1] if fortran else shape, dtype)
    read_elements(file, array, where)
    if dtype.kind == "U":
        codes = array.reshape(-1).view(np.dtype("u4").newbyteorder(dtype.byteorder))
        if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
            raise DataError(f"{where} must have strings in Unicode: save it again")
    return array.T if fortran else array


def _header(file: io.BufferedIOBase, where: str) -> tuple[tuple[int, ...], bool, DType, int]:
    """Return the shape, whether the order is Fortran's, the dtype, and the offset of the elements."""
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or len(start) < 8:
        raise DataError(f"{where} must be an array in NumPy's format")
    if start[6:] not in (b"\1\0", b"\2\0"):
        version = (start[6], start[7])
        raise DataError(f"{where} has version {version} of NumPy's format: save plain numbers or strings")
    width = 2 * start[6]
    length = int.from_bytes(file.read(width), "little")
    text = file.read(min(length, _HEADER_LIMIT + 1))
    if len(text) != length:
        raise DataError(f"{where} must have a header of usable size: save it again")
    match = _HEADER.fullmatch(text.decode("latin-1"))
    entries = {} if match is None else dict(zip(match.groups()[::2], match.groups()[1::2], strict=True))
    descr, fortran, sizes = (entries.get(name, "") for name in ("descr", "fortran_order", "shape"))
    if not descr.startswith("'") or fortran not in ("True", "False") or not sizes.startswith("("):
        raise DataError(f"{where} must have numbers or strings, and a valid header: save it again")
    return _shape(sizes, where), fortran == "True", _dtype(descr[1:-1], where), 8 + width + length


def _shape(text: str, where: str) -> tuple[int, ...]:
    lengths = [part.strip() for part in text[1:-1].split(",")]
    if lengths[-1] == "":
        del lengths[-1]
    if len(lengths) > _MOST_DIMENSIONS or not all(re.fullmatch(r"\d{1,18}", n, re.ASCII) for n in lengths):
        raise DataError(f"{where} must have a shape of usable lengths, got {text:.40}: save it again")
    return tuple(map(int, lengths))


def _dtype(text: str, where: str) -> DType:
    try:
        dtype = np.dtype(text if _DTYPE.fullmatch(text) else "?-")
    except TypeError:
        raise DataError(f"{where} must have a NumPy dtype, got {text[:40]!r}") from None
    if dtype.kind not in "biufU" or not dtype.itemsize:
        raise DataError(f"{where} must have numbers or strings, got {dtype}: save it with another dtype")
    return dtype
