"""What fastsm and the others cost beside time: import, space on the disk, memory, and a call's own cost."""

from collections.abc import Callable
from typing import Any

from fastsm._bench import Settings
from fastsm._bench.footprint.tables import tables

__all__ = ["measure", "tables"]


def measure(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the document's "footprint"."""
    from fastsm._bench.footprint import calls, imports, installed, memory

    tell("footprint: imports")
    import_times = imports.measure(settings)
    tell("footprint: space on the disk")
    space = installed.measure(settings)
    tell("footprint: memory")
    peaks = memory.measure(settings)
    tell("footprint: calls")
    call_times = calls.measure(settings)
    found = {"imports": import_times, "installed": space, "memory": peaks, "calls": call_times}
    return {"footprint": found}
