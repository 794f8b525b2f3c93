"""Callbacks that write run on one rank; user callbacks run on all, and know their rank."""

import json
import sys
from pathlib import Path

from mpi4py import MPI

import fastsm
from fastsm import callbacks, data, nn


class Tells:
    first_rank_only = True

    def on_train_end(self, run):
        print(json.dumps(["first rank", run.rank, run.ranks]))


class Knows:
    def on_train_end(self, run):
        self.rank = run.rank


folder, knows = Path(sys.argv[1]), Knows()
X, y = data.load_digits()
fastsm.fit(
    nn.MLP([64, 10], rng=0),
    X,
    y,
    epochs=1,
    comm=MPI.COMM_WORLD,
    callbacks=[
        callbacks.Checkpoint(folder / "saved-{epoch}.safetensors"),
        callbacks.CSVLogger(folder / "log.csv"),
        callbacks.JSONLogger(folder / "log.jsonl"),
        callbacks.ProgressBar(),
        callbacks.EarlyStopping(monitor="loss"),
        Tells(),
        knows,
    ],
)
assert knows.rank == MPI.COMM_WORLD.rank
