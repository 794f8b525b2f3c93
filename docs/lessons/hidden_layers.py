r"""
From indices to matrices, through hidden layers
===============================================

You derived the gradients of softmax and cross-entropy index by index. You typed them in, and the shapes
do not match those of the weights. Your derivation is right. This page shows which
product is a matrix product, which is elementwise, and where the transpose comes from.
"""

# %%
# The network
# -----------
# Your network, everything in columns, one sample:
#
# .. math::
#
#    z_{l-1} &= w_{l-1} a_{l-2} + b_{l-1} \\
#    a_{l-1} &= \sigma(z_{l-1}) \\
#    z_l &= w_l a_{l-1} + b_l \\
#    P &= \operatorname{softmax}(z_l) \\
#    L &= -\sum_k y_k \log p_k
#
# And your four results:
#
# .. math::
#
#    \frac{\partial L}{\partial z_l} &= p - y \\
#    \frac{\partial L}{\partial w_l} &= (p - y)\, a_{l-1} \\
#    \frac{\partial L}{\partial z_{l-1}} &= (p - y)\, w_l\, \sigma'(z_{l-1}) \\
#    \frac{\partial L}{\partial w_{l-1}} &= (p - y)\, w_l\, \sigma'(z_{l-1})\, a_{l-2}
#
# In numbers, with :math:`l = 2`, 4 inputs, 5 hidden units and 3 classes:

import matplotlib.pyplot as plt
import numpy as np

import fastsm
from fastsm import nn, testing


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


rng = np.random.default_rng(1)
a0 = rng.standard_normal((4, 1))
w1, b1 = rng.standard_normal((5, 4)), rng.standard_normal((5, 1))
w2, b2 = rng.standard_normal((3, 5)), rng.standard_normal((3, 1))
y = np.array([[0.0], [1.0], [0.0]])

a1 = sigmoid(w1 @ a0 + b1)  # (5, 1)
z2 = w2 @ a1 + b2  # (3, 1)
p = fastsm.softmax(z2, axis=0)  # (3, 1)

try:
    dw2 = (p - y) * a1  # your second result, as it stands
except ValueError as error:
    print(error)

# %%
# That is the lucky case. If the hidden layer has as many units as there are classes, NumPy raises nothing:
# two columns of 3 give a column of 3, and ``w2 -= rate * dw2`` spreads it over all columns of ``w2``.

narrow = sigmoid(rng.standard_normal((3, 1)))
assert ((p - y) * narrow).shape == (3, 1)  # and w2 would be (3, 3)

# %%
# Write every index
# -----------------
# An equation between numbers leaves no doubt about products. So give each factor its index, :math:`k` for
# classes, :math:`j` for hidden units, :math:`i` for inputs, and restore the omitted sum:
#
# .. math::
#
#    \frac{\partial L}{\partial w_{2,kj}} &= (p_k - y_k)\, a_{1,j} \\
#    \frac{\partial L}{\partial a_{1,j}} &= \sum_k (p_k - y_k)\, w_{2,kj} \\
#    \frac{\partial L}{\partial z_{1,j}} &= \frac{\partial L}{\partial a_{1,j}}\, \sigma'(z_{1,j}) \\
#    \frac{\partial L}{\partial w_{1,ji}} &= \frac{\partial L}{\partial z_{1,j}}\, a_{0,i}
#
# The second one has a sum because :math:`a_{1,j}` reaches the loss through every :math:`z_{2,k}`. The indices
# of a product have only three cases:
#
# .. list-table::
#    :header-rows: 1
#    :widths: 46 27 27
#
#    * - the two factors share
#      - product
#      - in columns
#    * - no index
#      - outer product
#      - :math:`\delta\, a^T`
#    * - an index that is not on the left
#      - summed: matrix product
#      - :math:`w^T \delta`
#    * - an index that is on the left
#      - elementwise (Hadamard)
#      - :math:`\delta \circ \sigma'`
#
# The letters of ``np.einsum`` mean the same, so you can type an index formula and compare:

delta2 = p - y
dw2 = delta2 @ a1.T  # (3, 1) times (1, 5)
da1 = w2.T @ delta2  # (5, 3) times (3, 1)
slope = a1 * (1 - a1)  # sigma'(z1), written with a1
delta1 = da1 * slope  # (5, 1) times (5, 1), entry by entry
dw1 = delta1 @ a0.T  # (5, 1) times (1, 4)

d, h, da = delta2[:, 0], a1[:, 0], da1[:, 0]
assert np.allclose(dw2, np.einsum("k,j->kj", d, h))
assert np.allclose(da, np.einsum("k,kj->j", d, w2))
assert np.allclose(delta1[:, 0], np.einsum("j,j->j", da, slope[:, 0]))

# %%
# A gradient always has the shape of its variable.

assert (dw2.shape, dw1.shape) == (w2.shape, w1.shape)

