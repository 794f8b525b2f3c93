"""Properties that hold for every shape, axis, dtype and memory layout, found by hypothesis.

Values are compared with the plain formulas in float64; everything that is promised "bit for bit" is compared
by its bytes.
"""

import contextlib
import itertools
from unittest import mock

import numpy as np
import pytest
from campaign import campaign
from checks import raises
from extras import BFLOAT16
from hypothesis import given
from hypothesis import strategies as st
from layouts import FILLER, LAYOUTS, READ_ONLY_LAYOUTS, at_offset, lay_out
from teams import sharing

import fastsm
from fastsm.functional import _softmax

PROFILE = campaign(40)

ONE_INPUT = ["softmax", "log_softmax", "logsumexp"]
TWO_INPUTS = ["softmax_vjp", "log_softmax_vjp"]
SAME_SHAPE = ["softmax", "log_softmax", *TWO_INPUTS]
LOSSES = ["cross_entropy", "cross_entropy_with_grad"]
ALL = [*ONE_INPUT, *TWO_INPUTS, *LOSSES]

FLOATS = [np.dtype(name) for name in ("float16", "float32", "float64")] + BFLOAT16
INTEGERS = [np.dtype(code) for code in "bhilqBHILQ"]
# What the short path leaves to the general one.
GENERAL = {"num_threads": np.int64(1)}
DTYPES = [*FLOATS, *INTEGERS, np.dtype(bool)]
# Around the sizes where something changes: vectors of 2 to 16 lanes, and 32, up to which rows are lanes.
CLASSES = [0, 1, 2, 3, 4, 5, 8, 10, 15, 16, 17, 31, 32, 33, 35, 63, 64, 65, 100]
# A few roundings of the result, and with them those of x - max for |x| < 20.
TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-13}


# ---- drawing arguments ----


def random_values(rng, shape, dtype):
    """Return numbers between -20 and 20 that the dtype has."""
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return rng.integers(0 if dtype.kind == "u" else -20, 20, shape).astype(dtype)
    return np.clip(4 * rng.standard_normal(shape), -20, 20).astype(dtype)


def not_positive(values):
    """Return values of at most 0, as log-probabilities are."""
    return np.zeros_like(values) if values.dtype.kind in "bu" else -np.abs(values)


@st.composite
def shapes_and_axes(draw, least_axes=0, classes=CLASSES):
    """Draw a shape and one of its axes, counted from either end."""
    ndim = draw(st.integers(least_axes, 5))
    if ndim == 0:
        return (), draw(st.sampled_from([0, -1]))
    others = [0, 1, 1, 2, 3, 5, 17] if ndim < 4 else [0, 1, 1, 2, 3]
    shape = [draw(st.sampled_from(others)) for _ in range(ndim)]
    axis = draw(st.integers(-ndim, ndim - 1))
    shape[axis] = draw(st.sampled_from(classes))
    return tuple(shape), axis


def draw_inputs(data, name, dtypes, layouts, classes=CLASSES):
    """Draw the arguments of a function: its arrays and the axis."""
    is_loss = name in LOSSES
    shape, axis = data.draw(shapes_and_axes(is_loss, classes), "shape, axis")
    dtype = data.draw(st.sampled_from(dtypes), "dtype")
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    arrays = [random_values(rng, shape, dtype)]
    if name == "log_softmax_vjp":
        arrays[0] = not_positive(arrays[0])
    if name in TWO_INPUTS:
        arrays.append(random_values(rng, shape, dtype))
    arrays = [lay_out(array, data.draw(st.sampled_from(layouts), "layout")) for array in arrays]
    if is_loss:
        arrays.append(draw_labels(data, rng, shape, axis))
    return arrays, axis


def draw_labels(data, rng, shape, axis):
    """Draw labels for logits of this shape, or float64 probabilities where there are no classes."""
    classes = shape[axis]
    if classes == 0:
        return np.ones(shape)
    rows = np.delete(shape, axis)
    labels = rng.integers(0, classes, rows).astype(data.draw(st.sampled_from(INTEGERS), "label dtype"))
    return lay_out(labels, data.draw(st.sampled_from(LAYOUTS), "label layout"))


