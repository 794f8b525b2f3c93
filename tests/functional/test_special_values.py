"""Infinities, NaN, masks, empty arrays, and the floating-point environment."""

import numpy as np
import oracle
import pytest
from processes import run_program

import fastsm

inf, nan = np.inf, np.nan
FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])
# both kernel families: rows are lanes, rows of 40 and 130, columns
FAMILIES = pytest.mark.parametrize(("classes", "axis"), [(3, -1), (40, -1), (130, -1), (3, 0), (40, 0)])


def call(function, x, axis, **options):
    """Apply a function to rows that lie along an axis, and return its result as rows again."""
    result = function(np.ascontiguousarray(np.moveaxis(x, -1, axis)), axis=axis, **options)
    return np.moveaxis(result, axis, -1) if result.ndim == x.ndim else result


# ---- infinities and NaN ----


@FLOATS
@FAMILIES
def test_minus_infinity(isa, dtype, classes, axis):
    """-inf at any place has probability 0 and does not change the others."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, classes)).astype(dtype)
    low = rng.random(x.shape) < 0.3
    low[:, 0] = False
    x[low] = -inf
    y = call(fastsm.softmax, x, axis)
    assert np.all((y == 0) == low)
    assert np.allclose(y, oracle.softmax(x), rtol=8 * oracle.eps(dtype), atol=0)
    log_y = call(fastsm.log_softmax, x, axis)
    assert np.all((log_y == -inf) == low)
    assert np.allclose(log_y, oracle.log_softmax(x), rtol=8 * oracle.eps(dtype), atol=0)
    total = call(fastsm.logsumexp, x, axis)
    assert np.allclose(total, oracle.logsumexp(x), rtol=8 * oracle.eps(dtype), atol=0)


@FLOATS
@FAMILIES
@pytest.mark.parametrize("others", ["finite", "with +inf", "with -inf", "only -inf"])
def test_nan_anywhere(isa, dtype, classes, axis, others):
    """A NaN at any place makes its whole row NaN, and no other row."""
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((classes, classes)).astype(dtype)
    x = np.full_like(clean, -inf) if others == "only -inf" else clean.copy()
    if "with" in others:
        x[np.arange(classes), np.arange(classes) - 1] = inf if others == "with +inf" else -inf
    np.fill_diagonal(x, nan)
    mixed = np.empty((2 * classes, classes), dtype)
    mixed[0::2], mixed[1::2] = clean, x
    for function in (fastsm.softmax, fastsm.log_softmax, fastsm.logsumexp):
        result = call(function, mixed, axis)
        assert np.all(np.isnan(result[1::2]))
        assert np.array_equal(result[0::2], call(function, clean, axis))


@FLOATS
@FAMILIES
def test_plus_infinity(isa, dtype, classes, axis):
    """+inf at any place: NaN, but infinity for logsumexp, as in SciPy."""
    x = np.zeros((classes, classes), dtype)
    x[:, 0] = -inf
    np.fill_diagonal(x, inf)
    assert np.all(np.isnan(call(fastsm.softmax, x, axis)))
    assert np.all(np.isnan(call(fastsm.log_softmax, x, axis)))
    assert np.all(call(fastsm.logsumexp, x, axis) == inf)


@FLOATS
@FAMILIES
def test_only_minus_infinity(isa, dtype, classes, axis):
    """A row of only -inf: NaN, but -inf for logsumexp, as in SciPy; its neighbours are untouched."""
    x = np.zeros((7, classes), dtype)
    x[1::2] = -inf
    expected = np.repeat([[1 / classes], [nan]], 4, axis=1).T.reshape(8)[:7].astype(dtype)
    y = call(fastsm.softmax, x, axis)
    assert np.array_equal(y, np.broadcast_to(expected[:, None], y.shape), equal_nan=True)
    assert np.all(np.isnan(call(fastsm.log_softmax, x, axis)[1::2]))
    assert np.all(call(fastsm.logsumexp, x, axis)[1::2] == -inf)


@FLOATS
def test_special_rows_against_scipy(isa, dtype):
    """All combinations of special values in rows of 3: NaN and infinities where SciPy has them."""
    special = pytest.importorskip("scipy.special")
    values = np.array([0, 1, -inf, inf, nan], dtype)
    x = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(-1, 3)
    # not log_softmax, which in SciPy is -inf where +inf is somewhere else in the row
    with np.errstate(all="ignore"):
        expected = special.softmax(x, axis=-1), special.logsumexp(x, axis=-1)
    for function, other in zip((fastsm.softmax, fastsm.logsumexp), expected, strict=True):
        np.testing.assert_allclose(function(x), other, rtol=8 * oracle.eps(dtype), atol=0, equal_nan=True)


@FLOATS
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("classes", [2, 10, 32, 33, 100, 1000])
def test_no_subnormal_numbers(isa, dtype, classes, axis):
    """Exponentials are 0 or normal numbers, and probabilities at least the smallest of them over the sum."""
    rng = np.random.default_rng(0)
    lowest = np.log(oracle.zero_below(dtype))
    x = (rng.standard_normal((200, classes)) * 100).astype(dtype)
    # around where exp becomes 0, and its quotient by the sum subnormal
    x[::2, 1:] = rng.uniform(lowest - 1, lowest + np.log(classes) + 2, (100, classes - 1))
    x[::2, : 1 + classes // 2] = 0
    y = call(fastsm.softmax, x, axis)
    assert np.all((y == 0) | (y >= np.finfo(dtype).tiny / classes))


@FLOATS
def test_differences_that_overflow(isa, dtype):
    """Finite logits farther apart than the largest number."""
    big = np.finfo(dtype).max * 0.9
    for classes in (2, 40):
        x = np.full((1, classes), -big, dtype)
        x[0, 0] = big
        one_hot = np.eye(1, classes, dtype=dtype)
        assert np.array_equal(fastsm.softmax(x), one_hot)
        assert np.array_equal(fastsm.log_softmax(x), np.where(one_hot == 1, 0, -inf))
        assert fastsm.logsumexp(x) == dtype(big)
        assert np.array_equal(fastsm.softmax(x, temperature=10), one_hot)


@FLOATS
@pytest.mark.parametrize("classes", [3, 40])
@pytest.mark.parametrize("temperature", [1e-30, 1e30])
def test_extreme_temperatures(isa, dtype, classes, temperature):
    """The lowest temperature picks the maximum, the highest treats all finite logits alike."""
    x = np.zeros((2, classes), dtype)
    x[:, 0] = -inf
    x[:, 1] = 1
    low = temperature < 1
    y = fastsm.softmax(x, temperature=temperature)
    expected = np.eye(1, classes, 1) if low else np.where(x == -inf, 0, 1 / (classes - 1))
    assert np.allclose(y, np.broadcast_to(expected, x.shape), rtol=1e-6, atol=0)
    loss, grad = fastsm.cross_entropy_with_grad(x, [1, 2], temperature=temperature, reduction="none")
    exact = np.array([0, 1e30]) if low else np.log(classes - 1)
    assert np.allclose(loss, exact, rtol=1e-6, atol=0)
    y[[0, 1], [1, 2]] -= 1
    assert np.allclose(grad * temperature, y, rtol=1e-6, atol=1e-6)


@FLOATS
@pytest.mark.parametrize("classes", [3, 40])
def test_vjp_with_probability_zero(isa, dtype, classes):
    """Where a probability is 0 (log: -inf) the VJPs are finite."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, classes)).astype(dtype)
    x[:, 1] = -inf
    dy = rng.standard_normal(x.shape).astype(dtype)
    dz = fastsm.softmax_vjp(fastsm.softmax(x), dy)
    assert np.all(dz[:, 1] == 0)
    assert np.all(np.isfinite(dz))
    dz = fastsm.log_softmax_vjp(fastsm.log_softmax(x), dy)
    assert np.all(dz[:, 1] == dy[:, 1])
    assert np.all(np.isfinite(dz))


