"""The kernels of layers, optimizers and batches, each instruction set against higher precision."""

import importlib
import math

import numpy as np
import oracle
import pytest
from optimizers import adam, rmsprop, sgd
from oracle import DTYPES

SIZES = [*range(36), 47, 48, 49, 63, 64, 65, 70]


@pytest.fixture
def kernels(isa):
    """Return the kernels of each instruction set in turn."""
    return importlib.import_module(f"fastsm._kernels.{isa}.kernels")


def near(result, expected, scale, ulps):
    """Return whether results are within `ulps` times eps times a scale."""
    return np.all(np.abs(result - expected) <= ulps * oracle.eps(result.dtype) * scale)


# ---- biases and sums over rows ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_add_bias(kernels, dtype):
    rng = np.random.default_rng(2)
    for columns in SIZES:
        for rows in (0, 1, 2, 7, 40):
            around = rng.standard_normal(rows * columns + 8).astype(dtype)
            bias = rng.standard_normal(columns).astype(dtype)
            before = around.copy()
            z = around[4 : 4 + rows * columns].reshape(rows, columns)
            kernels.add_bias(z, bias)
            np.testing.assert_array_equal(z, before[4:-4].reshape(rows, columns) + bias)
            np.testing.assert_array_equal(
                around[[0, 1, 2, 3, -4, -3, -2, -1]], before[[0, 1, 2, 3, -4, -3, -2, -1]]
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_column_sums(kernels, dtype):
    rng = np.random.default_rng(3)
    for columns in [*SIZES, 127, 128, 600, 1024, 1025, 2100]:
        for rows in (0, 1, 2, 7, 8, 9, 40, 143):
            x = rng.standard_normal((rows, columns)).astype(dtype)
            around = np.full(columns + 2, oracle.GUARD, dtype)
            kernels.column_sums(x, around[1:-1])
            exact = x.astype(np.longdouble).sum(axis=0)
            # a few roundings of the sum of the magnitudes, for any number of rows
            assert near(around[1:-1], exact, np.abs(x).sum(axis=0), 4)
            assert around[0] == around[-1] == oracle.GUARD


@pytest.mark.parametrize("columns", [3, 16, 70])
def test_column_sums_of_many_rows(kernels, columns):
    """Sums are accurate for numbers of one size and sign, where a plain sum loses three digits."""
    rows = 1_000_000 // columns * 3
    x = np.full((rows, columns), 0.1, np.float32)
    out = np.empty(columns, np.float32)
    kernels.column_sums(x, out)
    assert near(out, rows * float(x[0, 0]), rows * 0.1, 2)


# ---- dropout ----


def dropout(kernels, x, probability, seed, first=0):
    out = np.empty_like(x)
    kernels.dropout(x, out, probability, seed, first)
    return out


def mix(z):
    """The finaliser of SplitMix64, on Python's integers."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def kept(probability, seed, element):
    """Return whether an element is kept, by the definition of the generator."""
    gamma = 0x9E3779B97F4A7C15
    key = mix((seed + gamma) % 2**64)
    word = mix((key + (element // 2 + 1) * gamma) % 2**64)
    return (word >> 32 if element % 2 else word % 2**32) >= round(probability * 2**32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_is_as_defined(kernels, dtype):
    """The mask depends only on the seed and the element's index: in any part, on any instruction set."""
    x = np.random.default_rng(4).standard_normal(1300).astype(dtype)
    for seed, first in [(0, 0), (1, 7), (2**64 - 1, 2**63 + 5)]:
        keep = np.array([kept(0.3, seed, first + i) for i in range(x.size)])
        expected = x * np.where(keep, dtype(1 / 0.7), dtype(0))
        np.testing.assert_array_equal(dropout(kernels, x, 0.3, seed, first), expected)
        for start, stop in [(0, 0), (1, 2), (3, 40), (511, 1025), (640, 1300)]:
            part = x[start:stop].copy()
            kernels.dropout(part, part, 0.3, seed, first + start)  # in place
            np.testing.assert_array_equal(part, expected[start:stop])


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_dropout_keeps_as_many_as_it_should(kernels, probability):
    """The rate of dropped elements is right within 5 standard deviations."""
    n = 1_000_000
    ones = np.ones(n, np.float32)
    out = dropout(kernels, ones, probability, 12345)
    keep = 1 - probability
    assert set(np.unique(out)) <= {np.float32(0), np.float32(1 / keep)}
    assert abs(np.count_nonzero(out) - n * keep) <= 5 * math.sqrt(n * keep * probability)


def test_dropout_is_independent(kernels):
    """Neighbours and neighbouring seeds are uncorrelated within 5 standard deviations, 1 / sqrt(n)."""
    n = 400_000
    masks = [dropout(kernels, np.ones(n, np.float32), 0.5, seed) - 1 for seed in (0, 1, 2, 3, 2**32, 2**63)]
    # a seed and the seed that the generator reaches next
    masks.append(dropout(kernels, np.ones(n, np.float32), 0.5, 0x9E3779B97F4A7C15) - 1)
    bound = 5 / math.sqrt(n)
    correlations = np.corrcoef(masks)
    assert np.abs(correlations - np.eye(len(masks))).max() <= bound
    for lag in (1, 2, 3, 4, 8, 16, 256, 512, 513):
        for mask in masks:
            assert abs(np.mean(mask[lag:] * mask[:-lag])) <= 1.1 * bound


def test_dropout_forward_is_backward(kernels):
    """x and the gradient get the same factors; infinities and NaN times 0 are NaN, as in PyTorch."""
    x, dy = np.random.default_rng(5).standard_normal((2, 1000))
    np.testing.assert_allclose(
        dropout(kernels, x, 0.4, 7, 3) / x, dropout(kernels, dy, 0.4, 7, 3) / dy, rtol=1e-15
    )
    assert np.isnan(dropout(kernels, np.full(1000, np.nan), 0.4, 7)).all()


# ---- layer normalisation ----


def layer_norm(kernels, x, gain, bias, epsilon=1e-5):
    out, mean, inverse = np.empty_like(x), np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    kernels.layer_norm(x, gain, bias, epsilon, out, mean, inverse)
    return out, mean, inverse


def layer_norm_vjp(kernels, x, gain, bias, dy, in_place=False):
    _, mean, inverse = layer_norm(kernels, x, gain, bias)
    dx = dy.copy()
    d_gain, d_bias = np.empty_like(gain), np.empty_like(bias)
    kernels.layer_norm_vjp(x, gain, mean, inverse, dx if in_place else dy, dx, d_gain, d_bias)
    return dx, d_gain, d_bias


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layer_norm(kernels, dtype):
    rng = np.random.default_rng(6)
    for columns in [*SIZES[1:], 300, 1100]:
        x = (rng.standard_normal((9, columns)) + 0.5).astype(dtype)
        gain, bias = rng.standard_normal((2, columns)).astype(dtype)
        out, mean, inverse = layer_norm(kernels, x, gain, bias)
        wide = x.astype(np.longdouble)
        centred = wide - wide.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1) + 1e-5)
        scale = (1 + np.abs(wide).max()) / deviation
        assert near(mean, wide.mean(axis=1), np.abs(wide).max(), 2)
        assert near(inverse, 1 / deviation, scale**2 / deviation, 4)
        expected = centred / deviation[:, None] * gain + bias
        assert near(out, expected, 1 + (scale**2)[:, None] * np.abs(gain), 6)
        inside = x.copy()
        kernels.layer_norm(inside, gain, bias, 1e-5, inside, mean, inverse)
        np.testing.assert_array_equal(inside, out)


