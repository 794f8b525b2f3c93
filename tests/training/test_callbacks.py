"""Callbacks, their calls, and the history."""

import contextlib
import csv
import json
import math
import os
import sys

import numpy as np
import pytest
from checks import raises
from trainings import Script, Terminal, fit

import fastsm
from fastsm import callbacks, nn, optim

# ---- calls of callbacks ----


def test_order_of_calls():
    calls = []

    class All:
        def __getattr__(self, name):
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda run: calls.append((name, run.epoch, run.step))

    fit(epochs=2, callbacks=[All()])
    assert calls == [
        ("on_train_begin", 0, 0),
        *[
            call
            for epoch in (1, 2)
            for call in (
                ("on_epoch_begin", epoch, 0),
                ("on_batch_end", epoch, 1),
                ("on_batch_end", epoch, 2),
                ("on_batch_end", epoch, 3),
                ("on_epoch_end", epoch, 3),
            )
        ],
        ("on_train_end", 2, 3),
    ]


def test_attributes_of_run():
    model, optimizer = nn.MLP([4, 3], rng=0), optim.SGD(0.5)
    losses = []

    class Look:
        def on_train_begin(self, run):
            assert run.model is model
            assert run.optimizer is optimizer
            assert (run.epochs, run.steps) == (2, 3)
            assert run.names == (
                "loss", "accuracy", "brier", "val_loss", "val_accuracy", "val_brier",
                "learning_rate", "seconds",
            )  # fmt: skip

        def on_batch_end(self, run):
            assert list(run.logs) == ["loss"]
            losses.append(run.logs["loss"])

        def on_epoch_end(self, run):
            assert tuple(run.logs) == run.names == tuple(run.history)
            assert all(run.history[name][-1] == value for name, value in run.logs.items())
            assert run.logs["loss"] == pytest.approx(np.average(losses[-3:], weights=[8, 8, 4]))
            assert run.logs["learning_rate"] == 0.5
            assert run.logs["seconds"] > 0

    fit(2, model=model, optimizer=optimizer, callbacks=[Look()], metrics=["accuracy", "brier"])
    assert len(losses) == 6


def test_stop():
    class Stop:
        def on_batch_end(self, run):
            run.stop()

    history = fit(5, callbacks=[Stop()])
    assert (history.epochs, history.stopped) == (1, "early stop")


def test_changed_learning_rate():
    class Halve:
        def on_epoch_end(self, run):
            run.optimizer.lr /= 2

    history = fit(3, optimizer=optim.SGD(0.5), callbacks=[Halve()])
    assert history["learning_rate"] == [0.5, 0.25, 0.125]


# ---- early stopping ----


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping(restore):
    script = Script(5.0, 3.0, 4.0, 3.0, 3.5, 1.0)
    stopping = callbacks.EarlyStopping(patience=3, restore_best=restore)
    model = nn.MLP([4, 8, 3], rng=0)
    history = fit(6, model=model, callbacks=[script, stopping])
    assert (history.epochs, history.stopped) == (5, "early stop")  # an equal value is no improvement
    assert (stopping.best, stopping.best_epoch) == (3.0, 2)
    np.testing.assert_array_equal(model.params, script.params[1 if restore else 4])


def test_best_parameters_restored():
    for interrupted in (False, True):
        script = Script(5.0, 1.0, 4.0)

        class Interrupt:
            def on_epoch_end(self, run):
                if run.epoch == 3:
                    raise KeyboardInterrupt

        model = nn.MLP([4, 8, 3], rng=0)
        others = [Interrupt()] if interrupted else []
        history = fit(3, model=model, callbacks=[script, callbacks.EarlyStopping(), *others])
        assert history.stopped == ("interrupted" if interrupted else "epochs")
        np.testing.assert_array_equal(model.params, script.params[1])


