"""The command on tables, in new processes."""

import json
import re

import numpy as np
import pytest
from processes import environment, fail, objects, run, succeed

import fastsm

pandas = pytest.importorskip("pandas")


def churn(rows, seed):
    """Return a table of customers, most of whom can be told apart."""
    rng = np.random.default_rng(seed)
    age, income = rng.integers(18, 90, rows).astype(float), rng.normal(3e4, 9e3, rows).round()
    city, vip = rng.choice(["Rome", "Bonn", "Paris"], rows), rng.random(rows) < 0.3
    leaves = (age - 50) / 10 + 2 * (city == "Rome") - vip > 0
    age[rng.random(rows) < 0.1] = np.nan
    names = np.where(leaves, "yes", "no")
    table = {"id": range(rows), "age": age, "income": income, "city": city, "vip": vip, "leaves": names}
    return pandas.DataFrame(table)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with tables and a run on one of them."""
    folder = tmp_path_factory.mktemp("tables")
    churn(600, 0).to_csv(folder / "churn.csv", index=False)
    churn(100, 1).to_csv(folder / "new.csv", index=False)
    code, output, errors = run("train", "--data", "churn.csv", "--no-plots", "--out", "run", cwd=folder)
    assert code == 0
    (folder / "printed.txt").write_text(output + errors)
    return folder


def test_what_is_said_at_the_start(folder):
    """The label, the columns, and what is left out, in lines of 80 columns."""
    text = (folder / "printed.txt").read_text()
    assert "churn: 600 rows; label `leaves` (the last column): no " in text
    assert re.search(
        r"\n  numbers  age \(\d+ % missing\), income +scaled; missing: the median, noted\n", text
    )
    assert "  choices  city (3), vip (2) " in text
    assert "  left out id (a different value in each row) " in text
    assert "--keep id" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["settings"]["batch_size"] == 32
    assert config["settings"]["epochs"] == 45


def test_accuracy(folder):
    """A table with numbers on very different scales is learned."""
    assert json.loads((folder / "run" / "results.json").read_text())["test_accuracy"] > 0.8


def test_info_shows_the_record(folder):
    """`info` describes the columns; as JSON it is the record."""
    text = succeed("info", "run", cwd=folder)
    assert "a table with the label leaves" in text
    assert "left out id" in text
    record = objects(succeed("info", "run", "--json", cwd=folder))[0]["table"]
    assert fastsm.data.Table.from_record(record) == fastsm.load(folder / "run/model.safetensors").table


def test_predict_in_any_order(folder, tmp_path):
    """Columns in another order, and without the label, give the same answers as in Python."""
    frame = pandas.read_csv(folder / "new.csv")
    model = fastsm.load(folder / "run" / "model.safetensors")
    probs = model(model.table.prepare(frame))
    mixed = frame[["vip", "city", "income", "age"]].assign(more=1)
    mixed.to_csv(tmp_path / "mixed.csv", index=False, sep=";", decimal=",")
    frame.drop(columns="leaves").to_csv(tmp_path / "bare.csv", index=False)
    files = [folder / "new.csv", tmp_path / "mixed.csv", tmp_path / "bare.csv"]
    for path in files:
        lines = objects(succeed("predict", folder / "run", path, "--json"))
        assert [line["class"] for line in lines] == [model.table.classes[i] for i in probs.argmax(axis=1)]
        assert [line["probability"] for line in lines] == pytest.approx(probs.max(axis=1).tolist())
    errors = run("predict", folder / "run", files[1])[2]
    assert errors == f"{files[1]}: columns that the model does not know are ignored: more\n"
    frame[:1].assign(city="Oslo").to_csv(tmp_path / "oslo.csv", index=False)
    assert (
        "city has values that were not in the training: Oslo"
        in run("predict", folder / "run", tmp_path / "oslo.csv")[2]
    )
    assert len(succeed("predict", folder / "run", tmp_path / "oslo.csv").splitlines()) == 1


def test_predict_without_header(folder, tmp_path):
    """Without a header all columns of the training must be there."""
    frame = pandas.read_csv(folder / "new.csv")
    frame.to_csv(tmp_path / "bare.csv", index=False, header=False)
    expected = succeed("predict", folder / "run", folder / "new.csv").replace(str(folder / "new.csv"), "F")
    assert (
        succeed("predict", folder / "run", tmp_path / "bare.csv").replace(str(tmp_path / "bare.csv"), "F")
        == expected
    )
    frame.drop(columns="leaves").to_csv(tmp_path / "bare.csv", index=False, header=False)
    assert "no header, and 5 columns where" in fail(3, "predict", folder / "run", tmp_path / "bare.csv")


def test_evaluate_parts(folder):
    """A file that is not the run's is measured as a whole; the parts of the run's own are its parts."""
    own = json.loads((folder / "run" / "results.json").read_text())
    sizes = {}
    for part in ("train", "val", "test", "all"):
        figures = objects(succeed("evaluate", "run", "--part", part, "--json", cwd=folder))[0]
        sizes[part] = figures["rows"]
        assert figures["part"] == part
        if part == "test":
            assert figures["accuracy"] == own["test_accuracy"]
    assert sizes == {"train": 432, "val": 48, "test": 120, "all": 600}
    other = objects(succeed("evaluate", "run", "--data", "new.csv", "--json", cwd=folder))[0]
    model = fastsm.load(folder / "run" / "model.safetensors")
    frame = pandas.read_csv(folder / "new.csv")
    choice = model(model.table.prepare(frame)).argmax(axis=1)
    assert (other["rows"], other["part"]) == (100, "all")
    assert other["accuracy"] == (choice == model.table.labels(frame)).mean()


def test_files_of_each_part(folder):
    """With --val and --test all rows of --data are trained on."""
    words = "train --data churn.csv --val new.csv --test new.csv --no-plots --epochs 2 --json --out parts"
    start, *_, end = objects(succeed(*words.split(), cwd=folder))
    assert start["train_rows"] == 600
    assert start["table"]["label"] == "leaves"
    for part, rows in (("train", 600), ("val", 100), ("test", 100), ("all", 700)):
        figures = objects(succeed("evaluate", "parts", "--part", part, "--json", cwd=folder))[0]
        assert figures["rows"] == rows
    assert end["test_accuracy"] > 0.5
    succeed("train", "--resume", "parts", "--epochs", 3, cwd=folder)


def test_regression(folder):
    """MSE and R2 are those of their definitions; predictions are on the scale of the label."""
    words = "train --data churn.csv --label AGE --task regression --drop id --no-plots --out numbers"
    assert "age" in fail(3, *words.split(), cwd=folder)  # some are missing
    table = churn(600, 0)
    table["price"] = table["income"] * 2 + 1000 * (table["city"] == "Rome")
    table.to_csv(folder / "homes.csv", index=False)
    words = "train --data homes.csv --label Price --task regression --out numbers"
    code, output, errors = run(*words.split(), cwd=folder)
    assert code == 0
    assert "test R2 0.9" in output
    assert "label `price` (as asked): numbers, mean" in errors
    model = fastsm.load(folder / "numbers" / "model.safetensors")
    frame = pandas.read_csv(folder / "homes.csv")
    mean, deviation = model.table.scale
    answers = model(model.table.prepare(frame))[:, 0] * deviation + mean
    figures = objects(succeed("evaluate", "numbers", "--part", "all", "--json", cwd=folder))[0]
    errors = answers - frame["price"].to_numpy()
    assert figures["mse"] == pytest.approx((errors**2).mean(), rel=1e-4)
    assert figures["r2"] == pytest.approx(1 - (errors**2).mean() / frame["price"].var(ddof=0), abs=1e-6)
    lines = objects(succeed("predict", "numbers", "homes.csv", "--json", cwd=folder))
    assert [line["prediction"] for line in lines] == pytest.approx(answers.tolist(), rel=1e-4)
    assert "numbers" in succeed("info", "numbers", cwd=folder)
    stored = json.loads((folder / "numbers" / "results.json").read_text())["test_r2"]
    assert f"test R2          {stored:.4f}" in succeed("info", "numbers", cwd=folder)
    table.assign(hue=1).head(2).to_csv(folder / "hue.csv", index=False)
    for more in ((), ("--csv", folder / "answers.csv")):
        for line in objects(succeed("predict", "numbers", "hue.csv", "--json", "--quiet", *more, cwd=folder)):
            assert "ignored: hue" in line["notes"][0]
    assert "--loss mse or mae" in fail(2, *words.split()[:-1], "x", "--loss", "focal", cwd=folder)
    assert not (folder / "x").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,label\n1,x\n2,\n", "got none in row 2, column 'label'"),
        ("when,label\n2024-01-01,x\n2024-01-02,y\n", "dates or times"),
        ("a,label\n1,x\nred,y\n3,y\n", "got 'red' in row 2"),
    ],
)
def test_bad_tables_leave_nothing(tmp_path, content, message):
    """One sentence, exit code 3, and no folder."""
    (tmp_path / "bad.csv").write_text(content)
    assert message in fail(3, "train", "--data", "bad.csv", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_table_for_another_model(folder, tmp_path):
    """A model without a record takes no table to be measured with."""
    fastsm.save(tmp_path / "own.safetensors", fastsm.nn.MLP([4, 2], head="softmax", rng=0))
    line = fail(3, "evaluate", tmp_path / "own.safetensors", "--data", folder / "new.csv")
    assert "is a table, and the model was not trained on one" in line


def test_without_pandas(tmp_path):
    """The digits work, and a table gives the message what to install."""
    (tmp_path / "pandas.py").write_text("raise ImportError")
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    (tmp_path / "t.csv").write_text("a,label\n1,x\n2,y\n")
    options = ("train", "--epochs", 1, "--no-plots", "--out", tmp_path / "run")
    assert run(*options, PYTHONPATH=path)[0] == 0
    code, _, errors = run("train", "--data", tmp_path / "t.csv", PYTHONPATH=path)
    assert code == 3
    assert "needs pandas: pip install fastsm[train]" in errors
