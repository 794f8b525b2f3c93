"""Single layers: against plain NumPy, against finite differences, and their use of buffers and state."""

import copy
import importlib
import math
import pickle
import sys

import activations
import numpy as np
import pytest
from checks import assert_same, numeric_gradient
from layouts import lay_out

from fastsm import nn
from fastsm.nn._activations import ACTIVATIONS as BY_NAME

DTYPES = [np.float32, np.float64]


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def normalized(x, epsilon=1e-5):
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + epsilon)


# layer, and its output for a float64 input
ACTIVATIONS = {
    **{name: (make, activations.ACTIVATIONS[name].formula) for name, make in BY_NAME.items()},
    "leaky_relu": (lambda: nn.LeakyReLU(0.1), activations.ACTIVATIONS["leaky_relu"].formula),
    "leaky_relu(2)": (lambda: nn.LeakyReLU(2), lambda x: np.where(x > 0, x, 2 * x)),
}
LAYERS = {
    **ACTIVATIONS,
    "Softmax": (nn.Softmax, softmax),
    "Softmax(0.5)": (lambda: nn.Softmax(temperature=0.5), lambda x: softmax(x / 0.5)),
    "LogSoftmax": (nn.LogSoftmax, lambda x: np.log(softmax(x))),
    "LogSoftmax(2)": (lambda: nn.LogSoftmax(2), lambda x: np.log(softmax(x / 2))),
    "LayerNorm": (lambda: nn.LayerNorm(6), normalized),
    "LayerNorm(epsilon)": (lambda: nn.LayerNorm(6, epsilon=0.5), lambda x: normalized(x, 0.5)),
    "Dropout(0)": (lambda: nn.Dropout(0.0), lambda x: x),
    "Dropout": (lambda: nn.Dropout(0.4, rng=3), lambda x: x),
}
# For tests of all layers.
MAKERS = {
    **{name: make for name, (make, _) in LAYERS.items()},
    "Linear": lambda: nn.Linear(6, 4, rng=1),
    "Linear(bias=False)": lambda: nn.Linear(6, 3, bias=False, rng=1),
}


@pytest.fixture(params=MAKERS)
def layer(request):
    return MAKERS[request.param]()


@pytest.fixture
def layer_kernels(isa, monkeypatch):
    """Run the layers with the kernels of `isa`."""
    kernels = importlib.import_module(f"fastsm._kernels.{isa}.kernels")
    for name in ("_activations", "_dropout", "_layer_norm", "_linear"):
        monkeypatch.setattr(sys.modules[f"fastsm.nn.{name}"], "kernels", kernels)


def data(shape=(5, 6), dtype=np.float64, seed=0):
    """Return numbers away from 0, where rectifiers have no derivative."""
    x = np.random.default_rng(seed).standard_normal(shape)
    return (x + np.copysign(0.1, x)).astype(dtype)


def tolerance(dtype):
    """Return a bound for a few dozen roundings of numbers around 1."""
    return 64 * float(np.finfo(dtype).eps)


# ---- against NumPy and finite differences ----


