"""Initial weights: functions ``(rng, shape, dtype) -> array``, given by name or as they are.

`shape` is (n_in, n_out), the layout of `fastsm.nn.Linear`. The variances keep the size of signals (or of
gradients) from layer to layer. Numbers are drawn in float64 and rounded, so that one seed makes the same
network in both dtypes. Options are set with ``functools.partial(orthogonal, gain=1.4)``.

>>> import numpy as np
>>> from fastsm import nn
>>> model = nn.MLP([64, 128, 10], init="orthogonal", rng=0)
>>> weight = nn.initializers.orthogonal(np.random.default_rng(0), (64, 128), np.float32)
>>> bool((dict(model.named_parameters())["0.weight"] == weight).all())
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from fastsm import _arguments
from fastsm.typing import Array, DType

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
Initializer: TypeAlias = Callable[[np.random.Generator, Shape, DType], Array]


def normal(rng: np.random.Generator, shape: Shape, dtype: DTypeLike, *, deviation: float = 0.01) -> Array:
    """Return numbers of a normal distribution with mean 0.

    Parameters
    ----------
    rng, shape, dtype
        As for all functions of this module.
    deviation : float, default 0.01
        The standard deviation.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.nn import initializers
    >>> weight = initializers.normal(np.random.default_rng(0), (500, 200), np.float64, deviation=0.5)
    >>> round(float(weight.std()), 2)
    0.5
    """
    return (deviation * rng.standard_normal(shape)).astype(dtype)


def uniform(rng: np.random.Generator, shape: Shape, dtype: DTypeLike, *, bound: float = 0.01) -> Array:
    """Return numbers of a uniform distribution from ``-bound`` to `bound`.

    Parameters
    ----------
    rng, shape, dtype
        As for all functions of this module.
    bound : float, default 0.01
        The largest number.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.nn import initializers
    >>> weight = initializers.uniform(np.random.default_rng(0), (500, 200), np.float64, bound=0.5)
    >>> round(float(weight.min()), 2), round(float(weight.max()), 2)
    (-0.5, 0.5)
    """
    return rng.uniform(-bound, bound, shape).astype(dtype)


def he_normal(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return normal weights with variance ``2 / n_in``: for ReLU, which drops half of the signal.

    Signals keep their size from layer to layer [1]_.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", ICCV 2015, equation 10.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.nn import initializers
    >>> weight = initializers.he_normal(np.random.default_rng(0), (500, 200), np.float64)
    >>> round(float(weight.var() * 500), 1)
    2.0
    """
    return normal(rng, shape, dtype, deviation=math.sqrt(2 / _fans(shape)[0]))


