"""Cross-entropy of very many classes on one machine: all logits at once, and in chunks of classes.

    python benchmarks/many_classes.py [--rows N] [--features N] [--classes C,C,...]

Prints for each number of classes the time of loss and gradients, and the memory taken beyond the arguments
and the gradients. In chunks every product with the weights is computed twice, and the gradient over the
logits is never stored as a whole.
"""

import argparse
import time
import tracemalloc

import numpy as np

import fastsm


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--classes", default="1000,10000,100000,1000000")
    parser.add_argument("--at-once", type=float, default=1e9, help="most bytes of logits to compute at once")
    options = parser.parse_args(arguments)
    print(f"{options.rows} rows of {options.features} features, float32; MB beyond arguments and gradients")
    print(f"{'classes':>9}  {'at once':>18}  {'in chunks':>18}  agree")
    for classes in map(int, options.classes.split(",")):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((options.rows, options.features), dtype=np.float32)
        weight = rng.standard_normal((options.features, classes), dtype=np.float32)
        labels = rng.integers(0, classes, options.rows)
        fits = options.rows * classes * 4 <= options.at_once
        whole = measured(at_once, x, weight, labels) if fits else None
        parts = measured(in_chunks, x, weight, labels)
        print(f"{classes:>9}  {shown(whole):>18}  {shown(parts):>18}  {agree(whole, parts)}")


def at_once(x, weight, labels):
    logits = x @ weight
    loss, d_logits = fastsm.cross_entropy_with_grad(logits, labels, out=logits)
    return loss, (d_logits @ weight.T, x.T @ d_logits)


def in_chunks(x, weight, labels):
    loss, (d_x, d_weight, _) = fastsm.linear_cross_entropy_with_grad(x, weight, labels)
    return loss, (d_x, d_weight)


def measured(function, *arguments):
    """Return the best time in seconds, the memory in MB, and the result."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        result = function(*arguments)
        times.append(time.perf_counter() - started)
        size = sum(grad.nbytes for grad in result[1])
        del result
    tracemalloc.start()
    result = function(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return min(times), (peak - size) / 1e6, result


def shown(figures):
    return "too large" if figures is None else f"{figures[0]:.3g} s {figures[1]:8.1f} MB"


def agree(whole, parts):
    if whole is None:
        return ""
    (loss, grads), (other, others) = whole[2], parts[2]
    same = np.isclose(loss, other, rtol=1e-4)
    same &= all(np.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(grads, others, strict=True))
    return "yes" if same else "NO"


if __name__ == "__main__":
    main()
