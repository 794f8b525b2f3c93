# Cross-entropy of softmax(x / T): the loss of each row and, in the same passes, its gradient over x.
#
# With targets t (one-hot y for a label), class weights w and label smoothing e over C classes
#
#     t_j  = w_j ((1 - e) y_j + e / C)
#     loss = sum_j t_j (log(sum) - d_j)           d_j = (x_j - m) / T
#     dx_j = (p_j sum(t) - t_j) / T               p_j - y_j where sum(t) = 1 and y is one-hot
#
# both times the row's sample weight (C. Szegedy et al., Rethinking the Inception Architecture, CVPR 2016,
# sec. 7, for e; the weights as PyTorch applies them). Where p_j is near 1, p_j - y_j would cancel; if it is over
# a half, and so the maximum's, (sum(t) - t_j) - sum(t) q is taken, with q = 1 - p_j = rest / (1 + rest).
#
# Labels are checked before any kernel runs, but another thread may change them since: what is used is
# the value that is checked here. A bad one makes its row zero and is reported in task.bad_row.

cdef inline bint takes_part(Task *task, int64_t label, Py_ssize_t row) noexcept nogil:
    """Whether the row has a usable label: not ignored, not out of range."""
    if task.has_ignore and label == task.ignore_index:
        return False
    if 0 <= label < task.classes:
        return True
    task.bad_row = row
    return False


cdef inline double class_weight(vec *like, Task *task, Py_ssize_t j) noexcept nogil:
    return 1.0 if task.class_weight == NULL else element(<vec *>task.class_weight, j)


cdef inline double sample_weight(vec *like, Task *task, Py_ssize_t row) noexcept nogil:
    return 1.0 if task.sample_weight == NULL else element(<vec *>task.sample_weight, row)


cdef inline vec label_gradient(vec d, vec rest, vec inverse) noexcept nogil:
    """p - 1 at the label, without cancellation where the label is the maximum (d = 0)."""
    cdef vec p = exp_nonpositive(d)
    return select_equal(d, splat(d, 0.0), -rest * inverse, multiply_add(p, inverse, splat(d, -1.0)))


# ---- index targets ----

cdef inline void clear_row(vec *g, Py_ssize_t lane, Py_ssize_t step, Task *task, Py_ssize_t row) noexcept nogil:
    """Loss and gradient of a row that takes no part."""
    cdef Py_ssize_t j
    set_element(<vec *>task.row_out, row, 0.0)
    if g != NULL:
        for j in range(task.classes):
            set_element(g, lane + j * step, 0.0)


cdef inline void cross_entropy_rows(
    vec *x, Py_ssize_t x_step, vec *g, Py_ssize_t g_step, Py_ssize_t count, Task *task, Py_ssize_t row,
) noexcept nogil:
    cdef Py_ssize_t n = task.classes, r
    cdef int64_t[ROWS] label
    cdef vec[ROWS] m, rest, d
    cdef vec scale = splat(x[0], task.scale), inverse, weight, value
    for r in range(count):
        label[r] = task.labels[row + r]
        m[r] = row_max(at(x, r * x_step), n)
    for r in range(count):
        if takes_part(task, label[r], row + r):
            d[r] = (splat(m[r], element(x, r * x_step + label[r])) - m[r]) * scale
        else:
            label[r] = -1
        rest[r] = row_rest(at(x, r * x_step), NULL if g == NULL else at(g, r * g_step), n, m[r], scale)
    for r in range(count):
        if label[r] < 0:
            clear_row(g, r * g_step, 1, task, row + r)
            continue
        weight = splat(m[r], class_weight(x, task, label[r]) * sample_weight(x, task, row + r))
        value = product(weight, log1p_nonnegative(rest[r]) - d[r])
        set_element(<vec *>task.row_out, row + r, element(&value, 0))
        if g != NULL:
            inverse = 1 / (1 + rest[r])
            weight = weight * splat(weight, task.gradient_scale * task.scale)
            row_multiply(at(g, r * g_step), n, inverse * weight)
            value = label_gradient(d[r], rest[r], inverse) * weight
            set_element(g, r * g_step + label[r], element(&value, 0))


cdef inline bint tile_labels(vec *labels, Task *task, Py_ssize_t row, Py_ssize_t rows) noexcept nogil:
    """The labels of a tile's rows, -1 where there is none to use. Whether all lanes have one."""
    cdef Py_ssize_t i
    cdef int64_t label
    cdef bint complete = rows == lanes(labels)
    for i in range(rows):
        label = task.labels[row + i]
        if not takes_part(task, label, row + i):
            label = -1
            complete = False
        set_label(labels, i, label)
    for i in range(rows, lanes(labels)):
        set_label(labels, i, -1)
    return complete


