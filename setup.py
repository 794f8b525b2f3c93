"""Build the kernels: one C file, compiled once for each instruction set.

All else that there is to say about the package stands in pyproject.toml.
"""

import copy
import os
import shutil
import sys
import sysconfig
from pathlib import Path

if sys.maxsize < 2**32:
    sys.exit("fastsm needs a Python of 64 bits, got one of 32")

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

WINDOWS = sys.platform == "win32"
# MSVC has no vector extensions: with it src/simd.h falls back to one lane, correct and slow. Prefer Clang.
CLANG_CL = shutil.which("clang-cl") if WINDOWS else None

# Never -ffast-math (it would flush subnormals to zero in the whole process), nor -march=native. The kernels
# say what is rounded together: a compiler that may choose chooses differently from place to place.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-Wno-psabi"]
# In the kernels `inline` is meant: they are written for any number of rows, classes or vectors but called
# with constants. Left to itself GCC inlines the less the larger the module is.
INLINE = "-DCYTHON_INLINE=__inline__ __attribute__((always_inline))"
ISA_FLAGS = {"baseline": []}
# What is built for Intel and ARM at once (universal2 on macOS) has the baseline only, as flags go to both;
# so has what MSVC builds, where they change nothing.
if sysconfig.get_platform().endswith(("x86_64", "amd64")) and (CLANG_CL or not WINDOWS):
    ISA_FLAGS["avx2"] = ["-mavx2", "-mfma"]
    ISA_FLAGS["avx512"] = [
        *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512cd", "-mfma"),
        "-mprefer-vector-width=512",
    ]

# What FASTSM_SANITIZE asks for, to find errors with: see tests/sanitize.py. Without `always_inline`, with
# which these builds take minutes, and at a level that leaves what is wrong as it was written.
INSTRUMENTED = ["-O1", "-g1", "-fno-omit-frame-pointer"]
SANITIZERS = {
    "address": [
        "-fsanitize=address,undefined,float-cast-overflow",
        "-fno-sanitize-recover=undefined,float-cast-overflow",
        "-fstrict-overflow",  # Python's own flags let signed numbers overflow
    ],
    "thread": ["-fsanitize=thread"],
    # Variables on the stack begin as 0xFE..., so that nothing works by accident.
    "checks": ["-ftrivial-auto-var-init=pattern", "-fstack-protector-all", "-D_FORTIFY_SOURCE=2"],
}
SANITIZE = os.environ.get("FASTSM_SANITIZE")
if SANITIZE and SANITIZE not in SANITIZERS:
    sys.exit(f"`FASTSM_SANITIZE` must be one of {', '.join(SANITIZERS)}, got {SANITIZE!r}")


# What src/kernels.pyx is put together from.
PARTS = {".h", ".pxd", ".pxi"}


def variant(isa: str) -> Extension:
    """Return the extension module of one instruction set."""
    flags = FLAGS + ISA_FLAGS[isa]
    if SANITIZE:
        compile_args = [*flags, *INSTRUMENTED, *SANITIZERS[SANITIZE]]
        link_args = [flag for flag in SANITIZERS[SANITIZE] if flag.startswith("-fsanitize")]
    elif CLANG_CL:
        compile_args, link_args = [f"/clang:{flag}" for flag in (*flags, INLINE)], []
    elif WINDOWS:
        compile_args, link_args = ["/O2", "/std:c11"], []
    else:
        compile_args = [*flags, INLINE, "-fvisibility=hidden"]
        link_args = ["-Wl,-x" if sys.platform == "darwin" else "-Wl,-s"]  # without symbols
    return Extension(
        f"fastsm._kernels.{isa}.kernels",
        ["src/kernels.pyx"],
        include_dirs=["src", numpy.get_include()],
        depends=[
            "setup.py",
            *(str(path) for path in sorted(Path("src").glob("*.*")) if path.suffix in PARTS),
        ],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )


class BuildVariants(build_ext):
    """Translate the Cython source once; compile the C file for all instruction sets at the same time."""

    def finalize_options(self):
        """Compile in parallel unless told otherwise."""
        super().finalize_options()
        self.parallel = self.parallel or True

    def build_extensions(self):
        """Put the C file in the place of the Cython source, then build as usual."""
        # The name is neither that of a variant nor a bare "kernels": Cython enters the first module that is
        # loaded under this name in sys.modules, where it must not pass for another one.
        source = Extension("fastsm._kernels.kernels", ["src/kernels.pyx"])
        # Cython's own checks, which the kernels otherwise go without.
        checks = {"boundscheck": True, "initializedcheck": True, "nonecheck": True}
        [translated] = cythonize(
            [source],
            build_dir=self.build_temp,
            include_path=["src"],
            force=self.force,
            compiler_directives=checks if SANITIZE else {},
            emit_linenums=bool(SANITIZE),
        )
        for extension in self.extensions:
            extension.sources = list(translated.sources)
        if CLANG_CL:
            self.compiler.initialize(self.plat_name)
            self.compiler.cc = CLANG_CL
        super().build_extensions()

    def build_extension(self, ext):
        """Build one variant, its object files in a folder of their own."""
        command = copy.copy(self)
        command.build_temp = str(Path(self.build_temp, ext.name))
        super(BuildVariants, command).build_extension(ext)


setup(
    ext_modules=[variant(isa) for isa in ISA_FLAGS],
    cmdclass={"build_ext": BuildVariants},
)