# ---- what is expected ----


def expected(name, arrays, axis, temperature=1.0):
    """Return the results by the plain formulas, in float64."""
    x = np.atleast_1d(arrays[0]).astype(np.float64) / (1.0 if name in TWO_INPUTS else temperature)
    if name in TWO_INPUTS:
        dy = np.atleast_1d(arrays[1]).astype(np.float64)
        if name == "softmax_vjp":
            return (x * (dy - (x * dy).sum(axis, keepdims=True)) / temperature,)
        return ((dy - np.exp(x) * dy.sum(axis, keepdims=True)) / temperature,)
    with np.errstate(divide="ignore"):
        maximum = x.max(axis, keepdims=True, initial=-1e3)
        log_sum = np.log(np.exp(x - maximum).sum(axis, keepdims=True)) + maximum
    log_p = x - log_sum
    if name == "softmax":
        return (np.exp(log_p),)
    if name == "log_softmax":
        return (log_p,)
    if name == "logsumexp":
        return (log_sum.squeeze(axis),)
    y = arrays[1]
    if y.dtype.kind in "iu":
        y = np.moveaxis(np.eye(x.shape[axis])[y.astype(int)], -1, axis)
    loss = (y * -log_p).sum(axis)
    return (loss, (np.exp(log_p) - y) / temperature)[: 1 + name.endswith("grad")]


def call(name, arrays, axis, **options):
    """Call a function, each row of a loss by itself; always return a tuple of results."""
    if name in LOSSES:
        options.setdefault("reduction", "none")
    result = getattr(fastsm, name)(*arrays, axis=axis, **options)
    return result if isinstance(result, tuple) else (result,)


def computed_in(dtype):
    """Return the dtype that an input of a dtype is computed in, which losses have."""
    narrow = dtype.newbyteorder("=") in FLOATS and dtype.itemsize <= 4
    return np.dtype(np.float32 if narrow else np.float64)


def assert_close(name, results, references, like):
    """Check the values, shapes and dtypes of the results of a function for an input `like`."""
    dtype = like.dtype.name if like.dtype.name in TOLERANCE else "float64"
    for i, (result, reference) in enumerate(zip(results, references, strict=True)):
        is_loss = name in LOSSES and i == 0
        assert result.dtype.name == (computed_in(like.dtype).name if is_loss else dtype)
        assert np.shape(result) == (reference.shape if like.ndim else ())
        scale = max(np.abs(np.nan_to_num(reference, neginf=0)).max(initial=0), 1)
        numbers = np.asarray(result).astype(np.float64).reshape(reference.shape)
        np.testing.assert_allclose(numbers, reference, rtol=0, atol=TOLERANCE[dtype] * scale)


def assert_same_bits(results, others):
    """Check that results are the same, bit for bit; byte order and strides aside."""
    for result, other in zip(results, others, strict=True):
        result, other = np.asarray(result), np.asarray(other)
        assert result.shape == other.shape
        assert result.dtype.name == other.dtype.name
        if result.tobytes() != other.tobytes():  # then say where
            np.testing.assert_array_equal(result.astype(np.float64), other.astype(np.float64), strict=True)
            assert result.astype(np.float64).tobytes() == other.astype(np.float64).tobytes()


@contextlib.contextmanager
def without_short_path():
    """Let all calls take the general path."""
    with (
        mock.patch.object(_softmax.kernels, "try_plain", return_value=None),
        mock.patch.object(_softmax.kernels, "try_plain_cross_entropy", return_value=None),
    ):
        yield


@contextlib.contextmanager
def split_everything():
    """Share arrays of any size, without the short path."""
    with sharing(), without_short_path():
        yield


# ---- values ----


@pytest.mark.parametrize("name", ALL)
@PROFILE
@given(data=st.data())
def test_formula(isa, name, data):
    """Any shape, axis, dtype and layout agrees with the formula, and inputs are unchanged."""
    arrays, axis = draw_inputs(data, name, DTYPES, LAYOUTS + READ_ONLY_LAYOUTS)
    options = {}
    if name != "logsumexp":
        options["temperature"] = data.draw(st.sampled_from([1.0, 2, 0.5]), "temperature")
    before = [array.tobytes() for array in arrays]
    results = call(name, arrays, axis, **options)
    assert [array.tobytes() for array in arrays] == before
    assert_close(name, results, expected(name, arrays, axis, **options), arrays[0])


