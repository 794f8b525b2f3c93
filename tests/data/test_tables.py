"""CSV files and NumPy archives as data sets."""

import gzip
import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from data_files import npy_header, npy_text, npz

from fastsm import data

CSV = """length,width,label
1.5,2,cat
2.5,-3e1,dog
0.5,1,cat
1,1,dog
1,2,cat
3,1,dog
"""


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a file of this content."""

    def load(content, name="table.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return data.load(path, **options)

    return load


def whole(splits):
    """Return rows and class names of both parts, sorted."""
    names = np.array(splits.train.classes)
    return sorted(
        (*map(float, x), str(names[y]))
        for part in (splits.train, splits.test)
        for x, y in zip(part.X, part.y, strict=True)
    )


EXPECTED = sorted(
    [(1.5, 2, "cat"), (2.5, -30, "dog"), (0.5, 1, "cat"), (1, 1, "dog"), (1, 2, "cat"), (3, 1, "dog")]
)


@pytest.mark.parametrize(
    "content",
    [
        CSV,
        CSV.replace("\n", "\r\n"),
        "\ufeff" + CSV,
        CSV.rstrip("\n"),
        CSV.replace("\n", "\n\n"),
        CSV.replace(",", " , "),
        CSV.replace("cat", '"cat"'),
        gzip.compress(CSV.encode(), mtime=0),
    ],
)
def test_csv(load, content):
    """All line endings are read; four of six rows are to train on."""
    splits = load(content)
    assert whole(splits) == EXPECTED
    assert splits.train.classes == ("cat", "dog")
    assert splits.train.X.dtype == np.float64
    assert splits.train.shape is None
    assert (len(splits.train), len(splits.test)) == (4, 2)
    assert splits.name == "table"
    assert splits.source.endswith("table.csv")


def test_csv_compressed_by_name(load):
    """The name of the set has neither ending."""
    splits = load(gzip.compress(CSV.encode()), "table.csv.gz")
    assert splits.name == "table"
    assert whole(splits) == EXPECTED


def test_the_label_column(load):
    """The requested column, else the one called label, else the last."""
    text = "label,a,kind\n" + "0,1,7\n1,2,8\n" * 5
    assert load(text).train.classes == ("0", "1")
    assert load(text, label="kind").train.classes == ("7", "8")
    assert load(text.replace("label", "b")).train.classes == ("7", "8")
    with pytest.raises(data.DataError, match=r"must have a column 'other'.*got label, a, kind"):
        load(text, label="other")


def test_numeric_order_of_labels(load):
    """Labels are sorted as numbers: 2 before 10; 2.0 is 2."""
    text = "a,label\n" + "1,10\n2,2.0\n3,-1\n" * 5
    assert load(text).train.classes == ("-1", "2", "10")


def test_pixel_columns_as_bytes(load):
    """Integers from 0 to 255 in a square number of columns, at least 100, become bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 100))
    header = "label," + ",".join(f"pixel{i}" for i in range(100)) + "\n"

    def rows(array):
        return "".join(f"{i % 2}," + ",".join(map(str, row)) + "\n" for i, row in enumerate(array.tolist()))

    images = load(header + rows(pixels)).train
    assert images.X.dtype == np.uint8
    assert images.shape == (10, 10)
    for other in (pixels - 1, pixels + 0.5, pixels % 2):
        table = load(header + rows(other)).train
        assert table.X.dtype == np.float64
        assert table.shape is None


def test_many_rows(load):
    """More rows than one block, with a number beyond bytes in the last row only."""
    rows = [f"{i % 256},{i % 7},{'ab'[i % 2]}" for i in range(40_000)] + ["-1.5,0,a"]
    splits = load("x,y,label\n" + "\n".join(rows))
    assert len(splits.train) + len(splits.test) == 40_001
    assert min(splits.train.X.min(), splits.test.X.min()) == -1.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "header with at least two columns"),
        ("label\n1\n", "header with at least two columns"),
        ("a;label\n1;2\n", "separated by commas"),
        ("1,2\n3,4\n", "must have a header"),
        ("a,label\n", "must have rows below its header"),
        ("a,label\n1,x\n2\n", "2 cells in every row, got 1 in line 3"),
        ("a,label\n1,x\n2,y,3\n", "2 cells in every row, got 3 in line 3"),
        ("a,label\n1,x\n\n,y\n", "got '' in line 4, column 'a'"),
        ("a,label\n1,x\nnan,y\n", "got 'nan' in line 3, column 'a'"),
        ("a,label\n1,x\n1e999,y\n", "got '1e999' in line 3, column 'a'"),
        ("a,label\n1,x\nred,y\n", "got 'red' in line 3, column 'a'"),
        ("a,label\n1,x\n2, \n", "a label in every row, got none in line 3"),
        ("a,label\n1,0.5\n2,1\n", "must have classes as labels, got numbers such as 0.5"),
        ("a,label\n1,x\n2,x\n", "at least two classes, got only 'x'"),
        ("a,label\n1,x\n2,y\n", "a class with at least two rows"),
        ('a,label\n1,"x\n', "must be a CSV file"),
        ('a,label\n1,"x"y\n', "must be a CSV file"),
        (b"a,label\n1,\xff\n", "must be text in UTF-8"),
        (gzip.compress(CSV.encode(), mtime=0)[:-9], "damaged or cut off"),
        (CSV + "x" * (1 << 17), "cells in every row|CSV"),
        ("a,label\n" + "1" * (1 << 24), "a line that is too long"),
    ],
)
def test_wrong_csv(load, content, message):
    """Wrong files give one sentence."""
    with pytest.raises(data.DataError, match=message) as caught:
        load(content)
    assert "table.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bomb_without_lines_is_bounded(load):
    """Endless lines are refused at bounded cost."""
    bomb = gzip.compress(b"a,label\n" + b"1" * 60_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(data.DataError, match="a line that is too long"):
            load(bomb)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


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
