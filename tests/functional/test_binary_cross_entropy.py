"""Binary cross-entropy against mpmath, SciPy's functions, finite differences, and plain NumPy.

The relative tolerance of a loss is 8 eps: exp and log1p have 1 to 3 ULP each, others half of one.
"""

import itertools

import mpmath
import numpy as np
import pytest
import scipy.special
from checks import raises
from extras import BFLOAT16

import fastsm
from fastsm import reference

OPTIONS = [
    {},
    {"pos_weight": 2.5},
    {"pos_weight": [0.5, 3.0, 1.0]},
    {"sample_weight": [1.0, 0.0, 2.0, 0.5, 1.0]},
    {"sample_weight": np.arange(15.0).reshape(5, 3)},
    {"label_smoothing": 0.1, "pos_weight": [0.0, 3.0, 1.0], "sample_weight": [1.0, 2, 3, 4, 5]},
]


def exact(z, y, weight=1.0):
    """Return the loss and the derivative of one element, with 60 digits."""
    with mpmath.workdps(60):
        z, y, weight = mpmath.mpf(float(z)), mpmath.mpf(float(y)), mpmath.mpf(weight)
        loss = weight * y * mpmath.log(1 + mpmath.exp(-z)) + (1 - y) * mpmath.log(1 + mpmath.exp(z))
        return loss, (1 - y) / (1 + mpmath.exp(-z)) - weight * y / (1 + mpmath.exp(z))


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return 3 * rng.standard_normal((5, 3)), rng.random((5, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("y", [0, 1, 0.5, 1e-3, 1 - 2.0**-20])
def test_accuracy(dtype, y):
    """Losses have their relative accuracy; so have gradients of hard targets, others that of p."""
    z = np.array([0, 1e-6, 0.3, 2, 15, 40, 80, 1000], dtype)
    z = np.concatenate([z, -z])
    eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).tiny
    losses, grad = fastsm.binary_cross_entropy_with_grad(
        z, np.full(z.shape, y, dtype), pos_weight=2.0, reduction="none"
    )
    for i, value in enumerate(z):
        loss, derivative = exact(value, dtype(y), 2.0)
        assert abs(losses[i] - loss) <= 8 * eps * loss + tiny
        scale = abs(derivative) if y in (0, 1) else 2
        assert abs(grad[i] - derivative) <= 8 * eps * scale + tiny


def test_scipy(data):
    z, y = data
    expected = -scipy.special.log_expit(z) * y - scipy.special.log_expit(-z) * (1 - y)
    losses, grad = fastsm.binary_cross_entropy_with_grad(z, y, reduction="none")
    np.testing.assert_allclose(losses, expected, rtol=1e-14)
    np.testing.assert_allclose(grad, scipy.special.expit(z) - y, rtol=1e-12, atol=1e-15)
    assert fastsm.binary_cross_entropy(z, y) == pytest.approx(expected.mean(), rel=1e-14)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float16, *BFLOAT16, np.float32, np.float64])