def test_what_counts_as_improvement():
    def epochs(values, name="val_loss", **options):
        stopping = callbacks.EarlyStopping(name, patience=1, **options)
        return fit(
            len(values), callbacks=[Script(*values, name=name), stopping], metrics=["accuracy", "top_2"]
        ).epochs

    assert epochs([3, 2, 1, 0.5]) == 4
    assert epochs([3, 2, 1.5, 1, 0], min_delta=0.75) == 3
    assert epochs([0.1, 0.2, 0.3, 0.2], name="val_accuracy") == 4
    assert epochs([0.1, 0.2, 0.2, 0.3], name="val_top_2") == 3
    assert epochs([1, 2, 3], name="loss", mode="max") == 3
    assert epochs([math.nan, 2, 1]) == 1
    assert epochs([math.inf, math.inf, 1]) == 2


def test_reused_early_stopping():
    stopping = callbacks.EarlyStopping(patience=1)
    for _ in range(2):
        assert fit(9, callbacks=[Script(1.0, 2.0), stopping]).epochs == 2
    bigger = nn.MLP([4, 9, 3], rng=0)
    assert fit(9, model=bigger, callbacks=[Script(3.0, 4.0), stopping]).epochs == 2
    assert stopping.best == 3.0


def mine(outputs, targets):
    return np.zeros(len(outputs))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: callbacks.EarlyStopping(patience=0),
            ValueError,
            "`patience` must be an integer of at least 1, got 0",
        ),
        (
            lambda: callbacks.EarlyStopping(min_delta=-1),
            ValueError,
            "`min_delta` must be finite and at least 0, got -1",
        ),
        (lambda: callbacks.EarlyStopping(3), TypeError, "`monitor` must be the name of a value, got 3"),
        (
            lambda: callbacks.EarlyStopping(mode="up"),
            ValueError,
            "`mode` must be one of min, max or None, got 'up'",
        ),
        (
            lambda: callbacks.Checkpoint("x", every=0),
            ValueError,
            "`every` must be an integer of at least 1, got 0",
        ),
        (
            lambda: callbacks.EarlyStopping(restore_best="no"),
            TypeError,
            "`restore_best` must be True or False, got 'no'",
        ),
        (lambda: callbacks.ProgressBar(-1), ValueError, "`interval` must be finite and at least 0, got -1"),
        (lambda: callbacks.Checkpoint(""), ValueError, "`path` must be the name of a file, got ''"),
        (
            lambda: fit(callbacks=[callbacks.Checkpoint(os.curdir)]),
            ValueError,
            "`path` must be a regular file or a new one, got '.'",
        ),
        (
            lambda: callbacks.Checkpoint("x", mode="min"),
            ValueError,
            "`mode` must be None without `monitor`, got 'min'",
        ),
        (lambda: callbacks.Checkpoint(3), TypeError, "`path` must be a path, got 3"),
        (lambda: callbacks.ProgressBar("x"), TypeError, "`interval` must be a number, got 'x'"),
        (
            lambda: fit(validate=False, callbacks=[callbacks.EarlyStopping()]),
            ValueError,
            "`monitor` must be one of loss, accuracy, learning_rate, seconds, got 'val_loss': pass"
            " validation_data",
        ),
        (
            lambda: fit(callbacks=[callbacks.Checkpoint("x", monitor="f1")]),
            ValueError,
            "`monitor` must be one of loss, accuracy, val_loss, val_accuracy, learning_rate, seconds,"
            " got 'f1'",
        ),
        (
            lambda: fit(metrics=[mine], callbacks=[callbacks.EarlyStopping("val_mine")]),
            ValueError,
            "`mode` must be min or max for the monitor 'mine', whose metric has no default",
        ),
        (
            lambda: fit(callbacks=[callbacks.Checkpoint("/nowhere/at/all.safetensors")]),
            FileNotFoundError,
            "`path` must lie in a folder that exists, got '/nowhere/at/all.safetensors'",
        ),
    ],
)
def test_wrong_arguments(make, error, message):
    with raises(error, message):
        make()


# ---- checkpoints ----


