"""fastsm.special against mpmath and SciPy: any shape, axes, order of memory, dtype and weights."""

import math
import re
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from teams import sharing

import fastsm
from fastsm import reference, special

mpmath = pytest.importorskip("mpmath")
pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

NUMBERS = [0.0, 1.0, -1.0, 2.5, -40.0, 700.0, 1000.0, -1000.0, -math.inf]
WEIGHTS = [1.0, -1.0, 0.0, 0.5, 3.0, -2.0, 1e-3, 1e200, 1e-200]
DTYPES = [np.float16, np.float32, np.float64, np.int64, np.int8, np.bool_]
PAGE = Path(__file__).parents[2] / "docs" / "use" / "log_space.md"


# ---- the oracle ----


def exact(a, b):
    """Return the logarithm of |sum b exp(a)|, its sign, and its condition."""
    with mpmath.workdps(1500):
        terms = [
            mpmath.mpf(float(w)) * mpmath.exp(mpmath.mpf(float(x)))
            for x, w in zip(a, b, strict=True)
            if w and x != -math.inf
        ]
        total = mpmath.fsum(terms)
        if total == 0:
            return -math.inf, 0.0, 1.0
        condition = mpmath.fsum(map(abs, terms)) / abs(total)
        return float(mpmath.log(abs(total))), float(mpmath.sign(total)), float(min(condition, 1e300))


@st.composite
def calls(draw):
    """Draw an array in some order of memory, axes, and weights or None."""
    shape = draw(st.lists(st.integers(1, 4), max_size=4).map(tuple))
    dtype = draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    numbers = np.array([x for x in NUMBERS if np.dtype(dtype).kind == "f" or abs(x) < 100])
    steps = tuple(draw(st.sampled_from([1, 1, 1, 2, -1])) for _ in shape)
    base = rng.choice(numbers, [n * abs(s) for n, s in zip(shape, steps, strict=True)]).astype(dtype)
    order = draw(st.permutations(range(len(shape))))
    a = np.array(base.transpose(order), order="C").transpose(np.argsort(order).astype(int))
    a = a[tuple(slice(None, None, s) for s in steps)].reshape(shape)
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1) if shape else st.none())
    if shape and draw(st.booleans()):
        several = draw(st.lists(st.integers(0, len(shape) - 1), unique=True))
        axis = tuple(k - draw(st.sampled_from([0, len(shape)])) for k in several)
    b = None
    if draw(st.booleans()):
        of = [draw(st.sampled_from([n, 1])) for n in shape][draw(st.integers(0, len(shape))) :]
        wide = draw(st.booleans())
        b = rng.choice(WEIGHTS if wide else WEIGHTS[:-2], of).astype(float if wide else np.float32)
    return a, axis, b, draw(st.booleans())


