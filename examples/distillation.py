"""
Distillation: a student that learns from soft labels
====================================================

A large network's probabilities say more than its answers: *a 7, but it might have been a 1*. A small network
trained on them learns more than its images show. Here a student never sees a 3 in training, yet recognises
3s. After G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network", 2015.
"""

# %%
# The teacher
# -----------
# A network with dropout, trained on all ten handwritten digits included in fastsm.

import matplotlib.pyplot as plt
import numpy as np

import fastsm
from fastsm import data, nn, optim, testing

splits = data.load("digits")
train, test = splits.train, splits.test

teacher = nn.MLP([64, 256, 10], dropout=0.2, rng=0)
fastsm.fit(teacher, train.X, train.y, optimizer=optim.AdamW(3e-3), epochs=20, batch_size=64, rng=0)


def accuracy(model, digit=None):
    """Return the accuracy on the test images, of all digits or of one."""
    rows = slice(None) if digit is None else test.y == digit
    return np.mean(model(test.X[rows]).argmax(axis=1) == test.y[rows])


print(f"teacher: {accuracy(teacher):.1%} right")

# %%
# Its small probabilities hold more than the answer. A temperature :math:`T` above 1 enlarges them: :math:`p =
# \operatorname{softmax}(z / T)`. The 8 with the teacher's lowest confidence:

eights = teacher(train.X[train.y == 8])
eight = eights[[fastsm.softmax(eights)[:, 8].argmin()]]
figure, axes = plt.subplots(1, 3, sharey=True, figsize=(6.4, 2.6))
for axis, temperature in zip(axes, (1, 2, 5), strict=True):
    axis.bar(range(10), fastsm.softmax(eight, temperature=temperature)[0])
    axis.set_title(f"T = {temperature}")
    axis.set_xticks(range(10))

# %%
# The loss
# --------
# The loss is cross-entropy with the teacher's probabilities :math:`q` as targets, both at temperature
# :math:`T`. Its gradient over the student's logits :math:`z` is :math:`(p - q) / T`, with one :math:`1/T`
# from the division of the logits. At a high temperature the probabilities differ by another factor of about
# :math:`1/T`. So the gradient shrinks as :math:`1/T^2`, and the loss is multiplied by :math:`T^2` to match a
# loss on hard labels.

rng = np.random.default_rng(0)
student_logits, teacher_logits = rng.standard_normal((2, 128, 10))

lengths = []
for temperature in (1, 2, 5, 20, 100):
    soft = fastsm.softmax(teacher_logits, temperature=temperature)
    _, gradient = fastsm.cross_entropy_with_grad(student_logits, soft, temperature=temperature)
    lengths.append(np.linalg.norm(gradient))
    print(
        f"T = {temperature:>3}: |gradient| = {lengths[-1]:.1e}, times T² = {lengths[-1] * temperature**2:.4f}"
    )
assert np.isclose(lengths[-1] * 100**2, lengths[-2] * 20**2, rtol=0.02)

# %%
# As :math:`T` grows, the gradient approaches the difference of the logits, each minus the mean of its row,
# divided by the number of classes: equation 4 of the paper. (The mean over the batch also divides by the
# number of rows.)

difference = student_logits - teacher_logits
difference -= difference.mean(axis=1, keepdims=True)
assert np.allclose(gradient * 100**2, difference / 10 / len(difference), rtol=0.1, atol=1e-5)

# %%
# As a custom loss: the value of each row and its gradient. (Without the factor this would be
# ``nn.CrossEntropyLoss(temperature=T)``.)

T = 5.0


@nn.loss(on="logits")
def distillation(logits, soft):
    """Return T² times the cross-entropy with the teacher's probabilities, row by row, and its gradient."""
    log_p = fastsm.log_softmax(logits, temperature=T)
    return -(T**2) * (soft * log_p).sum(axis=1), T * (np.exp(log_p) - soft)


print(
    testing.check_grads(distillation, student_logits[:8], fastsm.softmax(teacher_logits[:8], temperature=T))
)

# %%
# If the gradient lacks the factor :math:`1/T` of the division, a mistake seen in public code, the check
# fails:


@nn.loss(on="logits")
def forgotten(logits, soft):
    """Return the same loss with a gradient that forgets 1/T."""
    log_p = fastsm.log_softmax(logits, temperature=T)
    return -(T**2) * (soft * log_p).sum(axis=1), T**2 * (np.exp(log_p) - soft)


try:
    testing.check_grads(forgotten, student_logits[:8], fastsm.softmax(teacher_logits[:8], temperature=T))
except testing.GradientError as error:
    print(error)
else:
    raise AssertionError("the check has not seen it")

# %%
# The student who never saw a 3
# -----------------------------
# The student has an eighth of the teacher's hidden units. It gets the same images without the 3s, and either
# the true labels or the teacher's probabilities, with three seeds each.

seen = train.y != 3
soft_labels = fastsm.softmax(teacher(train.X), temperature=T)


def student(loss, targets, seed):
    """Return a small network, trained on everything but the 3s."""
    model = nn.MLP([64, 32, 10], rng=seed)
    fastsm.fit(
        model,
        train.X[seen],
        targets[seen],
        loss=loss,
        optimizer=optim.AdamW(5e-3),
        epochs=30,
        batch_size=64,
        metrics=(),
        rng=seed,
    )
    return model


students = {
    "hard labels": [student(nn.CrossEntropyLoss(), train.y, seed) for seed in range(3)],
    "soft labels": [student(distillation, soft_labels, seed) for seed in range(3)],
}
of_threes = {name: np.mean([accuracy(s, 3) for s in models]) for name, models in students.items()}
of_all = {name: np.mean([accuracy(s) for s in models]) for name, models in students.items()}
for name in students:
    print(f"student, {name}: {of_all[name]:.1%} right, {of_threes[name]:.1%} of the 3s")

assert of_threes["hard labels"] == 0
assert of_threes["soft labels"] > 0.8
assert of_all["soft labels"] > 0.95 > of_all["hard labels"]

# %%
# It knows of 3s only by how much the other digits resemble one.

figure, axis = plt.subplots()
places = np.arange(10)
for offset, (name, models) in zip((-0.2, 0.2), students.items(), strict=True):
    axis.bar(places + offset, [np.mean([accuracy(s, d) for s in models]) for d in range(10)], 0.4, label=name)
axis.set_xticks(places)
axis.set_xlabel("digit")
axis.set_ylabel("accuracy on the test images")
axis.legend(ncols=2, loc="upper center")
_ = axis.set_ylim(0, 1.2)

# %%
# With labels, the paper mixes both: it adds the losses and the gradients. The targets of a row are then the
# teacher's probabilities and the one-hot label, side by side.

WEIGHT = 0.1


@nn.loss(on="logits")
def mixed(logits, targets):
    """Return the distillation loss with a part of the cross-entropy with the true labels, row by row."""
    soft, hard = np.split(targets, 2, axis=1)
    soft_values, soft_gradients = distillation.__wrapped__(logits, soft)
    log_p = fastsm.log_softmax(logits)
    hard_values, hard_gradients = -(hard * log_p).sum(axis=1), np.exp(log_p) - hard
    values = (1 - WEIGHT) * soft_values + WEIGHT * hard_values
    return values, (1 - WEIGHT) * soft_gradients + WEIGHT * hard_gradients


both = np.hstack([soft_labels, np.eye(10, dtype=np.float32)[train.y]])
assert testing.check_grads(mixed, student_logits[:8], both[:8].astype(np.float64)).ok
print(f"student, both: {accuracy(student(mixed, both, 0)):.1%} right, still without a 3")
