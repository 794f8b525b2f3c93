"""Python and the command in a new process, with the fastsm that the tests import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastsm

PACKAGE = Path(fastsm.__file__).parent
PROGRAMS = Path(__file__).parent / "programs"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def environment(**variables):
    """Return the environment with only these settings of fastsm."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FASTSM_")}
    for name in ("NO_COLOR", "MPLBACKEND", "FORCE_COLOR"):
        ours.pop(name, None)
    return {**ours, "PYTHONPATH": str(PACKAGE.parent), "COLUMNS": "100", **variables}


def command(*arguments):
    """Return the words that start the command."""
    return [sys.executable, "-P", "-m", "fastsm", *map(str, arguments)]


def run(*arguments, cwd=None, **variables):
    """Run the command; return (exit code, stdout, stderr)."""
    result = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


def succeed(*arguments, cwd=None, **variables):
    """Run the command, which must succeed; return its output."""
    code, output, errors = run(*arguments, cwd=cwd, **variables)
    assert (code, "Traceback" in errors) == (0, False), errors
    return output


def fail(code, *arguments, cwd=None, **variables):
    """Run the command, which must fail with this code and one line; return the line."""
    got, _, errors = run(*arguments, cwd=cwd, **variables)
    assert (got, errors.count("\n")) == (code, 1), errors
    assert errors.startswith("fastsm")
    return errors.rstrip("\n")


def objects(text):
    """Return the JSON objects of a text, one a line; refuse NaN and infinities."""

    def refuse(constant):
        raise AssertionError(constant)

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def python(*arguments, **environment):
    """Run Python with this fastsm and the modules of `programs/`; return (exit code, stdout, stderr)."""
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{PACKAGE.parent}{os.pathsep}{PROGRAMS}", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


def run_python(code, *options, **environment):
    """Run code in a new interpreter that imports this fastsm, and return its output.

    It must exit with 0 within two minutes and write nothing to stderr.
    """
    exit_code, output, errors = python(*options, "-c", code, **environment)
    assert (exit_code, errors) == (0, "")
    return output


def run_program(name, *arguments, **environment):
    """Run a file of `programs/` as `run_python` runs code."""
    exit_code, output, errors = python(PROGRAMS / name, *arguments, **environment)
    assert (exit_code, errors) == (0, "")
    return output
