"""Gradients against derivatives taken in other ways: complex steps, Jacobians, finite differences, NumPy."""

import itertools

import numpy as np
import oracle
import pytest

import fastsm
from fastsm import reference

# ---- vector-Jacobian products ----

# shapes, and the axis of the classes: up to 32 and above, last and not
SHAPES = [
    *[((7,), 0), ((5, 1), -1), ((4, 10), -1), ((10, 4), 0), ((3, 32, 2), 1)],
    *[((2, 130), 1), ((3, 33), -1), ((2, 3, 70), -1), ((70, 5), 0), ((2, 2, 3, 40), 1)],
]


def complex_softmax(z, axis, temperature):
    """Return the softmax of complex numbers."""
    e = np.exp((z - z.real.max(axis=axis, keepdims=True)) / temperature)
    return e / e.sum(axis=axis, keepdims=True)


def jacobian_times(function, z, v):
    """Return J v by a complex step, which has no cancellation.

    (J. N. Lyness and C. B. Moler, Numerical differentiation of analytic functions, SIAM J. Numer. Anal. 4,
    1967.)
    """
    step = 1e-100
    return function(z + 1j * step * v).imag / step


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vjp_against_complex_step(isa, dtype, shape, axis, function, temperature):
    """<vjp(g), v> = <g, J v>, with J v by a complex step."""
    rng = np.random.default_rng(len(shape))
    z = (2 * rng.standard_normal(shape)).astype(dtype)
    g, v = rng.standard_normal((2, *shape))
    g = g.astype(dtype)

    def complex_function(z):
        y = complex_softmax(z, axis, temperature)
        return y if function == "softmax" else np.log(y)

    expected = np.sum(g * jacobian_times(complex_function, z.astype(float), v))
    output = getattr(fastsm, function)(z, axis=axis, temperature=temperature)
    result = getattr(fastsm, function + "_vjp")(output, g, axis=axis, temperature=temperature)
    # The output is off by some eps (1 + |z| / T), and so is all that is made from it.
    size = np.sum(np.abs(g)) * np.abs(v).max() * (1 + np.abs(z).max()) / temperature**2
    assert abs(np.sum(result * v) - expected) <= 8 * oracle.eps(dtype) * size