# %%
# **The transpose of** ``w`` comes from the sum. Forward, :math:`z_{2,k} = \sum_j w_{2,kj}\, a_{1,j}` runs
# along *row* :math:`k` of the matrix. On the way back the sum runs over :math:`k`, down *column* :math:`j`. A
# matrix product runs along rows, so the matrix must be transposed.
#
# **The transpose of** ``a`` makes a column a row, so that column times row gives a matrix.
#
# Here are the three products with the numbers from above, one square for each number:

equations = [
    {"p - y": delta2, "@ a1.T": a1.T, "= dw2": dw2},
    {"w2.T": w2.T, "@ (p - y)": delta2, "= da1": da1},
    {"da1": da1, "* s'(z1)": slope, "= dz1": delta1},
]
style = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "edgecolors": "grey"}
figure, places = plt.subplots(3, 1, figsize=(5, 6.4))
for place, equation in zip(places, equations, strict=True):
    left = 0
    for name, matrix in equation.items():
        rows, columns = matrix.shape
        across = left + np.arange(columns + 1)
        down = rows / 2 - np.arange(rows + 1)
        place.pcolormesh(across, down, matrix, **style)
        place.text(left, -2.8, f"{name}\n{rows} x {columns}", va="top")
        left += columns + 2
    place.set(xlim=(-0.5, 16), ylim=(-4.8, 2.6), aspect="equal")
    place.axis("off")
places[0].set_title("over the weights: an outer product", loc="left")
places[1].set_title("back to a1: a matrix product", loc="left")
places[2].set_title("back to z1: elementwise", loc="left")
assert delta1.shape == (5, 1)

# %%
# Check it
# --------
# :func:`fastsm.testing.check_grads` takes a function that returns the loss and one gradient for each
# argument, and compares with finite differences, here entry by entry:


def network(a0, w1, b1, w2, b2):
    a1 = sigmoid(w1 @ a0 + b1)
    z2 = w2 @ a1 + b2
    loss = -np.sum(y * fastsm.log_softmax(z2, axis=0))
    delta2 = fastsm.softmax(z2, axis=0) - y
    delta1 = (w2.T @ delta2) * a1 * (1 - a1)
    dw1, dw2 = delta1 @ a0.T, delta2 @ a1.T
    return loss, (w1.T @ delta1, dw1, delta1, dw2, delta2)


report = testing.check_grads(network, a0, w1, b1, w2, b2, mode="full")
print(report)
assert report.ok

# %%
# The bias has no product: :math:`\partial z_k / \partial b_k = 1`, so its gradient is :math:`\delta`.
#
# More hidden layers
# ------------------
# The layers further down repeat this. Each layer takes the :math:`\delta` of its own :math:`z`, computes the
# two gradients, and passes on the :math:`\delta` of the layer below, in a loop:


def deep(a0, w1, b1, w2, b2, w3, b3):
    w, b, a = (w1, w2, w3), (b1, b2, b3), [a0]
    for k in range(2):
        a.append(sigmoid(w[k] @ a[k] + b[k]))
    z = w[2] @ a[2] + b[2]
    loss = -np.sum(y * fastsm.log_softmax(z, axis=0))

    delta = fastsm.softmax(z, axis=0) - y
    gradients = []
    for k in (2, 1, 0):
        gradients = [delta @ a[k].T, delta, *gradients]
        delta = w[k].T @ delta  # over a[k]
        if k > 0:
            delta *= a[k] * (1 - a[k])  # over the z below a[k]
    return loss, (delta, *gradients)


parameters = []
for n_in, n_out in ((4, 6), (6, 5), (5, 3)):
    parameters.append(rng.standard_normal((n_out, n_in)))
    parameters.append(rng.standard_normal((n_out, 1)))
report = testing.check_grads(deep, a0, *parameters, mode="full")
print(report)
assert report.ok

# %%
# A batch, one sample per row
# ---------------------------
# Data come as rows: ``X`` is (N, 4). Transpose every equation above, which reverses the order of each
# product. With :math:`W = w^T`, of shape (n_in, n_out):
#
# .. list-table::
#    :header-rows: 1
#    :widths: 28 36 36
#
#    * -
#      - one sample, a column
#      - a batch, rows
#    * - forward
#      - :math:`z = w\,a + b`
#      - :math:`Z = A\,W + b`
#    * - over the weights
#      - :math:`\delta\, a^T`
#      - :math:`A^T \Delta`
#    * - over the bias
#      - :math:`\delta`
#      - the column sums of :math:`\Delta`
#    * - back
#      - :math:`w^T \delta`
#      - :math:`\Delta\, W^T`
#    * - through :math:`\sigma`
#      - :math:`\delta \circ \sigma'`
#      - :math:`\Delta \circ \sigma'`
#
# The new index :math:`r` of the sample explains the rest. In :math:`\partial L / \partial W_{ij} = \sum_r
# A_{ri} \Delta_{rj}` it is in both factors and not on the left, so it is summed, and :math:`A^T \Delta` is
# the sum of the N outer products. The bias gets the same sum. In :math:`\Delta W^T` it stays on the left, as
# each sample has its own gradient.
#
# The loss of a batch is a mean, so there is a factor :math:`1/N`. Put it only into the first :math:`\Delta`:
# every later product includes it.

