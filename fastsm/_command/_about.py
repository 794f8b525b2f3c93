"""Describe a training in its report: the data, the settings, and how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastsm import nn
from fastsm._command._elements import facts, section, table
from fastsm._command._options import Settings
from fastsm._command._report import Figures, NumberFigures
from fastsm._command._runs import MODEL
from fastsm._command._svg import clip, escape
from fastsm.data import Choice, Number, Splits, Table
from fastsm.training import History
from fastsm.typing import Array

__all__ = ["Trial", "about_data", "about_settings", "next_steps"]

_COLUMNS = 100
_SILENT = ("json", "quiet", "plots", "download", "data_dir", "out", "threads", "mpi", "shard_data")


@dataclass(frozen=True)
class Trial:
    """A training that has ended, and its test."""

    folder: Path
    settings: Settings
    splits: Splits
    rows: Mapping[str, int]  # of each part of the data
    model: nn.Sequential
    history: History
    answers: Array  # probabilities, or predicted numbers, of the test rows
    figures: Figures | NumberFigures
    seconds: float


def about_data(trial: Trial) -> str:
    splits, record = trial.splits, trial.splits.table
    test = splits.test
    values: dict[str, object] = {"data": splits.name, "source": splits.source}
    values |= {f"rows: {part}": f"{rows:,}" for part, rows in trial.rows.items()}
    values["inputs"] = f"{test.X.shape[1]:,} of {test.X.dtype}"
    if test.shape is not None:
        values["inputs"] = f"images of {' x '.join(map(str, test.shape))}, {test.X.dtype}"
    if test.classes:
        names = [clip(name, 24) for name in test.classes[:12]]
        more = f", {len(test.classes) - 12:,} more" if len(test.classes) > 12 else ""
        values["classes"] = f"{len(test.classes):,}: {', '.join(names)}{more}"
    if record is None:
        return section("Data", facts(values))
    values["label"] = clip(record.label, 40)
    if not test.classes:
        values["label"] = (
            f"{clip(record.label, 40)}: mean {record.scale[0]:.4g}, deviation {record.scale[1]:.4g}"
        )
    columns = "" if record.shape is not None else _columns(record)
    return section("Data", facts(values) + columns, wide=bool(columns))


def _columns(record: Table) -> str:
    rows = [
        (escape(clip(column.name, 40)), "number" if isinstance(column, Number) else "choice", _kind(column))
        for column in record.columns[:_COLUMNS]
    ]
    rows += [(escape(clip(name, 40)), "left out", escape(why)) for name, why in record.left_out.items()][
        :_COLUMNS
    ]
    count = len(record.columns) - _COLUMNS
    more = f"<p>{count:,} more columns.</p>" if count > 0 else ""
    return f"<h3>Columns</h3>{table(('column', 'kind', 'what it becomes'), rows, range(3))}{more}"


def _kind(column: Number | Choice) -> str:
    """Return what a column becomes, escaped."""
    if isinstance(column, Choice):
        names = ["missing" if value is None else clip(value, 20) for value in column.values]
        names += ["other"] * column.other
        shown = ", ".join(names[:8]) + (f", {len(names) - 8} more" if len(names) > 8 else "")
        return escape(f"one input each: {shown}")
    words = f"scaled: mean {column.mean:.4g}, deviation {column.deviation:.4g}"
    if column.median is not None:
        words += f"; {column.missing:.1%} missing: median {column.median:.4g}, and an input that says so"
    return words


def about_settings(trial: Trial) -> str:
    settings, test = trial.settings, trial.splits.test
    sizes = [test.X.shape[1], *settings["hidden"], len(test.classes) or 1]
    values: dict[str, object] = {
        "network": "-".join(map(str, sizes)),
        "parameters": f"{trial.model.params.size:,}",
    }
    for key, value in settings.items():
        if key not in (*_SILENT, "hidden", "data") and value not in (None, [], False, 0.0, "none"):
            words = ", ".join(map(str, value)) if isinstance(value, list) else value
            words = f"{words:.6g}" if isinstance(words, float) else words
            values[key.replace("_", " ")] = "yes" if value is True else words
    values.setdefault("seed", settings["seed"])
    return section("Settings", facts(values))


def next_steps(trial: Trial) -> str:
    """Return the commands that people need next."""
    folder, record = trial.folder, trial.splits.table
    run = shlex.quote(str(folder))
    kind = "csv" if record is not None else "npy" if trial.splits.test.shape is None else "png"
    lines = [
        f"fastsm predict {run} new.{kind}",
        f"fastsm evaluate {run} --part val",
        f"fastsm info {run}",
        f"fastsm train --resume {run} --epochs {2 * trial.history.epochs}",
    ]
    python = ["import fastsm", f"model = fastsm.load({str(folder / MODEL)!r})"]
    if record is not None:
        python += ["x = model.table.prepare(frame)  # a pandas.DataFrame"]
        if record.classes:
            python += ["answers = model(x)"]
        else:
            python += ["mean, deviation = model.table.scale", "answers = model(x)[:, 0] * deviation + mean"]
    else:
        python += [f"answers = model(x)  # shape (N, {trial.splits.test.X.shape[1]})"]
    body = f"<pre>{_lines(lines)}</pre><h3>In Python</h3><pre>{_lines(python)}</pre>"
    return section("How to go on", body)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(map(escape, lines))
