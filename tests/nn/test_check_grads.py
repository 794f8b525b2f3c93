"""check_grads: right gradients pass, and each of the usual mistakes is found and named."""

import numpy as np
import pytest

import fastsm
from fastsm import nn, optim
from fastsm.testing import GradientError, check_grads

MODES = pytest.mark.parametrize("mode", ["directional", "full"])
rng = np.random.default_rng(0)
Z = rng.standard_normal((6, 4))
Y = fastsm.softmax(rng.standard_normal((6, 4)))
LABELS = rng.integers(0, 4, 6)
WEIGHT = np.array([1.0, 2.0, 3.0, 4.0])


# ---- functions ----


def squared_error(z, factor=1.0):
    p = fastsm.softmax(z)
    return np.mean(np.sum((p - Y) ** 2, axis=1)), factor * fastsm.softmax_vjp(p, 2 * (p - Y) / len(z))


def shortcut(z):
    """Omit the Jacobian: p - y for the squared error."""
    p = fastsm.softmax(z)
    return np.mean(np.sum((p - Y) ** 2, axis=1)), (p - Y) / len(z)


def straight_through(z):
    """Omit the Jacobian: return the gradient over p as the gradient over z."""
    p = fastsm.softmax(z)
    return np.mean(np.sum((p - Y) ** 2, axis=1)), 2 * (p - Y) / len(z)


def cross_entropy(z, factor=1.0, temperature=1.0, weight=None):
    loss, grad = fastsm.cross_entropy_with_grad(z, LABELS, temperature=temperature, class_weight=weight)
    return loss, factor * grad


def weights_on_columns(z):
    """Multiply the columns of p - y, not its rows, by class weights."""
    loss = fastsm.cross_entropy(z, LABELS, class_weight=WEIGHT)
    return loss, (fastsm.softmax(z) - np.eye(4)[LABELS]) * WEIGHT / WEIGHT[LABELS].sum()


@MODES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_right_functions(mode, dtype):
    z = Z.astype(dtype)
    for f in (squared_error, cross_entropy, lambda z: cross_entropy(z, weight=WEIGHT, temperature=0.5)):
        report = check_grads(f, z, mode=mode)
        assert report.ok
        assert report.worst.error < 1e-8
        assert str(report).startswith(f"gradients agree with finite differences ({mode}, ")


@MODES
@pytest.mark.parametrize("f", [shortcut, straight_through, weights_on_columns])
def test_wrong_functions(mode, f):
    with pytest.raises(GradientError, match=r"wrong gradient over z .*\n  z \(6, 4\): 24 entries, \d+ wrong"):
        check_grads(f, Z, mode=mode)


@MODES
@pytest.mark.parametrize(
    ("f", "hint"),
    [
        (lambda z: squared_error(z, 6.0), r"is 6 times the true one: a missing 1/N\? \(N = 6\)"),
        (lambda z: squared_error(z, 1 / 6), r"1/N too much\? \(N = 6\)"),
        (lambda z: squared_error(z, -1.0), "the wrong sign"),
        (lambda z: squared_error(z, 0.0), "0 everywhere"),
        (lambda z: cross_entropy(z, 2.5, 2.5), "2.5 times the true one: a missing constant, such as 1/T"),
    ],
)
def test_constant_factor_is_named(mode, f, hint):
    with pytest.raises(GradientError, match=hint):
        check_grads(f, Z, mode=mode)


def test_worst_entry_is_named():
    def f(z):
        grad = 2 * z
        grad[1, 2] += 0.5
        grad[3, 0] -= 0.1
        return np.sum(z**2), grad

    with pytest.raises(AssertionError) as caught:
        check_grads(f, Z)
    report = caught.value.report
    assert not report.ok
    assert report.worst.name == "z"
    assert report.worst.index == (1, 2)
    assert report.worst.wrong == 2
    assert report.worst.analytic == pytest.approx(2 * Z[1, 2] + 0.5)
    assert report.worst.numeric == pytest.approx(2 * Z[1, 2], abs=1e-7)
    assert "the worst is [1, 2]: given" in str(caught.value)


