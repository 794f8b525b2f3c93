"""What callbacks change is part of a checkpoint: learning rates, averages, the best parameters."""

import copy
import math
import os
import sys

import numpy as np
import pytest
from checks import raises
from model_files import rewrite
from trainings import Script, Terminal, fit

import fastsm
from fastsm import callbacks, nn, optim

VALUES = (5.0, 3.0, 4.0, 4.5, 2.0, 2.5, 2.5, 2.5)


class Halve:
    """The callback of docs/use/training.md, on values of a test."""

    def on_epoch_end(self, run):
        losses = run.history["val_loss"]
        if len(losses) > 1 and losses[-1] >= losses[-2]:
            run.optimizer.lr *= 0.5


class Change:
    """Sets an attribute of the optimizer at the end of an epoch."""

    def __init__(self, name, value, epoch=2):
        self.name, self.value, self.epoch = name, value, epoch

    def on_epoch_end(self, run):
        if run.epoch == self.epoch:
            setattr(run.optimizer, self.name, self.value)


def check_resumed(folder, make, optimizer, epochs=6):
    """Check that a training resumed after any epoch ends with the same bits, and return its history."""
    path, whole = folder / "{epoch}.safetensors", nn.MLP([4, 8, 3], rng=0)
    history = fit(epochs, model=whole, optimizer=optimizer(), callbacks=[*make(), callbacks.Checkpoint(path)])
    del history["seconds"]
    for epoch in range(1, history.epochs + 1):
        model, stopped = nn.MLP([4, 8, 3], rng=7), folder / f"{epoch}.safetensors"
        again = fit(epochs, model=model, optimizer=optimizer(), callbacks=make(), resume_from=stopped)
        del again["seconds"]
        np.testing.assert_array_equal(model.params, whole.params)
        assert (again, again.stopped, again.restored) == (history, history.stopped, history.restored)
    return history


def test_lowered_learning_rate(tmp_path):
    history = check_resumed(tmp_path, lambda: [Script(*VALUES), Halve()], lambda: optim.SGD(0.05), 8)
    assert history["learning_rate"] == [0.05, 0.05, 0.05, 0.025, 0.0125, 0.0125, 0.00625, 0.003125]


@pytest.mark.parametrize(
    ("optimizer", "name", "value"),
    [
        (lambda: optim.SGD(0.05, momentum=0.9), "momentum", 0.5),
        (lambda: optim.SGD(0.05, momentum=0.9), "momentum", 0.0),
        (lambda: optim.SGD(0.05), "momentum", 0.9),
        (lambda: optim.RMSprop(0.05), "momentum", 0.9),
        (lambda: optim.SGD(0.05, momentum=0.9), "nesterov", True),
        (lambda: optim.RMSprop(0.05), "decay", 0.5),
        (lambda: optim.Adam(0.05), "betas", (0.5, 0.9)),
        (lambda: optim.Adam(0.05), "epsilon", 1.0),
        (lambda: optim.AdamW(0.05), "weight_decay", 1),
        (lambda: optim.AdamW(0.05, decay_biases=False), "decay_biases", True),
        (lambda: optim.AdamW(optim.schedules.cosine(0.05, 18)), "lr", 0.5),
    ],
)
def test_changed_optimizer(tmp_path, optimizer, name, value):
    check_resumed(tmp_path, lambda: [Change(name, value)], optimizer, 4)


def test_momentum_that_begins_late():
    def descend(optimizer, steps):
        w, g, path = np.ones(3), np.empty(3), []
        for step in range(steps):
            optimizer.momentum = 0.0 if step < 2 else 0.9
            g[...] = 2 * w
            optimizer.step(w, g)
            path.append(w[0])
        return path

    w, v, expected = 1.0, 0.0, []
    for step in range(6):
        v = (0.0 if step < 2 else 0.9) * v + 2 * w
        v, w = (0.0, w - 0.1 * v) if step < 2 else (v, w - 0.1 * v)
        expected.append(w)
    np.testing.assert_allclose(descend(optim.SGD(0.1), 6), expected, rtol=1e-15)
    with raises(ValueError, "`momentum` must be finite and at least 0, got -0.5"):
        optim.SGD(0.1).momentum = -0.5


