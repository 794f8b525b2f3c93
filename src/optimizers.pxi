# One step of an optimizer in one pass over its arrays. The formulas are those of torch.optim, in its order.

from libc.math cimport pow, sqrt

from simd cimport lanes, load, multiply_add, splat, square_root, store, subtract_product, vd, vec, vf
from vectors cimport at

cdef enum Optimizer:
    OF_SGD
    OF_RMSPROP
    OF_ADAM

# A step on flat arrays of one type; each optimizer reads what it needs.
cdef struct Step:
    bint is_float
    char *params            # (n,)
    char *grads             # (n,)
    char *velocity          # (n,), of SGD and RMSprop, or NULL: no momentum
    char *mean              # (n,), of the gradients: Adam
    char *square            # (n,), mean of the squares: RMSprop, Adam
    double rate             # learning rate; Adam: over the correction of the mean
    double momentum
    bint nesterov
    double keep_mean        # of the means of gradients and of squares: the factor of what was there before
    double keep_square
    double correction       # Adam: of the square's root
    double epsilon
    double decay            # that is added to the gradient
    bint decays             # whether it is not 0: Clang takes the test of an integer out of a loop, not of a double
    double shrink           # Adam: the factor of the parameters by decoupled decay
    double scale            # of the gradients


cdef inline vec step_gradient(vec params, vec *like, Step *step, Py_ssize_t index, Py_ssize_t count) noexcept nogil:
    """Return the gradient times scale, plus decay times the parameters."""
    cdef vec g = load(at(<vec *>step.grads, index), count)
    g = g * splat(g, step.scale)
    if step.decays:
        g = multiply_add(splat(g, step.decay), params, g)
    return g


cdef inline void sgd_vector(vec *like, Step *step, Py_ssize_t index, Py_ssize_t count) noexcept nogil:
    """params: (count,) in and out; grads: (count,) in; velocity: (count,) in and out, or NULL; from `index` on."""
    cdef vec params = load(at(<vec *>step.params, index), count), velocity
    cdef vec change = step_gradient(params, like, step, index, count), momentum = splat(params, step.momentum)
    if step.velocity != NULL:
        velocity = load(at(<vec *>step.velocity, index), count)
        velocity = multiply_add(momentum, velocity, change)
        store(at(<vec *>step.velocity, index), count, velocity)
        if step.nesterov:
            change = multiply_add(momentum, velocity, change)
        else:
            change = velocity
    store(at(<vec *>step.params, index), count, subtract_product(params, splat(params, step.rate), change))


cdef inline void rmsprop_vector(vec *like, Step *step, Py_ssize_t index, Py_ssize_t count) noexcept nogil:
    """params, square: (count,) in and out; grads: (count,) in; velocity: (count,) in and out, or NULL; from `index`."""
    cdef vec params = load(at(<vec *>step.params, index), count)
    cdef vec change = step_gradient(params, like, step, index, count)
    cdef vec square = load(at(<vec *>step.square, index), count), root
    square = multiply_add(
        splat(params, step.keep_square), square, splat(params, 1.0 - step.keep_square) * (change * change),
    )
    store(at(<vec *>step.square, index), count, square)
    root = square_root(square) + splat(params, step.epsilon)
    change = change / root
    if step.velocity != NULL:
        change = multiply_add(splat(params, step.momentum), load(at(<vec *>step.velocity, index), count), change)
        store(at(<vec *>step.velocity, index), count, change)
    store(at(<vec *>step.params, index), count, subtract_product(params, splat(params, step.rate), change))


cdef inline void adam_vector(vec *like, Step *step, Py_ssize_t index, Py_ssize_t count) noexcept nogil:
    """params, mean, square: (count,) in and out; grads: (count,) in; from `index` on."""
    cdef vec params = load(at(<vec *>step.params, index), count)
    cdef vec gradient = step_gradient(params, like, step, index, count), root, change
    cdef vec mean = load(at(<vec *>step.mean, index), count), square = load(at(<vec *>step.square, index), count)
    mean = multiply_add(splat(params, 1.0 - step.keep_mean), gradient - mean, mean)
    square = multiply_add(
        splat(params, step.keep_square), square, splat(params, 1.0 - step.keep_square) * (gradient * gradient),
    )
    store(at(<vec *>step.mean, index), count, mean)
    store(at(<vec *>step.square, index), count, square)
    root = square_root(square)
    root = multiply_add(root, splat(params, step.correction), splat(params, step.epsilon))
    change = mean / root
    store(
        at(<vec *>step.params, index), count,
        subtract_product(params * splat(params, step.shrink), splat(params, step.rate), change),
    )


cdef inline void step_vector(
    Optimizer optimizer, vec *like, Step *step, Py_ssize_t index, Py_ssize_t count,
) noexcept nogil:
    """Do `count` elements, at most a vector, from `index` on."""
    if optimizer == OF_SGD:
        sgd_vector(like, step, index, count)
    elif optimizer == OF_RMSPROP:
        rmsprop_vector(like, step, index, count)
    else:
        adam_vector(like, step, index, count)