@FLOATS
@FAMILIES
@pytest.mark.parametrize("function", [fastsm.softmax_vjp, fastsm.log_softmax_vjp])
def test_nan_in_gradients(isa, dtype, classes, axis, function):
    """A NaN at any place of dy makes its row NaN, and no other row; so does an infinity in the sum."""
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((2 * classes, classes)).astype(dtype)
    y = np.full(clean.shape, 0.5 if function is fastsm.softmax_vjp else -0.5, dtype)
    expected = function(np.moveaxis(y, -1, axis), np.moveaxis(clean, -1, axis), axis=axis)
    expected = np.moveaxis(expected, axis, -1)[::2]
    for bad in (nan, inf, -inf):
        dy = clean.copy()
        dy[np.arange(1, 2 * classes, 2), np.arange(classes)] = bad
        dz = np.moveaxis(function(np.moveaxis(y, -1, axis), np.moveaxis(dy, -1, axis), axis=axis), axis, -1)
        assert np.array_equal(dz[::2], expected)
        assert not np.any(np.isfinite(dz[1::2]))
        if np.isnan(bad):
            assert np.all(np.isnan(dz[1::2]))


# ---- cross-entropy ----


@pytest.mark.parametrize("axis", [-1, 0])
def test_where_clipping_fails(isa, axis):
    """z = [120, 0, 0] in float32 with label 1: the gradient is [1, -1, 0], and the loss 120."""
    z = np.array([[120, 0, 0]], np.float32)
    z = z if axis == -1 else z.T.copy()
    for targets in ([1], np.array([[0, 1, 0]], np.float32).reshape(z.shape)):
        loss, grad = fastsm.cross_entropy_with_grad(z, targets, axis=axis)
        assert loss == 120
        assert np.array_equal(grad.ravel(), [1, -1, 0])
        assert grad.dtype == np.float32


