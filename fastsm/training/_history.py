"""The history of a training."""

from __future__ import annotations

import copy
import importlib
import os
from typing import Any

from fastsm import _arguments

__all__ = ["History"]


class History(dict[str, list[float]]):
    """A dict of columns with a value for each epoch: ``history["loss"]``, ``history["val_accuracy"]``.

    `fit` returns it. The columns are ``"loss"`` and the metrics, the same over the validation data as
    ``"val_loss"`` and so on, ``"learning_rate"`` (of the first step) and ``"seconds"``. Others may be added.

    Attributes
    ----------
    stopped : str
        Why the training ended: ``"epochs"`` (all are done), ``"early stop"`` (a callback asked for it) or
        ``"interrupted"`` (from the keyboard); ``""`` while it is running.
    restored : int or None
        The epoch whose parameters the model has, if a callback set it to the best ones at the end; None if
        they are those of the last step.

    Examples
    --------
    >>> import fastsm
    >>> history = fastsm.History({"loss": [0.7, 0.4], "val_loss": [0.6, 0.5]})
    >>> history.epochs, history.best("val_loss")
    (2, 2)
    """

    stopped: str = ""
    restored: int | None = None

    def copy(self) -> History:
        """Return a copy with the same columns."""
        return copy.copy(self)

    @property
    def epochs(self) -> int:
        """The number of completed epochs."""
        return len(self.get("loss", ()))

    def best(self, name: str, mode: str = "min") -> int:
        """Return the epoch, counted from 1, with the best value.

        Parameters
        ----------
        name : str
            The name of a column.
        mode : {"min", "max"}, default "min"
            Whether smaller or larger values are better.
        """
        _arguments.one_of("mode", mode, ("min", "max"))
        if not isinstance(name, str) or not self.get(name):
            raise ValueError(
                f"`name` must be one of {', '.join(self) or '(nothing yet)'}, got {_arguments.shown(name)}"
            )
        sign = 1 if mode == "min" else -1
        values = [_arguments.number(f"history[{name!r}]", value) for value in self[name]]
        known = [(sign * value, epoch) for epoch, value in enumerate(values, 1) if value == value]
        if not known:
            raise ValueError(f"`name` must be a column with numbers, got {name!r}, which has only NaN")
        return min(known)[1]

    def record(self, logs: dict[str, float]) -> None:
        """Add the values of an epoch."""
        for name, value in logs.items():
            self.setdefault(name, []).append(value)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw each quantity over the epochs, for training and validation data. Needs matplotlib.

        Parameters
        ----------
        path : path, optional
            The file to save the picture to; its extension selects the format.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, closed if it was saved.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no completed epoch.
        """
        try:
            pyplot = importlib.import_module("matplotlib.pyplot")
        except ImportError:
            raise ImportError("`plot` needs matplotlib: pip install matplotlib") from None
        names = [n for n in self if not n.startswith("val_") and n not in ("seconds", "learning_rate")]
        if not names:
            raise ValueError("`plot` needs at least one completed epoch")
        figure, axes = pyplot.subplots(
            1, len(names), figsize=(4 * len(names), 3), squeeze=False, layout="constrained"
        )
        for axis, name in zip(axes[0], names, strict=True):
            for column, label in ((name, "training"), (f"val_{name}", "validation")):
                if column in self:
                    axis.plot(range(1, len(self[column]) + 1), self[column], label=label)
            axis.set_xlabel("epoch")
            axis.locator_params(axis="x", integer=True)
            axis.set_title(name)
            axis.legend()
        if path is not None:
            figure.savefig(path)
            pyplot.close(figure)
        return figure
