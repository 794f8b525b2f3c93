"""Pictures of a document: speed over each peer, times of each kernel, training, inference, footprint."""

from pathlib import Path
from typing import Any

from fastsm._bench import charts, reading

__all__ = ["draw", "pictures"]

# What a picture of networks shows: the part of the document, its unit, and nanoseconds in one.
_NETWORKS = (("training", "seconds an epoch", 1e9), ("inference", "microseconds a call", 1e3))


def draw(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write all pictures that the document has figures for, and return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, content in pictures(document).items():
        files.append(folder / f"{name}.svg")
        files[-1].write_bytes(content.encode())
    return files


def pictures(document: dict[str, Any]) -> dict[str, str]:
    """Return the content of each picture by its name: SVG, the same whenever the document is."""
    subtitle = f"{document['machine'].get('cpu', 'Unknown CPU')}. Best of many rounds; less is better."
    return {
        **_overview(document),
        **_kernels(document, subtitle),
        **_networks(document, subtitle),
        **_footprint(document, subtitle),
    }


def _overview(document: dict[str, Any]) -> dict[str, str]:
    """Draw the ratios to each peer, operation by operation."""
    cells = reading.usual(document)
    panels = {"all of these": reading.comparisons(cells)}
    if not panels["all of these"]:
        return {}
    for operation in dict.fromkeys(cell["operation"] for cell in cells):
        found = reading.comparisons(cell for cell in cells if cell["operation"] == operation)
        if found:
            panels[operation] = found
    title = "How many times as fast as each library fastsm is"
    threads = _threads(cells[0]["threads"])
    subtitle = f"float32, {threads}, best of many rounds. Right of 1 fastsm is faster, left of it the other."
    return {"overview": charts.ratios(title, subtitle, panels)}


def _kernels(document: dict[str, Any], subtitle: str) -> dict[str, str]:
    """Draw one picture an operation, one panel a shape."""
    found = {}
    cells = reading.usual(document)
    for operation in dict.fromkeys(cell["operation"] for cell in cells):
        panels = {
            reading.label(cell): {
                name: reading.per_element(cell, timing["best_ns"])
                for name, timing in reading.best(cell).items()
            }
            for cell in cells
            if cell["operation"] == operation
        }
        threads = _threads(cells[0]["threads"])
        title = f"{operation}: float32, {threads}, nanoseconds an element (one row: a call)"
        found[operation] = charts.bars(title, subtitle, panels)
    return found


def _networks(document: dict[str, Any], subtitle: str) -> dict[str, str]:
    """Draw training and inference, one picture for each number of threads, one panel a network."""
    found = {}
    for part, unit, nanoseconds in _NETWORKS:
        cells = document.get(part, [])
        for number, threads in enumerate(sorted({cell["threads"] for cell in cells})):
            panels = {
                reading.network_label(cell): {
                    name: timing["best_ns"] / nanoseconds for name, timing in reading.best(cell).items()
                }
                for cell in cells
                if cell["threads"] == threads
            }
            name = part if number == 0 else f"{part}-{threads}-threads"
            title = f"{part.capitalize()}: {_threads(threads)}, {unit}"
            found[name] = charts.bars(title, subtitle, panels)
    return found


def _footprint(document: dict[str, Any], subtitle: str) -> dict[str, str]:
    """Draw the time of an import, the size on disk and the memory that training takes."""
    footprint = document.get("footprint", {})
    imports, installed = footprint.get("imports", []), footprint.get("installed", [])
    trainings = [one for one in footprint.get("memory", []) if one["what"].startswith("training")]
    panels = {
        # Without those for parts of fastsm: "fastsm (...)".
        "import in a new process, ms": {
            one["candidate"]: one["ms"] for one in imports if "(" not in one["candidate"]
        },
        "installed with all it needs, MB": {one["candidate"]: one["bytes"] / 1e6 for one in installed},
        "peak memory of training, MB": {one["candidate"]: one["mb"] for one in trainings if one["mb"]},
    }
    panels = {name: figures for name, figures in panels.items() if figures}
    return {"footprint": charts.bars("What comes with each library", subtitle, panels)} if panels else {}


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
