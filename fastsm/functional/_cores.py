"""How many threads this process should start: its cores, the quota of its container, OMP_NUM_THREADS."""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["default_threads", "openmp_threads", "usable_cores"]

# A quota has two numbers: microseconds of processor time, and the period in which they may be used.
_VERSION_2 = ["cpu.max"]
_VERSION_1 = ["cpu.cfs_quota_us", "cpu.cfs_period_us"]


def default_threads() -> int:
    """Return the usable cores, or the first number of OMP_NUM_THREADS if that is smaller."""
    cores = usable_cores()
    return min(cores, openmp_threads() or cores)


def usable_cores(root: str = "/") -> int:
    """Return the cores that this process may use, or those of its container's quota if these are fewer.

    Parameters
    ----------
    root : str
        Where the file system begins.

    Returns
    -------
    int
        At least 1. A quota of one and a half cores counts 2.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min([cores or 1, *_quotas(root)])


def openmp_threads() -> int | None:
    """Return the first number of OMP_NUM_THREADS, which may be a list as "4,2"; None if there is none."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and len(first) < 10 and int(first) else None


def _quotas(root: str) -> Iterator[int]:
    """Yield the cores that the control groups of Linux allow: those of this process and all above them [1]_.

    References
    ----------
    .. [1] The Linux kernel's documentation, "Control Group v2" and "CFS Bandwidth Control".
    """
    for line in _read(root, "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            places, names = ["sys/fs/cgroup", "sys/fs/cgroup/unified"], _VERSION_2
        elif "cpu" in controllers.split(","):
            places, names = [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"], _VERSION_1
        else:
            continue
        # In a container the group may be one of the host, whose files are not there; those at the top are.
        parts = [part for part in group.split("/") if part not in ("", ".", "..")]
        for place in places:
            for depth in range(len(parts) + 1):
                folder = "/".join([place, *parts[:depth]])
                words = " ".join(_read(root, f"{folder}/{name}") for name in names).split()
                if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):
                    yield max(1, -(-int(words[0]) // int(words[1])))


def _read(root: str, name: str) -> str:
    """Return the text of a small file, "" if it cannot be read."""
    try:
        with open(os.path.join(root, name), encoding="ascii", errors="replace") as file:
            return file.read(1 << 16)
    except (OSError, ValueError):
        return ""
