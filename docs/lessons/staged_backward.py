r"""
The staged backward pass of a small network
===========================================

You go backwards through your network one stage at a time: ``dPL``, ``dl``, ``dyhat``, each with its shape.
At ``dz2`` you are stuck: there are four derivatives, and you need only two numbers. This page derives this
stage and the remaining ones, also for ten classes.
"""

# %%
# The network
# -----------
# One sample, everything in rows:
#
# .. math::
#
#    z_1 &= x W_1 + b_1, & a_1 &= \tanh(z_1) \\
#    z_2 &= a_1 W_2 + b_2, & a_2 &= \operatorname{softmax}(z_2) = \hat y \\
#    l &= \log \hat y, & PL &= l\, y^T \\
#    L &= -\frac{1}{N} \sum PL
#
# The shapes: :math:`x` 1 x 2, :math:`W_1` 2 x 500, :math:`b_1` 1 x 500, :math:`W_2` 500 x 2, :math:`b_2` 1 x
# 2.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np

import fastsm
from fastsm import nn, optim, testing

rng = np.random.default_rng(1)
N = 1
x, y = rng.standard_normal((1, 2)), np.array([[0.0, 1.0]])
W1, b1 = rng.standard_normal((2, 500)), np.zeros((1, 500))
W2, b2 = 0.1 * rng.standard_normal((500, 2)), np.zeros((1, 2))

z1 = x @ W1 + b1
a1 = np.tanh(z1)
z2 = a1 @ W2 + b2
yhat = fastsm.softmax(z2)
log_yhat = np.log(yhat)  # your l
PL = log_yhat @ y.T
L = -np.sum(PL) / N
print(f"yhat = {yhat.round(3)}, L = {L:.3f}")

# %%
# The first stages
# ----------------
# Each stage has the shape of its variable. Check each stage on its own: define the rest of the network as a
# function, and call :func:`fastsm.testing.check_grads`.


def check(name, gradient, rest, value):
    report = testing.check_grads(lambda v: (rest(v), gradient), value)
    error = report.worst.error
    print(f"{name:6} {gradient.shape!s:9} largest error {error:.0e}")
    assert gradient.shape == value.shape
    assert report.ok


dPL = np.full((1, 1), -1 / N)
dl = dPL * y  # PL is a sum of products with y, so each l gets its y
dyhat = dl / yhat  # the derivative of log, entry by entry

check("dPL", dPL, lambda v: -np.sum(v) / N, PL)
check("dl", dl, lambda v: -np.sum(v @ y.T) / N, log_yhat)
check("dyhat", dyhat, lambda v: -np.sum(np.log(v) @ y.T) / N, yhat)

# %%
# The stage dz2
# -------------
# Up to here every entry affected one entry of the next stage. In a softmax it affects all of them: raise one
# logit, and all probabilities change. So there are four derivatives:
#
# .. math::
#
#    J &= \begin{pmatrix}
#    \partial \hat y_1 / \partial z_{2,1} & \partial \hat y_1 / \partial z_{2,2} \\
#    \partial \hat y_2 / \partial z_{2,1} & \partial \hat y_2 / \partial z_{2,2}
#    \end{pmatrix} \\
#    &= \begin{pmatrix}
#    \hat y_1 (1 - \hat y_1) & -\hat y_1 \hat y_2 \\
#    -\hat y_2 \hat y_1 & \hat y_2 (1 - \hat y_2)
#    \end{pmatrix} \\
#    &= \operatorname{diag}(\hat y) - \hat y^T \hat y
#
# All four are needed, and give two numbers. :math:`z_{2,1}` reaches :math:`L` through :math:`\hat y_1` *and*
# through :math:`\hat y_2`, so the chain rule sums both paths:
#
# .. math::
#
#    dz_{2,1} = d\hat y_1 \frac{\partial \hat y_1}{\partial z_{2,1}}
#    + d\hat y_2 \frac{\partial \hat y_2}{\partial z_{2,1}}
#
# and the same for :math:`z_{2,2}`. As a product that is a row of 2 times a matrix of 2 x 2:
# :math:`dz_2 = d\hat y\, J`.

p1, p2 = yhat[0]
J = np.array([[p1 * (1 - p1), -p1 * p2], [-p2 * p1, p2 * (1 - p2)]])
d1, d2 = dyhat[0]
by_hand = [[d1 * J[0, 0] + d2 * J[1, 0], d1 * J[0, 1] + d2 * J[1, 1]]]
assert np.allclose(J, np.diag(yhat[0]) - yhat.T @ yhat)
assert np.allclose(by_hand, dyhat @ J)

