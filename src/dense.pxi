# Matrix products: those of a linear layer, forward and backward.
#
# A tile of the result, TILE_ROWS rows by TILE_VECTORS vectors, stays in registers while the products of all steps are
# added to it: each step takes so many vectors of the right factor, and one number for each row of the left one. So an
# element of the result is one sum in the order of the steps, whatever the number of rows. The right factor is read as
# it lies, where its rows are contiguous and there is no reason to copy a panel of it (see COPIED).

cdef extern from "simd.h" nogil:
    enum:
        TILE_VECTORS

cdef enum:
    TILE_ROWS = 6
    # Steps after which a tile is put away: a panel of so many steps stays in the cache.
    STEPS = 256
    # Rows from which on a panel is copied even if it need not be: it is read so often then.
    COPIED = 64
    # Elements of the left factor that stay in the cache while panel after panel reads them.
    LEFT_ELEMENTS = 1 << 17
    # Multiplications, at least, for each of several threads: some 10 us.
    DENSE_SHARE = 1 << 19
    # Rows and columns whose dot products are taken together.
    DOT_ROWS = 4
    DOT_COLUMNS = 2


# result = left right + bias. All sizes and distances are in elements; the columns of the result are contiguous.
cdef struct Dense:
    char *left
    Py_ssize_t left_row
    Py_ssize_t left_step
    char *right
    Py_ssize_t right_step
    Py_ssize_t right_column
    char *bias              # NULL: none
    char *result
    Py_ssize_t columns
    Py_ssize_t steps
    bint is_float


cdef inline void tile(
    Py_ssize_t rows, Py_ssize_t vectors, vec *left, Py_ssize_t left_row, Py_ssize_t left_step, vec *right,
    Py_ssize_t right_step, vec *start, Py_ssize_t start_row, vec *result, Py_ssize_t result_row, Py_ssize_t steps,
) noexcept nogil:
    """`rows` rows of `vectors` vectors: the sums over the steps, added to `start`, which may be the result, or NULL."""
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
            factor = spread(left, r * left_row + i * left_step)
            for v in range(vectors):
                sums[r * vectors + v] = multiply_add(factor, factors[v], sums[r * vectors + v])
    for r in range(rows):
        for v in range(vectors):
            at(result, r * result_row + v * width)[0] = sums[r * vectors + v]


cdef inline void tile_of(
    Py_ssize_t rows, Py_ssize_t vectors, vec *left, Py_ssize_t left_row, Py_ssize_t left_step, vec *right,
    Py_ssize_t right_step, vec *start, Py_ssize_t start_row, vec *result, Py_ssize_t result_row, Py_ssize_t steps,
) noexcept nogil:
    """A tile of any number of rows up to TILE_ROWS: each is code of its own, so that the sums stay in registers."""
    if rows >= TILE_ROWS:
        tile(
            TILE_ROWS, vectors, left, left_row, left_step, right, right_step, start, start_row, result, result_row,
            steps,
        )
    elif rows == 5:
        tile(5, vectors, left, left_row, left_step, right, right_step, start, start_row, result, result_row, steps)
    elif rows == 4:
        tile(4, vectors, left, left_row, left_step, right, right_step, start, start_row, result, result_row, steps)
    elif rows == 3:
        tile(3, vectors, left, left_row, left_step, right, right_step, start, start_row, result, result_row, steps)
    elif rows == 2:
        tile(2, vectors, left, left_row, left_step, right, right_step, start, start_row, result, result_row, steps)
    else:
        tile(1, vectors, left, left_row, left_step, right, right_step, start, start_row, result, result_row, steps)


