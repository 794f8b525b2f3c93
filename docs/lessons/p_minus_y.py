r"""
p - y is the gradient of cross-entropy
======================================

For softmax in the last layer, :math:`p = \operatorname{softmax}(z)`, you read everywhere :math:`\partial L /
\partial z = p - y`. It is short, has the right size, and trains a network. So it often stays in the code when
the loss is changed to the squared error. Then the network minimises one loss and prints another. This page
measures how far apart the two are.
"""

# %%
# What p - y is
# -------------
#
# It is the *whole* derivative from the loss to the logits, for softmax followed by cross-entropy
# :math:`L = -\sum_k y_k \log p_k` with :math:`\sum_k y_k = 1`. The derivative of the loss and the Jacobian of
# the softmax are both in it:
#
# .. math:: J^T \Bigl( -\frac{y}{p} \Bigr)
#           &= p \circ \Bigl( -\frac{y}{p} - \Bigl\langle p, -\frac{y}{p} \Bigr\rangle \Bigr) \\
#           &= -y + p \sum_k y_k = p - y
#
# For another loss, :math:`L'` is different and nothing cancels:
#
# .. math:: \frac{\partial L}{\partial z} = p \circ \bigl( L' - \langle p, L' \rangle \bigr).
#
# Both for the squared error, with one row and three classes:

import matplotlib.pyplot as plt
import numpy as np
from numpy.testing import assert_allclose

import fastsm
from fastsm import nn, testing

p = np.array([[0.2, 0.3, 0.5]])
y = np.array([[0.0, 1.0, 0.0]])
L_prime = 2 / 3 * (p - y)  # of the mean of (p - y)^2
true = fastsm.softmax_vjp(p, L_prime)
print("p - y:            ", p - y)
print("the true gradient:", true)
assert_allclose(true, [[0.016, -0.156, 0.14]])
assert_allclose(fastsm.softmax_vjp(p, -y / p), p - y)

# %%
# :func:`fastsm.testing.check_grads` finds this. The layer below returns its incoming gradient, which is right
# only if that is :math:`p - y` already. (The ``Softmax`` layer of Thinc 9.1.1 does the same: with the
# identity as its weights and :math:`dp = (1, 1, 1)` it returned :math:`(1, 1, 1)`, where the true gradient is
# 0.)


class HandedThrough:
    emits = "probs"

    def forward(self, z):
        return fastsm.softmax(z)

    def backward(self, dp):
        return dp.copy()


z = np.array([[1.0, 0.0, 2.0], [0.5, 0.0, 0.0]])
try:
    testing.check_grads(HandedThrough(), z)
except testing.GradientError as error:
    print(error)
else:
    raise AssertionError("this backward pass is wrong")
assert testing.check_grads(nn.Softmax(), z).ok

# %%
# How far apart
# -------------
#
# Take 1000 rows of random logits for 10 classes, with random labels. The true gradient of each loss is
# checked first, then compared with :math:`p - y` by the cosine of the angle between the two, over the whole
# batch, as a step follows the batch. A cosine of 1 is the same direction.

rng = np.random.default_rng(11)
logits = 2 * rng.standard_normal((1000, 10))
one_hot = np.eye(10)[rng.integers(0, 10, 1000)]
soft = fastsm.softmax(2 * rng.standard_normal((1000, 10)))  # soft labels


def cosine(a, b, axis=None):
    squares = np.sum(a * a, axis=axis) * np.sum(b * b, axis=axis)
    return np.sum(a * b, axis=axis) / np.sqrt(squares)


def true_gradient(loss, z, y):
    """Return the gradient over the logits, times the number of rows."""
    model = nn.Sequential(nn.Softmax(), dtype="float64")
    assert testing.check_grads(model, z, y, loss=loss).ok
    _, dz = nn.value_and_grad(model, loss, z, y, input_grad=True)
    return len(z) * dz


