"""Write files atomically, and reject pipes and devices."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable
from typing import IO

from fastsm import _arguments

__all__ = ["check_new_file", "checked_path", "regular_size", "write_atomically"]


def write_atomically(path: str | os.PathLike[str], fill: Callable[[IO[bytes]], object]) -> None:
    """Write a temporary file with `fill`, then rename it to `path`.

    A process that is killed in between leaves the temporary file, whose name ends in ``.tmp``.
    """
    target = os.path.realpath(path)
    if os.path.exists(target):
        regular_size(target)  # a file must not replace a device
    folder, name = os.path.split(target)
    # File names have at most 255 bytes, and a character takes up to four.
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
    if hasattr(os, "O_DIRECTORY"):  # the new name must reach the disk, too; Windows cannot sync a folder
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def regular_size(path: str | os.PathLike[str]) -> int:
    """Return the size of a regular file; reading a pipe or a device may never end."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"`path` must be a regular file, got {os.fspath(path)!r}")
    return status.st_size


def checked_path(name: str, value: object) -> str:
    """Return a path that was passed as an argument of this name, as a string."""
    result = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
    if not isinstance(result, str):
        raise TypeError(f"`{name}` must be a path, got {_arguments.shown(value)}")
    if not result or "\0" in result:
        raise ValueError(f"`{name}` must be the name of a file, got {_arguments.shown(value)}")
    return result


def check_new_file(path: str) -> None:
    """Check that a file can be written here: in a folder that exists, and in place of nothing but a file."""
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"`path` must lie in a folder that exists, got {path!r}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"`path` must be a regular file or a new one, got {path!r}")
