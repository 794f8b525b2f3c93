"""The compiled kernels: their instructions, and that their bits do not depend on the compiler.

Kernels state which operations are rounded together: `multiply_add` and `subtract_product` of src/simd_real.h,
and nothing else. The disassembler and comparisons with exact arithmetic show it. The slow tests build the
kernels with every installed compiler.
"""

import functools
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from fastsm import _kernels
from fastsm.functional._general import SOFTMAX_VJP

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
ISAS = ("baseline", "avx2", "avx512")
MACHINE = platform.machine().lower()
MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(MACHINE, MACHINE)
COMPILERS = ("gcc", "clang", *(f"gcc-{n}" for n in range(12, 40)), *(f"clang-{n}" for n in range(14, 40)))

# Floating-point instructions, on one number or several. On arm64 the operands tell which, or, with Apple's
# tools, the suffix of the name.
X86_ARITHMETIC = re.compile(r"v?(?:add|sub|mul|div|max|min|sqrt)([ps])[sd]")
X86_FUSED = re.compile(r"vfn?m(?:add|sub|addsub|subadd)(?:132|213|231)?([ps])[sd]")
ARM_ARITHMETIC = re.compile(r"f(?:add|sub|mul|div|max|min|maxnm|minnm|sqrt)(?:\.\w+)?")
ARM_FUSED = re.compile(r"(?:fml[as]|fn?m(?:add|sub))(?:\.\w+)?")
ARM_VECTOR = re.compile(r"\.(?:4s|2d)\b")
# Instructions of vectorised loops over 16-bit numbers and over pixels.
X86_CONVERSIONS = (re.compile(r"v?(?:punpcklwd|pmovzxwd)"), re.compile(r"v?cvtdq2ps"))
ARM_CONVERSIONS = (re.compile(r"(?:uxtl|ushll)(?:\.\w+)?"), re.compile(r"[us]cvtf(?:\.\w+)?"))
WHOLE = {"baseline": "xmm", "avx2": "ymm", "avx512": "zmm"}


# ---- machine code ----


class Code(NamedTuple):
    """The counts of a module's instructions, by name and widest registers."""

    instructions: Counter[tuple[str, str]]
    by_clang: bool


def width(instruction: str) -> str:
    """Return the kind of an instruction's widest vector registers: "" for none.

    A + marks operands that only AVX-512 has: a mask, or a register number above 15.
    """
    if MACHINE == "aarch64":
        return "v" if ARM_VECTOR.search(instruction) else ""
    later = "+" if re.search(r"%k[0-7]\b|mm(?:1[6-9]|[23]\d)\b", instruction) else ""
    return max(re.findall(r"%([xyz]mm)", instruction), default="") + later


