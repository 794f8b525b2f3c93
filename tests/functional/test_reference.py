"""The NumPy reference of the functional API against results that share no code with it.

Those are mpmath (100 digits, from the exact values of the floating-point inputs), SciPy, numbers worked by
hand, finite differences, and a literal loop over the definition of cross-entropy.

Tolerances are in units of eps of the dtype. Where x - max is exact (the tests' logits are multiples of 1/64)
there remain: exp, at most 1 ULP in float64 but 2.6 in NumPy's float32, once in the numerator and once in the
sum; up to 11 additions in a row for 64 classes, half a ULP each; and a few roundings more: 12 eps in all.
Log-probabilities and losses are sums of numbers of one sign, so theirs is a relative error, too.
"""

import ast
import doctest
import inspect
import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.special
from checks import raises
from extras import BFLOAT16
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastsm
from fastsm import reference

EPSILONS = 12
DIGITS = 100
NAN, INF = np.nan, np.inf
FUNCTIONS = [
    "softmax",
    "log_softmax",
    "logsumexp",
    "softmax_vjp",
    "log_softmax_vjp",
    "logsumexp_vjp",
    "softmax_jacobian",
    "cross_entropy",
    "cross_entropy_with_grad",
    "binary_cross_entropy",
    "binary_cross_entropy_with_grad",
]
REST = math.exp(-40)  # of the row [0, -40]; far below eps


def exact(row, temperature=1.0):
    """softmax, log_softmax and logsumexp of one row, as lists of 100-digit numbers."""
    with mpmath.workdps(DIGITS):
        x = [mpmath.mpf(float(v)) / mpmath.mpf(temperature) for v in row]
        total = mpmath.log(mpmath.fsum(mpmath.exp(v) for v in x))
        return [mpmath.exp(v - total) for v in x], [v - total for v in x], total


def exact_cross_entropy(row, t, temperature=1.0):
    """-sum(t log p) and (p sum(t) - t) / T of one row, with 100 digits."""
    p, log_p, _ = exact(row, temperature)
    with mpmath.workdps(DIGITS):
        t = [mpmath.mpf(float(v)) for v in t]
        total = mpmath.fsum(t)
        loss = -mpmath.fsum(a * b for a, b in zip(t, log_p, strict=True))
        return loss, [(a * total - b) / mpmath.mpf(temperature) for a, b in zip(p, t, strict=True)]


def worst(got, truth, scale=None):
    """Largest error in eps of got's dtype, relative to the truth or to the given scale."""
    got = np.asarray(got)
    with mpmath.workdps(DIGITS):
        eps, tiny = mpmath.mpf(float(np.finfo(got.dtype).eps)), mpmath.mpf("1e-60")  # below tiny, truth is 0
        errors = [
            abs(mpmath.mpf(float(g)) - t) / (eps * max(abs(s), tiny))
            for g, t, s in zip(got.ravel(), truth, truth if scale is None else scale, strict=True)
        ]
    return float(max(errors))


def dyadic(rng, shape, dtype=np.float64):
    """Logits from -16 to 16, of which differences are exact."""
    return (rng.integers(-1024, 1025, shape) / 64).astype(dtype)


@pytest.fixture
def rng():
    return np.random.default_rng(20210926)


# ---- the module itself ----


def test_imports_only_numpy():
    names = set()
    for node in ast.walk(ast.parse(inspect.getsource(reference))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert names == {"__future__", "numpy", "numpy.typing", "typing"}


def test_docstring_examples():
    failed, tried = doctest.testmod(reference)
    assert failed == 0
    assert tried >= len(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures(name):
    def parameters(function):
        return [
            (p.name, p.kind, p.default)
            for p in inspect.signature(function).parameters.values()
            if p.name not in ("out", "num_threads")
        ]

    assert parameters(getattr(reference, name)) == parameters(getattr(fastsm, name))


# ---- softmax, log_softmax, logsumexp: values ----


def test_numbers_worked_by_hand():
    x = [0.0, math.log(3.0)]
    np.testing.assert_allclose(reference.softmax(x), [0.25, 0.75], rtol=1e-15)
    np.testing.assert_allclose(reference.log_softmax(x), [-math.log(4), math.log(0.75)], rtol=1e-15)
    assert reference.logsumexp(x) == pytest.approx(math.log(4), rel=1e-15)
    np.testing.assert_allclose(reference.softmax(x, temperature=0.5), [0.1, 0.9], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 64])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_against_mpmath(rng, dtype, classes, temperature):
    for row in dyadic(rng, (5, classes), dtype):
        p, log_p, _ = exact(row, temperature)
        assert worst(reference.softmax(row, temperature=temperature), p) <= EPSILONS
        assert worst(reference.log_softmax(row, temperature=temperature), log_p) <= EPSILONS
        total = exact(row)[2]
        # m and log1p(rest) may have opposite signs
        assert worst(reference.logsumexp(row), [total], [abs(total) + 2 * abs(float(row.max()))]) <= EPSILONS


shapes_and_axes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5).flatmap(
    lambda shape: st.tuples(st.just(shape), st.integers(-len(shape), len(shape) - 1))
)


