"""Print what every kernel computes on fixed inputs, as one digest for each instruction set.

    python tests/bits.py [--each] [--module FILE.so ...]

Equal digests mean equal bits: two compilers, two versions of NumPy or two machines can be compared by a
line each. With --each there is a line for each function and type, which tells where a difference is; with
--module the digests are those of compiled modules, as they lie in fastsm/_kernels/<instruction set>/ of an
installation.

The inputs are integers times powers of two, made from integers alone, and every NaN counts as the same one:
the digests depend neither on NumPy's version nor on the C library.
"""

import argparse
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsm import _kernels
from fastsm.functional._general import LOG_SOFTMAX, LOG_SOFTMAX_VJP, LOGSUMEXP, SOFTMAX, SOFTMAX_VJP

Real = type[np.float32] | type[np.float64]
Array = NDArray[Any]
# Takes what a function computed: its name, and arrays or numbers.
Take = Callable[..., None]

CLASSES = (1, 2, 3, 10, 31, 32, 33, 128, 1000, 5000)
COUNTS = (1, 2, 3, 7, 10, 16, 33, 100, 1037)
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30)


# ---- inputs ----


def words(count: int, seed: int) -> NDArray[np.uint64]:
    """Return random words: SplitMix64, from the seed on."""
    gamma = np.uint64(0x9E3779B97F4A7C15)
    z = (np.arange(1, count + 1, dtype=np.uint64) + np.full(count, seed << 32, np.uint64)) * gamma
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def numbers(shape: tuple[int, ...], seed: int, dtype: Real, most: float = 8.0) -> Array:
    """Return numbers from -most to most, a power of two: as many different ones as the type has bits for."""
    bits = np.finfo(dtype).nmant
    integers = (words(int(np.prod(shape)), seed) >> np.uint64(63 - bits)).astype(np.int64) - (1 << bits)
    return (integers.astype(dtype) * dtype(most / (1 << bits))).reshape(shape)


def wide_numbers(count: int, seed: int, dtype: Real) -> Array:
    """Return numbers of all sizes from 2^-40 to 2^10, and special values at the end."""
    values = numbers((count,), seed, dtype, 1.0)
    for exponent in range(-40, 11):
        values[exponent + 40 :: 51] *= dtype(2.0**exponent)
    values[-1 : -1 - len(SPECIAL) : -1] = SPECIAL[: min(count, len(SPECIAL))]
    return values


def integers(count: int, seed: int, below: int) -> NDArray[np.int64]:
    """Return random integers from 0 on."""
    return (words(count, seed) % np.uint64(below)).astype(np.int64)


# ---- softmax and its relatives ----