@FLOATS
@FAMILIES
def test_label_of_minus_infinity(isa, dtype, classes, axis):
    """A label whose logit is -inf has infinite loss and gradient -1; other -inf have gradient 0."""
    x = np.zeros((3, classes), dtype)
    x[:, 1] = -inf
    x = np.moveaxis(x, -1, axis)
    for targets in (np.array([0, 1, 0]), np.moveaxis(np.eye(classes, dtype=dtype)[[0, 1, 0]], -1, axis)):
        loss, grad = fastsm.cross_entropy_with_grad(x, targets, axis=axis, reduction="none")
        grad = np.moveaxis(grad, axis, -1)
        assert np.allclose(loss, [np.log(classes - 1), inf, np.log(classes - 1)])
        assert np.array_equal(grad[:, 1], [0, -1, 0])
        assert not np.any(np.isnan(grad))


@FLOATS
@FAMILIES
def test_zero_times_infinity(isa, dtype, classes, axis):
    """A term with weight or probability 0 is 0, also if its logit is -inf."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, classes)).astype(dtype)
    x[:, 1] = -inf
    y = rng.dirichlet(np.ones(classes), 4).astype(dtype)
    class_weight = np.ones(classes)
    class_weight[1] = 0
    y_without = y.copy()
    y_without[:, 1] = 0
    expected = -np.sum(np.delete(y * oracle.log_softmax(x), 1, axis=1), axis=1)

    def loss(targets, **options):
        return fastsm.cross_entropy_with_grad(
            np.moveaxis(x, -1, axis), targets, axis=axis, reduction="none", **options
        )

    for targets, options in [(y_without, {}), (y, {"class_weight": class_weight})]:
        losses, grad = loss(np.moveaxis(targets, -1, axis), **options)
        assert np.allclose(losses, expected, rtol=16 * oracle.eps(dtype))
        assert np.all(np.moveaxis(grad, axis, -1)[:, 1] == 0)
    labels = np.full(4, 1)
    for options in ({"class_weight": class_weight}, {"sample_weight": np.zeros(4)}):
        losses, grad = loss(labels, **options)
        assert np.all(losses == 0)
        assert np.all(grad == 0)
    losses, grad = loss(labels, class_weight=class_weight, label_smoothing=0.5)
    smoothed = -0.5 / classes * np.sum(np.delete(oracle.log_softmax(x), 1, axis=1), axis=1)
    assert np.allclose(losses, smoothed, rtol=16 * oracle.eps(dtype))
    assert not np.any(np.isnan(grad))
    losses, grad = loss(labels, label_smoothing=0.5)
    assert np.all(losses == inf)
    assert not np.any(np.isnan(grad))


@FLOATS
@FAMILIES
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_rows_without_a_softmax(isa, dtype, classes, axis, bad):
    """Rows with NaN or +inf, or only -inf, have NaN for loss and gradient; the others do not."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, classes)).astype(dtype)
    clean = x.copy()
    labels = rng.integers(0, classes, 9)
    if bad == -inf:
        x[4:6] = bad
    else:
        x[4, rng.integers(classes)] = bad
        x[5, -1] = bad
    others = np.arange(9) // 2 != 2
    y = oracle.one_hot(labels, classes, dtype)
    for smoothing in (0.0, 0.1):
        for targets in (labels, np.moveaxis(y, -1, axis)):
            loss, grad = fastsm.cross_entropy_with_grad(
                np.moveaxis(x, -1, axis), targets, axis=axis, label_smoothing=smoothing, reduction="none"
            )
            grad = np.moveaxis(grad, axis, -1)
            assert np.all(np.isnan(loss[4:6]))
            assert np.all(np.isnan(grad[4:6]))
            expected, expected_grad = fastsm.cross_entropy_with_grad(
                np.moveaxis(clean, -1, axis), targets, axis=axis, label_smoothing=smoothing, reduction="none"
            )
            assert np.array_equal(loss[others], expected[others])
            assert np.array_equal(grad[others], np.moveaxis(expected_grad, axis, -1)[others])


