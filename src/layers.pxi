# Biases and layer normalisation, the sums over rows that their gradients are, and what the functions that Python calls
# in this file and those after it have in common: they raise TypeError for arrays of a wrong type or layout and
# ValueError where sizes disagree, so that no call can reach beyond an array; all else their callers see to.

cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        pass
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *)

ctypedef fused real:
    float
    double

# Vectors of columns that are summed side by side: at most as many as are 4 kB.
cdef enum:
    PANEL = 64


# ---- arrays, and the GIL ----

cdef Py_buffer *plain(Views *views, object array, bint writable) except NULL:
    """An array of float32 or float64 that the caller has made fit."""
    cdef Py_buffer *view
    contiguous(views, array, writable)
    view = &views.view[views.count - 1]
    if view.format[0] != c"f" and view.format[0] != c"d":
        raise TypeError("the kernels were given an array that is neither float32 nor float64")
    return view


cdef Py_buffer *matrix(Views *views, object array, bint writable) except NULL:
    """An array as `plain` takes it, of two axes."""
    cdef Py_buffer *view = plain(views, array, writable)
    if view.ndim != 2:
        raise ValueError(f"the kernel needs an array of 2 axes, got {view.ndim}")
    return view


cdef int check_count(Py_buffer *view, Py_ssize_t count, str name) except -1:
    """Raise unless the array has so many elements."""
    if view.len // view.itemsize != count:
        raise ValueError(f"`{name}` must have {count} elements, got {view.len // view.itemsize}")
    return 0


cdef void *elements(
    Views *views, object array, bint writable, char format, Py_ssize_t count, str name,
) except NULL:
    """Address of the `count` elements of an array of that type."""
    cdef Py_buffer *view = plain(views, array, writable)
    if view.format[0] != format:
        raise TypeError("the kernels were given arrays of different types")
    check_count(view, count, name)
    return view.buf


cdef void *partner(Views *views, object array, bint writable, Py_ssize_t count, str name) except NULL:
    """Address of the `count` elements of an array of the type of the first."""
    return elements(views, array, writable, views.view[0].format[0], count, name)


cdef inline PyThreadState *let_go(Py_ssize_t count) noexcept:
    """Release the GIL for work on so many elements if that pays; `take_back` must follow."""
    return PyEval_SaveThread() if count >= KEEP_GIL else NULL


cdef inline void take_back(PyThreadState *state) noexcept:
    if state != NULL:
        PyEval_RestoreThread(state)


# ---- biases, and sums over the rows for their gradients ----

