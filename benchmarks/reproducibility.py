"""Compare one training on several instruction sets and with several BLAS kernels.

The bits may differ, as sums are taken in another order. Trains 64-128-10 on the digits, by each instruction
set that this processor has and, where products are NumPy's (baseline), with each family of kernels of its
OpenBLAS, and compares with the best set:

    parameters  the largest difference of a parameter, over the largest parameter
    predictions the largest difference of a probability
    changed     test rows that get another answer

after one step, one epoch and all epochs. `python benchmarks/reproducibility.py [--quick] [--json]`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

# Kernel families of OpenBLAS for x86-64; families that the processor cannot run are skipped.
FAMILIES = ("SkylakeX", "Haswell", "Sandybridge", "Nehalem")

TRAINING = """
import sys
import numpy as np
import fastsm
from fastsm import nn, optim
steps, dtype, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
X, y = fastsm.data.load_digits()
train, test = slice(0, 1408), slice(1408, None)  # 22 steps of 64
model = nn.MLP([64, 128, 10], dtype=dtype, rng=0)
rows, epochs = (slice(0, 64), 1) if steps == 1 else (train, steps // 22)
fastsm.fit(model, X[rows], y[rows], optimizer=optim.SGD(0.1, momentum=0.9), epochs=epochs,
           batch_size=64, rng=0)
probs = fastsm.softmax(model(X[test]))
np.savez(path, params=model.params, probs=probs, accuracy=(probs.argmax(1) == y[test]).mean())
"""


def trained(steps, dtype, **variables):
    """Return the parameters, probabilities and accuracy after a number of steps."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "result.npz")
        words = [sys.executable, "-P", "-c", TRAINING, str(steps), dtype, path]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "FASTSM_NUM_THREADS": "1", **variables}
        subprocess.run(words, env=environment, check=True)
        with np.load(path) as arrays:
            return dict(arrays)


def usable(family):
    """Return whether NumPy computes with this family here."""
    code = "import numpy as np; a = np.ones((64, 64)); assert (a @ a == 64).all()"
    words = [sys.executable, "-P", "-c", code]
    environment = {**os.environ, "OPENBLAS_CORETYPE": family}
    return not subprocess.run(words, env=environment, capture_output=True, check=False).returncode


def compared(dtype, quick):
    """Return a row for each variant and number of steps."""
    from fastsm import _kernels

    variants = [(name, "") for name in _kernels.available]
    families = () if quick else FAMILIES
    variants += [("baseline", family) for family in families if usable(family)]
    rows = []
    for steps in (1, 110) if quick else (1, 22, 660):
        best = None
        for name, family in variants:
            variables = {"FASTSM_ISA": name} | ({"OPENBLAS_CORETYPE": family} if family else {})
            result = trained(steps, dtype, **variables)
            best = result if best is None else best
            scale = abs(best["params"]).max()
            rows.append(
                {
                    "dtype": dtype,
                    "steps": steps,
                    "isa": name,
                    "products": family or ("NumPy's" if name == "baseline" else "own"),
                    "parameters": float(abs(result["params"] - best["params"]).max() / scale),
                    "predictions": float(abs(result["probs"] - best["probs"]).max()),
                    "changed": int((result["probs"].argmax(1) != best["probs"].argmax(1)).sum()),
                    "accuracy": float(result["accuracy"]),
                }
            )
    return rows


def main():
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="float32, fewer steps, instruction sets only")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args()
    dtypes = ("float32",) if arguments.quick else ("float32", "float64")
    rows = [row for dtype in dtypes for row in compared(dtype, arguments.quick)]
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{'dtype':8} {'steps':>5} {'isa':9} {'products':12} parameters predictions changed accuracy")
    for row in rows:
        print(
            f"{row['dtype']:8} {row['steps']:5} {row['isa']:9} {row['products']:12} {row['parameters']:10.1e}"
            f" {row['predictions']:11.1e} {row['changed']:7} {row['accuracy']:8.2%}"
        )


if __name__ == "__main__":
    main()
