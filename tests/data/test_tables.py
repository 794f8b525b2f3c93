"""Tables as data sets: how files are read, what their columns become, and what is refused."""

import bz2
import gzip
import importlib
import io
import json
import lzma
import tracemalloc
import zipfile

import numpy as np
import pytest

from fastsm import data

pandas = pytest.importorskip("pandas")

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
    """Return the numbers before scaling and the class names of both parts, sorted."""
    table = splits.table
    mean, deviation = (np.array([getattr(c, k) for c in table.columns]) for k in ("mean", "deviation"))
    return sorted(
        (*(x * deviation + mean).round(5).tolist(), table.classes[y])
        for part in (splits.train, splits.test)
        for x, y in zip(part.X, part.y, strict=True)
    )


EXPECTED = sorted(
    [(1.5, 2, "cat"), (2.5, -30, "dog"), (0.5, 1, "cat"), (1, 1, "dog"), (1, 2, "cat"), (3, 1, "dog")]
)


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("some.csv", content)
        archive.writestr("__MACOSX/some.csv", b"junk")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        CSV,
        CSV.replace("\n", "\r\n"),
        "\ufeff" + CSV,
        CSV.encode("utf-16"),
        CSV.rstrip("\n"),
        CSV.replace("\n", "\n\n"),
        CSV.replace(",", " , "),
        CSV.replace("cat", '"cat"'),
        CSV.replace(",", "\t"),
        CSV.replace(",", "|"),
        CSV.replace(",", ";"),
        CSV.replace(",", ";").replace(".", ","),
        *(pack(CSV.encode()) for pack in (gzip.compress, bz2.compress, lzma.compress, zipped)),
    ],
    ids=range(16),  # gzip's output has the time in it
)
def test_layouts(load, content):
    """Separators, decimal commas, line endings and compression are recognised by content."""
    splits = load(content)
    assert whole(splits) == EXPECTED
    assert splits.train.classes == ("cat", "dog")
    assert splits.train.X.dtype == np.float32
    assert splits.train.shape is None
    assert (len(splits.train), len(splits.test)) == (4, 2)
    assert splits.name == "table"
    assert splits.source.endswith("table.csv")


@pytest.mark.parametrize("name", ["table.csv.gz", "table.TXT", "table.data.xz", "table.tsv"])
def test_names_of_files(load, name):
    """The name of the set has no ending."""
    assert load(CSV, name).name == "table"


def test_late_decimal_commas(load):
    """A decimal comma may first come far below the first lines."""
    rows = [f"{i};{i % 2}" for i in range(50)]
    table = load("\n".join(["a;label", *rows, *(f"{i},5;1" for i in range(60))])).table
    assert isinstance(table.columns[0], data.Number)


def test_parquet(tmp_path):
    """Parquet gives the same arrays as CSV."""
    pytest.importorskip("pyarrow")
    frame = pandas.read_csv(io.StringIO(CSV))
    frame.to_parquet(tmp_path / "t.parquet")
    assert whole(data.load(tmp_path / "t.parquet")) == EXPECTED
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[:-30])
    with pytest.raises(data.DataError, match=r"t\.parquet' must be a table of Parquet"):
        data.load(tmp_path / "t.parquet")


@pytest.mark.parametrize("module", ["pandas", "pyarrow"])
def test_without_library(load, monkeypatch, module):
    """The message says what to install."""

    def absent(name):
        if name.split(".")[0] == module:
            raise ImportError(name)
        return found(name)

    found = importlib.import_module
    monkeypatch.setattr("fastsm.data._table_files.importlib.import_module", absent)
    with pytest.raises(data.DataError, match=r"pip install (fastsm.train|pyarrow)"):
        load(CSV, "t.csv" if module == "pandas" else "t.parquet")


# ---- labels ----


