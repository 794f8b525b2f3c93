"""How each library is called, each at its best setting: one module a library, imported only when asked for.

A module has ``setup(threads)``, which returns the library's version, and ``calls(cell)``, which returns the
ways to do the cell's operation: an empty list where the library has nothing for it. Where a library can be
called in several ways, all of them are timed and the fastest stands for it. They are written for ``axis=-1``
(fastsm's also for ``axis=0``).
"""

from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType

LIBRARIES = ("fastsm", "numpy", "scipy", "torch", "onnxruntime", "jax", "sklearn", "sweep")
# Columns of the tables. The limit is no competitor, and fastsm is not its own.
OURS = ("fastsm", "in place")
PEERS = ("numpy", "numpy out=", "scipy", "torch", "onnxruntime", "jax", "sklearn")
LIMIT = "sweep"


@dataclass
class Libraries:
    """Those that could be imported, their versions, and why the others could not."""

    modules: dict[str, ModuleType] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def load(names: tuple[str, ...], threads: int) -> Libraries:
    """Import and set up the libraries."""
    libraries = Libraries()
    for name in names:
        try:
            module = import_module(f"{__name__}.{name}_calls")
            libraries.versions[name] = module.setup(threads)
            libraries.modules[name] = module
        except ImportError as error:
            libraries.missing[name] = str(error)
    return libraries
