"""Cross-entropy over the classes that a mask allows: as over those classes alone."""

import numpy as np
import pytest
from checks import raises

import fastsm
from fastsm import reference

ROWS = 6


def problem(classes, dtype, seed=0):
    """Return logits, a mask that allows each row some classes, and labels and probabilities within it."""
    rng = np.random.default_rng(seed)
    x = (3 * rng.standard_normal((ROWS, classes))).astype(dtype)
    labels = rng.integers(0, classes, ROWS)
    mask = rng.random((ROWS, classes)) < 0.5
    mask[np.arange(ROWS), labels] = True
    soft = rng.random((ROWS, classes)) * mask
    x[~mask] = rng.choice([np.nan, np.inf, -np.inf, 1e4], (~mask).sum())
    return x, mask, labels, (soft / soft.sum(axis=1, keepdims=True)).astype(dtype)


OPTIONS = [
    {},
    {"label_smoothing": 0.2},
    {"temperature": 0.7, "label_smoothing": 0.1},
    {"sample_weight": np.array([1, 0.5, 2, 0, 1, 3])},
    {"sample_weight": np.array([1, 0.5, 2, 0, 1, 3]), "label_smoothing": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("classes", [3, 10, 40])
def test_as_without_the_others(isa, classes, dtype, options):
    """Each row's loss and gradient are those over its own classes, and 0 elsewhere."""
    x, mask, labels, soft = problem(classes, dtype)
    weight = options.get("sample_weight", np.ones(ROWS))
    plain = {name: value for name, value in options.items() if name != "sample_weight"}
    limits = {"rtol": 1e-5, "atol": 1e-6} if dtype != np.float16 else {"rtol": 2e-3, "atol": 1e-3}
    for targets in (labels, soft):
        losses, grad = fastsm.cross_entropy_with_grad(x, targets, where=mask, reduction="none", **options)
        for r, kept in enumerate(mask):
            own = (
                np.flatnonzero(kept).searchsorted(labels[r : r + 1])
                if targets is labels
                else soft[r : r + 1, kept]
            )
            loss, d_x = reference.cross_entropy_with_grad(x[r : r + 1, kept], own, **plain)
            np.testing.assert_allclose(losses[r], weight[r] * loss, **limits)
            np.testing.assert_allclose(grad[r, kept], weight[r] * d_x[0], **limits)
            assert (grad[r, ~kept] == 0).all()
        mean = fastsm.cross_entropy(x, targets, where=mask, **options)
        np.testing.assert_allclose(mean, losses.astype(float).sum() / weight.sum(), rtol=1e-5)


@pytest.mark.parametrize("options", [*OPTIONS, {"class_weight": np.arange(1.0, 11)}, {"ignore_index": 3}])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reference(options, reduction):
    x, mask, labels, soft = problem(10, np.float64)
    for targets in (labels,) if "ignore_index" in options else (labels, soft):
        got = fastsm.cross_entropy_with_grad(x, targets, where=mask, reduction=reduction, **options)
        expected = reference.cross_entropy_with_grad(x, targets, where=mask, reduction=reduction, **options)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_axes_shapes_and_places():
    x, mask, labels, _ = problem(10, np.float32)
    for smoothing in (0.0, 0.1):
        expected, grad = fastsm.cross_entropy_with_grad(x, labels, where=mask, label_smoothing=smoothing)
        options = {"axis": 0, "label_smoothing": smoothing}
        loss, columns = fastsm.cross_entropy_with_grad(x.T, labels, where=mask.T, **options)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
        np.testing.assert_allclose(columns, grad.T, atol=1e-7)
        into = x.copy()
        _, same = fastsm.cross_entropy_with_grad(
            into, labels, where=mask, label_smoothing=smoothing, out=into
        )
        assert same is into
        np.testing.assert_array_equal(into, grad)
    some, labels = np.arange(10) < 5, labels % 5  # of shape (C,)
    x = np.nan_to_num(x, posinf=0, neginf=0)
    loss, grad = fastsm.cross_entropy_with_grad(x, labels, where=some)
    few, d_few = fastsm.cross_entropy_with_grad(x[:, :5].copy(), labels)
    np.testing.assert_allclose(loss, few, rtol=1e-6)
    np.testing.assert_allclose(grad[:, :5], d_few, atol=1e-7)


def test_gradient():
    x, mask, labels, _ = problem(5, np.float64)
    x = np.where(mask, x, 0)

    def loss(x):
        return fastsm.cross_entropy(x, labels, where=mask, label_smoothing=0.1)

    def grad(x):
        return fastsm.cross_entropy_with_grad(x, labels, where=mask, label_smoothing=0.1)[1]

    step = 1e-6
    for place in np.ndindex(x.shape):
        change = np.zeros_like(x)
        change[place] = step
        np.testing.assert_allclose(
            (loss(x + change) - loss(x - change)) / (2 * step), grad(x)[place], atol=1e-8
        )


def test_targets_elsewhere():
    mask = np.array([[True, True, False], [False, True, True]])
    x, message = np.zeros((2, 3)), "`targets` must lie where `where` is True, got "
    with raises(ValueError, message + "the label of row 1 where it is False"):
        fastsm.cross_entropy(x, [0, 0], where=mask)
    with raises(ValueError, message + "a probability of row 0 where it is False"):
        fastsm.cross_entropy(x, [[0.5, 0, 0.5], [0, 1, 0]], where=mask)
    with raises(ValueError, "`where` must have a shape that broadcasts to (2, 3), got (3, 3)"):
        fastsm.cross_entropy(x, [0, 1], where=np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="must lie where"):
        reference.cross_entropy(x, [0, 0], where=mask)
    # Rows that do not count may have it anywhere, and no class at all.
    mask[1] = False
    expected = fastsm.cross_entropy([[0.0, 0.0]], [0])
    for smoothing in (0.0, 0.3):
        for options in ({"ignore_index": 2}, {"sample_weight": [1, 0]}):
            options["label_smoothing"] = smoothing
            loss, grad = fastsm.cross_entropy_with_grad(x, [0, 2], where=mask, **options)
            np.testing.assert_allclose(loss, expected)
            assert not grad[1].any()