def test_label_column(load):
    """The requested column in any capitals, else one with a usual name, else the last."""
    text = "Label,a,kind\n" + "0,1,7\n1,2,8\n" * 5
    assert load(text).table.label == "Label"
    assert load(text, label="KIND").train.classes == ("7", "8")
    assert load(text.replace("Label", "b")).table.label == "kind"
    assert load(text.replace("a,", "species,")).table.label == "Label"
    with pytest.raises(data.DataError, match=r"must have a column 'other', got Label, a, kind"):
        load(text, label="other")
    with pytest.raises(data.DataError, match="must have a column 'LABEL'"):
        load(text.replace("kind", "label"), label="LABEL")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "2.0", "-1"], ("-1", "2", "10")),
        (["True", "false", "TRUE"], ("False", "True")),
        (["None", "b", "10"], ("10", "None", "b")),
        (["02", "1", "b"], ("1", "2", "b")),
    ],
)
def test_names_of_classes(load, labels, classes):
    """Numbers are sorted as numbers; None is a name."""
    rows = "".join(f"{i},{label}\n" for i, label in enumerate(labels * 4))
    assert load("a,label\n" + rows).train.classes == classes


def test_regression(load):
    """Numbers are learned as they are; their scale is that of the training part."""
    rows = "".join(f"{i},{i / 4}\n" for i in range(40))
    splits = load("a,price\n" + rows, regression=True)
    assert splits.train.classes == ()
    assert splits.train.y.dtype == np.float64
    assert sorted([*splits.train.y, *splits.test.y]) == [i / 4 for i in range(40)]
    assert splits.table.scale == pytest.approx((splits.train.y.mean(), splits.train.y.std()))
    with pytest.raises(data.DataError, match="choose another column with --label, or learn numbers"):
        load("a,price\n" + rows)
    with pytest.raises(data.DataError, match="40 different values in 40 rows"):
        load("a,price\n" + "".join(f"{i % 7},{i}\n" for i in range(40)))


# ---- columns ----

FRAME = pandas.DataFrame(
    {
        "id": range(40),
        "age": [np.nan, 20.0, 30.0, 50.0] * 10,
        "size": [3, 1] * 20,
        "vip": [True, False] * 20,
        "city": ["Rome", "Bonn", None, "Paris"] * 10,
        "same": [5] * 40,
        "leaves": ["no", "yes"] * 20,
    }
)


def test_columns_against_numpy(load):
    """Inputs are those of the definitions, with the statistics of the training part."""
    splits = load(FRAME.to_csv(index=False))
    table = splits.table
    assert [c.name for c in table.columns] == ["age", "size", "vip", "city"]
    assert table.left_out == {"id": "a different value in each row", "same": "one value in all rows"}
    age = FRAME["age"].to_numpy()
    train = table.prepare(FRAME)[:, 1] == 0
    assert train.sum() == 30
    column = table.columns[0]
    filled = np.where(np.isnan(age), column.median, age)
    expected = [
        (filled - column.mean) / column.deviation,
        np.isnan(age),
        (FRAME["size"] - table.columns[1].mean) / table.columns[1].deviation,
        ~FRAME["vip"],
        FRAME["vip"],
        *(FRAME["city"] == city for city in ("Bonn", "Paris", "Rome")),
        FRAME["city"].isna(),
    ]
    np.testing.assert_allclose(table.prepare(FRAME), np.stack(expected, axis=1), rtol=1e-6)
    sizes = splits.train.X[:, 2]
    assert abs(sizes.mean()) < 1e-6
    assert sizes.std() == pytest.approx(1)
    ages = splits.train.X[splits.train.X[:, 1] == 0, 0]
    assert (ages.mean(), ages.std()) == pytest.approx((0, 1), abs=1e-6)
    everything = np.concatenate([splits.train.X, splits.test.X])
    assert sorted(map(bytes, everything)) == sorted(map(bytes, table.prepare(FRAME)))


def test_order_and_other_columns():
    """Columns are matched by name; what is missing is named."""
    table = data.Table.fit(FRAME)
    mixed = FRAME[["city", "size", "age", "vip"]].assign(more=1)
    np.testing.assert_array_equal(table.prepare(mixed), table.prepare(FRAME))
    np.testing.assert_array_equal(table.labels(FRAME), [0, 1] * 20)
    with pytest.raises(data.DataError, match="lacks size, vip"):
        table.prepare(FRAME[["city", "age"]])
    with pytest.raises(data.DataError, match="column 'leaves' with the labels"):
        table.labels(mixed)
    with pytest.raises(data.DataError, match="class 'perhaps' in row 2, which the model does not know"):
        table.labels(pandas.DataFrame({"leaves": ["no", "perhaps"]}))
    with pytest.raises(TypeError, match=r"must be a pandas\.DataFrame, got list"):
        table.prepare([1])