def test_several_arrays_and_labels():
    def affine(x, labels, w, b):
        loss, dz = fastsm.cross_entropy_with_grad(x @ w + b, labels)
        return loss, (dz @ w.T, None, x.T @ dz, dz.sum(axis=0))

    w, b = rng.standard_normal((4, 3)), rng.standard_normal(3)
    labels = LABELS % 3
    report = check_grads(affine, Z, labels, w, b)
    assert [array.name for array in report.arrays] == ["x", "w", "b"]

    def transposed(x, labels, w, b):
        loss, (dx, none, dw, db) = affine(x, labels, w, b)
        return loss, (dx, none, dw.T, db)

    with pytest.raises(GradientError, match=r"over w must have shape \(4, 3\), got \(3, 4\): transposed\?"):
        check_grads(transposed, Z, labels, w, b)


@MODES
def test_forward_and_vjp(mode):
    for temperature in (1.0, 2.0):

        def forward(z, temperature=temperature):
            return fastsm.softmax(z, temperature=temperature)

        def right(p, dp, temperature=temperature):
            return fastsm.softmax_vjp(p, dp, temperature=temperature)

        assert check_grads(forward, Z, vjp=right, mode=mode).ok
    with pytest.raises(GradientError, match="2 times the true one"):
        check_grads(forward, Z, vjp=fastsm.softmax_vjp, mode=mode)  # 1/T left out
    with pytest.raises(GradientError):
        check_grads(fastsm.softmax, Z, vjp=lambda p, dp: p * (1 - p) * dp, mode=mode)  # elementwise


def test_one_wrong_entry_among_many():
    x = rng.standard_normal(5000)

    def f(x):
        grad = np.cos(x)
        grad[4321] = -grad[4321] + 1
        return np.sin(x).sum(), grad

    with pytest.raises(GradientError, match=r"wrong gradient over x"):
        check_grads(f, x)


# ---- kinks and domains ----


def test_kinks():
    def absolute(x):
        return np.abs(x).sum(), np.sign(x)

    x = np.array([0.0, 1e-7, -3e-9, 2.0, -1.0])
    for mode in ("directional", "full"):
        assert check_grads(absolute, x, mode=mode, directions=2).ok
    # At 0 any slope between those of the two sides is right.
    assert check_grads(lambda x: (np.abs(x).sum(), np.where(x < 0, -1, 1)), x, mode="full").ok
    with pytest.raises(GradientError, match=r"the worst is \[0\]"):
        check_grads(lambda x: (np.abs(x).sum(), np.where(x == 0, 2, np.sign(x))), x, mode="full")
    with pytest.raises(GradientError, match=r"the worst is \[3\]"):
        check_grads(lambda x: (np.abs(x).sum(), np.where(x == 2, 0.5, np.sign(x))), x, mode="full")


def test_end_of_the_domain():
    p = np.array([[1e-6, 1 - 1e-6], [1e-4, 1 - 1e-4]])
    assert check_grads(nn.CrossEntropyLoss(on="probs"), p, [0, 0], mode="full").ok


def test_nan_gradient():
    with pytest.raises(GradientError, match="given nan"):
        check_grads(lambda x: (np.sum(x), np.full_like(x, np.nan)), Z, mode="full")


# ---- losses ----


class Broken(nn.CrossEntropyLoss):
    """Cross-entropy with a wrong gradient."""

    def __init__(self, factor=1.0, shift=0.0, **options):
        super().__init__(**options)
        self.factor, self.shift = factor, shift

    def value_and_grad(self, outputs, targets, **options):
        value, grad = super().value_and_grad(outputs, targets, **options)
        return value + self.shift, self.factor * grad


