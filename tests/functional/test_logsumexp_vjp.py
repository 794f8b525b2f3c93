"""logsumexp_vjp: dy exp(x - lse), against finite differences and mpmath; in place; wrong arguments."""

import math

import numpy as np
import oracle
import pytest
from checks import numeric_gradient, raises
from layouts import lay_out

import fastsm
from fastsm import reference
from fastsm.functional import _vjp

REAL = "float16, bfloat16, float32, float64, an integer or bool"
SHAPES = [((7,), 0), ((5, 1), -1), ((4, 10), -1), ((10, 4), 0), ((3, 32, 2), 1), ((0, 3), 1), ((3, 0), 1)]


@pytest.mark.parametrize(("shape", "axis"), [case for case in SHAPES if 0 not in case[0]])
def test_against_finite_differences(shape, axis):
    """It is the gradient of <dy, logsumexp(x)>."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    lse = fastsm.logsumexp(x, axis=axis)
    dy = rng.standard_normal(np.shape(lse))
    expected = numeric_gradient(lambda: np.sum(dy * fastsm.logsumexp(x, axis=axis)), x)
    np.testing.assert_allclose(fastsm.logsumexp_vjp(x, lse, dy, axis=axis), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("block", [_vjp.BLOCK, 16])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int64", "bool", "bfloat16"])
@pytest.mark.parametrize(("shape", "axis"), [*SHAPES, ((), 0), ((300, 130), 1), ((300, 130), 0)])
def test_values(monkeypatch, shape, axis, dtype, block):
    """Values, dtype and shape are those of the formula, for lse and dy with or without the axis."""
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    monkeypatch.setattr(_vjp, "BLOCK", block)
    rng = np.random.default_rng(1)
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    kept = np.asarray(reference.logsumexp(x.astype(float), axis=axis, keepdims=True))
    dy = rng.standard_normal(kept.shape)
    expected = dy * np.exp(x.astype(float) - kept)
    result = fastsm.logsumexp_vjp(x, kept, dy, axis=axis)
    floating = np.dtype(dtype).kind not in "ib"
    assert result.dtype == (np.dtype(dtype).newbyteorder("=") if floating else np.float64)
    assert result.shape == shape
    eps = {2: 2.0**-7, 4: 2.0**-23}.get(np.dtype(dtype).itemsize if floating else 8, 2.0**-52)
    # the difference is rounded, which counts relative to its size; then the exponential and the product
    np.testing.assert_allclose(result.astype(float), expected, rtol=32 * eps, atol=1e-7 * (eps > 1e-3))
    if shape:
        squeezed = kept.squeeze(axis), dy.squeeze(axis)
        np.testing.assert_array_equal(fastsm.logsumexp_vjp(x, *squeezed, axis=axis), result)
    np.testing.assert_allclose(
        np.asarray(reference.logsumexp_vjp(x, kept, dy, axis=axis), float), expected, rtol=32 * eps, atol=1e-7
    )


def test_against_mpmath():
    """A few values with 50 digits."""
    mpmath = pytest.importorskip("mpmath")
    x = np.array([0.0, -40.0, 1.5])
    with mpmath.workdps(50):
        total = mpmath.fsum(mpmath.exp(v) for v in x.tolist())
        expected = [float(3 * mpmath.exp(v) / total) for v in x.tolist()]
    np.testing.assert_allclose(fastsm.logsumexp_vjp(x, fastsm.logsumexp(x), 3.0), expected, rtol=2e-14)


@pytest.mark.parametrize("layout", ["C", "F", "gaps"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_in_place(dtype, layout):
    """`out` may be x, or any array; the result has the same bits, and inputs are not changed."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((30, 40)).astype(dtype)
    lse, dy = fastsm.logsumexp(x), rng.standard_normal(30)
    expected = fastsm.logsumexp_vjp(x, lse, dy)
    y = np.zeros((30, 80), dtype)[:, ::2] if layout == "gaps" else np.empty((30, 40), dtype, layout)
    y[...] = x
    assert fastsm.logsumexp_vjp(y, lse, dy, out=y) is y
    np.testing.assert_array_equal(y, expected)
    out = np.empty_like(y)
    assert fastsm.logsumexp_vjp(x, lse, dy, out=out, num_threads=2) is out
    np.testing.assert_array_equal(out, expected)


