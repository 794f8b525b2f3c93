"""The report of a run: `report.html`."""

import base64
import html
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from processes import succeed

import fastsm
from fastsm._command import _svg
from fastsm._command._importance import cells, permutation_importance

VOID = {"meta", "img", "path", "rect", "circle", "br"}
CELL = '<img src="http://x.example/a.png">'
COLUMN = "<script>alert(1)</script>"


class Page(HTMLParser):
    """A page: its text, the tags with their attributes, and its headings; tags must be closed in order."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attrs):
        if tag in ("tr", "th", "td") and self.open[-1] in ("th", "td"):
            self.open.pop()
        if tag == "tr" and self.open[-1] == "tr":
            self.open.pop()
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open[-1] in ("tr", "th", "td") and tag != self.open[-1]:
            self.open.pop()
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(" ".join(data.split()))

    @property
    def sections(self):
        return re.findall("<h2>(.*?)</h2>", self.source)

    def images(self):
        return [attributes["src"] for tag, attributes in self.tags if tag == "img"]

    def check_alone(self):
        """It has no script, and needs nothing but itself."""
        assert not {tag for tag, _ in self.tags} & {"script", "link", "iframe", "object", "base", "form"}
        for _, attributes in self.tags:
            assert not [name for name in attributes if name.startswith("on")]
            for name in ("src", "href", "style"):
                assert attributes.get(name, "data:").startswith("data:")
        style = re.search("<style>(.*?)</style>", self.source, re.DOTALL)[1]
        assert "url(" not in style
        assert "@import" not in style
        assert "prefers-color-scheme: dark" in style
        policy = next(a["content"] for t, a in self.tags if "http-equiv" in a)
        assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@pytest.fixture(scope="module")
def frame():
    """Return a table with hostile names, and the same meaning in each row."""
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    x, city = rng.normal(50, 10, 400), rng.choice(["Köln", "東京", CELL], 400)
    noise, label = rng.normal(size=400), np.where(x > 50, "<b>yes</b>", "no & \u202e")
    price = 3 * x + 10 * (city == "Köln")
    table = {COLUMN: x, "city": city, "noise": noise, "price": price, "label": label}
    result = pandas.DataFrame(table)
    result.loc[:40, "noise"] = np.nan
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory, frame):
    """Return a folder with runs on the table."""
    folder = tmp_path_factory.mktemp("report")
    frame.to_csv(folder / "t.csv", index=False)
    words = "train --data t.csv --no-plots --epochs 12 --drop"
    succeed(*words.split(), "price", "--out", "a <run>", cwd=folder)
    options = ("label", "--label", "price", "--task", "regression", "--out", "numbers")
    succeed(*words.split(), *options, cwd=folder)
    return folder


def test_digits(tmp_path):
    """Images: curves, confusion, reliability, mistakes as PNG, classes, data, settings, commands."""
    succeed("train", "--epochs", 2, "--no-plots", "--out", "run", cwd=tmp_path)
    page = Page(tmp_path / "run" / "report.html")
    page.check_alone()
    assert page.sections == [
        "Learning curves", "Confusion", "Reliability", "Most confident mistakes", "Classes", "Data",
        "Settings", "How to go on",
    ]  # fmt: skip
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 4
    assert 1 <= len(page.images()) <= 24
    for words in ("1,295", "142", "360", "64-128-10", "images of 8 x 8", "fastsm predict run new.png"):
        assert words in page.text
    assert len(page.source) < 100_000
    assert [path.name for path in (tmp_path / "run").glob(".*")] == []


def test_table(folder):
    """Names and cells are escaped; what matters comes first; the mistakes are rows."""
    page = Page(folder / "a <run>" / "report.html")
    page.check_alone()
    assert "What each column is worth" in page.sections
    for words in (COLUMN, "<b>yes</b>", "no & \\u202e", "Köln", "東京", CELL[:19]):
        assert words in page.text
        assert html.escape(words) in page.source
    assert "\u202e" not in page.source
    assert "fastsm predict 'a <run>' new.csv" in page.text
    assert re.search(r"\d+\.\d% missing: median", page.text)
    bars = re.findall(r"<title>([^<]*): (\S+) ± (\S+)</title>", page.source)
    assert bars[0][0] == html.escape(COLUMN)
    assert float(bars[0][1]) > 20 > float(bars[-2][1])


def test_regression(folder, frame, monkeypatch):
    """Numbers: residuals instead of a confusion matrix, and the largest errors."""
    page = Page(folder / "numbers" / "report.html")
    page.check_alone()
    assert {"Residuals", "Largest errors", "What each column is worth"} <= set(page.sections)
    assert not {"Confusion", "Reliability", "Classes"} & set(page.sections)
    assert "test R2" in page.text
    assert page.source.count("<circle") > 2 * 80
    code = html.unescape(re.search("<pre>(import fastsm.*?)</pre>", page.source, re.DOTALL)[1])
    names = {"frame": frame}
    monkeypatch.chdir(folder)
    exec(code, names)  # as it is shown
    assert names["answers"] == pytest.approx(frame["price"].to_numpy(), abs=30)


@pytest.mark.parametrize("count", [2, 100])
def test_many_classes(tmp_path, count):
    """The report stays small, and says which classes are confused."""
    rng = np.random.default_rng(0)
    y = np.arange(count * 20) % count
    x = rng.normal(size=(count, 5))[y] + rng.normal(size=(len(y), 5))
    np.savez(tmp_path / "d.npz", X=x, y=y)
    succeed("train", "--data", "d.npz", "--epochs", 3, "--no-plots", "--out", "run", cwd=tmp_path)
    page = Page(tmp_path / "run" / "report.html")
    page.check_alone()
    assert "Most often confused" in page.text
    assert ("with the lowest F1" in page.text) is (count == 100)
    assert len(page.source) < 200_000


def test_infinite_numbers(tmp_path):
    """Losses and answers that are not finite leave gaps."""
    options = ("--optimizer", "sgd", "--lr", 1e30, "--dtype", "float64", "--epochs", 2, "--no-plots")
    succeed("train", *options, "--out", "run", cwd=tmp_path)
    page = Page(tmp_path / "run" / "report.html")
    drawn = [
        value for tag, attributes in page.tags if tag not in ("meta", "html") for value in attributes.values()
    ]
    assert not re.search(r"\b(nan|inf)\b", " ".join(drawn))
    assert 'd="M"' not in _svg.curves("loss", [("train", [1.0, np.nan, np.inf, 2.0])], None)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (200, 300, 1)])
def test_png(shape):
    """Pillow reads the same pixels; large images have every third of them."""
    images = pytest.importorskip("PIL.Image")
    x = np.random.default_rng(0).integers(0, 256, (2, np.prod(shape)), np.uint8)
    uri = _svg.png(_svg.gray_or_colour(x, shape)[1])
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    step = 3 if shape[0] == 200 else 1
    expected = x[1].reshape(shape).squeeze()[::step, ::step]
    np.testing.assert_array_equal(np.asarray(images.open(io.BytesIO(base64.b64decode(data)))), expected)


def test_floats_as_pixels():
    """The range of the numbers becomes 0 to 255; what is no image is none."""
    x = np.array([[0.0, 8.0], [16.0, 4.0]])
    np.testing.assert_array_equal(_svg.gray_or_colour(x, (1, 2)).ravel(), [0, 128, 255, 64])
    assert _svg.gray_or_colour(np.zeros((1, 8), np.uint8), (2, 2, 2)) is None


def test_importance(frame):
    """A column that the score does not read costs nothing; one that it reads costs what shuffling gives."""
    table = fastsm.data.Table.fit(frame.drop(columns="price"), "label")
    x, y = table.prepare(frame), table.labels(frame)
    before = x.copy()
    costs, rows = permutation_importance(
        table, x, y, lambda x, y: float(((x[:, 0] > 0) == (y == y[x[:, 0].argmax()])).mean()), 0, 10
    )
    np.testing.assert_array_equal(x, before)
    assert (rows, len(costs)) == (400, 3)
    assert costs[0].column == COLUMN
    # A shuffled column is right by chance: with even classes for half of the rows.
    assert costs[0].mean == pytest.approx(0.5, abs=0.1)
    assert 0 < costs[0].spread < 0.1
    assert [(cost.mean, cost.spread) for cost in costs[1:]] == [(0, 0)] * 2


def test_cells(frame):
    """Inputs are shown as what they were in the table."""
    table = fastsm.data.Table.fit(frame.drop(columns="price"), "label")
    x = table.prepare(frame)
    for row in (0, 100, 399):
        shown, raw = cells(table, x[row]), frame.iloc[row]
        assert float(shown[COLUMN]) == pytest.approx(raw[COLUMN], rel=1e-5)
        assert shown["city"] == raw["city"]
        assert (shown["noise"] == "") is bool(np.isnan(raw["noise"]))
