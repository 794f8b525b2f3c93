"""Callbacks that report on a training: on the terminal and in files."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import json
import math
import os
import sys
from collections.abc import Iterable
from typing import Any

from fastsm import _arguments
from fastsm._files._atomic import check_new_file, checked_path
from fastsm.training._run import Run
from fastsm.training.callbacks._best import Ordered

__all__ = ["CSVLogger", "JSONLogger", "ProgressBar"]

_ON_TERMINAL, _IN_FILES = 50, 20  # epochs that are shown
_WIDTH = 45  # columns between the epoch and the time


class ProgressBar(Ordered):
    """Prints a line for each epoch on the standard error, with a bar below them while it runs.

    The lines are aligned and fit 80 columns: the losses, the metrics on the validation data (without it, on
    the training data) and the seconds so far. An epoch with the smallest validation loss so far is marked
    ``best``. The bar needs a terminal and the package tqdm. A long training shows some 50 of its epochs, and
    some 20 if the standard error is a file or a pipe. At the end the best epoch is shown again if another
    callback restored its parameters.

    Parameters
    ----------
    interval : float, default 0.1
        The seconds between two updates of the bar.

    Examples
    --------
    >>> from fastsm import callbacks, fit, nn
    >>> _ = fit(nn.MLP([2, 2]), [[0.0, 1.0]], [1], epochs=1, callbacks=[callbacks.ProgressBar()])
    """

    first_rank_only = True
    order = 3  # it tells what the others did

    def __init__(self, interval: float = 0.1) -> None:
        self.interval = _arguments.at_least_0("interval", interval)
        self._bar: Any = None
        self._columns: dict[str, int] = {}
        self._every, self._begun = 1, False

    def on_train_begin(self, run: Run) -> None:
        """Choose the columns and the epochs to show, and show an empty bar."""
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._every = -(-run.epochs // (_ON_TERMINAL if terminal else _IN_FILES))
        validated = any(name.startswith("val_") for name in run.names)
        metrics = {metric.name for metric in run.metrics} if validated else set()
        names = [n for n in run.names if n not in metrics and n not in ("learning_rate", "seconds")]
        widths = {name: max(len(_title(name)), 8) for name in names}
        while sum(widths.values()) + 3 * len(widths) > _WIDTH:
            widths.popitem()
        self._columns = widths
        self._begun = False
        with contextlib.suppress(ImportError):
            self._bar = terminal and importlib.import_module("tqdm").tqdm(
                total=run.epochs * run.steps,
                initial=run.epoch * run.steps,
                desc=f"epoch {run.epoch + 1}/{run.epochs}",
                bar_format="{desc} {percentage:3.0f} % |{bar}| {elapsed}<{remaining}",
                mininterval=self.interval,
                leave=False,
                dynamic_ncols=True,
                file=sys.stderr,
            )

    def on_epoch_begin(self, run: Run) -> None:
        """Show the number of the epoch."""
        if self._bar:
            self._bar.set_description_str(f"epoch {run.epoch}/{run.epochs}", refresh=False)

    def on_batch_end(self, run: Run) -> None:
        """Update the bar if `interval` has passed since the last update."""
        if self._bar:
            self._bar.update()

    def on_epoch_end(self, run: Run) -> None:
        """Print the results of the epoch if it is one of those to be shown; above the first, the titles."""
        _numbers(run)
        last = run.stopping or run.epoch == run.epochs
        if last or run.epoch == 1 or run.epoch % self._every == 0:
            loss = run.logs.get("val_loss", math.nan)
            if not self._begun:
                titles = "".join(f"{_title(name):>{width + 3}}" for name, width in self._columns.items())
                self.write(f"epoch{titles}       time")
            self._begun = True
            best = loss == loss and run.history.best("val_loss") == run.epoch
            self.write(self._line(run, run.epoch, "best" if best else ""))

    def on_train_end(self, run: Run) -> None:
        """Remove the bar, and show the epoch whose parameters the model has, unless it was the last one."""
        self.close()
        if self._begun and run.history.restored not in (None, run.history.epochs):
            self.write(self._line(run, run.history.restored, "best, restored"))

    def write(self, line: str) -> None:
        """Print a line on the standard error, above the bar."""
        if self._bar:
            self._bar.write(line, file=sys.stderr)
        elif sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the bar, as at the end of the training or after an error."""
        if self._bar:
            self._bar.close()
        self._bar = None

    def _line(self, run: Run, epoch: int, mark: str) -> str:
        history = run.history
        values = {name: column[epoch - 1] for name, column in history.items() if len(column) >= epoch}
        cells = "".join(
            f"{_cell(name, values[name]) if name in values else '':>{width + 3}}"
            for name, width in self._columns.items()
        )
        seconds = sum(history["seconds"][:epoch])
        time = f"{seconds:.1f} s" if seconds < 1000 else f"{seconds / 60:.0f} min"
        return f"{epoch:>5}{cells}{time:>11}   {mark}".rstrip()


