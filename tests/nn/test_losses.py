"""Losses against their formulas, written out for each row in extended precision, and finite differences."""

import copy
import itertools
import json
import pickle

import numpy as np
import pytest

import fastsm
from fastsm import nn, reference
from fastsm.testing import check_grads

WIDE = np.longdouble
N, C = 7, 5


def one_hot(labels, classes):
    """Return one-hot rows for labels; the row of label -1 is all 0."""
    return (np.asarray(labels)[:, None] == np.arange(classes)).astype(WIDE)


def log(x):
    """Return the logarithm, with 0 for 0, where its factor is 0."""
    return np.log(np.where(x > 0, x, 1))


# Each returns the values of the rows for probabilities p and targets t, in extended precision.
FORMULAS = {
    "cross-entropy": lambda p, t: -np.sum(t * log(p), axis=1),
    "focal": lambda p, t, gamma=2.0: -np.sum(t * (1 - p) ** gamma * log(p), axis=1),
    "brier": lambda p, t: np.sum((p - t) ** 2, axis=1),
    "kl": lambda p, t: np.sum(t * (log(t) - log(p)), axis=1),
    "mse": lambda a, t: np.mean((a - t) ** 2, axis=1),
    "mae": lambda a, t: np.mean(np.abs(a - t), axis=1),
}


@pytest.fixture
def data():
    """Return logits, labels, probabilities as targets, sample weights and class weights."""
    rng = np.random.default_rng(0)
    soft = reference.softmax(rng.standard_normal((N, C)))
    return (
        2 * rng.standard_normal((N, C)),
        rng.integers(0, C, N),
        soft,
        rng.random(N) + 0.1,
        rng.random(C) + 0.1,
    )


def on_domain(logits, on):
    """Return the outputs of a model on this domain."""
    if on == "probs":
        return reference.softmax(logits)
    return reference.log_softmax(logits) if on == "log_probs" else logits


def mean(values, weight, divisor=None):
    """Return the weighted mean with an optional divisor."""
    return float(np.sum(values * weight) / np.sum(weight if divisor is None else divisor))


# ---- losses on classes, over the product of their options ----

CLASS_LOSSES = {
    "cross-entropy": (nn.CrossEntropyLoss, ["logits", "probs"], {"label_smoothing": [0.0, 0.1]}),
    "nll": (nn.NLLLoss, [None], {}),
    "focal": (nn.FocalLoss, ["logits", "probs"], {"gamma": [0.0, 0.5, 2.0]}),
}


def class_cases():
    """Yield each class loss with each combination of options."""
    for name, (kind, domains, options) in CLASS_LOSSES.items():
        for on, *values in itertools.product(domains, *options.values()):
            own = dict(zip(options, values, strict=True)) | ({} if on is None else {"on": on})
            for targets, weighted, rows_weighted in itertools.product(
                ["labels", "ignored", "soft"], [False, True], [False, True]
            ):
                yield pytest.param(name, kind, own, targets, weighted, rows_weighted)