cdef inline vec tile_weight(vec labels, vec *like, Task *task, Py_ssize_t row, Py_ssize_t rows) noexcept nogil:
    """Class weight times sample weight in each lane, 0 without a label."""
    cdef vec weight = select_label(labels, -1, splat(labels, 0.0), splat(labels, 1.0)), factor = weight
    cdef Py_ssize_t i, j
    if task.class_weight != NULL:
        for j in range(task.classes):
            weight = select_label(labels, j, splat(weight, class_weight(like, task, j)), weight)
    if task.sample_weight != NULL:
        for i in range(rows):
            set_element(&factor, i, sample_weight(like, task, row + i))
        weight = product(weight, factor)
    return weight


cdef inline vec tile_gather(vec labels, vec *x, Py_ssize_t step, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """x at each row's label, 0 without one."""
    cdef vec found = splat(labels, 0.0)
    cdef Py_ssize_t j
    for j in range(n):
        found = select_label(labels, j, load(at(x, j * step), count), found)
    return found


cdef inline void clear_unused(
    vec *labels, vec *g, Py_ssize_t step, Task *task, Py_ssize_t row, Py_ssize_t rows,
) noexcept nogil:
    """Clear the rows of a tile that take no part."""
    cdef vec used = select_label(labels[0], -1, splat(labels[0], 0.0), splat(labels[0], 1.0))
    cdef Py_ssize_t i
    for i in range(rows):
        if element(&used, i) == 0.0:
            clear_row(g, i, step, task, row + i)


cdef inline void cross_entropy_tile(
    vec *x, Py_ssize_t x_step, vec *g, Py_ssize_t g_step, Py_ssize_t count, Task *task,
    Py_ssize_t row, Py_ssize_t rows,
) noexcept nogil:
    cdef Py_ssize_t n = task.classes, j
    cdef vec labels = splat(x[0], 0.0)
    cdef bint complete = tile_labels(&labels, task, row, rows)
    cdef vec m = tile_max(x, x_step, n, count)
    cdef vec scale = splat(m, task.scale), weight = tile_weight(labels, x, task, row, rows), d, rest, inverse, value
    d = (tile_gather(labels, x, x_step, n, count) - m) * scale
    rest = tile_rest(x, x_step, g, g_step, n, count, m, scale)
    store(at(<vec *>task.row_out, row), rows, product(weight, log1p_nonnegative(rest) - d))
    if g != NULL:
        inverse = 1 / (1 + rest)
        weight = weight * splat(m, task.gradient_scale * task.scale)
        d = label_gradient(d, rest, inverse) * weight
        inverse = inverse * weight
        for j in range(n):
            value = load(at(g, j * g_step), count)
            store(at(g, j * g_step), count, select_label(labels, j, d, value * inverse))
    if not complete:
        clear_unused(&labels, g, g_step, task, row, rows)


# ---- probability targets, and smoothed labels ----

cdef inline vec smoothed(Task *task, vec y, vec w) noexcept nogil:
    """t_j from y_j and w_j."""
    return multiply_add(y, splat(y, 1.0 - task.smoothing), splat(y, task.smoothing / task.classes)) * w


cdef inline vec row_target(vec *y, Task *task, Py_ssize_t index) noexcept nogil:
    """The vector of targets that starts at class `index`; y is NULL for labels."""
    cdef vec *w = <vec *>task.class_weight
    cdef vec target = splat(y[0], 0.0), weight = splat(y[0], 1.0)
    if y != NULL:
        target = at(y, index)[0]
    if w != NULL:
        weight = at(w, index)[0]
    return smoothed(task, target, weight)


cdef inline vec soft_gradient(vec e, vec t, vec others, vec total, vec rest, vec inverse) noexcept nogil:
    """p_j total - t_j, with `others` = total - t_j in sum; e is the exponential of class j."""
    cdef vec half = splat(e, 0.5), p = e * inverse, q = rest * inverse
    return select_less(half, p, subtract_product(others, total, q), multiply_add(total, p, -t))


cdef inline void soft_cross_entropy_row(vec *x, vec *y, vec *g, Task *task, Py_ssize_t row) noexcept nogil:
    cdef Py_ssize_t n = task.classes, width = lanes(x), i, start
    cdef int64_t label = -1
    cdef vec m, scale, zero, d, t, last, base, cross, base_lost, cross_lost, extra, total, rest, inverse, value
    if y == NULL:
        label = task.labels[row]
        if not takes_part(task, label, row):
            clear_row(g, 0, 1, task, row)
            return
    m = row_max(x, n)
    scale = splat(m, task.scale)
    zero = splat(m, 0.0)
    base = zero
    base_lost = zero
    cross = zero
    cross_lost = zero
    i = 0
    while i < n:                                    # sum(t) and sum(t d); before row_rest, as g may be x
        start = min(i, n - width)
        t = row_target(y, task, start)
        d = (at(x, start)[0] - m) * scale
        accumulate(&base, &base_lost, keep_last(t, start + width - i, 0.0))
        accumulate(&cross, &cross_lost, keep_last(product(t, d), start + width - i, 0.0))
        i += width
    base = lanes_sum(base + base_lost)
    cross = lanes_sum(cross + cross_lost)
    extra = zero                                    # what the label adds to the smoothing's share
    d = zero
    if label >= 0:
        extra = splat(m, (1.0 - task.smoothing) * class_weight(x, task, label))
        d = (splat(m, element(x, label)) - m) * scale
    total = base + extra
    rest = row_rest(x, g, n, m, scale)
    value = log1p_nonnegative(rest)
    value = multiply_add(base, value, -cross) + product(extra, value - d)
    value = product(splat(m, sample_weight(x, task, row)), value)
    set_element(<vec *>task.row_out, row, element(&value, 0))
    if g == NULL:
        return
    inverse = 1 / (1 + rest)
    scale = splat(m, sample_weight(x, task, row) * task.gradient_scale * task.scale)
    last = at(g, n - width)[0]
    for i in range(n // width):
        t = row_target(y, task, i * width)
        g[i] = soft_gradient(g[i], t, (base - t) + extra, total, rest, inverse) * scale
    t = row_target(y, task, n - width)
    at(g, n - width)[0] = soft_gradient(last, t, (base - t) + extra, total, rest, inverse) * scale
    if label >= 0:
        value = splat(m, class_weight(x, task, label))
        t = smoothed(task, zero, value)
        d = exp_nonpositive(d)
        value = soft_gradient(d, t + extra, base - t, total, rest, inverse) * scale
        set_element(g, label, element(&value, 0))


cdef inline vec tile_target(
    vec *y, Py_ssize_t y_step, Py_ssize_t count, Task *task, Py_ssize_t j,
) noexcept nogil:
    """The targets of class j; y is NULL for labels."""
    cdef vec target = splat(y[0], 0.0), weight = splat(y[0], class_weight(y, task, j))
    if y != NULL:
        target = load(at(y, j * y_step), count)
    return smoothed(task, target, weight)


cdef inline void soft_cross_entropy_tile(
    vec *x, Py_ssize_t x_step, vec *y, Py_ssize_t y_step, vec *g, Py_ssize_t g_step, Py_ssize_t count,
    Task *task, Py_ssize_t row, Py_ssize_t rows,
) noexcept nogil:
    cdef Py_ssize_t n = task.classes, i, j
    cdef vec m = tile_max(x, x_step, n, count), zero = splat(m, 0.0), one = splat(m, 1.0), scale = splat(m, task.scale)
    cdef vec base = zero, cross = zero, base_lost = zero, cross_lost = zero, extra = zero, d = zero, own = zero
    cdef vec labels = zero, t, total, rest, inverse, value, weight = one
    cdef bint complete = True
    if task.sample_weight != NULL:
        for i in range(rows):
            set_element(&weight, i, sample_weight(x, task, row + i))
    if y == NULL:
        complete = tile_labels(&labels, task, row, rows)
        d = (tile_gather(labels, x, x_step, n, count) - m) * scale
        for j in range(n):
            own = select_label(labels, j, splat(m, class_weight(x, task, j)), own)
        extra = own * splat(m, 1.0 - task.smoothing)
    for j in range(n):                              # sum(t) and sum(t d); before tile_rest, as g may be x
        t = tile_target(y, y_step, count, task, j)
        accumulate(&base, &base_lost, t)
        accumulate(&cross, &cross_lost, product(t, (load(at(x, j * x_step), count) - m) * scale))
    base = base + base_lost
    cross = cross + cross_lost
    total = base + extra
    rest = tile_rest(x, x_step, g, g_step, n, count, m, scale)
    value = log1p_nonnegative(rest)
    value = multiply_add(base, value, -cross) + product(extra, value - d)
    store(at(<vec *>task.row_out, row), rows, product(weight, value))
    if g != NULL:
        inverse = 1 / (1 + rest)
        weight = weight * splat(m, task.gradient_scale * task.scale)
        value = smoothed(task, zero, own)
        d = exp_nonpositive(d)
        d = soft_gradient(d, value + extra, base - value, total, rest, inverse) * weight
        for j in range(n):
            t = tile_target(y, y_step, count, task, j)
            value = load(at(g, j * g_step), count)
            value = soft_gradient(value, t, (base - t) + extra, total, rest, inverse) * weight
            if y == NULL:
                value = select_label(labels, j, d, value)
            store(at(g, j * g_step), count, value)
    if not complete:
        clear_unused(&labels, g, g_step, task, row, rows)
