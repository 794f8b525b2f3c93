"""Wrong arguments: the text of each message, and nothing is written before it is raised."""

from unittest import mock

import numpy as np
import oracle
import pytest
from checks import raises
from extras import FLOAT8
from layouts import lay_out
from teams import sharing

import fastsm
from fastsm import _arguments
from fastsm.functional import _general

# The arguments by position; all arrays here are (2, 3).
FUNCTIONS = {
    "softmax": ["x"],
    "log_softmax": ["x"],
    "logsumexp": ["x"],
    "softmax_vjp": ["y", "dy"],
    "log_softmax_vjp": ["log_y", "dy"],
    "cross_entropy": ["logits", "targets"],
    "cross_entropy_with_grad": ["logits", "targets"],
}
LOGITS = ["softmax", "log_softmax", "logsumexp"]
WITH_TEMPERATURE = [name for name in FUNCTIONS if name != "logsumexp"]
FULL_OUT = ["softmax", "log_softmax", "softmax_vjp", "log_softmax_vjp", "cross_entropy_with_grad"]
VJPS = ["softmax_vjp", "log_softmax_vjp"]
LOSSES = ["cross_entropy", "cross_entropy_with_grad"]

REAL = "float16, bfloat16, float32, float64, an integer or bool"


def call(name, **changed):
    """Call a function with right arguments, some of them replaced."""
    right = {"targets": np.array([0, 2]), "out": None}
    positional = [changed.pop(p, right.get(p, np.zeros((2, 3)))) for p in FUNCTIONS[name]]
    return getattr(fastsm, name)(*positional, **changed)


def check(error, message, name, **changed):
    """Call a function with a wrong argument, and compare type and text of the error."""
    with raises(error, oracle.native(message)):
        call(name, **changed)


# ---- the table: functions, the wrong argument, the error, its text ----

AxisError = np.exceptions.AxisError
NUMBERS = [None, "1", 1j, True, [1.0], np.array(1.0)]
INTEGERS = [1.5, "1", [1], True]