losses = {
    "cross-entropy": nn.CrossEntropyLoss(on="probs"),
    "MSE": nn.MSELoss(),
    "MAE": nn.MAELoss(),
    "focal": nn.FocalLoss(gamma=2.0, on="probs"),
}
p = fastsm.softmax(logits)
over_batch, by_row = {}, {}
print("                       batch     rows: least, median")
for kind, y in {"one-hot": one_hot, "soft": soft}.items():
    for name, loss in losses.items():
        true = true_gradient(loss, logits, y)
        batch = over_batch[kind, name] = cosine(p - y, true)
        rows = by_row[kind, name] = cosine(p - y, true, axis=1)
        three = f"{batch:6.3f} {rows.min():10.3f} {np.median(rows):6.3f}"
        print(f"{name:13s} {kind:7s} {three}")

for kind in ("one-hot", "soft"):
    assert_allclose(over_batch[kind, "cross-entropy"], 1)
    assert over_batch[kind, "MAE"] < over_batch[kind, "MSE"] < 0.7
    assert 0.99 < over_batch[kind, "focal"] < 0.999

# %%
# For the squared and the absolute error the gradient of the batch has another direction. The focal loss looks
# harmless here; training will show that it is not.
#
# Row by row
# ----------
#
# Two of the losses have a cosine of exactly 1 in every row when :math:`y` has a single 1, for class
# :math:`k`. The reason is that they depend on :math:`p_k` alone: the focal loss by definition, and the sum of
# absolute errors since :math:`\sum_i |p_i - y_i|` :math:`= (1 - p_k) + \sum_{i \neq k} p_i` :math:`= 2 (1
# - p_k)`. For any such loss :math:`L = f(p_k)`
#
# .. math:: \frac{\partial L}{\partial z} &= f'(p_k) \frac{\partial p_k}{\partial z} \\
#           &= f'(p_k)\, p_k\, (y - p) = w(p_k)\, (p - y)
#
# with :math:`w(p_k) = -p_k f'(p_k)`.
#
# The direction of a row is right and its *length* is wrong: :math:`p - y` gives every row the weight 1, the
# true gradient gives it :math:`w(p_k)`. A step sums the rows, so other weights change its direction. For the
# squared error the direction of a row is wrong too, and with soft targets it is wrong for all three losses.

for name in ("MAE", "focal"):
    assert_allclose(by_row["one-hot", name], 1)
    assert by_row["soft", name].min() < 0.5
assert by_row["one-hot", "MSE"].min() < 0.5
assert by_row["soft", "MSE"].min() < 0.5

weights = {
    "cross-entropy": lambda q: np.ones_like(q),
    # f = 2 (1 - q) / 10, the mean over 10 classes
    "MAE": lambda q: 2 / 10 * q,
    # f = -(1 - q)^2 log q
    "focal": lambda q: (1 - q) ** 2 - 2 * q * (1 - q) * np.log(q),
}
p_k = p[one_hot == 1]
_, (left, right) = plt.subplots(1, 2)
for name, weight in weights.items():
    true = true_gradient(losses[name], logits, one_hot)
    lengths = np.linalg.norm([true, p - one_hot], axis=2)
    ratio = lengths[0] / lengths[1]
    assert_allclose(ratio, weight(p_k), rtol=1e-6)
    left.plot(p_k, ratio, ".", markersize=3, label=name)
left.set(xlabel="probability of the label", ylim=(-0.05, 1.8))
left.set_title("length of a row, in p - y")
left.legend(markerscale=4, loc="upper right")
right.hist(by_row["one-hot", "MSE"], bins=40)
right.set(xlabel="cosine with p - y", ylabel="rows")
right.set_title("MSE: direction of a row")

# %%
# The left figure shows which rows each loss cares for. Cross-entropy gives no row up, however wrong it is.
# The absolute error does: where :math:`p_k` is near 0 its gradient is small, so it tolerates wrong labels (A.
# Ghosh, H. Kumar and P. S. Sastry, "Robust loss functions under label noise for deep neural networks", AAAI
# 2017). Training with :math:`p - y` throws away what you chose the loss for.
#
# With two classes the direction of a row is always right up to its sign, since the elements of the true
# gradient and of :math:`p - y` both sum to 0, and pairs of numbers that sum to 0 all lie on one line.

