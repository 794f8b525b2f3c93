"""A training whose checkpoints take about as long as its steps, and its results, for programs of faults."""

import os
import sys

import numpy as np

import fastsm
from fastsm import callbacks, nn, optim

rng = np.random.default_rng(0)
X, y = rng.standard_normal((200, 40), dtype=np.float32), rng.integers(0, 5, 200)
folder = sys.argv[1]
path = os.path.join(folder, "run.safetensors")
EPOCHS = 20


def train(path, epochs=EPOCHS, resume=None, **options):
    """Train with checkpoints; return parameters, losses and history."""
    model = nn.MLP([40, 120, 5], dropout=0.3, rng=0)
    both = [callbacks.EarlyStopping("loss", patience=100, restore_best=False), callbacks.Checkpoint(path)]
    history = fastsm.fit(
        model,
        X,
        y,
        optimizer=optim.Adam(),
        epochs=epochs,
        batch_size=20,
        callbacks=both,
        rng=0,
        resume_from=resume,
        **options,
    )
    return model.params.copy(), history.get("loss"), history


def in_child(work):
    """Run a function in a fork; return the process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


whole, losses, _ = train(path)
os.unlink(path)
