"""``fastsm train``, in new processes."""

import json
import os
import re
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from processes import command, environment, fail, objects, run, succeed

import fastsm

QUICK = ("train", "--epochs", 2, "--hidden", 16, "--no-plots")
PICTURES = {"curves.png", "confusion.png", "mistakes.png"}
FILES = {"model.safetensors", "checkpoint.safetensors", "config.json", "metrics.jsonl", "results.json"}
FILES |= {"report.html"}
FASHION = Path("/usr/share/datasets/fashion-mnist")


def settings_of(folder):
    """Return the settings of a run."""
    return json.loads((folder / "config.json").read_text())["settings"]


def test_first_command(tmp_path):
    """Without options it trains on the digits to at least 97 %, and writes all files of a run."""
    code, output, errors = run("train", cwd=tmp_path)
    assert code == 0
    accuracy, epoch, folder = re.match(
        r"test accuracy ([\d.]+) % \([\d.]+ to [\d.]+\) on 360 rows, with the weights of epoch (\d+)\n"
        r"most often confused: \d taken for \d \(\d\), .*\n(\S+): model.safetensors.*\n"
        r"next: fastsm evaluate \3\n$",
        output,
    ).groups()
    assert fastsm.load(tmp_path / folder / "model.safetensors").params.size == 9610
    about, gap, head, *lines = errors.splitlines()[:25]
    assert (about, gap) == (
        "training 64-128-10 on 1,295 rows, validating on 142, testing on 360",
        "",
    )
    lines = [line for line in lines if line]
    assert head.split() == ["epoch", "loss", "val", "loss", "val", "acc", "time"]
    assert {len(line.removesuffix("   best")) for line in lines[:-1]} == {len(head)}
    losses = [float(line.split()[2]) for line in lines]
    assert int(lines[-1].split()[0]) == int(epoch)
    assert lines[-1].endswith("best, restored") or len(lines) < 22
    assert losses[-1] == min(losses)
    assert float(accuracy) >= 97
    assert folder == os.path.join("fastsm-runs", "digits-1")
    expected = FILES | (PICTURES if find_spec("matplotlib") else set())
    assert {path.name for path in (tmp_path / folder).iterdir()} == expected
    results = json.loads((tmp_path / folder / "results.json").read_text())
    assert f"{100 * results['test_accuracy']:.1f}" == accuracy


def test_json_and_folders(tmp_path):
    """With --json each line is an object; each run gets a new folder; the same seed gives the same bits."""
    runs = [objects(succeed(*QUICK, "--json", "--seed", 3, cwd=tmp_path)) for _ in range(2)]
    start, *epochs, end = runs[0]
    assert [start["event"], end["event"]] == ["start", "end"]
    assert [(e["event"], e["epoch"]) for e in epochs] == [("epoch", 1), ("epoch", 2)]
    assert start["settings"]["hidden"] == [16]
    assert 0 < end["test_accuracy"] <= 1
    folders = [tmp_path / lines[-1]["out"] for lines in runs]
    assert [folder.name for folder in folders] == ["digits-1", "digits-2"]
    models = [fastsm.load(folder / "model.safetensors") for folder in folders]
    assert (models[0].params == models[1].params).all()
    logged = objects((folders[0] / "metrics.jsonl").read_text())
    assert [line["loss"] for line in logged] == [epoch["loss"] for epoch in epochs]


def test_infinite_loss_is_null(tmp_path):
    """An infinite loss is null in JSON."""
    succeed(
        "train",
        "--optimizer",
        "sgd",
        "--lr",
        1e30,
        "--dtype",
        "float64",
        *QUICK[1:],
        "--out",
        tmp_path / "run",
    )
    assert json.loads((tmp_path / "run" / "results.json").read_text())["test_nll"] is None


