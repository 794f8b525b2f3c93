"""NumPy archives as data sets."""

import io
import struct
import zipfile

import numpy as np
import pytest
from data_files import npy_header, npy_text, npz

from fastsm import data


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a file of this content."""

    def load(content, name, **options):
        (tmp_path / name).write_bytes(content)
        return data.load(tmp_path / name, **options)

    return load


IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 4)).astype(np.uint8)
LABELS = np.arange(20) % 4


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_in_keras_layout(load, compressed):
    """Two parts; bytes stay bytes; classes are those of both parts."""
    content = npz(
        compressed,
        x_train=IMAGES,
        y_train=LABELS % 3,
        x_test=IMAGES[:8],
        y_test=LABELS[:8, None].astype("u1"),
    )
    splits = load(content, "mnist.npz")
    assert splits.train.X.dtype == np.uint8
    assert splits.train.X.flags.writeable
    assert splits.train.shape == (3, 4)
    assert splits.train.classes == splits.test.classes == ("0", "1", "2", "3")
    np.testing.assert_array_equal(splits.train.X.reshape(-1, 3, 4), IMAGES)
    np.testing.assert_array_equal(splits.test.y, LABELS[:8])
    assert splits.name == "mnist"


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("f4", "f4"), ("f8", "f8"), (">f4", "f4"), (">f8", "f8"), ("f2", "f4"), ("i2", "f4"), ("?", "f4"),
        ("i8", "f8"), ("u1", "u1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_with_one_part(load, dtype, expected, order):
    """A fifth is split off, in dtypes of models, for either memory order."""
    X = np.array(np.random.default_rng(0).integers(0, 2, (20, 6)), dtype, order=order)
    splits = load(npz(X=X, y=LABELS.astype(">i4")), "some.npz")
    assert splits.train.X.dtype == np.dtype(expected)
    assert splits.train.X.dtype.isnative
    assert (len(splits.train), len(splits.test)) == (16, 4)
    assert sorted(np.concatenate([splits.train.X, splits.test.X]).tolist()) == sorted(
        X.astype(float).tolist()
    )


def test_npz_with_other_labels(load):
    """Labels may be texts, whole floats, and integers that do not start at 0."""
    for labels, classes in (
        (np.array(["b", "a"] * 10), ("a", "b")),
        (np.array([3.0, 7.0] * 10), ("3", "7")),
        (np.array([-5, 2**62] * 10), ("-5", str(2**62))),
        (np.array([True, False] * 10).astype("u8"), ("0", "1")),
    ):
        assert load(npz(X=IMAGES, y=labels), "some.npz").train.classes == classes


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": IMAGES}, "must hold X and y.*got a"),
        ({"X": IMAGES}, "must hold X and y.*got x"),
        ({"X": IMAGES, "y": LABELS[:5]}, "a label for each of its 20 rows"),
        ({"X": IMAGES, "y": np.eye(20)}, "a label for each of its 20 rows"),
        ({"X": IMAGES, "y": LABELS + 0.5}, "integers or strings as labels"),
        ({"X": IMAGES, "y": np.full(20, np.nan)}, "integers or strings as labels"),
        ({"X": IMAGES, "y": np.full(20, 2**63, np.uint64)}, "integers or strings as labels"),
        ({"X": IMAGES, "y": LABELS * 0}, "at least two classes"),
        ({"X": IMAGES[:0], "y": LABELS[:0]}, "must have rows of features"),
        ({"X": LABELS, "y": LABELS}, "must have rows of features"),
        ({"X": IMAGES * 1j, "y": LABELS}, "must have numbers or strings, got complex"),
        ({"X": IMAGES.astype(str), "y": LABELS}, "must have numbers as features"),
        ({"X": np.where(IMAGES > 9, np.nan, 0), "y": LABELS}, "finite numbers.*in row 0"),
        ({"X": IMAGES, "y": np.array(["a"] * 20, object)}, "must have numbers or strings, got object"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, 1:], "y_test": LABELS},
            "the same features for training and test",
        ),
    ],
)
def test_wrong_npz(load, arrays, message):
    """Wrong archives give one sentence that names the file."""
    with pytest.raises(data.DataError, match=message) as caught:
        load(npz(**arrays), "some.npz")
    assert "some.npz" in str(caught.value)


@pytest.mark.parametrize(
    "member",
    [
        npy_header(npy_text((1 << 40, 1 << 20)), b""),
        npy_header(npy_text((2, 5)), bytes(9)),
        npy_header(npy_text((2, 5)), bytes(11)),
        npy_header(npy_text((-2, -5)), bytes(10)),
        npy_header(npy_text((0, 1 << 62, 1 << 62)), b""),
        npy_header(npy_text((2, 5), "<U0"), b""),
        npy_header(npy_text("(" * 300 + ")" * 300), b""),
        b"\x93NUMPY\3\0" + bytes(100),
        b"no array at all",
        b"",
    ],
)
def test_wrong_member_sizes(load, member):
    """Sizes are checked before memory is taken for them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", member)
        archive.writestr("y.npy", npy_header(npy_text((2,)), bytes(2)))
    with pytest.raises(data.DataError, match=r"bad\.npz"):
        load(file.getvalue(), "bad.npz")


