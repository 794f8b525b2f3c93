r"""
Numerical stability: overflow, NaN and what clipping does
=========================================================

Your formulas are right, but training ends in NaN. Or you clip the probabilities, the NaN is gone, but the
network stops learning. Both come from rounding, and both can be avoided.
"""

# %%
# The overflow: subtract the maximum
# ----------------------------------
# The textbook softmax, :math:`p_j = e^{z_j} / \sum_k e^{z_k}`, in float32:

import matplotlib.pyplot as plt
import numpy as np

import fastsm
from fastsm import nn


def naive_softmax(z):
    e = np.exp(z)
    return e / e.sum(axis=-1, keepdims=True)


z = np.array([[120, 0, 0]], dtype=np.float32)
with np.errstate(over="ignore", invalid="ignore"):
    print(naive_softmax(z))
    assert np.isnan(naive_softmax(z)[0, 0])
    assert np.isinf(np.exp(np.float32(89)))  # float32 ends before that
    assert np.isinf(np.exp(710.0))  # and float64 here

# %%
# The exponential of 120 is larger than any float32, so it is infinity, and infinity divided by infinity is
# NaN. But adding a constant to all logits of a row changes nothing:
#
# .. math::
#
#    \frac{e^{z_j + c}}{\sum_k e^{z_k + c}} = \frac{e^c\, e^{z_j}}{e^c \sum_k e^{z_k}}
#    = \frac{e^{z_j}}{\sum_k e^{z_k}}
#
# Take :math:`c = -\max_k z_k`. Then the largest exponent is 0, the sum lies between 1 and C, and nothing can
# overflow. Small terms may still vanish. This is harmless in a sum with a 1, but not in a logarithm.


def shifted_softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


print(shifted_softmax(z))
assert np.array_equal(shifted_softmax(z), [[1, 0, 0]])
assert np.array_equal(fastsm.softmax(z), shifted_softmax(z))
assert np.array_equal(fastsm.softmax(z + 1000), fastsm.softmax(z))

# %%
# For the same reason, every row of :func:`fastsm.softmax_vjp` sums to 0.

p = fastsm.softmax([[0.3, -1.2, 0.8]])
dz = fastsm.softmax_vjp(p, [[5.0, -2.0, 1.0]])
assert abs(dz.sum()) < 1e-15

# %%
# The logarithm: log-sum-exp
# --------------------------
# Cross-entropy needs :math:`\log p`, for which the shifted softmax is not enough. A probability may be too
# small for its dtype. Its logarithm never is:
#
# .. math::
#
#    \log p_j &= z_j - \operatorname{logsumexp}(z) \\
#    \operatorname{logsumexp}(z) &= \log \sum_k e^{z_k} = m + \log \sum_k e^{z_k - m},
#    \quad m = \max_k z_k

with np.errstate(divide="ignore"):
    print("log(softmax(z)) ", np.log(shifted_softmax(z)))
print("log_softmax(z)  ", fastsm.log_softmax(z))
assert fastsm.log_softmax(z).tolist() == [[0, -120, -120]]
assert fastsm.logsumexp([1000.0, 1000.0]) == 1000 + np.log(2)

# %%
# NaN at z = [120, 0, 0]
# ----------------------
# Let the second class be right. The network is confident and wrong, so this sample should have a large
# gradient. The textbook's backward pass takes the gradient over ``p`` first and then the Jacobian:

y = np.array([[0, 1, 0]], dtype=np.float32)
p = fastsm.softmax(z)
with np.errstate(divide="ignore", invalid="ignore"):
    dp = -y / p  # 1/0 and 0/0
    dz = fastsm.softmax_vjp(p, dp)  # 0 times infinity
print("dp", dp)
print("dz", dz)
assert np.isnan(dz).any()

# %%
# (Automatic differentiation does not help. For ``-torch.log(torch.softmax(z, 1))[0, 1]`` PyTorch 2.13 gives
# three NaNs too.)
#
# The softmax's factor :math:`p` cancels the logarithm's division by :math:`p` if both are taken together:
# :math:`dz = p - y`, without a division.

loss, dz = fastsm.cross_entropy_with_grad(z, y)
print("loss", loss, " dz", dz)
assert loss == 120
assert dz.tolist() == [[1, -1, 0]]

# %%
# A model may still end in a softmax. fastsm recognises :class:`fastsm.nn.Softmax` before a cross-entropy on
# probabilities, and starts from the logits:

