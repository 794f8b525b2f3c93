"""Packages beyond the extra `portable`: tests and examples that need a missing one are skipped."""

import re
from importlib.util import find_spec

import numpy as np

try:
    from ml_dtypes import bfloat16, float8_e4m3fn
except ImportError:
    BFLOAT16, FLOAT8 = [], []
else:
    BFLOAT16, FLOAT8 = [np.dtype(bfloat16)], [np.dtype(float8_e4m3fn)]

OPTIONAL = ("matplotlib", "ml_dtypes", "mpi4py", "pandas", "safetensors", "sklearn")


def missing(text):
    """Return the optional packages that a text imports and that are not installed."""
    return [
        name
        for name in OPTIONAL
        if re.search(rf"^.*\b(import|from) {name}\b", text, re.MULTILINE) and find_spec(name) is None
    ]
