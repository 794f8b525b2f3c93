"""Draw the error of the kernels' exponential over its range, for each instruction set of this processor.

What is measured is the function inside the installed kernels. ``log_softmax_vjp`` computes
``dy - exp(log_y) * sum(dy)``; with ``dy = [0, -1]`` the first of two classes is ``exp(log_y)`` alone.
"""

import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np

from fastsm import _kernels

MEASURE = """
import sys
import numpy as np
import fastsm
d = np.frombuffer(sys.stdin.buffer.read(), np.float32)
log_y = np.stack([d, np.zeros_like(d)], axis=1)
dy = np.tile(np.array([0, -1], np.float32), (len(d), 1))
sys.stdout.buffer.write(fastsm.log_softmax_vjp(log_y, dy)[:, 0].tobytes())
"""


def kernel_exp(d, isa):
    """Return exp(d) by the kernels of an instruction set: in a process of its own, as one chooses once."""
    python = [sys.executable, "-c", MEASURE]
    environment = os.environ | {"FASTSM_ISA": isa}
    result = subprocess.run(python, input=d.tobytes(), env=environment, stdout=subprocess.PIPE, check=True)
    return np.frombuffer(result.stdout, np.float32)


def error_in_ulp(d, result):
    """Return how far off the result is, in units in the last place of float32; float64 counts as exact."""
    exact = np.exp(d.astype(np.float64))
    return (result - exact) / np.spacing(exact.astype(np.float32))


# From 0 down to where the result is 0.
rng = np.random.default_rng(0)
d = np.sort(-rng.uniform(0, 86.9, 400_000)).astype(np.float32)

isas = _kernels.available[::-1]
figure, axes = plt.subplots(
    len(isas), 1, figsize=(6.4, 1.2 + 1.5 * len(isas)), sharex=True, sharey=True, squeeze=False
)
for axis, isa in zip(axes[:, 0], isas, strict=True):
    errors = error_in_ulp(d, kernel_exp(d, isa))
    worst = np.abs(errors).max()
    assert worst < 1.1
    # The most and the least in each of 400 stretches: a plot of all would be a block of ink.
    stretches = errors.reshape(400, -1)
    places = d.reshape(400, -1).mean(axis=1)
    axis.fill_between(places, stretches.min(axis=1), stretches.max(axis=1), linewidth=0)
    for limit in (-0.5, 0.5):  # what no float32 can be nearer than
        axis.axhline(limit, color="gray", linestyle=":", linewidth=1)
    axis.set_title(f"{isa}: at most {worst:.2f} ULP")
    axis.set_ylabel("error, ULP")
axes[-1, 0].set_xlabel("d")