@pytest.mark.parametrize("columns", [1, 2, 5, 8, 17, 40, 130])
def test_layer_norm_vjp(kernels, columns):
    """All three gradients pass the dot test: <vjp(g), v> is the derivative of <f, g> along v."""
    rng = np.random.default_rng(columns)
    x, dy, direction = rng.standard_normal((3, 11, columns))
    gain, bias, along_gain, along_bias = rng.standard_normal((4, columns))
    dx, d_gain, d_bias = layer_norm_vjp(kernels, x, gain, bias, dy)
    for result, v in ((dx, direction), (d_gain, along_gain), (d_bias, along_bias)):
        ends = []
        for step in (1e-5, -1e-5):
            moves = [step * (v if result is which else 0) for which in (dx, d_gain, d_bias)]
            out, _, _ = layer_norm(kernels, x + moves[0], gain + moves[1], bias + moves[2])
            ends.append(np.sum(out * dy))
        assert np.sum(result * v) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layer_norm_vjp_of_any_size(kernels, dtype):
    rng = np.random.default_rng(7)
    for columns in [*SIZES[2:], 1100]:
        x, dy = rng.standard_normal((2, 19, columns)).astype(dtype)
        gain, bias = rng.standard_normal((2, columns)).astype(dtype)
        wide = x.astype(np.longdouble)
        centred = wide - wide.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
        normal, g = centred / deviation, dy * gain.astype(np.longdouble)
        slope, projection = g.mean(axis=1, keepdims=True), (g * normal).mean(axis=1, keepdims=True)
        dx, d_gain, d_bias = layer_norm_vjp(kernels, x, gain, bias, dy)
        scale = 1 + 1 / deviation**2
        assert near(dx, (g - slope - normal * projection) / deviation, 1 + np.abs(g).max() * scale**1.5, 20)
        assert near(d_gain, (dy * normal).sum(axis=0), 1 + np.sum(np.abs(dy) * scale, axis=0), 8)
        assert near(d_bias, dy.astype(np.longdouble).sum(axis=0), np.abs(dy).sum(axis=0), 4)
        again = layer_norm_vjp(kernels, x, gain, bias, dy, in_place=True)
        for result, expected in zip(again, (dx, d_gain, d_bias), strict=True):
            np.testing.assert_array_equal(result, expected)


