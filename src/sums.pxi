# Sums: of all elements, of their squares, and over the rows of a matrix.

from libc.math cimport isfinite

from simd cimport element, lanes, lanes_sum, load, load_as_doubles, multiply_add, set_element, splat, store, vd, vec, vf
from vectors cimport CHUNK, accumulate, at

cdef enum:
    # Vectors whose squares are summed before the sum is put away, compensated.
    SQUARED_VECTORS = 64
    # Vectors of columns that are summed side by side: at most as many as are 4 kB.
    PANEL_VECTORS = 64


# ---- of all elements ----

cdef inline void accumulate_double(double *total, double *lost, double part) noexcept nogil:
    """Do as `accumulate` does, on numbers."""
    cdef double corrected = part + lost[0]
    cdef double new = total[0] + corrected
    lost[0] = corrected - (new - total[0]) if isfinite(new) else 0.0
    total[0] = new


cdef double element_sum(void *values, Py_ssize_t count, char format) noexcept nogil:
    """Return the sum in double: plain over each CHUNK elements, compensated from chunk to chunk.

    values: (count,) of float (format "f") or double, in.
    """
    cdef Py_ssize_t i = 0, stop
    cdef double total = 0.0, lost = 0.0, s
    while i < count:
        stop = min(i + CHUNK, count)
        s = 0.0
        while i < stop:
            s += (<float *>values)[i] if format == c"f" else (<double *>values)[i]
            i += 1
        accumulate_double(&total, &lost, s)
    return total + lost


cdef double square_sum(vec *x, Py_ssize_t n) noexcept nogil:
    """Return the sum of the squares, in double. x: (n,) in."""
    cdef Py_ssize_t width = lanes(<vd *>NULL), full = n // width, i = 0, stop
    cdef vd total = splat((<vd *>NULL)[0], 0.0), lost = total, s0, s1, s2, s3, v0, v1, v2, v3
    cdef double result
    while i < full:
        s0 = splat(total, 0.0)
        s1 = s0
        s2 = s0
        s3 = s0
        stop = min(i + SQUARED_VECTORS, full)
        while i + 4 <= stop:
            v0 = load_as_doubles(at(x, i * width))
            v1 = load_as_doubles(at(x, (i + 1) * width))
            v2 = load_as_doubles(at(x, (i + 2) * width))
            v3 = load_as_doubles(at(x, (i + 3) * width))
            s0 = multiply_add(v0, v0, s0)
            s1 = multiply_add(v1, v1, s1)
            s2 = multiply_add(v2, v2, s2)
            s3 = multiply_add(v3, v3, s3)
            i += 4
        while i < stop:
            v0 = load_as_doubles(at(x, i * width))
            s0 = multiply_add(v0, v0, s0)
            i += 1
        accumulate(&total, &lost, (s0 + s1) + (s2 + s3))
    total = lanes_sum(total + lost)
    result = element(&total, 0)
    for i in range(full * width, n):
        result += element(x, i) * element(x, i)
    return result


# ---- over the rows ----

# Sums over the rows of x, or of x times (y - mean) factor. All are contiguous, but that a part of the columns may be
# looked at: `stride` elements lie between the rows of x and y.
cdef struct ColumnSums:
    char *x                 # (rows, columns)
    char *y                 # (rows, columns), or NULL: x alone
    char *mean              # (rows,)
    char *factor            # (rows,)
    char *out               # (columns,)
    Py_ssize_t rows
    Py_ssize_t columns
    Py_ssize_t stride


cdef inline vec add_term(vec s, ColumnSums *sums, Py_ssize_t row, Py_ssize_t column, Py_ssize_t count) noexcept nogil:
    """Return s plus what is summed, in one row and `count` columns."""
    cdef Py_ssize_t index = row * sums.stride + column
    cdef vec value = load(at(<vec *>sums.x, index), count), m, f
    if sums.y == NULL:
        return s + value
    m = splat(value, element(<vec *>sums.mean, row))
    f = splat(value, element(<vec *>sums.factor, row))
    return multiply_add(value, (load(at(<vec *>sums.y, index), count) - m) * f, s)


cdef inline vec rows_sum(
    vec *like, ColumnSums *sums, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t count,
) noexcept nogil:
    """Return the sum over `rows` rows, from `row` on, of `count` columns, from `column` on."""
    cdef vec s = splat(like[0], 0.0)
    cdef Py_ssize_t first = row, r
    if sums.y == NULL:                              # nothing to multiply, and so nothing to add to
        s = load(at(<vec *>sums.x, row * sums.stride + column), count)
        first += 1
    for r in range(first, row + rows):
        s = add_term(s, sums, r, column, count)
    return s


