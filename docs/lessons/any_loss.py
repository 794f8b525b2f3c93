r"""
A softmax that goes with any loss
=================================

You have written a network in which the output layer's gradient is

.. math:: \frac{\partial L}{\partial z} = L'(a, y) \circ \sigma'(z),

with :math:`\circ` element by element. With the mean squared error and a sigmoid the sizes fit. With softmax,
:math:`L'` is :math:`n_{out} \times 1` and :math:`\sigma'` is :math:`n_{out} \times n_{out}`, and every answer
that you find changes the loss to cross-entropy. You need not change it. This page replaces one operation, and
then any loss works.
"""

# %%
# What goes wrong
# ---------------
#
# Your notation: columns, :math:`z_l = W_l a_{l-1} + b_l`, with a :math:`W` of :math:`n_{out} \times n_{in}`.
# The biases are such that the softmax comes out in round numbers.

import matplotlib.pyplot as plt
import numpy as np
from numpy.testing import assert_allclose

import fastsm
from fastsm import nn, optim, testing

n_in, n_out = 4, 3
rng = np.random.default_rng(0)
W = rng.standard_normal((n_out, n_in))
a_before = rng.standard_normal((n_in, 1))
b = np.log([[2.0], [3.0], [5.0]]) - W @ a_before  # so that z is this log
y = np.array([[0.0], [1.0], [0.0]])

z = W @ a_before + b
a = fastsm.softmax(z, axis=0)  # columns: the classes lie along axis 0
print(a.T)

# %%
# With the sigmoid the shapes fit:


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


s = sigmoid(z)
dz_sigmoid = 2 / n_out * (s - y) * s * (1 - s)
assert dz_sigmoid.shape == (n_out, 1)

# %%
# With softmax, :math:`\sigma'` is a matrix, as each :math:`a_i` depends on every :math:`z_j`. NumPy does not
# even complain about the product: it stretches the column over the matrix.

L_prime = 2 / n_out * (a - y)  # of the mean squared error
sigma_prime = fastsm.softmax_jacobian(a[:, 0])  # element i, j is da_i / dz_j
wrong = L_prime * sigma_prime
print(wrong.shape)
assert wrong.shape == (n_out, n_out)  # it should have been (n_out, 1)

# %%
# Replace one operation
# ---------------------
#
# By the chain rule, :math:`z_j` reaches the loss through *all* outputs, so sum over all paths.
#
# .. math:: \frac{\partial L}{\partial z_j} = \sum_i \frac{\partial L}{\partial a_i}
#           \frac{\partial a_i}{\partial z_j}
#
# With the Jacobian :math:`J_{ij} = \partial a_i / \partial z_j` that is
#
# .. math:: \frac{\partial L}{\partial z} = J^T L' .
#
# This is the rule for every activation. The elementwise product is the special case where :math:`a_i` depends
# on :math:`z_i` alone: then :math:`J` is diagonal, and a diagonal matrix times a column is a product element
# by element. Sigmoid, tanh and relu are such activations; softmax is not.

J_sigmoid = np.diag((s * (1 - s))[:, 0])
assert_allclose(J_sigmoid.T @ (2 / n_out * (s - y)), dz_sigmoid)

dz = sigma_prime.T @ L_prime
print(dz.T)
assert dz.shape == (n_out, 1)  # the sizes fit

# %%
# Why the matrix is never formed
# ------------------------------
#
# From :math:`a_i = e^{z_i} / \sum_k e^{z_k}` follows (:doc:`in_terms_of_a` does it step by step)
#
# .. math:: \frac{\partial a_i}{\partial z_j} =
#           \begin{cases} a_i (1 - a_i) & i = j \\ -a_i a_j & i \neq j \end{cases}
#
# or :math:`J = \operatorname{diag}(a) - a a^T`. It is symmetric, so :math:`J^T = J`. Its product with a
# column can be written out:
#
# .. math:: J^T L' &= \operatorname{diag}(a) L' - a (a^T L') \\
#           &= a \circ \bigl( L' - \langle a, L' \rangle \bigr)
#
# Here :math:`\langle a, L' \rangle = \sum_i a_i L'_i` is one number. The rest is elementwise, and the result
# is :math:`n_{out} \times 1`. It is called the **vector-Jacobian product** (VJP). It is exact, not an
# approximation.

