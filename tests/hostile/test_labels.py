"""Hostile labels: the first wrong one is named, and nothing is written.

The oracle checks Python integers, one by one.
"""

import warnings

import numpy as np
import pytest
from campaign import campaign
from checks import raises
from hypothesis import given
from hypothesis import strategies as st

import fastsm
from fastsm import nn, training
from fastsm.training import metrics

CLASSES = 5
EXTREME = [
    -1,
    -(2**63),
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**31,
    2**32,
    2**32 + 1,
    -(2**31),
    255,
    256,
    CLASSES,
    -CLASSES,
]
LABELS = st.one_of(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1), st.sampled_from(EXTREME))
INTEGERS = [np.dtype(code) for code in "bhilqBHILQ"] + [np.dtype(c).newbyteorder() for c in "hiqHIQ"]


@st.composite
def labels(draw):
    """Draw labels, in a dtype that holds them all."""
    values = draw(st.lists(LABELS, min_size=1, max_size=9))
    fitting = [d for d in INTEGERS if all(np.iinfo(d).min <= v <= np.iinfo(d).max for v in values)]
    values = values if fitting else [v % CLASSES for v in values]
    array = np.array(values, draw(st.sampled_from(fitting or INTEGERS)))
    return array[:: draw(st.sampled_from([1, -1]))] if draw(st.booleans()) else array


def first_wrong(array, ignored=None):
    """Return the message about the first wrong label, or None."""
    for position, value in enumerate(array.tolist()):
        if not 0 <= value < CLASSES and value != ignored:
            return f"`targets` must lie in [0, {CLASSES}), got {value} at position {position}"
    return None


def by_definition(x, array, ignored):
    """Return the mean cross-entropy and its gradient, in Python numbers."""
    kept = [(i, v) for i, v in enumerate(array.tolist()) if v != ignored]
    wide = x.astype(np.longdouble)
    p = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    grad, loss = np.zeros_like(p), np.longdouble(0)
    for i, v in kept:
        loss -= np.log(p[i, v])
        grad[i] = p[i] / len(kept)
        grad[i, v] -= np.longdouble(1) / len(kept)
    return loss / max(len(kept), 1), grad


OPTIONS = st.fixed_dictionaries(
    {
        "ignore_index": st.one_of(st.none(), st.sampled_from([-100, *EXTREME]), st.integers(0, CLASSES - 1)),
        "num_threads": st.sampled_from([None, 2]),
        "axis": st.sampled_from([-1, 0]),
    }
)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@campaign(60)
@given(array=labels(), options=OPTIONS, in_place=st.booleans())
def test_cross_entropy(dtype, array, options, in_place):
    """The first wrong label is named; right labels give the right results."""
    rows = np.random.default_rng(len(array)).standard_normal((len(array), CLASSES)).astype(dtype)
    x = rows.T.copy() if options["axis"] == 0 else rows.copy()
    before, message = x.tobytes(), first_wrong(array, options["ignore_index"])
    out = {"out": x} if in_place else {}
    if message:
        for call in (fastsm.cross_entropy, fastsm.cross_entropy_with_grad):
            with raises(ValueError, message):
                call(x, array, **options, **(out if call is fastsm.cross_entropy_with_grad else {}))
        assert x.tobytes() == before
        return
    loss, grad = fastsm.cross_entropy_with_grad(x, array, **options, **out)
    exact, gradient = by_definition(rows, array, options["ignore_index"])
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(np.float64(loss), float(exact), rtol=0, atol=tolerance * max(1, exact))
    np.testing.assert_allclose(
        (grad.T if options["axis"] == 0 else grad).astype(np.float64),
        gradient.astype(np.float64),
        atol=tolerance,
    )


LOSSES = {
    "cross-entropy": nn.CrossEntropyLoss,
    "smoothed": lambda **o: nn.CrossEntropyLoss(label_smoothing=0.1, **o),
    "weighted": lambda **o: nn.CrossEntropyLoss(class_weight=np.arange(1.0, CLASSES + 1), **o),
    "on probabilities": lambda **o: nn.CrossEntropyLoss(on="probs", **o),
    "NLL": nn.NLLLoss,
    "weighted NLL": lambda **o: nn.NLLLoss(class_weight=np.arange(1.0, CLASSES + 1), **o),
    "focal": nn.FocalLoss,
    "Brier": lambda ignore_index=None: nn.BrierLoss(),
}


@pytest.mark.parametrize("name", LOSSES)
@campaign(25)
@given(array=labels(), ignored=st.sampled_from([None, -100, -1, 2**63, 2**64, 1]))
def test_losses(name, array, ignored):
    """Losses name the first wrong label; ignored rows do not change the others."""
    ignored = None if name == "Brier" else ignored
    loss = LOSSES[name](ignore_index=ignored)
    x = np.random.default_rng(len(array)).random((len(array), CLASSES)) + 0.1
    message = first_wrong(array, ignored)
    out = x.copy()
    if message:
        for ask in (loss, loss.value_and_grad):
            with raises(ValueError, message):
                ask(x, array)
        with pytest.raises(ValueError, match=r"^`targets` must lie in"):
            loss.value_and_grad(out, array, out=out)
        assert out.tobytes() == x.tobytes()
        return
    value, grad = loss.value_and_grad(x, array)
    kept = array != ignored if ignored is not None else np.ones(len(array), bool)
    assert not grad[~kept].any()
    if kept.any():
        alone, its_grad = LOSSES[name]().value_and_grad(x[kept], array[kept].astype(np.int64))
        np.testing.assert_allclose(value, alone, rtol=1e-13)
        np.testing.assert_allclose(grad[kept], its_grad, rtol=1e-12, atol=1e-15)
    else:
        assert value == 0


