"""Choose the variant of the compiled kernels that suits this CPU.

The same C code is built once for each instruction set, into ``fastsm._kernels.<name>.kernels``. The best one
that the CPU can run is taken; the environment variable ``FASTSM_ISA`` asks for another (``baseline``,
``avx2``, ``avx512``), for tests and comparisons.
"""

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING

from fastsm._kernels.baseline import kernels as _baseline

__all__ = ["available", "kernels", "name"]


def _available() -> tuple[str, ...]:
    """Return the variants that are installed and that this CPU can run, best first."""
    return tuple(
        isa
        for isa in _baseline.cpu_instruction_sets()
        if importlib.util.find_spec(f"fastsm._kernels.{isa}.kernels") is not None
    )


def _choose() -> str:
    requested = os.environ.get("FASTSM_ISA")
    if not requested:
        return available[0]
    if requested not in available:
        message = f"`FASTSM_ISA` must be one of {', '.join(available)} on this machine, got {requested!r}"
        raise ImportError(message, name="FASTSM_ISA")
    return requested


available = _available()
name = _choose()

if TYPE_CHECKING:
    kernels = _baseline
else:
    kernels = importlib.import_module(f"fastsm._kernels.{name}.kernels")
