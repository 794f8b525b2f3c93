"""Initial values of weights: functions ``(rng, shape, dtype) -> array``, used by name or passed as they are.

`shape` is (n_in, n_out), the layout of `fastsm.nn.Linear`. The variance is chosen such that signals (or
gradients) keep their size from layer to layer. Numbers are drawn in float64 and rounded, so that one seed
makes the same network in both dtypes. For other arguments than the defaults: ``functools.partial(orthogonal,
gain=1.4)``.

References
----------
.. [1] K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", ICCV 2015, equation 10.
.. [2] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks",
   AISTATS 2010, equations 12 and 16.
.. [3] Y. LeCun, L. Bottou, G. B. Orr and K.-R. Mueller, "Efficient BackProp", 1998, section 4.6.
.. [4] A. M. Saxe, J. L. McClelland and S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in
   deep linear neural networks", ICLR 2014.
.. [5] F. Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the AMS
   54, 2007, section 5.

Examples
--------
>>> import numpy as np
>>> from fastsm import nn
>>> weight = nn.initializers.orthogonal(np.random.default_rng(0), (3, 3), np.float64)
>>> np.allclose(weight.T @ weight, np.eye(3))
True
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from fastsm import _checks
from fastsm._checks import Array, integer

__all__ = [
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "uniform",
    "zeros",
]

Shape: TypeAlias = tuple[int, ...]
Initializer: TypeAlias = Callable[[np.random.Generator, Shape, Any], Array]


def normal(rng: np.random.Generator, shape: Shape, dtype: DTypeLike, *, deviation: float = 0.01) -> Array:
    """Return numbers of a normal distribution with mean 0 and this standard deviation."""
    return (deviation * rng.standard_normal(shape)).astype(dtype)


def uniform(rng: np.random.Generator, shape: Shape, dtype: DTypeLike, *, bound: float = 0.01) -> Array:
    """Return numbers of a uniform distribution from ``-bound`` to `bound`."""
    return rng.uniform(-bound, bound, shape).astype(dtype)


def he_normal(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return normal weights with variance ``2 / n_in``: for ReLU, which drops half of the signal [1]."""
    return normal(rng, shape, dtype, deviation=math.sqrt(2 / _fans(shape)[0]))


def he_uniform(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return uniform weights with variance ``2 / n_in`` [1]."""
    return _uniform_of_variance(rng, shape, dtype, 2 / _fans(shape)[0])


def glorot_normal(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return normal weights with variance ``2 / (n_in + n_out)``: for signals and gradients alike [2]."""
    return normal(rng, shape, dtype, deviation=math.sqrt(2 / sum(_fans(shape))))


def glorot_uniform(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return uniform weights with variance ``2 / (n_in + n_out)``: for tanh and the last layer [2]."""
    return _uniform_of_variance(rng, shape, dtype, 2 / sum(_fans(shape)))


def lecun_normal(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return normal weights with variance ``1 / n_in`` [3]."""
    return normal(rng, shape, dtype, deviation=math.sqrt(1 / _fans(shape)[0]))


def lecun_uniform(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return uniform weights with variance ``1 / n_in`` [3]."""
    return _uniform_of_variance(rng, shape, dtype, 1 / _fans(shape)[0])


def orthogonal(rng: np.random.Generator, shape: Shape, dtype: DTypeLike, *, gain: float = 1.0) -> Array:
    """Return orthonormal columns (or rows, if there are fewer rows than columns), times `gain` [4]."""
    n_in, n_out = _fans(shape)
    q, r = np.linalg.qr(rng.standard_normal((max(n_in, n_out), min(n_in, n_out))))
    # QR is unique, and q uniformly distributed, once the diagonal of r is positive [5].
    q *= np.where(np.diagonal(r) < 0, -gain, gain)
    return np.ascontiguousarray(q if n_in >= n_out else q.T, dtype=dtype)


def zeros(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return zeros."""
    return np.zeros(shape, dtype)


def ones(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return ones."""
    return np.ones(shape, dtype)


_BY_NAME: dict[str, Initializer] = {name: globals()[name] for name in __all__}


def initializer(value: str | Initializer) -> Initializer:
    """Return the initialiser of this name, or the function itself."""
    if callable(value):
        return value
    if not isinstance(value, str):
        raise TypeError(f"`init` must be a name or a function, got {value!r}")
    if value not in _BY_NAME:
        raise ValueError(f"`init` must be one of {', '.join(_BY_NAME)}, or a function, got {value!r}")
    return _BY_NAME[value]


def initial(init: str | Initializer, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """Return initial values, checked if they come from a function of the user's."""
    values = _checks.array("init(rng, shape, dtype)", initializer(init)(rng, shape, dtype))
    _checks.same_shape("init(rng, shape, dtype)", values, shape)
    return values.astype(dtype, order="C", copy=False)


def generator(rng: int | np.random.Generator | None) -> np.random.Generator:
    """Return a generator of random numbers: the given one, one with a seed, or a fresh one."""
    if rng is None or isinstance(rng, np.random.Generator):
        return np.random.default_rng(rng)
    seed = None if isinstance(rng, (bool, np.bool_)) else integer(rng)
    if seed is None:
        raise TypeError(f"`rng` must be None, an integer or a numpy.random.Generator, got {rng!r}")
    if seed < 0:
        raise ValueError(f"`rng` must be at least 0 if it is an integer, got {rng!r}")
    return np.random.default_rng(seed)


def _uniform_of_variance(rng: np.random.Generator, shape: Shape, dtype: DTypeLike, variance: float) -> Array:
    # A uniform distribution from -b to b has variance b^2 / 3.
    return uniform(rng, shape, dtype, bound=math.sqrt(3 * variance))


def _fans(shape: Shape) -> tuple[int, int]:
    if len(shape) != 2:
        raise ValueError(f"`shape` must be (n_in, n_out), got {shape}")
    return shape[0], shape[1]
