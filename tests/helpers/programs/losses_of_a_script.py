"""Search and validate with losses and a schedule of this script, in processes of joblib, and pickle them."""

import copy
import pickle

import numpy as np
from sklearn.model_selection import GridSearchCV, cross_val_score

from fastsm import nn
from fastsm.sklearn import MLPClassifier, MLPRegressor

SCALE = 2.0


def scaled(x):
    return SCALE * x


@nn.loss(on="probs")
def mine(p, y):
    return scaled((p - y) ** 2).sum(axis=1), 2 * scaled(p - y)


@nn.loss(on="output")
def half_square(a, y):
    return ((a - y) ** 2).sum(axis=1) / 2, a - y


def rate(step):
    return 0.1 / (1 + step)


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4))
    options = {"learning_rate": rate, "tol": 9.0, "n_iter_no_change": 1, "random_state": 0}
    classifier = MLPClassifier((4,), loss=mine, **options)
    regressor = MLPRegressor(half_square, (4,), **options)
    for estimator, y in ((classifier, rng.integers(0, 3, 60)), (regressor, X[:, 0])):
        scores = [cross_val_score(estimator, X, y, cv=2, n_jobs=n, error_score="raise") for n in (1, 2)]
        assert np.array_equal(*scores)
        search = GridSearchCV(estimator, {"alpha": [0.1, 1]}, cv=2, n_jobs=2, error_score="raise").fit(X, y)
        # With pickle itself, and once more, as functions.
        for twin in (pickle.loads(pickle.dumps(search)), copy.deepcopy(search)):
            again = pickle.loads(pickle.dumps(twin))
            assert np.array_equal(again.predict(X), search.predict(X))
            assert repr(again.best_estimator_.loss) == repr(estimator.loss)
            assert np.isfinite(again.fit(X, y).score(X, y))
    assert pickle.loads(pickle.dumps(mine, 2)) is mine
    print("done")