@FLOATS
@FAMILIES
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [-100, 0])
def test_ignored_rows(isa, dtype, classes, axis, smoothing, ignored):
    """Ignored rows have loss 0 and gradient 0 for any logits, and do not count in the mean."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, classes)).astype(dtype)
    labels = rng.integers(1, classes, 8)
    out = np.arange(8) % 3 == 0
    labels[out] = ignored
    x[0] = nan
    x[3] = -inf
    options = {"axis": axis, "label_smoothing": smoothing}
    kept = np.moveaxis(x[~out], -1, axis)
    for reduction in ("mean", "sum", "none"):
        loss, grad = fastsm.cross_entropy_with_grad(
            np.moveaxis(x, -1, axis), labels, ignore_index=ignored, reduction=reduction, **options
        )
        expected, expected_grad = fastsm.cross_entropy_with_grad(
            kept, labels[~out], reduction=reduction, **options
        )
        grad = np.moveaxis(grad, axis, -1)
        assert np.all(grad[out] == 0)
        assert np.array_equal(grad[~out], np.moveaxis(expected_grad, axis, -1))
        if reduction == "none":
            assert np.all(loss[out] == 0)
            assert np.array_equal(loss[~out], expected)
        else:
            assert loss == pytest.approx(expected, rel=4 * oracle.eps(dtype))


@FLOATS
@pytest.mark.parametrize("classes", [3, 40])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nothing_to_average(isa, dtype, classes, smoothing):
    """All ignored, total weight 0 or no rows: loss 0 and gradient 0, also over what `out` held."""
    x = np.random.default_rng(0).standard_normal((4, classes)).astype(dtype)
    labels = np.array([0, 1, 2, 1])
    class_weight = np.zeros(classes)
    cases = [
        (x, labels, {"sample_weight": np.zeros(4)}),
        (x, labels, {"class_weight": class_weight}),
        (x, np.eye(classes, dtype=dtype)[labels], {"sample_weight": np.zeros(4)}),
        (np.full_like(x, nan), np.full(4, -1), {"ignore_index": -1}),
        (x[:0], labels[:0], {}),
        (x[:0], x[:0], {}),
    ]
    for reduction in ("mean", "sum"):
        for logits, targets, options in cases:
            out = np.full_like(logits, nan)
            loss, grad = fastsm.cross_entropy_with_grad(
                logits, targets, reduction=reduction, label_smoothing=smoothing, out=out, **options
            )
            if "class_weight" in options and reduction == "sum":
                continue  # smoothing gives weight to other classes: see below
            assert loss == 0
            assert loss.dtype == dtype
            assert grad is out
            assert np.all(grad == 0)


def test_one_zero_weight_among_others(isa):
    """A class weight of 0 takes the rows of this class out of the mean, but not out of smoothing."""
    x = np.random.default_rng(0).standard_normal((4, 3))
    labels = np.array([0, 1, 2, 1])
    weight = np.array([1.0, 0.0, 2.0])
    loss, grad = fastsm.cross_entropy_with_grad(x, labels, class_weight=weight)
    expected, expected_grad = fastsm.cross_entropy_with_grad(x[[0, 2]], labels[[0, 2]], class_weight=weight)
    assert loss == pytest.approx(expected, rel=1e-15)
    assert np.allclose(grad[[0, 2]], expected_grad, rtol=1e-15, atol=0)
    assert np.all(grad[[1, 3]] == 0)
    loss = fastsm.cross_entropy(x, labels, class_weight=weight, label_smoothing=0.3, reduction="none")
    assert np.all(loss > 0)


# ---- where= ----


@FLOATS
@FAMILIES
def test_where(isa, dtype, classes, axis):
    """Masked entries get 0 (log: -inf) for any value; the others are as without them."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, classes)).astype(dtype)
    mask = rng.random(x.shape) < 0.6
    mask[:, 0] = True
    mask[5] = False
    x[~mask] = rng.choice([nan, inf, -inf, 1e30], np.count_nonzero(~mask))
    y, log_y, total = np.zeros(x.shape), np.full(x.shape, -inf), np.full(12, -inf)
    for i in np.flatnonzero(mask.any(axis=1)):
        kept = x[i, mask[i]].astype(dtype)
        y[i, mask[i]] = oracle.softmax(kept)
        log_y[i, mask[i]] = oracle.log_softmax(kept)
        total[i] = oracle.logsumexp(kept)
    where = np.moveaxis(mask, -1, axis)
    saved = x.copy()
    for function, expected in [(fastsm.softmax, y), (fastsm.log_softmax, log_y), (fastsm.logsumexp, total)]:
        result = call(function, x, axis, where=where)
        np.testing.assert_allclose(result, expected, rtol=8 * oracle.eps(dtype), atol=4 * oracle.eps(dtype))
        assert result.dtype == dtype
        if result.ndim == 2:
            assert np.all(result[~mask] == expected[~mask])
            in_place = np.moveaxis(x, -1, axis).copy(order="C")
            assert function(in_place, axis=axis, where=where, out=in_place) is in_place
            assert np.array_equal(np.moveaxis(in_place, axis, -1), result)
    assert np.array_equal(x, saved, equal_nan=True)