# ---- optimizers: written from PyTorch's documentation ----


def optimize(dtype, n, of_kernel, of_formula, steps=6, scale=0.7):
    """Take steps by a kernel and by a formula in long double; compare the parameters after each."""
    rng = np.random.default_rng(n)
    p = rng.standard_normal(n).astype(dtype)
    expected, state = p.astype(np.longdouble), {}
    for step in range(1, steps + 1):
        g = rng.standard_normal(n).astype(dtype)
        before = g.copy()
        of_kernel(p, g, step, scale)
        expected = of_formula(expected, g * np.longdouble(scale), state, step)
        np.testing.assert_array_equal(g, before)
        assert near(p, expected, 1 + np.abs(expected), 8 * step)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sgd(kernels, dtype, momentum, nesterov, decay):
    for n in SIZES:
        velocity = np.zeros(n, dtype) if momentum else None
        optimize(
            dtype,
            n,
            lambda p, g, _, scale, v=velocity: kernels.sgd(p, g, v, 0.05, momentum, nesterov, decay, scale),
            lambda *now: sgd(*now, lr=0.05, momentum=momentum, nesterov=nesterov, weight_decay=decay),
        )


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rmsprop(kernels, dtype, momentum, decay):
    for n in SIZES:
        square, velocity = np.zeros(n, dtype), np.zeros(n, dtype) if momentum else None
        optimize(
            dtype,
            n,
            lambda p, g, _, scale, s=square, v=velocity: kernels.rmsprop(
                p, g, s, v, 0.01, 0.9, momentum, 1e-3, decay, scale
            ),
            lambda *now: rmsprop(
                *now, lr=0.01, decay=0.9, momentum=momentum, epsilon=1e-3, weight_decay=decay
            ),
        )


@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (0.1, False), (0.1, True)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adam(kernels, dtype, decay, decoupled):
    for n in SIZES:
        mean, square = np.zeros((2, n), dtype)
        optimize(
            dtype,
            n,
            lambda p, g, step, scale, m=mean, s=square: kernels.adam(
                p, g, m, s, 0.01, 0.9, 0.99, 1e-3, decay, decoupled, step, scale
            ),
            lambda *now: adam(
                *now, lr=0.01, betas=(0.9, 0.99), epsilon=1e-3, weight_decay=decay, decoupled=decoupled
            ),
        )


# ---- batches ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sum_of_squares(kernels, dtype):
    rng = np.random.default_rng(9)
    for n in [*SIZES, 1000, 4099]:
        x = rng.standard_normal(n).astype(dtype)
        assert kernels.sum_of_squares(x) == pytest.approx(math.fsum(x.astype(float) ** 2), rel=1e-15, abs=0)
    for bad in (np.nan, np.inf, -np.inf):
        for place in (0, 37, 4098):
            x[:] = 1
            x[place] = bad
            assert not math.isfinite(kernels.sum_of_squares(x))


def test_sum_of_squares_of_many(kernels):
    """Sums are in double for either dtype: not rounded to float32, nor limited by its range."""
    x = np.full(2_000_000, 0.1, np.float32)
    assert kernels.sum_of_squares(x) == pytest.approx(x.size * float(x[0]) ** 2, rel=1e-14)
    x[:] = 1e30
    assert kernels.sum_of_squares(x) == pytest.approx(2e66, rel=1e-6)
    x[:] = 1e-30
    assert kernels.sum_of_squares(x) == pytest.approx(2e-54, rel=1e-6)


