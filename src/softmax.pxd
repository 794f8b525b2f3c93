# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""softmax, log_softmax and logsumexp.

A row kernel has the classes of one row in its lanes; numbers that belong to the row (maximum, sum) are vectors with the
same value in every lane. A tile kernel has one row in each lane: x points at class 0 of the first row, and class j is
`step` elements times j further.

Both shift by the row's maximum m (P. Blanchard, D. J. Higham and N. J. Higham, Accurately computing the log-sum-exp and
softmax functions, IMA J. Numer. Anal. 41, 2021, alg. 4.1 and 4.2). `rest` is the sum of the exponentials without the
maximum's own exp(0) = 1: log(sum) = log1p(rest) keeps its relative accuracy when the maximum dominates, and no small
term is added to a sum that is rounded at the size of the maximum.

The last vector of a row overlaps the one before it. It is loaded before anything is stored, so that working in place
writes the same bits twice instead of applying the function twice.
"""

from libc.math cimport INFINITY, isinf

from simd cimport (
    divide, element, exp_clamped, exp_lowest, inverse_remainder, keep_last, lanes, lanes_max, lanes_sum, load,
    log1p_nonnegative, maximum, multiply_add, prefetch, select_equal, select_less, set_element, splat, store, vec,
)
from task cimport PREFETCH_VECTORS, ROWS_TOGETHER, Block, Task
from vectors cimport CHUNK, accumulate, accumulate_finite, at


cdef inline vec lowest_difference(vec m, vec scale) noexcept nogil:
    """Return the difference x - m that gives exp_lowest."""
    cdef vec lowest = exp_lowest(m)
    return lowest / scale


cdef inline vec scaled_difference(vec x, vec m, vec scale, vec lowest) noexcept nogil:
    """Return (x - m) scale, but with x - m not below `lowest`. A scale of 1 costs no multiplication."""
    cdef vec d = x - m
    d = maximum(lowest, d)
    if element(&scale, 0) != 1.0:
        d = d * scale
    return d


cdef inline vec shrinking(vec m) noexcept nogil:
    """Return the power of 2 by which a difference x - m is to be taken: 1, unless it could be infinite.

    Such a power is exact: the smallest difference from an m above 1e30 is a large number. The temperature that comes
    after may make a difference finite that is not.
    """
    return select_less(splat(m, 1e30), m, splat(m, 1.0 / (1 << 20)), splat(m, 1.0))


cdef inline vec growing(vec m, vec scale) noexcept nogil:
    """Return scale / shrinking(m)."""
    return select_less(splat(m, 1e30), m, scale * splat(m, 1 << 20), scale)


cdef inline vec distance(vec x, vec m, vec scale) noexcept nogil:
    """Return (x - m) scale, also where x - m alone would be infinite."""
    cdef vec shrink = shrinking(m)
    return multiply_add(x, shrink, -(m * shrink)) * growing(m, scale)


cdef inline vec is_maximum(vec d) noexcept nogil:
    """Return 1 where d = 0, at a maximum, else 0."""
    return select_equal(d, splat(d, 0.0), splat(d, 1.0), splat(d, 0.0))


# ---- one row ----

cdef inline vec row_max(vec *x, Py_ssize_t n) noexcept nogil:
    """Return the maximum of n >= lanes elements, ignoring NaN, in every lane. x: (n,) in."""
    cdef Py_ssize_t width = lanes(x), full = n // width, i = 0
    cdef vec m0 = splat(x[0], -INFINITY)
    cdef vec m1 = m0, m2 = m0, m3 = m0
    while i + 4 <= full:
        m0 = maximum(x[i], m0)
        m1 = maximum(x[i + 1], m1)
        m2 = maximum(x[i + 2], m2)
        m3 = maximum(x[i + 3], m3)
        i += 4
    while i < full:
        m0 = maximum(x[i], m0)
        i += 1
    # Not before the others: the first pass over a row fetches it from memory, best from one end to the other.
    m0 = maximum(at(x, n - width)[0], m0)
    return lanes_max(maximum(maximum(m0, m1), maximum(m2, m3)))


cdef inline vec sum_chunk_exps(
    vec *x, vec *exps, Py_ssize_t count, vec m, vec scale, vec lowest, vec *maxima,
) noexcept nogil:
    """Return the sums of exp((x - m) scale), one in each lane, without maxima, which are counted in `maxima` instead.

    x: (count,) vectors in; exps: (count,) vectors out, or NULL.
    """
    cdef Py_ssize_t i
    cdef vec s = splat(m, 0.0), t = s, d0, d1, e0, e1, t0, t1
    for i in range(0, count - 1, 2):
        d0 = scaled_difference(x[i], m, scale, lowest)
        d1 = scaled_difference(x[i + 1], m, scale, lowest)
        e0 = exp_clamped(d0)
        e1 = exp_clamped(d1)
        prefetch(x + i + PREFETCH_VECTORS)
        prefetch(x + i + (PREFETCH_VECTORS + 1))
        if exps != NULL:
            exps[i] = e0
            exps[i + 1] = e1
            prefetch(exps + i + PREFETCH_VECTORS)
            prefetch(exps + i + (PREFETCH_VECTORS + 1))
        t0 = is_maximum(d0)
        t1 = is_maximum(d1)
        t = t + (t0 + t1)
        s = s + ((e0 - t0) + (e1 - t1))
    if count % 2:
        d0 = scaled_difference(x[count - 1], m, scale, lowest)
        e0 = exp_clamped(d0)
        if exps != NULL:
            exps[count - 1] = e0
        t0 = is_maximum(d0)
        t = t + t0
        s = s + (e0 - t0)
    maxima[0] = t
    return s


cdef inline vec sum_row_exps(vec *x, vec *exps, Py_ssize_t n, vec m, vec scale) noexcept nogil:
    """Return the sum of exp((x - m) scale) but for one maximum, in every lane. x: (n,) in; exps: (n,) out, or NULL."""
    cdef Py_ssize_t width = lanes(x), full = n // width, i = 0
    cdef vec last = at(x, n - width)[0], lowest = lowest_difference(m, scale)
    cdef vec total = splat(m, 0.0), lost = total, maxima = total, s, t, d, e
    while i < full:
        if i + CHUNK <= full:                   # most often: a constant, so that the loop is unrolled
            s = sum_chunk_exps(&x[i], NULL if exps == NULL else &exps[i], CHUNK, m, scale, lowest, &t)
        else:
            s = sum_chunk_exps(&x[i], NULL if exps == NULL else &exps[i], full - i, m, scale, lowest, &t)
        accumulate_finite(&total, &lost, s)
        maxima = maxima + t
        i += CHUNK
    if n > full * width:
        d = scaled_difference(last, m, scale, lowest)
        e = exp_clamped(d)
        if exps != NULL:
            at(exps, n - width)[0] = e
        t = keep_last(is_maximum(d), n - full * width, 0.0)
        e = keep_last(e, n - full * width, 0.0)
        accumulate_finite(&total, &lost, e - t)
        maxima = maxima + t
    return lanes_sum(total + lost) + (lanes_sum(maxima) - 1)


cdef inline void row_multiply(vec *y, Py_ssize_t n, vec factor) noexcept nogil:
    """y *= factor. y: (n,) in and out."""
    cdef Py_ssize_t width = lanes(y), full = n // width, i
    cdef vec last = at(y, n - width)[0]
    for i in range(full):
        y[i] = y[i] * factor
    at(y, n - width)[0] = last * factor


cdef inline void row_divide(vec *y, Py_ssize_t n, vec divisor) noexcept nogil:
    """y /= divisor. y: (n,) in and out."""
    cdef Py_ssize_t width = lanes(y), i
    cdef vec last = at(y, n - width)[0], inverse = 1 / divisor
    cdef vec lost = inverse_remainder(divisor, inverse)
    for i in range(n // width):
        y[i] = divide(y[i], divisor, inverse, lost)
    at(y, n - width)[0] = divide(last, divisor, inverse, lost)


cdef inline void softmax_rows(vec *like, Block *block, Task *task) noexcept nogil:
    """x: (rows, n) in; out: (rows, n) out, may be x."""
    cdef Py_ssize_t n = task.classes, r
    cdef vec *x = <vec *>block.x
    cdef vec *out = <vec *>block.out
    cdef vec[ROWS_TOGETHER] m, rest
    cdef vec scale = splat(x[0], task.scale)
    for r in range(block.rows):
        m[r] = row_max(at(x, r * block.x_step), n)
    for r in range(block.rows):
        rest[r] = sum_row_exps(at(x, r * block.x_step), at(out, r * block.out_step), n, m[r], scale)
    for r in range(block.rows):
        row_divide(at(out, r * block.out_step), n, 1 + rest[r])


cdef inline void row_shift(vec *x, vec *y, Py_ssize_t n, vec m, vec scale, vec log_sum) noexcept nogil:
    """y = (x - m) scale - log_sum. x: (n,) in; y: (n,) out, may be x."""
    cdef Py_ssize_t width = lanes(x), i
    cdef vec shrink = shrinking(m), grow = growing(m, scale), top = -(m * shrink), less = -log_sum, d
    cdef vec last = multiply_add(at(x, n - width)[0], shrink, top)
    for i in range(n // width):
        d = multiply_add(x[i], shrink, top)
        y[i] = multiply_add(d, grow, less)
    at(y, n - width)[0] = multiply_add(last, grow, less)


cdef inline void log_softmax_rows(vec *like, Block *block, Task *task) noexcept nogil:
    """x: (rows, n) in; out: (rows, n) out, may be x."""
    cdef Py_ssize_t n = task.classes, r
    cdef vec *x = <vec *>block.x
    cdef vec[ROWS_TOGETHER] m, rest
    cdef vec scale = splat(x[0], task.scale)
    for r in range(block.rows):
        m[r] = row_max(at(x, r * block.x_step), n)
    for r in range(block.rows):
        rest[r] = sum_row_exps(at(x, r * block.x_step), <vec *>NULL, n, m[r], scale)
    for r in range(block.rows):
        rest[r] = log1p_nonnegative(rest[r])
    for r in range(block.rows):
        row_shift(at(x, r * block.x_step), at(<vec *>block.out, r * block.out_step), n, m[r], scale, rest[r])


cdef inline double infinite_logsumexp(double m, vec *x, Py_ssize_t step, Py_ssize_t n) noexcept nogil:
    """Return logsumexp of a row whose maximum m is infinite: m itself, unless there is a NaN.

    x: (n,) in, `step` elements apart.
    """
    cdef Py_ssize_t j
    for j in range(n):
        if element(x, j * step) != element(x, j * step):
            return element(x, j * step)
    return m


cdef inline void logsumexp_rows(vec *like, Block *block, Task *task) noexcept nogil:
    """x: (rows, n) in; task.row_out: (rows,) out, from the block's first on."""
    cdef Py_ssize_t n = task.classes, r
    cdef vec *x = <vec *>block.x
    cdef vec[ROWS_TOGETHER] m, result
    cdef vec one = splat(x[0], 1.0)
    for r in range(block.rows):
        m[r] = row_max(at(x, r * block.x_step), n)
    for r in range(block.rows):
        result[r] = sum_row_exps(at(x, r * block.x_step), <vec *>NULL, n, m[r], one)
    for r in range(block.rows):
        result[r] = m[r] + log1p_nonnegative(result[r])
    for r in range(block.rows):
        if isinf(element(&m[r], 0)):
            set_element(&result[r], 0, infinite_logsumexp(element(&m[r], 0), at(x, r * block.x_step), 1, n))
        set_element(<vec *>task.row_out, block.first + r, element(&result[r], 0))


