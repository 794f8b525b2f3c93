r"""
Custom layers and a custom loss
===============================

A layer is an object with ``forward`` and ``backward``; a loss is a function of rows. Here are two layers and
a loss that fastsm does not have: one layer in NumPy, with a parameter; one whose kernel is compiled from
Cython; and a loss for ordered classes. Each also has wrong versions, to show what
:func:`fastsm.testing.check_grads` reports, and at the end they train together.
"""

# %%
# A layer in NumPy
# ----------------
#
# PReLU is a rectifier with a learned slope for negative numbers, one for each feature (K. He et al.,
# "Delving deep into rectifiers", ICCV 2015, equation 1): :math:`y = x` where :math:`x > 0`, else
# :math:`y = \alpha x`. The backward pass, with :math:`n` for the rows of a batch and :math:`j` for the
# features:
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

    def config(self):  # the arguments of the constructor, to save and load
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
    """Print the report of check_grads; return whether the gradients are right."""
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
# second one is NaN since ``check_grads`` fills all gradients with NaN before it calls ``backward``:
# ``backward`` must overwrite them. (The third has the right gradient over the slope and a wrong one over the
# input; each is checked.)

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
# an incoming gradient needs no matrix, as for softmax:
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
# The Cython version needs no sort. The threshold over all classes is too low; drop the classes below it,
# recompute it from the rest, and repeat until nothing changes (C. Michelot, "A finite algorithm for finding
# the projection of a point onto the canonical simplex of R^n", Journal of Optimization Theory and
# Applications 50, 1986). ``floating`` stands for float and double: Cython writes both, and ``check_grads``
# can work in double.

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
# The layer is the same for both; only the functions differ. A model passes contiguous arrays to its layers,
# as the kernel needs. ``emits`` says that the outputs are probabilities, so a loss on probabilities may
# follow.


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
# The second is the shortcut of :doc:`/learn/p_minus_y`: passing :math:`s - y` to the layer before is right
# for one loss only, which the same paper derives for sparsemax as cross-entropy is for softmax.
#
# Finally, check the kernel itself. Compare its results with the independent NumPy version, in both dtypes, on
# rows of small and of large numbers. A first version of the kernel stopped too early where all logits were
# nearly equal, which random numbers of one size did not show.


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
# Suppose the digits are read off a meter. Reading a 3 as a 4 is less wrong than reading it as a 9, but
# cross-entropy treats both alike. The ranked probability score compares the *cumulated* probabilities (E.
# S. Epstein, "A scoring system for probability forecasts of ranked categories", Journal of Applied
# Meteorology 8, 1969):
#
# .. math:: L = \sum_k (P_k - Y_k)^2, \quad
#           \frac{\partial L}{\partial p_i} = \sum_{k \ge i} 2 (P_k - Y_k)
#
# with :math:`P_k = \sum_{i \le k} p_i` and :math:`Y_k = \sum_{i \le k} y_i`. The derivative sums from the
# other end, since :math:`p_i` is in all :math:`P_k` from :math:`k = i` on: the transpose of a cumulated sum
# is a cumulated sum from the end. A custom loss returns a value for each row, and the gradient over the row.
# It does not handle softmax, batches or weights: the last one here, which takes the mean itself, is refused.


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
# The whole model
# ---------------
#
# Check loss and layers together once, then train them, beside the same network with
# :class:`fastsm.nn.Softmax`. Sparsemax has a pitfall: where a single class is left, its Jacobian is 0, and
# the row learns nothing more, right or wrong. So the last weights start at 0, with all classes in the
# support.

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
# For a doubtful digit softmax spreads the remaining probability over all classes, sparsemax over a few.

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
# The layers can be saved, as they have a ``config``. To load, pass the classes: a file never chooses the code
# to run. For more see :doc:`/use/your_own_layer` and :doc:`/use/your_own_loss`.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "meter.safetensors")
    fastsm.save(path, models["sparsemax"])
    loaded = fastsm.load(path, layers=[PReLU, CompiledSparsemax])
assert np.array_equal(loaded(new_images), models["sparsemax"](new_images))
print(loaded)
