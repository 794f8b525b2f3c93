"""Keep the process to its threads, and describe the machine that the figures come from.

Imports neither NumPy nor any peer: the limits only hold for libraries that are imported after they are set.
"""

import contextlib
import io
import os
import platform
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "FASTSM_NUM_THREADS",
)


def limit_threads(threads: int) -> None:
    """Limit every library to `threads` threads, and the process to as many cores.

    The affinity binds the libraries that have no switch (JAX starts one thread for each core it sees), and it
    keeps the process from moving between cores in mid-measurement.
    """
    if "numpy" in sys.modules:
        raise RuntimeError("threads must be limited before NumPy is imported")
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if hasattr(os, "sched_setaffinity"):
        # The last cores: the first one usually serves the interrupts.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def describe(libraries: dict[str, str], threads: int) -> dict[str, Any]:
    """The machine, the versions of `libraries`, and what fastsm says about itself."""
    return {
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "caches": cache_sizes(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "threads": threads,
        "versions": libraries,
        "fastsm": fastsm_information(),
    }


def cpu_model() -> str:
    """The processor's own name where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cache_sizes() -> dict[str, str]:
    """Sizes of the data caches of the first core, such as ``{"L2": "1024K"}``; empty where unknown."""
    sizes = {}
    with contextlib.suppress(OSError):
        for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
            if (index / "type").read_text().strip() != "Instruction":
                sizes["L" + (index / "level").read_text().strip()] = (index / "size").read_text().strip()
    return sizes


def fastsm_information() -> str:
    """What ``fastsm.show_versions()`` prints or returns: it names the instruction set in use."""
    try:
        fastsm = import_module("fastsm")
    except ImportError as error:
        return f"not available: {error}"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        returned = fastsm.show_versions()
    return (printed.getvalue() or str(returned or "")).strip()
