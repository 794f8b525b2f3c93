"""
Calibration: one number that makes probabilities honest
=======================================================

A network that has memorised its training data is overconfident: of its answers with a confidence of 95 %, far
fewer than 95 in 100 are right. Dividing its logits by one number, a *temperature* fitted on held-out data,
corrects most of this and changes no answer. After C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On
calibration of modern neural networks", ICML 2017.
"""

# %%
# Data whose truth is known
# -------------------------
# Take five overlapping clouds of points in ten dimensions. They cannot be told apart with certainty, and
# Bayes' rule gives the exact probabilities to compare with, unlike for real data.

import copy

import matplotlib.pyplot as plt
import numpy as np

import fastsm
from fastsm import nn, optim
from fastsm.training import metrics

CLASSES, FEATURES, SPREAD = 5, 10, 1.5
rng = np.random.default_rng(0)
centres = rng.standard_normal((CLASSES, FEATURES))


def sample(count):
    """Return points and the clouds that they come from."""
    labels = rng.integers(CLASSES, size=count)
    return centres[labels] + SPREAD * rng.standard_normal((count, FEATURES)), labels


def bayes(points):
    """Return the exact probabilities by Bayes' rule."""
    distances = ((points[:, None] - centres) ** 2).sum(axis=2)
    return fastsm.softmax(-distances / (2 * SPREAD**2))


(X, y), (X_held_out, y_held_out), (X_test, y_test) = sample(1000), sample(1000), sample(5000)

# %%
# A network that is too sure
# --------------------------
# It has two wide layers, trained for many epochs on 1000 points:

model = nn.MLP([FEATURES, 128, 128, CLASSES], dtype="float64", rng=0)
fastsm.fit(model, X, y, optimizer=optim.AdamW(2e-3), epochs=40, batch_size=64, rng=0)
assert (model(X).argmax(axis=1) == y).all()  # all memorised

# %%
# The expected calibration error (ECE, equation 3 of the paper) sorts the answers by their confidence and
# takes the mean distance between confidence and accuracy: see
# :func:`fastsm.training.metrics.expected_calibration_error`.

ece = metrics.expected_calibration_error(bins=15)
logits_held_out, logits_test = model(X_held_out), model(X_test)


def summary(name, probs):
    """Print and return accuracy, mean log-likelihood and calibration error on the test points."""
    row = metrics.accuracy(probs, y_test), metrics.nll(probs, y_test), ece(probs, y_test)
    print(f"{name:<11} accuracy {row[0]:.1%}  negative log-likelihood {row[1]:.3f}  ECE {row[2]:.3f}")
    return row


confidence = fastsm.softmax(logits_test).max(axis=1)
right = logits_test.argmax(axis=1) == y_test
sure = confidence > 0.9
print(f"answers at 90 % and above: confidence {confidence[sure].mean():.1%}, right {right[sure].mean():.1%}")
assert confidence[sure].mean() > 0.95 > 0.9 > right[sure].mean()

before = summary("network", fastsm.softmax(logits_test))
limit = summary("Bayes' rule", bayes(X_test))

# %%
# The temperature
# ---------------
# Minimise the cross-entropy of :math:`\operatorname{softmax}(z / T)` over :math:`T`, on the held-out points.
# With :math:`\beta = 1 / T` the loss :math:`L(\beta)` is convex, so its derivative crosses 0 once. By the
# chain rule that derivative is :math:`\langle z, g \rangle`, with :math:`g` the gradient over the scaled
# logits :math:`\beta z`.


def slope(beta):
    """Return the derivative of the loss on the held-out points over beta = 1 / T."""
    _, gradient = fastsm.cross_entropy_with_grad(beta * logits_held_out, y_held_out)
    return np.vdot(logits_held_out, gradient)


low, high = 0.01, 100.0
assert slope(low) < 0 < slope(high)
while high / low > 1 + 1e-12:
    middle = np.sqrt(low * high)
    low, high = (middle, high) if slope(middle) < 0 else (low, middle)
temperature = 1 / middle
print(f"T = {temperature:.3f}")

# %%
# This uses bisection, although Newton's method is the obvious choice for a convex function of one variable.
# But its first step from :math:`T = 1` overshoots: the logits of such a network are so large that the curve
# is almost straight there. The second derivative is the mean variance of :math:`z` under :math:`p`, and the
# step leads to a negative :math:`\beta`:

p = fastsm.softmax(logits_held_out)
mean = (p * logits_held_out).sum(axis=1, keepdims=True)
curvature = (p * (logits_held_out - mean) ** 2).sum(axis=1).mean()
newton = 1 - slope(1.0) / curvature
assert np.isclose(curvature, (slope(1 + 1e-5) - slope(1 - 1e-5)) / 2e-5, rtol=1e-6)
assert newton < 0

betas = np.geomspace(0.05, 2, 100)
figure, axis = plt.subplots()
losses = [fastsm.cross_entropy(logits_held_out, y_held_out, temperature=1 / b) for b in betas]
axis.plot(betas, losses, label="points held out")
axis.plot(
    betas, [fastsm.cross_entropy(logits_test, y_test, temperature=1 / b) for b in betas], label="test points"
)
axis.axvline(1 / temperature, color="gray", linestyle=":")
axis.set_xlabel("1 / T")
axis.set_ylabel("cross-entropy")
axis.legend()
assert fastsm.cross_entropy(logits_held_out, y_held_out, temperature=temperature) <= min(losses)

# %%
# The effect
# ----------

calibrated = fastsm.softmax(logits_test, temperature=temperature)
after = summary("calibrated", calibrated)
assert (calibrated.argmax(axis=1) == logits_test.argmax(axis=1)).all()  # no answer changes
assert after[2] < before[2] / 4
assert limit[1] < after[1] < before[1]

# %%
# A reliability diagram sorts the answers by confidence, and draws each bin's accuracy over its mean
# confidence. Calibrated probabilities lie on the diagonal; the larger a dot, the more answers are in it.

figure, axes = plt.subplots(1, 2, sharey=True, figsize=(6.4, 3.4))
for axis, name, probs in (
    (axes[0], "network", fastsm.softmax(logits_test)),
    (axes[1], "calibrated", calibrated),
):
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == y_test
    place = np.minimum((10 * confidence).astype(int), 9)
    bins = [place == b for b in range(10) if (place == b).any()]
    axis.plot([0, 1], [0, 1], color="gray", linestyle=":")
    axis.set_ylabel("accuracy")
    axis.scatter(
        [confidence[b].mean() for b in bins],
        [right[b].mean() for b in bins],
        s=[400 * b.mean() for b in bins],
    )
    axis.set_title(f"{name}: ECE {ece(probs, y_test):.3f}")
    axis.set_xlabel("confidence")
    axis.label_outer()

# %%
# The temperature becomes part of the model: its last layer, which is saved with it.

honest = nn.Sequential(*copy.deepcopy(model.layers), nn.Softmax(temperature=temperature), dtype="float64")
assert np.allclose(honest(X_test), calibrated)

# %%
# One number cannot correct errors that differ between classes, and the network does not reach Bayes' rule.
# But the temperature is cheap, cannot change an answer, and needs few points to fit.
