"""Metrics: against loops over the rows, in blocks, weighted, in each domain, and wrong arguments."""

import copy
import math
import pickle

import numpy as np
import pytest
from checks import raises
from hypothesis import given
from hypothesis import strategies as st

import fastsm
from fastsm import nn, training
from fastsm.training import metrics
from fastsm.training.metrics._metric import Running


def data(rows=200, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((rows, classes)) * 2
    return logits, rng.integers(0, classes, rows)


# ---- each metric, written as a loop ----


def loop_accuracy(p, y):
    return sum(
        max(range(len(row)), key=lambda j: row[j]) == label for row, label in zip(p, y, strict=True)
    ) / len(y)


def loop_top(k):
    def metric(p, y):
        hits = 0
        for row, label in zip(p, y, strict=True):
            best = sorted(range(len(row)), key=lambda j: (-row[j], j))[:k]
            hits += label in best
        return hits / len(y)

    return metric


def loop_nll(p, y):
    return -math.fsum(math.log(row[label]) for row, label in zip(p, y, strict=True)) / len(y)


def loop_brier(p, y):
    total = 0.0
    for row, label in zip(p, y, strict=True):
        total += math.fsum((value - (j == label)) ** 2 for j, value in enumerate(row))
    return total / len(y)


def loop_ece(bins):
    def metric(p, y):
        total = 0.0
        for b in range(bins):
            rows = [i for i in range(len(y)) if b / bins < p[i].max() <= (b + 1) / bins]
            if rows:
                confidence = math.fsum(p[i].max() for i in rows) / len(rows)
                right = sum(p[i].argmax() == y[i] for i in rows) / len(rows)
                total += len(rows) / len(y) * abs(confidence - right)
        return total

    return metric


PAIRS = [
    (metrics.accuracy, loop_accuracy),
    (metrics.top_k(1), loop_accuracy),
    (metrics.top_k(2), loop_top(2)),
    (metrics.top_k(5), lambda p, y: 1.0),
    (metrics.nll, loop_nll),
    (metrics.brier, loop_brier),
    (metrics.expected_calibration_error(), loop_ece(15)),
    (metrics.expected_calibration_error(bins=1), loop_ece(1)),
    (metrics.expected_calibration_error(bins=7), loop_ece(7)),
]


@pytest.mark.parametrize(("metric", "loop"), PAIRS, ids=[str(m) for m, _ in PAIRS])
def test_loops(metric, loop):
    logits, y = data()
    p = fastsm.softmax(logits)
    assert metric(p, y) == pytest.approx(loop(p, y), rel=1e-12)
    # The other domains, and labels in other forms.
    assert metric(logits, y, on="logits") == pytest.approx(metric(p, y), rel=1e-12)
    assert metric(fastsm.log_softmax(logits), y, on="log_probs") == pytest.approx(metric(p, y), rel=1e-12)
    assert metric(p, y.astype(np.uint8)) == metric(p, y)
    assert metric(p, np.eye(5)[y]) == pytest.approx(metric(p, y), rel=1e-12)


@pytest.mark.parametrize("metric", [m for m, _ in PAIRS], ids=str)
def test_weights_as_repetitions(metric):
    logits, y = data(50)
    p = fastsm.softmax(logits)
    weight = np.random.default_rng(1).integers(0, 4, 50)
    repeated = np.repeat(np.arange(50), weight)
    assert metric(p, y, sample_weight=weight) == pytest.approx(metric(p[repeated], y[repeated]), rel=1e-12)


@pytest.mark.parametrize("metric", [m for m, _ in PAIRS], ids=str)
def test_blocks(metric):
    logits, y = data(100)
    p = fastsm.softmax(logits)
    running = Running([metric], "probs")
    for block in np.split(np.arange(100), [1, 30, 30, 77]):
        running.update(p[block], y[block], None)
    assert running.results()[metric.name] == pytest.approx(metric(p, y), rel=1e-12)
    assert math.isnan(running.results()[metric.name])  # it has started again


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=4, max_size=4), min_size=1, max_size=9)
)
def test_ties(rows):
    p = np.array(rows)
    y = np.arange(len(p)) % 4
    assert metrics.accuracy(p, y) == pytest.approx(loop_accuracy(p, y))
    for k in (1, 2, 3, 4):
        assert metrics.top_k(k)(p, y) == pytest.approx(loop_top(k)(p, y))


