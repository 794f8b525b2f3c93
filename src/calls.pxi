# What Python calls for softmax, its relatives and cross-entropy.
#
# The arrays that the kernels can work on as they lie in memory are float32 or float64 of this machine, aligned, with
# rows or columns contiguous. All others are declined by None or False, before anything is written: then
# fastsm/functional/_general.py makes copies that fit, or finds what is wrong and says so.

from libc.math cimport fabs
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from cross_entropy cimport class_weight, sample_weight
from simd cimport vd
from task cimport (
    OF_CROSS_ENTROPY, OF_LOG_SOFTMAX, OF_LOG_SOFTMAX_VJP, OF_LOGSUMEXP, OF_SOFT_CROSS_ENTROPY, OF_SOFTMAX,
    OF_SOFTMAX_VJP, Operand, Operation, Task,
)

from numpy import empty, empty_like, float32, float64

# Weights whose largest is below this, or above its inverse, are scaled in fastsm/functional/_general.py.
LEAST_WEIGHT = 1e-6
cdef double least_weight = LEAST_WEIGHT

SOFTMAX = OF_SOFTMAX
LOG_SOFTMAX = OF_LOG_SOFTMAX
LOGSUMEXP = OF_LOGSUMEXP
SOFTMAX_VJP = OF_SOFTMAX_VJP
LOG_SOFTMAX_VJP = OF_LOG_SOFTMAX_VJP


# ---- tasks ----

cdef void initialise(Task *task, Operation operation, double scale) noexcept:
    """Set a task to an operation without arrays and options."""
    memset(task, 0, sizeof(Task))
    task.operation = operation
    task.scale = scale
    task.gradient_scale = 1.0
    task.bad_row = -1


cdef bint merge_axes(Py_buffer *view, int first, int last, Py_ssize_t *count, Py_ssize_t *stride) noexcept:
    """Take axes first to last - 1 as one: its length, and its stride in elements. False if they do not merge."""
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


cdef bint describe(Py_buffer *view, int axis, Task *task, Operand *operand) noexcept:
    """Describe an array to the kernels; `task.x`, the first one, decides between rows and lanes for all.

    Rows if the classes are the last axis, lanes if not: for an array in C order. In Fortran order the last axis is the
    one whose elements lie apart, so there it is the other way round. The number of rows decides nothing.
    """
    cdef Py_ssize_t outer, inner, n = view.shape[axis]
    cdef bint is_first = operand == &task.x
    operand.data = <char *>view.buf
    operand.step = view.strides[axis] // view.itemsize if n > 1 else 1
    if not (
        merge_axes(view, 0, axis, &outer, &operand.outer)
        and merge_axes(view, axis + 1, view.ndim, &inner, &operand.inner)
    ):
        return False
    if is_first:
        task.rows_in_lanes = axis < view.ndim - 1
        task.is_swapped = (
            (outer > 1 and inner == 1 and operand.step != 1)
            or (outer == 1 and inner > 1 and operand.step == 1 and operand.inner != 1)
        )
        if task.is_swapped:
            task.rows_in_lanes = inner == 1
    if task.is_swapped:
        outer, inner = inner, outer
        operand.outer, operand.inner = operand.inner, operand.outer
    if is_first:
        task.outer, task.classes, task.inner, task.format = outer, n, inner, view.format[0]
    if outer != task.outer or n != task.classes or inner != task.inner:
        return False
    return operand.inner == 1 or inner == 1 if task.rows_in_lanes else operand.step == 1 and inner == 1


cdef bint describe_next(
    Buffers *buffers, object array, Access access, int axis, Task *task, Operand *operand,
) noexcept:
    """Acquire and describe an array of the type and shape of the first."""
    cdef Py_buffer *view = acquire(buffers, array, access)
    return view != NULL and same_type_and_shape(&buffers.view[0], view) and describe(view, axis, task, operand)


cdef void set_ignored(Task *task, object ignore_index):
    """Let the rows of a label take no part, unless it is None."""
    if ignore_index is not None:
        task.has_ignore = True
        task.ignore_index = ignore_index


