"""Put the functions in the place of SciPy's, for a process."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["patch_scipy", "unpatch_scipy"]

Function = Callable[..., Any]

NAMES = ("log_softmax", "logsumexp", "softmax")

_lock = threading.RLock()
_original_of: dict[Function, Function] = {}  # by what stands in its place


def scipy_function(name: str, what: str) -> Function:
    """Return SciPy's own function; raise if SciPy, which alone takes `what`, is missing."""
    try:
        function: Function = getattr(importlib.import_module("scipy.special"), name)
    except ImportError:
        raise TypeError(f"{what} must be of real numbers of at most 64 bits, or SciPy be installed") from None
    return _original_of.get(function, function)


def patch_scipy(*, sklearn: bool = False) -> list[str]:
    """Put the functions of this module in the place of SciPy's, in all modules of this process.

    Modules that have imported them already call these from now on, under whatever name; modules that are
    imported later import these. What holds a function otherwise, as a default argument or a class attribute,
    keeps SciPy's.

    Parameters
    ----------
    sklearn : bool, default False
        Also replace scikit-learn's own logsumexp, of naive Bayes, mixtures and the multinomial loss.

    Returns
    -------
    list of str
        What was replaced, as ``"scipy.special.logsumexp"``; in a second call what was imported in between.

    Raises
    ------
    ImportError
        If SciPy is missing, or scikit-learn if it is asked for.
    RuntimeError
        If SciPy works for other array libraries too (``SCIPY_ARRAY_API`` is set).

    See Also
    --------
    unpatch_scipy : put SciPy's functions back.

    Examples
    --------
    >>> import fastsm.special
    >>> import scipy.special
    >>> "scipy.special.logsumexp" in fastsm.special.patch_scipy()
    True
    >>> print(scipy.special.log_softmax([0.0, -40.0])[0])  # SciPy: 0.0
    -4.248354255291589e-18
    >>> "scipy.special.logsumexp" in fastsm.special.unpatch_scipy()
    True
    """
    if os.environ.get("SCIPY_ARRAY_API", "0").lower() not in ("", "0", "false"):
        raise RuntimeError(
            "`SCIPY_ARRAY_API` must not be set, as other array libraries need SciPy's functions"
        )
    from fastsm.special import _functions

    with _lock:
        theirs = _module("scipy.special")
        for name in NAMES:
            _add(getattr(theirs, name), getattr(_functions, name))
        if sklearn:
            own = getattr(_module("sklearn.utils._array_api"), "_logsumexp", None)  # private: may go
            if own is not None:
                _add(own, _for_sklearn(own))
        return _replace({original: replacement for replacement, original in _original_of.items()})


def unpatch_scipy() -> list[str]:
    """Put SciPy's and scikit-learn's functions back, also in modules imported since `patch_scipy`.

    Returns
    -------
    list of str
        What was put back, as ``"scipy.special.logsumexp"``.

    See Also
    --------
    patch_scipy : put them there.

    Examples
    --------
    >>> import fastsm.special
    >>> changed = fastsm.special.patch_scipy()
    >>> fastsm.special.unpatch_scipy() == changed
    True
    """
    with _lock:
        return _replace(_original_of)


def _module(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = "SciPy" if name.startswith("scipy") else "scikit-learn"
        raise ImportError(f"patch_scipy needs {package}: pip install {package.lower()}") from None


def _add(original: Function, function: Function) -> None:
    """Make what stands in the place of `original`, unless it exists or is `original` itself.

    It is another object than `function`, which modules may have imported from here.
    """
    if original in _original_of or original in _original_of.values():
        return
    f = function
    assert isinstance(f, types.FunctionType)
    copy = types.FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    copy.__doc__, copy.__annotations__ = f.__doc__, f.__annotations__
    copy.__module__, copy.__qualname__ = original.__module__, original.__qualname__  # so it can be pickled
    _original_of[copy] = original


def _for_sklearn(own: Function) -> Function:
    from fastsm.special import _functions

    def _logsumexp(array: Any, axis: Any = None, xp: Any = None) -> Any:
        if isinstance(array, np.ndarray):
            return _functions.logsumexp(array, axis)
        return own(array, axis=axis, xp=xp)

    return _logsumexp


def _replace(by: dict[Function, Function]) -> list[str]:
    """Replace functions in the names of all modules, and return these names."""
    of = {id(function): other for function, other in by.items()}
    changed = []
    for name, module in sorted(sys.modules.copy().items()):
        if not isinstance(module, types.ModuleType) or module is sys.modules[__name__]:
            continue
        names = object.__getattribute__(module, "__dict__")  # does not wake a lazy module
        for key, value in list(names.items()):
            if id(value) in of:
                names[key] = of[id(value)]
                changed.append(f"{name}.{key}")
    return changed
