"""fit: against handwritten training, resumed bit for bit, and errors."""

import gzip
import pickle
import re
import threading
import tracemalloc
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from model_files import rewrite, tree_of

import fastsm
from fastsm import callbacks, nn, optim, training
from fastsm.training import _blas_threads as fit_threads


def problem(rows=60, features=5, classes=3, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, features)).astype(dtype)
    return X, (X @ rng.standard_normal((features, classes))).argmax(axis=1)


def network(dropout=0.0, dtype="float64", seed=1, **options):
    return nn.MLP([5, 8, 3], activation="tanh", dropout=dropout, dtype=dtype, rng=seed, **options)


# ---- the same by hand ----


class ByHand:
    """Tanh network of one hidden layer with cross-entropy and momentum, in plain NumPy."""

    def __init__(self, model):
        self.p = [array.copy() for _, array in model.named_parameters()]
        self.v = [np.zeros_like(a) for a in self.p]

    def gradient(self, x, y, weight):
        w1, b1, w2, b2 = self.p
        a = np.tanh(x @ w1 + b1)
        z = a @ w2 + b2
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        self.loss = float((weight * -np.log(p[np.arange(len(y)), y])).sum() / weight.sum())
        dz = (p - np.eye(3)[y]) * (weight / weight.sum())[:, None]
        da = dz @ w2.T * (1 - a * a)
        return [x.T @ da, da.sum(axis=0), a.T @ dz, dz.sum(axis=0)]

    def step(self, x, y, weight, lr, momentum=0.0, clip=np.inf):
        gradients = self.gradient(x, y, weight)
        norm = np.sqrt(sum((g * g).sum() for g in gradients))
        for i, g in enumerate(gradients):
            self.v[i] = momentum * self.v[i] + g * min(1, clip / norm)
            self.p[i] = self.p[i] - lr * self.v[i]


def assert_by_hand(model, hand, rtol=1e-10):
    for (_, mine), other in zip(model.named_parameters(), hand.p, strict=True):
        np.testing.assert_allclose(mine, other, rtol, rtol)


@pytest.mark.parametrize("batch_size", [60, 1000])
def test_full_batches(batch_size):
    X, y = problem()
    model = network()
    hand = ByHand(model)
    losses = []
    for _ in range(20):
        hand.step(X, y, np.ones(60), 0.5, 0.9)
        losses.append(hand.loss)
    history = fastsm.fit(
        model, X, y, optimizer=optim.SGD(0.5, momentum=0.9), epochs=20, batch_size=batch_size, rng=0
    )
    assert_by_hand(model, hand)
    np.testing.assert_allclose(history["loss"], losses, 1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [7, 20, 59])
def test_mini_batches(batch_size, weighted):
    X, y = problem()
    weight = np.random.default_rng(5).random(60) if weighted else np.ones(60)
    model = network()
    hand = ByHand(model)
    epoch_losses = []
    for _ in range(3):
        total = 0.0
        for first in range(0, 60, batch_size):
            part = slice(first, first + batch_size)
            hand.step(X[part], y[part], weight[part], 0.2)
            total += hand.loss * weight[part].sum()
        epoch_losses.append(total / weight.sum())
    history = fastsm.fit(
        model, X, y, optimizer=optim.SGD(0.2), epochs=3, batch_size=batch_size, shuffle=False,
        sample_weight=weight if weighted else None,
    )  # fmt: skip
    assert_by_hand(model, hand)
    np.testing.assert_allclose(history["loss"], epoch_losses, 1e-10)


def test_order_is_a_permutation():
    seen = []

    class Remember:
        def forward(self, x):
            seen.append(x[:, 0].astype(int).tolist())
            return x

        def backward(self, dy):
            return dy

    X = np.zeros((10, 3))
    X[:, 0] = np.arange(10)
    fastsm.fit(
        nn.Sequential(Remember(), nn.Linear(3, 3)), X, np.zeros(10, int), epochs=2, batch_size=4, rng=0
    )
    assert [len(rows) for rows in seen] == [4, 4, 2] * 2
    first, second = [[*chain(*part)] for part in (seen[:3], seen[3:])]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != list(range(10))


@pytest.mark.parametrize("clip", [1e-3, 0.1, 100.0])
def test_clipping(clip):
    X, y = problem()
    model = network()
    hand = ByHand(model)
    for _ in range(5):
        hand.step(X, y, np.ones(60), 1.0, clip=clip)
    fastsm.fit(model, X, y, optimizer=optim.SGD(1.0), epochs=5, batch_size=60, clip_norm=clip)
    assert_by_hand(model, hand)


def test_rows_of_weight_0():
    X, y = problem()
    weight = (np.arange(60) % 3 > 0).astype(float)
    kept = weight > 0
    one, two = network(), network()
    options = {"optimizer": optim.SGD(0.5), "epochs": 4, "batch_size": 60, "metrics": ("accuracy", "ece")}
    a = fastsm.fit(one, X, y, sample_weight=weight, **options)
    b = fastsm.fit(two, X[kept], y[kept], **options)
    np.testing.assert_allclose(one.params, two.params, 1e-10)
    for name in ("loss", "accuracy", "ece"):
        np.testing.assert_allclose(a[name], b[name], 1e-10)


