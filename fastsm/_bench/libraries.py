"""The libraries that a part calls: one module each, imported only when it is wanted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType

from fastsm._bench import Settings

__all__ = ["Libraries", "load"]


@dataclass
class Libraries:
    """Those that could be imported, their versions, and why the others could not; all by candidate."""

    modules: dict[str, ModuleType] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def load(package: str, modules: Mapping[str, str], settings: Settings) -> Libraries:
    """Import and set up the modules of a package, given by candidate, that are wanted."""
    libraries = Libraries()
    for name, module_name in modules.items():
        # The module numpy has "numpy out=" too.
        if not (settings.wants(name) or (name == "numpy" and settings.wants("numpy out="))):
            continue
        try:
            module = import_module(f"{package}.{module_name}")
            libraries.versions[name] = module.setup(settings.threads)
            libraries.modules[name] = module
        except ImportError as error:
            libraries.missing[name] = str(error)
        except Exception as error:  # one that is installed but broken is one that is missing
            libraries.missing[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return libraries
