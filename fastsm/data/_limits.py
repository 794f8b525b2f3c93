"""How much a file may ask for: what it promises is compared with this before memory is taken."""

import os
import stat

from fastsm.data._dataset import DataError

__all__ = ["EXPANSION", "LIMIT", "expanded", "regular_size"]

# Bytes that the elements of one array, or the text of one table, may have unless the file itself is larger.
LIMIT = 1 << 32
# The most that DEFLATE makes of a byte.
EXPANSION = 1032
# What is compressed may become 100 times as large as the file, and 64 MB in any case. Images and tables
# become a few times as large; what becomes much more is most likely made to fill the memory.
_RATIO, _ALWAYS = 100, 1 << 26


def regular_size(name: str) -> int:
    """Return the size of a file; of a pipe or a device there is none, and reading it may never end."""
    status = os.stat(name)
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{name!r} must be a regular file")
    return status.st_size


def expanded(where: str, size: int, needed: int) -> None:
    """Check that what `size` bytes of a compressed file become is not out of proportion."""
    if needed > min(LIMIT, max(_ALWAYS, _RATIO * size)):
        raise DataError(
            f"{where} would become {needed} bytes or more, out of proportion to the {size} that it has"
            " compressed: decompress it first, if you trust it"
        )
