"""Each rank has different rows: the steps are those of one process with the same batches."""

import numpy as np
from mpi4py import MPI

import fastsm
from fastsm import data, nn, optim

comm = MPI.COMM_WORLD
X, y = data.load_digits()
# Uneven: 100 rows, 130, 160, ...
first = sum(100 + 30 * rank for rank in range(comm.rank))
own = slice(first, first + 100 + 30 * comm.rank)
rows = sum(100 + 30 * rank for rank in range(comm.size))


def model():
    return nn.MLP([64, 16, 10], dtype="float64", rng=0)


# One step with all rows: their order does not count.
shared, alone = model(), model()
options = {"epochs": 2, "batch_size": rows, "metrics": ("accuracy",)}
history = fastsm.fit(
    shared,
    X[own],
    y[own],
    optimizer=optim.SGD(0.5),
    validation_data=(X[own], y[own]),
    comm=comm,
    sharded=True,
    **options,
)
expected = fastsm.fit(
    alone, X[:rows], y[:rows], optimizer=optim.SGD(0.5), validation_data=(X[:rows], y[:rows]), **options
)
np.testing.assert_allclose(shared.params, alone.params, rtol=1e-13, atol=1e-13)
for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
    np.testing.assert_allclose(history[name], expected[name], rtol=1e-13)


# Many steps: every row once an epoch, seen by a loss that records row numbers.
@nn.loss(on="output")
def number(outputs, targets):
    seen.extend(targets[:, 0])
    return targets[:, 0], np.zeros_like(outputs)


seen = []
numbers = np.arange(first, own.stop, dtype=np.float64)[:, None]
history = fastsm.fit(
    nn.MLP([1, 1], dtype="float64", rng=0),
    numbers,
    numbers,
    loss=number,
    metrics=(),
    epochs=1,
    batch_size=7,
    rng=0,
    comm=comm,
    sharded=True,
)
np.testing.assert_allclose(history["loss"], [(rows - 1) / 2], rtol=1e-13)
assert set(seen) == set(numbers[:, 0])