cdef Py_ssize_t find_bad_label(Task *task, Py_ssize_t rows, double *weight) noexcept nogil:
    """Return the first row whose label is out of range, or -1; `weight` becomes the total of the others that take part.

    task.labels: (rows,) in; task.class_weight, task.sample_weight: of double, in, or NULL.
    """
    cdef const int64_t *labels = <const int64_t *>task.labels
    cdef Py_ssize_t i
    cdef int64_t label
    cdef double total = 0.0, lost = 0.0
    cdef bint bad = False
    if not task.has_ignore and task.class_weight == NULL and task.sample_weight == NULL:
        for i in range(rows):                       # without a way out: so it runs in vectors
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


# ---- the short paths: one call, no questions ----

cdef int threads_from(object num_threads):
    """Return a number of threads, 0 for that of the team, or -1 if it is to be looked at again."""
    if num_threads is None:
        return 0
    return num_threads if type(num_threads) is int and 1 <= num_threads <= MOST_HELPERS + 1 else -1


def try_plain(int operation, x, y, out, axis, temperature, bint keepdims, num_threads):
    """Return the result of an operation on plain arrays; None where they are not so.

    x: any shape, in; for the VJPs the output, and y: its shape, in, the gradient. out: the shape of the result, out, or
    None. keepdims is for logsumexp.
    """
    cdef Task task
    cdef Buffers buffers
    cdef Py_buffer *vx
    cdef Py_buffer *vy = NULL
    cdef Py_buffer *vo
    cdef int k, threads = threads_from(num_threads)
    if threads < 0 or type(axis) is not int or type(temperature) is not float or not 1e-30 <= temperature <= 1e30:
        return None
    initialise(&task, <Operation>operation, 1.0 / <double>temperature)
    buffers.count = 0
    try:
        vx = acquire(&buffers, x, READ)
        if not is_plain(vx):
            return None
        k = axis_from_front(axis, vx)
        if k < 0:
            return None
        describe(vx, k, &task, &task.x)
        if task.classes == 1 and operation != OF_LOGSUMEXP:
            return None                             # which may deserve a warning
        if operation == OF_SOFTMAX_VJP or operation == OF_LOG_SOFTMAX_VJP:
            vy = acquire(&buffers, y, READ)
            if not is_plain(vy) or not same_type_and_shape(vx, vy):
                return None
            describe(vy, k, &task, &task.y)
        if operation == OF_LOGSUMEXP:
            as_scalar = out is None and vx.ndim == 1 and not keepdims
            if out is None:
                shape = x.shape
                out = empty(shape[:k] + ((1,) if keepdims else ()) + shape[k + 1:], x.dtype)
            vo = acquire(&buffers, out, WRITE)
            if (
                vo == NULL or vo.format[0] != vx.format[0] or not without_axis(vx, k, vo, keepdims)
                or not PyBuffer_IsContiguous(vo, c"C") or overlaps(vx, vo) or vx.buf == vo.buf
            ):
                return None
            task.row_out = vo.buf
            run_all_rows(&task, threads)
            return out[()] if as_scalar else out
        if out is None:
            out = empty_like(x)
        vo = acquire(&buffers, out, WRITE)
        if not is_plain(vo) or not same_type_and_shape(vx, vo) or overlaps(vx, vo) or (vy != NULL and overlaps(vy, vo)):
            return None
        describe(vo, k, &task, &task.out)
        run_all_rows(&task, threads)
        return out
    finally:
        release(&buffers)


