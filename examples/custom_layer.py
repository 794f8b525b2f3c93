r"""
Layers and a loss of your own
=============================

A layer is an object with ``forward`` and ``backward``; a loss is a function of rows. Here are two layers and
a loss that fastsm does not have: one layer in NumPy, with a parameter; one whose kernel is compiled from
Cython; and a loss for classes that have an order. Each is also written wrongly, to see what
:func:`fastsm.testing.check_grads` says, and at the end they train together.
"""

# %%
# A layer in NumPy
# ----------------
#
# PReLU is a rectifier with a slope for negative numbers that is learned, one for each feature (K. He et al.,
# "Delving deep into rectifiers", ICCV 2015, equation 1): :math:`y = x` where :math:`x > 0`, else
# :math:`y = \alpha x`. Going back, with the rows of a batch as :math:`n` and features as :math:`j`:
#
# .. math:: \frac{\partial L}{\partial x_{nj}} = \frac{\partial L}{\partial y_{nj}} \cdot
#           \begin{cases} 1 & x_{nj} > 0 \\ \alpha_j & \text{else} \end{cases}
#
# .. math:: \frac{\partial L}{\partial \alpha_j}
#           = \sum_{n :\, x_{nj} \le 0} \frac{\partial L}{\partial y_{nj}}\, x_{nj}
#
# The slope is shared by all rows, so its gradient is a sum over the rows. The layer keeps what it needs, here
# its input, and makes its parameters when a model tells it the dtype.

import os
import subprocess
import sys
import tempfile
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.testing import assert_allclose

import fastsm
from fastsm import nn, optim, testing


class PReLU:
    undecayed = frozenset({"slope"})  # by weight decay, as in the paper

    def __init__(self, features):
        self.features = features

    def initialize(self, rng, dtype):
        self.params = {"slope": np.full(self.features, 0.25, dtype)}
        self.grads = {"slope": np.zeros(self.features, dtype)}

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.params["slope"] * x)

    def backward(self, dy):
        negative = self.x <= 0
        self.grads["slope"] = np.sum(dy * self.x * negative, axis=0)
        return np.where(negative, self.params["slope"] * dy, dy)

    def config(self):  # what makes such a layer again: to save and load
        return {"features": self.features}


# %%
# Three ways to get its backward pass wrong:


class MeanOverRows(PReLU):
    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["slope"] = np.mean(dy * self.x * (self.x <= 0), axis=0)
        return dx


class AddsUp(PReLU):
    def backward(self, dy):
        before = self.grads["slope"].copy()
        dx = super().backward(dy)
        self.grads["slope"] += before
        return dx


class PassesThrough(PReLU):
    def backward(self, dy):
        super().backward(dy)
        return dy.copy()


def check(name, *arguments, **options):
    """Print what check_grads says; return whether all is right."""
    try:
        report = testing.check_grads(*arguments, **options)
    except testing.GradientError as error:
        print(f"{name}: {error}\n")
        return False
    print(f"{name}: {report}\n")
    return True


rng = np.random.default_rng(0)
x = rng.standard_normal((5, 3))
assert not check("MeanOverRows", MeanOverRows(3), x)
assert not check("AddsUp", AddsUp(3), x)
assert not check("PassesThrough", PassesThrough(3), x)
assert check("PReLU", PReLU(3), x)

# %%
# The first hint is exact: the loss divides by the number of rows, once, and the layers only add up. The
# second one is NaN since ``check_grads`` fills all gradients with NaN before it calls ``backward``: a model's
# gradients are to be overwritten. (The third has a right slope and a wrong input's gradient: that is found by
# itself.)

# %%
# A layer with a compiled kernel
# ------------------------------
#
# Sparsemax maps logits to the nearest point of the probability simplex (A. F. T. Martins and R. F. Astudillo,
# "From softmax to sparsemax", ICML 2016). Like softmax its outputs are probabilities, but many are exactly 0:
#
# .. math:: s_i = \max(z_i - \tau, 0)
#
# with :math:`\tau` such that :math:`\sum_i s_i = 1`. With the support :math:`S = \{i : s_i > 0\}` the
# threshold is :math:`\tau = (\sum_{i \in S} z_i - 1) / |S|`. So the Jacobian is :math:`J =
# \operatorname{diag}(1_S) - 1_S 1_S^T / |S|`, it can be written with the *output* alone, and its product with
# an incoming gradient needs no matrix, for the same reason as that of softmax:
#
# .. math:: J^T ds = 1_S \circ \Bigl( ds - \frac{1}{|S|} \sum_{i \in S} ds_i \Bigr) .
#
# In NumPy the support is found by sorting:


def sparsemax(z):
    """Return sparsemax along rows."""
    z = z - z.max(axis=1, keepdims=True)  # does not change the result
    descending = -np.sort(-z, axis=1)
    totals = np.cumsum(descending, axis=1) - 1
    ranks = np.arange(1, z.shape[1] + 1, dtype=z.dtype)
    size = np.sum(ranks * descending > totals, axis=1, keepdims=True)
    threshold = np.take_along_axis(totals, size - 1, axis=1) / size
    return np.maximum(z - threshold, 0).astype(z.dtype)


