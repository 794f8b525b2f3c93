"""The footprint: working in place allocates nothing, and what is reported is what is there."""

import json
import sys

import pytest

from fastsm._bench import Settings, footprint
from fastsm._bench.footprint import calls, children, imports, installed, memory
from fastsm._bench.footprint.tables import EMPTY

MEGABYTES = 20
LINUX = sys.platform == "linux"


# ---- memory


@pytest.mark.parametrize("what", memory.IN_PLACE)
def test_working_in_place_allocates_nothing(what):
    """The most that Python and NumPy allocate during the call is under a hundredth of the data."""
    found = memory.call_mb(what, "fastsm", MEGABYTES)
    assert found["in_place"]
    assert found["data_mb"] == pytest.approx(MEGABYTES)
    assert found["tracemalloc_mb"] < 0.01 * MEGABYTES


@pytest.mark.parametrize("what", memory.CONTRAST)
def test_what_is_allocated_is_seen(what):
    """The witness is no blind one."""
    found = memory.call_mb(what, memory.CONTRAST[what], MEGABYTES)
    assert not found["in_place"]
    assert found["tracemalloc_mb"] > 0.99 * MEGABYTES


@pytest.mark.skipif(not LINUX, reason="the peak of resident memory is known for sure on Linux")
@pytest.mark.parametrize(("what", "least", "most"), [("softmax(x, out=x)", 0, 1), ("softmax(x)", 38, 42)])
def test_the_peak_of_resident_memory(what, least, most):
    """The second witness agrees, in a process of its own."""
    (found,) = memory._in_new_process("call_mb", what, "fastsm", 40)
    assert least <= found["mb"] <= most


def test_a_process_that_fails_is_left_out(capfd):
    """It is told, and the others' figures survive."""
    assert memory._in_new_process("training_mb", "no such library", True, 1) == []
    assert "KeyError: 'no such library'" in capfd.readouterr().err


def test_the_peak_of_training():
    """The data are in it, and what it needs beside them is moderate."""
    (found,) = memory._in_new_process("training_mb", "fastsm", True, 1)
    assert found["what"] == "training 784-128-10 relu, batches of 128, 6,000 rows"
    assert found["data_mb"] == pytest.approx(4.704)
    if LINUX:
        assert found["data_mb"] < found["mb"] < 200


# ---- imports


def test_imports():
    """fastsm alone, fastsm for training, and those that are asked for."""
    found = imports.measure(Settings(rounds=1, against=("numpy",)))
    assert [one["candidate"] for one in found] == ["fastsm", "fastsm (fit, nn, optim)", "numpy"]
    assert all(one["ms"] > 0 for one in found)
    assert [one["after_numpy_ms"] is not None for one in found] == [True, True, False]


def test_a_library_that_cannot_be_imported_is_left_out(monkeypatch, tmp_path):
    """It is there, and raises."""
    (tmp_path / "broken_library.py").write_text("raise OSError('no such file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "MODULES", {"broken": "broken_library", "absent": "no_such_library"})
    found = imports.measure(Settings(rounds=1))
    assert [one["candidate"] for one in found] == ["fastsm", "fastsm (fit, nn, optim)"]


def test_children_say_why_they_fail():
    """The last line of their standard error is the reason."""
    assert children.output_of("-c", "print(1 + 1)") == "2\n"
    with pytest.raises(RuntimeError, match=r"^ValueError: so it is$"):
        children.output_of("-c", "raise ValueError('so it is')")
    with pytest.raises(RuntimeError, match=r"^exit code 3$"):
        children.output_of("-c", "raise SystemExit(3)")


# ---- space on the disk


@pytest.fixture
def distributions(monkeypatch, tmp_path):
    """Make distributions: each has one module of some bytes, and its metadata."""

    def make(name, size, *requirements):
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (tmp_path / f"{folder.name}.py").write_bytes(b"#" * size)
        required = "".join(f"Requires-Dist: {one}\n" for one in requirements)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{required}")
        (folder / "RECORD").write_text(f"{folder.name}.py,,\nremoved.py,,\n")

    monkeypatch.syspath_prepend(tmp_path)
    return make


def test_requirements_are_followed(distributions):
    """Directly or not, in circles too, once each; not those of extras, nor those that are not installed."""
    distributions(
        "made-up-a", 100, "Made_Up.B>=1 ; python_version > '3'", "made-up-d; extra == 'all'", "absent-x"
    )
    distributions("made-up-b", 20, "made-up-c[fast] (<3)", "made-up-a")
    distributions("made-up-c", 3)
    distributions("made-up-d", 1000)
    assert installed.closure("made-up-a") == ["made-up-a", "made-up-b", "made-up-c"]
    assert [installed.size(name) for name in installed.closure("made-up-a")] == [100, 20, 3]


def test_installed():
    """fastsm needs NumPy and nothing else, and its own part is small."""
    found = {one["candidate"]: one for one in installed.measure(Settings(against=("numpy",)))}
    assert set(found) == {"fastsm", "numpy"}
    ours = found["fastsm"]
    assert set(ours["packages"]) == {"fastsm", "numpy"}
    assert (
        ours["bytes"]
        == sum(ours["packages"].values())
        == ours["packages"]["fastsm"] + found["numpy"]["bytes"]
    )
    assert 500_000 < ours["packages"]["fastsm"] < 10_000_000


# ---- the whole


def test_calls():
    """The timing loop's own time comes first, and every public function has a line."""
    import fastsm

    found = calls.measure(Settings(rounds=1))
    assert found[0]["candidate"] == EMPTY
    functions = {one["candidate"].partition("(")[0] for one in found}
    public = {name for name in fastsm.__all__ if "softmax" in name or "cross_entropy" in name}
    assert public - {"linear_cross_entropy", "linear_cross_entropy_with_grad"} <= functions  # no small calls


def test_the_document(monkeypatch):
    """A quick run has all four keys, and a table of each."""
    monkeypatch.setattr(memory, "QUICK_MEGABYTES", 4)
    told = []
    settings = Settings(quick=True, rounds=1, against=())
    found = json.loads(json.dumps(footprint.measure(settings, told.append)))
    assert set(found["footprint"]) == {"imports", "installed", "memory", "calls"}
    assert len(told) == 4
    # Contrast with NumPy was not asked for.
    assert {one["candidate"] for one in found["footprint"]["memory"]} == {"fastsm"}
    text = footprint.tables(found)
    titles = [part.partition(":")[0] for part in text.split("\n\n")]
    assert titles == [
        "Import",
        "Installed with all that it needs",
        "Memory of a call beyond its arguments",
        "Peak memory of training",
        "One call on one row of 10, float32",
    ]


def test_tables_mark_what_is_not_in_place():
    """A call in place that takes a hundredth of its data or more."""
    entry = {"what": "softmax(x, out=x)", "candidate": "fastsm", "in_place": True, "data_mb": 400.0}
    good, bad = entry | {"tracemalloc_mb": 0.1, "mb": None}, entry | {"tracemalloc_mb": 0.1, "mb": 4.1}
    lines = footprint.tables({"footprint": {"memory": [good, bad]}}).splitlines()
    assert lines[2].split()[-2:] == ["400", "0.10"]
    assert lines[3].endswith("4.10  NOT IN PLACE")
    assert footprint.tables({}) == ""
