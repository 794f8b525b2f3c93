# softmax, log_softmax and logsumexp.
#
# A row kernel has the classes of one row in its lanes; numbers that belong to the row (maximum, sum) are
# vectors with the same value in every lane. A tile kernel has one row in each lane: x points at class 0 of
# the first row, and class j is `step` elements times j further.
#
# Both shift by the row's maximum m (P. Blanchard, D. J. Higham and N. J. Higham, Accurately computing the
# log-sum-exp and softmax functions, IMA J. Numer. Anal. 41, 2021, alg. 4.1 and 4.2). `rest` is the sum of
# the exponentials without the maximum's own exp(0) = 1: log(sum) = log1p(rest) keeps its relative accuracy
# when the maximum dominates, and no small term is added to a sum that is rounded at the size of the maximum.
#
# The last vector of a row overlaps the one before it. It is loaded before anything is stored, so that
# working in place writes the same bits twice instead of applying the function twice.


cdef inline vec lowest_difference(vec m, vec scale) noexcept nogil:
    """The difference x - m that gives exp_lowest."""
    cdef vec lowest = exp_lowest(m)
    return lowest / scale


cdef inline vec shifted(vec x, vec m, vec scale, vec lowest) noexcept nogil:
    """(x - m) scale, but with x - m not below `lowest`. A scale of 1 costs no multiplication."""
    cdef vec d = x - m
    d = maximum(lowest, d)
    if element(&scale, 0) != 1.0:
        d = d * scale
    return d


# ---- one row ----

cdef inline vec row_max(vec *x, Py_ssize_t n) noexcept nogil:
    """Maximum of n >= lanes elements, ignoring NaN, in every lane."""
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


cdef inline vec is_top(vec d) noexcept nogil:
    """1 where d = 0, at a maximum, else 0."""
    return select_equal(d, splat(d, 0.0), splat(d, 1.0), splat(d, 0.0))


cdef inline vec chunk_rest(
    vec *x, vec *y, Py_ssize_t count, vec m, vec scale, vec lowest, vec *tops,
) noexcept nogil:
    """Sum of exp((x - m) scale) over `count` vectors, without maxima, which are counted in `tops` instead; the
    exponentials go to y unless NULL."""
    cdef Py_ssize_t i
    cdef vec s = splat(m, 0.0), t = s, d0, d1, e0, e1, t0, t1
    for i in range(0, count - 1, 2):
        d0 = shifted(x[i], m, scale, lowest)
        d1 = shifted(x[i + 1], m, scale, lowest)
        e0 = exp_clamped(d0)
        e1 = exp_clamped(d1)
        prefetch(x + i + AHEAD)
        prefetch(x + i + (AHEAD + 1))
        if y != NULL:
            y[i] = e0
            y[i + 1] = e1
            prefetch(y + i + AHEAD)
            prefetch(y + i + (AHEAD + 1))
        t0 = is_top(d0)
        t1 = is_top(d1)
        t = t + (t0 + t1)
        s = s + ((e0 - t0) + (e1 - t1))
    if count % 2:
        d0 = shifted(x[count - 1], m, scale, lowest)
        e0 = exp_clamped(d0)
        if y != NULL:
            y[count - 1] = e0
        t0 = is_top(d0)
        t = t + t0
        s = s + (e0 - t0)
    tops[0] = t
    return s


cdef inline vec row_rest(vec *x, vec *y, Py_ssize_t n, vec m, vec scale) noexcept nogil:
    """Sum of exp((x - m) scale) but for one maximum, in every lane; the exponentials go to y unless NULL."""
    cdef Py_ssize_t width = lanes(x), full = n // width, i = 0
    cdef vec last = at(x, n - width)[0], lowest = lowest_difference(m, scale)
    cdef vec total = splat(m, 0.0), lost = total, tops = total, s, t, d, e
    while i < full:
        if i + CHUNK <= full:                   # most often: a constant, so that the loop is unrolled
            s = chunk_rest(&x[i], NULL if y == NULL else &y[i], CHUNK, m, scale, lowest, &t)
        else:
            s = chunk_rest(&x[i], NULL if y == NULL else &y[i], full - i, m, scale, lowest, &t)
        accumulate_finite(&total, &lost, s)
        tops = tops + t
        i += CHUNK
    if n > full * width:
        d = shifted(last, m, scale, lowest)
        e = exp_clamped(d)
        if y != NULL:
            at(y, n - width)[0] = e
        t = keep_last(is_top(d), n - full * width, 0.0)
        e = keep_last(e, n - full * width, 0.0)
        accumulate_finite(&total, &lost, e - t)
        tops = tops + t
    return lanes_sum(total + lost) + (lanes_sum(tops) - 1)