@pytest.mark.parametrize("name", ONE_INPUT)
@PROFILE
@given(data=st.data())
def test_where(isa, name, data):
    """Masked elements count as -inf, for any mask that broadcasts; fully masked rows give 0."""
    [x], axis = draw_inputs(data, name, DTYPES, LAYOUTS)
    mask_shape = tuple(n if data.draw(st.booleans()) else 1 for n in x.shape)
    mask_shape = mask_shape[data.draw(st.integers(0, len(mask_shape))) :]
    mask = np.random.default_rng(x.size).random(mask_shape) < 0.6
    masked = np.where(mask, x.astype(np.float64), -np.inf)
    with np.errstate(invalid="ignore"):
        references = expected(name, [masked], axis)
    if name != "logsumexp":
        anything = np.atleast_1d(np.broadcast_to(mask, x.shape)).any(axis, keepdims=True)
        references = (np.where(anything, references[0], 0.0 if name == "softmax" else -np.inf),)
    assert_close(name, call(name, [x], axis, where=mask), references, x)


@PROFILE
@given(data=st.data())
def test_keepdims(data):
    """Logsumexp with keepdims has the axis at length 1, and the same bits."""
    [x], axis = draw_inputs(data, "logsumexp", DTYPES, LAYOUTS)
    kept = fastsm.logsumexp(x, axis=axis, keepdims=True)
    assert np.shape(kept) == (np.expand_dims(x.sum(axis), axis).shape if x.ndim else ())
    assert_same_bits([np.reshape(kept, -1)], [np.reshape(fastsm.logsumexp(x, axis=axis), -1)])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_computed_in(isa, name, dtype):
    """16-bit floats are computed in float32 and rounded once, integers and bools are float64: bit for bit."""
    width = computed_in(dtype)
    narrow = dtype if dtype in FLOATS else width
    for classes in (3, 33):
        arrays = matrices(name, (5, classes), dtype)
        wide = [a if a.shape == (5,) else a.astype(width) for a in arrays]
        for compute in (lambda name, arrays: call(name, arrays, -1), by_columns):
            loss = () if name not in LOSSES else compute(name, wide)[:1]
            others = [result.astype(narrow) for result in compute(name, wide)[len(loss) :]]
            assert_same_bits(compute(name, arrays), [*loss, *others])


@PROFILE
@given(data=st.data())
def test_probability_targets(isa, data):
    """Probabilities of any floating dtype and layout agree with the formula."""
    shape, axis = data.draw(shapes_and_axes(1), "shape, axis")
    rng = np.random.default_rng(sum(shape))
    dtype = data.draw(st.sampled_from(FLOATS), "dtype")
    logits = lay_out(random_values(rng, shape, dtype), data.draw(st.sampled_from(LAYOUTS), "layout"))
    y = rng.random(shape)
    y = (y / y.sum(axis, keepdims=True)).astype(data.draw(st.sampled_from(FLOATS), "target dtype"))
    y = lay_out(y, data.draw(st.sampled_from(LAYOUTS + READ_ONLY_LAYOUTS), "target layout"))
    name = "cross_entropy_with_grad"
    loss, gradient = call(name, [logits, y], axis)
    x, t = logits.astype(np.float64), y.astype(np.float64)
    [log_p] = expected("log_softmax", [x], axis)
    total = t.sum(axis, keepdims=True)  # not 1 after rounding
    assert_close(name, (loss, gradient), ((t * -log_p).sum(axis), np.exp(log_p) * total - t), logits)
    assert_same_bits(call("cross_entropy", [logits, y], axis), [loss])