TABLE = [
    # axis
    (FUNCTIONS, {"axis": 2}, AxisError, "`axis` must be from -2 to 1, got 2"),
    (FUNCTIONS, {"axis": -3}, AxisError, "`axis` must be from -2 to 1, got -3"),
    (FUNCTIONS, {"axis": 2**70}, AxisError, f"`axis` must be from -2 to 1, got {2**70}"),
    (
        FUNCTIONS,
        {"axis": None},
        TypeError,
        "`axis` must be an integer, got None: fastsm.special takes None, for all elements",
    ),
    (FUNCTIONS, {"axis": 1.0}, TypeError, "`axis` must be an integer, got 1.0"),
    (FUNCTIONS, {"axis": "1"}, TypeError, "`axis` must be an integer, got '1'"),
    (
        FUNCTIONS,
        {"axis": (0, 1)},
        TypeError,
        "`axis` must be an integer, got (0, 1): fastsm.special takes several axes",
    ),
    (FUNCTIONS, {"axis": np.array([0, 1])}, TypeError, "`axis` must be an integer, got array([0, 1])"),
    (LOGITS, {"x": 3.0, "axis": 1}, AxisError, "`axis` must be from -1 to 0, got 1"),
    # temperature
    *(
        (WITH_TEMPERATURE, {"temperature": v}, TypeError, f"`temperature` must be a number, got {v!r}")
        for v in NUMBERS
    ),
    *(
        (
            WITH_TEMPERATURE,
            {"temperature": v},
            ValueError,
            f"`temperature` must be from 1e-30 to 1e30, got {v!r}",
        )
        for v in (0, 0.0, -1.0, np.float32(-2), 1e-310, 9e-31, 2e30, np.inf, -np.inf, np.nan, 10**400)
    ),
    # num_threads
    *(
        (FUNCTIONS, {"num_threads": v}, error, f"`num_threads` must be an integer of at least 1, got {v!r}")
        for v, error in [(0, ValueError), (-1, ValueError), *((v, TypeError) for v in INTEGERS)]
    ),
    # where
    (LOGITS, {"where": [1, 0, 1]}, TypeError, "`where` must have dtype bool, got int64"),
    (LOGITS, {"where": 1.0}, TypeError, "`where` must have dtype bool, got float64"),
    (LOGITS, {"where": "yes"}, TypeError, "`where` must have dtype bool, got <U3"),
    (
        LOGITS,
        {"where": [True, False]},
        ValueError,
        "`where` must have a shape that broadcasts to (2, 3), got (2,)",
    ),
    (
        LOGITS,
        {"where": np.ones((1, 2, 3), bool)},
        ValueError,
        "`where` must have a shape that broadcasts to (2, 3), got (1, 2, 3)",
    ),
    # out
    (FULL_OUT, {"out": [0.0]}, TypeError, "`out` must be a NumPy array, got list"),
    (FULL_OUT, {"out": np.float64(0)}, TypeError, "`out` must be a NumPy array, got float64"),
    (FULL_OUT, {"out": np.ma.zeros((2, 3))}, TypeError, "`out` must be a NumPy array, got MaskedArray"),
    (FULL_OUT, {"out": np.zeros((2, 3), "f4")}, TypeError, "`out` must have dtype float64, got float32"),
    (FULL_OUT, {"out": np.zeros((2, 3), int)}, TypeError, "`out` must have dtype float64, got int64"),
    (FULL_OUT, {"out": np.zeros((3, 2))}, ValueError, "`out` must have shape (2, 3), got (3, 2)"),
    (FULL_OUT, {"out": np.zeros((1, 2, 3))}, ValueError, "`out` must have shape (2, 3), got (1, 2, 3)"),
    (
        FULL_OUT,
        {"out": lay_out(np.zeros((2, 3)), "read-only")},
        ValueError,
        "`out` must be writeable, got a read-only array",
    ),
    (
        FULL_OUT,
        {"out": np.ndarray((2, 3), float, bytearray(24), strides=(0, 8))},
        ValueError,
        "`out` must have an element for each result, got an array whose elements overlap",
    ),
    (["logsumexp"], {"out": np.zeros(3)}, ValueError, "`out` must have shape (2,), got (3,)"),
    (
        ["logsumexp"],
        {"out": np.zeros(2), "keepdims": True},
        ValueError,
        "`out` must have shape (2, 1), got (2,)",
    ),
    (["logsumexp"], {"out": np.zeros(2, "f2")}, TypeError, "`out` must have dtype float64, got float16"),
    (
        ["logsumexp"],
        {"out": lay_out(np.zeros(2), "read-only")},
        ValueError,
        "`out` must be writeable, got a read-only array",
    ),
    # the gradient of the VJPs
    (VJPS, {"dy": np.zeros((2, 4))}, ValueError, "`dy` must have shape (2, 3), got (2, 4)"),
    (VJPS, {"dy": np.zeros(3)}, ValueError, "`dy` must have shape (2, 3), got (3,)"),
    (VJPS, {"dy": 1.0}, ValueError, "`dy` must have shape (2, 3), got ()"),
    (VJPS, {"dy": None}, TypeError, f"`dy` must have dtype {REAL}, got object"),
    # logits and targets
    (LOSSES, {"logits": 1.0}, ValueError, "`logits` must have at least one axis, got shape ()"),
    (LOSSES, {"targets": [0, 1, 2]}, ValueError, "`targets` must have shape (2,), got (3,)"),
    *(
        (LOSSES, {"targets": v}, ValueError, f"`targets` must have shape {message}")
        for v, message in [
            ([[0], [1]], "(2,), got (2, 1): give np.ravel(targets) as labels"),
            ([[0.0], [1.0]], "(2, 3), got (2, 1): give np.ravel(targets).astype(int) as labels"),
            ([0.0, 1.0], "(2, 3), got (2,): labels are integers, give targets.astype(int)"),
            ([0.5, 1.0], "(2, 3), got (2,)"),
            (
                np.eye(3, dtype=int)[:2],
                "(2,), got (2, 3): one-hot rows are floating, or give targets.argmax(axis=1) as labels",
            ),
        ]
    ),
    (LOSSES, {"targets": 0}, ValueError, "`targets` must have shape (2,), got ()"),
    (LOSSES, {"targets": [0, 1], "axis": 0}, ValueError, "`targets` must have shape (3,), got (2,)"),
    *(
        (
            LOSSES,
            {"targets": v},
            TypeError,
            f"`targets` must have an integer dtype (labels) or a floating one (probabilities), got {dtype}",
        )
        for v, dtype in [
            ([True, False], "bool: give targets.astype(int)"),
            (["a", "b"], "<U1"),
            ([1j, 0], "complex128"),
            (None, "object"),
            (np.zeros(2, "M8[s]"), "datetime64[s]"),
            (np.zeros(2, "m8[s]"), "timedelta64[s]"),
            (np.zeros(2, [("a", int)]), "[('a', '<i8')]"),
        ]
    ),
    # the options of the losses
    (LOSSES, {"class_weight": [1, 2]}, ValueError, "`class_weight` must have shape (3,), got (2,)"),
    (LOSSES, {"class_weight": 1.0}, ValueError, "`class_weight` must have shape (3,), got ()"),
    (LOSSES, {"class_weight": "abc"}, TypeError, f"`class_weight` must have dtype {REAL}, got <U3"),
    *(
        (
            LOSSES,
            {"class_weight": v},
            TypeError,
            f"`class_weight` must have shape (3,), got {v!r}: give {advice}; the estimators of fastsm.sklearn"
            " take it",
        )
        for v, advice in [
            ("balanced", "N / (C * np.bincount(y))"),
            ({0: 2.0}, "[weights.get(k, 1.0) for k in range(C)]"),
        ]
    ),
    (LOSSES, {"class_weight": [1j] * 3}, TypeError, f"`class_weight` must have dtype {REAL}, got complex128"),
    (LOSSES, {"sample_weight": [1, 2, 3]}, ValueError, "`sample_weight` must have shape (2,), got (3,)"),
    (LOSSES, {"sample_weight": [[1], [2]]}, ValueError, "`sample_weight` must have shape (2,), got (2, 1)"),
    (LOSSES, {"sample_weight": [None] * 2}, TypeError, f"`sample_weight` must have dtype {REAL}, got object"),
    *(
        (LOSSES, {"ignore_index": v}, TypeError, f"`ignore_index` must be an integer, got {v!r}")
        for v in INTEGERS
    ),
    (
        LOSSES,
        {"targets": np.zeros((2, 3)), "ignore_index": -100},
        ValueError,
        "`ignore_index` must be None with probability targets, got -100",
    ),
    *(
        (LOSSES, {"label_smoothing": v}, TypeError, f"`label_smoothing` must be a number, got {v!r}")
        for v in NUMBERS
    ),
    *(
        (LOSSES, {"label_smoothing": v}, ValueError, f"`label_smoothing` must be from 0 to 1, got {v!r}")
        for v in (-0.1, 1.5, 2, np.inf, np.nan, 10**400)
    ),
    *(
        (LOSSES, {"reduction": v}, error, f"`reduction` must be one of mean, sum, none, got {v!r}")
        for v, error in [(None, TypeError), (1, TypeError), ("Mean", ValueError), ("", ValueError)]
    ),
]


