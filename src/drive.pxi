# From a task to kernel calls: which family, and how the rows get into the lanes.

cdef inline void run_rows(
    vec *x, Py_ssize_t x_step, vec *y, Py_ssize_t y_step, vec *out, Py_ssize_t out_step, Py_ssize_t count,
    Task *task, Py_ssize_t row,
) noexcept nogil:
    """`count` rows from `row` on."""
    cdef Py_ssize_t r
    if task.operation == SOFTMAX:
        softmax_rows(x, x_step, out, out_step, count, task)
    elif task.operation == LOG_SOFTMAX:
        log_softmax_rows(x, x_step, out, out_step, count, task)
    elif task.operation == LOGSUMEXP:
        logsumexp_rows(x, x_step, count, task, row)
    elif task.operation == SOFTMAX_VJP:
        vjp_rows(x, x_step, y, y_step, out, out_step, count, task, False)
    elif task.operation == LOG_SOFTMAX_VJP:
        vjp_rows(x, x_step, y, y_step, out, out_step, count, task, True)
    elif task.operation == CROSS_ENTROPY:
        cross_entropy_rows(x, x_step, out, out_step, count, task, row)
    else:
        for r in range(count):
            soft_cross_entropy_row(
                at(x, r * x_step), NULL if y == NULL else at(y, r * y_step),
                NULL if out == NULL else at(out, r * out_step), task, row + r,
            )


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


cdef inline bint fits_registers(Py_ssize_t n) noexcept nogil:
    return n <= 16 and n % 2 == 0


cdef inline void to_lanes(vec *rows, vec *lanes_of_rows, Py_ssize_t n) noexcept nogil:
    """Give each of `lanes` packed rows of n elements a lane."""
    cdef Py_ssize_t width = lanes(rows), j = 0
    if fits_registers(n):
        columns(rows, lanes_of_rows, n, False)
        return
    while j < n:
        transpose(at(rows, j), n, &lanes_of_rows[j], width)
        j += width


cdef inline void from_lanes(vec *lanes_of_rows, vec *rows, Py_ssize_t n) noexcept nogil:
    """The way back. A row's last block spills into the next row, whose first block is written after it."""
    cdef Py_ssize_t width = lanes(rows), j = (n - 1) // width * width
    if fits_registers(n):
        columns(lanes_of_rows, rows, n, True)
        return
    while j >= 0:
        transpose(&lanes_of_rows[j], width, at(rows, j), n)
        j -= width


cdef inline vec *aligned(vec *buffer) noexcept nogil:
    """The first cache line in a buffer that has a line to spare."""
    return <vec *>((<size_t>buffer + 63) // 64 * 64)


cdef inline vec *packed(
    vec *like, Task *task, Operand *operand, Py_ssize_t row, Py_ssize_t count, vec *room,
) noexcept nogil:
    """Where `count` rows are, if whole tiles can be read and written there; else `room` for a copy; NULL: no array."""
    cdef Py_ssize_t n = task.classes
    if operand.data == NULL:
        return NULL
    if operand.outer == n and fits_registers(n) and count % lanes(like) == 0:
        return locate(like, operand, row, 0)
    return aligned(room)


cdef void run_transposed(vec *like, Task *task, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Short rows: through tiles in which each row has a lane. Touches no memory but its rows."""
    cdef Py_ssize_t n = task.classes, width = lanes(like), row, count, i
    # per operand: GROUP tiles of packed rows, a vector for what is read or written beyond the last row, and
    # room to align
    cdef vec packed_x[GROUP * TILE_CLASSES + MOST_LANES + 1]
    cdef vec packed_y[GROUP * TILE_CLASSES + MOST_LANES + 1]
    cdef vec packed_out[GROUP * TILE_CLASSES + MOST_LANES + 1]
    cdef vec lanes_x[TILE_CLASSES + MOST_LANES]
    cdef vec lanes_y[TILE_CLASSES + MOST_LANES]
    cdef vec *x = aligned(lanes_x)
    cdef vec *y = NULL if task.y.data == NULL else aligned(lanes_y)
    cdef vec *out = NULL if task.out.data == NULL else x
    cdef vec *from_x
    cdef vec *from_y
    cdef vec *to_out
    row = first
    while row < last:
        count = min(GROUP * width, last - row)
        from_x = packed(like, task, &task.x, row, count, packed_x)
        from_y = packed(like, task, &task.y, row, count, packed_y)
        to_out = packed(like, task, &task.out, row, count, packed_out)
        if from_x == aligned(packed_x):
            copy_rows(from_x, n, locate(like, &task.x, row, 0), task.x.outer, n, count)
        if y != NULL and from_y == aligned(packed_y):
            copy_rows(from_y, n, locate(like, &task.y, row, 0), task.y.outer, n, count)
        i = 0
        while i < count:
            to_lanes(at(from_x, i * n), x, n)
            if y != NULL:
                to_lanes(at(from_y, i * n), y, n)
            run_tile(x, width, y, width, out, width, width, task, row + i, min(width, count - i))
            if out != NULL:
                from_lanes(x, at(to_out, i * n), n)
            i += width
        if out != NULL and to_out == aligned(packed_out):
            copy_rows(locate(like, &task.out, row, 0), task.out.outer, to_out, n, n, count)
        row += count


cdef inline void to_tiles(vec *rows, Py_ssize_t step, vec *tiles, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """Copy `count` rows that lie side by side into tiles of n vectors each."""
    cdef Py_ssize_t width = lanes(rows), j, k
    cdef bint far = n * step * <Py_ssize_t>sizeof(vec) // width > IN_CACHE
    for j in range(n):
        for k in range(count // width):
            if far:
                prefetch(at(rows, (j + CLASSES_AHEAD) * step) + k)
            tiles[k * n + j] = at(rows, j * step)[k]
        if count % width:
            tiles[count // width * n + j] = load(at(rows, j * step + count // width * width), count % width)


cdef inline void from_tiles(vec *tiles, vec *rows, Py_ssize_t step, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """The way back."""
    cdef Py_ssize_t width = lanes(rows), j, k
    cdef bint far = n * step * <Py_ssize_t>sizeof(vec) // width > IN_CACHE
    for j in range(n):
        for k in range(count // width):
            if far:
                prefetch(at(rows, (j + CLASSES_AHEAD) * step) + k)
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
    cdef Py_ssize_t row = first, size = sizeof(vec) // lanes(like), count, o, i
    if not task.lanes and task.classes <= TILE_CLASSES:
        run_transposed(like, task, first, last)
        return
    if task.lanes and task.scratch != NULL:
        run_staged(like, task, first, last)
        return
    while row < last and not task.lanes:
        count = min(max(1, min(ROWS, ROWS_BYTES // (task.classes * size))), last - row)
        run_rows(
            locate(like, &task.x, row, 0), task.x.outer, locate(like, &task.y, row, 0), task.y.outer,
            locate(like, &task.out, row, 0), task.out.outer, count, task, row,
        )
        row += count
    while row < last:
        o = row // task.inner
        i = row % task.inner
        count = min(lanes(like), task.inner - i, last - row)
        run_tile(
            locate(like, &task.x, o, i), task.x.step, locate(like, &task.y, o, i), task.y.step,
            locate(like, &task.out, o, i), task.out.step, count, task, row, count,
        )
        row += count