@pytest.mark.parametrize(
    "options",
    [
        "--activation gelu --dropout 0.2 --layer-norm --label-smoothing 0.1 --class-weight balanced"
        " --optimizer adamw --weight-decay 0.02 --schedule warmup-cosine --clip-norm 1 --dtype float64"
        " --early-stop 3 --val-split 0.2 --threads 1 --batch-size 100 --lr 0.01 --seed 7",
        "--loss focal --class-weight balanced --optimizer sgd --momentum 0.8 --schedule one-cycle --lr 0.05",
        "--loss brier --optimizer rmsprop --schedule step --activation tanh --no-download",
        "--loss mse --optimizer adam --schedule constant --hidden none --val-split 0",
        "--loss mae --hidden 32,16 --schedule cosine --quiet",
    ],
)
def test_every_option(tmp_path, options):
    """Each option is used, and is in the configuration of the run; the network learns."""
    words = options.split()
    end = objects(succeed("train", "--json", "--no-plots", "--epochs", 3, *words, "--out", tmp_path / "run"))[
        -1
    ]
    assert end["test_accuracy"] > 0.2
    settings = settings_of(tmp_path / "run")
    for word, value in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--") and word not in ("--quiet", "--no-download"):
            stored = settings[word[2:].replace("-", "_")]
            given = True if value.startswith("--") else value
            if isinstance(stored, list):
                stored = ",".join(map(str, stored)) or "none"
            assert stored == type(stored)(given)
    assert settings["download"] is ("--no-download" not in words)


def test_precedence(tmp_path):
    """A flag wins over a variable, the variable over the file, the file over the default."""
    (tmp_path / "c.toml").write_text(
        'batch-size = 50\nlr = 0.5\nhidden = [8]\nseed = 9\nlayer_norm = true\nactivation = "tanh"\n'
    )
    variables = {"FASTSM_BATCH_SIZE": "60", "FASTSM_LR": "0.25", "FASTSM_HIDDEN": "4,4", "FASTSM_QUIET": "1"}
    options = ["--config", "c.toml", "--lr", "0.125", "--epochs", "1", "--out", "run", "--no-plots"]
    code, _, errors = run("train", *options, "--no-layer-norm", cwd=tmp_path, **variables)
    assert (code, errors) == (0, "")  # it is quiet
    settings = settings_of(tmp_path / "run")
    expected = {"lr": 0.125, "batch_size": 60, "hidden": [4, 4], "seed": 9, "layer_norm": False}
    expected |= {"activation": "tanh", "epochs": 1, "dropout": 0.0}
    assert {name: settings[name] for name in expected} == expected


