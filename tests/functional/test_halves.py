"""16-bit floats: all of them widened, and float32 rounded to them, as in NumPy."""

import importlib

import numpy as np
import pytest
from layouts import lay_out

import fastsm
from fastsm import _kernels

ml_dtypes = pytest.importorskip("ml_dtypes")
KINDS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@pytest.fixture(params=_kernels.available)
def kernels(request):
    return importlib.import_module(f"fastsm._kernels.{request.param}.kernels")


def same(result, expected):
    """Check bits, where NaN is any NaN."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(result), nan)
    bits = f"u{result.dtype.itemsize}"
    np.testing.assert_array_equal(result[~nan].view(bits), expected[~nan].view(bits))


@pytest.mark.parametrize("kind", KINDS)
def test_every_half(kernels, kind):
    halves = np.arange(1 << 16, dtype=np.uint16)
    out = np.empty(1 << 16, np.float32)
    kernels.widen_halves(halves, out, kind == "bfloat16")
    with np.errstate(invalid="ignore"):  # some processors report the NaN that signal
        same(out, halves.view(KINDS[kind]).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_rounding(kernels, kind):
    """All halves, the middles between them, their neighbors, and random numbers."""
    with np.errstate(invalid="ignore"):
        halves = np.arange(1 << 15, dtype=np.uint16).view(KINDS[kind]).astype(np.float32)
    halves = halves[np.isfinite(halves)]
    middles = (halves[1:].astype(np.float64) / 2 + halves[:-1].astype(np.float64) / 2).astype(np.float32)
    exact = np.concatenate([halves, middles])
    anything = np.random.default_rng(0).integers(0, 1 << 32, 1 << 20, dtype=np.uint32).view(np.float32)
    special = np.float32([np.inf, np.nan, 65504, 65519.996, 65520, 65536, 3.4e38, 1e-45, 0])
    with np.errstate(all="ignore"):
        numbers = [exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(0))]
        numbers = np.concatenate([*numbers, anything, special])
        numbers = np.concatenate([numbers, -numbers])
        expected = numbers.astype(KINDS[kind])
    out = np.empty(len(numbers), np.uint16)
    kernels.narrow_halves(numbers, out, kind == "bfloat16")
    same(out.view(KINDS[kind]), expected)


def test_other_arrays(kernels):
    halves, singles = np.zeros(5, np.uint16), np.zeros(5, np.float32)
    with pytest.raises(TypeError, match="float32"):
        kernels.widen_halves(halves, singles.astype(float), False)
    with pytest.raises(TypeError, match="`halves` must be an array of uint16"):
        kernels.widen_halves(singles, singles, False)
    with pytest.raises(ValueError, match="`out` must have 5 elements, got 4"):
        kernels.narrow_halves(singles, halves[:4], False)
    singles.flags.writeable = False
    with pytest.raises((TypeError, ValueError)):
        kernels.widen_halves(halves, singles, False)


@pytest.mark.parametrize("layout", ["C", "F", "strided", "byte-swapped", "misaligned"])
@pytest.mark.parametrize("kind", KINDS)
def test_in_functions(kind, layout):
    """Each layout gives the float32 results, rounded."""
    x = (3 * np.random.default_rng(0).standard_normal((40, 30))).astype(KINDS[kind])
    given = lay_out(x, layout)
    single = x.astype(np.float32)
    for axis in (0, 1):
        same(fastsm.softmax(given, axis=axis), fastsm.softmax(single, axis=axis).astype(x.dtype))
        same(fastsm.logsumexp(given, axis=axis), fastsm.logsumexp(single, axis=axis).astype(x.dtype))
    labels = np.arange(40) % 30
    loss, grad = fastsm.cross_entropy_with_grad(given, labels)
    expected, d_single = fastsm.cross_entropy_with_grad(single, labels)
    assert loss == expected
    same(grad, d_single.astype(x.dtype))


def test_overflow_without_warning():
    x = np.float16([[60000, -60000]])
    assert fastsm.cross_entropy(x, [1]) == 2 * np.float32(x[0, 0])
    assert fastsm.logsumexp(np.full((1, 10**7), 65504, np.float16)) == np.inf
    assert fastsm.log_softmax(np.float16([[60000, -60000]]))[0, 1] == -np.inf