z2, y2 = logits[:, :2], np.eye(2)[one_hot[:, 0].astype(int)]
true = true_gradient(nn.MSELoss(), z2, y2)
assert_allclose(cosine(fastsm.softmax(z2) - y2, true, axis=1), 1)

# %%
# Why it seems to work
# --------------------
#
# Take the squared error, and write :math:`d = p - y`. The inner product of a row's true gradient with
# :math:`d` is
#
# .. math:: & \Bigl\langle d,\ \tfrac2C\, p \circ (d - \langle p, d \rangle) \Bigr\rangle \\
#           &= \tfrac2C \Bigl( \sum_i p_i d_i^2 - \bigl( \sum_i p_i d_i \bigr)^2 \Bigr) \geq 0,
#
# as the bracket is a variance of :math:`d` under the probabilities :math:`p`. A step along :math:`-(p - y)`
# over the logits of one row makes its squared error smaller. So the loss that you print falls at first, and
# nothing looks wrong. This does not hold for every loss: for the focal loss with soft targets some rows go
# uphill.

d = p - one_hot
variance = np.sum(p * d**2, axis=1) - np.sum(p * d, axis=1) ** 2
true = true_gradient(nn.MSELoss(), logits, one_hot)
inner = np.sum(d * true, axis=1)
assert_allclose(inner, 2 / 10 * variance, atol=1e-12)
assert inner.min() > 0
assert by_row["soft", "focal"].min() < 0

# %%
# Trained with the wrong gradient
# -------------------------------
#
# Take 300 points of 3 classes, with 30 % of the labels drawn again at random, and one linear layer. Train it
# three times for each loss: with the true gradient; with :math:`p - y`; and from the end of the second
# training on with the true gradient. The curves show the loss itself.

rng = np.random.default_rng(13)
X = rng.standard_normal((300, 5))
labels = X[:, :3].argmax(axis=1)
drawn_again = rng.random(300) < 0.3
labels[drawn_again] = rng.integers(0, 3, drawn_again.sum())
y = np.eye(3)[labels]
STEPS = 400


def train(loss, model, shortcut):
    """Return the loss at each step, and the length of the last gradient."""
    linear, curve = model.layers[0], []
    for _ in range(STEPS):
        p = model.forward(X, training=True)
        value, dp = loss.value_and_grad(p, y)
        dz = (p - y) / len(p) if shortcut else fastsm.softmax_vjp(p, dp)
        linear.backward(dz, input_grad=False)
        model.params[...] -= (1.0 if shortcut else 3.0) * model.grads
        curve.append(value)
    return curve, np.linalg.norm(model.grads)


_, axes = plt.subplots(1, 3)
for ax, name in zip(axes, ("MSE", "MAE", "focal"), strict=True):
    loss = losses[name]
    layers = nn.Linear(5, 3, init="zeros"), nn.Softmax()
    model = nn.Sequential(*layers, dtype="float64")
    true, _ = train(loss, model, shortcut=False)
    model.params[...] = 0
    wrong, length = train(loss, model, shortcut=True)
    assert length < 1e-6  # it has arrived
    after, _ = train(loss, model, shortcut=False)
    ends = f"{true[-1]:.4f}, p - y {wrong[-1]:.4f}, from there {after[-1]:.4f}"
    print(f"{name:5s} true gradient {ends}")
    assert max(true[-1], after[-1]) < 0.95 * wrong[-1]
    if name == "focal":
        assert wrong[-1] > 1.1 * min(wrong)  # it even rose again
    ax.plot(true, label="true gradient")
    ax.plot(wrong, label="p - y")
    later = range(STEPS, 2 * STEPS)
    ax.plot(later, after, "--", color="C0", label="from there")
    ax.set(title=name, xlabel="step", xticks=[0, 2 * STEPS])
    ax.locator_params(axis="y", nbins=5)
