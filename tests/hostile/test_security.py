"""The promises of SECURITY.md: each names its tests, and those without another place are here."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PROGRAMS, environment

import fastsm

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "SECURITY.md"
PACKAGE = Path(fastsm.__file__).parent


def promises():
    """Return the rows of the table: a promise and the names of its tests."""
    if not PAGE.exists():
        pytest.skip("SECURITY.md is not here")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [(promise, re.findall(r"`(\w+)`", tests)) for promise, tests in rows if "`" in tests]


def test_each_promise_has_a_test():
    """Every test that SECURITY.md names exists."""
    found = {
        node.name
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    rows = promises()
    assert len(rows) > 20
    for promise, tests in rows:
        assert tests, promise
        assert set(tests) <= found, (promise, set(tests) - found)
        assert all(name.startswith("test_") for name in tests), promise


FORBIDDEN = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "yaml",
    "code",
    "codeop",
    "subprocess",
    "multiprocessing",
}


def test_no_file_runs_code():
    """The package imports no module and calls no function that could run code from files."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").partition(".")[0]}
            else:
                names = set()
            assert not names & FORBIDDEN, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in (
                    "eval",
                    "exec",
                    "compile",
                    "os.system",
                    "os.popen",
                    "os.fork",
                    "os.forkpty",
                    "ast.literal_eval",
                ), path
                assert not called.startswith(("os.exec", "os.spawn", "os.posix_spawn")), path
                if called in ("np.load", "np.lib.format.read_array"):
                    assert "allow_pickle=False" in ast.unparse(node), path


def watched(folder, *arguments):
    """Run the command; return its exit code, the paths it wrote to, and its sockets and processes."""
    result = subprocess.run(
        [sys.executable, "-P", "-B", str(PROGRAMS / "watched.py"), *map(str, arguments)],
        cwd=folder,
        env=environment(HOME=str(folder), XDG_CACHE_HOME=str(folder / "cache")),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = result.stdout.splitlines()
    start = max(i for i, line in enumerate(lines) if line.isdecimal())
    # Python's module platform asks the system what processor it has by a program.
    mine = [line for line in lines[start + 1 :] if line != os.devnull and "['uname'," not in line]
    return int(lines[start]), [Path(line) for line in mine]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a folder, and the exit code and events of a training in it."""
    folder = tmp_path_factory.mktemp("home")
    return folder, *watched(folder, "train", "--epochs", 1, "--no-plots", "--out", "run")


def test_no_network_unless_asked(run):
    """Training on local data opens no socket, nor does a missing set with --no-download."""
    folder, code, seen = run
    assert (code, [event for event in seen if "socket" in event.name]) == (0, [])
    code, seen = watched(folder, "train", "--data", "kmnist", "--no-download", "--out", "other")
    assert (code, seen) == (3, [])


def test_command_writes_to_its_folder(run):
    """Nothing is written elsewhere, no socket is opened and no process started."""
    folder, code, seen = run
    assert code == 0
    assert seen
    assert {path for path in seen if not path.is_relative_to(folder / "run")} == set()
    for arguments in (["evaluate", "run"], ["info", "run"]):
        assert watched(folder, *arguments) == (0, [])
