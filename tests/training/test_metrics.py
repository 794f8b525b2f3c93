"""Metrics: against loops over the rows, in blocks, weighted, in each domain, and wrong arguments."""

import math

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


WRONG = [
    (
        lambda: metrics.resolve("accuracy"),
        TypeError,
        "`metrics` must be a list of names or functions, got 'accuracy'",
    ),
    (
        lambda: metrics.resolve(["acuracy"]),
        ValueError,
        "`metrics` must be 'accuracy', 'top_5' and the like, 'nll', 'brier', 'ece' or functions,"
        " got 'acuracy'",
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
        "`metrics` on classes need at least two of them, got outputs (2, 1)",
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
        "`mine` must return a value for each of the 1 rows, got shape ()",
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
