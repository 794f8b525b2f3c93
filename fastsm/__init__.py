"""Softmax and backpropagation on the CPU: NumPy in, NumPy out, for any loss.

>>> import numpy as np
>>> import fastsm
>>> logits = np.random.default_rng(0).standard_normal((128, 10), dtype=np.float32)
>>> probs = fastsm.softmax(logits)
>>> d_logits = fastsm.softmax_vjp(probs, probs - 0.1)  # the gradient of any loss over probs
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastsm._version import __version__

try:
    from fastsm._info import show_versions
    from fastsm.functional import (
        SingleClassWarning,
        binary_cross_entropy,
        binary_cross_entropy_with_grad,
        cross_entropy,
        cross_entropy_with_grad,
        get_num_threads,
        log_softmax,
        log_softmax_vjp,
        logsumexp,
        logsumexp_vjp,
        set_num_threads,
        softmax,
        softmax_jacobian,
        softmax_vjp,
    )
except ImportError as error:
    # An environment variable is wrong. Each use of a name raises this error again (`__getattr__`); but the
    # command, which is imported after this, can report it in one line.
    if not (error.name or "").startswith("FASTSM_"):
        raise

if TYPE_CHECKING:
    from fastsm import data, nn, optim, testing
    from fastsm._saving import load, save
    from fastsm.functional._linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_with_grad
    from fastsm.training import History, TrainingDiverged, callbacks, fit

__all__ = [
    "History",
    "SingleClassWarning",
    "TrainingDiverged",
    "__version__",
    "binary_cross_entropy",
    "binary_cross_entropy_with_grad",
    "callbacks",
    "cross_entropy",
    "cross_entropy_with_grad",
    "data",
    "fit",
    "get_num_threads",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grad",
    "load",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_vjp",
    "nn",
    "optim",
    "save",
    "set_num_threads",
    "show_versions",
    "softmax",
    "softmax_jacobian",
    "softmax_vjp",
    "testing",
]

# Imported at their first use: `import fastsm` alone takes a few milliseconds.
_MODULES = {
    "callbacks": "fastsm.training.callbacks",
    "data": "fastsm.data",
    "distributed": "fastsm.distributed",
    "nn": "fastsm.nn",
    "optim": "fastsm.optim",
    "reference": "fastsm.reference",
    "sklearn": "fastsm.sklearn",
    "special": "fastsm.special",
    "testing": "fastsm.testing",
    "training": "fastsm.training",
    "typing": "fastsm.typing",
}
_MODULE_OF = {
    "History": "fastsm.training",
    "TrainingDiverged": "fastsm.training",
    "fit": "fastsm.training",
    "linear_cross_entropy": "fastsm.functional._linear_cross_entropy",
    "linear_cross_entropy_with_grad": "fastsm.functional._linear_cross_entropy",
    "load": "fastsm._saving",
    "save": "fastsm._saving",
}


def __getattr__(name: str) -> Any:
    """Import the parts for networks and training at their first use."""
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _MODULE_OF:
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value
    if name in __all__:
        return getattr(import_module("fastsm.functional"), name)  # raises the error of above
    raise AttributeError(f"module 'fastsm' has no attribute {name!r}")


def __dir__() -> list[str]:
    # Not what needs an extra, so that each name in it can be imported.
    return sorted({*__all__, *_MODULES} - {"distributed", "sklearn"})