@functools.cache
def disassembled(path: Path) -> Code:
    """Return the machine code of a compiled module; skip the test if no tool can show it."""
    if MACHINE not in ("x86_64", "aarch64"):
        pytest.skip(f"the instructions of {MACHINE} are not known here")
    if sys.platform == "win32":
        pytest.skip("no disassembler is looked for on Windows")
    if shutil.which("objdump") is None:
        pytest.skip("no objdump on this machine")
    command = ["objdump", "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: Counter[tuple[str, str]] = Counter()
    for name, operands in re.findall(r"^\s*[0-9a-f]+:\s+(\S+)[ \t]*(.*)", text, re.MULTILINE):
        found[name, width(f"{name} {operands}")] += 1
    assert sum(found.values()) > 20000
    return Code(found, sys.platform == "darwin" or b"clang version" in path.read_bytes())


def installed(isa: str) -> Path:
    """Return the module of an instruction set, even if this CPU lacks it; skip if it is not built."""
    spec = importlib.util.find_spec(f"fastsm._kernels.{isa}")
    found = spec and importlib.util.find_spec(f"fastsm._kernels.{isa}.kernels")
    if not found:
        pytest.skip(f"{isa} is not built for {MACHINE}")
    return Path(found.origin)


def counted(code: Code, isa: str, pattern: re.Pattern[str]) -> tuple[int, int, int]:
    """Count instructions of a kind on whole registers, on parts of them, and on single numbers."""
    whole = part = single = 0
    for (name, registers), count in code.instructions.items():
        found = pattern.fullmatch(name)
        if not found:
            continue
        if (MACHINE == "aarch64" and not registers) or (found.groups() and found[1] == "s"):
            single += count
        elif MACHINE == "aarch64" or registers.startswith(WHOLE[isa]):
            whole += count
        else:
            part += count
    return whole, part, single


def check_registers(isa: str, code: Code) -> None:
    """Check that every instruction belongs to the instruction set."""
    if MACHINE == "aarch64":
        return
    if isa == "baseline" and re.search("-m(arch=|avx|fma)", f"{sysconfig.get_config_var('CFLAGS')}"):
        pytest.skip("Python's own flags ask for more than the baseline")
    wide = {registers for _, registers in code.instructions}
    if isa == "baseline":
        # All instructions of AVX and later begin like this, and no other instruction in use does.
        assert [name for name, _ in code.instructions if name.startswith("v")] == []
        assert wide == {"", "xmm"}
    elif isa == "avx2":
        assert wide == {"", "xmm", "ymm"}
    else:
        assert "zmm" in wide


def check_fused(isa: str, code: Code) -> None:
    """Check that only whole vectors are fused, as kernels ask: fused single numbers are a compiler's choice.

    Clang has a few, with the same bits, where kernels use only one lane of a vector.
    """
    whole, part, single = counted(code, isa, ARM_FUSED if MACHINE == "aarch64" else X86_FUSED)
    if MACHINE == "x86_64" and isa == "baseline":
        assert (whole, part, single) == (0, 0, 0)
        return
    assert whole > 2000
    assert part == 0
    assert single <= (whole // 25 if code.by_clang else 0)


def check_vectors(isa: str, code: Code) -> None:
    """Check that most arithmetic is on whole vectors; the rest is ends of rows, weights and sums of rows."""
    arm = MACHINE == "aarch64"
    kinds = [ARM_ARITHMETIC, ARM_FUSED] if arm else [X86_ARITHMETIC, X86_FUSED]
    whole, part, single = map(sum, zip(*(counted(code, isa, kind) for kind in kinds), strict=True))
    assert whole > 7 * (part + single)


def check_conversions(isa: str, code: Code) -> None:
    """Check that the loops over 16-bit numbers and pixels are vectorised too."""
    of_vectors = {name for name, registers in code.instructions if registers}
    for pattern in ARM_CONVERSIONS if MACHINE == "aarch64" else X86_CONVERSIONS:
        assert any(map(pattern.fullmatch, of_vectors)), pattern.pattern


CHECKS = (check_registers, check_fused, check_vectors, check_conversions)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("check", CHECKS)
def test_instructions(check, isa):
    """The installed kernels keep to their instruction set, fuse only whole vectors, and are vectorised."""
    check(isa, disassembled(installed(isa)))


# ---- results against exact arithmetic ----


def rounded(x: Fraction, dtype: type) -> Fraction:
    """Round to the nearest number of a type, ties to even; for numbers within its normal range."""
    if x == 0:
        return x
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    if abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - np.finfo(dtype).nmant)
    return round(x / unit) * unit


def chain(left, right, start: float, dtype: type, fused: bool) -> float:
    """Return `start` plus the products, one after the other: each rounded with its sum, or before it."""
    total = Fraction(float(start))
    for a, b in zip(left, right, strict=True):
        product = Fraction(float(a)) * Fraction(float(b))
        total = rounded((product if fused else rounded(product, dtype)) + total, dtype)
    return float(total)


def fuses(isa: str) -> bool:
    """Return whether products and sums are rounded together; skip if it depends on the compiler."""
    if MACHINE == "aarch64" and sys.platform == "win32":
        pytest.skip("with MSVC they are not, with Clang they are")
    return isa != "baseline" or MACHINE == "aarch64"


def normal(shape: tuple[int, ...], dtype: type, seed: int):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("isa", _kernels.available)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True)])
def test_products_are_exact_chains(isa, dtype, turned):
    """Each element of a product is the bias plus the products of the steps, in their order."""
    kernels = importlib.import_module(f"fastsm._kernels.{isa}.kernels")
    left, right, bias = normal((7, 24), dtype, 1), normal((24, 21), dtype, 2), normal((21,), dtype, 3)
    out = np.empty((7, 21), dtype)
    factors = [np.ascontiguousarray(a.T) if t else a for a, t in zip((left, right), turned, strict=True)]
    kernels.dense(*factors, bias, out, left_transposed=turned[0], right_transposed=turned[1])

    def expected(fused):
        columns = list(zip(right.T, bias, strict=True))
        return np.array([[chain(row, column, b, dtype, fused) for column, b in columns] for row in left])

    assert np.array_equal(out, expected(fuses(isa)))
    assert not np.array_equal(out, expected(not fuses(isa)))