def test_arguments_given_anew(tmp_path):
    """A learning rate that differs from the first one is meant to; what is not changed stays."""
    path = tmp_path / "c"
    fit(3, optimizer=optim.SGD(0.05), callbacks=[Change("lr", 0.01), callbacks.Checkpoint(path)])
    for given, used in ((0.05, 0.01), (0.2, 0.2), (0.01, 0.01)):
        optimizer = optim.SGD(given)
        history = fit(4, optimizer=optimizer, resume_from=path)
        assert history["learning_rate"][-1] == optimizer.lr == used


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["last"].update(lr="a"), "must have a usable lr in the file, got 'a'"),
        (lambda s: s["last"].update(lr=-1.0), "`lr` must be finite and at least 0, got -1.0"),
        (lambda s: s["last"].update(betas=[1]), "must have a usable betas in the file"),
        (lambda s: s["last"].update(betas=["a", 0.5]), "must have a usable betas in the file"),
        (lambda s: s["last"].update(lr=None), "must have the schedule that a callback gave it"),
        (lambda s: s["last"].pop("lr"), "must have settings of the same names"),
        (lambda s: s.update(first=3), "must have settings of the same names"),
    ],
)
def test_settings_that_lie(tmp_path, change, message):
    path, model, optimizer = tmp_path / "c", nn.MLP([4, 8, 3], rng=0), optim.Adam()
    fit(1, optimizer=optim.Adam(), callbacks=[callbacks.Checkpoint(path)])
    rewrite(path, tmp_path / "bad", lambda tree: change(tree["training"]["settings"]))
    before = model.params.copy()
    with pytest.raises(ValueError, match=message):
        fit(2, model=model, optimizer=optimizer, resume_from=tmp_path / "bad")
    np.testing.assert_array_equal(model.params, before)
    assert (optimizer.lr, optimizer.steps) == (1e-3, 0)


# ---- ReduceOnPlateau ----


def test_reduce_on_plateau(tmp_path):
    def make():
        return [Script(*VALUES), callbacks.ReduceOnPlateau(factor=0.5, patience=2, min_lr=0.02)]

    history = check_resumed(tmp_path, make, lambda: optim.SGD(0.05), 8)
    assert history["learning_rate"] == [0.05] * 4 + [0.025] * 3 + [0.02]
    # It does not rise to `min_lr`, and NaN is no improvement.
    history = fit(
        4, optimizer=optim.SGD(0.01),
        callbacks=[Script(*[math.nan] * 4), callbacks.ReduceOnPlateau(patience=1, min_lr=0.02)],
    )  # fmt: skip
    assert history["learning_rate"] == [0.01] * 4
    with raises(
        ValueError, "`optimizer` must have a number as its lr for ReduceOnPlateau, got a schedule or none"
    ):
        fit(optimizer=optim.SGD(optim.schedules.constant(1.0)), callbacks=[callbacks.ReduceOnPlateau()])
    with raises(ValueError, "`factor` must be above 0 and below 1, got 1"):
        callbacks.ReduceOnPlateau(factor=1)


def test_states_belong_to_monitors(tmp_path):
    """A callback takes the state of the one with its monitor; with another monitor it begins anew."""
    path, two = tmp_path / "c", [callbacks.EarlyStopping("val_loss"), callbacks.EarlyStopping("loss")]
    history = fit(2, callbacks=[*two, callbacks.ReduceOnPlateau("val_loss"), callbacks.Checkpoint(path)])
    again = [callbacks.EarlyStopping("loss"), callbacks.EarlyStopping("val_loss")]
    other = [callbacks.EarlyStopping("val_accuracy"), callbacks.ReduceOnPlateau("loss", patience=9)]
    fit(2, callbacks=[*again, *other], resume_from=path)
    assert [c.best for c in again] == [min(history["loss"]), min(history["val_loss"])]
    assert other[0].best is None
    with pytest.raises(ValueError, match="got 'val_acc': did you mean 'val_accuracy'"):
        fit(1, callbacks=[callbacks.EarlyStopping("val_acc")])


# ---- Average ----


class Params:
    """Keeps the parameters after each step, and at the end of each epoch."""

    def __init__(self):
        self.steps, self.epochs = [], []

    def on_batch_end(self, run):
        self.steps.append(run.model.params.copy())

    def on_epoch_end(self, run):
        self.epochs.append(run.model.params.copy())


