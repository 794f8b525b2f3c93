# Activation functions, element by element.

from simd cimport (
    absolute, exp_scaled, lanes, leading_bits, load, maximum, mills_largest, mills_ratio, multiply_add, scaled_lowest,
    select_less, splat, store, subtract_product, tanh_of, unscale, vd, vec, vf,
)
from vectors cimport at

cdef enum Activation:
    OF_RELU
    OF_LEAKY_RELU
    OF_TANH
    OF_SIGMOID
    OF_GELU
    OF_SILU
    NUMBER_OF_ACTIVATIONS

# The names by which Python knows them.
ACTIVATIONS = {
    "relu": OF_RELU,
    "leaky_relu": OF_LEAKY_RELU,
    "tanh": OF_TANH,
    "sigmoid": OF_SIGMOID,
    "gelu": OF_GELU,
    "silu": OF_SILU,
}


cdef inline vec sigmoid(vec x) noexcept nogil:
    """Return 1 / (1 + exp(-x)), as exp(x) / (1 + exp(x)) below 0, where that is the accurate form."""
    cdef vec d = maximum(scaled_lowest(x), -absolute(x))
    cdef vec e = unscale(exp_scaled(d, splat(d, 0.0))), numerator, denominator = 1 + e
    numerator = select_less(x, splat(x, 0.0), e, splat(x, 1.0))
    return numerator / denominator


cdef inline vec silu(vec x) noexcept nogil:
    """Return x sigmoid(x) (S. Elfwing, E. Uchibe and K. Doya, Neural Networks 107, 2018)."""
    cdef vec d = maximum(scaled_lowest(x), -absolute(x))
    cdef vec scaled = exp_scaled(d, splat(d, 0.0))
    cdef vec numerator = select_less(x, splat(x, 0.0), unscale(d * scaled), x), denominator = 1 + unscale(scaled)
    return numerator / denominator


cdef inline vec silu_derivative(vec x) noexcept nogil:
    """Return s (1 + x (1 - s)) with s = sigmoid(x)."""
    cdef vec d = maximum(scaled_lowest(x), -absolute(x)), zero = splat(x, 0.0), one = splat(x, 1.0)
    cdef vec e = unscale(exp_scaled(d, zero)), s, others, total = 1 + e
    s = select_less(x, zero, e, one)
    others = select_less(x, zero, one, e)
    s = s / total
    others = others / total
    d = select_less(x, zero, d, -d)
    return s * multiply_add(d, others, one)


cdef inline vec normal_exp(vec t) noexcept nogil:
    """Return exp(-t^2/2), scaled as by `exp_scaled`: with t^2 in two parts, as its rounding would cost t^2/2 ULP."""
    cdef vec h = leading_bits(t)
    cdef vec high = h * h * splat(t, -0.5)
    return exp_scaled(high, (t - h) * (t + h) * splat(t, -0.5))


cdef inline vec gelu(vec x) noexcept nogil:
    """Return x Phi(x), with Phi the normal distribution function (D. Hendrycks and K. Gimpel, arXiv:1606.08415)."""
    cdef vec t = -maximum(-mills_largest(x), -absolute(x))
    cdef vec tail = mills_ratio(t) * normal_exp(t)
    return select_less(x, splat(x, 0.0), unscale(-t * tail), x * (1 - unscale(tail)))


cdef inline vec gelu_derivative(vec x) noexcept nogil:
    """Return Phi(x) + x phi(x), with phi the normal density."""
    cdef vec t = -maximum(-mills_largest(x), -absolute(x))
    cdef vec ratio = mills_ratio(t)
    cdef vec below = unscale(subtract_product(ratio, t, splat(t, 0.3989422804014327)) * normal_exp(t))
    return select_less(x, splat(x, 0.0), below, 1 - below)


cdef inline vec activation(int kind, vec x, vec slope) noexcept nogil:
    """Return the activation of x; `slope` is that of leaky_relu below 0."""
    cdef vec zero = splat(x, 0.0)
    if kind == OF_RELU:
        return maximum(zero, x)
    if kind == OF_LEAKY_RELU:
        return select_less(zero, x, x, x * slope)
    if kind == OF_TANH:
        return tanh_of(x)
    if kind == OF_SIGMOID:
        return sigmoid(x)
    if kind == OF_GELU:
        return gelu(x)
    return silu(x)


