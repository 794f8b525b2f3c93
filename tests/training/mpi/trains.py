"""Train the same models on any number of ranks, and write the results.

mpiexec -n 1 python tests/training/mpi/trains.py one.npz
mpiexec -n 4 python tests/training/mpi/trains.py four.npz one.npz    also prints the largest differences
"""

import sys

import numpy as np
from mpi4py import MPI

import fastsm
from fastsm import callbacks, data, nn, optim

comm = MPI.COMM_WORLD
X, y = data.load_digits()
X, y, X_val, y_val = X[:400], y[:400].copy(), X[400:501], y[400:501]
y[::7] = -1
weights = np.random.default_rng(3).random(len(X)) * (np.arange(len(X)) % 5 > 0)
CASES = {
    "dropout": {},
    "float32": {"dtype": "float32"},
    "clipped": {"clip_norm": 0.5},
    "idle": {"batch_size": 3, "epochs": 1},  # with four ranks, one has nothing to do
    "weighted": {"sample_weight": weights},
    "best": {"sample_weight": weights, "epochs": 6, "batch_size": 20},
}


def train(comm, dtype="float64", **options):
    # What is drawn on the other ranks must not matter.
    first = comm is None or comm.rank == 0
    model = nn.MLP([64, 16, 10], dropout=0.3, layer_norm=True, dtype=dtype, rng=0 if first else None)
    options = {"epochs": 3, "batch_size": 50, "rng": 0 if first else None, **options}
    others = [
        callbacks.Checkpoint(f"{sys.argv[1]}.best", monitor="val_auc", best=True),
        callbacks.ReduceOnPlateau("val_f1", factor=0.5, patience=1),
        callbacks.Average(0.9),
    ]
    history = fastsm.fit(
        model,
        X,
        y,
        loss=nn.CrossEntropyLoss(ignore_index=-1),
        optimizer=optim.AdamW(1e-2),
        validation_data=(X_val, y_val),
        metrics=("accuracy", "ece", "nll", "auc", "f1", "balanced_accuracy"),
        callbacks=others if options["epochs"] > 3 else [],
        comm=comm,
        **options,
    )
    return model.params, history


results = {}
for name, options in CASES.items():
    results[name], history = train(comm, **options)
    results[f"{name} history"] = np.array([history[key] for key in history if key != "seconds"])
    everywhere = comm.allgather((results[name].tobytes(), dict(history)))
    assert all(one == everywhere[0] for one in everywhere), f"{name}: the ranks drifted apart"
if comm.size == 1:
    results["dropout without comm"], _ = train(None)
if comm.rank == 0:
    np.savez(sys.argv[1], **results)
if comm.rank == 0 and len(sys.argv) > 2:
    with np.load(sys.argv[2]) as earlier:
        for name in CASES:
            print(f"{name:10} parameters {np.abs(results[name] - earlier[name]).max():.1e}")
