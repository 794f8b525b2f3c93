# Arrays as the kernels see them, and the functions that Python calls.

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_IsContiguous, PyBuffer_Release
from libc.math cimport isfinite
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from numpy import empty, empty_like, float32, float64, ndarray

# NumPy's public interface, and of that what NumPy 2.0 has: what is built with a newer one runs with an older one too.
cdef extern from *:
    """
    #define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
    #define NPY_TARGET_VERSION NPY_2_0_API_VERSION
    #include <numpy/arrayobject.h>
    """
    int import_array "_import_array"() except -1
    ctypedef struct PyArrayObject:
        pass
    int PyArray_TYPE(PyArrayObject *array) noexcept
    int PyArray_FLAGS(PyArrayObject *array) noexcept
    int PyArray_NDIM(PyArrayObject *array) noexcept
    void *PyArray_DATA(PyArrayObject *array) noexcept
    Py_ssize_t *PyArray_DIMS(PyArrayObject *array) noexcept
    Py_ssize_t *PyArray_STRIDES(PyArrayObject *array) noexcept
    bint PyArray_ISNOTSWAPPED(PyArrayObject *array) noexcept
    enum:
        NPY_FLOAT
        NPY_DOUBLE
        NPY_LONG
        NPY_LONGLONG
        NPY_ARRAY_WRITEABLE

import_array()

cdef extern from "Python.h":
    int PyObject_GetBuffer(object, Py_buffer *, int) noexcept
    void PyErr_Clear()

# Below this many elements a call is over before giving up the GIL pays.
cdef enum:
    KEEP_GIL = 4096

# Bytes of scratch: what the first levels of cache hold; and the most that is worth it for long rows.
cdef enum:
    SCRATCH = 1 << 18
    LARGEST_SCRATCH = 1 << 20

# Axes of the arrays that are looked at without the buffer protocol.
cdef enum:
    AXES = 4

cdef struct Views:
    Py_buffer[8] view              # at most: all that layer_norm_vjp takes
    Py_ssize_t[8][2 * AXES] sizes  # shapes and strides: copies, as another thread may change an array's
    bint[8] is_exported            # whether it came by the buffer protocol, and must be given back
    int count

cdef type array_type = ndarray


cdef bint look(PyArrayObject *array, Py_buffer *view, Py_ssize_t *sizes, bint writable) noexcept:
    """Fill in what the buffer protocol would say, in a tenth of the time; False for arrays that are not usual."""
    cdef int i, kind = PyArray_TYPE(array), flags = PyArray_FLAGS(array)
    if kind == NPY_FLOAT:
        view.format, view.itemsize = "f", sizeof(float)
    elif kind == NPY_DOUBLE:
        view.format, view.itemsize = "d", sizeof(double)
    elif kind == NPY_LONG:
        view.format, view.itemsize = "l", sizeof(long)
    elif kind == NPY_LONGLONG:
        view.format, view.itemsize = "q", sizeof(long long)
    else:
        return False
    view.ndim = PyArray_NDIM(array)
    if view.ndim > AXES or not PyArray_ISNOTSWAPPED(array):
        return False
    # The sign: a flag of NumPy's own, for arrays that warn when they are written to.
    if writable and (flags < 0 or not flags & NPY_ARRAY_WRITEABLE):
        return False
    view.buf, view.suboffsets = PyArray_DATA(array), NULL
    view.shape, view.strides, view.len = sizes, sizes + AXES, view.itemsize
    for i in range(view.ndim):
        view.shape[i] = PyArray_DIMS(array)[i]
        view.strides[i] = PyArray_STRIDES(array)[i]
        view.len *= view.shape[i]
    return True


cdef Py_buffer *acquire(Views *views, object array, bint writable) noexcept:
    """The array's buffer, released by `release`; NULL unless it is aligned and of one native type."""
    cdef Py_buffer *view = &views.view[views.count]
    cdef int i, flags = PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0)
    if type(array) is not array_type:
        return NULL
    views.is_exported[views.count] = not look(<PyArrayObject *><void *>array, view, views.sizes[views.count], writable)
    if views.is_exported[views.count] and PyObject_GetBuffer(array, view, flags) < 0:
        PyErr_Clear()
        return NULL
    views.count += 1
    if view.format[0] == 0 or view.format[1] != 0:
        return NULL
    if view.len > 0 and <size_t>view.buf % view.itemsize:
        return NULL
    for i in range(view.ndim):
        if view.shape[i] > 1 and view.strides[i] % view.itemsize:
            return NULL
    return view