@settings(deadline=None)
@given(shapes_and_axes, st.integers(0, 2**32 - 1), st.sampled_from(["C", "F"]))
def test_against_scipy(shape_and_axis, seed, order):
    shape, axis = shape_and_axis
    x = np.asarray(np.random.default_rng(seed).normal(scale=5, size=shape), order=order)
    # SciPy's log_softmax takes log instead of log1p: an absolute error of eps near 0
    np.testing.assert_allclose(
        reference.softmax(x, axis=axis), scipy.special.softmax(x, axis=axis), rtol=1e-13
    )
    np.testing.assert_allclose(
        reference.log_softmax(x, axis=axis), scipy.special.log_softmax(x, axis=axis), rtol=1e-13, atol=1e-14
    )
    for keepdims in (False, True):
        got = reference.logsumexp(x, axis=axis, keepdims=keepdims)
        expected = scipy.special.logsumexp(x, axis=axis, keepdims=keepdims)
        assert np.shape(got) == np.shape(expected)
        np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-14)


def test_strides_byte_order_and_lists(rng):
    x = rng.normal(size=(6, 8))
    views = [x[::-1, ::2], x.T, np.broadcast_to(x[0], (3, 8)), x.astype(">f8"), x.tolist()]
    for view in views:
        plain = np.array(view, dtype=np.float64, order="C")
        got = reference.softmax(view)
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, reference.softmax(plain))


def test_large_logits():
    np.testing.assert_array_equal(reference.softmax([1e308, -1e308]), [1, 0])
    np.testing.assert_array_equal(reference.log_softmax([1e4, 0.0]), [0, -1e4])
    assert reference.logsumexp([1000.0, 1000.0]) == pytest.approx(1000 + math.log(2), rel=1e-15)


def test_long_columns(rng):
    x = rng.normal(size=(100_000, 2)).astype(np.float32)
    expected = scipy.special.logsumexp(x.astype(np.float64), axis=0)
    got = reference.logsumexp(x, axis=0)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=4 * np.finfo(np.float32).eps)


# ---- relative accuracy near zero ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "row",
    [[0, -40], [-40, 0], [3, -17, -20.5], [0, -40, -40, -41, -50], [0, 0, -40], [5, 5, 5], [0, -1 / 64], [7]],
)
def test_small_results(row, dtype):
    row = np.array(row, dtype)
    p, log_p, total = exact(row)
    assert worst(reference.log_softmax(row), log_p) <= EPSILONS
    if row.max() == 0:
        assert worst(reference.logsumexp(row), [total]) <= EPSILONS
    for label in range(len(row)):
        loss, grad = reference.cross_entropy_with_grad(row, label)
        assert worst(loss, [-log_p[label]]) <= EPSILONS
        t = np.eye(len(row))[label]
        truth = exact_cross_entropy(row, t)[1]
        # where the label is not the maximum, p - 1 has the accuracy of 1 and of p
        scale = [abs(g) if x == row.max() else a + b for g, x, a, b in zip(truth, row, p, t, strict=True)]
        assert worst(grad, truth, scale) <= EPSILONS


def test_row_of_0_and_minus_40():
    assert reference.logsumexp([0.0, -40.0]) == pytest.approx(REST, rel=1e-15)
    assert reference.log_softmax([0.0, -40.0])[0] == pytest.approx(-REST, rel=1e-15)
    loss, grad = reference.cross_entropy_with_grad([0.0, -40.0], 0)
    assert loss == pytest.approx(REST, rel=1e-15)
    np.testing.assert_allclose(grad, [-REST, REST], rtol=1e-15)
    loss, grad = reference.cross_entropy_with_grad([0.0, -40.0], [1.0, 0.0], temperature=2.0)
    assert loss == pytest.approx(math.exp(-20), rel=1e-8)  # log1p(r) = r - r^2 / 2 ...
    np.testing.assert_allclose(grad, [-math.exp(-20) / 2, math.exp(-20) / 2], rtol=1e-8)


