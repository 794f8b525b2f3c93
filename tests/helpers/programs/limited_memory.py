"""Load files with 256 MB of memory; print those that are refused, and the error."""

import pathlib
import resource
import sys

# All before the limit, as libraries take address space.
from fastsm import data, load, nn, training  # noqa: F401

size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (256 << 20),) * 2)
for path in sys.argv[1:]:
    try:
        load(path) if path.endswith(".safetensors") else data.load(path)
    except ValueError as error:
        print(path, type(error).__name__)
