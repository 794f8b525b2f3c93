"""Pictures of a run: learning curves, the confusion matrix, the worst mistakes. With matplotlib only."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from fastsm._arguments import Array
from fastsm.training import History

__all__ = ["draw"]

_MISTAKES = 25


def draw(
    folder: Path,
    history: History,
    figures: dict[str, Any],
    probs: Array,
    images: Array,
    labels: Array,
    shape: tuple[int, ...] | None,
) -> list[str]:
    """Draw what there is to draw, and return the names of the files; ImportError without matplotlib."""
    # Files only, whatever display there is.
    importlib.import_module("matplotlib").use("Agg")
    classes = [one["class"] for one in figures["per_class"]]
    done = []
    if history.epochs:
        history.plot(folder / "curves.png")
        done.append("curves.png")
    if len(classes) <= 50:
        _confusion(folder / "confusion.png", np.array(figures["confusion"]), classes)
        done.append("confusion.png")
    if shape is not None and _mistakes(folder / "mistakes.png", probs, images, labels, classes, shape):
        done.append("mistakes.png")
    return done


def _save(pyplot: Any, figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _confusion(path: Path, counts: Array, classes: list[str]) -> None:
    pyplot = importlib.import_module("matplotlib.pyplot")
    size = 2.5 + 0.45 * len(classes)
    figure, axis = pyplot.subplots(figsize=(size, size))
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    # Names of classes are data: a dollar sign in them is no formula.
    names = [name.replace("$", r"\$") for name in classes]
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("answer")
    axis.set_ylabel("true class")
    for (i, j), count in np.ndenumerate(counts):
        if count:
            colour = "white" if parts[i, j] > 0.5 else "black"
            axis.text(j, i, str(count), ha="center", va="center", color=colour, fontsize=7)
    _save(pyplot, figure, path)


def _mistakes(
    path: Path, probs: Array, images: Array, labels: Array, classes: list[str], shape: tuple[int, ...]
) -> bool:
    """Draw the images that were given wrong answers with the most confidence."""
    choice = probs.argmax(axis=1)
    wrong = np.flatnonzero(choice != labels)
    if not len(wrong):
        return False
    worst = wrong[np.argsort(-probs[wrong].max(axis=1), kind="stable")][:_MISTAKES]
    pyplot = importlib.import_module("matplotlib.pyplot")
    columns = min(5, len(worst))
    lines = -(-len(worst) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(1.9 * columns, 2.5 * lines), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, row in zip(axes.flat, worst, strict=False):
        axis.imshow(images[row].reshape(shape), cmap="gray_r")
        answer, truth = (classes[i].replace("$", r"\$") for i in (choice[row], labels[row]))
        axis.set_title(f"{answer} ({probs[row].max():.0%})\nis {truth}", fontsize=8)
    _save(pyplot, figure, path)
    return True
