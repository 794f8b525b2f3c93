"""Networks: layers, models, initial weights and losses.

>>> import numpy as np
>>> from fastsm import nn
>>> model = nn.MLP([4, 16, 3], rng=0)
>>> model(np.ones((2, 4))).shape
(2, 3)
"""

from fastsm.nn import _activations, initializers
from fastsm.nn._activations import *  # noqa: F403
from fastsm.nn._dropout import Dropout
from fastsm.nn._layer_norm import LayerNorm
from fastsm.nn._linear import Linear
from fastsm.nn._mlp import MLP
from fastsm.nn._objective import value_and_grad
from fastsm.nn._sequential import Sequential
from fastsm.nn._softmax import LogSoftmax, Softmax
from fastsm.nn.losses import (
    BCELoss,
    BrierLoss,
    CrossEntropyLoss,
    FocalLoss,
    KLDivLoss,
    MAELoss,
    MSELoss,
    NLLLoss,
    loss,
)

__all__ = [
    "MLP",
    "BCELoss",
    "BrierLoss",
    "CrossEntropyLoss",
    "Dropout",
    "FocalLoss",
    "KLDivLoss",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "MAELoss",
    "MSELoss",
    "NLLLoss",
    "Sequential",
    "Softmax",
    "initializers",
    "loss",
    "value_and_grad",
]
__all__ += _activations.__all__
