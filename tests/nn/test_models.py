"""Sequential and MLP: against a handwritten network, and properties of whole models."""

import copy
import functools
import inspect
import io
import pickle
import tracemalloc

import numpy as np
import pytest
from checks import assert_same, raises

from fastsm import nn
from fastsm._kernels import kernels


def data(rows=6, columns=5, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(dtype)


def step(model, x, dy, training=True):
    """Return copies of output, input gradient and gradients after both passes."""
    y = model.forward(x, training=training).copy()
    dx = model.backward(dy).copy()
    return y, dx, model.grads.copy()


# ---- user layers ----


class Scale:
    """The least that a layer with a parameter needs."""

    def __init__(self, n):
        self.params = {"scale": np.linspace(1, 2, n)}

    def forward(self, x):
        self.x = x
        return x * self.params["scale"]

    def backward(self, dy):
        self.grads["scale"] = np.sum(dy * self.x, axis=0)
        return dy * self.params["scale"]


class Square:
    """A layer without parameters."""

    def forward(self, x):
        self.x = x
        return x**2

    def backward(self, dy):
        return 2 * self.x * dy


class Exponential:
    """A layer whose derivative is its output."""

    def forward(self, x):
        self.y = np.exp(x)
        return self.y

    def backward(self, dy):
        return self.y * dy


class Full:
    """A layer with all optional parts."""

    emits = "probs"
    undecayed = ("shift",)

    def __init__(self, n):
        self.n = n
        self.seen = []

    def initialize(self, rng, dtype):
        self.params = {"shift": rng.standard_normal(self.n), "weight": np.eye(self.n)}
        self.dtype = dtype

    def forward(self, x, training=False):
        self.seen.append(("forward", training))
        self.x = x
        return x @ self.params["weight"] + self.params["shift"]

    def backward(self, dy, input_grad=True):
        self.seen.append(("backward", input_grad))
        self.grads["weight"][...] = self.x.T @ dy
        self.grads["shift"][...] = dy.sum(axis=0)
        return dy @ self.params["weight"].T if input_grad else None

    def __call__(self, x):
        self.seen.append("call")
        return x @ self.params["weight"] + self.params["shift"]


class DoubleReLU(nn.ReLU):
    """A subclass of a package layer that overrides methods."""

    def forward(self, x):
        return 2 * super().forward(x)

    def backward(self, dy, input_grad=True):
        return 2 * super().backward(dy)

    def __call__(self, x):
        return 2 * super().__call__(x)


MODELS = {
    "linear": lambda **k: nn.Sequential(nn.Linear(5, 3), **k),
    "mlp": lambda **k: nn.MLP([5, 8, 7, 3], **k),
    "all": lambda **k: nn.MLP([5, 8, 7, 3], dropout=0.3, layer_norm=True, head="softmax", **k),
    "tanh": lambda **k: nn.MLP([5, 8, 3], activation="tanh", head="log_softmax", **k),
    "gelu": lambda **k: nn.MLP([5, 8, 3], activation="gelu", dropout=0.2, **k),
    "silu": lambda **k: nn.MLP([5, 8, 3], activation="silu", layer_norm=True, **k),
    # Orders in which wrong work in place shows.
    "activations": lambda **k: nn.Sequential(nn.Tanh(), nn.ReLU(), nn.Sigmoid(), nn.GELU(), nn.SiLU(), **k),
    "dropout first": lambda **k: nn.Sequential(nn.Dropout(0.5), nn.Tanh(), nn.Linear(5, 3), **k),
    "dropout between": lambda **k: nn.Sequential(
        nn.Linear(5, 6), nn.Tanh(), nn.Dropout(0.5), nn.Sigmoid(), nn.Dropout(0.2), nn.GELU(), **k
    ),
    "dropout last": lambda **k: nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.5), nn.Dropout(0.5), **k),
    "softmax inside": lambda **k: nn.Sequential(
        nn.Softmax(), nn.LogSoftmax(2.0), nn.LayerNorm(5), nn.LeakyReLU(), nn.Linear(5, 5, bias=False), **k
    ),
    "norm first": lambda **k: nn.Sequential(nn.LayerNorm(5), nn.SiLU(), nn.LayerNorm(5), nn.Tanh(), **k),
    "own": lambda **k: nn.Sequential(
        nn.Linear(5, 4),
        Square(),
        nn.Tanh(),
        Scale(4),
        nn.ReLU(),
        nn.Linear(4, 3),
        nn.Dropout(0.3),
        Full(3),
        **k,
    ),
    "own first": lambda **k: nn.Sequential(
        Square(), Exponential(), nn.Tanh(), DoubleReLU(), nn.ReLU(), nn.Linear(5, 2), **k
    ),
}