def test_values_of_later_rows():
    """New texts are others; a new missing number, text for a number, and a huge number are errors."""
    table = data.Table.fit(FRAME)
    row = FRAME[:2].copy()
    row["city"] = ["Oslo", "Rome"]
    assert table.prepare(row)[:, 5:].tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]
    for value, message in (
        (np.nan, "no number in row 2, column 'size', which had one in every row of the training"),
        ("big", "numbers in column 'size', got 'big' in row 2"),
        (np.inf, "finite numbers, got inf in row 2, column 'size'"),
        (1e100, "far beyond those of the training in row 2, column 'size'"),
    ):
        row["size"] = [1.0, value]
        with pytest.raises(data.DataError, match=message):
            table.prepare(row)


def test_rare_values():
    """Of many texts the most frequent have inputs, and the rest share one."""
    names = [f"n{i}" for i in range(70) for _ in range(3 if i < 64 else 1)]
    frame = pandas.DataFrame({"name": names, "label": [i % 2 for i in range(len(names))]})
    column = data.Table.fit(frame).columns[0]
    assert (len(column.values), column.other) == (64, True)
    rows = data.Table.fit(frame).prepare(frame)
    assert (rows.sum(axis=1) == 1).all()
    assert rows[:, -1].sum() == 6


def test_drop_and_keep(load):
    """Columns are left out, or kept, as asked."""
    table = load(FRAME.to_csv(index=False), drop=["age", "CITY"], keep=["id", "same"]).table
    assert [c.name for c in table.columns] == ["id", "size", "vip", "same"]
    assert table.left_out == {"age": "as asked", "city": "as asked"}
    assert load(FRAME.to_csv(index=False), drop=["leaves", "same", "city"]).table.label == "vip"
    with pytest.raises(data.DataError, match="must have a column 'agee'"):
        load(FRAME.to_csv(index=False), drop=["agee"])


@pytest.mark.parametrize("name", ["Unnamed: 0", "", "id", "user_id", "userId", "Index"])
def test_index_is_left_out(load, name):
    """An index that pandas wrote, and ids, say nothing of the class."""
    rows = "".join(f"{i},{i % 3},{'ab'[i % 2]}\n" for i in range(30))
    assert [c.name for c in load(f"{name},x,label\n{rows}").table.columns] == ["x"]


@pytest.mark.parametrize("day", ["2024-01-{:02}", "{:02}.01.2024", "2024/1/{} 12:30", "12:{:02}"])
def test_dates_are_refused(load, day):
    """A column of dates is named."""
    rows = "".join(f"{day.format(i + 1)},{i % 3},{'ab'[i % 2]}\n" for i in range(20))
    with pytest.raises(data.DataError, match=r"has dates or times such as .* in column 'when'"):
        load(f"when,x,label\n{rows}")
    assert len(load(f"when,x,label\n{rows}", drop=["when"]).table.columns) == 1
    frame = pandas.DataFrame({"when": pandas.to_datetime(["2024-01-02"] * 2), "y": [0, 1]})
    with pytest.raises(data.DataError, match="has dates or times"):
        data.Table.fit(frame)