@MODES
def test_losses(mode):
    assert check_grads(nn.CrossEntropyLoss(temperature=2.0), Z, LABELS, mode=mode).ok
    with pytest.raises(GradientError, match=r"a missing 1/T\? \(T = 2.5\)"):
        check_grads(Broken(2.5, temperature=2.5), Z, LABELS, mode=mode)
    with pytest.raises(GradientError, match=r"a missing 1/N\? \(N = 6\)"):
        check_grads(Broken(6.0), Z, LABELS, mode=mode)
    with pytest.raises(GradientError, match="`value_and_grad` returns the loss"):
        check_grads(Broken(shift=1.0), Z, LABELS, mode=mode)


@MODES
def test_user_loss(mode):
    @nn.loss(on="probs")
    def right(p, y):
        return np.sum((p - y) ** 2, axis=1), 2 * (p - y)

    @nn.loss(on="probs")
    def wrong(p, y):
        return np.sum((p - y) ** 2, axis=1), p - y

    p = fastsm.softmax(Z)
    assert check_grads(right, p, Y, mode=mode).ok
    with pytest.raises(GradientError, match=r"is 0\.5 times the true one"):
        check_grads(wrong, p, Y, mode=mode)


# ---- layers ----


class Affine:
    """A user layer with a selectable mistake."""

    def __init__(self, n_in, n_out, slip=None, dtype=np.float32):
        self.slip = slip
        draw = np.random.default_rng(1).standard_normal
        self.params = {"weight": draw((n_in, n_out)).astype(dtype), "bias": draw(n_out).astype(dtype)}
        self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}

    def forward(self, x):
        self.x = x
        return x @ self.params["weight"] + self.params["bias"]

    def backward(self, dy):
        d_weight, d_bias, weight = self.x.T @ dy, dy.sum(axis=0), self.params["weight"]
        if self.slip == "dx":
            return dy @ weight
        if self.slip == "transposed":
            d_weight = d_weight.T
        if self.slip == "mean":
            d_bias = d_bias / len(dy)
        if self.slip == "added":
            self.grads["weight"] += d_weight
        else:
            self.grads["weight"][...] = d_weight
        self.grads["bias"] = d_bias
        return dy @ weight.T


@MODES
def test_user_layer(mode):
    layer = Affine(4, 4)
    weight = layer.params["weight"]
    report = check_grads(layer, Z, mode=mode)
    assert [array.name for array in report.arrays] == ["x", "weight", "bias"]
    assert layer.params["weight"] is weight
    assert weight.dtype == np.float32
    assert not layer.grads["weight"].any()


@MODES
@pytest.mark.parametrize(
    ("slip", "message"),
    [
        ("dx", "wrong gradient over x"),
        ("transposed", "weight .*\n.*is the transpose of the true one"),
        ("mean", r"wrong gradient over bias .*\n.*\n.*\n.*bias \(4,\).*\n.* 1/N too much\? \(N = 6\)"),
        ("added", "weight .* given nan"),
    ],
)
def test_wrong_user_layer(mode, slip, message):
    with pytest.raises(GradientError, match=message):
        check_grads(Affine(4, 4, slip), Z, mode=mode)


@MODES
@pytest.mark.parametrize(
    "layer",
    [
        *[nn.Linear(4, 3), nn.Linear(4, 3, bias=False), nn.LayerNorm(4), nn.Dropout(0.5, rng=0)],
        *[nn.ReLU(), nn.LeakyReLU(0.1), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.SiLU()],
        *[nn.Softmax(2.0), nn.LogSoftmax(0.5)],
    ],
    ids=repr,
)
def test_package_layers(mode, layer):
    assert check_grads(layer, Z, mode=mode).ok


class Scale:
    """A user layer whose gradients exist from the first backward pass."""

    def initialize(self, rng, dtype):
        self.params = {"gain": np.full(4, 2, dtype)}

    def forward(self, x, training=False):
        assert training
        self.x = x
        return x * self.params["gain"]

    def backward(self, dy, input_grad=True):
        self.grads["gain"][...] = (dy * self.x).sum(axis=0)
        return dy * self.params["gain"]


