"""Check arguments: the one place that raises for a wrong one.

Each function returns the argument in the form that the library works with, or raises TypeError (wrong type or
dtype) or ValueError (wrong shape or value) with one sentence: the argument, what was expected, what came.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar, cast, get_args

import numpy as np
from numpy.typing import ArrayLike

from fastsm._arguments import _advice
from fastsm._arguments._advice import did_you_mean as did_you_mean
from fastsm._arguments._advice import is_masked as is_masked
from fastsm._arguments._advice import shown as shown
from fastsm._arguments._memory import overlaps_itself
from fastsm._arguments._memory import share_memory as share_memory
from fastsm._kernels import kernels
from fastsm.typing import Array, Communicator, DType, Reduction

__all__: list[str] = []

Word = TypeVar("Word")

REDUCTIONS = get_args(Reduction)
MOST_THREADS = 256
REAL_DTYPES = "float16, bfloat16, float32, float64, an integer or bool"


def is_floating(dtype: DType) -> bool:
    """Whether fastsm computes with this dtype as it is, or in float32 and back."""
    return (dtype.kind == "f" and dtype.char in "efd") or dtype.name == "bfloat16"  # names are slow


def plain(name: str, value: ArrayLike, advice: str = "") -> Array:
    """Return a new view of `value` as an array; raise if it is masked, as the mask would be lost.

    A new view, because another thread may reshape the caller's array during the call.
    """
    table = value if type(value) is np.ndarray else _advice.read_table(name, value)
    try:
        result = np.asanyarray(table)
    except ValueError as error:
        kind = type(value).__name__
        raise ValueError(f"`{name}` must be convertible to an array, got {kind}: {error}") from None
    if is_masked(result) or is_masked(value):
        raise TypeError(f"`{name}` must be an ordinary array, got a masked array{advice}")
    return np.ndarray.view(result, np.ndarray)


def array(name: str, value: ArrayLike, advice: str = "") -> Array:
    """Return an array of real numbers."""
    result = plain(name, value, advice)
    if not (is_floating(result.dtype) or result.dtype.kind in "biu"):
        about = _advice.about_numbers(name, value, result)
        raise TypeError(f"`{name}` must have dtype {REAL_DTYPES}, got {result.dtype}{about}")
    return result


def result_dtype(array: Array) -> DType:
    """Return the dtype of a result computed from an array: its own, float64 for integers and bools."""
    dtype = array.dtype.newbyteorder("=")
    return dtype if is_floating(dtype) else np.dtype(np.float64)


def compute_dtype(dtype: DType) -> DType:
    """Return the dtype that the kernels compute in for results of `dtype`."""
    return np.dtype(np.float64) if dtype == np.float64 else np.dtype(np.float32)


def same_shape(name: str, value: Array, shape: tuple[int, ...], advice: str = "") -> Array:
    """Return an array after checking that it has this shape."""
    return check_shape(name, value, value.shape == shape, shape, advice)


def check_shape(name: str, value: Array, fits: bool, wanted: object, advice: str = "") -> Array:
    """Return an array after checking that its shape is as `wanted`, which a message shows."""
    if not fits:
        raise ValueError(f"`{name}` must have shape {wanted}, got {value.shape}{advice}")
    return value


def matrix(name: str, value: ArrayLike, wanted: str = "(N, C)") -> Array:
    """Return an array of real numbers with two axes."""
    result = array(name, value)
    return check_shape(name, result, result.ndim == 2, wanted)


def integer(value: object) -> int | None:
    """Return `value` as an integer, or None if it is none; NumPy's bools are none."""
    if isinstance(value, np.bool_):  # NumPy before 2.3 converts them, with a warning
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def is_bool(value: object) -> bool:
    """Whether `value` is True or False."""
    return isinstance(value, (bool, np.bool_))


def flag(name: str, value: object) -> bool:
    """Return True or False."""
    if not is_bool(value):
        raise TypeError(f"`{name}` must be True or False, got {shown(value)}")
    return bool(value)


def any_integer(name: str, value: object, wanted: str = "an integer") -> int:
    """Return an integer; bools are none."""
    result = None if is_bool(value) else integer(value)
    if result is None:
        raise TypeError(f"`{name}` must be {wanted}, got {shown(value)}")
    return result


