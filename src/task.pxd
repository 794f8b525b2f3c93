# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What softmax, its relatives and cross-entropy are given: the whole of a call, and the rows of one kernel call."""

from libc.stdint cimport int64_t

cdef enum:
    # Rows of up to this many classes go to the tile kernels. Part of the result's definition (the families add in
    # different orders), so it depends on nothing but the number of classes.
    TILE_CLASSES = 32
    # Rows that a row kernel takes together, so that the processor works on one while the operations across the lanes
    # of another wait for each other: at most this many, of at most this many bytes together.
    ROWS_TOGETHER = 8
    ROWS_TOGETHER_BYTES = 4096
    # Vectors from an element to the one that is fetched while it is worked on: a page, as processors fetch no further
    # by themselves.
    PREFETCH_VECTORS = 64
    # The same where classes lie far apart, in classes: no processor foresees a large stride. Only in arrays of more
    # bytes than a core's own caches hold.
    PREFETCH_CLASSES = 8
    CACHE_BYTES = 1 << 20

# Python knows each as the constant of the same name without OF_.
cdef enum Operation:
    OF_SOFTMAX
    OF_LOG_SOFTMAX
    OF_LOGSUMEXP
    OF_SOFTMAX_VJP
    OF_LOG_SOFTMAX_VJP
    OF_CROSS_ENTROPY        # index targets without smoothing
    OF_SOFT_CROSS_ENTROPY   # probability targets, or smoothed index targets


# Where the elements of an array are: class j of row (o, i) is o * outer + j * step + i * inner elements
# after data. Either step is 1 (rows), or inner is 1 (lanes) unless there is only one.
cdef struct Operand:
    char *data
    Py_ssize_t outer
    Py_ssize_t step
    Py_ssize_t inner


cdef struct Task:
    Operation operation
    char format                     # of the arrays: "f" or "d"
    # rows are numbered o * inner + i
    Py_ssize_t outer
    Py_ssize_t classes
    Py_ssize_t inner
    bint rows_in_lanes              # rows lie side by side in memory, classes do not
    bint is_swapped                 # the axes before the classes' are `inner`, those after it `outer`
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
    Py_ssize_t bad_row              # out: a row whose label was out of range when it was used, else -1


# Rows of a task that one call of a kernel works on. Row kernels: row r begins r * step elements after the address.
# Tile kernels: class j of the first row is j * step elements after it, the other rows side by side with that.
cdef struct Block:
    Py_ssize_t first                # the number of the first row
    Py_ssize_t rows
    Py_ssize_t count                # tile kernels: elements of a class that are there, of which `rows` are rows
    char *x
    Py_ssize_t x_step
    char *y                         # NULL: none, as for `out`
    Py_ssize_t y_step
    char *out
    Py_ssize_t out_step
