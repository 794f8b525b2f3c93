# Activation functions and dropout: element by element.
#
# Kernels first, then the functions that Python calls.

cdef enum Activation:
    OF_RELU
    OF_LEAKY_RELU
    OF_TANH
    OF_SIGMOID
    OF_GELU
    OF_SILU
    ACTIVATIONS

RELU = OF_RELU
LEAKY_RELU = OF_LEAKY_RELU
TANH = OF_TANH
SIGMOID = OF_SIGMOID
GELU = OF_GELU
SILU = OF_SILU

# Random words that are made at a time.
cdef enum:
    WORDS = 256


# ---- activations ----

cdef inline vec sigmoid(vec x) noexcept nogil:
    """1 / (1 + exp(-x)), as exp(x) / (1 + exp(x)) below 0, where that is the accurate form."""
    cdef vec d = maximum(scaled_lowest(x), -absolute(x))
    cdef vec e = unscale(exp_scaled(d, splat(d, 0.0))), numerator, denominator = 1 + e
    numerator = select_less(x, splat(x, 0.0), e, splat(x, 1.0))
    return numerator / denominator


cdef inline vec silu(vec x) noexcept nogil:
    """x sigmoid(x) (S. Elfwing, E. Uchibe and K. Doya, Neural Networks 107, 2018)."""
    cdef vec d = maximum(scaled_lowest(x), -absolute(x))
    cdef vec scaled = exp_scaled(d, splat(d, 0.0))
    cdef vec numerator = select_less(x, splat(x, 0.0), unscale(d * scaled), x), denominator = 1 + unscale(scaled)
    return numerator / denominator


cdef inline vec silu_derivative(vec x) noexcept nogil:
    """s (1 + x (1 - s)) with s = sigmoid(x)."""
    cdef vec d = maximum(scaled_lowest(x), -absolute(x)), zero = splat(x, 0.0), one = splat(x, 1.0)
    cdef vec e = unscale(exp_scaled(d, zero)), s, others, total = 1 + e
    s = select_less(x, zero, e, one)
    others = select_less(x, zero, one, e)
    s = s / total
    others = others / total
    d = select_less(x, zero, d, -d)
    return s * multiply_add(d, others, one)


cdef inline vec normal_exp(vec t) noexcept nogil:
    """exp(-t^2/2), scaled as by `exp_scaled`: with t^2 in two parts, as its rounding would cost t^2/2 ULP."""
    cdef vec h = leading(t)
    cdef vec high = h * h * splat(t, -0.5)
    return exp_scaled(high, (t - h) * (t + h) * splat(t, -0.5))


cdef inline vec gelu(vec x) noexcept nogil:
    """x Phi(x), with Phi the normal distribution function (D. Hendrycks and K. Gimpel, arXiv:1606.08415)."""
    cdef vec t = -maximum(-mills_largest(x), -absolute(x))
    cdef vec tail = mills_ratio(t) * normal_exp(t)
    return select_less(x, splat(x, 0.0), unscale(-t * tail), x * (1 - unscale(tail)))


cdef inline vec gelu_derivative(vec x) noexcept nogil:
    """Phi(x) + x phi(x), with phi the normal density."""
    cdef vec t = -maximum(-mills_largest(x), -absolute(x))
    cdef vec ratio = mills_ratio(t)
    cdef vec below = unscale(subtract_product(ratio, t, splat(t, 0.3989422804014327)) * normal_exp(t))
    return select_less(x, splat(x, 0.0), below, 1 - below)


cdef inline vec activation(int kind, vec x, vec slope) noexcept nogil:
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
    """dy times the derivative, by the output for the first four and by the input for the others."""
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
    """The activation of x, or, unless dy is NULL, its VJP. Inlined where `kind` is a constant."""
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


cdef inline void activate_any(int kind, vec *x, vec *dy, vec *out, Py_ssize_t n, double slope) noexcept nogil:
    cdef vec by = splat(x[0], slope)
    if kind == OF_RELU:
        activate_as(OF_RELU, x, dy, out, n, by)
    elif kind == OF_LEAKY_RELU:
        activate_as(OF_LEAKY_RELU, x, dy, out, n, by)
    elif kind == OF_TANH:
        activate_as(OF_TANH, x, dy, out, n, by)
    elif kind == OF_SIGMOID:
        activate_as(OF_SIGMOID, x, dy, out, n, by)
    elif kind == OF_GELU:
        activate_as(OF_GELU, x, dy, out, n, by)
    else:
        activate_as(OF_SILU, x, dy, out, n, by)


# ---- dropout ----

cdef inline uint64_t finalised(uint64_t z) noexcept nogil:
    """The finaliser of SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, Fast splittable pseudorandom number
    generators, OOPSLA 2014): each bit of the result depends on every bit of z."""
    z = (z ^ (z >> 30)) * <uint64_t>0xbf58476d1ce4e5b9U
    z = (z ^ (z >> 27)) * <uint64_t>0x94d049bb133111ebU
    return z ^ (z >> 31)