def rows_of(a, axis):
    """Return the rows over which a call sums, (shape, C), and their axes."""
    a = np.atleast_1d(a)
    axes = range(a.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    axes = sorted(k % a.ndim for k in axes)
    kept = [k for k in range(a.ndim) if k not in axes]
    moved = a.transpose(kept + axes)
    return moved.reshape([a.shape[k] for k in kept] + [math.prod(a.shape[k] for k in axes)]), axes


@settings(max_examples=200, deadline=None)
@given(calls())
def test_logsumexp_is_exact(call):
    """Values and signs are those of mpmath; shape and dtype are promised."""
    a, axis, b, keepdims = call
    value, sign = special.logsumexp(a, axis, b, keepdims, True)
    dtype = a.dtype if a.dtype.kind == "f" else np.dtype(float)
    dtype = dtype if b is None else np.result_type(a, b)
    dtype = dtype if dtype.kind == "f" else np.dtype(float)
    assert value.dtype == sign.dtype == dtype
    wide, weights = np.broadcast_arrays(a, 1.0 if b is None else b)
    rows, axes = rows_of(wide, axis)
    weights, _ = rows_of(weights, axis)
    assert value.shape == (
        tuple(1 if k in axes else n for k, n in enumerate(np.atleast_1d(wide).shape))
        if keepdims
        else rows.shape[:-1]
    )
    plain = special.logsumexp(a, axis, b, keepdims)
    np.testing.assert_array_equal(plain, np.where(sign < 0, np.nan, value))
    value, sign = np.reshape(value, rows.shape[:-1]), np.reshape(sign, rows.shape[:-1])
    eps = float(np.finfo(dtype).eps)
    for at in np.ndindex(rows.shape[:-1]):
        expected, expected_sign, condition = exact(rows[at], weights[at])
        if condition * eps > 1e-3:  # nothing but rounding errors is left
            continue
        assert sign[at] == expected_sign
        # rounding of the result and of the shift, and some roundings of each term; weights beyond 2**450 add
        # log(weight), some 500 eps of float64, to the exponent
        tolerance = 4 * eps * (1 + abs(expected)) + 2e-15 * (500 if b is not None else 4) * condition
        tolerance += 8 * eps * condition
        with np.errstate(over="ignore"):
            expected = float(dtype.type(expected))
        assert value[at] == expected or abs(float(value[at]) - expected) <= tolerance


@settings(max_examples=100, deadline=None)
@given(calls())
def test_softmax_is_that_of_rows(call):
    """softmax and log_softmax over axes are those of the reference over the flattened axes."""
    a, axis, _, _ = call
    rows, axes = rows_of(a, axis)
    eps = float(np.finfo(a.dtype if a.dtype.kind == "f" else float).eps)
    for name in ("softmax", "log_softmax"):
        y = getattr(special, name)(a, axis=axis)
        expected = np.asarray(getattr(reference, name)(rows))
        assert (y.shape, y.dtype) == (a.shape, expected.dtype)
        np.testing.assert_allclose(
            rows_of(y, axes)[0], expected, rtol=8 * eps, atol=1e-7 if a.dtype == np.float16 else 1e-30
        )


@settings(max_examples=100, deadline=None)
@given(calls())
def test_scipy_agrees(call):
    """Where SciPy gives a number, it is the same but for rounding."""
    scipys = pytest.importorskip("scipy.special")
    a, axis, _, keepdims = call
    a = a.astype(np.float64)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name in ("softmax", "log_softmax"):
            theirs, ours = getattr(scipys, name)(a, axis), getattr(special, name)(a, axis)
            assert type(theirs) is type(ours)
            np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-15)
        theirs, ours = scipys.logsumexp(a, axis, None, keepdims), special.logsumexp(a, axis, None, keepdims)
        assert (type(theirs), theirs.shape) == (type(ours), ours.shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-15)


# ---- the page's table of differences ----


def lines():
    """Return call, SciPy's result and ours of each line."""
    text = PAGE.read_text("utf-8") if PAGE.exists() else ""
    return re.findall(r"^\| `(\w*(?:softmax|logsumexp)\(.*?)` \| `(.*?)` \| `(.*?)` \|", text, re.MULTILINE)


def evaluated(library, call):
    """Return a result as the page shows it."""
    names = {
        "inf": np.inf,
        "nan": np.nan,
        "zeros": np.zeros,
        "masked": np.ma.array,
        "int8": np.int8,
        "uint8": np.uint8,
    }
    names |= {name: getattr(library, name) for name in ("logsumexp", "softmax", "log_softmax")}
    try:
        result = eval(call, names)  # of our own page
    except Exception as error:
        return type(error).__name__
    return repr(result.item() if isinstance(result, np.generic) else result)


@pytest.mark.skipif(not PAGE.exists(), reason="no source tree")
def test_page_lists_differences():
    """There is a table."""
    assert len(lines()) >= 20


@pytest.mark.parametrize(("call", "theirs", "ours"), lines())
def test_difference(call, theirs, ours):
    """Each line of the table holds."""
    assert evaluated(special, call) == ours
    scipy = pytest.importorskip("scipy")
    if scipy.__version__.startswith("1.17."):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert evaluated(pytest.importorskip("scipy.special"), call) == theirs


