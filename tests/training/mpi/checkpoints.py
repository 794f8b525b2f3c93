"""Train to an epoch, from a checkpoint if there is one; the model of `trains.py` with dropout."""

import os
import sys

import numpy as np
from mpi4py import MPI

import fastsm
from fastsm import data, nn, optim

checkpoint, epochs = sys.argv[1], int(sys.argv[2])
comm = MPI.COMM_WORLD
X, y = data.load_digits()
X, y, X_val, y_val = X[:400], y[:400].copy(), X[400:501], y[400:501]
y[::7] = -1
model = nn.MLP([64, 16, 10], dropout=0.3, layer_norm=True, dtype="float64", rng=0)
history = fastsm.fit(
    model,
    X,
    y,
    loss=nn.CrossEntropyLoss(ignore_index=-1),
    optimizer=optim.AdamW(1e-2),
    validation_data=(X_val, y_val),
    epochs=epochs,
    batch_size=50,
    rng=0,
    callbacks=[fastsm.callbacks.Checkpoint(checkpoint)],
    resume_from=checkpoint if os.path.exists(checkpoint) else None,
    comm=comm,
)
if comm.rank == 0 and len(sys.argv) > 3:
    np.savez(sys.argv[3], params=model.params, epochs=history.epochs)