assert_allclose(sigma_prime, np.diag(a[:, 0]) - a @ a.T)
assert_allclose(sigma_prime, sigma_prime.T)
assert_allclose(a * (L_prime - np.sum(a * L_prime)), dz)
assert_allclose(fastsm.softmax_vjp(a, L_prime, axis=0), dz)

# %%
# For a batch of 64 rows and 1000 classes the matrices would have 64 million numbers; the product has as many
# as the logits:

print("all Jacobians:", 4 * 64 * 1000 * 1000 / 1e6, "MB in float32")
print("dz:           ", 4 * 64 * 1000 / 1e6, "MB")

# %%
# The mean squared error through softmax, by hand
# -----------------------------------------------
#
# Three classes, with numbers that you can follow on paper: :math:`a = (0.2, 0.3, 0.5)` and
# :math:`y = (0, 1, 0)`.
#
# 1. The loss: :math:`L = \frac13 (0.2^2 + 0.7^2 + 0.5^2)` :math:`= \frac13 \cdot 0.78` :math:`= 0.26`.
# 2. Its gradient over :math:`a`: :math:`L' = \frac23 (a - y)` :math:`= \frac23 (0.2, -0.7, 0.5)`
#    :math:`= \frac1{15} (2, -7, 5)`.
# 3. The one number: :math:`\langle a, L' \rangle`
#    :math:`= \frac1{15} (0.2 \cdot 2 - 0.3 \cdot 7 + 0.5 \cdot 5)` :math:`= \frac{0.8}{15}`.
# 4. Subtract it: :math:`L' - \langle a, L' \rangle = \frac1{15} (1.2, -7.8, 4.2)`.
# 5. Times :math:`a`, element by element: :math:`\frac1{15} (0.24, -2.34, 2.1)`
#    :math:`= (0.016, -0.156, 0.14)`.
#
# The same with the matrix, for the first element:
# :math:`\frac1{15} (0.16 \cdot 2 + 0.06 \cdot 7 - 0.10 \cdot 5)` :math:`= \frac{0.24}{15}` :math:`= 0.016`.

assert_allclose(a[:, 0], [0.2, 0.3, 0.5])
assert_allclose(np.mean((a - y) ** 2), 0.26)
assert_allclose(15 * L_prime[:, 0], [2, -7, 5])
assert_allclose(15 * np.sum(a * L_prime), 0.8)
assert_allclose(15 * (L_prime - np.sum(a * L_prime)).T, [[1.2, -7.8, 4.2]])
assert_allclose(sigma_prime[0], [0.16, -0.06, -0.10])
assert_allclose(dz[:, 0], [0.016, -0.156, 0.14])

# %%
# The elements of :math:`\partial L / \partial z` sum to 0, for any loss: adding the same number to all logits
# does not change the softmax. The result is not :math:`a - y`, which is :math:`(0.2, -0.7, 0.5)`: another
# direction and another length.

assert abs(dz.sum()) < 1e-15
cosine = np.sum(dz * (a - y)) / np.linalg.norm(dz) / np.linalg.norm(a - y)
print(f"cosine of the angle between dz and a - y: {cosine:.3f}")
assert cosine < 0.99

# %%
# Is cross-entropy necessary?
# ---------------------------
#
# No. Put its gradient :math:`L' = -y / a` into the same line, with a :math:`y` that sums to 1:
#
# .. math:: \langle a, L' \rangle = -\sum_i a_i \frac{y_i}{a_i} = -1
#
# .. math:: a \circ \Bigl( -\frac{y}{a} + 1 \Bigr) = a - y
#
# Cross-entropy works like any other loss. It happens that :math:`a` cancels, so people compute the result
# directly, without a division by an :math:`a` that may be 0. That is convenient and numerically safer
# (:doc:`stability`), and nothing else is special about it.