@pytest.fixture(params=MODELS)
def make(request):
    return functools.partial(MODELS[request.param], dtype="float64", rng=0)


# ---- against a network written by hand ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_against_handwritten_network(dtype):
    """784-128-10 with ReLU and softmax; the squared error uses the whole Jacobian."""
    model = nn.MLP([784, 128, 10], head="softmax", dtype=dtype, rng=0)
    w1, b1, w2, b2 = (value.astype(np.float64) for _, value in model.named_parameters())
    rng = np.random.default_rng(1)
    for rows in (32, 32, 7):
        x = rng.random((rows, 784)).astype(dtype)
        target = np.eye(10)[rng.integers(10, size=rows)]
        z1 = x @ w1 + b1
        a1 = np.maximum(z1, 0)
        z2 = a1 @ w2 + b2
        e = np.exp(z2 - z2.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        dp = 2 * (p - target) / rows
        dz2 = p * (dp - (p * dp).sum(axis=1, keepdims=True))
        dz1 = (dz2 @ w2.T) * (z1 > 0)
        y, dx, _ = step(model, x, 2 * (model(x) - target) / rows)
        bound = 1e-12 if dtype == "float64" else 2e-4
        np.testing.assert_allclose(y, p, rtol=bound)
        np.testing.assert_allclose(dx, dz1 @ w1.T, rtol=bound, atol=bound * 1e-2)
        expected = [x.T @ dz1, dz1.sum(axis=0), a1.T @ dz2, dz2.sum(axis=0)]
        grads = [g for layer in model.layers for g in getattr(layer, "grads", {}).values()]
        for grad, value in zip(grads, expected, strict=True):
            np.testing.assert_allclose(grad, value, rtol=bound, atol=bound * 1e-2)


def test_gradients(make):
    """Central differences along random directions of the input and of all parameters."""
    model, x = make(), data()
    rng = np.random.default_rng(1)
    # A row of hidden units that are all off, with biases of 0, puts the next rectifiers on their kink.
    model.params[...] += 0.1 * rng.standard_normal(model.params.shape)
    dropouts = [layer for layer in model.layers if isinstance(layer, nn.Dropout)]
    states = [layer.state() for layer in dropouts]

    def forward():
        for layer, state in zip(dropouts, states, strict=True):
            layer.set_state(state)
        return model.forward(x, training=True)

    v = rng.standard_normal(forward().shape)
    forward()
    dx = model.backward(v).copy()
    grads = model.grads.copy()
    for array, gradient in [(x, dx), (model.params, grads)]:
        for _ in range(3):
            direction = rng.standard_normal(array.shape)
            before = array.copy()
            values = []
            for h in (1e-6, -1e-6):
                array[...] = before + h * direction
                values.append(np.sum(v * forward()))
            array[...] = before
            expected = (values[0] - values[1]) / 2e-6
            assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("training", [False, True])
def test_against_single_layers(make, training):
    """Working in place changes nothing: single layers give the same bits."""
    model = make()
    layers = copy.deepcopy(model.layers)
    for layer in layers:
        if isinstance(getattr(layer, "params", None), dict):
            layer.grads = {name: np.zeros_like(value) for name, value in layer.params.items()}
    x = data()
    for rows in (6, 4, 6):
        y = np.array(x[:rows])
        for layer in layers:
            takes_training = "training" in inspect.signature(layer.forward).parameters
            y = layer.forward(y.copy(), training=training) if takes_training else layer.forward(y.copy())
            y = y.copy()
        dy = data(*y.shape, seed=3)
        dx = dy
        for layer in reversed(layers):
            dx = layer.backward(dx.copy()).copy()
        given = x[:rows].copy(), dy.copy()
        result, result_dx, _ = step(model, x[:rows], dy, training)
        assert_same((result, result_dx), (y, dx))
        assert_same((x[:rows], dy), given)
        for mine, other in zip(model.layers, layers, strict=True):
            for name, grad in getattr(other, "grads", {}).items():
                np.testing.assert_array_equal(mine.grads[name], grad)


def test_no_input_gradient(make):
    model, other = make(), make()
    y = model.forward(data(), training=True)
    dy = data(*y.shape, seed=3)
    assert model.backward(dy, input_grad=False) is None
    other.forward(data(), training=True)
    other.backward(dy)
    np.testing.assert_array_equal(model.grads, other.grads)


def test_inference_between_training_passes(make):
    model, other = make(), make()
    x, dy = data(), data(*make()(data()).shape, seed=3)
    expected = step(other, x, dy)
    y = model.forward(x, training=True)
    before = y.copy()
    inferred = model(data(9, seed=5))
    kept = inferred.copy()
    np.testing.assert_array_equal(y, before)
    assert_same((y, model.backward(dy), model.grads), expected)
    model.forward(data(9, seed=5), training=True)
    np.testing.assert_array_equal(inferred, kept)
    assert not np.shares_memory(inferred, model.forward(data(9, seed=5)))


def test_inference_against_forward(make):
    model, x = make(), data()
    read_only = x.copy()
    read_only.flags.writeable = False
    np.testing.assert_allclose(model(read_only), model.forward(read_only), rtol=1e-14)
    np.testing.assert_array_equal(read_only, x)


def test_same_seed_same_model(make):
    np.testing.assert_array_equal(make().params, make().params)
    dy = data(*make()(data()).shape, seed=3)
    assert_same(step(make(), data(), dy), step(make(), data(), dy))


# ---- parameters ----


def test_flat_parameters():
    model = nn.MLP([4, 3, 2], layer_norm=True, dtype="float64", rng=0)
    names = ["0.weight", "0.bias", "1.gain", "1.bias", "3.weight", "3.bias"]
    named = dict(model.named_parameters())
    assert list(named) == names
    assert model.params.shape == model.grads.shape == (12 + 3 + 3 + 3 + 6 + 2,)
    assert model.params.flags.c_contiguous
    assert model.decayed == 12 + 6
    order = ["0.weight", "3.weight", "0.bias", "1.gain", "1.bias", "3.bias"]
    np.testing.assert_array_equal(model.params, np.concatenate([named[name].ravel() for name in order]))
    model.params[...] = np.arange(29)
    np.testing.assert_array_equal(model.layers[3].params["weight"], np.arange(12, 18).reshape(3, 2))
    np.testing.assert_array_equal(named["0.bias"], [18, 19, 20])
    model.layers[1].grads["gain"][...] = 7
    np.testing.assert_array_equal(np.flatnonzero(model.grads), [21, 22, 23])
    with pytest.raises(AttributeError):
        model.params = np.zeros(29)


@pytest.mark.parametrize(
    "copier", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), lambda m: m.astype("float64")]
)
def test_copies(make, copier):
    model = make()
    x, dy = data(), data(*make()(data()).shape, seed=3)
    step(model, x, dy)
    other = copier(model)
    assert type(other) is type(model)
    assert_same((other.params, other.grads), (model.params, model.grads))
    assert other.decayed == model.decayed
    assert [name for name, _ in other.named_parameters()] == [name for name, _ in model.named_parameters()]
    with pytest.raises(RuntimeError):
        other.backward(dy)
    before = model.params.copy()
    expected = step(model, x, dy)
    assert_same(step(other, x, dy), expected)
    # The arrays of the copy are views of its flat arrays.
    other.params[...] = 0.5
    assert all((value == 0.5).all() for _, value in other.named_parameters())
    np.testing.assert_array_equal(model.params, before)