cdef void add_bias_rows(vec *z, vec *bias, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """z += bias, for rows of at least a vector."""
    cdef Py_ssize_t width = lanes(z), full = columns // width, i, r
    cdef vec last
    cdef vec *row
    for r in range(rows):
        row = at(z, r * columns)
        last = at(row, columns - width)[0] + at(bias, columns - width)[0]
        for i in range(full):
            row[i] = row[i] + bias[i]
        at(row, columns - width)[0] = last


cdef void add_bias_narrow(vec *z, vec *bias, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """z += bias, for rows of less than a vector: every `columns` vectors the biases are in the same lanes again."""
    cdef vec[MOST_LANES] pattern
    cdef Py_ssize_t width = lanes(z), count = rows * columns, i = 0, j = 0
    for i in range(columns * width):
        set_element(&pattern[0], i, element(bias, i % columns))
    for i in range(count // width):
        z[i] = z[i] + pattern[j]
        j = j + 1 if j + 1 < columns else 0
    if count % width:
        i = count // width
        store(&z[i], count % width, load(&z[i], count % width) + pattern[j])


cdef inline vec add_term(
    vec s, vec *x, vec *y, Py_ssize_t row, Py_ssize_t index, Py_ssize_t count, vec *mean, vec *factor,
) noexcept nogil:
    """s plus `count` elements of x, in that row; unless y is NULL, times (y - mean) factor."""
    cdef vec value = load(at(x, index), count), m, f
    if y == NULL:
        return s + value
    m = splat(value, element(mean, row))
    f = splat(value, element(factor, row))
    return multiply_add(value, (load(at(y, index), count) - m) * f, s)


cdef inline vec rows_sum(
    vec *x, vec *y, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t j, Py_ssize_t count, vec *mean,
    vec *factor,
) noexcept nogil:
    """The sum over `rows` rows, from `row` on, of `count` columns, from j on."""
    cdef vec s = splat(x[0], 0.0)
    cdef Py_ssize_t first = row, r
    if y == NULL:                                   # nothing to multiply, and so nothing to add to
        s = load(at(x, row * columns + j), count)
        first += 1
    for r in range(first, row + rows):
        s = add_term(s, x, y, r, r * columns + j, count, mean, factor)
    return s


cdef inline void sum_panel(
    vec *x, vec *y, vec *mean, vec *factor, vec *out, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t count,
) noexcept nogil:
    """Sums over the rows of `count` columns, at most PANEL vectors; `add_term` says of what."""
    cdef vec[PANEL] total, lost
    cdef Py_ssize_t width = lanes(x), full = count // width, r = 0, k
    for k in range((count + width - 1) // width):
        total[k] = splat(x[0], 0.0)
        lost[k] = total[k]
    while r < rows:
        for k in range(full):
            if r + CHUNK <= rows:               # most often: a constant, so that the loop is unrolled
                accumulate(&total[k], &lost[k], rows_sum(x, y, r, CHUNK, columns, k * width, width, mean, factor))
            else:
                accumulate(&total[k], &lost[k], rows_sum(x, y, r, rows - r, columns, k * width, width, mean, factor))
        if count % width:
            accumulate(
                &total[full], &lost[full],
                rows_sum(x, y, r, min(CHUNK, rows - r), columns, full * width, count % width, mean, factor),
            )
        r += CHUNK
    for k in range(full):
        at(out, k * width)[0] = total[k] + lost[k]
    if count % width:
        store(at(out, full * width), count % width, total[full] + lost[full])


cdef inline void sum_panels(
    vec *x, vec *y, vec *mean, vec *factor, vec *out, Py_ssize_t rows, Py_ssize_t columns,
) noexcept nogil:
    """Sums over the rows; `add_term` says of what."""
    cdef Py_ssize_t most = PANEL * lanes(x), j = 0
    while j < columns:
        sum_panel(
            at(x, j), NULL if y == NULL else at(y, j), mean, factor, at(out, j), rows, columns, min(most, columns - j),
        )
        j += most


cdef void sum_narrow(vec *x, vec *out, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """Sums over the rows of at most PANEL columns, as a matrix of `lanes` times as many: `lanes` rows in each."""
    cdef vec[PANEL] sums
    cdef double[PANEL] result
    cdef Py_ssize_t width = lanes(x), blocks = rows // width, r, j
    for j in range(columns):
        result[j] = 0.0
    if blocks:
        sum_panel(x, <vec *>NULL, <vec *>NULL, <vec *>NULL, &sums[0], blocks, columns * width, columns * width)
        for r in range(width):
            for j in range(columns):
                result[j] += element(&sums[0], r * columns + j)
    for r in range(blocks * width, rows):
        for j in range(columns):
            result[j] += element(x, r * columns + j)
    for j in range(columns):
        set_element(out, j, result[j])


cdef void sum_columns(vec *x, vec *out, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    if columns <= PANEL and columns % lanes(x):
        sum_narrow(x, out, rows, columns)
    else:
        sum_panels(x, <vec *>NULL, <vec *>NULL, <vec *>NULL, out, rows, columns)


# ---- layer normalisation ----
#
# The last vector of a row overlaps the one before it, as in softmax.pxi; rows of less than a vector are all `last`.

cdef enum Moment:
    VALUE           # x
    SQUARE          # (x - mean)^2
    SLOPE           # dy gain
    PROJECTION      # dy gain (x - mean) / deviation


cdef inline vec add_moment(
    vec s, int moment, vec *x, vec *dy, vec *gain, Py_ssize_t index, Py_ssize_t count, vec mean, vec inverse,
) noexcept nogil:
    """s plus what `moment` says, for `count` elements."""
    cdef vec v
    if moment == VALUE:
        return s + load(at(x, index), count)
    if moment == SQUARE:
        v = load(at(x, index), count) - mean
        return multiply_add(v, v, s)
    v = load(at(dy, index), count)
    if moment == SLOPE:
        return multiply_add(v, load(at(gain, index), count), s)
    v = v * load(at(gain, index), count)
    return multiply_add(v, (load(at(x, index), count) - mean) * inverse, s)


cdef inline vec row_moment(
    int moment, vec *x, vec *dy, vec *gain, Py_ssize_t n, vec mean, vec inverse,
) noexcept nogil:
    """The mean over a row of what `moment` says, in every lane."""
    cdef Py_ssize_t width = lanes(gain), full = n // width, i = 0, stop
    cdef vec total = splat(gain[0], 0.0), zero = total, lost = total, s, count = splat(total, <double>n)
    while i < full:
        s = zero
        stop = min(i + CHUNK, full)
        while i < stop:
            s = add_moment(s, moment, x, dy, gain, i * width, width, mean, inverse)
            i += 1
        accumulate(&total, &lost, s)
    if n < width:
        s = add_moment(zero, moment, x, dy, gain, 0, n, mean, inverse)
        accumulate(&total, &lost, keep_first(s, n))
    elif n % width:
        s = add_moment(zero, moment, x, dy, gain, n - width, width, mean, inverse)
        accumulate(&total, &lost, keep_last(s, n % width, 0.0))
    total = lanes_sum(total + lost)
    return total / count


cdef inline vec normalised(
    vec *x, vec *gain, vec *bias, Py_ssize_t index, Py_ssize_t count, vec mean, vec inverse,
) noexcept nogil:
    cdef vec v = (load(at(x, index), count) - mean) * inverse
    return multiply_add(v, load(at(gain, index), count), load(at(bias, index), count))


cdef void normalise_rows(
    vec *x, vec *gain, vec *bias, double epsilon, vec *out, vec *mean, vec *inverse, Py_ssize_t rows, Py_ssize_t n,
) noexcept nogil:
    cdef Py_ssize_t width = lanes(x), count = min(n, width), r, i
    cdef vec m, f, last
    cdef vec *from_x
    cdef vec *to
    for r in range(rows):
        from_x = at(x, r * n)
        to = at(out, r * n)
        m = splat(x[0], 0.0)
        m = row_moment(VALUE, from_x, <vec *>NULL, gain, n, m, m)
        f = row_moment(SQUARE, from_x, <vec *>NULL, gain, n, m, m)
        f = square_root(f + splat(f, epsilon))
        f = 1 / f
        set_element(mean, r, element(&m, 0))
        set_element(inverse, r, element(&f, 0))
        last = normalised(from_x, gain, bias, n - count, count, m, f)
        for i in range(n // width):
            to[i] = normalised(from_x, gain, bias, i * width, width, m, f)
        store(at(to, n - count), count, last)


cdef inline vec normalised_vjp(
    vec *x, vec *dy, vec *gain, Py_ssize_t index, Py_ssize_t count, vec mean, vec inverse, vec slope, vec projection,
) noexcept nogil:
    cdef vec normal = (load(at(x, index), count) - mean) * inverse
    cdef vec g = load(at(dy, index), count) * load(at(gain, index), count)
    g = g - slope
    return inverse * subtract_product(g, normal, projection)


cdef void normalise_vjp_rows(
    vec *x, vec *gain, vec *mean, vec *inverse, vec *dy, vec *dx, Py_ssize_t rows, Py_ssize_t n,
) noexcept nogil:
    """dx = (g - mean(g) - normal mean(g normal)) / deviation with g = dy gain and `normal` the normalised x
    (J. L. Ba, J. R. Kiros and G. E. Hinton, Layer normalization, arXiv:1607.06450, for the forward pass)."""
    cdef Py_ssize_t width = lanes(x), count = min(n, width), r, i
    cdef vec m, f, slope, projection, last
    cdef vec *from_x
    cdef vec *from_dy
    cdef vec *to
    for r in range(rows):
        from_x = at(x, r * n)
        from_dy = at(dy, r * n)
        to = at(dx, r * n)
        m = splat(x[0], element(mean, r))
        f = splat(x[0], element(inverse, r))
        slope = row_moment(SLOPE, from_x, from_dy, gain, n, m, f)
        projection = row_moment(PROJECTION, from_x, from_dy, gain, n, m, f)
        last = normalised_vjp(from_x, from_dy, gain, n - count, count, m, f, slope, projection)
        for i in range(n // width):
            to[i] = normalised_vjp(from_x, from_dy, gain, i * width, width, m, f, slope, projection)
        store(at(to, n - count), count, last)


# ---- the functions that Python calls ----

def add_bias(z, bias):
    """z += bias for each row."""
    cdef Views views
    cdef Py_buffer *v
    cdef void *b
    cdef Py_ssize_t rows, columns
    cdef PyThreadState *state
    views.count = 0
    try:
        v = matrix(&views, z, True)
        rows, columns = v.shape[0], v.shape[1]
        b = partner(&views, bias, False, columns, "bias")
        state = let_go(rows * columns)
        if v.format[0] == c"f":
            if columns < lanes(<vf *>v.buf):
                add_bias_narrow(<vf *>v.buf, <vf *>b, rows, columns)
            else:
                add_bias_rows(<vf *>v.buf, <vf *>b, rows, columns)
        elif columns < lanes(<vd *>v.buf):
            add_bias_narrow(<vd *>v.buf, <vd *>b, rows, columns)
        else:
            add_bias_rows(<vd *>v.buf, <vd *>b, rows, columns)
        take_back(state)
    finally:
        release(&views)


def column_sums(x, out):
    """out[c] = the sum of column c."""
    cdef Views views
    cdef Py_buffer *v
    cdef void *sums
    cdef PyThreadState *state
    views.count = 0
    try:
        v = matrix(&views, x, False)
        sums = partner(&views, out, True, v.shape[1], "out")
        state = let_go(v.shape[0] * v.shape[1])
        if v.format[0] == c"f":
            sum_columns(<vf *>v.buf, <vf *>sums, v.shape[0], v.shape[1])
        else:
            sum_columns(<vd *>v.buf, <vd *>sums, v.shape[0], v.shape[1])
        take_back(state)
    finally:
        release(&views)


def layer_norm(x, gain, bias, double epsilon, out, mean, inverse_deviation):
    """Normalise each row, times gain, plus bias; the means and the inverses of the deviations, for the VJP."""
    cdef Views views
    cdef Py_buffer *v
    cdef void *g
    cdef void *b
    cdef void *y
    cdef void *m
    cdef void *f
    cdef Py_ssize_t rows, n
    cdef PyThreadState *state
    views.count = 0
    try:
        v = matrix(&views, x, False)
        rows, n = v.shape[0], v.shape[1]
        g = partner(&views, gain, False, n, "gain")
        b = partner(&views, bias, False, n, "bias")
        y = partner(&views, out, True, rows * n, "out")
        m = partner(&views, mean, True, rows, "mean")
        f = partner(&views, inverse_deviation, True, rows, "inverse_deviation")
        if n == 0:
            return
        state = let_go(rows * n)
        if v.format[0] == c"f":
            normalise_rows(<vf *>v.buf, <vf *>g, <vf *>b, epsilon, <vf *>y, <vf *>m, <vf *>f, rows, n)
        else:
            normalise_rows(<vd *>v.buf, <vd *>g, <vd *>b, epsilon, <vd *>y, <vd *>m, <vd *>f, rows, n)
        take_back(state)
    finally:
        release(&views)


cdef inline void normalise_vjp(
    vec *x, vec *gain, vec *mean, vec *inverse, vec *dy, vec *dx, vec *d_gain, vec *d_bias, Py_ssize_t rows,
    Py_ssize_t n,
) noexcept nogil:
    sum_panels(dy, x, mean, inverse, d_gain, rows, n)
    sum_columns(dy, d_bias, rows, n)
    normalise_vjp_rows(x, gain, mean, inverse, dy, dx, rows, n)


def layer_norm_vjp(x, gain, mean, inverse_deviation, dy, dx, d_gain, d_bias):
    """The VJP of layer_norm."""
    cdef Views views
    cdef Py_buffer *v
    cdef void *g
    cdef void *m
    cdef void *f
    cdef void *from_dy
    cdef void *to_dx
    cdef void *to_gain
    cdef void *to_bias
    cdef Py_ssize_t rows, n
    cdef PyThreadState *state
    views.count = 0
    try:
        v = matrix(&views, x, False)
        rows, n = v.shape[0], v.shape[1]
        g = partner(&views, gain, False, n, "gain")
        m = partner(&views, mean, False, rows, "mean")
        f = partner(&views, inverse_deviation, False, rows, "inverse_deviation")
        from_dy = partner(&views, dy, False, rows * n, "dy")
        to_dx = partner(&views, dx, True, rows * n, "dx")
        to_gain = partner(&views, d_gain, True, n, "d_gain")
        to_bias = partner(&views, d_bias, True, n, "d_bias")
        if n == 0:
            return
        state = let_go(rows * n)
        if v.format[0] == c"f":
            normalise_vjp(
                <vf *>v.buf, <vf *>g, <vf *>m, <vf *>f, <vf *>from_dy, <vf *>to_dx, <vf *>to_gain,
                <vf *>to_bias, rows, n,
            )
        else:
            normalise_vjp(
                <vd *>v.buf, <vd *>g, <vd *>m, <vd *>f, <vd *>from_dy, <vd *>to_dx, <vd *>to_gain,
                <vd *>to_bias, rows, n,
            )
        take_back(state)
    finally:
        release(&views)
