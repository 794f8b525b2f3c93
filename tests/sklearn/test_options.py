"""What the estimators have beyond scikit-learn's: losses, weights, soft labels, schedules and callbacks."""

import math
import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score

from fastsm import callbacks, get_num_threads, nn, optim
from fastsm.sklearn import MLPClassifier, MLPRegressor
from fastsm.training import Run

X, Y = make_blobs(90, n_features=4, centers=3, cluster_std=3.0, random_state=0)
X = X / 5
TWO = (Y == 1).astype(int)
SOFT = np.random.default_rng(0).dirichlet([0.5, 0.5, 0.5], 90)
MARKS = np.stack([Y == 0, Y != 1], axis=1).astype(int)
NUMBERS = np.stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])], axis=1)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier(**options):
    return MLPClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 15, "random_state": 0} | options)


def regressor(**options):
    return MLPRegressor(**{"hidden_layer_sizes": (8,), "max_iter": 15, "random_state": 0} | options)


def same(a, b):
    return all(np.array_equal(*pair) for pair in zip(a.coefs_, b.coefs_, strict=True))


class Recorder:
    """Remembers the learning rate of each step, and what it was called for."""

    def __init__(self):
        self.rates, self.hooks, self.stop_at = [], [], None

    def on_train_begin(self, run):
        self.hooks.append("begin")
        self.run = run

    def on_batch_end(self, run):
        optimizer = run.optimizer
        self.rates.append(optimizer.lr(optimizer.steps - 1) if callable(optimizer.lr) else optimizer.lr)

    def on_epoch_end(self, run):
        self.hooks.append(run.epoch)
        if run.epoch == self.stop_at:
            run.stop()

    def on_train_end(self, run):
        self.hooks.append("end")


# ---- losses


