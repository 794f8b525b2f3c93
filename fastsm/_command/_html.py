"""Write the report of a run: one HTML file that needs no network, no script and no other package."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from fastsm._command import _svg
from fastsm._command._about import Trial, about_data, about_settings, next_steps
from fastsm._command._elements import STYLE, section, table
from fastsm._command._importance import Importance, cells, permutation_importance
from fastsm._command._report import (
    Figures,
    NumberFigures,
    measure_numbers,
    predict_numbers,
    predict_probs,
    wilson,
)
from fastsm._command._svg import clip, escape
from fastsm._files._atomic import write_atomically
from fastsm._version import __version__
from fastsm.training import History
from fastsm.typing import Array

__all__ = ["Trial", "write_report"]

_PAIRS, _PICTURES, _MISTAKES, _CELLS, _BARS, _CLASSES, _POINTS = 5, 24, 12, 8, 20, 20, 1000
_MOST_MATRIX = 100  # classes


def write_report(path: Path, trial: Trial) -> None:
    """Write the report atomically."""
    page = _page(trial)
    write_atomically(path, lambda file: file.write(page.encode()))


def _page(trial: Trial) -> str:
    classes = trial.splits.test.classes
    parts = [_summary(trial), _curves(trial)]
    parts += [_confusion(trial), _reliability(trial)] if classes else [_residuals(trial)]
    costs, rows = _costs(trial)
    parts += [_mistakes(trial, [cost.column for cost in costs]), _importance(trial, costs, rows)]
    parts += [_classes(trial) if classes else "", about_data(trial), about_settings(trial), next_steps(trial)]
    name = escape(trial.folder.name or trial.splits.name)
    when = time.strftime("%Y-%m-%d %H:%M")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{name}: report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{name}</h1>\n{''.join(parts)}"
        f"<footer>fastsm {__version__}, {when}</footer>\n</main>\n</body>\n</html>\n"
    )


def _summary(trial: Trial) -> str:
    """Return the figures that count most."""
    rows, cards = len(trial.splits.test), list[tuple[str, str, str]]()
    if trial.splits.test.classes:
        figures = cast(Figures, trial.figures)
        low, high = wilson(round(figures["accuracy"] * rows), rows)
        cards.append(("test accuracy", f"{figures['accuracy']:.1%}", f"{low:.1%} to {high:.1%} (95&nbsp;%)"))
        cards.append(("macro F1", f"{figures['macro_f1']:.3f}", "mean over the classes"))
        cards.append(("NLL", f"{figures['nll']:.3f}", f"guessing {math.log(len(figures['per_class'])):.3f}"))
        cards.append(("ECE", f"{figures['ece']:.3f}", "gap between confidence and accuracy"))
    else:
        errors = cast(NumberFigures, trial.figures)
        cards.append(("test R2", f"{errors['r2']:.3f}", "1 is perfect, 0 the mean"))
        spread = f"deviation of the labels {trial.splits.test.y.std():.4g}"
        cards.append(("RMSE", f"{math.sqrt(errors['mse']):.4g}", spread))
        cards.append(("MAE", f"{errors['mae']:.4g}", "mean absolute error"))
    epochs, stopped = trial.history.epochs, trial.history.stopped == "early stop"
    done = f"{epochs} epoch{'s' * (epochs != 1)}{', stopped early' * stopped}"
    cards.append(("time", f"{trial.seconds:,.{1 if trial.seconds >= 10 else 2}f} s", done))
    inner = "".join(
        f"<div><span>{name}</span><b>{value}</b><small>{about}</small></div>" for name, value, about in cards
    )
    return f'<div class="cards">{inner}</div>\n'


def _best(history: History) -> tuple[int | None, str]:
    """Return the epoch to mark, and a sentence on it."""
    if history.restored is not None:
        return history.restored, f"Epoch {history.restored} was best; the model has its weights."
    if not np.isfinite(history.get("val_loss", [])).any():
        return None, ""
    best = history.best("val_loss")
    return (
        best,
        f"The validation loss is lowest at epoch {best}; the model is that of epoch {history.epochs}.",
    )


def _curves(trial: Trial) -> str:
    history = trial.history
    names = [n for n in history if not n.startswith("val_") and n not in ("seconds", "learning_rate")]
    if not history.epochs:
        return ""
    best, words = _best(history)
    charts = [
        _svg.curves(
            escape(name),
            [
                (kind, history[column])
                for kind, column in (("train", name), ("val", f"val_{name}"))
                if column in history
            ],
            best,
        )
        for name in names
    ]
    two = any(name.startswith("val_") for name in history)
    keys = '<span class="key train">training</span>' + '<span class="key val">validation</span>' * two
    body = f'<p class="keys">{keys}</p><div class="charts">{"".join(charts)}</div><p>{words}</p>'
    return section("Learning curves", body, wide=len(charts) > 1)


def _confusion(trial: Trial) -> str:
    figures = cast(Figures, trial.figures)
    names = [one["class"] for one in figures["per_class"]]
    counts = np.array(figures["confusion"])
    body = ""
    if len(names) <= _MOST_MATRIX:
        body = f'<div class="scroll">{_svg.confusion(counts, names)}</div>'
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    pairs = [(*divmod(int(at), len(names)), int(wrong.flat[at])) for at in order if wrong.flat[at]]
    rows = [
        (escape(clip(names[i], 40)), escape(clip(names[j], 40)), f"{n:,}", f"{n / counts[i].sum():.1%}")
        for i, j, n in pairs
    ]
    most = table(("truth", "answer", "rows", "of the class"), rows, (0, 1)) if rows else "<p>No mistakes.</p>"
    return section("Confusion", f"{body}<h3>Most often confused</h3>{most}")


def _reliability(trial: Trial) -> str:
    bins = [
        (one["confidence"], one["accuracy"], int(one["rows"]))
        for one in cast(Figures, trial.figures)["calibration"]
    ]
    chart = _svg.reliability([(*one, wilson(round(one[1] * one[2]), one[2])) for one in bins])
    about = "On the line, confidence is accuracy; below it the model is too sure. Larger dots are more rows."
    return section("Reliability", f"{chart}<p>{about} Bars: 95 %.</p>")


def _residuals(trial: Trial) -> str:
    y, answers = trial.splits.test.y, np.asarray(trial.answers, np.float64)
    rows = np.random.default_rng([trial.settings["seed"], 4]).permutation(len(y))[:_POINTS]
    y, answers = y[rows], answers[rows]
    charts = _svg.points(answers, y, ("prediction", "truth"), diagonal=True)
    charts += _svg.points(answers, y - answers, ("prediction", "truth - prediction"), diagonal=False)
    few = (
        f"<p>{_POINTS:,} of the {len(trial.answers):,} test rows.</p>" if len(trial.answers) > _POINTS else ""
    )
    return section("Residuals", f'<div class="charts">{charts}</div>{few}', wide=True)


def _worst(trial: Trial) -> tuple[Array, list[tuple[str, str, str]]]:
    """Return the rows of the worst mistakes, and the answer, truth, and confidence or error of each."""
    test, answers = trial.splits.test, trial.answers
    if not test.classes:
        errors = answers - test.y
        order = np.argsort(-np.where(np.isfinite(errors), np.abs(errors), np.inf), kind="stable")
        rows = order[:_MISTAKES]
        return rows, [(f"{answers[i]:.6g}", f"{test.y[i]:.6g}", f"{errors[i]:+.4g}") for i in rows]
    choice = answers.argmax(axis=1)
    wrong = np.flatnonzero(choice != test.y)
    most = _PICTURES if test.shape is not None else _MISTAKES
    rows = wrong[np.argsort(-answers[wrong].max(axis=1), kind="stable")][:most]
    names = [escape(clip(name, 24)) for name in test.classes]
    return rows, [(names[choice[i]], names[test.y[i]], f"{answers[i].max():.1%}") for i in rows]


def _mistakes(trial: Trial, columns: Sequence[str]) -> str:
    """Return the worst mistakes: pictures, or rows with the most important of their `columns`."""
    test, record = trial.splits.test, trial.splits.table
    rows, words = _worst(trial)
    if not len(rows):
        return ""
    title = "Most confident mistakes" if test.classes else "Largest errors"
    images = None if test.shape is None else _svg.gray_or_colour(test.X[rows], test.shape)
    if images is not None:
        figures = "".join(
            f'<figure><img src="{_svg.png(image)}" alt="test row {row}">'
            f"<figcaption><b>{answer}</b> {sure}<br>is <b>{truth}</b></figcaption></figure>"
            for row, image, (answer, truth, sure) in zip(rows, images, words, strict=True)
        )
        return section(title, f'<div class="mistakes">{figures}</div>', wide=True)
    head = ["answer", "truth", "confidence" if test.classes else "error", "test row"]
    lines = [[*its, str(row)] for row, its in zip(rows, words, strict=True)]
    few = ""
    if record is not None and columns:
        shown = columns[:_CELLS]
        head += [escape(clip(name, 20)) for name in shown]
        for line, row in zip(lines, rows, strict=True):
            values = cells(record, test.X[row])
            line += [escape(clip(values[name], 20)) or "<i>missing</i>" for name in shown]
        few = f" The {_CELLS} columns that matter most." if len(columns) > _CELLS else ""
    about = f"<p>Test rows are counted from 0.{few}</p>"
    return section(title, table(head, lines, (0, 1) if test.classes else ()) + about, wide=True)


def _costs(trial: Trial) -> tuple[list[Importance], int]:
    """Return what shuffling each column of a table costs, and on how many rows it was measured."""
    test, record, model = trial.splits.test, trial.splits.table, trial.model
    if record is None or record.shape is not None:
        return [], 0

    def score(x: Array, y: Array) -> float:
        if test.classes:
            return 100 * float((predict_probs(model, x).argmax(axis=1) == y).mean())
        return measure_numbers(predict_numbers(model, x), y)["r2"]

    return permutation_importance(record, test.X, test.y, score, trial.settings["seed"], model.params.size)


def _importance(trial: Trial, costs: Sequence[Importance], rows: int) -> str:
    if not costs or not all(math.isfinite(cost.mean) for cost in costs):
        return ""
    what = "points of accuracy" if trial.splits.test.classes else "R2"
    chart = _svg.bars(costs[:_BARS])
    few = f" The first {_BARS} of {len(costs)} columns." if len(costs) > _BARS else ""
    about = f"How many {what} are lost" if trial.splits.test.classes else f"How much {what} falls"
    note = (
        f"{about} when the column is shuffled among {rows:,} test rows: the mean of 5 times, and the standard"
        f" deviation. Columns that say the same can stand in for each other.{few}"
    )
    return section("What each column is worth", f"{chart}<p>{note}</p>")


def _classes(trial: Trial) -> str:
    """Return a line for each class, those with the lowest F1 if there are many."""
    per_class = cast(Figures, trial.figures)["per_class"]
    worst = sorted(per_class, key=lambda one: one["f1"])[:_CLASSES]
    shown = per_class if len(per_class) <= _CLASSES else worst
    rows = [
        (
            escape(clip(one["class"], 40)),
            f"{one['precision']:.3f}",
            f"{one['recall']:.3f}",
            f"{one['f1']:.3f}",
            f"{one['rows']:,}",
        )
        for one in shown
    ]
    few = f"<p>The {_CLASSES} with the lowest F1.</p>" if len(per_class) > _CLASSES else ""
    return section("Classes", table(("class", "precision", "recall", "F1", "test rows"), rows) + few)
