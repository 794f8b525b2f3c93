"""Callbacks: objects that `fit` calls during a training.

Your own callback has any of the methods ``on_train_begin``, ``on_epoch_begin``, ``on_batch_end``,
``on_epoch_end`` and ``on_train_end``, each with the argument `run` (see `fastsm.training.Run`). Checkpoints
include it if it has ``state()``, which returns a dict of numbers, strings and arrays, and
``set_state(state)``. An optional ``check_state(state, run)`` is called before a training is resumed: if it
raises ValueError because the state does not match, nothing is changed.

>>> from fastsm import nn, fit
>>> class Printer:
...     def on_epoch_end(self, run):
...         print(run.epoch, round(run.logs["loss"], 4))
>>> _ = fit(nn.MLP([2, 2], init="zeros"), [[0.0, 1.0]], [1], epochs=1, callbacks=[Printer()])
1 0.6931
"""

from fastsm.training.callbacks._average import Average
from fastsm.training.callbacks._monitors import Checkpoint, EarlyStopping, ReduceOnPlateau
from fastsm.training.callbacks._reports import CSVLogger, JSONLogger, ProgressBar

__all__ = [
    "Average",
    "CSVLogger",
    "Checkpoint",
    "EarlyStopping",
    "JSONLogger",
    "ProgressBar",
    "ReduceOnPlateau",
]