@pytest.mark.parametrize("y", [Y, TWO, MARKS, SOFT], ids=["multiclass", "binary", "multilabel", "soft"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "brier", "mse", "mae", "kl_div"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_each_loss_falls(y, loss, solver):
    """For all kinds of targets, and with both kinds of solvers."""
    model = classifier(loss=loss, solver=solver, max_iter=30, learning_rate_init=0.02).fit(X, y)
    assert model.loss_ < model.loss_curve_[0]
    assert model.predict_proba(X).shape == (90, 2 if y is TWO or y is MARKS else 3)
    assert 0 <= model.score(X, y) <= 1


@pytest.mark.parametrize("y", [Y, TWO, MARKS], ids=["multiclass", "binary", "multilabel"])
def test_a_loss_as_an_object(y):
    """It does what the name does; gamma=0 makes the focal loss cross-entropy."""
    by_name = classifier(alpha=0.0).fit(X, y)
    focal = classifier(alpha=0.0, loss=nn.FocalLoss(gamma=0.0)).fit(X, y)
    for a, b in zip(by_name.coefs_, focal.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_user_loss():
    """It is given a column for each class, of two as well, and floating targets."""
    seen = []

    @nn.loss(on="probs")
    def squared(p, y):
        seen.append((p.shape[1], y.shape[1], y.dtype.kind))
        return ((p - y) ** 2).sum(axis=1), 2 * (p - y)

    for y, columns in ((Y, 3), (TWO, 2)):
        own = classifier(loss=squared).fit(X, y)
        assert set(seen) == {(columns, columns, "f")}
        seen.clear()
        brier = classifier(loss="brier").fit(X, y)
        np.testing.assert_allclose(own.coefs_[0], brier.coefs_[0], rtol=1e-9)
    assert clone(own).get_params()["loss"] is not None


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "mse", "mae", nn.MAELoss()], ids=str)
@pytest.mark.parametrize("columns", [1, 2])
def test_losses_of_numbers(loss, columns):
    """One output or several."""
    y = np.abs(NUMBERS[:, :columns])
    y = y.ravel() if columns == 1 else y
    model = regressor(loss=loss, learning_rate_init=0.02, max_iter=40).fit(X, y)
    assert model.loss_ < model.loss_curve_[0]
    assert model.predict(X).shape == y.shape
    if isinstance(loss, str) and loss == "poisson":
        assert (model.predict(X) > 0).all()


def test_mse_is_the_mean_over_outputs():
    """With two outputs twice the squared error is twice as much."""
    y = NUMBERS
    mse, half = (regressor(loss=loss, alpha=0.0, max_iter=1).fit(X, y) for loss in ("mse", "squared_error"))
    assert mse.loss_ == pytest.approx(half.loss_, rel=0.01)


@pytest.mark.parametrize(
    ("estimator", "y", "loss", "message"),
    [
        (classifier, Y, "hinge", "The 'loss' parameter of MLPClassifier must be"),
        (classifier, Y, len, "The 'loss' parameter of MLPClassifier must be"),
        (regressor, NUMBERS, "cross_entropy", "The 'loss' parameter of MLPRegressor must be"),
        (regressor, NUMBERS, nn.CrossEntropyLoss(), "must be on the output of a regressor"),
    ],
)
def test_wrong_losses(estimator, y, loss, message):
    """Names and objects that are no losses for this."""
    with pytest.raises(ValueError, match=message):
        estimator(loss=loss).fit(X, y)


def test_smoothing():
    """The network becomes less sure; where it fits, it gives the smoothed targets."""
    options = {"solver": "lbfgs", "alpha": 0.0, "max_iter": 200}
    x, y = np.eye(3), [0, 1, 2]
    p = classifier(label_smoothing=0.3, **options).fit(x, y).predict_proba(x)
    np.testing.assert_allclose(p, 0.7 * np.eye(3) + 0.1, atol=1e-3)
    p = classifier(label_smoothing=0.3, **options).fit(x, [0, 1, 1]).predict_proba(x)
    np.testing.assert_allclose(p[:, 1], [0.15, 0.85, 0.85], atol=1e-3)


# ---- weights


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_class_weights_are_weights_of_rows(solver):
    """Training with one is training with the other."""
    for y, weights in ((Y, {0: 1.0, 1: 5.0, 2: 0.5}), (TWO, {1: 4.0})):
        own = np.array([weights.get(label, 1.0) for label in y])
        a = classifier(solver=solver, class_weight=weights).fit(X, y)
        b = classifier(solver=solver).fit(X, y, sample_weight=own)
        assert same(a, b)
        c = classifier(solver=solver, class_weight=weights).fit(X, y, sample_weight=own)
        assert same(c, classifier(solver=solver).fit(X, y, sample_weight=own**2))


@pytest.mark.parametrize("y", [TWO, SOFT, MARKS], ids=["binary", "soft", "multilabel"])
def test_balanced(y):
    """Classes that are rare are found more often."""
    balanced, plain = (classifier(class_weight=w, max_iter=40).fit(X, y) for w in ("balanced", None))
    assert not same(balanced, plain)
    if y is TWO:
        assert balanced.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean()


def test_class_weights_in_partial_fit():
    """A dict is taken; "balanced" would need all rows."""
    a, b = classifier(class_weight={1: 3.0}), classifier()
    for part in (slice(50), slice(50, None)):
        a.partial_fit(X[part], TWO[part], classes=[0, 1])
        b.partial_fit(X[part], TWO[part], np.where(TWO[part] == 1, 3.0, 1.0), classes=[0, 1])
    assert same(a, b)
    with pytest.raises(ValueError, match="cannot count the classes, got 'balanced'"):
        classifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "rmsprop", "lbfgs"])
@pytest.mark.parametrize("estimator", [classifier, regressor])
def test_zero_weight_removes_a_row(estimator, solver):
    """A weight of two is a row that is there twice."""
    y = Y if estimator is classifier else NUMBERS[:, 0]
    count = np.arange(90) % 3
    a = estimator(solver=solver, batch_size=200, shuffle=False).set_params(batch_size=90)
    a.fit(X, y, sample_weight=count)
    b = estimator(solver=solver, batch_size=int(count.sum()), shuffle=False)
    b.fit(np.repeat(X, count, axis=0), np.repeat(y, count))
    for one, two in zip(a.coefs_, b.coefs_, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_score_with_weights():
    """As scikit-learn's functions have it."""
    weight = np.arange(90.0)
    model = classifier().fit(X, Y)
    assert model.score(X, Y, weight) == accuracy_score(Y, model.predict(X), sample_weight=weight)
    model = regressor().fit(X, NUMBERS)
    assert model.score(X, NUMBERS, weight) == r2_score(NUMBERS, model.predict(X), sample_weight=weight)


# ---- soft labels


def test_soft_labels_are_learned():
    """Without a penalty the probabilities become those of the targets."""
    x, y = np.eye(3), np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8]])
    model = classifier(solver="lbfgs", alpha=0.0, max_iter=300, tol=1e-7).fit(x, y)
    np.testing.assert_allclose(model.predict_proba(x), y, atol=1e-4)
    assert model.predict(x).tolist() == [1, 0, 2]
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.score(x, y) == 1
    assert model.score(x, [1, 0, 0]) == pytest.approx(2 / 3)