def test_average():
    plain, averaged, model = Params(), Params(), nn.MLP([4, 8, 3], rng=0)
    fit(3, callbacks=[plain])
    history = fit(3, model=model, callbacks=[averaged, callbacks.Average(0.7)])
    for epoch in (1, 2, 3):
        steps = plain.steps[: 3 * epoch]
        weights = 0.7 ** np.arange(len(steps))[::-1]
        mean = np.average(np.array(steps, float), axis=0, weights=weights)
        np.testing.assert_allclose(averaged.epochs[epoch - 1], mean, rtol=1e-5, atol=1e-6)
        # The validation is that of the mean.
        its = nn.MLP([4, 8, 3])
        its.params[...] = averaged.epochs[epoch - 1]
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
        assert history["val_loss"][epoch - 1] == fastsm.training.evaluate(its, X, y)["loss"]
    np.testing.assert_array_equal(model.params, averaged.epochs[-1])
    # Training goes on from its own parameters; the list was sorted, so that the last step shows the mean.
    np.testing.assert_array_equal(averaged.steps[3], plain.steps[3])


def test_average_with_the_best(tmp_path):
    def make():
        return [Script(*VALUES), callbacks.EarlyStopping(patience=3), callbacks.Average(0.9)]

    params, model = Params(), nn.MLP([4, 8, 3], rng=0)
    history = fit(8, model=model, callbacks=[*make(), params])
    assert (history.stopped, history.epochs, history.restored) == ("early stop", 8, 5)
    np.testing.assert_array_equal(model.params, params.epochs[4])
    check_resumed(tmp_path, make, optim.Adam, 8)
    np.testing.assert_array_equal(fastsm.load(tmp_path / "5.safetensors").params, params.epochs[4])


def test_average_interrupted():
    class Interrupt:
        def on_batch_end(self, run):
            if (run.epoch, run.step) == (2, 2):
                raise KeyboardInterrupt

    plain, model = Params(), nn.MLP([4, 8, 3], rng=0)
    fit(2, callbacks=[plain])
    average = callbacks.Average(0.0)
    assert fit(2, model=model, callbacks=[average, Interrupt()]).stopped == "interrupted"
    np.testing.assert_array_equal(model.params, plain.steps[4])
    # A new training forgets it, and goes on from the parameters of the model.
    fit(1, model=model, callbacks=[average])


def test_average_is_needed(tmp_path):
    path = tmp_path / "c"
    fit(1, callbacks=[callbacks.Average(), callbacks.Checkpoint(path)])
    with raises(ValueError, f"`callbacks` must have an Average, as the training in {str(path)!r} has"):
        fit(2, resume_from=path)
    for state, message in (
        ({"steps": 3, "mean": np.zeros(3)}, "must have the mean of this model"),
        ({"steps": -1}, "must be that of an Average"),
        ({"steps": 1, "mean": [1.0]}, "must be that of an Average"),
    ):
        new = [{"class": "Average", "state": state}]
        rewrite(path, tmp_path / "bad", lambda tree, new=new: tree["training"].update(callbacks=new))
        with pytest.raises(ValueError, match=message):
            fit(2, callbacks=[callbacks.Average()], resume_from=tmp_path / "bad")


def test_average_after_a_failure(tmp_path):
    """A resume that fails leaves nothing of an earlier training for the next."""

    class Picky:
        def state(self):
            return {}

        def set_state(self, state):
            raise ValueError("no")

        def on_epoch_end(self, run):
            pass

    path, average = tmp_path / "c", callbacks.Average()
    fit(1, callbacks=[average, Picky(), callbacks.Checkpoint(path)])
    with raises(ValueError, "no"):
        fit(2, callbacks=[average, Picky()], resume_from=path)
    models = [nn.MLP([4, 8, 3], rng=9) for _ in range(2)]
    fit(1, model=models[0], callbacks=[average])
    fit(1, model=models[1], callbacks=[callbacks.Average()])
    np.testing.assert_array_equal(models[0].params, models[1].params)


# ---- the best parameters ----


def test_best_of_checkpoints(tmp_path):
    def make():
        return [script, callbacks.Checkpoint(tmp_path / "best", best=True)]

    script, model, params = Script(*VALUES), nn.MLP([4, 8, 3], rng=0), Params()
    history = fit(4, model=model, callbacks=[params, *make()])
    assert (history.restored, history.epochs) == (2, 4)
    np.testing.assert_array_equal(model.params, params.epochs[1])
    np.testing.assert_array_equal(fastsm.load(tmp_path / "best").params, params.epochs[1])
    # Also after a resume, from the best epoch or from the last one.
    (tmp_path / "runs").mkdir()
    check_resumed(tmp_path / "runs", make, optim.Adam, 4)
    again = fit(4, callbacks=make(), resume_from=tmp_path / "best")
    assert (again.restored, again.epochs) == (2, 4)
    assert fit(2).restored is None


