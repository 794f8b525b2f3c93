"""What the command says of runs: warnings, results, lists of runs; settings and data that moved."""

import csv
import io
import json
import math
import os
import subprocess

import numpy as np
import pytest
from processes import command, environment, fail, objects, run, succeed

import fastsm
from fastsm._command import _report, _summary

QUICK = ("train", "--epochs", 3, "--hidden", 16, "--no-plots")


def table(path, rows, share=0.5, first=0):
    """Write a table of numbers with an id and two classes; the first class has a part of the rows."""
    rng = np.random.default_rng(0)
    lines = ["id,a,b,kind"]
    for i in range(first, first + rows):
        kind = int(rng.random() > share)
        lines.append(f"{i},{rng.normal() + 2 * kind:.4f},{rng.normal():.4f},{'xy'[kind]}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a table, and a run on it."""
    folder = tmp_path_factory.mktemp("runs")
    table(folder / "table.csv", 700)
    succeed(*QUICK, "--data", "table.csv", "--out", "run", cwd=folder)
    return folder


@pytest.mark.parametrize(("right", "rows"), [(0, 1), (1, 1), (0, 50), (50, 50), (354, 360), (1, 100_000)])
def test_interval(right, rows):
    """The interval of an accuracy is Wilson's, as SciPy computes it."""
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(right, rows).proportion_ci(0.95, method="wilson")
    assert _report.wilson(right, rows) == pytest.approx([expected.low, expected.high], rel=1e-9, abs=1e-12)


def test_confused_pairs():
    """The three pairs with the most rows in lines of 80 columns; nothing without a mistake."""

    def pairs(confusion, names):
        figures = {"confusion": confusion, "per_class": [{"class": name} for name in names]}
        return _summary._pairs(figures)

    confusion = [[9, 1, 2], [0, 9, 4], [123, 0, 9]]
    expected = "most often confused: c taken for a (123), b taken for c (4), a taken for c (2)"
    assert pairs(confusion, "abc") == expected
    lines = pairs(confusion, ["x" * 99 + name for name in "abc"]).splitlines()
    assert [line.count("taken for") for line in lines] == [1, 1, 1]
    assert lines[1] == "  xxxxxxxxx...xxxxxxxb taken for xxxxxxxxx...xxxxxxxc (4),"
    assert pairs([[3, 0], [0, 3]], "ab") == ""


def test_best_epoch_is_the_model(tmp_path):
    """The weights are those of the smallest validation loss; with --last, or few rows, of the last epoch."""
    options = ("--epochs", 12, "--lr", 0.05, "--hidden", 64)
    for name, more, best in (("a", (), True), ("b", ("--last",), False), ("c", ("--val-split", 0.03), False)):
        out = tmp_path / name
        end = objects(succeed(*QUICK, *options, *more, "--json", "--out", out))[-1]
        history = fastsm.History()
        params = fastsm.load(out / "model.safetensors", history=history).params
        epoch = int(np.argmin(history["val_loss"])) + 1
        assert epoch < 12
        assert end["restored"] == (epoch if best else None)
        last = fastsm.load(out / "checkpoint.safetensors").params
        assert (params == last).all() != best


def test_names_in_json(folder):
    """The last event, the file of results, `info`, `runs` and `evaluate` call a thing the same."""
    out = folder / "named"
    start, *epochs, end = objects(succeed(*QUICK, "--data", folder / "table.csv", "--out", out, "--json"))
    results = json.loads((out / "results.json").read_text())
    assert {"event": "end", "out": str(out), **results} == {**end, "fastsm": fastsm.__version__}
    logged = objects((out / "metrics.jsonl").read_text())
    assert [{"event": "epoch", "epochs": 3, **line} for line in logged] == epochs
    about = objects(succeed("info", out, "--json"))[0]
    assert [about["epochs"], about["test_accuracy"]] == [end["epochs"], end["test_accuracy"]]
    assert about["table"] == start["table"]
    assert about["settings"] | {"json": True, "quiet": False} == start["settings"] | {"out": str(out)}
    listed = next(one for one in objects(succeed("runs", folder, "--json")) if one["out"] == str(out))
    assert listed == {"test_r2": None, **{name: end[name] for name in listed if name in end}} | {
        "settings": about["settings"]
    }
    measured = objects(succeed("evaluate", out, "--json"))[0]
    assert all(end[f"test_{name}"] == measured[name] for name in ("accuracy", "accuracy_interval", "rows"))


def test_warning_of_the_first_loss(tmp_path):
    """A first epoch far worse than guessing gives a line, which the results have too; --quiet prints none."""
    options = (*QUICK, "--optimizer", "sgd", "--lr", 5, "--schedule", "constant", "--loss", "cross-entropy")
    code, _, errors = run(*options, "--out", tmp_path / "a")
    warning = next(line for line in errors.splitlines() if line.startswith("warning: "))
    assert code == 0
    assert f"is far above {math.log(10):.3g}, that of guessing" in warning
    said = json.loads((tmp_path / "a" / "results.json").read_text())["warnings"]
    assert warning == f"warning: {said[0]}"
    assert run(*options, "--quiet", "--out", tmp_path / "b")[2] == ""


def test_warning_of_one_class(tmp_path):
    """A class with nearly all rows is named."""
    table(tmp_path / "table.csv", 600, share=0.96)
    errors = run(*QUICK, "--data", tmp_path / "table.csv", "--out", tmp_path / "run")[2]
    assert "% of the rows are x, and so is the accuracy of always answering x" in errors


def test_warning_of_overfitting(tmp_path):
    """A validation loss that rises while the training loss falls gives a line."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", X=rng.normal(size=(700, 30)), y=rng.integers(0, 2, 700))
    options = ("--epochs", 60, "--hidden", "128,128", "--weight-decay", 0, "--data", tmp_path / "noise.npz")
    errors = run(*QUICK, *options, "--out", tmp_path / "run")[2]
    assert "warning: since epoch " in errors
    assert " while the training loss fell: try --early-stop 5" in errors


def test_runs(tmp_path):
    """Runs are listed with the settings that differ, the best first, and what is damaged with a note."""
    for name, options in {"fine": (), "poor": ("--lr", 1e-5), "cut": ("--hidden", 8)}.items():
        succeed(*QUICK, *options, "--out", tmp_path / name)
    (tmp_path / "cut" / "results.json").unlink()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{")
    (tmp_path / "other").mkdir()
    code, output, errors = run("runs", tmp_path)
    head, *lines = [line.split() for line in output.splitlines()]
    assert head == ["run", "data", "hidden", "lr", "epochs", "test"]
    assert [line[0] for line in lines] == ["fine", "poor", "cut"]
    assert [line[2:4] for line in lines] == [["16", "0.003"], ["16", "1e-05"], ["8", "0.003"]]
    assert lines[2][-2:] == ["not", "finished"]
    assert (code, errors.count("\n"), "bad" in errors) == (0, 1, True)
    found = objects(succeed("runs", tmp_path, "--json"))
    assert [os.path.basename(one["out"]) for one in found] == ["fine", "poor", "cut"]
    assert found[0]["test_accuracy"] > found[1]["test_accuracy"]
    assert found[0]["settings"]["hidden"] == [16]
    assert "there is no folder" in fail(3, "runs", tmp_path / "nothing")
    assert succeed("runs", tmp_path / "other").startswith("there are no runs in ")


def test_width_of_runs(tmp_path):
    """Of many settings those are shown that fit into 80 columns."""
    more = (
        "--activation gelu --dropout 0.1 --loss focal --optimizer sgd --lr 0.01 --schedule one-cycle --seed 5"
    )
    succeed(*QUICK, "--out", tmp_path / "a")
    succeed(*QUICK, *more.split(), "--layer-norm", "--out", tmp_path / "b")
    lines = succeed("runs", tmp_path).splitlines()
    assert len(lines) == 3
    assert 60 < max(map(len, lines)) <= 80


def test_settings_of_a_run(folder, tmp_path):
    """--config takes the settings of a run, which give the same model."""
    succeed("train", "--config", folder / "run" / "config.json", "--out", tmp_path / "again")
    one, other = (fastsm.load(path / "model.safetensors") for path in (folder / "run", tmp_path / "again"))
    assert (one.params == other.params).all()
    for content in ("{}", '{"settings": 3}', '{"settings": {"lr": 1'):
        (tmp_path / "config.json").write_text(content)
        assert "or the config.json of a run" in fail(2, "train", "--config", tmp_path / "config.json")


def test_resume_after_a_move(tmp_path):
    """A run resumes with its data at another place, under another name; not with other test data."""
    for name in ("train", "test"):
        table(tmp_path / f"{name}.csv", 300)
    files = ("--data", tmp_path / "train.csv", "--test", tmp_path / "test.csv")
    succeed(*QUICK, *files, "--out", tmp_path / "run")
    (tmp_path / "train.csv").rename(tmp_path / "moved.csv")
    more = ("train", "--resume", tmp_path / "run", "--epochs", 4)
    assert "train.csv" in fail(3, *more)
    succeed(*more, "--data", tmp_path / "moved.csv")
    succeed("evaluate", tmp_path / "run")
    table(tmp_path / "test.csv", 299)
    assert "other data" in fail(3, *more)


def test_predict_to_a_table(folder, tmp_path):
    """--csv writes the ids, the answers and all probabilities; a fault leaves no file."""
    table(tmp_path / "new.csv", 20, first=900)
    out = tmp_path / "answers.csv"
    lines = objects(succeed("predict", folder / "run", tmp_path / "new.csv", "--json", "--top", 2))
    succeed("predict", folder / "run", tmp_path / "new.csv", tmp_path / "new.csv", "--csv", out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["input", "row", "id", "prediction", "P(x)", "P(y)"]
    assert [row["id"] for row in rows] == [*map(str, range(900, 920))] * 2
    for row, line in zip(rows, lines + lines, strict=True):
        assert (row["row"], row["prediction"]) == (str(line["row"]), line["class"])
        assert {f"P({one['class']})": one["probability"] for one in line["top"]} == pytest.approx(
            {name: float(row[name]) for name in ("P(x)", "P(y)")}
        )
    before = out.read_bytes()
    (tmp_path / "bad.csv").write_text("a\n1\n")
    fail(3, "predict", folder / "run", tmp_path / "new.csv", tmp_path / "bad.csv", "--csv", out)
    assert "cannot be written" in fail(1, "predict", folder / "run", tmp_path / "new.csv", "--csv", tmp_path)
    new = (tmp_path / "new.csv").read_bytes()
    words = ("predict", folder / "run", tmp_path / "new.csv", "--csv", tmp_path / "new.csv")
    assert "another file than the input" in fail(2, *words)
    assert (tmp_path / "new.csv").read_bytes() == new
    assert out.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", "bad.csv", "answers.csv"}


@pytest.mark.parametrize("kind", ["csv", "npy", "bad", "empty"])
def test_predict_standard_input(folder, tmp_path, kind):
    """- is the standard input: a table or an array; a fault is named as such."""
    model, content = folder / "run", b""
    if kind == "npy":
        model, file = tmp_path / "m.safetensors", io.BytesIO()
        fastsm.save(model, fastsm.nn.MLP([2, 3], rng=0))
        np.save(file, np.ones((2, 2)))
        content = file.getvalue()
    elif kind != "empty":
        content = b"b,a\n1,2\n3,4\n" if kind == "csv" else b"b,a\n1,2\nx,4\n"
    result = subprocess.run(
        command("predict", model, "-"),
        env=environment(TMPDIR=str(tmp_path)),
        input=content,
        capture_output=True,
        check=False,
    )
    lines = (result.stdout or result.stderr).decode().splitlines()
    if kind in ("csv", "npy"):
        assert [line.split("\t")[:2] for line in lines] == [["-", "0"], ["-", "1"]]
    else:
        assert (result.returncode, len(lines)) == (3, 1)
        assert "error: the standard input must" in lines[0]
        assert str(tmp_path) not in lines[0]
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.slow
def test_recommended_settings(tmp_path):
    """The settings that the help recommends for the digits beat the defaults with each of five seeds."""
    line = next(line for line in succeed("train", "--help").splitlines() if "better on digits" in line)
    words = line.split("better")[0].split()[2:]
    for seed in range(5):
        scores = []
        for i, options in enumerate(([], words)):
            out = tmp_path / f"{seed}-{i}"
            end = objects(succeed("train", *options, "--seed", seed, "--no-plots", "--json", "--out", out))[
                -1
            ]
            scores.append(end["test_accuracy"])
        assert scores[1] > scores[0]
