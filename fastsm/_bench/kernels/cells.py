"""What is measured: operations on arrays of several shapes, dtypes, layouts and kinds of logits."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DTYPES", "HALF", "OPERATIONS", "Cell", "chosen", "dtype_of", "log_softmax", "without_data"]

OPERATIONS = (
    "softmax",
    "log_softmax",
    "logsumexp",
    "softmax_vjp",
    "log_softmax_vjp",
    "cross_entropy",
    "cross_entropy_with_grad",
)
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
_LARGE_SHAPES = ((60000, 10), (4096, 1000))
_WIDE_SHAPES = ((128, 10), (60000, 10), (256, 1000), (4096, 1000))
# Smaller arrays are not worth a second thread, to no library.
SHARED_ELEMENTS = 1 << 18
# Factors of standard normal numbers.
_SCALES = {"usual": 3.0, "masked": 3.0, "wide": 300.0}
_KEPT = 0.7  # of the entries of masked logits


@dataclass(eq=False)
class Cell:
    """One operation on one array. `axis` 0: the same rows, laid out as the columns of a C-contiguous matrix.

    All candidates read the same inputs and write to the same outputs, so nobody's cache is warmer.
    """

    operation: str
    rows: int
    classes: int
    dtype: str = "float32"
    axis: int = -1
    logits: str = "usual"
    _aligned: dict[str, NDArray[Any]] = field(default_factory=dict, init=False, repr=False)

    @property
    def elements(self) -> int:
        """The size of the logits."""
        return self.rows * self.classes

    @property
    def label(self) -> str:
        """All that makes this cell, in words."""
        kind = "" if self.logits == "usual" else f" {self.logits}"
        layout = "" if self.axis == -1 else " axis 0"
        return f"{self.operation} {self.dtype} {self.rows}x{self.classes}{layout}{kind}"

    def to_json(self) -> dict[str, Any]:
        """Return it as the document has it."""
        names = ("operation", "dtype", "rows", "classes", "axis", "logits")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def where(self) -> NDArray[np.bool_] | None:
        """Which entries take part, where the logits are masked; at least one of a row."""
        if self.logits != "masked":
            return None
        kept = np.random.default_rng(4).random((self.rows, self.classes)) < _KEPT
        kept[:, 0] = True
        return self._laid_out(kept)

    @cached_property
    def x(self) -> NDArray[Any]:
        """Logits; where they are masked, -inf at entries that take no part."""
        x = self._normal(seed=1)
        x *= _SCALES[self.logits]
        x = self._laid_out(x)
        if self.where is not None:
            x[~self.where] = -np.inf
        return x.astype(dtype_of(self.dtype), copy=False)

    @cached_property
    def dy(self) -> NDArray[Any]:
        """Incoming gradient."""
        return self._laid_out(self._normal(seed=2)).astype(dtype_of(self.dtype), copy=False)

    @cached_property
    def y(self) -> NDArray[Any]:
        """Softmax of the logits."""
        return np.exp(log_softmax(self.x, self.axis)).astype(dtype_of(self.dtype))

    @cached_property
    def log_y(self) -> NDArray[Any]:
        """Log-softmax of the logits."""
        return log_softmax(self.x, self.axis).astype(dtype_of(self.dtype))

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """Labels, one for each row."""
        return np.random.default_rng(3).integers(0, self.classes, self.rows)

    @cached_property
    def index(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The index of the targets' entries in the logits."""
        rows = np.arange(self.rows)
        return (rows, self.targets) if self.axis == -1 else (self.targets, rows)

    @cached_property
    def out(self) -> NDArray[Any]:
        """Where results go."""
        shape = (self.rows,) if self.operation == "logsumexp" else self.x.shape
        return np.zeros(shape, dtype_of(self.dtype))

    @cached_property
    def scratch(self) -> NDArray[Any]:
        """Where those work that overwrite their input; see `refill`."""
        return np.zeros_like(self.x)

    @property
    def overwritten(self) -> str:
        """The name of the input that working in place overwrites."""
        return "dy" if self.operation.endswith("_vjp") else "x"

    @property
    def saved(self) -> str:
        """The name of the result of the forward pass that a VJP reads."""
        return "y" if self.operation == "softmax_vjp" else "log_y"

    @property
    def most_in_place(self) -> int | None:
        """How often a call may work on its own result: None for any number.

        A VJP shrinks it by factors as small as the least `y`, towards subnormal numbers; and the softmax of
        wide or masked logits is no longer wide or masked.
        """
        if self.operation.endswith("_vjp"):
            return 4 if self.classes <= 10 else 2
        return None if self.logits == "usual" else 1

    def refill(self) -> None:
        """Put the input that is overwritten in place back into `scratch` and its aligned copy."""
        source = getattr(self, self.overwritten)
        np.copyto(self.scratch, source)
        if "scratch" in self._aligned:
            np.copyto(self._aligned["scratch"], source)

    def aligned(self, name: str) -> NDArray[Any]:
        """Return a copy of an array at a multiple of 64 bytes, for libraries whose own arrays begin there.

        NumPy's begin at multiples of 16. Nobody is to lose by the way this benchmark hands out memory.
        """
        if name not in self._aligned:
            array = getattr(self, name)
            raw = np.zeros(array.nbytes + 64, np.uint8)
            start = -raw.ctypes.data % 64
            copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
            np.copyto(copy, array)
            self._aligned[name] = copy
        return self._aligned[name]

    def spoil_outputs(self) -> None:
        """Fill the shared outputs with NaN: nobody is to agree by the results of the one before."""
        self.out.fill(np.nan)
        if "out" in self._aligned:
            self._aligned["out"].fill(np.nan)

    def _normal(self, seed: int) -> NDArray[Any]:
        dtype = np.float64 if self.dtype == "float64" else np.float32
        return np.random.default_rng(seed).standard_normal((self.rows, self.classes), dtype=dtype)

    def _laid_out(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(array.T) if self.axis == 0 else array


def chosen(quick: bool, threads: int, dtypes: tuple[str, ...] = DTYPES + HALF) -> Iterator[Cell]:
    """Yield the cells of a run, without their arrays; `dtypes` are those that there are."""
    for cell in _quick() if quick else _all():
        if cell.dtype in dtypes and (threads == 1 or cell.elements >= SHARED_ELEMENTS):
            yield cell


def dtype_of(name: str) -> np.dtype[Any]:
    """Return a dtype by its name; bfloat16 is that of ml_dtypes, which must be there."""
    if name == "bfloat16":
        bfloat16: np.dtype[Any] = np.dtype(import_module("ml_dtypes").bfloat16)
        return bfloat16
    return np.dtype(name)


def log_softmax(x: NDArray[Any], axis: int) -> NDArray[np.float64]:
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
    for operation, dtype, (rows, classes) in product(OPERATIONS, DTYPES, SHAPES):
        yield Cell(operation, rows, classes, dtype)
    halves = ("softmax", "log_softmax", "cross_entropy_with_grad")
    for operation, dtype, (rows, classes) in product(halves, HALF, _LARGE_SHAPES):
        yield Cell(operation, rows, classes, dtype)
    for operation, dtype, (rows, classes) in product(OPERATIONS, DTYPES, _LARGE_SHAPES):
        yield Cell(operation, rows, classes, dtype, axis=0)
    for operation, dtype, (rows, classes) in product(on_logits, DTYPES, _WIDE_SHAPES):
        yield Cell(operation, rows, classes, dtype, logits="wide")
    for operation, (rows, classes) in product(("softmax", "log_softmax"), _LARGE_SHAPES):
        yield Cell(operation, rows, classes, logits="masked")


def without_data(cell: Cell) -> Cell:
    """Return the same cell without its arrays: those of all cells together would not fit in memory."""
    return replace(cell)
