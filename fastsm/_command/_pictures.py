"""Draw pictures of a run with matplotlib: learning curves, the confusion matrix, the worst mistakes."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from pathlib import Path

import numpy as np

from fastsm._command._svg import gray_or_colour
from fastsm.data import Dataset
from fastsm.training import History
from fastsm.typing import Array

__all__ = ["draw"]

_MISTAKES = 25
# Sharp on a slide, and its letters large enough to be read from the last row.
_STYLE = {
    "savefig.dpi": 200,
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 2.5,
    "legend.frameon": False,
}


def draw(folder: Path, history: History, answers: Array, test: Dataset) -> None:
    """Draw the pictures that the run allows; raise ImportError if matplotlib is missing or cannot be used.

    `answers` are the probabilities of the classes, or the predicted numbers.
    """
    # Its remarks on folders for its settings and on characters that its font lacks are not for users.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        _use_files()
        with importlib.import_module("matplotlib").rc_context(_STYLE):
            _draw(folder, history, answers, test)


def _draw(folder: Path, history: History, answers: Array, test: Dataset) -> None:
    if history.epochs:
        history.plot(folder / "curves.png")
    if not test.classes:
        _draw_residuals(folder / "residuals.png", answers, test.y)
        return
    if len(test.classes) <= 50:
        counts = np.zeros((len(test.classes),) * 2, np.int64)
        np.add.at(counts, (test.y, answers.argmax(axis=1)), 1)
        _draw_confusion(folder / "confusion.png", counts, test.classes)
    if test.shape is not None and (len(test.shape) == 2 or test.shape[2:] in ((1,), (3,))):
        _draw_mistakes(folder / "mistakes.png", answers, test, test.shape)


def _use_files() -> None:
    """Have matplotlib draw into files, as there may be no display, whatever MPLBACKEND says."""
    os.environ["MPLBACKEND"] = "agg"
    try:
        importlib.import_module("matplotlib").use("agg")
    except ImportError:
        raise ImportError("they need matplotlib (pip install fastsm[train])") from None
    except (OSError, RuntimeError, ValueError) as error:  # of its settings, or nowhere to write
        raise ImportError(f"matplotlib cannot be used: {error}") from error


def _draw_residuals(path: Path, predictions: Array, y: Array) -> None:
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axis = pyplot.subplots(figsize=(6, 4))
    axis.axhline(0, color="gray", linewidth=1)
    axis.scatter(predictions, y - predictions, s=16, alpha=0.5, linewidths=0)
    axis.set_xlabel("prediction")
    axis.set_ylabel("truth - prediction")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _draw_confusion(path: Path, counts: Array, classes: tuple[str, ...]) -> None:
    pyplot = importlib.import_module("matplotlib.pyplot")
    size = 2.5 + 0.45 * len(classes)
    figure, axis = pyplot.subplots(figsize=(size, size))
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    # A dollar sign in the name of a class does not begin a formula.
    names = [name.replace("$", r"\$") for name in classes]
    axis.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("answer")
    axis.set_ylabel("truth")
    for (i, j), count in np.ndenumerate(counts):
        if count:
            colour, size = "white" if parts[i, j] > 0.5 else "black", 11 if count < 1000 else 8
            axis.text(j, i, str(count), ha="center", va="center", color=colour, fontsize=size)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _draw_mistakes(path: Path, probs: Array, test: Dataset, shape: tuple[int, ...]) -> None:
    """Draw the images, as they are, with the most confident wrong answers, if there are any."""
    choice = probs.argmax(axis=1)
    wrong = np.flatnonzero(choice != test.y)
    worst = wrong[np.argsort(-probs[wrong].max(axis=1), kind="stable")][:_MISTAKES]
    images = gray_or_colour(test.X[worst], shape)
    if images is None or not len(images):
        return
    pyplot = importlib.import_module("matplotlib.pyplot")
    columns = min(5, len(worst))
    lines = -(-len(worst) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(1.9 * columns, 2.6 * lines), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, row, image in zip(axes.flat, worst, images, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        answer, truth = (test.classes[i].replace("$", r"\$") for i in (choice[row], test.y[row]))
        axis.set_title(f"{answer} ({probs[row].max():.0%})\nis {truth}", fontsize=12)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
