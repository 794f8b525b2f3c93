# Arrays of 16-bit floating-point numbers, which the kernels work on as float.

from libc.stdint cimport uint16_t

cdef extern from "halves.h" nogil:
    float float_of_half(uint16_t half)
    uint16_t half_of_float(float x)
    float float_of_bfloat(uint16_t half)
    uint16_t bfloat_of_float(float x)


cdef void widen_elements(const uint16_t *x, float *out, Py_ssize_t n, bint bfloat) noexcept nogil:
    """out = the numbers whose bits x has. x: (n,) in; out: (n,) out."""
    cdef Py_ssize_t i
    if bfloat:
        for i in range(n):
            out[i] = float_of_bfloat(x[i])
    else:
        for i in range(n):
            out[i] = float_of_half(x[i])


cdef void narrow_elements(const float *x, uint16_t *out, Py_ssize_t n, bint bfloat) noexcept nogil:
    """out = the bits of x, rounded. x: (n,) in; out: (n,) out."""
    cdef Py_ssize_t i
    if bfloat:
        for i in range(n):
            out[i] = bfloat_of_float(x[i])
    else:
        for i in range(n):
            out[i] = half_of_float(x[i])


cdef Py_buffer *require_float32(Buffers *buffers, object array, Access access) except NULL:
    """Return an array of float32."""
    cdef Py_buffer *view = require_real(buffers, array, access)
    if view.format[0] != c"f":
        raise TypeError("the kernel takes an array of float32")
    return view


cdef void *require_uint16(Buffers *buffers, object array, Access access, Py_ssize_t count, str name) except NULL:
    """Return the address of the `count` elements of an array of uint16."""
    cdef Py_buffer *view
    require_contiguous(buffers, array, access)
    view = &buffers.view[buffers.count - 1]
    if view.format[0] != c"H":
        raise TypeError(f"`{name}` must be an array of uint16")
    check_count(view, count, name)
    return view.buf


# ---- the functions that Python calls ----

def widen_halves(halves, out, bint bfloat):
    """out = the numbers whose bits `halves` has. halves: any shape of uint16, in; out: as many float32, out."""
    cdef Buffers buffers
    cdef Py_buffer *to
    cdef void *source
    cdef PyThreadState *state
    buffers.count = 0
    try:
        to = require_float32(&buffers, out, WRITE)
        source = require_uint16(&buffers, halves, READ, to.len // 4, "halves")
        state = release_gil(to.len // 4)
        widen_elements(<const uint16_t *>source, <float *>to.buf, to.len // 4, bfloat)
        restore_gil(state)
    finally:
        release(&buffers)


def narrow_halves(x, out, bint bfloat):
    """out = the bits of x, rounded to 16-bit numbers. x: any shape of float32, in; out: as many uint16, out."""
    cdef Buffers buffers
    cdef Py_buffer *source
    cdef void *to
    cdef PyThreadState *state
    buffers.count = 0
    try:
        source = require_float32(&buffers, x, READ)
        to = require_uint16(&buffers, out, WRITE, source.len // 4, "out")
        state = release_gil(source.len // 4)
        narrow_elements(<const float *>source.buf, <uint16_t *>to, source.len // 4, bfloat)
        restore_gil(state)
    finally:
        release(&buffers)
