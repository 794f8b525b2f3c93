"""Common questions about softmax and backpropagation, in the notation and shapes of those who ask."""

import numpy as np
import pytest
from checks import numeric_gradient

import fastsm
from fastsm import nn
from fastsm.testing import check_grads


def agree(gradient, expected):
    """Check a gradient against finite differences."""
    assert gradient.shape == expected.shape
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8 * max(1, np.abs(expected).max()))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# ---- 1. A softmax that combines with any loss ----
# "dL/dz = L'(a, y) o sigma'(z): with sigmoid both are n_out x 1, with softmax sigma' is n_out x n_out."

LOSSES = {
    "MSE": (lambda a, y: np.mean((a - y) ** 2), lambda a, y: 2 * (a - y) / a.size),
    "MAE": (lambda a, y: np.mean(np.abs(a - y)), lambda a, y: np.sign(a - y) / a.size),
    "cross-entropy": (lambda a, y: -np.sum(y * np.log(a)), lambda a, y: -y / a),
    "own": (lambda a, y: np.sum((a - y) ** 4), lambda a, y: 4 * (a - y) ** 3),
}


@pytest.mark.parametrize("name", LOSSES)
def test_question_1_column_vectors(name):
    """z = W a_before + b with columns n x 1, W is n_out x n_in: one product with the transposed Jacobian."""
    loss, derivative = LOSSES[name]
    rng = np.random.default_rng(1)
    n_in, n_out = 5, 4
    W, b = rng.standard_normal((n_out, n_in)), rng.standard_normal((n_out, 1))
    before, y = rng.standard_normal((n_in, 1)), np.eye(n_out)[:, [2]]

    def forward():
        return fastsm.softmax(W @ before + b, axis=0)

    a = forward()
    L = derivative(a, y)
    J = np.diag(a[:, 0]) - a @ a.T
    np.testing.assert_allclose(fastsm.softmax_jacobian(a[:, 0]), J, atol=1e-16)
    np.testing.assert_allclose(J, J.T)
    dz = fastsm.softmax_vjp(a, L, axis=0)
    assert dz.shape == (n_out, 1)  # again, and no matrix was formed
    np.testing.assert_allclose(dz, J.T @ L, atol=1e-15)
    np.testing.assert_allclose(dz, a * (L - np.sum(a * L)), atol=1e-15)

    def total():
        return loss(forward(), y)

    agree(dz @ before.T, numeric_gradient(total, W))
    agree(dz, numeric_gradient(total, b))
    agree(W.T @ dz, numeric_gradient(total, before))
    if name == "cross-entropy":
        np.testing.assert_allclose(dz, a - y, atol=1e-15)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("layout", ["n_in x n_out", "n_out x n_in"])
def test_question_1_rows_are_samples(name, layout):
    loss, derivative = LOSSES[name]
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((7, 5)), np.eye(4)[rng.integers(0, 4, 7)]
    W, b = rng.standard_normal((5, 4) if layout == "n_in x n_out" else (4, 5)), rng.standard_normal(4)

    def forward():
        return fastsm.softmax(x @ (W if layout == "n_in x n_out" else W.T) + b)

    a = forward()
    dz = fastsm.softmax_vjp(a, derivative(a, y))
    for row in range(7):
        J = np.diag(a[row]) - np.outer(a[row], a[row])
        np.testing.assert_allclose(dz[row], J @ derivative(a, y)[row], atol=1e-15)
    expected = numeric_gradient(lambda: loss(forward(), y), W)
    agree(x.T @ dz if layout == "n_in x n_out" else dz.T @ x, expected)
    agree(dz.sum(axis=0), numeric_gradient(lambda: loss(forward(), y), b))


@pytest.mark.parametrize("name", LOSSES)
def test_question_1_as_a_model(name):
    """Any loss works after nn.Softmax; a user loss takes three lines."""
    objects = {"MSE": nn.MSELoss(), "MAE": nn.MAELoss(), "cross-entropy": nn.CrossEntropyLoss(on="probs")}

    @nn.loss(on="probs")
    def own(p, y):
        return ((p - y) ** 4).sum(axis=1), 4 * (p - y) ** 3

    loss = objects.get(name, own)
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((7, 5)), np.eye(4)[rng.integers(0, 4, 7)]
    model = nn.Sequential(
        nn.Linear(5, 6), nn.Sigmoid(), nn.Linear(6, 4), nn.Softmax(), dtype="float64", rng=0
    )
    nn.value_and_grad(model, loss, x, y)
    agree(model.grads, numeric_gradient(lambda: loss(model(x), y), model.params))


