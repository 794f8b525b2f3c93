"""From settings to a network, a loss and an optimizer."""

from typing import Any

import numpy as np

from fastsm import nn, optim
from fastsm._arguments import Array
from fastsm._command._errors import UsageError
from fastsm.nn.losses import LOSSES
from fastsm.optim._optimizers import OPTIMIZERS
from fastsm.optim.schedules import SCHEDULES

__all__ = ["make_loss", "make_model", "make_optimizer", "targets"]


def make_model(settings: dict[str, Any], features: int, classes: int) -> nn.Sequential:
    """Return a network that ends in probabilities, so that its file says all that predictions need."""
    return nn.MLP(
        [features, *settings["hidden"], classes],
        activation=settings["activation"],
        dropout=settings["dropout"],
        layer_norm=settings["layer_norm"],
        head="softmax",
        dtype=settings["dtype"],
        rng=np.random.default_rng([settings["seed"], 0]),
    )


def make_loss(settings: dict[str, Any], counts: Array) -> Any:
    """Return the loss for classes with so many rows."""
    name, kind = settings["loss"], _loss(settings)
    options: dict[str, Any] = {}
    if issubclass(kind, (nn.CrossEntropyLoss, nn.FocalLoss)):
        options["on"] = "probs"
    if settings["label_smoothing"]:
        if kind is not nn.CrossEntropyLoss:
            raise UsageError(f"--label-smoothing works with --loss cross-entropy, got --loss {name}")
        options["label_smoothing"] = settings["label_smoothing"]
    if settings["class_weight"] == "balanced":
        if "on" not in options:
            raise UsageError(
                f"--class-weight balanced works with --loss cross-entropy or focal, got --loss {name}"
            )
        options["class_weight"] = counts.sum() / (len(counts) * np.maximum(counts, 1))
    return kind(**options)


def targets(settings: dict[str, Any], labels: Array, classes: int) -> Array:
    """Return what the loss compares with: labels, or rows that are 1 at the label."""
    if _loss(settings).takes_labels:
        return labels
    return np.asarray(np.eye(classes, dtype=settings["dtype"])[labels])


def make_optimizer(settings: dict[str, Any], steps: int) -> optim.Optimizer:
    """Return the optimizer of a training of so many steps."""
    lr = SCHEDULES[settings["schedule"].replace("-", "_")](settings["lr"], steps)
    kind = OPTIMIZERS[settings["optimizer"]]
    options = {"momentum": settings["momentum"]} if issubclass(kind, (optim.SGD, optim.RMSprop)) else {}
    return kind(lr, weight_decay=settings["weight_decay"], decay_biases=False, **options)


def _loss(settings: dict[str, Any]) -> type[Any]:
    return LOSSES[settings["loss"].replace("-", "_")]