def _title(name: str) -> str:
    return name.replace("accuracy", "acc").replace("_", " ")


def _cell(name: str, value: float) -> str:
    if "accuracy" in name:
        return f"{100 * value:.1f} %"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1000 or not value else f"{value:.1e}"


def _numbers(run: Run) -> dict[str, float]:
    """Return the logs; raise TypeError if a callback put something else than a number there."""
    return {name: _arguments.number(f"logs[{name!r}]", value) for name, value in run.logs.items()}


class _Logger:
    """Writes a line for each epoch to a file, which is closed in between."""

    first_rank_only = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = checked_path("path", path)

    def on_train_begin(self, run: Run) -> None:
        """Start the file, with the earlier epochs if the training is resumed."""
        check_new_file(self.path)
        with open(self.path, "w", encoding="utf-8", newline="") as file:
            file.write(self._head(run))
            for i in range(run.epoch):
                logs = {
                    name: run.history[name][i] for name in run.names if len(run.history.get(name, ())) > i
                }
                file.write(self._line(i + 1, logs, run))

    def on_epoch_end(self, run: Run) -> None:
        """Append a line."""
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(self._line(run.epoch, _numbers(run), run))

    def _head(self, run: Run) -> str:
        return ""

    def _line(self, epoch: int, logs: dict[str, float], run: Run) -> str:
        raise NotImplementedError


class CSVLogger(_Logger):
    r"""Writes the history to a CSV file: a column for each quantity, a line for each epoch.

    Parameters
    ----------
    path : path
        The file. A new training replaces it; a resumed one writes the earlier epochs, too.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastsm import callbacks, fit, nn
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "log.csv")
    >>> _ = fit(nn.MLP([2, 2]), [[0.0, 1.0]], [1], epochs=1, callbacks=[callbacks.CSVLogger(path)])
    >>> with open(path) as file:
    ...     file.readline()
    'epoch,loss,accuracy,learning_rate,seconds\n'
    >>> folder.cleanup()
    """

    def _head(self, run: Run) -> str:
        return _csv_line(["epoch", *run.names])

    def _line(self, epoch: int, logs: dict[str, float], run: Run) -> str:
        return _csv_line([epoch, *(logs.get(name, "") for name in run.names)])


def _csv_line(cells: Iterable[object]) -> str:
    # The name of a metric may contain any characters.
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


class JSONLogger(_Logger):
    """Writes the history to a file: a line with a JSON object for each epoch.

    NaN and infinities, which JSON lacks, become null.

    Parameters
    ----------
    path : path
        The file. A new training replaces it; a resumed one writes the earlier epochs, too.

    Examples
    --------
    >>> import json, os, tempfile
    >>> from fastsm import callbacks, fit, nn
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "log.jsonl")
    >>> _ = fit(nn.MLP([2, 2]), [[0.0, 1.0]], [1], epochs=1, callbacks=[callbacks.JSONLogger(path)])
    >>> with open(path) as file:
    ...     list(json.loads(file.readline()))
    ['epoch', 'loss', 'accuracy', 'learning_rate', 'seconds']
    >>> folder.cleanup()
    """

    def _line(self, epoch: int, logs: dict[str, float], run: Run) -> str:
        finite = {name: value if math.isfinite(value) else None for name, value in logs.items()}
        return json.dumps({"epoch": epoch, **finite}, allow_nan=False) + "\n"
