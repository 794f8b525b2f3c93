"""A pool of threads that share the rows of large arrays.

Kernels release the GIL, so plain Python threads do. The calling thread works too: whoever is free takes the
next block of rows, and helpers that have not started by the time the blocks are gone are not waited for. A
row is never split, so the number of threads cannot change a result. There is no OpenMP: its threads spin
against those of BLAS and do not survive a fork.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable

# Not when the pool is made, though it takes half of fastsm's time to import: it registers handlers for
# fork, and that must not happen in one thread while another forks.
from concurrent.futures import Future
from concurrent.futures.thread import ThreadPoolExecutor

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.functional._cores import default_threads

__all__ = ["get_num_threads", "run", "serial_limit", "set_num_threads"]

# Elements below which a call stays on its thread: src/thresholds.pxi says why, beside all others.
PARALLEL_ELEMENTS = kernels.PARALLEL_ELEMENTS
# Blocks for each thread, so that one that is held up leaves its share to the others.
BLOCKS_PER_THREAD = 4
# Rows of a block come in multiples of the rows that are copied in together.
BLOCK_ROWS = 64
UNLIMITED = 2**62
# More threads than this are never started, whatever number is asked for.
MOST_THREADS = 256

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def _initial() -> int:
    text = os.environ.get("FASTSM_NUM_THREADS") or "0"
    try:
        return _arguments.integer_from("n", int(text), 0) or default_threads()
    except ValueError:
        message = f"`FASTSM_NUM_THREADS` must be an integer of at least 1, or 0 for the default, got {text!r}"
        raise ImportError(message, name="FASTSM_NUM_THREADS") from None


def _start_helper() -> bool:
    """Start a thread of the team that the kernels of training share their work among; False at exit."""
    # Not blocking: Ctrl-C may come between taking the lock and the block that gives it back.
    if not _lock.acquire(blocking=False):
        return False
    try:
        if kernels.team_size() >= _num_threads:
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
kernels.set_team(min(_num_threads, MOST_THREADS), _start_helper)
# The elements up to which a call stays on its thread anyway, for the short paths of the kernels: a variable,
# as a function that returns it would take an eighth of their time.
serial_limit = UNLIMITED if _num_threads == 1 else PARALLEL_ELEMENTS


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
    global _num_threads, serial_limit
    _num_threads = _arguments.positive_integer("n", n)
    kernels.set_team(min(_num_threads, MOST_THREADS), _start_helper)
    serial_limit = UNLIMITED if _num_threads == 1 else PARALLEL_ELEMENTS


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


def run(block: Callable[[int, int], None], rows: int, classes: int, num_threads: int | None) -> None:
    """Call ``block(first, last)`` for ranges that make up all rows, on several threads if that pays."""
    threads = min(_num_threads if num_threads is None else num_threads, MOST_THREADS)
    if threads == 1 or rows * classes < PARALLEL_ELEMENTS:
        block(0, rows)
        return
    size = -(-rows // (threads * BLOCKS_PER_THREAD))
    size = -(-size // BLOCK_ROWS) * BLOCK_ROWS if size > BLOCK_ROWS else size
    # A deque needs no lock, which a thread that is interrupted might keep for ever.
    starts = deque(range(0, rows, size))

    def work() -> None:
        while starts:
            try:
                first = starts.popleft()
            except IndexError:  # another thread took the last one
                return
            block(first, min(first + size, rows))

    helpers = _submit(work, min(threads, -(-rows // size)) - 1)
    try:
        work()
    finally:
        starts.clear()
        errors = [helper.exception() for helper in helpers if not helper.cancel()]
    for error in errors:
        if error is not None:
            raise error


def _submit(work: Callable[[], None], count: int) -> list[Future[None]]:
    """Hand `work` to `count` threads of the pool, or to fewer if no more can be started, as at exit."""
    global _pool
    helpers: list[Future[None]] = []
    with contextlib.suppress(RuntimeError):
        if _pool is None:
            # Threads start when they are needed, so the maximum costs nothing, nor does a second pool that
            # another thread makes at the same time.
            _pool = ThreadPoolExecutor(max_workers=MOST_THREADS, thread_name_prefix="fastsm")
        pool = _pool
        for _ in range(count):
            helpers.append(pool.submit(work))  # noqa: PERF401 - those submitted before an error must be kept
    return helpers


def _after_fork_in_child() -> None:
    """Start afresh: the threads of the parent do not exist here."""
    global _lock, _pool
    _lock = threading.Lock()
    _pool = None
    kernels.forget_team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