cdef inline void step_from(
    Optimizer optimizer, vec *like, Step *shared, Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """Do elements `first` to `last` - 1. Inlined where `optimizer` is a constant."""
    cdef Py_ssize_t width = lanes(like), i = first, last_full = last - width
    cdef Step step = shared[0]      # a copy that no store can change: the loop reads none of its numbers again
    while i <= last_full:
        step_vector(optimizer, like, &step, i, width)
        i += width
    if i < last:
        step_vector(optimizer, like, &step, i, last - i)


cdef void sgd_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do elements `first` to `last` - 1 of a Step of SGD."""
    if (<Step *>work).is_float:
        step_from(OF_SGD, <vf *>NULL, <Step *>work, first, last)
    else:
        step_from(OF_SGD, <vd *>NULL, <Step *>work, first, last)


cdef void rmsprop_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do elements `first` to `last` - 1 of a Step of RMSprop."""
    if (<Step *>work).is_float:
        step_from(OF_RMSPROP, <vf *>NULL, <Step *>work, first, last)
    else:
        step_from(OF_RMSPROP, <vd *>NULL, <Step *>work, first, last)


cdef void adam_part(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Do elements `first` to `last` - 1 of a Step of Adam."""
    if (<Step *>work).is_float:
        step_from(OF_ADAM, <vf *>NULL, <Step *>work, first, last)
    else:
        step_from(OF_ADAM, <vd *>NULL, <Step *>work, first, last)


# ---- the functions that Python calls ----

def sgd(
    params, grads, velocity, double learning_rate, double momentum, bint nesterov, double weight_decay, double scale,
):
    """A step of stochastic gradient descent; without velocity there is no momentum.

    params: (n,) in and out; grads: (n,) in; velocity: (n,) in and out, or None.
    """
    cdef Step step
    cdef Buffers buffers
    cdef Py_ssize_t n
    step.rate, step.momentum, step.nesterov = learning_rate, momentum, nesterov
    step.decay, step.scale, step.velocity = weight_decay, scale, NULL
    buffers.count = 0
    try:
        n = set_params(&step, &buffers, params, grads)
        if velocity is not None:
            step.velocity = <char *>require_same_type(&buffers, velocity, WRITE, n, "state")
        share_elements(sgd_part, &step, n)
    finally:
        release(&buffers)


def rmsprop(
    params, grads, square, velocity, double learning_rate, double decay, double momentum, double epsilon,
    double weight_decay, double scale,
):
    """A step of RMSprop; without velocity there is no momentum.

    params, square: (n,) in and out; grads: (n,) in; velocity: (n,) in and out, or None.
    """
    cdef Step step
    cdef Buffers buffers
    cdef Py_ssize_t n
    step.rate, step.keep_square, step.momentum, step.epsilon = learning_rate, decay, momentum, epsilon
    step.decay, step.scale, step.velocity = weight_decay, scale, NULL
    buffers.count = 0
    try:
        n = set_params(&step, &buffers, params, grads)
        step.square = <char *>require_same_type(&buffers, square, WRITE, n, "state")
        if velocity is not None:
            step.velocity = <char *>require_same_type(&buffers, velocity, WRITE, n, "state")
        share_elements(rmsprop_part, &step, n)
    finally:
        release(&buffers)


def adam(
    params, grads, mean, square, double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
    bint decoupled, double step, double scale,
):
    """A step of Adam, or of AdamW if the weight decay is decoupled; the first is step 1.

    params, mean, square: (n,) in and out; grads: (n,) in.
    """
    cdef Step s
    cdef Buffers buffers
    cdef Py_ssize_t n
    s.rate, s.correction = learning_rate / (1.0 - pow(beta1, step)), 1.0 / sqrt(1.0 - pow(beta2, step))
    s.keep_mean, s.keep_square, s.epsilon, s.scale = beta1, beta2, epsilon, scale
    s.decay = 0.0 if decoupled else weight_decay
    s.shrink = 1.0 - learning_rate * weight_decay if decoupled else 1.0
    buffers.count = 0
    try:
        n = set_params(&s, &buffers, params, grads)
        s.mean = <char *>require_same_type(&buffers, mean, WRITE, n, "state")
        s.square = <char *>require_same_type(&buffers, square, WRITE, n, "state")
        share_elements(adam_part, &s, n)
    finally:
        release(&buffers)


cdef Py_ssize_t set_params(Step *step, Buffers *buffers, object params, object grads) except -1:
    """Take the arrays that all optimizers have; return their length."""
    cdef Py_buffer *view = require_real(buffers, params, WRITE)
    cdef Py_ssize_t n = view.len // view.itemsize
    step.is_float, step.params, step.decays = view.format[0] == c"f", <char *>view.buf, step.decay != 0.0
    step.grads = <char *>require_same_type(buffers, grads, READ, n, "grads")
    return n
