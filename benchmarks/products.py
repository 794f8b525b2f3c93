"""Time the matrix products of a linear layer beside NumPy's BLAS.

    python benchmarks/products.py [--threads 2] [--dtype float64] [--rounds 40]

For layers of several sizes: forward (with the bias, which NumPy adds in a second pass), the gradient over the
weights and that over the input. Both are checked against each other, then take turns in one process;
microseconds, best of all rounds, and how many times longer NumPy takes. With several threads also how many
times longer fastsm takes on one thread.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

SHAPES = (
    (1, 784, 128),
    (32, 784, 128),
    (128, 784, 128),
    (1024, 784, 128),
    (128, 128, 10),
    (200, 2, 500),
    (200, 500, 2),
    (200, 784, 100),
    (128, 512, 512),
    (128, 1024, 1024),
    (1000, 1000, 1000),
)


def main(arguments: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--threads", type=int, default=1, help="for both (default: 1)")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="(default: float32)"
    )
    parser.add_argument("--rounds", type=int, default=40, help="(default: 40)")
    options = parser.parse_args(arguments)
    # Before NumPy is imported: its BLAS reads them once.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)

    import fastsm
    import machine
    import timing

    machine.bind_to_cores(options.threads)
    print(f"{'rows x in x out':<24}{'NumPy us':>10}{'fastsm us':>11}{'ratio':>7}{'1 thread':>10}")
    for shape in SHAPES:
        for name, theirs, ours in calls(shape, options.dtype):

            def alone(ours: Callable[[], Any] = ours) -> None:
                fastsm.set_num_threads(1)
                ours()

            def together(ours: Callable[[], Any] = ours) -> None:
                fastsm.set_num_threads(options.threads)
                ours()

            ways = [("numpy", theirs), ("fastsm", together), ("alone", alone)]
            times = timing.interleave([timing.Call(way, "", run) for way, run in ways], options.rounds)
            numpy, fast, single = (found.best / 1e3 for found in times)
            gain = f"{single / fast:.2f}" if options.threads > 1 else ""
            label = f"{'x'.join(map(str, shape))} {name}"
            print(f"{label:<24}{numpy:>10.1f}{fast:>11.1f}{numpy / fast:>7.2f}{gain:>10}", flush=True)
    return 0


def calls(
    shape: tuple[int, int, int], dtype: str
) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """Yield each product's name, and how NumPy and fastsm do it."""
    import numpy as np

    from fastsm.nn import _products

    rows, n_in, n_out = shape
    rng = np.random.default_rng(0)
    x, dy, w = (
        rng.standard_normal(size).astype(dtype) for size in ((rows, n_in), (rows, n_out), (n_in, n_out))
    )
    bias = w[0].copy()

    def forward(out: Any) -> Any:
        np.matmul(x, w, out=out)
        return np.add(out, bias, out=out)

    kinds: tuple[tuple[str, Any, Callable[[Any], Any], Callable[[Any], Any]], ...] = (
        ("forward", dy, forward, lambda out: _products.affine(x, w, bias, out)),
        (
            "weights",
            w,
            lambda out: np.matmul(x.T, dy, out=out),
            lambda out: _products.weight_gradient(x, dy, out),
        ),
        (
            "input",
            x,
            lambda out: np.matmul(dy, w.T, out=out),
            lambda out: _products.input_gradient(dy, w, out),
        ),
    )
    for name, like, theirs, ours in kinds:
        out, expected = np.empty_like(like), np.empty_like(like)
        if not np.allclose(ours(out), theirs(expected), rtol=1e-3, atol=1e-3):
            sys.exit(f"{shape} {name}: NumPy and fastsm disagree")
        yield name, lambda run=theirs, to=expected: run(to), lambda run=ours, to=out: run(to)


if __name__ == "__main__":
    sys.exit(main())
