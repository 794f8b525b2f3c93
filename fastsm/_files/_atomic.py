"""Write files such that there is a complete one at any time, and tell files from pipes and devices."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable
from typing import IO

__all__ = ["regular_size", "replace"]


def replace(path: str | os.PathLike[str], fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside the one at `path`, then put it in its place.

    A process that is killed meanwhile leaves what it had written, under a name that ends in ``.tmp``.
    """
    target = os.path.realpath(path)
    if os.path.exists(target):
        regular_size(target)  # a device must not be replaced by a file
    folder, name = os.path.split(target)
    # 60 characters of the name: even in four bytes each, the whole fits into 255.
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
    """Return the size of a file; a pipe or a device has none, and reading it may never end."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"`path` must be a regular file, got {os.fspath(path)!r}")
    return status.st_size
