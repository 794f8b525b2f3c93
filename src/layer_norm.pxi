# Layer normalisation (J. L. Ba, J. R. Kiros and G. E. Hinton, Layer normalization, arXiv:1607.06450).
#
# The last vector of a row overlaps the one before it, as in softmax.pxd; rows of less than a vector are all `last`.

from simd cimport (
    element, keep_first, keep_last, lanes, lanes_sum, load, multiply_add, set_element, splat, square_root, store,
    subtract_product, vd, vec, vf,
)
from vectors cimport CHUNK, accumulate, at

# A pass over all rows, or, in `..._row` and `add_moment`, over one: there the pointers to what has rows point to it.
cdef struct LayerNorm:
    char *x                 # (rows, n)
    char *dy                # (rows, n), the VJP alone
    char *gain              # (n,)
    char *bias              # (n,), not the VJP
    char *out               # (rows, n): dx in the VJP
    char *mean              # (rows,): out, in the VJP in
    char *inverse           # (rows,), of the deviations: out, in the VJP in
    double epsilon
    Py_ssize_t rows
    Py_ssize_t n

cdef enum Moment:
    VALUE           # x
    SQUARE          # (x - mean)^2
    SLOPE           # dy gain
    PROJECTION      # dy gain (x - mean) / deviation


cdef inline void move_to_row(vec *like, LayerNorm *row, LayerNorm *norm, Py_ssize_t r) noexcept nogil:
    """Make `row`, a copy of the pass, the pass over row r."""
    row.x = <char *>at(<vec *>norm.x, r * norm.n)
    row.out = <char *>at(<vec *>norm.out, r * norm.n)
    if norm.dy != NULL:
        row.dy = <char *>at(<vec *>norm.dy, r * norm.n)


cdef inline vec add_moment(
    vec s, Moment moment, LayerNorm *row, Py_ssize_t index, Py_ssize_t count, vec mean, vec inverse,
) noexcept nogil:
    """Return s plus what `moment` says, for `count` elements of a row."""
    cdef vec v
    if moment == VALUE:
        return s + load(at(<vec *>row.x, index), count)
    if moment == SQUARE:
        v = load(at(<vec *>row.x, index), count) - mean
        return multiply_add(v, v, s)
    v = load(at(<vec *>row.dy, index), count)
    if moment == SLOPE:
        return multiply_add(v, load(at(<vec *>row.gain, index), count), s)
    v = v * load(at(<vec *>row.gain, index), count)
    return multiply_add(v, (load(at(<vec *>row.x, index), count) - mean) * inverse, s)


cdef inline vec row_moment(Moment moment, LayerNorm *row, vec mean, vec inverse) noexcept nogil:
    """Return the mean over a row of what `moment` says, in every lane."""
    cdef Py_ssize_t n = row.n, width = lanes(&mean), full = n // width, i = 0, stop
    cdef vec total = splat(mean, 0.0), zero = total, lost = total, s, count = splat(total, <double>n)
    while i < full:
        s = zero
        stop = min(i + CHUNK, full)
        while i < stop:
            s = add_moment(s, moment, row, i * width, width, mean, inverse)
            i += 1
        accumulate(&total, &lost, s)
    if n < width:
        s = add_moment(zero, moment, row, 0, n, mean, inverse)
        accumulate(&total, &lost, keep_first(s, n))
    elif n % width:
        s = add_moment(zero, moment, row, n - width, width, mean, inverse)
        accumulate(&total, &lost, keep_last(s, n % width, 0.0))
    total = lanes_sum(total + lost)
    return total / count


cdef inline vec normalised(LayerNorm *row, Py_ssize_t index, Py_ssize_t count, vec mean, vec inverse) noexcept nogil:
    """Return `count` elements of the result."""
    cdef vec v = (load(at(<vec *>row.x, index), count) - mean) * inverse
    return multiply_add(v, load(at(<vec *>row.gain, index), count), load(at(<vec *>row.bias, index), count))


