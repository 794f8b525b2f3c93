r"""
Why the derivative is written in a
==================================

You have a network with :math:`z = x w + b`, :math:`a = f(z)` and the error
:math:`E = \frac1N \sum_i (a_i - y_i)^2`, and you take

.. math:: \frac{\partial E}{\partial w} = (a - y)\, f'(z)\, x .

With softmax in the last layer ``softmax_derivative(z)`` gives incorrect results and
``softmax_derivative(a)`` correct ones. Is the derivative not taken at :math:`z`? It is. But the function is
*written in terms of* :math:`a`, so you must pass it :math:`a`.
"""

# %%
# One derivative, two ways to write it
# ------------------------------------
#
# Write :math:`S = \sum_k e^{z_k}`, so that :math:`a_i = e^{z_i} / S`, and apply the quotient rule. For
# :math:`m = i` the numerator depends on :math:`z_m` too, otherwise only :math:`S` does:
#
# .. math:: \frac{\partial a_i}{\partial z_i} &= \frac{e^{z_i} S - e^{z_i} e^{z_i}}{S^2} \\[1ex]
#           \frac{\partial a_i}{\partial z_m} &= \frac{0 - e^{z_i} e^{z_m}}{S^2}
#
# Everything on the right is a function of :math:`z`. But each fraction is a product of factors :math:`e^{z_i}
# / S`, which you have computed already: they are :math:`a_i`. So
#
# .. math:: \frac{\partial a_i}{\partial z_i} &= a_i (1 - a_i) \\[1ex]
#           \frac{\partial a_i}{\partial z_m} &= -a_m a_i
#
# This only substitutes :math:`a = \operatorname{softmax}(z)`. As a matrix, with :math:`e` a
# column of ones and :math:`a` a column, it is :math:`a e^T \circ (I - e a^T)`, or shorter
# :math:`\operatorname{diag}(a) - a a^T`. All of these are the same numbers:

import matplotlib.pyplot as plt
import numpy as np
from numpy.testing import assert_allclose

import fastsm
from fastsm import nn, testing

z = np.array([0.5, -1.0, 2.0, 0.1])
a = fastsm.softmax(z)
n = len(z)

S = np.exp(z).sum()
in_z, in_a = np.zeros((n, n)), np.zeros((n, n))
for i in range(n):
    for m in range(n):
        S_if_same = S if i == m else 0
        in_z[i, m] = np.exp(z[i]) * (S_if_same - np.exp(z[m])) / S**2
        in_a[i, m] = a[i] * (1 - a[m]) if i == m else -a[m] * a[i]

e = np.ones((n, 1))
in_vectors = (a[:, None] @ e.T) * (np.eye(n) - e @ a[None])

numeric = np.zeros((n, n))  # finite differences, at z
for m, step in enumerate(1e-6 * np.eye(n)):
    high, low = fastsm.softmax(z + step), fastsm.softmax(z - step)
    numeric[:, m] = (high - low) / 2e-6

print(in_a.round(4))
assert_allclose(in_z, in_a, rtol=1e-12)
assert_allclose(in_vectors, in_a, rtol=1e-12)
assert_allclose(fastsm.softmax_jacobian(a), in_a, rtol=1e-12)
assert_allclose(numeric, in_a, atol=1e-9)

# %%
# Where it goes wrong
# -------------------
#
# The trap is the name of the argument. Both of these functions are correct, and each is the derivative at
# :math:`z`, but they take different arguments:


def softmax_derivative_from_z(z):
    a = fastsm.softmax(z)
    return np.diag(a) - np.outer(a, a)


def softmax_derivative(v):  # v is a, but who would know?
    return np.diag(v) - np.outer(v, v)


assert_allclose(softmax_derivative_from_z(z), numeric, atol=1e-9)
assert_allclose(softmax_derivative(a), numeric, atol=1e-9)

# %%
# Given ``z``, the second computes :math:`\operatorname{diag}(z) - z z^T`: meaningless numbers. Given ``a``,
# the first applies softmax twice. Neither raises an error.

print(softmax_derivative(z).round(2))
assert np.abs(softmax_derivative(z) - numeric).max() > 1
assert np.abs(softmax_derivative_from_z(a) - numeric).max() > 0.05

# %%
# Sigmoid and tanh
# ----------------
#
# The same holds for two other activations, in both forms:
#
# .. math:: \sigma'(z) &= \frac{e^{-z}}{(1 + e^{-z})^2} = a (1 - a) \\[1ex]
#           \tanh'(z) &= \frac{1}{\cosh^2 z} = 1 - a^2
#
# The dashed lines are the right-hand sides with ``z`` in place of ``a``:

points = np.linspace(-3, 3, 121)
cases = {
    "sigmoid": (
        lambda z: 1 / (1 + np.exp(-z)),
        lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
        lambda a: a * (1 - a),
    ),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2, lambda a: 1 - a**2),
}
_, axes = plt.subplots(1, 2)
for ax, (name, (f, from_z, from_a)) in zip(axes, cases.items(), strict=True):
    assert_allclose(from_a(f(points)), from_z(points), rtol=1e-12)
    assert np.abs(from_a(points) - from_z(points)).max() > 5
    ax.plot(points, from_z(points), label="the derivative")
    ax.plot(points, from_a(points), "--", label="from_a(z)")
    ax.set(title=name, xlabel="z", ylim=(-1.2, 1.2))
