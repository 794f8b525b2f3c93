"""Time an epoch of training beside NumPy, PyTorch, JAX and scikit-learn, and beside its products alone.

    python benchmarks/training.py [--rounds 5] [--threads 1] [--rows N] [--json FILE]

Fashion-MNIST is read from the folder FASTSM_DATA_DIR, or from where Debian's package dataset-fashion-mnist
puts it; without it the images are random, which takes as long. All candidates start from the same weights
and, after some steps over the rows in their order, must agree (scikit-learn, which starts from its own, and
the limit excepted). Then they take turns, one epoch each, in one process. Tables go to standard output,
progress to standard error.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import _machine  # imports no NumPy: the limits on threads come first

# What fastsm is to reach: its time over the limit's at most, and each peer's time over its at least.
LIMITS = {32: 1.3, 128: 1.15}
AT_LEAST = {"numpy": 1.5, "torch": 2.0, "sklearn": 2.0, "jax": 1.0}
SMALL = {"torch": 3.0}


def main(arguments: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each candidate (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads for every library (default: 1)")
    parser.add_argument("--fit-threads", type=int, help="num_threads of fastsm.fit (default: as it decides)")
    parser.add_argument("--rows", type=int, help="only so many rows of the data")
    parser.add_argument("--networks", help="numbers of the networks, such as 0,2 (default: all)")
    parser.add_argument("--candidates", help="such as fastsm,numpy (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    parser.add_argument("--memory", action="store_true", help="instead: the peak memory of fastsm's training")
    options = parser.parse_args(arguments)
    _machine.limit_threads(options.threads)
    (memory if options.memory else run)(options)
    return 0


def run(options: argparse.Namespace) -> None:
    """Measure and print; NumPy is first imported here."""
    import _networks
    import _trainers

    _trainers.FastSM.fit_threads = options.fit_threads
    chosen = range(len(_networks.NETWORKS))
    if options.networks:
        chosen = [int(number) for number in options.networks.split(",")]
    names = options.candidates.split(",") if options.candidates else list(_trainers.TRAINERS)
    names = [_trainers.LIMIT, *(name for name in names if name != _trainers.LIMIT)]
    results = []
    for number in chosen:
        network = _networks.NETWORKS[number]
        data, source = _networks.data_for(network, options.rows)
        trainers, missing = _make(names, network, data, options.threads)
        _check_agreement(trainers, network, data, options.threads)
        times = _interleave(trainers, len(data.labels), options.rounds)
        results.append({"network": network.name, "data": source, "rows": len(data.labels), "seconds": times})
        print(_table(network, source, times, missing), flush=True)
    if options.json:
        report = {"machine": _machine.describe({}, options.threads), "results": results}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def memory(options: argparse.Namespace) -> None:
    """Print by how much training raises the peak of resident memory over Python with NumPy."""
    import resource

    import _networks
    import _trainers

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)

    before = peak()
    network = _networks.NETWORKS[int(options.networks or 0)]
    data, source = _networks.data_for(network, options.rows)
    with_data = peak()
    _trainers.FastSM(network, data, options.threads).epoch(data.labels)
    print(f"{network.name}; {source}; megabytes over Python with NumPy")
    print(f"  the data {with_data - before:.0f}, at the peak of training {peak() - before:.0f} (at most 120)")


def _make(names: list[str], network: Any, data: Any, threads: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a trainer for each library that is there, and why the others are not."""
    import _trainers

    trainers: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            trainers[name] = _trainers.TRAINERS[name](network, data, threads)
        except ImportError as error:
            missing[name] = str(error)
    return trainers, missing


def _check_agreement(trainers: dict[str, Any], network: Any, data: Any, threads: int) -> None:
    """Train fresh candidates on full batches in order: the weights must agree."""
    import numpy as np

    import _networks

    rows = min(len(data.labels), 40 * network.batch_size) // network.batch_size * network.batch_size
    small = _networks.Data(data.raw[:rows], data.labels[:rows])
    expected = None
    for name, trainer in trainers.items():
        fresh = type(trainer)(network, small, threads)
        fresh.epoch(np.arange(rows))
        weights = fresh.weights()
        if weights is None:
            continue
        if expected is None:
            expected = name, [(w.copy(), b.copy()) for w, b in weights]
            continue
        for (w, b), (w0, b0) in zip(weights, expected[1], strict=True):
            for a, a0 in ((w, w0), (b, b0)):
                if not np.allclose(a, a0, rtol=2e-3, atol=2e-4):
                    worst = np.abs(a - a0).max()
                    sys.exit(
                        f"{network.name}: {name} and {expected[0]} disagree by {worst:.1e}: nothing was timed"
                    )


def _interleave(trainers: dict[str, Any], rows: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each epoch of each candidate."""
    import numpy as np

    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in trainers}
    names = list(trainers)
    for trainer in trainers.values():
        trainer.epoch(rng.permutation(rows))  # compiles, allocates, and warms up
    for round_ in range(rounds):
        order = rng.permutation(rows)
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            trainers[name].epoch(order)
            times[name].append(time.perf_counter() - start)
        print(f"  round {round_ + 1} of {rounds}", file=sys.stderr)
    return times


def _table(network: Any, source: str, times: dict[str, list[float]], missing: dict[str, str]) -> str:
    """Return the best seconds of each candidate, and their ratios with the targets."""
    best = {name: min(values) for name, values in times.items()}
    ours, limit = best.get("fastsm"), best["products"]
    lines = [f"\n{network.name}; {source}; seconds an epoch, best and median of {len(times['products'])}"]
    targets = SMALL if network.sizes[0] == 2 else AT_LEAST
    if len(network.sizes) > 3:
        targets = {name: AT_LEAST[name] for name in ("numpy", "jax")}
    for name, values in times.items():
        line = f"  {name:<10} {best[name]:>8.3f} {sorted(values)[len(values) // 2]:>8.3f}"
        line += f"   {best[name] / limit:>5.2f} times the products"
        if ours is not None and name == "fastsm" and network.sizes[0] != 2:
            line += _verdict(
                ours / limit <= LIMITS[network.batch_size], f"at most {LIMITS[network.batch_size]}"
            )
        elif ours is not None and name != "products":
            line += f"   {best[name] / ours:>5.2f} times fastsm"
            if name in targets:
                line += _verdict(best[name] / ours >= targets[name], f"at least {targets[name]}")
        lines.append(line)
    lines += [f"  {name:<10} is missing: {why}" for name, why in missing.items()]
    return "\n".join(lines)


def _verdict(reached: bool, target: str) -> str:
    return f"   ({target}{'' if reached else ': MISSED'})"


if __name__ == "__main__":
    sys.exit(main())
