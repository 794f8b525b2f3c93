"""Arrays between inaccessible pages, and calls of every kernel on them.

An array lies flush with the end of its pages, or with their start: the first byte that a kernel reads or
writes beyond it ends the process. test_memory_safety.py runs this module in a separate process.
"""

import ctypes
import math
import mmap
from functools import partial

import numpy as np

from fastsm._kernels import kernels
from fastsm.functional._general import LOG_SOFTMAX, LOG_SOFTMAX_VJP, LOGSUMEXP, SOFTMAX, SOFTMAX_VJP

PAGE = mmap.PAGESIZE
SIDES = ("start", "end")
# Around the numbers of lanes, of classes in a tile (32), of rows taken together, of panels of products.
SIZES = (*range(1, 36), 47, 48, 49, 63, 64, 65, 66, 95, 96, 97, 127, 128, 129, 255, 256, 257, 300)

_libc = ctypes.CDLL(None, use_errno=True)


class Field:
    """A place for one array at a time, between two guards."""

    def __init__(self, size=1 << 21):
        self.pages = mmap.mmap(-1, size + 2 * PAGE)
        self.bytes = np.frombuffer(self.pages, np.uint8)
        first = self.bytes.ctypes.data
        for guard in (first, first + PAGE + size):
            if _libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self.room = self.bytes[PAGE : PAGE + size]

    def place(self, values, side):
        """Return a copy of an array that begins or ends at a guard; the bytes on its other side are 0xA5."""
        values = np.ascontiguousarray(values)
        start = 0 if side == "start" else self.room.size - values.nbytes
        self.used = slice(start, start + values.nbytes)
        near = slice(max(0, start - PAGE), start + values.nbytes + PAGE)
        self.room[near] = 0xA5
        array = self.room[self.used].view(values.dtype).reshape(values.shape)
        array[...] = values
        return array

    def check(self):
        """Check that nothing near the array was written to."""
        before, after = self.room[: self.used.start][-PAGE:], self.room[self.used.stop :][:PAGE]
        assert (before == 0xA5).all()
        assert (after == 0xA5).all()


class Calls:
    """Calls of kernels, each once at either end of the pages: same bits, and nothing around touched."""

    def __init__(self):
        self.fields = [Field() for _ in range(9)]
        self.count = 0

    def __call__(self, function, *arguments):
        """Call a function of the kernels with copies of its arrays between guards."""
        results = []
        for side in SIDES:
            fields = iter(self.fields)
            used, placed = [], []
            for argument in arguments:
                if isinstance(argument, np.ndarray):
                    used.append(next(fields))
                    argument = used[-1].place(argument, side)
                placed.append(argument)
            value = function(*placed)
            assert value is not False
            for field in used:
                field.check()
            arrays = [array.copy() for array in placed if isinstance(array, np.ndarray)]
            results.append([np.float64(0 if value is None else value), *arrays])
            self.count += 1
        for a, b in zip(*results, strict=True):
            assert a.tobytes() == b.tobytes(), function


def size(rng, most=None):
    """Return one of the first `most` sizes."""
    return int(rng.choice(SIZES[:most]))


def softmax_family(call, rng, dtype):
    """The softmax functions, along any axis of an array of one to three."""
    shape = tuple(size(rng, 35 if i else None) for i in reversed(range(rng.integers(1, 4))))
    axis = int(rng.integers(len(shape)))
    classes, rows = shape[axis], math.prod(shape) // shape[axis]
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    new = np.zeros_like(x)
    for operation in (SOFTMAX, LOG_SOFTMAX):
        call(kernels.compute_rows, operation, x, None, new, axis, 0.7, 1)
    for operation in (SOFTMAX_VJP, LOG_SOFTMAX_VJP):
        call(kernels.compute_rows, operation, x, dy, new, axis, 0.7, 1)
    call(lambda x: kernels.compute_rows(SOFTMAX, x, None, x, axis, 1.0, 0), x)
    call(kernels.compute_rows, LOGSUMEXP, x, None, np.zeros(rows, dtype), axis, 1.0, 1)
    call(lambda x, out: kernels.try_plain(SOFTMAX, x, None, out, axis, 1.0, False, None) is out, x, new)

    labels, losses = rng.integers(-1, classes, rows), np.zeros(rows, dtype)
    by_class, by_row = rng.random(classes), rng.random(rows)
    call(
        lambda *arrays: kernels.check_labels(arrays[0], classes, -1, *arrays[1:])[0] < 0,
        labels,
        by_class,
        by_row,
    )
    weights = (by_class.astype(dtype), by_row.astype(dtype)) if rng.integers(2) else (None, None)
    for grad in (new, None):
        for smoothing in (0.0, 0.1):
            options = (*weights, -1, smoothing, 1.5, 0.5)
            call(kernels.cross_entropy, x, labels, grad, losses, axis, *options, 1)
        options = (*weights, None, 0.1, 1.0, 1.0)
        call(kernels.cross_entropy, x, abs(dy), grad, losses, axis, *options, 1)