assert_allclose(fastsm.softmax_vjp(a, -y / a, axis=0), a - y)

# %%
# Now the comments that contradict each other make sense. All of these are called "the derivative of softmax":
#
# .. list-table::
#    :header-rows: 1
#
#    * - Expression
#      - Meaning
#    * - :math:`\operatorname{diag}(a) - a a^T`
#      - The Jacobian, :math:`n_{out} \times n_{out}`. It *is* the derivative.
#    * - :math:`a \circ (1 - a)`
#      - Its diagonal only. Right for a sigmoid, wrong for softmax with any loss.
#    * - :math:`a \circ (L' - \langle a, L' \rangle)`
#      - The Jacobian times the loss's gradient, as backpropagation needs it.
#    * - :math:`a - y`
#      - The same, with :math:`L' = -y / a`. It is "no longer in the Jacobian form" since the product has been
#        taken. It includes the loss already: do not multiply it by :math:`L'` again, and do not use it for
#        another loss (:doc:`p_minus_y`).

# %%
# Any loss, through the same code
# -------------------------------
#
# A loss is a value and its gradient :math:`L'(a, y)`; it does not involve softmax. The last one is made up.


def mean_squared_error(a, y):
    return np.mean((a - y) ** 2), 2 * (a - y) / a.size


def mean_absolute_error(a, y):
    return np.mean(np.abs(a - y)), np.sign(a - y) / a.size


def cross_entropy(a, y):
    return -np.sum(y * np.log(a)), -y / a


def my_own(a, y):
    return np.sum((a - y) ** 4), 4 * (a - y) ** 3


for loss in (mean_squared_error, mean_absolute_error, cross_entropy, my_own):

    def layer_and_loss(W, b, a_before, loss=loss):
        a = fastsm.softmax(W @ a_before + b, axis=0)
        value, L_prime = loss(a, y)
        dz = fastsm.softmax_vjp(a, L_prime, axis=0)
        return value, (dz @ a_before.T, dz, W.T @ dz)  # over the arguments

    assert testing.check_grads(layer_and_loss, W, b, a_before).ok
    dz = layer_and_loss(W, b, a_before)[1][1]
    print(f"{loss.__name__:20s} dz = {dz.T.round(4)}")

# %%
# :func:`fastsm.testing.check_grads` compares each of the three gradients with finite differences. Try it on
# the elementwise product with the diagonal, the second row of the table:


def with_the_diagonal(z):
    a = fastsm.softmax(z, axis=0)
    return np.mean((a - y) ** 2), 2 * (a - y) / a.size * a * (1 - a)


try:
    testing.check_grads(with_the_diagonal, z)
except testing.GradientError as error:
    print(error)
else:
    raise AssertionError("this gradient is wrong")

# %%
# A batch: one row per sample
# ---------------------------
#
# In NumPy, samples are rows. Then softmax and its VJP run along the last axis, which is the default, and each
# row has its own :math:`\langle a, L' \rangle`: a sum with ``axis=1, keepdims=True`` if you write it
# yourself. Two layouts of the weights are in use, and only the products with them differ.

N = 6
X = rng.standard_normal((N, n_in))
Y = np.eye(n_out)[rng.integers(0, n_out, N)]


def in_by_out(W, b, X):
    """W is n_in x n_out: z = x W + b."""
    A = fastsm.softmax(X @ W + b)
    dZ = fastsm.softmax_vjp(A, 2 * (A - Y) / A.size)  # 1/N is in here, once
    return np.mean((A - Y) ** 2), (X.T @ dZ, dZ.sum(axis=0), dZ @ W.T)