def test_special_values():
    assert metrics.nll([[0.0, 1.0]], [0]) == math.inf
    assert metrics.nll([[0.0, 1.0]], [[0.0, 1.0]]) == 0.0
    assert metrics.top_k(1)([[math.nan, math.nan]], [0]) == 0.0
    assert math.isnan(metrics.brier([[math.nan, 0.5]], [0]))
    assert math.isnan(metrics.expected_calibration_error()([[math.nan, 0.5]], [0]))
    assert math.isnan(metrics.accuracy(np.zeros((0, 2)), np.zeros(0, int)))
    assert math.isnan(metrics.accuracy([[1.0, 0.0]], [0], sample_weight=[0.0]))
    assert metrics.nll([[1000.0, 0.0]], [1], on="logits") == 1000.0


def test_calibrated_probabilities():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    y = (rng.random(200_000) > confidence).astype(int)
    ece = metrics.expected_calibration_error()(np.stack([confidence, 1 - confidence], 1), y)
    assert ece < 0.005  # some 15 bins of 13,000 rows: about 0.5 / sqrt(13000) each


def test_names():
    names = ["accuracy", "top_3", "nll", "brier", "ece"]
    assert [m.name for m in metrics.resolve(names)] == names
    assert repr(metrics.top_k(3)) == "<metric top_3>"


def test_user_metric():
    def error(outputs, targets):
        return abs(outputs - targets).sum(axis=1)

    [metric] = metrics.resolve([error])
    assert metric.name == "error"
    assert metric([[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [3.0, 5.0]]) == 2.0


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(on="probs"), nn.BrierLoss()])
def test_inputs_of_user_metric(loss):
    # Cross-entropy is taken over the logits together with the softmax, but the model gives probabilities.
    def total(outputs, targets):
        return outputs.sum(axis=1)

    X, y = data(300)
    layers = nn.Linear(5, 5), nn.Softmax(temperature=2.0)
    model = nn.Sequential(*layers, dtype="float64", rng=0)
    assert training.evaluate(model, X, y, loss=loss, metrics=[total])["total"] == pytest.approx(1)
    history = fastsm.fit(model, X, y, loss=loss, metrics=[total], validation_data=(X, y), epochs=1, rng=0)
    assert [history["total"][0], history["val_total"][0]] == pytest.approx([1, 1])


def test_metrics_for_each_head():
    X, y = data(300)
    names = ("accuracy", "top_2", "nll", "brier", "ece")
    results = []
    for head, loss in (
        (None, nn.CrossEntropyLoss()),
        ("softmax", nn.CrossEntropyLoss(on="probs")),
        ("softmax", nn.BrierLoss()),
        ("log_softmax", nn.NLLLoss()),
    ):
        model = nn.MLP([5, 8, 5], head=head, dtype="float64", rng=0)
        evaluated = training.evaluate(model, X, y, loss=loss, metrics=names, batch_size=70)
        # One step of all rows: what the training forward gives is what evaluation gives.
        fitted = fastsm.fit(model, X, y, loss=loss, metrics=names, epochs=1, batch_size=300, rng=0)
        for name in ("loss", *names):
            assert fitted[name][0] == pytest.approx(evaluated[name], rel=1e-9)
        evaluated.pop("loss")
        results.append(evaluated)
        p = fastsm.softmax(nn.MLP([5, 8, 5], dtype="float64", rng=0)(X))
        assert evaluated["nll"] == pytest.approx(loop_nll(p, y), rel=1e-9)
        assert evaluated["ece"] == pytest.approx(loop_ece(15)(p, y), rel=1e-9)
    assert all(r == pytest.approx(results[0], rel=1e-9) for r in results)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(("head", "on"), [(None, "logits"), ("sigmoid", "probs")])
