"""The matrix products of a linear layer.

They use the package's kernel where it is as fast as NumPy's BLAS; its results do not depend on the number of
rows or threads. Elsewhere they use NumPy.
"""

from __future__ import annotations

import numpy as np

from fastsm._kernels import kernels
from fastsm.typing import Array

__all__: list[str] = []


def affine(x: Array, weight: Array, bias: Array | None, out: Array) -> Array:
    """Return ``x @ weight + bias`` in `out`."""
    if kernels.FAST_DENSE:
        kernels.dense(x, weight, bias, out)
        return out
    np.matmul(x, weight, out=out)
    if bias is not None:
        kernels.add_bias(out, bias)
    return out


def weight_gradient(x: Array, dy: Array, out: Array) -> Array:
    """Return ``x.T @ dy`` in `out`."""
    if kernels.FAST_DENSE:
        kernels.dense(x, dy, None, out, left_transposed=True)
        return out
    return np.matmul(x.T, dy, out=out)


def input_gradient(dy: Array, weight: Array, out: Array) -> Array:
    """Return ``dy @ weight.T`` in `out`."""
    if kernels.FAST_DENSE:
        kernels.dense(dy, weight, None, out, right_transposed=True)
        return out
    return np.matmul(dy, weight.T, out=out)
