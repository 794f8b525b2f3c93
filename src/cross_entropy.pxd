# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Cross-entropy of softmax(x / T): the loss of each row and, in the same passes, its gradient over x.

With targets t (one-hot y for a label), class weights w and label smoothing e over C classes

    t_j  = w_j ((1 - e) y_j + e / C)
    loss = sum_j t_j (log(sum) - d_j)           d_j = (x_j - m) / T
    dx_j = (p_j sum(t) - t_j) / T               p_j - y_j where sum(t) = 1 and y is one-hot

both times the row's sample weight (C. Szegedy et al., Rethinking the Inception Architecture, CVPR 2016,
sec. 7, for e; the weights as PyTorch applies them). Where p_j is near 1, p_j - y_j would cancel; if it is over
a half, and so the only maximum's, others - sum(t) q is taken, with the sum `others` of the targets of all classes
below the maximum and q = 1 - p_j = rest / (1 + rest).

Labels are checked before any kernel runs, but another thread may change them since: what is used is
the value that is checked here. A bad one makes its row zero and is reported in task.bad_row.
"""

from libc.stdint cimport int64_t

from simd cimport (
    element, exp_nonpositive, keep_last, lanes, lanes_sum, load, log1p_nonnegative, masking_product, multiply_add,
    select_equal, select_label, select_less, set_element, set_label, splat, store, subtract_product, vec,
)
from softmax cimport distance, growing, row_max, row_multiply, shrinking, sum_row_exps, sum_tile_exps, tile_max
from task cimport ROWS_TOGETHER, Block, Task
from vectors cimport CHUNK, accumulate, at


cdef inline bint takes_part(Task *task, int64_t label, Py_ssize_t row) noexcept nogil:
    """Return whether the row has a usable label: not ignored, not out of range."""
    if task.has_ignore and label == task.ignore_index:
        return False
    if 0 <= label < task.classes:
        return True
    task.bad_row = row
    return False


cdef inline double class_weight(vec *like, Task *task, Py_ssize_t j) noexcept nogil:
    """Return the weight of class j. task.class_weight: (n,) in, or NULL."""
    return 1.0 if task.class_weight == NULL else element(<vec *>task.class_weight, j)


cdef inline double sample_weight(vec *like, Task *task, Py_ssize_t row) noexcept nogil:
    """Return the weight of a row. task.sample_weight: (rows of the task,) in, or NULL."""
    return 1.0 if task.sample_weight == NULL else element(<vec *>task.sample_weight, row)


cdef inline vec label_gradient(vec d, vec rest, vec inverse) noexcept nogil:
    """Return p - 1 at the label, without cancellation where the label is the maximum (d = 0)."""
    cdef vec p = exp_nonpositive(d)
    return select_equal(d, splat(d, 0.0), -rest * inverse, multiply_add(p, inverse, splat(d, -1.0)))


# ---- index targets ----

cdef inline void clear_row(vec *grad, Py_ssize_t start, Py_ssize_t step, Task *task, Py_ssize_t row) noexcept nogil:
    """Set the loss and the gradient of a row that takes no part to 0.

    grad: (n,) out, from element `start` on, `step` elements apart, or NULL; task.row_out: (1,) out, at the row.
    """
    cdef Py_ssize_t j
    set_element(<vec *>task.row_out, row, 0.0)
    if grad != NULL:
        for j in range(task.classes):
            set_element(grad, start + j * step, 0.0)


cdef inline void cross_entropy_rows(vec *like, Block *block, Task *task) noexcept nogil:
    """x: (rows, n) in; task.labels: (rows,) in; out: (rows, n) out, may be x, or NULL; task.row_out: (rows,) out."""
    cdef Py_ssize_t n = task.classes, row = block.first, r
    cdef vec *x = <vec *>block.x
    cdef vec *grad = <vec *>block.out
    cdef int64_t[ROWS_TOGETHER] label
    cdef vec[ROWS_TOGETHER] m, rest, d
    cdef double counts
    cdef vec scale = splat(x[0], task.scale), inverse, weight, value
    for r in range(block.rows):
        label[r] = task.labels[row + r]
        m[r] = row_max(at(x, r * block.x_step), n)
    for r in range(block.rows):
        if takes_part(task, label[r], row + r):
            value = splat(m[r], element(x, r * block.x_step + label[r]))
            d[r] = distance(value, m[r], scale)
        else:
            label[r] = -1
        rest[r] = sum_row_exps(
            at(x, r * block.x_step), NULL if grad == NULL else at(grad, r * block.out_step), n, m[r], scale,
        )
    for r in range(block.rows):
        counts = 0.0 if label[r] < 0 else class_weight(x, task, label[r]) * sample_weight(x, task, row + r)
        if counts == 0.0:
            clear_row(grad, r * block.out_step, 1, task, row + r)
            continue
        weight = splat(m[r], counts)
        value = masking_product(weight, log1p_nonnegative(rest[r]) - d[r])
        set_element(<vec *>task.row_out, row + r, element(&value, 0))
        if grad != NULL:
            inverse = 1 / (1 + rest[r])
            weight = weight * splat(weight, task.gradient_scale * task.scale)
            row_multiply(at(grad, r * block.out_step), n, inverse * weight)
            value = label_gradient(d[r], rest[r], inverse) * weight
            set_element(grad, r * block.out_step + label[r], element(&value, 0))


cdef inline bint read_tile_labels(vec *labels, Block *block, Task *task) noexcept nogil:
    """Put the label of each row into its lane, -1 where there is none to use; return whether all lanes have one.

    task.labels: (rows,) in; labels: a vector out.
    """
    cdef Py_ssize_t i
    cdef int64_t label
    cdef bint complete = block.rows == lanes(labels)
    for i in range(block.rows):
        label = task.labels[block.first + i]
        if not takes_part(task, label, block.first + i):
            label = -1
            complete = False
        set_label(labels, i, label)
    for i in range(block.rows, lanes(labels)):
        set_label(labels, i, -1)
    return complete


cdef inline vec tile_weight(vec labels, vec *like, Block *block, Task *task) noexcept nogil:
    """Return class weight times sample weight in each lane, 0 without a label."""
    cdef vec weight = select_label(labels, -1, splat(labels, 0.0), splat(labels, 1.0)), factor = weight
    cdef Py_ssize_t i, j
    if task.class_weight != NULL:
        for j in range(task.classes):
            weight = select_label(labels, j, splat(weight, class_weight(like, task, j)), weight)
    if task.sample_weight != NULL:
        for i in range(block.rows):
            set_element(&factor, i, sample_weight(like, task, block.first + i))
        weight = masking_product(weight, factor)
    return weight


cdef inline vec select_by_label(vec labels, vec *x, Block *block, Py_ssize_t n) noexcept nogil:
    """Return x at each row's label, 0 without one. x: (n, count) in."""
    cdef vec found = splat(labels, 0.0)
    cdef Py_ssize_t j
    for j in range(n):
        found = select_label(labels, j, load(at(x, j * block.x_step), block.count), found)
    return found