# %%
# Write the product out, and the matrix is gone. For any number of classes:
#
# .. math::
#
#    dz_2 &= d\hat y\, (\operatorname{diag}(\hat y) - \hat y^T \hat y) \\
#    &= \hat y \circ (d\hat y - \langle \hat y, d\hat y \rangle)
#
# This takes one inner product and gives C numbers. It is :func:`fastsm.softmax_vjp`, and holds for 1 x 10 as
# well.

dz2 = yhat * (dyhat - np.sum(yhat * dyhat, axis=1, keepdims=True))
assert np.allclose(dz2, dyhat @ J)
assert np.allclose(dz2, fastsm.softmax_vjp(yhat, dyhat))


def from_z2(z2):
    return -np.sum(fastsm.log_softmax(z2) @ y.T) / N


check("dz2", dz2, from_z2, z2)

# %%
# **Why you suspected** :math:`\hat y - y`. Here :math:`d\hat y = -(y / \hat y) / N`. The inner product is
# :math:`-\frac{1}{N} \sum_k \hat y_k\, y_k / \hat y_k = -\frac{1}{N} \sum_k y_k = -\frac{1}{N}`, so
#
# .. math::
#
#    dz_2 = \hat y \circ \left( -\frac{1}{N} \frac{y}{\hat y} + \frac{1}{N} \right) = \frac{\hat y - y}{N}
#
# The logarithm's division by :math:`\hat y` cancels the softmax's factor :math:`\hat y`. With another loss
# there is no such division, and nothing cancels: see :doc:`/learn/p_minus_y`.

assert np.allclose(dz2, (yhat - y) / N)

# %%
# The remaining stages
# --------------------
# Only matrix products and one tanh are left. ``W2`` multiplied from the right, so its transpose does in the
# backward pass; ``tanh`` works entry by entry, so its derivative does too.

dW2 = a1.T @ dz2  # (500, 1) times (1, 2)
db2 = dz2.sum(axis=0, keepdims=True)
da1 = dz2 @ W2.T  # (1, 2) times (2, 500)
dz1 = da1 * (1 - a1**2)  # tanh', written in its output
dW1 = x.T @ dz1  # (2, 1) times (1, 500)
db1 = dz1.sum(axis=0, keepdims=True)


def from_x(x, W1, b1, W2, b2):
    return from_z2(np.tanh(x @ W1 + b1) @ W2 + b2)


check("dW2", dW2, lambda W2: from_x(x, W1, b1, W2, b2), W2)
check("db2", db2, lambda b2: from_x(x, W1, b1, W2, b2), b2)
check("da1", da1, lambda a1: from_z2(a1 @ W2 + b2), a1)
check("dz1", dz1, lambda z1: from_z2(np.tanh(z1) @ W2 + b2), z1)
check("dW1", dW1, lambda W1: from_x(x, W1, b1, W2, b2), W1)
check("db1", db1, lambda b1: from_x(x, W1, b1, W2, b2), b1)

# %%
# Training
# --------
# All of this holds for several rows. With N rows ``dz2`` is N x 2 and has its :math:`1/N`, and the products
# sum over the samples. The whole network, trained on two spirals with 100 points each:


def spirals(arms, points, turn, noise):
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(arms), points)
    radius = np.tile(np.linspace(0.1, 1, points), arms)
    angle = 2 * np.pi * labels / arms + turn * radius
    angle += noise * random.standard_normal(len(labels))
    return radius * np.array([np.cos(angle), np.sin(angle)]), labels


points, labels = spirals(arms=2, points=100, turn=6, noise=0.15)
X = points.T  # (200, 2)
Y = np.eye(2)[labels]
W1, b1 = 2 * rng.standard_normal((2, 500)), np.zeros((1, 500))
W2, b2 = np.zeros((500, 2)), np.zeros((1, 2))
losses = []
for _ in range(150):
    a1 = np.tanh(X @ W1 + b1)  # (N, 500)
    yhat = fastsm.softmax(a1 @ W2 + b2)  # (N, 2)
    losses.append(-np.mean(np.sum(Y * np.log(yhat), axis=1)))

    dz2 = (yhat - Y) / len(X)
    dz1 = (dz2 @ W2.T) * (1 - a1**2)
    W2 -= 0.1 * a1.T @ dz2
    b2 -= 0.1 * dz2.sum(axis=0)
    W1 -= 0.1 * X.T @ dz1
    b1 -= 0.1 * dz1.sum(axis=0)

accuracy = np.mean(yhat.argmax(axis=1) == labels)
print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}")
print(f"accuracy {accuracy:.3f}")
assert np.isclose(losses[0], np.log(2))  # as W2 is 0
assert losses[-1] < 0.1
assert accuracy == 1

# %%
# The result; the colour is the probability of the second class:

grid = np.linspace(-1.2, 1.2, 120)
plane = np.stack(np.meshgrid(grid, grid), axis=-1)  # (120, 120, 2)
probability = fastsm.softmax(np.tanh(plane @ W1 + b1) @ W2 + b2)[..., 1]

figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.5))
left.contourf(grid, grid, probability, cmap="RdBu_r", alpha=0.6)
left.contour(grid, grid, probability, levels=[0.5], colors="black")
for arm, color in enumerate(("#053061", "#67001f")):
    left.scatter(*X[labels == arm].T, s=8, color=color)
left.set(title="boundary at probability 1/2", aspect="equal")
left.grid(False)
right.semilogy(losses)
right.set(title="loss", xlabel="step")
assert probability.shape == (120, 120)

# %%
# Ten classes
# -----------
# "If z2 is 1 x 10, what would dz2 be?" The same formula. The stages at width 10, with their shapes:

x, y = X[:1], np.eye(10)[[3]]
W1, b1 = rng.standard_normal((2, 500)), np.zeros((1, 500))
W2, b2 = 0.1 * rng.standard_normal((500, 10)), np.zeros((1, 10))
a1 = np.tanh(x @ W1 + b1)
z2 = a1 @ W2 + b2
yhat = fastsm.softmax(z2)

dyhat = -y / yhat / N
dz2 = fastsm.softmax_vjp(yhat, dyhat)
J = np.diag(yhat[0]) - yhat.T @ yhat  # 10 x 10, only to compare
assert np.allclose(dz2, dyhat @ J)
assert np.allclose(dz2, (yhat - y) / N)
check("dyhat", dyhat, lambda v: -np.sum(np.log(v) @ y.T) / N, yhat)
check("dz2", dz2, from_z2, z2)
check("dW2", a1.T @ dz2, lambda W2: from_x(x, W1, b1, W2, b2), W2)
check("da1", dz2 @ W2.T, lambda a1: from_z2(a1 @ W2 + b2), a1)

# %%
# Now ten arms, with layers that take the stages for you. :func:`fastsm.fit` combines the final softmax and
# the cross-entropy into :math:`\hat y - y`:

points, labels = spirals(arms=10, points=40, turn=1.5, noise=0.04)
X = points.T
layers = nn.Linear(2, 500), nn.Tanh(), nn.Linear(500, 10), nn.Softmax()
model = nn.Sequential(*layers, rng=0)
loss, adam = nn.CrossEntropyLoss(on="probs"), optim.Adam(0.01)
training = {"loss": loss, "optimizer": adam, "epochs": 80, "rng": 0}
fastsm.fit(model, X, labels, **training)
accuracy = np.mean(model(X).argmax(axis=1) == labels)
print(f"accuracy {accuracy:.3f}")
assert accuracy > 0.98

winner = model(plane.reshape(-1, 2)).argmax(axis=1).reshape(120, 120)
figure, place = plt.subplots(figsize=(4, 3.8))
style = {"cmap": "tab10", "vmin": 0, "vmax": 9}
place.pcolormesh(grid, grid, winner, alpha=0.35, rasterized=True, **style)
place.scatter(*X.T, c=labels, s=8, **style)
place.set(title="the most probable of 10 classes", aspect="equal")
place.grid(False)
assert winner.shape == (120, 120)

# %%
# Where the stages fail
# ---------------------
# In exact arithmetic the two ways to ``dz2`` are equal. In float32 they are not, if the network is confident
# and wrong:

z2 = np.array([[120, 0, 0]], dtype=np.float32)
y = np.array([[0, 1, 0]], dtype=np.float32)
yhat = fastsm.softmax(z2)
print("yhat    ", yhat)  # exp(-120) is far below the smallest float32
assert yhat[0, 1] == 0

with np.errstate(divide="ignore", invalid="ignore"):
    dyhat = -y / yhat  # 1/0, and 0/0
    staged = fastsm.softmax_vjp(yhat, dyhat)  # 0 times infinity
    clipped = fastsm.softmax_vjp(yhat, -y / np.maximum(yhat, 1e-7))
loss, fused = fastsm.cross_entropy_with_grad(z2, y)
print("staged  ", staged)
print("clipped ", clipped)
print("together", fused)
assert np.isnan(staged).any()
assert not clipped.any()  # no NaN, but nothing to learn from either
assert fused.tolist() == [[1, -1, 0]]

# %%
# The division :math:`y / \hat y` and the factor :math:`\hat y` should cancel, but the first stage has already
# lost the information. Clipping :math:`\hat y` hides it: then the gradient is 0 where the network is most
# wrong. See :doc:`/learn/stability`.
#
# So derive in stages, to understand and to check. In code, compute ``L`` and ``dz2`` from ``z2`` in one step:

logits, targets = np.array([[0.3, -1.2], [2.0, 0.1]]), [1, 0]
loss, dz2 = fastsm.cross_entropy_with_grad(logits, targets)
assert np.allclose(dz2, (fastsm.softmax(logits) - np.eye(2)[targets]) / 2)
