"""How many threads a training gets, and how many BLAS gets meanwhile.

fastsm's kernels share work where that pays. BLAS, which products of NumPy's go to (in layers of the user's,
and where the processor lacks AVX2), loses more to waking threads up than it gains where products are small,
so it is limited to one thread unless the largest product of a step has `LARGE_PRODUCT` multiply-adds. The
limits are those of the process; they are put back when the training ends. A training that begins in another
thread meanwhile works under the limits of the first, so that each finds what it left.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
from collections.abc import Iterator
from typing import Any

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.functional import _threads

__all__ = ["LARGE_PRODUCT", "largest_product", "limited"]

# src/thresholds.pxi says why, beside the other numbers that decide about threads.
LARGE_PRODUCT = kernels.LARGE_PRODUCT
# Held while the limits are changed.
_limiting = threading.Lock()


def largest_product(model: Any, batch_size: int) -> int:
    """Return the multiply-adds of the largest matrix product of a step."""
    sizes = (
        array.size
        for layer in getattr(model, "layers", ())
        for array in getattr(layer, "params", {}).values()
        if array.ndim == 2
    )
    return batch_size * max(sizes, default=0)


@contextlib.contextmanager
def limited(num_threads: int | None, largest: int) -> Iterator[None]:
    """Limit BLAS, and fastsm's own threads if a number was asked for, as long as this lasts."""
    first, before = _limiting.acquire(blocking=False), _threads.get_num_threads()
    try:  # from here on, as Ctrl-C may come at any line
        if first and num_threads is not None:
            _threads.set_num_threads(num_threads)
        with _limited_blas(num_threads, largest) if first else contextlib.nullcontext():
            yield
    finally:
        if first:
            _threads.set_num_threads(before)
            _limiting.release()


def _limited_blas(num_threads: int | None, largest: int) -> contextlib.AbstractContextManager[Any]:
    """Return what limits BLAS to this number, or to those that gain from the largest product."""
    controller = _controller()
    if controller is None or (num_threads is None and largest >= LARGE_PRODUCT):
        return contextlib.nullcontext()
    blas = 1 if num_threads is None else min(num_threads, _arguments.MOST_THREADS)
    limits: contextlib.AbstractContextManager[Any] = controller.limit(limits=blas, user_api="blas")
    return limits


@functools.cache
def _controller() -> Any:
    """Return what finds and limits the libraries, None if threadpoolctl is not installed."""
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        return None
    return threadpoolctl.ThreadpoolController()