cdef void *contiguous(Views *views, object array, bint writable) except NULL:
    """Address of the elements of an array that the caller has made fit."""
    cdef Py_buffer *view = acquire(views, array, writable)
    if view == NULL or not PyBuffer_IsContiguous(view, c"C"):
        raise TypeError("the kernels were given an array that is not aligned, native and contiguous")
    return view.buf


cdef void release(Views *views) noexcept:
    cdef int i
    for i in range(views.count):
        if views.is_exported[i]:
            PyBuffer_Release(&views.view[i])
    views.count = 0


cdef bint fold(Py_buffer *view, int first, int last, Py_ssize_t *count, Py_ssize_t *stride) noexcept:
    """Axes first to last - 1 as one: its length, and its stride in elements. False if they do not merge."""
    cdef int k
    count[0] = 1
    stride[0] = 0
    for k in range(last - 1, first - 1, -1):
        if view.shape[k] == 1:
            continue
        if count[0] == 1:
            stride[0] = view.strides[k]
        elif view.strides[k] != stride[0] * count[0]:
            return False
        count[0] *= view.shape[k]
    stride[0] //= view.itemsize
    return True


cdef bint place(Py_buffer *view, int axis, Task *task, Operand *operand, bint is_first) noexcept:
    """Describe an array to the kernels; the first one decides between rows and lanes for all.

    Rows if the classes are the last axis, lanes if not: for an array in C order. In Fortran order the last axis
    is the one whose elements lie apart, so there it is the other way round. How many rows there are decides
    nothing.
    """
    cdef Py_ssize_t outer, inner, n = view.shape[axis]
    operand.data = <char *>view.buf
    operand.step = view.strides[axis] // view.itemsize if n > 1 else 1
    if not (
        fold(view, 0, axis, &outer, &operand.outer)
        and fold(view, axis + 1, view.ndim, &inner, &operand.inner)
    ):
        return False
    if is_first:
        task.lanes = axis < view.ndim - 1
        task.swapped = (
            (outer > 1 and inner == 1 and operand.step != 1)
            or (outer == 1 and inner > 1 and operand.step == 1 and operand.inner != 1)
        )
        if task.swapped:
            task.lanes = inner == 1
    if task.swapped:
        outer, inner = inner, outer
        operand.outer, operand.inner = operand.inner, operand.outer
    if is_first:
        task.outer, task.classes, task.inner = outer, n, inner
    if outer != task.outer or n != task.classes or inner != task.inner:
        return False
    return operand.inner == 1 or inner == 1 if task.lanes else operand.step == 1 and inner == 1


cdef bint overlap(Py_buffer *a, Py_buffer *b) noexcept:
    """Whether two contiguous arrays share memory, other than by starting at the same place."""
    cdef char *p = <char *>a.buf
    cdef char *q = <char *>b.buf
    return p != q and p < q + b.len and q < p + a.len


