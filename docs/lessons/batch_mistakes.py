r"""
Common mistakes in batch code
=============================

The formula is right, the line of NumPy is wrong, and NumPy raises no error. For each mistake this page has
the wrong line, the report of :func:`fastsm.testing.check_grads`, and the right line.
"""

# %%
# A wrong gradient often trains
# -----------------------------
# So these mistakes stay unnoticed. Here is one small network on handwritten digits, trained with four
# gradients. One is right. One takes the elementwise derivative :math:`p (1 - p)` of the softmax, one leaves
# its Jacobian out, and one forgets the derivative of tanh.

import textwrap

import matplotlib.pyplot as plt
import numpy as np

import fastsm
from fastsm import nn, testing

images, digits = fastsm.data.load_digits()
images, digits = images[:300], digits[:300]
one_hot = np.eye(10)[digits]


def squared_error(p):
    d = p - one_hot
    return np.sum(d**2) / len(p), 2 * d / len(p)


def absolute_error(p):
    d = p - one_hot
    return np.sum(np.abs(d)) / len(p), np.sign(d) / len(p)


ways = {  # from the gradient over p to the one over the logits
    "right": fastsm.softmax_vjp,
    "p (1 - p)": lambda p, dp: p * (1 - p) * dp,
    "no Jacobian": lambda p, dp: dp,
    "no tanh'": fastsm.softmax_vjp,
}


def train(loss, name):
    rng = np.random.default_rng(0)
    W1, b1 = rng.normal(0, 0.25, (64, 40)), np.zeros(40)
    W2, b2 = rng.normal(0, 0.1, (40, 10)), np.zeros(10)
    curve = []
    for _ in range(150):
        a = np.tanh(images @ W1 + b1)
        p = fastsm.softmax(a @ W2 + b2)
        value, dp = loss(p)
        curve.append(value)
        dz2 = ways[name](p, dp)
        dz1 = dz2 @ W2.T
        if name != "no tanh'":
            dz1 *= 1 - a**2
        W2 -= 0.5 * a.T @ dz2
        b2 -= 0.5 * dz2.sum(axis=0)
        W1 -= 0.5 * images.T @ dz1
        b1 -= 0.5 * dz1.sum(axis=0)
    return curve


squared = {name: train(squared_error, name) for name in ways}
absolute = {name: train(absolute_error, name) for name in ways}

figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.4))
for name, style in zip(ways, ("-", "--", ":", "-."), strict=True):
    left.plot(squared[name], style, label=name)
    right.plot(absolute[name], style, label=name)
left.set(title="squared error", xlabel="step", ylim=(0, 1))
right.set(title="absolute error", xlabel="step", ylim=(0, 2))
left.legend()

for curve in squared.values():  # all four go down
    assert curve[-1] < 0.5 * curve[0]
assert absolute["right"][-1] < 0.5 * absolute["no tanh'"][-1]
assert min(absolute["no Jacobian"]) > 1.7  # of 1.8 at the start
assert min(absolute["p (1 - p)"]) > 1.7

# %%
# On the left nothing looks wrong. (The third curve even falls faster. It descends another loss,
# cross-entropy: see :doc:`/learn/p_minus_y`.) With another loss, on the right, the same lines fail: two do
# not learn at all, and one is slower. A falling loss proves nothing. Finite differences find the mistakes:


def says(f, *arrays, **options):
    """Print what check_grads says, in lines that fit this page."""
    try:
        message = str(testing.check_grads(f, *arrays, **options))
    except testing.GradientError as error:
        message = str(error)
    for line in message.splitlines():
        print(textwrap.fill(line, 72, subsequent_indent=8 * " "))
    return message


rng = np.random.default_rng(1)
N, C = 6, 4
z = rng.standard_normal((N, C))
labels = np.array([0, 3, 1, 1, 2, 3])
Y = np.eye(C)[labels]

# %%
# In the softmax
# --------------
# A function and its backward pass are checked together, by ``check_grads(f, z, vjp=...)``. This is the right
# one, which is :func:`fastsm.softmax_vjp` written out:


def right(p, dp):
    return p * (dp - np.sum(p * dp, axis=1, keepdims=True))


assert "agree" in says(fastsm.softmax, z, vjp=right)

# %%
# **1. The Jacobian is left out.** The gradient over the probabilities is used as the gradient over the
# logits.