def test_question_1_diagonal_jacobian():
    """Elementwise is the special case: the VJP of sigmoid is L' o sigma'(z)."""
    z, L = np.random.default_rng(4).standard_normal((2, 3, 4))
    layer = nn.Sigmoid()
    a = layer.forward(z).copy()
    np.testing.assert_allclose(layer.backward(L), L * a * (1 - a), atol=1e-16)


# ---- 2. Why is it softmax'(a) and not softmax'(z)? ----
# z = x w + b, a = f(z), E = (1/N) sum (a_i - y_i)^2


def softmax_derivative(v):
    """Return the Jacobian of softmax from its output."""
    return np.diag(v) - np.outer(v, v)


def test_question_2_derivative_by_a_or_z():
    z = np.array([0.5, -1.0, 2.0, 0.1])
    a = fastsm.softmax(z)
    # da_i/dz_m = a_i (1 - a_m) if i = m, else -a_m a_i, written with z instead of a
    e = np.exp(z)
    in_z = np.array([[e[i] * ((i == m) * e.sum() - e[m]) / e.sum() ** 2 for m in range(4)] for i in range(4)])
    ones = np.ones((4, 1))
    in_vectors = (a[:, None] @ ones.T) * (np.eye(4) - ones @ a[None])  # a e^T o (I - e a^T)
    numeric = np.array([(fastsm.softmax(z + h) - fastsm.softmax(z - h)) / 2e-6 for h in 1e-6 * np.eye(4)]).T
    for jacobian in (in_z, in_vectors, softmax_derivative(a), fastsm.softmax_jacobian(a)):
        np.testing.assert_allclose(jacobian, numeric, atol=1e-9)
    # The function that is written for a, handed z, computes something else; it is not even of that size.
    assert np.abs(softmax_derivative(z) - numeric).max() > 1


