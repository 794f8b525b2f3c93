"""Find the largest errors of softmax, in units in the last place (ULP), on many rows.

    FASTSM_ISA=avx2 python benchmarks/accuracy.py [--rows 2000]

Against the exact softmax of the rounded differences x - max, in float64 (for float32) or long double: on
normal logits times 0.1, 1, 3 and 10, and on rows whose logits are all equal but the maximum, where the
rounding errors of the sum share a sign. The tests have bounds for a part of these rows.
"""

import argparse
import sys

import numpy as np

import fastsm
from fastsm import _kernels

CLASSES = ((2, 32), (33, 130), (131, 399))
EQUAL = (*range(2, 131), 300, 1000, 2000, 4097)


def main(arguments: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--rows", type=int, default=2000, help="rows of up to 130 classes (default: 2000)")
    options = parser.parse_args(arguments)
    print(f"largest error of softmax in ULP, {_kernels.name}: (classes, scale or 'equal')")
    for dtype in (np.float32, np.float64):
        for first, last in CLASSES:
            rows = options.rows if last <= 130 else options.rows // 10
            worst = max(
                (largest_error(normal(classes, scale, rows, dtype)), classes, scale)
                for classes in range(first, last + 1)
                for scale in (0.1, 1, 3, 10)
            )
            print(f"  {dtype.__name__}  {first:>4} to {last:<4} {worst[0]:.2f}  {worst[1:]}", flush=True)
        worst = max((largest_error(equal(classes, dtype)), classes, "equal") for classes in EQUAL)
        print(f"  {dtype.__name__}  {'equal':<12} {worst[0]:.2f}  {worst[1:]}", flush=True)
    return 0


def normal(classes: int, scale: float, rows: int, dtype: type) -> np.ndarray:
    rng = np.random.default_rng(classes)
    return (scale * rng.standard_normal((rows, classes))).astype(dtype)


def equal(classes: int, dtype: type) -> np.ndarray:
    rng = np.random.default_rng(0)
    below = -rng.uniform(0, 3 + np.log(classes), max(10, 20_000 // classes)).astype(dtype)
    x = np.repeat(below[:, None], classes, axis=1)
    x[:, 0] = 0
    return x


def largest_error(x: np.ndarray) -> float:
    wide = np.float64 if x.dtype == np.float32 else np.longdouble
    e = np.exp((x - x.max(axis=1, keepdims=True)).astype(wide))
    exact = e / e.sum(axis=1, keepdims=True)
    counted = exact > 1e-30  # far from what counts as 0
    unit = np.spacing(exact.astype(x.dtype)).astype(wide)
    return float((np.abs(fastsm.softmax(x).astype(wide) - exact) / unit)[counted].max())


if __name__ == "__main__":
    sys.exit(main())