cdef inline void sum_panel(vec *like, ColumnSums *sums) noexcept nogil:
    """Do at most PANEL_VECTORS vectors of columns."""
    cdef vec[PANEL_VECTORS] total, lost
    cdef Py_ssize_t width = lanes(like), full = sums.columns // width, tail = sums.columns % width, r = 0, k
    cdef vec *out = <vec *>sums.out
    for k in range(full + (1 if tail else 0)):
        total[k] = splat(like[0], 0.0)
        lost[k] = total[k]
    while r < sums.rows:
        for k in range(full):
            if r + CHUNK <= sums.rows:          # most often: a constant, so that the loop is unrolled
                accumulate(&total[k], &lost[k], rows_sum(like, sums, r, CHUNK, k * width, width))
            else:
                accumulate(&total[k], &lost[k], rows_sum(like, sums, r, sums.rows - r, k * width, width))
        if tail:
            accumulate(
                &total[full], &lost[full], rows_sum(like, sums, r, min(CHUNK, sums.rows - r), full * width, tail),
            )
        r += CHUNK
    for k in range(full):
        at(out, k * width)[0] = total[k] + lost[k]
    if tail:
        store(at(out, full * width), tail, total[full] + lost[full])


cdef inline void sum_panels(vec *like, ColumnSums *sums) noexcept nogil:
    """Do all columns, panel by panel."""
    cdef Py_ssize_t most = PANEL_VECTORS * lanes(like), j = 0
    cdef ColumnSums panel
    while j < sums.columns:
        panel = sums[0]
        panel.x = <char *>at(<vec *>sums.x, j)
        panel.y = NULL if sums.y == NULL else <char *>at(<vec *>sums.y, j)
        panel.out = <char *>at(<vec *>sums.out, j)
        panel.columns = min(most, sums.columns - j)
        sum_panel(like, &panel)
        j += most


cdef void sum_narrow(vec *like, ColumnSums *sums) noexcept nogil:
    """Do at most PANEL_VECTORS columns of x alone, as a matrix of `width` times as many: `width` rows in each."""
    cdef vec[PANEL_VECTORS] wide
    cdef double[PANEL_VECTORS] result
    cdef Py_ssize_t width = lanes(like), columns = sums.columns, blocks = sums.rows // width, r, j
    cdef vec *x = <vec *>sums.x
    cdef ColumnSums panel
    for j in range(columns):
        result[j] = 0.0
    if blocks:
        panel.x, panel.y, panel.out = sums.x, NULL, <char *>&wide[0]
        panel.mean = panel.factor = NULL
        panel.rows, panel.columns, panel.stride = blocks, columns * width, columns * width
        sum_panel(like, &panel)
        for r in range(width):
            for j in range(columns):
                result[j] += element(&wide[0], r * columns + j)
    for r in range(blocks * width, sums.rows):
        for j in range(columns):
            result[j] += element(x, r * columns + j)
    for j in range(columns):
        set_element(<vec *>sums.out, j, result[j])


cdef void sum_columns(vec *x, vec *out, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """out = the sums over the rows of x. x: (rows, columns) in; out: (columns,) out."""
    cdef ColumnSums sums
    sums.x, sums.y, sums.out = <char *>x, NULL, <char *>out
    sums.mean = sums.factor = NULL
    sums.rows, sums.columns, sums.stride = rows, columns, columns
    if columns <= PANEL_VECTORS and columns % lanes(x):
        sum_narrow(x, &sums)
    else:
        sum_panels(x, &sums)


# ---- the functions that Python calls ----

def sum_of(values):
    """Return the sum of all elements of a contiguous array of float32 or float64, in double."""
    cdef Buffers buffers
    cdef Py_buffer *view
    buffers.count = 0
    try:
        view = require_real(&buffers, values, READ)
        return element_sum(view.buf, view.len // view.itemsize, view.format[0])
    finally:
        release(&buffers)


def sum_of_squares(x):
    """Return the sum of the squares of all elements, in double."""
    cdef Buffers buffers
    cdef Py_buffer *v
    cdef Py_ssize_t n
    cdef double result
    cdef PyThreadState *state
    buffers.count = 0
    try:
        v = require_real(&buffers, x, READ)
        n = v.len // v.itemsize
        state = release_gil(n)
        if v.format[0] == c"f":
            result = square_sum(<vf *>v.buf, n)
        else:
            result = square_sum(<vd *>v.buf, n)
        restore_gil(state)
        return result
    finally:
        release(&buffers)


def column_sums(x, out):
    """out[c] = the sum of column c. x: (rows, columns) in; out: (columns,) out."""
    cdef Buffers buffers
    cdef Py_buffer *v
    cdef void *sums
    cdef PyThreadState *state
    buffers.count = 0
    try:
        v = require_matrix(&buffers, x, READ)
        sums = require_same_type(&buffers, out, WRITE, v.shape[1], "out")
        state = release_gil(v.shape[0] * v.shape[1])
        if v.format[0] == c"f":
            sum_columns(<vf *>v.buf, <vf *>sums, v.shape[0], v.shape[1])
        else:
            sum_columns(<vd *>v.buf, <vd *>sums, v.shape[0], v.shape[1])
        restore_gil(state)
    finally:
        release(&buffers)
