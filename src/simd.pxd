"""simd.h as Cython sees it.

To Cython a vector is a plain C number, so `(x - m) * scale` passes through to the C compiler as written; a product and
a sum that are to be rounded together are `multiply_add` or `subtract_product`. The
functions are macros that choose by type, declared with `double` wherever they take or return a vector.
What they return must be assigned to a `vec` before it is handed to a fused function by value: Cython would
take it for a double.
"""

cdef extern from "simd.h" nogil:
    ctypedef float vf
    ctypedef double vd
    void prefetch(void *p)
    double splat(double like, double value)
    double maximum(double a, double b)
    double multiply_add(double a, double b, double c)
    double subtract_product(double c, double a, double b)
    double select_less(double a, double b, double x, double y)
    double select_equal(double a, double b, double x, double y)
    double masking_product(double a, double b)
    double inverse_remainder(double b, double inverse)
    double divide(double a, double b, double inverse, double lost)
    double keep_last(double v, Py_ssize_t count, double fill)
    double exp_clamped(double d)
    double exp_lowest(double like)
    double exp_nonpositive(double d)
    double log1p_nonnegative(double x)
    double absolute(double x)
    double square_root(double x)
    double exp_scaled(double d, double more)
    double scaled_lowest(double like)
    double unscale(double x)
    double tanh_of(double x)
    double mills_ratio(double t)
    double mills_largest(double like)
    double leading_bits(double x)
    double keep_first(double v, Py_ssize_t count)
    double load_as_doubles(void *p)
    double lanes_max(double v)
    double lanes_sum(double v)
    Py_ssize_t lanes(void *p)
    double load(void *p, Py_ssize_t count)
    void store(void *p, Py_ssize_t count, double v)
    double select_label(double labels, Py_ssize_t label, double a, double b)
    void set_label(void *labels, Py_ssize_t lane, Py_ssize_t label)
    double element(void *p, Py_ssize_t index)
    double broadcast(void *p, Py_ssize_t index)
    void set_element(void *p, Py_ssize_t index, double value)
    void rows_to_columns(void *from_, void *to, Py_ssize_t n)
    void columns_to_rows(void *from_, void *to, Py_ssize_t n)
    void transpose(void *from_, Py_ssize_t from_step, void *to, Py_ssize_t to_step)

ctypedef fused vec:
    vf
    vd
