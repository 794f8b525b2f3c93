# What a kernel is given, and the few helpers that all kernels share.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.math cimport INFINITY, isinf, pow, sqrt
from libc.string cimport memcpy

from simd cimport (
    absolute, columns, divide, element, exp_clamped, exp_lowest, exp_nonpositive, exp_scaled, inverse_remainder,
    keep_first, keep_last, lanes, lanes_max, lanes_sum, leading, load, log1p_nonnegative, maximum, mills_largest,
    mills_ratio, multiply_add, prefetch, product, scaled_lowest, select_equal, select_label, select_less, set_element,
    set_label, splat, spread, square_root, store, subtract_product, tanh_of, transpose, unscale, vd, vec, vf, widen,
)

# Rows of up to this many classes go to the tile kernels. Part of the result's definition (the families
# add in different orders), so it depends on nothing but the number of classes.
cdef enum:
    TILE_CLASSES = 32

# The widest vector: 64 bytes of float.
cdef enum:
    MOST_LANES = 16

# Tiles that are copied in and out together, so that no load waits for the stores just before it.
cdef enum:
    GROUP = 4

# Rows that a row kernel takes together, so that the processor works on one while the operations across the lanes of
# another wait for each other: at most so many, of at most so many bytes together.
cdef enum:
    ROWS = 8
    ROWS_BYTES = 4096

# Additions in a row before the partial sum is put away, compensated: see `accumulate`. Few, as terms of about
# one size are rounded the same way again and again.
cdef enum:
    CHUNK = 8

# Vectors from an element to the one that is fetched while it is worked on: a page, as processors fetch no further
# by themselves.
cdef enum:
    AHEAD = 64

# The same where classes lie far apart, in classes: no processor foresees a large stride. Only in arrays of more bytes
# than a core's own caches hold.
cdef enum:
    CLASSES_AHEAD = 8
    IN_CACHE = 1 << 20

cdef enum Operation:
    SOFTMAX
    LOG_SOFTMAX
    LOGSUMEXP
    SOFTMAX_VJP
    LOG_SOFTMAX_VJP
    CROSS_ENTROPY           # index targets without smoothing
    SOFT_CROSS_ENTROPY      # probability targets, or smoothed index targets


# Where the elements of an array are: class j of row (o, i) is o * outer + j * step + i * inner elements
# after data. Either step is 1 (rows), or inner is 1 (lanes) unless there is only one.
cdef struct Operand:
    char *data
    Py_ssize_t outer
    Py_ssize_t step
    Py_ssize_t inner


cdef struct Task:
    Operation operation
    # rows are numbered o * inner + i
    Py_ssize_t outer
    Py_ssize_t classes
    Py_ssize_t inner
    bint lanes                      # rows lie side by side in memory, classes do not
    bint swapped                    # the axes before the classes' are `inner`, those after it `outer`
    Operand x                       # logits; the VJPs: the output y
    Operand y                       # the VJPs: dy; cross-entropy: target probabilities
    Operand out                     # data NULL: none
    double scale                    # 1 / temperature
    void *scratch                   # room for `scratch_rows` rows of each input; NULL: work on the arrays
    Py_ssize_t scratch_rows
    void *row_out                   # (rows,): logsumexp or losses
    # cross-entropy only
    const volatile int64_t *labels  # (rows,), or NULL: probability targets; volatile: each is read once
    bint has_ignore
    int64_t ignore_index
    void *class_weight              # (classes,) or NULL
    void *sample_weight             # (rows,) or NULL
    double smoothing
    double gradient_scale           # 1 / total weight for a mean, else 1
    Py_ssize_t bad_row              # out: a label that was out of range when it was used, else -1


cdef inline vec *at(vec *p, Py_ssize_t index) noexcept nogil:
    """Address of the element `index` elements after p."""
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
    """The same where no sum can become infinite."""
    cdef vec corrected = part + lost[0]
    cdef vec new = total[0] + corrected
    lost[0] = corrected - (new - total[0])
    total[0] = new