@pytest.mark.parametrize(
    ("name", "kind", "own", "kind_of_targets", "weighted", "rows_weighted"), list(class_cases())
)
def test_class_losses(data, name, kind, own, kind_of_targets, weighted, rows_weighted):
    logits, labels, soft, by_row, by_class = data
    ignore = {}
    if kind_of_targets == "ignored":
        labels = labels.copy()
        labels[[1, 4]] = -1
        ignore = {"ignore_index": -1}
    loss = kind(**own, **ignore, class_weight=by_class if weighted else None)
    outputs = on_domain(logits, loss.on)
    targets = soft if kind_of_targets == "soft" else labels
    sample_weight = by_row if rows_weighted else None

    y = soft.astype(WIDE) if kind_of_targets == "soft" else one_hot(labels, C)
    smoothing = own.get("label_smoothing", 0.0)
    factor = by_class if weighted else np.ones(C)
    t = factor * ((1 - smoothing) * y + smoothing / WIDE(C))
    row = np.where(np.any(y > 0, axis=1), by_row if rows_weighted else 1.0, 0.0)
    divisor = row if kind_of_targets == "soft" else row * factor[labels]
    p = reference.softmax(logits.astype(WIDE))
    formula = FORMULAS["focal" if name == "focal" else "cross-entropy"]
    values = formula(p, t, *([own["gamma"]] if name == "focal" else []))
    expected = mean(values, row, divisor)

    assert loss(outputs, targets, sample_weight=sample_weight) == pytest.approx(expected, rel=1e-13)
    value, grad = loss.value_and_grad(outputs, targets, sample_weight=sample_weight)
    assert value == pytest.approx(expected, rel=1e-13)
    assert grad.shape == outputs.shape
    assert loss.total_weight(targets, sample_weight) == pytest.approx(float(np.sum(divisor)), rel=1e-13)
    check_grads(loss, outputs, targets, sample_weight=sample_weight, mode="full")


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("mse", nn.MSELoss()),
        ("mae", nn.MAELoss()),
        ("brier", nn.BrierLoss()),
        ("kl", nn.KLDivLoss()),
        ("kl", nn.KLDivLoss(on="probs")),
    ],
)
def test_losses_on_numbers(data, name, loss, sampled):
    logits, labels, soft, by_row, _ = data
    soft[0] = [0, 1, 0, 0, 0]  # 0 log 0 is 0
    outputs = on_domain(logits, loss.on)
    weight = by_row if sampled else np.ones(N)
    p = (outputs if loss.on in ("output", "probs") else reference.softmax(logits.astype(WIDE))).astype(WIDE)
    expected = mean(FORMULAS[name](p, soft), weight)
    given = by_row if sampled else None
    assert loss(outputs, soft, sample_weight=given) == pytest.approx(expected, rel=1e-13)
    assert loss.value_and_grad(outputs, soft, sample_weight=given)[0] == pytest.approx(expected, rel=1e-13)
    assert loss.total_weight(soft, given) == pytest.approx(weight.sum())
    check_grads(loss, outputs, soft, sample_weight=given, mode="full")
    if name == "brier":
        expected = mean(FORMULAS[name](p, one_hot(labels, C)), weight)
        assert loss(outputs, labels, sample_weight=given) == pytest.approx(expected, rel=1e-13)
        check_grads(loss, outputs, labels, sample_weight=given, mode="full")


def test_focal_loss_with_gamma_0(data):
    logits, labels, soft, by_row, by_class = data
    for targets in (labels, soft):
        focal = nn.FocalLoss(0.0, class_weight=by_class).value_and_grad(logits, targets, sample_weight=by_row)
        plain = nn.CrossEntropyLoss(class_weight=by_class)
        expected = plain.value_and_grad(logits, targets, sample_weight=by_row)
        assert focal[0] == pytest.approx(expected[0], rel=1e-13)
        np.testing.assert_allclose(focal[1], expected[1], rtol=0, atol=1e-15)


def test_temperature_in_gradient(data):
    logits, labels, *_ = data
    value, grad = nn.CrossEntropyLoss(temperature=2.0).value_and_grad(logits, labels)
    p = reference.softmax(logits / 2)
    assert value == pytest.approx(np.mean(FORMULAS["cross-entropy"](p, one_hot(labels, C))))
    np.testing.assert_allclose(grad, (p - one_hot(labels, C)) / 2 / N, atol=1e-15)


# ---- binary cross-entropy ----


@pytest.mark.parametrize("on", ["logits", "probs"])
@pytest.mark.parametrize("pos_weight", [None, 2.0, np.array([1, 2, 0.5, 0, 3])])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy(data, on, pos_weight, smoothing):
    logits, _, soft, by_row, _ = data
    p = 1 / (1 + np.exp(-logits.astype(WIDE)))
    y = (1 - smoothing) * soft.astype(WIDE) + WIDE(smoothing) / 2
    w = 1.0 if pos_weight is None else pos_weight
    rows = -np.mean(w * y * np.log(p) + (1 - y) * np.log(1 - p), axis=1)
    loss = nn.BCELoss(on=on, pos_weight=pos_weight, label_smoothing=smoothing)
    outputs = logits if on == "logits" else p.astype(float)
    value, _ = loss.value_and_grad(outputs, soft, sample_weight=by_row)
    assert value == pytest.approx(mean(rows, by_row), rel=1e-13)
    assert loss(outputs, soft, sample_weight=by_row) == value
    check_grads(loss, outputs, soft, sample_weight=by_row, mode="full")


@pytest.mark.parametrize("on", ["logits", "probs"])
def test_binary_labels(on):
    """One output takes labels of shape (N,); several take integers or bools in their shape."""
    outputs = np.array([[0.2], [0.7], [0.4]])
    expected = nn.BCELoss(on=on).value_and_grad(outputs, [[1.0], [0.0], [1.0]])
    for y in (np.array([1, 0, 1]), np.array([True, False, True]), np.array([[1], [0], [1]])):
        value, grad = nn.BCELoss(on=on).value_and_grad(outputs, y)
        assert value == expected[0]
        np.testing.assert_array_equal(grad, expected[1])
        assert nn.BCELoss(on=on).total_weight(y) == 3


def test_binary_probabilities_0_and_1():
    """Sure and right costs nothing; sure and wrong is infinite, not clipped."""
    p, y = np.array([[0.0, 1.0]], np.float32), np.array([[0, 1]])
    value, grad = nn.BCELoss(on="probs").value_and_grad(p, y)
    assert value == 0
    np.testing.assert_array_equal(grad, [[0.5, -0.5]])
    value, grad = nn.BCELoss(on="probs").value_and_grad(p, 1 - y)
    assert value == np.inf
    np.testing.assert_array_equal(grad, [[-np.inf, np.inf]])


# ---- all losses ----


def test_pickled_losses():
    """Losses in modules are pickled by name, as joblib needs."""
    assert pickle.loads(pickle.dumps(half_square)) is half_square
    assert copy.deepcopy(half_square) is half_square
    local = nn.loss(len, on="output")
    assert copy.deepcopy(local) is not local


@nn.loss(on="output")
def half_square(a, y):
    """Return half the squared error and its gradient: a user loss."""
    return 0.5 * np.sum((a - y) ** 2, axis=1), a - y


ALL = [
    nn.CrossEntropyLoss(),
    nn.CrossEntropyLoss(on="probs"),
    nn.NLLLoss(),
    nn.MSELoss(),
    nn.MAELoss(),
    nn.BrierLoss(),
    nn.KLDivLoss(),
    nn.KLDivLoss(on="probs"),
    nn.FocalLoss(),
    nn.FocalLoss(on="probs"),
    nn.BCELoss(pos_weight=2.0),
    nn.BCELoss(on="probs", pos_weight=[1, 2, 3, 4, 0.5], label_smoothing=0.1),
    half_square,
]


@pytest.mark.parametrize("loss", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_out_and_inputs(data, loss, dtype):
    """The gradient has the dtype of the outputs, may be written in place, and nothing else is written."""
    logits, _, soft, by_row, _ = data
    outputs = on_domain(logits, loss.on).astype(dtype)
    arguments = [outputs.copy(), soft.copy(), by_row.copy()]
    for array in arguments:
        array.flags.writeable = False
    value, grad = loss.value_and_grad(arguments[0], arguments[1], sample_weight=arguments[2])
    assert type(value) is float
    assert grad.dtype == dtype
    out = np.full_like(outputs, 7)
    assert loss.value_and_grad(outputs, soft, sample_weight=by_row, out=out)[1] is out
    np.testing.assert_array_equal(out, grad)
    strided = np.zeros((N, 2 * C), dtype)[:, ::2]
    loss.value_and_grad(outputs, soft, sample_weight=by_row, out=strided)
    np.testing.assert_array_equal(strided, grad)
    again, same = loss.value_and_grad(outputs, soft, sample_weight=by_row, out=outputs)
    assert same is outputs
    assert again == value
    np.testing.assert_array_equal(outputs, grad)
    assert loss(arguments[0], soft, sample_weight=by_row) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_nothing_to_average(data, loss):
    logits, _, soft, *_ = data
    outputs = on_domain(logits, loss.on)
    nothing = np.zeros(N)
    assert loss(outputs, soft, sample_weight=nothing) == 0
    value, grad = loss.value_and_grad(outputs, soft, sample_weight=nothing)
    assert value == 0
    assert not grad.any()
    value, grad = loss.value_and_grad(outputs[:0], soft[:0])
    assert value == 0
    assert grad.shape == (0, C)
    assert loss(outputs[:0], soft[:0]) == 0
    assert loss.total_weight(soft[:0]) == 0


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss, nn.FocalLoss])
def test_everything_ignored(data, kind):
    logits, *_ = data
    loss = kind(ignore_index=-1)
    targets = np.full(N, -1)
    assert loss(logits, targets) == 0
    value, grad = loss.value_and_grad(logits, targets)
    assert value == 0
    assert not grad.any()
    assert loss.total_weight(targets) == 0