def test_astype(make):
    model, single = make(), make().astype("float32")
    assert single.dtype == single.params.dtype == single.grads.dtype == np.float32
    np.testing.assert_array_equal(single.params, model.params.astype(np.float32))
    assert single(data()).dtype == single.forward(data()).dtype == np.float32
    np.testing.assert_allclose(single(data()), model(data()), rtol=1e-4, atol=1e-5)
    dx = single.backward(np.ones(single.forward(data()).shape))
    assert dx.dtype == np.float32
    assert model.dtype == np.float64


def test_shallow_copies():
    with pytest.raises(ValueError, match=r"must not belong to another model: use copy\.deepcopy"):
        copy.copy(nn.MLP([2, 3, 1]))


def test_layer_copies():
    model = nn.MLP([2, 3, 1], dtype="float64", rng=0)
    layer = copy.deepcopy(model.layers[0])
    before = model.params.copy()
    layer.params["weight"][...] = 0
    np.testing.assert_array_equal(model.params, before)
    np.testing.assert_array_equal(nn.Sequential(layer).params, 0)


def test_existing_layer_parameters():
    layer = nn.Linear(2, 3, rng=0)
    y = layer.forward(np.ones((1, 2))).copy()
    model = nn.Sequential(layer, dtype="float64", rng=1)
    np.testing.assert_array_equal(model(np.ones((1, 2))), y)


