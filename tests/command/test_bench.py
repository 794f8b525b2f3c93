"""``fastsm bench``: the tables, the objects for programs, and whom it believes."""

import json
import os

import numpy as np
import pytest
from processes import PACKAGE, fail, run

import fastsm
from fastsm._command import _libraries, bench, main


def test_tables():
    """A table for each operation, 80 columns wide, with NumPy's ratios; nothing on the standard error."""
    code, output, errors = run("bench", "--rounds", "1")
    assert (code, errors) == (0, "")
    assert output.startswith(f"fastsm {fastsm.__version__}, numpy {np.__version__}")
    assert max(map(len, output.splitlines())) <= 80
    for operation in bench.OPERATIONS:
        heading, *rows = output.partition(f"\n{operation} ")[2].splitlines()
        assert heading.split()[:2] == ["fastsm", "numpy"]
        for (n, classes), row in zip(bench.SHAPES, rows, strict=False):
            assert row.startswith(f"{n} x {classes} ")
            assert "x" in row.split()[5]


def test_objects():
    """With --json an object for each shape; the first one says what was measured."""
    code, output, _ = run("bench", "--rounds", "1", "--json", "--dtype", "float64", "--threads", "1")
    assert code == 0
    about, *cells = map(json.loads, output.splitlines())
    assert about["versions"]["numpy"] == np.__version__
    assert (about["dtype"], about["threads"]) == ("float64", 1)
    assert len(cells) == len(bench.OPERATIONS) * len(bench.SHAPES)
    for cell in cells:
        assert {"fastsm", "numpy"} <= set(cell["seconds"])
        assert all(0 < seconds < 10 for seconds in cell["seconds"].values())
        assert cell["rejected"] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--threads 0", "--threads must be an integer of at least 1, got '0'"),
        ("--rounds x", "--rounds must be an integer of at least 1, got 'x'"),
        ("--dtype float16", "--dtype must be one of float32, float64"),
        ("kernels", "unrecognized arguments: kernels (see fastsm bench --help)"),
    ],
)
def test_wrong_calls(arguments, message):
    """One line says what is wrong, before anything is measured."""
    assert message in fail(2, "bench", *arguments.split())


def test_help_teaches(capsys):
    """How to read the tables, and examples."""
    assert main(["bench", "--help"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("usage: fastsm bench")
    assert "how to read the tables:" in output
    assert "examples:" in output
    assert max(map(len, output.splitlines())) <= 110


def test_broken_library(tmp_path):
    """One that cannot be imported is named, and the others are measured."""
    (tmp_path / "scipy.py").write_text("raise OSError('out of order')")
    paths = os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])
    code, output, _ = run("bench", "--rounds", "1", PYTHONPATH=paths)
    assert code == 0
    assert "without scipy: OSError: out of order" in output


def replace(monkeypatch, name, function):
    """Let a library compute softmax by a function of our own, and nothing else."""
    library = lambda threads, dtype: ("0", {"softmax": lambda x: lambda: function(x)})  # noqa: E731
    monkeypatch.setitem(_libraries.LIBRARIES, name, library)
    monkeypatch.setattr(bench, "OPERATIONS", ("softmax",))
    monkeypatch.setattr(bench, "SHAPES", ((4, 5),))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: fastsm.softmax(x) * 1.01, "its result differs by up to 0.00"),
        (lambda x: fastsm.softmax(x) * np.nan, "its result differs by up to nan"),
        (lambda x: fastsm.softmax(x).T, "it returns the shape (5, 4), not (4, 5)"),
        (lambda x: 1 / (len(x) - 4), "ZeroDivisionError: division by zero"),
    ],
)
def test_who_is_wrong_is_not_timed(monkeypatch, capsys, function, why):
    """It is named, with the reason."""
    replace(monkeypatch, "numpy", function)
    assert main(["bench", "--rounds", "1"]) == 0
    output = capsys.readouterr().out
    assert f"not timed: numpy, 4 x 5: {why}" in output


def test_fastsm_that_is_wrong_is_an_error(monkeypatch, capsys):
    """Nothing is worth measuring then."""
    replace(monkeypatch, "fastsm", lambda x: x)
    assert main(["bench", "--rounds", "1"]) == 1
    assert "softmax, 4 x 5: fastsm is wrong: its result differs" in capsys.readouterr().err


def test_number_of_threads_is_given_back(monkeypatch, capsys):
    """The command may be called by a program, which has a number of its own."""
    monkeypatch.setattr(bench, "OPERATIONS", ())
    before = fastsm.get_num_threads()
    assert main(["bench", "--threads", "3"]) == 0
    assert "3 threads" in " ".join(capsys.readouterr().out.split())
    assert fastsm.get_num_threads() == before


@pytest.mark.parametrize("name", list(_libraries.LIBRARIES))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_libraries_agree(name, dtype):
    """Each that is installed, in all that it does."""
    try:
        _, ways = _libraries.LIBRARIES[name](1, dtype)
    except ImportError as error:
        pytest.skip(str(error))
    for operation, way in ways.items():
        calls, rejected = bench._agreeing(operation, bench._arrays(operation, (7, 5), dtype), {name: way})
        assert (list(calls), rejected) == ([name], {})