@pytest.mark.parametrize(
    ("name", "changed", "error", "message"),
    [(name, *row) for names, *row in TABLE for name in names],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_message(name, changed, error, message):
    """Each wrong argument of each function gives its message."""
    check(error, message, name, **changed)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.zeros((2, 3), complex), "complex128"),
        ([["a", "b", "c"]] * 2, "<U1"),
        (np.zeros((2, 3), object), "object: give {}.astype(float)"),
        (None, "object"),
        (np.zeros((2, 3), "S2"), "|S2"),
        (np.zeros((2, 3), "M8[D]"), "datetime64[D]"),
        (np.zeros((2, 3), "m8[D]"), "timedelta64[D]"),
        (np.zeros((2, 3), [("a", float)]), "[('a', '<f8')]"),
        *((np.zeros((2, 3), dtype), "float8_e4m3fn") for dtype in FLOAT8),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dtype(name, value, dtype):
    """Arrays of other dtypes than real numbers are refused."""
    for argument in FUNCTIONS[name]:
        if argument != "targets":
            message = f"`{argument}` must have dtype {REAL}, got {dtype.format(argument)}"
            check(TypeError, message, name, **{argument: value})


@pytest.mark.skipif(np.dtype(np.longdouble) == np.float64, reason="long double is float64 here")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_long_double(name):
    """Long doubles are not silently narrowed."""
    wide = np.zeros((2, 3), np.longdouble)
    for argument in FUNCTIONS[name]:
        if argument != "targets":
            message = f"`{argument}` must have dtype {REAL}, got {wide.dtype}"
            check(TypeError, message, name, **{argument: wide})


