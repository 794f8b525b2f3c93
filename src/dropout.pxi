# Dropout, element by element.

from libc.stdint cimport uint32_t, uint64_t

# Random words that are made at a time.
cdef enum:
    RANDOM_WORDS = 256


cdef inline uint64_t finalised(uint64_t z) noexcept nogil:
    """Return a number whose bits depend on every bit of z: the finaliser of SplitMix64 (G. L. Steele, D. Lea and C. H.
    Flood, Fast splittable pseudorandom number generators, OOPSLA 2014)."""
    z = (z ^ (z >> 30)) * <uint64_t>0xbf58476d1ce4e5b9U
    z = (z ^ (z >> 27)) * <uint64_t>0x94d049bb133111ebU
    return z ^ (z >> 31)


cdef void drop_elements(
    real *x, real *out, Py_ssize_t n, double probability, uint64_t seed, uint64_t first,
) noexcept nogil:
    """out = x keep / (1 - probability). x: (n,) in; out: (n,) out, may be x; `first` is the number of the first.

    Word k of a seed is finalised(key + (k + 1) gamma), the generator of that paper started at key = finalised(seed +
    gamma), so that the words of neighbouring seeds are no shifted copies. Its lower half is for element 2 k, its upper
    half for 2 k + 1; an element is kept if its half is at least probability 2^32.
    """
    cdef uint32_t[2 * RANDOM_WORDS + 2] halves
    cdef uint64_t gamma = <uint64_t>0x9e3779b97f4a7c15U, key = finalised(seed + gamma), word, at_first
    cdef uint32_t threshold = <uint32_t>min(probability * 4294967296.0 + 0.5, 4294967295.0)
    cdef uint32_t *half
    cdef real factor = <real>(1.0 / (1.0 - probability)), none = 0
    cdef Py_ssize_t i = 0, j, count
    while i < n:
        count = min(2 * RANDOM_WORDS, n - i)
        at_first = (first + <uint64_t>i) >> 1
        for j in range(RANDOM_WORDS + 1):
            word = finalised(key + (at_first + <uint64_t>j + 1) * gamma)
            halves[2 * j] = <uint32_t>word
            halves[2 * j + 1] = <uint32_t>(word >> 32)
        half = &halves[first & 1]
        for j in range(count):
            out[i + j] = x[i + j] * (factor if half[j] >= threshold else none)
        i += count


# Dropout of arrays.
cdef struct Drop:
    char *x                 # (n,)
    char *out               # (n,)
    double probability
    uint64_t seed
    uint64_t first
    bint is_float


cdef void drop_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do elements `first` to `last` - 1 of a Drop."""
    cdef Drop *d = <Drop *>work
    cdef uint64_t number = d.first + <uint64_t>first
    if d.is_float:
        drop_elements(<float *>d.x + first, <float *>d.out + first, last - first, d.probability, d.seed, number)
    else:
        drop_elements(<double *>d.x + first, <double *>d.out + first, last - first, d.probability, d.seed, number)


# ---- the function that Python calls ----

def dropout(x, out, double probability, uint64_t seed, uint64_t first):
    """out = x keep / (1 - probability), with `keep` a function of the seed and of the number of the element.

    x: any shape, in; out: as many elements, out, may be x; `first` is the number of the first.
    """
    cdef Buffers buffers
    cdef Drop d
    cdef Py_buffer *v
    cdef Py_ssize_t n
    if not 0.0 <= probability < 1.0:
        raise ValueError(f"`probability` must be at least 0 and below 1, got {probability}")
    buffers.count = 0
    try:
        v = require_real(&buffers, x, READ)
        n = v.len // v.itemsize
        d.x, d.probability, d.seed, d.first, d.is_float = <char *>v.buf, probability, seed, first, v.format[0] == c"f"
        d.out = <char *>require_same_type(&buffers, out, WRITE, n, "out")
        share_elements(drop_part, &d, n)
    finally:
        release(&buffers)