def he_uniform(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return uniform weights with variance ``2 / n_in``: for ReLU, as `he_normal`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.nn import initializers
    >>> weight = initializers.he_uniform(np.random.default_rng(0), (500, 200), np.float64)
    >>> round(float(weight.var() * 500), 1)
    2.0
    """
    return _uniform_of_variance(rng, shape, dtype, 2 / _fans(shape)[0])


def glorot_normal(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return normal weights with variance ``2 / (n_in + n_out)``: for both signals and gradients.

    It is a compromise between the two [1]_, exact in linear layers of one size.

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS 2010, equation 12.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.nn import initializers
    >>> weight = initializers.glorot_normal(np.random.default_rng(0), (500, 200), np.float64)
    >>> round(float(weight.var() * (500 + 200)), 1)
    2.0
    """
    return normal(rng, shape, dtype, deviation=math.sqrt(2 / sum(_fans(shape))))


def glorot_uniform(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return uniform weights with variance ``2 / (n_in + n_out)``: for tanh and the last layer.

    It is the normalized initialization of [1]_.

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS 2010, equation 16.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.nn import initializers
    >>> weight = initializers.glorot_uniform(np.random.default_rng(0), (500, 200), np.float64)
    >>> round(float(weight.var() * (500 + 200)), 1)
    2.0
    """
    return _uniform_of_variance(rng, shape, dtype, 2 / sum(_fans(shape)))


def lecun_normal(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return normal weights with variance ``1 / n_in``: for linear layers and scaled tanh.

    Sums of `n_in` uncorrelated inputs of variance 1 have variance 1 as well [1]_.

    References
    ----------
    .. [1] Y. LeCun, L. Bottou, G. B. Orr and K.-R. Mueller, "Efficient BackProp", 1998, section 4.6.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.nn import initializers
    >>> weight = initializers.lecun_normal(np.random.default_rng(0), (500, 200), np.float64)
    >>> round(float(weight.var() * 500), 1)
    1.0
    """
    return normal(rng, shape, dtype, deviation=math.sqrt(1 / _fans(shape)[0]))


def lecun_uniform(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return uniform weights with variance ``1 / n_in``, as `lecun_normal`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.nn import initializers
    >>> weight = initializers.lecun_uniform(np.random.default_rng(0), (500, 200), np.float64)
    >>> round(float(weight.var() * 500), 1)
    1.0
    """
    return _uniform_of_variance(rng, shape, dtype, 1 / _fans(shape)[0])


def orthogonal(rng: np.random.Generator, shape: Shape, dtype: DTypeLike, *, gain: float = 1.0) -> Array:
    """Return orthonormal columns (or rows, if there are fewer rows than columns), times `gain`.

    A linear layer with such weights keeps the length of its input, or of the gradient [1]_.

    Parameters
    ----------
    rng, shape, dtype
        As for all functions of this module.
    gain : float, default 1.0
        The length of the columns.

    Notes
    -----
    The result is Q of the QR decomposition of normal numbers, with the signs that make it uniformly
    distributed [2]_.

    References
    ----------
    .. [1] A. M. Saxe, J. L. McClelland and S. Ganguli, "Exact solutions to the nonlinear dynamics of learning
       in deep linear neural networks", ICLR 2014.
    .. [2] F. Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the
       AMS 54, 2007, section 5.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.nn import initializers
    >>> weight = initializers.orthogonal(np.random.default_rng(0), (4, 3), np.float64)
    >>> np.allclose(weight.T @ weight, np.eye(3))
    True
    """
    n_in, n_out = _fans(shape)
    q, r = np.linalg.qr(rng.standard_normal((max(n_in, n_out), min(n_in, n_out))))
    # QR is unique, and q uniformly distributed, once the diagonal of r is positive [2].
    q *= np.where(np.diagonal(r) < 0, -gain, gain)
    return np.ascontiguousarray(q if n_in >= n_out else q.T, dtype=dtype)


def zeros(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return zeros.

    Examples
    --------
    >>> from fastsm import nn
    >>> nn.MLP([4, 2], init="zeros")([[1.0, 2.0, 3.0, 4.0]])
    array([[0., 0.]], dtype=float32)
    """
    return np.zeros(shape, dtype)


def ones(rng: np.random.Generator, shape: Shape, dtype: DTypeLike) -> Array:
    """Return ones.

    Examples
    --------
    >>> from fastsm import nn
    >>> nn.MLP([4, 2], init="ones")([[1.0, 2.0, 3.0, 4.0]])
    array([[10., 10.]], dtype=float32)
    """
    return np.ones(shape, dtype)


_BY_NAME: dict[str, Initializer] = {name: globals()[name] for name in __all__}


def initializer(value: str | Initializer) -> Initializer:
    """Return the initializer of this name, or the function itself."""
    if callable(value):
        return value
    if not isinstance(value, str):
        raise TypeError(f"`init` must be a name or a function, got {_arguments.shown(value)}")
    if value not in _BY_NAME:
        raise ValueError(
            f"`init` must be one of {', '.join(_BY_NAME)}, or a function, got {_arguments.shown(value)}"
        )
    return _BY_NAME[value]


def initial_weights(init: str | Initializer, rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    """Return initial weights, after checking the result of the function."""
    values = _arguments.array("init(rng, shape, dtype)", initializer(init)(rng, shape, dtype))
    _arguments.same_shape("init(rng, shape, dtype)", values, shape)
    return values.astype(dtype, order="C", copy=False)


def _uniform_of_variance(rng: np.random.Generator, shape: Shape, dtype: DTypeLike, variance: float) -> Array:
    # The uniform distribution from -b to b has variance b^2 / 3.
    return uniform(rng, shape, dtype, bound=math.sqrt(3 * variance))


def _fans(shape: Shape) -> tuple[int, int]:
    if len(shape) != 2:
        raise ValueError(f"`shape` must be (n_in, n_out), got {shape}")
    return shape[0], shape[1]