@pytest.mark.parametrize("argument", ["class_weight", "sample_weight"])
@PROFILE
@given(data=st.data())
def test_weights(isa, argument, data):
    """Weights may have any dtype and layout."""
    shape, axis = data.draw(shapes_and_axes(1, CLASSES[1:]), "shape, axis")
    rng = np.random.default_rng(sum(shape))
    logits = random_values(rng, shape, np.dtype(np.float32))
    rows = np.delete(shape, axis)
    labels = rng.integers(0, shape[axis], rows)
    plain = rng.integers(0, 2, shape[axis] if argument == "class_weight" else rows)
    weights = plain.astype(data.draw(st.sampled_from(DTYPES), "dtype"))
    weights = lay_out(weights, data.draw(st.sampled_from([*LAYOUTS, "read-only"]), "layout"))
    reduction = data.draw(st.sampled_from(["none", "mean", "sum"]), "reduction")
    for targets in (labels, rng.random(shape)):
        results = [
            call("cross_entropy_with_grad", [logits, targets], axis, reduction=reduction, **{argument: w})
            for w in (weights, plain.astype(np.float64))
        ]
        assert_same_bits(*results)


# ---- out ----


def full_out(name, results):
    """Return the one of the results that is written to `out`."""
    return results[-1] if name != "cross_entropy" else None


@pytest.mark.parametrize("name", [name for name in ALL if name != "cross_entropy"])
@PROFILE
@given(data=st.data())
def test_out(isa, name, data):
    """`out` in any layout is filled and returned; the elements around it are unchanged."""
    arrays, axis = draw_inputs(data, name, FLOATS, LAYOUTS + READ_ONLY_LAYOUTS)
    plain = call(name, arrays, axis)
    layout = data.draw(st.sampled_from(LAYOUTS), "layout of out")
    out = lay_out(np.full_like(full_out(name, plain), FILLER), layout)
    before = [array.tobytes() for array in arrays]
    results = call(name, arrays, axis, out=out)
    assert full_out(name, results) is out
    assert [array.tobytes() for array in arrays] == before
    assert_close(name, results, expected(name, arrays, axis), np.asarray(arrays[0]))
    if layout == "strided":
        out[...] = FILLER
        assert (out.base == FILLER).all()


@pytest.mark.parametrize("name", [*SAME_SHAPE, "cross_entropy_with_grad"])
@PROFILE
@given(data=st.data())
def test_in_place(isa, name, data):
    """An input, or an equal view of it, as `out`: the same bits as elsewhere."""
    arrays, axis = draw_inputs(data, name, FLOATS, LAYOUTS)
    plain = call(name, arrays, axis)
    index = data.draw(st.integers(0, 1), "input") if name in TWO_INPUTS else 0
    out = arrays[index][...] if data.draw(st.booleans(), "view") else arrays[index]
    others = [array.tobytes() for array in arrays if array is not arrays[index]]
    results = call(name, arrays, axis, out=out)
    assert full_out(name, results) is out
    assert_same_bits(results, plain)
    assert [array.tobytes() for array in arrays if array is not arrays[index]] == others


@pytest.mark.parametrize("name", TWO_INPUTS)
def test_all_the_same_array(isa, name):
    """Both inputs and `out` may be one array."""
    for shape, axis in itertools.product([(7, 10), (3, 50)], [0, -1]):
        y = -np.random.default_rng(0).random(shape)
        plain = call(name, [y.copy(), y.copy()], axis)
        assert_same_bits(call(name, [y, y], axis, out=y), plain)


def message_of_overlap(name, argument):
    """Return the text of the error."""
    unless = "" if name == "logsumexp" else f" unless it is `{argument}` itself"
    return f"`out` must not overlap `{argument}`{unless}, got an array that shares its memory"


def arguments_of(name):
    """Return the names of the arguments that `out` may be."""
    others = {
        "softmax_vjp": ["y", "dy"],
        "log_softmax_vjp": ["log_y", "dy"],
        "cross_entropy_with_grad": ["logits"],
    }
    return others.get(name, ["x"])


def with_input(name, index, array):
    """Return arguments of which number `index` is `array`, a matrix of 0s."""
    arrays = [np.zeros_like(array) for _ in range(2)]
    arrays[index] = array
    if name in LOSSES:
        arrays[1] = np.zeros(array.shape[0], np.int64)
    return arrays[:1] if name in ONE_INPUT else arrays


