"""Folders of pictures, and the form that pictures get; the pictures are made here by Pillow."""

import numpy as np
import pytest

import fastsm
from fastsm import data, nn
from fastsm.data import Dataset, Pictures

Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
MNIST = Pictures((28, 28), None, "dark", 20, (14.0, 14.0), True)


def save(path, pixels, **options):
    """Write a picture, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


def stroke(height=60, width=20):
    """Return the ink of a figure like a seven: 1 is ink."""
    ink = np.zeros((height, width))
    ink[: height // 6] = 1
    ink[:, -width // 4 :] = 1
    return ink


def drawing(top=50, left=200, size=(200, 300), paper=255, ink=0):
    """Return a picture with a figure somewhere."""
    result = np.full(size, paper, np.float64)
    figure = stroke()
    result[top : top + figure.shape[0], left : left + figure.shape[1]] += (ink - paper) * figure
    return result


def as_mnist():
    """Return images made as those of MNIST: 20 pixels high, the centre of mass at (14, 14)."""
    rows = np.zeros((40, 28, 28), np.uint8)
    for row in rows:
        ink = stroke(20, int(RNG.integers(6, 14))) * 255
        y, x = (float((ink.sum(axis=1 - k) * np.arange(ink.shape[k])).sum() / ink.sum()) for k in (0, 1))
        top, left = round(14 - y), round(14 - x)
        row[top : top + 20, left : left + ink.shape[1]] = ink
    return Dataset(rows.reshape(40, -1), np.arange(40) % 2, ("a", "b"), (28, 28))


# ---- the form ----


def test_form_of_mnist_like():
    form = Pictures.fit(as_mnist())
    assert (form.shape, form.paper, form.box, form.by_mass) == ((28, 28), "dark", 20, True)
    assert np.abs(np.subtract(form.middle, 14)).max() < 0.3


def test_form_of_digits():
    form = Pictures.fit(data.load("digits").train)
    assert (form.shape, form.white, form.paper, form.box, form.by_mass) == ((8, 8), 1.0, "dark", 8, False)


@pytest.mark.parametrize(
    ("X", "shape", "expected"),
    [
        (RNG.integers(0, 256, (9, 16), np.uint8), (4, 4), Pictures((4, 4))),
        (RNG.integers(0, 256, (9, 48), np.uint8), (4, 4, 3), Pictures((4, 4, 3))),
        (RNG.random((9, 16)) * 16, (4, 4, 1), Pictures((4, 4), 16.0)),
        (RNG.standard_normal((9, 16)), (4, 4), None),
        (RNG.random((9, 16)), None, None),
        (RNG.random((9, 27)), (3, 3, 3), Pictures((3, 3, 3), 1.0)),
        (RNG.random((9, 64)), (4, 4, 4), None),
    ],
)
def test_form_of_others(X, shape, expected):
    """Noise has no background; numbers below 0, and what is no picture, have no form."""
    form = Pictures.fit(Dataset(X, np.zeros(9, np.int64), ("a",), shape))
    if form is not None and form.white not in (None, 1.0):
        assert form.white == X.max()
        expected = Pictures(expected.shape, X.max())
    assert form == expected


def test_pictures_in_form_unchanged(tmp_path):
    """What was written from the training data is read as it was."""
    train = as_mnist()
    form, notes = Pictures.fit(train), []
    for row in train.X[:10]:
        save(tmp_path / "p.png", row.reshape(28, 28))
        np.testing.assert_array_equal(form.read(tmp_path / "p.png", notes=notes), row)
    assert notes == []


@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (0, 255), (180, 40)])
def test_drawing_cropped_and_centred(tmp_path, paper, ink):
    """The box is 20 pixels high, the centre of mass at (14, 14), dark or light ink anywhere."""
    notes = []
    save(tmp_path / "p.png", drawing(paper=paper, ink=ink))
    image = MNIST.read(tmp_path / "p.png", notes=notes).reshape(28, 28).astype(float)
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert np.ptp(rows) + 1 == 20
    assert abs(np.ptp(columns) + 1 - 20 / 3) <= 1
    centre = [(image.sum(axis=1 - k) * np.arange(28)).sum() / image.sum() for k in (0, 1)]
    assert np.abs(np.subtract(centre, 14)).max() <= 0.5
    assert image.max() == 255
    assert len(notes) == (1 if ink > paper else 2)
    assert "cropped, scaled to 20 pixels and centred by its centre of mass" in notes[-1]
    assert ("dark ink" in notes[0]) == (ink < paper)


def test_dark_ink_for_a_model_of_it(tmp_path):
    """A model of dark ink on light gets it."""
    form = Pictures((28, 28), None, "light", 20, (14.0, 14.0), True)
    save(tmp_path / "p.png", drawing(paper=0, ink=255))
    save(tmp_path / "q.png", drawing())
    image = form.read(tmp_path / "p.png")
    assert image[0] == 255
    assert image.min() == 0
    np.testing.assert_array_equal(image, form.read(tmp_path / "q.png"))


def test_invert_is_obeyed(tmp_path):
    """With `invert` nothing is guessed."""
    save(tmp_path / "p.png", drawing())
    save(tmp_path / "q.png", 255 - drawing())
    notes = []
    expected = MNIST.read(tmp_path / "q.png")
    np.testing.assert_array_equal(MNIST.read(tmp_path / "p.png", invert=True, notes=notes), expected)
    assert len(notes) == 1
    plain = MNIST.plain()
    np.testing.assert_array_equal(plain.read(tmp_path / "p.png", invert=True), plain.read(tmp_path / "q.png"))


def test_no_plain_background(tmp_path):
    """Nothing is guessed for an empty picture or a photograph, and that is said."""
    for pixels in (np.full((40, 40), 200), RNG.integers(0, 256, (40, 40))):
        notes = []
        save(tmp_path / "p.png", pixels)
        image = MNIST.read(tmp_path / "p.png", notes=notes)
        np.testing.assert_array_equal(image, MNIST.plain().read(tmp_path / "p.png"))
        assert notes == ["there is no ink on a plain background: only the size is changed"]


def test_drawing_near_the_edges(tmp_path):
    """Ink that fills its picture, or is a single point, stays inside."""
    for pixels in (stroke(300, 3) * 255, stroke(3, 300) * 255, np.eye(1, 50, 20) * 255, np.eye(50) * 255):
        save(tmp_path / "p.png", np.pad(pixels, 3))
        image = MNIST.read(tmp_path / "p.png").reshape(28, 28)
        assert image.max() == 255
        assert np.ptp(np.argwhere(image), axis=0).max() + 1 == 20


def test_record():
    """It comes back from plain values, and with a model from its file."""
    for form in (MNIST, Pictures((4, 5, 3)), Pictures.fit(data.load("digits").train)):
        assert Pictures.from_record(form.record()) == form


def test_saved_with_a_model(tmp_path):
    model = nn.MLP([784, 10], rng=0)
    model.pictures = MNIST
    fastsm.save(tmp_path / "m", model)
    assert fastsm.load(tmp_path / "m").pictures == MNIST
    model.pictures = Pictures((8, 8))
    fastsm.save(tmp_path / "m", model)
    with pytest.raises(ValueError, match="its pictures must match its layers"):
        fastsm.load(tmp_path / "m")


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [28]}, {"shape": [28, 28, 4]}, {"shape": "28"}, {"shape": [-1, 28]}, {"shape": [True, 28]},
        {"shape": [28.0, 28]}, {"white": 0.0}, {"white": float("nan")}, {"white": "1"}, {"white": ""},
        {"white": []}, {"box": ""}, {"box": []}, {"box": False}, {"middle": [None, 1.0]}, {"paper": "blue"},
        {"paper": None}, {"paper": []}, {"box": 0}, {"box": 29}, {"box": 1.5}, {"middle": [1.0]},
        {"middle": [1, 1]}, {"middle": [float("inf"), 0.0]}, {"by_mass": 1}, {"more": 1},
        {"middle": [30.0, 0.0]}, {"shape": [28, 28, 3]},
    ],
    ids=str,
)  # fmt: skip
def test_records_not_trusted(change):
    with pytest.raises(ValueError, match="its pictures must have"):
        Pictures.from_record(MNIST.record() | change)
    with pytest.raises(ValueError, match="its pictures must have"):
        Pictures.from_record({})


# ---- what files hold ----


def test_transparency_lies_on_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[1, 2] = 0, 0, 0, 255
    pixels[2, 2] = 255, 0, 0, 127
    save(tmp_path / "p.png", pixels)
    notes = []
    image = Pictures((4, 4, 3)).read(tmp_path / "p.png", notes=notes).reshape(4, 4, 3)
    expected = np.full((4, 4, 3), 255)
    expected[1, 2], expected[2, 2] = 0, (255, 128, 128)
    np.testing.assert_array_equal(image, expected)
    assert notes == ["what is transparent becomes white"]
    Image.fromarray(pixels).convert("P").save(tmp_path / "p.gif", transparency=0)
    assert Pictures((4, 4)).read(tmp_path / "p.gif")[0] == 255


def test_exif_orientation(tmp_path):
    pixels = RNG.integers(0, 256, (3, 5), np.uint8)
    notes = []
    for orientation, expected in ((3, pixels[::-1, ::-1]), (6, np.rot90(pixels, -1)), (8, np.rot90(pixels))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(tmp_path / "p.png", pixels, exif=exif)
        image = Pictures(expected.shape).read(tmp_path / "p.png", notes=notes)
        np.testing.assert_array_equal(image.reshape(expected.shape), expected)
    assert set(notes) == {"turned as its EXIF orientation says"}


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bits_are_scaled(tmp_path, ending):
    wide = np.array([[0, 128, 257], [32896, 65535, 65278]], np.uint16)
    Image.fromarray(wide).save(tmp_path / f"p.{ending}")
    notes = []
    image = Pictures((2, 3)).read(tmp_path / f"p.{ending}", notes=notes)
    np.testing.assert_array_equal(image, np.round(wide / 257).reshape(-1))
    assert notes == ["16 bits a pixel are scaled to 8"]


def test_floats_are_refused(tmp_path):
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "p.tif")
    with pytest.raises(data.DataError, match=r"p\.tif' cannot be read as a picture: its pixels must have 8"):
        MNIST.read(tmp_path / "p.tif")


def test_white_of_numbers(tmp_path):
    """A model of numbers from 0 to 16 gets them."""
    save(tmp_path / "p.png", [[0, 51], [204, 255]])
    row = Pictures((2, 2), 16.0).read(tmp_path / "p.png")
    assert row.dtype == np.float32
    np.testing.assert_allclose(row, [0, 3.2, 12.8, 16])


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_damaged_pictures(tmp_path, content):
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(data.DataError, match=r"p\.png' cannot be read as a picture: [^\n]*$"):
        MNIST.read(tmp_path / "p.png")


def test_cut_off_picture(tmp_path):
    save(tmp_path / "p.png", RNG.integers(0, 256, (90, 90)))
    whole = (tmp_path / "p.png").read_bytes()
    (tmp_path / "p.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(data.DataError, match=r"cannot be read as a picture: .*truncated"):
        MNIST.read(tmp_path / "p.png")


# ---- folders ----


@pytest.fixture
def folder(tmp_path):
    """Return a folder with ten pictures of each class, two of other sizes."""
    for i in range(10):
        for name in ("2", "10"):
            save(tmp_path / "set" / name / f"{i}.png", np.full((6, 6), 10 * i + int(name)))
    return tmp_path / "set"


def test_folder_of_classes(folder):
    """Classes that are numbers are in their order; a fifth of each class is for testing."""
    (folder / ".hidden").mkdir()
    (folder / "notes.txt").write_text("not a class")
    (folder / "2" / "Thumbs.db").write_bytes(b"not a picture")
    splits = data.load(folder)
    assert splits.name == "set"
    assert splits.train.classes == ("2", "10")
    assert (splits.train.X.shape, splits.test.X.shape, splits.train.shape) == ((16, 36), (4, 36), (6, 6))
    assert splits.notes == ()
    for part in (splits.train, splits.test):
        value = np.array([2, 10])[part.y]
        assert (value[:, None] % 10 == part.X % 10).all()
    assert np.bincount(splits.test.y).tolist() == [2, 2]


def test_folder_of_other_sizes(folder):
    """They become 28 x 28, or what is asked for, and it is said."""
    save(folder / "2" / "large.png", np.full((90, 70), 5))
    splits = data.load(folder)
    assert splits.train.shape == (28, 28)
    assert splits.notes == ("21 of 21 pictures: resized to 28 x 28",)
    splits = data.load(folder, size=6)
    assert splits.train.shape == (6, 6)
    assert splits.notes == ("1 of 21 pictures: resized to 6 x 6",)


def test_folder_in_colours(folder):
    """One picture in colours makes all of them so; grey ones in files with colours do not."""
    Image.fromarray(np.full((6, 6, 3), 9, np.uint8)).save(folder / "2" / "grey.png")
    assert data.load(folder).train.shape == (6, 6)
    red = np.zeros((6, 6, 3), np.uint8)
    red[..., 0] = 200
    save(folder / "10" / "red.png", red)
    splits = data.load(folder)
    assert splits.train.shape == (6, 6, 3)
    rows = np.concatenate([splits.train.X, splits.test.X])
    assert (rows == red.reshape(-1)).all(axis=1).sum() == 1


def test_folder_with_parts(tmp_path):
    """Folders train, valid and test are the parts."""
    for part, count in (("Train", 5), ("valid", 3), ("test", 2)):
        for name in ("cat", "dog"):
            for i in range(count):
                save(tmp_path / part / name / f"{i}.jpg", np.full((4, 4), 10 * i))
    splits = data.load(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (10, 6, 4)
    assert splits.val.classes == splits.train.classes == ("cat", "dog")
    other = data.load(tmp_path / "Train", val=tmp_path / "valid", test=tmp_path / "test")
    np.testing.assert_array_equal(other.val.X, splits.val.X)
    np.testing.assert_array_equal(other.test.X, splits.test.X)
    assert len(other.train) == 10


def test_folders_that_cannot_be_used(folder):
    """One sentence says which file or folder, and what is missing."""

    def message(path=folder, **options):
        with pytest.raises(data.DataError) as caught:
            data.load(path, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    (folder / "2" / "bad.png").write_bytes(b"nothing")
    assert "bad.png' cannot be read as a picture" in message()
    (folder / "2" / "bad.png").unlink()
    (folder / "empty").mkdir()
    assert "empty' must have pictures of the class 'empty'" in message()
    (folder / "empty").rmdir()
    assert "`size` needs a folder of pictures" in message("digits", size=3)
    for option in ({"label": "x"}, {"regression": True}, {"drop": ["x"]}, {"keep": ["x"]}):
        assert f"`{next(iter(option))}` needs a table" in message("digits", **option)
    assert "too many for" in message(size=1 << 15)
    assert "must have a folder of pictures for each of two classes" in message(folder / "2")
    assert "`regression` needs a table" in message(regression=True)


def test_folder_for_another_model(folder):
    """Pictures of another kind get the form of the training."""
    save(folder / "2" / "large.png", drawing())
    splits = data.load(folder, pictures=MNIST)
    assert splits.train.shape == (28, 28)
    assert any("1 of 21 pictures: the ink is cropped" in note for note in splits.notes)


def test_folder_in_shards(folder):
    """Each process has its part."""
    parts = [data.load(folder, part=(i, 3)).train for i in range(3)]
    whole = data.load(folder).train
    np.testing.assert_array_equal(np.concatenate([part.X for part in parts]), whole.X)


def test_without_pillow(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(data.DataError, match=r"needs Pillow to be read: pip install fastsm\[images\]"):
        data.load(folder)
