"""The benchmark of the kernels: what it measures, whom it believes, and what it says."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import fastsm.reference
from fastsm._bench import CANDIDATES, Settings, kernels, timing
from fastsm._bench.kernels import agreement, cells, peers, suite
from fastsm._bench.kernels.cells import Cell
from fastsm._bench.libraries import load

HALVES = [name for name in cells.HALF if name != "bfloat16" or importlib.util.find_spec("ml_dtypes")]
KINDS = [
    *((operation, dtype, axis, "usual") for operation in cells.OPERATIONS for dtype in cells.DTYPES
      for axis in (-1, 0)),
    *((operation, dtype, -1, "usual") for operation in ("softmax", "log_softmax") for dtype in HALVES),
    *((operation, "float32", -1, "wide") for operation in cells.OPERATIONS if not operation.endswith("_vjp")),
    *((operation, "float32", -1, "masked") for operation in ("softmax", "log_softmax")),
]  # fmt: skip


def small(operation, dtype="float32", axis=-1, logits="usual"):
    """Return a cell of 24 rows."""
    return Cell(operation, 24, 17, dtype, axis, logits)


def agreeing(cell, *names):
    """Return the calls of some libraries that agree, and who does not."""
    libraries = load(peers.__name__, peers.LIBRARIES, Settings(against=names))
    if names and set(libraries.missing) & set(names):
        pytest.skip(str(libraries.missing))
    rejected = {}
    calls = suite.agreeing(cell, suite.proposed(cell, libraries, rejected), rejected)
    return [call for call in calls if call.candidate != "sweep"], rejected


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: " ".join(map(str, kind)))
def test_ours_and_numpy_agree(kind):
    """Every way of calling fastsm and NumPy does every kind of cell."""
    calls, rejected = agreeing(small(*kind), "numpy")
    assert rejected == {}
    assert {call.candidate for call in calls} == {"fastsm", "numpy", "numpy out="}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CANDIDATES if not name.startswith("numpy")])
def test_others_agree(name):
    """Every library that is there agrees wherever it proposes something, and is asked for what it can."""
    proposed = 0
    for kind in KINDS:
        cell = small(*kind)
        calls, rejected = agreeing(cell, name)
        proposed += sum(call.candidate == name for call in calls)
        assert not rejected or (name, cell.dtype) == ("onnxruntime", "bfloat16"), (cell.label, rejected)
    assert proposed > 0


@pytest.mark.parametrize("operation", cells.OPERATIONS)
@pytest.mark.parametrize("axis", [-1, 0])
def test_reference(operation, axis):
    """It is that of fastsm.reference, which was written apart from it."""
    cell = small(operation, "float64", axis)
    function = getattr(fastsm.reference, operation)
    if operation.endswith("_vjp"):
        expected = function(getattr(cell, cell.saved), cell.dy, axis=axis)
    elif operation.startswith("cross_entropy"):
        expected = function(cell.x, cell.targets, axis=axis)
    else:
        expected = function(cell.x, axis=axis)
    assert agreement.disagreement(cell, expected, agreement.reference(cell)) is None


def test_disagreement():
    """Another operation is found out: the wrong axis, scale or shape, NaN, a missing mask."""
    cell = small("softmax")
    (expected,) = right = agreement.reference(cell)

    def verdict(got, cell=cell, right=right):
        return agreement.disagreement(cell, got, right)

    assert verdict(expected.astype(np.float32)) is None
    assert "times the tolerance" in verdict(expected * 1.001)
    assert "times the tolerance" in verdict(np.full_like(expected, np.nan))
    assert "shape (17, 24)" in verdict(expected.T)
    assert "2 results" in verdict((expected, expected))
    masked = small("log_softmax", logits="masked")
    right = agreement.reference(masked)
    assert verdict(right[0], masked, right) is None
    assert "infinite" in verdict(np.nan_to_num(right[0]), masked, right)
    with_grad = small("cross_entropy_with_grad")
    loss, grad = right = agreement.reference(with_grad)
    assert "tolerance" in verdict((loss, grad * with_grad.rows), with_grad, right)  # without 1/N


def test_who_computes_nothing_is_not_timed():
    """Outputs are spoiled before each call: the result of the one before does not count. Errors are told."""
    cell = small("softmax")

    def fail():
        raise RuntimeError("no such kernel\nat all")

    lazy = timing.Call("lazy", "nothing", lambda: cell.out)
    broken = timing.Call("broken", "call", fail)
    good, _ = agreeing(cell)
    rejected = {}
    assert suite.agreeing(cell, [*good, lazy, broken], rejected) == good
    assert "tolerance" in rejected["lazy (nothing)"]
    assert rejected["broken (call)"] == "RuntimeError: no such kernel"


def test_masked_rows():
    """Logits are -inf where they take no part, which is what peers are given; each row has one that does."""
    cell = small("softmax", logits="masked")
    assert np.array_equal(np.isneginf(cell.x), ~cell.where)
    assert cell.where.any(axis=-1).all()
    assert 0.5 < Cell("softmax", 100, 100, logits="masked").where.mean() < 0.8


def test_same_rows_on_another_axis():
    """They are the same rows, laid out as columns."""
    for name in ("x", "dy", "y"):
        assert np.array_equal(getattr(small("softmax", axis=0), name), getattr(small("softmax"), name).T)


def test_alignment():
    """Copies for the libraries whose arrays begin at multiples of 64 bytes do too, and are refilled."""
    cell = small("softmax")
    assert cell.aligned("x").ctypes.data % 64 == 0
    assert np.array_equal(cell.aligned("x"), cell.x)
    scratch = cell.aligned("scratch")
    scratch.fill(0)
    cell.refill()
    assert np.array_equal(scratch, cell.x)
    assert np.array_equal(cell.scratch, cell.x)


def test_chosen_cells():
    """All kinds are there; more threads only for large arrays; a quick run is small."""
    every = list(cells.chosen(quick=False, threads=1))
    labels = [cell.label for cell in every]
    assert len(set(labels)) == len(labels)
    main = [c for c in every if c.dtype in cells.DTYPES and c.axis == -1 and c.logits == "usual"]
    assert len(main) == len(cells.OPERATIONS) * len(cells.SHAPES) * len(cells.DTYPES)
    assert {c.dtype for c in every} == {*cells.DTYPES, *cells.HALF}
    assert {(c.axis, c.logits) for c in every} == {(-1, "usual"), (-1, "wide"), (-1, "masked"), (0, "usual")}
    shared = list(cells.chosen(quick=False, threads=2))
    assert shared
    assert all(cell.elements >= 1 << 18 for cell in shared)
    quick = list(cells.chosen(quick=True, threads=1))
    assert max(cell.elements for cell in quick) <= 256_000
    assert "bfloat16" not in {c.dtype for c in cells.chosen(False, 1, (*cells.DTYPES, "float16"))}


def test_interleave():
    """Inputs are restored for every block; of one candidate's ways the slow ones are dropped."""
    restored = []
    spin = [timing.Call(name, way, lambda n=n: sum(range(n))) for name, way, n in (
        ("a", "fast", 100), ("a", "slow", 2000), ("b", "only", 5000))]  # fmt: skip
    spin[0].restore = lambda: restored.append(1)
    fast, slow, only = timing.interleave(spin, 6)
    assert (len(fast.blocks), len(slow.blocks), len(only.blocks)) == (6, timing.TRIAL_ROUNDS, 6)
    assert len(restored) >= 2 * 6
    assert timing.fastest([fast, slow, only]) == {"a": fast, "b": only}
    assert fast.to_json()["best_ns"] == min(fast.blocks)
    limited = timing.Call("a", "in place", lambda: None, most_calls=2)
    assert timing.interleave([limited], 1)[0].calls <= 2


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (Settings(), {"numpy", "numpy out=", "torch", "torch.compile"}),
        (Settings(quick=True), {"numpy", "numpy out=", "torch"}),
        (Settings(against=("numpy",)), {"numpy", "numpy out="}),
        (Settings(against=("numpy out=",)), {"numpy out="}),
        (Settings(against=("torch",)), {"torch"}),
        (Settings(quick=True, against=("torch.compile",)), {"torch.compile"}),
        (Settings(against=()), set()),
    ],
)
def test_wants(settings, wanted):
    """Who is measured; fastsm and the limits always are."""
    names = ("numpy", "numpy out=", "torch", "torch.compile")
    assert {name for name in names if settings.wants(name)} == wanted
    assert all(settings.wants(name) for name in ("fastsm", "sweep", "products"))


