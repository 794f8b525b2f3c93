"""Estimators for scikit-learn: its `MLPClassifier` and `MLPRegressor`, trained by fastsm, and more options.

Needs scikit-learn (``pip install fastsm[sklearn]``) and is not imported by ``import fastsm``:

>>> from fastsm.sklearn import MLPClassifier
>>> MLPClassifier((8,), solver="lbfgs", random_state=0).fit([[0.0], [1.0]], ["no", "yes"]).predict([[0.9]])
array(['yes'], dtype='<U3')
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError("`fastsm.sklearn` needs scikit-learn: pip install fastsm[sklearn]") from error

from fastsm.sklearn._classifier import MLPClassifier
from fastsm.sklearn._convert import from_sklearn
from fastsm.sklearn._regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]
