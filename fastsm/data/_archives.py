"""Read archives of arrays, as `numpy.savez` writes them.

The format: PKWARE, ".ZIP File Format Specification", 6.3.10. The directory is checked before it is used.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

from fastsm.data._dataset import DataError, listed
from fastsm.data._idx import unreadable
from fastsm.data._limits import check_expansion, regular_size
from fastsm.data._npy import read_array
from fastsm.typing import Array

__all__ = ["open_archive", "read_members", "read_npz"]

# Training, validation and test data: the names of Keras and others, of MedMNIST, and of one part alone.
_PARTS = [f"x_{part} y_{part}" for part in ("train", "val", "test")]
_MED = [f"{part}_images {part}_labels" for part in ("train", "val", "test")]
_NAMES = [
    tuple(" ".join(names).split())
    for names in (_PARTS, _PARTS[::2], _MED, _MED[::2], ["x y"], ["images labels"])
]
_MOST_MEMBERS = 1 << 10
_ENTRY = 4096  # bytes of the directory per member, at most, on average
_END, _LOCATOR, _END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")


def read_npz(path: str) -> list[tuple[Array, Array]]:
    """Return the inputs and labels of each part of an archive; letter case is ignored.

    The parts are training, validation and test data, or training and test data, or all data.
    """
    with open_archive(path) as (archive, members):
        lower = {name.lower(): entry for name, entry in members.items()}
        if len(lower) < len(members):
            raise DataError(f"{path!r} has two arrays whose names differ only in case: rename one")
        for names in _NAMES:
            if all(name in lower for name in names):
                arrays = read_members(archive, [lower[name] for name in names], path)
                return list(zip(arrays[::2], arrays[1::2], strict=True))
    held = listed(sorted(lower))
    raise DataError(
        f"{path!r} must hold X and y, or x_train, y_train, x_test and y_test, or train_images,"
        f" train_labels, test_images and test_labels, got {held}"
    )


@contextlib.contextmanager
def open_archive(path: str) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """Open an archive and yield it with its members by name; raise DataError if it is damaged."""
    try:
        size = regular_size(path)
        with open(path, "rb") as file:
            _check_directory(file, size)
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                members = {entry.filename.removesuffix(".npy"): entry for entry in entries}
                if len(members) < len(entries):
                    raise DataError(f"{path!r} has two members with the same name: save it again")
                yield archive, members
    except DataError:
        raise
    except (
        OSError, EOFError, ValueError, RuntimeError, KeyError, IndexError, OverflowError, zlib.error,
        struct.error, zipfile.BadZipFile, zipfile.LargeZipFile,
    ) as error:  # fmt: skip
        if isinstance(error, OSError) and error.strerror:
            raise unreadable(path, error) from error
        raise DataError(f"{path!r} must be an archive written by numpy.savez: {error}") from error


def read_members(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], path: str) -> list[Array]:
    """Return arrays, after checking their size: before memory is allocated for them."""
    size = os.path.getsize(path)
    for entry in entries:
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{entry.filename} in {path!r} must be compressed as by numpy.savez_compressed")
    # Overlapping members would count several times.
    if sum(entry.compress_size for entry in entries) > size:
        raise DataError(f"{path!r} has members that are larger than the file: save it again")
    needed = sum(entry.file_size for entry in entries)
    if needed > size:
        check_expansion(repr(path), size, needed)
    arrays = []
    for entry in entries:
        with cast(zipfile.ZipExtFile, archive.open(entry)) as member:
            arrays.append(read_array(member, entry.file_size, f"{entry.filename!r} in {path!r}"))
    return arrays


def _check_directory(file: IO[bytes], size: int) -> None:
    """Check the end of an archive, so that zipfile reads no large directory."""
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
    if count > _MOST_MEMBERS or length > count * _ENTRY or start + length != end:
        raise ValueError("its directory has a wrong size")