def test_document():
    """A run gives the document's keys, which JSON can have, and says what cannot be timed."""
    told = []
    document = kernels.measure(Settings(quick=True, rounds=1, against=("numpy",)), told.append)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) == {"kernels", "versions", "missing"}
    assert document["versions"]["numpy"] == np.__version__
    assert len(told) == len(document["kernels"]) == 21
    for cell in document["kernels"]:
        assert cell["rejected"] == {}
        assert {"fastsm", "numpy", "numpy out=", "sweep"} == {t["candidate"] for t in cell["timings"]}
        assert all(0 < t["best_ns"] <= t["median_ns"] for t in cell["timings"])
    text = kernels.tables(document)
    assert all(f"{operation}, float32" in text for operation in cells.OPERATIONS)


# ---- what is said of made-up figures


def entry(operation="softmax", rows=4096, classes=1000, **others):
    """Return a cell of a document: times of candidates in nanoseconds."""
    times = others.pop("times")
    named = [(*name, ns) if isinstance(name, tuple) else (name, "out=", ns) for name, ns in times.items()]
    return {
        "operation": operation, "dtype": "float32", "rows": rows, "classes": classes, "axis": -1,
        "logits": "usual", "threads": 1, "rejected": {},
        "timings": [
            {"candidate": name, "variant": variant, "calls": 1, "rounds": 3, "best_ns": ns, "median_ns": ns}
            for name, variant, ns in named
        ],
        **others,
    }  # fmt: skip


