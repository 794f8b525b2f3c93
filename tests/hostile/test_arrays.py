"""Hostile arrays in every function of arrays: a right result or a documented error.

The oracle for overlap is a set of byte addresses; for values, the definitions in oracle.py.
"""

import sys
import threading
import time

import numpy as np
import oracle
import pytest
from campaign import campaign, examples
from hypothesis import given
from hypothesis import strategies as st
from layouts import lay_out
from numpy.lib.stride_tricks import as_strided
from processes import run_program

import fastsm

LOGITS = ["softmax", "log_softmax", "logsumexp"]
VJPS = ["softmax_vjp", "log_softmax_vjp"]
LOSSES = ["cross_entropy", "cross_entropy_with_grad"]
FUNCTIONS = [*LOGITS, *VJPS, *LOSSES]
FULL_OUT = ["softmax", "log_softmax", *VJPS, "cross_entropy_with_grad"]
#: The names of the arguments.
NAMES = {
    **{name: ["x"] for name in LOGITS},
    "softmax_vjp": ["y", "dy"],
    "log_softmax_vjp": ["log_y", "dy"],
    **{name: ["logits", "targets"] for name in LOSSES},
}
GUARD = 77.0


def arguments(name, x):
    """Return the arguments of a function whose first one is the matrix."""
    if name in VJPS:
        return [x, np.linspace(-2, 3, x.size).reshape(x.shape).astype(x.dtype.newbyteorder("="))]
    return [x, np.arange(len(x)) % x.shape[1]] if name in LOSSES else [x]


def call(name, arrays, **options):
    """Call a function; always return a tuple of results."""
    if name in LOSSES:
        options.setdefault("reduction", "none")
    result = getattr(fastsm, name)(*arrays, **options)
    return result if isinstance(result, tuple) else (result,)


def expected(name, arrays):
    """Return the results by the definitions, in a wide dtype."""
    x = np.array(arrays[0], arrays[0].dtype.newbyteorder("="))
    if name in LOGITS:
        return (getattr(oracle, name)(x),)
    wide = x.astype(oracle.WIDE[x.dtype.type])
    if name in VJPS:
        dy = arrays[1].astype(wide.dtype)
        if name == "softmax_vjp":
            return (wide * (dy - (wide * dy).sum(axis=-1, keepdims=True)),)
        return (dy - np.exp(wide) * dy.sum(axis=-1, keepdims=True),)
    loss, grad = oracle.cross_entropy(x, oracle.one_hot(arrays[1], x.shape[1], wide.dtype))
    return (loss, grad)[: 1 + name.endswith("grad")]


def check(name, arrays, results):
    """Compare results with the definitions."""
    for result, exact in zip(results, expected(name, arrays), strict=True):
        assert result.shape == exact.shape
        scale = max(1.0, float(np.abs(exact).max(initial=0)))
        tolerance = 64 * oracle.eps(arrays[0].dtype.newbyteorder("=").type) * scale
        np.testing.assert_allclose(np.asarray(result, exact.dtype), exact, rtol=0, atol=tolerance)


def matrix(rows=4, columns=5, dtype=np.float32):
    """Return a matrix of numbers between -3 and 0, as log-probabilities are."""
    return -3 * np.random.default_rng(rows).random((rows, columns)).astype(dtype)


# ---- unusual but right inputs ----


class Sub(np.ndarray):
    """A subclass with nonsense attributes."""

    def __array_finalize__(self, other):
        self.note = "made by NumPy"

    def astype(self, *arguments, **options):
        raise AssertionError("fastsm must not ask a subclass")

    def reshape(self, *arguments, **options):
        raise AssertionError("fastsm must not ask a subclass")

    def view(self, *arguments):
        raise AssertionError("fastsm must not ask a subclass")


class Interface:
    """An object with an array interface."""

    def __init__(self, array, protocol):
        self.array = array
        if protocol == "__array_interface__":
            self.__array_interface__ = array.__array_interface__


