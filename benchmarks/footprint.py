"""Measure import time, disk space, and the memory of training, for fastsm and the other libraries.

A wheel lists its files and the distributions that it requires. Requirements of extras, other systems and
other versions of Python do not count.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

from records import OURS, Record

# Libraries, their distributions and their modules.
DISTRIBUTIONS = {
    OURS: (OURS, OURS),
    "numpy": ("numpy", "numpy"),
    "scipy": ("scipy", "scipy.special"),
    "torch": ("torch", "torch"),
    "onnxruntime": ("onnxruntime", "onnxruntime"),
    "jax": ("jax", "jax.numpy"),
    "sklearn": ("scikit-learn", "sklearn.neural_network"),
    "numba": ("numba", "numba"),
}
PROCESSES, QUICK_PROCESSES = 10, 2
TIMED = """
import time
{before}
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""
TRAINED = """
import importlib, sys, numpy
from footprint import peak_mb
before = peak_mb()
from networks import EPOCHS, Task, data_for
network, batch_size = EPOCHS[1]
data = data_for(network, {quick})
module = importlib.import_module("peers.{library}")
module.setup(1)
module.trainers(Task(network, batch_size, data))[0].epoch(numpy.random.default_rng(0).permutation(len(data)))
print(peak_mb() - before)
"""
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r";.*\bextra\s*==")


def measure(
    libraries: dict[str, ModuleType], threads: int, rounds: int | None, quick: bool
) -> Iterator[Record]:
    """Yield the records of all three."""
    names = [name for name in DISTRIBUTIONS if name in libraries]
    processes = rounds or (QUICK_PROCESSES if quick else PROCESSES)
    for group, before in (("import", ""), ("import after NumPy", "import numpy")):
        codes = {name: TIMED.format(before=before, module=DISTRIBUTIONS[name][1]) for name in names}
        for code in codes.values():
            _number_from(code)  # the first one writes the byte code and reads the files
        for name, code in codes.items():
            if not (before and name == "numpy"):
                times = [1e3 * _number_from(code) for _ in range(processes)]
                yield Record("footprint", group, "", threads, name, "", "ms", min(times))
    for name in names:
        sizes = [size(needed) for needed in closure(DISTRIBUTIONS[name][0])]
        yield Record("footprint", "installed", "", threads, name, "", "MB", sum(sizes) / 1e6)
    if sys.platform == "linux":
        for name in (name for name in names if hasattr(libraries[name], "trainers")):
            peak = _number_from(TRAINED.format(library=name, quick=quick))
            yield Record("footprint", "peak memory of training", "", threads, name, "", "MB", peak)


def closure(name: str) -> list[str]:
    """Return a distribution and its installed requirements, direct and indirect."""
    found = [_normal(name)]
    for needed in found:  # grows
        distribution = _find(needed)
        if distribution is None:  # fastsm, run from its sources
            requirements = ["numpy"]
        else:
            requirements = [one for one in distribution.requires or () if not _EXTRA.search(one)]
        for requirement in requirements:
            match = _NAME.match(requirement)
            other = _normal(match.group()) if match else ""
            if other and other not in found and _find(other) is not None:
                found.append(other)
    return found


def size(name: str) -> int:
    """Return the size of a distribution's files, or of fastsm's folder if it runs from its sources."""
    distribution = _find(name)
    files = [] if distribution is None else [Path(str(file.locate())) for file in distribution.files or ()]
    if name == OURS:
        import fastsm

        package = Path(fastsm.__file__)
        # An editable install lists other files than those that run.
        if not any(file.resolve() == package.resolve() for file in files):
            files = list(package.parent.rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file())


def peak_mb() -> float:
    """Return the peak of this process's resident memory on Linux."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / 1e6


def _number_from(code: str) -> float:
    """Run a program in a new Python process, and return the number that it prints."""
    paths = [str(Path(__file__).parent), *(path or os.getcwd() for path in sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _find(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
