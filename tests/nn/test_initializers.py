"""Initial weights: distributions, seeds and errors."""

import functools

import numpy as np
import pytest

from fastsm import nn

# Variance times a function of (n_in, n_out); whether the distribution is normal.
SCALED = {
    "he_normal": (lambda n_in, n_out: 2 / n_in, True),
    "he_uniform": (lambda n_in, n_out: 2 / n_in, False),
    "glorot_normal": (lambda n_in, n_out: 2 / (n_in + n_out), True),
    "glorot_uniform": (lambda n_in, n_out: 2 / (n_in + n_out), False),
    "lecun_normal": (lambda n_in, n_out: 1 / n_in, True),
    "lecun_uniform": (lambda n_in, n_out: 1 / n_in, False),
    "normal": (lambda n_in, n_out: 1e-4, True),
    "uniform": (lambda n_in, n_out: 1e-4 / 3, False),
}


def weights(init, shape=(300, 200), dtype=np.float64, seed=0):
    return getattr(nn.initializers, init)(np.random.default_rng(seed), shape, dtype)


@pytest.mark.parametrize("shape", [(300, 200), (100, 500)])
@pytest.mark.parametrize("name", SCALED)
def test_mean_variance_and_form(name, shape):
    variance, is_normal = SCALED[name]
    deviation = np.sqrt(variance(*shape))
    values = weights(name, shape) / deviation
    # Of n = 50,000 numbers and more: 5 standard errors of the mean, 1 / sqrt(n), and of the variance. That is
    # sqrt((k - 1) / n) with the kurtosis k, 3 for normal and 1.8 for uniform numbers.
    kurtosis = 3 if is_normal else 1.8
    assert abs(values.mean()) <= 5 / np.sqrt(values.size)
    assert abs(values.var() - 1) <= 5 * np.sqrt((kurtosis - 1) / values.size)
    if is_normal:
        assert np.abs(values).max() > 3.5
    else:
        assert 1.7 < np.abs(values).max() <= np.sqrt(3)


@pytest.mark.parametrize("shape", [(40, 40), (70, 30), (30, 70), (1, 5), (5, 1)])
def test_orthogonal(shape):
    weight = weights("orthogonal", shape)
    small = weight if shape[0] >= shape[1] else weight.T
    np.testing.assert_allclose(small.T @ small, np.eye(min(shape)), atol=1e-14)
    assert weight.flags.c_contiguous


def test_distribution_of_orthogonal():
    """Without the signs of R, LAPACK's Q has a negative diagonal more often than not."""
    rng = np.random.default_rng(0)
    diagonal = [np.diagonal(nn.initializers.orthogonal(rng, (3, 3), float)) for _ in range(1000)]
    # 5 standard errors: an element has variance 1/3.
    assert np.abs(np.mean(diagonal, axis=0)).max() <= 5 / np.sqrt(3 * 1000)


def test_arguments_by_partial():
    gain = functools.partial(nn.initializers.orthogonal, gain=3.0)
    layer = nn.Sequential(nn.Linear(4, 4, init=gain), dtype="float64", rng=0).layers[0]
    weight = layer.params["weight"]
    np.testing.assert_allclose(weight.T @ weight, 9 * np.eye(4), atol=1e-13)


@pytest.mark.parametrize("name", nn.initializers.__all__)
def test_same_seed_in_both_dtypes(name):
    single, double = weights(name, dtype=np.float32), weights(name, dtype=np.float64)
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    assert single.shape == double.shape == (300, 200)
    np.testing.assert_array_equal(single, double.astype(np.float32))
    if name not in ("zeros", "ones"):
        assert not np.array_equal(double, weights(name, seed=1))


def test_zeros_and_ones():
    assert not weights("zeros").any()
    assert (weights("ones") == 1).all()


def test_names_and_functions_in_linear():
    def counting(rng, shape, dtype):
        return np.arange(6).reshape(shape)

    layer = nn.Linear(2, 3, init=counting)
    layer.initialize(np.random.default_rng(0), np.dtype(np.float32))
    np.testing.assert_array_equal(layer.params["weight"], [[0, 1, 2], [3, 4, 5]])
    assert layer.params["weight"].dtype == np.float32
    assert not layer.params["bias"].any()
    by_name = nn.Linear(3, 3, init="orthogonal", rng=5)
    by_function = nn.Linear(3, 3, init=nn.initializers.orthogonal, rng=np.random.default_rng(5))
    x = np.eye(3)
    np.testing.assert_array_equal(by_name.forward(x), by_function.forward(x))


@pytest.mark.parametrize(
    ("init", "error", "message"),
    [
        ("he", ValueError, "`init` must be one of glorot_normal, .*zeros, or a function, got 'he'"),
        (3, TypeError, "`init` must be a name or a function, got 3"),
    ],
)
def test_unknown_names(init, error, message):
    with pytest.raises(error, match=message):
        nn.Linear(2, 3, init=init)


def test_function_of_wrong_shape():
    layer = nn.Linear(2, 3, init=lambda rng, shape, dtype: np.zeros((3, 2)))
    with pytest.raises(
        ValueError, match=r"`init\(rng, shape, dtype\)` must have shape \(2, 3\), got \(3, 2\)"
    ):
        layer.forward(np.zeros((1, 2)))


def test_shape_without_fans():
    with pytest.raises(ValueError, match=r"`shape` must be \(n_in, n_out\), got \(3,\)"):
        nn.initializers.he_normal(np.random.default_rng(0), (3,), np.float32)


@pytest.mark.parametrize(
    ("rng", "error"), [("0", TypeError), (True, TypeError), (1.0, TypeError), (-1, ValueError)]
)
def test_bad_rng(rng, error):
    with pytest.raises(error, match="`rng` must be"):
        nn.Linear(2, 3, rng=rng)
