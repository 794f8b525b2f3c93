"""What is measured: the operations, their input data, and reference results in float64 to check against."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

OPERATIONS = (
    "softmax",
    "log_softmax",
    "logsumexp",
    "softmax_vjp",
    "log_softmax_vjp",
    "cross_entropy_with_grad",
    "cross_entropy",
)
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
DTYPES = ("float32", "float64")
# Differences beyond this many machine epsilons mean another operation, not another order of additions.
AGREEMENT_EPSILONS = 1000


@dataclass(eq=False)
class Cell:
    """One operation on one array. `axis` 0: the same rows, laid out as the columns of a C-contiguous matrix.

    All candidates read the same inputs and write to the same outputs, so nobody's cache is warmer.
    """

    operation: str
    rows: int
    classes: int
    dtype: str
    axis: int = -1
    scale: float = 3.0
    _aligned: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def without_data(self) -> "Cell":
        """The same cell without its arrays: those of all cells together would not fit in memory."""
        return replace(self)

    @property
    def elements(self) -> int:
        return self.rows * self.classes

    @property
    def label(self) -> str:
        return f"{self.rows}x{self.classes}"

    @cached_property
    def x(self) -> np.ndarray:
        """Logits: standard normal times `scale`."""
        x = self._normal(seed=1)
        x *= self.scale
        return self._laid_out(x)

    @cached_property
    def dy(self) -> np.ndarray:
        """Incoming gradient."""
        return self._laid_out(self._normal(seed=2))

    @cached_property
    def y(self) -> np.ndarray:
        """Softmax of the logits."""
        return np.exp(_log_softmax(self.x, self.axis)).astype(self.dtype)

    @cached_property
    def log_y(self) -> np.ndarray:
        """Log-softmax of the logits."""
        return _log_softmax(self.x, self.axis).astype(self.dtype)

    @cached_property
    def targets(self) -> np.ndarray:
        """Labels, one for each row."""
        return np.random.default_rng(3).integers(0, self.classes, self.rows)

    @cached_property
    def out(self) -> np.ndarray:
        """Where results go."""
        shape = (self.rows,) if self.operation == "logsumexp" else self.x.shape
        return np.zeros(shape, self.dtype)

    @cached_property
    def scratch(self) -> np.ndarray:
        """Where those work that overwrite their input; see `refill`."""
        return np.zeros(self.x.shape, self.dtype)

    @property
    def overwritten(self) -> str:
        """The name of the input that working in place overwrites."""
        return "dy" if self.operation.endswith("_vjp") else "x"

    @property
    def most_vjps(self) -> int:
        """How often a VJP may work on its own result, which shrinks by factors as small as the least `y`."""
        return 4 if self.classes <= 10 else 2

    def refill(self) -> None:
        """Put the input that is overwritten in place back into `scratch` and its aligned copy."""
        source = getattr(self, self.overwritten)
        np.copyto(self.scratch, source)
        if "scratch" in self._aligned:
            np.copyto(self._aligned["scratch"], source)

    def aligned(self, name: str) -> np.ndarray:
        """A copy of an array at a multiple of 64 bytes, for libraries whose own arrays begin there.

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

    def disagreement(self, got: object) -> str | None:
        """How far a result is from the reference, if it is too far."""
        values = got if isinstance(got, tuple) else (got,)
        if len(values) != len(self._expected):
            return f"{len(values)} results, not {len(self._expected)}"
        tolerance = AGREEMENT_EPSILONS * float(np.finfo(self.dtype).eps)
        for value, expected in zip(values, self._expected, strict=True):
            message = _difference(np.asarray(value, np.float64), expected, tolerance)
            if message is not None:
                return message
        return None

    @cached_property
    def _expected(self) -> tuple[np.ndarray, ...]:
        return _reference(self)

    def _normal(self, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return rng.standard_normal((self.rows, self.classes), dtype=np.dtype(self.dtype))

    def _laid_out(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.T) if self.axis == 0 else array


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    z = x.astype(np.float64)
    z -= z.max(axis, keepdims=True)
    z -= np.log(np.exp(z).sum(axis, keepdims=True))
    return z


def _reference(cell: Cell) -> tuple[np.ndarray, ...]:
    """The operation in float64, from the same rounded inputs."""
    axis = cell.axis
    if cell.operation == "softmax_vjp":
        y, dy = cell.y.astype(np.float64), cell.dy.astype(np.float64)
        return (y * (dy - (y * dy).sum(axis, keepdims=True)),)
    if cell.operation == "log_softmax_vjp":
        log_y, dy = cell.log_y.astype(np.float64), cell.dy.astype(np.float64)
        return (dy - np.exp(log_y) * dy.sum(axis, keepdims=True),)
    log_p = _log_softmax(cell.x, axis)
    if cell.operation == "softmax":
        return (np.exp(log_p),)
    if cell.operation == "log_softmax":
        return (log_p,)
    if cell.operation == "logsumexp":
        return (cell.x.max(axis) - log_p.max(axis),)
    return _cross_entropy(np.moveaxis(log_p, axis, -1), cell)


def _cross_entropy(log_p: np.ndarray, cell: Cell) -> tuple[np.ndarray, ...]:
    rows = np.arange(cell.rows)
    loss = -log_p[rows, cell.targets].mean()
    if cell.operation == "cross_entropy":
        return (loss,)
    grad = np.exp(log_p)
    grad[rows, cell.targets] -= 1
    return loss, np.moveaxis(grad / cell.rows, -1, cell.axis)


def _difference(got: np.ndarray, expected: np.ndarray, tolerance: float) -> str | None:
    if got.shape != np.shape(expected):
        return f"shape {got.shape}, not {np.shape(expected)}"
    error = np.abs(got - expected)
    allowed = tolerance * (np.abs(expected) + 0.1 * np.abs(expected).max())
    if np.all(error <= allowed):
        return None
    return f"differs by {np.max(error / allowed):.3g} times the tolerance"
