"""``fastsm evaluate``, ``predict`` and ``info``, in new processes."""

import gzip
import io
import json
import zipfile

import numpy as np
import pytest
from processes import fail, objects, run, succeed

import fastsm
from fastsm import data, nn
from fastsm.training import metrics


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Return the folder of a run on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    succeed("train", "--epochs", 8, "--no-plots", "--out", folder)
    return folder


def test_evaluate(digits):
    """The figures agree with the definitions on the test data."""
    figures = objects(succeed("evaluate", digits, "--json"))[0]
    test = data.load("digits").test
    probs = fastsm.load(digits / "model.safetensors")(test.X)
    choice = probs.argmax(axis=1)
    assert figures["accuracy"] == (choice == test.y).mean()
    confusion = np.array(figures["confusion"])
    assert confusion[3, 5] == ((test.y == 3) & (choice == 5)).sum()
    assert confusion.sum() == figures["rows"] == len(test.y)
    for i, one in enumerate(figures["per_class"]):
        precision, recall = confusion[i, i] / confusion[:, i].sum(), confusion[i, i] / confusion[i].sum()
        f1 = 2 * precision * recall / (precision + recall)
        assert [one["precision"], one["recall"], one["f1"]] == pytest.approx([precision, recall, f1])
    gaps = metrics.expected_calibration_error()(probs, test.y)
    assert figures["ece"] == pytest.approx(gaps)
    assert sum(one["rows"] for one in figures["calibration"]) == len(test.y)


def test_evaluate_for_people(digits):
    """Without --json the output is tables."""
    output = succeed("evaluate", digits, "--part", "train")
    lines = output.splitlines()
    assert lines[0].startswith("accuracy 9")
    assert lines[0].endswith(") on 1,295 rows")
    assert ["class", "precision", "recall", "F1", "rows"] in [line.split() for line in lines]
    assert "\033" not in output
    assert lines[-1].split()[::2] == ["NLL", "Brier", "ECE"]


def test_other_data(digits, tmp_path):
    """Data that do not fit the model are a data error; missing classes are accepted."""
    X, y = data.load_digits()
    np.savez(tmp_path / "some.npz", X=X[y > 3], y=y[y > 3])
    figures = objects(succeed("evaluate", digits, "--data", tmp_path / "some.npz", "--json"))[0]
    assert figures["accuracy"] > 0.8
    assert figures["per_class"][0]["rows"] == 0
    np.savez(tmp_path / "wide.npz", X=X[:, :60], y=y)
    line = fail(3, "evaluate", digits, "--data", tmp_path / "wide.npz")
    assert line.endswith("have 60 values, and the model takes 64")
    for scaled in (255 * X, np.round(255 * X).astype(np.uint8)):
        np.savez(tmp_path / "bytes.npz", X=scaled, y=y)
        for words in (("evaluate", digits, "--data"), ("predict", digits)):
            message = fail(3, *words, tmp_path / "bytes.npz")
            assert message.endswith("up to 255, and the model takes pixels from 0 to 1: scale them")
    np.savez(tmp_path / "strange.npz", X=X, y=y + 5)
    assert "class '10'" in fail(3, "evaluate", digits, "--data", tmp_path / "strange.npz")


def test_model_without_a_run(tmp_path):
    """A file of fastsm.save has no data, classes 0, 1, ..., and may end in logits."""
    fastsm.save(tmp_path / "own.safetensors", nn.MLP([64, 10], rng=0))
    assert "--data is needed" in fail(2, "evaluate", tmp_path / "own.safetensors")
    figures = objects(succeed("evaluate", tmp_path / "own.safetensors", "--data", "digits", "--json"))[0]
    assert figures["per_class"][7]["class"] == "7"
    assert figures["nll"] > 0
    assert objects(succeed("info", tmp_path / "own.safetensors", "--json"))[0]["parameters"] == 650


def test_damaged_models(digits, tmp_path):
    """Files that are no models, and folders without one, give exit code 3."""
    whole = (digits / "model.safetensors").read_bytes()
    for name, content in (
        ("cut.safetensors", whole[:-100]),
        ("empty.safetensors", b""),
        ("text.safetensors", b"hello"),
    ):
        (tmp_path / name).write_bytes(content)
        assert name in fail(3, "info", tmp_path / name)
    assert "there is no model in" in fail(3, "predict", tmp_path, "rows.npy")