# ---- weights ----

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("a", "b", "value", "sign"),
    [
        ([INF, 1.0], [0, 1], 1.0, 1),
        ([NAN, 1.0], [0, 1], 1.0, 1),
        ([INF, 0.0], [-1, 1], INF, -1),
        ([INF, INF], [1, -1], NAN, NAN),
        ([INF, INF], [2, 1], INF, 1),
        ([0.0], [INF], INF, 1),
        ([0.0, 1.0], [-INF, 1], INF, -1),
        ([0.0, 0.0], [INF, -INF], NAN, NAN),
        ([-INF], [INF], NAN, NAN),
        ([-INF, 0.0], [-1, 1], 0.0, 1),
        ([1.0, 0.0], [NAN, 1], NAN, NAN),
        ([NAN, 0.0], [1, 1], NAN, NAN),
        ([-INF, -INF], [1, -1], -INF, 0),
        ([999.0, 1000.0, 1000.0, 999.0, 5.0], [1, 1, -1, -1, -2], 5 + math.log(2), -1),
        ([0.0, 1000.0], [1e300, 1e-300], 300 * math.log(10), 1),
        ([0.0], [5e-324], math.log(5e-324), 1),
        ([0.0, -40.0], [1, 1], math.exp(-40), 1),
    ],
)
def test_special_weights(a, b, value, sign):
    """Infinite, zero and extreme weights, and sums that cancel; also in one of many chunks of a row."""
    with np.errstate(all="raise"):
        result = special.logsumexp(a, b=b, return_sign=True)
        np.testing.assert_allclose(result, (value, sign), rtol=1e-15)
        padded = np.concatenate([np.full(9000, NAN), a, np.full(5000, INF)])
        weights = np.concatenate([np.zeros(9000), b, np.zeros(5000)])
        for x, w in ((padded, weights), (padded[::-1], weights[::-1])):
            result = special.logsumexp(x, b=w, return_sign=True)
            np.testing.assert_allclose(result, (value, sign), rtol=1e-15)


def test_many_sums_cancel():
    """Rows whose largest terms cancel keep the others, each row on its own."""
    rng = np.random.default_rng(0)
    top, rest = rng.uniform(900, 1000, (2, 50000))
    rest[::2] = -INF
    x = np.stack([top, rest - 900, top, top + 50, top + 50], axis=1)
    value, sign = special.logsumexp(x, axis=1, b=[1, -3, -1, 2, -2], return_sign=True)
    np.testing.assert_allclose(value, rest - 900 + math.log(3), rtol=1e-14)
    np.testing.assert_array_equal(sign, np.where(rest > 0, -1, 0))


def test_dtypes_of_weights():
    """Python's numbers take the dtype of the array, arrays are promoted."""
    x = np.zeros(2, np.float32)
    for b in (True, 2, 2.0, np.ones(2, bool), np.float32(1)):
        assert special.logsumexp(x, b=b).dtype == np.float32
    for b in ([1, 2], np.ones(2), np.ones(2, int), np.float64(1)):
        assert special.logsumexp(x, b=b).dtype == np.float64
    assert special.logsumexp(1.0, b=x + 1).dtype == np.float32
    assert special.logsumexp([1, 2], b=True).dtype == np.float64
    assert special.logsumexp(np.zeros(2), b=np.ones((3, 1)), axis=1).shape == (3,)


def test_keywords_and_scalars():
    """The names of the arguments are SciPy's; a number is an array of one."""
    assert special.logsumexp(a=3.0, axis=0) == 3
    assert special.softmax(x=3, axis=-1) == 1
    assert special.log_softmax(x=np.float32(3)).dtype == np.float32
    np.testing.assert_array_equal(special.logsumexp(1.0, keepdims=True), [1.0])
    np.testing.assert_array_equal(special.logsumexp([[1.0, 2.0]], axis=()), [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (np.exceptions.AxisError, "`axis` must be from -1 to 0, got 1", ([1.0], 1)),
        (ValueError, "`axis` must name each axis once, got (0, -2)", (np.zeros((2, 2)), (0, -2))),
        (TypeError, "`axis` must be an integer, got 1.5", ([1.0], (1.5,))),
        (ValueError, "`b` must have a shape that broadcasts with (2,), got (3,)", ([0.0] * 2, 0, [1] * 3)),
    ],
)
def test_wrong_arguments(error, message, arguments):
    """Errors name the argument."""
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        special.logsumexp(*arguments)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3), (2, 0, 3)])
def test_empty(shape):
    """Empty sums are -inf with sign 0, also weighted; softmax of nothing is empty."""
    x = np.zeros(shape, np.float32)
    for axis in (None, -1, 0, tuple(range(len(shape)))):
        for b in (None, 2.0, np.ones(shape, np.float32)):
            value, sign = special.logsumexp(x, axis, b, True, True)
            assert value.dtype == np.float32
            assert np.all(value == -INF)
            assert not sign.any()
            assert value.shape == np.sum(x, axis, keepdims=True).shape
        assert special.softmax(x, axis).shape == special.log_softmax(x, axis).shape == shape


# ---- large arrays: blocks, memory, invariances ----

LARGE = np.random.default_rng(0).standard_normal((40, 60, 70))


