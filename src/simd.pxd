"""simd.h as Cython sees it.

To Cython a vector is a plain C number, so `a * b + c` passes through to the C compiler as written; the
functions are macros that choose by type, declared with `double` wherever they take or return a vector.
What they return must be assigned to a `vec` before it is handed to a fused function by value: Cython would
take it for a double.
"""

cdef extern from "simd.h" nogil:
    ctypedef float vf
    ctypedef double vd
    double splat(double like, double value)
    double maximum(double a, double b)
    double select_less(double a, double b, double x, double y)
    double select_equal(double a, double b, double x, double y)
    double product(double a, double b)
    double divide(double a, double b, double inverse)
    double keep_last(double v, Py_ssize_t count, double fill)
    double exp_clamped(double d)
    double exp_lowest(double like)
    double exp_nonpositive(double d)
    double log1p_nonnegative(double x)
    double lanes_max(double v)
    double lanes_sum(double v)
    Py_ssize_t lanes(void *p)
    double load(void *p, Py_ssize_t count)
    void store(void *p, Py_ssize_t count, double v)
    double element(void *p, Py_ssize_t index)
    void set_element(void *p, Py_ssize_t index, double value)
    void transpose(void *from_, Py_ssize_t from_step, void *to, Py_ssize_t to_step)

ctypedef fused vec:
    vf
    vd
