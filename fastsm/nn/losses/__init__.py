"""The losses of `fastsm.nn`, one file for each kind.

A loss is the weighted mean of a value for each row: ``loss(outputs, targets)``, with its gradient
``loss.value_and_grad(outputs, targets)``. Its `on` says which outputs it takes: ``"logits"``,
``"log_probs"``, ``"probs"``, or ``"output"`` for any.
"""

from fastsm.nn.losses._binary import BCELoss
from fastsm.nn.losses._cross_entropy import CrossEntropyLoss, NLLLoss
from fastsm.nn.losses._errors import BrierLoss, MAELoss, MSELoss
from fastsm.nn.losses._focal import FocalLoss
from fastsm.nn.losses._kl import KLDivLoss
from fastsm.nn.losses._row_loss import RowLoss
from fastsm.nn.losses._user import loss

__all__ = [
    "LOSSES",
    "BCELoss",
    "BrierLoss",
    "CrossEntropyLoss",
    "FocalLoss",
    "KLDivLoss",
    "MAELoss",
    "MSELoss",
    "NLLLoss",
    "loss",
]

#: Losses by name, for the command and the estimators.
LOSSES: dict[str, type[RowLoss]] = {
    "cross_entropy": CrossEntropyLoss,
    "bce": BCELoss,
    "nll": NLLLoss,
    "focal": FocalLoss,
    "brier": BrierLoss,
    "mse": MSELoss,
    "mae": MAELoss,
    "kl_div": KLDivLoss,
}
