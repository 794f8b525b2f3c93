"""Log space: SciPy's logsumexp, softmax and log_softmax, with its arguments, on fastsm's kernels.

The same names, order of arguments, defaults (``axis=None``: all elements), shapes and dtypes. See the page
"Log space" for every difference. `patch_scipy` puts them in the place of SciPy's for a process, and
``python -m fastsm.special script.py`` does that for a script.
"""

from fastsm.special._functions import log_softmax, logsumexp, softmax
from fastsm.special._patch import patch_scipy, unpatch_scipy

__all__ = ["log_softmax", "logsumexp", "patch_scipy", "softmax", "unpatch_scipy"]