def test_binary_metrics(outputs, head, on):
    """Each output is a question of two classes, decided at 1/2; user metrics get what the model returns."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((60, 4)), rng.random(60)
    y = (rng.random((60, outputs)) > 0.5).astype(float)
    model = nn.MLP([4, 5, outputs], head=head, dtype="float64", rng=0)
    shown = model(x)
    p = shown if head else 1 / (1 + np.exp(-shown))
    own = metrics.Metric(lambda a, t: np.abs(a - shown).sum(axis=1), "own")
    options = {"loss": nn.BCELoss(on=on), "metrics": ["accuracy", "nll", "brier", own]}
    found = training.evaluate(model, x, y, sample_weight=weight, **options)

    def mean(values):
        return np.average(values.mean(axis=1), weights=weight)

    nll = mean(-np.log(np.where(y == 1, p, 1 - p)))
    assert found["accuracy"] == pytest.approx(mean((p > 0.5) == y))
    assert found["nll"] == pytest.approx(nll)
    assert found["loss"] == pytest.approx(nll)
    assert found["brier"] == pytest.approx(mean(2 * (p - y) ** 2))
    assert found["own"] == pytest.approx(0, abs=1e-14)
    if outputs == 1:
        labels = y[:, 0].astype(int)
        assert training.evaluate(model, x, labels, sample_weight=weight, **options) == pytest.approx(
            found, abs=1e-12
        )
        history = training.fit(model, x, labels, epochs=1, rng=0, loss=nn.BCELoss(on=on))
        assert 0 < history["accuracy"][0] < 1


@pytest.mark.parametrize(("head", "on"), [(None, "logits"), ("sigmoid", "probs")])
@pytest.mark.parametrize("columns", [2, 3])
def test_questions_at_once(head, on, columns):
    """Metrics of all rows get a column for each question: AUC is the mean of theirs."""
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((60, 4)), rng.random(60)
    y = np.eye(columns)[rng.integers(0, columns, 60)]  # even with one yes in each row
    y[:9] = y[:9] if columns == 2 else 1
    model = nn.MLP([4, 5, columns], head=head, dtype="float64", rng=0)
    p = model(x) if head else 1 / (1 + np.exp(-model(x)))

    def largest(probs, targets, sample_weight):
        np.testing.assert_array_equal(targets, y)
        np.testing.assert_array_equal(sample_weight, weight)
        return probs.max()

    own = metrics.Whole(largest, takes="probs")
    options = {"loss": nn.BCELoss(on=on), "metrics": ["auc", own], "sample_weight": weight}
    results = training.evaluate(model, x, y.astype(int), **options)
    assert results["largest"] == pytest.approx(p.max())
    areas = [sklearn.roc_auc_score(y[:, k], p[:, k], sample_weight=weight) for k in range(columns)]
    assert results["auc"] == pytest.approx(np.mean(areas), rel=1e-12)
    soft = training.evaluate(model, x, 0.1 + 0.8 * y + 0.05 * y[:, ::-1], **{**options, "metrics": ["auc"]})
    assert soft["auc"] == pytest.approx(results["auc"], rel=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_temperature_in_probabilities(temperature):
    X, y = data(100)
    inside = training.evaluate(
        nn.Sequential(nn.Linear(5, 5, rng=0), nn.Softmax(temperature), dtype="float64"),
        X, y, loss=nn.CrossEntropyLoss(on="probs"), metrics=["nll", "ece"],
    )  # fmt: skip
    outside = training.evaluate(
        nn.Sequential(nn.Linear(5, 5, rng=0), dtype="float64"),
        X, y, loss=nn.CrossEntropyLoss(temperature=temperature), metrics=["nll", "ece"],
    )  # fmt: skip
    assert inside == pytest.approx(outside, rel=1e-9)
    assert inside["loss"] == pytest.approx(inside["nll"], rel=1e-9)


def test_ignored_rows():
    X, y = data(100)
    y[::3] = -1
    model = nn.MLP([5, 5], dtype="float64", rng=0)
    names = ("accuracy", "top_2", "nll", "brier", "ece")
    kept = y >= 0
    ignoring = training.evaluate(model, X, y, loss=nn.CrossEntropyLoss(ignore_index=-1), metrics=names)
    without = training.evaluate(model, X[kept], y[kept], metrics=names)
    assert ignoring == pytest.approx(without, rel=1e-12)


# ---- metrics of all rows ----


NAMES = ("f1", "balanced_accuracy", "auc")


def learned(name, p, y, weight=None):
    """Return what scikit-learn says."""
    from sklearn import metrics as theirs

    choice, options = p.argmax(axis=1), {"sample_weight": weight}
    if name == "f1":
        return theirs.f1_score(y, choice, average="macro", **options)
    if name == "balanced_accuracy":
        return theirs.balanced_accuracy_score(y, choice, **options)
    if p.shape[1] == 2:
        return theirs.roc_auc_score(y, p[:, 1], **options)
    return theirs.roc_auc_score(y, p, multi_class="ovr", **options)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_against_sklearn(name, classes):
    pytest.importorskip("sklearn")
    logits, y = data(200, classes)
    metric = getattr(metrics, name)
    assert metric(logits, y, on="logits") == pytest.approx(
        learned(name, fastsm.softmax(logits), y), rel=1e-12
    )
    # With ties, and rows that sum to 1.
    p = np.random.default_rng(2).multinomial(16, [1 / classes] * classes, 200) / 16
    weight = np.random.default_rng(1).uniform(0.1, 3, 200)
    assert metric(p, y) == pytest.approx(learned(name, p, y), rel=1e-12)
    assert metric(p, np.eye(classes)[y]) == metric(p, y)
    assert metric(p, y, sample_weight=weight) == pytest.approx(learned(name, p, y, weight), rel=1e-12)
    # Rows of weight 0 may hold anything.
    weight[::3] = 0
    used = weight > 0
    dirty = np.where(used[:, None], p, np.nan)
    expected = learned(name, p[used], y[used], weight[used])
    assert metric(dirty, y, sample_weight=weight) == pytest.approx(expected, rel=1e-12)
    assert metrics.resolve([name]) == [metric]
    assert math.isnan(metric(p[:0], y[:0]))


@pytest.mark.parametrize("name", NAMES)
def test_of_all_rows_in_fit(name):
    pytest.importorskip("sklearn")
    X, y = data(300)
    y[::4] = -1
    weight = np.random.default_rng(1).integers(0, 3, 300)
    model = nn.MLP([5, 5], dtype="float64", rng=0)
    loss, used = nn.CrossEntropyLoss(ignore_index=-1), (y >= 0) & (weight > 0)
    options = {"loss": loss, "metrics": [name], "sample_weight": weight}
    expected = learned(name, fastsm.softmax(model(X))[used], y[used], weight[used])
    assert training.evaluate(model, X, y, batch_size=70, **options)[name] == pytest.approx(
        expected, rel=1e-12
    )
    held_out = (X, y, weight)
    stopping = fastsm.callbacks.EarlyStopping(f"val_{name}", patience=2)
    # One step of all rows, before which the model is that of above.
    history = fastsm.fit(
        model, X, y, **options, batch_size=300, epochs=3, validation_data=held_out, callbacks=[stopping]
    )
    assert history[name][0] == pytest.approx(expected, rel=1e-12)
    assert stopping.best == max(history[f"val_{name}"])


def test_classes_that_are_absent():
    p = np.eye(4)[[0, 1, 1, 0]]
    assert metrics.balanced_accuracy(p, [0, 0, 1, 0]) == pytest.approx((2 / 3 + 1) / 2)
    assert metrics.f1(p, [0, 0, 1, 0]) == pytest.approx((4 / 5 + 2 / 3) / 2)
    # Class 2 and 3 have nothing to compare.
    assert metrics.auc(p, [0, 0, 1, 0]) == pytest.approx((5 / 6 + 5 / 6) / 2)
    assert math.isnan(metrics.auc(p, [0, 0, 0, 0]))


def test_rows_with_nan():
    p = [[math.nan, 1.0], [1.0, 0.0]]
    assert metrics.balanced_accuracy(p, [0, 0]) == 0.5
    assert metrics.f1(p, [0, 0]) == pytest.approx(2 / 3)
    assert math.isnan(metrics.auc(p, [0, 1]))


def test_auc_of_columns():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    p, y = rng.random((50, 3)), rng.integers(0, 2, (50, 3))
    several = sklearn.roc_auc_score(y, p, average="macro")
    assert metrics.auc(p, y.astype(float)) == pytest.approx(several, rel=1e-12)
    one = sklearn.roc_auc_score(y[:, 0], p[:, 0])
    for targets in (y[:, 0], y[:, :1].astype(float)):
        assert metrics.auc(p[:, :1], targets) == pytest.approx(one, rel=1e-12)
        assert metrics.auc(np.log(p / (1 - p))[:, :1], targets, on="logits") == pytest.approx(one, rel=1e-12)


@pytest.mark.parametrize("scale", [30, -30])
def test_auc_of_sure_rows(scale):
    """Probabilities that round to 1 or 0 in float32 still have their order."""
    z = np.stack([np.zeros(6), scale + np.arange(6)], axis=1).astype(np.float32)
    assert metrics.auc(z, [0, 0, 0, 1, 1, 1], on="logits") == 1
    p = fastsm.softmax(np.array([[0, -50 - 1e-5 * i] for i in range(6)], np.float32))
    assert metrics.auc(p, [1, 1, 1, 0, 0, 0]) == metrics.auc(p.astype(float), [1, 1, 1, 0, 0, 0])


def gini(outputs, targets):
    return 2 * metrics.auc(outputs, targets) - 1


def weighted(outputs, targets, sample_weight=None):
    return np.average(outputs[:, 0], weights=sample_weight)


def test_user_metric_of_all_rows():
    X, y = data(300, 2)
    model = nn.MLP([2, 2], head="softmax", dtype="float64", rng=0)
    own = metrics.Whole(gini, larger_is_better=True)
    results = training.evaluate(model, X, y, metrics=["auc", own, metrics.Whole(weighted)], batch_size=70)
    assert results["gini"] == pytest.approx(2 * results["auc"] - 1, rel=1e-12)
    assert results["weighted"] == pytest.approx(model(X)[:, 0].mean(), rel=1e-12)
    history = fastsm.fit(model, X, y, metrics=[own], validation_data=(X, y), epochs=2, rng=0)
    assert history["val_gini"][-1] == pytest.approx(gini(model(X), y), rel=1e-12)
    weight = np.arange(300) % 3
    results = training.evaluate(model, X, y, metrics=[metrics.Whole(weighted)], sample_weight=weight)
    assert results["weighted"] == pytest.approx(np.average(model(X)[:, 0], weights=weight), rel=1e-12)
    with raises(ValueError, "`gini` must take sample_weight=, as rows have weights other than 1"):
        own(model(X), y, sample_weight=weight)
    assert own(model(X), y, sample_weight=weight > 0) == own(model(X)[weight > 0], y[weight > 0])


@metrics.Metric
def decorated(outputs, targets):
    return outputs[:, 0]


def test_metrics_are_pickled():
    p, y = fastsm.softmax(data()[0]), data()[1]
    made = [
        metrics.top_k(2),
        metrics.expected_calibration_error(7),
        metrics.Metric(sure),
        metrics.Whole(sure_all),
    ]
    for metric in [*metrics.resolve(["accuracy", "top_3", "nll", "brier", "ece", *NAMES]), *made, decorated]:
        again = pickle.loads(pickle.dumps(metric))
        assert (again.name, again(p, y)) == (metric.name, metric(p, y))
        assert copy.deepcopy(metric)(p, y) == metric(p, y)


def sure(outputs, targets):
    return outputs.max(axis=1)


def sure_all(outputs, targets):
    return outputs.max(axis=1).mean()


WRONG = [
    (
        lambda: metrics.Whole("auc"),
        TypeError,
        "`function` must be callable, got 'auc'",
    ),
    (
        lambda: metrics.Whole(sure)([[0.5, 0.5]] * 2, [0, 1]),
        TypeError,
        "`what sure returns` must be a number, got array([0.5, 0.5])",
    ),
    (
        lambda: metrics.f1([[0.5, 0.5]] * 2, [[1.0, 0.0], [1.0, 1.0]]),
        ValueError,
        "`metrics` on classes need targets with one class in each row, got several in row 1: of those by name"
        " 'auc' takes them",
    ),
    (
        lambda: metrics.auc([[0.5], [0.25]], [[0.5], [1.0]]),
        ValueError,
        "`targets` must be 0 or 1 for a single output, got others",
    ),
    (
        lambda: metrics.resolve("accuracy"),
        TypeError,
        "`metrics` must be a list of names or functions, got 'accuracy'",
    ),
    (
        lambda: metrics.resolve(["acuracy"]),
        ValueError,
        "`metrics` must be functions or of the names accuracy, top_5, nll, brier, f1, balanced_accuracy, auc,"
        " ece (any number for 5), got 'acuracy': did you mean 'accuracy'?",
    ),
    (
        lambda: metrics.resolve([metrics.Whole]),
        TypeError,
        "`metrics` must hold metrics or functions, got the class Whole",
    ),
    (
        lambda: metrics.resolve(["acc"]),
        ValueError,
        "`metrics` must be functions or of the names accuracy, top_5, nll, brier, f1, balanced_accuracy, auc,"
        " ece (any number for 5), got 'acc': did you mean 'accuracy'?",
    ),
    (
        lambda: metrics.resolve(["nll", "nll"]),
        ValueError,
        "`metrics` must have different names, got ['nll', 'nll']",
    ),
    (lambda: metrics.top_k(0), ValueError, "`k` must be an integer of at least 1, got 0"),
    (
        lambda: metrics.expected_calibration_error(1.5),
        TypeError,
        "`bins` must be an integer of at least 1, got 1.5",
    ),
    (
        lambda: metrics.top_k(3)([[0.5, 0.5]], [0]),
        ValueError,
        "`k` must be at most the number of classes, 2, got 3",
    ),
    (
        lambda: metrics.accuracy([[0.5], [0.5]], [0, 0]),
        ValueError,
        "`metrics` on classes need at least two of them, got outputs (2, 1): for one yes-or-no output take"
        " nn.BCELoss as the loss, for numbers metrics=[]",
    ),
    (
        lambda: metrics.nll([[0.5, 0.5]] * 2, [0, 2]),
        ValueError,
        "`targets` must lie in [0, 2), got 2 at position 1",
    ),
    (
        lambda: metrics.accuracy([[0.5, 0.5]], [0.0]),
        TypeError,
        "`targets` must be integers if they are labels, got float64",
    ),
    (lambda: metrics.nll([0.5, 0.5], [0]), ValueError, "`outputs` must have shape (N, C), got (2,)"),
    (
        lambda: metrics.nll([[0.5, 0.5]], [0, 1]),
        ValueError,
        "`targets` must have 1 rows, got shape (2,)",
    ),
    (
        lambda: metrics.Metric(lambda y, t: 1.0, "mine")([[0.5, 0.5]], [0]),
        ValueError,
        "`mine` must return a value for each of the 1 rows, got shape ():"
        " fastsm.training.metrics.Whole calls a function with all rows",
    ),
    (
        lambda: training.evaluate(
            nn.MLP([2, 2]), [[0.0, 0.0]], [[0.0, 0.0]], loss=nn.MSELoss(), metrics=["nll"]
        ),
        ValueError,
        "`metrics` must not need log_probs, which the model does not return: end it in nn.Softmax()",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), WRONG, ids=[m for _, _, m in WRONG])
def test_wrong_arguments(make, error, message):
    with raises(error, message):
        make()
