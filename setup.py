"""Build the kernels: one C file, compiled once for each instruction set.

All else that there is to say about the package stands in pyproject.toml.
"""

import copy
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

WINDOWS = sys.platform == "win32"
# MSVC has no vector extensions: with it src/simd.h falls back to one lane, correct and slow. Prefer Clang.
CLANG_CL = shutil.which("clang-cl") if WINDOWS else None

# Never -ffast-math (it would flush subnormals to zero in the whole process), nor -march=native.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]
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


def variant(isa: str) -> Extension:
    """Return the extension module of one instruction set."""
    flags = FLAGS + ISA_FLAGS[isa]
    if CLANG_CL:
        compile_args, link_args = [f"/clang:{flag}" for flag in (*flags, INLINE)], []
    elif WINDOWS:
        compile_args, link_args = ["/O2", "/std:c11"], []
    else:
        compile_args = [*flags, INLINE, "-fvisibility=hidden"]
        link_args = ["-Wl,-x" if sys.platform == "darwin" else "-Wl,-s"]  # without symbols
    return Extension(
        f"fastsm._isa.{isa}.kernels",
        ["src/kernels.pyx"],
        include_dirs=["src", numpy.get_include()],  # of NumPy only the layout of an array
        depends=["setup.py", *map(str, Path("src").glob("*.h"))],
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
        source = Extension("fastsm._isa.kernels", ["src/kernels.pyx"])
        [translated] = cythonize([source], build_dir=self.build_temp, include_path=["src"], force=self.force)
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
