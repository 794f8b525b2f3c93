"""Run the pages of prose: every block of Python, and every block of shell that calls the command.

A block of Python (```python) is plain code, or `>>>` with results; all of a page share a namespace. In a
block of shell (```console) each line that begins with `$ ` is run; the output must be the lines below it, and
a command with no such lines must succeed. Pages may leave out parts as `...`. Blocks without the command, and
those that install something (pip, make, git), are not run.
"""

import doctest
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from extras import missing
from processes import environment

import fastsm

pytest.importorskip("sybil")
from sybil import Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("README.md", "docs/*.md", "docs/use/*.md", "docs/internals/*.md")
    for path in ROOT.glob(pattern)
    if "python\n" in path.read_text("utf-8") or "console\n" in path.read_text("utf-8")
)
CALL = re.compile(r"(\w+=\S* )*(python -m )?fastsm ")
INSTALLS = re.compile(r"(sudo )?(pip|make|git|apt-get|cd) ")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# In the shell of a page these are the interpreter and the package of the tests.
SHELL = f"""
python() {{ '{sys.executable}' -P "$@"; }}
fastsm() {{ python -m fastsm "$@"; }}
(exit %d)
%s
"""


def commands(block):
    """Return the commands of a block of shell, and the output that is shown below each."""
    found = re.split(r"^\$ ((?:.*\\\n)*.*)\n?", block, flags=re.MULTILINE)
    assert not found[0].strip(), f"a block of shell must begin with `$ `, got {found[0]!r}"
    return zip(found[1::2], found[2::2], strict=True)


def run_shell(example):
    """Run a block of shell; return its faults."""
    lines = list(commands(example.parsed))
    if not any(CALL.match(line) for line, _ in lines) or any(INSTALLS.match(line) for line, _ in lines):
        return None
    code = 0
    for line, shown in lines:
        result = subprocess.run(
            ["sh", "-c", SHELL % (code, line)],
            env=environment(COLUMNS="90", FASTSM_PLOTS="0"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        code = result.returncode
        expected = shown.rstrip("\n") + "\n"
        if shown.strip() and not doctest.OutputChecker().check_output(expected, result.stdout, OPTIONS):
            return f"$ {line}\nshown:\n{expected}\nprinted:\n{result.stdout}"
        if not shown.strip() and code:
            return f"$ {line}\nreturned {code}:\n{result.stdout}"
    return None


PARSERS = [PythonCodeBlockParser(doctest_optionflags=OPTIONS)]
# Accuracies are printed to two digits, and another kind of processor may round its way to others.
if shutil.which("sh") and platform.machine() in ("x86_64", "AMD64"):
    PARSERS.append(CodeBlockParser(language="console", evaluator=run_shell))


@pytest.fixture
def as_it_was(tmp_path, monkeypatch):
    """Work in an empty folder, and restore what a page may set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTSM_DATA", raising=False)
    threads = fastsm.get_num_threads()
    with np.printoptions():
        yield
    fastsm.set_num_threads(threads)


@pytest.mark.skipif(not PAGES, reason="no source tree")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_page(path, as_it_was):
    """The code of a page runs and gives the results shown."""
    for name in missing(path.read_text("utf-8")):
        pytest.skip(f"needs {name}")
    document = Sybil(parsers=PARSERS, encoding="utf-8").parse(path)
    examples = list(document.examples())
    assert examples
    for example in examples:
        example.evaluate()