def no_jacobian(p, dp):
    return dp  # wrong


assert "wrong gradient" in says(fastsm.softmax, z, vjp=no_jacobian)

# %%
# **2. The derivative is elementwise.** :math:`p (1 - p)` is the diagonal of the Jacobian. It suffices for a
# sigmoid only.


def elementwise(p, dp):
    return p * (1 - p) * dp  # wrong


assert "wrong gradient" in says(fastsm.softmax, z, vjp=elementwise)

# %%
# **3. The sum runs over axis 0.** It mixes the samples instead of the classes, and broadcasts without an
# error.


def over_samples(p, dp):
    return p * (dp - np.sum(p * dp, axis=0))  # wrong: axis=1, keepdims


assert "wrong gradient" in says(fastsm.softmax, z, vjp=over_samples)

# %%
# **4. keepdims is missing.** The sums have shape (N,), and NumPy aligns them with the classes. That raises an
# error, unless there are as many samples as classes. (On the diagonal the indices of sample and class are
# equal, so these entries are right.)


def no_keepdims(p, dp):
    return p * (dp - np.sum(p * dp, axis=1))  # wrong: keepdims=True


assert "12 wrong" in says(fastsm.softmax, z[:C], vjp=no_keepdims)

# %%
# **5. 1/T is forgotten.** A temperature in the forward pass is a factor in the backward pass.


def warm(z):
    return fastsm.softmax(z, temperature=2.5)


def cold(p, dp):
    return fastsm.softmax_vjp(p, dp)  # wrong: temperature=2.5


def as_warm(p, dp):
    return fastsm.softmax_vjp(p, dp, temperature=2.5)


assert "2.5 times the true one" in says(warm, z, vjp=cold)
assert "agree" in says(warm, z, vjp=as_warm)

# %%
# **6. The output is overwritten too early.** The backward pass needs ``p``, but an operation in place, here
# ``-=``, has destroyed it:


def too_early(z):
    p = fastsm.softmax(z)
    p -= Y  # wrong: p is needed below
    return np.sum(p**2) / N, fastsm.softmax_vjp(p, 2 * p / N)


def in_place(z):
    p = fastsm.softmax(z)
    dp = p - Y
    loss = np.sum(dp**2) / N
    dp *= 2 / N
    # dp is not needed again, so its memory may be used
    return loss, fastsm.softmax_vjp(p, dp, out=dp)


assert "wrong gradient" in says(too_early, z)
assert "agree" in says(in_place, z)

# %%
# In the loss
# -----------
# **7. A factor: 1/N, 1/C, 2, the sign.** If one number explains the whole difference, the report names it.
# This mean divides by N *and* by C:


def mean_squared_error(z, factor):
    p = fastsm.softmax(z)
    d = p - Y
    return np.mean(d**2), fastsm.softmax_vjp(p, factor * d)


slips = {
    2 / C: "a missing 1/N?",
    2 / N: "a missing 1/C?",
    2 / (N * C) / N: "1/N too much?",
    1 / (N * C): "0.5 times the true one",
    -2 / (N * C): "the wrong sign?",
    2 / (N * C): "agree",
}
for f, hint in slips.items():
    assert hint in says(lambda z, f=f: mean_squared_error(z, f), z)

# %%
# Dividing by N twice is hard to notice. The direction is right, the steps are N times too short, and it looks
# like a small learning rate.
#
# **8. p - y with another loss.** It is the whole gradient of cross-entropy, softmax included, and of no other
# loss.


def shortcut(z):
    p = fastsm.softmax(z)
    return np.sum((p - Y) ** 2) / N, (p - Y) / N  # wrong


assert "wrong gradient" in says(shortcut, z)

# %%
# **9. Class weights on the columns.** The weight of a class belongs to the *samples* of that class, to whole
# rows. The mean divides by the sum of these weights, and so does the gradient.

weight = np.array([1.0, 2.0, 3.0, 4.0])  # of the classes
w = weight[labels]  # of the samples


def weighted(z, gradient):
    log_p = fastsm.log_softmax(z)[np.arange(N), labels]
    return -np.sum(w * log_p) / np.sum(w), gradient(fastsm.softmax(z) - Y)


def on_columns(d):
    return d * weight / np.sum(w)  # wrong


def by_rows_over_n(d):
    return d * w[:, None] / N  # wrong