cdef void drop(real *x, real *out, Py_ssize_t n, double probability, uint64_t seed, uint64_t first) noexcept nogil:
    """out = x keep / (1 - probability).

    Word k of a seed is finalised(key + (k + 1) gamma), the generator of that paper started at key = finalised(seed +
    gamma), so that the words of neighbouring seeds are no shifted copies. Its lower half is for element 2 k, its upper
    half for 2 k + 1; an element is kept if its half is at least probability 2^32.
    """
    cdef uint32_t[2 * WORDS + 2] halves
    cdef uint64_t gamma = <uint64_t>0x9e3779b97f4a7c15U, key = finalised(seed + gamma), word, at_first
    cdef uint32_t threshold = <uint32_t>min(probability * 4294967296.0 + 0.5, 4294967295.0)
    cdef uint32_t *half
    cdef real factor = <real>(1.0 / (1.0 - probability)), none = 0
    cdef Py_ssize_t i = 0, j, count
    while i < n:
        count = min(2 * WORDS, n - i)
        at_first = (first + <uint64_t>i) >> 1
        for j in range(WORDS + 1):
            word = finalised(key + (at_first + <uint64_t>j + 1) * gamma)
            halves[2 * j] = <uint32_t>word
            halves[2 * j + 1] = <uint32_t>(word >> 32)
        half = &halves[first & 1]
        for j in range(count):
            out[i + j] = x[i + j] * (factor if half[j] >= threshold else none)
        i += count


# ---- the functions that Python calls ----

def activate(int kind, x, out, double slope):
    """out = the activation of x."""
    perform_activation(kind, x, False, None, out, slope)


def activate_vjp(int kind, saved, dy, out, double slope):
    """out = dy times the derivative; `saved` is the output of relu, leaky_relu, tanh, sigmoid, the input of others."""
    perform_activation(kind, saved, True, dy, out, slope)


cdef struct Activate:
    int kind
    char *x
    char *dy                # NULL: the activation, not its VJP
    char *out
    double slope
    bint is_float


cdef void activate_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Activate *a = <Activate *>work
    cdef Py_ssize_t size = sizeof(float) if a.is_float else sizeof(double), n = last - first
    cdef char *x = a.x + first * size
    cdef char *dy = NULL if a.dy == NULL else a.dy + first * size
    cdef char *out = a.out + first * size
    if a.is_float:
        activate_any(a.kind, <vf *>x, <vf *>dy, <vf *>out, n, a.slope)
    else:
        activate_any(a.kind, <vd *>x, <vd *>dy, <vd *>out, n, a.slope)


cdef int perform_activation(int kind, object x, bint is_vjp, object dy, object out, double slope) except -1:
    cdef Views views
    cdef Activate a
    cdef Py_buffer *v
    cdef Py_ssize_t n
    cdef PyThreadState *state
    if not 0 <= kind < ACTIVATIONS:
        raise ValueError(f"there is no activation number {kind}")
    views.count = 0
    try:
        v = plain(&views, x, False)
        n = v.len // v.itemsize
        a.kind, a.slope, a.is_float = kind, slope, v.format[0] == c"f"
        a.x, a.dy = <char *>v.buf, NULL
        if is_vjp:
            a.dy = <char *>partner(&views, dy, False, n, "dy")
        a.out = <char *>partner(&views, out, True, n, "out")
        state = begin(n, n, ELEMENTS_SHARE)
        share(activate_part, &a, n, CACHE_LINE, ELEMENTS_SHARE)
        take_back(state)
        return 0
    finally:
        release(&views)


cdef struct Drop:
    char *x
    char *out
    double probability
    uint64_t seed
    uint64_t first
    bint is_float


cdef void drop_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Drop *d = <Drop *>work
    cdef uint64_t number = d.first + <uint64_t>first
    if d.is_float:
        drop(<float *>d.x + first, <float *>d.out + first, last - first, d.probability, d.seed, number)
    else:
        drop(<double *>d.x + first, <double *>d.out + first, last - first, d.probability, d.seed, number)


def dropout(x, out, double probability, uint64_t seed, uint64_t first):
    """out = x keep / (1 - probability), with `keep` a function of the seed and of the number of the element."""
    cdef Views views
    cdef Drop d
    cdef Py_buffer *v
    cdef Py_ssize_t n
    cdef PyThreadState *state
    if not 0.0 <= probability < 1.0:
        raise ValueError(f"`probability` must be at least 0 and below 1, got {probability}")
    views.count = 0
    try:
        v = plain(&views, x, False)
        n = v.len // v.itemsize
        d.x, d.probability, d.seed, d.first, d.is_float = <char *>v.buf, probability, seed, first, v.format[0] == c"f"
        d.out = <char *>partner(&views, out, True, n, "out")
        state = begin(n, n, ELEMENTS_SHARE)
        share(drop_part, &d, n, CACHE_LINE, ELEMENTS_SHARE)
        take_back(state)
    finally:
        release(&views)
