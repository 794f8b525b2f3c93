"""Count the instructions of a few kernels, and compare them with the stored counts.

    python benchmarks/instructions.py [--update] [--tolerance 3]

Timing is unreliable on a busy machine; valgrind's callgrind counts the same instructions on every run. Only
instructions inside the compiled kernels are counted, from the parsing of arguments to the last row, so the
versions of Python and NumPy do not matter. The compiler matters: counts are stored for each compiler and
major version; other compilers never fail. Fewer instructions do not fail either: --update stores them.
Callgrind does not support AVX-512, so only AVX2 and the baseline are counted.

The exit status is 1 if a kernel takes more instructions than stored, beyond the tolerance. Without valgrind,
the script counts nothing and says so.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

STORED = Path(__file__).with_suffix(".json")
VARIANTS = ("avx2", "baseline")
CALLS = 20
# Callgrind starts a new file of counts whenever the process enters this function of the C library. Calls to
# count lie between two such marks; nothing else here calls it.
MARK = os.getppid
MARK_NAME = "getppid"
# The marks that compilers leave in their output. Clang's builds also name GCC, for the start-up files.
COMPILERS = {"Clang": rb"clang version (\d+)", "GCC": rb"GCC: \([^)]*\) (\d+)"}


def main(arguments: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--update", action="store_true", help="store the counts found")
    parser.add_argument("--tolerance", type=float, default=3.0, help="percent more than stored (default: 3)")
    parser.add_argument("--calls", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.calls:
        run_kernels()
        return 0
    if shutil.which("valgrind") is None:
        print("valgrind is not there: no instructions counted")
        return 0
    from fastsm import _kernels

    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    within = True
    for variant in VARIANTS:
        if variant not in _kernels.available:
            print(f"{variant}: not on this machine")
            continue
        name = f"{platform.machine().lower()} {variant}, {compiler(variant)}"
        found = count(variant)
        if options.update:
            stored[name] = found
        within &= report(name, found, stored.get(name, {}), options.tolerance)
    if options.update:
        STORED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    return 0 if within else 1


def kernels() -> dict[str, Callable[[], object]]:
    """Return the calls to count: one for each important kernel, on data that fits in a cache."""
    import numpy as np

    import fastsm
    from fastsm._kernels import kernels as compiled

    rng = np.random.default_rng(0)

    def placed(array: Any) -> Any:
        """Return a copy that begins at a multiple of 64 bytes, as the start of loops depends on it."""
        raw = np.empty(array.nbytes + 64, np.uint8)
        start = -raw.ctypes.data % 64
        copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return copy

    def normal(*shape: int, dtype: Any = np.float32) -> Any:
        return placed(rng.standard_normal(shape, dtype))

    row, short, long, double = normal(1, 10), normal(64, 10), normal(64, 1000), normal(64, 100, dtype=float)
    across = normal(1000, 64)
    z, bias, sums, params, grads = normal(128, 128), normal(128), normal(64), normal(10_000), normal(10_000)
    mean, square = placed(0 * params), placed(0 * params)
    images, order = placed(rng.integers(0, 256, (128, 784), np.uint8)), placed(rng.permutation(128))
    inputs, weights, products = normal(32, 784), normal(784, 128), normal(32, 128)
    scaled, labels = normal(128, 784), placed(rng.integers(0, 10, 64))
    short_y, long_y = placed(fastsm.softmax(short)), placed(fastsm.softmax(long))

    def into(function: Callable[..., object], *inputs: Any, **keywords: Any) -> Callable[[], object]:
        out = placed(inputs[0])
        return lambda: function(*inputs, out=out, **keywords)

    return {
        "softmax, 1x10 float32": into(fastsm.softmax, row),
        "softmax, 64x10 float32": into(fastsm.softmax, short),
        "softmax, 64x1000 float32": into(fastsm.softmax, long),
        "softmax, 1000x64 float32, axis 0": into(fastsm.softmax, across, axis=0),
        "log_softmax, 64x100 float64": into(fastsm.log_softmax, double),
        "logsumexp, 64x1000 float32": lambda: fastsm.logsumexp(long, out=sums),
        "softmax_vjp, 64x10 float32": into(fastsm.softmax_vjp, short_y, normal(64, 10)),
        "softmax_vjp, 64x1000 float32": into(fastsm.softmax_vjp, long_y, normal(64, 1000)),
        "cross_entropy_with_grad, 64x10 float32": into(fastsm.cross_entropy_with_grad, short, labels),
        "cross_entropy_with_grad, 64x1000 float32": into(fastsm.cross_entropy_with_grad, long, labels),
        "add_bias, 128x128 float32": lambda: compiled.add_bias(z, bias),
        "column_sums, 128x128 float32": lambda: compiled.column_sums(z, bias),
        "gather, 128x784 uint8": lambda: compiled.gather(images, order, scaled, 1 / 255),
        "dense, 32x784 by 784x128 float32": lambda: compiled.dense(inputs, weights, bias, products),
        "dense, the same for the weights": lambda: compiled.dense(
            inputs, products, None, weights, left_transposed=True
        ),
        "adam, 10000 float32": lambda: compiled.adam(
            params, grads, mean, square, 1e-3, 0.9, 0.999, 1e-8, 0.0, False, 1.0, 1.0
        ),
    }


def run_kernels() -> None:
    """Call each kernel between two marks, in a process that callgrind watches."""
    for call in kernels().values():
        call()  # warm up: one-time work is not counted
        MARK()
        for _ in range(CALLS):
            call()
        MARK()


def count(variant: str) -> dict[str, int]:
    """Return the instructions of one call of each kernel."""
    names = list(kernels())
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--dump-before={MARK_NAME}"]
        command += ["--compress-strings=no", "--compress-pos=no", f"--callgrind-out-file={folder}/counts"]
        command += [sys.executable, __file__, "--calls"]
        threads = dict.fromkeys(("FASTSM_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment = {"FASTSM_ISA": variant, "PYTHONHASHSEED": "0", **threads}
        done = subprocess.run(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{variant}: the process under valgrind failed:\n{done.stderr}")
        # counts.1, counts.2...: from the end, every other file holds the counts between the two marks of a
        # kernel.
        files = sorted(Path(folder).glob("counts.*"), key=lambda file: int(file.suffix[1:]))
        between = files[-2 * len(names) :][1::2]
        counts = {name: inside_kernels(file.read_text()) for name, file in zip(names, between, strict=True)}
    if not all(counts.values()):
        sys.exit(f"{variant}: callgrind counted nothing in the kernels: {counts}")
    return {name: round(total / CALLS) for name, total in counts.items()}


def inside_kernels(profile: str) -> int:
    """Return the number of instructions in the compiled kernels in a profile of callgrind.

    Lines of figures are a line number and a count, under the last object that `ob=` named. The one that
    follows `calls=` is what a called function took, which stands under its own name as well.
    """
    total, inside, is_of_callee = 0, False, False
    for line in profile.splitlines():
        if line.startswith("ob="):
            inside = "/kernels." in line
        elif line.startswith("calls="):
            is_of_callee = True
        elif re.match(r"\d+ \d+$", line):
            total += int(line.split()[1]) if inside and not is_of_callee else 0
            is_of_callee = False
    return total


def compiler(variant: str) -> str:
    """Return the compiler that built a variant and its major version, if the file names them."""
    content = Path(str(import_module(f"fastsm._kernels.{variant}.kernels").__file__)).read_bytes()
    for name, pattern in COMPILERS.items():
        if found := re.search(pattern, content):
            return f"{name} {found[1].decode()}"
    return "unknown compiler"


def report(name: str, found: dict[str, int], stored: dict[str, int], tolerance: float) -> bool:
    """Print the counts beside the stored ones; return whether all are within the tolerance."""
    print(f"{name}: instructions of one call inside the kernels")
    if not stored:
        print("  nothing is stored for this compiler: no failure")
    within = True
    for kernel, instructions in found.items():
        line = f"  {kernel:<44}{instructions:>10,}"
        if kernel in stored:
            percent = 100 * (instructions / stored[kernel] - 1)
            line += f"{percent:>+8.1f} %"
            if percent > tolerance:
                line += "   MORE"
                within = False
            elif percent < -tolerance:
                line += "   fewer: --update stores them"
        elif stored:
            line += "   NOT STORED"
            within = False
        print(line)
    return within


if __name__ == "__main__":
    sys.exit(main())
