"""Versions and settings, for bug reports and benchmarks."""

from __future__ import annotations

import platform

import numpy as np

from fastsm import _kernels
from fastsm._version import __version__
from fastsm.functional import _threads

__all__ = ["show_versions", "versions"]


def versions() -> dict[str, str]:
    """Return versions and settings by name."""
    return {
        "fastsm": __version__,
        "instruction set": _kernels.name,
        "instruction sets available": ", ".join(_kernels.available),
        "threads": str(_threads.get_num_threads()),
        "NumPy": np.__version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        "machine": platform.machine(),
    }


def show_versions() -> None:
    """Print the versions in use, the instruction set of the kernels and the number of threads.

    Examples
    --------
    >>> import fastsm
    >>> fastsm.show_versions()  # doctest: +ELLIPSIS
    fastsm                      ...
    instruction set             ...
    """
    for name, value in versions().items():
        print(f"{name:<27} {value}")
