"""The estimators do what scikit-learn's do, number by number: draws, objective, steps and records."""

import inspect

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.7")

from scipy.optimize import approx_fprime
from sklearn import neural_network
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning

from fastsm.sklearn import MLPClassifier, MLPRegressor
from fastsm.sklearn._inputs import Data
from fastsm.sklearn._solvers import Lbfgs
from fastsm.training._batches import Rows
from fastsm.training._run import Plan

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PAIRS = [(MLPClassifier, neural_network.MLPClassifier), (MLPRegressor, neural_network.MLPRegressor)]
RECORDS = ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_")
NUMBERS = ("loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_")


def digits(classes=10, rows=300):
    x, y = load_digits(return_X_y=True)
    kept = y < classes
    return x[kept][:rows] / 16, y[kept][:rows]


def several_labels():
    return make_multilabel_classification(200, 15, n_classes=4, random_state=0)


def numbers(outputs=1):
    x, y = load_diabetes(return_X_y=True)
    y = y[:200] / 100
    return 10 * x[:200], y if outputs == 1 else np.column_stack([y, y**2, 1 - y][:outputs])


DATA = {
    "multiclass": digits(),
    "binary": digits(2),
    "multilabel": several_labels(),
    "one output": numbers(),
    "two outputs": numbers(2),
}
OPTIONS = [
    {},
    {"solver": "sgd", "learning_rate_init": 0.05},
    {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
    {"solver": "sgd", "momentum": 0, "batch_size": 32},
    {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-5},
    {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1, "power_t": 0.1},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e-1, "n_iter_no_change": 2},
    {"solver": "lbfgs"},
    {"activation": "logistic"},
    {"activation": "tanh", "hidden_layer_sizes": (12, 7)},
    {"activation": "identity", "hidden_layer_sizes": 5},
    {"hidden_layer_sizes": ()},
    {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 3},
    {"shuffle": False, "batch_size": 70},
    {"alpha": 3.0, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "tol": 0.02},
]


def both(kind, options, *, max_iter=12):
    pair = PAIRS[kind in ("one output", "two outputs")]
    shared = {"hidden_layer_sizes": (9,), "max_iter": max_iter, "random_state": 3} | options
    return [each(**shared) for each in pair]


def agree(ours, theirs, rtol=1e-9, outputs=1):
    for name in RECORDS:
        assert getattr(ours, name) == getattr(theirs, name), name
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    for name in NUMBERS if outputs == 1 else ():
        if getattr(theirs, name, None) is not None:
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=rtol)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_whole_fits_agree(kind, options, weighted):
    if kind == "two outputs" and (options.get("solver") == "lbfgs" or "adaptive" in options.values()):
        pytest.skip("scikit-learn's loss is half of what its gradient belongs to")
    x, y = DATA[kind]
    weight = np.random.default_rng(0).random(len(x)) + 0.1 if weighted else None
    ours, theirs = both(kind, options)
    ours.fit(x, y, weight)
    theirs.fit(x, y, weight)
    # In L-BFGS every line search builds on the rounding errors of those before.
    agree(ours, theirs, 1e-6 if ours.solver == "lbfgs" else 1e-9, theirs.n_outputs_ if "two" in kind else 1)
    np.testing.assert_array_equal(ours.predict(x).round(4), theirs.predict(x).round(4))
    if hasattr(theirs, "predict_proba"):
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(ours.predict_log_proba(x), np.log(ours.predict_proba(x)), atol=1e-9)
    assert ours.score(x, y) == pytest.approx(theirs.score(x, y))


@pytest.mark.parametrize("kind", DATA)
def test_one_full_step_of_sgd(kind):
    x, y = DATA[kind]
    options = {"solver": "sgd", "batch_size": len(x), "learning_rate_init": 0.1, "alpha": 2.0}
    ours, theirs = both(kind, options, max_iter=1)
    agree(ours.fit(x, y), theirs.fit(x, y), 1e-13, 1 if kind != "two outputs" else 2)


def test_float32_stays_float32():
    x, y = DATA["multiclass"]
    ours, theirs = both("multiclass", {})
    x = x.astype(np.float32)
    agree(ours.fit(x, y), theirs.fit(x, y), 1e-4)
    assert {a.dtype for a in ours.coefs_ + ours.intercepts_} == {np.dtype(np.float32)}
    assert ours.predict_proba(x).dtype == np.float32