def test_best_epoch_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    fit(3, callbacks=[callbacks.ProgressBar(), Script(2.0, 1.0, 3.0), callbacks.EarlyStopping()])
    last = sys.stderr.getvalue().splitlines()[-1]
    assert (last.split()[0], last.split("  ")[-1].strip()) == ("2", "best, restored")


# ---- histories and logs ----


def test_copy_of_a_history():
    history = fit(1, callbacks=[callbacks.EarlyStopping()])
    for other in (history.copy(), copy.deepcopy(history)):
        assert type(other) is fastsm.History
        assert (other, other.stopped, other.restored) == (history, "epochs", 1)
    other = history.copy()
    other["new"] = [1.0]
    assert "new" not in history
    with raises(ValueError, f"`name` must be one of {', '.join(history)}, got [1]"):
        history.best([1])
    with raises(TypeError, "`history['a']` must be a number, got 'b'"):
        fastsm.History(a=["b"]).best("a")
    assert fastsm.History(a=[10**400, 1]).best("a") == 2


@pytest.mark.parametrize("kind", [callbacks.CSVLogger, callbacks.JSONLogger])
def test_paths_of_logs(tmp_path, kind):
    for path, error, message in (
        (3, TypeError, "`path` must be a path, got 3"),
        ("", ValueError, "`path` must be the name of a file, got ''"),
        (tmp_path / "a" / "b", FileNotFoundError, "`path` must lie in a folder that exists, got"),
        (tmp_path, ValueError, "`path` must be a regular file or a new one, got"),
        ("/dev/null", ValueError, "`path` must be a regular file or a new one, got '/dev/null'"),
    ):
        with pytest.raises(error) as caught:
            fit(1, callbacks=[kind(path)])
        assert str(caught.value).startswith(message)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="`path` must be a regular file or a new one"):
            fit(1, callbacks=[kind(tmp_path / "pipe")])


@pytest.mark.parametrize("kind", [callbacks.CSVLogger, callbacks.JSONLogger])
def test_logs_of_odd_values(tmp_path, kind):
    fit(1, callbacks=[Script(10**400), kind(tmp_path / "log")])
    assert ("inf" if kind is callbacks.CSVLogger else '"val_loss": null') in (tmp_path / "log").read_text()
    with raises(TypeError, "`logs['val_loss']` must be a number, got 'a'"):
        fit(1, callbacks=[Script("a"), kind(tmp_path / "log")])


# ---- layers with odd arguments ----


class Scaled:
    """A layer whose arguments are not all what JSON gives back."""

    def __init__(self, factors, limit=math.nan, weight=None, nested=None):
        self.arguments = {"factors": factors, "limit": limit, "weight": weight, "nested": nested}

    def forward(self, x):
        return x * np.float32(self.arguments["factors"][0])

    def backward(self, dy):
        return dy * np.float32(self.arguments["factors"][0])

    def config(self):
        return self.arguments


def scaled(factors=(2.0, 3), nested=None):
    return nn.Sequential(nn.Linear(4, 3), Scaled(factors, weight=np.arange(3.0), nested=nested), rng=0)


def test_layers_with_odd_arguments(tmp_path):
    path = tmp_path / "c"
    fit(1, model=scaled(), callbacks=[callbacks.Checkpoint(path)])
    assert fit(2, model=scaled(), resume_from=path).epochs == 2
    with pytest.raises(ValueError, match=r"layer 1 is Scaled with .*2\.0, 3.*, got Scaled with .*2\.0, 4"):
        fit(2, model=scaled((2.0, 4)), resume_from=path)


def test_arguments_nested_too_deep(tmp_path):
    nested = []
    for _ in range(500):
        nested = [nested]
    with pytest.raises(ValueError, match="must be nested at most 100 deep to be saved"):
        fastsm.save(tmp_path / "m", scaled(nested=nested))
    nested.append(nested)
    with pytest.raises(ValueError, match="must be nested at most 100 deep to be saved"):
        fit(1, model=scaled(nested=nested), callbacks=[callbacks.Checkpoint(tmp_path / "c")])
    assert os.listdir(tmp_path) == []