@pytest.mark.parametrize("t", [[1, 2.0**-60, 0], [0.5, 0.25, 0.25], [4, 2.0**-50, 2.0**-55], [0, 1, 0]])
@pytest.mark.parametrize("row", [[0, -40, -45], [0, -2, -3], [0, 0, -40]])
def test_probability_targets_at_the_maximum(row, t):
    loss, grad = reference.cross_entropy_with_grad(np.array(row, float), np.array(t, float))
    true_loss, truth = exact_cross_entropy(row, t)
    assert worst(loss, [true_loss]) <= EPSILONS
    p = exact(row)[0]
    # at the maximum: (sum of the other targets) - sum(t) (1 - p); elsewhere p sum(t) - t
    scale = [
        (sum(t) - a) + sum(t) * (1 - b) if j == 0 and row[1] < 0 else sum(t) * b + a
        for j, (a, b) in enumerate(zip(map(mpmath.mpf, t), p, strict=True))
    ]
    assert worst(grad, truth, scale) <= EPSILONS


# ---- special values ----


@pytest.mark.parametrize(
    "row",
    [
        [-INF, -INF],
        [-INF],
        [INF, 0.0],
        [INF, INF],
        [INF, -INF],
        [NAN, 0.0],
        [0.0, NAN],
        [NAN, INF],
        [NAN, -INF],
        [NAN],
    ],
)
def test_nan_rows(row):
    assert np.isnan(reference.softmax(row)).all()
    assert np.isnan(reference.log_softmax(row)).all()
    for label in range(len(row)):
        loss, grad = reference.cross_entropy_with_grad(row, label)
        assert np.isnan(loss)
        assert np.isnan(grad).all()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([-INF, -INF], -INF),
        ([INF, 0.0], INF),
        ([INF, INF], INF),
        ([INF, -INF], INF),
        ([NAN, INF], NAN),
        ([-INF, NAN], NAN),
        ([0.0, -INF], 0.0),
    ],
)
def test_logsumexp_of_infinities(row, expected):
    np.testing.assert_equal(reference.logsumexp(row), expected)
    np.testing.assert_equal(scipy.special.logsumexp(row), expected)


def test_minus_infinity():
    np.testing.assert_array_equal(reference.softmax([0.0, -INF, 0.0]), [0.5, 0, 0.5])
    np.testing.assert_array_equal(reference.log_softmax([0.0, -INF]), [0, -INF])
    np.testing.assert_array_equal(reference.log_softmax_vjp([0.0, -INF], [1.0, 2.0]), [-2, 2])


