"""The suite: whom it believes, what it times, and that its results are read as they were written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import PACKAGE, environment

import fastsm.reference

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"
LIBRARIES = (
    "fastsm",
    "numpy",
    "scipy",
    "torch",
    "onnxruntime",
    "jax",
    "sklearn",
    "numba",
    pytest.param("torch.compile", marks=pytest.mark.slow),
)


def kinds(cells):
    """Yield small cells of every kind, 24 x 17."""
    on_logits = [operation for operation in cells.OPERATIONS if not operation.endswith("_vjp")]
    for operation in cells.OPERATIONS:
        for dtype in cells.DTYPES:
            yield cells.Cell(operation, 24, 17, dtype)
            yield cells.Cell(operation, 24, 17, dtype, axis=0)
    for operation in on_logits:
        yield cells.Cell(operation, 24, 17, logits="wide")
    for operation in ("softmax", "log_softmax"):
        yield cells.Cell(operation, 24, 17, logits="masked")
        for dtype in cells.half():
            yield cells.Cell(operation, 24, 17, dtype)


def library(suite, name):
    """Return how a library is called, if it is there."""
    modules, _ = suite("peers").load([name], 1)
    if name not in modules:
        pytest.skip(f"{name} is not installed")
    return modules[name]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of libraries, about each other
@pytest.mark.parametrize("name", LIBRARIES)
def test_kernels_agree(suite, name):
    """All ways of a library agree with the reference wherever it proposes one."""
    module, kernels = library(suite, name), suite("kernels")
    agreed = 0
    for cell in kinds(suite("cells")):
        rejected = {}
        calls = kernels.agreeing(cell, kernels.proposed(cell, {name: module}, rejected), rejected)
        assert rejected == {} or (name, cell.dtype) == ("onnxruntime", "bfloat16"), (cell, rejected)
        agreed += len(calls)
    assert agreed > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_training_agrees(suite, name, activation):
    """All ways of training come to the same weights, all predictors to the same probabilities."""
    training, networks = suite("training"), suite("networks")
    libraries = {name: library(suite, name), "limit": suite("peers.limit")}
    rng = np.random.default_rng(0)
    network = networks.Network((6, 5, 3), activation)
    data = networks.Data(rng.random((40, 6), np.float32), np.arange(40) % 3)
    trained = training.train(networks.Task(network, 8, data), libraries, 1, 1, True)
    called = training.infer(network, 4, libraries, 1, 1, True)
    assert all(record.best > 0 and not record.note for record in (*trained, *called))
    candidates = {record.candidate for record in (*trained, *called)}
    assert candidates >= {"limit", name} - {"scipy"}  # which has no networks


def test_other_weights_are_found_out(suite):
    """A learning rate that is off by a tenth is another training."""
    training, network = suite("training"), suite("networks").Network((6, 5, 3), "relu")
    initial = network.weights()
    right = [(w + 1, b + 1) for w, b in initial]
    wrong = [(w + 1.1, b + 1) for w, b in initial]
    assert training.disagreement(right, right, initial) == ""
    assert "off by 10.0%" in training.disagreement(wrong, right, initial)
    assert "off by inf" in training.disagreement([(w * np.nan, b) for w, b in right], right, initial)


def test_reference_agrees(suite):
    """The suite's reference is `fastsm.reference`, which was written apart from it."""
    agreement = suite("agreement")
    for cell in kinds(suite("cells")):
        if cell.dtype == "float64":
            function = getattr(fastsm.reference, cell.operation)
            first = (cell.saved, cell.given) if cell.is_vjp else (cell.x, *cell.kept)
            expected = function(*first, axis=cell.axis)
            assert agreement.disagreement(cell, expected, agreement.reference(cell)) is None


def test_wrong_results_are_found_out(suite):
    """A wrong scale or shape, NaN, a missing mask, a missing result."""
    cells, agreement = suite("cells"), suite("agreement")
    cell = cells.Cell("softmax", 24, 17)
    (right,) = agreement.reference(cell)

    def verdict(got):
        return agreement.disagreement(cell, got, (right,))

    assert verdict(right.astype(np.float32)) is None
    assert "times the tolerance" in verdict(right * 1.001)
    assert "times the tolerance" in verdict(np.full_like(right, np.nan))
    assert "shape (17, 24)" in verdict(right.T)
    assert "2 results" in verdict((right, right))
    masked = cells.Cell("log_softmax", 24, 17, logits="masked")
    right_there = agreement.reference(masked)
    assert agreement.disagreement(masked, right_there, right_there) is None
    assert "infinite" in agreement.disagreement(masked, np.nan_to_num(right_there[0]), right_there)