@pytest.mark.parametrize("shape", [(64, 33), (3, 2, 5), (7,)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(layer_kernels, name, dtype, shape):
    make, expected = ACTIVATIONS[name]
    layer, x, dy = make(), data(shape, dtype), data(shape, dtype, seed=1)
    y = layer.forward(x)
    dx = layer.backward(dy)
    assert y.dtype == dx.dtype == dtype
    wide = x.astype(np.float64)
    np.testing.assert_allclose(y, expected(wide), rtol=tolerance(dtype), atol=tolerance(dtype))
    slope = (expected(wide + 1e-6) - expected(wide - 1e-6)) / 2e-6
    np.testing.assert_allclose(dx, dy * slope, rtol=1e-8 + tolerance(dtype), atol=1e-8 + tolerance(dtype))


@pytest.mark.parametrize("name", LAYERS)
def test_output(name):
    make, expected = LAYERS[name]
    layer, x = make(), data()
    np.testing.assert_allclose(layer.forward(x), expected(x), rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(layer(x), layer.forward(x))


def test_gradients(layer):
    """Gradients of a weighted sum of the outputs, over the input and every parameter."""
    x = data()
    layer.forward(x)
    rng = np.random.default_rng(2)
    for value in layer.params.values() if hasattr(layer, "params") else ():
        value += rng.uniform(0.5, 1.0, value.shape)
    v = rng.standard_normal(layer.forward(x).shape)
    dx = layer.backward(v).copy()

    def value():
        return float(np.sum(v * layer(x)))

    np.testing.assert_allclose(dx, numeric_gradient(value, x), rtol=1e-7, atol=1e-8)
    for name, parameter in getattr(layer, "params", {}).items():
        expected = numeric_gradient(value, parameter)
        np.testing.assert_allclose(layer.grads[name], expected, rtol=1e-7, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear(layer_kernels, dtype, rows):
    layer, x, dy = nn.Linear(20, 9, rng=0), data((rows, 20), dtype), data((rows, 9), dtype, seed=1)
    layer.forward(x)
    layer.params["bias"][...] = np.arange(9)
    weight = layer.params["weight"].astype(np.float64)
    y = layer.forward(x)
    dx = layer.backward(dy)
    bound = rows * tolerance(dtype)  # the length of the longest sums
    np.testing.assert_allclose(y, np.einsum("ri,ij->rj", x, weight) + np.arange(9), rtol=bound, atol=bound)
    np.testing.assert_allclose(dx, np.einsum("rj,ij->ri", dy, weight), rtol=bound, atol=bound)
    expected = np.einsum("ri,rj->ij", x.astype(float), dy)
    np.testing.assert_allclose(layer.grads["weight"], expected, rtol=bound, atol=bound)
    np.testing.assert_allclose(layer.grads["bias"], dy.astype(float).sum(axis=0), rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm(layer_kernels, dtype):
    layer, x, dy = nn.LayerNorm(40), data((30, 40), dtype), data((30, 40), dtype, seed=1)
    layer.forward(x)
    layer.params["gain"][...] = gain = data((40,), dtype, seed=2)
    layer.params["bias"][...] = bias = data((40,), dtype, seed=3)
    x_hat = normalized(x.astype(float))
    bound = 8 * tolerance(dtype)
    np.testing.assert_allclose(layer.forward(x), x_hat * gain + bias, rtol=bound, atol=bound)
    dx = layer.backward(dy)
    np.testing.assert_allclose(layer.grads["gain"], (dy * x_hat).sum(axis=0), rtol=bound, atol=bound)
    np.testing.assert_allclose(layer.grads["bias"], dy.astype(float).sum(axis=0), rtol=bound, atol=bound)
    # The whole Jacobian of a row, from the definition.
    deviation = np.sqrt(x.astype(float).var(axis=1) + 1e-5)
    for r in range(3):
        jacobian = (np.eye(40) - 1 / 40 - np.outer(x_hat[r], x_hat[r]) / 40) / deviation[r] * gain[:, None]
        np.testing.assert_allclose(dx[r], dy[r] @ jacobian, rtol=bound, atol=bound)


@pytest.mark.parametrize("temperature", [1.0, 0.25, 3.0])
@pytest.mark.parametrize("make", [nn.Softmax, nn.LogSoftmax])
def test_softmax_against_jacobian(make, temperature):
    layer, x, dy = make(temperature), data(), data(seed=1)
    layer.forward(x)
    dx = layer.backward(dy)
    p = softmax(x / temperature)
    for r in range(len(x)):
        jacobian = np.diag(p[r]) - np.outer(p[r], p[r])  # [i, j]: output i, input j
        if make is nn.LogSoftmax:
            jacobian /= p[r][:, None]
        np.testing.assert_allclose(dx[r], dy[r] @ jacobian / temperature, rtol=1e-12, atol=1e-13)


def test_softmax_vjp_is_not_elementwise():
    """For dy = 1 the gradient is 0, as probabilities always sum to 1."""
    layer = nn.Softmax()
    layer.forward(data())
    np.testing.assert_allclose(layer.backward(np.ones((5, 6))), 0, atol=1e-16)


def test_layer_norm_of_equal_numbers():
    layer = nn.LayerNorm(6)
    x = np.full((2, 6), 1e4, np.float32)
    np.testing.assert_array_equal(layer.forward(x), 0)
    assert np.isfinite(layer.backward(np.ones((2, 6)))).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_extreme_inputs(name, dtype):
    """Neither pass overflows; NaN stays NaN."""
    make, expected = ACTIVATIONS[name]
    x = np.array([[-1e30, -1e4, -800, 800, 1e4, 1e30]], dtype)
    layer = make()
    with np.errstate(over="ignore"):
        limits = expected(x.astype(float))
    np.testing.assert_allclose(layer.forward(x), limits, rtol=tolerance(dtype), atol=1e-30)
    assert np.isfinite(layer.backward(np.ones_like(x))).all()
    assert np.isnan(layer.forward(np.full((1, 3), np.nan, dtype))).all()


# ---- dropout ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9])
def test_dropout(layer_kernels, probability, dtype):
    layer = nn.Dropout(probability, rng=0)
    x, dy = data((200, 100), dtype), data((200, 100), dtype, seed=1)
    y = layer.forward(x, training=True)
    kept = y != 0
    # 5 standard errors of a share of 20,000
    assert abs(kept.mean() - (1 - probability)) <= 5 * math.sqrt(probability * (1 - probability) / x.size)
    np.testing.assert_allclose(y[kept], x[kept] / (1 - probability), rtol=tolerance(dtype))
    dx = layer.backward(dy)
    np.testing.assert_array_equal(dx != 0, kept)
    np.testing.assert_allclose(dx[kept], dy[kept] / (1 - probability), rtol=tolerance(dtype))


def test_dropout_state():
    layer, x = nn.Dropout(0.5, rng=0), np.ones((20, 30))
    state = layer.state()
    first = layer.forward(x, training=True).copy()
    second = layer.forward(x, training=True).copy()
    assert not np.array_equal(first, second)
    layer.set_state(state)
    np.testing.assert_array_equal(layer.forward(x, training=True), first)
    other = nn.Dropout(0.5)
    other.set_state(layer.state())
    np.testing.assert_array_equal(other.forward(x, training=True), second)
    assert state["count"] == 0
    assert other.state() == {"seed": state["seed"], "count": 1200}


def test_dropout_independent_of_batch():
    x = np.ones((20, 30))
    whole = nn.Dropout(0.5, rng=0).forward(x, training=True)
    layer = nn.Dropout(0.5, rng=0)
    parts = [layer.forward(x[i : i + 5], training=True).copy() for i in range(0, 20, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_dropout_outside_training():
    layer, x = nn.Dropout(0.5, rng=0), np.ones((4, 5))
    layer.forward(x, training=True)
    np.testing.assert_array_equal(layer.forward(x), x)
    np.testing.assert_array_equal(layer.backward(2 * x), 2 * x)


@pytest.mark.parametrize(
    "state",
    [{}, {"seed": 1}, {"seed": 1, "count": -1}, {"seed": 1.0, "count": 0}, {"seed": 2**64, "count": 0}],
)
def test_wrong_dropout_states(state):
    layer = nn.Dropout(0.5, rng=0)
    before = layer.state()
    with pytest.raises(ValueError, match="`state` must have a seed and a count"):
        layer.set_state(state)
    assert layer.state() == before


# ---- buffers, state and configuration ----


def run(layer, x, dy=None):
    """Return copies of the output, of the gradient over the input and of those over the parameters."""
    y = layer.forward(x).copy()
    dx = layer.backward(data(y.shape, seed=9) if dy is None else dy).copy()
    return [y, dx, *(value.copy() for value in getattr(layer, "grads", {}).values())]


def test_inputs_unchanged(layer):
    x = data()
    x.flags.writeable = False
    y = layer.forward(x)
    dy = data(y.shape, seed=1)
    dy.flags.writeable = False
    layer.backward(dy)
    result = layer(x)
    assert not np.shares_memory(result, x)


def test_inference_between_training_passes(layer):
    expected = run(layer, data())
    layer.forward(data())
    inferred = layer(data((9, 6), seed=4))
    assert_same([layer.backward(data(expected[0].shape, seed=9))], expected[1:2])
    assert not np.shares_memory(inferred, layer.forward(data((9, 6), seed=4)))


def test_backward_twice(layer):
    _, *expected = run(layer, data())
    dy = data((5, *layer.forward(data()).shape[1:]), seed=9)
    layer.backward(dy)
    assert_same([layer.backward(dy), *getattr(layer, "grads", {}).values()], expected)


def test_reused_buffers(layer):
    whole = layer.forward(data((8, 6)))
    d_whole = layer.backward(np.ones(whole.shape))
    part = layer.forward(data((3, 6)))
    d_part = layer.backward(np.ones(part.shape))
    assert len(part) == len(d_part) == 3
    for small, large in [(part, whole), (d_part, d_whole)]:
        assert small.__array_interface__["data"][0] == large.__array_interface__["data"][0]


def test_smaller_and_larger_batches(layer):
    for rows in (4, 2, 9, 0, 4):
        x = data((rows, 6), seed=rows)
        assert_same(run(layer, x), run(copy.deepcopy(layer), x))


def test_no_input_gradient(layer):
    expected = run(layer, data())
    layer.forward(data())
    assert layer.backward(data(expected[0].shape, seed=9), input_grad=False) is None
    assert_same(getattr(layer, "grads", {}).values(), expected[2:])


def test_other_layouts_and_dtypes(layer):
    x = data()
    dy = data(layer.forward(x).shape, seed=9)
    expected = run(layer, x)
    for layout in ("F", "byte-swapped", "strided", "misaligned"):
        assert_same(run(layer, lay_out(x, layout)), expected)
    assert_same(run(layer, x.tolist()), expected)
    assert_same(run(layer, x, np.asfortranarray(dy)), expected)
    integers = np.arange(30).reshape(5, 6)
    assert_same(run(layer, integers), run(layer, integers.astype(float)))
    assert layer(integers).dtype == np.float64


def test_dtypes(layer):
    single = copy.deepcopy(layer)
    assert single.forward(data(dtype=np.float32)).dtype == np.float32
    assert single.backward(np.ones(single.forward(data(dtype=np.float32)).shape)).dtype == np.float32
    assert copy.deepcopy(layer).forward(data(dtype=np.float16)).dtype == np.float32
    if getattr(single, "params", None):
        # Existing parameters decide.
        assert single.forward(data()).dtype == np.float32


@pytest.mark.parametrize("name", [*LAYERS, "square"])
def test_its_own_output_as_input(name):
    layer, x = nn.Linear(6, 6, rng=0) if name == "square" else MAKERS[name](), data()
    expected = run(layer, layer.forward(x).copy())
    assert_same(run(layer, layer.forward(x)), expected)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies(layer, copier):
    expected = run(layer, data())
    other = copier(layer)
    with pytest.raises(RuntimeError, match=r"`backward` of .* needs a call of `forward` before it"):
        other.backward(np.ones(expected[0].shape))
    assert_same(run(other, data()), expected)
    assert repr(other) == repr(layer)


def test_layer_from_config(layer):
    other = type(layer)(**layer.config())
    assert other.config() == layer.config()
    assert repr(other) == repr(layer)
    assert repr(layer).startswith(type(layer).__name__)


def test_backward_without_forward(layer):
    with pytest.raises(RuntimeError, match=r"`backward` of .* needs a call of `forward` before it"):
        layer.backward(np.ones((5, 6)))
    layer(data())
    with pytest.raises(RuntimeError, match="`backward` of"):
        layer.backward(np.ones((5, 6)))


def test_gradients_of_wrong_shape(layer):
    y = layer.forward(data())
    columns = y.shape[1]
    for shape in [(4, columns), (5, columns + 1), (5,), (1, 5, columns)]:
        with pytest.raises(ValueError, match=rf"`dy` must have shape \(5, {columns}\), got"):
            layer.backward(np.ones(shape))


@pytest.mark.parametrize("x", ["text", np.ones((2, 6), complex), [[None] * 6]])
def test_inputs_of_wrong_type(layer, x):
    for use in (layer.forward, layer):
        with pytest.raises(TypeError, match="`x` must have dtype float16"):
            use(x)


def test_inputs_without_axes(layer):
    with pytest.raises(ValueError, match="`x` must have at least one axis"):
        layer.forward(1.0)


@pytest.mark.parametrize(
    ("make", "name"), [(lambda: nn.Linear(6, 4), "Linear"), (lambda: nn.LayerNorm(6), "Layer")]
)
@pytest.mark.parametrize(
    ("shape", "advice"),
    [((5, 4), ""), ((5, 2, 3), "reshape"), ((6,), "np.newaxis"), ((5, 2, 2), ""), ((5,), "")],
)
def test_inputs_of_wrong_shape(make, name, shape, advice):
    layer = make()
    for use in (layer.forward, layer):
        with pytest.raises(ValueError, match=r"`x` must have shape \(N, 6\) for " + name) as info:
            use(np.ones(shape))
        assert f"got {shape}" in str(info.value)
        assert ("reshape" in str(info.value)) == (advice == "reshape")
        assert ("newaxis" in str(info.value)) == (advice == "np.newaxis")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Linear(0, 3), ValueError, "`n_in` must be an integer of at least 1, got 0"),
        (lambda: nn.Linear(3, 2.0), TypeError, r"`n_out` must be an integer of at least 1, got 2\.0"),
        (lambda: nn.Linear(3, 2, bias=[1, 2]), TypeError, "`bias` must be True or False"),
        (lambda: nn.LayerNorm(True), TypeError, "`n` must be an integer"),
        (lambda: nn.LayerNorm(3, epsilon=0), ValueError, "`epsilon` must be finite and above 0"),
        (lambda: nn.LayerNorm(3, epsilon=math.nan), ValueError, "`epsilon` must be finite and above 0"),
        (lambda: nn.LeakyReLU(-0.1), ValueError, "`slope` must be finite and at least 0"),
        (lambda: nn.LeakyReLU(math.inf), ValueError, "`slope` must be finite and at least 0"),
        (lambda: nn.LeakyReLU("0.1"), TypeError, "`slope` must be a number"),
        (lambda: nn.Dropout(1.0), ValueError, r"`probability` must be at least 0 and below 1, got 1.0"),
        (lambda: nn.Dropout(-0.1), ValueError, r"`probability` must be at least 0 and below 1"),
        (lambda: nn.Dropout(math.nan), ValueError, r"`probability` must be at least 0 and below 1"),
        (lambda: nn.Dropout("half"), TypeError, "`probability` must be a number"),
        (lambda: nn.Softmax(0), ValueError, "`temperature` must be from"),
        (lambda: nn.LogSoftmax(None), TypeError, "`temperature` must be a number"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_output_domains():
    emits = {make().emits for name, (make, _) in LAYERS.items() if "oftmax" not in name and name != "sigmoid"}
    assert emits == {"output"}
    assert nn.Linear(1, 1).emits == "output"
    assert nn.Softmax().emits == nn.Sigmoid().emits == "probs"
    assert nn.LogSoftmax().emits == "log_probs"