@pytest.mark.parametrize("axis", [None, 0, 1, 2, (0, 1), (1, 2), (0, 2), (2, 0), (0, 1, 2)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("order", ["C", "F", "gaps"])
def test_large(axis, dtype, order, monkeypatch):
    """Results do not depend on blocks but for rounding; rows not on other rows at all."""
    from fastsm.special import _rows, _weighted

    x = (4 * LARGE).astype(dtype)
    x = np.repeat(x, 2, axis=-1)[..., ::2] if order == "gaps" else np.array(x, order=order)
    b = np.random.default_rng(1).choice([-1.0, 1.0, 3.0, 0.0], (60, 70)).astype(np.float32)
    rows, _ = rows_of(x, axis)
    results = special.logsumexp(x, axis), *special.logsumexp(x, axis, b, return_sign=True)
    rtol = 2e-3 if dtype == np.float16 else 1e-5 if dtype == np.float32 else 1e-12
    wide = rows.astype(float)
    np.testing.assert_allclose(results[0], reference.logsumexp(wide), rtol=rtol)
    weights, _ = rows_of(np.broadcast_to(b, x.shape), axis)
    top = wide.max(axis=-1, keepdims=True)
    total = np.sum(weights * np.exp(wide - top), axis=-1)
    magnitude = np.sum(np.abs(weights) * np.exp(wide - top), axis=-1)
    recovered = results[2] * np.exp(results[1].astype(float) - top[..., 0])
    assert np.all(np.abs(recovered - total) <= 8 * rtol * magnitude)
    np.testing.assert_allclose(
        rows_of(special.softmax(x, axis), axis)[0], reference.softmax(wide), rtol=5 * rtol, atol=1e-7
    )
    with sharing():
        np.testing.assert_array_equal(special.logsumexp(x, axis), results[0])
    monkeypatch.setattr(_rows, "BLOCK", 1 << 14)  # other kept rows in a block
    monkeypatch.setattr(_weighted, "BLOCK", 1 << 14)
    if rows.shape[-1] <= 1 << 12:
        again = special.logsumexp(x, axis), *special.logsumexp(x, axis, b, return_sign=True)
        for one, other in zip(results, again, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: special.logsumexp(x),
        lambda x: special.logsumexp(x.T),
        lambda x: special.logsumexp(x.T, axis=0),
        lambda x: special.logsumexp(x.reshape(20, 1000, 100), axis=(0, 2)),
        lambda x: special.logsumexp(x.reshape(20, 1000, 100).transpose(1, 2, 0), axis=(1, 0)),
        lambda x: special.logsumexp(x[:, ::2]),
        lambda x: special.logsumexp(x.view(np.int64), axis=1),
        lambda x: special.logsumexp(x, b=np.arange(1000.0), axis=1),
        lambda x: special.logsumexp(x, b=np.arange(2000.0)[:, None], axis=0),
    ],
)
def test_memory(call):
    """No temporary array has the size of the input."""
    x = np.zeros((2000, 1000))
    tracemalloc.start()
    try:
        call(x)
        assert tracemalloc.get_traced_memory()[1] < 0.45 * x.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1), ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reference(axis, keepdims):
    """The reference agrees, with weights and without."""
    x = LARGE[:, :, 0].copy()
    x[0], x[1, 1] = -INF, INF
    signed = np.random.default_rng(2).choice([-1.0, 0.0, 2.0], (40, 1))
    for a, b in ((x, None), (x, signed), (x.astype(np.float32), np.float32(signed)), (LARGE[0, 0], True)):
        if axis == 1 and a.ndim == 1:
            continue
        options = {"axis": None if a.ndim == 1 else axis, "b": b, "keepdims": keepdims}
        for return_sign in (False, True):
            ours = special.logsumexp(a, return_sign=return_sign, **options)
            theirs = reference.special_logsumexp(a, return_sign=return_sign, **options)
            for one, other in zip(*([(r,), r][return_sign] for r in (ours, theirs)), strict=True):
                assert (one.dtype, one.shape) == (other.dtype, other.shape)
                np.testing.assert_allclose(one, other, rtol=1e-5 if a.dtype == np.float32 else 1e-12)


def test_same_bits_as_one_axis():
    """Without weights it is the kernel of fastsm.logsumexp."""
    x = LARGE.reshape(-1, 70)
    np.testing.assert_array_equal(special.logsumexp(x, 1), fastsm.logsumexp(x))
    np.testing.assert_array_equal(special.softmax(x, [1]), fastsm.softmax(x))
    np.testing.assert_array_equal(special.logsumexp(x.T), fastsm.logsumexp(x.reshape(-1)))