@pytest.mark.parametrize("name", LOGITS)
def test_masked_logits(name):
    """Masked arrays are refused, and the message recommends `where`."""
    message = "`x` must be an ordinary array, got a masked array: pass its data, and `where=~x.mask`"
    check(TypeError, message, name, x=np.ma.masked_equal(np.zeros((2, 3)), 1))


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        *((name, argument) for name in (*VJPS, *LOSSES) for argument in FUNCTIONS[name]),
        *((name, argument) for name in LOSSES for argument in ("class_weight", "sample_weight")),
        *((name, "where") for name in LOGITS),
    ],
)
def test_masked_array(name, argument):
    """Masked arrays are refused in every argument; only functions with `where` recommend it."""
    shape = {"targets": 2, "sample_weight": 2, "class_weight": 3}.get(argument, (2, 3))
    dtype = {"targets": int, "where": bool}.get(argument, float)
    with pytest.raises(TypeError) as caught:
        call(name, **{argument: np.ma.array(np.ones(shape, dtype), mask=True)})
    assert str(caught.value).startswith(f"`{argument}` must be an ordinary array, got a masked array")
    assert "where=" not in str(caught.value)


def test_jacobian():
    """The messages of softmax_jacobian."""
    with raises(ValueError, "`y` must have at least one axis, got shape ()"):
        fastsm.softmax_jacobian(1.0)
    with raises(TypeError, oracle.native(f"`y` must have dtype {REAL}, got <U3")):
        fastsm.softmax_jacobian("abc")


@pytest.mark.parametrize("value", [0, -1, *INTEGERS, None])
def test_set_num_threads(value):
    """A wrong number of threads is refused, and the number stays."""
    before = fastsm.get_num_threads()
    error = ValueError if isinstance(value, int) and value is not True else TypeError
    with raises(error, f"`n` must be an integer of at least 1, got {value!r}"):
        fastsm.set_num_threads(value)
    assert fastsm.get_num_threads() == before


def test_options_by_name():
    """Options are given by name, arrays by position."""
    with pytest.raises(TypeError, match="positional argument"):
        fastsm.softmax(np.zeros(3), -1)
    with pytest.raises(TypeError, match="positional-only"):
        fastsm.softmax(x=np.zeros(3))
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        fastsm.softmax(np.zeros(3), dim=0)


