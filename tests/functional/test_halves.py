"""Numbers of 16 bits: every one of them, and how numbers of 32 bits are rounded to them, as NumPy has it."""

import importlib

import numpy as np
import oracle
import pytest

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
    """All halves and the numbers between them, those next to these, and any others."""
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


@pytest.mark.parametrize("order", ["C", "F", "strided", "swapped", "misaligned"])
@pytest.mark.parametrize("kind", KINDS)
def test_in_functions(kind, order):
    """Any layout gives what float32 gives, rounded."""
    x = (3 * np.random.default_rng(0).standard_normal((40, 30))).astype(KINDS[kind])
    given = x.copy(order="F" if order == "F" else "C")
    if order == "strided":
        given = np.repeat(x, 2, axis=1)[:, ::2]
    if order == "misaligned":
        given = np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    if order == "swapped":
        if kind == "bfloat16":
            pytest.skip("has one order of bytes")
        given = x.astype(oracle.SWAPPED + "f2")
    single = x.astype(np.float32)
    for axis in (0, 1):
        same(fastsm.softmax(given, axis=axis), fastsm.softmax(single, axis=axis).astype(x.dtype))
        same(fastsm.logsumexp(given, axis=axis), fastsm.logsumexp(single, axis=axis).astype(x.dtype))
    labels = np.arange(40) % 30
    loss, grad = fastsm.cross_entropy_with_grad(given, labels)
    expected, d_single = fastsm.cross_entropy_with_grad(single, labels)
    assert loss == expected.astype(x.dtype)
    same(grad, d_single.astype(x.dtype))


def test_overflow_without_warning():
    x = np.float16([[60000, -60000]])
    assert fastsm.cross_entropy(x, [1]) == np.inf
    assert fastsm.cross_entropy(x, [1], reduction="none") == np.inf
    assert fastsm.logsumexp(np.full((1, 10**7), 65504, np.float16)) == np.inf
    assert fastsm.log_softmax(np.float16([[60000, -60000]]))[0, 1] == -np.inf
