# The linear layer: biases, and matrix products, forward and backward.
#
# A tile of the result, TILE_ROWS rows by TILE_VECTORS vectors, stays in registers while the products of all steps are
# added to it: each step takes TILE_VECTORS vectors of the right factor, and one number for each row of the left one. So
# an element of the result is one sum in the order of the steps, whatever the number of rows. The right factor is read
# as it lies, where its rows are contiguous and there is no reason to copy a panel of it (see COPY_ROWS).

from libc.string cimport memcpy

from simd cimport (
    broadcast, element, keep_last, lanes, lanes_sum, load, multiply_add, set_element, splat, store, transpose, vd, vec,
    vf,
)
from vectors cimport MOST_LANES, at

cdef extern from "simd.h" nogil:
    enum:
        TILE_VECTORS

cdef enum:
    TILE_ROWS = 6
    # Steps after which a tile is put away: a panel of this many steps stays in the cache.
    PANEL_STEPS = 256
    # Rows from which on a panel is copied even if it need not be: it is read so often then.
    COPY_ROWS = 64
    # Elements of the left factor that stay in the cache while panel after panel reads them.
    LEFT_ELEMENTS = 1 << 17
    # Rows and columns whose dot products are taken together.
    DOT_ROWS = 4
    DOT_COLUMNS = 2


# result = left right + bias, or a part of that. All sizes and distances are in elements; the columns of the result are
# contiguous.
cdef struct Product:
    char *left              # (rows, steps)
    Py_ssize_t left_row     # from one row to the next
    Py_ssize_t left_step
    char *right             # (steps, columns)
    Py_ssize_t right_step
    Py_ssize_t right_column
    char *bias              # (columns,), or NULL
    char *result            # (rows, columns)
    Py_ssize_t rows
    Py_ssize_t columns
    Py_ssize_t steps
    bint is_float


cdef inline char *moved(char *array, vec *like, Py_ssize_t count) noexcept nogil:
    """Return the address `count` elements on."""
    return <char *>at(<vec *>array, count)


# ---- biases ----

