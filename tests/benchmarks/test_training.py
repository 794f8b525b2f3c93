"""The benchmark of training and inference: what is timed is right, and what is wrong is not timed."""

import json
import math
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

import fastsm.data
from fastsm._bench import CANDIDATES, Settings, training
from fastsm._bench.libraries import Libraries, load
from fastsm._bench.training import epochs, estimators, inference, networks, trainers
from fastsm._bench.training.networks import LEARNING_RATE, Data, Network, Task
from fastsm._bench.training.trainers.numpy import Plain, Preallocated, predict

RELU, TANH = Network((7, 6, 5, 3), "relu"), Network((7, 6, 3), "tanh")
SLOW = {"torch.compile"}  # compiles for seconds
THEIR_WARNINGS = pytest.mark.filterwarnings("ignore")
TRAINING = [name for name in trainers.LIBRARIES if name not in (trainers.LIMIT, "onnxruntime")]
INFERENCE = [name for name in trainers.LIBRARIES if name != trainers.LIMIT]


def task(network=RELU, rows=40, batch_size=8, images=True):
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 256, (rows, network.sizes[0]), dtype=np.uint8)
    if not images:
        raw = rng.standard_normal(raw.shape).astype(np.float32)
    return Task(network, batch_size, Data(raw, rng.integers(0, network.sizes[-1], rows), "made up"))


def library(name):
    """Return the module of a candidate, set up; the test is skipped where it is missing."""
    loaded = load(trainers.__name__, {name: trainers.LIBRARIES[name]}, Settings())
    if name in loaded.missing:
        pytest.skip(loaded.missing[name])
    return loaded.modules[name]


def marked(names):
    return [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in names]


# ---- what is trained, and the oracle


