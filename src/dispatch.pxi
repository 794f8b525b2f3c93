# From a task to calls of kernels: which family, and how the rows get into the lanes.

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cross_entropy cimport (
    cross_entropy_rows, cross_entropy_tile, soft_cross_entropy_rows, soft_cross_entropy_tile,
)
from simd cimport columns_to_rows, lanes, load, prefetch, rows_to_columns, store, transpose, vd, vec, vf
from softmax cimport (
    log_softmax_rows, log_softmax_tile, logsumexp_rows, logsumexp_tile, softmax_rows, softmax_tile,
)
from task cimport (
    CACHE_BYTES, OF_CROSS_ENTROPY, OF_LOG_SOFTMAX, OF_LOG_SOFTMAX_VJP, OF_LOGSUMEXP, OF_SOFT_CROSS_ENTROPY, OF_SOFTMAX,
    OF_SOFTMAX_VJP, PREFETCH_CLASSES, ROWS_TOGETHER, ROWS_TOGETHER_BYTES, TILE_CLASSES, Block, Operand, Operation, Task,
)
from vectors cimport MOST_LANES, at
from vjp cimport log_softmax_vjp_rows, log_softmax_vjp_tile, softmax_vjp_rows, softmax_vjp_tile

cdef enum:
    # Tiles that are copied in and out together, so that no load waits for the stores just before it.
    TILES_TOGETHER = 4
    # Bytes of scratch: what the first levels of cache hold; and the most that is worth it for long rows.
    SCRATCH_BYTES = 1 << 18
    MOST_SCRATCH_BYTES = 1 << 20


cdef inline void run_row_kernel(vec *like, Block *block, Task *task) noexcept nogil:
    """Do the task's operation on a block whose rows are (rows, n)."""
    if task.operation == OF_SOFTMAX:
        softmax_rows(like, block, task)
    elif task.operation == OF_LOG_SOFTMAX:
        log_softmax_rows(like, block, task)
    elif task.operation == OF_LOGSUMEXP:
        logsumexp_rows(like, block, task)
    elif task.operation == OF_SOFTMAX_VJP:
        softmax_vjp_rows(like, block, task)
    elif task.operation == OF_LOG_SOFTMAX_VJP:
        log_softmax_vjp_rows(like, block, task)
    elif task.operation == OF_CROSS_ENTROPY:
        cross_entropy_rows(like, block, task)
    else:
        soft_cross_entropy_rows(like, block, task)


cdef inline void run_tile_kernel(vec *like, Block *block, Task *task) noexcept nogil:
    """Do the task's operation on a block whose classes are (n, count)."""
    if task.operation == OF_SOFTMAX:
        softmax_tile(like, block, task)
    elif task.operation == OF_LOG_SOFTMAX:
        log_softmax_tile(like, block, task)
    elif task.operation == OF_LOGSUMEXP:
        logsumexp_tile(like, block, task)
    elif task.operation == OF_SOFTMAX_VJP:
        softmax_vjp_tile(like, block, task)
    elif task.operation == OF_LOG_SOFTMAX_VJP:
        log_softmax_vjp_tile(like, block, task)
    elif task.operation == OF_CROSS_ENTROPY:
        cross_entropy_tile(like, block, task)
    else:
        soft_cross_entropy_tile(like, block, task)


cdef inline vec *class_0(vec *like, Operand *operand, Py_ssize_t o, Py_ssize_t i) noexcept nogil:
    """Return the address of class 0 of row (o, i), NULL without an array."""
    if operand.data == NULL:
        return NULL
    return at(<vec *>operand.data, o * operand.outer + i * operand.inner)


cdef inline void copy_rows(
    vec *to, Py_ssize_t to_stride, vec *rows, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t count,
) noexcept nogil:
    """to = rows. rows: (count, n) in, `stride` elements apart; to: (count, n) out, `to_stride` elements apart."""
    cdef Py_ssize_t size = sizeof(vec) // lanes(rows), i
    if stride == n and to_stride == n:
        memcpy(to, rows, count * n * size)
    else:
        for i in range(count):
            memcpy(at(to, i * to_stride), at(rows, i * stride), n * size)


cdef inline bint fits_registers(Py_ssize_t n) noexcept nogil:
    """Return whether rows of n classes change places with columns in registers."""
    return n <= 16 and n % 2 == 0


cdef inline void rows_to_lanes(vec *rows, vec *lanes_of_rows, Py_ssize_t n) noexcept nogil:
    """Give each of `width` packed rows a lane. rows: (width, n) in; lanes_of_rows: (n, width) out."""
    cdef Py_ssize_t width = lanes(rows), j = 0
    if fits_registers(n):
        rows_to_columns(rows, lanes_of_rows, n)
        return
    while j < n:
        transpose(at(rows, j), n, &lanes_of_rows[j], width)
        j += width


