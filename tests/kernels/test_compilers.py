"""Every installed compiler compiles the headers of src/ without a warning, for other systems too.

Each compiles every_function.c, which calls all of their functions: for each instruction set that setup.py
builds for, and with vectors of one lane, as compilers without GCC's vector extensions get them.
"""

import ast
import functools
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SOURCES = TESTS.parents[1] / "src"
SETUP = TESTS.parents[1] / "setup.py"
PROGRAM = TESTS / "every_function.c"

pytestmark = pytest.mark.skipif(not SOURCES.is_dir() or not SETUP.is_file(), reason="no source tree")

MACHINE = platform.machine().lower()
MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(MACHINE, MACHINE)
NUMBERED = [name for name in (f"clang-{number}" for number in range(14, 40)) if shutil.which(name)]
# name: its targets
COMPILERS = {
    **dict.fromkeys(("gcc", "clang", *NUMBERED, "musl-gcc"), MACHINE),
    "x86_64-w64-mingw32-gcc": "x86_64",
    "aarch64-linux-gnu-gcc": "aarch64",
    "s390x-linux-gnu-gcc": "s390x",
}
# For these, Clang uses the headers in stubs/ instead of theirs.
TARGETS = (
    "x86_64-pc-windows-msvc",
    "aarch64-pc-windows-msvc",
    "arm64-apple-macos11",
    "s390x-linux-gnu",
    "riscv64-linux-gnu",
)
CLANGS = ("clang", *NUMBERED)


def variants(target: str) -> list[str]:
    """Return the variants for a target: the instruction sets, and vectors of one lane."""
    more = ("baseline with FMA", "avx2", "avx512") if target.startswith("x86_64") else ()
    return ["baseline", *more, "one-lane"]


@functools.cache
def flags() -> dict[str, list[str]]:
    """Return the flags of setup.py for each variant: its ISA_FLAGS."""
    found: dict[str, list[str]] = {"baseline": [], "baseline with FMA": ["-mfma"]}
    found["one-lane"] = ["-DFASTSM_ONE_LANE"]
    for node in ast.walk(ast.parse(SETUP.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("ISA_FLAGS["):
            name = ast.literal_eval(node.targets[0].slice)
            found[name] = re.findall(r"'(-m[^']+)'", ast.unparse(node.value))
    return found


def compiles(compiler: str, variant: str, *arguments: str) -> None:
    """Check that a compiler compiles every function without a warning; skip the test if it is missing."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    warnings = ("-Wall", "-Wextra", "-Werror", "-Wno-psabi")
    command = [compiler, *warnings, "-ffp-contract=off", *flags()[variant], *arguments, f"-I{SOURCES}"]
    result = subprocess.run([*command, str(PROGRAM)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_flags_are_those_of_setup():
    """The flags are found in setup.py."""
    assert list(flags()) == ["baseline", "baseline with FMA", "one-lane", "avx2", "avx512"]
    assert flags()["avx2"] == ["-mavx2", "-mfma"]
    assert {"-mavx512f", "-mfma", "-mprefer-vector-width=512"} <= set(flags()["avx512"])


def test_every_function_is_called():
    """The program calls all functions and function-like macros of the headers."""
    offered = set(re.findall(r"^#define ([a-z]\w*)\(", (SOURCES / "simd.h").read_text(), re.MULTILINE))
    for name in ("cpu.h", "halves.h", "threads.h"):
        offered |= set(re.findall(r"^static inline \w+ (\w+)\(", (SOURCES / name).read_text(), re.MULTILINE))
    offered -= {"bits_of", "float_of"}  # called only by other functions
    assert len(offered) > 45
    called = set(re.findall(r"\b(\w+)\(", PROGRAM.read_text()))
    assert offered - called == set()


@pytest.mark.parametrize(
    ("compiler", "variant"), [(name, kind) for name, target in COMPILERS.items() for kind in variants(target)]
)
def test_compiler(compiler, variant, tmp_path):
    """Each compiler compiles everything, optimised, as some warnings need optimisation."""
    compiles(compiler, variant, "-O2", "-c", "-o", str(tmp_path / "every_function.o"))


@pytest.mark.parametrize(
    ("target", "variant"), [(target, kind) for target in TARGETS for kind in variants(target)]
)
def test_system(target, variant):
    """The newest installed Clang compiles everything for another system."""
    compiler = next((name for name in reversed(CLANGS) if shutil.which(name)), "clang")
    stubs = str(TESTS / "stubs")
    compiles(compiler, variant, f"--target={target}", "-fsyntax-only", "-ffreestanding", "-isystem", stubs)