def out_by_in(W, b, X):
    """W is n_out x n_in, as in your columns: z = x W^T + b."""
    A = fastsm.softmax(X @ W.T + b)
    dZ = fastsm.softmax_vjp(A, 2 * (A - Y) / A.size)
    return np.mean((A - Y) ** 2), (dZ.T @ X, dZ.sum(axis=0), dZ @ W)


b = b[:, 0]
assert testing.check_grads(in_by_out, W.T, b, X).ok
assert testing.check_grads(out_by_in, W, b, X).ok
assert_allclose(in_by_out(W.T, b, X)[1][0], out_by_in(W, b, X)[1][0].T)

# The batched VJP in one line of NumPy:
A = fastsm.softmax(X @ W.T + b)
dA = 2 * (A - Y) / A.size
dZ = A * (dA - np.sum(A * dA, axis=1, keepdims=True))
assert_allclose(fastsm.softmax_vjp(A, dA), dZ)

# %%
# .. list-table::
#    :header-rows: 1
#
#    * - One layer
#      - Columns
#      - Rows, W is in x out
#      - Rows, W is out x in
#    * - forward
#      - ``z = W @ a + b``
#      - ``z = x @ W + b``
#      - ``z = x @ W.T + b``
#    * - softmax and back
#      - ``axis=0``
#      - ``axis=-1``
#      - ``axis=-1``
#    * - gradient over W
#      - ``dz @ a.T``
#      - ``x.T @ dz``
#      - ``dz.T @ x``
#    * - gradient over b
#      - ``dz``
#      - ``dz.sum(axis=0)``
#      - ``dz.sum(axis=0)``
#    * - to the layer before
#      - ``W.T @ dz``
#      - ``dz @ W.T``
#      - ``dz @ W``
#
# In the hidden layers nothing changes: there ``da * activation'`` stays elementwise, see
# :doc:`hidden_layers`.

# %%
# As a model
# ----------
#
# :class:`fastsm.nn.Softmax` takes the VJP in its backward pass, so it works with any loss. A custom loss is
# one function, which returns the value of each row and its gradient over the row; :func:`fastsm.nn.loss`
# adds the mean over the batch. These four networks differ only in their loss, on 1,797 handwritten digits.


@nn.loss(on="probs")
def fourth_power(probs, targets):
    error = probs - targets
    return np.sum(error**4, axis=1), 4 * error**3


images, labels = fastsm.data.load_digits()
targets = np.eye(10)[labels]
losses = {
    "cross-entropy": nn.CrossEntropyLoss(on="probs"),
    "MSE": nn.MSELoss(),
    "MAE": nn.MAELoss(),
    "fourth power": fourth_power,
}
_, ax = plt.subplots()
for name, loss in losses.items():
    layers = nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10), nn.Softmax()
    model = nn.Sequential(*layers, rng=0)
    assert testing.check_grads(model, images[:8], targets[:8], loss=loss).ok
    history = fastsm.fit(
        model,
        images[:1400],
        targets[:1400],
        loss=loss,
        optimizer=optim.Adam(3e-3),
        epochs=30,
        rng=0,
        validation_data=(images[1400:], targets[1400:]),
    )
    accuracy = 100 * np.array(history["val_accuracy"])
    ax.plot(np.arange(1, 31), accuracy, label=name)
    assert accuracy[-1] > 80
ax.set(xlabel="epoch", ylabel="right of 397 new digits, %")
ax.legend()

# %%
# Summary
# -------
#
# Where you have ``L_prime * softmax_prime(z)``, write
#
# .. code-block:: python
#
#    dz = fastsm.softmax_vjp(a, L_prime)  # rows; for columns with axis=0
#
# or, without fastsm,
#
# .. code-block:: python
#
#    dz = a * (L_prime - np.sum(a * L_prime, axis=-1, keepdims=True))
#
# It takes the *output* ``a``, not ``z``. The next page explains why: :doc:`in_terms_of_a`.