def test_poisson():
    x, y = DATA["one output"]
    ours, theirs = both("one output", {"loss": "poisson"})
    agree(ours.fit(x, y), theirs.fit(x, y))
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x))


# With early stopping scikit-learn goes on training in the arrays that are its copy of the best weights.
@pytest.mark.parametrize("options", [o for o in OPTIONS if "early_stopping" not in o], ids=str)
@pytest.mark.filterwarnings("ignore:Got `batch_size`")
def test_warm_starts(options):
    x, y = DATA["binary"]
    ours, theirs = both("binary", options, max_iter=4)
    for estimator in (ours, theirs):
        estimator.set_params(warm_start=True)
        for rows in (slice(60), slice(40, 100), slice(None)):
            estimator.fit(x[rows], y[rows])
    agree(ours, theirs, 1e-6)


@pytest.mark.parametrize("kind", DATA)
def test_partial_fits(kind):
    x, y = DATA[kind]
    ours, theirs = both(kind, {"solver": "sgd", "learning_rate": "invscaling"})
    classes = {"binary": range(2), "multiclass": range(10), "multilabel": range(4)}.get(kind)
    for estimator in (ours, theirs):
        for i, rows in enumerate((slice(50), slice(50, 120), slice(None))):
            estimator.partial_fit(x[rows], y[rows], **({"classes": classes} if classes and i == 0 else {}))
    agree(ours, theirs, outputs=1 if kind != "two outputs" else 2)


def test_partial_fit_goes_on_after_fit():
    x, y = DATA["multiclass"]
    ours, theirs = both("multiclass", {})
    agree(ours.fit(x, y).partial_fit(x, y), theirs.fit(x, y).partial_fit(x, y))


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_gradient_belongs_to_objective(outputs):
    """It is this that scikit-learn gets wrong with several outputs."""
    x, y = numbers(outputs)
    regressor = MLPRegressor(
        hidden_layer_sizes=(3,), solver="lbfgs", max_iter=1, activation="tanh", alpha=0.5
    )
    regressor.fit(x, y)
    rows = Rows(x, y.reshape(len(y), -1), None, np.dtype("float64"))
    data = Data(rows, np.arange(len(x)), y, None)
    solver = Lbfgs(regressor, regressor._loss(), data, None, Plan(len(x), len(x), epochs=1))
    point = regressor._network.params.copy()
    value, gradient = solver._value_and_grad(point)
    numeric = approx_fprime(point, lambda p: solver._value_and_grad(p)[0], 1e-7)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-5)
    residual = regressor.predict(x).reshape(y.shape) - y
    penalty = 0.25 * sum((w**2).sum() for w in regressor.coefs_) / len(x)
    assert value == pytest.approx((residual**2).sum() / 2 / len(x) + penalty)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_names_and_defaults(ours, theirs):
    mine = inspect.signature(ours).parameters
    for i, (name, parameter) in enumerate(inspect.signature(theirs).parameters.items()):
        assert mine[name].default == parameter.default, name
        assert mine[name].kind == parameter.kind, name
        assert parameter.kind == parameter.KEYWORD_ONLY or list(mine)[i] == name
    for method in ("fit", "partial_fit", "predict", "score"):
        expected = list(inspect.signature(getattr(theirs, method)).parameters)
        assert list(inspect.signature(getattr(ours, method)).parameters)[: len(expected)] == expected


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
def test_attributes(ours, theirs, options):
    x, y = DATA["binary"]
    a, b = (each(max_iter=3, random_state=0, **options).fit(x, y) for each in (ours, theirs))
    missing = {name for name in vars(b) if name.endswith("_") and not name.startswith("_")} - set(dir(a))
    assert not missing


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_convergence_warning(solver):
    x, y = DATA["multiclass"]
    with pytest.warns(ConvergenceWarning, match="onverge") as caught:
        MLPClassifier(max_iter=2, solver=solver).fit(x, y)
    assert caught[0].filename == __file__


def test_verbose(capsys):
    x, y = DATA["binary"]
    options = {"early_stopping": True, "verbose": True, "n_iter_no_change": 1, "learning_rate": "adaptive"}
    options |= {"solver": "sgd", "tol": 10.0, "learning_rate_init": 0.1}
    texts = []
    for estimator in both("binary", options, max_iter=40):
        estimator.fit(x, y)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "Setting learning rate" in texts[0]