@pytest.mark.parametrize("isa", _kernels.available)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_vjp_is_an_exact_chain(isa, dtype, axis):
    """The scalar product of short rows is one chain over the classes; the rest is rounded step by step."""
    kernels = importlib.import_module(f"fastsm._kernels.{isa}.kernels")
    y, dy = abs(normal((40, 7), dtype, 4)), normal((40, 7), dtype, 5)
    lying = [np.ascontiguousarray(a.T) if axis == 0 else a for a in (y, dy)]
    out = np.empty_like(lying[0])
    assert kernels.compute_rows(SOFTMAX_VJP, *lying, out, axis, 1.0, 1)

    def expected(fused):
        dots = [chain(a, b, 0, dtype, fused) for a, b in zip(y, dy, strict=True)]
        return y * (dy - np.array(dots, dtype)[:, None])

    assert np.array_equal(out if axis else out.T, expected(fuses(isa)))
    assert not np.array_equal(out if axis else out.T, expected(not fuses(isa)))


# ---- builds ----


def compilers() -> list[str]:
    """Return the installed C compilers, each once."""
    found = {}
    for name in reversed(COMPILERS):
        if path := shutil.which(name):
            # Compare the family too, as both may be links to a compiler cache.
            found[os.path.realpath(path), name.partition("-")[0]] = name
    return list(found.values())[::-1]


def build(compiler: str, folder: Path, macros: str = "") -> dict[str, Path]:
    """Build the kernels with a compiler and with macros; skip the test if that is impossible.

    Build from copies without pyproject.toml, so that its settings do not apply.
    """
    if sys.platform != "linux":
        pytest.skip("elsewhere CC does not choose the compiler, or Python's flags are for another one")
    if not (ROOT / "src").is_dir() or not (ROOT / "setup.py").is_file():
        pytest.skip("no source tree")
    for name in ("Cython", "setuptools"):
        pytest.importorskip(name)
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        pytest.skip("no headers of Python")
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.c"))
    shutil.copy(ROOT / "setup.py", source)
    result = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--build-temp", "temp", "--build-lib", "lib"],
        cwd=source,
        env={**os.environ, "CC": compiler, "CPPFLAGS": macros, "FASTSM_SANITIZE": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return {path.parent.name: path for path in sorted(source.glob("lib/fastsm/_kernels/*/kernels.*"))}


def bits(path: Path) -> list[str]:
    """Return the digests of bits.py for a compiled module."""
    command = [sys.executable, str(TESTS / "bits.py"), "--each", "--module", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return text.replace(f"{path} ", "").splitlines()


@pytest.mark.slow
def test_same_bits_with_each_compiler(tmp_path):
    """Each compiler gives the same bits in every function, and passes the checks above."""
    installed = {path.parent.name: path for path in Path(_kernels.__file__).parent.glob("*/kernels.*.so")}
    by_clang = any(disassembled(path).by_clang for path in installed.values())
    # One compiler has built the package; each other compiler builds it again.
    others = [name for name in compilers() if name != ("clang" if by_clang else "gcc")]
    if not others:
        pytest.skip("no other compiler is installed")
    sums = {isa: bits(path) for isa, path in installed.items() if isa in _kernels.available}
    for name in others:
        for isa, path in build(name, tmp_path / name).items():
            if isa in sums:
                assert bits(path) == sums[isa], f"{isa}: {name} and the compiler of the package"
            for check in CHECKS:
                check(isa, disassembled(path))


@pytest.mark.slow
@pytest.mark.parametrize("compiler", compilers())
def test_nothing_else_is_fused(compiler, tmp_path):
    """If `multiply_add` is a product and a sum, nothing is fused: compilers fuse nothing on their own."""
    built = build(compiler, tmp_path, "-DFUSED=0")
    for isa, path in built.items():
        pattern = ARM_FUSED if MACHINE == "aarch64" else X86_FUSED
        assert counted(disassembled(path), isa, pattern) == (0, 0, 0)