cdef Py_buffer *plain_weights(Buffers *buffers, object weights, Py_buffer *vx, int axis, bint of_classes) noexcept:
    """Return one weight a class, or one a row, in a plain array; NULL if it is not so, or needs to be scaled."""
    cdef Py_buffer *view = acquire(buffers, weights, READ)
    cdef Py_ssize_t i
    cdef double largest = 0.0
    if not is_plain(view):
        return NULL
    if of_classes:
        if view.ndim != 1 or view.shape[0] != vx.shape[axis]:
            return NULL
    elif not without_axis(vx, axis, view, False):
        return NULL
    for i in range(view.len // view.itemsize):
        largest = max(largest, fabs(real_at(view, i)))
    return view if least_weight <= largest <= 1 / least_weight else NULL


cdef inline double real_at(Py_buffer *view, Py_ssize_t index) noexcept nogil:
    """Return an element of a contiguous array."""
    return (<float *>view.buf)[index] if view.format[0] == c"f" else (<double *>view.buf)[index]


cdef char *copy_weights(Py_buffer *view, char format, char *to) noexcept nogil:
    """Copy weights in double, and behind them in the type of the logits; return the address behind both."""
    cdef Py_ssize_t count = view.len // view.itemsize, i
    cdef double *wide = <double *>to
    for i in range(count):
        wide[i] = real_at(view, i)
        if format == c"f":
            (<float *>&wide[count])[i] = <float>wide[i]
        else:
            wide[count + i] = wide[i]
    return to + 16 * count


def try_plain_cross_entropy(
    logits, targets, out, bint with_grad, axis, class_weight, sample_weight, ignore_index, label_smoothing,
    temperature, reduction, num_threads,
):
    """Return the loss over plain logits, targets and weights, and the gradient if asked for; None elsewhere.

    logits: any shape, in; targets: that shape, or without the axis, in; out: the shape of the logits, out, or None;
    class_weight: (classes,) in, or None; sample_weight: the shape of the logits without the axis, in, or None.
    """
    cdef Task task
    cdef Buffers buffers
    cdef Py_buffer *vx
    cdef Py_buffer *vt
    cdef Py_buffer *vo
    cdef Py_buffer *by_class = NULL
    cdef Py_buffer *by_row = NULL
    cdef Py_ssize_t rows
    cdef int k, threads = threads_from(num_threads)
    cdef double value, weight
    cdef char *memory
    cdef char *free_memory
    if (
        threads < 0 or type(axis) is not int or type(reduction) is not str
        or type(label_smoothing) is not float or not 0.0 <= label_smoothing <= 1.0
        or type(temperature) is not float or not 1e-30 <= temperature <= 1e30
        or not (ignore_index is None or type(ignore_index) is int and -(2**63) <= ignore_index < 2**63)
    ):
        return None
    is_mean, is_none = reduction == "mean", reduction == "none"
    if not is_mean and not is_none and reduction != "sum":
        return None
    initialise(&task, OF_CROSS_ENTROPY, 1.0 / <double>temperature)
    task.smoothing = label_smoothing
    buffers.count = 0
    try:
        vx = acquire(&buffers, logits, READ)
        vt = acquire(&buffers, targets, READ)
        if not is_plain(vx) or vt == NULL:
            return None
        k = axis_from_front(axis, vx)
        if k < 0:
            return None
        describe(vx, k, &task, &task.x)
        if task.classes >= <Py_ssize_t>1 << 31 or task.classes == 1:
            return None
        rows = task.outer * task.inner
        if is_labels(vt) and without_axis(vx, k, vt, False):
            task.labels = <const volatile int64_t *>vt.buf
            set_ignored(&task, ignore_index)
        elif ignore_index is None and is_plain(vt) and same_type_and_shape(vx, vt):
            describe(vt, k, &task, &task.y)
        else:
            return None
        if task.labels == NULL or task.smoothing != 0.0:
            task.operation = OF_SOFT_CROSS_ENTROPY
        if class_weight is not None:
            by_class = plain_weights(&buffers, class_weight, vx, k, True)
            if by_class == NULL:
                return None
        if sample_weight is not None:
            by_row = plain_weights(&buffers, sample_weight, vx, k, False)
            if by_row == NULL:
                return None
        if with_grad:
            if out is None:
                out = empty_like(logits)
            vo = acquire(&buffers, out, WRITE)
            if (
                not is_plain(vo) or not same_type_and_shape(vx, vo)
                or overlaps(vx, vo) or overlaps(vt, vo) or vt.buf == vo.buf
                or (by_class != NULL and (overlaps(by_class, vo) or by_class.buf == vo.buf))
                or (by_row != NULL and (overlaps(by_row, vo) or by_row.buf == vo.buf))
            ):
                return None
            describe(vo, k, &task, &task.out)
        # The losses, unless they are the result, behind the weights.
        memory = <char *>malloc(
            (0 if by_class == NULL else 16 * task.classes) + (0 if by_row == NULL else 16 * rows) + rows * vx.itemsize,
        )
        if memory == NULL:
            raise MemoryError("no memory for the losses of the rows")
        try:
            free_memory = memory
            if by_class != NULL:
                task.class_weight = free_memory
                free_memory = copy_weights(by_class, task.format, free_memory)
            if by_row != NULL:
                task.sample_weight = free_memory
                free_memory = copy_weights(by_row, task.format, free_memory)
            if task.labels != NULL:
                if find_bad_label(&task, rows, &weight) >= 0:
                    return None
            else:
                weight = rows if by_row == NULL else element_sum(task.sample_weight, rows, c"d")
            if is_mean and weight == 0.0:
                return None
            task.gradient_scale = 1.0 / weight if is_mean else 1.0
            if by_class != NULL:
                task.class_weight = <double *>task.class_weight + task.classes
            if by_row != NULL:
                task.sample_weight = <double *>task.sample_weight + rows
            task.row_out = free_memory
            if is_none:
                shape = logits.shape
                loss = empty(shape[:k] + shape[k + 1:], logits.dtype)
                vt = acquire(&buffers, loss, WRITE)
                task.row_out = vt.buf
            run_all_rows(&task, threads)
            if task.bad_row >= 0:
                raise ValueError("`targets` must not change during the call, got a label out of range meanwhile")
            if is_none:
                loss = loss[()] if vx.ndim == 1 else loss
            else:
                value = element_sum(task.row_out, rows, task.format)
                value = value / weight if is_mean else value
                loss = float32(value) if task.format == c"f" else float64(value)
        finally:
            free(memory)
        return (loss, out) if with_grad else loss
    finally:
        release(&buffers)


# ---- the general paths: the caller has checked everything but the layout ----

def takes_layout(x, int axis):
    """Return whether the kernels can work on an array as it lies in memory."""
    cdef Task task
    cdef Buffers buffers
    cdef Py_buffer *view
    buffers.count = 0
    try:
        view = acquire(&buffers, x, READ)
        return is_real(view) and 0 <= axis < view.ndim and describe(view, axis, &task, &task.x)
    finally:
        release(&buffers)


def compute_rows(int operation, x, y, out, int axis, double scale, int threads):
    """Do an operation on at most so many threads, 0 for the team's; return False, with nothing done, if the layout
    does not fit.

    x: any shape, in; for the VJPs the output, and y: its shape, in, the gradient. out: the shape of x, out; for
    logsumexp (rows,), contiguous.
    """
    cdef Task task
    cdef Buffers buffers
    cdef Py_buffer *vx
    cdef Py_buffer *vo
    initialise(&task, <Operation>operation, scale)
    buffers.count = 0
    try:
        vx = acquire(&buffers, x, READ)
        if not is_real(vx) or not 0 <= axis < vx.ndim or not describe(vx, axis, &task, &task.x):
            return False
        if y is not None and not describe_next(&buffers, y, READ, axis, &task, &task.y):
            return False
        if operation == OF_LOGSUMEXP:
            task.row_out = require_same_type(&buffers, out, WRITE, task.outer * task.inner, "out")
        elif not describe_next(&buffers, out, WRITE, axis, &task, &task.out):
            return False
        run_all_rows(&task, threads)
        return True
    finally:
        release(&buffers)


def cross_entropy(
    logits, targets, grad, losses, int axis, class_weight, sample_weight, ignore_index, double smoothing, double scale,
    double gradient_scale, int threads,
):
    """Do the losses, and the gradient unless it is None, on at most so many threads, 0 for the team's.

    Returns None, with nothing done, if the layout does not fit; else the number of a row whose label was out of range
    when it was used, or -1.

    logits: any shape, in; targets: that shape, or (rows,) of int64, in; grad: the shape of the logits, out, or None;
    losses: (rows,) out; class_weight: (classes,) in, or None; sample_weight: (rows,) in, or None. What has one element
    a row or a class is contiguous. All but labels are of the type of the logits.
    """
    cdef Task task
    cdef Buffers buffers
    cdef Py_buffer *vx
    cdef Py_buffer *view
    cdef Py_ssize_t rows
    initialise(&task, OF_SOFT_CROSS_ENTROPY, scale)
    task.smoothing = smoothing
    task.gradient_scale = gradient_scale
    buffers.count = 0
    try:
        vx = acquire(&buffers, logits, READ)
        if not is_real(vx) or not 0 <= axis < vx.ndim or not describe(vx, axis, &task, &task.x):
            return None
        rows = task.outer * task.inner
        if grad is not None and not describe_next(&buffers, grad, WRITE, axis, &task, &task.out):
            return None
        view = acquire(&buffers, targets, READ)
        if is_labels(view):
            check_count(view, rows, "targets")
            task.labels = <const volatile int64_t *>view.buf
            set_ignored(&task, ignore_index)
            if smoothing == 0:
                task.operation = OF_CROSS_ENTROPY
        elif view == NULL or not same_type_and_shape(vx, view) or not describe(view, axis, &task, &task.y):
            return None
        task.row_out = require_same_type(&buffers, losses, WRITE, rows, "losses")
        if class_weight is not None:
            task.class_weight = require_same_type(&buffers, class_weight, READ, task.classes, "class_weight")
        if sample_weight is not None:
            task.sample_weight = require_same_type(&buffers, sample_weight, READ, rows, "sample_weight")
        run_all_rows(&task, threads)
        return task.bad_row
    finally:
        release(&buffers)


def check_labels(labels, Py_ssize_t classes, ignore_index, class_weight, sample_weight):
    """Return the first row with a label out of range, or -1, and the total weight of the rows that take part.

    labels: (rows,) of int64, in; class_weight: (classes,) of float64, in, or None; sample_weight: (rows,) of float64,
    in, or None.
    """
    cdef Task task
    cdef Buffers buffers
    cdef Py_ssize_t rows
    cdef double weight = 0.0
    initialise(&task, OF_CROSS_ENTROPY, 1.0)
    task.classes = classes
    buffers.count = 0
    try:
        set_ignored(&task, ignore_index)
        require_contiguous(&buffers, labels, READ)
        if not is_labels(&buffers.view[0]):
            raise TypeError("the kernel takes labels in an int64 array")
        task.labels = <const volatile int64_t *>buffers.view[0].buf
        rows = buffers.view[0].len // 8
        if class_weight is not None:
            task.class_weight = require_elements(&buffers, class_weight, READ, c"d", classes, "class_weight")
        if sample_weight is not None:
            task.sample_weight = require_elements(&buffers, sample_weight, READ, c"d", rows, "sample_weight")
        bad = find_bad_label(&task, rows, &weight)
        return bad, weight
    finally:
        release(&buffers)


# ---- masks ----

cdef void fill_unless(real *x, const uint8_t *kept, Py_ssize_t n, real value) noexcept nogil:
    """x = value where `kept` is 0. x: (n,) in and out; kept: (n,) in."""
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = x[i] if kept[i] != 0 else value


def fill_where_not(x, kept, double value):
    """x = value where `kept` is False. x: any shape, in and out; kept: as many elements of bool, in."""
    cdef Buffers buffers
    cdef Py_buffer *v
    cdef Py_buffer *mask
    cdef PyThreadState *state
    buffers.count = 0
    try:
        v = require_real(&buffers, x, WRITE)
        require_contiguous(&buffers, kept, READ)
        mask = &buffers.view[1]
        if mask.format[0] != c"?":
            raise TypeError("the kernel takes a mask of bool")
        if mask.len != v.len // v.itemsize:
            raise ValueError(f"`kept` must have {v.len // v.itemsize} elements, got {mask.len}")
        state = release_gil(mask.len)
        if v.format[0] == c"f":
            fill_unless(<float *>v.buf, <const uint8_t *>mask.buf, mask.len, <float>value)
        else:
            fill_unless(<double *>v.buf, <const uint8_t *>mask.buf, mask.len, value)
        restore_gil(state)
    finally:
        release(&buffers)