cdef inline void panel_rows(
    Dense *d, Py_ssize_t vectors, vec *left, vec *right, Py_ssize_t right_step, vec *start, Py_ssize_t start_row,
    vec *result, Py_ssize_t rows, Py_ssize_t count, Py_ssize_t steps,
) noexcept nogil:
    """`count` columns of all rows, at most `vectors` vectors wide."""
    cdef vec[TILE_ROWS * TILE_VECTORS] part
    cdef Py_ssize_t whole = vectors * lanes(left), size = count * <Py_ssize_t>sizeof(vec) // lanes(left), r = 0, i
    cdef vec *from_start
    while r < rows:
        from_start = NULL if start == NULL else at(start, r * start_row)
        if count == whole:
            tile_of(
                rows - r, vectors, at(left, r * d.left_row), d.left_row, d.left_step, right, right_step, from_start,
                start_row, at(result, r * d.columns), d.columns, steps,
            )
            r += TILE_ROWS
            continue
        for i in range(min(TILE_ROWS, rows - r)):
            if start != NULL:
                memcpy(at(&part[0], i * whole), at(from_start, i * start_row), size)
        tile_of(
            rows - r, vectors, at(left, r * d.left_row), d.left_row, d.left_step, right, right_step,
            NULL if start == NULL else &part[0], whole, &part[0], whole, steps,
        )
        for i in range(min(TILE_ROWS, rows - r)):
            memcpy(at(result, (r + i) * d.columns), at(&part[0], i * whole), size)
        r += TILE_ROWS


cdef inline void copy_panel(
    vec *source, Py_ssize_t step, Py_ssize_t column, vec *panel, Py_ssize_t whole, Py_ssize_t steps, Py_ssize_t count,
) noexcept nogil:
    """Copy `count` columns of so many steps, the steps one after the other, each filled up with zeros to `whole`."""
    cdef Py_ssize_t width = lanes(source), i = 0, j, k
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


cdef inline void copy_step(vec *source, Py_ssize_t column, vec *out, Py_ssize_t count) noexcept nogil:
    """Copy `count` elements to a vector, as many as it has, and zeros where there are less."""
    cdef Py_ssize_t width = lanes(source), j
    if column == 1 and count > 0:
        out[0] = load(source, min(count, width))
        return
    for j in range(width):
        set_element(out, j, element(source, j * column) if j < count else 0.0)


cdef inline void dense_panel(
    Dense *d, Py_ssize_t vectors, vec *left, vec *right, vec *bias, vec *result, Py_ssize_t rows, Py_ssize_t count,
) noexcept nogil:
    """`count` columns of the result, at most `vectors` vectors; the arguments begin at the first of them."""
    cdef vec[STEPS * TILE_VECTORS] panel
    cdef Py_ssize_t whole = vectors * lanes(left), start_row = 0, right_step, steps, i = 0
    cdef vec *start = bias
    cdef vec *chosen
    while i < d.steps or i == 0:
        steps = min(STEPS, d.steps - i)
        chosen = at(right, i * d.right_step)
        right_step = d.right_step
        if d.right_column != 1 or count < whole or rows >= COPIED:
            copy_panel(chosen, d.right_step, d.right_column, &panel[0], whole, steps, count)
            chosen = &panel[0]
            right_step = whole
        panel_rows(
            d, vectors, at(left, i * d.left_step), chosen, right_step, start, start_row, result, rows, count, steps,
        )
        start = result
        start_row = d.columns
        i += STEPS