def integer_from(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return an integer from `least` to `most`, or without an upper bound."""
    wanted = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    result = any_integer(name, value, wanted)
    if result < least or (most is not None and result > most):
        raise ValueError(f"`{name}` must be {wanted}, got {shown(value)}")
    return result


def positive_integer(name: str, value: object) -> int:
    """Return an integer of at least 1: a count of threads, rows, classes, epochs."""
    return integer_from(name, value, 1)


def generator(rng: object) -> np.random.Generator:
    """Return the given random generator, one with this seed, or a fresh one for None."""
    if rng is None or isinstance(rng, np.random.Generator):
        return np.random.default_rng(rng)
    return np.random.default_rng(seed(rng))


def seed(rng: object) -> int:
    """Return a seed."""
    result = any_integer("rng", rng, "None, an integer or a numpy.random.Generator")
    if result < 0:
        raise ValueError(f"`rng` must be at least 0 if it is an integer, got {shown(rng)}")
    return result


def one_of(name: str, value: Word, choices: Iterable[str], advice: str = "") -> Word:
    """Return `value` after checking that it is one of the choices."""
    allowed = tuple(choices)
    if not isinstance(value, str) or value not in allowed:
        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f"`{name}` must be one of {', '.join(allowed)}{advice}, got {shown(value)}")
    return value


def axis(value: object, ndim: int) -> int:
    """Return the axis, counted from the front; an array with no axis is treated as having one."""
    ndim = max(ndim, 1)
    if is_bool(value) or integer(value) is None:
        raise TypeError(f"`axis` must be an integer, got {shown(value)}{_advice.about_axis(value)}")
    result = any_integer("axis", value)
    if not -ndim <= result < ndim:
        raise np.exceptions.AxisError(f"`axis` must be from {-ndim} to {ndim - 1}, got {shown(result)}")
    return result % ndim


def axes(value: object, ndim: int) -> tuple[int, ...]:
    """Return one axis, several, or for None all, counted from the front."""
    if value is None:
        return tuple(range(ndim))
    result = tuple(axis(k, ndim) for k in (value if isinstance(value, (tuple, list)) else [value]))
    if len(set(result)) < len(result):
        raise ValueError(f"`axis` must name each axis once, got {shown(value)}")
    return result


def number(name: str, value: object) -> float:
    """Return a real number."""
    if is_bool(value) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"`{name}` must be a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _number_that(fits: Callable[[float], bool], wanted: str) -> Callable[[str, object], float]:
    """Return a function of name and value that returns a number for which `fits` is true."""

    def check(name: str, value: object) -> float:
        result = number(name, value)
        if not fits(result):
            raise ValueError(f"`{name}` must be {wanted}, got {shown(value)}")
        return result

    return check


at_least_0 = _number_that(lambda x: 0 <= x < math.inf, "finite and at least 0")
above_0 = _number_that(lambda x: 0 < x < math.inf, "finite and above 0")
at_least_1 = _number_that(lambda x: 1 <= x < math.inf, "finite and at least 1")
below_1 = _number_that(lambda x: 0 <= x < 1, "at least 0 and below 1")
between_0_and_1 = _number_that(lambda x: 0 < x < 1, "above 0 and below 1")
temperature = partial(_number_that(lambda x: 1e-30 <= x <= 1e30, "from 1e-30 to 1e30"), "temperature")
label_smoothing = partial(_number_that(lambda x: 0 <= x <= 1, "from 0 to 1"), "label_smoothing")


def mask(value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return `where`, broadcast to the shape of the array that it masks."""
    result = plain("where", value)
    if result.dtype != np.bool_:
        raise TypeError(f"`where` must have dtype bool, got {result.dtype}")
    try:
        return np.broadcast_to(result, shape)
    except ValueError:
        wanted = f"a shape that broadcasts to {shape}"
        raise ValueError(f"`where` must have {wanted}, got {result.shape}") from None


def out(value: object, shape: tuple[int, ...], dtype: DType) -> Array:
    """Return a view of `out`, to which a result of this shape and dtype can be written."""
    if not isinstance(value, np.ndarray) or is_masked(value):
        raise TypeError(f"`out` must be a NumPy array, got {type(value).__name__}")
    if not is_floating(value.dtype) or value.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"`out` must have dtype {dtype}, got {value.dtype}")
    result = same_shape("out", np.ndarray.view(value, np.ndarray), shape)
    if not result.flags.writeable:
        raise ValueError("`out` must be writeable, got a read-only array")
    if overlaps_itself(result):
        raise ValueError("`out` must have an element for each result, got an array whose elements overlap")
    return result


