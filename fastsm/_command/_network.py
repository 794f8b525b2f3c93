"""Make a network, a loss, targets and an optimizer from settings."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastsm import nn, optim
from fastsm._command._errors import UsageError
from fastsm._command._options import Settings
from fastsm.nn.losses import LOSSES
from fastsm.nn.losses._row_loss import RowLoss
from fastsm.optim._optimizers import OPTIMIZERS
from fastsm.optim.schedules import SCHEDULES
from fastsm.typing import Array, Loss

__all__ = ["make_loss", "make_model", "make_optimizer", "make_targets"]


def make_model(settings: Settings, features: int, classes: int) -> nn.Sequential:
    """Return a network that ends in softmax, so that its file is enough for predictions."""
    return nn.MLP(
        [features, *settings["hidden"], classes],
        activation=settings["activation"],
        dropout=settings["dropout"],
        layer_norm=settings["layer_norm"],
        head=None if settings["task"] == "regression" else "softmax",
        dtype=settings["dtype"],
        rng=np.random.default_rng([settings["seed"], 0]),
    )


def make_loss(settings: Settings, counts: Array) -> Loss:
    """Return the loss; `counts` are the numbers of rows of the classes."""
    name, kind = settings["loss"], _loss_class(settings)
    options: dict[str, Any] = {}
    if settings["task"] == "regression" and kind not in (nn.MSELoss, nn.MAELoss):
        raise UsageError(f"--task regression works with --loss mse or mae, got --loss {name}")
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


def make_targets(settings: Settings, labels: Array, classes: int, scale: tuple[float, float]) -> Array:
    """Return the targets of the loss: labels, or one-hot rows, or numbers on their scale."""
    if settings["task"] == "regression":
        return np.asarray((labels - scale[0]) / scale[1], settings["dtype"])[:, None]
    if _loss_class(settings).takes_labels:
        return labels
    return np.asarray(np.eye(classes, dtype=settings["dtype"])[labels])


def make_optimizer(settings: Settings, steps: int) -> optim.Optimizer:
    """Return the optimizer for a training of `steps` steps."""
    lr = SCHEDULES[settings["schedule"].replace("-", "_")](settings["lr"], steps)
    kind = OPTIMIZERS[settings["optimizer"]]
    options = {"momentum": settings["momentum"]} if issubclass(kind, (optim.SGD, optim.RMSprop)) else {}
    return kind(lr, weight_decay=settings["weight_decay"], decay_biases=False, **options)


def _loss_class(settings: Settings) -> type[RowLoss]:
    return LOSSES[settings["loss"].replace("-", "_")]