METRICS = [
    metrics.accuracy,
    metrics.nll,
    metrics.brier,
    metrics.top_k(2),
    metrics.expected_calibration_error(),
]


@campaign(25)
@given(array=labels())
def test_metrics(array):
    """Metrics name the first wrong label."""
    probs = np.full((len(array), CLASSES), 1 / CLASSES)
    message = first_wrong(array)
    for metric in METRICS:
        if message:
            with raises(ValueError, message):
                metric(probs, array)
        else:
            assert np.isfinite(metric(probs, array))
            assert metric(probs, array) == metric(probs, array.astype(np.int64))


@campaign(25)
@given(array=labels(), where=st.sampled_from(["training", "validation"]))
def test_fit(array, where):
    """A training with a wrong label does not begin, and the model is unchanged."""
    model = nn.MLP([3, CLASSES], rng=0)
    before, x = model.params.copy(), np.ones((len(array), 3))
    right = np.zeros(len(array), int)
    y, validation = (array, None) if where == "training" else (right, (x, array))
    name = "`y`" if where == "training" else r"`validation_data\[1\]`"
    if first_wrong(array):
        with pytest.raises(ValueError, match=f"^{name} must lie "):
            fastsm.fit(model, x, y, validation_data=validation, epochs=1)
        assert model.params.tobytes() == before.tobytes()
        with pytest.raises(ValueError, match="must lie "):
            training.evaluate(model, x, array)
    else:
        fastsm.fit(model, x, y, validation_data=validation, epochs=1)
        assert np.isfinite(training.evaluate(model, x, array)["loss"])


NO_LABELS = {
    "floats": np.array([0.0, 1.0, 2.0]),
    "whole floats": np.array([0.0, 1.0, 2.0], np.float32),
    "bool": np.array([True, False, True]),
    "objects": np.array([0, 1, 2], object),
    "text": np.array(["0", "1", "2"]),
    "complex": np.array([0, 1, 2], complex),
    "dates": np.array([0, 1, 2], "M8[s]"),
    "durations": np.array([0, 1, 2], "m8[s]"),
    "fields": np.zeros(3, [("label", int)]),
    "masked": np.ma.masked_equal([0, 1, 2], 1),
    "masked scalars": np.ma.array([[0, 1, 2]], mask=[[0, 1, 0]]),
    "a column": np.array([[0], [1], [2]]),
    "one-hot integers": np.eye(3, dtype=int),
    "too few": np.array([0, 1]),
    "too many": np.array([0, 1, 2, 0]),
    "one": np.array(1),
    "none": np.zeros(0, int),
    "Python's large integers": [0, 1, 2**64],
    "None among them": [0, 1, None],
    "a dict": {0: 1},
}


@pytest.mark.parametrize("kind", NO_LABELS)
def test_no_labels(kind):
    """Targets that are no labels are a TypeError or a ValueError, and nothing is written."""
    y, x = NO_LABELS[kind], np.full((3, 3), 1 / 3)
    model = nn.MLP([3, 3], rng=0)
    calls = [
        lambda: fastsm.cross_entropy(x, y),
        lambda: fastsm.cross_entropy_with_grad(x, y, out=x),
        lambda: fastsm.fit(model, x, y, epochs=1),
        lambda: training.evaluate(model, x, y),
        *(lambda make=make: make()(x, y) for make in LOSSES.values()),
        *(lambda make=make: make().value_and_grad(x, y, out=x) for make in LOSSES.values()),
        *(lambda metric=metric: metric(x, y) for metric in METRICS if not np.array_equal(y, np.eye(3))),
    ]
    before = model.params.copy()
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=r"^(`|`?validation|what |layers)"):
            call()
    assert (x == 1 / 3).all()
    assert model.params.tobytes() == before.tobytes()


# ---- scikit-learn's estimators ----


@pytest.mark.parametrize(
    "values",
    [
        [-1, 2**63 - 1, -(2**63)],
        [2**63, 2**64 - 1, 0],
        [0.5, -1.25, 2.0],
        [True, False, True],
        ["b", "", "a" * 99],
    ],
    ids=str,
)
def test_classes_of_estimators(values):
    """Estimators take classes of any type, and predict them."""
    pytest.importorskip("sklearn")
    from fastsm.sklearn import MLPClassifier

    classes = np.array(values, np.uint64 if 2**63 in values else None)
    if classes.dtype.kind == "f":
        with pytest.raises(ValueError, match="Unknown label type: continuous"):
            MLPClassifier().fit(np.eye(3), classes)
        return
    x = np.repeat(np.eye(3), 20, axis=0)
    model = MLPClassifier((8,), learning_rate_init=0.05, max_iter=60, random_state=0, n_iter_no_change=200)
    with warnings.catch_warnings(action="ignore"):
        model.fit(x, np.repeat(classes, 20))
    assert set(model.classes_.tolist()) == set(classes.tolist())
    np.testing.assert_array_equal(model.predict(np.eye(3)), classes)


@pytest.mark.parametrize("dtype", ["<u8", ">u8"])
@pytest.mark.parametrize("value", [2**63, 2**64 - 1, 2**64 - 100])
def test_labels_that_would_wrap(dtype, value):
    """Labels beyond int64 are refused in either byte order, also if they would wrap to `ignore_index`."""
    y = np.array([0, value], dtype)
    for ask in (
        lambda: fastsm.cross_entropy(np.zeros((2, CLASSES)), y, ignore_index=value - 2**64),
        lambda: nn.NLLLoss(ignore_index=value - 2**64)(np.zeros((2, CLASSES)), y),
        lambda: fastsm.fit(nn.MLP([3, CLASSES]), np.ones((2, 3)), y, loss=nn.CrossEntropyLoss(), epochs=1),
    ):
        with pytest.raises(ValueError, match=str(value)):
            ask()
