"""The number of threads, and the threads of the team that kernels share their work among (src/team.pxi).

A row is never split, so the number of threads cannot change a result. There is no OpenMP: its threads spin
against those of BLAS and do not survive a fork.
"""

from __future__ import annotations

import os
import threading

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.functional._cores import default_threads

__all__ = ["get_num_threads", "set_num_threads"]

_lock = threading.Lock()


def _initial() -> int:
    text = os.environ.get("FASTSM_NUM_THREADS") or "0"
    try:
        return _arguments.integer_from("n", int(text), 0) or default_threads()
    except ValueError:
        message = f"`FASTSM_NUM_THREADS` must be an integer of at least 1, or 0 for the default, got {text!r}"
        raise ImportError(message, name="FASTSM_NUM_THREADS") from None


def _start_helper(threads: int) -> bool:
    """Start a thread of the team unless it has so many, the calling one included; return False at exit."""
    # Not blocking: Ctrl-C may come between taking the lock and the block that gives it back.
    if not _lock.acquire(blocking=False):
        return False
    try:
        if kernels.team_size() >= threads:
            return True
        ready = threading.Event()
        helper = threading.Thread(
            target=kernels.help_team, args=(ready.set,), name="fastsm-helper", daemon=True
        )
        try:
            helper.start()
        except RuntimeError:
            return False
        return ready.wait(1.0)
    finally:
        _lock.release()


_num_threads = _initial()
kernels.set_team(min(_num_threads, _arguments.MOST_THREADS), _start_helper)


def set_num_threads(n: int) -> None:
    """Set how many threads large arrays are shared by, the calling one included.

    Holds for the whole process. Initially it is the environment variable ``FASTSM_NUM_THREADS``, or without
    it the smallest of the cores this process may use, the quota of its container (control groups of Linux),
    and the first number of ``OMP_NUM_THREADS``. Small arrays never leave the calling thread, and no result
    depends on it.

    Parameters
    ----------
    n : int
        At least 1. More than 256 threads are never started.

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer of at least 1.

    Examples
    --------
    >>> import fastsm
    >>> before = fastsm.get_num_threads()
    >>> fastsm.set_num_threads(1)
    >>> fastsm.get_num_threads()
    1
    >>> fastsm.set_num_threads(before)
    """
    global _num_threads
    _num_threads = _arguments.positive_integer("n", n)
    kernels.set_team(min(_num_threads, _arguments.MOST_THREADS), _start_helper)


def get_num_threads() -> int:
    """Return how many threads large arrays are shared by, the calling one included.

    Returns
    -------
    int
        What `set_num_threads` set last.

    Examples
    --------
    >>> import fastsm
    >>> fastsm.get_num_threads() >= 1
    True
    """
    return _num_threads


def _after_fork_in_child() -> None:
    """Start afresh: the threads of the parent do not exist here."""
    global _lock
    _lock = threading.Lock()
    kernels.forget_team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
