"""Python and the command in a new process, with the fastsm that the tests import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastsm

PACKAGE = Path(fastsm.__file__).parent
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def environment(**variables):
    """Return an environment without settings of fastsm but these."""
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
    """Return the JSON objects of a text with one a line; NaN and infinities are no JSON."""

    def refuse(constant):
        raise AssertionError(constant)

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def run_python(code, *options, **environment):
    """Run code in a new interpreter that imports this fastsm, and return what it wrote to stdout.

    It must exit with 0, without a word on stderr, and soon (what hangs, hangs for ever).
    """
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", *options, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout
