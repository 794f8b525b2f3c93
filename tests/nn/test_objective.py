"""Models with losses: which pairs fit, and gradients of each route."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

from fastsm import nn, reference
from fastsm.nn._objective import check_domains
from fastsm.testing import check_grads


@nn.loss(on="probs")
def hellinger(p, y):
    """Squared Hellinger distance."""
    return 1 - np.sqrt(p * y).sum(axis=1), -0.5 * np.sqrt(y / p)


@nn.loss(on="output")
def quartic(a, y):
    """Fourth power of the error."""
    return np.sum((a - y) ** 4, axis=1), 4 * (a - y) ** 3


SOFTMAX = [
    nn.CrossEntropyLoss(on="probs"),
    nn.CrossEntropyLoss(on="probs", class_weight=[1, 2, 0.5], label_smoothing=0.1),
    nn.FocalLoss(on="probs"),
    nn.FocalLoss(0.5, on="probs", class_weight=[1, 2, 0.5]),
    nn.KLDivLoss(on="probs"),
    nn.BrierLoss(),
    nn.MSELoss(),
    nn.MAELoss(),
    hellinger,
    quartic,
]


def batch():
    """Return inputs, labels, probabilities and sample weights."""
    rng = np.random.default_rng(3)
    soft = reference.softmax(rng.standard_normal((6, 3)))
    return rng.standard_normal((6, 4)), rng.integers(0, 3, 6), soft, rng.random(6)


def network(*head, dtype="float64"):
    """Return a small network with this head."""
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), *head, dtype=dtype, rng=0)


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("loss", SOFTMAX, ids=repr)
def test_softmax_with_any_loss(loss, temperature, sampled):
    x, _, soft, weight = batch()
    model = network(nn.Softmax(temperature))
    check_grads(model, x, soft, loss=loss, sample_weight=weight if sampled else None, mode="full")
    value = nn.value_and_grad(model, loss, x, soft, sample_weight=weight)
    assert value == pytest.approx(loss(model(x), soft, sample_weight=weight), rel=1e-12)


@pytest.mark.parametrize(
    ("head", "loss"),
    [
        ([], nn.CrossEntropyLoss(temperature=2.0)),
        ([], nn.FocalLoss()),
        ([], nn.MSELoss()),
        ([nn.ReLU], nn.MSELoss()),
        ([nn.LogSoftmax], nn.NLLLoss()),
        ([nn.LogSoftmax], nn.KLDivLoss()),
        ([nn.LogSoftmax], quartic),
        ([nn.Sigmoid], nn.MSELoss()),
        ([nn.Sigmoid], nn.BrierLoss()),
        ([nn.Sigmoid], hellinger),
        ([nn.Sigmoid], nn.BCELoss(on="probs", pos_weight=[1, 2, 3], label_smoothing=0.1)),
        ([], nn.BCELoss(pos_weight=2.0)),
    ],
)
def test_other_heads(head, loss):
    x, _, soft, weight = batch()
    model = network(*[kind() for kind in head])
    check_grads(model, x, soft, loss=loss, sample_weight=weight, mode="full")


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(on="probs"),
        nn.FocalLoss(on="probs"),
        nn.FocalLoss(0.0, on="probs"),
        nn.KLDivLoss(on="probs"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("alone", [False, True])
def test_softmax_head_at_probability_0(loss, alone):
    """z = [120, 0, 0] in float32: -y / p is infinite there, and clipping p would make the gradient 0."""
    z = np.array([[120, 0, 0]], np.float32)
    target = np.array([[0.0, 1.0, 0.0]], np.float32)
    linear = nn.Linear(3, 3, bias=False)
    model = nn.Sequential(nn.Softmax()) if alone else nn.Sequential(linear, nn.Softmax())
    if not alone:
        linear.params["weight"][...] = np.eye(3)
    value, dz = nn.value_and_grad(model, loss, z, target, input_grad=True)
    assert value == 120
    np.testing.assert_array_equal(dz, [[1, -1, 0]])
    if not alone:
        np.testing.assert_array_equal(linear.grads["weight"], np.outer(z, [1, -1, 0]))
    if not isinstance(loss, nn.KLDivLoss):
        assert nn.value_and_grad(model, loss, z, [1]) == 120


@pytest.mark.parametrize("alone", [False, True])
def test_sigmoid_head_is_fused(alone):
    """z = 120 is sure in float32: -1 / (1 - p) is infinite there."""
    z, y = np.array([[120, -60, 0]], np.float32), np.array([[0, 0, 1]])
    linear = nn.Linear(3, 3, bias=False)
    model = nn.Sequential(nn.Sigmoid()) if alone else nn.Sequential(linear, nn.Sigmoid())
    if not alone:
        linear.params["weight"][...] = np.eye(3)
    value, dz = nn.value_and_grad(model, nn.BCELoss(on="probs"), z, y, input_grad=True)
    assert value == pytest.approx((120 + np.log(2)) / 3)
    np.testing.assert_allclose(dz, [[1 / 3, np.exp(-60) / 3, -1 / 6]], rtol=1e-6)


def test_temperature_of_the_head():
    x, labels, *_ = batch()
    loss = nn.CrossEntropyLoss(on="probs")
    model = network(nn.Softmax(2.0))
    logits = network()
    logits.params[...] = model.params
    value = nn.value_and_grad(model, loss, x, labels)
    assert value == pytest.approx(nn.value_and_grad(logits, nn.CrossEntropyLoss(temperature=2.0), x, labels))
    np.testing.assert_array_equal(model.grads, logits.grads)


def test_overwritten_gradients():
    x, labels, *_ = batch()
    model = network()
    loss = nn.CrossEntropyLoss()
    value = nn.value_and_grad(model, loss, x, labels)
    assert type(value) is float
    first = model.grads.copy()
    again, dx = nn.value_and_grad(model, loss, x, labels, input_grad=True)
    assert again == value
    assert dx.shape == x.shape
    np.testing.assert_array_equal(model.grads, first)


def test_micro_batches():
    """Weighting by total weight, uneven batches and ignored labels do not bias the gradients."""
    x, labels, _, weight = batch()
    labels[2] = -1
    model = network(nn.Softmax())
    loss = nn.CrossEntropyLoss(on="probs", class_weight=[1, 2, 3], ignore_index=-1)
    nn.value_and_grad(model, loss, x, labels, sample_weight=weight)
    whole, total = model.grads.copy(), loss.total_weight(labels, weight)
    parts = np.zeros_like(whole)
    for rows in (slice(0, 4), slice(4, 6)):
        nn.value_and_grad(model, loss, x[rows], labels[rows], sample_weight=weight[rows])
        parts += model.grads * loss.total_weight(labels[rows], weight[rows]) / total
    np.testing.assert_allclose(parts, whole, rtol=1e-12, atol=1e-16)


def test_memory_of_a_steady_step():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Softmax(), rng=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((512, 64)).astype(np.float32)
    labels = rng.integers(0, 64, 512)
    loss = nn.CrossEntropyLoss(on="probs")
    for _ in range(2):
        nn.value_and_grad(model, loss, x, labels)
    tracemalloc.start()
    nn.value_and_grad(model, loss, x, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes / 4


def test_models_are_freed():
    model = network()
    nn.value_and_grad(model, nn.CrossEntropyLoss(), batch()[0], batch()[1])
    watched = weakref.ref(model)
    del model
    gc.collect()
    assert watched() is None


# ---- domains ----


class Scale:
    """A user layer without `emits`."""

    def forward(self, x):
        """Return twice the input."""
        return 2 * x

    def backward(self, dy):
        """Return the gradient."""
        return 2 * dy


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(on="probs"), nn.NLLLoss(), nn.CrossEntropyLoss(), nn.MSELoss()]
)
def test_head_of_unknown_domain(loss):
    check_domains(network(Scale()), loss)


TWICE = "softmax would be applied twice"


@pytest.mark.parametrize(
    ("head", "loss", "message"),
    [
        (
            nn.Softmax,
            nn.CrossEntropyLoss(),
            rf'{TWICE}; drop nn.Softmax\(\) .* or take the loss with on="probs"',
        ),
        (nn.Softmax, nn.FocalLoss(), TWICE),
        (nn.LogSoftmax, nn.CrossEntropyLoss(), rf"{TWICE}; drop nn.LogSoftmax\(\) .* nn.NLLLoss\(\)"),
        (nn.Sigmoid, nn.CrossEntropyLoss(), r"drop nn.Sigmoid\(\)"),
        (nn.Softmax, nn.NLLLoss(), r"must end in nn.LogSoftmax\(\) .* got NLLLoss after nn.Softmax"),
        (None, nn.NLLLoss(), r"must end in nn.LogSoftmax\(\)"),
        (None, nn.KLDivLoss(), r"must end in nn.LogSoftmax\(\)"),
        (None, nn.CrossEntropyLoss(on="probs"), r"must end in nn.Softmax\(\) .* after nn.Linear"),
        (None, nn.BrierLoss(), r"must end in nn.Softmax\(\)"),
        (None, hellinger, r"must end in nn.Softmax\(\)"),
        (nn.LogSoftmax, hellinger, r"must end in nn.Softmax\(\)"),
        (nn.ReLU, nn.FocalLoss(on="probs"), r"must end in nn.Softmax\(\)"),
        (nn.Sigmoid, nn.CrossEntropyLoss(on="probs"), "probabilities do not sum to 1"),
        (nn.Sigmoid, nn.FocalLoss(on="probs"), "probabilities do not sum to 1"),
        (nn.Sigmoid, nn.KLDivLoss(on="probs"), "probabilities do not sum to 1"),
        (
            nn.Sigmoid,
            nn.BCELoss(),
            r"sigmoid would be applied twice; drop nn.Sigmoid\(\) .* take the loss with",
        ),
        (nn.Softmax, nn.BCELoss(), r"the loss applies sigmoid itself; drop nn.Softmax\(\)"),
        (nn.Softmax, nn.BCELoss(on="probs"), r"must end in nn.Sigmoid\(\) .* outputs are not independent"),
        (None, nn.BCELoss(on="probs"), r"must end in nn.Sigmoid\(\) .* got BCELoss after nn.Linear"),
    ],
)
def test_mismatched_head_and_loss(head, loss, message):
    model = network(*([] if head is None else [head()]))
    x, labels, *_ = batch()
    before = model.grads.copy()
    with pytest.raises(ValueError, match=message):
        nn.value_and_grad(model, loss, x, labels)
    np.testing.assert_array_equal(model.grads, before)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nn.CrossEntropyLoss, r"got the class CrossEntropyLoss: write CrossEntropyLoss\(\)"),
        (lambda p, y: 0.0, r"got function: make a loss of it with @nn.loss"),
        ("mse", "got str"),
    ],
)
def test_wrong_losses(loss, message):
    with pytest.raises(TypeError, match=message):
        nn.value_and_grad(network(), loss, *batch()[:2])


def test_float32_against_float64():
    x, _, soft, weight = batch()
    for loss in SOFTMAX:
        model = network(nn.Softmax(), dtype="float32")
        wide = model.astype("float64")
        value = nn.value_and_grad(model, loss, x, soft, sample_weight=weight)
        assert model.grads.dtype == np.float32
        assert value == pytest.approx(nn.value_and_grad(wide, loss, x, soft, sample_weight=weight), rel=1e-5)
        np.testing.assert_allclose(
            model.grads, wide.grads, rtol=0, atol=2e-6 * max(1, np.abs(wide.grads).max())
        )