def test_where_broadcasts(isa):
    """The mask may have any shape that broadcasts to that of x."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    columns = np.array([True, False, True, True])
    full = np.broadcast_to(columns, x.shape)
    for function in (fastsm.softmax, fastsm.log_softmax, fastsm.logsumexp):
        assert np.array_equal(function(x, where=columns), function(x, where=full))
        assert np.array_equal(function(x, where=True), function(x))
        rows = np.array([True, False, True])[:, None]
        assert np.array_equal(function(x, where=rows)[:, [0, 2]], function(x)[:, [0, 2]])
    assert np.all(fastsm.softmax(x, where=False) == 0)
    assert np.all(fastsm.log_softmax(x, where=False) == -inf)
    assert np.all(fastsm.logsumexp(x, where=False) == -inf)
    assert np.all(fastsm.softmax(x, where=rows)[:, 1] == 0)


def test_where_only_special_values_remain(isa):
    """A mask that leaves only -inf, or a NaN, is not a mask that leaves nothing: NaN."""
    x = np.array([[-inf, -inf, 1], [nan, 0, 1], [inf, 0, 1]])
    mask = np.array([True, True, False])
    assert np.all(np.isnan(fastsm.softmax(x, where=mask)[:, :2]))
    assert np.array_equal(fastsm.logsumexp(x, where=mask), [-inf, nan, inf], equal_nan=True)


@pytest.mark.parametrize("dtype", ["float16", "uint8", "bool", "int64"])
def test_where_with_other_dtypes(isa, dtype):
    """Masks work with converted dtypes."""
    x = np.array([[1, 0, 1, 1]], dtype)
    mask = np.array([True, True, False, True])
    expected = fastsm.softmax(x[:, mask])
    assert np.array_equal(fastsm.softmax(x, where=mask)[:, mask], expected)
    assert fastsm.softmax(x, where=mask).dtype == expected.dtype


# ---- shapes at the edge ----


@FLOATS
@pytest.mark.parametrize("shape", [(1,), (5, 1), (1, 1), (2, 3, 1), (40, 1)])
def test_one_class(isa, dtype, shape):
    """With one class the probability is 1, the loss 0 and every gradient 0."""
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    assert np.all(fastsm.softmax(x) == 1)
    assert np.all(fastsm.log_softmax(x) == 0)
    assert np.array_equal(fastsm.logsumexp(x), x[..., 0])
    assert np.all(fastsm.softmax_vjp(np.ones_like(x), x) == 0)
    assert np.all(fastsm.log_softmax_vjp(np.zeros_like(x), x) == 0)
    for targets in (np.zeros(shape[:-1], int), np.ones(shape, dtype)):
        for smoothing in (0.0, 0.1):
            loss, grad = fastsm.cross_entropy_with_grad(x, targets, label_smoothing=smoothing)
            assert loss == 0
            assert np.all(grad == 0)
    x = np.array([[-inf], [nan], [inf], [0]], dtype)
    assert np.array_equal(fastsm.softmax(x)[:, 0], [nan, nan, nan, 1], equal_nan=True)


@FLOATS
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 4), (0, 50)])
@pytest.mark.parametrize("axis", [-1, 0])
def test_empty_arrays(isa, dtype, shape, axis):
    """No rows or no classes: empty results of the right shape; the logarithm of an empty sum is -inf."""
    x = np.empty(shape, dtype)
    rows = shape[1:] if axis == 0 else shape[:-1]
    for function in (fastsm.softmax, fastsm.log_softmax):
        result = function(x, axis=axis)
        assert result.shape == shape
        assert result.dtype == dtype
        out = np.empty(shape, dtype)
        assert function(x, axis=axis, out=out) is out
        assert function(x, axis=axis, where=np.ones(shape, bool)).shape == shape
    for function in (fastsm.softmax_vjp, fastsm.log_softmax_vjp):
        assert function(x, x, axis=axis).shape == shape
    total = fastsm.logsumexp(x, axis=axis)
    assert total.shape == rows
    assert total.dtype == dtype
    assert np.all(total == -inf)
    kept = np.expand_dims(np.empty(rows), axis).shape
    assert fastsm.logsumexp(x, axis=axis, keepdims=True).shape == kept
    for reduction in ("mean", "sum", "none"):
        loss, grad = fastsm.cross_entropy_with_grad(x, x, axis=axis, reduction=reduction)
        assert loss.shape == (rows if reduction == "none" else ())
        assert np.all(loss == 0)
        assert grad.shape == shape


def test_labels_of_no_classes(isa):
    """Without classes there is no valid label, but a label may be ignored."""
    with pytest.raises(ValueError, match=r"`targets` must lie in \[0, 0\), got 0 at position 0"):
        fastsm.cross_entropy(np.empty((3, 0)), [0, 0, 0])
    assert fastsm.cross_entropy(np.empty((3, 0)), [-1, -1, -1], ignore_index=-1) == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, bool])
def test_no_axes(isa, dtype):
    """A number is a row of one, and the results are NumPy scalars."""
    x = np.array(1, dtype)
    expected = np.float64 if np.dtype(dtype).kind in "ib" else dtype
    for axis in (-1, 0):
        for result, value in [
            (fastsm.softmax(x, axis=axis), 1),
            (fastsm.log_softmax(x, axis=axis), 0),
            (fastsm.logsumexp(x, axis=axis), 1),
            (fastsm.softmax_vjp(x, x, axis=axis), 0),
            (fastsm.log_softmax_vjp(np.zeros_like(x), x, axis=axis), 0),
            (fastsm.softmax(x, axis=axis, where=True), 1),
            (fastsm.softmax(x, axis=axis, where=False), 0),
            (fastsm.log_softmax(x, axis=axis, where=False), -inf),
            (fastsm.logsumexp(x, axis=axis, where=False), -inf),
            (fastsm.logsumexp(x, axis=axis, keepdims=True), 1),
        ]:
            assert type(result) is expected
            assert result == value
    if expected is dtype:
        out = np.empty((), dtype)
        assert fastsm.softmax(x, out=out) is out
        assert out == 1
    assert np.isnan(fastsm.softmax(np.float32(nan)))


# ---- dtypes ----


def test_unsigned_three_two_one(isa):
    """The example that SciPy gets wrong, and the largest integers."""
    assert np.allclose(fastsm.softmax(np.array([1, 2, 3], np.uint8)), [0.09003057, 0.24472847, 0.66524096])
    assert np.array_equal(fastsm.softmax(np.array([0, 2**64 - 1], np.uint64)), [0, 1])
    assert np.array_equal(fastsm.softmax(np.array([-(2**63), 2**63 - 1])), [0, 1])


def small_dtype(name):
    """Return a dtype of 16 bits."""
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("classes", [3, 40])
def test_cross_entropy_of_small_floats(isa, name, reduction, classes):
    """The gradient in the dtype of the logits, computed in float32; the loss in float32."""
    dtype = small_dtype(name)
    rng = np.random.default_rng(0)
    x = (3 * rng.standard_normal((50, classes))).astype(dtype)
    labels = rng.integers(0, classes, 50)
    y = rng.dirichlet(np.ones(classes), 50).astype(dtype)
    weight = rng.uniform(0, 1, classes).astype(dtype)
    for targets in (labels, y):
        loss, grad = fastsm.cross_entropy_with_grad(x, targets, class_weight=weight, reduction=reduction)
        wide = targets if targets is labels else y.astype(np.float32)
        expected, expected_grad = fastsm.cross_entropy_with_grad(
            x.astype(np.float32), wide, class_weight=weight.astype(np.float32), reduction=reduction
        )
        assert grad.dtype == dtype
        assert loss.dtype == np.float32
        assert np.array_equal(loss, expected)
        assert np.array_equal(grad, expected_grad.astype(dtype))
        in_place = x.copy()
        again, out = fastsm.cross_entropy_with_grad(
            in_place, targets, class_weight=weight, reduction=reduction, out=in_place
        )
        assert out is in_place
        assert np.array_equal(out, grad)
        assert np.array_equal(again, loss)


# ---- the floating-point environment ----


def test_floating_point_environment(isa):
    """Importing and using fastsm leaves subnormals, rounding and NumPy's error settings as they were."""
    run_program("floating_point_environment.py", FASTSM_ISA=isa)