def sparsemax_vjp(s, ds):
    """Return the gradient over z, from the output and its gradient."""
    support = s > 0
    mean = np.mean(ds, axis=1, keepdims=True, where=support)
    return np.where(support, ds - mean, 0)


rows = np.array([[1.0, 0.8, -1.0], [3.0, 0.0, 0.0], [0.1, 0.0, -0.1]])
print(sparsemax(rows).round(3))

# %%
# In Cython no sort is needed. The threshold of all classes is too low; leave out those below it, take it
# again from the rest, until nothing changes (C. Michelot, "A finite algorithm for finding the projection of a
# point onto the canonical simplex of R^n", Journal of Optimization Theory and Applications 50, 1986).
# ``floating`` stands for float and double: Cython writes both, and ``check_grads`` can work in double.

SOURCE = """\
# cython: boundscheck=False, wraparound=False, cdivision=True
import numpy as np
from cython cimport floating


def sparsemax(const floating[:, ::1] z):
    result = np.empty_like(z)
    cdef:
        floating[:, ::1] s = result
        floating highest, threshold, total
        Py_ssize_t n, i, size, before
        Py_ssize_t rows = z.shape[0], classes = z.shape[1]
    with nogil:
        for n in range(rows):
            highest = z[n, 0]
            for i in range(1, classes):
                highest = max(highest, z[n, i])
            threshold, size, before = -1, classes + 1, 0  # it is -1 or more
            while size != before:
                before, size, total = size, 0, 0
                for i in range(classes):
                    if z[n, i] - highest > threshold:
                        total += z[n, i] - highest
                        size += 1
                threshold = (total - 1) / size
            for i in range(classes):
                s[n, i] = max(z[n, i] - highest - threshold, 0)
    return result


def sparsemax_vjp(const floating[:, ::1] s, const floating[:, ::1] ds):
    result = np.empty_like(s)
    cdef:
        floating[:, ::1] dz = result
        floating mean
        Py_ssize_t n, i, size
    with nogil:
        for n in range(s.shape[0]):
            mean, size = 0, 0
            for i in range(s.shape[1]):
                if s[n, i] > 0:
                    mean += ds[n, i]
                    size += 1
            mean /= size
            for i in range(s.shape[1]):
                dz[n, i] = ds[n, i] - mean if s[n, i] > 0 else 0
    return result
"""


def compiled(source, folder):
    """Return the module, made by `cythonize -i`; None without the tools."""
    Path(folder, "kernels.pyx").write_text(source)
    subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "kernels.pyx"],
        cwd=folder,
        env=os.environ | {"CFLAGS": "-O1 -g0"},  # to compile sooner
        capture_output=True,
        check=False,
    )
    spec = PathFinder.find_spec("kernels", [str(folder)])
    if spec is None:
        return None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    kernels = compiled(SOURCE, folder)
print("compiled" if kernels else "no Cython or no C compiler: NumPy goes on")

# %%
# The layer is the same for both; only where the functions come from differs. A model hands its layers arrays
# that are contiguous, as the kernel wants them. ``emits`` says that the outputs are probabilities, so that a
# loss on probabilities is accepted after it.


class Sparsemax:
    emits = "probs"
    functions = sparsemax, sparsemax_vjp

    def forward(self, z):
        self.s = self.functions[0](z)
        return self.s

    def backward(self, ds):
        return self.functions[1](self.s, ds)

    def config(self):
        return {}


class SparsemaxWithSoftmaxVJP(Sparsemax):
    functions = sparsemax, fastsm.softmax_vjp


class SparsemaxHandedThrough(Sparsemax):
    functions = sparsemax, lambda s, ds: ds.copy()


z = rng.standard_normal((4, 6))
assert not check("softmax's VJP", SparsemaxWithSoftmaxVJP(), z)
assert not check("handed through", SparsemaxHandedThrough(), z)
assert check("Sparsemax", Sparsemax(), z)

# %%
# The second is the shortcut of :doc:`/learn/p_minus_y` again: to hand :math:`s - y` to the layer before is
# right for one loss alone, which the same paper derives for sparsemax as cross-entropy is for softmax.
#
# What remains is to check the kernel itself. Its results are compared with NumPy's, which it shares no line
# with, in both dtypes, on rows of small and of large numbers. A first version of the kernel stopped too early
# where all logits were nearly equal, and random numbers of one size had not shown it.


class CompiledSparsemax(Sparsemax):
    if kernels:
        functions = kernels.sparsemax, kernels.sparsemax_vjp


sizes = np.logspace(-2, 2, 200)[:, np.newaxis]
for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 1e-14)):
    z = (sizes * rng.standard_normal((200, 10))).astype(dtype)
    ds = rng.standard_normal(z.shape).astype(dtype)
    layer = CompiledSparsemax()
    s = layer.forward(z)
    dz = layer.backward(ds)
    assert s.dtype == dz.dtype == dtype
    assert_allclose(s, sparsemax(z), atol=tolerance)
    assert_allclose(dz, sparsemax_vjp(s, ds), atol=tolerance)