def test_ignored_rows_with_special_values(data):
    logits, labels, *_ = data
    p = reference.softmax(logits)
    p[2] = np.nan
    labels[2] = 9
    loss = nn.FocalLoss(on="probs", ignore_index=9)
    value, grad = loss.value_and_grad(p, labels)
    kept = np.arange(N) != 2
    assert value == pytest.approx(loss(p[kept], labels[kept]))
    assert not grad[2].any()


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_mean_over_batches(data, loss):
    """Sums of value times total weight over uneven batches give the mean of the whole; gradients likewise."""
    logits, _, soft, by_row, _ = data
    outputs = on_domain(logits, loss.on)
    value, grad = loss.value_and_grad(outputs, soft, sample_weight=by_row)
    total = loss.total_weight(soft, by_row)
    values, grads = 0.0, []
    for rows in (slice(0, 4), slice(4, 6), slice(6, 7)):
        part = loss.total_weight(soft[rows], by_row[rows])
        one, gradient = loss.value_and_grad(outputs[rows], soft[rows], sample_weight=by_row[rows])
        values += one * part / total
        grads.append(gradient * part / total)
    assert values == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(np.concatenate(grads), grad, rtol=1e-12)


@pytest.mark.parametrize("loss", ALL[:-1], ids=repr)
def test_loss_from_config(loss):
    config = json.loads(json.dumps(loss.config()))
    again = type(loss)(**config)
    assert again.config() == config
    assert again.on == loss.on
    assert repr(again) == repr(loss)


def test_options_in_config():
    loss = nn.FocalLoss(1.0, class_weight=[1, 2], ignore_index=-1)
    assert repr(loss) == "FocalLoss(gamma=1.0, class_weight=[1.0, 2.0], ignore_index=-1)"
    assert nn.FocalLoss(**loss.config()).config() == loss.config()


# ---- extreme values ----


def test_gradient_of_probability_0():
    """Probabilities are not clipped: the gradient would be 0 where the model is most wrong."""
    p = np.array([[1, 0, 0]], np.float32)
    for loss in (nn.CrossEntropyLoss(on="probs"), nn.FocalLoss(on="probs"), nn.FocalLoss(0.0, on="probs")):
        value, grad = loss.value_and_grad(p, [1])
        assert value == np.inf
        np.testing.assert_array_equal(grad, [[0, -np.inf, 0]])
        value, grad = loss.value_and_grad(p, [0])
        assert value == 0
        assert np.isfinite(grad).all()
    value, grad = nn.KLDivLoss(on="probs").value_and_grad(p, np.array([[1.0, 0, 0]]))
    assert value == 0
    np.testing.assert_array_equal(grad, [[-1, 0, 0]])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_of_extreme_logits(gamma):
    z = np.array([[120, 0, 0]], np.float32)
    value, grad = nn.FocalLoss(gamma).value_and_grad(z, [1])
    assert value == 120
    np.testing.assert_array_equal(grad, [[1, -1, 0]])
    value, grad = nn.FocalLoss(gamma).value_and_grad(z, [0])
    assert 0 <= value < 1e-6
    assert np.abs(grad).max() < 1e-6
    value, grad = nn.FocalLoss(gamma).value_and_grad(np.array([[0, -np.inf]]), [0])
    assert value == 0
    assert not grad.any()


