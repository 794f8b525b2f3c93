"""Many classes, many rows, more than 2^31 elements: sums stay accurate and indices do not overflow."""

import functools
import os

import numpy as np
import oracle
import pytest
from oracle import DTYPES

import fastsm

# exp 1 ULP, 1 / sum and the product half a ULP each, and a ULP of a factor may be two of the product.
ULPS = 4


@functools.cache
def million(dtype):
    """Return two rows of a million logits, and the exact softmax, log_softmax and logsumexp."""
    x = (3 * np.random.default_rng(0).standard_normal((2, 1_000_000))).astype(dtype)
    return x, [oracle.softmax(x), oracle.log_softmax(x), oracle.logsumexp(x)]


@functools.cache
def columns(dtype, width):
    """Return 1e5 classes along axis 0 of a matrix, and the exact results."""
    x = (3 * np.random.default_rng(width).standard_normal((width, 100_000))).astype(dtype)
    exact = [oracle.softmax(x).T, oracle.log_softmax(x).T, oracle.logsumexp(x)]
    return np.ascontiguousarray(x.T), exact


def check(x, axis, exact):
    """Compare softmax, log_softmax and logsumexp along an axis with exact results."""
    for function, expected in zip((fastsm.softmax, fastsm.log_softmax, fastsm.logsumexp), exact, strict=True):
        result = function(x, axis=axis)
        assert oracle.error(result, expected, oracle.unit(expected, x.dtype)).max() <= ULPS, function


@pytest.mark.parametrize("dtype", DTYPES)
def test_million_classes(isa, dtype):
    """Rows of a million: within 4 ULP."""
    x, exact = million(dtype)
    check(x, -1, exact)


@pytest.mark.parametrize("width", [1, 3, 17])
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_first_axis(isa, dtype, width):
    """1e5 classes along axis 0, where a plain running sum loses 130 ULP: within 4."""
    x, exact = columns(dtype, width)
    check(x, 0, exact)