cdef inline vec activation_vjp(int kind, vec saved, vec dy, vec slope) noexcept nogil:
    """Return dy times the derivative, by the output for the first four and by the input for the others."""
    cdef vec zero = splat(saved, 0.0)
    if kind == OF_RELU:
        return select_less(zero, saved, dy, zero)
    if kind == OF_LEAKY_RELU:
        return select_less(zero, saved, dy, dy * slope)
    if kind == OF_TANH:
        return dy * ((1 - saved) * (1 + saved))
    if kind == OF_SIGMOID:
        return dy * (saved * (1 - saved))
    if kind == OF_GELU:
        return dy * gelu_derivative(saved)
    return dy * silu_derivative(saved)


cdef inline void activate_as(int kind, vec *x, vec *dy, vec *out, Py_ssize_t n, vec slope) noexcept nogil:
    """out = the activation of x, or, unless dy is NULL, its VJP. Inlined where `kind` is a constant.

    x: (n,) in; dy: (n,) in, or NULL; out: (n,) out, may be x or dy.
    """
    cdef Py_ssize_t width = lanes(x), full = n // width, count = n % width, i
    cdef vec v, g
    for i in range(full):
        v = x[i]
        if dy == NULL:
            out[i] = activation(kind, v, slope)
        else:
            g = dy[i]
            out[i] = activation_vjp(kind, v, g, slope)
    if count:
        v = load(&x[full], count)
        if dy == NULL:
            v = activation(kind, v, slope)
        else:
            g = load(&dy[full], count)
            v = activation_vjp(kind, v, g, slope)
        store(&out[full], count, v)


# An activation, or its VJP.
cdef struct Activate:
    int kind
    char *x                 # (n,)
    char *dy                # (n,), or NULL: the activation, not its VJP
    char *out               # (n,)
    double slope
    bint is_float


cdef inline void activate_from(vec *like, Activate *a, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """Do n elements from `first` on."""
    cdef vec slope = splat(like[0], a.slope)
    cdef vec *x = at(<vec *>a.x, first)
    cdef vec *dy = NULL if a.dy == NULL else at(<vec *>a.dy, first)
    cdef vec *out = at(<vec *>a.out, first)
    if a.kind == OF_RELU:
        activate_as(OF_RELU, x, dy, out, n, slope)
    elif a.kind == OF_LEAKY_RELU:
        activate_as(OF_LEAKY_RELU, x, dy, out, n, slope)
    elif a.kind == OF_TANH:
        activate_as(OF_TANH, x, dy, out, n, slope)
    elif a.kind == OF_SIGMOID:
        activate_as(OF_SIGMOID, x, dy, out, n, slope)
    elif a.kind == OF_GELU:
        activate_as(OF_GELU, x, dy, out, n, slope)
    else:
        activate_as(OF_SILU, x, dy, out, n, slope)


cdef void activate_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do elements `first` to `last` - 1 of an Activate."""
    if (<Activate *>work).is_float:
        activate_from(<vf *>NULL, <Activate *>work, first, last - first)
    else:
        activate_from(<vd *>NULL, <Activate *>work, first, last - first)


cdef int share_activation(Activate *a, object x, object dy, object out) except -1:
    """Do an activation, its kind and slope set, on these arrays; its VJP unless dy is None."""
    cdef Buffers buffers
    cdef Py_buffer *v
    cdef Py_ssize_t n
    if not 0 <= a.kind < NUMBER_OF_ACTIVATIONS:
        raise ValueError(f"there is no activation number {a.kind}")
    buffers.count = 0
    try:
        v = require_real(&buffers, x, READ)
        n = v.len // v.itemsize
        a.is_float, a.x, a.dy = v.format[0] == c"f", <char *>v.buf, NULL
        if dy is not None:
            a.dy = <char *>require_same_type(&buffers, dy, READ, n, "dy")
        a.out = <char *>require_same_type(&buffers, out, WRITE, n, "out")
        share_elements(activate_part, a, n)
        return 0
    finally:
        release(&buffers)


# ---- the functions that Python calls ----

def activate(int kind, x, out, double slope):
    """out = the activation of x. x: any shape, in; out: as many elements, out, may be x."""
    cdef Activate a
    a.kind, a.slope = kind, slope
    share_activation(&a, x, None, out)


def activate_vjp(int kind, saved, dy not None, out, double slope):
    """out = dy times the derivative; `saved` is the output of relu, leaky_relu, tanh, sigmoid, the input of others.

    saved: any shape, in; dy: as many elements, in; out: as many, out, may be either.
    """
    cdef Activate a
    a.kind, a.slope = kind, slope
    share_activation(&a, saved, dy, out)
