"""Errors in units of the last place (ULP) and in multiples of eps, on every variant of the kernels.

eps is the spacing of the numbers above 1. One rounding is off by at most half a ULP, and by at most eps / 2
times the result: a ULP of a number is between eps / 2 and eps times that number.
"""

import functools
import itertools
from types import SimpleNamespace

import mpmath
import numpy as np
import oracle
import pytest
from oracle import DTYPES, GUARD, LAYOUTS, eps, needs_longdouble, zero_below

import fastsm

LONG = [1000, 4097, 32768, 131072]
BOTH = [np.float32, np.float64]


@functools.cache
def rows_of(dtype, classes, count):
    """Return normal logits of three scales, `count` rows of each, in a random order."""
    rng = np.random.default_rng([classes, count])
    x = rng.standard_normal((3 * count, classes)) * np.repeat([0.1, 3, 30], count)[:, None]
    return rng.permutation(x).astype(dtype)


# ---- the oracle itself ----


@needs_longdouble
def test_oracle_agrees_with_mpmath():
    """The oracle in long double has at least 8 bits more than float64, by mpmath with 200 bits."""
    x = np.array([[0.0, -1.5, -40.0], [3.0, 3.0, -700.0], [-2.0, 5.25, 4.875]])
    with mpmath.workprec(200):
        for row, y, log_y, total in zip(
            x, oracle.softmax(x), oracle.log_softmax(x), oracle.logsumexp(x), strict=True
        ):
            exact_sum = mpmath.fsum(mpmath.exp(mpmath.mpf(v)) for v in row)
            pairs = [(total, mpmath.log(exact_sum))]
            pairs += [(a, mpmath.exp(mpmath.mpf(v)) / exact_sum) for a, v in zip(y, row, strict=True)]
            pairs += [(a, mpmath.mpf(v) - mpmath.log(exact_sum)) for a, v in zip(log_y, row, strict=True)]
            for got, exact in pairs:
                high = float(got)
                difference = mpmath.mpf(high) + mpmath.mpf(float(got - high)) - exact
                assert abs(difference) <= abs(exact) * 2.0**-60


# ---- exp, through log_softmax_vjp([d, 0], [0, -1]) = [exp(d), ...] ----

# The largest errors found: 1.062 of all float32 numbers, 1.070 of 24 million float64 numbers.
EXP_ULPS = 1.1

# Where they were found, with FMA and without.
EXP_WORST = {
    np.float32: ["-0x1.75543ep+2", "-0x1.049d98p+4", "-0x1.4cb01ap+2", "-0x1.86ee4ap+5", "-0x1.4caa8ap+2"],
    np.float64: ["-0x1.1f75d833d025dp+2", "-0x1.4d0b265673bd0p+8", "-0x1.1ed5cc3e275aap+2"],
}