# ---- a tile: a row in each lane ----

cdef inline vec tile_max(vec *x, Block *block, Py_ssize_t n) noexcept nogil:
    """Return the maximum of each row, ignoring NaN. x: (n, count) in."""
    cdef Py_ssize_t step = block.x_step, count = block.count, j
    cdef vec m0 = splat(x[0], -INFINITY), m1
    m1 = m0
    for j in range(0, n - 1, 2):
        m0 = maximum(load(at(x, j * step), count), m0)
        m1 = maximum(load(at(x, (j + 1) * step), count), m1)
    if n % 2:
        m0 = maximum(load(at(x, (n - 1) * step), count), m0)
    return maximum(m0, m1)


cdef inline vec sum_tile_exps(vec *exps, Block *block, Py_ssize_t n, vec m, vec scale) noexcept nogil:
    """Return the sum of exp((x - m) scale) of each row but for one maximum.

    x: (n, count) in; exps: (n, count) out, where the block has its out, or NULL.
    """
    cdef vec *x = <vec *>block.x
    cdef Py_ssize_t count = block.count, j = 0, stop
    cdef vec zero = splat(m, 0.0), lowest = lowest_difference(m, scale)
    cdef vec total = zero, lost = zero, maxima = zero, maxima_lost = zero, s, t, d, e, top
    while j < n:
        s = zero
        t = zero
        stop = min(j + CHUNK, n)
        while j < stop:
            d = load(at(x, j * block.x_step), count)
            d = scaled_difference(d, m, scale, lowest)
            e = exp_clamped(d)
            if exps != NULL:
                store(at(exps, j * block.out_step), count, e)
            top = is_maximum(d)
            s = s + (e - top)
            t = t + top
            j += 1
        accumulate(&total, &lost, s)
        accumulate(&maxima, &maxima_lost, t)
    total = total + lost
    maxima = maxima + maxima_lost
    return total + (maxima - 1)