def test_weight_0_times_infinity():
    p = np.array([[1.0, 0.0], [0.5, 0.5]])
    loss = nn.CrossEntropyLoss(on="probs")
    value, grad = loss.value_and_grad(p, [1, 1], sample_weight=[0, 2])
    assert value == pytest.approx(np.log(2))
    np.testing.assert_array_equal(grad, [[0, 0], [0, -2]])


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_nan_is_not_hidden(data, loss):
    logits, _, soft, *_ = data
    outputs = on_domain(logits, loss.on)
    outputs[3, 2] = np.nan
    value, grad = loss.value_and_grad(outputs, soft)
    assert np.isnan(value)
    assert np.isnan(grad[3]).any() or loss.on == "log_probs"  # whose gradient does not depend on the outputs
    assert np.isfinite(np.delete(grad, 3, axis=0)).all()


def test_accuracy_over_many_rows():
    a = np.full((200_000, 1), 0.1, np.float32)
    expected = float(np.float32(0.1)) ** 2
    assert nn.MSELoss()(a, np.zeros_like(a)) == pytest.approx(expected, rel=1e-7)


# ---- user losses ----


def test_user_loss(data):
    logits, _, soft, by_row, _ = data

    @nn.loss(on="probs")
    def quadratic(p, y):
        """Sum of squares."""
        return ((p - y) ** 2).sum(axis=1), 2 * (p - y)

    p = reference.softmax(logits)
    result = quadratic.value_and_grad(p, soft, sample_weight=by_row)
    expected = nn.BrierLoss().value_and_grad(p, soft, sample_weight=by_row)
    assert result[0] == pytest.approx(expected[0], rel=1e-14)
    np.testing.assert_allclose(result[1], expected[1], rtol=1e-14)
    assert quadratic.on == "probs"
    assert quadratic.__name__ == "quadratic"
    assert quadratic.__doc__ == "Sum of squares."
    assert repr(quadratic) == "<loss quadratic on probs>"
    assert nn.loss(quadratic.__wrapped__, on="output").on == "output"
    assert quadratic.total_weight(soft, by_row) == pytest.approx(by_row.sum())


def test_user_loss_with_labels(data):
    logits, labels, *_ = data

    @nn.loss(on="log_probs")
    def nll(log_p, y):
        grad = np.zeros_like(log_p)
        grad[np.arange(len(y)), y] = -1
        return -log_p[np.arange(len(y)), y], grad

    log_p = reference.log_softmax(logits)
    assert nll(log_p, labels) == pytest.approx(nn.NLLLoss()(log_p, labels))
    np.testing.assert_array_equal(
        nll.value_and_grad(log_p, labels)[1], nn.NLLLoss().value_and_grad(log_p, labels)[1]
    )


def write_to_outputs(p, y):
    p[...] = 0
    return p[:, 0], p


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (
            lambda p, y: ((p - y) ** 2).sum(),
            TypeError,
            "must return the values of the rows and their gradients",
        ),
        (lambda p, y: (p[:, 0], p, p), TypeError, "got 3 values"),
        (lambda p, y: (p.mean(), p), ValueError, "the value of each row, not their mean"),
        (lambda p, y: (p[:, 0], p[:, :2]), ValueError, r"gradients of shape \(7, 5\), got \(7, 2\)"),
        (lambda p, y: (p[:, 0], p.astype(complex)), TypeError, "complex128"),
        (write_to_outputs, ValueError, "read-only"),
    ],
)
def test_wrong_results_of_user_loss(data, function, error, message):
    p = reference.softmax(data[0])
    with pytest.raises(error, match=message):
        nn.loss(on="probs")(function).value_and_grad(p, data[2])


