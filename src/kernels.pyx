# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True, embedsignature=False, autotestdict=False
"""The compiled kernels of fastsm, built once for each instruction set.

From the bottom up; each file needs only those above it:

    simd.h, simd_real.h     two vector types and some forty functions on them; most of the C; simd.pxd declares them
    vectors.pxd             addresses, and compensated sums
    task.pxd                what softmax, its relatives and cross-entropy are given
    softmax.pxd, vjp.pxd, cross_entropy.pxd
                            their kernels: for each operation one for long rows, whose lanes are classes, and one for
                            short rows and for axes other than the last, whose lanes are rows
    thresholds.pxi          at how many elements a second thread is used, and why
    buffers.pxi             arrays as the kernels see them, and Python's lock
    team.pxi, threads.h     threads that share the work of a kernel
    sums.pxi                sums of all elements, of squares, and over the rows of a matrix
    dispatch.pxi            chooses the family of softmax's kernels, brings rows into lanes, calls kernels
    calls.pxi               what Python calls for softmax, its relatives and cross-entropy
    linear.pxi, layer_norm.pxi, activations.pxi, dropout.pxi, optimizers.pxi, gather.pxi
                            the rest of a training step: kernels, and at the end of each file what Python calls
    halves.pxi, halves.h    numbers of 16 bits, from and to float
    kernels.pyx             puts them together; cpu.h: what the processor can do

Kernels check, allocate, raise and thread nothing; the functions that Python calls do. A docstring says which arrays a
function has, their shapes, and whether it reads them ("in"), writes them ("out") or both.
"""

include "thresholds.pxi"
include "buffers.pxi"
include "team.pxi"
include "sums.pxi"
include "dispatch.pxi"
include "calls.pxi"
include "linear.pxi"
include "layer_norm.pxi"
include "activations.pxi"
include "dropout.pxi"
include "optimizers.pxi"
include "gather.pxi"
include "halves.pxi"

cdef extern from "cpu.h":
    int cpu_has_avx2()
    int cpu_has_avx512()


def cpu_instruction_sets():
    """Return the instruction sets of the variants that this CPU can run, best first."""
    names = ["baseline"]
    if cpu_has_avx2():
        names.insert(0, "avx2")
    if cpu_has_avx512():
        names.insert(0, "avx512")
    return tuple(names)