@pytest.mark.parametrize(
    ("layer", "from_output", "from_input"),
    [
        (nn.Sigmoid, lambda a: a * (1 - a), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
        (nn.Tanh, lambda a: 1 - a**2, lambda z: 1 / np.cosh(z) ** 2),
    ],
)
def test_question_2_sigmoid_and_tanh(layer, from_output, from_input):
    z = np.linspace(-3, 3, 12).reshape(3, 4)
    layer = layer()
    a = layer.forward(z).copy()
    np.testing.assert_allclose(from_output(a), from_input(z), rtol=1e-12)
    np.testing.assert_allclose(layer.backward(np.ones_like(z)), from_input(z), rtol=1e-12)
    assert np.abs(from_output(z) - from_input(z)).max() > 0.5


def test_question_2_mse_through_softmax():
    """The gradient has the factor 2/N and a product with the Jacobian, not elementwise (a - y) f'(z) x."""
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((1, 3)), np.array([[0.0, 1.0, 0.0, 0.0]])
    w, b = rng.standard_normal((3, 4)), rng.standard_normal((1, 4))
    a = fastsm.softmax(x @ w + b)
    dz = fastsm.softmax_vjp(a, 2 / a.size * (a - y))
    expected = numeric_gradient(lambda: np.mean((fastsm.softmax(x @ w + b) - y) ** 2), w)
    agree(x.T @ dz, expected)
    for wrong in ((a - y) * a * (1 - a), 2 / a.size * (a - y) * a * (1 - a), a - y):
        assert np.abs(x.T @ wrong - expected).max() > 0.01
    # z need not be kept, so that all can happen in one array
    z = x @ w + b
    fastsm.softmax(z, out=z)
    np.testing.assert_allclose(fastsm.softmax_vjp(z, 2 / a.size * (z - y), out=z), dz, atol=1e-16)


# ---- 3. Softmax and cross-entropy through hidden layers: from indices to matrices ----
# a_{l-2} -> z_{l-1} = w_{l-1} a_{l-2} + b_{l-1} -> a_{l-1} = sigma(z_{l-1}) -> z_l = w_l a_{l-1} + b_l -> P


def test_question_3_products_of_one_sample():
    rng = np.random.default_rng(6)
    a0 = rng.standard_normal((4, 1))
    w1, b1 = rng.standard_normal((5, 4)), rng.standard_normal((5, 1))
    w2, b2 = rng.standard_normal((3, 5)), rng.standard_normal((3, 1))
    y = np.array([[0.0], [1.0], [0.0]])

    def forward():
        a1 = sigmoid(w1 @ a0 + b1)
        return a1, w2 @ a1 + b2

    def loss():
        return -np.sum(y * fastsm.log_softmax(forward()[1], axis=0))

    a1, z2 = forward()
    p = fastsm.softmax(z2, axis=0)
    delta2 = p - y  # 3 x 1
    dw2 = delta2 @ a1.T  # an outer product
    delta1 = (w2.T @ delta2) * a1 * (1 - a1)  # w transposed on the way back; sigma' elementwise
    dw1 = delta1 @ a0.T
    for gradient, array in ((dw2, w2), (delta2, b2), (dw1, w1), (delta1, b1), (w1.T @ delta1, a0)):
        agree(gradient, numeric_gradient(loss, array))
    # In indices: dL/dw2_kj = (p_k - y_k) a1_j and dL/dz1_j = sum_k (p_k - y_k) w2_kj sigma'(z1_j)
    for k in range(3):
        for j in range(5):
            assert dw2[k, j] == pytest.approx((p[k, 0] - y[k, 0]) * a1[j, 0])
    for j in range(5):
        total = sum((p[k, 0] - y[k, 0]) * w2[k, j] for k in range(3)) * a1[j, 0] * (1 - a1[j, 0])
        assert delta1[j, 0] == pytest.approx(total)


def test_question_3_a_batch_of_rows():
    rng = np.random.default_rng(7)
    X, labels = rng.standard_normal((8, 4)), rng.integers(0, 3, 8)
    model = nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3), dtype="float64", rng=0)
    loss = nn.CrossEntropyLoss()
    _, dx = nn.value_and_grad(model, loss, X, labels, input_grad=True)
    first, _, second = model.layers
    A = sigmoid(X @ first.params["weight"] + first.params["bias"])
    P = fastsm.softmax(A @ second.params["weight"] + second.params["bias"])
    delta = (P - np.eye(3)[labels]) / 8  # one 1/N
    np.testing.assert_allclose(second.grads["weight"], A.T @ delta, atol=1e-15)
    np.testing.assert_allclose(second.grads["bias"], delta.sum(axis=0), atol=1e-15)
    delta = (delta @ second.params["weight"].T) * A * (1 - A)
    np.testing.assert_allclose(first.grads["weight"], X.T @ delta, atol=1e-15)
    np.testing.assert_allclose(first.grads["bias"], delta.sum(axis=0), atol=1e-15)
    np.testing.assert_allclose(dx, delta @ first.params["weight"].T, atol=1e-15)
    agree(model.grads, numeric_gradient(lambda: loss(model(X), labels), model.params))


def test_question_3_unnormalized_targets():
    z, y = np.random.default_rng(8).random((2, 1, 4))
    p = fastsm.softmax(z)
    _, dz = nn.CrossEntropyLoss().value_and_grad(z, y)
    np.testing.assert_allclose(dz, p * y.sum() - y, atol=1e-15)
    agree(dz, numeric_gradient(lambda: -np.sum(y * fastsm.log_softmax(z)), z))
    assert np.abs(dz - (p - y)).max() > 0.1


# ---- 4. The staged backward pass of a small network ----
# z1 = x W1 + b1, a1 = tanh(z1), z2 = a1 W2 + b2, a2 = softmax(z2) = yhat, l = log(yhat), PL = l . y^T


