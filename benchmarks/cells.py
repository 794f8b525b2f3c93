"""The cells of the kernel benchmarks: arrays of several shapes, dtypes, layouts and kinds of logits."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np

OPERATIONS = ("softmax", "log_softmax", "softmax_vjp", "log_softmax_vjp", "cross_entropy_with_grad")
DTYPES = ("float32", "float64")
HALF = ("float16", "bfloat16")
SHAPES = (
    (1, 10),
    (128, 10),
    (60000, 10),
    (65536, 128),
    (256, 1000),
    (4096, 1000),
    (64, 32768),
    (8, 131072),
)
QUICK_SHAPES = ((1, 10), (128, 10), (256, 1000))
LARGE_SHAPES = ((60000, 10), (4096, 1000))
WIDE_SHAPES = ((128, 10), (60000, 10), (256, 1000), (4096, 1000))
# For smaller arrays a second thread gains nothing, in any library.
SHARED_ELEMENTS = 1 << 18
# Factors of standard normal numbers.
SCALES = {"usual": 3.0, "masked": 3.0, "wide": 300.0}
KEPT = 0.7  # of the entries of masked logits
IN_WORDS = {"usual": "", "masked": ", masked rows", "wide": ", wide-range logits"}


@dataclass(eq=False)
class Cell:
    """One operation on one array. `axis` 0: the same rows, laid out as the columns of a C-contiguous matrix.

    All candidates read the same inputs and write to the same outputs, so all find the caches equally warm.
    """

    operation: str
    rows: int
    classes: int
    dtype: str = "float32"
    axis: int = -1
    logits: str = "usual"

    @property
    def group(self) -> str:
        """A description of everything but the shape."""
        axis = "" if self.axis == -1 else f", axis {self.axis}"
        return f"{self.operation}, {self.dtype}{axis}{IN_WORDS[self.logits]}"

    @property
    def shape(self) -> str:
        """Rows x classes, for either axis."""
        return f"{self.rows} x {self.classes}"

    @property
    def is_vjp(self) -> bool:
        """Whether the operation is a backward pass."""
        return self.operation.endswith("_vjp")

    @cached_property
    def where(self) -> Any:
        """The unmasked entries, at least one in each row, if the logits are masked."""
        if self.logits != "masked":
            return None
        kept = np.random.default_rng(4).random((self.rows, self.classes)) < KEPT
        kept[:, 0] = True
        return np.ascontiguousarray(kept.T if self.axis == 0 else kept)

    @cached_property
    def x(self) -> Any:
        """Logits; -inf at masked entries."""
        x = SCALES[self.logits] * self._normal(seed=1)
        if self.where is not None:
            x[~self.where] = -np.inf
        return self._aligned(x)

    @cached_property
    def saved(self) -> Any:
        """The output of the forward pass for a VJP: softmax or log-softmax of the logits."""
        log_y = log_softmax(self.x, self.axis)
        return self._aligned(np.exp(log_y) if self.operation == "softmax_vjp" else log_y)

    @cached_property
    def targets(self) -> Any:
        """Labels, one for each row."""
        return np.random.default_rng(3).integers(0, self.classes, self.rows)

    @cached_property
    def index(self) -> tuple[Any, Any]:
        """The index of the targets' entries in the logits."""
        rows = np.arange(self.rows)
        return (rows, self.targets) if self.axis == -1 else (self.targets, rows)

    @cached_property
    def given(self) -> Any:
        """The argument that working in place overwrites: the incoming gradient, or the logits."""
        return self._aligned(self._normal(seed=2)) if self.is_vjp else self.x

    @cached_property
    def kept(self) -> tuple[Any, ...]:
        """The other arguments."""
        if self.is_vjp:
            return (self.saved,)
        return (self.targets,) if self.operation == "cross_entropy_with_grad" else ()

    @cached_property
    def out(self) -> Any:
        """The array for results."""
        return self._aligned(np.zeros_like(self.given))

    @cached_property
    def scratch(self) -> Any:
        """The array for in-place candidates; see `refill`."""
        return self._aligned(np.zeros_like(self.given))

    @property
    def most_in_place(self) -> int | None:
        """The number of calls that may work on their own results; None for any number.

        A VJP shrinks it by factors as small as the least `y`, towards subnormal numbers; and the softmax of
        wide or masked logits is no longer wide or masked.
        """
        if self.is_vjp:
            return 4 if self.classes <= 10 else 2
        return None if self.logits == "usual" else 1

    def refill(self) -> None:
        """Restore the input of in-place calls in `scratch`."""
        np.copyto(self.scratch, self.given)

    def _normal(self, seed: int) -> Any:
        dtype = np.float64 if self.dtype == "float64" else np.float32
        array = np.random.default_rng(seed).standard_normal((self.rows, self.classes), dtype=dtype)
        return np.ascontiguousarray(array.T) if self.axis == 0 else array

    def _aligned(self, array: Any) -> Any:
        """Return a copy that begins at a multiple of 64 bytes, as some libraries' own arrays do."""
        dtype = dtype_of(self.dtype)
        raw = np.zeros(array.size * dtype.itemsize + 64, np.uint8)
        start = -raw.ctypes.data % 64
        copy = raw[start : start + array.size * dtype.itemsize].view(dtype).reshape(array.shape)
        np.copyto(copy, array, casting="unsafe")
        return copy


def chosen(quick: bool, threads: int) -> Iterator[Cell]:
    """Yield the cells of a run, without their arrays."""
    for cell in _quick() if quick else _all():
        if threads == 1 or cell.rows * cell.classes >= SHARED_ELEMENTS:
            yield cell


def half() -> tuple[str, ...]:
    """Return the available dtypes of half precision: NumPy itself has no bfloat16."""
    return HALF if find_spec("ml_dtypes") else ("float16",)


def dtype_of(name: str) -> np.dtype[Any]:
    """Return a dtype by its name."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def log_softmax(x: Any, axis: int) -> Any:
    """Return the logarithm of the softmax, computed in float64."""
    z = x.astype(np.float64)
    z -= z.max(axis, keepdims=True)
    z -= np.log(np.exp(z).sum(axis, keepdims=True))
    return z


def _quick() -> Iterator[Cell]:
    for operation, (rows, classes) in product(OPERATIONS, QUICK_SHAPES):
        yield Cell(operation, rows, classes)


def _all() -> Iterator[Cell]:
    on_logits = [operation for operation in OPERATIONS if not operation.endswith("_vjp")]
    for operation, dtype, shape in product(OPERATIONS, DTYPES, SHAPES):
        yield Cell(operation, *shape, dtype)
    for operation, dtype, shape in product(on_logits, half(), LARGE_SHAPES):
        yield Cell(operation, *shape, dtype)
    for operation, dtype, shape in product(OPERATIONS, DTYPES, LARGE_SHAPES):
        yield Cell(operation, *shape, dtype, axis=0)
    for operation, dtype, shape in product(on_logits, DTYPES, WIDE_SHAPES):
        yield Cell(operation, *shape, dtype, logits="wide")
    for operation, shape in product(("softmax", "log_softmax"), LARGE_SHAPES):
        yield Cell(operation, *shape, logits="masked")