def test_soft_labels_bit_by_bit():
    """`partial_fit`, early stopping and warm starts take them too."""
    model = classifier().partial_fit(X, SOFT, classes=[0, 1, 2]).partial_fit(X, np.eye(3)[Y])
    assert model.predict_proba(X).shape == (90, 3)
    model = classifier(early_stopping=True, warm_start=True).fit(X, SOFT)
    assert model.fit(X, SOFT).validation_scores_
    with pytest.raises(ValueError, match="must be soft labels as before"):
        model.fit(X, Y)


# ---- networks


def test_dropout():
    """It makes training noisy, and predictions not."""
    model = classifier(dropout=0.5).fit(X, Y)
    assert any(isinstance(layer, nn.Dropout) for layer in model._network.layers)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    assert same(model, classifier(dropout=0.5).fit(X, Y))
    assert not same(model, classifier().fit(X, Y))
    with pytest.raises(ValueError, match="`dropout` must be 0 with solver='lbfgs'"):
        classifier(dropout=0.5, solver="lbfgs").fit(X, Y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("estimator", [classifier, regressor])
def test_layer_norm(estimator, solver):
    """There is a layer more for each hidden one, and all of it trains."""
    y = Y if estimator is classifier else NUMBERS
    model = estimator(layer_norm=True, hidden_layer_sizes=(8, 6), solver=solver).fit(X, y)
    norms = [layer for layer in model._network.layers if isinstance(layer, nn.LayerNorm)]
    assert len(norms) == 2
    assert all((layer.params["gain"] != 1).any() for layer in norms)
    assert model.loss_ < model.loss_curve_[0]
    assert [w.shape for w in model.coefs_] == [(4, 8), (8, 6), (6, model.n_outputs_)]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_dtype(solver):
    """What the network is in; by default what the inputs are in."""
    for given, asked, expected in (
        (np.float64, None, np.float64),
        (np.float32, None, np.float32),
        (np.float64, "float32", np.float32),
        (np.float32, np.float64, np.float64),
        (np.int64, None, np.float64),
    ):
        model = classifier(dtype=asked, solver=solver).fit((X * 10).astype(given), Y)
        assert {w.dtype for w in model.coefs_ + model.intercepts_} == {np.dtype(expected)}
        assert model.predict_proba((X * 10).astype(given)).dtype == expected


# ---- learning rates


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("cosine", optim.schedules.cosine(0.01, 30)),
        ("warmup_cosine", optim.schedules.warmup_cosine(0.01, 30, warmup=1)),
        ("one_cycle", optim.schedules.one_cycle(0.01, 30)),
        ("step", optim.schedules.step(0.01, 10)),
    ],
)
def test_schedules(solver, name, schedule):
    """By name they go over all steps of all epochs; as objects they are what they are."""
    rates = []
    for rate in (name, schedule):
        recorder = Recorder()
        model = classifier(
            solver=solver, learning_rate=rate, learning_rate_init=0.01, batch_size=30, max_iter=10,
            n_iter_no_change=math.inf, callbacks=[recorder],
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # to end after `max_iter` epochs was the plan
            model.fit(X, Y)
        rates.append(recorder.rates)
    assert rates[0] == rates[1] == [schedule(step) for step in range(30)]


def test_function_as_learning_rate():
    """It is called with the number of steps done."""
    recorder = Recorder()
    classifier(learning_rate=lambda step: 0.1 / (step + 1), callbacks=[recorder], max_iter=5).fit(X, Y)
    assert recorder.rates == [0.1 / (step + 1) for step in range(5)]


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "rmsprop"])
def test_invscaling_and_adaptive(solver):
    """Those of scikit-learn are there for all solvers that have a learning rate."""
    recorder = Recorder()
    options = {"solver": solver, "learning_rate_init": 0.01, "callbacks": [recorder], "max_iter": 4}
    classifier(learning_rate="invscaling", power_t=0.5, **options).fit(X, Y)
    assert recorder.rates == pytest.approx([0.01 / (90 * epoch + 1) ** 0.5 for epoch in range(4)])
    recorder.rates.clear()
    classifier(learning_rate="adaptive", tol=1.0, n_iter_no_change=1, **options).fit(X, Y)
    assert recorder.rates[-1] == pytest.approx(0.01 / 5)