WITH_OUT = [
    (name, i) for name in [*SAME_SHAPE, "cross_entropy_with_grad"] for i in range(len(arguments_of(name)))
]


@pytest.mark.parametrize(("name", "index"), WITH_OUT)
@pytest.mark.parametrize("options", [{}, GENERAL], ids=["short path", "general path"])
@pytest.mark.parametrize("shift", [1, 4, -7])
def test_partial_overlap(name, index, options, shift):
    """An `out` that is an input shifted by a few elements is an error, and nothing is written."""
    memory = np.zeros(23)
    first, second = (0, shift) if shift > 0 else (-shift, 0)
    arrays = with_input(name, index, memory[first : first + 12].reshape(3, 4))
    out = memory[second : second + 12].reshape(3, 4)
    if name in LOSSES:
        options = {**options, "reduction": "mean"}
    with raises(ValueError, message_of_overlap(name, arguments_of(name)[index])):
        call(name, arrays, -1, out=out, **options)
    assert not memory.any()


@pytest.mark.parametrize(("name", "index"), WITH_OUT)
def test_overlapping_transpose(name, index):
    """The transpose of an input as `out` is an error, as is its mirror image, and nothing is written."""
    for turn in (np.transpose, np.flip, np.fliplr):
        square = np.zeros((4, 4))
        with raises(ValueError, message_of_overlap(name, arguments_of(name)[index])):
            call(name, with_input(name, index, square), -1, out=turn(square))
        assert not square.any()


@pytest.mark.parametrize(("name", "index"), WITH_OUT)
def test_neighbours(isa, name, index):
    """Interleaved views that share no element are accepted."""
    for left, right in [
        (np.s_[:, ::2], np.s_[:, 1::2]),
        (np.s_[:, :40], np.s_[:, 40:]),
        (np.s_[::2, 3:43], np.s_[1::2, 20:60]),
    ]:
        memory = np.random.default_rng(0).standard_normal((6, 80))
        x = -np.abs(memory[left])
        memory[left] = x
        arrays = with_input(name, index, x)
        plain = call(name, arrays, -1)
        arrays[index] = memory[left]
        results = call(name, arrays, -1, out=memory[right])
        assert_same_bits(results, plain)
        np.testing.assert_array_equal(memory[left], x)


@pytest.mark.parametrize("options", [{}, GENERAL, {"keepdims": True}], ids=str)
@pytest.mark.parametrize("where", [np.s_[:, 0], np.s_[0, :4], np.s_[1, :4], np.s_[3, 1:]], ids=str)
def test_logsumexp_out_inside_input(options, where):
    """The result of logsumexp may not lie in its input."""
    x = np.zeros((4, 5))
    out = x[where].reshape((4, 1) if "keepdims" in options else 4)
    with raises(ValueError, message_of_overlap("logsumexp", "x")):
        fastsm.logsumexp(x, out=out, **options)
    assert not x.any()


@pytest.mark.parametrize("options", [{}, GENERAL], ids=["short path", "general path"])
@pytest.mark.parametrize("argument", ["targets", "class_weight", "sample_weight"])
@pytest.mark.parametrize("offset", [0, 1, 7])
def test_gradient_over_other_arguments(options, argument, offset):
    """The gradient may not overwrite labels, targets or weights at any offset."""
    memory = np.zeros(12)
    count = 4 if argument == "class_weight" else 3
    inside = memory[offset : offset + count]
    labels = np.zeros(3, np.int64)
    if argument == "targets":
        labels = inside.view(np.int64)
    else:
        options = {**options, argument: inside}
    with raises(ValueError, f"`out` must not overlap `{argument}`, got an array that shares its memory"):
        fastsm.cross_entropy_with_grad(np.ones((3, 4)), labels, out=memory.reshape(3, 4), **options)
    assert not memory.any()