LOSSES = {
    "plain": nn.CrossEntropyLoss(),
    "class_weight": nn.CrossEntropyLoss(class_weight=[1.0, 5.0, 0.25]),
    "ignored": nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.1),
    "focal": nn.FocalLoss(class_weight=[1.0, 5.0, 0.25]),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_an_epoch(name, weighted):
    """With a learning rate of 0, uneven batches give the loss over all rows."""
    X, y = problem()
    weight = np.random.default_rng(2).random(60) if weighted else None
    model, loss = network(), LOSSES[name]
    whole = loss(model(X), y, sample_weight=weight)
    history = fastsm.fit(
        model, X, y, loss=loss, optimizer=optim.SGD(0.0), epochs=2, batch_size=7, sample_weight=weight,
        validation_data=(X, y, weight) if weighted else (X, y), rng=0,
    )  # fmt: skip
    np.testing.assert_allclose([*history["loss"], *history["val_loss"]], whole, 1e-12)
    assert history["accuracy"] == pytest.approx(history["val_accuracy"])


def test_decay_without_biases():
    X, y = problem()
    model = network()
    model.params[...] = 1.0
    loss = nn.CrossEntropyLoss()
    optimizer = optim.AdamW(0.1, weight_decay=1.0, decay_biases=False, epsilon=1e300)  # the decay alone
    fastsm.fit(model, X, y, loss=loss, optimizer=optimizer, epochs=1, batch_size=60)
    np.testing.assert_allclose(model.params[: model.decayed], 0.9)
    np.testing.assert_allclose(model.params[model.decayed :], 1.0)


# ---- forms of data, losses and layers ----


def test_forms_of_data():
    X, y = problem()
    X = np.round(X * 4)

    def trained(X, y):
        model = network()
        fastsm.fit(model, X, y, epochs=2, batch_size=16, rng=0)
        return model.params

    expected = trained(X, y)
    read_only = X.copy()
    read_only.flags.writeable = False
    for form in (
        X.tolist(), X.astype("f4"), X.astype("f2"), X.astype(int), np.asfortranarray(X), X.astype(">f8"),
        np.repeat(X, 2, axis=1)[:, ::2], read_only,
    ):  # fmt: skip
        np.testing.assert_array_equal(trained(form, y), expected)
    for labels in (
        y.tolist(),
        y.astype(np.uint8),
        y.astype(">i2"),
        y.astype(np.uint64),
        np.repeat(y, 2)[::2],
    ):
        np.testing.assert_array_equal(trained(X, labels), expected)


def test_inputs_unchanged():
    X, y = problem()
    weight = np.ones(60)
    kept = [a.copy() for a in (X, y, weight)]
    fastsm.fit(network(dropout=0.5), X, y, sample_weight=weight, validation_data=(X, y, weight), epochs=2)
    for before, after in zip(kept, (X, y, weight), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_divided_by_255(dtype):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (50, 5), np.uint8), rng.integers(0, 3, 50)
    one, two = network(dtype=dtype), network(dtype=dtype)
    scaled = X / 255
    a = fastsm.fit(one, X, y, epochs=3, validation_data=(X, y), rng=0)
    b = fastsm.fit(two, scaled, y, epochs=3, validation_data=(scaled, y), rng=0)
    np.testing.assert_allclose(one.params, two.params, 1e-4 if dtype == "float32" else 1e-11)
    assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-5)
    assert training.evaluate(one, X, y)["loss"] == pytest.approx(a["val_loss"][-1], rel=1e-6)


def test_values_as_targets():
    X, _ = problem()
    Y = X[:, :3] * 2 + 1
    for loss in (nn.MSELoss(), nn.MAELoss()):
        model = nn.MLP([5, 3], dtype="float64", rng=0)
        history = fastsm.fit(
            model, X, Y, loss=loss, optimizer=optim.Adam(0.05), epochs=200, metrics=(), rng=0,
            validation_data=(X, Y),
        )  # fmt: skip
        assert history["loss"][-1] < 0.02 * history["loss"][0]
        assert "accuracy" not in history


def test_probabilities_as_targets():
    X, y = problem()
    one, two = network(), network()
    fastsm.fit(one, X, y, epochs=3, rng=0)
    history = fastsm.fit(two, X, np.eye(3)[y], loss=nn.CrossEntropyLoss(), epochs=3, rng=0)
    np.testing.assert_allclose(one.params, two.params, 1e-9)
    assert 0 < history["accuracy"][-1] <= 1


def test_default_losses():
    X, y = problem()
    results = []
    for head in (None, "softmax", "log_softmax"):
        model = network(head=head)
        history = fastsm.fit(model, X, y, epochs=3, rng=0, validation_data=(X, y))
        results.append([*history["loss"], *history["val_loss"]])
    np.testing.assert_allclose(results[1], results[0], 1e-10)
    np.testing.assert_allclose(results[2], results[0], 1e-10)


