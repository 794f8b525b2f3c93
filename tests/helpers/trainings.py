"""A small training for tests of callbacks."""

import io

import numpy as np

import fastsm
from fastsm import nn


def fit(epochs=3, rows=20, batch_size=8, validate=True, **options):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((rows, 4)), rng.integers(0, 3, rows)
    model = options.pop("model", None) or nn.MLP([4, 8, 3], rng=0)
    options.setdefault("validation_data", (X, y) if validate else None)
    return fastsm.fit(model, X, y, epochs=epochs, batch_size=batch_size, rng=0, **options)


class Script:
    """A callback that replaces the logged validation losses by those of a test."""

    def __init__(self, *values, name="val_loss"):
        self.values, self.name, self.params = values, name, []

    def on_epoch_end(self, run):
        run.logs[self.name] = run.history[self.name][-1] = self.values[run.epoch - 1]
        self.params.append(run.model.params.copy())


class Terminal(io.StringIO):
    def isatty(self):
        return True