# ---- errors ----


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.CrossEntropyLoss(on="prob"), ValueError, "`on` must be one of logits, probs, got 'prob'"),
        (lambda: nn.CrossEntropyLoss(on=1), TypeError, "`on` must be"),
        (
            lambda: nn.CrossEntropyLoss(on="probs", temperature=2.0),
            ValueError,
            r"nn.Softmax\(temperature=2.0\)",
        ),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2), ValueError, "from 0 to 1"),
        (lambda: nn.CrossEntropyLoss(class_weight=[[1.0]]), ValueError, r"shape \(C,\), got \(1, 1\)"),
        (lambda: nn.NLLLoss(ignore_index=1.5), TypeError, "`ignore_index` must be an integer"),
        (lambda: nn.FocalLoss(-1), ValueError, "`gamma` must be finite and at least 0"),
        (lambda: nn.FocalLoss("2"), TypeError, "`gamma` must be a number"),
        (lambda: nn.KLDivLoss(on="logits"), ValueError, "`on` must be one of log_probs, probs"),
        (lambda: nn.loss(on="prob")(len), ValueError, "`on` must be one of logits"),
        (lambda: nn.loss(3, on="probs"), TypeError, "`function` must be callable"),
    ],
)
def test_bad_options(call, error, message):
    with pytest.raises(error, match=message):
        call()


OUTPUTS = np.full((3, 2), 0.5)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "options", "error", "message"),
    [
        (
            nn.MSELoss(),
            OUTPUTS,
            [0, 1, 1],
            {},
            ValueError,
            r"must have shape \(3, 2\), got \(3,\): give np.eye\(2\)",
        ),
        (nn.MSELoss(), OUTPUTS[:, :1], [0, 1, 1], {}, ValueError, r"targets\[:, None\]"),
        (
            nn.MSELoss(),
            OUTPUTS[0],
            OUTPUTS[0],
            {},
            ValueError,
            r"`outputs` must have shape \(N, C\), got \(2,\)",
        ),
        (nn.MSELoss(), OUTPUTS, OUTPUTS, {"sample_weight": [1, 2]}, ValueError, r"shape \(3,\), got \(2,\)"),
        (nn.MSELoss(), OUTPUTS, OUTPUTS + 1j, {}, TypeError, "complex128"),
        (
            nn.MSELoss(),
            OUTPUTS,
            OUTPUTS,
            {"out": np.zeros((3, 2), "f")},
            TypeError,
            "`out` must have dtype float64",
        ),
        (nn.MSELoss(), OUTPUTS, OUTPUTS, {"out": np.zeros((2, 2))}, ValueError, "`out` must have shape"),
        (nn.NLLLoss(), OUTPUTS, [0, 2, 1], {}, ValueError, r"must lie in \[0, 2\), got 2 at position 1"),
        (nn.NLLLoss(), OUTPUTS, [0, 1], {}, ValueError, r"`targets` must have shape \(3,\), got \(2,\)"),
        (
            nn.NLLLoss(class_weight=[1, 2, 3]),
            OUTPUTS,
            [0, 1, 1],
            {},
            ValueError,
            r"`class_weight` must have shape",
        ),
        (nn.NLLLoss(ignore_index=0), OUTPUTS, OUTPUTS, {}, ValueError, "`ignore_index` must be None"),
        (nn.BrierLoss(), OUTPUTS, [0, -1, 1], {}, ValueError, "got -1 at position 1"),
        (nn.KLDivLoss(), OUTPUTS, [0, 1, 1], {}, TypeError, "floating dtype"),
        (nn.CrossEntropyLoss(), OUTPUTS, [0, 2, 1], {}, ValueError, r"got 2 at position 1"),
        (
            half_square,
            OUTPUTS,
            OUTPUTS[:2],
            {},
            ValueError,
            r"`targets` must have shape \(3,\) or \(3, ...\)",
        ),
    ],
)
def test_bad_arguments(loss, outputs, targets, options, error, message):
    """Arguments are checked before anything is written."""
    outputs = outputs.copy()
    before = outputs.copy()
    with pytest.raises(error, match=message):
        loss.value_and_grad(outputs, targets, **{"out": outputs, **options})
    np.testing.assert_array_equal(outputs, before)
    if "out" not in options:
        with pytest.raises(error, match=message):
            loss(outputs, targets, **options)