assert check("CompiledSparsemax", CompiledSparsemax(), z)

# %%
# A loss
# ------
#
# Suppose the digits are read off a meter. A 3 taken for a 4 is not as bad as a 3 taken for a 9, but
# cross-entropy treats the two alike. The ranked probability score compares the *cumulated* probabilities (E.
# S. Epstein, "A scoring system for probability forecasts of ranked categories", Journal of Applied
# Meteorology 8, 1969):
#
# .. math:: L = \sum_k (P_k - Y_k)^2, \quad
#           \frac{\partial L}{\partial p_i} = \sum_{k \ge i} 2 (P_k - Y_k)
#
# with :math:`P_k = \sum_{i \le k} p_i` and :math:`Y_k = \sum_{i \le k} y_i`. The derivative runs the other
# way, since :math:`p_i` is in all :math:`P_k` from :math:`k = i` on: the transpose of a cumulated sum is a
# cumulated sum from the end. A loss of your own returns a value for each row, and the gradient over the row.
# It needs to know nothing about softmax, batches or weights: the last one here, which takes the mean itself,
# is refused.


@nn.loss(on="probs")
def ranked(probs, targets):
    d = np.cumsum(probs - targets, axis=1)
    gradients = np.cumsum(2 * d[:, ::-1], axis=1)[:, ::-1]
    return np.sum(d**2, axis=1), gradients


@nn.loss(on="probs")
def from_the_front(probs, targets):
    d = np.cumsum(probs - targets, axis=1)
    return np.sum(d**2, axis=1), np.cumsum(2 * d, axis=1)


@nn.loss(on="probs")
def mean_of_the_batch(probs, targets):
    d = np.cumsum(probs - targets, axis=1)
    gradients = np.cumsum(2 * d[:, ::-1], axis=1)[:, ::-1]
    return np.mean(np.sum(d**2, axis=1)), gradients / len(d)


p, y = fastsm.softmax(rng.standard_normal((4, 5))), np.eye(5)[[0, 2, 2, 4]]
assert not check("from_the_front", from_the_front, p, y)
assert check("ranked", ranked, p, y)
try:
    mean_of_the_batch(p, y)
except ValueError as error:
    print(error)
else:
    raise AssertionError("this is not a loss of rows")

# %%
# All together
# ------------
#
# The whole model is checked once, loss and layers together, and then trained, beside the same network with
# :class:`fastsm.nn.Softmax`. One thing is to be known about sparsemax: where a single class is left, its
# Jacobian is 0, and the row learns nothing more, right or wrong. So the last weights start at 0, with all
# classes in the support.

certain = np.eye(10)[[3]]
assert not sparsemax_vjp(certain, rng.standard_normal((1, 10))).any()

images, labels = fastsm.data.load_digits()
targets = np.eye(10)[labels]
new_images, new_labels = images[1400:], labels[1400:]
models = {}
heads = {"softmax": nn.Softmax(), "sparsemax": CompiledSparsemax()}
for name, head in heads.items():
    last = nn.Linear(64, 10, init="zeros")
    model = nn.Sequential(nn.Linear(64, 64), PReLU(64), last, head, rng=0)
    assert testing.check_grads(model, images[:8], targets[:8], loss=ranked).ok
    fastsm.fit(
        model,
        images[:1400],
        targets[:1400],
        loss=ranked,
        optimizer=optim.AdamW(3e-3),
        epochs=30,
        rng=0,
    )
    models[name] = model
    p = model(new_images)
    right, zeros = np.mean(p.argmax(axis=1) == new_labels), np.mean(p == 0)
    print(f"{name}: {right:.1%} of new digits right, {zeros:.0%} of p is 0")
    assert right > 0.85
    assert (zeros > 0.5) == (name == "sparsemax")

# %%
# What a doubtful digit looks like to the two: softmax spreads what is left over all classes, sparsemax names
# a few.

doubtful = np.argmin(models["softmax"](new_images).max(axis=1))
_, (left, right) = plt.subplots(1, 2, width_ratios=(1, 2))
left.imshow(new_images[doubtful].reshape(8, 8), cmap="gray_r")
left.set(title=f"a {new_labels[doubtful]}", xticks=[], yticks=[])
for shift, name in ((-0.2, "softmax"), (0.2, "sparsemax")):
    [p] = models[name](new_images[[doubtful]])
    right.bar(np.arange(10) + shift, p, width=0.4, label=name)
right.set(xlabel="class", ylabel="probability", xticks=range(10))
right.legend()

# %%
# The layers can be saved, as they have a ``config``. To load, name the classes: a file never chooses what
# code is run. What layers and losses may do besides is in :doc:`/use/your_own_layer` and
# :doc:`/use/your_own_loss`.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "meter.safetensors")
    fastsm.save(path, models["sparsemax"])
    loaded = fastsm.load(path, layers=[PReLU, CompiledSparsemax])
assert np.array_equal(loaded(new_images), models["sparsemax"](new_images))
print(loaded)
