"""The activations by their definitions, for the tests of the kernels and of the layers."""

import math
from collections.abc import Callable
from typing import NamedTuple

import mpmath
import numpy as np

erf = np.vectorize(math.erf, otypes=[float])


def phi(x):
    """Return the distribution function of the normal distribution."""
    return (1 + erf(x / math.sqrt(2))) / 2


def logistic(x):
    return 1 / (1 + np.exp(-x))


def exact_gelu(x):
    """Return x Phi(x) in 40 digits, rounded to long double."""
    with mpmath.workdps(40):
        exact = [v * mpmath.ncdf(v) if v > -1e4 else mpmath.mpf(0) for v in map(float, x)]
        high = np.array([np.longdouble(float(v)) for v in exact])
        return high + np.array([np.longdouble(float(v - float(h))) for v, h in zip(exact, high, strict=True)])


class Activation(NamedTuple):
    """What is known of an activation."""

    formula: Callable
    #: The largest error in units in the last place; None for a formula that the kernel writes down as it is.
    ulps: int | None
    #: The values at 0, inf, -inf, nan, 1000, -1000, and the derivatives there; None for what is not promised.
    limits: list
    slopes: list
    #: Whether the derivative is computed from the input, not from the output.
    by_input: bool = False
    #: The formula in a type wider than the argument's, where the other one is not accurate enough.
    exact: Callable | None = None


NAN, INF = math.nan, math.inf
# Of leaky_relu with the slope 0.1. Largest errors found on millions of numbers: 2.7, 2.4, 4.3 and 3.2 ULP.
ACTIVATIONS = {
    "relu": Activation(
        lambda x: np.where(x > 0, x, 0), None, [0, INF, 0, NAN, 1000, 0], [0, 1, 0, None, 1, 0]
    ),
    "leaky_relu": Activation(
        lambda x: np.where(x > 0, x, 0.1 * x), None,
        [0, INF, -INF, NAN, 1000, -100], [0.1, 1, 0.1, None, 1, 0.1],
    ),
    "tanh": Activation(np.tanh, 3, [0, 1, -1, NAN, 1, -1], [1, 0, 0, NAN, 0, 0]),
    "sigmoid": Activation(logistic, 3, [0.5, 1, 0, NAN, 1, 0], [0.25, 0, 0, NAN, 0, 0]),
    "gelu": Activation(
        lambda x: x * phi(x), 5, [0, INF, 0, NAN, 1000, 0], [0.5, 1, 0, NAN, 1, 0], True, exact_gelu
    ),
    "silu": Activation(
        lambda x: x * logistic(x), 4, [0, INF, 0, NAN, 1000, 0], [0.5, 1, 0, NAN, 1, 0], True,
        lambda x: x / (1 + np.exp(-x)),
    ),
}  # fmt: skip