cdef inline void clear_unused_rows(vec *weight, vec *grad, Block *block, Task *task) noexcept nogil:
    """Clear the rows of a tile whose weight is 0. grad: (n, rows) out, or NULL; task.row_out: (rows,) out."""
    cdef Py_ssize_t i
    for i in range(block.rows):
        if element(weight, i) == 0.0:
            clear_row(grad, i, block.out_step, task, block.first + i)


cdef inline void cross_entropy_tile(vec *like, Block *block, Task *task) noexcept nogil:
    """x: (n, count) in; task.labels: (rows,) in; out: (n, count) out, may be x, or NULL; task.row_out: (rows,) out."""
    cdef Py_ssize_t n = task.classes, count = block.count, j
    cdef vec *x = <vec *>block.x
    cdef vec *grad = <vec *>block.out
    cdef vec labels = splat(x[0], 0.0)
    cdef bint complete = read_tile_labels(&labels, block, task)
    cdef vec m = tile_max(x, block, n)
    cdef vec scale = splat(m, task.scale), counts = tile_weight(labels, x, block, task), weight = counts
    cdef vec d, rest, inverse, value
    d = select_by_label(labels, x, block, n)
    d = distance(d, m, scale)
    rest = sum_tile_exps(grad, block, n, m, scale)
    store(
        at(<vec *>task.row_out, block.first), block.rows, masking_product(weight, log1p_nonnegative(rest) - d),
    )
    if grad != NULL:
        inverse = 1 / (1 + rest)
        weight = weight * splat(m, task.gradient_scale * task.scale)
        d = label_gradient(d, rest, inverse) * weight
        inverse = inverse * weight
        for j in range(n):
            value = load(at(grad, j * block.out_step), count)
            store(at(grad, j * block.out_step), count, select_label(labels, j, d, value * inverse))
    if not complete or task.class_weight != NULL or task.sample_weight != NULL:
        clear_unused_rows(&counts, grad, block, task)


