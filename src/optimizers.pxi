# One step of an optimizer in one pass over its arrays. The formulas are those of torch.optim, in its order.
#
# Kernels first, then the functions that Python calls; the arrays are flat, of one type and length.

cdef inline vec regularised(vec p, vec g, vec scale, vec decay, bint decays) noexcept nogil:
    """The gradient times scale, plus decay p."""
    g = g * scale
    if decays:
        g = multiply_add(decay, p, g)
    return g


cdef inline void sgd_vector(
    vec *p, vec *g, vec *v, Py_ssize_t n, vec rate, vec momentum, bint nesterov, vec decay, bint decays, vec scale,
) noexcept nogil:
    cdef vec old = load(p, n), step = load(g, n), velocity
    step = regularised(old, step, scale, decay, decays)
    if v != NULL:
        velocity = load(v, n)
        velocity = multiply_add(momentum, velocity, step)
        store(v, n, velocity)
        if nesterov:
            step = multiply_add(momentum, velocity, step)
        else:
            step = velocity
    store(p, n, subtract_product(old, rate, step))


cdef void sgd_all(
    vec *p, vec *g, vec *v, Py_ssize_t n, double learning_rate, double momentum, bint nesterov, double weight_decay,
    double scale,
) noexcept nogil:
    cdef Py_ssize_t width = lanes(p), full = n // width, i
    cdef vec rate = splat(p[0], learning_rate), m = splat(p[0], momentum), d = splat(p[0], weight_decay)
    cdef vec s = splat(p[0], scale)
    cdef bint decays = weight_decay != 0.0
    for i in range(full):
        sgd_vector(&p[i], &g[i], NULL if v == NULL else &v[i], width, rate, m, nesterov, d, decays, s)
    if n % width:
        sgd_vector(
            &p[full], &g[full], NULL if v == NULL else &v[full], n % width, rate, m, nesterov, d, decays, s,
        )


cdef inline void rmsprop_vector(
    vec *p, vec *g, vec *square, vec *v, Py_ssize_t n, vec rate, vec keep, vec add, vec momentum, vec epsilon,
    vec decay, bint decays, vec scale,
) noexcept nogil:
    cdef vec old = load(p, n), step = load(g, n), mean_square, root
    step = regularised(old, step, scale, decay, decays)
    mean_square = load(square, n)
    mean_square = multiply_add(keep, mean_square, add * (step * step))
    store(square, n, mean_square)
    root = square_root(mean_square) + epsilon
    step = step / root
    if v != NULL:
        step = multiply_add(momentum, load(v, n), step)
        store(v, n, step)
    store(p, n, subtract_product(old, rate, step))


cdef void rmsprop_all(
    vec *p, vec *g, vec *square, vec *v, Py_ssize_t n, double learning_rate, double decay, double momentum,
    double epsilon, double weight_decay, double scale,
) noexcept nogil:
    cdef Py_ssize_t width = lanes(p), full = n // width, i
    cdef vec rate = splat(p[0], learning_rate), keep = splat(p[0], decay), add = splat(p[0], 1.0 - decay)
    cdef vec m = splat(p[0], momentum), e = splat(p[0], epsilon), d = splat(p[0], weight_decay), s = splat(p[0], scale)
    cdef bint decays = weight_decay != 0.0
    for i in range(full):
        rmsprop_vector(
            &p[i], &g[i], &square[i], NULL if v == NULL else &v[i], width, rate, keep, add, m, e, d, decays, s,
        )
    if n % width:
        rmsprop_vector(
            &p[full], &g[full], &square[full], NULL if v == NULL else &v[full], n % width, rate, keep, add, m, e, d,
            decays, s,
        )


cdef inline void adam_vector(
    vec *p, vec *g, vec *mean, vec *square, Py_ssize_t n, vec rate, vec add1, vec keep2, vec add2, vec correction,
    vec epsilon, vec decay, bint decays, vec shrink, vec scale,
) noexcept nogil:
    cdef vec old = load(p, n), gradient = load(g, n), m = load(mean, n), s = load(square, n), root, step
    gradient = regularised(old, gradient, scale, decay, decays)
    m = multiply_add(add1, gradient - m, m)
    s = multiply_add(keep2, s, add2 * (gradient * gradient))
    store(mean, n, m)
    store(square, n, s)
    root = square_root(s)
    root = multiply_add(root, correction, epsilon)
    step = m / root
    store(p, n, subtract_product(old * shrink, rate, step))


cdef void adam_all(
    vec *p, vec *g, vec *mean, vec *square, Py_ssize_t n, double learning_rate, double beta1, double beta2,
    double epsilon, double weight_decay, bint decoupled, double step, double scale,
) noexcept nogil:
    cdef Py_ssize_t width = lanes(p), full = n // width, i
    cdef vec rate = splat(p[0], learning_rate / (1.0 - pow(beta1, step))), add1 = splat(p[0], 1.0 - beta1)
    cdef vec keep2 = splat(p[0], beta2), add2 = splat(p[0], 1.0 - beta2)
    cdef vec correction = splat(p[0], 1.0 / sqrt(1.0 - pow(beta2, step))), e = splat(p[0], epsilon)
    cdef vec d = splat(p[0], weight_decay), s = splat(p[0], scale)
    cdef vec shrink = splat(p[0], 1.0 - learning_rate * weight_decay if decoupled else 1.0)
    cdef bint decays = weight_decay != 0.0 and not decoupled
    for i in range(full):
        adam_vector(
            &p[i], &g[i], &mean[i], &square[i], width, rate, add1, keep2, add2, correction, e, d, decays, shrink, s,
        )
    if n % width:
        adam_vector(
            &p[full], &g[full], &mean[full], &square[full], n % width, rate, add1, keep2, add2, correction, e, d,
            decays, shrink, s,
        )


