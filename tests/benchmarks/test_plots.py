"""What is read from a document of benchmarks, and its pictures."""

import math
import xml.etree.ElementTree as ET

import made_up_document
import pytest

from fastsm._bench import plots, reading

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def document():
    return made_up_document.document()


def test_best_is_the_fastest_variant(document):
    cell = made_up_document.cell("softmax", 2, 5, {"fastsm": 1.0, "torch": 3.0})
    assert reading.best(cell)["fastsm"]["variant"] == "in place"
    assert reading.ratio(cell, "torch") == pytest.approx(3)
    assert math.isnan(reading.ratio(cell, "jax"))


def test_candidates_are_in_the_order_of_columns_without_limits(document):
    assert reading.candidates(document["kernels"]) == [
        "fastsm",
        "numpy",
        "numpy out=",
        "scipy",
        "torch",
        "onnxruntime",
        "jax",
    ]


def test_limits(document):
    one_row, tens, _ = document["kernels"][:3]
    assert reading.of_limit(one_row) == pytest.approx(150 / 180)
    assert reading.of_limit(tens) == pytest.approx(0.2 / 0.7)
    assert reading.of_limit(document["training"][0]) == pytest.approx(0.8)
    assert math.isnan(reading.of_limit(document["inference"][0]))


def test_who_wins(document):
    one_row, _, long = document["kernels"][:3]
    assert reading.wins(one_row) == {}
    assert reading.wins(long) == {"onnxruntime": pytest.approx(0.33 / 0.36)}
    assert reading.fastest_peer(long) == "onnxruntime"
    assert reading.fastest_peer(made_up_document.cell("softmax", 1, 1, {"fastsm": 1.0})) is None


def test_comparisons_are_geometric_means():
    cells = [
        made_up_document.cell("softmax", n, 10, {"fastsm": 1.0, "torch": t}) for n, t in ((2, 0.5), (3, 8))
    ]
    cells.append(made_up_document.cell("softmax", 4, 10, {"fastsm": 1.0, "jax": 7.0}))
    torch, jax = reading.comparisons(cells)
    assert (torch.peer, torch.least, torch.most) == ("torch", pytest.approx(0.5), pytest.approx(8))
    assert torch.mean == pytest.approx(2)
    assert jax.ratios == (pytest.approx(7),)


def test_usual_cells_have_the_fewest_threads(document):
    assert [reading.label(cell) for cell in reading.usual(document)] == [
        "1 x 10",
        "60,000 x 10",
        "256 x 1,000",
        "256 x 1,000",
    ]
    for cell in document["kernels"]:
        cell["threads"] += 1
    assert {cell["threads"] for cell in reading.usual(document)} == {2}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (0.3, "0.300"), (2.345, "2.35"), (12.34, "12.3"), (2900.4, "2,900")],
)
def test_numbers_have_three_digits(value, text):
    assert reading.short(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.923, "0.92x"), (1.034, "1.03x"), (2.94, "2.9x"), (16.4, "16x"), (431.0, "431x")]
)
def test_factors(value, text):
    assert reading.factor(value) == text


def test_networks_are_named_by_how_they_are_fed(document):
    assert reading.network_label(document["training"][0]) == "784-128-10 relu, batch 128"
    assert [reading.network_label(cell) for cell in document["inference"]] == [
        "784-128-10 relu, one row",
        "784-128-10 relu, 10,000 rows",
    ]


def test_draw_writes_every_picture(document, tmp_path):
    files = plots.draw(document, tmp_path / "new")
    assert sorted(file.name for file in files) == sorted(file.name for file in (tmp_path / "new").iterdir())
    assert {file.stem for file in files} == {
        "overview",
        "softmax",
        "logsumexp",
        "training",
        "inference",
        "footprint",
    }


def test_pictures_are_well_formed_and_nothing_sticks_out(document):
    for name, content in plots.pictures(document).items():
        root = ET.fromstring(content)
        width, height = float(root.get("width")), float(root.get("height"))
        for rect in root.iter(f"{SVG}rect"):
            assert float(rect.get("x")) >= 0, name
            assert float(rect.get("x")) + float(rect.get("width")) <= width, name
            assert float(rect.get("y")) + float(rect.get("height")) <= height, name
        for text in root.iter(f"{SVG}text"):
            assert 0 < float(text.get("x")) < width, name
            assert 0 < float(text.get("y")) < height, name
        for circle in root.iter(f"{SVG}circle"):
            assert 0 < float(circle.get("cx")) < width, name
        assert root.find(f"{SVG}title").text
        assert "prefers-color-scheme: dark" in content


def test_pictures_are_the_same_each_time(document):
    assert plots.pictures(document) == plots.pictures(made_up_document.document())


def test_bars_show_the_figures_and_who_wins(document):
    texts = _texts(plots.pictures(document)["softmax"])
    assert {"0.360", "0.330", "◄ 0.92x", "235", "1.3x", "sweep: the limit"} <= set(texts)
    assert "Made-Up CPU <2>. Best of many rounds; less is better." in texts
    training = _texts(plots.pictures(document)["training"])
    assert {"0.290", "◄ 0.97x", "products: the limit"} <= set(training)
    assert not any("◄" in text for text in _texts(plots.pictures(document)["inference"]))


def test_overview_shows_the_means(document):
    content = plots.pictures(document)["overview"]
    ratios = [235 / 180, 28 / 0.7, 0.99 / 0.36]
    assert reading.factor(math.prod(ratios) ** (1 / 3)) in _texts(content)
    assert content.count("<circle") == 2 * sum(len(reading.comparisons([c])) for c in reading.usual(document))


def test_bars_much_longer_than_fastsm_are_cut():
    document = made_up_document.document()
    cut = plots.pictures(document)["footprint"].count('class="s-page"')
    assert cut == 2 * 3  # PyTorch's import, size and memory, with two lines each
    document["footprint"]["imports"][-1]["ms"] = 200.0
    assert plots.pictures(document)["footprint"].count('class="s-page"') == 2 * 2


def test_one_picture_for_each_number_of_threads(document):
    more = [cell | {"threads": 2} for cell in document["training"]]
    document["training"] += more
    assert {"training", "training-2-threads"} <= plots.pictures(document).keys()


def test_documents_with_little_in_them():
    document = {"machine": {}}
    assert plots.pictures(document) == {}
    document["kernels"] = [made_up_document.cell("softmax", 4, 10, {"fastsm": 1.0})]
    assert list(plots.pictures(document)) == ["softmax"]
    document["kernels"][0]["timings"] = [made_up_document.timing("numpy", 5.0)]
    assert "5.00" not in plots.pictures(document)["softmax"]  # ns an element: 5 / 40
    assert "0.125" in plots.pictures(document)["softmax"]
    document["kernels"][0]["timings"] = []
    assert plots.pictures(document).keys() <= {"softmax"}


def _texts(content):
    return [element.text for element in ET.fromstring(content).iter(f"{SVG}text")]
