"""The suite in benchmarks/ is a folder of scripts, which find each other by sys.path."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def suite(monkeypatch):
    """Return a function that imports a module of benchmarks/; all are forgotten afterwards."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(BENCHMARKS):
            del sys.modules[name]