def test_assigning_parameters_and_gradients():
    model = nn.Sequential(nn.Linear(2, 2), dtype="float64")
    layer = model.layers[0]
    layer.params["weight"] = [[1, 2], [3, 4]]
    layer.params |= {"bias": np.array([5.0, 6.0])}
    layer.grads.update(weight=np.ones((2, 2)))
    np.testing.assert_array_equal(model.params, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(model.grads, [1, 1, 1, 1, 0, 0])
    with pytest.raises(ValueError, match=r"`bias` must have shape \(2,\), got \(1, 2\)"):
        layer.params["bias"] = np.ones((1, 2))
    with pytest.raises(KeyError, match="no parameter 'weights'"):
        layer.params["weights"] = np.ones((2, 2))
    np.testing.assert_array_equal(model.params, [1, 2, 3, 4, 5, 6])


# ---- buffers ----


def test_no_allocation_in_a_steady_step():
    """A step allocates nothing of the size of a batch or layer; Python objects take about a kilobyte."""
    model = nn.MLP([300, 200, 200, 10], dropout=0.1, layer_norm=True, head="softmax", rng=0)
    x, dy = data(500, 300, np.float32), data(500, 10, np.float32)

    def steps():
        for rows in (500, 500, 300, 500):
            model.forward(x[:rows], training=True)
            model.backward(dy[:rows], input_grad=False)

    steps()
    tracemalloc.start()
    try:
        steps()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        steps()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 4000  # one column of a batch has 2000 bytes
    assert after - before < 1000


def test_shared_buffers_of_linear_and_relu():
    model = nn.MLP([5, 8, 3], rng=0)
    model.forward(data(dtype=np.float32))
    linear, relu = model.layers[:2]
    assert relu._saved is linear._output.get((6, 8), np.dtype(np.float32))


def test_its_own_output_as_input():
    model, other = (nn.Sequential(nn.Linear(4, 4), nn.Tanh(), rng=0, dtype="float64") for _ in range(2))
    x, dy = data(6, 4), data(6, 4, seed=3)
    expected = step(other, other.forward(x).copy(), dy)
    assert_same(step(model, model.forward(x), dy), expected)
    assert_same(step(model, model.forward(x)[:3], dy[:3]), step(other, other(x)[:3], dy[:3]))


def test_converted_inputs():
    model = nn.MLP([5, 4, 3], rng=0)
    integers = np.arange(30).reshape(6, 5)
    expected = model(integers.astype(np.float32))
    for x in (integers, integers.astype(np.int8), integers.tolist(), np.asfortranarray(integers, ">f8")):
        np.testing.assert_array_equal(model(x), expected)
        np.testing.assert_array_equal(model.forward(x, training=True), expected)
    assert model.backward(np.ones((6, 3), int)).dtype == np.float32
    np.testing.assert_array_equal(model(integers > 3), model((integers > 3).astype(np.float32)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_divided_by_255(dtype):
    """A model scales uint8 as `fit` gathers it, to the same bits."""
    model = nn.MLP([5, 4, 3], rng=0, dtype=dtype)
    images = np.arange(0, 250, 25, dtype=np.uint8).reshape(2, 5)
    gathered = np.empty((2, 5), dtype)
    kernels.gather(images, np.arange(2), gathered, 1 / 255)
    np.testing.assert_array_equal(model(images), model(gathered))
    np.testing.assert_array_equal(model.forward(images, training=True), model(gathered))


def test_bytes_in_any_array(tmp_path):
    model = nn.MLP([5, 4, 3], rng=0)
    images = np.arange(0, 250, 25, dtype=np.uint8).reshape(2, 5)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(model(mapped), model(images))
    np.testing.assert_array_equal(model(list(images)), model(images))
    np.testing.assert_array_equal(model.forward(mapped), model(images))


def test_empty_batch(make):
    model = make()
    y = model.forward(np.empty((0, 5)), training=True)
    assert len(y) == len(model(np.empty((0, 5)))) == 0
    assert model.backward(y.copy()).shape == (0, 5)
    np.testing.assert_array_equal(model.grads, 0)


def test_without_the_head():
    model = nn.MLP([5, 4, 3], head="softmax", dtype="float64", rng=0)
    plain = nn.MLP([5, 4, 3], dtype="float64", rng=0)
    dy = data(6, 3)
    y = model._forward_through(data(), True, stop=-1).copy()
    with pytest.raises(RuntimeError):
        model.backward(dy)
    dx = model._backward_through(dy, True, stop=-1).copy()
    assert_same((y, dx, model.grads), step(plain, data(), dy))
    np.testing.assert_array_equal(model._infer_through(data(), -1), plain(data()))
    alone = nn.Sequential(nn.Softmax(), dtype="float64")
    x = data()
    assert not np.shares_memory(alone._forward_through(x, True, -1), x)
    np.testing.assert_array_equal(alone._backward_through(x, True, -1), x)


# ---- user layers in models ----


def test_user_layer_with_everything():
    layer = Full(3)
    model = nn.Sequential(nn.Linear(5, 3), layer, dtype="float64", rng=0)
    assert layer.dtype == np.float64
    assert model.emits == "probs"
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.shift", "1.weight"]
    assert model.decayed == 15 + 9
    model.forward(data(), training=True)
    model.forward(data())
    model.backward(np.ones((6, 3)))
    model.backward(np.ones((6, 3)), input_grad=False)
    model(data())
    calls = [("forward", True), ("forward", False), ("backward", True), ("backward", True), "call"]
    assert layer.seen == calls
    alone = Full(5)
    model = nn.Sequential(alone, dtype="float64")
    model.forward(data())
    assert model.backward(np.ones((6, 5)), input_grad=False) is None
    assert alone.seen[-1] == ("backward", False)


def test_minimal_user_layer():
    model = nn.Sequential(nn.Linear(5, 5), Square(), rng=0)
    assert model.emits is None
    out = io.StringIO()
    model.summary(out)
    assert out.getvalue().splitlines()[3].split() == ["1", "Square", "?", "0"]
    model(data())
    out = io.StringIO()
    model.summary(out)
    assert out.getvalue().splitlines()[3].split() == ["1", "Square", "(N,", "5)", "0"]


class Broken(Square):
    """A layer with a selectable fault."""

    def __init__(self, forward=None, backward=None):
        self.on_forward, self.on_backward = forward, backward
        self.params = {"scale": np.ones(5)}

    def forward(self, x):
        y = super().forward(x)
        return self.on_forward(y) if self.on_forward else y

    def backward(self, dy):
        dx = super().backward(dy)
        return self.on_backward(self, dx) if self.on_backward else dx


@pytest.mark.parametrize(
    ("forward", "error", "message"),
    [
        (lambda y: None, TypeError, "Broken must return its output, an array, got None"),
        (lambda y: y.tolist(), TypeError, "Broken must return its output, an array, got list"),
        (lambda y: y.sum(keepdims=True)[0, 0, ...], ValueError, "the output of Broken"),
        (lambda y: y.astype(complex), TypeError, "`the output of Broken` must have dtype"),
    ],
)
def test_user_layer_with_wrong_output(forward, error, message):
    model = nn.Sequential(nn.ReLU(), Broken(forward))
    for use in (model, model.forward):
        with pytest.raises(error, match=message) as info:
            use(data())
        assert info.value.__notes__ == ["in layer 1, Broken"]


def replace_grads(layer, dx):
    layer.grads = {"scale": np.ones(5)}
    return dx


@pytest.mark.parametrize(
    ("backward", "error", "message"),
    [
        (lambda layer, dx: None, TypeError, "must return the gradient over its input, got None"),
        (lambda layer, dx: dx.T, ValueError, r"must have shape \(6, 5\), got \(5, 6\)"),
        (replace_grads, TypeError, r'must write into self\.grads\["\.\.\."\] once a model has it'),
    ],
)
def test_user_layer_with_wrong_gradient(backward, error, message):
    model = nn.Sequential(nn.ReLU(), Broken(backward=backward))
    model.forward(data())
    with pytest.raises(error, match=message):
        model.backward(np.ones((6, 5)))


def test_user_layer_with_late_parameters():
    class Late(Square):
        def forward(self, x):
            self.params = {"scale": np.ones(5)}
            return super().forward(x)

    model = nn.Sequential(Late())
    model.forward(data())
    with pytest.raises(TypeError, match=r"Late must write into self\.params"):
        model.backward(np.ones((6, 5)))


def test_user_layer_with_other_axes():
    class Fold:
        def forward(self, x):
            self.shape = x.shape
            return x.reshape(len(x), 2, -1)

        def backward(self, dy):
            return dy.reshape(self.shape)

    class Unfold(Fold):
        def forward(self, x):
            self.shape = x.shape
            return x.reshape(len(x), -1)

    model = nn.Sequential(Fold(), nn.ReLU(), Unfold(), nn.Linear(4, 3), dtype="float64", rng=0)
    plain = nn.Sequential(nn.ReLU(), nn.Linear(4, 3), dtype="float64", rng=0)
    assert_same(step(model, data(6, 4), data(6, 3)), step(plain, data(6, 4), data(6, 3)))
    assert not np.shares_memory(nn.Sequential(Fold(), Unfold(), dtype="float64")(x := data(6, 4)), x)


def test_signatures_read_once(make, monkeypatch):
    model = make()
    monkeypatch.setattr(inspect, "signature", None)
    model.backward(np.ones(model.forward(data(), training=True).shape))


# ---- MLP ----


def names(model):
    return [repr(layer) for layer in model.layers]


def test_mlp_structure():
    assert names(nn.MLP([784, 128, 10])) == ["Linear(784, 128)", "ReLU()", "Linear(128, 10)"]
    assert names(nn.MLP((3, 2))) == ["Linear(3, 2)"]
    assert nn.MLP([3, 2]).emits == "output"
    hidden = ["LayerNorm({0})", "SiLU()", "Dropout(probability=0.2)"]
    expected = [
        "Linear(3, 4)",
        *hidden,
        "Linear(4, 5)",
        *hidden,
        "Linear(5, 2)",
        "LogSoftmax(temperature=1.0)",
    ]
    expected = [line.format(4 if i < 4 else 5) for i, line in enumerate(expected)]
    model = nn.MLP(
        np.array([3, 4, 5, 2]), activation="silu", dropout=0.2, layer_norm=True, head="log_softmax"
    )
    assert names(model) == expected
    assert model.emits == "log_probs"
    assert nn.MLP([3, 2], head="softmax").emits == "probs"


@pytest.mark.parametrize(
    ("activation", "kind"),
    [
        *[("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU), ("tanh", nn.Tanh), ("sigmoid", nn.Sigmoid)],
        *[("gelu", nn.GELU), ("silu", nn.SiLU), (nn.GELU, nn.GELU), (Square, Square)],
        (functools.partial(nn.LeakyReLU, 0.2), nn.LeakyReLU),
    ],
)
def test_mlp_activations(activation, kind):
    model = nn.MLP([3, 4, 4, 2], activation=activation)
    assert type(model.layers[1]) is type(model.layers[3]) is kind
    assert model.layers[1] is not model.layers[3]
    init = "glorot_uniform" if activation in ("tanh", "sigmoid") else "he_normal"
    inits = [layer.init for layer in model.layers if isinstance(layer, nn.Linear)]
    assert inits == [init, init, "glorot_uniform"]


def test_mlp_init():
    model = nn.MLP([3, 3, 3], init="orthogonal", dtype="float64", rng=0)
    for layer in (model.layers[0], model.layers[2]):
        np.testing.assert_allclose(layer.params["weight"] @ layer.params["weight"].T, np.eye(3), atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sizes": 3}, TypeError, "`sizes` must be a sequence of integers, got 3"),
        ({"sizes": [3]}, ValueError, "`sizes` must have at least two numbers"),
        ({"sizes": [3, 0, 2]}, ValueError, r"`sizes\[1\]` must be an integer of at least 1, got 0"),
        ({"sizes": [3, 2.5]}, TypeError, r"`sizes\[1\]` must be an integer"),
        (
            {"activation": "swish"},
            ValueError,
            "one of relu, leaky_relu, gelu, silu, tanh, sigmoid or a class",
        ),
        ({"activation": None}, TypeError, "`activation` must be one of"),
        ({"head": "Softmax"}, ValueError, "`head` must be one of softmax, log_softmax"),
        ({"dropout": 1}, ValueError, r"`dropout` must be at least 0 and below 1"),
        ({"activation": nn.ReLU()}, TypeError, r"`activation` must be a name or a class .* give nn.ReLU$"),
        ({"init": "xavier"}, ValueError, "`init` must be one of"),
        ({"dtype": "float16"}, TypeError, "`dtype` must be float32 or float64, got float16"),
        ({"rng": "seed"}, TypeError, "`rng` must be None"),
    ],
)
def test_mlp_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        nn.MLP(**{"sizes": [3, 4, 2]} | arguments)


# ---- descriptions ----


def test_summary_to_a_name():
    with raises(TypeError, "`file` must be an open file, got 'x'"):
        nn.MLP([2, 2]).summary(file="x")


def test_summary(capsys):
    nn.MLP([784, 1000, 10], dropout=0.5).summary()
    assert capsys.readouterr().out.splitlines() == [
        "layer                       output shape  parameters",
        "----------------------------------------------------",
        "0 Linear(784, 1000)         (N, 1000)        785,000",
        "1 ReLU()                    (N, 1000)              0",
        "2 Dropout(probability=0.5)  (N, 1000)              0",
        "3 Linear(1000, 10)          (N, 10)           10,010",
        "----------------------------------------------------",
        "total                                        795,010",
    ]


def test_config():
    model = nn.MLP([5, 4, 3], dropout=0.5, layer_norm=True, activation="leaky_relu", head="softmax")
    config = model.config()
    layers = [getattr(nn, layer["class"])(**layer["config"]) for layer in config["layers"]]
    other = nn.Sequential(*layers, dtype=config["dtype"])
    assert names(other) == names(model)
    assert other.config() == config
    with pytest.raises(TypeError, match="layer 1, Square, must have a method `config`"):
        nn.Sequential(nn.ReLU(), Square()).config()


# ---- errors ----


def twice():
    layer = nn.ReLU()
    return nn.Sequential(nn.Linear(2, 2), layer, layer)


class OnlyForward:
    def forward(self, x):
        return x


class ParametersAsList(Square):
    params = (1.0,)


class Undefined(Square):
    params = {"weight": "heavy"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Sequential(), ValueError, "must have at least one layer"),
        (lambda: nn.Sequential([nn.ReLU()]), TypeError, r"one by one, as in Sequential\(\*layers\)"),
        (lambda: nn.Sequential(nn.ReLU), TypeError, "layer 0 must be an object, got the class ReLU"),
        (lambda: nn.Sequential(nn.ReLU(), np.tanh), TypeError, "layer 1 must have `forward` and `backward`"),
        (lambda: nn.Sequential(OnlyForward()), TypeError, "layer 0 must have `forward` and `backward`"),
        (lambda: nn.Sequential(nn.MLP([2, 3])), TypeError, "layer 0 must not be a model itself, got MLP"),
        (twice, ValueError, r"layers 1 and 2 must be two objects, got the same ReLU\(\) twice"),
        (
            lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(4, 1)),
            ValueError,
            r"layer 2, Linear\(4, 1\), must take the 3 features that layer 1 gives",
        ),
        (lambda: nn.Sequential(nn.LayerNorm(3), nn.Linear(4, 1)), ValueError, "must take the 3 features"),
        (lambda: nn.Sequential(nn.ReLU(), dtype=">f4"), TypeError, "`dtype` must be float32 or float64"),
        (lambda: nn.Sequential(nn.ReLU(), dtype=int), TypeError, "`dtype` must be float32 or float64"),
        (lambda: nn.Sequential(ParametersAsList()), TypeError, "`params` of ParametersAsList must be a dict"),
        (lambda: nn.Sequential(Undefined()), TypeError, r"`params\['weight'\] of Undefined` must have dtype"),
    ],
)
def test_bad_models(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_layer_in_two_models():
    layers = [nn.Linear(2, 2), nn.Tanh(), Scale(2)]
    model = nn.Sequential(*layers)
    for layer in layers:
        with pytest.raises(ValueError, match=r"layer 0, .*, must not belong to another model"):
            nn.Sequential(layer)
    np.testing.assert_array_equal(
        model(np.ones((1, 2))), nn.Sequential(*copy.deepcopy(layers))(np.ones((1, 2)))
    )
    before = model.params.copy()
    del model
    np.testing.assert_array_equal(nn.Sequential(*layers).params, before)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((32, 10), r"`x` must have shape \(N, 784\) for Linear\(784, 10\), got \(32, 10\)\n"),
        ((32, 28, 28), r"got \(32, 28, 28\): reshape it with x\.reshape\(len\(x\), -1\)\n"),
        ((784,), r"got \(784,\): a single sample is x\[np\.newaxis\]$"),
        ((), r"`x` must have shape \(N, 784\)"),
    ],
)
def test_inputs_of_wrong_shape(shape, message):
    model = nn.MLP([784, 10], rng=0)
    for use in (model, model.forward):
        with pytest.raises(ValueError, match=message):
            use(np.ones(shape))
    with pytest.raises(
        ValueError, match=r"`x` must have shape \(N, features\) for layer 0, ReLU\(\), got \(5,\)"
    ):
        nn.Sequential(nn.ReLU())(np.ones(5))


