"""The command on folders of pictures, in new processes."""

import json
import subprocess

import numpy as np
import pytest
from processes import command, environment, fail, objects, run, succeed

from fastsm import data

Image = pytest.importorskip("PIL.Image")


def save(path, pixels):
    """Write a picture, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with pictures of digits, drawings of others, and a run on the pictures."""
    place = tmp_path_factory.mktemp("pictures")
    images, labels = data.load_digits()
    images = (images.reshape(-1, 8, 8) * 255).astype(np.uint8)
    for i in range(500):
        save(place / "digits" / f"{labels[i]}" / f"{i:03d}.png", images[i])
    for i in range(600, 640):
        canvas = np.full((240, 320), 255, np.uint8)
        large = images[i].repeat(16, axis=0).repeat(16, axis=1)
        canvas[i - 595 : i - 595 + 128, 30 : 30 + 128] -= large
        save(place / "drawn" / f"{labels[i]}" / f"{i}.png", canvas)
    succeed("train", "--data", place / "digits", "--epochs", 20, "--no-plots", "--out", place / "run")
    return place


def test_evaluate_own_pictures(place):
    """The pictures of the run are read as in the training."""
    trained = json.loads((place / "run" / "results.json").read_text())
    figures = objects(succeed("evaluate", place / "run", "--json"))[0]
    assert figures["accuracy"] == trained["test_accuracy"] > 0.8
    assert (figures["rows"], figures["notes"]) == (100, [])


def test_evaluate_drawn_pictures(place):
    """Dark ink anywhere on a large canvas is nearly as good, and what was done is said."""
    figures = objects(succeed("evaluate", place / "run", "--data", place / "drawn", "--json"))[0]
    assert figures["rows"] == 40
    assert figures["accuracy"] > 0.7  # 0.1 with their size changed alone
    assert [note.split(":")[0] for note in figures["notes"]] == ["40 of 40 pictures"] * 2
    code, _, errors = run("evaluate", place / "run", "--data", place / "drawn")
    assert (code, errors.splitlines()) == (0, figures["notes"])
    assert "notes" in figures
    assert run("evaluate", place / "run", "--data", place / "drawn", "--quiet")[2] == ""


def test_predict_pictures(place):
    """A folder is all pictures in it; the notes are on the standard error, or in the JSON."""
    code, output, errors = run("predict", place / "run", place / "drawn" / "3")
    assert code == 0
    paths = sorted(map(str, (place / "drawn" / "3").iterdir()))
    assert [line.split("\t")[0] for line in output.splitlines()] == paths
    assert "black and white are exchanged" in errors
    lines = objects(succeed("predict", place / "run", place / "drawn" / "3", "--json", "--quiet"))
    assert all(len(line["notes"]) == 2 for line in lines)
    own = objects(succeed("predict", place / "run", place / "digits" / "3", "--json"))
    assert all("notes" not in line for line in own)
    assert np.mean([line["class"] == "3" for line in own]) > 0.8


def test_picture_as_standard_input(place):
    """A picture has the same answer from the standard input as from its file."""
    path = sorted((place / "drawn" / "3").iterdir())[0]
    expected = objects(succeed("predict", place / "run", path, "--json"))[0]
    result = subprocess.run(
        command("predict", place / "run", "-", "--json"),
        env=environment(),
        input=path.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert objects(result.stdout.decode()) == [{**expected, "input": "-"}]


def test_info_of_pictures(place):
    assert "8 x 8, grey, light ink on dark, scaled to 8 pixels" in succeed("info", place / "run")
    record = objects(succeed("info", place / "run", "--json"))[0]["pictures"]
    assert (record["shape"], record["paper"]) == ([8, 8], "dark")


def test_train_with_parts_and_sizes(place, tmp_path):
    """Validation and test data in folders of their own, of other sizes; resized, and said."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 3), ("test", 2)):
        for name, low in (("day", 128), ("night", 0)):
            for i in range(count):
                size = (20 + i, 30, 3)
                save(tmp_path / "photos" / part / name / f"{i}.png", rng.integers(low, low + 128, size))
    code, output, errors = run(
        "train", "--data", tmp_path / "photos", "--size", 9, "--epochs", 20, "--out", tmp_path / "run"
    )
    assert code == 0
    assert errors.startswith("photos: 22 of 22 pictures: resized to 9 x 9\n")
    assert ") on 4 rows, after 20 epochs" in output
    assert objects(succeed("evaluate", tmp_path / "run", "--part", "val", "--json"))[0]["rows"] == 6
    assert objects(succeed("evaluate", tmp_path / "run", "--part", "train", "--json"))[0]["rows"] == 12
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["shape"] == [9, 9, 3]
    assert len(objects(succeed("predict", tmp_path / "run", place / "drawn" / "3", "--json"))) > 1


def test_bad_picture_writes_nothing(tmp_path):
    """Exit code 3, one sentence with the name of the file, and no folder of a run."""
    for i in range(10):
        save(tmp_path / "set" / "ab"[i % 2] / f"{i}.png", np.full((5, 5), i))
    (tmp_path / "set" / "a" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    errors = fail(3, "train", "--data", tmp_path / "set", "--out", tmp_path / "run")
    assert "bad.jpg' cannot be read as a picture" in errors
    assert not (tmp_path / "run").exists()


def test_pictures_and_other_models(tmp_path):
    """A model of a table takes no pictures."""
    rows = [f"{i},{i % 3},{'xy'[i % 2]}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,label", *rows]))
    succeed("train", "--data", tmp_path / "t.csv", "--epochs", 1, "--out", tmp_path / "run", "--quiet")
    save(tmp_path / "set" / "x" / "p.png", np.zeros((5, 5)))
    save(tmp_path / "set" / "y" / "p.png", np.zeros((5, 5)))
    picture = tmp_path / "set" / "x" / "p.png"
    assert "was not trained on pictures" in fail(3, "predict", tmp_path / "run", picture)
    assert "was not trained on pictures" in fail(3, "evaluate", tmp_path / "run", "--data", tmp_path / "set")