def by_rows(d):
    return d * w[:, None] / np.sum(w)


assert "wrong gradient" in says(lambda z: weighted(z, on_columns), z)
assert "times the true" in says(lambda z: weighted(z, by_rows_over_n), z)
assert "agree" in says(lambda z: weighted(z, by_rows), z)

# %%
# The right line (with ``sample_weight=`` each row has its own weight):

loss, dz = fastsm.cross_entropy_with_grad(z, labels, class_weight=weight)
assert np.allclose(dz, by_rows(fastsm.softmax(z) - Y))

# %%
# In the layers
# -------------
# To check a layer, :func:`fastsm.testing.check_grads` calls its ``forward`` and ``backward``. A correct
# layer:


class Affine:
    def __init__(self, n_in, n_out):
        W = np.random.default_rng(2).standard_normal((n_in, n_out))
        self.params = {"W": W, "b": np.zeros(n_out)}
        self.grads = {"W": np.zeros_like(W), "b": np.zeros(n_out)}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dy):
        self.grads["W"][...] = self.x.T @ dy
        self.grads["b"][...] = dy.sum(axis=0)
        return dy @ self.params["W"].T


x = rng.standard_normal((N, 4))
assert "agree" in says(Affine(4, 3), x)

# %%
# **10. The transpose is missing.** With as many inputs as outputs all shapes fit.


class NotTransposed(Affine):
    def backward(self, dy):
        super().backward(dy)
        return dy @ self.params["W"]  # wrong: .T


assert "wrong gradient over x" in says(NotTransposed(4, 4), x)

# %%
# **11. The product is the wrong way round.** ``dy.T @ x`` is for weights of shape (n_out, n_in). The report
# shows it by the shape or, for a square matrix, by the numbers.


class Turned(Affine):
    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["W"] = dy.T @ self.x  # wrong: x.T @ dy
        return dx


assert "got (3, 4): transposed?" in says(Turned(4, 3), x)
assert "is the transpose of the true one" in says(Turned(4, 4), x)

# %%
# **12. The bias gets a mean.** The loss includes the 1/N already, and so does ``dy``. So every sum over the
# samples is a plain sum.


class MeanBias(Affine):
    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["b"][...] = dy.mean(axis=0)  # wrong: sum
        return dx


assert "1/N too much?" in says(MeanBias(4, 3), x)

# %%
# **13. Gradients accumulate from step to step.** This happens with ``+=`` if nothing resets them to 0. A
# backward pass must overwrite them. So ``check_grads`` fills them with NaN first:


class Piled(Affine):
    def backward(self, dy):
        self.grads["W"] += self.x.T @ dy  # wrong: =
        self.grads["b"][...] = dy.sum(axis=0)
        return dy @ self.params["W"].T


assert "given nan" in says(Piled(4, 3), x)

# %%
# **14. A derivative in a gets z.** :math:`1 - a^2` is the derivative of tanh, written in its *output*: see
# :doc:`/learn/in_terms_of_a`.


class Tanh:
    def forward(self, z):
        self.z, self.a = z, np.tanh(z)
        return self.a

    def backward(self, da):
        return da * (1 - self.a**2)


class TanhOfInput(Tanh):
    def backward(self, da):
        return da * (1 - self.z**2)  # wrong: a


assert "agree" in says(Tanh(), x)
assert "wrong gradient" in says(TanhOfInput(), x)

# %%
# In the batch
# ------------
# **15. Labels of shape (N, 1).** They come from a column of a table, or from ``reshape(-1, 1)``. Indexing
# with them takes the probabilities of all labels from every row, N x N numbers, whose mean is another loss:

column = labels[:, None]


def with_a_column(z):
    p = fastsm.softmax(z)
    chosen = p[np.arange(N), column]  # wrong: column.ravel()
    assert chosen.shape == (N, N)
    return -np.mean(np.log(chosen)), (p - Y) / N


assert "wrong gradient" in says(with_a_column, z)

# %%
# The accuracy is wrong in the same way. All these predictions are right:

predictions = labels.copy()
assert np.mean(predictions == labels) == 1
assert np.mean(predictions == column) < 0.3

# %%
# So are differences. Outputs (N, 1) minus targets (N,) is N x N:

outputs, targets = z[:, :1], rng.standard_normal(N)