cdef void add_scratch(Task *task, Py_ssize_t itemsize) noexcept nogil:
    """Room for a block of rows for `run_staged`, where it helps; without it everything works, but slower."""
    cdef Py_ssize_t line = 64 // itemsize
    task.scratch = NULL
    if not task.lanes or task.classes <= TILE_CLASSES or task.classes > LARGEST_SCRATCH // 64:
        return
    task.scratch_rows = line * max(1, SCRATCH // (task.classes * 64))
    task.scratch = malloc((1 if task.y.data == NULL else 2) * task.classes * task.scratch_rows * itemsize + 64)


cdef void perform(Task *task, char format, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Rows first to last - 1."""
    add_scratch(task, 4 if format == c"f" else 8)
    if format == c"f":
        run(<vf *>NULL, task, first, last)
    else:
        run(<vd *>NULL, task, first, last)
    free(task.scratch)


cdef void perform_all(Task *task, char format) noexcept:
    """All rows; gives up the GIL where that pays."""
    cdef Py_ssize_t rows = task.outer * task.inner
    if rows * task.classes < KEEP_GIL:
        perform(task, format, 0, rows)
    else:
        with nogil:
            perform(task, format, 0, rows)


cdef bint same_kind(Py_buffer *a, Py_buffer *b) noexcept:
    """Whether two arrays have one type and shape."""
    cdef int k
    if a.format[0] != b.format[0] or a.ndim != b.ndim:
        return False
    for k in range(a.ndim):
        if a.shape[k] != b.shape[k]:
            return False
    return True


cdef bint is_real(Py_buffer *view) noexcept:
    return view != NULL and (view.format[0] == c"f" or view.format[0] == c"d") and view.ndim > 0


cdef bint is_plain(Py_buffer *view) noexcept:
    """Whether the short paths take the array as it is: C-contiguous float32 or float64, not empty."""
    return is_real(view) and view.len > 0 and PyBuffer_IsContiguous(view, c"C")


cdef bint without_axis(Py_buffer *a, int axis, Py_buffer *rows) noexcept:
    """Whether `rows` has the shape of a without that axis."""
    cdef int k
    if rows.ndim != a.ndim - 1:
        return False
    for k in range(rows.ndim):
        if rows.shape[k] != a.shape[k if k < axis else k + 1]:
            return False
    return True


cdef int axis_from_front(object axis, Py_buffer *view):
    """The axis counted from the front, -1 if there is none of that number."""
    if not -view.ndim <= axis < view.ndim:
        return -1
    return axis + view.ndim if axis < 0 else axis


cdef bint is_labels(Py_buffer *view) noexcept:
    return (
        view != NULL and view.itemsize == 8 and (view.format[0] == c"l" or view.format[0] == c"q")
        and PyBuffer_IsContiguous(view, c"C")
    )


cdef void clear(Task *task, Operation operation, double scale) noexcept:
    memset(task, 0, sizeof(Task))
    task.operation = operation
    task.scale = scale
    task.gradient_scale = 1.0
    task.bad_row = -1


# ---- the short paths: one call, no questions ----

def quick(int operation, x, y, out, axis, temperature, Py_ssize_t limit):
    """The operation on plain arrays of at most `limit` elements: the result, or None where that is not so.

    The VJPs have their output in `x` and their gradient in `y`.
    """
    cdef Task task
    cdef Views views
    cdef Py_buffer *vx
    cdef Py_buffer *vy = NULL
    cdef Py_buffer *vo
    cdef int k
    if type(axis) is not int or type(temperature) is not float or not 1e-30 <= temperature <= 1e30:
        return None
    clear(&task, <Operation>operation, 1.0 / <double>temperature)
    views.count = 0
    try:
        vx = acquire(&views, x, False)
        if not is_plain(vx) or vx.len // vx.itemsize > limit:
            return None
        k = axis_from_front(axis, vx)
        if k < 0:
            return None
        place(vx, k, &task, &task.x, True)
        if y is not None:
            vy = acquire(&views, y, False)
            if not is_plain(vy) or not same_kind(vx, vy):
                return None
            place(vy, k, &task, &task.y, False)
        if operation == LOGSUMEXP:
            as_scalar = out is None and vx.ndim == 1
            if out is None:
                shape = x.shape
                out = empty(shape[:k] + shape[k + 1:], x.dtype)
            vo = acquire(&views, out, True)
            if (
                vo == NULL or vo.format[0] != vx.format[0] or not without_axis(vx, k, vo)
                or not PyBuffer_IsContiguous(vo, c"C") or overlap(vx, vo) or vx.buf == vo.buf
            ):
                return None
            task.row_out = vo.buf
            perform_all(&task, vx.format[0])
            return out[()] if as_scalar else out
        if out is None:
            out = empty_like(x)
        vo = acquire(&views, out, True)
        if not is_plain(vo) or not same_kind(vx, vo) or overlap(vx, vo) or (vy != NULL and overlap(vy, vo)):
            return None
        place(vo, k, &task, &task.out, False)
        perform_all(&task, vx.format[0])
        return out
    finally:
        release(&views)


def quick_cross_entropy(
    logits, targets, out, bint with_grad, axis, class_weight, sample_weight, ignore_index, label_smoothing,
    temperature, reduction, num_threads, Py_ssize_t limit,
):
    """Mean loss over plain logits and plain targets without options, and the gradient; None elsewhere."""
    cdef Task task
    cdef Views views
    cdef Py_buffer *vx
    cdef Py_buffer *vt
    cdef Py_buffer *vo
    cdef Py_ssize_t rows
    cdef int k
    cdef double value
    if (
        class_weight is not None or sample_weight is not None or ignore_index is not None
        or num_threads is not None or type(label_smoothing) is not float or label_smoothing != 0.0
        or type(temperature) is not float or temperature != 1.0 or type(axis) is not int
        or type(reduction) is not str or reduction != "mean"
    ):
        return None
    clear(&task, CROSS_ENTROPY, 1.0)
    views.count = 0
    try:
        vx = acquire(&views, logits, False)
        vt = acquire(&views, targets, False)
        if not is_plain(vx) or vx.len // vx.itemsize > limit or vt == NULL:
            return None
        k = axis_from_front(axis, vx)
        if k < 0:
            return None
        place(vx, k, &task, &task.x, True)
        if task.classes >= <Py_ssize_t>1 << 31:
            return None
        rows = task.outer * task.inner
        if is_labels(vt) and without_axis(vx, k, vt):
            task.labels = <const volatile int64_t *>vt.buf
            if find_bad_label(&task, rows, &value) >= 0:
                return None
        elif is_plain(vt) and same_kind(vx, vt):
            place(vt, k, &task, &task.y, False)
            task.operation = SOFT_CROSS_ENTROPY
        else:
            return None
        if with_grad:
            if out is None:
                out = empty_like(logits)
            vo = acquire(&views, out, True)
            if (
                not is_plain(vo) or not same_kind(vx, vo)
                or overlap(vx, vo) or overlap(vt, vo) or vt.buf == vo.buf
            ):
                return None
            place(vo, k, &task, &task.out, False)
        task.gradient_scale = 1.0 / rows
        task.row_out = malloc(rows * vx.itemsize)
        if task.row_out == NULL:
            raise MemoryError("no memory for the losses of the rows")
        perform_all(&task, vx.format[0])
        value = sum_of(task.row_out, rows, vx.format[0]) / rows
        free(task.row_out)
        if task.bad_row >= 0:
            raise ValueError("`targets` must not change during the call, got a label out of range meanwhile")
        loss = float32(value) if vx.format[0] == c"f" else float64(value)
        return (loss, out) if with_grad else loss
    finally:
        release(&views)


# ---- the general paths: the caller has checked everything but the layout ----

def apply(int operation, x, y, out, int axis, double scale, Py_ssize_t first, Py_ssize_t last):
    """Rows first to last - 1 of the operation; False, and nothing done, if the layout does not fit.

    For logsumexp `out` is a contiguous array with an element for each row.
    """
    cdef Task task
    cdef Views views
    cdef Py_buffer *vx
    cdef Py_buffer *vo
    clear(&task, <Operation>operation, scale)
    views.count = 0
    try:
        vx = acquire(&views, x, False)
        if not is_real(vx) or not 0 <= axis < vx.ndim or not place(vx, axis, &task, &task.x, True):
            return False
        if y is not None and not add(&views, y, False, axis, &task, &task.y):
            return False
        if operation == LOGSUMEXP:
            task.row_out = partner(&views, out, True, task.outer * task.inner, "out")
        elif not add(&views, out, True, axis, &task, &task.out):
            return False
        check_rows(&task, first, last)
        with nogil:
            perform(&task, vx.format[0], first, last)
        return True
    finally:
        release(&views)


def cross_entropy(
    logits, targets, bint is_index, grad, losses, int axis, class_weight, sample_weight, ignore_index,
    double smoothing, double scale, double gradient_scale, Py_ssize_t first, Py_ssize_t last,
):
    """Losses, and the gradient unless `grad` is None, of rows first to last - 1.

    Returns None, and has done nothing, if the layout does not fit; else the number of a row whose label was
    out of range when it was used, or -1. What has one element a row or a class must be contiguous, labels
    int64, the rest of the type of the logits.
    """
    cdef Task task
    cdef Views views
    cdef Py_buffer *vx
    cdef Py_buffer *view
    clear(&task, CROSS_ENTROPY if is_index and smoothing == 0 else SOFT_CROSS_ENTROPY, scale)
    task.smoothing = smoothing
    task.gradient_scale = gradient_scale
    views.count = 0
    try:
        vx = acquire(&views, logits, False)
        if not is_real(vx) or not 0 <= axis < vx.ndim or not place(vx, axis, &task, &task.x, True):
            return None
        if grad is not None and not add(&views, grad, True, axis, &task, &task.out):
            return None
        if is_index:
            view = acquire(&views, targets, False)
            if not is_labels(view):
                return None
            check_count(view, task.outer * task.inner, "targets")
            task.labels = <const volatile int64_t *>view.buf
            set_ignored(&task, ignore_index)
        elif not add(&views, targets, False, axis, &task, &task.y):
            return None
        task.row_out = partner(&views, losses, True, task.outer * task.inner, "losses")
        if class_weight is not None:
            task.class_weight = partner(&views, class_weight, False, task.classes, "class_weight")
        if sample_weight is not None:
            task.sample_weight = partner(&views, sample_weight, False, task.outer * task.inner, "sample_weight")
        check_rows(&task, first, last)
        with nogil:
            perform(&task, vx.format[0], first, last)
        return task.bad_row
    finally:
        release(&views)


def check_labels(labels, Py_ssize_t classes, ignore_index, class_weight, sample_weight):
    """(first row with a label out of range or -1, total weight of the rows that take part).

    Contiguous arrays: int64 labels, float64 weights.
    """
    cdef Task task
    cdef Views views
    cdef Py_ssize_t rows
    cdef double weight = 0.0
    clear(&task, CROSS_ENTROPY, 1.0)
    task.classes = classes
    views.count = 0
    try:
        set_ignored(&task, ignore_index)
        contiguous(&views, labels, False)
        if not is_labels(&views.view[0]):
            raise TypeError("the kernel takes labels in an int64 array")
        task.labels = <const volatile int64_t *>views.view[0].buf
        rows = views.view[0].len // 8
        if class_weight is not None:
            task.class_weight = elements(&views, class_weight, False, c"d", classes, "class_weight")
        if sample_weight is not None:
            task.sample_weight = elements(&views, sample_weight, False, c"d", rows, "sample_weight")
        bad = find_bad_label(&task, rows, &weight)
        return bad, weight
    finally:
        release(&views)


def total(values):
    """Sum of a contiguous float array, in double."""
    cdef Views views
    cdef Py_buffer *view
    views.count = 0
    try:
        view = plain(&views, values, False)
        return sum_of(view.buf, view.len // view.itemsize, view.format[0])
    finally:
        release(&views)


cdef bint add(Views *views, object array, bint writable, int axis, Task *task, Operand *operand) noexcept:
    """Acquire and describe a second or third array, of the type of the first."""
    cdef Py_buffer *view = acquire(views, array, writable)
    return view != NULL and same_kind(&views.view[0], view) and place(view, axis, task, operand, False)


cdef int check_rows(Task *task, Py_ssize_t first, Py_ssize_t last) except -1:
    """Raise if there are no such rows: another thread can give an array a new shape after it was checked."""
    if not 0 <= first <= last <= task.outer * task.inner:
        raise ValueError(f"arrays must keep their shape during the call, got {task.outer * task.inner} rows meanwhile")
    return 0


cdef void set_ignored(Task *task, object ignore_index):
    if ignore_index is not None:
        task.has_ignore = True
        task.ignore_index = ignore_index


cdef Py_ssize_t find_bad_label(Task *task, Py_ssize_t rows, double *weight) noexcept nogil:
    """The first row whose label is out of range, or -1; the total weight of the others that take part."""
    cdef const int64_t *labels = <const int64_t *>task.labels
    cdef Py_ssize_t i
    cdef int64_t label
    cdef double total = 0.0, lost = 0.0
    cdef bint bad = False
    if not task.has_ignore and task.class_weight == NULL and task.sample_weight == NULL:
        for i in range(rows):                       # no way out of this loop: so it runs in vectors
            bad |= <uint64_t>labels[i] >= <uint64_t>task.classes
        if not bad:
            weight[0] = rows
            return -1
    for i in range(rows):
        label = labels[i]
        if task.has_ignore and label == task.ignore_index:
            continue
        if not 0 <= label < task.classes:
            return i
        accumulate_double(
            &total, &lost, class_weight(<vd *>NULL, task, label) * sample_weight(<vd *>NULL, task, i),
        )
    weight[0] = total + lost
    return -1


cdef double sum_of(void *values, Py_ssize_t count, char format) noexcept nogil:
    """Sum in double: plain over each CHUNK elements, compensated from chunk to chunk."""
    cdef Py_ssize_t i = 0, stop
    cdef double total = 0.0, lost = 0.0, s
    while i < count:
        stop = min(i + CHUNK, count)
        s = 0.0
        while i < stop:
            s += (<float *>values)[i] if format == c"f" else (<double *>values)[i]
            i += 1
        accumulate_double(&total, &lost, s)
    return total + lost


cdef inline void accumulate_double(double *total, double *lost, double part) noexcept nogil:
    """As `accumulate`, on numbers."""
    cdef double corrected = part + lost[0]
    cdef double new = total[0] + corrected
    lost[0] = corrected - (new - total[0]) if isfinite(new) else 0.0
    total[0] = new
