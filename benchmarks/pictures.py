"""Draw the pictures of the page with matplotlib."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import reading
from reading import Cell
from records import LIMIT, OURS

# Blue and orange from the palette of Okabe and Ito, which the colour-blind can tell apart; all else is grey.
BLUE, ORANGE, GREY, PALE = "#0072b2", "#d55e00", "#8c959f", "#d0d7de"
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.titlesize": 10.5,
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "fastsm",  # the same file for the same figures
    "font.family": "sans-serif",
}


def draw(cells: list[Cell], about: dict[str, str], paths: dict[str, Path], shows: str) -> None:
    """Write the pictures; their metadata say which results they show."""
    drawings = {"overview": overview, "networks": networks}
    with mpl.rc_context(STYLE):
        for kind, path in paths.items():
            figure = drawings[kind](cells, about)
            path.parent.mkdir(parents=True, exist_ok=True)
            metadata = {"Date": None, "Description": shows}
            figure.savefig(path, format="svg", metadata=metadata)


def overview(cells: list[Cell], about: dict[str, str]) -> Figure:
    """Draw the ratios over each peer: dots for shapes, diamonds for means, a panel per operation."""
    operations = reading.usual(cells)
    every = {**operations, "all of these": [cell for found in operations.values() for cell in found]}
    peers = reading.peers(every["all of these"])
    rows = -(-len(every) // 3)
    figure = Figure(figsize=(9.2, 0.9 + rows * (0.5 + 0.2 * len(peers))))
    figure.suptitle(
        f"How many times as fast as each library fastsm is: {about['cpu']}, one thread, float32\n"
        "A dot is one shape of the array, the diamond their geometric mean; left of 1 the other is faster",
        x=0.01,
        ha="left",
    )
    axes = figure.subplots(rows, 3, sharex=True, sharey=True, squeeze=False)
    for axis, (operation, found) in zip(axes.flat, every.items(), strict=False):
        for y, peer in enumerate(peers):
            values = reading.ratios(found, peer)
            for colour, wins in ((GREY, False), (ORANGE, True)):
                shown = [value for value in values if (value < 1) == wins]
                axis.plot(shown, [y] * len(shown), "o", color=colour, alpha=0.7, markersize=4, mew=0)
            if values:
                middle = reading.mean(values)
                axis.plot([middle], [y], "D", color=ORANGE if middle < 1 else BLUE, markersize=6)
        axis.set(title=operation, xscale="log", yticks=range(len(peers)), yticklabels=peers)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.grid(axis="x", color=PALE, linewidth=0.6)
        axis.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
        axis.minorticks_off()
    axes[0, 0].invert_yaxis()
    for axis in axes.flat[len(every) :]:
        axis.remove()
    return figure


def networks(cells: list[Cell], about: dict[str, str]) -> Figure:
    """Draw the times of training and of inference on one thread as bars."""
    shown = [c for c in cells if c[OURS].suite in ("training", "inference") and c[OURS].threads == 1]
    rows = len(shown) // 3 + 1  # the legend takes a panel, too
    figure = Figure(figsize=(9.2, 2.2 * rows + 0.4))
    axes = figure.subplots(rows, 3, squeeze=False)
    figure.suptitle(
        f"{about['cpu']}, one thread: milliseconds an epoch, microseconds a call of inference (rows)\n"
        "Less is better; bars end at six times fastsm's",
        x=0.01,
        ha="left",
    )
    for axis, cell in zip(axes.flat, shown, strict=False):
        bars(axis, cell, 1e6 if cell[OURS].suite == "training" else 1e3)
    colours = {BLUE: OURS, ORANGE: "faster than fastsm", PALE: "another library"}
    legend = [Patch(color=colour, label=words) for colour, words in colours.items()]
    legend.append(Patch(facecolor="none", edgecolor=GREY, linestyle="--", label="the matrix products alone"))
    for axis in axes.flat[len(shown) :]:
        axis.axis("off")
    axes.flat[len(shown)].legend(handles=legend, loc="center left", frameon=False)
    return figure


def bars(axis: Axes, cell: Cell, nanoseconds: float) -> None:
    """Draw the times of one cell, the shortest on top; bars are cut at six times fastsm's time."""
    names = sorted(cell, key=lambda name: cell[name].best)
    end = 6 * cell[OURS].best / nanoseconds
    for y, name in enumerate(names):
        value = cell[name].best / nanoseconds
        if name == LIMIT:
            axis.barh(y, value, color="none", edgecolor=GREY, linestyle="--")
        else:
            colour = BLUE if name == OURS else ORANGE if value < end / 6 else PALE
            axis.barh(y, min(value, end), color=colour)
        axis.annotate(
            reading.short(value), (min(value, end), y), (3, 0), textcoords="offset points", va="center"
        )
    longest = min(end, max(one.best for one in cell.values()) / nanoseconds)
    axis.set_title(cell[OURS].cell, fontsize=8.5)
    axis.set(yticks=range(len(names)), yticklabels=names, xlim=(0, 1.3 * longest))
    axis.invert_yaxis()
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
