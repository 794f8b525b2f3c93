"""Softmax and backpropagation on the CPU: NumPy in, NumPy out, for any loss.

>>> import numpy as np
>>> import fastsm
>>> logits = np.random.default_rng(0).standard_normal((128, 10), dtype=np.float32)
>>> probs = fastsm.softmax(logits)
>>> d_logits = fastsm.softmax_vjp(probs, probs - 0.1)  # the gradient of any loss over probs
"""

from fastsm._info import show_versions
from fastsm._threads import get_num_threads, set_num_threads
from fastsm._version import __version__
from fastsm.functional import (
    cross_entropy,
    cross_entropy_with_grad,
    log_softmax,
    log_softmax_vjp,
    logsumexp,
    softmax,
    softmax_jacobian,
    softmax_vjp,
)

__all__ = [
    "__version__",
    "cross_entropy",
    "cross_entropy_with_grad",
    "get_num_threads",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "set_num_threads",
    "show_versions",
    "softmax",
    "softmax_jacobian",
    "softmax_vjp",
]