model = nn.Sequential(nn.Softmax())
on_probs = nn.CrossEntropyLoss(on="probs")
loss, dx = nn.value_and_grad(model, on_probs, z, [1], input_grad=True)
assert loss == 120
assert dx.tolist() == [[1, -1, 0]]

# %%
# What clipping does
# ------------------
# A common remedy is ``p = np.clip(p, 1e-7, 1 - 1e-7)`` before the logarithm. It avoids NaN. But a clip is
# flat outside its bounds, so the chain rule multiplies by a derivative of 0 there:


def clipped_cross_entropy(z, y, bound=1e-7):
    p = fastsm.softmax(z)
    inside = (p > bound) & (p < 1 - bound)
    clipped = np.clip(p, bound, 1 - bound)
    loss = -np.sum(y * np.log(clipped))
    return loss, fastsm.softmax_vjp(p, -y / clipped * inside)


z = np.array([[20.0, 0.0, 0.0]])

loss, dz = clipped_cross_entropy(z, y)
print(f"clipped   loss {loss:.3f}, dz {dz.round(3)}")
assert np.isclose(loss, -np.log(1e-7))  # for every worse mistake, too
assert not dz.any()

loss, dz = fastsm.cross_entropy_with_grad(z, y)
print(f"together  loss {loss:.3f}, dz {dz.round(3)}")
assert np.isclose(loss, 20)
assert np.allclose(dz, [[1, -1, 0]], atol=1e-8)

# %%
# The gradient is exactly 0: the network learns nothing from this sample. (Keras 3.15's losses on
# probabilities, ``from_logits=False``, their default, behave the same: with PyTorch as the backend, the loss
# is 16.1 here, and the gradient 0.) Some programs clip only in the forward pass and divide by the clipped
# number in the backward pass. Then the gradient fades instead of vanishing, which is little better. The
# size of the gradient over the logit of the right class, as the network gets more wrong:

gaps = np.linspace(0, 40, 401)
true, stopped, faded = [], [], []
for gap in gaps:
    z = np.array([[gap, 0.0, 0.0]])
    p = fastsm.softmax(z)
    true.append(-fastsm.cross_entropy_with_grad(z, y)[1][0, 1])
    stopped.append(-clipped_cross_entropy(z, y)[1][0, 1])
    dp = -y / np.clip(p, 1e-7, 1 - 1e-7)
    faded.append(-fastsm.softmax_vjp(p, dp)[0, 1])

figure, place = plt.subplots()
place.plot(gaps, true, label="p - y")
place.plot(gaps, faded, "--", label="clipped forward, not backward")
place.plot(gaps, stopped, ":", label="clipped, and differentiated")
place.set_xlabel("the wrong logit is so much larger")
place.set_ylabel("gradient over the right logit")
place.legend()

at_20 = np.searchsorted(gaps, 20)
assert true[at_20] > 0.99
assert faded[at_20] < 0.03
assert stopped[at_20] == 0

# %%
# So do not clip: compute the loss from the logits.
#
# Losses near zero
# ----------------
# The shift by the maximum keeps the logarithm of small probabilities. Probabilities near 1 need more. If the
# network is right and confident, :math:`z = [0, -40]` with the first class, the loss is :math:`\log(1 +
# e^{-40})`, nearly :math:`e^{-40} = 4.2 \cdot 10^{-18}`. In the usual formula the sum is :math:`1 + e^{-40}`,
# which rounds to 1, and its logarithm is 0. (The log_softmax of SciPy 1.17, PyTorch 2.13 and JAX 0.10 returns
# this 0.)


def usual_log_softmax(z):
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


z = np.array([0.0, -40.0])
print("usual ", usual_log_softmax(z))
print("fastsm", fastsm.log_softmax(z))
exact = -np.log1p(np.exp(-40))
assert usual_log_softmax(z)[0] == 0
assert abs(fastsm.log_softmax(z)[0] / exact - 1) < 1e-15