cdef inline void lanes_to_rows(vec *lanes_of_rows, vec *rows, Py_ssize_t n) noexcept nogil:
    """Undo `rows_to_lanes`. A row's last vector spills into the next row, whose first one is written after it."""
    cdef Py_ssize_t width = lanes(rows), j = (n - 1) // width * width
    if fits_registers(n):
        columns_to_rows(lanes_of_rows, rows, n)
        return
    while j >= 0:
        transpose(&lanes_of_rows[j], width, at(rows, j), n)
        j -= width


cdef inline vec *align(vec *buffer) noexcept nogil:
    """Return the first cache line in a buffer that has a line to spare."""
    return <vec *>((<size_t>buffer + 63) // 64 * 64)


cdef inline vec *packed_rows(
    vec *like, Task *task, Operand *operand, Py_ssize_t row, Py_ssize_t count, vec *room,
) noexcept nogil:
    """Return where the rows are, if whole tiles can be read and written there, else `room` for a copy; NULL: none."""
    cdef Py_ssize_t n = task.classes
    if operand.data == NULL:
        return NULL
    if operand.outer == n and fits_registers(n) and count % lanes(like) == 0:
        return class_0(like, operand, row, 0)
    return align(room)


cdef void run_transposed(vec *like, Task *task, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Short rows: through tiles in which each row has a lane. Touches no memory but its rows."""
    cdef Py_ssize_t n = task.classes, width = lanes(like), row, count, i
    # per operand: tiles of packed rows, a vector for what is read or written beyond the last row, and room to align
    cdef vec packed_x[TILES_TOGETHER * TILE_CLASSES + MOST_LANES + 1]
    cdef vec packed_y[TILES_TOGETHER * TILE_CLASSES + MOST_LANES + 1]
    cdef vec packed_out[TILES_TOGETHER * TILE_CLASSES + MOST_LANES + 1]
    cdef vec lanes_x[TILE_CLASSES + MOST_LANES]
    cdef vec lanes_y[TILE_CLASSES + MOST_LANES]
    cdef vec *x = align(lanes_x)
    cdef vec *y = NULL if task.y.data == NULL else align(lanes_y)
    cdef vec *out = NULL if task.out.data == NULL else x
    cdef vec *from_x
    cdef vec *from_y
    cdef vec *to_out
    cdef Block block
    block.x, block.y, block.out = <char *>x, <char *>y, <char *>out
    block.x_step = block.y_step = block.out_step = block.count = width
    row = first
    while row < last:
        count = min(TILES_TOGETHER * width, last - row)
        from_x = packed_rows(like, task, &task.x, row, count, packed_x)
        from_y = packed_rows(like, task, &task.y, row, count, packed_y)
        to_out = packed_rows(like, task, &task.out, row, count, packed_out)
        if from_x == align(packed_x):
            copy_rows(from_x, n, class_0(like, &task.x, row, 0), task.x.outer, n, count)
        if y != NULL and from_y == align(packed_y):
            copy_rows(from_y, n, class_0(like, &task.y, row, 0), task.y.outer, n, count)
        i = 0
        while i < count:
            rows_to_lanes(at(from_x, i * n), x, n)
            if y != NULL:
                rows_to_lanes(at(from_y, i * n), y, n)
            block.first, block.rows = row + i, min(width, count - i)
            run_tile_kernel(like, &block, task)
            if out != NULL:
                lanes_to_rows(x, at(to_out, i * n), n)
            i += width
        if out != NULL and to_out == align(packed_out):
            copy_rows(class_0(like, &task.out, row, 0), task.out.outer, to_out, n, n, count)
        row += count


cdef inline void copy_to_tiles(vec *rows, Py_ssize_t step, vec *tiles, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """Copy rows that lie side by side into tiles. rows: (n, count) in, `step` apart; tiles: (n, width) each, out."""
    cdef Py_ssize_t width = lanes(rows), j, k
    cdef bint far = n * step * <Py_ssize_t>sizeof(vec) // width > CACHE_BYTES
    for j in range(n):
        for k in range(count // width):
            if far:
                prefetch(at(rows, (j + PREFETCH_CLASSES) * step) + k)
            tiles[k * n + j] = at(rows, j * step)[k]
        if count % width:
            tiles[count // width * n + j] = load(at(rows, j * step + count // width * width), count % width)


cdef inline void copy_from_tiles(vec *tiles, vec *rows, Py_ssize_t step, Py_ssize_t n, Py_ssize_t count) noexcept nogil:
    """Undo `copy_to_tiles`. tiles: (n, width) each, in; rows: (n, count) out, `step` apart."""
    cdef Py_ssize_t width = lanes(rows), j, k
    cdef bint far = n * step * <Py_ssize_t>sizeof(vec) // width > CACHE_BYTES
    for j in range(n):
        for k in range(count // width):
            if far:
                prefetch(at(rows, (j + PREFETCH_CLASSES) * step) + k)
            at(rows, j * step)[k] = tiles[k * n + j]
        if count % width:
            store(at(rows, j * step + count // width * width), count % width, tiles[count // width * n + j])


cdef void run_staged(vec *like, Task *task, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Rows side by side in memory, with classes far apart: through a block of tiles that stays in cache.

    The three passes of a kernel over memory at a large stride would miss the cache, and at a power of two
    evict their own lines, in each pass.
    """
    cdef Py_ssize_t n = task.classes, width = lanes(like), row = first, i, k, count
    cdef vec *x = align(<vec *>task.scratch)
    cdef vec *y = NULL if task.y.data == NULL else at(x, n * task.scratch_rows)
    cdef vec *out = NULL if task.out.data == NULL else x
    cdef Block block
    block.x_step = block.y_step = block.out_step = block.count = width
    while row < last:
        i = row % task.inner
        count = min(task.scratch_rows, min(task.inner - i, last - row))
        copy_to_tiles(class_0(like, &task.x, row // task.inner, i), task.x.step, x, n, count)
        if y != NULL:
            copy_to_tiles(class_0(like, &task.y, row // task.inner, i), task.y.step, y, n, count)
        k = 0
        while k < count:
            block.first, block.rows = row + k, min(width, count - k)
            block.x = <char *>at(x, k * n)
            block.y = NULL if y == NULL else <char *>at(y, k * n)
            block.out = NULL if out == NULL else <char *>at(out, k * n)
            run_tile_kernel(like, &block, task)
            k += width
        if out != NULL:
            copy_from_tiles(x, class_0(like, &task.out, row // task.inner, i), task.out.step, n, count)
        row += count


cdef void run_directly(vec *like, Task *task, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """All other rows: where they lie in memory."""
    cdef Py_ssize_t row = first, size = sizeof(vec) // lanes(like), o, i
    cdef Block block
    while row < last and not task.rows_in_lanes:
        block.first = row
        block.rows = min(max(1, min(ROWS_TOGETHER, ROWS_TOGETHER_BYTES // (task.classes * size))), last - row)
        block.x, block.x_step = <char *>class_0(like, &task.x, row, 0), task.x.outer
        block.y, block.y_step = <char *>class_0(like, &task.y, row, 0), task.y.outer
        block.out, block.out_step = <char *>class_0(like, &task.out, row, 0), task.out.outer
        run_row_kernel(like, &block, task)
        row += block.rows
    while row < last:
        o = row // task.inner
        i = row % task.inner
        block.first = row
        block.rows = block.count = min(lanes(like), task.inner - i, last - row)
        block.x, block.x_step = <char *>class_0(like, &task.x, o, i), task.x.step
        block.y, block.y_step = <char *>class_0(like, &task.y, o, i), task.y.step
        block.out, block.out_step = <char *>class_0(like, &task.out, o, i), task.out.step
        run_tile_kernel(like, &block, task)
        row += block.rows


cdef inline void run_rows(vec *like, Task *task, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Rows first to last - 1 of a task."""
    if not task.rows_in_lanes and task.classes <= TILE_CLASSES:
        run_transposed(like, task, first, last)
    elif task.rows_in_lanes and task.scratch != NULL:
        run_staged(like, task, first, last)
    else:
        run_directly(like, task, first, last)


cdef void allocate_scratch(Task *task, Py_ssize_t itemsize) noexcept nogil:
    """Allocate a block of rows for `run_staged`, where it helps; without it everything works, but slower."""
    cdef Py_ssize_t line = 64 // itemsize
    task.scratch = NULL
    if not task.rows_in_lanes or task.classes <= TILE_CLASSES or task.classes > MOST_SCRATCH_BYTES // 64:
        return
    task.scratch_rows = line * max(1, SCRATCH_BYTES // (task.classes * 64))
    task.scratch = malloc((1 if task.y.data == NULL else 2) * task.classes * task.scratch_rows * itemsize + 64)


cdef void run_task(Task *task, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do rows first to last - 1 of a task."""
    allocate_scratch(task, 4 if task.format == c"f" else 8)
    if task.format == c"f":
        run_rows(<vf *>NULL, task, first, last)
    else:
        run_rows(<vd *>NULL, task, first, last)
    free(task.scratch)


cdef void task_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do rows first to last - 1 of a Task that threads share."""
    cdef Task own = (<Task *>work)[0]       # with scratch of its own
    run_task(&own, first, last)
    if own.bad_row >= 0:
        (<Task *>work).bad_row = own.bad_row


cdef int run_all_rows(Task *task, int threads=0) except -1:
    """Do all rows, on at most so many threads, or as many as the team may have if that is 0."""
    cdef Py_ssize_t rows = task.outer * task.inner, elements = rows * task.classes, unit = 1
    cdef Py_ssize_t work = 1 if task.operation == OF_SOFTMAX_VJP else EXPONENTIAL_WORK
    cdef PyThreadState *state
    if task.format == c"d":
        work *= 2
    if elements * work < 2 * team.least_work:
        state = release_gil(elements)
        run_task(task, 0, rows)
        restore_gil(state)
        return 0
    if task.rows_in_lanes:
        unit = MOST_LANES
    elif task.classes <= TILE_CLASSES:
        unit = TILES_TOGETHER * MOST_LANES
    return share(task_part, task, rows, unit, team.least_work // (task.classes * work), elements, threads)