def layouts(rows: int, classes: int) -> list[tuple[tuple[int, ...], int]]:
    """Return shapes with this number of rows, and the axis of the classes."""
    return [((rows, classes), 1), ((classes, rows), 0), ((2, classes, rows // 2), 1)]


def softmax_family(kernels: ModuleType, take: Take, dtype: Real) -> None:
    """Softmax, its relatives and their VJPs, along every axis."""
    operations = {"softmax": SOFTMAX, "log_softmax": LOG_SOFTMAX}
    products = {"softmax_vjp": SOFTMAX_VJP, "log_softmax_vjp": LOG_SOFTMAX_VJP}
    for classes in CLASSES:
        rows = 70 if classes <= 33 else 22 if classes <= 1000 else 6
        for shape, axis in layouts(rows, classes):
            x, dy = numbers(shape, 1, dtype), numbers(shape, 2, dtype)
            flat = x.reshape(-1)
            # some rows with more than one maximum, or with special values
            flat[5 :: x.size // 9 + 1] = 9
            flat[3 :: x.size // 5 + 1] = np.resize(SPECIAL, len(flat[3 :: x.size // 5 + 1]))
            out, by_row = np.empty_like(x), np.empty(rows, dtype)
            for scale in (1.0, 1 / 0.7):
                for name, operation in operations.items():
                    assert kernels.compute_rows(operation, x, None, out, axis, scale, 1)
                    take(name, out)
                for name, operation in products.items():
                    y = -abs(x) if operation == LOG_SOFTMAX_VJP else abs(x)
                    assert kernels.compute_rows(operation, y, dy, out, axis, scale, 1)
                    take(name, out)
            assert kernels.compute_rows(LOGSUMEXP, x, None, by_row, axis, 1.0, 1)
            take("logsumexp", by_row)
            if x.shape[axis] > 1:  # the short path leaves single classes to the one that warns
                take("quick", kernels.try_plain(SOFTMAX, x, None, None, axis, 0.7, False, 1))
            take("quick", kernels.try_plain(LOGSUMEXP, x, None, None, axis, 1.0, False, 1))


def cross_entropy_family(kernels: ModuleType, take: Take, dtype: Real) -> None:
    """Cross-entropy with labels and with probabilities, under each option."""
    for classes in CLASSES:
        rows = 70 if classes <= 33 else 22 if classes <= 1000 else 6
        labels = integers(rows, 3, classes)
        some = np.where(integers(rows, 4, 5) == 0, -1, labels)
        by_class, by_row = abs(numbers((classes,), 5, dtype, 2.0)), abs(numbers((rows,), 6, dtype, 2.0))
        losses = np.empty(rows, dtype)
        for shape, axis in layouts(rows, classes):
            x, targets = numbers(shape, 7, dtype), abs(numbers(shape, 8, dtype, 1.0))
            grad = np.empty_like(x)
            for is_index, target, weights, ignored, smoothing, scale in (
                (True, labels, (None, None), None, 0.0, 1.0),
                (True, some, (by_class, by_row), -1, 0.0, 1 / 0.7),
                (True, some, (by_class, None), -1, 0.1, 1.0),
                (True, labels, (None, by_row), None, 0.1, 1 / 0.7),
                (False, targets, (None, None), None, 0.0, 1.0),
                (False, targets, (by_class, by_row), None, 0.1, 1 / 0.7),
            ):
                name = "cross_entropy" if is_index and not smoothing else "soft_cross_entropy"
                for with_grad in (True, False):
                    options = (*weights, ignored, smoothing, scale, 1 / rows)
                    bad_row = kernels.cross_entropy(
                        x, target, grad if with_grad else None, losses, axis, *options, 1
                    )
                    assert bad_row == -1
                    take(name, losses)
                    if with_grad:
                        take(name, grad)
            in_shape = labels.reshape(shape[:axis] + shape[axis + 1 :])
            for target in (in_shape, targets) if classes > 1 else ():
                usual = (None, None, None, 0.0, 1.0, "mean", 1)
                take("quick", *kernels.try_plain_cross_entropy(x, target, None, True, axis, *usual))
        weights = (by_class.astype(np.float64), by_row.astype(np.float64))
        take("check_labels", *kernels.check_labels(some, classes, -1, *weights))


# ---- from element to element ----


def element_family(kernels: ModuleType, take: Take, dtype: Real) -> None:
    """Activations, dropout, masks, and sums of all elements."""
    for count in (*COUNTS, 20000):
        out = np.empty(count, dtype)
        dy = numbers((count,), 11, dtype)
        for x in (numbers((count,), 9, dtype), wide_numbers(count, 10, dtype)):
            for name, kind in kernels.ACTIVATIONS.items():
                kernels.activate(kind, x, out, 0.1)
                take(name, out)
                kernels.activate_vjp(kind, x, dy, out, 0.1)
                take(f"{name}_vjp", out)
            masked = x.copy()
            kernels.fill_where_not(masked, dy > 0, -np.inf)
            take("fill_where_not", masked)
        for first in (0, 12345):
            kernels.dropout(dy, out, 0.3, 2**64 - 1, first)
            take("dropout", out)
        take("sum_of_squares", kernels.sum_of_squares(dy))
        take("total", kernels.sum_of(dy))


def half_family(kernels: ModuleType, take: Take, dtype: Real) -> None:
    """Numbers of 16 bits: all of them to float, and any bits of a float to them."""
    if dtype != np.float32:
        return
    halves, out = np.arange(1 << 16, dtype=np.uint16), np.empty(1 << 16, np.float32)
    floats = np.concatenate(
        [words(50001, 12).astype(np.uint32).view(np.float32), numbers((50000,), 13, dtype)]
    )
    narrow = np.empty(len(floats), np.uint16)
    for bfloat in (False, True):
        kernels.widen_halves(halves, out, bfloat)
        take("widen_halves", out)
        kernels.narrow_halves(floats, narrow, bfloat)
        take("narrow_halves", narrow)


def optimizer_family(kernels: ModuleType, take: Take, dtype: Real) -> None:
    """Two steps of each optimizer; the powers of Adam's betas are exact."""
    for count in COUNTS:
        grads = numbers((count,), 14, dtype)
        for with_velocity in (False, True):
            for nesterov in (False, True):
                params, velocity = numbers((count,), 15, dtype), numbers((count,), 16, dtype)
                for scale in (1.0, 0.3):
                    state = velocity if with_velocity else None
                    kernels.sgd(params, grads, state, 0.1, 0.9, nesterov, 0.01, scale)
                    take("sgd", params, velocity)
            params, square = numbers((count,), 15, dtype), abs(numbers((count,), 17, dtype))
            for scale in (1.0, 0.3):
                state = velocity if with_velocity else None
                kernels.rmsprop(params, grads, square, state, 0.1, 0.9, 0.5, 1e-8, 0.01, scale)
                take("rmsprop", params, square, velocity)
            params, square, mean = (
                numbers((count,), 15, dtype),
                np.zeros(count, dtype),
                np.zeros(count, dtype),
            )
            for step in (1, 2):
                kernels.adam(
                    params, grads, mean, square, 0.1, 0.75, 0.875, 1e-8, 0.01, with_velocity, step, 0.3
                )
                take("adam", params, mean, square)


# ---- from row to row ----


def row_family(kernels: ModuleType, take: Take, dtype: Real) -> None:
    """Biases, sums over rows, layer normalisation, and batches."""
    for count in COUNTS:
        for rows in (1, 3, 29, 150):
            x, dy = numbers((rows, count), 18, dtype), numbers((rows, count), 19, dtype)
            gain, bias = numbers((count,), 20, dtype), numbers((count,), 21, dtype)
            out, sums, more = np.empty_like(x), np.empty(count, dtype), np.empty(count, dtype)
            mean, inverse = np.empty(rows, dtype), np.empty(rows, dtype)
            kernels.layer_norm(x, gain, bias, 1e-5, out, mean, inverse)
            take("layer_norm", out, mean, inverse)
            kernels.layer_norm_vjp(x, gain, mean, inverse, dy, out, sums, more)
            take("layer_norm_vjp", out, sums, more)
            kernels.column_sums(x, sums)
            take("column_sums", sums)
            kernels.add_bias(x, bias)
            take("add_bias", x)
            chosen = integers(40, 22, rows)
            batch = np.empty((len(chosen), count), dtype)
            pixels = integers(rows * count, 23, 256).astype(np.uint8).reshape(rows, count)
            for source in (pixels, dy, numbers((rows, count), 24, np.float64)):
                kernels.gather(source, chosen, batch, 1 / 255)
                take("gather", batch)


def product_family(kernels: ModuleType, take: Take, dtype: Real) -> None:
    """Matrix products of all shapes, transposed or not, with and without a bias."""
    sizes = [(m, k, n) for m in (1, 5, 7, 70) for k in (1, 3, 37, 300) for n in (1, 2, 3, 5, 10, 17, 33, 70)]
    for rows, steps, columns in [*sizes, (5, 2100, 3), (5, 2100, 40)]:
        left, right = numbers((rows, steps), 25, dtype), numbers((steps, columns), 26, dtype)
        bias, out = numbers((columns,), 27, dtype), np.empty((rows, columns), dtype)
        turned_left, turned_right = np.ascontiguousarray(left.T), np.ascontiguousarray(right.T)
        for turn_left in (False, True):
            for turn_right in (False, True):
                for start in (None, bias):
                    factors = (turned_left if turn_left else left, turned_right if turn_right else right)
                    kernels.dense(
                        *factors, start, out, left_transposed=turn_left, right_transposed=turn_right
                    )
                    take("dense", out)


FAMILIES = (
    softmax_family,
    cross_entropy_family,
    element_family,
    half_family,
    optimizer_family,
    row_family,
    product_family,
)


# ---- digests ----


def as_bytes(value: object) -> bytes:
    """Return the bytes of numbers, the lowest first, with one NaN for all."""
    array = np.array(value)
    assert array.dtype.kind in "biuf", "the kernel declined"
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def digests(kernels: ModuleType) -> dict[str, str]:
    """Return the digest of each function and type."""
    found: dict[str, Any] = {}
    for dtype in (np.float32, np.float64):

        def take(name: str, *values: object, dtype: Real = dtype) -> None:
            total = found.setdefault(f"{name} {dtype.__name__}", hashlib.sha256())
            for value in values:
                total.update(as_bytes(value))

        for family in FAMILIES:
            family(kernels, take, dtype)
    return {name: total.hexdigest()[:16] for name, total in sorted(found.items())}


def digest_of_all(each: dict[str, str]) -> str:
    """Return one digest of them."""
    return hashlib.sha256(repr(each).encode()).hexdigest()[:16]


def load(path: str) -> ModuleType:
    """Return the kernels of a compiled module."""
    spec = importlib.util.spec_from_file_location("kernels", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(arguments: list[str] | None = None) -> int:
    """Print the digests."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--each", action="store_true", help="a line for each function and type")
    parser.add_argument("--module", action="append", metavar="FILE.so", help="a compiled module; many times")
    options = parser.parse_args(arguments)
    if options.module:
        modules = {path: load(path) for path in options.module}
    else:
        modules = {
            isa: importlib.import_module(f"fastsm._kernels.{isa}.kernels") for isa in _kernels.available
        }
    for name, kernels in modules.items():
        each = digests(kernels)
        for function, total in each.items() if options.each else [("", digest_of_all(each))]:
            print(*filter(None, (name, function, total)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
