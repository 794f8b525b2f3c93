"""The kernels of activations, each instruction set against higher precision."""

import importlib

import numpy as np
import oracle
import pytest
from activations import ACTIVATIONS
from oracle import DTYPES, WIDE

ACCURATE = [name for name, activation in ACTIVATIONS.items() if activation.ulps]
SIZES = [*range(36), 47, 48, 49, 63, 64, 65, 70]


@pytest.fixture
def kernels(isa):
    """Return the kernels of each instruction set in turn."""
    return importlib.import_module(f"fastsm._kernels.{isa}.kernels")


def activate(kernels, name, x, slope=0.1):
    out = np.empty_like(x)
    kernels.activate(kernels.ACTIVATIONS[name], x, out, slope)
    return out


def activate_vjp(kernels, name, x, dy, slope=0.1):
    saved = x if ACTIVATIONS[name].by_input else activate(kernels, name, x, slope)
    out = np.empty_like(x)
    kernels.activate_vjp(kernels.ACTIVATIONS[name], saved, dy, out, slope)
    return out


def near(result, expected, scale, ulps):
    """Return whether results are within a multiple of eps times a scale."""
    return np.all(np.abs(result - expected) <= ulps * oracle.eps(result.dtype) * scale)


def arguments(dtype):
    """Return numbers of all sizes, many of them where activations bend or become subnormal."""
    rng = np.random.default_rng(0)
    lowest = 108 if dtype == np.float32 else 750
    tail = 15 if dtype == np.float32 else 39
    numbers = [
        rng.uniform(-6, 6, 2000),
        rng.uniform(-lowest, lowest, 500),
        rng.uniform(-tail, tail, 1000),
        rng.choice([-1, 1], 1000) * np.exp2(rng.uniform(np.finfo(dtype).minexp, 7, 1000)),
        [-1000, 1000, np.finfo(dtype).max, -np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal],
    ]
    return np.concatenate(numbers).astype(dtype)


@pytest.mark.parametrize("name", ACCURATE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_accurate(kernels, dtype, name):
    """Errors are within the bounds of the table, relative to the result, down to subnormal numbers."""
    x = arguments(dtype)
    activation = ACTIVATIONS[name]
    with np.errstate(over="ignore", under="ignore"):
        exact = (activation.exact or activation.formula)(x.astype(WIDE[dtype]))
    unit = oracle.unit(exact, dtype)
    assert oracle.error(activate(kernels, name, x), exact, unit).max() <= activation.ulps


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(kernels, dtype, name):
    x = np.array([0, np.inf, -np.inf, np.nan, 1000, -1000], dtype)
    values, slopes = activate(kernels, name, x), activate_vjp(kernels, name, x, np.ones_like(x))
    for result, expected in ((values, ACTIVATIONS[name].limits), (slopes, ACTIVATIONS[name].slopes)):
        known = [value is not None for value in expected]
        np.testing.assert_array_equal(result[known], np.array(expected, dtype)[known])


def test_signs_of_zeros(kernels):
    x = np.array([0.0, -0.0])
    for name in ["tanh", "gelu", "silu"]:
        assert list(np.signbit(activate(kernels, name, x))) == [False, True]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_vjps_are_derivatives(kernels, name):
    """Derivatives agree with central differences, whose error is some 1e-10 here."""
    x = np.linspace(-9, 9, 720) + 0.003
    step = 1e-4
    above, below = (activate(kernels, name, x + d * step) for d in (1, -1))
    dy = np.cos(x)
    result = activate_vjp(kernels, name, x, dy)
    np.testing.assert_allclose(result, dy * (above - below) / (2 * step), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ACCURATE)
def test_vjps_in_float32(kernels, name):
    x = np.linspace(-20, 20, 1001).astype(np.float32)
    dy = np.cos(x)
    expected = activate_vjp(kernels, name, x.astype(float), dy.astype(float))
    assert near(activate_vjp(kernels, name, x, dy), expected, 1, 4)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_size_and_in_place(kernels, dtype, name):
    """The same numbers give the same bits at any place in an array of any size, also in place."""
    x = np.random.default_rng(1).normal(scale=3, size=100).astype(dtype)
    dy = np.cos(x)
    all_values, all_slopes = activate(kernels, name, x), activate_vjp(kernels, name, x, dy)
    kind = kernels.ACTIVATIONS[name]
    for n in SIZES:
        for start in (0, 3):
            part = slice(start, start + n)
            inside = x.copy()
            kernels.activate(kind, inside[part], inside[part], 0.1)
            np.testing.assert_array_equal(inside[part], all_values[part])
            np.testing.assert_array_equal(inside[: part.start], x[: part.start])
            np.testing.assert_array_equal(inside[part.stop :], x[part.stop :])
            saved = (x if ACTIVATIONS[name].by_input else all_values)[part]
            inside = dy.copy()
            kernels.activate_vjp(kind, saved, inside[part], inside[part], 0.1)
            np.testing.assert_array_equal(inside[part], all_slopes[part])
            np.testing.assert_array_equal(inside[part.stop :], dy[part.stop :])