def test_predict(digits, tmp_path):
    """Files of all kinds with the same rows give the same predictions; a picture is one row."""
    X, y = data.load_digits()
    X, y = X[:6], y[:6]
    np.save(tmp_path / "a.npy", X.reshape(6, 8, 8))
    np.savez(tmp_path / "b.npz", X=X, y=y)
    head = ",".join([*(f"p{i}" for i in range(64)), "label"])
    np.savetxt(tmp_path / "c.csv", np.c_[X, y], delimiter=",", header=head, comments="")
    np.savetxt(tmp_path / "d.csv", X, delimiter=",")
    big = X.astype(">f4")
    head = bytes([0, 0, 0x0D, 2]) + np.array(big.shape, ">u4").tobytes()
    (tmp_path / "e-idx2-float").write_bytes(head + big.tobytes())
    names = ["a.npy", "b.npz", "c.csv", "d.csv", "e-idx2-float"]
    lines = objects(succeed("predict", digits, *names, "--json", "--top", 2, cwd=tmp_path))
    assert [(line["input"], line["row"]) for line in lines] == [(n, i) for n in names for i in range(6)]
    probs = fastsm.load(digits / "model.safetensors")(X)
    for line in lines:
        expected = probs[line["row"]]
        assert line["index"] == expected.argmax()
        assert [one["probability"] for one in line["top"]] == pytest.approx(
            sorted(expected.tolist())[:-3:-1], rel=1e-5
        )
    row = succeed("predict", digits, "a.npy", cwd=tmp_path).splitlines()[3].split("\t")
    assert row[:3] == ["a.npy", "3", lines[3]["class"]]


def test_predict_picture(digits, tmp_path):
    """Black ink on white paper, with --invert; any size."""
    image = pytest.importorskip("PIL.Image")
    X, _ = data.load_digits()
    pixels = (255 - 255 * X[0].reshape(8, 8)).round().astype(np.uint8)
    image.fromarray(pixels).resize((64, 64), 0).save(tmp_path / "zero.png")
    answer = objects(succeed("predict", digits, tmp_path / "zero.png", "--invert", "--json"))[0]
    expected = fastsm.load(digits / "model.safetensors")(X[:1])[0]
    assert answer["class"] == "0"
    assert answer["probability"] == pytest.approx(expected[0], abs=0.01)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"\x93NUMPY\x01\x00", "a.npy"),
        ("b.npz", b"PK\3\4", "b.npz"),
        ("c.csv", b"1,2\n3,4\n", "have 2 values, and the model takes 64"),
        ("d.csv", b"a,b\n1,x\n", "numbers in column 'b', got 'x' in row 1"),
        ("e.csv", b"", "got an empty file"),
        ("f.png", b"no picture", "f.png"),
        ("g.idx", b"\0\0\x08\x01", "g.idx"),
        ("h.csv", b"1,2\n3\n", "2 cells in every row, got 1 in line 2"),
        ("i.csv", b"\xff\xfe1", "i.csv"),
        ("j.csv.gz", b"1,2", "j.csv.gz"),
    ],
)
def test_predict_damaged(digits, tmp_path, capsys, name, content, message):
    """Exit code 3 and one line that names the file."""
    from fastsm._command import main

    if name.endswith(".png"):
        pytest.importorskip("PIL.Image")
    (tmp_path / name).write_bytes(content)
    assert main(["predict", str(digits), str(tmp_path / name)]) == 3
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert message in errors
    assert name in errors


@pytest.mark.parametrize("kind", ["npy", "npz", "csv.gz"])
def test_predict_lying(digits, tmp_path, kind):
    """Files that declare, or unpack to, too much are refused before memory is taken."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 64)}
    )
    if kind == "npz":
        with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
            archive.writestr("X.npy", head.getvalue() + bytes(64))
    elif kind == "npy":
        (tmp_path / "lie.npy").write_bytes(head.getvalue() + bytes(64))
    else:
        (tmp_path / "lie.csv.gz").write_bytes(gzip.compress(bytes(1 << 26)))
    assert f"lie.{kind}" in fail(3, "predict", digits, tmp_path / f"lie.{kind}")


def test_predict_no_objects(digits, tmp_path):
    """Pickles are not loaded."""
    np.save(tmp_path / "evil.npy", np.array([print], object), allow_pickle=True)
    assert "evil.npy" in fail(3, "predict", digits, tmp_path / "evil.npy")


def test_info(digits):
    """`info` describes the run, and the installation."""
    values = objects(succeed("info", digits, "--json"))[0]
    results = json.loads((digits / "results.json").read_text())
    assert values["test_accuracy"] == results["test_accuracy"]
    assert (values["features"], values["epochs"], values["parameters"]) == (64, 8, 64 * 128 + 128 + 1290)
    assert "Linear(64, 128)" in succeed("info", digits)
    code, output, errors = run("info")
    assert (code, errors) == (0, "")
    assert output.split()[:2] == ["fastsm", fastsm.__version__]
    assert set(objects(succeed("info", "--json"))[0]["optional"]) >= {"matplotlib", "pooch"}