def out_or_new(value: object, like: Array, dtype: DType) -> Array:
    """Return a view of `out`, or a new array if that is None, with the shape of `like` and this dtype."""
    if value is None:
        return np.empty_like(like, dtype=dtype, subok=False)
    return out(value, like.shape, dtype)


def no_overlap(out: Array, name: str, other: Array, *, may_be_same: bool) -> None:
    """Check that `out` shares no memory with `other`, or, if `may_be_same`, is exactly `other`."""
    if not np.may_share_memory(out, other):
        return
    a, b = ((x.__array_interface__["data"], x.shape, x.strides, x.dtype) for x in (out, other))
    if may_be_same and a == b:
        return
    if share_memory(out, other):
        unless = f" unless it is `{name}` itself" if may_be_same else ""
        raise ValueError(f"`out` must not overlap `{name}`{unless}, got an array that shares its memory")


def weights(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return class or sample weights in float64."""
    if message := _advice.about_class_weight(name, value, shape):
        raise TypeError(message)
    return np.array(same_shape(name, array(name, value), shape), dtype=np.float64, order="C")


def ignore_index(value: object, *, labels: bool = True) -> int | None:
    """Return the label to ignore, or None; raise if there is one but the targets are no labels."""
    if value is None:
        return None
    result = any_integer("ignore_index", value)
    if not labels:
        raise ValueError(f"`ignore_index` must be None with probability targets, got {shown(value)}")
    return result


def num_threads(value: object) -> int | None:
    """Return a number of threads, at most as many as there are ever started, or None."""
    return None if value is None else min(positive_integer("num_threads", value), MOST_THREADS)


def targets(
    value: ArrayLike, shape: tuple[int, ...], rows: tuple[int, ...], axis: int | None = None
) -> Array:
    """Return integer labels, one for each row, or floating probabilities in the shape of the logits."""
    result = plain("targets", value)
    if result.shape == rows and result.size == 0 and not isinstance(value, np.ndarray):
        result = result.astype(np.int64)  # an empty list has no dtype of its own
    if not (is_floating(result.dtype) or result.dtype.kind in "iu"):
        wanted = "an integer dtype (labels) or a floating one (probabilities)"
        about = _advice.about_bools("targets", result, rows)
        raise TypeError(f"`targets` must have {wanted}, got {result.dtype}{about}")
    wanted_shape = rows if result.dtype.kind in "iu" else shape
    if result.shape == wanted_shape:
        return result
    about = _advice.about_labels("targets", result, shape, rows, len(shape) - 1 if axis is None else axis)
    return same_shape("targets", result, wanted_shape, about)


def usable_labels(
    name: str,
    targets: Array,
    classes: int,
    ignore_index: int | None,
    class_weight: Array | None = None,
    sample_weight: Array | None = None,
) -> tuple[Array, int | None, float]:
    """Return labels as the kernels take them, the label to ignore, and the total weight of the rows.

    The returned labels are int64 and contiguous; each is in [0, `classes`) or is the one to ignore.
    """
    labels = targets
    if targets.dtype.newbyteorder("=") == np.uint64 or (
        ignore_index is not None and not -(2**63) <= ignore_index < 2**63
    ):
        # A number that does not fit int64 must not wrap around to a valid label.
        labels = np.where((targets >= 0) & (targets < classes), targets, classes).astype(np.int64)
        if ignore_index is not None:
            labels[targets == ignore_index] = -1
            ignore_index = -1
    labels = np.require(labels, np.int64, ["C_CONTIGUOUS", "ALIGNED"])
    bad, weight = kernels.check_labels(labels, classes, ignore_index, class_weight, sample_weight)
    if bad >= 0:
        position = tuple(int(i) for i in np.unravel_index(bad, targets.shape)) if targets.ndim else ()
        where = "" if not position else f" at position {position[0] if len(position) == 1 else position}"
        raise ValueError(f"`{name}` must lie in [0, {classes}), got {targets[position]}{where}")
    return labels, ignore_index, weight


def communicator(value: object) -> Communicator:
    """Return a communicator of mpi4py, without importing mpi4py."""
    if not all(hasattr(value, name) for name in ("Allreduce", "Get_rank", "Get_size")):
        kind = type(value).__name__
        raise TypeError(f"`comm` must be a communicator of mpi4py, as MPI.COMM_WORLD, got {kind}")
    return cast(Communicator, value)