def test_out_overlapping_targets():
    targets = OUTPUTS.copy()
    with pytest.raises(ValueError, match="`out` must not overlap `targets`"):
        nn.MSELoss().value_and_grad(OUTPUTS, targets, out=targets)


def test_total_weight_of_wrong_labels():
    with pytest.raises(ValueError, match="got 2 at position 1"):
        nn.CrossEntropyLoss(class_weight=[1, 2]).total_weight([0, 2])
    with pytest.raises(ValueError, match="one entry for each row"):
        nn.MSELoss().total_weight(1.0)


def test_unsigned_labels(data):
    logits, labels, *_ = data
    loss = nn.NLLLoss(class_weight=np.arange(1.0, C + 1), ignore_index=2)
    log_p = reference.log_softmax(logits)
    expected = loss.value_and_grad(log_p, labels)
    for dtype in (np.uint8, np.int32, np.uint64):
        result = loss.value_and_grad(log_p, labels.astype(dtype))
        assert result[0] == expected[0]
        np.testing.assert_array_equal(result[1], expected[1])
        assert loss.total_weight(labels.astype(dtype)) == loss.total_weight(labels)


# ---- PyTorch ----


@pytest.mark.parametrize("weighted", [False, True])
def test_against_pytorch(data, weighted):
    torch = pytest.importorskip("torch")
    from torch.nn import functional as F

    logits, labels, soft, _, by_class = data
    by_class = by_class if weighted else None
    weight = None if by_class is None else torch.tensor(by_class)
    y, t = torch.tensor(labels), torch.tensor(soft)
    cases = [
        (nn.CrossEntropyLoss(class_weight=by_class, label_smoothing=0.1), logits, labels,
         lambda z: F.cross_entropy(z, y, weight, label_smoothing=0.1)),
        (nn.CrossEntropyLoss(class_weight=by_class, ignore_index=1), logits, labels,
         lambda z: F.cross_entropy(z, y, weight, ignore_index=1)),
        (nn.CrossEntropyLoss(class_weight=by_class, label_smoothing=0.1), logits, soft,
         lambda z: F.cross_entropy(z, t, weight, label_smoothing=0.1)),
        (nn.NLLLoss(class_weight=by_class, ignore_index=1), reference.log_softmax(logits), labels,
         lambda z: F.nll_loss(z, y, weight, ignore_index=1)),
        (nn.MSELoss(), logits, soft, lambda z: F.mse_loss(z, t)),
        (nn.MAELoss(), logits, soft, lambda z: F.l1_loss(z, t)),
        (nn.KLDivLoss(), reference.log_softmax(logits), soft,
         lambda z: F.kl_div(z, t, reduction="batchmean")),
    ]  # fmt: skip
    for loss, outputs, targets, theirs in cases:
        z = torch.tensor(outputs, requires_grad=True)
        expected = theirs(z)
        expected.backward()
        value, grad = loss.value_and_grad(outputs, targets)
        assert value == pytest.approx(expected.item(), rel=1e-12), loss
        np.testing.assert_allclose(grad, z.grad.numpy(), rtol=1e-10, atol=1e-15)


def test_cross_entropy_against_function(data):
    """On logits the loss equals `fastsm.cross_entropy_with_grad`, for any shape."""
    z = np.random.default_rng(1).standard_normal((2, 3, C)).astype(np.float32)
    labels = np.zeros((2, 3), int)
    value, grad = nn.CrossEntropyLoss().value_and_grad(z, labels)
    expected = fastsm.cross_entropy_with_grad(z, labels)
    assert value == expected[0]
    np.testing.assert_array_equal(grad, expected[1])
    assert nn.CrossEntropyLoss().total_weight(labels) == 6
    assert nn.CrossEntropyLoss().total_weight(z) == 6