def element_family(call, rng, dtype):
    """What goes from element to element: activations, dropout, masks, norms, and the steps of optimizers."""
    n = size(rng) * int(rng.integers(1, 9)) + int(rng.integers(3))
    x, dy = rng.standard_normal((2, n)).astype(dtype)
    new = np.zeros_like(x)
    for kind in kernels.ACTIVATIONS.values():
        call(kernels.activate, kind, x, new, 0.1)
        call(kernels.activate_vjp, kind, x, dy, new, 0.1)
    call(kernels.dropout, x, new, 0.3, 2**64 - 1, int(rng.integers(2**62)))
    call(kernels.fill_where_not, x, dy > 0, -np.inf)
    call(kernels.sum_of_squares, x)
    call(kernels.sum_of, x)
    if x.dtype == np.float32:
        halves = rng.integers(0, 1 << 16, x.shape, np.uint16)
        for bfloat in (False, True):
            call(kernels.widen_halves, halves, x, bfloat)
            call(kernels.narrow_halves, x, halves, bfloat)
    for velocity in (None, x):
        call(kernels.sgd, x, dy, velocity, 0.1, 0.9, True, 0.01, 1.0)
        call(kernels.rmsprop, x, dy, abs(x), velocity, 0.1, 0.9, 0.5, 1e-8, 0.01, 1.0)
    call(kernels.adam, x, dy, x, abs(x), 0.1, 0.9, 0.99, 1e-8, 0.01, True, 3.0, 1.0)


def row_family(call, rng, dtype):
    """What goes from row to row: biases, sums over rows, layer normalisation, and batches."""
    rows, n = size(rng, 50), size(rng)
    x, dy = rng.standard_normal((2, rows, n)).astype(dtype)
    new, by_row, by_column = np.zeros_like(x), *(rng.random(count).astype(dtype) for count in (rows, n))
    call(kernels.add_bias, x, by_column)
    call(kernels.column_sums, x, by_column)
    call(kernels.layer_norm, x, by_column, by_column, 1e-5, new, by_row, by_row)
    call(kernels.layer_norm_vjp, x, by_column, by_row, by_row, dy, new, by_column, by_column)
    indices = rng.integers(0, rows, size(rng, 50))
    for source in (x, rng.integers(0, 256, x.shape, np.uint8)):
        call(kernels.gather, source, indices, np.zeros((len(indices), n), dtype), 0.5)


def product_family(call, rng, dtype):
    """Matrix products, with either factor transposed."""
    rows, steps, columns = size(rng, 50), size(rng), size(rng)
    bias = rng.random(columns).astype(dtype) if rng.integers(2) else None
    left, right = rng.random((rows, steps)).astype(dtype), rng.random((steps, columns)).astype(dtype)
    new = np.zeros((rows, columns), dtype)
    call(kernels.dense, left, right, bias, new)
    call(partial(kernels.dense, left_transposed=True), left.T, right, bias, new)
    call(partial(kernels.dense, right_transposed=True), left, right.T, bias, new)


def main(rounds, seed):
    """Call every kernel `rounds` times; print the number of calls."""
    call, rng = Calls(), np.random.default_rng(seed)
    for _ in range(rounds):
        for dtype in (np.float32, np.float64):
            for family in (softmax_family, element_family, row_family, product_family):
                family(call, rng, dtype)
    print(call.count)
