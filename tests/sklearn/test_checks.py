"""scikit-learn's own checks of estimators: all of them, none of them expected to fail."""

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from fastsm.sklearn import MLPClassifier, MLPRegressor

# The checks train on made-up data for a while, not until nothing changes any more.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
def test_estimator(estimator, check):
    check(estimator)