def test_checkpoints_by_epoch(tmp_path):
    script = Script(1.0, 2.0, 3.0, 4.0, 5.0)
    fit(5, callbacks=[callbacks.Checkpoint(tmp_path / "{epoch}.safetensors", every=2), script])
    assert sorted(os.listdir(tmp_path)) == ["2.safetensors", "4.safetensors", "5.safetensors"]
    for epoch in (2, 4, 5):
        model = fastsm.load(tmp_path / f"{epoch}.safetensors")
        np.testing.assert_array_equal(model.params, script.params[epoch - 1])


def test_checkpoint_at_early_stop(tmp_path):
    path = tmp_path / "c.safetensors"
    fit(
        9,
        callbacks=[
            callbacks.Checkpoint(path, every=100),
            Script(1.0, 2.0),
            callbacks.EarlyStopping(patience=1),
        ],
    )
    history = fastsm.History()
    fastsm.load(path, history=history)
    assert history.epochs == 2
    assert history["val_loss"] == [1.0, 2.0]


@pytest.mark.parametrize("name", ["val_loss", "val_accuracy"])
def test_checkpoints_of_the_best(tmp_path, name):
    path = tmp_path / "best.safetensors"
    script = Script(0.5, 0.2, 0.9, 0.3, name=name)
    fit(4, callbacks=[script, callbacks.Checkpoint(path, monitor=name)])
    best = 1 if name == "val_loss" else 2
    np.testing.assert_array_equal(fastsm.load(path).params, script.params[best])


def test_best_value_after_resuming(tmp_path):
    path, last = tmp_path / "best.safetensors", tmp_path / "last.safetensors"

    def both():
        # Also in this order the file of the first stores the best value of the second.
        return [callbacks.Checkpoint(last), callbacks.Checkpoint(path, monitor="val_loss")]

    fit(2, callbacks=[Script(0.5, 0.2), *both()])
    before = path.read_bytes()
    fit(3, callbacks=[Script(0.5, 0.2, 0.3), *both()], resume_from=last)
    assert path.read_bytes() == before


# ---- reports ----


def test_progress_without_a_terminal(capsys):
    """Lines below titles, some 20 of a long training, without a bar."""
    fit(100, callbacks=[callbacks.ProgressBar()])
    head, *lines = capsys.readouterr().err.splitlines()
    assert head.split() == ["epoch", "loss", "val", "loss", "val", "acc", "time"]
    assert [int(line.split()[0]) for line in lines] == [1, *range(5, 101, 5)]


@pytest.mark.parametrize("tqdm", [True, False])
def test_progress_in_lines(monkeypatch, capsys, tqdm):
    """On a terminal each line has the results of its epoch, and the bar is gone at the end."""
    if tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    history = fit(2, callbacks=[callbacks.ProgressBar(interval=0)], metrics=["accuracy", "f1"])
    text = terminal.getvalue()
    assert ("\repoch 2/2 100 % |" in text) is tqdm
    shown = [line.rsplit("\r", 1)[-1] for line in text.split("\n")]
    head, *lines = [line for line in shown if line.strip()]
    assert head.split() == ["epoch", "loss", "val", "loss", "val", "acc", "val", "f1", "time"]
    assert len(lines) == 2
    for i, line in enumerate(lines):
        names = ("loss", "val_loss", "val_accuracy", "val_f1")
        loss, val_loss, accuracy, f1 = (history[name][i] for name in names)
        best = val_loss == min(history["val_loss"][: i + 1])
        expected = f"{i + 1} {loss:.4f} {val_loss:.4f} {100 * accuracy:.1f} % {f1:.4f} 0.0 s"
        assert line.split() == [*expected.split(), *["best"] * best]
        assert line.startswith("    ")
        assert len(line.removesuffix("   best")) == len(head)
    assert capsys.readouterr().out == ""


def test_progress_fits(capsys):
    """However many metrics there are, lines have at most 80 columns; numbers of any size are aligned."""

    def huge(outputs, targets):
        return np.full(len(outputs), 1.25e30)

    names = ["accuracy", huge, "f1", "balanced_accuracy", "nll", "brier"]
    fit(2, callbacks=[callbacks.ProgressBar(), callbacks.EarlyStopping()], metrics=names)
    lines = capsys.readouterr().err.splitlines()
    assert "val huge" in lines[0]
    assert "1.2e+30" in lines[1]
    assert max(map(len, lines)) <= 80