def test_nan_stays_in_its_row():
    got = reference.softmax([[NAN, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(got, [[NAN, NAN], [0.5, 0.5]])


@pytest.mark.parametrize("call", ["softmax", "log_softmax", "logsumexp"])
def test_no_warnings(call):
    x = [[INF, 0.0], [-INF, -INF], [NAN, 0.0], [1e308, -1e308], [0.0, -745.0], [0.0, 0.0]]
    with np.errstate(all="raise"):
        getattr(reference, call)(x)
        reference.cross_entropy_with_grad(x, [0] * 6)
        reference.softmax_vjp(x, x)
        reference.log_softmax_vjp(x, x)
        reference.softmax_jacobian(x)


# ---- where ----


def test_masked_entries(rng):
    x = rng.normal(size=(4, 5))
    keep = rng.random((4, 5)) < 0.6
    keep[:, 0] = True
    spoilt = np.where(keep, x, NAN)
    for row, mask, y, log_y, total in zip(
        x,
        keep,
        reference.softmax(spoilt, where=keep),
        reference.log_softmax(spoilt, where=keep),
        reference.logsumexp(spoilt, where=keep),
        strict=True,
    ):
        np.testing.assert_allclose(y[mask], scipy.special.softmax(row[mask]), rtol=1e-14)
        np.testing.assert_allclose(log_y[mask], scipy.special.log_softmax(row[mask]), rtol=1e-13)
        assert total == pytest.approx(scipy.special.logsumexp(row[mask]), rel=1e-13)
        assert (y[~mask] == 0).all()
        assert (log_y[~mask] == -INF).all()


def test_fully_masked_rows():
    x, keep = [[1.0, 2.0], [3.0, 3.0]], [[False], [True]]
    np.testing.assert_array_equal(reference.softmax(x, where=keep), [[0, 0], [0.5, 0.5]])
    log_half = math.log(0.5)
    np.testing.assert_array_equal(reference.log_softmax(x, where=keep), [[-INF, -INF], [log_half, log_half]])
    np.testing.assert_array_equal(reference.logsumexp(x, where=keep), [-INF, 3 + math.log(2)])


def test_broadcast_masks():
    x = np.zeros((3, 2))
    np.testing.assert_array_equal(reference.softmax(x, axis=0, where=[True, False])[:, 0], [1 / 3] * 3)
    np.testing.assert_array_equal(
        reference.softmax(x, axis=0, where=[[True], [False], [True]])[:, 1], [0.5, 0, 0.5]
    )
    assert reference.softmax(7.0, where=False) == 0
    with pytest.raises(ValueError, match="broadcast"):
        reference.softmax(x, where=[True] * 4)
    with pytest.raises(TypeError, match="`where` must have dtype bool, got int64"):
        reference.softmax(x, where=np.array([0, 1]))


# ---- dtypes and shapes ----


@pytest.mark.parametrize("dtype", [np.float16, *BFLOAT16, np.float32, np.float64, np.longdouble])
def test_floating_dtypes(rng, dtype):
    x = rng.normal(size=(3, 4)).astype(dtype)
    y = reference.softmax(x)
    loss, grad = reference.cross_entropy_with_grad(x, [0, 1, 2], temperature=np.float64(2))
    losses = reference.cross_entropy(x, [0, 1, 2], reduction="none", class_weight=np.ones(4))
    for result in (
        y,
        reference.log_softmax(x),
        reference.logsumexp(x),
        reference.softmax_vjp(y, y),
        reference.log_softmax_vjp(x, x),
        reference.softmax_jacobian(y),
        grad,
    ):
        assert result.dtype == dtype
    assert loss.dtype == losses.dtype == np.promote_types(dtype, np.float32)
    assert isinstance(loss, np.generic)


@pytest.mark.parametrize("dtype", [np.float16, *BFLOAT16])
def test_half_precision(rng, dtype):
    x = rng.normal(size=(3, 4)).astype(dtype)
    wide = x.astype(np.float32)
    np.testing.assert_array_equal(reference.softmax(x), reference.softmax(wide).astype(dtype))
    np.testing.assert_array_equal(
        reference.softmax_vjp(x, x), reference.softmax_vjp(wide, wide).astype(dtype)
    )
    got = reference.cross_entropy_with_grad(x, [1, 2, 3])
    expected = reference.cross_entropy_with_grad(wide, [1, 2, 3])
    assert got[0] == expected[0]
    np.testing.assert_array_equal(got[1], expected[1].astype(dtype))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.uint64, np.int64])
def test_integers_and_bools(dtype):
    x = np.array([1, 0, 1], dtype)
    y = reference.softmax(x)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, reference.softmax([1.0, 0.0, 1.0]))
    assert reference.cross_entropy(x, 0).dtype == np.float64