@pytest.mark.parametrize("to", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_gather(kernels, kind, to):
    rng = np.random.default_rng(10)
    for columns in [*SIZES, 784]:
        x = rng.integers(0, 256, (23, columns)).astype(kind)
        for count in (0, 1, 9):
            indices = rng.integers(0, 23, count)
            for scale in (1.0, 1 / 255):
                out = np.full((count, columns), oracle.GUARD, to)
                kernels.gather(x, indices, out, scale)
                np.testing.assert_array_equal(out, x[indices].astype(to) * to(scale))


@pytest.mark.parametrize("bad", [-1, 5, 2**62, -(2**63)])
def test_gather_checks_indices_first(kernels, bad):
    x, out = np.ones((5, 4), np.uint8), np.zeros((3, 4), np.float32)
    with pytest.raises(IndexError, match=rf"`indices` must be from 0 to 4, got {bad} at 2"):
        kernels.gather(x, np.array([0, 1, bad]), out, 1.0)
    assert not out.any()
    with pytest.raises(IndexError):
        kernels.gather(np.ones((0, 4), np.uint8), np.array([0]), out[:1], 1.0)


# ---- checks of arrays ----


def calls(kernels):
    """Yield the name of each kernel, its arguments, and which of them are arrays."""

    def a(*shape):
        return np.ones(shape, np.float32)

    yield kernels.add_bias, [a(3, 20), a(20)]
    yield kernels.column_sums, [a(3, 20), a(20)]
    yield kernels.activate, [kernels.ACTIVATIONS["tanh"], a(60), a(60), 0.0]
    yield kernels.activate_vjp, [kernels.ACTIVATIONS["tanh"], a(60), a(60), a(60), 0.0]
    yield kernels.dropout, [a(60), a(60), 0.5, 1, 0]
    yield kernels.layer_norm, [a(3, 20), a(20), a(20), 1e-5, a(3, 20), a(3), a(3)]
    yield kernels.layer_norm_vjp, [a(3, 20), a(20), a(3), a(3), a(3, 20), a(3, 20), a(20), a(20)]
    yield kernels.sgd, [a(60), a(60), a(60), 0.1, 0.9, False, 0.0, 1.0]
    yield kernels.rmsprop, [a(60), a(60), a(60), a(60), 0.1, 0.9, 0.9, 1e-8, 0.0, 1.0]
    yield kernels.adam, [a(60), a(60), a(60), a(60), 0.1, 0.9, 0.9, 1e-8, 0.0, False, 1, 1.0]
    yield kernels.sum_of_squares, [a(60)]
    yield kernels.gather, [a(5, 20), np.array([1, 2, 3]), a(3, 20), 1.0]


def test_wrong_arrays_are_declined(kernels):
    """Each kernel refuses each array if its type, layout, byte order or size is wrong."""
    for function, arguments in calls(kernels):
        arrays = [i for i, argument in enumerate(arguments) if isinstance(argument, np.ndarray)]
        for place in arrays:
            right = arguments[place]
            misaligned = np.empty(right.nbytes + 1, np.uint8)[1:].view(right.dtype).reshape(right.shape)
            strided = np.ones((*right.shape, 2), right.dtype)[..., 0]
            wrong = [
                right.tolist(),
                right.astype("i2"),
                right.astype(oracle.SWAPPED + "f4"),
                misaligned,
                strided,
                3,
                None,
            ]
            if len(arrays) > 1 and function is not kernels.gather:
                wrong.append(right.astype(float))
            for other in wrong:
                if other is None and function in (kernels.sgd, kernels.rmsprop):
                    continue
                with pytest.raises(TypeError):
                    function(*arguments[:place], other, *arguments[place + 1 :])
            if len(arrays) > 1:
                for other in (right[:-1].copy(), np.concatenate([right, right])):
                    if place == 0 and function in (kernels.add_bias, kernels.column_sums, kernels.gather):
                        continue  # any number of rows is valid
                    with pytest.raises(ValueError, match="must have"):
                        function(*arguments[:place], other, *arguments[place + 1 :])
        function(*arguments)


def test_readonly_outputs_are_declined(kernels):
    for function, arguments in calls(kernels):
        if function is kernels.sum_of_squares:
            continue
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                argument.flags.writeable = False
        with pytest.raises(TypeError):
            function(*arguments)


def test_other_numbers_are_declined(kernels):
    x = np.ones(5)
    with pytest.raises(ValueError, match="no activation"):
        kernels.activate(1000, x, x, 0.0)
    for probability in (1.0, -0.1, np.nan):
        with pytest.raises(ValueError, match="`probability`"):
            kernels.dropout(x, x, probability, 0, 0)
    with pytest.raises(ValueError, match="2 axes"):
        kernels.add_bias(x, x)
    with pytest.raises(OverflowError):
        kernels.dropout(x, x, 0.5, 2**64, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fill_where_not(kernels, dtype):
    rng = np.random.default_rng(0)
    for n in SIZES:
        x, kept = rng.standard_normal(n).astype(dtype), rng.random(n) < 0.5
        x[::3] = np.nan
        expected = np.where(kept, x, dtype(-np.inf))
        kernels.fill_where_not(x, kept, -np.inf)
        np.testing.assert_array_equal(x, expected)


def test_wrong_masks_are_declined(kernels):
    x, kept = np.ones(5), np.ones(5, bool)
    for wrong in (kept.astype(np.uint8), kept[::-1], kept.tolist(), None):
        with pytest.raises(TypeError):
            kernels.fill_where_not(x, wrong, 0.0)
    with pytest.raises(ValueError, match="`kept` must have 5 elements, got 4"):
        kernels.fill_where_not(x, kept[:4], 0.0)
    x.flags.writeable = False
    with pytest.raises(TypeError):
        kernels.fill_where_not(x, kept, 0.0)