# ---- the functions that Python calls ----

# A step of any of them on flat arrays of `count` elements; each reads what it needs.
cdef struct Step:
    bint is_float
    char *params
    char *grads
    char *first             # velocity of SGD, mean square of RMSprop, mean of Adam
    char *second            # velocity of RMSprop, mean square of Adam
    double learning_rate
    double momentum
    bint nesterov
    double decay            # of RMSprop's mean
    double beta1
    double beta2
    double epsilon
    double weight_decay
    bint decoupled
    double number           # of the step, from 1
    double scale


cdef inline vec *part_of(char *array, vec *like, Py_ssize_t first) noexcept nogil:
    return NULL if array == NULL else at(<vec *>array, first)


cdef inline void sgd_from(Step *s, vec *like, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    sgd_all(
        part_of(s.params, like, first), part_of(s.grads, like, first), part_of(s.first, like, first), n,
        s.learning_rate, s.momentum, s.nesterov, s.weight_decay, s.scale,
    )


cdef inline void rmsprop_from(Step *s, vec *like, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    rmsprop_all(
        part_of(s.params, like, first), part_of(s.grads, like, first), part_of(s.first, like, first),
        part_of(s.second, like, first), n, s.learning_rate, s.decay, s.momentum, s.epsilon, s.weight_decay, s.scale,
    )


cdef inline void adam_from(Step *s, vec *like, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    adam_all(
        part_of(s.params, like, first), part_of(s.grads, like, first), part_of(s.first, like, first),
        part_of(s.second, like, first), n, s.learning_rate, s.beta1, s.beta2, s.epsilon, s.weight_decay, s.decoupled,
        s.number, s.scale,
    )


cdef void sgd_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    if (<Step *>work).is_float:
        sgd_from(<Step *>work, <vf *>NULL, first, last - first)
    else:
        sgd_from(<Step *>work, <vd *>NULL, first, last - first)


cdef void rmsprop_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    if (<Step *>work).is_float:
        rmsprop_from(<Step *>work, <vf *>NULL, first, last - first)
    else:
        rmsprop_from(<Step *>work, <vd *>NULL, first, last - first)


cdef void adam_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    if (<Step *>work).is_float:
        adam_from(<Step *>work, <vf *>NULL, first, last - first)
    else:
        adam_from(<Step *>work, <vd *>NULL, first, last - first)


cdef int step_with(
    Part part, Step *s, object params, object grads, object first, object second, int needed,
) except -1:
    """Do the step `s`, its numbers set, on these arrays; of the last two the first `needed` must not be None."""
    cdef Views views
    cdef Py_buffer *p
    cdef Py_ssize_t n
    cdef PyThreadState *state
    views.count = 0
    try:
        p = plain(&views, params, True)
        n = p.len // p.itemsize
        s.is_float, s.params = p.format[0] == c"f", <char *>p.buf
        s.grads = <char *>partner(&views, grads, False, n, "grads")
        s.first = s.second = NULL
        if first is not None or needed > 0:
            s.first = <char *>partner(&views, first, True, n, "state")
        if second is not None or needed > 1:
            s.second = <char *>partner(&views, second, True, n, "state")
        state = begin(n, n, ELEMENTS_SHARE)
        share(part, s, n, CACHE_LINE, ELEMENTS_SHARE)
        take_back(state)
        return 0
    finally:
        release(&views)


def sgd(
    params, grads, velocity, double learning_rate, double momentum, bint nesterov, double weight_decay, double scale,
):
    """A step of stochastic gradient descent; without velocity there is no momentum."""
    cdef Step s
    s.learning_rate, s.momentum, s.nesterov, s.weight_decay = learning_rate, momentum, nesterov, weight_decay
    s.scale = scale
    step_with(sgd_part, &s, params, grads, velocity, None, 0)


def rmsprop(
    params, grads, square, velocity, double learning_rate, double decay, double momentum, double epsilon,
    double weight_decay, double scale,
):
    """A step of RMSprop; without velocity there is no momentum."""
    cdef Step s
    s.learning_rate, s.decay, s.momentum, s.epsilon = learning_rate, decay, momentum, epsilon
    s.weight_decay, s.scale = weight_decay, scale
    step_with(rmsprop_part, &s, params, grads, square, velocity, 1)


def adam(
    params, grads, mean, square, double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
    bint decoupled, double step, double scale,
):
    """A step of Adam, or of AdamW if the weight decay is decoupled; the first is step 1."""
    cdef Step s
    s.learning_rate, s.beta1, s.beta2, s.epsilon = learning_rate, beta1, beta2, epsilon
    s.weight_decay, s.decoupled, s.number, s.scale = weight_decay, decoupled, step, scale
    step_with(adam_part, &s, params, grads, mean, square, 2)