def test_unsigned_integers():
    x = np.array([1, 2, 3], np.uint8)
    np.testing.assert_array_equal(reference.softmax(x), reference.softmax([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("x", [np.array([1j, 0]), np.array([1, 2], object), np.array(["1", "2"])])
def test_other_dtypes(x):
    one = np.ones(2)
    for call in (
        lambda: reference.softmax(x),
        lambda: reference.log_softmax(x),
        lambda: reference.logsumexp(x),
        lambda: reference.softmax_vjp(x, one),
        lambda: reference.log_softmax_vjp(one, x),
        lambda: reference.softmax_jacobian(x),
        lambda: reference.cross_entropy(x, 0),
        lambda: reference.cross_entropy(one, x),
    ):
        with pytest.raises(TypeError, match="real numbers"):
            call()


def test_array_without_axes():
    for axis in (0, -1):
        assert reference.softmax(3.0, axis=axis) == 1
        assert reference.log_softmax(3.0, axis=axis) == 0
        assert reference.logsumexp(3.0, axis=axis) == 3
    assert np.shape(reference.softmax(3.0)) == np.shape(reference.logsumexp(3.0, keepdims=True)) == ()
    assert np.isnan(reference.softmax(NAN))
    assert reference.softmax_vjp(1.0, 5.0) == reference.log_softmax_vjp(0.0, 5.0) == 0
    for call in (lambda: reference.softmax_jacobian(1.0), lambda: reference.cross_entropy(3.0, 0)):
        with pytest.raises(ValueError, match="must have at least one axis"):
            call()


def test_no_classes_and_no_rows():
    nothing = np.zeros((2, 0), np.float32)
    assert reference.softmax(nothing).shape == reference.log_softmax(nothing).shape == (2, 0)
    np.testing.assert_array_equal(reference.logsumexp(nothing), [-INF, -INF])
    assert reference.logsumexp(nothing, axis=0).shape == (0,)
    assert reference.softmax_vjp(nothing, nothing).shape == (2, 0)
    assert reference.softmax_jacobian(nothing).shape == (2, 0, 0)
    loss, grad = reference.cross_entropy_with_grad(nothing, nothing)
    assert loss == 0
    assert grad.shape == (2, 0)
    for reduction in ("mean", "sum"):
        loss, grad = reference.cross_entropy_with_grad(
            np.zeros((0, 3)), np.zeros(0, int), reduction=reduction
        )
        assert loss == 0
        assert grad.shape == (0, 3)
    assert reference.cross_entropy(np.zeros((0, 3)), np.zeros(0, int), reduction="none").shape == (0,)


def test_inputs_unchanged(rng):
    x, labels, weight = rng.normal(size=(3, 4)), np.array([0, 1, 2]), np.ones(4)
    for array in (x, labels, weight):
        array.flags.writeable = False
    before = x.copy()
    reference.softmax(x, where=x > 0)
    reference.softmax_vjp(x, x)
    reference.cross_entropy_with_grad(x, labels, class_weight=weight, ignore_index=1)
    np.testing.assert_array_equal(x, before)


# ---- vector-Jacobian products ----


def numerical_jacobian(function, z, h=1e-5):
    """J[i, j] = d function(z)[i] / dz[j] by central differences: errors of h^2 and eps / h, about 1e-10."""
    return np.stack(
        [(function(z + step) - function(z - step)) / (2 * h) for step in h * np.eye(len(z))], axis=1
    )


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_vjps_against_differences(rng, temperature):
    z, g = rng.normal(size=5), rng.normal(size=5)
    for forward, backward in (
        (reference.softmax, reference.softmax_vjp),
        (reference.log_softmax, reference.log_softmax_vjp),
    ):
        jacobian = numerical_jacobian(lambda v, f=forward: f(v, temperature=temperature), z)
        got = backward(forward(z, temperature=temperature), g, temperature=temperature)
        np.testing.assert_allclose(got, jacobian.T @ g, rtol=0, atol=1e-8)


def test_jacobian_entry_by_entry(rng):
    z = rng.normal(size=(3, 4))
    y = reference.softmax(z)
    jacobians = reference.softmax_jacobian(y)
    assert jacobians.shape == (3, 4, 4)
    for row, p, jacobian in zip(z, y, jacobians, strict=True):
        np.testing.assert_allclose(
            jacobian, numerical_jacobian(scipy.special.softmax, row), rtol=0, atol=1e-8
        )
        for i, j in np.ndindex(4, 4):
            assert jacobian[i, j] == pytest.approx(p[i] * (1 - p[j]) if i == j else -p[i] * p[j], rel=1e-15)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_vjp_and_jacobian_are_adjoint(rng, shape):
    y = reference.softmax(rng.normal(size=shape))
    g, v = rng.normal(size=(2, *shape))
    jv = np.einsum("...ij,...j->...i", reference.softmax_jacobian(y), v)
    assert np.vdot(reference.softmax_vjp(y, g), v) == pytest.approx(np.vdot(g, jv), rel=1e-12, abs=1e-13)
    log_jv = v - np.sum(y * v, axis=-1, keepdims=True)  # (I - 1 y^T) v
    assert np.vdot(reference.log_softmax_vjp(np.log(y), g), v) == pytest.approx(
        np.vdot(g, log_jv), rel=1e-12, abs=1e-13
    )


def test_vjps_by_hand(rng):
    np.testing.assert_array_equal(reference.softmax_vjp([0.25, 0.75], [4.0, 0.0]), [0.75, -0.75])
    np.testing.assert_array_equal(
        reference.softmax_vjp([0.25, 0.75], [4.0, 0.0], temperature=2), [0.375, -0.375]
    )
    y, g = reference.softmax(rng.normal(size=(2, 6, 3)), axis=1), rng.normal(size=(2, 6, 3))
    for dz in (reference.softmax_vjp(y, g, axis=1), reference.log_softmax_vjp(np.log(y), g, axis=1)):
        np.testing.assert_allclose(dz.sum(axis=1), 0, atol=1e-14)


def test_staged_cross_entropy(rng):
    z, t = rng.normal(size=(2, 3, 5))
    p = reference.softmax(z)
    _, grad = reference.cross_entropy_with_grad(z, t, reduction="sum")
    np.testing.assert_allclose(reference.softmax_vjp(p, -t / p), grad, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(reference.log_softmax_vjp(np.log(p), -t), grad, rtol=1e-12, atol=1e-14)


# ---- cross-entropy: every combination of its options ----

N, C = 5, 4
LABELS = np.array([2, 1, 0, 1, 3])
CLASS_WEIGHT = [0.5, 2.0, 1.25, 0.0]
SAMPLE_WEIGHT = [1.0, 0.25, 3.0, 0.0, 2.0]
OPTIONS = [
    dict(
        zip(
            ("kind", "class_weight", "sample_weight", "ignore_index", "label_smoothing", "temperature"),
            v,
            strict=True,
        )
    )
    for v in itertools.product(
        ("labels", "probabilities"),
        (None, CLASS_WEIGHT),
        (None, SAMPLE_WEIGHT),
        (None, 1, -100),
        (0.0, 0.2, 1.0),
        (1.0, 2.5),
    )
    if v[0] == "labels" or v[3] is None
]


def problem(kind, ignore_index):
    """Logits and targets; one label is ignore_index."""
    rng = np.random.default_rng(7)
    logits = rng.normal(scale=2, size=(N, C))
    if kind == "probabilities":
        return logits, rng.random((N, C))  # rows that do not sum to 1
    return logits, np.where(np.arange(N) == 1, LABELS if ignore_index is None else ignore_index, LABELS)


def literal_cross_entropy(
    logits, targets, class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction
):
    """Loop over the definition, with Python's floats."""
    losses, total = [], 0.0
    for i in range(N):
        s = 1.0 if sample_weight is None else sample_weight[i]
        if targets.ndim == 1 and ignore_index is not None and targets[i] == ignore_index:
            losses.append(0.0)
            continue
        sum_exp = sum(math.exp(logits[i, k] / temperature) for k in range(C))
        loss = 0.0
        for j in range(C):
            w = 1.0 if class_weight is None else class_weight[j]
            y = targets[i, j] if targets.ndim == 2 else float(targets[i] == j)
            t = w * ((1 - label_smoothing) * y + label_smoothing / C)
            loss -= t * math.log(math.exp(logits[i, j] / temperature) / sum_exp)
        losses.append(s * loss)
        total += s if targets.ndim == 2 or class_weight is None else s * class_weight[targets[i]]
    return {"none": losses, "sum": sum(losses), "mean": sum(losses) / total}[reduction]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(str(v) for v in options.values()))
def test_cross_entropy_by_definition(options, reduction):
    options = {**options, "reduction": reduction}
    logits, targets = problem(options.pop("kind"), options["ignore_index"])
    expected = literal_cross_entropy(logits, targets, **options)
    loss, grad = reference.cross_entropy_with_grad(logits, targets, **options)
    np.testing.assert_allclose(loss, expected, rtol=1e-13)
    np.testing.assert_array_equal(reference.cross_entropy(logits, targets, **options), loss)

    # Central differences of the definition. "none" has row losses that depend on their own row only.
    h = 1e-5
    for i, j in np.ndindex(N, C):
        step = np.zeros((N, C))
        step[i, j] = h
        up, down = (np.sum(literal_cross_entropy(logits + e, targets, **options)) for e in (step, -step))
        assert grad[i, j] == pytest.approx((up - down) / (2 * h), rel=1e-7, abs=1e-8)

    # The same along the other axis, and in float32
    moved = (logits.T, targets.T)
    loss_moved, grad_moved = reference.cross_entropy_with_grad(*moved, axis=0, **options)
    np.testing.assert_array_equal(loss_moved, loss)
    np.testing.assert_array_equal(grad_moved, grad.T)
    single, single_grad = reference.cross_entropy_with_grad(logits.astype(np.float32), targets, **options)
    assert single.dtype == single_grad.dtype == np.float32
    np.testing.assert_allclose(single, loss, rtol=1e-5)
    np.testing.assert_allclose(single_grad, grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_of_many_axes(rng, reduction):
    x, labels, s = rng.normal(size=(2, 4, 3)), rng.integers(0, 4, (2, 3)), rng.random((2, 3))
    flat = x.transpose(0, 2, 1).reshape(6, 4)
    loss, grad = reference.cross_entropy_with_grad(x, labels, axis=1, sample_weight=s, reduction=reduction)
    flat_loss, flat_grad = reference.cross_entropy_with_grad(
        flat, labels.ravel(), sample_weight=s.ravel(), reduction=reduction
    )
    np.testing.assert_array_equal(loss, flat_loss.reshape(np.shape(loss)))
    np.testing.assert_array_equal(grad, flat_grad.reshape(2, 3, 4).transpose(0, 2, 1))


def test_cross_entropy_by_hand():
    # p = [1/4, 3/4] and [1/2, 1/2]
    x = [[0.0, math.log(3)], [1.0, 1.0]]
    loss, grad = reference.cross_entropy_with_grad(x, [0, 1])
    assert loss == pytest.approx((math.log(4) + math.log(2)) / 2, rel=1e-15)
    np.testing.assert_allclose(grad, [[-0.375, 0.375], [0.25, -0.25]], rtol=1e-15)
    # Class weights 3 and 1 go to rows, by their labels, and the mean divides by 3 + 1.
    loss, grad = reference.cross_entropy_with_grad(x, [0, 1], class_weight=[3, 1])
    assert loss == pytest.approx((3 * math.log(4) + math.log(2)) / 4, rel=1e-15)
    np.testing.assert_allclose(grad, [[-9 / 16, 9 / 16], [1 / 8, -1 / 8]], rtol=1e-15)
    # With probabilities they go to terms, and the mean divides by the two rows.
    loss, grad = reference.cross_entropy_with_grad(x, [[1.0, 0.0], [0.0, 1.0]], class_weight=[3, 1])
    assert loss == pytest.approx((3 * math.log(4) + math.log(2)) / 2, rel=1e-15)
    np.testing.assert_allclose(grad, [[-9 / 8, 9 / 8], [1 / 4, -1 / 4]], rtol=1e-15)
    # Smoothing 0.2 of label 0: targets [0.9, 0.1].
    loss, grad = reference.cross_entropy_with_grad(x[:1], [0], label_smoothing=0.2)
    assert loss == pytest.approx(0.9 * math.log(4) + 0.1 * math.log(4 / 3), rel=1e-15)
    np.testing.assert_allclose(grad, [[-0.65, 0.65]], rtol=1e-14)


def test_fused_gradient_where_staged_is_nan():
    x = np.array([[120, 0, 0]], np.float32)
    loss, grad = reference.cross_entropy_with_grad(x, [1])
    assert loss == 120
    np.testing.assert_array_equal(grad, [[1, -1, np.exp(np.float32(-120))]])
    p = reference.softmax(np.array([[1200, 0, 0]], np.float32))
    y = np.array([[0, 1, 0]], np.float32)
    with np.errstate(all="ignore"):
        assert np.isnan(reference.softmax_vjp(p, -y / p)).all()


# ---- cross-entropy: rows and terms that do not count ----


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_rows_with_nan(reduction):
    x, labels, s = (
        np.array([[1.0, 2.0], [NAN, INF], [0.0, 3.0]]),
        np.array([0, 7, 1]),
        np.array([1.0, NAN, 2.0]),
    )
    options = {"label_smoothing": 0.1, "class_weight": [1.0, 2.0], "reduction": reduction}
    loss, grad = reference.cross_entropy_with_grad(x, labels, ignore_index=7, sample_weight=s, **options)
    kept_loss, kept_grad = reference.cross_entropy_with_grad(
        x[[0, 2]], labels[[0, 2]], sample_weight=s[[0, 2]], **options
    )
    np.testing.assert_array_equal(grad[[0, 2]], kept_grad)
    np.testing.assert_array_equal(grad[1], [0, 0])
    if reduction == "none":
        assert loss[1] == 0
        loss = loss[[0, 2]]
    np.testing.assert_array_equal(loss, kept_loss)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint64, np.int64])
def test_ignore_index_beyond_label_dtype(dtype):
    labels = np.array([0, 1], dtype)
    expected = reference.cross_entropy(np.eye(2), [0, 1])
    assert reference.cross_entropy(np.eye(2), labels, ignore_index=-1000) == expected
    assert reference.cross_entropy(np.eye(2), labels, ignore_index=1) == reference.cross_entropy(
        np.eye(2)[:1], [0]
    )


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (np.array([-1, -1]), {"ignore_index": -1}),
        (np.array([0, 1]), {"sample_weight": [0.0, 0.0]}),
        (np.array([0, 1]), {"class_weight": [0.0, 0.0, 5.0], "label_smoothing": 0.5}),
        (np.ones((2, 3)), {"sample_weight": [0.0, 0.0]}),
        (np.array([0, 1]), {"sample_weight": [1.0, -1.0]}),
    ],
)
@pytest.mark.parametrize("fill", [1.0, NAN])
def test_mean_of_nothing(targets, options, fill):
    loss, grad = reference.cross_entropy_with_grad(np.full((2, 3), fill), targets, **options)
    assert loss == 0
    np.testing.assert_array_equal(grad, np.zeros((2, 3)))


