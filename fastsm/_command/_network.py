"""From settings to a network, a loss and an optimizer."""

from typing import Any

import numpy as np

from fastsm import nn, optim
from fastsm._arguments import Array
from fastsm._command._errors import UsageError
from fastsm.optim import schedules

__all__ = ["make_loss", "make_model", "make_optimizer", "targets"]

_WITH_VALUES = ("mse", "mae")


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
    name, smoothing = settings["loss"], settings["label_smoothing"]
    if smoothing and name != "cross-entropy":
        raise UsageError(f"--label-smoothing works with --loss cross-entropy, got --loss {name}")
    weight = None
    if settings["class_weight"] == "balanced":
        if name not in ("cross-entropy", "focal"):
            raise UsageError(
                f"--class-weight balanced works with --loss cross-entropy or focal, got --loss {name}"
            )
        weight = counts.sum() / (len(counts) * np.maximum(counts, 1))
    if name == "cross-entropy":
        return nn.CrossEntropyLoss(on="probs", class_weight=weight, label_smoothing=smoothing)
    if name == "focal":
        return nn.FocalLoss(on="probs", class_weight=weight)
    return {"brier": nn.BrierLoss, "mse": nn.MSELoss, "mae": nn.MAELoss}[name]()


def targets(settings: dict[str, Any], labels: Array, classes: int) -> Array:
    """Return what the loss compares with: labels, or rows that are 1 at the label."""
    if settings["loss"] in _WITH_VALUES:
        return np.asarray(np.eye(classes, dtype=settings["dtype"])[labels])
    return labels


def make_optimizer(settings: dict[str, Any], steps: int) -> optim.Optimizer:
    """Return the optimizer of a training of so many steps."""
    lr, decay, momentum = _schedule(settings, steps), settings["weight_decay"], settings["momentum"]
    name = settings["optimizer"]
    if name == "sgd":
        return optim.SGD(lr, momentum=momentum, weight_decay=decay, decay_biases=False)
    if name == "rmsprop":
        return optim.RMSprop(lr, momentum=momentum, weight_decay=decay, decay_biases=False)
    kind = optim.Adam if name == "adam" else optim.AdamW
    return kind(lr, weight_decay=decay, decay_biases=False)


def _schedule(settings: dict[str, Any], steps: int) -> Any:
    name, lr = settings["schedule"], settings["lr"]
    if name == "cosine":
        return schedules.cosine(lr, steps)
    if name == "warmup-cosine":
        return schedules.warmup_cosine(lr, max(steps, 2), warmup=max(steps // 20, 1))
    if name == "one-cycle":
        return schedules.one_cycle(lr, max(steps, 2))
    if name == "step":
        return schedules.step(lr, every=-(-steps // 3))
    return lr