def test_rows_independent_of_batch():
    """Each row has the same bits alone and among others, and for a part of the classes."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((500, 130)).astype(np.float32)
    lse, dy = fastsm.logsumexp(x), rng.standard_normal(500)
    whole = fastsm.logsumexp_vjp(x, lse, dy)
    for i in (0, 7, 499):
        np.testing.assert_array_equal(fastsm.logsumexp_vjp(x[i], lse[i], dy[i]), whole[i])
    np.testing.assert_array_equal(fastsm.logsumexp_vjp(x[:, :60], lse, dy), whole[:, :60])


def test_special_values():
    """-inf has no gradient; infinite rows are NaN where infinities are subtracted; no warnings."""
    inf, nan = math.inf, math.nan
    with np.errstate(all="raise"):
        for x, dy, expected in [
            ([-inf, 0.0], 2.0, [0.0, 2.0]),
            ([-inf, -inf], 1.0, [nan, nan]),
            ([inf, 0.0], 1.0, [nan, 0.0]),
            ([nan, 0.0], 1.0, [nan, nan]),
            ([1000.0, -1000.0], 1.0, [1.0, 0.0]),
        ]:
            result = fastsm.logsumexp_vjp(x, fastsm.logsumexp(x), dy)
            np.testing.assert_array_equal(result, expected)
            np.testing.assert_array_equal(reference.logsumexp_vjp(x, fastsm.logsumexp(x), dy), expected)
        assert fastsm.logsumexp_vjp(np.float16([0]), -100.0, 1.0) == np.inf


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"axis": 2}, np.exceptions.AxisError, "`axis` must be from -2 to 1, got 2"),
        (
            {"axis": None},
            TypeError,
            "`axis` must be an integer, got None: fastsm.special takes None, for all",
        ),
        ({"axis": (0, 1)}, TypeError, "`axis` must be an integer, got (0, 1): fastsm.special takes several"),
        ({"num_threads": 0}, ValueError, "`num_threads` must be an integer of at least 1, got 0"),
        ({"lse": np.zeros(3)}, ValueError, "`lse` must have shape (2,), got (3,)"),
        ({"lse": np.zeros((1, 2))}, ValueError, "`lse` must have shape (2,), got (1, 2)"),
        ({"dy": np.zeros((2, 3))}, ValueError, "`dy` must have shape (2,), got (2, 3)"),
        ({"dy": 1.0}, ValueError, "`dy` must have shape (2,), got ()"),
        ({"x": [["a"]]}, TypeError, f"`x` must have dtype {REAL}, got <U1"),
        ({"lse": None}, TypeError, f"`lse` must have dtype {REAL}, got object"),
        ({"dy": [1j, 1]}, TypeError, f"`dy` must have dtype {REAL}, got complex128"),
        ({"dy": np.ma.zeros(2)}, TypeError, "`dy` must be an ordinary array, got a masked array"),
        ({"out": np.zeros((2, 4))}, ValueError, "`out` must have shape (2, 3), got (2, 4)"),
        ({"out": np.zeros((2, 3), "f4")}, TypeError, "`out` must have dtype float64, got float32"),
        (
            {"out": lay_out(np.zeros((2, 3)), "read-only")},
            ValueError,
            "`out` must be writeable, got a read-only",
        ),
    ],
)
def test_wrong_arguments(changed, error, message):
    """Each wrong argument has its message."""
    given = {"x": np.zeros((2, 3)), "lse": np.zeros(2), "dy": np.zeros(2), **changed}
    with pytest.raises(error) as caught:
        fastsm.logsumexp_vjp(given.pop("x"), given.pop("lse"), given.pop("dy"), **given)
    assert str(caught.value).startswith(oracle.native(message))


def test_overlaps():
    """`out` may be x itself, and must share no memory otherwise."""
    memory = np.zeros(12)
    x = memory[:6].reshape(2, 3)
    for name, given in {
        "x": (memory[1:7].reshape(2, 3), np.zeros(2), np.zeros(2)),
        "lse": (np.zeros((2, 3)), memory[:2], np.zeros(2)),
        "dy": (np.zeros((2, 3)), np.zeros(2), memory[4:6]),
    }.items():
        unless = " unless it is `x` itself" if name == "x" else ""
        message = f"`out` must not overlap `{name}`{unless}, got an array that shares its memory"
        with raises(ValueError, message):
            fastsm.logsumexp_vjp(*given, out=x)
        assert not memory.any()
