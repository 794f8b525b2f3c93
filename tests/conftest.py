"""Fixtures for all tests."""

import importlib
import os
import signal

import pytest
from extras import missing

from fastsm import _arguments, _kernels
from fastsm.functional import _cross_entropy, _general, _softmax, _threads, _vjp

# Behind `nohup` or an `&` Ctrl-C is ignored, here and in all processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The settings of the user, such as the folder of their data sets, must not reach the command.
KEPT = ("FASTSM_FUZZ", "FASTSM_ISA", "FASTSM_NUM_THREADS")
for name in [name for name in os.environ if name.startswith("FASTSM_") and name not in KEPT]:
    del os.environ[name]

# Scripts, not tests.
collect_ignore_glob = ["training/mpi/*"]


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Collect no doctests from test files: files that cannot be imported would count as skipped."""
    return [found for found in (yield) if type(found).__name__ != "DoctestModule"]


def pytest_collection_modifyitems(items):
    """Skip doctests that need a missing package."""
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            text = "".join(example.source for example in item.dtest.examples)
            for name in missing(text):
                item.add_marker(pytest.mark.skip(reason=f"needs {name}"))


@pytest.fixture(params=_kernels.available)
def isa(request, monkeypatch):
    """Run the test once with each variant of the kernels that this CPU can run."""
    kernels = importlib.import_module(f"fastsm._kernels.{request.param}.kernels")
    for module in (_arguments, _cross_entropy, _general, _softmax, _threads, _vjp):
        monkeypatch.setattr(module, "kernels", kernels)
    kernels.set_team(_threads.get_num_threads(), _threads._start_helper)
    return request.param