@pytest.mark.parametrize("width", [2, 10])
def test_question_4_every_stage(width):
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal((1, 2)), np.eye(width)[[1]]
    W1, b1 = rng.standard_normal((2, 500)), np.zeros((1, 500))
    W2, b2 = 0.1 * rng.standard_normal((500, width)), np.zeros((1, width))
    N = 1
    a1 = np.tanh(x @ W1 + b1)
    z2 = a1 @ W2 + b2
    yhat = fastsm.softmax(z2)

    stages = {"dPL": np.full((1, 1), -1 / N)}
    stages["dl"] = y * stages["dPL"]
    stages["dyhat"] = stages["dl"] / yhat
    jacobian = np.diag(yhat[0]) - yhat.T @ yhat
    stages["dz2"] = fastsm.softmax_vjp(yhat, stages["dyhat"])
    np.testing.assert_allclose(stages["dz2"], stages["dyhat"] @ jacobian, atol=1e-15)
    np.testing.assert_allclose(stages["dz2"], (yhat - y) / N, atol=1e-15)  # which is why
    stages["dW2"], stages["db2"] = a1.T @ stages["dz2"], stages["dz2"]
    stages["da1"] = stages["dz2"] @ W2.T
    stages["dz1"] = stages["da1"] * (1 - a1**2)
    stages["dW1"], stages["db1"] = x.T @ stages["dz1"], stages["dz1"]

    shapes = {"dPL": (1, 1), "da1": (1, 500), "dz1": (1, 500), "db1": (1, 500), "dW1": (2, 500)}
    shapes |= dict.fromkeys(["dl", "dyhat", "dz2", "db2"], (1, width)) | {"dW2": (500, width)}
    assert {name: gradient.shape for name, gradient in stages.items()} == shapes

    def from_yhat(yhat):
        return -np.sum(np.log(yhat) * y) / N

    def from_a1(a1):
        return from_yhat(fastsm.softmax(a1 @ W2 + b2))

    def loss():
        return from_a1(np.tanh(x @ W1 + b1))

    log_yhat = np.log(yhat)
    agree(stages["dl"], numeric_gradient(lambda: -np.sum(log_yhat * y) / N, log_yhat))
    agree(stages["dyhat"], numeric_gradient(lambda: from_yhat(yhat), yhat))
    agree(stages["dz2"], numeric_gradient(lambda: from_yhat(fastsm.softmax(z2)), z2))
    agree(stages["da1"], numeric_gradient(lambda: from_a1(a1), a1))
    for name, array in {"dW2": W2, "db2": b2, "dW1": W1, "db1": b1}.items():
        agree(stages[name], numeric_gradient(loss, array))

    model = nn.Sequential(nn.Linear(2, 500), nn.Tanh(), nn.Linear(500, width), nn.Softmax(), dtype="float64")
    for layer, weight, bias in ((model.layers[0], W1, b1), (model.layers[2], W2, b2)):
        layer.params["weight"][...], layer.params["bias"][...] = weight, bias[0]
    assert nn.value_and_grad(model, nn.CrossEntropyLoss(on="probs"), x, y) == pytest.approx(loss())
    np.testing.assert_allclose(model.layers[0].grads["weight"], stages["dW1"], atol=1e-14)
    np.testing.assert_allclose(model.layers[0].grads["bias"], stages["db1"][0], atol=1e-14)
    np.testing.assert_allclose(model.layers[2].grads["weight"], stages["dW2"], atol=1e-14)
    np.testing.assert_allclose(model.layers[2].grads["bias"], stages["db2"][0], atol=1e-14)


def test_question_4_underflow_of_staged_form():
    z2, y = np.array([[120, 0, 0]], np.float32), np.array([[0, 1, 0]], np.float32)
    yhat = fastsm.softmax(z2)
    with np.errstate(divide="ignore", invalid="ignore"):
        staged = fastsm.softmax_vjp(yhat, -y / yhat)
        clipped = fastsm.softmax_vjp(yhat, -y / np.maximum(yhat, 1e-7))
    assert np.isnan(staged).any()
    np.testing.assert_array_equal(clipped, 0)  # where the model is most wrong
    _, fused = fastsm.cross_entropy_with_grad(z2, y)
    np.testing.assert_array_equal(fused, [[1, -1, 0]])


