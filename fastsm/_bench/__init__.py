"""The benchmarks behind ``fastsm bench``: fastsm beside other libraries, and beside what limits it.

Each part (kernels, training, footprint) is a package or module with two functions::

    measure(settings, tell) -> dict     the keys of the document that it measures
    tables(document) -> str             the same for a person

A part is measured in a process of its own, ``python -m fastsm._bench``: limits on threads only hold for
libraries that are imported after they are set, and if a library crashes, the others' figures survive. The
module `runs` starts these processes and merges what they print into one document, the only thing that passes
between measuring, tables, pictures and pages::

    {"schema": 1, "fastsm": version, "date": "2026-11-22", "quick": false,
     "machine": {"cpu", "caches", "platform", "python", "cores", "memory_gb", "instruction_set"},
     "versions": {library: version}, "missing": {library: why}, "failed": {process: why},
     "kernels": [...], "training": [...], "inference": [...], "estimators": [...], "footprint": {...}}

Times in it are nanoseconds; it holds no ratios: readers compute them, best over best. NumPy is the only
library that must be there.
"""

from dataclasses import dataclass

__all__ = ["CANDIDATES", "LIMITS", "PARTS", "SCHEMA", "SLOW_TO_START", "Settings"]

SCHEMA = 1
# The parts, and whether one is measured once for each number of threads, or only with one.
PARTS = {"kernels": True, "training": True, "footprint": False}
# What fastsm is compared with, in the order of the tables, and what none of them can beat.
CANDIDATES = (
    "numpy",
    "numpy out=",
    "scipy",
    "torch",
    "torch.compile",
    "onnxruntime",
    "jax",
    "sklearn",
    "thinc",
    "numba",
)
LIMITS = ("sweep", "products")
# Compiles for seconds before the first call: a quick run measures it only if it is asked for.
SLOW_TO_START = ("torch.compile",)


@dataclass(frozen=True)
class Settings:
    """What a part is asked for."""

    quick: bool = False  # few cells and rounds: seconds
    threads: int = 1  # this process is limited to so many
    rounds: int | None = None  # None: as the part thinks best
    against: tuple[str, ...] | None = None  # candidates beside fastsm; None: all that can be imported

    def wants(self, candidate: str) -> bool:
        """Whether to measure a candidate; "numpy" stands for "numpy out=" too."""
        if candidate == "fastsm" or candidate in LIMITS:
            return True
        if self.against is None:
            return not (self.quick and candidate in SLOW_TO_START)
        return candidate in self.against or candidate.partition(" ")[0] in self.against