def test_wrong_learning_rates():
    """A name that is none."""
    with pytest.raises(ValueError, match="The 'learning_rate' parameter of MLPClassifier must be"):
        classifier(learning_rate="fast").fit(X, Y)


# ---- steps


def test_clipping():
    """No step of plain SGD is longer than the learning rate times the norm."""
    model = classifier(
        solver="sgd", momentum=0.0, alpha=0.0, clip_norm=0.01, learning_rate_init=1.0, warm_start=True,
        max_iter=1,
    )  # fmt: skip
    before = model.fit(X, Y)._network.params.copy()
    model.fit(X, Y)
    length = np.linalg.norm(model._network.params - before)
    assert length == pytest.approx(0.01, rel=1e-6)
    loose = classifier(clip_norm=1e6).fit(X, Y)
    assert same(loose, classifier().fit(X, Y))


def test_threads():
    """A number of them holds for the time of the fit."""
    during = []

    class Threads:
        def on_epoch_end(self, run):
            during.append(get_num_threads())

    before = get_num_threads()
    model = classifier(n_threads=1, callbacks=[Threads()], max_iter=2).fit(X, Y)
    assert during == [1, 1]
    assert get_num_threads() == before
    assert same(model, classifier(max_iter=2).fit(X, Y))


# ---- callbacks


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("estimator", [classifier, regressor])
def test_callbacks(estimator, solver):
    """They are called around epochs, or iterations, and can stop the training."""
    recorder = Recorder()
    recorder.stop_at = 3
    y = Y if estimator is classifier else NUMBERS
    model = estimator(solver=solver, callbacks=[recorder] if solver == "sgd" else (recorder,))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X, y)
    assert recorder.hooks == ["begin", 1, 2, 3, "end"]
    assert model.n_iter_ == 3
    assert recorder.run.history["loss"] == model.loss_curve_


def test_callbacks_of_fastsm(tmp_path):
    """Its loggers, and its early stopping on the validation loss, which puts back the best weights."""
    log = tmp_path / "log.csv"
    stop = callbacks.EarlyStopping(patience=2, monitor="val_loss")
    model = classifier(
        max_iter=200, learning_rate_init=0.1, callbacks=[callbacks.CSVLogger(log), stop],
        hidden_layer_sizes=(50,),
    ).fit(X[:45], Y[:45], X_val=X[45:], y_val=Y[45:])  # fmt: skip
    losses = model.validation_loss_curve_
    assert len(losses) == model.n_iter_ == np.argmin(losses) + 3 < 200
    lines = log.read_text().splitlines()
    assert lines[0].split(",")[:4] == ["epoch", "loss", "val_loss", "val_score"]
    assert len(lines) == model.n_iter_ + 1
    p = model.predict_proba(X[45:])[np.arange(45), Y[45:]]
    assert -np.log(p).mean() == pytest.approx(min(losses), rel=1e-5)


def test_partial_fit_is_a_run_of_one_epoch():
    """It is not meant to converge, and gives no warning that it has not."""
    recorder = Recorder()
    model = classifier(callbacks=[recorder], max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y)
    assert recorder.hooks == ["begin", 1, "end"] * 2
    assert isinstance(recorder.run, Run)
    assert (recorder.run.epochs, recorder.run.history.stopped) == (1, "epochs")
    assert recorder.run.names == ("loss", "learning_rate", "seconds")
    assert len(model.loss_curve_) == 2


def test_early_stopping_with_lbfgs():
    """The best weights are put back there, too."""
    stop = callbacks.EarlyStopping(patience=2, monitor="val_loss")
    model = classifier(solver="lbfgs", hidden_layer_sizes=(50,), max_iter=200, alpha=0.0, callbacks=[stop])
    model.fit(X[:45], Y[:45], X_val=X[45:], y_val=Y[45:])
    losses = model.validation_loss_curve_
    assert min(losses) < losses[-1]
    p = model.predict_proba(X[45:])[np.arange(45), Y[45:]]
    assert -np.log(p).mean() == pytest.approx(min(losses), rel=1e-9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [([3], "must have methods as on_epoch_end"), ([callbacks.ProgressBar], "got the class ProgressBar")],
)
def test_wrong_callbacks(wrong, message):
    """What has none of the methods, and a class."""
    with pytest.raises(TypeError, match=message):
        classifier(callbacks=wrong).fit(X, Y)