# %%
# The solution is to keep the maximum's own 1 out of the sum. With :math:`r = \sum_{k \ne \max} e^{z_k - m}`,
# which is summed separately and may be arbitrarily small,
#
# .. math::
#
#    \operatorname{logsumexp}(z) &= m + \log(1 + r) = m + \mathrm{log1p}(r) \\
#    1 - p_{\max} &= \frac{r}{1 + r}
#
# (P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax functions",
# IMA Journal of Numerical Analysis 41, 2021.) The second formula, with a minus, is the gradient :math:`p - y`
# where the maximum is the right class. The subtraction ``p - 1`` would round it to 0. The picture shows both
# ends in float32: the relative error of the loss of the first class for logits :math:`[g, 0]`.

gaps = np.linspace(-150, 60, 841)
logits = np.zeros((len(gaps), 2), dtype=np.float32)
logits[:, 0] = gaps
g = logits[:, 0].astype(np.float64)
exact = np.logaddexp(0, -g)  # log(1 + e^-g), in float64

ways = {
    "log(softmax(z))": lambda z: np.log(shifted_softmax(z)),
    "log of the sum": usual_log_softmax,
    "fastsm": fastsm.log_softmax,
}
errors = {}
figure, place = plt.subplots()
for name, style in zip(ways, ("-", "--", ":"), strict=True):
    with np.errstate(divide="ignore"):
        loss = -ways[name](logits)[:, 0].astype(np.float64)
    errors[name] = np.abs(loss / exact - 1)
    place.semilogy(g, errors[name].clip(1e-9, 1e2), style, label=name)
place.set_xlabel("g: the right logit is so much larger")
place.set_ylabel("relative error of the loss")
place.legend(loc="center")

wrong, sure = g < -110, g > 20
assert np.isinf(errors["log(softmax(z))"][wrong]).all()
assert errors["log of the sum"][wrong].max() < 1e-6
assert (errors["log(softmax(z))"][sure] == 1).all()
assert (errors["log of the sum"][sure] == 1).all()
assert errors["fastsm"].max() < 1e-6

# %%
# (Values off the scale are drawn at its ends: no error below, infinity above.) A relative error of 1 means a
# loss of 0 instead of a small number. This hardly affects training. It matters when you rank samples by
# confidence, or watch a loss that keeps falling: near 1e-7 the usual formula has only a few values in
# float32, and below only 0. The gradient keeps its digits too (:doc:`/use/guarantees` lists the promises):

loss, dz = fastsm.cross_entropy_with_grad(z, 0)
print("loss", loss, " dz", dz)
assert dz[0] < 0
assert abs(dz[0] / -np.exp(-40) - 1) < 1e-15
assert fastsm.softmax(z)[0] - 1 == 0  # what p - y would say

# %%
# Impossible classes
# ------------------
# A logit of ``-inf`` has the probability 0, exactly, and causes no NaN, neither in the loss of another class
# nor in its gradient. To exclude classes from a row, you can also use ``where=``.

z = np.array([[2.0, -np.inf, 1.0]])
loss, dz = fastsm.cross_entropy_with_grad(z, [0])
assert np.isfinite(loss)
assert dz[0, 1] == 0
masked = fastsm.softmax([[2.0, 5.0, 1.0]], where=[[True, False, True]])
assert np.array_equal(masked, fastsm.softmax(z))

# %%
# NaN propagates: a row with NaN or ``+inf`` becomes all NaN, and no other row changes. So you notice it at
# once.

z = np.array([[np.nan, 0.0, 1.0], [2.0, 0.0, 1.0]])
assert np.isnan(fastsm.softmax(z)[0]).all()
assert np.array_equal(fastsm.softmax(z)[1], fastsm.softmax(z[1]))

# %%
# Summary
# -------
# .. list-table::
#    :header-rows: 1
#    :widths: 50 50
#
#    * - instead of
#      - write
#    * - ``np.exp(z) / np.exp(z).sum()``
#      - :func:`fastsm.softmax`
#    * - ``np.log(softmax(z))``
#      - :func:`fastsm.log_softmax`
#    * - ``np.log(np.exp(z).sum())``
#      - :func:`fastsm.logsumexp`
#    * - ``-np.log(np.clip(p, ...))``
#      - :func:`fastsm.cross_entropy`, on logits
#    * - ``-y / p``, and then the Jacobian
#      - :func:`fastsm.cross_entropy_with_grad`
#
# The last one, for a whole batch, with labels and no one-hot matrix:

logits = np.float32([[120, 0, 0], [0, -40, 0], [1, 2, 3]])
loss, d_logits = fastsm.cross_entropy_with_grad(logits, [1, 0, 2])
assert np.isfinite(d_logits).all()