cdef void normalise_rows(vec *like, LayerNorm *norm) noexcept nogil:
    """x: (rows, n) in; gain, bias: (n,) in; out: (rows, n) out; mean, inverse: (rows,) out."""
    cdef Py_ssize_t n = norm.n, width = lanes(like), count = min(n, width), r, i
    cdef vec m, f, last
    cdef vec *out
    cdef LayerNorm row = norm[0]
    for r in range(norm.rows):
        move_to_row(like, &row, norm, r)
        out = <vec *>row.out
        m = splat(like[0], 0.0)
        m = row_moment(VALUE, &row, m, m)
        f = row_moment(SQUARE, &row, m, m)
        f = square_root(f + splat(f, norm.epsilon))
        f = 1 / f
        set_element(<vec *>norm.mean, r, element(&m, 0))
        set_element(<vec *>norm.inverse, r, element(&f, 0))
        last = normalised(&row, n - count, count, m, f)
        for i in range(n // width):
            out[i] = normalised(&row, i * width, width, m, f)
        store(at(out, n - count), count, last)


cdef inline vec normalised_vjp(
    LayerNorm *row, Py_ssize_t index, Py_ssize_t count, vec mean, vec inverse, vec slope, vec projection,
) noexcept nogil:
    """Return `count` elements of the gradient."""
    cdef vec normal = (load(at(<vec *>row.x, index), count) - mean) * inverse
    cdef vec g = load(at(<vec *>row.dy, index), count) * load(at(<vec *>row.gain, index), count)
    g = g - slope
    return inverse * subtract_product(g, normal, projection)


cdef void normalise_vjp_rows(vec *like, LayerNorm *norm) noexcept nogil:
    """dx = (g - mean(g) - normal mean(g normal)) / deviation with g = dy gain and `normal` the normalised x.

    x, dy: (rows, n) in; gain: (n,) in; mean, inverse: (rows,) in; out: (rows, n) out, may be dy.
    """
    cdef Py_ssize_t n = norm.n, width = lanes(like), count = min(n, width), r, i
    cdef vec m, f, slope, projection, last
    cdef vec *out
    cdef LayerNorm row = norm[0]
    for r in range(norm.rows):
        move_to_row(like, &row, norm, r)
        out = <vec *>row.out
        m = splat(like[0], element(<vec *>norm.mean, r))
        f = splat(like[0], element(<vec *>norm.inverse, r))
        slope = row_moment(SLOPE, &row, m, f)
        projection = row_moment(PROJECTION, &row, m, f)
        last = normalised_vjp(&row, n - count, count, m, f, slope, projection)
        for i in range(n // width):
            out[i] = normalised_vjp(&row, i * width, width, m, f, slope, projection)
        store(at(out, n - count), count, last)


cdef void sum_parameter_gradients(vec *like, LayerNorm *norm, void *d_gain, void *d_bias) noexcept nogil:
    """d_gain, d_bias: (n,) out. x, dy: (rows, n) in; mean, inverse: (rows,) in."""
    cdef ColumnSums sums
    sums.x, sums.y, sums.mean, sums.factor = norm.dy, norm.x, norm.mean, norm.inverse
    sums.rows, sums.columns, sums.stride = norm.rows, norm.n, norm.n
    sums.out = <char *>d_gain
    sum_panels(like, &sums)
    sum_columns(<vec *>norm.dy, <vec *>d_bias, norm.rows, norm.n)


# ---- the functions that Python calls ----

def layer_norm(x, gain, bias, double epsilon, out, mean, inverse_deviation):
    """Normalise each row, times gain, plus bias; the means and the inverses of the deviations are for the VJP.

    x: (rows, n) in; gain, bias: (n,) in; out: (rows, n) out, may be x; mean, inverse_deviation: (rows,) out.
    """
    cdef Buffers buffers
    cdef LayerNorm norm
    cdef Py_buffer *v
    cdef PyThreadState *state
    buffers.count = 0
    try:
        v = require_matrix(&buffers, x, READ)
        norm.rows, norm.n, norm.epsilon = v.shape[0], v.shape[1], epsilon
        norm.x, norm.dy = <char *>v.buf, NULL
        norm.gain = <char *>require_same_type(&buffers, gain, READ, norm.n, "gain")
        norm.bias = <char *>require_same_type(&buffers, bias, READ, norm.n, "bias")
        norm.out = <char *>require_same_type(&buffers, out, WRITE, norm.rows * norm.n, "out")
        norm.mean = <char *>require_same_type(&buffers, mean, WRITE, norm.rows, "mean")
        norm.inverse = <char *>require_same_type(&buffers, inverse_deviation, WRITE, norm.rows, "inverse_deviation")
        if norm.n == 0:
            return
        state = release_gil(norm.rows * norm.n)
        if v.format[0] == c"f":
            normalise_rows(<vf *>NULL, &norm)
        else:
            normalise_rows(<vd *>NULL, &norm)
        restore_gil(state)
    finally:
        release(&buffers)


def layer_norm_vjp(x, gain, mean, inverse_deviation, dy, dx, d_gain, d_bias):
    """The VJP of layer_norm.

    x, dy: (rows, n) in; gain: (n,) in; mean, inverse_deviation: (rows,) in, as layer_norm wrote them; dx: (rows, n)
    out, may be dy; d_gain, d_bias: (n,) out.
    """
    cdef Buffers buffers
    cdef LayerNorm norm
    cdef Py_buffer *v
    cdef void *to_gain
    cdef void *to_bias
    cdef PyThreadState *state
    buffers.count = 0
    try:
        v = require_matrix(&buffers, x, READ)
        norm.rows, norm.n = v.shape[0], v.shape[1]
        norm.x, norm.bias = <char *>v.buf, NULL
        norm.gain = <char *>require_same_type(&buffers, gain, READ, norm.n, "gain")
        norm.mean = <char *>require_same_type(&buffers, mean, READ, norm.rows, "mean")
        norm.inverse = <char *>require_same_type(&buffers, inverse_deviation, READ, norm.rows, "inverse_deviation")
        norm.dy = <char *>require_same_type(&buffers, dy, READ, norm.rows * norm.n, "dy")
        norm.out = <char *>require_same_type(&buffers, dx, WRITE, norm.rows * norm.n, "dx")
        to_gain = require_same_type(&buffers, d_gain, WRITE, norm.n, "d_gain")
        to_bias = require_same_type(&buffers, d_bias, WRITE, norm.n, "d_bias")
        if norm.n == 0:
            return
        state = release_gil(norm.rows * norm.n)
        if v.format[0] == c"f":
            sum_parameter_gradients(<vf *>NULL, &norm, to_gain, to_bias)
            normalise_vjp_rows(<vf *>NULL, &norm)
        else:
            sum_parameter_gradients(<vd *>NULL, &norm, to_gain, to_bias)
            normalise_vjp_rows(<vd *>NULL, &norm)
        restore_gil(state)
    finally:
        release(&buffers)