def test_who_computes_nothing_is_not_timed(suite):
    """A call does not agree by the result of the one before; one that raises is named."""
    cell, kernels, call = suite("cells").Cell("softmax", 24, 17), suite("kernels"), suite("timing").Call

    def fail():
        raise RuntimeError("no such kernel\nat all")

    good = suite("peers.numpy").kernels(cell)
    rejected = {}
    others = [call("lazy", "", lambda: cell.out), call("broken", "", fail)]
    assert kernels.agreeing(cell, [*good, *others], rejected) == good
    assert "tolerance" in rejected["lazy", ""]
    assert rejected["broken", ""] == "RuntimeError: no such kernel"


def test_interleave(suite):
    """Inputs are restored for every block, and slow ways of a candidate are dropped."""
    timing = suite("timing")
    restored = []
    ways = (("a", "fast", 100), ("a", "slow", 5000), ("b", "only", 5000))
    calls = [timing.Call(name, way, lambda n=n: sum(range(n))) for name, way, n in ways]
    calls[0].restore = lambda: restored.append(1)
    fast, slow, only = timing.interleave(calls, 6)
    assert (len(fast.blocks), len(slow.blocks), len(only.blocks)) == (6, timing.TRIAL_ROUNDS, 6)
    assert len(restored) >= 2 * 6
    assert timing.fastest([fast, slow, only]) == {"a": fast, "b": only}
    assert fast.best <= fast.median


def test_cells(suite):
    """All kinds are there; with several threads only large arrays."""
    cells = suite("cells")
    every = list(cells.chosen(quick=False, threads=1))
    assert len({(cell.group, cell.shape) for cell in every}) == len(every)
    assert {(c.axis, c.logits) for c in every} == {(-1, "usual"), (-1, "wide"), (-1, "masked"), (0, "usual")}
    assert {cell.dtype for cell in every} == {*cells.DTYPES, *cells.half()}
    shared = list(cells.chosen(quick=False, threads=2))
    assert 0 < len(shared) < len(every)
    masked = cells.Cell("softmax", 100, 100, logits="masked")
    assert np.array_equal(np.isneginf(masked.x), ~masked.where)
    assert masked.where.any(axis=-1).all()
    assert masked.x.ctypes.data % 64 == 0


def test_records_round_trip(suite):
    """What is read is what was written, to five digits."""
    records = suite("records")
    place = ("kernels", "softmax, float32", "4096 x 1000", 2)
    found = [
        records.Record(*place, "fastsm", "in place", "ns", 123.45, 130.0),
        records.Record(*place, "torch", "", "ns", None, None, 'it said "no",\nand <more>'.replace("\n", " ")),
        records.Record("footprint", "installed", "", 1, "numpy", "", "MB", 71.4),
    ]
    about = {"cpu": "Made: up, 2 GHz", "date": "2026-01-01"}
    assert records.read(records.write(found, about)) == (found, about)


@pytest.mark.slow
def test_run(suite, tmp_path):
    """As it is started by hand: every suite, quickly, into a file."""
    file = tmp_path / "results.csv"
    # Tests may run with PYTHONSAFEPATH, without the script's folder.
    paths = os.pathsep.join([str(RUN.parent), str(PACKAGE.parent)])
    command = [sys.executable, str(RUN), "all", "--quick", "--rounds=1", "--only=numpy", f"--csv={file}"]
    done = subprocess.run(
        command, env=environment(PYTHONPATH=paths), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found, about = suite("records").read(file.read_text())
    assert {record.suite for record in found} == {"kernels", "training", "inference", "footprint"}
    assert about["fastsm"].startswith(fastsm.__version__)
    assert "numpy " in about["versions"]
    assert {record.candidate for record in found} == {"fastsm", "numpy", "numpy out=", "limit"}
    assert all(record.best > 0 and not record.note for record in found)


def test_footprint_follows_requirements(suite):
    """fastsm needs NumPy and nothing else, and its own part is small."""
    footprint = suite("footprint")
    assert footprint.closure("fastsm") == ["fastsm", "numpy"]
    assert 100_000 < footprint.size("fastsm") < 20_000_000
