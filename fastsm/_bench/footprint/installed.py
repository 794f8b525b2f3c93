"""How much space each library takes up on the disk, with everything that it needs.

A wheel lists its files, and each distribution the others that it requires. Requirements of extras are left
out; those of other systems or versions of Python are not installed, and so do not count either.
"""

import re
from importlib import metadata
from pathlib import Path
from typing import Any

from fastsm._bench import Settings

__all__ = ["closure", "measure", "size"]

# Candidates, and the names that they are installed by.
DISTRIBUTIONS = {
    "fastsm": "fastsm",
    "numpy": "numpy",
    "scipy": "scipy",
    "torch": "torch",
    "onnxruntime": "onnxruntime",
    "jax": "jax",
    "sklearn": "scikit-learn",
    "thinc": "thinc",
    "numba": "numba",
}
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r";.*\bextra\s*==")


def measure(settings: Settings) -> list[dict[str, Any]]:
    """Return the bytes of each candidate that is installed, and of each distribution that it needs."""
    found = []
    for candidate, name in DISTRIBUTIONS.items():
        if settings.wants(candidate) and (candidate == "fastsm" or _find(name) is not None):
            packages = {needed: size(needed) for needed in closure(name)}
            found.append({"candidate": candidate, "bytes": sum(packages.values()), "packages": packages})
    return found


def closure(name: str) -> list[str]:
    """Return a distribution and all that it requires, directly or not, as far as they are installed."""
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
    """Return the bytes of a distribution's files; of fastsm's folder where it is run from its sources."""
    distribution = _find(name)
    files = [] if distribution is None else [Path(str(file.locate())) for file in distribution.files or ()]
    if name == "fastsm":
        package = Path(__file__).parents[2]
        # An editable install lists other files than those that run.
        if not any(file.resolve() == (package / "__init__.py").resolve() for file in files):
            files = list(package.rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _find(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
