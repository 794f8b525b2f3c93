"""What examples need beyond the extra `portable`, so that they are skipped where it has no wheels."""

import re
from importlib.util import find_spec

OPTIONAL = ("matplotlib", "ml_dtypes", "mpi4py", "pandas", "sklearn")


def missing(text):
    """Return the optional packages that a text imports and that are not installed."""
    return [
        name
        for name in OPTIONAL
        if re.search(rf"^.*\b(import|from) {name}\b", text, re.MULTILINE) and find_spec(name) is None
    ]
