"""Time fastsm's kernels beside other libraries and beside one sweep over the same memory.

All candidates run in one process, interleaved, after their results were checked against a float64 reference.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from fastsm._bench import Settings
from fastsm._bench.kernels.tables import tables

__all__ = ["measure", "tables"]


def measure(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the document's "kernels", "versions" and "missing"."""
    from fastsm._bench.kernels import cells, peers, suite
    from fastsm._bench.libraries import load

    libraries = load(peers.__name__, peers.LIBRARIES, settings)
    dtypes: tuple[str, ...] = cells.DTYPES + cells.HALF
    if find_spec("ml_dtypes") is None:
        dtypes = (*cells.DTYPES, "float16")
    wanted = list(cells.chosen(settings.quick, settings.threads, dtypes))
    if not wanted:
        tell(f"no cell of this run is large enough for {settings.threads} threads")
    measured = [suite.measure_cell(cell, libraries, settings, tell) for cell in wanted]
    return {"kernels": measured, "versions": libraries.versions, "missing": libraries.missing}
