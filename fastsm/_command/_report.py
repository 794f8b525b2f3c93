"""What a classifier gets right and wrong: figures, and how to print them."""

from typing import Any

import numpy as np

from fastsm import nn
from fastsm._arguments import Array
from fastsm._command._errors import DATA, CommandError
from fastsm._command._output import printable, table
from fastsm.training import metrics

__all__ = ["check_classes", "confusion_table", "predict_probs", "report", "report_table"]

_BLOCK = 4096
_MOST_CLASSES = 4096


def check_classes(count: int, source: str) -> None:
    """Check that there are not so many classes that a matrix of them would fill the memory."""
    if count > _MOST_CLASSES:
        raise CommandError(f"{source} must have at most {_MOST_CLASSES} classes, got {count}", DATA)


def predict_probs(model: nn.Sequential, x: Array) -> Array:
    """Return the probabilities of all classes for each row."""
    blocks = [model(x[i : i + _BLOCK]) for i in range(0, len(x), _BLOCK)]
    outputs: Array = np.concatenate(blocks) if blocks else model(x)
    if model.emits == "log_probs":
        return np.asarray(np.exp(outputs))
    if model.emits != "probs":
        import fastsm

        return np.asarray(fastsm.softmax(outputs))
    return outputs


def report(probs: Array, labels: Array, classes: list[str]) -> dict[str, Any]:
    """Return accuracy, precision, recall and F1 of each class, the confusion matrix, and calibration."""
    count = len(classes)
    check_classes(count, "the model")
    choice = probs.argmax(axis=1)
    confusion = np.bincount(labels * count + choice, minlength=count * count).reshape(count, count)
    right = confusion.diagonal()
    precision = _ratio(right, confusion.sum(axis=0))
    recall = _ratio(right, confusion.sum(axis=1))
    f1 = _ratio(2 * right, confusion.sum(axis=0) + confusion.sum(axis=1))
    per_class = [
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
        "nll": metrics.nll(probs, labels),
        "brier": metrics.brier(probs, labels),
        "ece": metrics.expected_calibration_error()(probs, labels),
        "macro_f1": float(np.mean(f1)),
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "calibration": _calibration(probs, labels),
    }


def _ratio(part: Array, whole: Array) -> Array:
    """Return the ratios, 0 where there is nothing."""
    return np.asarray(part / np.maximum(whole, 1))


def _calibration(probs: Array, labels: Array, bins: int = 10) -> list[dict[str, float]]:
    """Return, for rows of similar confidence, how many there are and how often they are right."""
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


def report_table(figures: dict[str, Any]) -> str:
    """Return precision, recall and F1 of each class."""
    rows = [["class", "precision", "recall", "F1", "rows"]]
    rows += [
        [
            _shown(one["class"]),
            *(f"{one[key]:.3f}" for key in ("precision", "recall", "f1")),
            str(one["rows"]),
        ]
        for one in figures["per_class"]
    ]
    return table(rows)


def confusion_table(figures: dict[str, Any]) -> str:
    """Return the confusion matrix: a line for each true class, a column for each answer."""
    names = [_shown(one["class"]) for one in figures["per_class"]]
    head = [name if len(name) <= 6 else f"{name[:5]}." for name in names]
    rows = [["true \\ answer", *head]]
    rows += [
        [name, *(str(n) if n else "." for n in row)]
        for name, row in zip(names, figures["confusion"], strict=True)
    ]
    return table(rows)


def _shown(name: str) -> str:
    """Return the name of a class such that the table stays one."""
    return printable(name[:40])
