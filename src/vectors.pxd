# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What all kernels share: addresses in arrays, and compensated sums."""

from simd cimport lanes, select_equal, splat, vec

cdef enum:
    # The lanes of the widest vector: 64 bytes of float.
    MOST_LANES = 16
    # Additions in a row before the partial sum is put away, compensated: see `accumulate`. Few, as terms of about one
    # size are rounded the same way again and again.
    CHUNK = 8


cdef inline vec *at(vec *p, Py_ssize_t index) noexcept nogil:
    """Return the address of the element `index` elements after p."""
    return <vec *>(<char *>p + index * <Py_ssize_t>(sizeof(vec) // lanes(p)))


cdef inline void accumulate(vec *total, vec *lost, vec part) noexcept nogil:
    """Add `part`, and what was lost so far, to `total`; `lost` becomes what this addition lost.

    W. Kahan, Further remarks on reducing truncation errors, CACM 8, 1965: however many parts there are, the error is
    two roundings of the sum of their magnitudes. Once the total is infinite nothing is lost.
    """
    cdef vec corrected = part + lost[0]
    cdef vec new = total[0] + corrected
    cdef vec error = corrected - (new - total[0])
    lost[0] = select_equal(error, error, error, splat(error, 0.0))
    total[0] = new


cdef inline void accumulate_finite(vec *total, vec *lost, vec part) noexcept nogil:
    """Do as `accumulate` does, where no sum can become infinite."""
    cdef vec corrected = part + lost[0]
    cdef vec new = total[0] + corrected
    lost[0] = corrected - (new - total[0])
    total[0] = new
