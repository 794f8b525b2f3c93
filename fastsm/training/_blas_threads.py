"""How many threads a training gets, and how many BLAS gets meanwhile.

fastsm's kernels share work where that pays. BLAS, which products of NumPy's go to (in layers of the user's,
and where the processor lacks AVX2), loses more to waking threads up than it gains where products are small,
so it is limited to one thread unless the largest product of a step has `LARGE_PRODUCT` multiply-adds. The
limits are those of the process; they are put back when the training ends.
"""

import contextlib
import functools
import importlib
from collections.abc import Iterator
from typing import Any

from fastsm._kernels import _threads

__all__ = ["LARGE_PRODUCT", "largest_product", "limited"]

# 784-512-512-10 in batches of 128 is above it and gains from a second thread; 784-128-10 is below and loses.
LARGE_PRODUCT = 1 << 25


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
    before = _threads.get_num_threads()
    blas = None if num_threads is None else min(num_threads, _threads.MOST_THREADS)
    if num_threads is None and largest < LARGE_PRODUCT:
        blas = 1
    try:  # from here on, as Ctrl-C may come at any line
        if num_threads is not None:
            _threads.set_num_threads(num_threads)
        controller = _controller()
        if blas is None or controller is None:
            yield
        else:
            with controller.limit(limits=blas, user_api="blas"):
                yield
    finally:
        _threads.set_num_threads(before)


@functools.cache
def _controller() -> Any:
    """Return what finds and limits the libraries, None if threadpoolctl is not installed."""
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        return None
    return threadpoolctl.ThreadpoolController()