def changed(content, layout, offset, value):
    """Return an archive with a changed number in its last 22 bytes, the end record."""
    content = bytearray(content)
    struct.pack_into(layout, content, len(content) - 22 + offset, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "its end is missing"),
        (lambda content: content + b"junk", "its end is missing"),
        (lambda content: content[:-2] + b"\4\0" + b"1234", "its end is missing"),  # a comment
        (lambda content: b"#!/bin/sh\n" + content, "its directory has a wrong size"),
        # A directory of a gigabyte, or of 65,535 members, is not read.
        (lambda content: changed(content, "<L", 12, 1 << 30), "its directory has a wrong size"),
        (lambda content: changed(content, "<L", 16, 1 << 30), "its directory has a wrong size"),
        (lambda content: changed(content, "<H", 10, 65535), "its end is wrong"),
        (lambda content: changed(content, "<L", 8, (1 << 32) - 1), "its directory has a wrong size"),
        (lambda content: changed(content, "<H", 4, 1), "its end is wrong"),
        (
            lambda content: content[:-22] + struct.pack("<4sLQL", b"PK\6\7", 0, 5, 1) + content[-22:],
            "not at its end",
        ),
    ],
)
def test_tricks_with_zip(load, change, message):
    """The end of an archive is checked before zipfile reads its directory."""
    with pytest.raises(data.DataError, match=message):
        load(change(npz(X=IMAGES, y=LABELS)), "bad.npz")


def test_numbers_of_64_bits_in_archives(load):
    """Archives with the end record of 64 bits are checked too."""
    content = npz(X=IMAGES, y=LABELS)
    count, _, length, start = struct.unpack("<HHLL", content[-14:-2])
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
    place = struct.pack("<4sLQL", b"PK\6\7", 0, start + length, 1)
    last = changed(content[-22:], "<L", 16, (1 << 32) - 1)
    assert len(load(content[:-22] + end + place + last, "large.npz").train.X) == 16
    lie = end[:-16] + struct.pack("<QQ", length, start + 1)
    with pytest.raises(data.DataError, match="its directory has a wrong size"):
        load(content[:-22] + lie + place + last, "large.npz")


@pytest.mark.parametrize("val", [True, False])
def test_npz_in_medmnist_layout(load, val):
    """Labels are a column; validation data are a part of their own; colours are the last axis."""
    images = np.random.default_rng(0).integers(0, 256, (20, 5, 5, 3)).astype(np.uint8)
    parts = {"train": slice(0, 12), "val": slice(12, 16), "test": slice(16, 20)}
    arrays = {f"{part}_images": images[rows] for part, rows in parts.items()}
    arrays |= {f"{part}_labels": LABELS[rows, None].astype(np.uint8) for part, rows in parts.items()}
    if not val:
        del arrays["val_images"], arrays["val_labels"]
    splits = load(npz(**arrays), "bloodmnist.npz")
    assert splits.train.shape == (5, 5, 3)
    np.testing.assert_array_equal(splits.train.X, images[:12].reshape(12, -1))
    np.testing.assert_array_equal(splits.test.y, LABELS[16:])
    assert (splits.val is None) != val
    if val:
        np.testing.assert_array_equal(splits.val.y, LABELS[12:16])


@pytest.mark.parametrize("names", [("x_train", "x_val", "x_test"), ("X", ""), ("images", "")])
def test_npz_names(load, names):
    """Keras' names with validation data, and names of one part."""
    arrays = {}
    for name in filter(None, names):
        arrays[name] = IMAGES
        arrays[name.replace("images", "labels").replace("x", "y").replace("X", "y")] = LABELS
    splits = load(npz(**arrays), "a.npz")
    assert (len(splits.train), len(splits.test)) == ((20, 20) if names[1] else (16, 4))
    assert (splits.val is not None) == bool(names[1])


def test_npz_of_several_labels(load):
    """ChestMNIST has 14 labels a row, which are no class."""
    arrays = {f"{part}_images": IMAGES for part in ("train", "test")}
    arrays |= {f"{part}_labels": np.zeros((20, 14), np.uint8) for part in ("train", "test")}
    with pytest.raises(data.DataError, match=r"a label for each of its 20 rows, got shape \(20, 14\)"):
        load(npz(**arrays), "chestmnist.npz")