def test_tables_mark_where_a_peer_wins():
    """The cell stays in its table, with the winner's name, and the overview counts it."""
    times = {"fastsm": 2e6, "numpy": 8e6, "torch": 1e6, "sweep": 5e5}
    rejected = {"jax (jit)": "differs by 9 times the tolerance"}
    lost = entry(times=times, rejected=rejected)
    won = entry(rows=256, times={"fastsm": 1e6, "numpy": 8e6, "torch": 3e6, "sweep": 5e5})
    text = kernels.tables({"kernels": [lost, won]})
    marked = [line for line in text.splitlines() if "TORCH WINS" in line]
    assert len(marked) == 1
    assert marked[0].split()[:3] == ["4,096", "x", "1,000"]
    assert "0.50" in marked[0]
    assert "a peer wins 1 of 2" in text
    assert "not timed: jax (jit): differs by 9 times the tolerance" in text
    share = text.split("as a fraction of each:")[1].splitlines()[2].split()
    assert share[3:] == ["0.25", "0.06", "0.50"]


def targets():
    """Return the script, where the tests lie beside it."""
    path = Path(__file__).parents[2] / "benchmarks" / "targets.py"
    if not path.is_file():
        pytest.skip("the script is not part of the package")
    spec = importlib.util.spec_from_file_location("targets", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["targets"] = module  # where its dataclass looks for itself
    spec.loader.exec_module(module)
    return module


def test_targets(tmp_path, capsys):
    """Each target is computed from the figures, and the exit status says whether all are met."""
    script = targets()
    times = {
        ("fastsm", "in place"): 1e6, ("fastsm", "out="): 2e6, "numpy": 8e6, "torch": 1.1e6, "sweep": 5e5,
    }  # fmt: skip
    cell = entry(times=times)
    other = {"timings": [{**t, "best_ns": 2 * t["best_ns"]} for t in cell["timings"]], "axis": 0}
    network = {"network": "784-128-10 relu", "batch_size": 128, "rejected": {}}
    one = entry(times={"fastsm": 1.1e9, "products": 1e9, "numpy": 1.4e9}, **network)
    two = entry(times={"fastsm": 0.5e9, "products": 1e9}, **network, threads=2)
    footprint = {
        "imports": [{"candidate": "fastsm", "ms": 180.0, "after_numpy_ms": 20.0}],
        "memory": [
            {"what": "softmax(x, out=x)", "candidate": "fastsm", "in_place": True, "data_mb": 100.0,
             "tracemalloc_mb": 0.5, "mb": None},
            {"what": "training 784-128-10", "candidate": "fastsm", "in_place": False, "data_mb": 47.0,
             "tracemalloc_mb": None, "mb": 90.0},
        ],
    }  # fmt: skip
    document = {"kernels": [cell, {**cell, **other}], "training": [one, two], "footprint": footprint}
    values = {check.target: (round(check.value, 3), check.met) for check in script.checks(document)}
    assert values == {
        "faster than the fastest peer": (1.1, True),
        "fastest peer over fastsm, float32 softmax and log_softmax, C >= 100: 1.2": (1.1, False),
        "plain NumPy over fastsm, float32 softmax: 4": (8.0, True),
        "fastest peer over fastsm, geometric mean": (1.1, False),
        "in place over a sweep, 4,096 x 1,000: 2.2": (2.0, True),
        "axis 0 over axis -1 of the transpose": (2.0, False),
        "an epoch over its products, batch 128": (1.1, True),
        "numpy's epoch over fastsm's: 1.5": (round(1.4 / 1.1, 3), False),
        "one thread's epoch over two threads': 1.7": (2.2, True),
        "import after NumPy: 15 ms": (20.0, False),
        "memory of working in place over the data: 0.01": (0.005, True),
        "peak of training: 120 MB": (90.0, True),
    }
    file = tmp_path / "results.json"
    file.write_text(json.dumps(document))
    assert script.main([str(file)]) == 1
    output = capsys.readouterr().out
    assert "1 of   1  faster than the fastest peer" in output
    assert "axis 0 over axis -1 of the transpose: softmax float32 4,096 x 1,000: 2.00, not <= 1.5" in output
    file.write_text("{}")
    assert script.main([str(file)]) == 0
    assert not math.isnan(sum(value for value, _ in values.values()))
