"""What ``fastsm train`` says of a training: warnings, and a summary at its end."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fastsm import History
from fastsm._command import _runs
from fastsm._command._output import bold, printable
from fastsm._command._report import Figures, NumberFigures, accuracy_words
from fastsm.training import Run
from fastsm.typing import Array

__all__ = ["Warnings", "summary"]

_FILES = (_runs.MODEL, "report.html", "curves.png", "confusion.png", "mistakes.png", "residuals.png")
_NEARLY_ALL = 0.9  # of the rows
_FAR = 2  # times the loss of guessing, or the smallest validation loss
_WIDTH = 80


class Warnings:
    """Collects and prints warnings; a callback that looks at the first epoch."""

    first_rank_only = True

    def __init__(self, loss: str, say: Callable[[str], None]) -> None:
        self.said: list[str] = []
        self._loss, self._say = loss, say
        self._guessing = 1.0 if loss == "mse" else math.inf  # of numbers, which are scaled

    def _warn(self, words: str) -> None:
        self.said.append(words)
        self._say(f"warning: {words}")

    def look_at_classes(self, counts: Array, classes: Sequence[str]) -> None:
        """Warn if nearly all rows are of one class; `counts` are the rows of each."""
        self._guessing = math.log(len(classes)) if self._loss == "cross-entropy" else math.inf
        largest, share = int(counts.argmax()), counts.max() / counts.sum()
        if share > _NEARLY_ALL:
            name = printable(classes[largest][:20])
            self._warn(
                f"{math.floor(100 * share)} % of the rows are {name}, and so is the accuracy of always"
                f" answering {name}: look at each class with fastsm evaluate, try --class-weight balanced"
            )

    def on_epoch_end(self, run: Run) -> None:
        """Warn if the loss of the first epoch is far above that of guessing."""
        if run.epoch == 1 and run.logs["loss"] > _FAR * self._guessing:
            self._warn(
                f"the loss of the first epoch, {run.logs['loss']:.3g}, is far above {self._guessing:.3g},"
                " that of guessing: try inputs scaled to about 1, a smaller --lr, --schedule warmup-cosine or"
                " --clip-norm 1"
            )

    def look_back(self, history: History, early_stop: int) -> None:
        """Warn if the validation loss rose while the training loss fell."""
        if not history.get("val_loss") or early_stop:
            return
        best = history.best("val_loss")
        least, last = history["val_loss"][best - 1], history["val_loss"][-1]
        if last > _FAR * least and history["loss"][-1] < history["loss"][best - 1]:
            self._warn(
                f"since epoch {best} the validation loss has risen from {least:.3g} to {last:.3g} while the"
                " training loss fell: try --early-stop 5, --dropout 0.2 or more data"
            )


def summary(
    folder: Path, table: bool, history: History, figures: Figures | None, errors: NumberFigures | None
) -> str:
    """Return the results, where they are, and what to do next."""
    epochs = f"after {history.epochs} epoch{'s' * (history.epochs != 1)}"
    if history.restored is not None:
        epochs = f"with the weights of epoch {history.restored}"
    lines = []
    if figures is not None:
        lines.append(f"test {accuracy_words(figures)}, {epochs}")
        if pairs := _pairs(figures):
            lines.append(pairs)
    elif errors is not None:
        r2 = bold(format(errors["r2"], ".4f"))
        lines.append(f"test R2 {r2}, MSE {errors['mse']:.6g} on {errors['rows']:,} rows, {epochs}")
    files = ", ".join(name for name in _FILES if (folder / name).is_file())
    lines.append(f"{printable(str(folder))}: {files}")
    name = printable(shlex.quote(str(folder)))
    lines.append(
        f"next: fastsm {f'predict {name} new.csv --csv answers.csv' if table else f'evaluate {name}'}"
    )
    return "\n".join(lines)


def _pairs(figures: Figures) -> str:
    """Return up to three pairs of classes in lines of at most 80 columns, the most frequent first."""
    counts = np.array(figures["confusion"])
    np.fill_diagonal(counts, 0)
    whole = [one["class"] for one in figures["per_class"]]
    names = [printable(name if len(name) <= 20 else f"{name[:9]}...{name[-8:]}") for name in whole]
    lines = ["most often confused:"]
    for place in np.argsort(-counts, axis=None, kind="stable")[:3]:
        true, answer = np.unravel_index(place, counts.shape)
        if counts[true, answer]:
            pair = f" {names[true]} taken for {names[answer]} ({counts[true, answer]:,}),"
            if len(lines[-1] + pair) > _WIDTH:
                lines.append(" ")
            lines[-1] += pair
    return "\n".join(lines)[:-1] if counts.any() else ""