def test_softmax_underflow():
    """The loss on probabilities is finite, as it is computed from the logits of the model."""
    model = nn.Sequential(nn.Linear(1, 3, init="zeros"), nn.Softmax(), rng=0)
    model.layers[0].params["weight"][...] = [[1000.0, 0.0, 0.0]]
    loss = nn.CrossEntropyLoss(on="probs")
    history = fastsm.fit(
        model, [[1.0]], [1], loss=loss, optimizer=optim.SGD(0.0), epochs=1, validation_data=([[1.0]], [1]),
        metrics=["nll"],
    )  # fmt: skip
    assert history["loss"] == history["val_loss"] == history["nll"] == [1000.0]


def test_user_loss_and_layer():
    class Double:
        def forward(self, x):
            return 2 * x

        def backward(self, dy):
            return 2 * dy

    @nn.loss(on="probs")
    def hellinger(p, y):
        return 1 - np.sqrt(p * y).sum(axis=1), -0.5 * np.sqrt(y / p)

    X, y = problem()
    model = nn.Sequential(nn.Linear(5, 3), Double(), nn.Softmax(), dtype="float64", rng=0)
    history = fastsm.fit(
        model, X, np.eye(3)[y], loss=hellinger, optimizer=optim.Adam(0.05), epochs=60, rng=0,
        validation_data=(X, np.eye(3)[y]),
    )  # fmt: skip
    assert history["val_accuracy"][-1] > 0.95
    assert history["val_loss"][-1] < 0.5 * history["val_loss"][0]


# ---- bits ----