def test_zero_times_infinity():
    x = np.array([0.0, 0.0, -INF])
    half = math.log(2)
    assert reference.cross_entropy(x, 0) == pytest.approx(half)
    assert reference.cross_entropy(x, [0.5, 0.5, 0.0]) == pytest.approx(half)
    assert reference.cross_entropy(x, 2) == INF
    assert reference.cross_entropy(x, 2, class_weight=[1.0, 1.0, 0.0], reduction="sum") == 0
    assert reference.cross_entropy(x, 2, sample_weight=0.0, reduction="sum") == 0
    assert reference.cross_entropy(x, 0, label_smoothing=0.5) == INF
    loss, grad = reference.cross_entropy_with_grad(x, 0, label_smoothing=0.5, class_weight=[1.0, 1.0, 0.0])
    t = [0.5 + 0.5 / 3, 0.5 / 3, 0]  # weight 1 for the label: the mean divides by 1
    assert loss == pytest.approx(sum(t) * half)
    np.testing.assert_allclose(grad, np.array([0.5, 0.5, 0]) * sum(t) - t, atol=1e-16)
    assert np.isnan(reference.cross_entropy([NAN, 0.0], [0.0, 0.0], reduction="sum"))


def test_gradient_of_impossible_label():
    loss, grad = reference.cross_entropy_with_grad([0.0, 0.0, -INF], 2)
    assert loss == INF
    np.testing.assert_array_equal(grad, [0.5, 0.5, -1])