cdef void add_bias_rows(vec *z, vec *bias, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """z += bias, for rows of at least a vector. z: (rows, columns) in and out; bias: (columns,) in."""
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
    """z += bias, for rows of less than a vector: every `columns` vectors the biases are in the same lanes again.

    z: (rows, columns) in and out; bias: (columns,) in.
    """
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


cdef inline void add_bias_any(vec *z, vec *bias, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """z += bias. z: (rows, columns) in and out; bias: (columns,) in."""
    if columns < lanes(z):
        add_bias_narrow(z, bias, rows, columns)
    else:
        add_bias_rows(z, bias, rows, columns)


# ---- products: tiles ----

# These take what belongs to a tile or a panel one by one, not in a struct: so GCC keeps the addresses of the innermost
# loop in registers. With a struct of them, which it takes apart again, products took 4 to 16 % more instructions.

cdef inline void multiply_tile(
    Py_ssize_t rows, Py_ssize_t vectors, vec *left, Py_ssize_t left_row, Py_ssize_t left_step, vec *right,
    Py_ssize_t right_step, vec *start, Py_ssize_t start_row, vec *result, Py_ssize_t result_row, Py_ssize_t steps,
) noexcept nogil:
    """Do `rows` rows of `vectors` vectors.

    left: (rows, steps) in; right: (steps, vectors) in; start: (rows, vectors) in, may be the result, or NULL; result:
    (rows, vectors) out.
    """
    cdef vec[TILE_ROWS * TILE_VECTORS] sums
    cdef vec[TILE_VECTORS] factors
    cdef vec factor
    cdef Py_ssize_t width = lanes(left), r, v, i
    for r in range(rows):
        for v in range(vectors):
            if start == NULL:
                sums[r * vectors + v] = splat(left[0], 0.0)
            else:
                sums[r * vectors + v] = at(start, r * start_row + v * width)[0]
    for i in range(steps):
        for v in range(vectors):
            factors[v] = at(right, i * right_step + v * width)[0]
        for r in range(rows):
            factor = broadcast(left, r * left_row + i * left_step)
            for v in range(vectors):
                sums[r * vectors + v] = multiply_add(factor, factors[v], sums[r * vectors + v])
    for r in range(rows):
        for v in range(vectors):
            at(result, r * result_row + v * width)[0] = sums[r * vectors + v]


cdef inline void multiply_any_tile(
    Product *p, Py_ssize_t rows, Py_ssize_t vectors, vec *left, vec *right, Py_ssize_t right_step, vec *start,
    Py_ssize_t start_row, vec *result, Py_ssize_t result_row, Py_ssize_t steps,
) noexcept nogil:
    """Do a tile of at most TILE_ROWS of the rows: each number is code of its own, so that sums stay in registers."""
    cdef Py_ssize_t row = p.left_row, step = p.left_step
    if rows >= TILE_ROWS:
        multiply_tile(
            TILE_ROWS, vectors, left, row, step, right, right_step, start, start_row, result, result_row, steps,
        )
    elif rows == 5:
        multiply_tile(5, vectors, left, row, step, right, right_step, start, start_row, result, result_row, steps)
    elif rows == 4:
        multiply_tile(4, vectors, left, row, step, right, right_step, start, start_row, result, result_row, steps)
    elif rows == 3:
        multiply_tile(3, vectors, left, row, step, right, right_step, start, start_row, result, result_row, steps)
    elif rows == 2:
        multiply_tile(2, vectors, left, row, step, right, right_step, start, start_row, result, result_row, steps)
    else:
        multiply_tile(1, vectors, left, row, step, right, right_step, start, start_row, result, result_row, steps)


cdef inline void multiply_rows(
    Product *p, Py_ssize_t vectors, vec *left, vec *right, Py_ssize_t right_step, vec *start, Py_ssize_t start_row,
    vec *result, Py_ssize_t rows, Py_ssize_t count, Py_ssize_t steps,
) noexcept nogil:
    """Do `count` columns of all rows, at most `vectors` vectors of them, tile by tile."""
    cdef vec[TILE_ROWS * TILE_VECTORS] part
    cdef Py_ssize_t whole = vectors * lanes(left), size = count * <Py_ssize_t>sizeof(vec) // lanes(left), r = 0, i
    cdef vec *from_start
    while r < rows:
        from_start = NULL if start == NULL else at(start, r * start_row)
        if count == whole:
            multiply_any_tile(
                p, rows - r, vectors, at(left, r * p.left_row), right, right_step, from_start, start_row,
                at(result, r * p.columns), p.columns, steps,
            )
            r += TILE_ROWS
            continue
        for i in range(min(TILE_ROWS, rows - r)):
            if start != NULL:
                memcpy(at(&part[0], i * whole), at(from_start, i * start_row), size)
        multiply_any_tile(
            p, rows - r, vectors, at(left, r * p.left_row), right, right_step, NULL if start == NULL else &part[0],
            whole, &part[0], whole, steps,
        )
        for i in range(min(TILE_ROWS, rows - r)):
            memcpy(at(result, (r + i) * p.columns), at(&part[0], i * whole), size)
        r += TILE_ROWS


# ---- products: panels ----

cdef inline void copy_step(vec *source, Py_ssize_t column, vec *out, Py_ssize_t count) noexcept nogil:
    """Copy a step of the right factor to a vector, with zeros where there are fewer elements.

    source: (count,) in, `column` elements apart; out: a vector out.
    """
    cdef Py_ssize_t width = lanes(source), j
    if column == 1 and count > 0:
        out[0] = load(source, min(count, width))
        return
    for j in range(width):
        set_element(out, j, element(source, j * column) if j < count else 0.0)


cdef inline void copy_panel(
    Product *p, vec *source, vec *panel, Py_ssize_t whole, Py_ssize_t steps, Py_ssize_t count,
) noexcept nogil:
    """Copy a part of the right factor, filled up with zeros. source: (steps, count) in; panel: (steps, whole) out."""
    cdef Py_ssize_t step = p.right_step, column = p.right_column, width = lanes(source), i = 0, j, k
    while i < steps:
        j = 0
        while j < whole:
            if column == 1 and j + width <= count:
                for k in range(i, min(i + width, steps)):
                    at(panel, k * whole + j)[0] = at(source, k * step + j)[0]
            elif step == 1 and j + width <= count and i + width <= steps:
                transpose(at(source, j * column + i), column, at(panel, i * whole + j), whole)
            else:
                for k in range(i, min(i + width, steps)):
                    copy_step(at(source, k * step + j * column), column, at(panel, k * whole + j), count - j)
            j += width
        i += width


cdef inline void multiply_panel(
    Product *p, Py_ssize_t vectors, vec *left, vec *right, vec *bias, vec *result, Py_ssize_t rows, Py_ssize_t count,
) noexcept nogil:
    """Do `count` columns, at most `vectors` vectors; the arguments begin at the first of them."""
    cdef vec[PANEL_STEPS * TILE_VECTORS] panel
    cdef Py_ssize_t whole = vectors * lanes(left), start_row = 0, right_step, steps, i = 0
    cdef vec *start = bias
    cdef vec *chosen
    while i < p.steps or i == 0:
        steps = min(PANEL_STEPS, p.steps - i)
        chosen = at(right, i * p.right_step)
        right_step = p.right_step
        if p.right_column != 1 or count < whole or rows >= COPY_ROWS:
            copy_panel(p, chosen, &panel[0], whole, steps, count)
            chosen = &panel[0]
            right_step = whole
        multiply_rows(
            p, vectors, at(left, i * p.left_step), chosen, right_step, start, start_row, result, rows, count, steps,
        )
        start = result
        start_row = p.columns
        i += PANEL_STEPS


cdef void multiply_panels(Product *p, vec *left, vec *right, vec *bias, vec *result, Py_ssize_t rows) noexcept nogil:
    """Do panel by panel; the last overlaps the one before it, so that it is full, and computes the same bits twice."""
    cdef Py_ssize_t width = lanes(left), n = p.columns, j = 0, count, vectors
    cdef vec *first
    cdef vec *start
    while j < n:
        vectors = min((n - j + width - 1) // width, TILE_VECTORS)
        if vectors > 1 and vectors * width > n:
            vectors -= 1
        count = min(n, vectors * width)
        j = min(j, n - count)
        first = at(right, j * p.right_column)
        start = NULL if bias == NULL else at(bias, j)
        if vectors > 3:
            multiply_panel(p, TILE_VECTORS, left, first, start, at(result, j), rows, count)
        elif vectors > 2:
            multiply_panel(p, min(3, TILE_VECTORS), left, first, start, at(result, j), rows, count)
        elif vectors > 1:
            multiply_panel(p, 2, left, first, start, at(result, j), rows, count)
        else:
            multiply_panel(p, 1, left, first, start, at(result, j), rows, count)
        j += count


# ---- products narrower than a vector, whose tiles would be mostly empty ----

cdef inline vec last_steps(vec *x, Py_ssize_t first, Py_ssize_t steps) noexcept nogil:
    """Return the steps from the first on, less than a vector of them, and zeros. x: (steps,) in."""
    cdef Py_ssize_t width = lanes(x)
    if steps < width:
        return load(x, steps)
    return keep_last(at(x, steps - width)[0], steps - first, 0.0)


cdef inline void add_dots(vec *like, Py_ssize_t rows, Py_ssize_t columns, Product *p) noexcept nogil:
    """Add the sums over the steps to the result; lanes are steps, contiguous in both factors.

    left: (rows, steps) in; right: (steps, columns) in; result: (rows, columns) in and out.
    """
    cdef vec[DOT_ROWS * DOT_COLUMNS] sums
    cdef vec[DOT_ROWS] factors
    cdef vec factor
    cdef vec *left = <vec *>p.left
    cdef vec *right = <vec *>p.right
    cdef vec *result = <vec *>p.result
    cdef Py_ssize_t width = lanes(like), steps = p.steps, i = 0, r, c, k
    for r in range(rows * columns):
        sums[r] = splat(like[0], 0.0)
    while i + width <= steps:
        for r in range(rows):
            factors[r] = at(left, r * p.left_row + i)[0]
        for c in range(columns):
            factor = at(right, c * p.right_column + i)[0]
            for r in range(rows):
                sums[r * columns + c] = multiply_add(factors[r], factor, sums[r * columns + c])
        i += width
    if i < steps:
        for r in range(rows):
            factors[r] = last_steps(at(left, r * p.left_row), i, steps)
        for c in range(columns):
            factor = last_steps(at(right, c * p.right_column), i, steps)
            for r in range(rows):
                sums[r * columns + c] = multiply_add(factors[r], factor, sums[r * columns + c])
    for r in range(rows):
        for c in range(columns):
            k = r * p.columns + c
            factor = lanes_sum(sums[r * columns + c])
            set_element(result, k, element(result, k) + element(&factor, 0))


cdef inline void add_rows_of_dots(vec *like, Py_ssize_t rows, Product *p) noexcept nogil:
    """Add the sums over the steps to `rows` rows of the result."""
    cdef Py_ssize_t c = 0
    cdef Product part = p[0]
    while c + DOT_COLUMNS <= p.columns:
        add_dots(like, rows, DOT_COLUMNS, &part)
        c += DOT_COLUMNS
        part.right = moved(p.right, like, c * p.right_column)
        part.result = moved(p.result, like, c)
    if c < p.columns:
        add_dots(like, rows, 1, &part)


cdef void multiply_by_dots(vec *like, Product *p) noexcept nogil:
    """Do a product whose left factor has contiguous steps; the right one is copied so that it has them, too."""
    cdef vec[PANEL_STEPS * TILE_VECTORS] copied
    cdef Py_ssize_t most = PANEL_STEPS * TILE_VECTORS, i = 0, r, c, k
    cdef vec *right
    cdef vec *bias = <vec *>p.bias
    cdef vec *result = <vec *>p.result
    cdef Product part = p[0]
    for r in range(p.rows):
        for c in range(p.columns):
            set_element(result, r * p.columns + c, 0.0 if bias == NULL else element(bias, c))
    while i < p.steps:
        part.steps = min(most, p.steps - i)
        right = at(<vec *>p.right, i * p.right_step)
        part.right = <char *>right
        if p.right_step != 1:
            for k in range(part.steps):
                for c in range(p.columns):
                    set_element(&copied[0], c * most + k, element(right, k * p.right_step + c * p.right_column))
            part.right, part.right_column = <char *>&copied[0], most
        r = 0
        while r < p.rows:
            part.left = moved(p.left, like, r * p.left_row + i)
            part.result = moved(p.result, like, r * p.columns)
            if r + DOT_ROWS <= p.rows:
                add_rows_of_dots(like, DOT_ROWS, &part)
                r += DOT_ROWS
            else:
                add_rows_of_dots(like, 1, &part)
                r += 1
        i += most


cdef void multiply_swapped(vec *like, Product *p) noexcept nogil:
    """Do a product whose left factor has contiguous rows: the transpose of the result, some rows of it at a time."""
    cdef Product swapped
    cdef vec[MOST_LANES * TILE_VECTORS] part
    cdef Py_ssize_t most = TILE_VECTORS * lanes(like), r = 0, i, c
    cdef vec *bias = <vec *>p.bias
    cdef vec *result = <vec *>p.result
    swapped.left_row, swapped.left_step = p.right_column, p.right_step
    swapped.right_step, swapped.right_column = p.left_step, p.left_row
    swapped.steps = p.steps
    while r < p.rows:
        swapped.columns = min(most, p.rows - r)
        multiply_panels(&swapped, <vec *>p.right, at(<vec *>p.left, r), <vec *>NULL, &part[0], p.columns)
        for i in range(swapped.columns):
            for c in range(p.columns):
                set_element(
                    result, (r + i) * p.columns + c,
                    element(&part[0], c * swapped.columns + i) + (0.0 if bias == NULL else element(bias, c)),
                )
        r += most


# ---- products: the choice ----

cdef inline void multiply(vec *like, Product *p) noexcept nogil:
    """Do a product; the choice depends on nothing but the number of columns and what is transposed."""
    cdef Py_ssize_t block = p.rows, r = 0
    cdef vec *left = <vec *>p.left
    cdef vec *result = <vec *>p.result
    if 2 * p.columns <= lanes(like) and p.left_step == 1:
        multiply_by_dots(like, p)
        return
    if p.columns < lanes(like) and p.left_step != 1:
        multiply_swapped(like, p)
        return
    if p.left_step == 1:
        block = max(16 * TILE_ROWS, LEFT_ELEMENTS // (p.steps + 1) // TILE_ROWS * TILE_ROWS)
    while r < p.rows:
        multiply_panels(
            p, at(left, r * p.left_row), <vec *>p.right, <vec *>p.bias, at(result, r * p.columns),
            min(block, p.rows - r),
        )
        r += block


cdef inline void multiply_from(vec *like, Product *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do rows `first` to `last` - 1 of the result."""
    cdef Product part = p[0]
    part.left = moved(p.left, like, first * p.left_row)
    part.result = moved(p.result, like, first * p.columns)
    part.rows = last - first
    multiply(like, &part)


cdef void multiply_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do rows `first` to `last` - 1 of a Product."""
    if (<Product *>work).is_float:
        multiply_from(<vf *>NULL, <Product *>work, first, last)
    else:
        multiply_from(<vd *>NULL, <Product *>work, first, last)


# ---- the functions that Python calls ----

def add_bias(z, bias):
    """z += bias for each row. z: (rows, columns) in and out; bias: (columns,) in."""
    cdef Buffers buffers
    cdef Py_buffer *v
    cdef void *b
    cdef Py_ssize_t rows, columns
    cdef PyThreadState *state
    buffers.count = 0
    try:
        v = require_matrix(&buffers, z, WRITE)
        rows, columns = v.shape[0], v.shape[1]
        b = require_same_type(&buffers, bias, READ, columns, "bias")
        state = release_gil(rows * columns)
        if v.format[0] == c"f":
            add_bias_any(<vf *>v.buf, <vf *>b, rows, columns)
        else:
            add_bias_any(<vd *>v.buf, <vd *>b, rows, columns)
        restore_gil(state)
    finally:
        release(&buffers)


# Whether `dense` is as fast as the BLAS that NumPy brings: not with vectors as narrow as those of the baseline.
FAST_DENSE = bool(lanes(<vf *>NULL) >= 8)


def dense(left, right, bias, out, bint left_transposed=False, bint right_transposed=False):
    """out = left @ right + bias, with either factor transposed; bias may be None.

    left: (rows, steps), or (steps, rows) if it is to be transposed, in; right: (steps, columns), or (columns, steps),
    in; bias: (columns,) in; out: (rows, columns) out.
    """
    cdef Buffers buffers
    cdef Product p
    cdef Py_buffer *a
    cdef Py_buffer *b
    cdef Py_buffer *c
    cdef Py_ssize_t least
    buffers.count = 0
    try:
        a = require_matrix(&buffers, left, READ)
        b = require_matrix(&buffers, right, READ)
        c = require_matrix(&buffers, out, WRITE)
        if b.format[0] != a.format[0] or c.format[0] != a.format[0]:
            raise TypeError("the kernels were given arrays of different types")
        p.rows, p.columns = c.shape[0], c.shape[1]
        p.steps = a.shape[0 if left_transposed else 1]
        if (
            a.shape[1 if left_transposed else 0] != p.rows
            or b.shape[1 if right_transposed else 0] != p.steps
            or b.shape[0 if right_transposed else 1] != p.columns
        ):
            raise ValueError("the shapes of the factors and of `out` must fit")
        p.bias = NULL
        if bias is not None:
            p.bias = <char *>require_same_type(&buffers, bias, READ, p.columns, "bias")
        p.left, p.right, p.result = <char *>a.buf, <char *>b.buf, <char *>c.buf
        p.left_row = 1 if left_transposed else a.shape[1]
        p.left_step = a.shape[1] if left_transposed else 1
        p.right_step = 1 if right_transposed else b.shape[1]
        p.right_column = b.shape[1] if right_transposed else 1
        p.is_float = a.format[0] == c"f"
        least = MULTIPLICATIONS_PER_THREAD // (p.columns * p.steps + 1) + 1
        share(
            multiply_part, &p, p.rows, TILE_ROWS, least, p.rows * p.columns * p.steps // MULTIPLICATIONS_PER_ELEMENT,
        )
    finally:
        release(&buffers)
