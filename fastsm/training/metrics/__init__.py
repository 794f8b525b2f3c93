"""Metrics, which tell people how good the outputs of a model are.

``metric(outputs, targets)`` is the weighted mean of a value for each row, or, as F1 and AUC, a value of all
rows. `fit` takes metrics by name (``"accuracy"``, ``"top_5"``, ``"nll"``, ``"brier"``, ``"ece"``, ``"f1"``,
``"balanced_accuracy"``, ``"auc"``), as the objects here, or as any function of outputs and targets that
returns a value for each row. `Whole` makes a metric of a function of all rows that returns one number.

Targets are labels, shape (N,), or one-hot rows or probabilities, shape (N, C). Outputs are probabilities
unless `on` says ``"logits"`` or ``"log_probs"``; for accuracy and top-k they may be any scores.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from fastsm import _arguments
from fastsm.training.metrics._labels import dense, first, labels_of
from fastsm.training.metrics._metric import Metric, Whole
from fastsm.training.metrics._of_all import auc, balanced_accuracy, f1
from fastsm.typing import Array

__all__ = [
    "Metric",
    "Whole",
    "accuracy",
    "auc",
    "balanced_accuracy",
    "brier",
    "expected_calibration_error",
    "f1",
    "nll",
    "top_k",
]

# Each row takes a number for each bin.
MOST_BINS = 1 << 20


def _outputs_at_labels(outputs: Array, targets: Array) -> Array:
    """Return the output for the class of each row, shape (N, 1)."""
    return np.take_along_axis(outputs, labels_of(outputs, targets)[:, None], axis=1)


@partial(Metric, takes="scores", larger_is_better=True)
def accuracy(outputs: Array, targets: Array) -> Array:
    """Fraction of the rows whose class has the largest output.

    Examples
    --------
    >>> from fastsm.training import metrics
    >>> metrics.accuracy([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    0.5
    """
    return np.asarray(first(outputs) == labels_of(outputs, targets))


def top_k(k: int) -> Metric:
    """Fraction of the rows whose class has one of the `k` largest outputs.

    Of equal outputs the one of the lower class counts as larger, as for `accuracy`.

    Parameters
    ----------
    k : int
        At least 1, at most the number of classes.

    Examples
    --------
    >>> from fastsm.training import metrics
    >>> metrics.top_k(2)([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [1, 2])
    0.5
    """
    k = _arguments.positive_integer("k", k)
    return Metric(partial(_in_top, k), f"top_{_arguments.shown(k)}", takes="scores", larger_is_better=True)


def _in_top(k: int, outputs: Array, targets: Array) -> Array:
    """Return whether the class of each row has one of its `k` largest outputs."""
    labels = labels_of(outputs, targets)
    if k > outputs.shape[1]:
        shown = _arguments.shown(k)
        raise ValueError(f"`k` must be at most the number of classes, {outputs.shape[1]}, got {shown}")
    own = _outputs_at_labels(outputs, labels)
    lower = np.arange(outputs.shape[1]) < labels[:, None]
    before = np.count_nonzero((outputs > own) | ((outputs == own) & lower), axis=1)
    return np.asarray((before < k) & ~np.isnan(outputs.max(axis=1)))  # a row with NaN has no classes


@partial(Metric, takes="log_probs", larger_is_better=False)
def nll(outputs: Array, targets: Array) -> Array:
    """Negative log-likelihood of the classes, in nats: cross-entropy without options.

    Examples
    --------
    >>> from fastsm.training import metrics
    >>> round(metrics.nll([[0.5, 0.5], [0.25, 0.75]], [0, 0]), 4)
    1.0397
    """
    if targets.ndim == 1:
        return -_outputs_at_labels(outputs, targets)[:, 0]
    with np.errstate(invalid="ignore"):
        terms = dense(outputs, targets) * outputs
    terms[(targets == 0) & np.isinf(outputs)] = 0  # 0 log 0
    return np.asarray(-terms.sum(axis=1, dtype=np.float64))


@partial(Metric, takes="probs", larger_is_better=False)
def brier(outputs: Array, targets: Array) -> Array:
    r"""Brier score: :math:`\sum_k (p_k - y_k)^2`, from 0 to 2.

    This is the sum over the classes, as in [1]_; others take the mean, or a single term for two classes.

    References
    ----------
    .. [1] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review
       78, 1950.

    Examples
    --------
    >>> from fastsm.training import metrics
    >>> metrics.brier([[0.5, 0.5], [0.0, 1.0]], [0, 1])
    0.25
    """
    if targets.ndim == 1:
        own = _outputs_at_labels(outputs, targets)[:, 0].astype(np.float64)
        # (p - 1)^2 - p^2 = 1 - 2p at the label
        return np.asarray(np.square(outputs).sum(axis=1, dtype=np.float64) + 1 - 2 * own)
    return np.asarray(np.square(outputs - dense(outputs, targets)).sum(axis=1, dtype=np.float64))


def expected_calibration_error(bins: int = 15) -> Metric:
    r"""Gap between confidence and accuracy: :math:`\sum_b \frac{n_b}{N} |\text{acc}_b - \text{conf}_b|`.

    The confidence of a row is its largest probability. Bin b of M holds the rows with a confidence in
    :math:`((b - 1)/M, b/M]` [1]_.

    Parameters
    ----------
    bins : int, default 15
        At least 1, at most 2^20.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks",
       ICML 2017, equation 3.

    Examples
    --------
    >>> from fastsm.training import metrics
    >>> ece = metrics.expected_calibration_error()
    >>> ece([[0.75, 0.25]] * 4, [0, 0, 0, 1]), ece([[0.75, 0.25]] * 4, [0, 0, 0, 0])
    (0.0, 0.25)
    """
    bins = _arguments.positive_integer("bins", bins)
    if bins > MOST_BINS:
        raise ValueError(f"`bins` must be at most {MOST_BINS}, got {_arguments.shown(bins)}")

    # The mean over all rows is n_b / N times the mean over the rows of bin b.
    return Metric(partial(_gaps, bins), "ece", takes="probs", finish=_sum_of_sizes, larger_is_better=False)


def _gaps(bins: int, outputs: Array, targets: Array) -> Array:
    """Return how far the confidence of each row is from being right, in the column of its bin."""
    labels = labels_of(outputs, targets)
    choice = first(outputs)
    confidence = outputs.max(axis=1).astype(np.float64)
    # NaN goes to the first bin and makes the result NaN.
    place = np.nan_to_num(np.ceil(confidence * bins) - 1).clip(0, bins - 1).astype(np.int64)
    gaps = np.zeros((len(outputs), bins))
    gaps[np.arange(len(outputs)), place] = (choice == labels) - confidence
    return gaps


def _sum_of_sizes(gaps: Array) -> float:
    return float(np.abs(gaps).sum())


def resolve(metrics: object) -> list[Metric]:
    """Return metrics, which may be given by name, as metrics or as functions."""
    if isinstance(metrics, str) or not isinstance(metrics, (list, tuple)):
        raise TypeError(f"`metrics` must be a list of names or functions, got {_arguments.shown(metrics)}")
    result = [_resolve_one(metric) for metric in metrics]
    names = [metric.name for metric in result]
    if len({*names, "loss", "seconds", "learning_rate"}) != len(names) + 3:
        raise ValueError(f"`metrics` must have different names, got {names}")
    return result


def _resolve_one(metric: object) -> Metric:
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, type):
        raise TypeError(f"`metrics` must hold metrics or functions, got the class {metric.__name__}")
    if callable(metric):
        return Metric(metric)
    if metric == "ece":
        return expected_calibration_error()
    if isinstance(metric, str) and metric in _NAMED:
        return _NAMED[metric]
    if isinstance(metric, str) and metric.startswith("top_") and metric[4:].isdecimal():
        return top_k(int(metric[4:]))
    names = ["accuracy", "top_5", *(name for name in _NAMED if name != "accuracy"), "ece"]
    raise ValueError(
        f"`metrics` must be functions or of the names {', '.join(names)} (any number for 5), got"
        f" {_arguments.shown(metric)}{_arguments.did_you_mean(metric, names)}"
    )


_NAMED = {m.name: m for m in (accuracy, nll, brier, f1, balanced_accuracy, auc)}
