"""Check that importing and calling fastsm leaves the floating-point environment as it was."""

import numpy as np


def observe():
    """Return results that depend on subnormal numbers and on rounding, and NumPy's error settings."""
    tiny = [np.finfo(t).smallest_subnormal for t in (np.float32, np.float64)]
    numbers = [np.array([t, 3 * t]) for t in tiny] + [np.array([np.finfo(t.dtype).tiny]) for t in tiny]
    third = [np.array([1, -1], t) / np.array([3], t) for t in (np.float32, np.float64)]
    halves = [np.array([1, -1]) + np.array([2.0**-53, -(2.0**-53)]), 1 + np.array([3, 2.8]) * 2.0**-53]
    results = [a * 1 for a in numbers] + [a / 2 for a in numbers] + [a + a for a in numbers] + third + halves
    return [a.tobytes() for a in results], np.geterr()


before = observe()
assert all(any(a) for a in before[0])
import fastsm  # noqa: E402 - after the first observation

assert observe() == before, "import"
rng = np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    for shape in ((3, 5), (4, 300), (3000, 400)):
        x = (100 * rng.standard_normal(shape)).astype(dtype)
        x[0, 0], x[1, 1], x[2, 2] = np.inf, -np.inf, np.nan
        for axis in (0, -1):
            fastsm.log_softmax(x, axis=axis)
            fastsm.logsumexp(x, axis=axis)
            y = fastsm.softmax(x, axis=axis, num_threads=2)
            fastsm.softmax_vjp(y, x, axis=axis)
            fastsm.cross_entropy_with_grad(x, np.zeros(x.shape[1 + axis], int), axis=axis)
            assert observe() == before, (dtype, shape, axis)