axes[0].set_ylabel("loss")
axes[2].legend()

# %%
# :math:`p - y` converges to the minimum of cross-entropy. The intended loss still has a slope there, and
# falls as soon as its own gradient is used. The focal loss, for which the two directions looked alike on
# random logits, even rises on the way: near the end the rows' gradients nearly cancel, and their weights
# decide the remaining direction.
#
# Where a - y is right
# --------------------
#
# Three pairs of an output and a loss have :math:`a - y` as their
# gradient over :math:`z`, and each is a pair for the same reason: the loss is the negative log-likelihood for
# which the output is the natural one (the canonical link; C. M. Bishop, "Pattern Recognition and Machine
# Learning", 2006, section 4.3.6). Change one half of a pair, and this no longer holds.

z, y = logits[:5, :3], one_hot[:5, :3]


def softmax_and_cross_entropy(z):
    a = fastsm.softmax(z)
    return -np.sum(y * np.log(a)), a * y.sum(axis=1, keepdims=True) - y


def sigmoid_and_binary_cross_entropy(z):
    a = 1 / (1 + np.exp(-z))
    return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)), a - y


def identity_and_half_the_squared_error(z):
    a = z
    return np.sum((a - y) ** 2) / 2, a - y


assert testing.check_grads(softmax_and_cross_entropy, z).ok
assert testing.check_grads(sigmoid_and_binary_cross_entropy, z).ok
assert testing.check_grads(identity_and_half_the_squared_error, z).ok

# %%
# The first one uses :math:`p \sum_k y_k - y`, as these rows were cut out of wider ones and some contain no 1.
# This and the other options of a cross-entropy, for one row:
#
# .. list-table::
#    :header-rows: 1
#
#    * - Change
#      - The gradient over z
#    * - targets sum to :math:`s`
#      - :math:`s\, p - y`
#    * - temperature, :math:`p = \operatorname{softmax}(z / T)`
#      - :math:`(p - y) / T`
#    * - the row has the weight :math:`w`
#      - :math:`w\, (p - y)`
#    * - label smoothing :math:`\varepsilon`
#      - :math:`p - (1 - \varepsilon)\, y - \varepsilon / C`
#    * - the mean over :math:`N` rows
#      - :math:`(p - y) / N`

z, y, T, eps = logits[:4], one_hot[:4], 2.0, 0.1
p, hot = fastsm.softmax(z), fastsm.softmax(z, temperature=T)
w = np.array([1.0, 2.0, 0.0, 0.5])


def gradient(y, reduction="sum", **options):
    return fastsm.cross_entropy_with_grad(z, y, reduction=reduction, **options)[1]


for given, expected in (
    (gradient(y), p - y),
    (gradient(3 * y), 3 * p - 3 * y),
    (gradient(y, temperature=T), (hot - y) / T),
    (gradient(y, sample_weight=w), w[:, None] * (p - y)),
    (gradient(y, label_smoothing=eps), p - (1 - eps) * y - eps / 10),
    (gradient(y, reduction="mean"), (p - y) / 4),
):
    assert_allclose(given, expected, atol=1e-14)

# %%
# Summary
# -------
#
# .. code-block:: python
#
#    loss, dz = fastsm.cross_entropy_with_grad(z, y)  # cross-entropy: p - y
#    dz = fastsm.softmax_vjp(p, L_prime)  # any other: its gradient over p
#
# A model that ends in :class:`fastsm.nn.Softmax` chooses for you: the first line for a cross-entropy on
# probabilities, the second for :class:`fastsm.nn.MSELoss` or a custom loss.

model = nn.Sequential(nn.Linear(10, 10), nn.Softmax(), rng=0)
for loss in losses.values():
    assert testing.check_grads(model, z, y, loss=loss).ok