cdef void dense_rows(Dense *d, vec *left, vec *right, vec *bias, vec *result, Py_ssize_t rows) noexcept nogil:
    """Panel by panel; the last one overlaps the one before it, so that it is full, and computes the same bits twice."""
    cdef Py_ssize_t width = lanes(left), n = d.columns, j = 0, count, vectors
    cdef vec *first
    cdef vec *start
    while j < n:
        vectors = min((n - j + width - 1) // width, TILE_VECTORS)
        if vectors > 1 and vectors * width > n:
            vectors -= 1
        count = min(n, vectors * width)
        j = min(j, n - count)
        first = at(right, j * d.right_column)
        start = NULL if bias == NULL else at(bias, j)
        if vectors > 3:
            dense_panel(d, TILE_VECTORS, left, first, start, at(result, j), rows, count)
        elif vectors > 2:
            dense_panel(d, min(3, TILE_VECTORS), left, first, start, at(result, j), rows, count)
        elif vectors > 1:
            dense_panel(d, 2, left, first, start, at(result, j), rows, count)
        else:
            dense_panel(d, 1, left, first, start, at(result, j), rows, count)
        j += count


# ---- results narrower than a vector, whose tiles would be mostly empty ----

cdef inline vec last_steps(vec *x, Py_ssize_t first, Py_ssize_t steps) noexcept nogil:
    """Those from the first on, less than a vector, and zeros."""
    cdef Py_ssize_t width = lanes(x)
    if steps < width:
        return load(x, steps)
    return keep_last(at(x, steps - width)[0], steps - first, 0.0)


cdef inline void dots(
    Py_ssize_t rows, Py_ssize_t columns, vec *left, Py_ssize_t left_row, vec *right, Py_ssize_t right_column,
    vec *result, Py_ssize_t result_row, Py_ssize_t steps,
) noexcept nogil:
    """Add the sums over the steps to `rows` by `columns` elements; lanes are steps, contiguous in both factors."""
    cdef vec[DOT_ROWS * DOT_COLUMNS] sums
    cdef vec[DOT_ROWS] factors
    cdef vec factor
    cdef Py_ssize_t width = lanes(left), i = 0, r, c
    for r in range(rows * columns):
        sums[r] = splat(left[0], 0.0)
    while i + width <= steps:
        for r in range(rows):
            factors[r] = at(left, r * left_row + i)[0]
        for c in range(columns):
            factor = at(right, c * right_column + i)[0]
            for r in range(rows):
                sums[r * columns + c] = multiply_add(factors[r], factor, sums[r * columns + c])
        i += width
    if i < steps:
        for r in range(rows):
            factors[r] = last_steps(at(left, r * left_row), i, steps)
        for c in range(columns):
            factor = last_steps(at(right, c * right_column), i, steps)
            for r in range(rows):
                sums[r * columns + c] = multiply_add(factors[r], factor, sums[r * columns + c])
    for r in range(rows):
        for c in range(columns):
            factor = lanes_sum(sums[r * columns + c])
            set_element(result, r * result_row + c, element(result, r * result_row + c) + element(&factor, 0))


cdef inline void dot_rows(
    Dense *d, Py_ssize_t rows, vec *left, vec *right, Py_ssize_t right_column, vec *result, Py_ssize_t steps,
) noexcept nogil:
    cdef Py_ssize_t c = 0
    while c + DOT_COLUMNS <= d.columns:
        dots(
            rows, DOT_COLUMNS, left, d.left_row, at(right, c * right_column), right_column, at(result, c), d.columns,
            steps,
        )
        c += DOT_COLUMNS
    if c < d.columns:
        dots(rows, 1, left, d.left_row, at(right, c * right_column), right_column, at(result, c), d.columns, steps)


cdef void narrow_by_dots(Dense *d, vec *left, vec *right, vec *bias, vec *result, Py_ssize_t rows) noexcept nogil:
    """For a left factor whose steps are contiguous; the right one is copied so that its steps are."""
    cdef vec[STEPS * TILE_VECTORS] panel
    cdef Py_ssize_t width = lanes(left), most = STEPS * TILE_VECTORS, i = 0, r, c, k, steps, column
    cdef vec *chosen
    for r in range(rows):
        for c in range(d.columns):
            set_element(result, r * d.columns + c, 0.0 if bias == NULL else element(bias, c))
    while i < d.steps:
        steps = min(most, d.steps - i)
        chosen = at(right, i * d.right_step)
        column = d.right_column
        if d.right_step != 1:
            for k in range(steps):
                for c in range(d.columns):
                    set_element(&panel[0], c * most + k, element(chosen, k * d.right_step + c * column))
            chosen = &panel[0]
            column = most
        r = 0
        while r + DOT_ROWS <= rows:
            dot_rows(
                d, DOT_ROWS, at(left, r * d.left_row + i), chosen, column, at(result, r * d.columns), steps,
            )
            r += DOT_ROWS
        while r < rows:
            dot_rows(d, 1, at(left, r * d.left_row + i), chosen, column, at(result, r * d.columns), steps)
            r += 1
        i += most


cdef void narrow_by_swapping(Dense *d, vec *left, vec *right, vec *bias, vec *result, Py_ssize_t rows) noexcept nogil:
    """For a left factor whose rows are contiguous: the transpose of the result, some rows of it at a time."""
    cdef Dense swapped
    cdef vec[MOST_LANES * TILE_VECTORS] part
    cdef Py_ssize_t most = TILE_VECTORS * lanes(left), r = 0, i, c
    swapped.left_row, swapped.left_step = d.right_column, d.right_step
    swapped.right_step, swapped.right_column = d.left_step, d.left_row
    swapped.steps = d.steps
    while r < rows:
        swapped.columns = min(most, rows - r)
        dense_rows(&swapped, right, at(left, r), <vec *>NULL, &part[0], d.columns)
        for i in range(swapped.columns):
            for c in range(d.columns):
                set_element(
                    result, (r + i) * d.columns + c,
                    element(&part[0], c * swapped.columns + i) + (0.0 if bias == NULL else element(bias, c)),
                )
        r += most


cdef inline void dense_any(Dense *d, vec *left, vec *right, vec *bias, vec *result, Py_ssize_t rows) noexcept nogil:
    """The choice depends on nothing but the number of columns and what is transposed."""
    cdef Py_ssize_t r = 0, block
    if 2 * d.columns <= lanes(left) and d.left_step == 1:
        narrow_by_dots(d, left, right, bias, result, rows)
    elif d.columns < lanes(left) and d.left_step != 1:
        narrow_by_swapping(d, left, right, bias, result, rows)
    elif d.left_step != 1:
        dense_rows(d, left, right, bias, result, rows)
    else:
        block = max(16 * TILE_ROWS, LEFT_ELEMENTS // (d.steps + 1) // TILE_ROWS * TILE_ROWS)
        while r < rows:
            dense_rows(
                d, at(left, r * d.left_row), right, bias, at(result, r * d.columns), min(block, rows - r),
            )
            r += block


cdef void dense_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Rows `first` to `last` - 1 of the result."""
    cdef Dense *d = <Dense *>work
    cdef vf *lf = at(<vf *>d.left, first * d.left_row)
    cdef vd *ld = at(<vd *>d.left, first * d.left_row)
    if d.is_float:
        dense_any(d, lf, <vf *>d.right, <vf *>d.bias, at(<vf *>d.result, first * d.columns), last - first)
    else:
        dense_any(d, ld, <vd *>d.right, <vd *>d.bias, at(<vd *>d.result, first * d.columns), last - first)


# Whether `dense` is as fast as the BLAS that NumPy brings: not with vectors as narrow as those of the baseline.
FAST_DENSE = bool(lanes(<vf *>NULL) >= 8)


def dense(left, right, bias, out, bint left_transposed, bint right_transposed):
    """out = left @ right + bias, with either factor transposed; bias may be None."""
    cdef Views views
    cdef Dense d
    cdef Py_buffer *a
    cdef Py_buffer *b
    cdef Py_buffer *c
    cdef Py_ssize_t rows, least
    cdef PyThreadState *state
    views.count = 0
    try:
        a = matrix(&views, left, False)
        b = matrix(&views, right, False)
        c = matrix(&views, out, True)
        if b.format[0] != a.format[0] or c.format[0] != a.format[0]:
            raise TypeError("the kernels were given arrays of different types")
        rows = c.shape[0]
        d.columns = c.shape[1]
        d.steps = a.shape[0 if left_transposed else 1]
        if (
            a.shape[1 if left_transposed else 0] != rows
            or b.shape[1 if right_transposed else 0] != d.steps
            or b.shape[0 if right_transposed else 1] != d.columns
        ):
            raise ValueError("the shapes of the factors and of `out` must fit")
        d.bias = NULL
        if bias is not None:
            d.bias = <char *>partner(&views, bias, False, d.columns, "bias")
        d.left = <char *>a.buf
        d.right = <char *>b.buf
        d.result = <char *>c.buf
        d.left_row = 1 if left_transposed else a.shape[1]
        d.left_step = a.shape[1] if left_transposed else 1
        d.right_step = 1 if right_transposed else b.shape[1]
        d.right_column = b.shape[1] if right_transposed else 1
        d.is_float = a.format[0] == c"f"
        least = DENSE_SHARE // (d.columns * d.steps + 1) + 1
        state = begin(rows * d.columns * d.steps // 64, rows, least)
        share(dense_part, &d, rows, TILE_ROWS, least)
        take_back(state)
    finally:
        release(&views)