def test_progress_bar_closes(monkeypatch):
    """An interruption and an error leave no bar."""
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())

    class Fail:
        def __init__(self, error):
            self.error = error

        def on_batch_end(self, run):
            raise self.error

    for error in (KeyboardInterrupt, ValueError):
        bar = callbacks.ProgressBar()
        with contextlib.suppress(ValueError):
            fit(2, callbacks=[bar, Fail(error)])
        bar.close()
        bar.close()
        assert sys.stderr.getvalue().endswith("\r")


def test_progress_bar_rate(monkeypatch):
    """The bar is drawn again after `interval` at the earliest."""
    pytest.importorskip("tqdm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(1, callbacks=[callbacks.ProgressBar(interval=1000)], batch_size=1)
    assert terminal.getvalue().count("\repoch 1/1") <= 3  # at first, below the titles and below the line


def test_csv(tmp_path):
    path = tmp_path / "log,1.csv"

    def strange(outputs, targets):
        return np.full(len(outputs), np.nan)

    strange.__name__ = 'a, "b"'
    history = fit(3, callbacks=[callbacks.CSVLogger(path)], metrics=["accuracy", strange])
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["epoch", *history]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3"]
    for i, name in enumerate(history, 1):
        np.testing.assert_array_equal([float(row[i]) for row in rows[1:]], history[name])


def test_json_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    history = fit(3, callbacks=[Script(1.0, math.nan, math.inf), callbacks.JSONLogger(path)])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.pop("epoch") for line in lines] == [1, 2, 3]
    assert [line.pop("val_loss") for line in lines] == [1.0, None, None]
    del history["val_loss"]
    assert lines == [{name: history[name][i] for name in history} for i in range(3)]


@pytest.mark.parametrize("kind", [callbacks.CSVLogger, callbacks.JSONLogger])
def test_logs_of_resumed_trainings(tmp_path, kind):
    whole, log, path = tmp_path / "whole", tmp_path / "log", tmp_path / "c.safetensors"
    fixed = [Script(0.1, 0.2, 0.3, name="seconds")]
    fit(3, callbacks=[*fixed, kind(whole)])
    fit(3, callbacks=[*fixed, kind(log), callbacks.Checkpoint(path.with_name("{epoch}"))])
    # Killed after the second epoch, with the third in the log: resumed from the first.
    fit(3, callbacks=[*fixed, kind(log)], resume_from=tmp_path / "1")
    assert log.read_text() == whole.read_text()
    # A new training replaces it.
    fit(1, callbacks=[*fixed, kind(log)])
    assert len(log.read_text().splitlines()) == (2 if kind is callbacks.CSVLogger else 1)


# ---- the history ----


def test_history():
    history = fit(2)
    assert isinstance(history, dict)
    assert history.epochs == 2
    assert history.stopped == "epochs"
    assert all(type(value) is float for values in history.values() for value in values)
    assert json.loads(json.dumps(history)) == history
    assert fastsm.History().epochs == 0


def test_best():
    history = fastsm.History({"a": [3.0, 1.0, 1.0, math.nan], "b": [math.nan]})
    assert history.best("a") == 2
    assert history.best("a", "max") == 1
    for name, mode, message in (
        ("c", "min", "`name` must be one of a, b, got 'c'"),
        ("a", "up", "`mode` must be one of min, max, got 'up'"),
        ("b", "min", "`name` must be a column with numbers, got 'b', which has only NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            history.best(name, mode)


def test_plot(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    history = fit(3, metrics=["accuracy", "nll"])
    figure = history.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy", "nll"]
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), history["val_loss"])
    assert pyplot.get_fignums() == []
    shown = history.plot()
    assert pyplot.get_fignums() == [shown.number]
    pyplot.close(shown)
    with pytest.raises(ValueError, match="`plot` needs at least one completed epoch"):
        fastsm.History().plot()


def test_plot_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="`plot` needs matplotlib: pip install matplotlib"):
        fit(1).plot()