@pytest.mark.parametrize("network", [RELU, TANH], ids=lambda network: network.name)
def test_the_oracle_follows_the_gradient(network):
    """One step of NumPy in float64 changes each parameter by the rate times the loss's central difference."""
    one = task(network, rows=8)
    x, labels = one.data.scaled.astype(np.float64), one.data.labels
    plain = Plain(one, np.float64)
    before = [(w.copy(), b.copy()) for w, b in plain.weights()]
    plain.in_order(8)

    def loss():
        return -np.log(predict(network, before, x)[np.arange(8), labels]).mean()

    for layer, changed in zip(before, plain.weights(), strict=True):
        for array, after in zip(layer, changed, strict=True):
            for index in [(0,) * array.ndim, tuple(size // 2 for size in array.shape)]:
                old, step = array[index], 1e-6
                values = []
                for array[index] in (old + step, old - step):
                    values.append(loss())
                array[index] = old
                slope = (values[0] - values[1]) / (2 * step)
                assert after[index] == pytest.approx(old - LEARNING_RATE * slope, abs=1e-9)


def test_a_smaller_last_batch():
    """Both ways of NumPy use it, and are the same."""
    one = task(rows=29)
    order = np.random.default_rng(0).permutation(29)
    ways = [Plain(one), Preallocated(one)]
    for way in ways:
        way.epoch(order)
    for (w, b), (w0, b0) in zip(ways[0].weights(), ways[1].weights(), strict=True):
        np.testing.assert_allclose(w, w0, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(b, b0, rtol=1e-4, atol=1e-6)


def test_without_fashion_mnist(monkeypatch):
    """The images are random then, of the same size, and the result says so."""

    def missing(name, *, download):
        assert not download
        raise fastsm.data.DataError("not here")

    monkeypatch.setattr(fastsm.data, "load", missing)
    data = networks.data_for(Network((784, 10), "relu"), quick=True)
    assert data.source.startswith("random images")
    assert data.raw.shape == (6000, 784)
    assert data.raw.dtype == np.uint8
    assert data.scaled.min() == 0
    assert data.scaled.max() == 1


def test_the_spirals():
    """There are two, of float32 points."""
    data = networks.data_for(Network((2, 500, 2), "tanh"), quick=False)
    assert (data.raw.shape, data.raw.dtype, data.source) == ((20_000, 2), np.float32, "two spirals")
    assert set(data.labels.tolist()) == {0, 1}


# ---- the libraries


def test_the_libraries_are_the_candidates():
    """Each has a module, and each candidate that trains or runs networks is there."""
    assert set(trainers.LIBRARIES) - {"fastsm", trainers.LIMIT} <= set(CANDIDATES)


@THEIR_WARNINGS
@pytest.mark.parametrize("name", marked(TRAINING))
@pytest.mark.parametrize("network", [RELU, TANH], ids=lambda network: network.name)
def test_all_libraries_learn_the_same(name, network):
    """Each way of each library ends at the weights of the oracle."""
    module, one = library(name), task(network, images=network is RELU)
    assert module.CALLED.endswith(".")
    plain = Plain(one, np.float64)
    plain.in_order(32)
    ways = module.trainers(one)
    assert ways
    for way in ways:
        way.in_order(32)
        assert way.candidate in (name, "numpy out=")
        assert not epochs.disagreement(way.weights(), plain.weights(), network.weights())
        way.epoch(np.random.default_rng(0).permutation(40))
        assert epochs.disagreement(way.weights(), plain.weights(), network.weights())


@THEIR_WARNINGS
@pytest.mark.parametrize("name", marked(INFERENCE))
@pytest.mark.parametrize("rows", [1, 5])
def test_all_libraries_predict_the_same(name, rows):
    """Each way of each library gives the probabilities of the oracle."""
    module = library(name)
    x = np.random.default_rng(0).random((rows, 7), dtype=np.float32)
    expected = predict(RELU, RELU.weights(), x.astype(np.float64))
    calls = module.predictors(RELU, x)
    assert calls
    for call in calls:
        np.testing.assert_allclose(np.asarray(call.once()), expected, rtol=1e-5, atol=1e-6)


def test_the_limit_learns_nothing():
    """It makes the products of a step, as many as there are layers and gradients, and no more."""
    (limit,) = library(trainers.LIMIT).trainers(task())
    limit.epoch(np.arange(40))
    assert limit.weights() is None
    assert [grad.shape for grad in limit.grads] == [(7, 6), (6, 5), (5, 3)]


@pytest.mark.skipif(find_spec("threadpoolctl") is None, reason="no threadpoolctl")
def test_the_limit_with_two_threads(monkeypatch):
    """It is also measured with BLAS on one thread: small products gain nothing from a second one."""
    module = library(trainers.LIMIT)
    monkeypatch.setattr(module, "_threads", 2)
    assert [way.variant for way in module.trainers(task())] == [
        "matmul(out=)",
        "matmul(out=), BLAS on one thread",
    ]
    x = np.zeros((2, 7), np.float32)
    assert [call.once() for call in module.predictors(RELU, x)] == [None, None]


# ---- measuring


class Wrong(Plain):
    """Its learning rate is 5 % too high, which grows with the steps."""

    candidate, variant = "wrong", "rate"

    def _step(self, rows):
        before = [(w.copy(), b.copy()) for w, b in self.layers]
        super()._step(rows)
        for layer, old in zip(self.layers, before, strict=True):
            for array, array0 in zip(layer, old, strict=True):
                array += np.float32(0.05) * (array - array0)


class Raises(Plain):
    """It fails in its first step."""

    candidate, variant = "raises", "always"

    def _step(self, rows):
        raise RuntimeError("no such operator\nand more")


def made_up_libraries(*classes):
    """Return libraries of one trainer each."""

    def module(trainer):
        return SimpleNamespace(trainers=lambda task: [trainer(task)], predictors=lambda network, x: [])

    return Libraries({trainer.candidate: module(trainer) for trainer in classes})


def refuse(*_):
    raise NotImplementedError("with two classes it is another network")


def test_only_what_agrees_is_timed():
    """A wrong gradient, an exception or a network that a library lacks is reported, and the others go on."""
    libraries = made_up_libraries(Plain, Wrong, Raises)
    libraries.modules["refuses"] = SimpleNamespace(trainers=refuse, predictors=refuse)
    found = epochs.measure_task(task(rows=100), libraries, Settings(quick=True, rounds=1))
    assert {timing["candidate"] for timing in found["timings"]} == {"numpy"}
    assert found["rejected"] == {
        "wrong (rate)": found["rejected"]["wrong (rate)"],
        "raises (always)": "RuntimeError: no such operator",
        "refuses": "NotImplementedError: with two classes it is another network",
    }
    assert found["rejected"]["wrong (rate)"].startswith("what it learned is off by")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_disagree(value):
    """NaN is off by more than any tolerance."""
    weights, bad = RELU.weights(), RELU.weights()
    right = [(w + 1, b + 1) for w, b in weights]
    bad[1][0][0, 0] = value
    assert epochs.disagreement(bad, right, weights) == "what it learned is off by inf%"
    assert epochs.disagreement(right, right, weights) == ""


def test_probabilities_must_agree(monkeypatch):
    """A call that returns something else, or raises, is not timed."""
    from fastsm._bench.timing import Call

    def predictors(network, x):
        right = predict(network, network.weights(), x)
        wrong = right.copy()
        wrong[0, 0] = math.nan
        return [
            Call("numpy", "right", lambda: right),
            Call("numpy", "wrong", lambda: wrong),
            Call("numpy", "raises", refuse),
            Call("torch", "unwanted", lambda: right),
        ]

    libraries = Libraries({"numpy": SimpleNamespace(predictors=predictors)})
    settings = Settings(quick=True, rounds=1, against=("numpy",))
    found = inference.measure_rows(RELU, 4, libraries, settings)
    assert [timing["variant"] for timing in found["timings"]] == ["right"]
    assert found["rejected"] == {
        "numpy (wrong)": "probabilities off by nan",
        "numpy (raises)": "NotImplementedError: with two classes it is another network",
    }


def test_the_document(monkeypatch):
    """A quick run with NumPy alone has all that the document promises, and its tables."""
    monkeypatch.setattr(epochs, "QUICK_EPOCHS", ((TANH, 8),))
    monkeypatch.setattr(epochs, "QUICK_SECONDS", 0.0)
    monkeypatch.setattr(epochs, "data_for", lambda network, quick: task(network).data)
    monkeypatch.setattr(inference, "INFERENCE", ((RELU, 1),))
    monkeypatch.setattr(inference, "QUICK_SECONDS", 0.0)
    told = []
    settings = Settings(quick=True, rounds=1, against=("numpy", "thinc of another planet"))
    found = json.loads(json.dumps(training.measure(settings, told.append)))
    assert told == ["training 7-6-3 tanh, batches of 8", "inference 7-6-5-3 relu, 1 row"]
    assert set(found) == {"training", "inference", "estimators", "versions", "missing"}
    assert found["estimators"] == []  # slow, so not in a quick run
    (cell,), (call,) = found["training"], found["inference"]
    assert {key: value for key, value in cell.items() if key != "timings"} == {
        "network": "7-6-3 tanh",
        "batch_size": 8,
        "rows": 40,
        "data": "made up",
        "threads": 1,
        "rejected": {},
    }
    names = {"fastsm", "numpy", "numpy out=", "products"}
    assert {timing["candidate"] for timing in cell["timings"]} == names
    assert {timing["candidate"] for timing in call["timings"]} == names
    assert (call["rows"], call["threads"]) == (1, 1)
    for timing in cell["timings"] + call["timings"]:
        assert 0 < timing["best_ns"] <= timing["median_ns"]
    text = training.tables(found)
    assert "Training 7-6-3 tanh, batches of 8: ms an epoch (40 rows, made up, 1 thread)" in text
    assert "Inference 7-6-5-3 relu, 1 row: us a call (1 thread)" in text


def test_only_what_is_asked_for_is_measured():
    """ "numpy out=" alone leaves plain NumPy out, though both are in one module."""
    libraries = load(trainers.__name__, {"numpy": "numpy"}, Settings(against=("numpy out=",)))
    settings = Settings(quick=True, rounds=1, against=("numpy out=",))
    found = epochs.measure_task(task(), libraries, settings)
    assert {timing["candidate"] for timing in found["timings"]} == {"numpy out="}


# ---- estimators


def two(monkeypatch, rows=60):
    """Return the two that are compared, made to fit few rows."""
    pytest.importorskip("sklearn")
    data = (task(rows=rows).data, task(rows=20).data)
    monkeypatch.setattr(estimators, "images", lambda: data)
    monkeypatch.setattr(estimators, "ESTIMATORS", (estimators.Fit((5,), 2, batch_size=20),))
    monkeypatch.setattr(estimators, "INFERENCE_ROWS", (1, 70))
    monkeypatch.setattr(estimators, "SECONDS", 0.0)
    names = {name: trainers.LIBRARIES[name] for name in estimators.NAMES}
    return load(trainers.__name__, names, Settings())


def test_estimators(monkeypatch):
    """Both are fitted with each seed and score about the same, and both give the same probabilities."""
    libraries, told = two(monkeypatch), []
    found = json.loads(json.dumps(estimators.measure(libraries, Settings(), told.append)))
    assert told == [
        "estimators 7-5-3 relu, 2 epochs with each of 3 seeds",
        "estimators 7-5-3 relu, probabilities of 1 row",
        "estimators 7-5-3 relu, probabilities of 70 rows",
    ]
    fitted, *called = found
    assert fitted["operation"] == "fit"
    assert (fitted["epochs"], fitted["batch_size"], fitted["rows"]) == (2, 20, 60)
    assert [cell["rows"] for cell in called] == [1, 70]
    for cell in found:
        assert cell["rejected"] == {}
        assert {timing["candidate"] for timing in cell["timings"]} == {"fastsm", "sklearn"}
    # They start from the same weights and take the same rows.
    ours, theirs = (fitted["accuracies"][name] for name in ("fastsm", "sklearn"))
    assert len(ours) == len(theirs) == 3
    np.testing.assert_allclose(ours, theirs, atol=0.051)
    assert fitted["mean_accuracy"]["fastsm"] == pytest.approx(sum(ours) / 3)
    text = training.tables({"estimators": found})
    assert "MLPClassifier.fit 7-5-3 relu, 2 epochs, batches of 20: s (60 rows, made up, 1 thread)" in text
    assert "MLPClassifier.predict_proba 7-5-3 relu, 70 rows: us a call (1 thread)" in text
    assert f"accuracy of sklearn: {sum(theirs) / 3:.2%}, the mean of {theirs[0]:.2%}, " in text


def test_estimators_that_fail(monkeypatch):
    """What one of them raises is reported, and so are probabilities that are off."""
    libraries = two(monkeypatch)
    ours = libraries.modules["fastsm"]
    monkeypatch.setattr(ours, "estimator", refuse)
    wrong = SimpleNamespace(predict_proba=lambda x: np.ones((len(x), 3)))
    monkeypatch.setattr(ours, "from_sklearn", lambda model: wrong)
    fitted, *called = estimators.measure(libraries, Settings(rounds=1), lambda words: None)
    assert list(fitted["rejected"]) == ["fastsm"]
    assert list(fitted["mean_accuracy"]) == ["sklearn"]
    for cell in called:
        assert cell["rejected"]["fastsm"].startswith("probabilities off by")
        assert [timing["candidate"] for timing in cell["timings"]] == ["sklearn"]
    assert "not timed: fastsm" in training.tables({"estimators": [fitted, *called]})


def test_estimators_need_both():
    """Without scikit-learn there is nothing to compare with."""
    assert estimators.measure(Libraries(), Settings(), refuse) == []


# ---- tables


def test_tables_mark_who_wins():
    """The limit's share, the ratio to fastsm, and each library that is faster, by name."""

    def timing(candidate, milliseconds):
        return {
            "candidate": candidate, "variant": "way", "best_ns": milliseconds * 1e6,
            "median_ns": milliseconds * 1.1e6,
        }  # fmt: skip

    cell = {
        "network": "784-128-10 relu", "batch_size": 128, "rows": 60000, "data": "Fashion-MNIST", "threads": 2,
        "timings": [timing("products", 200), timing("torch", 600), timing("jax", 240), timing("fastsm", 300)],
        "rejected": {"thinc (BLIS)": "what it learned is off by 7.0%"},
    }  # fmt: skip
    lines = training.tables({"training": [cell], "inference": []}).split("\n\n")[1].splitlines()
    assert lines[0].endswith("ms an epoch (60,000 rows, Fashion-MNIST, 2 threads)")
    assert [line.split() for line in lines[1:]] == [
        ["best", "median", "products", "fastsm"],
        ["fastsm", "300", "330", "67%", "1.00", "way"],
        ["torch", "600", "660", "33%", "2.00", "way"],
        ["jax", "240", "264", "83%", "0.80", "way", "JAX", "WINS"],
        ["products", "200", "220", "100%", "0.67", "way"],
        ["not", "timed:", "thinc", "(BLIS):", "what", "it", "learned", "is", "off", "by", "7.0%"],
    ]
