"""Optimizers, whose steps are one fused pass over the flat arrays of a model, and learning rate schedules.

>>> from fastsm import optim
>>> optimizer = optim.AdamW(optim.schedules.warmup_cosine(1e-3, 10_000, warmup=500), weight_decay=0.01)
>>> optimizer.learning_rate
2e-06
"""

from fastsm.optim import schedules
from fastsm.optim._base import Optimizer
from fastsm.optim._optimizers import SGD, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "schedules"]
