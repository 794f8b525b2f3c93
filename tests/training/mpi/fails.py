"""Fail in one of several ways, on one rank or on all: all ranks must end."""

import sys

import numpy as np
from mpi4py import MPI

import fastsm
from fastsm import nn, optim

comm, case = MPI.COMM_WORLD, sys.argv[1]
second = comm.rank == 1
X, y = np.ones((40, 3)), np.zeros(40, int)
model, options = nn.MLP([3, 2], rng=0), {}
if case == "argument" or (case == "argument of one" and second):
    X = X.astype(complex)
if case == "models" and second:
    model = nn.MLP([3, 4, 2], rng=0)
if case == "rows" and second:
    X, y = X[:30], y[:30]
if case == "no rows":
    options = {"sharded": True}
    X, y = (X[:0], y[:0]) if second else (X, y)
if case == "diverged":
    options = {"optimizer": optim.SGD(1e38), "loss": nn.MSELoss()}
    y = np.ones((40, 2))


class Fails:
    def on_batch_end(self, run):
        if run.rank == 1 and run.epoch == 2:
            if case == "keyboard":
                raise KeyboardInterrupt
            1 / 0  # noqa: B018


if case in ("callback", "keyboard"):
    options = {"callbacks": [Fails()]}
fastsm.fit(model, X, y, epochs=20, batch_size=8, rng=0, comm=comm, **options)
print("went on", comm.rank)