def test_errors_name_the_layer():
    class Drop:
        def forward(self, x):
            return x[:, 1:]

        def backward(self, dy):
            return np.pad(dy, ((0, 0), (1, 0)))

    model = nn.Sequential(nn.ReLU(), Drop(), nn.Linear(5, 3))
    with pytest.raises(ValueError, match=r"for Linear\(5, 3\), got \(6, 4\)") as info:
        model.forward(data())
    assert info.value.__notes__ == ["in layer 2, Linear(5, 3)"]
    with pytest.raises(RuntimeError, match="needs a forward pass"):
        model.backward(np.ones((6, 3)))


def test_backward_without_forward():
    model = nn.MLP([5, 4, 3])
    with pytest.raises(RuntimeError, match=r"call forward\(x, training=True\)"):
        model.backward(np.ones((6, 3)))
    model(data())
    with pytest.raises(RuntimeError, match=r"call forward\(x, training=True\)"):
        model.backward(np.ones((6, 3)))
    model.forward(data(), training=True)
    for shape in [(4, 3), (6, 5), (6,), (1, 3)]:
        with pytest.raises(ValueError, match=r"`dy` must have shape \(6, 3\), got"):
            model.backward(np.ones(shape))
    with pytest.raises(TypeError, match="`dy` must have dtype"):
        model.backward(np.ones((6, 3), complex))