@pytest.mark.parametrize("name", WITH_TEMPERATURE)
@pytest.mark.parametrize("temperature", [1e-30, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_temperature(isa, name, temperature, dtype):
    """The lowest and the highest temperature give finite results."""
    inputs = {p: np.linspace(-1, 0, 6, dtype=dtype).reshape(2, 3) for p in FUNCTIONS[name] if p != "targets"}
    results = call(name, temperature=temperature, **inputs)
    for result in results if isinstance(results, tuple) else (results,):
        assert np.isfinite(result).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lists(name):
    """Lists and tuples give the same results as arrays."""
    rows = [[1, 2, 3], [3, 2, 1]]
    values = dict.fromkeys(FUNCTIONS[name], rows)
    arrays = {p: np.array(rows, float) for p in FUNCTIONS[name]}
    if name in LOSSES:
        values |= {"targets": (0, 2), "class_weight": [1, 2, 3], "sample_weight": (0.5, 2)}
        arrays |= {k: np.array(values[k]) for k in ("targets", "class_weight", "sample_weight")}
    results = [call(name, **arguments) for arguments in (values, arrays)]
    from_lists, from_arrays = (r if isinstance(r, tuple) else (r,) for r in results)
    for a, b in zip(from_lists, from_arrays, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


# ---- labels ----


def bad_label(value, where, classes=3):
    """Return the text of the error."""
    return f"`targets` must lie in [0, {classes}), got {value}{where}"


PATHS = {
    "short path": {},
    "general path": {"num_threads": np.int64(1)},
    "smoothed": {"label_smoothing": 0.1},
    "weighted": {"sample_weight": np.ones(4)},
    "ignoring": {"ignore_index": -5},
    "one by one": {"reduction": "none"},
    "sum": {"reduction": "sum"},
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", oracle.SWAPPED + "f8"])
@pytest.mark.parametrize(
    "labels", [[0, 3, 9, 1], [0, -1, 9, 1], [0, 2**62, -1, 0], [0, -(2**63), 1, 1]], ids=str
)
def test_wrong_label_in_place(isa, path, dtype, labels):
    """The first wrong label is named, and the logits in `out` are unchanged."""
    logits = np.arange(12, dtype=dtype).reshape(4, 3)
    before = logits.tobytes()
    message = bad_label(labels[1], " at position 1")
    for out in (logits, None):
        check(
            ValueError,
            message,
            "cross_entropy_with_grad",
            logits=logits,
            targets=np.array(labels),
            out=out,
            **PATHS[path],
        )
        assert logits.tobytes() == before
    check(ValueError, message, "cross_entropy", logits=logits, targets=np.array(labels), **PATHS[path])


@pytest.mark.parametrize("threads", [2, 3])
def test_wrong_label_with_threads(threads):
    """The same for an array that is split: no thread has written anything."""
    logits = np.ones((1000, 10))
    labels = np.zeros(1000, np.int64)
    labels[[700, 990]] = [10, -1]
    with sharing():
        message = bad_label(10, " at position 700", 10)
        options = {"logits": logits, "targets": labels, "out": logits, "num_threads": threads}
        check(ValueError, message, "cross_entropy_with_grad", **options)
    assert (logits == 1).all()


@pytest.mark.parametrize("dtype", "bhilqBHILQ")
@pytest.mark.parametrize("order", ["=", "swapped"])
def test_label_dtypes(isa, dtype, order):
    """Labels of every integer dtype give the same loss, and extreme ones are refused."""
    dtype = np.dtype(dtype) if order == "=" else np.dtype(dtype).newbyteorder()
    logits = np.arange(6.0).reshape(2, 3)
    loss = fastsm.cross_entropy(logits, np.array([2, 0], np.int64))
    assert fastsm.cross_entropy(logits, np.array([2, 0], dtype)) == loss
    for extreme in {np.iinfo(dtype).min, np.iinfo(dtype).max} - {0}:
        labels = np.array([0, extreme], dtype)
        check(
            ValueError, bad_label(extreme, " at position 1"), "cross_entropy", logits=logits, targets=labels
        )


@pytest.mark.parametrize("value", [2**63, 2**63 + 1, 2**64 - 1, 2**64 - 100])
def test_large_unsigned_label(value):
    """Labels that would wrap around in int64 are refused, also if they would wrap to `ignore_index`."""
    labels = np.array([value, 1], np.uint64)
    for ignored in (None, -100, value - 2**64, 2**63 - 1):
        message = bad_label(value, " at position 0")
        check(ValueError, message, "cross_entropy_with_grad", targets=labels, ignore_index=ignored)


@pytest.mark.parametrize("value", [3, -100, 2**31, -(2**63), 2**63 - 1])
def test_ignore_index_out_of_range(value):
    """`ignore_index` may be any int64."""
    labels = np.array([value, 1])
    loss = fastsm.cross_entropy([[0.0, 1.0, 2.0], [0.0, 1.0, 3.0]], labels, ignore_index=value)
    assert loss == fastsm.cross_entropy([[0.0, 1.0, 3.0]], [1])


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_ignore_index_beyond_int64(value):
    """`ignore_index` may be any uint64."""
    labels = np.array([value, 1], np.uint64)
    loss = fastsm.cross_entropy([[0.0, 1.0, 2.0], [0.0, 1.0, 3.0]], labels, ignore_index=value)
    assert loss == fastsm.cross_entropy([[0.0, 1.0, 3.0]], [1])


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**30])
def test_ignore_index_without_matches(value):
    """An `ignore_index` beyond all label dtypes ignores no rows."""
    assert fastsm.cross_entropy(np.eye(3), [0, 1, 2], ignore_index=value) == fastsm.cross_entropy(
        np.eye(3), [0, 1, 2]
    )
    check(ValueError, bad_label(-1, " at position 0"), "cross_entropy", targets=[-1, 0], ignore_index=value)


@pytest.mark.parametrize(
    ("shape", "axis", "position"),
    [
        ((3,), -1, ()),
        ((4, 3), -1, (2,)),
        ((3, 4), 0, (2,)),
        ((4, 5, 3), -1, (2, 3)),
        ((4, 3, 5), 1, (3, 1)),
        ((3, 4, 5), 0, (0, 4)),
        ((2, 3, 4, 5), 1, (1, 2, 3)),
    ],
    ids=str,
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_position_of_wrong_label(shape, axis, position, order):
    """The position is an index into `targets` for each axis; the first wrong label in C order is named."""
    labels = np.zeros(tuple(np.delete(shape, axis)), np.int16, order=order)
    labels[position] = 7
    if labels.ndim:
        labels.flat[-1] = 9 if labels.flat[-1] == 0 else 7
    where = {0: "", 1: f" at position {position[:1][0] if position else ''}"}.get(
        labels.ndim, f" at position {position}"
    )
    changed = {"logits": np.zeros(shape), "targets": labels, "axis": axis}
    check(ValueError, bad_label(7, where), "cross_entropy", **changed)
    check(ValueError, bad_label(7, where), "cross_entropy_with_grad", **changed)


# ---- labels that another thread changes ----

CHANGED = "`targets` must not change during the call, got a label out of range meanwhile"


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}], ids=["plain", "smoothed"])
@pytest.mark.parametrize("shape", [(100, 10), (100, 50)], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_labels_changed_after_check(isa, monkeypatch, options, shape, threads):
    """Labels that go wrong after they were checked are an error, not a read out of bounds."""
    labels = np.zeros(100, np.int64)
    kernels = _general.kernels

    def check_then_change(*arguments):
        result = kernels.check_labels(*arguments)
        labels[[3, 70]] = [2**40, -(2**40)]
        return result

    changing = mock.Mock(wraps=kernels)
    changing.check_labels = check_then_change
    monkeypatch.setattr(_arguments, "kernels", changing)
    logits = np.zeros(shape)
    changed = {"logits": logits, "targets": labels, "out": logits, "num_threads": np.int64(threads)}
    with sharing():
        check(ValueError, CHANGED, "cross_entropy_with_grad", **changed, **options)


def test_too_many_classes():
    """More classes than the kernels can number are an error before memory is taken for them."""
    logits = np.broadcast_to(np.float32(0), (1 << 31, 2))
    message = r"`logits` must have fewer than 2\*\*31 classes, got 2147483648"
    with pytest.raises(ValueError, match=message):
        fastsm.cross_entropy(logits, [0, 1], axis=0)
