# Arrays as the kernels see them, and Python's lock (the GIL).
#
# Arrays are seen by NumPy's C interface, unusual ones through the buffer protocol. What `acquire` declines is NULL: the
# functions of calls.pxi then say so to their callers. `require_...` raise: TypeError for arrays of a wrong type or
# layout, and ValueError where sizes disagree, so that no call can reach beyond an array; all else is the callers' part.

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_IsContiguous, PyBuffer_Release

from numpy import ndarray

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
    ctypedef struct PyThreadState:
        pass
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *)
    int PyObject_GetBuffer(object, Py_buffer *, int) noexcept
    void PyErr_Clear()

ctypedef fused real:
    float
    double

# Axes of the arrays that are looked at without the buffer protocol.
cdef enum:
    MOST_AXES = 4

cdef enum Access:
    READ
    WRITE

cdef struct Buffers:
    Py_buffer[8] view                   # at most: all that layer_norm_vjp takes
    Py_ssize_t[8][2 * MOST_AXES] sizes  # shapes and strides: copies, as another thread may change an array's
    bint[8] is_exported                 # whether it came by the buffer protocol, and must be given back
    int count

cdef type array_type = ndarray


# ---- arrays ----

cdef bint read_fields(PyArrayObject *array, Py_buffer *view, Py_ssize_t *sizes, Access access) noexcept:
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
    if view.ndim > MOST_AXES or not PyArray_ISNOTSWAPPED(array):
        return False
    # The sign: a flag of NumPy's own, for arrays that warn when they are written to.
    if access == WRITE and (flags < 0 or not flags & NPY_ARRAY_WRITEABLE):
        return False
    view.buf, view.suboffsets = PyArray_DATA(array), NULL
    view.shape, view.strides, view.len = sizes, sizes + MOST_AXES, view.itemsize
    for i in range(view.ndim):
        view.shape[i] = PyArray_DIMS(array)[i]
        view.strides[i] = PyArray_STRIDES(array)[i]
        view.len *= view.shape[i]
    return True


cdef Py_buffer *acquire(Buffers *buffers, object array, Access access) noexcept:
    """Return the array's buffer, given back by `release`; NULL unless it is aligned and of one native type."""
    cdef Py_buffer *view = &buffers.view[buffers.count]
    cdef int i, flags = PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if access == WRITE else 0)
    if type(array) is not array_type:
        return NULL
    buffers.is_exported[buffers.count] = not read_fields(
        <PyArrayObject *><void *>array, view, buffers.sizes[buffers.count], access,
    )
    if buffers.is_exported[buffers.count] and PyObject_GetBuffer(array, view, flags) < 0:
        PyErr_Clear()
        return NULL
    buffers.count += 1
    if view.format[0] == 0 or view.format[1] != 0:
        return NULL
    if view.len > 0 and <size_t>view.buf % view.itemsize:
        return NULL
    for i in range(view.ndim):
        if view.shape[i] > 1 and view.strides[i] % view.itemsize:
            return NULL
    return view


cdef void release(Buffers *buffers) noexcept:
    """Give back all that was acquired."""
    cdef int i
    for i in range(buffers.count):
        if buffers.is_exported[i]:
            PyBuffer_Release(&buffers.view[i])
    buffers.count = 0


cdef bint overlaps(Py_buffer *a, Py_buffer *b) noexcept:
    """Return whether two contiguous arrays share memory, other than by starting at the same place."""
    cdef char *p = <char *>a.buf
    cdef char *q = <char *>b.buf
    return p != q and p < q + b.len and q < p + a.len


cdef bint same_type_and_shape(Py_buffer *a, Py_buffer *b) noexcept:
    """Return whether two arrays have one type and shape."""
    cdef int k
    if a.format[0] != b.format[0] or a.ndim != b.ndim:
        return False
    for k in range(a.ndim):
        if a.shape[k] != b.shape[k]:
            return False
    return True