@pytest.mark.parametrize("options", [{}, GENERAL], ids=["short path", "general path"])
@pytest.mark.parametrize("shift", [0, 1, -1, 4, -7])
def test_gradient_over_probabilities(options, shift):
    """The gradient may not overwrite target probabilities, not even in place."""
    memory = np.zeros(23)
    first, second = (0, shift) if shift > 0 else (-shift, 0)
    targets, out = (memory[start : start + 12].reshape(3, 4) for start in (first, second))
    with raises(ValueError, "`out` must not overlap `targets`, got an array that shares its memory"):
        fastsm.cross_entropy_with_grad(np.ones((3, 4)), targets, out=out, **options)
    assert not memory.any()


# ---- bit for bit ----


def matrices(name, shape, dtype, seed=0):
    """Return arguments of a function for rows along the last axis."""
    rng = np.random.default_rng(seed)
    arrays = [random_values(rng, shape, dtype), random_values(rng, shape, dtype)]
    if name in ONE_INPUT:
        return arrays[:1]
    if name == "log_softmax_vjp":
        arrays[0] = not_positive(arrays[0])
    if name in LOSSES:
        arrays[1] = rng.integers(0, shape[-1], shape[:-1])
    return arrays


def take_rows(arrays, rows):
    """Return the same rows of all arguments."""
    return [array[rows] for array in arrays]


def by_columns(name, arrays):
    """Call a function along axis 0 of C-contiguous transposes, and transpose what it returns."""
    turned = [np.ascontiguousarray(a.T) if a.ndim > 1 else a for a in arrays]
    return [r.T if r.ndim > 1 else r for r in call(name, turned, 0)]


SIZES = st.sampled_from(CLASSES[1:])
COUNTS = st.sampled_from([1, 2, 3, 4, 7, 15, 16, 17, 33, 64, 65, 130])
NATIVE = st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)])


@pytest.mark.parametrize("name", ALL)
@PROFILE
@given(data=st.data())
def test_column_by_column(isa, name, data):
    """Columns of a C-contiguous array have the same bits in any batch of two or more."""
    columns, dtype = data.draw(COUNTS.filter(lambda n: n > 1), "columns"), data.draw(NATIVE, "dtype")
    arrays = matrices(name, (columns, data.draw(SIZES, "classes")), dtype)
    first = data.draw(st.integers(0, columns - 2), "first")
    last = data.draw(st.integers(first + 2, columns), "last")
    some = by_columns(name, take_rows(arrays, slice(first, last)))
    assert_same_bits(some, take_rows(by_columns(name, arrays), slice(first, last)))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("classes", [2, 10, 32, 33, 100])
def test_one_column(isa, name, classes):
    """The same for one column alone."""
    for dtype in ("float32", "float64"):
        arrays = matrices(name, (20, classes), np.dtype(dtype))
        together = by_columns(name, arrays)
        for column in range(20):
            alone = by_columns(name, take_rows(arrays, slice(column, column + 1)))
            assert_same_bits(alone, take_rows(together, slice(column, column + 1)))


@pytest.mark.parametrize("name", ALL)
def test_long_columns(isa, name):
    """The same where a block of columns, or a few of them, exceed the cache."""
    for columns, classes in [(70, 1000), (35, 9000), (19, 20_000)]:
        arrays = matrices(name, (columns, classes), np.dtype(np.float32))
        together = by_columns(name, arrays)
        for chosen in (slice(0, 2), slice(5, columns - 1), slice(columns - 3, columns)):
            assert_same_bits(by_columns(name, take_rows(arrays, chosen)), take_rows(together, chosen))


@pytest.mark.parametrize("name", ALL)
@PROFILE
@given(data=st.data())
def test_middle_axis(isa, name, data):
    """The same along an axis in the middle: each block of a batch by itself."""
    blocks, inner = data.draw(st.integers(1, 5), "blocks"), data.draw(st.integers(2, 40), "inner")
    classes, dtype = data.draw(SIZES, "classes"), data.draw(NATIVE, "dtype")
    arrays = matrices(name, (blocks, inner, classes), dtype)
    arrays = [np.ascontiguousarray(a.transpose(0, 2, 1)) if a.ndim == 3 else a for a in arrays]
    together = call(name, arrays, 1)
    for block in range(blocks):
        alone = call(name, take_rows(arrays, slice(block, block + 1)), 1)
        assert_same_bits(alone, take_rows(together, slice(block, block + 1)))