def test_pixel_columns_are_bytes(load):
    """Whole numbers to 255 in columns that are called pixels become bytes; counts do not."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 256))

    def text(array, name):
        head = "label," + ",".join(name.format(i) for i in range(256)) + "\n"
        return head + "".join(
            f"{i % 2}," + ",".join(map(str, row)) + "\n" for i, row in enumerate(array.tolist())
        )

    splits = load(text(pixels, "pixel{}"))
    small = pandas.DataFrame(pixels.astype(np.uint8), columns=[f"p{i}" for i in range(256)])
    assert data.Table.fit(small.assign(label=[0, 1] * 10)).shape == (16, 16)
    assert splits.train.X.dtype == np.uint8
    assert splits.train.shape == splits.table.shape == (16, 16)
    dark = pandas.DataFrame(np.ones((1, 256), np.int64), columns=[f"pixel{i}" for i in range(256)])
    assert splits.table.prepare(dark).dtype == np.uint8
    for wrong in (0.5, 256, -1):
        with pytest.raises(data.DataError, match=r"whole numbers from 0 to 255, got .* in row 1, column 'p"):
            splits.table.prepare(dark * wrong)
    for array, name in ((pixels, "count{}"), (pixels - 1, "pixel{}"), (pixels % 2, "pixel{}")):
        splits = load(text(array, name))
        assert splits.train.X.dtype == np.float32
        assert splits.train.shape is None


# ---- headers ----


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("5.1,3.5,setosa\n4,3.2,setosa\n" * 10 + "5,3.5,other\n4,3.3,other\n" * 10, None),
        ("red,small,yes\nblue,large,no\nred,large,yes\n" * 10, None),
        ("1,2\n3,4\n1,4\n3,2\n" * 5, None),
        ("0,1,2,3\n" + "4,3,2,1\n5,5,5,0\n" * 5, ("0", "1", "2", "3")),
        ("colour,size,label\n" + "red,small,yes\nblue,large,no\n" * 5, ("colour", "size", "label")),
        ("1st,label\n" + "3,1\n4,0\n" * 5, ("1st", "label")),
    ],
)
def test_header(load, text, names):
    """A first line of data is a row, not names."""
    splits = load(text)
    order = splits.table.order
    assert order == (names or tuple(f"column {i + 1}" for i in range(len(order))))
    assert len(splits.train) + len(splits.test) == text.count("\n") - (names is not None)


def test_doubtful_header_is_refused(load):
    """Years as names may be data."""
    with pytest.raises(data.DataError, match="give all columns names in words"):
        load("country,1990,2000,2010\n" + "".join(f"c{i},{i},{i % 3},{i % 2}\n" for i in range(30)))


# ---- wrong files ----


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a header and rows, got an empty file"),
        ("label\n1\n", "at least two columns"),
        ("a:label\n1:2\n", "separated by commas, semicolons, tabs or bars"),
        ("a,label\n", "must have rows below its header"),
        ("a,label\n1,x\n2\n", "2 cells in every row, got 1 in line 3"),
        ("a,label\n1,x\n2,y,3\n", "2 cells in every row, got 3 in line 3"),
        ("a,b,label\n" + "1,2,x\n" * 9 + "3\n", "3 cells in every row, got 1 in line 11"),
        ("label,a\nx,1\ny\n", "2 cells in every row, got 1 in line 3"),
        ("a,a,label\n1,2,x\n", "two columns with the name 'a'"),
        ("a,label\n1,x\n1e999,y\n", "got inf in row 2, column 'a'"),
        ("a,label\n1,x\nred,y\n", "numbers in column 'a', got 'red' in row 2"),
        ("a,label\n1,x\n2, \n", "a label in every row, got none in row 2, column 'label'"),
        ("a,label\n1,x\n2,nan\n", "a label in every row, got none in row 2, column 'label'"),
        ("a,label\n1,0.5\n2,1\n", "must have classes in column 'label', got numbers such as 0.5"),
        ("a,label\n1,x\n2,x\n", "at least two classes, got only 'x'"),
        ("a,label\n1,x\n2,y\n", "a class with at least two rows"),
        ("a,label\n" + "1,x\n1,y\n" * 5, "columns besides the label that differ"),
        ('a,label\n1,"x\n', "must be a table"),
        (b"a,label\n1,\xff\n", "must be text in UTF-8"),
        (gzip.compress(CSV.encode(), mtime=0)[:-9], "damaged or cut off"),
        (bz2.compress(CSV.encode())[:-9], "damaged or cut off|cannot be read"),
        (lzma.compress(CSV.encode())[:-9], "damaged or cut off"),
        (zipped(CSV)[:-9], "archive"),
        (b"PK\3\4 and so on", "archive"),
        ("a,label\n" + "1" * ((1 << 24) + 9), "a line that is too long"),
        (",".join(map(str, range(70_000))) + "\n", "1 to 65536 columns, got 70000"),
    ],
)
def test_wrong_files(load, content, message):
    """Wrong files give one sentence."""
    with pytest.raises(data.DataError, match=message) as caught:
        load(content)
    assert "table.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [b"a,label\n" + b"1" * 60_000_000, ",".join(["a"] * 9000).encode() + b"\n" + b"1\n" * 9_000_000],
)
def test_bombs_are_bounded(load, text):
    """Endless lines, and rows that are much shorter than the header, are refused at bounded cost."""
    text = text.replace(b"a,", b"", 1) if text[:9] == b"a,a,a,a,a" else text
    head, _, rest = text.partition(b"\n")
    if head.count(b",") > 1:
        head = ",".join(f"c{i}" for i in range(9000)).encode()
    bomb = gzip.compress(head + b"\n" + rest, 1)
    tracemalloc.start()
    try:
        with pytest.raises(data.DataError, match=r"a line that is too long|9000 cells in every row, got 1"):
            load(bomb)
        assert tracemalloc.get_traced_memory()[1] < 150_000_000
    finally:
        tracemalloc.stop()


# ---- chunks, other files ----


def test_chunks_and_mixed_columns(load, monkeypatch):
    """Chunks give the same arrays as one; text that looks like numbers in a chunk is read as text."""
    codes = [f"{i:03}" for i in range(20)] * 20 + ["A1", "B2"] * 200
    text = "code,n,label\n" + "".join(f"{c},{i - 300},{'ab'[i % 2]}\n" for i, c in enumerate(codes))
    whole = load(text)
    monkeypatch.setattr("fastsm.data._table_files._CELLS", 300)
    parts = load(text)
    assert parts.table == whole.table
    assert {"000", "A1"} <= set(whole.table.columns[0].values)
    for one, other in ((whole.train, parts.train), (whole.test, parts.test)):
        np.testing.assert_array_equal(one.X, other.X)
        np.testing.assert_array_equal(one.y, other.y)


def test_val_and_test_files(load, tmp_path):
    """Files of their own use the columns of the training file; no row is split off."""
    FRAME[::-1].iloc[:10, ::-1].to_csv(tmp_path / "val.csv", index=False)
    FRAME[:6].to_csv(tmp_path / "test.csv", index=False)
    splits = load(FRAME.to_csv(index=False), val=tmp_path / "val.csv", test=tmp_path / "test.csv")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (40, 10, 6)
    np.testing.assert_array_equal(splits.val.X, splits.train.X[:29:-1])
    np.testing.assert_array_equal(splits.test.X, splits.train.X[:6])
    again = load(FRAME.to_csv(index=False), table=splits.table)
    assert (len(again.train), again.table) == (32, splits.table)
    with pytest.raises(data.DataError, match="need a file with data"):
        data.load("digits", test=tmp_path / "test.csv")


def test_rows_keep_their_part(load):
    """Most rows stay in their part when the table grows."""
    text = "a,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(400))
    more = text + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(400, 440))
    before, after = ({row[0] for row in whole_test(load(t))} for t in (text, more))
    assert len(before & after) > 0.9 * len(before)


def whole_test(splits):
    column = splits.table.columns[0]
    return [(round(float(x[0] * column.deviation + column.mean)),) for x in splits.test.X]


# ---- records ----


def test_record_is_plain_json():
    """A record survives JSON, and a wrong one is refused."""
    for options in ({}, {"label": "size", "regression": True}):
        table = data.Table.fit(FRAME, **options)
        record = json.loads(json.dumps(table.record()))
        assert type(table).from_record(record) == table
    column = record["columns"][0]
    for change in (
        {"columns": []}, {"columns": [1]}, {"columns": [{**column, "kind": "choice"}]}, {"label": 1},
        {"columns": [{**column, "deviation": 0}]}, {"columns": [{**column, "mean": float("nan")}]},
        {"columns": [column, column]}, {"classes": ["a"]}, {"classes": ["a", "a"]}, {"scale": [1]},
        {"scale": [0, -1]}, {"shape": [2, 2]}, {"shape": [-1, -1]}, {"order": "ab"}, {"left_out": {}},
        {"more": 1}, {"label": column["name"]},
        {"columns": [{"kind": "choice", "name": "c", "values": ["a", "a"], "other": False}]},
        {"columns": [{"kind": "choice", "name": "c", "values": [1], "other": False}]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="its table must"):
            data.Table.from_record({**record, **change})