def test_layer_initialized_by_model():
    report = check_grads(Scale(), Z)
    assert [array.name for array in report.arrays] == ["x", "gain"]


# ---- models ----


@MODES
@pytest.mark.parametrize("loss", [None, nn.CrossEntropyLoss(on="probs"), nn.MSELoss()])
def test_models(mode, loss):
    model = nn.Sequential(
        nn.Linear(4, 5), nn.GELU(), nn.Dropout(0.3), nn.Linear(5, 4), nn.Softmax(2.0), rng=0
    )
    before = model.params.copy()
    report = check_grads(model, Z, *([] if loss is None else [Y]), loss=loss, mode=mode)
    assert [array.name for array in report.arrays] == ["x", "0.weight", "0.bias", "3.weight", "3.bias"]
    np.testing.assert_array_equal(model.params, before)
    assert model.dtype == np.float32


def test_model_with_wrong_layer():
    model = nn.Sequential(nn.Linear(4, 4), Affine(4, 4, "transposed"), nn.Softmax(), rng=0)
    with pytest.raises(GradientError, match=r"wrong gradient over 1.weight"):
        check_grads(model, Z, Y, loss=nn.MSELoss())


def test_model_with_wrong_loss():
    model = nn.Sequential(nn.Linear(4, 4), rng=0)
    with pytest.raises(GradientError, match=r"over x, 0.weight, 0.bias"):
        check_grads(model, Z, LABELS, loss=Broken(2.0))


# ---- entries that are not finite ----


def masked(fill, shape=(4, 6)):
    x = np.random.default_rng(0).standard_normal(shape)
    x[0, 1] = x[2, 3] = x[2, 5] = fill
    return x


@pytest.mark.parametrize("mode", ["directional", "full"])
def test_masked_classes(mode):
    """Classes of -inf are left out, and said so; wrong gradients beside them are found."""
    x, labels = masked(-np.inf), np.array([0, 1, 2, 3])
    report = check_grads(fastsm.softmax, x, vjp=fastsm.softmax_vjp, mode=mode)
    assert (report.ok, report.arrays[0].left_out, report.left_out) == (True, 3, 0)
    assert "(3 that are not finite left out), largest error" in str(report)
    report = check_grads(fastsm.log_softmax, x, vjp=fastsm.log_softmax_vjp, mode=mode)
    assert (report.ok, report.arrays[0].left_out, report.left_out) == (True, 3, 3)
    assert "; 3 outputs that are not finite left out)" in str(report)
    assert check_grads(nn.CrossEntropyLoss(), x, labels, mode=mode).arrays[0].left_out == 3
    assert check_grads(lambda z: fastsm.cross_entropy_with_grad(z, labels), x, mode=mode).ok
    assert check_grads(nn.Softmax(), x, mode=mode).ok
    with pytest.raises(GradientError) as caught:
        check_grads(fastsm.softmax, x, vjp=lambda y, dy: dy, mode=mode)
    assert (caught.value.report.worst.wrong, caught.value.report.worst.left_out) == (21, 3)


@pytest.mark.parametrize("mode", ["directional", "full"])
@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf])
def test_ignored_rows(mode, fill):
    """What an ignored row holds has no gradient; NaN given there is not looked at."""
    x, labels = masked(fill), np.array([-1, 1, -1, 3])
    loss = nn.CrossEntropyLoss(ignore_index=-1)
    assert check_grads(loss, x, labels, mode=mode).arrays[0].left_out == 3

    def given(z):
        value, gradient = loss.value_and_grad(z, labels)
        return value, np.where(np.isfinite(z), gradient, np.nan)

    assert check_grads(given, x, mode=mode).ok
    with pytest.raises(GradientError, match="1 wrong"):
        check_grads(lambda z: (given(z)[0], given(z)[1] + np.eye(4, 6)[[3, 0, 1, 2]] * [1, 0, 0, 0, 0, 0]), x)


