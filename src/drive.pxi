# From a task to kernel calls: which family, and how the rows get into the lanes.

cdef inline void run_row(vec *x, vec *y, vec *out, Task *task, Py_ssize_t row) noexcept nogil:
    if task.operation == SOFTMAX:
        softmax_row(x, out, task)
    elif task.operation == LOG_SOFTMAX:
        log_softmax_row(x, out, task)
    elif task.operation == LOGSUMEXP:
        logsumexp_row(x, task, row)
    elif task.operation == SOFTMAX_VJP:
        softmax_vjp_row(x, y, out, task)
    elif task.operation == LOG_SOFTMAX_VJP:
        log_softmax_vjp_row(x, y, out, task)
    elif task.operation == CROSS_ENTROPY:
        cross_entropy_row(x, out, task, row)
    else:
        soft_cross_entropy_row(x, y, out, task, row)


cdef inline void run_tile(
    vec *x, Py_ssize_t x_step, vec *y, Py_ssize_t y_step, vec *out, Py_ssize_t out_step, Py_ssize_t count,
    Task *task, Py_ssize_t row, Py_ssize_t rows,
) noexcept nogil:
    """`rows` rows from `row` on; matrices have `count` elements a class, of which those rows are the first."""
    if task.operation == SOFTMAX:
        softmax_tile(x, x_step, out, out_step, count, task)
    elif task.operation == LOG_SOFTMAX:
        log_softmax_tile(x, x_step, out, out_step, count, task)
    elif task.operation == LOGSUMEXP:
        logsumexp_tile(x, x_step, count, task, row, rows)
    elif task.operation == SOFTMAX_VJP:
        softmax_vjp_tile(x, x_step, y, y_step, out, out_step, count, task)
    elif task.operation == LOG_SOFTMAX_VJP:
        log_softmax_vjp_tile(x, x_step, y, y_step, out, out_step, count, task)
    elif task.operation == CROSS_ENTROPY:
        cross_entropy_tile(x, x_step, out, out_step, count, task, row, rows)
    else:
        soft_cross_entropy_tile(x, x_step, y, y_step, out, out_step, count, task, row, rows)


cdef inline vec *locate(vec *like, Operand *operand, Py_ssize_t o, Py_ssize_t i) noexcept nogil:
    """Address of class 0 of row (o, i), NULL without an array."""
    if operand.data == NULL:
        return NULL
    return at(<vec *>operand.data, o * operand.outer + i * operand.inner)


cdef inline void copy_rows(
    vec *to, Py_ssize_t to_stride, vec *rows, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t count,
) noexcept nogil:
    """Copy `count` runs of n elements, `stride` elements apart, to runs `to_stride` elements apart."""
    cdef Py_ssize_t size = sizeof(vec) // lanes(rows), i
    if stride == n and to_stride == n:
        memcpy(to, rows, count * n * size)
    else:
        for i in range(count):
            memcpy(at(to, i * to_stride), at(rows, i * stride), n * size)


cdef inline void to_lanes(vec *rows, vec *columns, Py_ssize_t n) noexcept nogil:
    """Give each of `lanes` packed rows of n elements a lane."""
    cdef Py_ssize_t width = lanes(rows), j = 0
    while j < n:
        transpose(at(rows, j), n, &columns[j], width)
        j += width


cdef inline void from_lanes(vec *columns, vec *rows, Py_ssize_t n) noexcept nogil:
    """The way back. A row's last block spills into the next row, whose first block is written after it."""
    cdef Py_ssize_t width = lanes(rows), j = (n - 1) // width * width
    while j >= 0:
        transpose(&columns[j], width, at(rows, j), n)
        j -= width


