"""Callbacks that report on a training: on the terminal and in files."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from fastsm import _arguments
from fastsm._files._atomic import check_new_file, checked_path
from fastsm.training._run import Run
from fastsm.training.callbacks._best import Ordered

__all__ = ["CSVLogger", "JSONLogger", "ProgressBar"]


class ProgressBar(Ordered):
    """Shows the progress of the training on the standard error if that is a terminal.

    Each epoch has a bar if the package tqdm is installed, otherwise a line. At the end it says which epoch
    the parameters are of, if another callback restored the best ones.

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
        self._next = 0.0
        self._shown = False

    def on_train_begin(self, run: Run) -> None:
        """Find out whether the standard error is a terminal."""
        self._shown = sys.stderr is not None and sys.stderr.isatty()

    def on_epoch_begin(self, run: Run) -> None:
        """Show an empty bar."""
        if not self._shown:
            return
        try:
            tqdm = importlib.import_module("tqdm")
        except ImportError:
            return
        self._bar = tqdm.tqdm(total=run.steps, desc=f"epoch {run.epoch}/{run.epochs}", file=sys.stderr)

    def on_batch_end(self, run: Run) -> None:
        """Update the bar if `interval` has passed since the last update."""
        if self._bar is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + self.interval
            self._bar.update(run.step - self._bar.n)

    def on_epoch_end(self, run: Run) -> None:
        """Show the results of the epoch."""
        results = {name: f"{value:.4g}" for name, value in _numbers(run).items() if name != "seconds"}
        if self._bar is not None:
            self._bar.set_postfix(results, refresh=False)
            self._bar.update(run.step - self._bar.n)
            self._close()
        elif self._shown:
            text = ", ".join(f"{name} {value}" for name, value in results.items())
            print(f"epoch {run.epoch}/{run.epochs}: {text}", file=sys.stderr)

    def on_train_end(self, run: Run) -> None:
        """Close the bar of an epoch that was interrupted, and say which parameters the model has."""
        self._close()
        if self._shown and run.history.restored is not None:
            print(f"the model has the parameters of epoch {run.history.restored}, the best", file=sys.stderr)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


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
