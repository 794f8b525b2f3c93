"""Check that the memory of the process does not grow over 10,000 steps."""

import os

from training_of_faults import X, path, y

import fastsm
from fastsm import nn, optim


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


taken = []
for _ in range(8):
    fastsm.fit(
        nn.MLP([40, 120, 5], dropout=0.3, rng=0),
        X,
        y,
        optimizer=optim.Adam(),
        epochs=125,
        batch_size=20,
        metrics=[],
        rng=0,
        num_threads=2,
    )  # 1250 steps: 10,000 in all
    for _ in range(5):
        fastsm.save(path, nn.MLP([40, 120, 5]))
        fastsm.load(path)
    taken.append(resident())
assert max(taken[3:]) - taken[2] < 1 << 20, taken