cdef inline vec *aligned(vec *buffer) noexcept nogil:
    """The first cache line in a buffer that has a line to spare."""
    return <vec *>((<size_t>buffer + 63) // 64 * 64)


cdef void run_transposed(vec *like, Task *task, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Short rows: through tiles in which each row has a lane. Touches no memory but its rows."""
    cdef Py_ssize_t n = task.classes, width = lanes(like), row, count, i
    # per operand: GROUP tiles of packed rows, a vector for what is read or written beyond the last row, and
    # room to align
    cdef vec packed_x[GROUP * TILE_CLASSES + MOST_LANES + 1]
    cdef vec packed_y[GROUP * TILE_CLASSES + MOST_LANES + 1]
    cdef vec packed_out[GROUP * TILE_CLASSES + MOST_LANES + 1]
    cdef vec columns_x[TILE_CLASSES + MOST_LANES]
    cdef vec columns_y[TILE_CLASSES + MOST_LANES]
    cdef vec *x = aligned(columns_x)
    cdef vec *y = NULL if task.y.data == NULL else aligned(columns_y)
    cdef vec *out = NULL if task.out.data == NULL else x
    row = first
    while row < last:
        count = min(GROUP * width, last - row)
        copy_rows(aligned(packed_x), n, locate(like, &task.x, row, 0), task.x.outer, n, count)
        if y != NULL:
            copy_rows(aligned(packed_y), n, locate(like, &task.y, row, 0), task.y.outer, n, count)
        i = 0
        while i < count:
            to_lanes(at(aligned(packed_x), i * n), x, n)
            if y != NULL:
                to_lanes(at(aligned(packed_y), i * n), y, n)
            run_tile(x, width, y, width, out, width, width, task, row + i, min(width, count - i))
            if out != NULL:
                from_lanes(x, at(aligned(packed_out), i * n), n)
            i += width
        if out != NULL:
            copy_rows(locate(like, &task.out, row, 0), task.out.outer, aligned(packed_out), n, n, count)
        row += count


cdef inline void to_tiles(vec *rows, Py_ssize_t step, vec *tiles, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """Copy `count` rows that lie side by side into tiles of n vectors each."""
    cdef Py_ssize_t width = lanes(rows), j, k
    for j in range(n):
        for k in range(count // width):
            tiles[k * n + j] = at(rows, j * step)[k]
        if count % width:
            tiles[count // width * n + j] = load(at(rows, j * step + count // width * width), count % width)


cdef inline void from_tiles(vec *tiles, vec *rows, Py_ssize_t step, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """The way back."""
    cdef Py_ssize_t width = lanes(rows), j, k
    for j in range(n):
        for k in range(count // width):
            at(rows, j * step)[k] = tiles[k * n + j]
        if count % width:
            store(at(rows, j * step + count // width * width), count % width, tiles[count // width * n + j])


cdef void run_staged(vec *like, Task *task, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Rows side by side in memory, with classes far apart: through a block of tiles that stays in cache.

    The three passes of a kernel over memory at a large stride would miss the cache, and at a power of two
    evict their own lines, in each pass.
    """
    cdef Py_ssize_t n = task.classes, width = lanes(like), row = first, i, k, count
    cdef vec *x = aligned(<vec *>task.scratch)
    cdef vec *y = NULL if task.y.data == NULL else at(x, n * task.scratch_rows)
    cdef vec *out = NULL if task.out.data == NULL else x
    while row < last:
        i = row % task.inner
        count = min(task.scratch_rows, min(task.inner - i, last - row))
        to_tiles(locate(like, &task.x, row // task.inner, i), task.x.step, x, n, count)
        if y != NULL:
            to_tiles(locate(like, &task.y, row // task.inner, i), task.y.step, y, n, count)
        k = 0
        while k < count:
            run_tile(
                at(x, k * n), width, NULL if y == NULL else at(y, k * n), width,
                NULL if out == NULL else at(out, k * n), width, width, task, row + k, min(width, count - k),
            )
            k += width
        if out != NULL:
            from_tiles(x, locate(like, &task.out, row // task.inner, i), task.out.step, n, count)
        row += count


cdef void run(vec *like, Task *task, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Rows first to last - 1."""
    cdef Py_ssize_t row = first, count, o, i
    if not task.lanes and task.classes <= TILE_CLASSES:
        run_transposed(like, task, first, last)
        return
    if task.lanes and task.scratch != NULL:
        run_staged(like, task, first, last)
        return
    while row < last:
        o = row // task.inner
        i = row % task.inner
        count = min(lanes(like), task.inner - i, last - row) if task.lanes else 1
        if task.lanes:
            run_tile(
                locate(like, &task.x, o, i), task.x.step, locate(like, &task.y, o, i), task.y.step,
                locate(like, &task.out, o, i), task.out.step, count, task, row, count,
            )
        else:
            run_row(
                locate(like, &task.x, o, i), locate(like, &task.y, o, i), locate(like, &task.out, o, i),
                task, row,
            )
        row += count
