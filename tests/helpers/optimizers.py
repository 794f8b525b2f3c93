"""One step of each optimizer in plain NumPy: the parameters are returned, the state is kept in a dict."""

import numpy as np


def sgd(p, g, state, step, *, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """Return the parameters after a step of SGD."""
    g = g + weight_decay * p
    if momentum:
        v = state["v"] = momentum * state.get("v", 0) + g
        g = g + momentum * v if nesterov else v
    return p - lr * g


def rmsprop(p, g, state, step, *, lr, decay=0.99, momentum=0.0, epsilon=1e-8, weight_decay=0.0):
    """Return the parameters after a step of RMSprop."""
    g = g + weight_decay * p
    state["s"] = decay * state.get("s", 0) + (1 - decay) * g**2
    g = g / (np.sqrt(state["s"]) + epsilon)
    if momentum:
        g = state["v"] = momentum * state.get("v", 0) + g
    return p - lr * g


def adam(p, g, state, step, *, lr, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.0, decoupled=False):
    """Return the parameters after step number `step` of Adam."""
    if decoupled:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    state["s"] = betas[1] * state.get("s", 0) + (1 - betas[1]) * g**2
    mean, square = state["m"] / (1 - betas[0] ** step), state["s"] / (1 - betas[1] ** step)
    return p - lr * mean / (np.sqrt(square) + epsilon)


def adamw(p, g, state, step, *, weight_decay=1e-2, **options):
    """Return the parameters after step number `step` of AdamW."""
    return adam(p, g, state, step, weight_decay=weight_decay, decoupled=True, **options)


def several(formula, p, gradients, **options):
    """Return the parameters after a step with each of the gradients."""
    state = {}
    for step, g in enumerate(gradients, 1):
        p = formula(p, g, state, step, **options)
    return p