def test_many_masked_entries():
    """Among very many entries, too, only finite ones are looked at."""
    x = masked(-np.inf, (60, 50))
    with pytest.raises(GradientError) as caught:
        check_grads(fastsm.softmax, x, vjp=lambda y, dy: dy + np.nan)
    assert caught.value.report.worst.wrong <= 2000
    assert np.isfinite(x[caught.value.report.worst.index])


# ---- errors ----


class Noise:
    """A user layer whose random numbers cannot be fixed."""

    def forward(self, x):
        return x + np.random.default_rng().standard_normal(x.shape)

    def backward(self, dy):
        return dy


def single(x):
    return np.float32(np.sum(x)), np.ones_like(x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_grads(Noise(), Z), ValueError, "must give the same result twice"),
        (lambda: check_grads(single, Z), TypeError, "must compute in float64 .* got float32"),
        (lambda: check_grads(3, Z), TypeError, "must be a function, a loss, a layer or a model, got int"),
        (lambda: check_grads(nn.ReLU, Z), TypeError, "got the class ReLU"),
        (lambda: check_grads(squared_error, Z, mode="all"), ValueError, "`mode` must be"),
        (lambda: check_grads(squared_error, Z, directions=0), ValueError, "`directions` must be"),
        (lambda: check_grads(squared_error, Z, directions=1.5), TypeError, "`directions` must be"),
        (lambda: check_grads(squared_error, Z, tolerance=0), ValueError, "`tolerance` must be"),
        (lambda: check_grads(squared_error, Z, sample_weight=[1]), TypeError, "`sample_weight` must be None"),
        (lambda: check_grads(squared_error, Z, Y, loss=nn.MSELoss()), TypeError, "`f` must be a model"),
        (lambda: check_grads(lambda x: x.sum(), Z), TypeError, r"must return \(value, gradient\)"),
        (lambda: check_grads(lambda x: (x, x), Z), ValueError, "must return one number as value"),
        (lambda: check_grads(lambda x: (x.sum(), (x, x)), Z), ValueError, "at most one gradient"),
        (lambda: check_grads(lambda x: (x.sum(), None), Z), ValueError, "at least one gradient"),
        (lambda: check_grads(lambda y: (0.0, y), LABELS), TypeError, "y must be a floating array"),
        (lambda: check_grads(nn.MSELoss(), Z), TypeError, "its outputs and its targets, got 1"),
        (lambda: check_grads(nn.ReLU(), Z, Z), TypeError, "one array, its input, got 2"),
        (lambda: check_grads(nn.ReLU(), Z, vjp=lambda y, dy: dy), TypeError, "`vjp` must be None for layers"),
        (lambda: check_grads(nn.MSELoss(), Z, Z, vjp=fastsm.softmax_vjp), TypeError, "`vjp` must be None"),
        (
            lambda: check_grads(nn.MSELoss(), Z + np.nan, Z),
            ValueError,
            "must return a finite result, got none",
        ),
        (lambda: check_grads(nn.ReLU(), np.full(3, np.inf)), ValueError, "must return a finite result"),
        (lambda: check_grads(lambda x: (0.0, 0 * x), Z * np.inf), ValueError, "`x` must have finite entries"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("seed", [2, 8])
def test_trained_model(seed):
    """Where p is near 1, rounding errors of -log p are not reported as wrong gradients."""
    rng = np.random.default_rng(1)
    rng.standard_normal((6, 4))
    x, labels = rng.standard_normal((6, 4)), np.array([0, 3, 1, 1, 2, 3])
    loss = nn.CrossEntropyLoss(on="probs")
    model = nn.MLP([4, 64, 4], activation="tanh", head="softmax", rng=seed)
    fastsm.fit(model, x, labels, loss=loss, optimizer=optim.Adam(0.05), epochs=100, rng=0)
    assert loss(model(x), labels) < 0.01
    assert check_grads(model, x, labels, loss=loss).ok