@functools.cache
def million_products(dtype):
    """Return outputs, incoming gradients, the exact VJPs, and the errors that rounding explains."""
    x, (y, log_y, _) = million(dtype)
    dy = np.random.default_rng(1).standard_normal(x.shape).astype(dtype)
    g, p = dy.astype(y.dtype), y.astype(dtype).astype(y.dtype)
    dz = p * (g - np.sum(p * g, axis=-1, keepdims=True))
    size = p * (8 * np.sum(np.abs(p * g), axis=-1, keepdims=True) + 2 * np.abs(g))
    cases = [(fastsm.softmax_vjp, y.astype(dtype), dz, oracle.eps(dtype) * size)]
    p = np.exp(log_y.astype(dtype).astype(y.dtype))
    dz = g - p * np.sum(g, axis=-1, keepdims=True)
    size = 8 * p * np.sum(np.abs(g), axis=-1, keepdims=True) + 2 * np.abs(g)
    return dy, [*cases, (fastsm.log_softmax_vjp, log_y.astype(dtype), dz, oracle.eps(dtype) * size)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_vjp_of_million_classes(isa, dtype):
    """The sums in the VJPs are as accurate over a million classes."""
    dy, cases = million_products(dtype)
    for vjp, output, exact, tolerance in cases:
        assert oracle.error(vjp(output, dy), exact, tolerance).max() <= 1, vjp


@functools.cache
def million_losses(dtype, smoothing):
    """Return labels for the rows of a million, exact losses and gradients, and p + t."""
    x, (p, _, _) = million(dtype)
    labels = np.array([5, 999_999])
    t = oracle.soft_targets(labels, x.shape[1], 1, smoothing)
    return labels, *oracle.cross_entropy(x, t), p + t.astype(p.dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_million_classes(isa, dtype, smoothing):
    """Loss and gradient over a million classes."""
    x, _ = million(dtype)
    labels, losses, grads, size = million_losses(dtype, smoothing)
    loss, grad = fastsm.cross_entropy_with_grad(x, labels, label_smoothing=smoothing, reduction="none")
    assert oracle.error(loss, losses, 8 * oracle.eps(dtype) * losses).max() <= 1
    assert oracle.error(grad, grads, 8 * oracle.eps(dtype) * size).max() <= 1


@functools.cache
def many_losses(dtype):
    """Return 200,000 rows of 10, labels, weights, and the exact losses."""
    rng = np.random.default_rng(0)
    x = (3 * rng.standard_normal((200_000, 10))).astype(dtype)
    labels = rng.integers(0, 10, len(x))
    weight = rng.uniform(0, 2, len(x)).astype(dtype)
    return x, labels, weight, oracle.cross_entropy(x, oracle.one_hot(labels, 10, dtype))[0]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_of_many_losses(isa, dtype, threads):
    """The mean of 200,000 losses is within 4 ULP, weighted or not; in float32 a plain sum loses hundreds."""
    x, labels, weight, losses = many_losses(dtype)
    wide = losses.dtype
    mean = fastsm.cross_entropy(x, labels, num_threads=threads)
    exact = np.sum(losses) / len(x)
    assert oracle.error(mean, exact, oracle.unit(exact, dtype)) <= ULPS
    mean = fastsm.cross_entropy(x, labels, sample_weight=weight, num_threads=threads)
    exact = np.sum(losses * weight) / np.sum(weight, dtype=wide)
    assert oracle.error(mean, exact, oracle.unit(exact, dtype)) <= ULPS


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("count", [10**6, 2**24 + 2**20])
def test_very_many_equal_logits(isa, count, axis):
    """Equal float32 logits, the worst for sums; beyond 2^24, adding 1 to a float32 changes nothing."""
    d = np.float32(1 - np.log(count))
    x = np.full((1, count) if axis == -1 else (count, 2), d)
    x[0, 0] = 0
    # one row or column with a maximum, and (axis 0) one without
    others = (count - 1) * np.exp(float(d))
    exact = np.array([np.log1p(others), float(d) + np.log(count)])[: 1 if axis == -1 else 2]
    result = fastsm.logsumexp(x, axis=axis)
    # d + log(count): two numbers of some 16 that cancel
    size = np.array([np.log1p(others), np.log(count)])[: len(exact)]
    assert oracle.error(result, exact, oracle.unit(size, np.float32)).max() <= ULPS
    y = fastsm.softmax(x, axis=axis, out=x)
    exact = np.array([np.exp(float(d)) / (1 + others), 1 / count])[: len(exact)]
    last = y[-1, -1:] if axis == -1 else y[-1]
    assert oracle.error(last, exact, oracle.unit(exact, np.float32)).max() <= ULPS


@functools.cache
def many_pairs():
    """Return 2 million rows of 2, the exact smaller probability of each, labels, and the exact mean loss."""
    x = np.random.default_rng(0).standard_normal((2_000_000, 2), np.float32)
    x *= 3
    d = (x - x.max(axis=-1, keepdims=True)).astype(np.float64)
    other = np.exp(d.min(axis=-1))
    labels = np.arange(len(x)) % 2
    loss = np.mean(np.log1p(other) - d[np.arange(len(x)), labels])
    return x, other / (1 + other), labels, loss


def test_two_million_rows_of_two(isa):
    """2 million rows of 2: softmax and the mean loss."""
    x, smaller, labels, loss = many_pairs()
    y = fastsm.softmax(x)
    # 4 ULP, of which one is at most eps
    error = np.abs(y.min(axis=-1) - smaller)
    assert np.all(error <= ULPS * oracle.eps(np.float32) * smaller)
    error = np.abs(y.max(axis=-1) - (1 - smaller))
    assert error.max() <= ULPS * oracle.eps(np.float32)
    assert oracle.error(fastsm.cross_entropy(x, labels), loss, oracle.unit(loss, np.float32)) <= ULPS


# ---- more than 2^31 elements ----

HUGE = 2**31 + 2**20


def available_gigabytes():
    """Return the available memory of this machine; 0 if unknown."""
    try:
        with open("/proc/meminfo") as file:
            [line] = [line for line in file if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        return 0
    return int(line.split()[1]) / 2**20


def needs_gigabytes(count):
    """Return the marks of a test that runs only on request and with enough memory."""
    asked = bool(os.environ.get("FASTSM_TEST_MEMORY"))
    skip = pytest.mark.skipif(
        not asked or available_gigabytes() < count,
        reason=f"needs FASTSM_TEST_MEMORY=1 and {count} GB of memory",
    )
    return lambda test: pytest.mark.memory(skip(test))


@needs_gigabytes(10)
def test_huge_row(isa):
    """One row of more than 2^31 float32 elements, in place."""
    x = np.zeros(HUGE, np.float32)
    x[-1] = 20
    total = HUGE - 1 + np.exp(20.0)
    assert fastsm.logsumexp(x) == pytest.approx(np.log(total), rel=1e-6)
    assert fastsm.cross_entropy(x, HUGE - 1) == pytest.approx(np.log(total) - 20, rel=1e-6)
    assert fastsm.softmax(x, out=x) is x
    assert x[-1] == pytest.approx(np.exp(20.0) / total, rel=1e-6)
    x[-1] = 1 / total
    assert x.min() == x.max() == pytest.approx(1 / total, rel=1e-6)


@needs_gigabytes(10)
@pytest.mark.parametrize("shape", [(2**27 + 2**16, 16), (2**21 + 2**10, 1024)])
def test_huge_batch(isa, shape):
    """More than 2^31 elements in many rows, in place: the last rows are right."""
    x = np.zeros(shape, np.float32)
    x[-3:, -1] = [1, 2, 3]
    expected = fastsm.softmax(x[-3:].copy())
    fastsm.softmax(x, out=x)
    assert np.array_equal(x[-3:], expected)
    assert x[:-3].min() == x[:-3].max() == 1 / shape[1]


@needs_gigabytes(10)
@pytest.mark.parametrize("shape", [(16, 2**27 + 2**16), (2**27 + 2**16, 16)])
def test_huge_first_axis(isa, shape):
    """More than 2^31 elements with the classes along axis 0, few or many, in place."""
    x = np.zeros(shape, np.float32)
    fastsm.softmax(x, axis=0, out=x)
    assert x.min() == x.max() == pytest.approx(1 / shape[0], rel=1e-6)


@needs_gigabytes(12)
def test_huge_cross_entropy(isa):
    """Loss and gradient over more than 2^31 elements, in place."""
    shape = (2**27 + 2**16, 16)
    x = np.zeros(shape, np.float32)
    labels = np.zeros(shape[0], np.int64)
    labels[-1] = 15
    x[-1, 0] = 30
    loss, grad = fastsm.cross_entropy_with_grad(x, labels, reduction="sum", out=x)
    assert grad is x
    assert loss == pytest.approx((shape[0] - 1) * np.log(16) + 30, rel=1e-6)
    assert np.all(grad[:-1, 0] == -15 / 16)
    assert np.all(grad[:-1, 1:] == 1 / 16)
    assert grad[-1, 15] == -1
    assert grad[-1, 0] == pytest.approx(1, rel=1e-6)
