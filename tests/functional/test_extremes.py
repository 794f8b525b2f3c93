"""The edges of the numbers: results that are finite are returned, and nothing of NumPy's warns."""

from itertools import product

import ml_dtypes
import numpy as np
import pytest

import fastsm
from fastsm import nn, reference
from fastsm.nn.losses import LOSSES

LARGE = {np.float32: 3e38, np.float64: 1.7e308}
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


def opposite(dtype, classes, order):
    """Return rows with both ends of the dtype's range, of which the other classes are a copy of one."""
    x = np.full((3, classes), -LARGE[dtype], dtype)
    x[:, 0] = LARGE[dtype]
    return np.array(x, order=order)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", LARGE)
@pytest.mark.parametrize("classes", [2, 10, 33, 70])
class TestOppositeExtremes:
    def test_log_softmax(self, isa, classes, dtype, order):
        y = fastsm.log_softmax(opposite(dtype, classes, order), temperature=4.0)
        assert (y[:, 0] == 0).all()
        np.testing.assert_allclose(y[:, 1:], -LARGE[dtype] / 2, rtol=1e-6)

    def test_cross_entropy(self, isa, classes, dtype, order):
        x, last, large = opposite(dtype, classes, order), np.full(3, classes - 1), LARGE[dtype]
        loss, grad = fastsm.cross_entropy_with_grad(x, last, temperature=2.0, reduction="none")
        np.testing.assert_allclose(loss, large, rtol=1e-6)
        assert (grad[:, [0, -1]] == [0.5, -0.5]).all()
        soft = np.zeros_like(x)
        soft[:, 0] = soft[:, -1] = 0.5
        np.testing.assert_allclose(fastsm.cross_entropy(x, soft, reduction="none"), large, rtol=1e-6)
        first = np.zeros(3, np.int64)
        smoothed = fastsm.cross_entropy(x, first, label_smoothing=0.1, reduction="none")
        np.testing.assert_allclose(smoothed, large * (0.2 - 0.2 / classes), rtol=1e-5)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", LARGE)
@pytest.mark.parametrize("classes", [2, 10, 33, 70])
@pytest.mark.parametrize("others", [1e-3, 1e-6, 1e-12, 1e-30])
def test_gradient_of_sure_rows(isa, others, classes, dtype, order):
    x, t = np.zeros((3, classes), dtype), np.zeros((3, classes), dtype)
    x[:, 1], t[:, 1], t[:, 0] = 9000, 1 - others, others
    _, grad = fastsm.cross_entropy_with_grad(np.array(x, order=order), t, reduction="none")
    np.testing.assert_allclose(grad[:, 1], others, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(grad[:, 0], -others, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_losses_of_halves(dtype):
    x, labels = np.array([[0, 4.75, 1], [2, 0, 0]], dtype), [0, 1]
    wide = x.astype(np.float32)
    for reduction in ("mean", "sum", "none"):
        loss, grad = fastsm.cross_entropy_with_grad(x, labels, reduction=reduction)
        assert (loss.dtype, grad.dtype) == (np.float32, dtype)
        np.testing.assert_array_equal(loss, fastsm.cross_entropy(wide, labels, reduction=reduction))
        assert reference.cross_entropy(x, labels, reduction=reduction).dtype == np.float32
        chunked = fastsm.linear_cross_entropy(x, np.eye(3, dtype=dtype), labels, reduction=reduction)
        assert chunked.dtype == np.float32
    assert fastsm.cross_entropy(x[:0], np.zeros(0, np.int64)).dtype == np.float32


def extremes(rng, dtype, shape):
    """Return numbers from the edges of a dtype."""
    info = ml_dtypes.finfo(dtype)
    large, tiny = float(info.max), float(info.smallest_subnormal)
    return rng.choice([0, 1, -1, large, -large, tiny, -tiny, 1e-3, 50, -900, 9000], shape).astype(dtype)


@pytest.mark.parametrize(("dtype", "other"), [*product(DTYPES, DTYPES)])
class TestNoFloatingPointErrors:
    @pytest.mark.parametrize("temperature", [1.0, 1e-30, 1e30])
    def test_functions(self, dtype, other, temperature):
        rng = np.random.default_rng(0)
        mask = rng.random((5, 40)) < 0.6
        for axis, n in product((0, 1), (3, 40)):
            x, dy = extremes(rng, dtype, (5, n)), extremes(rng, other, (5, n))
            options = {"axis": axis, "temperature": temperature}
            with np.errstate(all="raise"):
                for function in (fastsm.softmax, fastsm.log_softmax, reference.softmax):
                    function(x, **options)
                    function(x, where=mask[:, :n], **options)
                fastsm.softmax_vjp(fastsm.softmax(x, axis=axis), dy, **options)
                fastsm.log_softmax_vjp(fastsm.log_softmax(x, axis=axis), dy, **options)
                fastsm.logsumexp(x, axis=axis, where=mask[:, :n])
                fastsm.softmax_jacobian(fastsm.softmax(x))

    def test_cross_entropy(self, dtype, other):
        rng = np.random.default_rng(1)
        for n, reduction in product((3, 40), ("mean", "sum", "none")):
            x, soft = extremes(rng, dtype, (5, n)), np.abs(extremes(rng, other, (5, n)))
            options = [{}, {"label_smoothing": 1e-9}, {"temperature": 1e-30}, {"temperature": 1e30}]
            options.append({"sample_weight": 10.0 ** rng.uniform(-60, 30, 5)})
            options.append({"class_weight": 10.0 ** rng.uniform(-60, 30, n)})
            for targets, option in product((rng.integers(0, n, 5), soft), options):
                with np.errstate(all="raise"):
                    fastsm.cross_entropy_with_grad(x, targets, reduction=reduction, **option)
                    reference.cross_entropy(x, targets, reduction=reduction, **option)
            with np.errstate(all="raise"):
                features, weight = extremes(rng, dtype, (5, 4)), extremes(rng, other, (4, n))
                fastsm.linear_cross_entropy(features, weight, rng.integers(0, n, 5), reduction=reduction)
                fastsm.linear_cross_entropy_with_grad(features, weight, rng.integers(0, n, 5))

    @pytest.mark.parametrize("name", LOSSES)
    def test_losses(self, dtype, other, name):
        rng = np.random.default_rng(2)
        loss, x = LOSSES[name](), extremes(rng, dtype, (5, 3))
        if loss.on in ("probs", "log_probs"):
            x = (fastsm.softmax if loss.on == "probs" else fastsm.log_softmax)(x)
        weight = 10.0 ** rng.uniform(-60, 30, 5)
        with np.errstate(all="raise"):
            for targets in (
                fastsm.softmax(extremes(rng, other, (5, 3))),
                np.abs(extremes(rng, other, (5, 3))),
            ):
                if name == "bce":  # takes none above 1
                    targets = np.minimum(targets, 1)
                loss.value_and_grad(x, targets)
                loss.value_and_grad(x, targets, sample_weight=weight)


def test_own_loss_may_warn():
    own = nn.loss(lambda a, y: (np.log(a)[:, 0], 1 / a), on="output")
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        own(np.zeros((2, 1)), np.zeros((2, 1)))
