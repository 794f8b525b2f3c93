"""The page of benchmarks: written from results, and found out when it is not what they say."""

import importlib
import json
import re
import sys
from pathlib import Path

import made_up_document
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def page(monkeypatch, tmp_path):
    """Return the script, which works in an empty folder with one file of results."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("page")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "PAGE", tmp_path / "docs" / "benchmarks.md")
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    module.README.write_text(f"Before.\n{module.FIRST_LINE}\nold\n{module.LAST_LINE}\nAfter.\n")
    module.RESULTS.mkdir()
    store(module, made_up_document.document())
    yield module
    for name in ("page", "page_machine", "page_readme", "page_tables"):
        sys.modules.pop(name, None)


def store(page, document, name="made-up"):
    (page.RESULTS / f"{name}.json").write_text(json.dumps(document))


def written(page):
    assert page.main([]) == 0
    return page.PAGE.read_text(encoding="utf-8")


def test_written_then_up_to_date(page, capsys):
    assert page.main(["--check"]) == 1
    assert not page.PAGE.exists()
    assert "docs/benchmarks.md is out of date: run `make page`" in capsys.readouterr().out
    assert page.main([]) == 0
    assert page.main(["--check"]) == 0
    before = page.PAGE.stat().st_mtime_ns
    assert page.main([]) == 0
    assert page.PAGE.stat().st_mtime_ns == before


def test_the_readme_has_the_table_and_keeps_the_rest(page):
    written(page)
    text = page.README.read_text(encoding="utf-8")
    assert text.startswith(f"Before.\n{page.FIRST_LINE}\n")
    assert text.endswith(f"{page.LAST_LINE}\nAfter.\n")
    assert "old" not in text
    assert "](docs/benchmarks/made-up-overview.svg)" in text
    assert "| numpy |" in text
    assert "| **fastsm** | 1x |" in text


def test_estimators_have_a_table_and_their_accuracies(page):
    text = written(page)
    assert "### Estimators" in text
    assert "| fit, 784-100-10 relu, 60,000 rows, 5 epochs, one thread | 900 | 2,100 (2.3x) |" in text
    assert "fastsm 85.12%, sklearn 85.09%" in text
    assert "| predict_proba, 784-100-10 relu, one row, one thread |" in text


def test_a_readme_without_its_lines_is_an_error(page):
    page.README.write_text("Nothing here.\n")
    with pytest.raises(SystemExit, match=r"README\.md must have the lines"):
        page.main([])


@pytest.mark.parametrize("change", ["figure", "page", "picture", "missing", "stray"])
def test_check_finds_every_difference(page, change):
    written(page)
    picture = page.pictures_folder() / "made-up-softmax.svg"
    if change == "figure":
        document = made_up_document.document()
        document["kernels"][0]["timings"][0]["best_ns"] *= 1.1
        store(page, document)
    elif change == "page":
        page.PAGE.write_text(
            page.PAGE.read_text(encoding="utf-8").replace("0.360", "0.350"), encoding="utf-8"
        )
    elif change == "picture":
        picture.write_text(picture.read_text(encoding="utf-8").replace("0.360", "0.350"), encoding="utf-8")
    elif change == "missing":
        picture.unlink()
    else:
        (page.pictures_folder() / "gone-softmax.svg").write_text("")
    assert page.main(["--check"]) == 1
    assert page.main([]) == 0
    assert page.main(["--check"]) == 0
    assert not (page.pictures_folder() / "gone-softmax.svg").exists()


def test_tables_are_well_formed(page):
    columns = 0
    for line in written(page).splitlines():
        if not line.startswith("|"):
            columns = 0
            continue
        assert line.endswith("|")
        columns = columns or line.count("|")
        assert line.count("|") == columns, line


def test_all_pictures_are_linked(page):
    linked = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", written(page))
    there = {str(path.relative_to(page.PAGE.parent)) for path in page.pictures_folder().iterdir()}
    assert set(linked) == {path.replace("\\", "/") for path in there}
    assert len(linked) == len(set(linked))


def test_figures_and_ratios(page):
    text = written(page)
    assert (
        "| 256 x 1,000 | 0.360 | 0.432 | 22% | 4.10 (11x) | 3.20 (8.9x) | 9.10 (25x) | 0.990 (2.8x)"
        " | **0.330 (0.92x)** ◄ | 1.58 (4.4x) |" in text
    )
    assert "| 784-128-10 relu, batch 128, one thread | 0.300 | 80% | 0.400 (1.3x) | 0.590 (2.0x) |" in text
    assert "| 784-128-10 relu, one row, one thread | 4.00 | 20.0 (5.0x) |" in text
    assert "| fastsm | 95.0 | 12.0 |" in text
    assert "| torch | 830.0 | torch 700.0, sympy 130.0 |" in text
    assert "| `softmax(x)` | 300 |" in text  # the empty loop's 10 taken off


def test_cells_with_other_settings_have_tables_of_their_own(page):
    titles = re.findall(r"^\*\*(.+)\*\*$", written(page), re.MULTILINE)
    assert titles == [
        "float32, one thread",
        "float64, one thread",
        "float32, axis 0, one thread",
        "float32, masked rows, one thread",
        "float32, 2 threads",
        "float32, one thread",
    ]


def test_every_cell_where_a_peer_wins_is_listed(page):
    text = written(page)
    assert "In 2 of 14 cells" in text
    assert "| softmax, 256 x 1,000, float32, one thread | onnxruntime 0.92x |" in text
    assert "| training: 784-128-10 relu, batch 128, one thread | jax 0.97x |" in text
    document = made_up_document.document()
    for cell in (*document["kernels"], *document["training"]):
        for timing in cell["timings"]:
            timing["best_ns"] *= 0.1 if timing["candidate"] == "fastsm" else 1
    store(page, document)
    assert "In 0 of 14 cells" in written(page)
    # But for the line that explains the mark.
    assert page.PAGE.read_text(encoding="utf-8").count("**") - text.count("**") == -4


def test_the_geometric_means_are_marked_where_a_peer_wins_somewhere(page):
    assert "| `softmax` | 18x (11 to 31) |" in written(page)
    assert "| 2.6x (0.92 to 5.3) ◄ |" in written(page)


def test_what_went_wrong_is_said(page):
    text = written(page)
    assert "## Made-Up CPU &lt;2>" in text
    assert "- missing: thinc: No module named 'thinc'" in text
    assert "- FAILED: kernels, 4 threads: Killed" in text
    assert "- torch (default): differs by 3 times the tolerance (logsumexp, 256 x 1,000" in text
    assert "quick run" not in text
    store(page, made_up_document.document() | {"quick": True})
    assert "**A quick run" in written(page)


def test_machines_stand_one_after_the_other(page):
    other = made_up_document.document()
    other["machine"]["cpu"] = "Another CPU"
    store(page, other, "another")
    text = written(page)
    assert 0 < text.index("## Another CPU") < text.index("## Made-Up CPU")
    assert (page.pictures_folder() / "another-overview.svg").exists()


def test_part_of_a_document_is_enough(page):
    document = made_up_document.document()
    for part in ("training", "inference", "footprint"):
        del document[part]
    store(page, document)
    text = written(page)
    assert "### softmax" in text
    for title in ("### Training\n", "### Inference\n", "### Footprint\n"):
        assert title not in text


def test_other_schemas_and_no_results(page):
    store(page, made_up_document.document() | {"schema": 0})
    with pytest.raises(SystemExit, match="schema 0, not 1"):
        page.main([])
    (page.RESULTS / "made-up.json").unlink()
    with pytest.raises(SystemExit, match="No results"):
        page.main(["--check"])


def test_every_library_says_how_it_is_called(page):
    text = written(page)
    for package in ("fastsm._bench.kernels.peers", "fastsm._bench.training.trainers"):
        folder = Path(importlib.import_module(package).__file__).parent
        files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
        modules = {name.replace("_", ".") for name in files}
        called = page.called_in(package)
        assert called.keys() == modules
        assert next(iter(called)) == "fastsm"
        assert list(called)[-1] in ("sweep", "products")
        for library, words in called.items():
            assert f"- `{library}`: {words}" in text


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("AMD EPYC 9B14 96-Core Processor", "amd-epyc-9b14-96-core-processor"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "intel-xeon-cpu-2-20ghz"),
        ("Apple M4", "apple-m4"),
    ],
)
def test_slug(page, name, slug):
    assert page.slug(name) == slug


def test_slug_of_this_machine(page, capsys):
    assert page.main(["--slug"]) == 0
    assert re.fullmatch(r"[a-z0-9-]+\n", capsys.readouterr().out)