axes[0].legend(loc="upper left")

# %%
# The mean squared error through softmax
# --------------------------------------
#
# Your formula for :math:`\partial E / \partial w` has two more mistakes. The second one is harmless for
# sigmoid, but not for softmax:
#
# * The derivative of :math:`\frac1N \sum_i (a_i - y_i)^2` over :math:`a` is :math:`\frac2N (a - y)`. Without
#   the factor :math:`\frac2N` the direction is right, but the learning rate changes. (:math:`N` counts the
#   terms of the sum: here the outputs, with a batch the samples times the outputs.)
# * The product with :math:`f'` is a product with the transposed Jacobian, not element by element
#   (:doc:`any_loss`). In terms of :math:`a` it is
#   :math:`a \circ (\frac{\partial E}{\partial a} - \langle a, \frac{\partial E}{\partial a} \rangle)`.

rng = np.random.default_rng(5)
x, y = rng.standard_normal((1, 3)), np.array([[0.0, 1.0, 0.0, 0.0]])
w, b = rng.standard_normal((3, 4)), rng.standard_normal((1, 4))
N = y.size


def error_and_gradient(w, backward):
    """Return E and dE/dw; backward(z, a, dE/da) gives dE/dz."""
    z = x @ w + b
    a = fastsm.softmax(z)
    dz = backward(z, a, 2 / N * (a - y))
    return np.mean((a - y) ** 2), x.T @ dz


attempts = {
    "da J, J from a": lambda z, a, da: da @ softmax_derivative(a[0]),
    "without the matrix": lambda z, a, da: fastsm.softmax_vjp(a, da),
    "da J, J from z": lambda z, a, da: da @ softmax_derivative(z[0]),
    "without 2/N": lambda z, a, da: fastsm.softmax_vjp(a, a - y),
    "element by element": lambda z, a, da: da * a * (1 - a),
}
right = []
for name, backward in attempts.items():

    def f(w, backward=backward):
        return error_and_gradient(w, backward)

    try:
        report = testing.check_grads(f, w)
    except testing.GradientError as wrong:
        report = wrong
    else:
        right.append(name)
    print(f"{name}:\n{report}\n")
assert right == list(attempts)[:2]

# %%
# For the fourth, :func:`fastsm.testing.check_grads` even names the factor: the gradient is 2 times the true
# one, as :math:`N = 4` and :math:`\frac2N = \frac12`.

# %%
# Use
# ---
#
# With a derivative in terms of :math:`a` the backward pass needs only :math:`a`. **The layer need not keep
# z**, and can work in one array. First it holds :math:`z`, then :math:`a`, then
# :math:`\partial E / \partial z`:

memory = x @ w + b  # z
fastsm.softmax(memory, out=memory)  # a; z is gone
da = 2 / N * (memory - y)
fastsm.softmax_vjp(memory, da, out=memory)  # dE/dz; a is gone

_, expected = error_and_gradient(w, attempts["da J, J from a"])
assert_allclose(x.T @ memory, expected)

# %%
# :math:`z` cannot be recovered from :math:`a`, but need not be: after adding 100 to all logits :math:`a` is
# the same, and so is the Jacobian.

assert_allclose(fastsm.softmax(z + 100), a)
assert_allclose(softmax_derivative_from_z(z + 100), in_a)

# %%
# This works only if the output determines the slope. SiLU, :math:`z \sigma(z)`, falls before it rises: it has
# the value -0.2 at two places, with two slopes. So the layer must keep ``z``, and :class:`fastsm.nn.SiLU`
# does.

silu = nn.SiLU()
places = np.array([[-2.396138506076068, -0.5448804401599816]])
values = silu.forward(places).copy()
slopes = silu.backward(np.ones((1, 2)))
print(values, slopes)
assert_allclose(values, -0.2)
assert slopes[0, 0] < 0 < slopes[0, 1]

# %%
# One more difference concerns floating point. At :math:`z = 40` the sigmoid is :math:`1 - 4 \cdot 10^{-18}`,
# which rounds to 1, and :math:`a (1 - a)` to 0, while the form in :math:`z` still has its digits. As factors
# in backpropagation both stop the learning of that unit. The difference matters in a *loss* that divides by a
# small :math:`a`: see :doc:`stability`.

sigmoid, from_z, from_a = cases["sigmoid"]
print(from_z(40.0), from_a(sigmoid(40.0)))
assert from_a(sigmoid(40.0)) == 0 < from_z(40.0) < 5e-18

# %%
# Summary
# -------
#
# Name the argument after its meaning, and let finite differences tell the two apart. In ``check_grads`` a
# ``vjp`` takes the *output* of its function:

report = testing.check_grads(fastsm.softmax, z, vjp=fastsm.softmax_vjp)
print(report)
assert report.ok

# %%
# .. code-block:: python
#
#    dz = fastsm.softmax_vjp(a, dE_da)   # a = softmax(z), never z
