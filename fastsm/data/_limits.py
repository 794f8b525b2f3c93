"""Limits on the memory that a file may ask for, checked before it is allocated."""

from __future__ import annotations

import os
import stat

from fastsm.data._dataset import DataError

__all__ = ["EXPANSION", "LIMIT", "check_expansion", "regular_size"]

# Bytes of the elements of one array, or of the text of one table.
LIMIT = 1 << 32
# The largest ratio that DEFLATE can reach.
EXPANSION = 1032
# A compressed file may expand to 64 MB, or to 100 times its size if that is more. Images and tables expand a
# few times; a much larger ratio most likely means a file made to exhaust memory.
_RATIO, _ALWAYS = 100, 1 << 26


def regular_size(name: str) -> int:
    """Return the size of a regular file; reading a pipe or a device may never end."""
    status = os.stat(name)
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{name!r} must be a regular file")
    return status.st_size


def check_expansion(where: str, size: int, needed: int) -> None:
    """Check that `needed` bytes are in proportion to the `size` of a compressed file."""
    if needed > min(LIMIT, max(_ALWAYS, _RATIO * size)):
        raise DataError(
            f"{where} would expand to {needed} bytes or more, out of proportion to the {size} that it has"
            " compressed: decompress it first, if you trust it"
        )