def test_question_4_trains():
    """The asker's network on two moons."""
    rng = np.random.default_rng(10)
    angle, labels = np.pi * rng.random(200), np.arange(200) % 2
    moons = np.column_stack([np.cos(angle), np.sin(angle)])
    moons[labels == 1] = [1, 0.5] - moons[labels == 1]
    moons += 0.1 * rng.standard_normal(moons.shape)
    model = nn.Sequential(nn.Linear(2, 500), nn.Tanh(), nn.Linear(500, 2), nn.Softmax(), rng=0)
    loss = nn.CrossEntropyLoss(on="probs")
    first = nn.value_and_grad(model, loss, moons, labels)
    for _ in range(300):
        last = nn.value_and_grad(model, loss, moons, labels)
        model.params[...] -= np.float32(0.1) * model.grads
    assert last < 0.5 * first
    assert np.mean(model(moons).argmax(axis=1) == labels) > 0.85


# ---- 5. Why p - y is right for cross-entropy and wrong for everything else ----


def gradients(loss, z, y):
    """Return p - y, and the true gradient over the logits times the number of rows."""
    model = nn.Sequential(nn.Softmax(), dtype="float64")
    check_grads(model, z, y, loss=loss, mode="full")
    _, true = nn.value_and_grad(model, loss, z, y, input_grad=True)
    return fastsm.softmax(z) - y, len(z) * true


def cosine(a, b, axis=None):
    """Return the cosine of the angle between two arrays."""
    return np.sum(a * b, axis=axis) / np.sqrt(np.sum(a * a, axis=axis) * np.sum(b * b, axis=axis))


def batch():
    """Return logits of 10 classes, and labels as rows with a 1."""
    rng = np.random.default_rng(11)
    return 2 * rng.standard_normal((100, 10)), np.eye(10)[rng.integers(0, 10, 100)]


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(on="probs"), nn.FocalLoss(0.0, on="probs")], ids=repr)
def test_question_5_cross_entropy(loss):
    wrong, true = gradients(loss, *batch())
    np.testing.assert_allclose(true, wrong, atol=1e-14)


@pytest.mark.parametrize(
    ("loss", "below"),
    [(nn.MSELoss(), 0.7), (nn.MAELoss(), 0.6), (nn.FocalLoss(on="probs"), 0.999)],
    ids=repr,
)
def test_question_5_direction_of_p_minus_y(loss, below):
    """Over a batch, which is what a step takes, p - y is the gradient of another loss."""
    wrong, true = gradients(loss, *batch())
    assert 0 < cosine(wrong, true) < below


def test_question_5_row_by_row():
    """With a single 1 in y, losses of the label's probability alone point along p - y, at another length.

    Their gradient is f'(p_k) dp_k/dz = f'(p_k) p_k (y - p). The mean absolute error is such a loss, as
    sum |p - y| = 2 (1 - p_k), and so is the focal loss; the squared error is not. With probabilities as
    targets none of them is.
    """
    z, y = batch()
    soft = fastsm.softmax(batch()[0][::-1])
    for loss in (nn.MAELoss(), nn.FocalLoss(on="probs")):
        wrong, true = gradients(loss, z, y)
        np.testing.assert_allclose(cosine(wrong, true, axis=1), 1, rtol=1e-9)
        ratio = np.linalg.norm(true, axis=1) / np.linalg.norm(wrong, axis=1)
        assert ratio.max() > 3 * ratio.min()
        assert cosine(*gradients(loss, z, soft), axis=1).min() < 0.9
    assert cosine(*gradients(nn.MSELoss(), z, y), axis=1).min() < 0.7


def test_question_5_training_with_p_minus_y():
    """Followed by p - y, the squared error ends where cross-entropy is smallest, which is elsewhere."""
    rng = np.random.default_rng(13)
    X = rng.standard_normal((200, 5))
    labels = (X[:, :3] + 2 * rng.standard_normal((200, 3))).argmax(axis=1)
    y = np.eye(3)[labels]
    ends = {}
    for name in ("true", "shortcut"):
        model = nn.Sequential(nn.Linear(5, 3, init="zeros"), dtype="float64")
        for _ in range(2000):
            p = fastsm.softmax(model.forward(X, training=True))
            dz = fastsm.softmax_vjp(p, 2 * (p - y) / p.size) if name == "true" else (p - y) / len(p)
            model.backward(dz, input_grad=False)
            model.params[...] -= model.grads
        ends[name] = np.mean((fastsm.softmax(model(X)) - y) ** 2)
    assert ends["true"] < ends["shortcut"] - 1e-5
