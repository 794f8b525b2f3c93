"""Measure a classifier, and print the figures."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np

from fastsm import functional, nn
from fastsm._command._errors import BAD_DATA, CommandError
from fastsm._command._output import bold, printable, table
from fastsm.training import metrics
from fastsm.typing import Array

__all__ = [
    "Figures", "NumberFigures", "accuracy_words", "check_classes", "class_table", "confusion_table",
    "measure", "measure_numbers", "predict_numbers", "predict_probs", "wilson",
]  # fmt: skip

_BLOCK = 4096
_MOST_CLASSES = 4096

ClassFigures = TypedDict(
    "ClassFigures", {"class": str, "precision": float, "recall": float, "f1": float, "rows": int}
)


class Figures(TypedDict):
    """The figures of a classifier on a data set."""

    rows: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    nll: float
    brier: float
    ece: float
    macro_f1: float
    per_class: list[ClassFigures]
    confusion: list[list[int]]
    calibration: list[dict[str, float]]


class NumberFigures(TypedDict):
    """The figures of predictions of numbers."""

    rows: int
    mse: float
    mae: float
    r2: float


def check_classes(count: int, source: str) -> None:
    """Check that the confusion matrix of the classes fits into memory."""
    if count > _MOST_CLASSES:
        raise CommandError(f"{source} must have at most {_MOST_CLASSES} classes, got {count}", BAD_DATA)


def predict_probs(model: nn.Sequential, x: Array) -> Array:
    """Return the probabilities of all classes for each row."""
    outputs = _outputs(model, x)
    if model.emits == "log_probs":
        return np.asarray(np.exp(outputs))
    return outputs if model.emits == "probs" else np.asarray(functional.softmax(outputs))


def predict_numbers(model: nn.Sequential, x: Array) -> Array:
    """Return the predictions of a model of numbers, on the scale of the labels."""
    mean, deviation = model.table.scale if model.table is not None else (0.0, 1.0)
    return _outputs(model, x)[:, 0].astype(np.float64) * deviation + mean


def _outputs(model: nn.Sequential, x: Array) -> Array:
    blocks = [model(x[i : i + _BLOCK]) for i in range(0, len(x), _BLOCK)]
    return np.concatenate(blocks) if blocks else model(x)


def measure_numbers(predictions: Array, y: Array) -> NumberFigures:
    """Return the figures of predictions of numbers; R2 is 0 for the mean of `y`, 1 without an error."""
    errors, around = predictions - y, y - y.mean()
    total = float((around**2).sum())
    squares = float((errors**2).sum())
    return {
        "rows": len(y),
        "mse": squares / len(y),
        "mae": float(np.abs(errors).mean()),
        "r2": 1 - squares / total if total else float("nan"),
    }


def measure(probs: Array, labels: Array, classes: list[str]) -> Figures:
    """Return the figures of predictions: overall, of each class, and of their calibration."""
    count = len(classes)
    check_classes(count, "the model")
    choice = probs.argmax(axis=1)
    confusion = np.bincount(labels * count + choice, minlength=count * count).reshape(count, count)
    right = confusion.diagonal()
    precision = _ratio(right, confusion.sum(axis=0))
    recall = _ratio(right, confusion.sum(axis=1))
    f1 = _ratio(2 * right, confusion.sum(axis=0) + confusion.sum(axis=1))
    per_class: list[ClassFigures] = [
        {
            "class": name,
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "rows": int(confusion[i].sum()),
        }
        for i, name in enumerate(classes)
    ]
    return {
        "rows": len(labels),
        "accuracy": float((choice == labels).mean()),
        "accuracy_interval": wilson(int(right.sum()), len(labels)),
        "nll": metrics.nll(probs, labels),
        "brier": metrics.brier(probs, labels),
        "ece": metrics.expected_calibration_error()(probs, labels),
        "macro_f1": float(np.mean(f1)),
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "calibration": _calibration(probs, labels),
    }


def wilson(right: int, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    z2 = 1.959963984540054**2
    root = math.sqrt(z2 * right * (rows - right) / rows + z2 * z2 / 4)
    low, high = (float(np.clip((right + z2 / 2 + s * root) / (rows + z2), 0, 1)) for s in (-1, 1))
    return low, high


def _ratio(part: Array, whole: Array) -> Array:
    """Return the ratios, 0 where `whole` is 0."""
    return np.asarray(part / np.maximum(whole, 1))


def _calibration(probs: Array, labels: Array, bins: int = 10) -> list[dict[str, float]]:
    """Return the mean confidence, the accuracy and the number of rows in each bin of confidence."""
    confidence, right = probs.max(axis=1).astype(np.float64), probs.argmax(axis=1) == labels
    place = (np.ceil(confidence * bins) - 1).clip(0, bins - 1).astype(np.int64)
    return [
        {
            "confidence": float(confidence[place == i].mean()),
            "accuracy": float(right[place == i].mean()),
            "rows": int((place == i).sum()),
        }
        for i in range(bins)
        if (place == i).any()
    ]


def accuracy_words(figures: Figures) -> str:
    """Return the accuracy with its interval, in a form for people."""
    low, high = figures["accuracy_interval"]
    accuracy = bold(f"{100 * figures['accuracy']:.1f} %")
    return f"accuracy {accuracy} ({100 * low:.1f} to {100 * high:.1f}) on {figures['rows']:,} rows"


def class_table(figures: Figures) -> str:
    """Return a table with precision, recall and F1 of each class."""
    rows = [["class", "precision", "recall", "F1", "rows"]]
    for one in figures["per_class"]:
        ratios = (f"{ratio:.3f}" for ratio in (one["precision"], one["recall"], one["f1"]))
        rows.append([_short(one["class"]), *ratios, str(one["rows"])])
    return table(rows)


def confusion_table(figures: Figures) -> str:
    """Return the confusion matrix: a line for each true class, a column for each answer."""
    names = [_short(one["class"]) for one in figures["per_class"]]
    head = [name if len(name) <= 6 else f"{name[:5]}." for name in names]
    rows = [["true \\ answer", *head]]
    rows += [
        [name, *(str(n) if n else "." for n in row)]
        for name, row in zip(names, figures["confusion"], strict=True)
    ]
    return table(rows)


def _short(name: str) -> str:
    """Return the name of a class in one line of at most 40 characters."""
    return printable(name[:40])
