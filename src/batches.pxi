# What a training step does around the model: the rows of a batch, and the norm of the gradients.

# Vectors whose squares are summed before the sum is put away, compensated.
cdef enum:
    SQUARES = 64

# Rows from the one that is gathered to the one that is fetched meanwhile, as no processor can foresee it.
cdef enum:
    NEXT_ROW = 4

ctypedef fused raw:
    uint8_t
    float
    double


cdef double squares(vec *x, Py_ssize_t n) noexcept nogil:
    """Sum of squares, in double."""
    cdef Py_ssize_t width = lanes(<vd *>NULL), full = n // width, i = 0, stop
    cdef vd total = splat((<vd *>NULL)[0], 0.0), lost = total, s0, s1, s2, s3, v0, v1, v2, v3
    cdef double result
    while i < full:
        s0 = splat(total, 0.0)
        s1 = s0
        s2 = s0
        s3 = s0
        stop = min(i + SQUARES, full)
        while i + 4 <= stop:
            v0 = widen(at(x, i * width))
            v1 = widen(at(x, (i + 1) * width))
            v2 = widen(at(x, (i + 2) * width))
            v3 = widen(at(x, (i + 3) * width))
            s0 = multiply_add(v0, v0, s0)
            s1 = multiply_add(v1, v1, s1)
            s2 = multiply_add(v2, v2, s2)
            s3 = multiply_add(v3, v3, s3)
            i += 4
        while i < stop:
            v0 = widen(at(x, i * width))
            s0 = multiply_add(v0, v0, s0)
            i += 1
        accumulate(&total, &lost, (s0 + s1) + (s2 + s3))
    total = lanes_sum(total + lost)
    result = element(&total, 0)
    for i in range(full * width, n):
        result += element(x, i) * element(x, i)
    return result


cdef Py_ssize_t gather_rows(
    raw *x, Py_ssize_t rows, const volatile int64_t *indices, real *out, Py_ssize_t count, Py_ssize_t columns,
    double scale,
) noexcept nogil:
    """out[i] = x[indices[i]] * scale. Returns the place of an index that was out of range when it was used, else -1."""
    cdef Py_ssize_t i, j, k
    cdef int64_t index
    cdef raw *row
    cdef real *to
    cdef real factor = <real>scale
    for i in range(count):
        if i + NEXT_ROW < count:
            index = indices[i + NEXT_ROW]
            if 0 <= index < rows:
                k = 0
                while k < columns * <Py_ssize_t>sizeof(raw):
                    prefetch(<char *>(x + index * columns) + k)
                    k += 64
        index = indices[i]
        if not 0 <= index < rows:
            return i
        row = x + index * columns
        to = out + i * columns
        for j in range(columns):
            to[j] = <real>row[j] * factor
    return -1


cdef struct Gather:
    char *x
    char format             # of x: B, f or d
    Py_ssize_t rows
    const volatile int64_t *indices
    char *out
    Py_ssize_t columns
    double scale
    bint is_float           # out
    uint64_t bad            # whether an index was out of range when it was used


cdef inline Py_ssize_t gather_from(Gather *g, raw *x, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    cdef float *to_float = <float *>g.out + first * g.columns
    cdef double *to_double = <double *>g.out + first * g.columns
    if g.is_float:
        return gather_rows(x, g.rows, g.indices + first, to_float, count, g.columns, g.scale)
    return gather_rows(x, g.rows, g.indices + first, to_double, count, g.columns, g.scale)


cdef void gather_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Gather *g = <Gather *>work
    cdef Py_ssize_t bad
    if g.format == c"B":
        bad = gather_from(g, <uint8_t *>g.x, first, last - first)
    elif g.format == c"f":
        bad = gather_from(g, <float *>g.x, first, last - first)
    else:
        bad = gather_from(g, <double *>g.x, first, last - first)
    if bad >= 0:
        atomic_set(&g.bad, 1)


cdef void fill(real *x, const uint8_t *kept, Py_ssize_t n, real value) noexcept nogil:
    """x = value where `kept` is 0."""
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = x[i] if kept[i] != 0 else value


def fill_where_not(x, kept, double value):
    """x = value where `kept`, an array of bool of as many elements, is False."""
    cdef Views views
    cdef Py_buffer *v
    cdef Py_buffer *mask
    cdef PyThreadState *state
    views.count = 0
    try:
        v = plain(&views, x, True)
        contiguous(&views, kept, False)
        mask = &views.view[1]
        if mask.format[0] != c"?":
            raise TypeError("the kernel takes a mask of bool")
        if mask.len != v.len // v.itemsize:
            raise ValueError(f"`kept` must have {v.len // v.itemsize} elements, got {mask.len}")
        state = let_go(mask.len)
        if v.format[0] == c"f":
            fill(<float *>v.buf, <const uint8_t *>mask.buf, mask.len, <float>value)
        else:
            fill(<double *>v.buf, <const uint8_t *>mask.buf, mask.len, value)
        take_back(state)
    finally:
        release(&views)


def sum_of_squares(x):
    """The sum of the squares of all elements, in double."""
    cdef Views views
    cdef Py_buffer *v
    cdef Py_ssize_t n
    cdef double result
    cdef PyThreadState *state
    views.count = 0
    try:
        v = plain(&views, x, False)
        n = v.len // v.itemsize
        state = let_go(n)
        if v.format[0] == c"f":
            result = squares(<vf *>v.buf, n)
        else:
            result = squares(<vd *>v.buf, n)
        take_back(state)
        return result
    finally:
        release(&views)


def gather(x, indices, out, double scale):
    """out[i] = x[indices[i]] * scale, for rows of uint8, float32 or float64 and int64 indices."""
    cdef Views views
    cdef Gather g
    cdef Py_buffer *from_x
    cdef Py_buffer *chosen
    cdef Py_buffer *to
    cdef int64_t value
    cdef Py_ssize_t count, least, i
    cdef PyThreadState *state
    views.count = 0
    try:
        contiguous(&views, x, False)
        from_x = &views.view[0]
        contiguous(&views, indices, False)
        chosen = &views.view[1]
        to = matrix(&views, out, True)
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
        g.out, g.is_float, g.scale, g.bad = <char *>to.buf, to.format[0] == c"f", scale, 0
        for i in range(count):
            value = g.indices[i]
            if not 0 <= value < g.rows:
                raise IndexError(f"`indices` must be from 0 to {g.rows - 1}, got {value} at {i}")
        least = ELEMENTS_SHARE // (g.columns + 1) + 1
        state = begin(count * g.columns, count, least)
        share(gather_part, &g, count, 1, least)
        take_back(state)
        if g.bad:
            raise ValueError("`indices` must not change during the call, got one out of range meanwhile")
    finally:
        release(&views)