def test_reference(data, dtype, reduction, options):
    z, y = data[0].astype(dtype), data[1]
    ours = fastsm.binary_cross_entropy_with_grad(z, y, reduction=reduction, **options)
    theirs = reference.binary_cross_entropy_with_grad(z, y, reduction=reduction, **options)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        rtol = {2: 2**-7, 4: 2e-6, 8: 1e-13}[a.dtype.itemsize]
        np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=rtol, atol=rtol / 10)
    alone = reference.binary_cross_entropy(z, y, reduction=reduction, **options)
    np.testing.assert_array_equal(alone, theirs[0])


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_finite_differences(data, reduction, options):
    z, y = data
    _, grad = fastsm.binary_cross_entropy_with_grad(z, y, reduction=reduction, **options)
    for place in itertools.product(range(5), range(3)):
        step = np.zeros_like(z)
        step[place] = 1e-5
        up, down = (
            fastsm.binary_cross_entropy(x, y, reduction=reduction, **options) for x in (z + step, z - step)
        )
        assert grad[place] == pytest.approx((up - down) / 2e-5, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("options", OPTIONS)
def test_loss_is_the_same_without_grad(data, options):
    for reduction in ("mean", "sum", "none"):
        loss, _ = fastsm.binary_cross_entropy_with_grad(*data, reduction=reduction, **options)
        np.testing.assert_array_equal(
            fastsm.binary_cross_entropy(*data, reduction=reduction, **options), loss
        )


def test_targets_of_every_kind():
    """Labels of 0 and 1, bools and floats mean the same; (N,) goes with (N, 1)."""
    z = np.array([[0.5], [-1.0], [2.0]])
    expected = fastsm.binary_cross_entropy_with_grad(z, [[1.0], [0.0], [1.0]])
    for y in ([1, 0, 1], [True, False, True], np.array([[1], [0], [1]], np.uint8), [1.0, 0.0, 1.0]):
        loss, grad = fastsm.binary_cross_entropy_with_grad(z, y)
        assert loss == expected[0]
        np.testing.assert_array_equal(grad, expected[1])
    assert fastsm.binary_cross_entropy(z[:, 0], [1, 0, 1]) == expected[0]
    assert fastsm.binary_cross_entropy(0.5, 1) == fastsm.binary_cross_entropy([0.5], [1])
    assert fastsm.binary_cross_entropy(np.zeros((0, 3)), np.zeros((0, 3))) == 0


@pytest.mark.parametrize("order", ["C", "F"])
def test_in_place(data, order):
    z, y = data
    loss, expected = fastsm.binary_cross_entropy_with_grad(z, y)
    out = np.array(z, order=order)
    again, grad = fastsm.binary_cross_entropy_with_grad(out, y, out=out)
    assert grad is out
    assert again == loss
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_no_warnings(dtype, reduction):
    info = np.finfo(dtype)
    z = np.array([0, 1e-7, 50, 700, info.max, np.inf], dtype)
    z = np.concatenate([z, -z, [np.nan]]).astype(dtype)
    y = np.where(z > 0, 1.0, 0.0)
    weight = np.full(z.shape, 1e-300)
    with np.errstate(all="raise"):
        for options in ({}, {"pos_weight": 1e-50, "sample_weight": weight}):
            losses, grad = fastsm.binary_cross_entropy_with_grad(z, y, reduction=reduction, **options)
            fastsm.binary_cross_entropy_with_grad(z, np.full(z.shape, 1e-87), **options)
    assert grad.dtype == dtype
    if reduction == "none":
        assert np.isfinite(losses[:-1]).all()


def test_infinite_logits():
    """An answer that is sure and right costs nothing; a wrong one costs all."""
    losses, grad = fastsm.binary_cross_entropy_with_grad(
        [np.inf, -np.inf, np.inf, np.nan], [1, 0, 0, 1], reduction="none"
    )
    np.testing.assert_array_equal(losses, [0, 0, np.inf, np.nan])
    np.testing.assert_array_equal(grad, [0, 0, 1, np.nan])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("module", [fastsm, reference])
def test_unused(module, bad):
    """Elements of weight 0 may hold anything, also targets out of range."""
    z, y = np.array([[1.0, bad], [bad, 2.0]]), np.array([[1.0, -1.0], [bad, 0.0]])
    weight = np.array([[1.0, 0.0], [0.0, 3.0]])
    loss, grad = module.binary_cross_entropy_with_grad(z, y, sample_weight=weight)
    expected, expected_grad = module.binary_cross_entropy_with_grad([1.0, 2.0], [1, 0], sample_weight=[1, 3])
    assert loss == pytest.approx(expected, rel=1e-15)
    np.testing.assert_allclose(grad, np.diag(expected_grad), rtol=1e-15)
    loss, grad = module.binary_cross_entropy_with_grad([bad, 1.0], [1, 0], pos_weight=0.0, reduction="sum")
    assert (loss, grad[0]) == (module.binary_cross_entropy([1.0], [0]), 0)
    loss, grad = module.binary_cross_entropy_with_grad(z, y, sample_weight=np.zeros(2))
    assert loss == 0
    assert (grad == 0).all()


REAL = "float16, bfloat16, float32, float64, an integer or bool"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"logits": "a"}, TypeError, f"`logits` must have dtype {REAL}, got <U1"),
        ({"targets": [[0, 1, 2], [0, 0, 1]]}, ValueError, "`targets` must be from 0 to 1, got 2"),
        ({"targets": -np.ones((2, 3))}, ValueError, "`targets` must be from 0 to 1, got -1.0"),
        ({"targets": [[1], [0]]}, ValueError, "`targets` must have shape (2, 3), got (2, 1)"),
        (
            {"targets": [1, 0]},
            ValueError,
            "`targets` must have shape (2, 3), got (2,): for classes take cross_entropy, for several labels a"
            " row give a 0 or 1 for each output",
        ),
        (
            {"logits": [1.0, 2.0], "targets": [[1], [0]]},
            ValueError,
            "`targets` must have shape (2,), got (2, 1): give targets[..., 0]",
        ),
        ({"pos_weight": -1.0}, ValueError, "`pos_weight` must be finite and at least 0, got -1.0"),
        ({"pos_weight": "a"}, TypeError, "`pos_weight` must be a number, got 'a'"),
        ({"pos_weight": [1, 2]}, ValueError, "`pos_weight` must have shape (3,), got (2,)"),
        ({"pos_weight": [1, 2, -1]}, ValueError, "`pos_weight` must be finite and at least 0 everywhere"),
        (
            {"sample_weight": [1, 2, 3]},
            ValueError,
            "`sample_weight` must have shape (2,) or (2, 3), got (3,)",
        ),
        ({"label_smoothing": 2}, ValueError, "`label_smoothing` must be from 0 to 1, got 2"),
        ({"reduction": "max"}, ValueError, "`reduction` must be one of mean, sum, none, got 'max'"),
        ({"out": np.zeros(3)}, ValueError, "`out` must have shape (2, 3), got (3,)"),
    ],
)
def test_errors(options, error, message):
    given = {"logits": np.zeros((2, 3)), "targets": np.zeros((2, 3)), **options}
    arguments = given.pop("logits"), given.pop("targets")
    with raises(error, message):
        fastsm.binary_cross_entropy_with_grad(*arguments, **given)