@pytest.mark.parametrize("classes", [1, 2, 5, 32, 33, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vjp_against_jacobian(isa, dtype, classes):
    """softmax_vjp and log_softmax_vjp are dy^T J, with J from softmax_jacobian and from its definition."""
    rng = np.random.default_rng(classes)
    y = fastsm.softmax(rng.standard_normal((4, 3, classes)).astype(dtype))
    dy = rng.standard_normal(y.shape).astype(dtype)
    jacobian = np.array([[np.diag(row) - np.outer(row, row) for row in block] for block in y.astype(float)])
    # one rounding of 1 - y or the product, one of the product with y
    result = fastsm.softmax_jacobian(y)
    assert result.shape == (4, 3, classes, classes)
    assert result.dtype == dtype
    assert np.abs(result - jacobian).max() <= oracle.eps(dtype)
    expected = np.einsum("abi,abij->abj", dy.astype(float), jacobian)
    tolerance = 8 * oracle.eps(dtype) * np.sum(np.abs(dy), axis=-1).max()
    assert np.abs(fastsm.softmax_vjp(y, dy) - expected).max() <= tolerance
    # d log y_i / d z_j = (d y_i / d z_j) / y_i
    expected = np.einsum("abi,abij->abj", dy / y.astype(float), jacobian)
    tolerance *= 1 + np.abs(np.log(y)).max()
    assert np.abs(fastsm.log_softmax_vjp(np.log(y), dy) - expected).max() <= tolerance


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_chain_of_log_softmax(isa, axis):
    """The VJP of log_softmax is that of log, then that of softmax."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 6, 40, 3))
    y = fastsm.softmax(x, axis=axis)
    expected = fastsm.softmax_vjp(y, dy / y, axis=axis)
    result = fastsm.log_softmax_vjp(fastsm.log_softmax(x, axis=axis), dy, axis=axis)
    # log y, of some -10, has 10 eps, and so has y in the result
    tolerance = 20 * oracle.eps(float) * np.abs(dy).sum(axis).max()
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance)


def test_any_loss_through_softmax(isa):
    """Squared and cubed error and focal loss of probabilities, against a complex step for each logit."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((5, 6))
    target = np.eye(6)[rng.integers(0, 6, 5)]
    losses = {
        "squared": (lambda p: np.sum((p - target) ** 2), lambda p: 2 * (p - target)),
        "cubed": (lambda p: np.sum((p - target) ** 3), lambda p: 3 * (p - target) ** 2),
        "focal": (
            lambda p: -np.sum(target * (1 - p) ** 2 * np.log(p)),
            lambda p: target * (2 * (1 - p) * np.log(p) - (1 - p) ** 2 / p),
        ),
    }
    for name, (loss, derivative) in losses.items():
        y = fastsm.softmax(z)
        result = fastsm.softmax_vjp(y, derivative(y))
        for place in np.ndindex(z.shape):
            direction = np.zeros_like(z)
            direction[place] = 1
            expected = jacobian_times(lambda z, loss=loss: loss(complex_softmax(z, -1, 1)), z, direction)
            assert result[place] == pytest.approx(expected, rel=1e-12, abs=1e-14), name


# ---- cross-entropy: every combination of its options ----

REDUCTIONS = ["mean", "sum", "none"]
CASES = list(
    itertools.product(
        [False, True],                                  # class_weight
        [False, True],                                  # sample_weight
        [None, -100, 1],                                # ignore_index
        [0.0, 0.1, 1.0],                                # label_smoothing
        [1.0, 0.7],                                     # temperature
        ["labels", "probabilities", "one class"],       # targets
    )
)  # fmt: skip
CASES = [case for case in CASES if case[2] is None or case[5] == "labels"]


def batches(classes, axis, dtype):
    """Yield logits of shape (2, 3) x classes, targets, and the options of each case."""
    rng = np.random.default_rng([classes, axis + 1])
    shape = (2, 3)
    class_weight = rng.uniform(0.2, 2, classes)
    sample_weight = rng.uniform(0.2, 2, shape)
    x = 2 * rng.standard_normal((*shape, classes))
    labels = rng.integers(0, classes, shape)
    y = rng.dirichlet(np.ones(classes), shape)
    for has_class_weight, has_sample_weight, ignored, smoothing, temperature, kind in CASES:
        targets = {
            "labels": labels,
            "probabilities": np.moveaxis(y, -1, axis).astype(dtype),
            "one class": np.moveaxis(oracle.one_hot(labels, classes, dtype), -1, axis),
        }[kind]
        if ignored is not None:
            targets = targets.copy()
            targets[0, 1] = ignored
            targets[1, 0] = ignored
        options = {
            "axis": axis,
            "class_weight": class_weight if has_class_weight else None,
            "sample_weight": sample_weight if has_sample_weight else None,
            "ignore_index": ignored,
            "label_smoothing": smoothing,
            "temperature": temperature,
        }
        yield np.moveaxis(x, -1, axis).astype(dtype), targets, options


PRODUCT = pytest.mark.parametrize(
    ("classes", "axis", "reduction"), list(itertools.product([5, 40], [-1, 0, 1], REDUCTIONS))
)


def directions(x, rng):
    """Return directions: single logits, or random ones for many logits."""
    if x.size <= 30:
        return np.eye(x.size).reshape(-1, *x.shape)
    return rng.choice([-1.0, 1.0], (4, *x.shape))


@PRODUCT
def test_gradient_against_differences(isa, classes, axis, reduction):
    """Central differences of the loss, in float64, for every combination of the options."""
    rng = np.random.default_rng(0)
    step = 3e-5
    for x, targets, options in batches(classes, axis, np.float64):
        loss, grad = fastsm.cross_entropy_with_grad(x, targets, reduction=reduction, **options)
        # The third derivative of log(sum) is at most 0.8 / T^3 along 1s and -1s; times six rows of weight 4,
        # and step^2 / 6. Rounding: the losses, of some eps each, over the step.
        tolerance = 10 * step**2 + 8 * oracle.eps(float) * max(1, np.sum(loss)) / step
        for v in directions(x, rng):
            ahead, _ = fastsm.cross_entropy_with_grad(x + step * v, targets, reduction=reduction, **options)
            behind, _ = fastsm.cross_entropy_with_grad(x - step * v, targets, reduction=reduction, **options)
            slope = np.sum(ahead - behind) / (2 * step)
            assert abs(np.sum(grad * v) - slope) <= tolerance, options


@PRODUCT
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_loss_without_gradient(isa, dtype, classes, axis, reduction):
    """cross_entropy and cross_entropy_with_grad return the same loss, bit for bit, in place too."""
    for x, targets, options in batches(classes, axis, dtype):
        loss = fastsm.cross_entropy(x, targets, reduction=reduction, **options)
        with_grad, grad = fastsm.cross_entropy_with_grad(x, targets, reduction=reduction, **options)
        assert loss.dtype == with_grad.dtype == dtype
        assert np.array_equal(loss, with_grad), options
        in_place, result = fastsm.cross_entropy_with_grad(x, targets, reduction=reduction, out=x, **options)
        assert np.array_equal(loss, in_place), options
        assert result is x
        assert np.array_equal(grad, x), options


@PRODUCT
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_reference(isa, dtype, classes, axis, reduction):
    """The NumPy reference gives the same losses and gradients for every combination of the options."""
    for x, targets, options in batches(classes, axis, dtype):
        loss, grad = fastsm.cross_entropy_with_grad(x, targets, reduction=reduction, **options)
        expected = reference.cross_entropy_with_grad(x, targets, reduction=reduction, **options)
        # (x - max) / T, some 10, is rounded by both: 10 eps in the loss, and in p
        tolerance = 20 * oracle.eps(dtype)
        for result, other in zip((loss, grad), expected, strict=True):
            assert result.shape == other.shape
            np.testing.assert_allclose(result, other, rtol=tolerance, atol=tolerance, err_msg=str(options))


@pytest.mark.parametrize("classes", [4, 50])
@pytest.mark.parametrize("axis", [-1, 0])
def test_sums_of_micro_batches(isa, axis, classes):
    """Gradients of sums over two parts of a batch sum to that of the whole."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, classes))
    labels = rng.integers(0, classes, 9)
    weight = rng.uniform(0, 2, classes)
    parts = []
    for rows in (slice(0, 4), slice(4, 9)):
        z = x[rows] if axis == -1 else x[rows].T
        loss, grad = fastsm.cross_entropy_with_grad(
            z, labels[rows], axis=axis, class_weight=weight, reduction="sum"
        )
        parts.append((loss, grad if axis == -1 else grad.T))
    loss, grad = fastsm.cross_entropy_with_grad(x, labels, class_weight=weight)
    total = np.sum(weight[labels])
    assert loss == pytest.approx((parts[0][0] + parts[1][0]) / total, rel=1e-14)
    joined = np.concatenate([part[1] for part in parts])
    np.testing.assert_allclose(joined / total, grad, rtol=1e-13, atol=1e-16)


def test_gradient_is_p_minus_y(isa):
    """With labels and no options the gradient of the sum is softmax less the one-hot target."""
    rng = np.random.default_rng(0)
    for classes in (3, 60):
        x = rng.standard_normal((20, classes))
        labels = rng.integers(0, classes, 20)
        grad = fastsm.cross_entropy_with_grad(x, labels, reduction="sum")[1]
        np.testing.assert_allclose(grad, fastsm.softmax(x) - np.eye(classes)[labels], rtol=0, atol=1e-15)


def test_rows_of_gradients_sum_to_zero(isa):
    """Adding a constant to a row changes nothing, so each row of a gradient sums to 0."""
    rng = np.random.default_rng(0)
    for classes in (1, 2, 10, 32, 33, 200):
        x, dy = rng.standard_normal((2, 30, classes))
        y = fastsm.softmax(x)
        size = np.sum(np.abs(dy), axis=-1)
        assert np.all(np.abs(fastsm.softmax_vjp(y, dy).sum(axis=-1)) <= 8e-16 * size)
        assert np.all(np.abs(fastsm.log_softmax_vjp(np.log(y), dy).sum(axis=-1)) <= 8e-16 * size)
        grad = fastsm.cross_entropy_with_grad(x, rng.integers(0, classes, 30), reduction="none")[1]
        assert np.all(np.abs(grad.sum(axis=-1)) <= 2e-15)