cdef inline void row_multiply(vec *y, Py_ssize_t n, vec factor) noexcept nogil:
    """y *= factor."""
    cdef Py_ssize_t width = lanes(y), full = n // width, i
    cdef vec last = at(y, n - width)[0]
    for i in range(full):
        y[i] = y[i] * factor
    at(y, n - width)[0] = last * factor


cdef inline void row_divide(vec *y, Py_ssize_t n, vec divisor) noexcept nogil:
    """y /= divisor."""
    cdef Py_ssize_t width = lanes(y), i
    cdef vec last = at(y, n - width)[0], inverse = 1 / divisor
    cdef vec lost = inverse_remainder(divisor, inverse)
    for i in range(n // width):
        y[i] = divide(y[i], divisor, inverse, lost)
    at(y, n - width)[0] = divide(last, divisor, inverse, lost)


cdef inline void softmax_rows(
    vec *x, Py_ssize_t x_step, vec *y, Py_ssize_t y_step, Py_ssize_t count, Task *task,
) noexcept nogil:
    cdef Py_ssize_t n = task.classes, r
    cdef vec[ROWS] m, rest
    cdef vec scale = splat(x[0], task.scale)
    for r in range(count):
        m[r] = row_max(at(x, r * x_step), n)
    for r in range(count):
        rest[r] = row_rest(at(x, r * x_step), at(y, r * y_step), n, m[r], scale)
    for r in range(count):
        row_divide(at(y, r * y_step), n, 1 + rest[r])


cdef inline void row_shift(vec *x, vec *y, Py_ssize_t n, vec m, vec scale, vec log_sum) noexcept nogil:
    """y = (x - m) scale - log_sum."""
    cdef Py_ssize_t width = lanes(x), i
    cdef vec last = at(x, n - width)[0] - m, less = -log_sum, d
    for i in range(n // width):
        d = x[i] - m
        y[i] = multiply_add(d, scale, less)
    at(y, n - width)[0] = multiply_add(last, scale, less)


cdef inline void log_softmax_rows(
    vec *x, Py_ssize_t x_step, vec *y, Py_ssize_t y_step, Py_ssize_t count, Task *task,
) noexcept nogil:
    cdef Py_ssize_t n = task.classes, r
    cdef vec[ROWS] m, rest
    cdef vec scale = splat(x[0], task.scale)
    for r in range(count):
        m[r] = row_max(at(x, r * x_step), n)
    for r in range(count):
        rest[r] = row_rest(at(x, r * x_step), <vec *>NULL, n, m[r], scale)
    for r in range(count):
        rest[r] = log1p_nonnegative(rest[r])
    for r in range(count):
        row_shift(at(x, r * x_step), at(y, r * y_step), n, m[r], scale, rest[r])


cdef inline double infinite_logsumexp(double m, vec *x, Py_ssize_t step, Py_ssize_t n) noexcept nogil:
    """logsumexp of a row whose maximum m is infinite: m itself, unless there is a NaN."""
    cdef Py_ssize_t j
    for j in range(n):
        if element(x, j * step) != element(x, j * step):
            return element(x, j * step)
    return m


cdef inline void logsumexp_rows(vec *x, Py_ssize_t x_step, Py_ssize_t count, Task *task, Py_ssize_t row) noexcept nogil:
    cdef Py_ssize_t n = task.classes, r
    cdef vec[ROWS] m, result
    cdef vec one = splat(x[0], 1.0)
    for r in range(count):
        m[r] = row_max(at(x, r * x_step), n)
    for r in range(count):
        result[r] = row_rest(at(x, r * x_step), <vec *>NULL, n, m[r], one)
    for r in range(count):
        result[r] = m[r] + log1p_nonnegative(result[r])
    for r in range(count):
        if isinf(element(&m[r], 0)):
            set_element(&result[r], 0, infinite_logsumexp(element(&m[r], 0), at(x, r * x_step), 1, n))
        set_element(<vec *>task.row_out, row + r, element(&result[r], 0))


# ---- a tile: `count` rows, one in each lane ----

cdef inline vec tile_max(vec *x, Py_ssize_t step, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t j
    cdef vec m0 = splat(x[0], -INFINITY), m1
    m1 = m0
    for j in range(0, n - 1, 2):
        m0 = maximum(load(at(x, j * step), count), m0)
        m1 = maximum(load(at(x, (j + 1) * step), count), m1)
    if n % 2:
        m0 = maximum(load(at(x, (n - 1) * step), count), m0)
    return maximum(m0, m1)


cdef inline vec tile_rest(
    vec *x, Py_ssize_t x_step, vec *y, Py_ssize_t y_step, Py_ssize_t n, Py_ssize_t count, vec m, vec scale,
) noexcept nogil:
    """Sum of exp((x - m) scale) but for one maximum; the exponentials go to y unless it is NULL."""
    cdef Py_ssize_t j = 0, stop
    cdef vec zero = splat(m, 0.0), lowest = lowest_difference(m, scale)
    cdef vec total = zero, lost = zero, tops = zero, tops_lost = zero, s, t, d, e, top
    while j < n:
        s = zero
        t = zero
        stop = min(j + CHUNK, n)
        while j < stop:
            d = load(at(x, j * x_step), count)
            d = shifted(d, m, scale, lowest)
            e = exp_clamped(d)
            if y != NULL:
                store(at(y, j * y_step), count, e)
            top = is_top(d)
            s = s + (e - top)
            t = t + top
            j += 1
        accumulate(&total, &lost, s)
        accumulate(&tops, &tops_lost, t)
    total = total + lost
    tops = tops + tops_lost
    return total + (tops - 1)


cdef inline void softmax_tile(
    vec *x, Py_ssize_t x_step, vec *y, Py_ssize_t y_step, Py_ssize_t count, Task *task,
) noexcept nogil:
    cdef Py_ssize_t n = task.classes, j
    cdef vec m = tile_max(x, x_step, n, count)
    cdef vec total = 1 + tile_rest(x, x_step, y, y_step, n, count, m, splat(m, task.scale))
    cdef vec inverse = 1 / total, e
    cdef vec lost = inverse_remainder(total, inverse)
    for j in range(n):
        e = load(at(y, j * y_step), count)
        store(at(y, j * y_step), count, divide(e, total, inverse, lost))


cdef inline void log_softmax_tile(
    vec *x, Py_ssize_t x_step, vec *y, Py_ssize_t y_step, Py_ssize_t count, Task *task,
) noexcept nogil:
    cdef Py_ssize_t n = task.classes, j
    cdef vec m = tile_max(x, x_step, n, count)
    cdef vec scale = splat(m, task.scale)
    cdef vec less = -log1p_nonnegative(tile_rest(x, x_step, <vec *>NULL, 0, n, count, m, scale)), d
    for j in range(n):
        d = load(at(x, j * x_step), count) - m
        store(at(y, j * y_step), count, multiply_add(d, scale, less))


cdef inline void logsumexp_tile(
    vec *x, Py_ssize_t x_step, Py_ssize_t count, Task *task, Py_ssize_t row, Py_ssize_t rows,
) noexcept nogil:
    cdef Py_ssize_t n = task.classes, i
    cdef vec m = tile_max(x, x_step, n, count)
    cdef vec rest = tile_rest(x, x_step, <vec *>NULL, 0, n, count, m, splat(m, 1.0))
    store(at(<vec *>task.row_out, row), rows, m + log1p_nonnegative(rest))
    for i in range(rows):
        if isinf(element(&m, i)):
            set_element(
                <vec *>task.row_out, row + i, infinite_logsumexp(element(&m, i), at(x, i), x_step, n),
            )
