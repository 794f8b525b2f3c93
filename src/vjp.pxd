# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The vector-Jacobian products of softmax and log_softmax, from the output and the incoming gradient.

    softmax:      dz = y (dy - <y, dy>) / T            J = (diag(y) - y y^T) / T
    log_softmax:  dz = (dy - exp(log_y) sum(dy)) / T   J = (I - 1 exp(log_y)^T) / T

In a block x is the output, y the incoming gradient and out the result, which may be either of them: each element is
read before it is written.
"""

from simd cimport (
    exp_nonpositive, keep_last, lanes, lanes_sum, load, multiply_add, splat, store, subtract_product, vec,
)
from task cimport ROWS_TOGETHER, Block, Task
from vectors cimport CHUNK, accumulate, at


cdef inline vec row_dot(vec *a, vec *b, Py_ssize_t n) noexcept nogil:
    """Return <a, b>, or the sum of b where a is NULL, in every lane. a, b: (n,) in."""
    cdef Py_ssize_t width = lanes(b), full = n // width, i = 0, stop
    cdef vec total = splat(b[0], 0.0), lost = total, last, s0, s1, s2, s3
    while i < full:
        s0 = splat(total, 0.0)
        s1 = s0
        s2 = s0
        s3 = s0
        stop = min(i + 4 * CHUNK, full)
        while i + 4 <= stop:
            if a != NULL:
                s0 = multiply_add(a[i], b[i], s0)
                s1 = multiply_add(a[i + 1], b[i + 1], s1)
                s2 = multiply_add(a[i + 2], b[i + 2], s2)
                s3 = multiply_add(a[i + 3], b[i + 3], s3)
            else:
                s0 = s0 + b[i]
                s1 = s1 + b[i + 1]
                s2 = s2 + b[i + 2]
                s3 = s3 + b[i + 3]
            i += 4
        while i < stop:
            if a != NULL:
                s0 = multiply_add(a[i], b[i], s0)
            else:
                s0 = s0 + b[i]
            i += 1
        accumulate(&total, &lost, (s0 + s1) + (s2 + s3))
    if n > full * width:
        last = at(b, n - width)[0]      # not before the others, as in `row_max`
        if a != NULL:
            last = last * at(a, n - width)[0]
        last = keep_last(last, n - full * width, 0.0)
        accumulate(&total, &lost, last)
    return lanes_sum(total + lost)


cdef inline void row_softmax_vjp(vec *y, vec *dy, vec *dz, Py_ssize_t n, vec dot, vec scale) noexcept nogil:
    """dz = y (dy - dot) scale. y, dy: (n,) in; dz: (n,) out."""
    cdef Py_ssize_t width = lanes(y), i
    cdef vec last = at(y, n - width)[0] * (at(dy, n - width)[0] - dot) * scale
    for i in range(n // width):
        dz[i] = y[i] * (dy[i] - dot) * scale
    at(dz, n - width)[0] = last


cdef inline void row_log_softmax_vjp(
    vec *log_y, vec *dy, vec *dz, Py_ssize_t n, vec total, vec scale,
) noexcept nogil:
    """dz = (dy - exp(log_y) total) scale. log_y, dy: (n,) in; dz: (n,) out."""
    cdef Py_ssize_t width = lanes(dy), i
    cdef vec p = exp_nonpositive(at(log_y, n - width)[0]), last = subtract_product(at(dy, n - width)[0], p, total)
    for i in range(n // width):
        p = exp_nonpositive(log_y[i])
        dz[i] = subtract_product(dy[i], p, total) * scale
    at(dz, n - width)[0] = last * scale


cdef inline void softmax_vjp_rows(vec *like, Block *block, Task *task) noexcept nogil:
    """y, dy: (rows, n) in; dz: (rows, n) out."""
    cdef Py_ssize_t n = task.classes, r
    cdef vec *y = <vec *>block.x
    cdef vec *dy = <vec *>block.y
    cdef vec *dz = <vec *>block.out
    cdef vec[ROWS_TOGETHER] dot
    cdef vec scale = splat(y[0], task.scale)
    for r in range(block.rows):
        dot[r] = row_dot(at(y, r * block.x_step), at(dy, r * block.y_step), n)
    for r in range(block.rows):
        row_softmax_vjp(
            at(y, r * block.x_step), at(dy, r * block.y_step), at(dz, r * block.out_step), n, dot[r], scale,
        )


cdef inline void log_softmax_vjp_rows(vec *like, Block *block, Task *task) noexcept nogil:
    """log_y, dy: (rows, n) in; dz: (rows, n) out."""
    cdef Py_ssize_t n = task.classes, r
    cdef vec *log_y = <vec *>block.x
    cdef vec *dy = <vec *>block.y
    cdef vec *dz = <vec *>block.out
    cdef vec[ROWS_TOGETHER] total
    cdef vec scale = splat(dy[0], task.scale)
    for r in range(block.rows):
        total[r] = row_dot(<vec *>NULL, at(dy, r * block.y_step), n)
    for r in range(block.rows):
        row_log_softmax_vjp(
            at(log_y, r * block.x_step), at(dy, r * block.y_step), at(dz, r * block.out_step), n, total[r], scale,
        )


cdef inline vec tile_dot(vec *a, Py_ssize_t a_step, Block *block, Py_ssize_t n) noexcept nogil:
    """Return <a, dy> of each row, or the sum of dy where a is NULL. a, dy: (n, count) in."""
    cdef Py_ssize_t count = block.count, j = 0, stop
    cdef vec *dy = <vec *>block.y
    cdef vec total = splat(dy[0], 0.0)
    cdef vec lost = total, s, v
    while j < n:
        s = splat(total, 0.0)
        stop = min(j + CHUNK, n)
        while j < stop:
            if a != NULL:
                v = load(at(a, j * a_step), count)
                s = multiply_add(v, load(at(dy, j * block.y_step), count), s)
            else:
                s = s + load(at(dy, j * block.y_step), count)
            j += 1
        accumulate(&total, &lost, s)
    return total + lost


cdef inline void softmax_vjp_tile(vec *like, Block *block, Task *task) noexcept nogil:
    """y, dy: (n, count) in; dz: (n, count) out."""
    cdef Py_ssize_t n = task.classes, count = block.count, j
    cdef vec *y = <vec *>block.x
    cdef vec *dy = <vec *>block.y
    cdef vec *dz = <vec *>block.out
    cdef vec dot = tile_dot(y, block.x_step, block, n)
    cdef vec scale = splat(dot, task.scale), row
    for j in range(n):
        row = load(at(dy, j * block.y_step), count) - dot
        store(at(dz, j * block.out_step), count, load(at(y, j * block.x_step), count) * row * scale)


cdef inline void log_softmax_vjp_tile(vec *like, Block *block, Task *task) noexcept nogil:
    """log_y, dy: (n, count) in; dz: (n, count) out."""
    cdef Py_ssize_t n = task.classes, count = block.count, j
    cdef vec *log_y = <vec *>block.x
    cdef vec *dy = <vec *>block.y
    cdef vec *dz = <vec *>block.out
    cdef vec total = tile_dot(<vec *>NULL, 0, block, n)
    cdef vec scale = splat(total, task.scale), p, v
    for j in range(n):
        p = exp_nonpositive(load(at(log_y, j * block.x_step), count))
        v = load(at(dy, j * block.y_step), count)
        store(at(dz, j * block.out_step), count, subtract_product(v, p, total) * scale)
