"""Softmax and its relatives on NumPy arrays: any axis, any number of dimensions, in place if asked.

Rules that hold for all of them:

* ``axis`` is -1 by default, not ``None`` (the whole array) as in SciPy.
* float32 and float64 are computed as they are, float16 and ml_dtypes.bfloat16 in float32; the result has
  the dtype of the input. Integers and bools become float64.
* ``out`` has the shape and dtype of the result, any strides, and is returned. It may be the input itself:
  then the function works in place. Any other overlap with an input is an error.
* A row is the elements along ``axis``. Its result is bit for bit the same for any other rows, any number of
  them, any number of threads, and in place.
* NaN anywhere in a row makes the row NaN; so does ``+inf``, and so does a row of ``-inf`` only (logsumexp
  returns that infinity). A ``-inf`` among finite numbers has probability 0.
"""

from fastsm.functional._binary_cross_entropy import binary_cross_entropy, binary_cross_entropy_with_grad
from fastsm.functional._cross_entropy import cross_entropy, cross_entropy_with_grad
from fastsm.functional._single_class import SingleClassWarning
from fastsm.functional._softmax import log_softmax, logsumexp, softmax
from fastsm.functional._threads import get_num_threads, set_num_threads
from fastsm.functional._vjp import log_softmax_vjp, logsumexp_vjp, softmax_jacobian, softmax_vjp

__all__ = [
    "SingleClassWarning",
    "binary_cross_entropy",
    "binary_cross_entropy_with_grad",
    "cross_entropy",
    "cross_entropy_with_grad",
    "get_num_threads",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_vjp",
    "set_num_threads",
    "softmax",
    "softmax_jacobian",
    "softmax_vjp",
]
