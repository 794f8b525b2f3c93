"""The pages that add an activation, applied to a copy of the repository, which is built and tested."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "internals" / f"adding_a_{what}.md" for what in ("kernel", "layer")]
COPIED = ("fastsm", "src", "tests", "docs/reference", "setup.py", "pyproject.toml", "README.md", "LICENSE")
TESTED = [
    "tests/kernels/test_activations.py",
    "tests/nn/test_layers.py",
    "tests/project/test_reference_pages.py",
]
pytestmark = pytest.mark.skipif(not PAGES[0].exists(), reason="the pages are not here")


def hunks():
    """Return (file, old text, new text) for each hunk; `@@ file` begins one, as does `@@` alone."""
    found, file = [], None
    for page in PAGES:
        for block in re.findall(r"^```diff\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            for name, lines in re.findall(r"^@@ ?(.*)\n((?:[-+ ].*\n|\n)+)", block, re.MULTILINE):
                file = name or file
                parts = [(line[:1] or " ", line[1:] + "\n") for line in lines.splitlines()]
                old, new = ("".join(text for sign, text in parts if sign != other) for other in "+-")
                found.append((file, old, new))
    return found


def test_an_activation_takes_four_files():
    """A hunk is at exactly one place of its file, as it stands today."""
    assert len({file for file, *_ in hunks()}) <= 4
    for file, old, _ in hunks():
        assert (ROOT / file).read_text("utf-8").count(old) == 1, f"{file}: {old}"


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("clang")), reason="needs a compiler")
def test_adding_an_activation(tmp_path):
    """With the changes of the pages softplus is built, known by name everywhere, and tested."""
    pytest.importorskip("Cython")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (tmp_path / name).parent.mkdir(exist_ok=True)
        options = {"ignore": shutil.ignore_patterns("*.so", "__pycache__")} if copy is shutil.copytree else {}
        copy(ROOT / name, tmp_path / name, **options)
    for file, old, new in hunks():
        path = tmp_path / file
        path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")

    def run(*arguments):
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "FASTSM_SANITIZE": "checks"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run("setup.py", "--quiet", "build_ext", "--inplace")
    assert "softplus" in run("-P", "-m", "fastsm", "train", "--help")
    run("-P", "-c", "from fastsm import nn; nn.MLP([2, 3, 1], activation='softplus')([[1.0, 2.0]])")
    tested = run("-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTED, "-k", "softplus or reference")
    assert int(re.search(r"(\d+) passed", tested)[1]) > 50
