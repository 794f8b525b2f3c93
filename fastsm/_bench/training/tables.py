"""Tables of training, inference and estimators, for a person at a terminal."""

from typing import Any

from fastsm._bench import reading
from fastsm._bench.kernels.tables import table

__all__ = ["tables"]

Cell = dict[str, Any]

_LIMIT = "products"
_LEGEND = """\
Best and median of all rounds, each library's best way. products: the limit, the matrix products of the same
steps alone in NumPy, as a share of the library's time (above 100 %: its products are faster than NumPy's).
fastsm: the library's time over fastsm's."""


def tables(document: dict[str, Any]) -> str:
    """Return a table of each network, and how to read them."""
    parts = []
    for cell in document.get("training", ()):
        title = f"Training {cell['network']}, batches of {cell['batch_size']}: ms an epoch"
        data = f"{cell['rows']:,} rows, {cell['data']}, {_threads(cell)}"
        parts.append(_table(f"{title} ({data})", cell, 1e6))
    for cell in document.get("inference", ()):
        rows = f"{cell['rows']:,} row{'s' * (cell['rows'] != 1)}"
        parts.append(_table(f"Inference {cell['network']}, {rows}: us a call ({_threads(cell)})", cell, 1e3))
    parts += [_estimators(cell) for cell in document.get("estimators", ())]
    return "\n\n".join([_LEGEND, *parts])


def _estimators(cell: Cell) -> str:
    """Return the table of a fit or of a call, of the classifier in fastsm.sklearn beside scikit-learn's."""
    rows = f"{cell['rows']:,} row{'s' * (cell['rows'] != 1)}"
    title = f"MLPClassifier.{cell['operation']} {cell['network']}, "
    if cell["operation"] != "fit":
        return _table(f"{title}{rows}: us a call ({_threads(cell)})", cell, 1e3)
    title += f"{cell['epochs']} epochs, batches of {cell['batch_size']}: s"
    lines = [_table(f"{title} ({rows}, {cell['data']}, {_threads(cell)})", cell, 1e9)]
    lines += [
        f"  accuracy of {name}: {cell['mean_accuracy'][name]:.2%}, the mean of"
        f" {', '.join(f'{value:.2%}' for value in values)}"
        for name, values in cell["accuracies"].items()
    ]
    return "\n".join(lines)


def _threads(cell: Cell) -> str:
    return f"{cell['threads']} thread{'s' * (cell['threads'] != 1)}"


def _table(title: str, cell: Cell, unit: float) -> str:
    fastest, wins = reading.best(cell), reading.wins(cell)
    rows = []
    for name in (*reading.candidates([cell]), _LIMIT):
        if name not in fastest:
            continue
        timing = fastest[name]
        best, median = (reading.short(timing[key] / unit) for key in ("best_ns", "median_ns"))
        share = f"{fastest[_LIMIT]['best_ns'] / timing['best_ns']:.0%}" if _LIMIT in fastest else ""
        over = f"{reading.ratio(cell, name):.2f}" if reading.OURS in fastest else ""
        mark = f"  {name.upper()} WINS" if name in wins else ""
        rows.append([name, best, median, share, over, timing["variant"] + mark])
    lines = [title, table(["", "best", "median", _LIMIT, reading.OURS, ""], rows)]
    lines += [f"  not timed: {name}: {why}" for name, why in cell["rejected"].items()]
    return "\n".join(lines)