@FLOATS
def test_no_floating_point_errors(isa, dtype):
    """Special values raise nothing, even where NumPy is told to raise everything."""
    rows = [[0, 1, -inf], [inf, 0, 0], [nan, 0, 0], [-inf, -inf, -inf], [3e38, -3e38, 0], [0, -90, -1000]]
    x = np.array(rows, dtype)
    with np.errstate(all="raise"):
        for z in (x, x.T.copy(), x.T, np.tile(x, 20), x[:, ::2]):
            y = fastsm.softmax(z)
            fastsm.log_softmax(z)
            fastsm.logsumexp(z)
            fastsm.softmax(z, where=z < 2)
            fastsm.softmax_vjp(y, z)
            fastsm.log_softmax_vjp(z, z)
            fastsm.cross_entropy_with_grad(z, np.zeros(len(z), int), label_smoothing=0.1)
            fastsm.cross_entropy_with_grad(z, z, sample_weight=np.zeros(len(z)), reduction="sum")


def test_weights_too_large_for_float32(isa):
    """Weights beyond float32 count as infinite, without a warning."""
    logits = np.zeros((2, 2), np.float32)
    loss = fastsm.cross_entropy(logits, [0, 1], class_weight=[1e300, 1], reduction="sum")
    assert loss == np.inf


def test_empty_list_of_targets(isa):
    """An empty list of targets counts as labels."""
    loss, gradient = fastsm.cross_entropy_with_grad(np.zeros((0, 3)), [])
    assert loss == 0
    assert gradient.shape == (0, 3)
