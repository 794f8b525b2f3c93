# Arrays of 16-bit floating-point numbers, which the kernels work on as float.

cdef extern from "halves.h" nogil:
    float float_of_half(uint16_t half)
    uint16_t half_of_float(float x)
    float float_of_bfloat(uint16_t half)
    uint16_t bfloat_of_float(float x)


cdef void widen_all(const uint16_t *x, float *out, Py_ssize_t n, bint bfloat) noexcept nogil:
    cdef Py_ssize_t i
    if bfloat:
        for i in range(n):
            out[i] = float_of_bfloat(x[i])
    else:
        for i in range(n):
            out[i] = float_of_half(x[i])


cdef void narrow_all(const float *x, uint16_t *out, Py_ssize_t n, bint bfloat) noexcept nogil:
    cdef Py_ssize_t i
    if bfloat:
        for i in range(n):
            out[i] = bfloat_of_float(x[i])
    else:
        for i in range(n):
            out[i] = half_of_float(x[i])


def widen_halves(halves, out, bint bfloat):
    """Write the numbers whose bits are in an array of uint16 into one of float32."""
    cdef Views views
    cdef Py_buffer *to
    cdef void *source
    cdef PyThreadState *state
    views.count = 0
    try:
        to = single(&views, out, True)
        source = bits(&views, halves, False, to.len // 4, "halves")
        state = let_go(to.len // 4)
        widen_all(<const uint16_t *>source, <float *>to.buf, to.len // 4, bfloat)
        take_back(state)
    finally:
        release(&views)


def narrow_halves(x, out, bint bfloat):
    """Write the bits of float32 numbers, rounded to 16-bit ones, into an array of uint16."""
    cdef Views views
    cdef Py_buffer *source
    cdef void *to
    cdef PyThreadState *state
    views.count = 0
    try:
        source = single(&views, x, False)
        to = bits(&views, out, True, source.len // 4, "out")
        state = let_go(source.len // 4)
        narrow_all(<const float *>source.buf, <uint16_t *>to, source.len // 4, bfloat)
        take_back(state)
    finally:
        release(&views)


cdef Py_buffer *single(Views *views, object array, bint writable) except NULL:
    """An array of float32."""
    cdef Py_buffer *view = plain(views, array, writable)
    if view.format[0] != c"f":
        raise TypeError("the kernel takes an array of float32")
    return view


cdef void *bits(Views *views, object array, bint writable, Py_ssize_t count, str name) except NULL:
    """Address of the `count` elements of an array of uint16."""
    cdef Py_buffer *view
    contiguous(views, array, writable)
    view = &views.view[views.count - 1]
    if view.format[0] != c"H":
        raise TypeError(f"`{name}` must be an array of uint16")
    check_count(view, count, name)
    return view.buf