OPTIMIZERS = {
    "sgd": lambda lr: optim.SGD(lr),
    "nesterov": lambda lr: optim.SGD(lr, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "rmsprop": lambda lr: optim.RMSprop(lr),
    "rmsprop-momentum": lambda lr: optim.RMSprop(lr, momentum=0.5),
    "adam": lambda lr: optim.Adam(lr),
    "adamw": lambda lr: optim.AdamW(lr, decay_biases=False),
}


def run(model, epochs, optimizer="adam", rng=3, **options):
    X, y = problem(dtype="float32")
    schedule = optim.schedules.one_cycle(0.05, 40)
    return fastsm.fit(
        model, X, y, optimizer=OPTIMIZERS[optimizer](schedule), epochs=epochs, batch_size=16, rng=rng,
        clip_norm=1.0, validation_data=(X, y), **options,
    )  # fmt: skip


def without_times(history):
    return {name: values for name, values in history.items() if name != "seconds"}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_bit_for_bit(tmp_path, optimizer):
    path = tmp_path / "run.safetensors"
    whole = network(dropout=0.3, dtype="float32")
    history = run(whole, 6, optimizer)
    run(network(dropout=0.3, dtype="float32"), 2, optimizer, callbacks=[callbacks.Checkpoint(path)])
    # Another seed for the weights and for the order: both are in the file.
    for _ in range(2):
        resumed = network(dropout=0.3, dtype="float32", seed=9)
        checkpoint = callbacks.Checkpoint(path, every=3)
        again = run(resumed, 6, optimizer, rng=None, resume_from=path, callbacks=[checkpoint])
        np.testing.assert_array_equal(resumed.params, whole.params)
        assert without_times(again) == without_times(history)
        assert again.epochs == 6
    # The second checkpoint is that of the last epoch: no epoch is left.
    np.testing.assert_array_equal(fastsm.load(path).params, whole.params)


def test_resumed_after_interruption(tmp_path):
    path = tmp_path / "run.safetensors"
    whole = network(dropout=0.3)
    history = run(whole, 5, rng=None, callbacks=[Interrupt(99), callbacks.Checkpoint(tmp_path / "seed")])
    run_again = network(dropout=0.3)
    # The seed of the whole training is unknown, so another one is used.
    first = run(run_again, 5, rng=None, callbacks=[Interrupt(3, 2), callbacks.Checkpoint(path)])
    assert first.stopped == "interrupted"
    assert first.epochs == 2
    resumed, twin = network(dropout=0.3), network(dropout=0.3)
    a = run(resumed, 5, rng=7, resume_from=path)
    b = run(twin, 5, rng=8, resume_from=path)
    np.testing.assert_array_equal(resumed.params, twin.params)
    assert without_times(a) == without_times(b)
    assert a["loss"][:2] == first["loss"]
    assert history.stopped == "epochs"


def test_resumed_early_stopping(tmp_path):
    path = tmp_path / "run.safetensors"

    def train(model, epochs, **options):
        stopping = callbacks.EarlyStopping("val_loss", patience=3)
        X, y = problem(dtype="float32")
        history = fastsm.fit(
            model, X[:40], y[:40], optimizer=optim.Adam(0.3), epochs=epochs, batch_size=8, rng=0,
            validation_data=(X[40:], y[40:]), callbacks=[callbacks.Checkpoint(path), stopping], **options,
        )  # fmt: skip
        return history, stopping

    whole = network(dtype="float32")
    history, stopping = train(whole, 100)
    assert history.stopped == "early stop"
    # Interrupt it after the best epoch and before the end.
    part = network(dtype="float32")
    train(part, stopping.best_epoch + 1)
    resumed = network(dtype="float32")
    again, its = train(resumed, 100, resume_from=path)
    np.testing.assert_array_equal(resumed.params, whole.params)
    assert without_times(again) == without_times(history)
    assert (its.best, its.best_epoch) == (stopping.best, stopping.best_epoch)
    # A stopped training stays stopped.
    last, _ = train(network(dtype="float32"), 100, resume_from=path)
    assert last.epochs == history.epochs
    assert last.stopped == "early stop"


def test_seeds():
    bits = []
    for rng in (0, 0, np.random.default_rng(0), 1, None, None):
        model = network(dropout=0.2)
        run(model, 2, rng=rng)
        bits.append(model.params.tobytes())
    assert bits[0] == bits[1] == bits[2]
    assert len(set(bits)) == 4


def test_same_bits_when_watched():
    one, two = network(dropout=0.2), network(dropout=0.2)
    X, y = problem()
    fastsm.fit(one, X, y, epochs=3, rng=0, metrics=())
    fastsm.fit(
        two, X, y, epochs=3, rng=0, metrics=("accuracy", "ece", "nll"), validation_data=(X[:7], y[:7]),
        callbacks=[Interrupt(99)],
    )  # fmt: skip
    np.testing.assert_array_equal(one.params, two.params)


def test_continued_training():
    """Two fits of one epoch with one optimizer equal one fit of two."""
    X, y = problem()
    one, two = network(), network()
    fastsm.fit(one, X, y, epochs=2, shuffle=False)
    adam = optim.Adam()
    for _ in range(2):
        fastsm.fit(two, X, y, epochs=1, shuffle=False, optimizer=adam)
    np.testing.assert_array_equal(one.params, two.params)
    assert adam.steps == 2


def test_mismatched_checkpoints(tmp_path):
    path, plain = tmp_path / "run.safetensors", tmp_path / "plain.safetensors"
    run(network(), 1, callbacks=[callbacks.Checkpoint(path), callbacks.EarlyStopping()])
    fastsm.save(plain, network())

    def refuse(message, model=None, path=path, optimizer="adam", error=ValueError, **options):
        model = network() if model is None else model
        before = model.params.copy()
        with pytest.raises(error, match=message):
            run(model, 3, optimizer, resume_from=path, **options)
        np.testing.assert_array_equal(model.params, before)

    refuse("`resume_from` must be a checkpoint, got .*, which holds only a model", path=plain)
    refuse("`model` must be like the one in", nn.MLP([5, 9, 3], activation="tanh", dtype="float64"))
    refuse("`model` must have dtype float64 like the one in", network(dtype="float32"))
    refuse("`model` must be like the one in", network(dropout=0.5))
    refuse("`model` must be like the one in", nn.MLP([5, 8, 3], dtype="float64"))
    refuse("`optimizer` must be optim.Adam as in the file, got SGD", optimizer="sgd")
    refuse("No such file", path=tmp_path / "absent", error=FileNotFoundError)
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(path.read_bytes()[:-40])
    refuse("`path` must be a usable file", path=truncated)

    # Parts of a file that only trainings write.
    for key, value in (
        ("epoch", -1), ("epoch", "1"), ("epoch", True), ("seed", -1), ("seed", 1 << 80), ("seed", None),
        ("callbacks", None), ("callbacks", [1]), ("callbacks", [{"class": "EarlyStopping", "state": 3}]),
        ("callbacks", [{"class": "EarlyStopping", "state": {}}]),
        ("callbacks", [{"class": "EarlyStopping", "state": {"best": "a", "best_epoch": 1, "waited": 0}}]),
        (
            "callbacks",
            [
                {
                    "class": "EarlyStopping",
                    "state": {"best": 1.0, "best_epoch": 1, "waited": 0, "params": np.zeros((2, 2))},
                }
            ],
        ),
        ("callbacks", [{"class": "Checkpoint", "state": {"best": []}}]),
    ):  # fmt: skip
        rewrite(path, tmp_path / "bad", lambda tree, new={key: value}: tree["training"].update(new))
        both = [callbacks.EarlyStopping(), callbacks.Checkpoint(tmp_path / "new")]
        refuse("must ", path=tmp_path / "bad", callbacks=both)


def test_user_callback_is_resumed(tmp_path):
    class Counter:
        count = 0

        def on_batch_end(self, run):
            self.count += 1

        def state(self):
            return {"count": self.count}

        def set_state(self, state):
            self.count = state["count"]

    path = tmp_path / "run.safetensors"
    run(network(), 2, callbacks=[callbacks.Checkpoint(path), Counter()])
    counter = Counter()
    run(network(), 3, callbacks=[counter], resume_from=path)
    assert counter.count == 3 * 4


class Width:
    """A callback that stores the number of parameters and refuses any other."""

    def __init__(self, size=0):
        self.size = size

    def on_epoch_end(self, run):
        pass

    def state(self):
        return {"size": self.size}

    def check_state(self, state, run):
        if state["size"] != run.model.params.size:
            raise ValueError(f"`size` must be {run.model.params.size}, got {state['size']}")

    def set_state(self, state):
        self.size = state["size"]


def test_states_refused_by_callback(tmp_path):
    path, width = tmp_path / "run.safetensors", Width()
    for size in (network().params.size, 7):
        run(network(), 1, callbacks=[callbacks.Checkpoint(path), Width(size)])
        if size != 7:
            assert run(network(), 2, callbacks=[width], resume_from=path).epochs == 2
            assert width.size == size
    model, width = network(), Width()
    before = model.params.copy()
    message = r"`resume_from` must match the callbacks, got '.*': `size` must be 75, got 7"
    with pytest.raises(ValueError, match=message):
        run(model, 2, callbacks=[width], resume_from=path)
    assert width.size == 0
    np.testing.assert_array_equal(model.params, before)


def test_resumed_with_function_as_init(tmp_path):
    def model():
        return nn.MLP([5, 8, 3], init=lambda rng, shape, dtype: np.ones(shape, dtype), dtype="float64")

    run(model(), 1, callbacks=[callbacks.Checkpoint(tmp_path / "c")])
    assert run(model(), 2, resume_from=tmp_path / "c").epochs == 2


# ---- interrupts and errors ----


class Interrupt:
    """Raises KeyboardInterrupt in a step, or at the end of an epoch if that is 0."""

    def __init__(self, epoch, step=0):
        self.epoch, self.step, self.ended = epoch, step, 0

    def on_batch_end(self, run):
        if (run.epoch, run.step) == (self.epoch, self.step):
            raise KeyboardInterrupt

    def on_epoch_end(self, run):
        if (run.epoch, 0) == (self.epoch, self.step):
            raise KeyboardInterrupt

    def on_train_end(self, run):
        self.ended += 1


@pytest.mark.parametrize(("epoch", "step", "completed"), [(1, 1, 0), (1, 0, 1), (3, 2, 2), (3, 0, 3)])
def test_interrupted(epoch, step, completed):
    interrupt = Interrupt(epoch, step)
    history = run(network(), 5, callbacks=[interrupt])
    assert history.stopped == "interrupted"
    assert history.epochs == completed
    assert interrupt.ended == 1
    assert all(len(values) == completed for values in history.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence(tmp_path, dtype):
    X, y = problem()
    path = tmp_path / "run.safetensors"
    model = nn.MLP([5, 8, 3], dtype=dtype, rng=0)

    def schedule(step):
        return 0.1 if step < 8 else 1e10 if dtype == "float32" else 1e160

    with pytest.raises(fastsm.TrainingDiverged) as caught:
        fastsm.fit(
            model, X, np.eye(3)[y], loss=nn.MSELoss(), optimizer=optim.SGD(schedule), epochs=9, batch_size=16,
            callbacks=[callbacks.Checkpoint(path)], rng=0,
        )  # fmt: skip
    error = caught.value
    assert isinstance(error, ArithmeticError)
    assert error.epoch == 3
    assert 1 <= error.step <= 4
    assert error.learning_rate == schedule(9)
    assert f"at epoch 3, step {error.step}, learning rate {schedule(9):g}: try a smaller" in str(error)
    # The last complete epoch is still there.
    saved = fastsm.load(path)
    assert np.isfinite(saved.params).all()
    assert tree_of(path.read_bytes())["training"]["epoch"] == 2
    resumed = nn.MLP([5, 8, 3], dtype=dtype)
    history = fastsm.fit(
        resumed, X, np.eye(3)[y], loss=nn.MSELoss(), optimizer=optim.SGD(0.01), epochs=4, batch_size=16,
        resume_from=path,
    )  # fmt: skip
    assert history.epochs == 4


def test_overflow_in_last_step(tmp_path):
    """Parameters are checked too: the loss of the last step is still finite."""
    X, y = problem()
    with pytest.raises(fastsm.TrainingDiverged, match="the parameters became NaN or infinite at epoch 1"):
        fastsm.fit(
            network(dtype="float32"), X, y, optimizer=optim.SGD(1e300), epochs=1, batch_size=60,
            callbacks=[callbacks.Checkpoint(tmp_path / "c")],
        )  # fmt: skip
    assert not (tmp_path / "c").exists()


def test_overflow_of_clipped_gradient():
    @nn.loss(on="output")
    def steep(outputs, targets):
        return np.zeros(len(outputs)), np.full(outputs.shape, np.inf)

    X, _ = problem()
    model = network()
    before = model.params.copy()
    with pytest.raises(
        fastsm.TrainingDiverged, match="the gradient became NaN or infinite at epoch 1, step 1"
    ):
        fastsm.fit(model, X, X[:, :3], loss=steep, clip_norm=1.0, metrics=())
    np.testing.assert_array_equal(model.params, before)


def test_nan_in_the_data():
    X, y = problem()
    X[7, 2] = np.nan
    with pytest.raises(fastsm.TrainingDiverged, match="the loss became nan at epoch 1, step 2"):
        fastsm.fit(network(), X, y, batch_size=6, shuffle=False)


def test_errors_of_callbacks():
    class Bad:
        def on_epoch_end(self, run):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run(network(), 2, callbacks=[Bad()])


X2, Y2 = np.zeros((4, 2)), np.zeros(4, int)


def call(model=None, X=X2, y=Y2, **options):
    fastsm.fit(nn.MLP([2, 2], rng=0) if model is None else model, X, y, **options)


AT_LEAST_1 = "must be an integer of at least 1, got"
VALIDATION = "`validation_data` must be (X, y) or (X, y, sample_weight), got"
WRONG = [
    ({"model": "net"}, TypeError, "`model` must be a Sequential, got str"),
    (
        {"X": np.zeros((4, 2, 3))},
        ValueError,
        "`X` must have shape (N, features), got (4, 2, 3): reshape it with X.reshape(len(X), -1)",
    ),
    ({"X": np.zeros(4)}, ValueError, "`X` must have shape (N, features), got (4,)"),
    ({"X": np.zeros((0, 2)), "y": Y2[:0]}, ValueError, "`X` must have at least one row, got none"),
    ({"X": X2.astype(complex)}, TypeError, None),
    ({"y": Y2[:3]}, ValueError, "`y` must have shape (4,) for labels, got (3,)"),
    (
        {"y": np.eye(2, dtype=int)[Y2]},
        ValueError,
        "`y` must have shape (4,) for labels, got (4, 2): one-hot rows are floating, or give y.argmax(axis=1)"
        " as labels",
    ),
    (
        {"y": Y2[:, None]},
        ValueError,
        "`y` must have shape (4,) for labels, got (4, 1): give np.ravel(y) as labels",
    ),
    (
        {"y": Y2.astype(float)},
        ValueError,
        "`y` must have shape (4, outputs) for values, got (4,): labels are integers, give y.astype(int)",
    ),
    (
        {"y": Y2.astype(float), "loss": nn.MSELoss()},
        ValueError,
        "`y` must have shape (4, outputs) for values, got (4,): reshape it with y.reshape(-1, 1)",
    ),
    (
        {"y": Y2, "loss": "mse"},
        ValueError,
        "`y` must have shape (4, 2) for MSELoss, got (4,): give np.eye(2)[y]",
    ),
    (
        {"y": np.array([0, 1, np.nan, 0])},
        ValueError,
        "`y` must have shape (4, outputs) for values, got (4,): labels are integers, and NaN is none: leave"
        " out the rows where np.isnan(y)",
    ),
    (
        {"y": np.eye(2, dtype=bool)[Y2]},
        TypeError,
        "`y` must have an integer dtype (labels) or a floating one (values), got bool: give y.astype(float)",
    ),
    (
        {"y": Y2.astype(bool)},
        TypeError,
        "`y` must have an integer dtype (labels) or a floating one (values), got bool: give y.astype(int)",
    ),
    (
        {"y": np.array(["a", "b", "a", "b"])},
        TypeError,
        "`y` must have an integer dtype (labels) or a floating one (values), got <U1: give np.unique(y,"
        " return_inverse=True)[1] as labels",
    ),
    ({"y": np.full(4, 2**63, np.uint64)}, ValueError, "`y` must lie below 2**63, got 9223372036854775808"),
    (
        {"y": X2},
        ValueError,
        "`loss` must be given if the targets are no labels, as loss=nn.MSELoss() or nn.CrossEntropyLoss()",
    ),
    ({"loss": nn.MSELoss}, TypeError, "`loss` must be a loss, got the class MSELoss: write MSELoss()"),
    (
        {"optimizer": optim.Adam},
        TypeError,
        "`optimizer` must be a name or an optimizer, as optim.Adam(1e-3), got the class Adam",
    ),
    (
        {"optimizer": 0.1},
        TypeError,
        "`optimizer` must be a name or an optimizer, as optim.Adam(1e-3), got float",
    ),
    ({"epochs": 0}, ValueError, f"`epochs` {AT_LEAST_1} 0"),
    ({"epochs": 1.5}, TypeError, f"`epochs` {AT_LEAST_1} 1.5"),
    ({"batch_size": 0}, ValueError, f"`batch_size` {AT_LEAST_1} 0"),
    ({"batch_size": None}, TypeError, f"`batch_size` {AT_LEAST_1} None"),
    ({"sample_weight": [1.0]}, ValueError, "`sample_weight` must have shape (4,), got (1,)"),
    (
        {"sample_weight": [1, 1, 1, -1]},
        ValueError,
        "`sample_weight` must be finite and at least 0 everywhere",
    ),
    ({"validation_data": X2}, TypeError, f"{VALIDATION} ndarray"),
    ({"validation_data": (X2,)}, ValueError, f"{VALIDATION} 1 entries"),
    (
        {"validation_data": (X2, Y2[:2])},
        ValueError,
        "`validation_data[1]` must have shape (4,) for labels, got (2,)",
    ),
    (
        {"validation_data": (np.zeros((4, 3)), Y2)},
        ValueError,
        "`validation_data[0]` must have 2 features as `X`, got 3",
    ),
    (
        {"validation_data": (X2.astype(np.uint8), Y2)},
        TypeError,
        "`validation_data[0]` must be uint8 if `X` is, and only then, as uint8 is divided by 255, got uint8"
        " with float64",
    ),
    ({"metrics": "accuracy"}, TypeError, "`metrics` must be a list of names or functions, got 'accuracy'"),
    (
        {"callbacks": callbacks.EarlyStopping()},
        TypeError,
        "`callbacks` must be a list of objects, got EarlyStopping",
    ),
    (
        {"callbacks": [callbacks.EarlyStopping]},
        TypeError,
        "`callbacks` must hold objects, got the class EarlyStopping: add parentheses",
    ),
    ({"callbacks": ["x"]}, TypeError, "`callbacks` must have methods as on_epoch_end(run), got 'x'"),
    ({"clip_norm": 0}, ValueError, "`clip_norm` must be finite and above 0, got 0"),
    ({"clip_norm": "1"}, TypeError, "`clip_norm` must be a number, got '1'"),
    ({"rng": "x"}, TypeError, None),
    ({"num_threads": 0}, ValueError, f"`num_threads` {AT_LEAST_1} 0"),
    ({"y": np.array([0, 1, 2, 0])}, ValueError, "`y` must lie in [0, 2), got 2 at position 2"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_wrong_arguments(options, error, message):
    with pytest.raises(error) as caught:
        call(**{"shuffle": False, **options})
    assert type(caught.value) is error
    assert message is None or str(caught.value) == message


def test_softmax_twice():
    with pytest.raises(ValueError, match="softmax would be applied twice"):
        call(nn.MLP([2, 2], head="softmax"), loss=nn.CrossEntropyLoss())


# ---- resources ----


def test_steps_allocate_no_batch():
    X = np.random.default_rng(0).integers(0, 256, (2000, 400), np.uint8)
    y = np.arange(2000) % 10
    peaks = []

    class Watch:
        def on_batch_end(self, run):
            if run.epoch == 2:
                peaks.append(tracemalloc.get_traced_memory()[1] - self.base)
                tracemalloc.reset_peak()
                self.base = tracemalloc.get_traced_memory()[0]

        def on_epoch_begin(self, run):
            tracemalloc.reset_peak()
            self.base = tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        fastsm.fit(
            nn.MLP([400, 300, 10], dropout=0.1, rng=0), X, y, epochs=2, batch_size=250, clip_norm=1.0,
            callbacks=[Watch()], metrics=(),
        )  # fmt: skip
    finally:
        tracemalloc.stop()
    # Not the first, that makes the buffers of the epoch; the smallest array of batch size takes 10 kB.
    assert max(peaks[1:]) < 6000


def blas_threads():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    return [p["num_threads"] for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]


class Threads:
    def on_batch_end(self, run):
        self.blas, self.own = blas_threads(), fastsm.get_num_threads()


@pytest.mark.parametrize("number", [None, 1, 2])
def test_threads_limited_and_restored(monkeypatch, number):
    fit_threads._controller.cache_clear()  # other libraries may have been loaded since it looked
    before = blas_threads(), fastsm.get_num_threads()
    X, y = problem()
    watch = Threads()
    fastsm.fit(network(), X, y, epochs=1, num_threads=number, callbacks=[watch])
    assert set(watch.blas) == {number or 1}
    assert watch.own == (number or before[1])
    assert (blas_threads(), fastsm.get_num_threads()) == before

    # Large products keep what BLAS had.
    monkeypatch.setattr(fit_threads, "LARGE_PRODUCT", 60 * 5 * 8)
    fastsm.fit(network(), X, y, epochs=1, num_threads=number, callbacks=[watch])
    assert watch.blas == ([number] * len(before[0]) if number else before[0])

    # Also after an error.
    X[0, 0] = np.nan
    with pytest.raises(fastsm.TrainingDiverged):
        fastsm.fit(network(), X, y, epochs=1, num_threads=number)
    assert (blas_threads(), fastsm.get_num_threads()) == before


def test_without_threadpoolctl(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "threadpoolctl", None)
    fit_threads._controller.cache_clear()
    try:
        run(network(), 1, num_threads=1)
    finally:
        fit_threads._controller.cache_clear()


def test_largest_product():
    assert fit_threads.largest_product(nn.MLP([784, 512, 512, 10]), 128) == 128 * 784 * 512 >= 2**25
    assert fit_threads.largest_product(nn.MLP([784, 128, 10]), 128) < 2**25
    assert fit_threads.largest_product(nn.Sequential(nn.Softmax()), 128) == 0


def test_warnings_of_numpy_restored():
    before = np.geterr()
    run(network(), 1)
    assert np.geterr() == before


def test_concurrent_fits_restore_threads():
    """Each would put back what the others had set, if it changed the limits under theirs."""
    before = blas_threads(), fastsm.get_num_threads()
    X, y = problem()

    def train(number):
        fastsm.fit(network(), X, y, epochs=30, batch_size=4, num_threads=number)

    threads = [threading.Thread(target=train, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (blas_threads(), fastsm.get_num_threads()) == before


# ---- sizes of batches ----


class Sizes:
    """A layer that remembers how many rows it was given: in training, and without."""

    def __init__(self):
        self.trained, self.evaluated = [], []

    def forward(self, x, training=False):
        (self.trained if training else self.evaluated).append(len(x))
        return x

    def backward(self, dy):
        return dy


@pytest.mark.parametrize(("batch_size", "sizes"), [(7, [7, 7, 6]), (20, [20]), (10**6, [20])])
def test_evaluate_uses_batch_size(batch_size, sizes):
    X, y = problem(20)
    layer = Sizes()
    model = nn.Sequential(nn.Linear(5, 3), layer, dtype="float64", rng=0)
    results = training.evaluate(model, X, y, batch_size=batch_size)
    assert (layer.trained, layer.evaluated) == ([], sizes)
    assert results == pytest.approx(training.evaluate(model, X, y), rel=1e-12)


def test_evaluate_uses_1024_rows_by_default():
    X, y = problem(1500)
    layer = Sizes()
    training.evaluate(nn.Sequential(nn.Linear(5, 3), layer, rng=0), X, y)
    assert layer.evaluated == [1024, 476]


@pytest.mark.parametrize(("batch_size", "validated"), [(750, [1024, 476]), (1100, [1100, 400])])
def test_fit_validates_1024_rows_or_more(batch_size, validated):
    X, y = problem(1500)
    layer = Sizes()
    model = nn.Sequential(nn.Linear(5, 3), layer, rng=0)
    fastsm.fit(model, X, y, epochs=1, batch_size=batch_size, validation_data=(X, y))
    assert (layer.trained, layer.evaluated) == ([batch_size, 1500 - batch_size], validated)


# ---- real images ----

FOLDER = Path("/usr/share/datasets/fashion-mnist")


def idx(name):
    """Read an IDX file: two zeros, a type, the number of axes, their lengths, the data."""
    path = FOLDER / f"{name}-ubyte.gz"
    if not path.exists():
        pytest.skip("needs Fashion-MNIST: apt-get install dataset-fashion-mnist")
    content = gzip.decompress(path.read_bytes())
    assert content[:3] == b"\0\0\x08"
    shape = np.frombuffer(content, ">u4", content[3], 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def fashion(rows):
    X, y = idx("train-images-idx3").reshape(60000, -1)[:rows], idx("train-labels-idx1")[:rows]
    return X, y, idx("t10k-images-idx3").reshape(10000, -1), idx("t10k-labels-idx1")


def test_fashion_mnist_subset():
    X, y, X_test, y_test = fashion(6000)
    model = nn.MLP([784, 128, 10], rng=0)
    schedule = optim.schedules.cosine(0.03, 3 * 188)
    history = fastsm.fit(
        model, X, y, optimizer=optim.SGD(schedule, momentum=0.9), epochs=3, batch_size=32, rng=0,
        validation_data=(X_test, y_test), metrics=("accuracy", "top_2", "ece"),
    )  # fmt: skip
    assert history["val_accuracy"][-1] > 0.80
    assert history["val_top_2"][-1] > 0.92
    assert history["val_ece"][-1] < 0.1
    # The same by hand, with the division by 255.
    outputs = model(X_test / np.float32(255))
    assert (outputs.argmax(axis=1) == y_test).mean() == pytest.approx(history["val_accuracy"][-1], abs=1e-3)


@pytest.mark.parametrize("name", ["y", "validation_data[1]"])
def test_wrong_label_found_before_training(name):
    """The message names the position in the data, not in a shuffled batch; the model is unchanged."""
    model = nn.MLP([4, 3], rng=0)
    before = model.params.copy()
    X, y = np.zeros((50, 4), np.float32), np.arange(50) % 3
    wrong = y.copy()
    wrong[37] = 3
    data = (wrong, (X, y)) if name == "y" else (y, (X, wrong))
    message = rf"`{re.escape(name)}` must lie in \[0, 3\), got 3 at position 37"
    with pytest.raises(ValueError, match=message):
        fastsm.fit(model, X, data[0], validation_data=data[1], batch_size=8, rng=0)
    np.testing.assert_array_equal(model.params, before)
    fastsm.fit(model, X, wrong, loss=nn.CrossEntropyLoss(ignore_index=3), epochs=1, rng=0)


def test_divergence_is_pickled():
    """As it must be to come back from another process."""
    error = pickle.loads(pickle.dumps(fastsm.TrainingDiverged("loss is NaN", 2, 3, 0.5)))
    assert (error.epoch, error.step, error.learning_rate) == (2, 3, 0.5)
    assert str(error).startswith("loss is NaN at epoch 2, step 3, learning rate 0.5")


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("mse", "`metrics` on classes need at least two of them"),
        (None, "got 1 at position 0: for one yes-or"),
    ],
)
def test_one_output_before_any_step(loss, message):
    """What does not suit one output is an error that leaves the model as it was."""
    x, model = np.ones((20, 3)), nn.MLP([3, 4, 1], rng=0)
    y = np.ones((20, 1)) if loss else np.ones(20, int)
    before = model.params.copy()
    with pytest.raises(ValueError, match=re.escape(message)):
        fastsm.fit(model, x, y, loss=loss, batch_size=5, epochs=1)
    assert np.array_equal(model.params, before)
