"""Zip archives of arrays, as NumPy writes them: the bytes, and how a file is replaced safely.

zipfile could write them too, but an archive of its that Ctrl-C leaves half written raises errors of its own;
and what it reads must be checked before. The format: PKWARE, ".ZIP File Format Specification", 6.3.10.
"""

import contextlib
import errno
import io
import os
import secrets
import stat
import struct
import zlib
from collections.abc import Callable
from typing import IO

import numpy as np

from fastsm._arguments import Array

__all__ = ["MOST_MEMBERS", "check_directory", "regular_size", "replace", "write_end", "write_member"]

MOST_MEMBERS = 1 << 10
_LOCAL, _ENTRY = struct.Struct("<4s5H3L2H"), struct.Struct("<4s6H3L5H2L")
_END, _LOCATOR, _END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
# What is as large as this is written in 64 bits elsewhere, with a number of all ones in its place.
_LARGE = _ONES = (1 << 32) - 1


def write_member(file: IO[bytes], name: str, array: Array) -> bytes:
    """Write an array as a member, uncompressed, and return its entry for the directory.

    There is no time in it: the same tree makes the same file.
    """
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(start, np.lib.format.header_data_from_array_1_0(array))
    head, data, place = start.getvalue(), array.view(np.uint8).data, file.tell()
    size, text = len(head) + len(data), f"{name}.npy".encode()
    large = max(size, place) >= _LARGE
    # Version 4.5 if large, no flags, not compressed, 1 January 1980, sum, sizes, the lengths of two texts.
    small = _ONES if large else size
    common = (45 if large else 20, 0, 0, 0, 33, zlib.crc32(data, zlib.crc32(head)), small, small, len(text))
    extra = struct.pack("<2H2Q", 1, 16, size, size) if large else b""
    file.write(_LOCAL.pack(b"PK\3\4", *common, len(extra)) + text + extra + head)
    file.write(data)
    extra = struct.pack("<2H3Q", 1, 24, size, size, place) if large else b""
    unix, mode = 3 << 8, 0o644 << 16
    return (
        _ENTRY.pack(
            b"PK\1\2", unix + common[0], *common, len(extra), 0, 0, 0, mode, _ONES if large else place
        )
        + text
        + extra
    )


def write_end(file: IO[bytes], directory: bytes, count: int) -> None:
    """Write the directory, and where it is."""
    start = file.tell()
    file.write(directory)
    large = start >= _LARGE
    if large:
        place, version = file.tell(), 45
        sizes = (count, count, len(directory), start)
        file.write(_END64.pack(b"PK\6\6", _END64.size - 12, version, version, 0, 0, *sizes))
        file.write(_LOCATOR.pack(b"PK\6\7", 0, place, 1))
    file.write(_END.pack(b"PK\5\6", 0, 0, count, count, len(directory), _ONES if large else start, 0))


def replace(path: str | os.PathLike[str], fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside the one at `path`, then put it in its place.

    A process that is killed meanwhile leaves what it had written, under a name that ends in ``.tmp``.
    """
    target = os.path.realpath(path)
    if os.path.exists(target):
        regular_size(target)  # a device must not be replaced by a file
    folder, name = os.path.split(target)
    # Of the name so much that even in four bytes a letter the whole fits into 255.
    temporary = os.path.join(folder, f".{name[:60]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the new name must be on the disk too; Windows has no way to say so
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def regular_size(path: str | os.PathLike[str]) -> int:
    """Return the size of a file; of a pipe or a device there is none, and reading it may never end."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"`path` must be a regular file, got {os.fspath(path)!r}")
    return status.st_size


def check_directory(file: IO[bytes], size: int, entry: int) -> None:
    """Check the end of an archive, so that zipfile reads no large directory.

    It may have `MOST_MEMBERS`, and on an average `entry` bytes for each.
    """
    file.seek(max(size - _END.size - _LOCATOR.size, 0))
    tail = file.read(_LOCATOR.size + _END.size)
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\5\6":
        raise ValueError("its end is missing")
    _, disk, first_disk, here, count, length, start, comment = _END.unpack(tail[-_END.size :])
    end = size - _END.size
    if len(tail) == _LOCATOR.size + _END.size and tail[:4] == b"PK\6\7":
        _, _, where, _ = _LOCATOR.unpack(tail[: _LOCATOR.size])
        end = size - _END.size - _LOCATOR.size - _END64.size
        if where != end:
            raise ValueError("its directory is not at its end")
        file.seek(end)
        _, _, _, _, disk, first_disk, here, count, length, start = _END64.unpack(file.read(_END64.size))
    if disk or first_disk or comment or here != count:
        raise ValueError("its end is wrong")
    if count > MOST_MEMBERS or length > count * entry or start + length != end:
        raise ValueError("its directory has a wrong size")
