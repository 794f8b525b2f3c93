"""Limit a process to its threads, and describe the machine.

Imports neither NumPy nor any peer: the limits only hold for libraries that are imported after they are set.
"""

import contextlib
import os
import platform
from pathlib import Path

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "FASTSM_NUM_THREADS",
)


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a child process in which every library keeps to `threads` threads."""
    limits = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    limits["JAX_PLATFORMS"] = "cpu"
    if threads == 1:
        limits["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {**os.environ, **limits}


def bind_to_cores(threads: int) -> None:
    """Bind this process to as many cores as it has threads, where the system can.

    This binds the libraries that have no switch (JAX starts one thread for each core it sees), and it keeps
    the process from moving between cores in mid-measurement.
    """
    if hasattr(os, "sched_setaffinity"):
        # The last cores: the first one usually serves the interrupts.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> dict[str, str]:
    """Return the properties of the machine that figures depend on."""
    memory = memory_gb()
    return {
        "cpu": cpu_model(),
        "caches": ", ".join(f"{name} {size}" for name, size in cache_sizes().items()),
        "cores": str(usable_cores()),
        "memory": "unknown" if memory is None else f"{memory:g} GB",
        "system": _system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def cpu_model() -> str:
    """Return the name of the processor, where the system knows it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cache_sizes() -> dict[str, str]:
    """Return the sizes of the data caches of the first core, as ``{"L2": "1024K"}``; empty where unknown."""
    sizes = {}
    with contextlib.suppress(OSError):
        for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
            if (index / "type").read_text().strip() != "Instruction":
                sizes["L" + (index / "level").read_text().strip()] = (index / "size").read_text().strip()
    return sizes


def memory_gb() -> float | None:
    """Return the machine's memory; None where unknown."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):  # not on Windows
        return None


def _system() -> str:
    """Return the operating system, the architecture, and the C library; a kernel's release says little."""
    library = " ".join(platform.libc_ver()).strip()
    return ", ".join(filter(None, (f"{platform.system()} {platform.machine()}", library)))
