"""``fastsm bench``: from the command to the processes that measure, and what becomes of them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from processes import PACKAGE, command, environment, fail, run, succeed

import fastsm
from fastsm._bench import PARTS, SCHEMA, machine
from fastsm._bench import __main__ as child
from fastsm._command import main

QUICK = ("bench", "kernels", "--quick", "--rounds", "1")


def test_quick_run(tmp_path):
    """It prints a table, writes the document, and tells what it is doing."""
    file = tmp_path / "result.json"
    code, output, errors = run(*QUICK, "--against", "numpy", "--json", file)
    assert code == 0, errors
    assert "softmax, float32" in output
    assert "geometric mean" in output
    assert "softmax float32 256x1000" in errors
    document = json.loads(file.read_text())
    assert set(document) == {
        "schema", "fastsm", "date", "quick", "machine", "versions", "missing", "failed", "kernels",
    }  # fmt: skip
    assert (document["schema"], document["quick"], document["failed"]) == (SCHEMA, True, {})
    assert document["fastsm"] == fastsm.__version__
    assert document["machine"]["instruction_set"] in ("baseline", "avx2", "avx512")
    assert document["machine"]["cores"] >= 1
    assert {cell["threads"] for cell in document["kernels"]} == {1}
    assert os.listdir(tmp_path) == ["result.json"]


def test_quiet():
    """Then the standard error is empty."""
    code, output, errors = run(*QUICK, "--against", "none", "--quiet")
    assert (code, errors) == (0, "")
    assert "numpy out=" not in output


@pytest.mark.slow
def test_all_parts(tmp_path):
    """Quickly, against NumPy: every part is in the document, and every table is printed."""
    file = tmp_path / "result.json"
    started = time.perf_counter()
    output = succeed("bench", "--quick", "--against", "numpy", "--json", file, "--plot", tmp_path / "plots")
    assert time.perf_counter() - started < 60
    document = json.loads(file.read_text())
    assert {*PARTS, "inference"} <= set(document)
    assert document["failed"] == {}
    assert all(word in output for word in ("cross_entropy_with_grad", "784-128-10", "import"))
    assert list((tmp_path / "plots").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("kernel", "PART must be one of kernels, training, footprint, all, got 'kernel'"),
        ("kernels --against torhc", "(did you mean torch?)"),
        ("kernels --against ,", "--against must be names out of numpy, "),
        ("kernels --threads 0", "--threads must be counts of threads such as 1 or 1,2, got '0'"),
        ("kernels --threads 1,x", "--threads must be counts of threads"),
        ("kernels --threads 100000", "--threads must be at most "),
        ("kernels --rounds 0", "--rounds must be an integer of at least 1"),
    ],
)
def test_wrong_calls(arguments, message):
    """One line says what is wrong, before anything is measured."""
    assert message in fail(2, "bench", *arguments.split())


def test_places_are_checked_first(tmp_path):
    """A result that could not be written is found out before it is measured."""
    assert "--json must be a file in a folder that is there" in fail(
        1, *QUICK, "--json", tmp_path / "no" / "a"
    )
    assert "--json must be" in fail(1, *QUICK, "--json", tmp_path)
    (tmp_path / "file").touch()
    assert "file" in fail(1, *QUICK, "--plot", tmp_path / "file")


def test_help_teaches(capsys):
    """What the parts are, how to read the tables, examples."""
    assert main(["bench", "--help"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("usage: fastsm bench")
    assert all(f"  {part} " in output for part in (*PARTS, "all"))
    assert "examples:" in output
    assert "torch.compile" in output
    assert max(map(len, output.splitlines())) <= 110


# ---- the processes


@pytest.fixture
def library(tmp_path):
    """Put a library of the name scipy in front of the real one, and return its variables."""

    def make(code):
        (tmp_path / "scipy").mkdir()
        (tmp_path / "scipy" / "__init__.py").write_text(code)
        return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])}

    return make


def test_library_that_prints(library):
    """What it prints does not get into the result, and that it is no use is said."""
    variables = library("print('hello'); import os; os.write(1, b'hello'); raise ImportError('out of order')")
    code, output, errors = run(*QUICK, "--against", "scipy", **variables)
    assert code == 0, errors
    assert "not installed: scipy" in output
    assert "hello" in errors
    assert "hello" not in output


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os, sys; print('dying', file=sys.stderr); sys.stderr.flush(); os._exit(3)", "dying"),
        pytest.param(
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "ended by SIGKILL",
            marks=pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
        ),
    ],
)
def test_library_that_crashes(library, tmp_path, code, why):
    """It takes its process along, not the others: there is a document, which has the reason, and an error."""
    file = tmp_path / "result.json"
    ended, _, errors = run(*QUICK, "--against", "scipy", "--json", file, **library(code))
    assert ended == 1
    assert f"fastsm bench: error: not everything could be measured: kernels, 1 thread: {why}" in errors
    assert json.loads(file.read_text())["failed"] == {"kernels, 1 thread": why}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_interrupted(library, tmp_path):
    """Ctrl-C ends the processes that measure too, and what these have started."""
    variables = library(
        "import os, subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"with open({str(tmp_path / 'pids.tmp')!r}, 'w') as file: print(os.getpid(), other.pid, file=file)\n"
        f"os.rename({str(tmp_path / 'pids.tmp')!r}, {str(tmp_path / 'pids')!r})\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        command(*QUICK, "--against", "scipy"),
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pids = tmp_path / "pids"
    _wait(lambda: pids.exists() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert errors.endswith("fastsm bench: error: interrupted\n")
    for pid in map(int, pids.read_text().split()):
        _wait(lambda pid=pid: not _runs(pid))


def _wait(condition):
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited for 30 seconds")


def _runs(pid):
    """Whether a process runs: one that waits for its parent's notice does not."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_limits_on_threads():
    """They are in the environment before NumPy is imported, and the process keeps to as many cores."""
    limits = machine.environment(2)
    assert {limits[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FASTSM_NUM_THREADS")} == {
        "2"
    }
    code = "from fastsm._bench import machine; machine.bind_to_cores(1); print(machine.usable_cores())"
    python = [sys.executable, "-P", "-c", code]
    result = subprocess.run(python, env=environment(), capture_output=True, text=True, check=True)
    assert int(result.stdout) == (1 if hasattr(os, "sched_setaffinity") else machine.usable_cores())


def test_child_needs_a_part(capsys):
    """It is no command for people, but says what it takes."""
    with pytest.raises(SystemExit):
        child.main([])
    assert "--part" in capsys.readouterr().err
