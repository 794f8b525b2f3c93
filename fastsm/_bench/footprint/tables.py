"""Tables of the footprint, for a person at a terminal."""

from typing import Any

from fastsm._bench.kernels.tables import table

__all__ = ["EMPTY", "tables"]

# The timing loop itself, among the calls.
EMPTY = "empty loop"

_IN_PLACE_LIMIT = 0.01  # of the data


def tables(document: dict[str, Any]) -> str:
    """Return a table of each kind of figure."""
    footprint = document.get("footprint", {})
    parts = [
        _imports(footprint.get("imports", [])),
        _installed(footprint.get("installed", [])),
        _memory(footprint.get("memory", [])),
        _calls(footprint.get("calls", [])),
    ]
    return "\n\n".join(part for part in parts if part)


def _imports(found: list[dict[str, Any]]) -> str:
    rows = [
        [one["candidate"], f"{one['ms']:.1f}", _number(one.get("after_numpy_ms"), 1), ""] for one in found
    ]
    title = "Import: ms, in a new process, and in one that has NumPy already"
    return f"{title}\n{table(['', 'import', 'after NumPy', ''], rows)}" if rows else ""


def _installed(found: list[dict[str, Any]]) -> str:
    rows = []
    for one in found:
        largest = sorted(one["packages"].items(), key=lambda item: -item[1])[:5]
        needed = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in largest)
        others = len(one["packages"]) - len(largest)
        rows.append(
            [one["candidate"], f"{one['bytes'] / 1e6:.1f}", needed + f", {others} more" * (others > 0)]
        )
    title = "Installed with all that it needs: MB"
    return f"{title}\n{table(['', 'all', 'of these'], rows)}" if rows else ""


def _memory(found: list[dict[str, Any]]) -> str:
    calls, trainings = [], []
    for one in found:
        traced, resident = one.get("tracemalloc_mb"), one.get("mb")
        if one["what"].startswith("training"):
            trainings.append([one["candidate"], _number(resident, 0), one["what"]])
            continue
        data = one.get("data_mb")
        is_large = data is not None and max(traced or 0.0, resident or 0.0) > _IN_PLACE_LIMIT * data
        mark = "NOT IN PLACE" if one.get("in_place") and is_large else ""
        words = [_number(data, 0), _number(traced, 2), _number(resident, 2), mark]
        calls.append([f"{one.get('candidate', 'fastsm')}: {one['what']}", *words])
    parts = []
    if calls:
        title = "Memory of a call beyond its arguments: MB"
        parts.append(f"{title}\n{table(['', 'argument', 'tracemalloc', 'peak resident', ''], calls)}")
    if trainings:
        title = "Peak memory of training: MB over Python with NumPy, the library and the data included"
        parts.append(f"{title}\n{table(['', 'peak', ''], trainings)}")
    return "\n\n".join(parts)


def _calls(found: list[dict[str, Any]]) -> str:
    loop = next((one["best_ns"] for one in found if one["candidate"] == EMPTY), 0.0)
    rows = [
        [one["candidate"], f"{one['best_ns'] - loop:.0f}", ""] for one in found if one["candidate"] != EMPTY
    ]
    title = f"One call on one row of 10, float32: ns, best; the timing loop's {loop:.0f} ns taken off"
    return f"{title}\n{table(['', 'ns', ''], rows)}" if rows else ""


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