def test_sums_over_many_rows(rng):
    x, labels = rng.normal(size=(200_000, 2)).astype(np.float32), np.zeros(200_000, int)
    losses = reference.cross_entropy(x, labels, reduction="none").astype(float).tolist()
    for n in (10_000, 99_999, 200_000):
        total = math.fsum(losses[:n])
        assert reference.cross_entropy(x[:n], labels[:n]) == np.float32(total / n)
        assert reference.cross_entropy(x[:n], labels[:n], reduction="sum") == np.float32(total)


# ---- errors ----


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        ([[0], [1]], {}, r"`targets` must have shape (2,), got (2, 1)"),
        ([0, 1, 2], {}, r"`targets` must have shape (2,), got (3,)"),
        ([0.0, 1.0], {}, r"`targets` must have shape (2, 3), got (2,)"),
        ([0, 3], {}, r"`targets` must lie in [0, 3), got 3 at position (1,)"),
        ([-1, 3], {}, r"`targets` must lie in [0, 3), got -1 at position (0,)"),
        ([-1, 3], {"ignore_index": -1}, r"`targets` must lie in [0, 3), got 3 at position (1,)"),
        ([0, 1], {"class_weight": [1.0, 1.0]}, r"`class_weight` must have shape (3,), got (2,)"),
        ([0, 1], {"sample_weight": [[1.0], [1.0]]}, r"`sample_weight` must have shape (2,), got (2, 1)"),
        (
            np.ones((2, 3)),
            {"ignore_index": 0},
            r"`ignore_index` must be None with probability targets, got 0",
        ),
        ([0, 1], {"label_smoothing": -0.1}, r"`label_smoothing` must be from 0 to 1, got -0.1"),
        ([0, 1], {"label_smoothing": 1.1}, r"`label_smoothing` must be from 0 to 1, got 1.1"),
        ([0, 1], {"label_smoothing": NAN}, r"`label_smoothing` must be from 0 to 1, got nan"),
        ([0, 1], {"temperature": 0.0}, r"`temperature` must be positive and finite, got 0.0"),
        ([0, 1], {"temperature": NAN}, r"`temperature` must be positive and finite, got nan"),
        ([0, 1], {"reduction": "avg"}, r"`reduction` must be one of mean, sum, none, got 'avg'"),
    ],
)
def test_wrong_values(targets, options, message):
    for call in (reference.cross_entropy, reference.cross_entropy_with_grad):
        with raises(ValueError, message):
            call(np.zeros((2, 3)), targets, **options)


