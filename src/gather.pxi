# The rows of a batch, gathered by their numbers.

from libc.stdint cimport int64_t, uint8_t, uint64_t

from simd cimport prefetch

# Rows from the one that is gathered to the one that is fetched meanwhile, as no processor can foresee it.
cdef enum:
    PREFETCH_ROWS = 4

ctypedef fused raw:
    uint8_t
    float
    double

cdef struct Gather:
    char *x                 # (rows, columns)
    char format             # of x: B, f or d
    Py_ssize_t rows
    const volatile int64_t *indices
    char *out               # as many rows as there are indices
    Py_ssize_t columns
    double scale
    bint is_float           # out
    uint64_t has_bad        # whether an index was out of range when it was used


cdef bint gather_rows(raw *x, real *out, Gather *g, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """out[i] = x[indices[i]] * scale for i from first to last - 1; False if an index is out of range when it is used.

    x: (rows, columns) in; indices: (last,) in; out: (last, columns) out.
    """
    cdef Py_ssize_t columns = g.columns, rows = g.rows, i, j, k
    cdef int64_t index
    cdef raw *row
    cdef real *to
    cdef real factor = <real>g.scale
    for i in range(first, last):
        if i + PREFETCH_ROWS < last:
            index = g.indices[i + PREFETCH_ROWS]
            if 0 <= index < rows:
                k = 0
                while k < columns * <Py_ssize_t>sizeof(raw):
                    prefetch(<char *>(x + index * columns) + k)
                    k += 64
        index = g.indices[i]
        if not 0 <= index < rows:
            return False
        row = x + index * columns
        to = out + i * columns
        for j in range(columns):
            to[j] = <real>row[j] * factor
    return True


cdef inline bint gather_from(raw *x, Gather *g, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do as `gather_rows` does, into float or double."""
    if g.is_float:
        return gather_rows(x, <float *>g.out, g, first, last)
    return gather_rows(x, <double *>g.out, g, first, last)


cdef void gather_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do rows `first` to `last` - 1 of a Gather."""
    cdef Gather *g = <Gather *>work
    cdef bint is_good
    if g.format == c"B":
        is_good = gather_from(<uint8_t *>g.x, g, first, last)
    elif g.format == c"f":
        is_good = gather_from(<float *>g.x, g, first, last)
    else:
        is_good = gather_from(<double *>g.x, g, first, last)
    if not is_good:
        shared_store(&g.has_bad, 1)


# ---- the function that Python calls ----

def gather(x, indices, out, double scale):
    """out[i] = x[indices[i]] * scale.

    x: (rows, columns) of uint8, float32 or float64, in; indices: (count,) of int64, in; out: (count, columns) of
    float32 or float64, out.
    """
    cdef Buffers buffers
    cdef Gather g
    cdef Py_buffer *from_x
    cdef Py_buffer *chosen
    cdef Py_buffer *to
    cdef int64_t value
    cdef Py_ssize_t count, least, i
    buffers.count = 0
    try:
        require_contiguous(&buffers, x, READ)
        from_x = &buffers.view[0]
        require_contiguous(&buffers, indices, READ)
        chosen = &buffers.view[1]
        to = require_matrix(&buffers, out, WRITE)
        if from_x.format[0] != c"B" and from_x.format[0] != c"f" and from_x.format[0] != c"d":
            raise TypeError("the kernel gathers from arrays of uint8, float32 or float64")
        if not is_labels(chosen) or chosen.ndim != 1:
            raise TypeError("the kernel takes indices in an int64 array of one axis")
        if from_x.ndim != 2 or from_x.shape[1] != to.shape[1]:
            raise ValueError(f"`x` must have 2 axes and {to.shape[1]} columns, as `out` has")
        count = chosen.shape[0]
        if to.shape[0] != count:
            raise ValueError(f"`out` must have {count} rows, got {to.shape[0]}")
        g.x, g.format, g.rows, g.columns = <char *>from_x.buf, from_x.format[0], from_x.shape[0], from_x.shape[1]
        g.indices = <const volatile int64_t *>chosen.buf
        g.out, g.is_float, g.scale, g.has_bad = <char *>to.buf, to.format[0] == c"f", scale, 0
        for i in range(count):
            value = g.indices[i]
            if not 0 <= value < g.rows:
                raise IndexError(f"`indices` must be from 0 to {g.rows - 1}, got {value} at {i}")
        least = ELEMENTS_PER_THREAD // (g.columns + 1) + 1
        share(gather_part, &g, count, 1, least, count * g.columns)
        if g.has_bad:
            raise ValueError("`indices` must not change during the call, got one out of range meanwhile")
    finally:
        release(&buffers)