N = 8
X, labels = rng.standard_normal((N, 4)), rng.integers(0, 3, N)
Y = np.eye(3)[labels]


def batch(X, W1, b1, W2, b2):
    A = sigmoid(X @ W1 + b1)
    Z = A @ W2 + b2
    loss = -np.sum(Y * fastsm.log_softmax(Z)) / N
    delta2 = (fastsm.softmax(Z) - Y) / N  # (N, 3), with the one 1/N
    delta1 = (delta2 @ W2.T) * A * (1 - A)  # (N, 5)
    dW1, db1 = X.T @ delta1, delta1.sum(axis=0)
    dW2, db2 = A.T @ delta2, delta2.sum(axis=0)
    return loss, (delta1 @ W1.T, dW1, db1, dW2, db2)


arrays = (X, w1.T, b1[:, 0], w2.T, b2[:, 0])
report = testing.check_grads(batch, *arrays, mode="full")
print(report)
assert report.ok

# %%
# The gradient of the batch is the mean of the gradients of its samples, transposed:

loss, (dX, dW1, db1, dW2, db2) = batch(*arrays)
total_w1, total_w2 = np.zeros((5, 4)), np.zeros((3, 5))
for r in range(N):
    y = Y[r][:, None]  # the target that `network` reads
    _, (_, dw1, _, dw2, _) = network(X[r][:, None], w1, b1, w2, b2)
    total_w1, total_w2 = total_w1 + dw1, total_w2 + dw2
assert np.allclose(dW1, total_w1.T / N)
assert np.allclose(dW2, total_w2.T / N)

# %%
# If you keep your (n_out, n_in) matrices with rows as samples, as PyTorch does, then :math:`Z = A w^T + b`,
# and the two products are :math:`\Delta^T A` and :math:`\Delta\, w`: the transposes have moved, the rule has
# not.

A = sigmoid(X @ w1.T + b1[:, 0])
Delta = (fastsm.softmax(A @ w2.T + b2[:, 0]) - Y) / N
assert np.allclose(Delta.T @ A, dW2.T)  # (3, 5), as w2
assert np.allclose(np.einsum("ri,rj->ij", A, Delta), dW2)

# %%
# Targets that do not sum to 1
# ----------------------------
# :math:`p - y` comes from this: the softmax has :math:`\partial p_k / \partial z_j = p_k ([k = j] - p_j)`, so
#
# .. math::
#
#    \frac{\partial L}{\partial z_j} = \sum_k -\frac{y_k}{p_k}\, p_k ([k = j] - p_j)
#    = p_j \sum_k y_k - y_j
#
# The last step to :math:`p_j - y_j` needs :math:`\sum_k y_k = 1`. That holds for one label. For several
# labels at once, for counts, or for weights it does not, and then :math:`p - y` is wrong:

y = np.array([[0.5, 1.0, 1.0]])  # the sum is 2.5


def with_p_minus_y(z):
    loss = -np.sum(y * fastsm.log_softmax(z))
    return loss, fastsm.softmax(z) - y


def with_the_sum(z):
    loss = -np.sum(y * fastsm.log_softmax(z))
    return loss, fastsm.softmax(z) * y.sum(axis=1, keepdims=True) - y


z = np.array([[0.3, -0.2, 0.8]])
assert testing.check_grads(with_the_sum, z).ok
try:
    testing.check_grads(with_p_minus_y, z)
except testing.GradientError as error:
    print(error)

# %%
# :func:`fastsm.cross_entropy_with_grad` multiplies by the sum, for any targets:

loss, dz = fastsm.cross_entropy_with_grad(z, y)
assert np.allclose(dz, fastsm.softmax(z) * 2.5 - y)

# %%
# Summary
# -------
# The first :math:`\Delta` of a batch, with its :math:`1/N`, in one line and without a one-hot matrix; then
# two products and a column sum for each layer:

W2 = w2.T
loss, Delta = fastsm.cross_entropy_with_grad(A @ W2 + b2[:, 0], labels)
dW2, db2, dA = A.T @ Delta, Delta.sum(axis=0), Delta @ W2.T

# %%
# Or leave the products to the layers, with the same gradient:

layers = nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3)
model = nn.Sequential(*layers, dtype="float64")
for layer, w, b in ((layers[0], w1, b1), (layers[2], w2, b2)):
    layer.params["weight"][...] = w.T
    layer.params["bias"][...] = b[:, 0]
loss = nn.CrossEntropyLoss()
nn.value_and_grad(model, loss, X, labels)
assert np.allclose(layers[2].grads["weight"], dW2)
assert np.allclose(layers[0].grads["weight"], dW1)
assert testing.check_grads(model, X, labels, loss=loss).ok

# %%
# Next: the same network :doc:`stage by stage </learn/staged_backward>`, with every derivative;
# :doc:`why p - y belongs to cross-entropy alone </learn/p_minus_y>`; and the
# :doc:`common mistakes in batch code </learn/batch_mistakes>`.
