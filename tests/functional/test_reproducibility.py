"""The same seed gives the same bits; instruction sets differ by bounded amounts.

What is promised: run after run, in any number of threads, in any split of the rows, resumed or not. What is
not: other instruction sets and other libraries for matrix products, which add in another order.
`python benchmarks/reproducibility.py` measures how much that changes.
"""

import importlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import environment, run_program

import fastsm
from fastsm import _kernels, nn
from fastsm.functional import _general, _softmax


def trained(**variables):
    """Return checksums of the results of a training in a new process."""
    return json.loads(run_program("seeded_trainings.py", **variables))


@pytest.mark.parametrize("isa", _kernels.available)
def test_same_seed_same_bits(isa):
    """Processes with other hash seeds, threads and BLAS limits give the same bits."""
    first = trained(FASTSM_ISA=isa, PYTHONHASHSEED="1", FASTSM_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    threads = "1" if isa == "baseline" else "3"  # products are NumPy's there
    again = trained(
        FASTSM_ISA=isa, PYTHONHASHSEED="2", FASTSM_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads
    )
    assert first == again


def functions(x, dy, labels):
    """Return the results of each function for rows, by name."""
    y, log_y = fastsm.softmax(x), fastsm.log_softmax(x)
    return {
        "softmax": y,
        "in place": fastsm.softmax((c := x.copy()), out=c),
        "tempered": fastsm.softmax(x, temperature=0.7),
        "masked": fastsm.softmax(x, where=dy > -0.5),
        "log_softmax": log_y,
        "logsumexp": fastsm.logsumexp(x),
        "softmax_vjp": fastsm.softmax_vjp(y, dy),
        "log_softmax_vjp": fastsm.log_softmax_vjp(log_y, dy),
        "cross_entropy": fastsm.cross_entropy(x, labels, reduction="none"),
        "with_grad": fastsm.cross_entropy_with_grad(x, labels, reduction="none", label_smoothing=0.1)[1],
    }


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("classes", [1, 2, 3, 5, 10, 16, 17, 32, 33, 65, 130, 1000])
def test_rows_independent_of_batch(isa, classes, dtype):
    """All rows at once, in batches of several sizes, one by one, in another order: the same bits."""
    rng = np.random.default_rng(classes)
    rows = 300 if classes < 1000 else 270
    x, dy = (rng.standard_normal((rows, classes)).astype(dtype) for _ in range(2))
    labels = rng.integers(0, classes, rows)
    whole = functions(x, dy, labels)
    order = rng.permutation(rows)
    cuts = [0, 1, 2, 5, 22, 90, 91, 155, rows]
    for parts in ([order], [np.arange(a, b) for a, b in itertools.pairwise(cuts)]):
        for part in parts:
            found = functions(x[part], dy[part], labels[part])
            for name, expected in whole.items():
                assert found[name].tobytes() == expected[part].tobytes(), name


@pytest.mark.skipif(_kernels.name == "baseline", reason="products are NumPy's there")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_independent_of_batch(dtype):
    """The prediction for a row has the same bits in any batch, in the training pass too."""
    model = nn.MLP([70, 45, 30, 10], activation="gelu", layer_norm=True, dtype=dtype, head="softmax", rng=0)
    x = np.random.default_rng(0).standard_normal((200, 70)).astype(dtype)
    whole = model(x)
    for size in (1, 2, 3, 7, 64, 199):
        parts = np.concatenate([model(x[i : i + size]) for i in range(0, 200, size)])
        assert parts.tobytes() == whole.tobytes(), size
        assert model.forward(x[:size]).tobytes() == whole[:size].tobytes(), size


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_last_bits_of_instruction_sets(monkeypatch, dtype):
    """Two instruction sets differ by at most 8 units in the last place, twice the error of each."""
    x = np.random.default_rng(0).standard_normal((64, 1000)).astype(dtype)
    variants = []
    for name in _kernels.available:
        kernels = importlib.import_module(f"fastsm._kernels.{name}.kernels")
        monkeypatch.setattr(_softmax, "kernels", kernels)
        monkeypatch.setattr(_general, "kernels", kernels)
        variants.append(fastsm.softmax(x))
    for other in variants[1:]:
        assert (abs(other - variants[0]) <= 8 * np.spacing(np.maximum(other, variants[0]))).all()


def test_reproducibility_script():
    """The script runs, and finds a training on other instruction sets as good as on this one."""
    script = Path(__file__).parents[2] / "benchmarks" / "reproducibility.py"
    if not script.exists():
        pytest.skip("the benchmarks are not here")
    result = subprocess.run(
        [sys.executable, "-P", str(script), "--quick", "--json"],
        env={**environment(), "PYTHONPATH": os.fspath(Path(fastsm.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    rows = json.loads(result.stdout)
    assert {row["isa"] for row in rows} == set(_kernels.available)
    for row in rows:
        assert row["steps"] == 1 or row["accuracy"] > 0.85
        assert row["parameters"] < (1e-5 if row["steps"] == 1 else 1)
