"""How many threads an estimator takes: no more than its share, where several are trained at once."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

from fastsm import nn
from fastsm.training import _blas_threads

__all__ = ["is_small", "limited", "threads_for"]

# Multiply-adds of a product that is never shared by threads.
_ALONE = 1 << 17
# Held by the one that has changed the limits, and will put them back.
_changing = threading.Lock()


def threads_for(estimator: Any) -> int | None:
    """Return the number of threads that was asked for, None if nobody did.

    joblib tells its worker processes by ``OMP_NUM_THREADS`` what share of the cores is theirs, and whoever
    sets ``FASTSM_NUM_THREADS`` means fastsm.
    """
    if estimator.n_threads is not None:
        return int(estimator.n_threads)
    share = os.environ.get("OMP_NUM_THREADS", "")
    if "FASTSM_NUM_THREADS" in os.environ or not share.isdecimal() or int(share) == 0:
        return None
    return int(share)


def is_small(network: nn.Sequential, rows: int) -> bool:
    """Whether products with so many rows are done by one thread anyway."""
    return _blas_threads.largest_product(network, rows) < _ALONE


@contextlib.contextmanager
def limited(threads: int | None, network: nn.Sequential, rows: int) -> Iterator[None]:
    """Limit the threads to this number, or to those that pay for so many rows, as long as this lasts.

    The limits are those of the process: who comes while another thread trains works under its limits.
    """
    if not _changing.acquire(blocking=False):
        yield
        return
    try:
        with _blas_threads.limited(threads, _blas_threads.largest_product(network, rows)):
            yield
    finally:
        _changing.release()