def test_bool_targets():
    with pytest.raises(TypeError, match="`targets` must have an integer dtype"):
        reference.cross_entropy(np.zeros((2, 3)), [True, False])
    with pytest.raises(TypeError, match="`targets` must have an integer dtype"):
        reference.cross_entropy(np.zeros((2, 3)), np.ones((2, 3), bool), ignore_index=1)


@pytest.mark.parametrize("temperature", [0, -1.0, INF, NAN])
def test_bad_temperatures(temperature):
    for call in (
        lambda: reference.softmax([1.0], temperature=temperature),
        lambda: reference.log_softmax([1.0], temperature=temperature),
        lambda: reference.softmax_vjp([1.0], [1.0], temperature=temperature),
        lambda: reference.log_softmax_vjp([1.0], [1.0], temperature=temperature),
    ):
        with pytest.raises(ValueError, match="`temperature` must be positive and finite"):
            call()


def test_bad_shapes_and_axes():
    for call in (reference.softmax_vjp, reference.log_softmax_vjp):
        with pytest.raises(ValueError, match=r"`dy` must have shape \(2, 1\), got \(2,\)"):
            call(np.ones((2, 1)), np.ones(2))
    for call in (reference.softmax, reference.log_softmax, reference.logsumexp):
        for x, axis in ((np.ones(3), 1), (np.ones(3), -2), (1.0, 1)):
            with pytest.raises(np.exceptions.AxisError):
                call(x, axis=axis)