def regression(outputs):
    d = outputs - targets  # wrong: targets[:, None]
    return np.mean(d**2), 2 * d / N


assert "must have shape (6, 1), got (6, 6)" in says(regression, outputs)

# %%
# In fastsm, targets of a wrong shape are an error, which suggests the right line where it is known:


def refuses(call):
    try:
        call()
    except ValueError as error:
        print(textwrap.fill(str(error), 70))
        return True
    return False


assert refuses(lambda: fastsm.cross_entropy_with_grad(z, column))
assert refuses(lambda: nn.MSELoss().value_and_grad(outputs, targets))

# %%
# **16. The mean of means.** The gradient of a large batch is combined from smaller batches, or from several
# processes. Their means may be averaged only if all have the same size. Here they have 4 rows and 2:


def in_parts(z, share):
    loss, dz = fastsm.cross_entropy(z, labels), np.zeros_like(z)
    for rows in (slice(0, 4), slice(4, 6)):
        _, d = fastsm.cross_entropy_with_grad(z[rows], labels[rows])
        dz[rows] = share(len(d)) * d
    return loss, dz


def equal_shares(rows):
    return 1 / 2  # wrong


def true_shares(rows):
    return rows / N


assert "wrong gradient" in says(lambda z: in_parts(z, equal_shares), z)
assert "agree" in says(lambda z: in_parts(z, true_shares), z)

# %%
# The same holds for the loss of an epoch whose last batch is smaller, and for weighted rows: each part has
# its share of the total weight.
#
# What gradient checks cannot see
# -------------------------------
# ``check_grads`` compares a gradient with *your* loss. If both are wrong in the same way, they agree.
#
# **17. Softmax twice.** The model ends in a softmax, and the loss applies another one. The gradient is right,
# but for the wrong function:


def softmax_twice(z):
    p = fastsm.softmax(z)
    loss, dp = fastsm.cross_entropy_with_grad(p, labels)  # wrong: z
    return loss, fastsm.softmax_vjp(p, dp)


assert "agree" in says(softmax_twice, z)

# %%
# You can recognise it: probabilities lie between 0 and 1, so the second softmax cannot exceed :math:`e / (e +
# C - 1)`, however confident the network is. With 10 classes the loss never falls below 1.46:

certain = np.eye(10)  # the probabilities: sure, and right
lowest = fastsm.cross_entropy(certain, np.arange(10))
print(f"lowest loss {lowest:.2f}")
print(f"highest probability {fastsm.softmax(certain).max():.2f}")
assert np.isclose(lowest, -np.log(np.e / (np.e + 9)))

# %%
# fastsm's models and losses declare their outputs and inputs. So here it is an error:

model = nn.Sequential(nn.Linear(4, C), nn.Softmax(), rng=0)
on_logits = nn.CrossEntropyLoss()
assert refuses(lambda: nn.value_and_grad(model, on_logits, x, labels))

# %%
# **18. The softmax runs over the samples.** ``axis=0`` forward and backward is consistent, and wrong where
# samples are rows. (The default of ``scipy.special.softmax`` is ``axis=None``, the whole array as one row;
# fastsm's default is the last axis.)


def columns(z):
    return fastsm.softmax(z, axis=0)  # wrong


def columns_vjp(p, dp):
    return fastsm.softmax_vjp(p, dp, axis=0)


assert "agree" in says(columns, z, vjp=columns_vjp)
assert not np.allclose(columns(z).sum(axis=1), 1)  # which tells it

# %%
# So test three things beside the gradients. Every row of probabilities sums to 1. With the last weights at 0
# the first loss is :math:`\log C`. And the network can memorise a few samples:

model = nn.MLP([4, 64, C], head="softmax", rng=0)
model.layers[2].params["weight"][...] = 0
loss = nn.CrossEntropyLoss(on="probs")
assert np.allclose(model(x).sum(axis=1), 1)
assert np.isclose(loss(model(x), labels), np.log(C))
for _ in range(100):
    nn.value_and_grad(model, loss, x, labels)
    model.params[...] -= 0.5 * model.grads
assert loss(model(x), labels) < 0.01

# %%
# Summary
# -------
# Before you train, with a few rows of your own data, your own layers and your own loss:

model = nn.MLP([4, 64, C], activation="tanh", head="softmax", rng=0)
print(testing.check_grads(model, x, labels, loss=loss))
