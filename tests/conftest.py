"""Fixtures for all tests."""

import importlib

import pytest

from fastsm import _dispatch, _isa, functional

# Scripts, no tests.
collect_ignore_glob = ["mpi/*", "differential.py", "sanitize.py"]


@pytest.fixture(params=_isa.available)
def isa(request, monkeypatch):
    """Run the test once with each variant of the kernels that this CPU can run."""
    kernels = importlib.import_module(f"fastsm._isa.{request.param}.kernels")
    monkeypatch.setattr(functional, "kernels", kernels)
    monkeypatch.setattr(_dispatch, "kernels", kernels)
    return request.param