def exp(d, width, axis=-1):
    """Return exp(d) by the kernels, in rows of `width`; the numbers must fill rows of width - 1."""
    log_y = np.zeros((d.size // (width - 1), width), d.dtype)
    log_y[:, :-1] = d.reshape(-1, width - 1)
    dy = np.zeros_like(log_y)
    dy[:, -1] = -1
    if axis == 0:
        log_y, dy = np.ascontiguousarray(log_y.T), np.ascontiguousarray(dy.T)
    return np.moveaxis(fastsm.log_softmax_vjp(log_y, dy, axis=axis), axis, -1)[:, :-1].reshape(d.shape)


FAMILIES = pytest.mark.parametrize(
    ("width", "axis"), [(31, -1), (1021, -1), (1021, 0)], ids=["tiles", "rows", "columns"]
)


@functools.cache
def exponents(dtype):
    """Return some 180,000 numbers from where the exponential becomes 0 up to 0, and their exponentials."""
    rng = np.random.default_rng(0)
    lowest = np.log(zero_below(dtype)) * (1 - 1e-6)
    count = 60_000
    d = np.concatenate(
        [
            [float.fromhex(worst) for worst in EXP_WORST[dtype]],
            rng.uniform(lowest, 0, count),
            rng.uniform(-10, 0, count),
            # as far as can be from a multiple of ln 2, where the polynomial is least accurate
            np.log(2) * (rng.integers(-125, 0, count // 2) + rng.uniform(0.4, 0.6, count // 2)),
            -(10 ** rng.uniform(-30, 0, count // 2)),
        ]
    )
    d = d[: d.size // (1020 * 30) * (1020 * 30)].astype(dtype)
    return d, np.exp(d.astype(oracle.WIDE[dtype]))


@FAMILIES
@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_over_its_range(isa, dtype, width, axis):
    """Exp is within 1.1 ULP from where it becomes 0 up to exp(0)."""
    d, exact = exponents(dtype)
    error = oracle.error(exp(d, width, axis), exact, oracle.unit(exact, dtype))
    worst = np.argmax(error)
    assert error[worst] <= EXP_ULPS, f"{error[worst]} ULP at {float(d[worst]).hex()}"


@pytest.mark.parametrize("dtype", BOTH)
def test_exp_against_mpmath(isa, dtype):
    """The same against mpmath, which is available on every platform."""
    rng = np.random.default_rng(1)
    lowest = np.log(zero_below(dtype)) * (1 - 1e-6)
    worst = [float.fromhex(worst) for worst in EXP_WORST[dtype]]
    d = np.concatenate([worst, rng.uniform(lowest, 0, 500), rng.uniform(-10, 0, 400)])[:900].astype(dtype)
    result = exp(d, 31)
    with mpmath.workprec(120):
        exact = [mpmath.exp(mpmath.mpf(float(v))) for v in d]
        error = [float(abs(mpmath.mpf(float(a)) - b)) for a, b in zip(result, exact, strict=True)]
    unit = oracle.unit(np.array([float(v) for v in exact]), dtype)
    assert np.max(error / unit) <= EXP_ULPS


@FAMILIES
@pytest.mark.parametrize("dtype", BOTH)
def test_exp_is_zero_below_its_threshold(isa, dtype, width, axis):
    """Below 2^-125.5 (float64: 2^-1021.5) exp is exactly 0; from there on it is a normal number."""
    # The multiple of ln 2 nearest to d is found from a product with 1 / ln 2, which may be off by eps |d|.
    threshold = np.log(zero_below(dtype))
    near = threshold + threshold * eps(dtype) * np.arange(-3060, 3060)
    far = -(10.0 ** np.linspace(np.log10(-threshold) + 0.001, np.log10(np.finfo(dtype).max) - 0.001, 3059))
    d = np.concatenate([near, far, [-np.inf]]).astype(dtype)
    d = np.resize(d, d.size // 1020 * 1020)
    result = exp(d, width, axis)
    assert np.all(result[d < threshold * (1 + 2 * eps(dtype))] == 0)
    assert np.all(result[d > threshold * (1 - 2 * eps(dtype))] > 0)
    assert np.all((result == 0) | (result >= np.finfo(dtype).tiny))


@FAMILIES
@pytest.mark.parametrize("dtype", BOTH)
def test_exp_near_zero(isa, dtype, width, axis):
    """exp(0), exp(-0.0) and exp of everything too small to matter are exactly 1."""
    tiny = [0.0, -0.0, -np.finfo(dtype).tiny, -np.finfo(dtype).smallest_subnormal, -eps(dtype) / 5]
    assert np.all(exp(np.resize(tiny, 1020).astype(dtype), width, axis) == 1)


# ---- softmax, log_softmax, logsumexp ----

# exp is off by at most 1 ULP, 1 / sum and the product by half a ULP, and one ULP of a factor may be two of
# the product: 3.5 in all. That leaves half a ULP for the sum; all at once the worst does not happen.
ULPS = 4


@functools.cache
def expected(function, dtype, classes, count):
    """Return the exact results for `rows_of`, and for each the error that counts as one."""
    x = rows_of(dtype, classes, count)
    exact = getattr(oracle, function)(x)
    size = exact
    if function == "logsumexp":
        # m + log1p(rest): where the two cancel, the rounding errors of both remain
        size = np.maximum(np.abs(exact), exact - x.max(axis=-1))
    unit = oracle.unit(size, dtype)
    if function == "softmax":
        # Exponentials below the threshold are exactly 0.
        vanishes = np.exp(oracle.shifted(x)) < zero_below(dtype) * (1 + 1e-5)
        return np.where(vanishes, 0, exact), unit
    # Each may be missing from the sum; that shows where the result is nearly 0.
    return exact, np.maximum(unit, classes * zero_below(dtype))


def largest_error(function, dtype, layout, classes, count):
    """Return the largest error of a function over `rows_of`, in ULP."""
    x = rows_of(dtype, classes, count)
    array, axis = LAYOUTS[layout](x)
    result = getattr(fastsm, function)(array, axis=axis)
    result = result.reshape(len(x)) if function == "logsumexp" else oracle.as_rows(result, axis, x)
    exact, unit = expected(function, dtype, classes, count)
    return oracle.error(result, exact, unit).max()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ulps_for_each_class_count(isa, dtype, function, layout):
    """Within 4 ULP of the exact function of the rounded x - max, for 1 to 130 classes along any axis."""
    errors = {classes: largest_error(function, dtype, layout, classes, 16) for classes in range(1, 131)}
    assert {classes: error for classes, error in errors.items() if error > ULPS} == {}


@pytest.mark.parametrize("layout", ["last-axis", "first-axis"])
@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ulps_for_many_classes(isa, dtype, function, layout):
    """Within 4 ULP for many classes too: sums do not become less accurate."""
    errors = {classes: largest_error(function, dtype, layout, classes, 2) for classes in LONG}
    assert {classes: error for classes, error in errors.items() if error > ULPS} == {}


# The largest error found in softmax: 3.04; in log_softmax: 4.62.
EQUAL_ULPS = 4.7


@pytest.mark.parametrize("layout", ["last-axis", "first-axis"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ulps_of_equal_logits(isa, dtype, layout):
    """The worst rows for sums: adding equal numbers again and again, rounding errors have the same sign."""
    rng = np.random.default_rng(0)
    errors = {}
    for classes in [*range(2, 131), 300, 1000, 2000, 4097]:
        d = -rng.uniform(0, 3 + np.log(classes), max(10, 20_000 // classes) // 2 * 2).astype(dtype)
        x = np.repeat(d[:, None], classes, axis=1)
        x[:, 0] = 0
        array, axis = LAYOUTS[layout](x)
        y = oracle.as_rows(fastsm.softmax(array, axis=axis), axis, x)
        log_y = oracle.as_rows(fastsm.log_softmax(array, axis=axis), axis, x)
        others = (classes - 1) * np.exp(oracle.shifted(x)[:, 1])
        for place in (0, 1, -1):
            exact = np.exp(oracle.shifted(x)[:, place]) / (1 + others)
            error = oracle.error(y[:, place], exact, oracle.unit(exact, dtype)).max()
            exact = oracle.shifted(x)[:, place] - np.log1p(others)
            log_error = oracle.error(log_y[:, place], exact, oracle.unit(exact, dtype)).max()
            errors[classes, place] = max(error, log_error)
    assert {case: error for case, error in errors.items() if error > EQUAL_ULPS} == {}


@pytest.mark.parametrize("layout", ["last-axis", "first-axis"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_sum_to_one(isa, dtype, layout):
    """Rows sum to 1 within 4 eps for any number of classes, as each probability is within 4 ULP."""
    errors = {}
    for classes in [*range(1, 131), *LONG]:
        x = rows_of(dtype, classes, 2 if classes > 130 else 16)
        array, axis = LAYOUTS[layout](x)
        # in a contiguous array, as NumPy adds only those pairwise
        y = np.ascontiguousarray(oracle.as_rows(fastsm.softmax(array, axis=axis), axis, x))
        total = y.astype(oracle.WIDE[dtype]).sum(axis=-1)
        errors[classes] = float(np.abs(total - 1).max() / eps(dtype))
    assert {classes: error for classes, error in errors.items() if error > 4} == {}


@pytest.mark.parametrize("temperature", [0.5, 0.7, 3.0, 1e-3, 1e3])
@pytest.mark.parametrize("classes", [10, 130])
@pytest.mark.parametrize("dtype", DTYPES)
def test_temperature(isa, dtype, classes, temperature):
    """Dividing by T costs one rounding of 1 / T and one of the product."""
    x = rows_of(dtype, classes, 16)
    with np.errstate(under="ignore"):
        exact = oracle.softmax(x, temperature)
    # d is off by eps |d|, which is a relative error of exp(d).
    d = oracle.shifted(x) / temperature
    tolerance = eps(dtype) * (4 - d) * exact + 2 * zero_below(dtype)
    assert np.all(np.abs(fastsm.softmax(x, temperature=temperature) - exact) <= tolerance)
    exact = oracle.log_softmax(x, temperature)
    # Relative to the sum of the exponentials, its error is eps times the mean of |d|, weighted by them.
    tolerance = eps(dtype) * (4 * np.abs(exact) + np.sum(np.exp(d) * -d, axis=-1, keepdims=True))
    tolerance += classes * zero_below(dtype)
    assert np.all(np.abs(fastsm.log_softmax(x, temperature=temperature) - exact) <= tolerance)


# ---- relative accuracy near zero, where others return 0 ----

# exp is off by 1 ULP, log1p by 2, the sum, 1 / (1 + rest) and the product by 1 each; weights by 1.
NEAR_ZERO = 8


@functools.cache
def rows_with_small_rest(dtype, classes, ties=1):
    """Return rows of low numbers with one 0 or several, and the places of the zeros: (rows, ties)."""
    lowest = -80.0 if dtype == np.float32 else -690.0
    gaps = np.concatenate([np.linspace(-1, lowest, 30), [-16.0, -17.0, -36.0, -37.0, -38.0, -40.0]])
    count = 2 * len(gaps)
    rng = np.random.default_rng(classes)
    x = np.resize(gaps, count)[:, None] - rng.uniform(0, 5, (count, classes))
    places = np.array([rng.permutation(classes)[:ties] for _ in range(count)])
    np.put_along_axis(x, places, 0, axis=1)
    return x.astype(dtype), places


SMALL_REST = pytest.mark.parametrize("classes", [2, 3, 10, 32, 33, 63, 64, 65, 100, 130])
TWO_LAYOUTS = pytest.mark.parametrize("layout", ["last-axis", "first-axis"])


@SMALL_REST
@TWO_LAYOUTS
@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithms_near_zero(isa, dtype, layout, classes):
    """log1p(rest) keeps its relative accuracy for the smallest rest."""
    x, places = rows_with_small_rest(dtype, classes)
    array, axis = LAYOUTS[layout](x)
    exact = oracle.logsumexp(x)
    assert oracle.error(fastsm.logsumexp(array, axis=axis), exact, exact).max() <= NEAR_ZERO * eps(dtype)
    log_y = oracle.as_rows(fastsm.log_softmax(array, axis=axis), axis, x)
    at_maximum = np.take_along_axis(log_y, places, axis=1)[:, 0]
    assert oracle.error(at_maximum, -exact, exact).max() <= NEAR_ZERO * eps(dtype)


@SMALL_REST
@TWO_LAYOUTS
@pytest.mark.parametrize("targets", ["labels", "probabilities"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_near_zero(isa, dtype, targets, layout, classes):
    """Loss and gradient keep their relative accuracy where the label's probability is near 1."""
    x, places = rows_with_small_rest(dtype, classes)
    labels = places[:, 0]
    array, axis = LAYOUTS[layout](x)
    y = labels
    if targets == "probabilities":
        y, _ = LAYOUTS[layout](oracle.one_hot(labels, classes, dtype))
    loss, grad = fastsm.cross_entropy_with_grad(array, y, axis=axis, reduction="none")
    exact_loss, exact_grad = oracle.cross_entropy(x, oracle.one_hot(labels, classes, np.longdouble))
    assert np.all((exact_loss > 0) & (exact_grad != 0).any(axis=-1))
    assert oracle.error(loss, exact_loss, exact_loss).max() <= NEAR_ZERO * eps(dtype)
    error = oracle.error(oracle.as_rows(grad, axis, x), exact_grad, np.abs(exact_grad))
    assert error.max() <= NEAR_ZERO * eps(dtype)


@pytest.mark.parametrize("classes", [3, 32, 33, 130])
@pytest.mark.parametrize("ties", [2, 3])
@pytest.mark.parametrize("targets", ["labels", "probabilities"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_of_the_maximum(isa, dtype, targets, ties, classes):
    """Only one of several maxima is left out of the rest: the loss is log(ties) or a little more."""
    x, places = rows_with_small_rest(dtype, classes, ties)
    labels = places[:, -1]
    one_hot = oracle.one_hot(labels, classes, dtype)
    y = labels if targets == "labels" else one_hot
    loss, grad = fastsm.cross_entropy_with_grad(x, y, reduction="none")
    exact_loss, exact_grad = oracle.cross_entropy(x, one_hot)
    assert oracle.error(loss, exact_loss, exact_loss).max() <= NEAR_ZERO * eps(dtype)
    assert oracle.error(grad, exact_grad, np.abs(exact_grad)).max() <= NEAR_ZERO * eps(dtype)


@pytest.mark.parametrize("classes", [2, 10, 32, 33, 130])
@pytest.mark.parametrize("smoothing", [1e-30, 1e-12, 1e-3, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_smoothed_loss_near_zero(isa, dtype, smoothing, classes):
    """With label smoothing all terms of the loss are positive: its relative accuracy stays too."""
    x, places = rows_with_small_rest(dtype, classes)
    labels = places[:, 0]
    t = oracle.soft_targets(labels, classes, 1, smoothing)
    exact_loss, exact_grad = oracle.cross_entropy(x, t)
    loss, grad = fastsm.cross_entropy_with_grad(x, labels, label_smoothing=smoothing, reduction="none")
    assert oracle.error(loss, exact_loss, exact_loss).max() <= NEAR_ZERO * eps(dtype)
    # The gradient is a difference: at the maximum p sum(other t) - (1 - p) t, elsewhere p sum(t) - t.
    p = oracle.softmax(x)
    at_maximum = p * oracle.others(t) + oracle.others(p) * t
    size = np.where(x == 0, at_maximum, p * np.sum(t, axis=-1, keepdims=True) + t)
    assert oracle.error(grad, exact_grad, size).max() <= NEAR_ZERO * eps(dtype)


def test_docs_example(isa):
    """log(1 + exp(-40)) = 4.2e-18, not 0."""
    assert fastsm.logsumexp([0.0, -40.0]) == pytest.approx(4.248354255291589e-18, rel=1e-15)
    assert fastsm.log_softmax([0.0, -40.0])[0] == pytest.approx(-4.248354255291589e-18, rel=1e-15)
    assert fastsm.cross_entropy([[0.0, -40.0]], [0]) == pytest.approx(4.248354255291589e-18, rel=1e-15)


# ---- vector-Jacobian products ----

# Up to 32 additions in a row, each off by at most eps / 2, then compensated: 16 eps of the sum of magnitudes
# if all errors had one sign, and rarely a quarter of that as they have not.
DOT = 8


@functools.cache
def vjp_case(function, dtype, classes):
    """Return output and gradient, the exact product, and the largest error that rounding explains."""
    rng = np.random.default_rng(classes)
    x = rows_of(dtype, classes, 16 if classes <= 130 else 2)
    wide = oracle.WIDE[dtype]
    output = getattr(oracle, function)(x).astype(dtype)
    dy = (rng.standard_normal(x.shape) + rng.integers(-2, 3, (len(x), 1))).astype(dtype)
    given, g = output.astype(wide), dy.astype(wide)
    if function == "softmax":
        exact = given * (g - np.sum(given * g, axis=-1, keepdims=True))
        size = given * (DOT * np.sum(np.abs(given * g), axis=-1, keepdims=True) + 2 * np.abs(g))
    else:
        p = np.exp(given)
        exact = g - p * np.sum(g, axis=-1, keepdims=True)
        # exp is off by 1 ULP: eps
        size = p * (DOT * np.sum(np.abs(g), axis=-1, keepdims=True)) + 2 * np.abs(g)
    vanishes = zero_below(dtype) * (1 + np.sum(np.abs(g), axis=-1, keepdims=True))
    return output, dy, exact, eps(dtype) * size + vanishes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_vjp_for_each_class_count(isa, dtype, function, layout):
    """The VJPs are as accurate as their sums: a few eps times sum |y dy|, or sum |dy|."""
    vjp = getattr(fastsm, function + "_vjp")
    errors = {}
    for classes in [*range(1, 131), *(LONG if layout in ("last-axis", "first-axis") else [])]:
        output, dy, exact, tolerance = vjp_case(function, dtype, classes)
        y, axis = LAYOUTS[layout](output)
        g, _ = LAYOUTS[layout](dy)
        result = oracle.as_rows(vjp(y, g, axis=axis), axis, output)
        errors[classes] = oracle.error(result, exact, tolerance).max()
    assert {classes: error for classes, error in errors.items() if error > 1} == {}


# ---- cross-entropy ----


@functools.cache
def cross_entropy_case(dtype, classes, kind, weights, smoothing, temperature):
    """Return arguments of cross_entropy, exact losses and gradients, and what rounding may change in them."""
    rng = np.random.default_rng([classes, *kind.encode()])
    n = 40
    x = (3 * rng.standard_normal((n, classes))).astype(dtype)
    labels = rng.integers(0, classes, n)
    targets = labels if kind == "labels" else rng.dirichlet(np.full(classes, 0.5), n).astype(dtype)
    options = {"label_smoothing": smoothing, "temperature": temperature}
    if kind == "labels":
        labels[::7] = -1
        options["ignore_index"] = -1
    if "class" in weights:
        options["class_weight"] = rng.uniform(0, 3, classes).astype(dtype)
    if "sample" in weights:
        options["sample_weight"] = rng.uniform(0, 3, n).astype(dtype)
        options["sample_weight"][3] = 0
    t = oracle.soft_targets(targets, classes, options.get("class_weight", 1), smoothing)
    total, factor = oracle.row_weights(targets, options.get("class_weight"), options.get("sample_weight"))
    loss, grad = oracle.cross_entropy(x, t, temperature)
    # d = (x - max) / T is off by eps |d|, targets and sums over classes by 2 eps each, all else by 4 eps.
    d = -oracle.shifted(x) / temperature
    p = oracle.softmax(x, temperature)
    grad_error = ((8 + d) * p * np.sum(t, axis=-1, keepdims=True) + 8 * t) / temperature
    return SimpleNamespace(
        x=x,
        targets=targets,
        options=options,
        total=np.sum(total, dtype=float),
        loss=factor * loss,
        loss_error=eps(dtype) * factor * 8 * loss,
        grad=factor[:, None] * grad,
        grad_error=eps(dtype) * factor[:, None] * grad_error,
    )


@pytest.mark.parametrize(
    ("layout", "reduction"),
    [("last-axis", "mean"), ("last-axis", "none"), ("first-axis", "none"), ("middle-axis", "sum")],
)
@pytest.mark.parametrize("classes", [2, 10, 32, 33, 100])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy(isa, dtype, kind, classes, layout, reduction):
    """Loss and gradient of every combination of options are within a few eps of the size of their terms."""
    weightings = ["", "class", "sample", "class and sample"]
    for weights, smoothing, temperature in itertools.product(weightings, [0.0, 0.1, 1.0], [1.0, 0.7]):
        case = cross_entropy_case(dtype, classes, kind, weights, smoothing, temperature)
        array, axis = LAYOUTS[layout](case.x)
        rows = np.moveaxis(array, axis, -1).shape[:-1]
        options = dict(case.options)
        if "sample" in weights:
            options["sample_weight"] = options["sample_weight"].reshape(rows)
        y = case.targets.reshape(rows) if kind == "labels" else LAYOUTS[layout](case.targets)[0]
        loss, grad = fastsm.cross_entropy_with_grad(array, y, axis=axis, reduction=reduction, **options)
        divisor = case.total if reduction == "mean" else 1.0
        if reduction == "none":
            error = oracle.error(loss.reshape(len(case.x)), case.loss, case.loss_error + np.finfo(dtype).tiny)
        else:
            error = oracle.error(loss, np.sum(case.loss) / divisor, np.sum(case.loss_error) / divisor)
        where = f"{weights=} {smoothing=} {temperature=}"
        assert error.max() <= 1, where
        tolerance = case.grad_error / divisor + np.finfo(dtype).tiny
        error = oracle.error(oracle.as_rows(grad, axis, case.x), case.grad / divisor, tolerance)
        assert error.max() <= 1, where


@pytest.mark.parametrize("layout", ["last-axis", "first-axis"])
@pytest.mark.parametrize("classes", [3, 32, 33, 130, 1000, 32768])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_nearly_equal_logits(isa, dtype, classes, layout):
    """The gradient at the maximum is as accurate as p and t, for small p too."""
    rng = np.random.default_rng(classes)
    x = rng.uniform(-0.1, 0.1, (6, classes)).astype(dtype)
    x[:3] = 0
    t = rng.dirichlet(np.ones(classes), 6).astype(dtype)
    t[::2] = 1 / classes
    array, axis = LAYOUTS[layout](x)
    grad = fastsm.cross_entropy_with_grad(array, LAYOUTS[layout](t)[0], axis=axis, reduction="none")[1]
    exact = oracle.cross_entropy(x, t)[1]
    size = oracle.softmax(x) * np.sum(t, axis=-1, keepdims=True, dtype=exact.dtype) + t
    assert oracle.error(oracle.as_rows(grad, axis, x), exact, 8 * eps(dtype) * size).max() <= 1


# ---- inputs with exact results: any wrong tail shows ----


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", BOTH)
def test_one_finite_logit_at_each_place(isa, dtype, layout):
    """A row of -inf with one finite number at any place: probability exactly 1 there."""
    for classes in range(1, 131):
        count = classes + classes % 2
        hot = np.eye(count, classes, dtype=dtype)
        hot[classes:] = hot[0]
        array, axis = LAYOUTS[layout](np.where(hot == 1, dtype(-3.7), dtype(-np.inf)))
        assert np.array_equal(oracle.as_rows(fastsm.softmax(array, axis=axis), axis, hot), hot), classes
        log_y = oracle.as_rows(fastsm.log_softmax(array, axis=axis), axis, hot)
        assert np.array_equal(log_y, np.where(hot == 1, 0, -np.inf)), classes
        assert np.all(fastsm.logsumexp(array, axis=axis) == dtype(-3.7)), classes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", BOTH)
def test_equal_logits(isa, dtype, layout):
    """With k equal logits and the others -inf or far below, probabilities are 1 / k, correctly rounded."""
    rng = np.random.default_rng(0)
    for classes in range(1, 131):
        k = rng.integers(1, classes + 1, 24)
        high = rng.permuted(np.arange(classes) < k[:, None], axis=1)
        low = np.where(rng.random(high.shape) < 0.5, -np.inf, -1000)
        rows = np.where(high, 5.25, low).astype(dtype)
        array, axis = LAYOUTS[layout](rows)
        expected = np.where(high, dtype(1) / k.astype(dtype)[:, None], 0)
        assert np.array_equal(oracle.as_rows(fastsm.softmax(array, axis=axis), axis, rows), expected), classes
        # log1p(k - 1) is off by at most 2 ULP, its sum with another number by half a ULP more
        log_k = np.log(k).astype(dtype)
        total = dtype(5.25) + log_k
        assert np.all(np.abs(fastsm.logsumexp(array, axis=axis).reshape(24) - total) <= 3 * np.spacing(total))
        log_y = oracle.as_rows(fastsm.log_softmax(array, axis=axis), axis, rows)
        expected = (rows - dtype(5.25)) - log_k[:, None]
        assert oracle.error(log_y, expected, oracle.unit(expected, dtype)).max() <= 3, classes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", BOTH)
def test_vjp_of_small_integers(isa, dtype, layout):
    """With integers and powers of 2 no sum is rounded: the VJPs are exact."""
    rng = np.random.default_rng(0)
    for classes in range(1, 131):
        y = 2.0 ** rng.integers(-4, 1, (24, classes))
        dy = rng.integers(-8, 9, (24, classes)).astype(float)
        log_y = np.where(rng.random(y.shape) < 0.5, 0.0, -np.inf)
        for vjp, output, expected in [
            (fastsm.softmax_vjp, y, y * (dy - np.sum(y * dy, axis=1, keepdims=True))),
            (fastsm.log_softmax_vjp, log_y, dy - np.exp(log_y) * np.sum(dy, axis=1, keepdims=True)),
        ]:
            array, axis = LAYOUTS[layout](output.astype(dtype))
            g, _ = LAYOUTS[layout](dy.astype(dtype))
            assert np.array_equal(oracle.as_rows(vjp(array, g, axis=axis), axis, y), expected), classes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", BOTH)
def test_cross_entropy_of_equal_logits(isa, dtype, layout):
    """With 2^a equal logits and the others -inf: loss a log 2, gradient 2^-a, and 1 less at the label."""
    rng = np.random.default_rng(0)
    for classes in range(1, 131):
        a = rng.integers(0, classes.bit_length(), 24)
        high = rng.permuted(np.arange(classes) < 2.0 ** a[:, None], axis=1)
        label = np.argmax(rng.random(high.shape) * high, axis=1)
        one_hot = oracle.one_hot(label, classes, dtype)
        rows = np.where(high, 5.25, -np.inf).astype(dtype)
        array, axis = LAYOUTS[layout](rows)
        targets = np.moveaxis(array, axis, -1)[..., 0].copy()
        for y in (label.reshape(targets.shape), LAYOUTS[layout](one_hot)[0]):
            loss, grad = fastsm.cross_entropy_with_grad(array, y, axis=axis, reduction="none")
            assert np.allclose(loss.reshape(24), a * np.log(2), rtol=2 * eps(dtype), atol=0), classes
            expected = high * 2.0 ** -a[:, None] - one_hot
            assert np.array_equal(oracle.as_rows(grad, axis, rows), expected), classes


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("classes", [1, 2, 3, 5, 10, 16, 17, 31, 32, 33])
@pytest.mark.parametrize("axis", [-1, 0])
def test_each_row_count(isa, axis, classes, dtype):
    """From 1 to 70 rows: those after the last full tile are right too, and nothing else is written."""
    rng = np.random.default_rng(classes)
    for count in range(1, 71):
        k = rng.integers(1, classes + 1, count)
        high = rng.permuted(np.arange(classes) < k[:, None], axis=1)
        rows = np.where(high, 1.5, -np.inf).astype(dtype)
        expected = np.where(high, dtype(1) / k.astype(dtype)[:, None], 0)
        layout = LAYOUTS["inside-another" if axis == -1 else "inside-another-first-axis"]
        array, _ = layout(rows)
        out, _ = layout(np.full_like(rows, np.nan))
        assert fastsm.softmax(array, axis=axis, out=out) is out
        assert np.array_equal(out if axis == -1 else out.T, expected), count
        out[...] = GUARD
        assert np.all(oracle.owner(out) == GUARD), count


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("dtype", BOTH)
def test_surroundings_unchanged(isa, dtype, axis, in_place):
    """Rows inside a larger array, for each class count: the elements around them are not touched."""
    rng = np.random.default_rng(0)
    layout = LAYOUTS["inside-another" if axis == -1 else "inside-another-first-axis"]
    functions = [
        lambda x, y, label, out: fastsm.softmax(x, axis=axis, out=out),
        lambda x, y, label, out: fastsm.log_softmax(x, axis=axis, out=out),
        lambda x, y, label, out: fastsm.softmax_vjp(x, y, axis=axis, out=out),
        lambda x, y, label, out: fastsm.log_softmax_vjp(x, y, axis=axis, out=out),
        lambda x, y, label, out: fastsm.cross_entropy_with_grad(x, label, axis=axis, out=out)[1],
        lambda x, y, label, out: fastsm.cross_entropy_with_grad(x, y, axis=axis, out=out)[1],
    ]
    for classes in range(1, 131):
        rows = -rng.exponential(3, (6, classes)).astype(dtype)
        others = rng.random((6, classes)).astype(dtype)
        label = rng.integers(0, classes, 6)
        for function in functions:
            plain = [np.ascontiguousarray(a if axis == -1 else a.T) for a in (rows, others)]
            expected = function(*plain, label, np.empty_like(plain[0]))
            x, y = layout(rows)[0], layout(others)[0]
            oracle.owner(x)[oracle.owner(x) == GUARD] = np.nan  # must not spread
            out = x if in_place else layout(rows)[0]
            function(x, y, label, out)
            assert np.array_equal(out, expected), classes
            out[...] = np.nan if in_place else GUARD
            around = oracle.owner(out)
            assert np.all(np.isnan(around) if in_place else around == GUARD), classes