class Converts(Interface):
    def __array__(self, dtype=None, copy=None):
        return self.array


def mapped(array, folder):
    """Return a memory-mapped copy of an array."""
    result = np.memmap(folder / "numbers", array.dtype, "w+", shape=array.shape)
    result[...] = array
    return result


STRANGE = {
    "subclass": lambda a, folder: a.view(Sub),
    "matrix": lambda a, folder: a.view(np.matrix),
    "record view": lambda a, folder: a.view([("only", a.dtype)])["only"],
    "memory-mapped": mapped,
    "memoryview": lambda a, folder: memoryview(a),
    "__array__": lambda a, folder: Converts(a, "__array__"),
    "__array_interface__": lambda a, folder: Interface(a, "__array_interface__"),
    "misaligned": lambda a, folder: lay_out(a, "misaligned"),
    "byte-swapped": lambda a, folder: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a, folder: lay_out(a, "read-only"),
    "repeated row": lambda a, folder: np.broadcast_to(a[:1], a.shape),
    "repeated column": lambda a, folder: np.broadcast_to(a[:, :1], a.shape),
    "one number": lambda a, folder: np.broadcast_to(a[0, 0], a.shape),
    "sliding windows": lambda a, folder: as_strided(a, (8, 5), (a.itemsize, 2 * a.itemsize)),
    "backwards windows": lambda a, folder: as_strided(a[1, 2:], (4, 5), (-a.itemsize, a.itemsize)),
    "one row, odd stride": lambda a, folder: as_strided(a, (1, 5), (7, a.itemsize)),
    "one row, huge stride": lambda a, folder: as_strided(a, (1, 5), (2**62, a.itemsize)),
    "one column, odd stride": lambda a, folder: as_strided(a, (4, 1), (5 * a.itemsize, 3)),
    "no rows, huge stride": lambda a, folder: as_strided(a, (0, 5), (2**62, -(2**61))),
    "pointer beyond the end": lambda a, folder: as_strided(a[-1, -1:], (1, 1), (2**61, 2**62)),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_strange_input(name, strange, dtype, tmp_path):
    """Inputs of any kind give the right result, and are unchanged."""
    value = STRANGE[strange](matrix(dtype=dtype), tmp_path)
    plain = np.array(np.asarray(value))
    for options in ({}, {"num_threads": 2}):
        results = call(name, [value, *arguments(name, plain)[1:]], **options)
        check(name, arguments(name, plain), results)
        assert all(type(r) is np.ndarray or np.isscalar(r) for r in results)
    np.testing.assert_array_equal(np.asarray(value), plain)


@pytest.mark.parametrize("name", FULL_OUT)
@pytest.mark.parametrize("strange", ["subclass", "memory-mapped", "misaligned", "byte-swapped"])
def test_strange_output(name, strange, tmp_path):
    """Outputs of any kind are filled and returned."""
    plain = matrix()
    for in_place in (True, False):
        value = STRANGE[strange](plain.copy(), tmp_path)
        arrays = arguments(name, plain)
        given = [value, *arrays[1:]] if in_place else arrays
        results = call(name, given, out=value)
        assert results[-1] is value
        check(name, arrays, results)


def test_logsumexp_out_in_subclass(tmp_path):
    """The same for logsumexp, whose result has fewer axes."""
    for strange in ("subclass", "memory-mapped", "misaligned"):
        out = STRANGE[strange](np.zeros(4, np.float32), tmp_path)
        assert fastsm.logsumexp(matrix(), out=out) is out
        check("logsumexp", [matrix()], (np.asarray(out),))


# ---- wrong inputs ----


class Raises:
    def __array__(self, dtype=None, copy=None):
        raise LookupError("an error of the user's")


class Garbage:
    def __array__(self, dtype=None, copy=None):
        return [1.0, 2.0]


def released():
    view = memoryview(b"12345678")
    view.release()
    return view


def masked(shape=(4, 5)):
    return np.ma.masked_less(np.ones(shape, np.float32), 2)


REFUSED = {
    "objects": np.ones((4, 5), object),
    "objects that are arrays": np.array([None, np.ones(3)], dtype=object),
    "fields": np.ones(4, [("a", "f4"), ("b", "f4")]),
    "one field": np.ones((4, 5), [("a", "f4")]),
    "raw bytes": np.ones((4, 5), "V8"),
    "text": np.ones((4, 5), "U4"),
    "text of any length": np.ones((4, 5), np.dtypes.StringDType()),
    "dates": np.ones((4, 5), "M8[s]"),
    "durations": np.ones((4, 5), "m8[s]"),
    "complex": np.ones((4, 5), complex),
    "masked": masked(),
    "masked, converted": Converts(masked(), "__array__"),
    "masked rows": [masked(5)] * 4,
    "garbage": Garbage(),
    "ragged": [[1.0], [1.0, 2.0]],
    "released": released(),
    "a function": len,
    "a generator": (i for i in range(3)),
    "a dict": {"a": 1.0},
    "a set": {1.0, 2.0},
    "None": None,
}


def wrong_arguments(name):
    """Return the array arguments of a function by name; the last are options."""
    options = {"out"} if name != "cross_entropy" else set()
    options |= {"class_weight", "sample_weight"} if name in LOSSES else set()
    return [*NAMES[name], *sorted(options | ({"where"} if name in LOGITS else set()))]


@pytest.mark.parametrize(("name", "argument"), [(n, a) for n in FUNCTIONS for a in wrong_arguments(n)])
@pytest.mark.parametrize("kind", REFUSED)
def test_refused(name, argument, kind):
    """Arguments other than arrays of real numbers are refused in one sentence that begins with their name."""
    value = REFUSED[kind]
    if value is None and argument not in NAMES[name]:
        return
    arrays, options = arguments(name, matrix()), {}
    before = [array.tobytes() for array in arrays]
    if argument in NAMES[name]:
        arrays[NAMES[name].index(argument)] = value
    else:
        options[argument] = value
    with pytest.raises((TypeError, ValueError), match=rf"^`{argument}` must ") as caught:
        call(name, arrays, **options)
    assert len(str(caught.value)) < 800
    kept = [a.tobytes() for a in arrays if type(a) is np.ndarray and a is not value]
    assert all(content in before for content in kept)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_of_user_code(name):
    """Errors of a user's `__array__` are passed on."""
    with pytest.raises(LookupError, match="an error of the user's"):
        call(name, [Raises(), *arguments(name, matrix())[1:]])


# ---- overlap ----


def addresses(array):
    """Return the addresses of the bytes of each element, element by element."""
    offsets = np.zeros((), np.int64)
    for length, stride in zip(array.shape, array.strides, strict=True):
        offsets = np.add.outer(offsets, stride * np.arange(length))
    start = array.__array_interface__["data"][0]
    return (start + offsets.reshape(-1, 1) + np.arange(array.itemsize)).reshape(-1)


def overlaps_itself(array):
    found = addresses(array)
    return len(np.unique(found)) < len(found)


SIZE = 60


@st.composite
def views(draw, shape=None):
    """Draw where a view of `SIZE` numbers of float32 begins, its shape, and its strides in bytes."""
    if shape is None:
        shape = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)))
    unit = draw(st.sampled_from([4, 4, 4, 2, 1]))
    strides = tuple(unit * draw(st.integers(-24 // unit, 24 // unit)) for _ in shape)
    if draw(st.booleans()):  # as slices of C-contiguous arrays have them: most random ones overlap
        steps = [draw(st.integers(1, 2)) for _ in shape]
        whole = [n * step for n, step in zip(shape, steps, strict=True)]
        strides = tuple(4 * steps[i] * int(np.prod(whole[i + 1 :])) for i in range(len(shape)))
        order = draw(st.permutations(range(len(shape))))
        strides = strides if shape != shape[:1] * len(shape) else tuple(strides[i] for i in order)
    reach = [stride * (n - 1) for stride, n in zip(strides, shape, strict=True) if n]
    low, high = sum(r for r in reach if r < 0), sum(r for r in reach if r > 0)
    room = 4 * SIZE - 4 - high + low
    if room < 0:
        strides, low, room = tuple(0 for _ in shape), 0, 4 * SIZE - 4
    return shape, strides, draw(st.integers(0, room)) - low


def view_of(memory, drawn):
    shape, strides, offset = drawn
    return np.ndarray(shape, np.float32, memory, offset, strides)


@pytest.mark.parametrize("name", FULL_OUT)
@campaign(40)
@given(drawn=views())
def test_self_overlapping_out(name, drawn):
    """An error if two elements of `out` share a byte, and then nothing is written; else the right result."""
    memory = np.full(4 * SIZE, 7, np.uint8)
    out = view_of(memory, drawn)
    x = -np.random.default_rng(1).random(out.shape).astype(np.float32)
    arrays = arguments_of_any_shape(name, x)
    if overlaps_itself(out):
        with pytest.raises(
            ValueError, match=r"^`out` must have an element for each result, got an array whose"
        ):
            call(name, arrays, out=out)
        assert (memory == 7).all()
        return
    plain = call(name, arrays)
    results = call(name, arrays, out=out)
    assert results[-1] is out
    for result, same in zip(results, plain, strict=True):
        np.testing.assert_allclose(result, same, rtol=1e-5, atol=1e-6)
    untouched = np.ones(memory.size, bool)
    untouched[addresses(out) - memory.__array_interface__["data"][0]] = False
    assert (memory[untouched] == 7).all()


def arguments_of_any_shape(name, x):
    """Return arguments with `x` as the first one; the classes are the last axis."""
    if name in LOSSES:
        return [x, np.zeros(x.shape[:-1], np.int64) if x.shape[-1] else np.zeros(x.shape, np.float32)]
    return [x, np.full(x.shape, 0.5, x.dtype)] if name in VJPS else [x]


@campaign(40)
@given(drawn=views())
def test_logsumexp_self_overlapping_out(drawn):
    """The same for logsumexp."""
    memory = np.full(4 * SIZE, 7, np.uint8)
    out = view_of(memory, drawn)
    x = np.random.default_rng(1).random((*out.shape, 3)).astype(np.float32)
    if overlaps_itself(out):
        with pytest.raises(ValueError, match=r"^`out` must have an element"):
            fastsm.logsumexp(x, out=out)
        assert (memory == 7).all()
    else:
        assert fastsm.logsumexp(x, out=out) is out
        np.testing.assert_array_equal(out, np.asarray(fastsm.logsumexp(x)).reshape(out.shape))


@pytest.mark.parametrize("name", FULL_OUT)
@pytest.mark.parametrize("index", [0, 1])
@campaign(40)
@given(data=st.data())
def test_overlap_with_an_input(name, index, data):
    """An error if `out` shares a byte with an input that it is not itself; else the right result."""
    if index >= len(NAMES[name]) or name in LOSSES:
        index = 0
    first = data.draw(views(), "input")
    second = data.draw(st.one_of(st.just(first), views(shape=first[0])), "out")
    memory = np.random.default_rng(0).random(SIZE).astype(np.float32)
    memory *= -1
    before = memory.copy()
    given_input, out = view_of(memory, first), view_of(memory, second)
    arrays = arguments_of_any_shape(name, given_input.copy())
    if index:
        arrays[0] = -np.ones(given_input.shape, np.float32)
    arrays[index] = given_input
    plain = call(name, [np.array(a) for a in arrays])
    same = first == second or (not out.size)
    common = len(np.intersect1d(addresses(given_input), addresses(out))) > 0
    try:
        results = call(name, arrays, out=out)
    except ValueError as error:
        assert overlaps_itself(out) or (common and not same), str(error)  # noqa: PT017 - of some values only
        assert memory.tobytes() == before.tobytes()
        return
    assert not overlaps_itself(out)
    assert same or not common or same_elements(given_input, out)
    for result, reference in zip(results, plain, strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-5, atol=1e-6)


def same_elements(a, b):
    """Return whether two arrays have the same elements in the same order, aside from axes of length 1."""
    return a.shape == b.shape and np.array_equal(addresses(a), addresses(b))


@pytest.mark.parametrize("name", LOGITS)
def test_overlap_with_where(name):
    """`out` may not overlap the mask."""
    memory = np.zeros((4, 5))
    mask = memory.view(bool)[:, 3:8]
    out = memory if name != "logsumexp" else memory[:, 0]
    with pytest.raises(
        ValueError, match=r"^`out` must not overlap `where`, got an array that shares its memory"
    ):
        call(name, [matrix(dtype=np.float64)], out=out, where=mask)
    assert not memory.any()


def test_overlap_with_converted_targets():
    """Targets of another type that share memory with `out` are refused."""
    memory = np.full((4, 5), 0.2)
    for targets in (memoryview(memory), Converts(memory, "__array__"), memory.view(Sub)):
        with pytest.raises(
            ValueError, match=r"^`out` must not overlap `targets`, got an array that shares its memory"
        ):
            fastsm.cross_entropy_with_grad(matrix(dtype=np.float64), targets, out=memory)
        assert (memory == 0.2).all()


# ---- shapes beyond 2^31, without the memory for them ----


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_huge_shapes(dtype):
    """Huge shapes without memory for a copy are an error, not a crash."""
    done, errors, count = map(int, run_program("huge_shapes.py", dtype).split())
    assert done + errors == count
    assert errors > 30


# ---- other threads meanwhile ----

CHANGES = {
    "shape": lambda a, even: setattr(a, "shape", (20, 45) if even else (45, 20)),
    "longer rows": lambda a, even: setattr(a, "shape", (2, 450) if even else (450, 2)),
    "axes": lambda a, even: setattr(a, "shape", (900,) if even else (5, 6, 30)),
    "dtype": lambda a, even: setattr(a, "dtype", np.float64 if even else np.int64),
    "byte order": lambda a, even: setattr(a, "dtype", "<f8" if even else ">f8"),
    "read-only": lambda a, even: setattr(a.flags, "writeable", even),
}


@pytest.mark.filterwarnings("ignore:Setting the (shape|dtype):DeprecationWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("change", CHANGES)
def test_changed_by_another_thread(name, change):
    """Arrays whose shape or dtype another thread changes give results or errors, never a crash."""
    array, stop = np.zeros((30, 30)), threading.Event()
    labels = np.zeros(30, np.int64)

    def relabel():
        even = False
        while not stop.is_set():
            even = not even
            CHANGES[change](array, even)
            labels.flat[:] = 0 if even else 29

    other = threading.Thread(target=relabel)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    other.start()
    try:
        until = time.monotonic() + examples(20) / 1000
        while time.monotonic() < until:
            given = [array, array] if name in VJPS else [array, labels] if name in LOSSES else [array]
            for options in ({}, {"num_threads": 2}, {"axis": 0}):
                for out in [{}] if name in ("logsumexp", "cross_entropy") else [{}, {"out": array}]:
                    try:
                        getattr(fastsm, name)(*given, **options, **out)
                    except (TypeError, ValueError):
                        continue
                    if out:
                        with array_that_may_be_read_only(array) as zeros:
                            zeros[...] = 0
    finally:
        stop.set()
        other.join()
        sys.setswitchinterval(interval)


class array_that_may_be_read_only:
    """Return the memory of an array, which another thread may have changed."""

    def __init__(self, array):
        self.array = array

    def __enter__(self):
        return np.frombuffer(
            (np.ctypeslib.ctypes.c_char * 7200).from_address(self.array.ctypes.data), np.uint8
        )

    def __exit__(self, *error):
        return False
