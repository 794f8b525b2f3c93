"""`from_sklearn` and `to_sklearn`: the same predictions, and training that goes on."""

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from fastsm.sklearn import MLPClassifier, MLPRegressor, from_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = (part[:300] for part in load_digits(return_X_y=True))
X = X / 16
TARGETS = {
    "multiclass": Y,
    "strings": np.array([f"digit {i}" for i in Y]),
    "binary": Y > 4,
    "one class": np.zeros(len(Y)),
    "multilabel": np.column_stack([Y % 2, Y > 4, Y == 0]).astype(int),
}
OPTIONS = {"hidden_layer_sizes": (6, 5), "max_iter": 5, "random_state": 0}
SOLVERS = [{"solver": "adam"}, {"solver": "lbfgs"}, {"early_stopping": True}, {"activation": "logistic"}]


def assert_same(a, b, x=X):
    assert np.array_equal(a.predict(x), b.predict(x)) or np.allclose(a.predict(x), b.predict(x), rtol=1e-12)
    if hasattr(a, "predict_proba") and len(a.classes_) > 1:
        np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(x), rtol=1e-10, atol=1e-15)
        assert np.array_equal(a.classes_, b.classes_)
    for name in ("n_features_in_", "n_layers_", "n_outputs_", "out_activation_", "n_iter_", "t_"):
        assert getattr(a, name) == getattr(b, name)
    assert a.loss_ == pytest.approx(b.loss_, rel=1e-12)


@pytest.mark.parametrize("options", SOLVERS, ids=str)
@pytest.mark.parametrize("kind", TARGETS)
def test_classifiers_both_ways(kind, options):
    if kind == "strings" and "early_stopping" in options:
        pytest.skip("scikit-learn 1.7 fails there")
    theirs = neural_network.MLPClassifier(**OPTIONS, **options).fit(X, TARGETS[kind])
    ours = from_sklearn(theirs)
    assert isinstance(ours, MLPClassifier)
    assert_same(ours, theirs)
    back = ours.to_sklearn()
    assert type(back) is neural_network.MLPClassifier
    assert back.get_params() == theirs.get_params()
    assert_same(back, theirs)
    assert not np.shares_memory(back.coefs_[0], ours.coefs_[0])
    assert not np.shares_memory(theirs.coefs_[0], ours.coefs_[0])


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_regressors_both_ways(loss, outputs):
    y = Y / 10 if outputs == 1 else np.column_stack([Y / 10, Y > 3])
    theirs = neural_network.MLPRegressor(loss, **OPTIONS).fit(X, y)
    ours = from_sklearn(theirs)
    assert isinstance(ours, MLPRegressor)
    assert_same(ours, theirs)
    assert_same(ours.to_sklearn(), theirs)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_both_go_on_alike(kind, solver):
    ours = MLPClassifier(**OPTIONS, solver=solver, warm_start=True).fit(X, TARGETS[kind])
    theirs = ours.to_sklearn()
    assert_same(ours.fit(X, TARGETS[kind]), theirs.fit(X, TARGETS[kind]))
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_)
    again = from_sklearn(theirs)
    theirs = again.to_sklearn()
    assert_same(again.partial_fit(X, TARGETS[kind]), theirs.partial_fit(X, TARGETS[kind]))


def test_early_stopping_goes_on():
    theirs = neural_network.MLPClassifier(**OPTIONS, early_stopping=True, warm_start=True).fit(X, Y)
    ours = from_sklearn(theirs).fit(X, Y)
    assert 5 < len(ours.validation_scores_) == len(ours.validation_loss_curve_) == len(ours.loss_curve_)
    assert len(ours.to_sklearn().fit(X, Y).validation_scores_) > len(ours.validation_scores_)
    assert len(theirs.validation_scores_) == 5


def test_dtype_and_names_are_kept():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X.astype(np.float32), columns=[f"pixel {i}" for i in range(64)])
    theirs = neural_network.MLPClassifier(**OPTIONS).fit(frame, Y)
    ours = from_sklearn(theirs)
    assert ours.coefs_[0].dtype == np.float32
    assert list(ours.feature_names_in_) == list(frame.columns)
    np.testing.assert_allclose(ours.predict_proba(frame), theirs.predict_proba(frame), rtol=1e-4, atol=1e-6)


def test_options_unknown_to_scikit_learn():
    options = {"solver": "adamw", "learning_rate": "cosine", "dropout": 0.2, "loss": "focal"}
    ours = MLPClassifier(**OPTIONS, **options, label_smoothing=0.1).fit(X, Y)
    theirs = ours.to_sklearn()
    assert (theirs.solver, theirs.learning_rate) == ("adam", "constant")
    assert_same(ours, theirs)
    theirs.partial_fit(X, Y)
    assert MLPRegressor(loss="mae", **OPTIONS).fit(X, Y).to_sklearn().loss == "squared_error"
    soft = np.eye(10)[Y] * 0.9 + 0.01
    assert_same(*(lambda e: (e, e.to_sklearn()))(MLPClassifier(**OPTIONS).fit(X, soft)))
    with pytest.raises(ValueError, match="activation"):
        MLPClassifier(**OPTIONS, activation="gelu").fit(X, Y).to_sklearn()
    with pytest.raises(ValueError, match="layer_norm"):
        MLPClassifier(**OPTIONS, layer_norm=True).fit(X, Y).to_sklearn()


class Cautious(neural_network.MLPClassifier):
    """Another prediction, which would not be taken over."""

    def predict(self, x):
        return self.predict_proba(x)[:, 1] > 0.9


def test_errors():
    with pytest.raises(TypeError, match="LogisticRegression"):
        from_sklearn(LogisticRegression())
    with pytest.raises(TypeError, match="got its subclass Cautious, whose own parts would be lost"):
        from_sklearn(Cautious().fit(X, Y > 4))
    with pytest.raises(NotFittedError):
        from_sklearn(neural_network.MLPClassifier())
    with pytest.raises(NotFittedError):
        MLPClassifier().to_sklearn()


def test_parameters_set_after_training():
    """The network counts, not the parameters that were set since."""
    model = MLPClassifier((8,), max_iter=3, random_state=0, activation="tanh").fit(X, Y)
    expected = model.predict_proba(X)
    theirs = model.set_params(activation="gelu", hidden_layer_sizes=(3,)).to_sklearn()
    np.testing.assert_allclose(theirs.predict_proba(X), expected, rtol=1e-6)
    assert (theirs.activation, theirs.hidden_layer_sizes) == ("tanh", (8,))