def stopped(folder, how, *options):
    """Start a run, send it a signal after its third epoch, and return (exit code, stderr)."""
    process = subprocess.Popen(
        command("train", *options, "--out", folder),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log, deadline = folder / "metrics.jsonl", time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") >= 3):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(how)
    errors = process.communicate(timeout=60)[1]
    return process.returncode, errors


LONG = (
    *("--hidden", "256,256", "--dropout", 0.2, "--epochs", 40, "--early-stop", 30),
    *("--no-plots", "--threads", 1),
)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_killed_and_resumed(tmp_path):
    """After a kill or interrupt --resume ends with the bits of an uninterrupted run."""
    succeed("train", *LONG, "--out", tmp_path / "whole")
    whole = fastsm.History()
    params = fastsm.load(tmp_path / "whole" / "model.safetensors", history=whole).params
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        folder = tmp_path / how.name
        code, errors = stopped(folder, how, *LONG)
        assert not list(folder.glob(".*.tmp")) or how == signal.SIGKILL
        if how != signal.SIGKILL:
            assert code == 130
            assert errors.endswith(f"error: interrupted: continue with fastsm train --resume {folder}\n")
        else:
            assert code == -signal.SIGKILL
        assert not (folder / "model.safetensors").exists()
        succeed("train", "--resume", folder)
        history = fastsm.History()
        assert (fastsm.load(folder / "model.safetensors", history=history).params == params).all()
        assert history["val_loss"] == whole["val_loss"]
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == whole.epochs


def test_resume(tmp_path):
    """More epochs are accepted; fewer, other settings, folders and files are refused."""
    folder = tmp_path / "run"
    succeed(*QUICK, "--out", folder)
    assert fail(2, "train", "--resume", folder, "--epochs", 1).endswith(
        "--epochs must be at least 2, which are done, got 1"
    )
    assert "--lr cannot change" in fail(2, "train", "--resume", folder, "--lr", 1)
    end = objects(succeed("train", "--resume", folder, "--epochs", 3, "--json", FASTSM_HIDDEN="7"))[-1]
    assert end["epochs"] == 3
    (folder / "checkpoint.safetensors").write_bytes(b"PK\3\4 and so on")
    assert "cannot be resumed" in fail(3, "train", "--resume", folder)
    (folder / "checkpoint.safetensors").unlink()  # as after a kill in the first epoch
    assert objects(succeed("train", "--resume", folder, "--json"))[-1]["epochs"] == 3
    (folder / "config.json").write_text("[]")
    assert "config.json must be the description of a run" in fail(3, "train", "--resume", folder)


def test_resume_with_other_data(tmp_path):
    """A run resumes with the same data only."""
    table = tmp_path / "table.csv"
    rows = [f"{i % 7},{i % 5},{'ab'[i % 2]}" for i in range(40)]
    table.write_text("\n".join(["x,y,kind", *rows]))
    folder = tmp_path / "run"
    succeed(*QUICK, "--data", table, "--label", "kind", "--out", folder)
    assert json.loads((folder / "config.json").read_text())["data"]["classes"] == ["a", "b"]
    succeed("train", "--resume", folder, "--epochs", 3)
    table.write_text("\n".join(["x,y,kind", "9,9,b", *rows[1:]]))
    assert "other data" in fail(3, "train", "--resume", folder, "--epochs", 4)


def test_diverged(tmp_path):
    """An infinite training loss gives exit code 4 and advice."""
    options = ("--lr", "1e30", "--optimizer", "sgd", "--schedule", "constant")
    line = fail(4, *QUICK, *options, "--quiet", "--out", tmp_path / "run")
    assert re.search(r"at epoch 1, step \d+, learning rate 1e\+30: try a smaller --lr", line)


def test_wrong_data(tmp_path):
    """Missing, damaged and empty data give exit code 3."""
    fail(3, *QUICK, "--data", tmp_path / "nothing.npz")
    (tmp_path / "table.csv").write_text("x,label\n1,a\nb,c\n")
    assert "table.csv" in fail(3, *QUICK, "--data", tmp_path / "table.csv")
    (tmp_path / "arrays.npz").write_bytes(b"no archive")
    assert "arrays.npz" in fail(3, *QUICK, "--data", tmp_path / "arrays.npz")


def test_existing_folder(tmp_path):
    """Folders with files in them are not overwritten."""
    (tmp_path / "notes.txt").write_text("mine")
    assert "--out must be a new folder" in fail(2, *QUICK, "--out", tmp_path)
    assert "--out must be a folder" in fail(2, *QUICK, "--out", tmp_path / "notes.txt")
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_without_matplotlib(tmp_path):
    """One line says why there are no pictures; all other files are written."""
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    code, output, errors = run("train", "--epochs", 1, "--out", tmp_path / "run", PYTHONPATH=path)
    assert (code, "run: model.safetensors, report.html\n" in output) == (0, True)
    assert "no pictures: they need matplotlib" in errors
    assert {file.name for file in (tmp_path / "run").iterdir()} == FILES


@pytest.mark.skipif(not find_spec("matplotlib"), reason="draws nothing")
@pytest.mark.parametrize(
    "variables",
    [
        {"MPLBACKEND": "nonsense"},
        {"MPLBACKEND": "tkagg"},
        {"MPLCONFIGDIR": "/dev/null/x", "HOME": "/dev/null/x"},
        {"HOME": "", "TMPDIR": "/dev/null/x"},
    ],
    ids=str,
)
def test_matplotlib_set_wrongly(tmp_path, variables):
    """What is set for other programs does not matter for pictures in files, which are all there."""
    code, _, errors = run("train", "--epochs", 1, "--out", tmp_path / "run", **variables)
    assert code == 0
    assert [line.split()[0] for line in errors.splitlines() if line] == ["training", "epoch", "1"]
    assert {file.name for file in (tmp_path / "run").iterdir()} == FILES | PICTURES


@pytest.mark.skipif(not find_spec("matplotlib"), reason="draws nothing")
def test_characters_without_a_glyph(tmp_path):
    """Classes whose names the font lacks cost no line."""
    names = ["\u9b5a", "\U0001f41f", "$"]
    lines = [f"{i % 7},{i % 5},{names[i % 3]}" for i in range(90)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,label", *lines]), encoding="utf-8")
    code, _, errors = run("train", "--data", tmp_path / "table.csv", "--epochs", 1, "--out", tmp_path / "run")
    assert code == 0
    assert [line.split()[0] for line in errors.splitlines() if line] == [
        "table:", "numbers", "training", "epoch", "1"
    ]  # fmt: skip
    assert (tmp_path / "run" / "confusion.png").exists()


def test_unusable_matplotlib(tmp_path):
    """A note in one line."""
    (tmp_path / "matplotlib.py").write_text("raise ValueError('no\\nsuch setting')")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    code, _, errors = run("train", "--epochs", 1, "--out", tmp_path / "run", PYTHONPATH=path)
    assert code == 0
    assert errors.splitlines()[-2:] == ["no pictures: matplotlib cannot be used: no such setting", ""]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "warmup-cosine", "one-cycle", "step"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_huge_learning_rates(tmp_path, schedule, optimizer):
    """The largest numbers diverge like others: one line, and the exit code for it."""
    line = fail(
        4, "train", "--epochs", 2, "--lr", 1e308, "--schedule", schedule, "--optimizer", optimizer,
        "--out", tmp_path / "run", "--quiet",
    )  # fmt: skip
    assert "the loss became " in line
    assert "try a smaller --lr" in line


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    """Return a folder with a part of Fashion-MNIST as IDX files."""
    if not FASHION.is_dir():
        pytest.skip("Fashion-MNIST is not installed")
    folder = tmp_path_factory.mktemp("data") / "clothes"
    folder.mkdir()
    for part, rows in (("train", 3000), ("t10k", 500)):
        for kind, dims, offset in (("images-idx3", 3, 16), ("labels-idx1", 1, 8)):
            name = f"{part}-{kind}-ubyte"
            array = fastsm.data.load_idx(FASHION / f"{name}.gz")[:rows]
            head = bytes([0, 0, 8, dims]) + np.array(array.shape, ">u4").tobytes()
            assert len(head) == offset
            (folder / name).write_bytes(head + array.tobytes())
    return folder


def test_fashion_subset(tmp_path, fashion):
    """A folder of four files: bytes stay bytes, pictures keep their shape, evaluate finds the data."""
    out = tmp_path / "run"
    options = ("--data", "clothes", "--epochs", 4, "--out", out, "--json")
    end = objects(succeed("train", *options, cwd=fashion.parent))[-1]
    assert end["test_accuracy"] > 0.7
    about = json.loads((out / "config.json").read_text())["data"]
    assert (about["dtype"], about["shape"], about["features"]) == ("uint8", [28, 28], 784)
    figures = objects(succeed("evaluate", out, "--json", cwd=tmp_path))[0]
    assert figures["accuracy"] == end["test_accuracy"]
    assert len(figures["confusion"]) == 10
    # An IDX file and integers are bytes, and floating numbers from 0 to 1 are pixels too.
    images = fashion / "t10k-images-idx3-ubyte"
    rows = fastsm.data.load_idx(images)[:20]
    np.save(tmp_path / "integers.npy", rows.astype(np.int64))
    np.save(tmp_path / "floats.npy", rows / 255)
    files = (images, tmp_path / "integers.npy", tmp_path / "floats.npy")
    answers = [objects(succeed("predict", out, f, "--json"))[:20] for f in files]
    for a, b, c in zip(*answers, strict=True):
        assert a["class"] == b["class"] == c["class"]
        assert [b["probability"], c["probability"]] == pytest.approx([a["probability"]] * 2, rel=1e-5)
    for wrong in (rows.astype(np.float64), rows.astype(np.int64) * 2):
        np.save(tmp_path / "wrong.npy", wrong)
        assert "the model takes pixels" in fail(3, "predict", out, tmp_path / "wrong.npy")


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="Fashion-MNIST is not installed")
@pytest.mark.parametrize(("hidden", "least"), [("512,512", 0.892)])
def test_fashion(tmp_path, hidden, least):
    """The settings in the help reach the accuracy it states."""
    text = succeed("train", "--help")
    words = re.search(rf"%  fastsm (train --data fashion-mnist --hidden {hidden} .*\n.*)", text)[1].split()
    process = subprocess.run(
        command(*words, "--json", "--no-plots", "--out", tmp_path / "run"),
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=1200,
    )
    assert objects(process.stdout)[-1]["test_accuracy"] >= least