# ---- probability targets, and smoothed labels ----

cdef inline vec smoothed(Task *task, vec y, vec w) noexcept nogil:
    """Return t_j from y_j and w_j."""
    return multiply_add(y, splat(y, 1.0 - task.smoothing), splat(y, task.smoothing / task.classes)) * w


cdef inline vec row_target(vec *y, Task *task, Py_ssize_t index) noexcept nogil:
    """Return the vector of targets that starts at class `index`. y: (n,) in, or NULL for labels."""
    cdef vec *w = <vec *>task.class_weight
    cdef vec target = splat(y[0], 0.0), weight = splat(y[0], 1.0)
    if y != NULL:
        target = at(y, index)[0]
    if w != NULL:
        weight = at(w, index)[0]
    return smoothed(task, target, weight)


cdef inline vec soft_gradient(vec e, vec t, vec others, vec total, vec rest, vec inverse) noexcept nogil:
    """Return p_j total - t_j; `others` is total - t_j at the maximum, e the exponential of class j."""
    cdef vec half = splat(e, 0.5), p = e * inverse, q = rest * inverse
    return select_less(half, p, subtract_product(others, total, q), multiply_add(total, p, -t))


cdef inline void sum_row_targets(
    vec *x, vec *y, Task *task, vec m, vec scale, vec *top, vec *others, vec *cross,
) noexcept nogil:
    """Put the sums of t at the row's maxima, of t elsewhere, and of t d, into every lane of three vectors.

    x: (n,) in; y: (n,) in, or NULL.
    """
    cdef Py_ssize_t n = task.classes, width = lanes(x), i = 0, stop, start
    cdef vec zero = splat(m, 0.0), shrink = shrinking(m), shift = -(m * shrink), one = splat(m, 1.0)
    # The factor after the sum of t d, instead of before it, where d would be infinite.
    cdef vec before = select_equal(shrink, one, scale, one), after = select_equal(shrink, one, one, growing(m, scale))
    cdef vec top_lost = zero, others_lost = zero, cross_lost = zero, top_part, others_part, cross_part, t, d, at_top
    top[0] = zero
    others[0] = zero
    cross[0] = zero
    while i < n:
        top_part = zero
        others_part = zero
        cross_part = zero
        stop = min(i + CHUNK * width, n)
        while i < stop:
            start = min(i, n - width)
            t = keep_last(row_target(y, task, start), start + width - i, 0.0)
            d = multiply_add(at(x, start)[0], shrink, shift) * before
            at_top = select_equal(d, zero, t, zero)
            top_part = top_part + at_top
            others_part = others_part + (t - at_top)
            cross_part = cross_part + masking_product(t, d)
            i += width
        accumulate(top, &top_lost, top_part)
        accumulate(others, &others_lost, others_part)
        accumulate(cross, &cross_lost, cross_part)
    top[0] = lanes_sum(top[0] + top_lost)
    others[0] = lanes_sum(others[0] + others_lost)
    cross[0] = lanes_sum(cross[0] + cross_lost) * after