cdef bint is_real(Py_buffer *view) noexcept:
    """Return whether there is an array of float32 or float64 that has axes."""
    return view != NULL and (view.format[0] == c"f" or view.format[0] == c"d") and view.ndim > 0


cdef bint is_plain(Py_buffer *view) noexcept:
    """Return whether there is a C-contiguous array of float32 or float64 that is not empty."""
    return is_real(view) and view.len > 0 and PyBuffer_IsContiguous(view, c"C")


cdef bint without_axis(Py_buffer *a, int axis, Py_buffer *rows, bint is_kept) noexcept:
    """Return whether `rows` has the shape of a without that axis, or with length 1 there if it is kept."""
    cdef int k
    if rows.ndim != a.ndim - (not is_kept):
        return False
    for k in range(a.ndim):
        if k != axis and rows.shape[k if k < axis or is_kept else k - 1] != a.shape[k]:
            return False
    return not is_kept or rows.shape[axis] == 1


cdef int axis_from_front(object axis, Py_buffer *view):
    """Return the axis counted from the front, -1 if there is none of that number."""
    if not -view.ndim <= axis < view.ndim:
        return -1
    return axis + view.ndim if axis < 0 else axis


cdef bint is_labels(Py_buffer *view) noexcept:
    """Return whether there is a contiguous array of int64."""
    return (
        view != NULL and view.itemsize == 8 and (view.format[0] == c"l" or view.format[0] == c"q")
        and PyBuffer_IsContiguous(view, c"C")
    )


# ---- arrays, or an error ----

cdef void *require_contiguous(Buffers *buffers, object array, Access access) except NULL:
    """Return the address of the elements of an aligned, contiguous array."""
    cdef Py_buffer *view = acquire(buffers, array, access)
    if view == NULL or not PyBuffer_IsContiguous(view, c"C"):
        raise TypeError("the kernels were given an array that is not aligned, native and contiguous")
    return view.buf


cdef Py_buffer *require_real(Buffers *buffers, object array, Access access) except NULL:
    """Return an array of float32 or float64 that is aligned and contiguous."""
    cdef Py_buffer *view
    require_contiguous(buffers, array, access)
    view = &buffers.view[buffers.count - 1]
    if view.format[0] != c"f" and view.format[0] != c"d":
        raise TypeError("the kernels were given an array that is neither float32 nor float64")
    return view


cdef Py_buffer *require_matrix(Buffers *buffers, object array, Access access) except NULL:
    """Return an array of float32 or float64 of two axes."""
    cdef Py_buffer *view = require_real(buffers, array, access)
    if view.ndim != 2:
        raise ValueError(f"the kernel needs an array of 2 axes, got {view.ndim}")
    return view


cdef int check_count(Py_buffer *view, Py_ssize_t count, str name) except -1:
    """Raise unless the array has this number of elements."""
    if view.len // view.itemsize != count:
        raise ValueError(f"`{name}` must have {count} elements, got {view.len // view.itemsize}")
    return 0


cdef void *require_elements(
    Buffers *buffers, object array, Access access, char format, Py_ssize_t count, str name,
) except NULL:
    """Return the address of the `count` elements of an array of that type."""
    cdef Py_buffer *view = require_real(buffers, array, access)
    if view.format[0] != format:
        raise TypeError("the kernels were given arrays of different types")
    check_count(view, count, name)
    return view.buf


cdef void *require_same_type(Buffers *buffers, object array, Access access, Py_ssize_t count, str name) except NULL:
    """Return the address of the `count` elements of an array of the type of the first."""
    return require_elements(buffers, array, access, buffers.view[0].format[0], count, name)


# ---- the GIL ----

cdef inline PyThreadState *release_gil(Py_ssize_t count) noexcept:
    """Release the GIL if that pays for work on this many elements; `restore_gil` must follow."""
    return PyEval_SaveThread() if count >= ELEMENTS_WITHOUT_GIL else NULL


cdef inline void restore_gil(PyThreadState *state) noexcept:
    """Take the GIL again if it was released."""
    if state != NULL:
        PyEval_RestoreThread(state)