cdef inline void softmax_tile(vec *like, Block *block, Task *task) noexcept nogil:
    """x: (n, count) in; out: (n, count) out, may be x."""
    cdef Py_ssize_t n = task.classes, j
    cdef vec *out = <vec *>block.out
    cdef vec m = tile_max(<vec *>block.x, block, n)
    cdef vec total = 1 + sum_tile_exps(out, block, n, m, splat(m, task.scale))
    cdef vec inverse = 1 / total, e
    cdef vec lost = inverse_remainder(total, inverse)
    for j in range(n):
        e = load(at(out, j * block.out_step), block.count)
        store(at(out, j * block.out_step), block.count, divide(e, total, inverse, lost))


cdef inline void log_softmax_tile(vec *like, Block *block, Task *task) noexcept nogil:
    """x: (n, count) in; out: (n, count) out, may be x."""
    cdef Py_ssize_t n = task.classes, j
    cdef vec *x = <vec *>block.x
    cdef vec *out = <vec *>block.out
    cdef vec m = tile_max(x, block, n)
    cdef vec scale = splat(m, task.scale)
    cdef vec less = -log1p_nonnegative(sum_tile_exps(<vec *>NULL, block, n, m, scale)), d
    cdef vec shrink = shrinking(m), grow = growing(m, scale), top = -(m * shrink)
    for j in range(n):
        d = multiply_add(load(at(x, j * block.x_step), block.count), shrink, top)
        store(at(out, j * block.out_step), block.count, multiply_add(d, grow, less))


cdef inline void logsumexp_tile(vec *like, Block *block, Task *task) noexcept nogil:
    """x: (n, count) in; task.row_out: (rows,) out, from the block's first on."""
    cdef Py_ssize_t n = task.classes, i
    cdef vec *x = <vec *>block.x
    cdef vec m = tile_max(x, block, n)
    cdef vec rest = sum_tile_exps(<vec *>NULL, block, n, m, splat(m, 1.0))
    store(at(<vec *>task.row_out, block.first), block.rows, m + log1p_nonnegative(rest))
    for i in range(block.rows):
        if isinf(element(&m, i)):
            set_element(
                <vec *>task.row_out, block.first + i, infinite_logsumexp(element(&m, i), at(x, i), block.x_step, n),
            )