cdef inline void soft_cross_entropy_row(vec *x, vec *y, vec *grad, Task *task, Py_ssize_t row) noexcept nogil:
    """x: (n,) in; y: (n,) in, or NULL for a label; grad: (n,) out, may be x, or NULL; task.row_out: (1,) out."""
    cdef Py_ssize_t n = task.classes, width = lanes(x), i
    cdef int64_t label = -1
    cdef bint counts = sample_weight(x, task, row) != 0.0
    cdef vec m, scale, zero, d, t, last, base, others, cross, extra, total, rest, inverse, value
    if y == NULL:
        label = task.labels[row]
        counts = takes_part(task, label, row) and counts
    if not counts:
        clear_row(grad, 0, 1, task, row)
        return
    m = row_max(x, n)
    scale = splat(m, task.scale)
    zero = splat(m, 0.0)
    sum_row_targets(x, y, task, m, scale, &base, &others, &cross)   # before sum_row_exps, as grad may be x
    base = base + others
    extra = zero                                    # what the label adds to the smoothing's share
    d = zero
    if label >= 0:
        extra = splat(m, (1.0 - task.smoothing) * class_weight(x, task, label))
        d = splat(m, element(x, label))
        d = distance(d, m, scale)
        others = others + select_equal(d, zero, zero, extra)
    total = base + extra
    rest = sum_row_exps(x, grad, n, m, scale)
    value = log1p_nonnegative(rest)
    value = multiply_add(base, value, -cross) + masking_product(extra, value - d)
    value = masking_product(splat(m, sample_weight(x, task, row)), value)
    set_element(<vec *>task.row_out, row, element(&value, 0))
    if grad == NULL:
        return
    inverse = 1 / (1 + rest)
    scale = splat(m, sample_weight(x, task, row) * task.gradient_scale * task.scale)
    last = at(grad, n - width)[0]
    for i in range(n // width):
        t = row_target(y, task, i * width)
        grad[i] = soft_gradient(grad[i], t, others, total, rest, inverse) * scale
    t = row_target(y, task, n - width)
    at(grad, n - width)[0] = soft_gradient(last, t, others, total, rest, inverse) * scale
    if label >= 0:
        value = splat(m, class_weight(x, task, label))
        t = smoothed(task, zero, value)
        d = exp_nonpositive(d)
        value = soft_gradient(d, t + extra, others, total, rest, inverse) * scale
        set_element(grad, label, element(&value, 0))


cdef inline void soft_cross_entropy_rows(vec *like, Block *block, Task *task) noexcept nogil:
    """x: (rows, n) in; y: (rows, n) in, or task.labels: (rows,) in; out: (rows, n) out, may be x, or NULL;
    task.row_out: (rows,) out."""
    cdef Py_ssize_t r
    cdef vec *x = <vec *>block.x
    cdef vec *y = <vec *>block.y
    cdef vec *grad = <vec *>block.out
    for r in range(block.rows):
        soft_cross_entropy_row(
            at(x, r * block.x_step), NULL if y == NULL else at(y, r * block.y_step),
            NULL if grad == NULL else at(grad, r * block.out_step), task, block.first + r,
        )


cdef inline vec tile_target(vec *y, Block *block, Task *task, Py_ssize_t j) noexcept nogil:
    """Return the targets of class j. y: (n, count) in, or NULL for labels."""
    cdef vec target = splat(y[0], 0.0), weight = splat(y[0], class_weight(y, task, j))
    if y != NULL:
        target = load(at(y, j * block.y_step), block.count)
    return smoothed(task, target, weight)


cdef inline void sum_tile_targets(
    Block *block, Task *task, vec m, vec scale, vec *top, vec *others, vec *cross,
) noexcept nogil:
    """Put the sums of t at each row's maxima, of t elsewhere, and of t d into three vectors.

    x: (n, count) in; y: (n, count) in, or NULL for labels.
    """
    cdef Py_ssize_t n = task.classes, j = 0, stop
    cdef vec *x = <vec *>block.x
    cdef vec *y = <vec *>block.y
    cdef vec zero = splat(m, 0.0), shrink = shrinking(m), shift = -(m * shrink), one = splat(m, 1.0)
    # The factor after the sum of t d, instead of before it, where d would be infinite.
    cdef vec before = select_equal(shrink, one, scale, one), after = select_equal(shrink, one, one, growing(m, scale))
    cdef vec top_lost = zero, others_lost = zero, cross_lost = zero, top_part, others_part, cross_part, t, d, at_top
    top[0] = zero
    others[0] = zero
    cross[0] = zero
    while j < n:
        top_part = zero
        others_part = zero
        cross_part = zero
        stop = min(j + CHUNK, n)
        while j < stop:
            t = tile_target(y, block, task, j)
            d = multiply_add(load(at(x, j * block.x_step), block.count), shrink, shift) * before
            at_top = select_equal(d, zero, t, zero)
            top_part = top_part + at_top
            others_part = others_part + (t - at_top)
            cross_part = cross_part + masking_product(t, d)
            j += 1
        accumulate(top, &top_lost, top_part)
        accumulate(others, &others_lost, others_part)
        accumulate(cross, &cross_lost, cross_part)
    top[0] = top[0] + top_lost
    others[0] = others[0] + others_lost
    cross[0] = (cross[0] + cross_lost) * after


cdef inline void soft_cross_entropy_tile(vec *like, Block *block, Task *task) noexcept nogil:
    """x: (n, count) in; y: (n, count) in, or task.labels: (rows,) in; out: (n, count) out, may be x, or NULL;
    task.row_out: (rows,) out."""
    cdef Py_ssize_t n = task.classes, count = block.count, i, j
    cdef vec *x = <vec *>block.x
    cdef vec *y = <vec *>block.y
    cdef vec *grad = <vec *>block.out
    cdef vec m = tile_max(x, block, n), zero = splat(m, 0.0), one = splat(m, 1.0), scale = splat(m, task.scale)
    cdef vec base, others, cross, extra = zero, d = zero, own = zero
    cdef vec labels = zero, t, total, rest, inverse, value, weight = one, counts
    cdef bint complete = True
    if task.sample_weight != NULL:
        for i in range(block.rows):
            set_element(&weight, i, sample_weight(x, task, block.first + i))
    counts = weight
    if y == NULL:
        complete = read_tile_labels(&labels, block, task)
        counts = select_label(labels, -1, zero, weight)
        d = select_by_label(labels, x, block, n)
        d = distance(d, m, scale)
        for j in range(n):
            own = select_label(labels, j, splat(m, class_weight(x, task, j)), own)
        extra = own * splat(m, 1.0 - task.smoothing)
    sum_tile_targets(block, task, m, scale, &base, &others, &cross)     # before sum_tile_exps, as grad may be x
    base = base + others
    others = others + select_equal(d, zero, zero, extra)
    total = base + extra
    rest = sum_tile_exps(grad, block, n, m, scale)
    value = log1p_nonnegative(rest)
    value = multiply_add(base, value, -cross) + masking_product(extra, value - d)
    store(at(<vec *>task.row_out, block.first), block.rows, masking_product(weight, value))
    if grad != NULL:
        inverse = 1 / (1 + rest)
        weight = weight * splat(m, task.gradient_scale * task.scale)
        value = smoothed(task, zero, own)
        d = exp_nonpositive(d)
        d = soft_gradient(d, value + extra, others, total, rest, inverse) * weight
        for j in range(n):
            t = tile_target(y, block, task, j)
            value = load(at(grad, j * block.out_step), count)
            value = soft_gradient(value, t, others, total, rest, inverse) * weight
            if y == NULL:
                value = select_label(labels, j, d, value)
            store(at(grad, j * block.out_step), count, value)
    if not complete or task.sample_weight != NULL:
        clear_unused_rows(&counts, grad, block, task)