# ---- validation data


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("y", [Y, TWO, MARKS, SOFT], ids=["multiclass", "binary", "multilabel", "soft"])
def test_validation_data(y, solver):
    """Loss and score of each epoch, without influence on the training."""
    model = classifier(solver=solver, dropout=0.0).fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == model.n_iter_
    assert model.validation_scores_[-1] == model.score(X[60:], y[60:])
    assert same(model, classifier(solver=solver).fit(X[:60], y[:60]))
    assert not classifier(solver=solver).fit(X, y).validation_loss_curve_


def test_validation_with_weights_and_strings():
    """The validation loss is a weighted mean, too; of rows that count nothing it does not depend."""
    names = np.array(["a", "b", "c"])[Y]
    weight = np.arange(30) % 2
    kept = slice(61, None, 2)
    a = classifier().fit(X[:60], names[:60], X_val=X[60:], y_val=names[60:], sample_weight_val=weight)
    b = classifier().fit(X[:60], names[:60], X_val=X[kept], y_val=names[kept])
    np.testing.assert_allclose(a.validation_loss_curve_, b.validation_loss_curve_, rtol=1e-12)
    assert a.validation_scores_ == b.validation_scores_


@pytest.mark.parametrize("estimator", [classifier, regressor])
def test_early_stopping_on_validation_data(estimator):
    """They take the place of the part that would be set aside, and the best weights stay."""
    y = Y if estimator is classifier else NUMBERS
    model = estimator(early_stopping=True, max_iter=300, learning_rate_init=0.05, n_iter_no_change=5)
    model.fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    assert model.n_iter_ < 300
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.score(X[60:], y[60:]) == pytest.approx(model.best_validation_score_)
    assert model.t_ == 60 * model.n_iter_


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"X_val": X}, "`X_val` and `y_val` must be given together"),
        ({"X_val": X[:, :2], "y_val": Y}, "X has 2 features, but MLPClassifier is expecting 4"),
        ({"X_val": X, "y_val": Y[:5]}, "inconsistent numbers of samples"),
        ({"X_val": X, "y_val": Y + 1}, "previously unseen labels"),
    ],
)
def test_wrong_validation_data(validation, message):
    """One of the two, other features, other rows, other classes."""
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, Y, **validation)


# ---- logits


@pytest.mark.parametrize("y", [Y, TWO, MARKS], ids=["multiclass", "binary", "multilabel"])
def test_decision_function(y):
    """Its largest entry, or its sign, is the prediction, and probabilities are made of it."""
    model = classifier().fit(X, y)
    z, p = model.decision_function(X), model.predict_proba(X)
    assert z.shape == {id(Y): (90, 3), id(TWO): (90,), id(MARKS): (90, 2)}[id(y)]
    if y is Y:
        np.testing.assert_array_equal(z.argmax(axis=1), model.predict(X))
        np.testing.assert_allclose(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), p, rtol=1e-9)
    else:
        np.testing.assert_array_equal(z > 0, model.predict(X))
        np.testing.assert_allclose(1 / (1 + np.exp(-z)), p[:, 1] if y is TWO else p, rtol=1e-9)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), p, rtol=1e-9)


def test_log_probabilities_stay_finite():
    """Where the probabilities are 0 in floating point."""
    for y in (Y, TWO, MARKS):
        model = classifier().fit(X, y)
        far = X * 1e6
        assert (model.predict_proba(far) == 0).any()
        assert np.isfinite(model.predict_log_proba(far)).all()


def test_a_single_class():
    """It is certain."""
    model = classifier().fit(X, np.full(90, "only"))
    assert set(model.predict(X)) == {"only"}
    assert model.predict_proba(X).tolist() == [[1.0]] * 90
    assert model.predict_log_proba(X).tolist() == [[0.0]] * 90


def test_everything_together_can_be_pickled():
    """An estimator with all options predicts the same elsewhere."""
    model = classifier(
        loss=nn.FocalLoss(gamma=1.5), class_weight="balanced", label_smoothing=0.1, dropout=0.2,
        layer_norm=True, clip_norm=1.0, dtype="float32", n_threads=1, callbacks=[Recorder()],
        learning_rate=optim.schedules.cosine(0.01, 15), solver="adamw",
    )  # fmt: skip
    model.set_params(callbacks=None).fit(X, Y, X_val=X, y_val=Y)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert same(clone(model).fit(X, Y), model)