@pytest.mark.parametrize("name", ALL)
@PROFILE
@given(data=st.data())
def test_threads(isa, name, data):
    """Any split of the rows between threads gives the same bits, also of a mean loss."""
    arrays, axis = draw_inputs(data, name, [np.dtype(np.float32), np.dtype(np.float64)], LAYOUTS)
    options = {}
    if name in LOSSES:
        options["reduction"] = data.draw(st.sampled_from(["none", "mean", "sum"]), "reduction")
    serial = call(name, arrays, axis, num_threads=1, **options)
    assert_same_bits(call(name, arrays, axis, **options), serial)
    with split_everything():
        for threads in (1, 2, 3):
            assert_same_bits(call(name, arrays, axis, num_threads=threads, **options), serial)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(1000, 10), (500, 40), (70, 1000), (3, 5, 300)], ids=str)
def test_threads_with_many_blocks(isa, name, shape):
    """Blocks that begin in the middle of a tile, in place and not, for rows and for columns."""
    for axis in (-1, 0):
        arrays = matrices(name, shape, np.dtype(np.float32))
        full = [a.ndim == len(shape) for a in arrays]
        arrays = [
            np.array(np.moveaxis(a, -1, axis), order="C") if f else a
            for a, f in zip(arrays, full, strict=True)
        ]
        serial = call(name, arrays, axis)
        with split_everything():
            for threads in (2, 3, 7):
                copies = [array.copy() for array in arrays]
                out = {} if name in ("logsumexp", "cross_entropy") else {"out": copies[0]}
                assert_same_bits(call(name, copies, axis, num_threads=threads, **out), serial)


@pytest.mark.parametrize("name", ALL)
@PROFILE
@given(data=st.data())
def test_short_and_general_path(isa, name, data):
    """The short path of small plain arrays and the general path give the same bits."""
    dtypes = [np.dtype(np.float32), np.dtype(np.float64)]
    arrays, axis = draw_inputs(data, name, dtypes, ["C", "read-only"], CLASSES[1:])
    options = {}
    if name in LOSSES:
        options["reduction"] = "mean"
        arrays[1] = arrays[1].astype(np.int64)
        if data.draw(st.booleans(), "probabilities"):
            arrays[1] = np.random.default_rng(0).random(arrays[0].shape).astype(arrays[0].dtype)
    short = call(name, arrays, axis, **options)
    assert_same_bits(call(name, arrays, axis, **GENERAL, **options), short)
    if name != "cross_entropy":
        out = np.array(full_out(name, short))
        out[...] = FILLER
        assert_same_bits(call(name, arrays, axis, out=out, **options), short)
    if name in ONE_INPUT:
        assert_same_bits(call(name, arrays, axis, where=True), short)
    with without_short_path():
        assert_same_bits(call(name, arrays, axis, **options), short)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(7, 10), (5, 32), (4, 33), (3, 100)], ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_alignment(isa, name, dtype, shape, axis):
    """Address, alignment, odd strides and byte order of an array do not change the bits."""
    arrays = matrices(name, shape, np.dtype(dtype))
    if axis == 0:
        arrays = [np.ascontiguousarray(a.T) if a.ndim == 2 else a for a in arrays]
    plain = call(name, arrays, axis)
    for offset in (0, 8, 24, 56, 1, 2, 7):
        assert_same_bits(call(name, [at_offset(a, offset) for a in arrays], axis), plain)
    for layout in ("structured", "byte-swapped"):
        assert_same_bits(call(name, [lay_out(a, layout) for a in arrays], axis), plain)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("classes", [10, 32, 33, 100])
def test_alignment_in_fortran_order(isa, name, classes):
    """The same for Fortran order, and for swapped bytes."""
    for dtype in ("float32", "float64"):
        arrays = [np.asfortranarray(a) for a in matrices(name, (7, classes), np.dtype(dtype))]
        plain = call(name, arrays, -1)
        for offset in (0, 8, 24, 1, 7):
            assert_same_bits(call(name, [at_offset(a, offset, "F") for a in arrays], -1), plain)
        assert_same_bits(call(name, [lay_out(a, "byte-swapped") for a in arrays], -1), plain)
