"""Model how training scales to many ranks, from measured arithmetic and counted bytes; not a measurement.

    python benchmarks/scaling.py              write the tables of docs/use/many_machines.md
    python benchmarks/scaling.py --check      write nothing; exit status 1 if they would change
    python benchmarks/scaling.py --measure    time the arithmetic on this machine first (needs mpi4py)

What is measured, on one thread: a step of 784-128-10 on the rows that one of R ranks has of a batch of 4096,
and a step of a layer from 512 features to the classes that one of R ranks has of 100,000. What is counted:
the bytes that each rank hands to a reduction. What is assumed: a reduction of n bytes over R ranks takes

    2 log2(R) latency + 2 (R - 1) / R n / bandwidth

as by recursive halving and doubling (R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of collective
communication operations in MPICH", 2005, section 4.5), over a network of 100 Gbit/s and 2 us.
"""

import argparse
import json
import sys
import time
from itertools import pairwise
from math import log2
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "benchmarks" / "scaling.json"
PAGE = ROOT / "docs" / "use" / "many_machines.md"
FIRST_LINE, LAST_LINE = "<!-- written by benchmarks/scaling.py -->", "<!-- until here -->"

RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
LATENCY, BANDWIDTH = 2e-6, 12.5e9  # seconds, bytes a second
BATCH, SIZES = 4096, [784, 128, 10]
ROWS, FEATURES, CLASSES = 256, 512, 100_000


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    parser.add_argument("--measure", action="store_true", help="time the arithmetic first")
    options = parser.parse_args(arguments)
    if options.measure:
        MEASURED.write_text(json.dumps(measure(), indent=1) + "\n")
    before = PAGE.read_text(encoding="utf-8")
    head, first, rest = before.partition(FIRST_LINE)
    _, last, tail = rest.partition(LAST_LINE)
    wanted = f"{head}{first}\n\n{tables(json.loads(MEASURED.read_text()))}\n\n{last}{tail}"
    if wanted == before:
        return 0
    print(f"{PAGE.relative_to(ROOT)}{' is out of date: python benchmarks/scaling.py' * options.check}")
    if not options.check:
        PAGE.write_text(wanted, encoding="utf-8")
    return int(options.check)


def reduction(size: float, ranks: int) -> float:
    """Return the modelled time of a reduction in seconds."""
    if ranks == 1:
        return 0.0
    return 2 * log2(ranks) * LATENCY + 2 * (ranks - 1) / ranks * size / BANDWIDTH


def tables(measured: dict) -> str:
    """Return both tables in Markdown."""
    parameters = sum(a * b + b for a, b in pairwise(SIZES))
    gradient = 4 * (parameters + 2)
    rows = [(f"{BATCH // ranks:,}", [gradient], measured["rows"][str(BATCH // ranks)]) for ranks in RANKS]
    # Per row: one number by maximum, four by sum, all float64; and the gradient over the features.
    shares = [8 * ROWS, 8 * (4 * ROWS + 1), 4 * ROWS * FEATURES]
    classes = [
        (f"{-(-CLASSES // ranks):,}", shares, measured["classes"][str(-(-CLASSES // ranks))])
        for ranks in RANKS
    ]
    return "\n\n".join(
        [
            f"Rows over ranks: {'-'.join(map(str, SIZES))}, batches of {BATCH:,} rows, one reduction of"
            f" {gradient / 1e3:,.0f} kB a step.",
            table("rows a rank", rows),
            f"Classes over ranks: a layer from {FEATURES} features to {CLASSES:,} classes, batches of {ROWS}"
            f" rows, three reductions of {', '.join(f'{size / 1e3:,.0f}' for size in shares)} kB a step.",
            table("classes a rank", classes),
            f"Arithmetic measured on one thread of an {measured['machine']}.",
        ]
    )


def table(what: str, rows: list) -> str:
    """Return a table with a row for each number of ranks."""
    lines = [f"| ranks | {what} | arithmetic, ms | reductions, ms | times as fast | efficiency |"]
    lines.append("| ---: " * 6 + "|")
    alone = rows[0][2]
    for ranks, (share, sizes, arithmetic) in zip(RANKS, rows, strict=True):
        told = sum(reduction(size, ranks) for size in sizes)
        speed = alone / (arithmetic + told)
        lines.append(
            f"| {ranks:,} | {share} | {1e3 * arithmetic:.3g} | {1e3 * told:.3g} | {speed:.3g}"
            f" | {speed / ranks:.0%} |"
        )
    return "\n".join(lines)


def measure() -> dict:
    """Return the seconds of a step for each share of rows and of classes, the best of many."""
    import numpy as np
    from mpi4py import MPI

    import fastsm
    import machine
    from fastsm import distributed, nn, optim

    fastsm.set_num_threads(1)
    rng = np.random.default_rng(0)
    found: dict = {"machine": machine.cpu_model(), "rows": {}, "classes": {}}
    model, loss, optimizer = nn.MLP(SIZES, rng=0), nn.CrossEntropyLoss(), optim.SGD(0.01)
    x, y = rng.random((BATCH, SIZES[0]), np.float32), rng.integers(0, SIZES[-1], BATCH)
    for ranks in RANKS:
        count = BATCH // ranks

        def step(count: int = count) -> None:
            nn.value_and_grad(model, loss, x[:count], y[:count])
            optimizer.step(model.params, model.grads)

        found["rows"][str(count)] = best(step)
    features = rng.standard_normal((ROWS, FEATURES), np.float32)
    for ranks in RANKS:
        count = -(-CLASSES // ranks)
        head = nn.Sequential(distributed.ShardedLinear(FEATURES, count, MPI.COMM_SELF), rng=0)
        over = distributed.ShardedCrossEntropyLoss(count, MPI.COMM_SELF)
        labels = rng.integers(0, count, ROWS)

        def step(head=head, over=over, labels=labels) -> None:
            nn.value_and_grad(head, over, features, labels, input_grad=True)
            optimizer.step(head.params, head.grads)

        found["classes"][str(count)] = best(step)
    return found


def best(step) -> float:
    """Return the shortest time of many calls, a second of them at least."""
    step()
    shortest, ends = float("inf"), time.perf_counter() + 1
    while time.perf_counter() < ends:
        started = time.perf_counter()
        step()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest


if __name__ == "__main__":
    sys.exit(main())
