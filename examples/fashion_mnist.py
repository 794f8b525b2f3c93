"""
Fashion-MNIST from end to end
=============================

Images in, a trained classifier out: load the data, look at it, train, watch it on images that were held out,
test once, look at the mistakes, save. Then the same network once more with another loss, by changing one
argument.
"""

# %%
# The data
# --------
# :func:`fastsm.data.load` finds the files on this computer, or downloads them if the package ``pooch`` is
# installed. If neither works, this page uses the digits included in fastsm, and says so.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastsm
from fastsm import data, nn, optim, training

try:
    splits = data.load("fashion-mnist")
except data.DataError:
    print(
        "Fashion-MNIST is neither here nor to be downloaded: this page is about the bundled digits instead.\n"
    )
    splits = data.load("digits")
print(splits.train, splits.test, sep="\n")

# %%
# A row is an image. The images stay bytes, which take a quarter of the memory of float32; :func:`fastsm.fit`
# divides each mini-batch by 255 as it gathers it.

figure, axes = plt.subplots(2, 5, figsize=(6.4, 3))
for label, axis in enumerate(axes.flat):
    first = np.flatnonzero(splits.train.y == label)[0]
    axis.imshow(splits.train.X[first].reshape(splits.train.shape), cmap="gray_r")
    axis.set_title(splits.train.classes[label], fontsize=9)
    axis.set_axis_off()

# %%
# Training
# --------
# The test images are used only at the end. Every sixth training image is held out, to measure the network
# during training on images that it has not seen.

held_out = np.arange(len(splits.train)) % 6 == 0
images, labels = splits.train.X[~held_out], splits.train.y[~held_out]
validation = splits.train.X[held_out], splits.train.y[held_out]

EPOCHS = 5
BATCH_SIZE = 128 if len(images) > 10_000 else 16
steps = EPOCHS * -(-len(images) // BATCH_SIZE)

# %%
# The network has one hidden layer of 128 rectifiers, and a softmax. The learning rate rises and falls once
# (:class:`fastsm.optim.schedules.one_cycle`), which needs fewer epochs.


def train(loss, targets, validation_targets):
    """Return a network trained with this loss, and its history."""
    model = nn.MLP([images.shape[1], 128, 10], activation="relu", head="softmax", rng=0)
    history = fastsm.fit(
        model,
        images,
        targets,
        loss=loss,
        optimizer=optim.AdamW(optim.schedules.one_cycle(5e-3, steps)),
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        validation_data=(validation[0], validation_targets),
        rng=0,
    )
    return model, history


model, history = train(nn.CrossEntropyLoss(on="probs"), labels, validation[1])
history.plot()
print(f"after {history.epochs} epochs: {history['val_accuracy'][-1]:.1%} of the images held out are right")

# %%
# The training curves are means over an epoch while the network changes; the validation curves are measured at
# its end. So the first epoch looks better on unseen images. Where the curves cross and diverge, the network
# begins to memorise the training images.

assert history["accuracy"][0] < history["val_accuracy"][0]

# %%
# The test
# --------
# Once, at the end, by :func:`fastsm.training.evaluate`:

figures = training.evaluate(
    model,
    splits.test.X,
    splits.test.y,
    loss=nn.CrossEntropyLoss(on="probs"),
    metrics=("accuracy", "top_2", "ece"),
)
print({name: round(value, 4) for name, value in figures.items()})
assert figures["accuracy"] > 0.85

# %%
# ``model(images)`` returns the probabilities, one row for each image. Counted by true class and answer:

probs = model(splits.test.X)
answers = probs.argmax(axis=1)
confusion = np.zeros((10, 10), dtype=int)
np.add.at(confusion, (splits.test.y, answers), 1)
assert np.isclose(confusion.trace() / len(splits.test), figures["accuracy"])

figure, axis = plt.subplots(figsize=(5.6, 5.2))
axis.imshow(confusion / confusion.sum(axis=1, keepdims=True), cmap="Blues")
axis.set_xticks(range(10), splits.test.classes, rotation=45, ha="right")
axis.set_yticks(range(10), splits.test.classes)
axis.set_xlabel("answer")
axis.set_ylabel("what it is")
axis.grid(False)
for (truth, answer), count in np.ndenumerate(confusion):
    if count:
        dark = count > confusion[truth].sum() / 2
        axis.text(
            answer, truth, count, ha="center", va="center", fontsize=7, color="white" if dark else "black"
        )

# %%
# The wrong answers with the highest confidence:

wrong = np.flatnonzero(answers != splits.test.y)
worst = wrong[np.argsort(-probs[wrong].max(axis=1), kind="stable")][:10]
figure, axes = plt.subplots(2, 5, figsize=(6.4, 3.4))
for axis in axes.flat:
    axis.set_axis_off()
for axis, row in zip(axes.flat, worst, strict=False):
    answer, truth = (splits.test.classes[i] for i in (answers[row], splits.test.y[row]))
    axis.imshow(splits.test.X[row].reshape(splits.test.shape), cmap="gray_r")
    axis.set_title(f"{answer} {probs[row].max():.0%}\nis {truth}", fontsize=8)

# %%
# Another loss
# ------------
# The squared error of the probabilities is :math:`\frac{1}{C} \sum_k (p_k - y_k)^2`. Its gradient goes back
# through the softmax's derivative (:func:`fastsm.softmax_vjp`), so only the loss argument changes. Its
# targets are one-hot rows instead of labels.

one_hot = np.eye(10, dtype=np.float32)
model_by_squares, history_by_squares = train(nn.MSELoss(), one_hot[labels], one_hot[validation[1]])

figure, axis = plt.subplots()
for name, curve in (("cross-entropy", history), ("squared error", history_by_squares)):
    axis.plot(range(1, EPOCHS + 1), curve["val_accuracy"], marker="o", label=name)
axis.set_xlabel("epoch")
axis.set_ylabel("accuracy on images held out")
axis.legend()

accuracy_by_squares = np.mean(model_by_squares(splits.test.X).argmax(axis=1) == splits.test.y)
print(f"test images right: {figures['accuracy']:.1%} and {accuracy_by_squares:.1%}")
assert accuracy_by_squares > 0.85

# %%
# Saving
# ------
# A file holds the layers and the parameters, without pickle: loading it runs no code.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "fashion.safetensors"
    fastsm.save(path, model)
    again = fastsm.load(path)
assert (again(splits.test.X) == probs).all()

# %%
# The command does all of this too: ``fastsm train --data fashion-mnist`` writes the network, the curves, the
# confusion matrix and the mistakes to a folder.
