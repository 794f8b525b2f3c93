"""The warning for a softmax of single numbers, each of which becomes 1."""

from __future__ import annotations

import sys
import warnings

__all__ = ["SingleClassWarning", "warn_if_single"]


class SingleClassWarning(UserWarning):
    """A softmax, or a loss with a softmax in it, runs over an axis of length 1 beside a longer one.

    Every result is 1, or 0 for a loss, whatever the logits. If samples are columns, shape (C, 1), pass
    ``axis=0``. A single output for two classes takes a sigmoid. Code for any number of classes can say that
    it means it: ``warnings.filterwarnings("ignore", category=fastsm.SingleClassWarning)``.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> import fastsm
    >>> column = np.array([[1.0], [2.0]])
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     ones = fastsm.softmax(column)
    >>> caught[0].category.__name__
    'SingleClassWarning'
    >>> fastsm.softmax(column, axis=0).round(4)
    array([[0.2689],
           [0.7311]])
    """


def warn_if_single(shape: tuple[int, ...], axis: int) -> None:
    """Warn, at the calling line outside this package, if rows have one element and another axis has more."""
    if shape[axis : axis + 1] != (1,) or max(shape) == 1:
        return
    level, frame = 2, sys._getframe(1)
    ours = ("fastsm.", "numpy.")  # NumPy's are those of decorators
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(ours):
        level, frame = level + 1, frame.f_back
    other = next(i for i, n in enumerate(shape) if n > 1)
    # Without the shape: the same text at the same line is shown once.
    message = (
        f"softmax over axis {axis}, which has length 1, makes each number 1: pass axis={other} if samples are"
        f" {'rows' if other else 'columns'}; for one output use a sigmoid, as in nn.BCELoss"
    )
    warnings.warn(message, SingleClassWarning, stacklevel=level)
