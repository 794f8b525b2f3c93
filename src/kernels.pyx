# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True, embedsignature=False, autotestdict=False
"""The compiled kernels of fastsm, built once for each instruction set.

From the bottom up:

    simd.h, simd_real.h     two vector types and some forty functions on them; most of the C
    task.pxi                what a kernel is given
    softmax.pxi, vjp.pxi, cross_entropy.pxi
                            the kernels: for each operation one for long rows, whose lanes are classes, and one for
                            short rows and for axes other than the last, whose lanes are rows
    drive.pxi               chooses the family, brings rows into lanes, calls kernels
    arrays.pxi              the functions that Python calls, and arrays as the kernels see them
    team.pxi                threads that share the work of a kernel
    halves.pxi, halves.h    numbers of 16 bits, from and to float
    layers.pxi, activations.pxi, optimizers.pxi, batches.pxi, dense.pxi
                            the rest of a training step, kernels and functions: plain arrays, one pass each, and the
                            matrix products
    kernels.pyx             this file puts them together

Kernels check, allocate, raise and thread nothing. The functions of arrays.pxi accept NumPy arrays that the kernels
can work on as they lie in memory (float32 or float64 of this machine, aligned, rows or columns contiguous)
and decline all others by returning None or False, before anything is written: fastsm/_general.py then makes
copies that fit, or finds what is wrong and says so. They see arrays by NumPy's C interface, or through the buffer
protocol.
"""

include "task.pxi"
include "softmax.pxi"
include "vjp.pxi"
include "cross_entropy.pxi"
include "drive.pxi"
include "arrays.pxi"
include "layers.pxi"
include "team.pxi"
include "activations.pxi"
include "optimizers.pxi"
include "batches.pxi"
include "halves.pxi"
include "dense.pxi"

cdef extern from "cpu.h":
    int cpu_has_avx2()
    int cpu_has_avx512()


def cpu_instruction_sets():
    """The instruction sets of the variants that this CPU can run, best first."""
    names = ["baseline"]
    if cpu_has_avx2():
        names.insert(0, "avx2")
    if cpu_has_avx512():
        names.insert(0, "avx512")
    return tuple(names)
