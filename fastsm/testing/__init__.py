"""Checks of gradients by finite differences, for your own functions, losses and layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.testing._differences import compare
from fastsm.testing._reports import ArrayReport, GradientError, GradientReport
from fastsm.testing._subjects import (
    check_repeatable,
    of_function,
    of_layer,
    of_loss,
    of_model_with_loss,
    of_pair,
)
from fastsm.typing import Array, Loss

__all__ = ["ArrayReport", "GradientError", "GradientReport", "check_grads"]


def check_grads(
    f: Any,
    /,
    *arrays: ArrayLike,
    loss: Loss | None = None,
    vjp: Callable[[Array, Array], object] | None = None,
    sample_weight: ArrayLike | None = None,
    mode: str = "directional",
    directions: int = 4,
    tolerance: float = 1e-5,
    rng: int | np.random.Generator = 0,
) -> GradientReport:
    r"""Compare gradients with central differences in float64.

    Parameters
    ----------
    f : object
        What to check:

        * a function ``f(*arrays) -> (value, gradient)``: one number, and its gradient over the first array,
          or a tuple with one gradient for each array (None for arrays without);
        * a function with its backward pass in `vjp`;
        * a loss: the arrays are the outputs and the targets; the gradient is over the outputs;
        * a layer or a model, with `forward` and `backward`: the array is its input; the gradients are over
          the input and over the parameters;
        * a model with `loss`: the arrays are its input and the targets.
    *arrays : array_like
        Floating arrays are copied to float64 and differentiated; others (labels) are passed on.
    loss : loss, optional
        The loss at the end of the model `f`.
    vjp : callable, optional
        ``vjp(f(*arrays), dy)`` returns the gradient of ``sum(dy * f(*arrays))`` over the first array, or a
        tuple. It takes the *output*, as `fastsm.softmax_vjp` does. For functions only: layers, models and
        losses have their own.
    sample_weight : array_like, optional
        The weights of the rows, for losses and models with a loss.
    mode : {"directional", "full"}, default "directional"
        Check along random directions, which takes the same time for any number of entries, or entry by entry.
        If a direction is wrong, its entries are checked too.
    directions : int, default 4
        The number of directions for each array. An array with no more entries than that is checked in full.
    tolerance : float, default 1e-5
        The relative error that is allowed.
    rng : int or numpy.random.Generator, default 0
        The source of directions, and of the gradient that a layer's backward pass starts with.

    Returns
    -------
    GradientReport
        The largest error in each array.

    Raises
    ------
    GradientError
        If a gradient is wrong: an AssertionError that names the worst entry and, if there is one, the missing
        factor.
    TypeError
        If an argument has a wrong type, or `f` does not compute in float64.
    ValueError
        If an argument has a wrong value, if an array or the result of `f` has no finite entry, or if `f` does
        not return the same result twice.

    Notes
    -----
    The step is the cube root of the machine's precision times ``max(1, |x|)``; where the gradient does not
    agree, smaller steps decide, down to 2^-15 of it [1]_. So a kink nearby is harmless (relu, mean absolute
    error); exactly at a kink, any slope between those of its two sides is right. Layers and models are copied
    first; their `state` and `set_state` hold random numbers fixed.

    Entries of arrays and of outputs that are NaN or infinite (masked classes, ignored rows) have no finite
    differences: they stay as they are, are left out, and the report says how many they are.

    Along a direction v, with a gradient g at the output, the test is <vjp(g), v> = <g, J v>.

    References
    ----------
    .. [1] W. H. Press et al., "Numerical Recipes", 3rd edition, 2007, section 5.7.

    Examples
    --------
    ``p - y`` is not the gradient of the squared error of a softmax:

    >>> import numpy as np
    >>> import fastsm
    >>> from fastsm import testing
    >>> y = np.eye(3)[[0, 2]]
    >>> def shortcut(z):
    ...     p = fastsm.softmax(z)
    ...     return ((p - y) ** 2).sum(), p - y
    >>> def vector_jacobian_product(z):
    ...     p = fastsm.softmax(z)
    ...     return ((p - y) ** 2).sum(), fastsm.softmax_vjp(p, 2 * (p - y))
    >>> z = np.array([[1.0, 0.0, 2.0], [0.5, 0.0, 0.0]])
    >>> testing.check_grads(vector_jacobian_product, z).ok
    True
    >>> testing.check_grads(shortcut, z)
    Traceback (most recent call last):
    ...
    fastsm.testing.GradientError: wrong gradient over z (directional, tolerance 1e-05)
      z (2, 3): 6 entries, 6 wrong; the worst is ...
    """
    # Not the numbers of default_rng(0), which the arrays may hold: x.T @ x would hide a transpose.
    if isinstance(rng, np.random.Generator):
        generator = rng
    else:
        generator = np.random.default_rng((_arguments.seed(rng), 1))
    _arguments.one_of("mode", mode, ("directional", "full"))
    _arguments.positive_integer("directions", directions)
    _arguments.between_0_and_1("tolerance", tolerance)
    is_layer = hasattr(f, "forward") and hasattr(f, "backward")
    if isinstance(f, type):
        raise TypeError(f"`f` must be a function, a loss, a layer or a model, got the class {f.__name__}")
    if sample_weight is not None and not (loss is not None or hasattr(f, "value_and_grad")):
        raise TypeError("`sample_weight` must be None without a loss")
    if vjp is not None and (is_layer or hasattr(f, "value_and_grad")):
        raise TypeError("`vjp` must be None for layers, models and losses, whose own gradients are checked")
    if loss is not None and not is_layer:
        raise TypeError(f"`f` must be a model if `loss` is given, got {type(f).__name__}")
    with np.errstate(all="ignore"):  # a large step may leave the domain of a logarithm
        if loss is not None:
            subject = of_model_with_loss(f, loss, arrays, sample_weight)
        elif hasattr(f, "value_and_grad"):
            subject = of_loss(f, arrays, sample_weight)
        elif is_layer:
            subject = of_layer(f, arrays, generator)
        elif callable(f):
            subject = of_function(f, arrays) if vjp is None else of_pair(f, vjp, arrays, generator)
        else:
            raise TypeError(f"`f` must be a function, a loss, a layer or a model, got {type(f).__name__}")
        check_repeatable(subject)
        return compare(subject, mode, directions, tolerance, generator)
