"""The team of threads of the kernels, in tests."""

import contextlib

from fastsm.functional import _threads


@contextlib.contextmanager
def sharing():
    """Let threads share arrays of any size, in the kernels that the functions use now."""
    kernels, threads = _threads.kernels, _threads.get_num_threads()
    kernels.set_team(max(threads, 2), _threads._start_helper, least_work=1)
    try:
        yield
    finally:
        kernels.set_team(threads, _threads._start_helper)
