"""The page of benchmarks: it shows the stored results, and is found out when it does not."""

import pytest


@pytest.fixture
def page(suite):
    """Return the script, where the documentation is."""
    module = suite("page")
    if not module.PAGE.exists():
        pytest.skip("the documentation is not here")
    return module


@pytest.fixture
def elsewhere(page, monkeypatch, tmp_path):
    """Let it work in an empty folder, with the stored results."""
    pytest.importorskip("matplotlib")
    results = {path.name: path.read_text() for path in page.RESULTS.glob("*.csv")}
    monkeypatch.setattr(page, "ROOT", tmp_path)
    monkeypatch.setattr(page, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(page, "README", tmp_path / "README.md")
    page.README.write_text(f"Before.\n{page.FIRST_LINE}\nold\n{page.LAST_LINE}\nAfter.\n")
    page.RESULTS.mkdir()
    for name, text in results.items():
        (page.RESULTS / name).write_text(text)
    return page


def test_page_shows_the_stored_results(page, capsys):
    assert page.main(["--check"]) == 0, capsys.readouterr().out


def test_check_writes_nothing(elsewhere, capsys):
    assert elsewhere.main(["--check"]) == 1
    assert "benchmarks.md is out of date: run `make page`" in capsys.readouterr().out
    assert not elsewhere.PAGE.exists()


def test_check_finds_every_difference(elsewhere):
    assert elsewhere.main([]) == 0
    assert elsewhere.main(["--check"]) == 0
    text = elsewhere.README.read_text(encoding="utf-8")
    assert text.startswith(f"Before.\n{elsewhere.FIRST_LINE}\n\n![")
    assert text.endswith(f"|\n\n{elsewhere.LAST_LINE}\nAfter.\n")
    picture = next(elsewhere.PAGE.with_suffix("").glob("*-overview.svg"))
    results = next(elsewhere.RESULTS.glob("*.csv"))
    (picture.parent / "gone-overview.svg").touch()
    assert elsewhere.main(["--check"]) == 1
    assert elsewhere.main([]) == 0
    assert not (picture.parent / "gone-overview.svg").exists()
    for path, old, new in (
        (elsewhere.PAGE, "1 x 10, float32 | 0.392", "1 x 10, float32 | 0.391"),
        (elsewhere.README, "| numpy |", "| NumPy |"),
        (picture, "Results ", "Results 0"),
        (results, "ns,391.7,", "ns,381.7,"),
    ):
        before = path.read_text(encoding="utf-8")
        assert old in before
        path.write_text(before.replace(old, new), encoding="utf-8")
        assert elsewhere.main(["--check"]) == 1, path
        assert elsewhere.main([]) == 0
        assert elsewhere.main(["--check"]) == 0


def test_every_lost_cell_is_listed(page, suite):
    """Counted anew, from the records: where a peer's best is less than fastsm's."""
    records, section, factor = suite("records"), suite("sections").section, suite("reading").factor
    for name, (found, about) in records.read_all(page.RESULTS).items():
        ours = {}
        lost = []
        for one in found:
            if one.best is not None and one.unit == "ns":
                place = (one.suite, one.group, one.cell, one.threads)
                if one.candidate == "fastsm":
                    ours[place] = one.best
                elif one.candidate != "limit" and one.best < ours[place]:
                    lost.append((place, one.candidate, one.best / ours[place]))
        text = section(name, found, about)
        assert f"In {len({place for place, *_ in lost})} of {len(ours)} cells" in text
        for (_, _, cell, _), candidate, ratio in lost:
            assert f"{candidate} {factor(ratio)}" in text.partition(f"{cell}: ")[2]


def test_tables_are_well_formed(page):
    columns = 0
    for line in page.PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            columns = columns or line.count("|")
            assert line.count("|") == columns, line
        else:
            columns = 0


def test_every_library_says_how_it_is_called(page, suite):
    text = page.called()
    for module in suite("peers").LIBRARIES.values():
        assert f"- `{module.replace('_', '.')}`: " in text


def test_readme_without_its_lines(elsewhere):
    elsewhere.README.write_text("Nothing here.\n")
    with pytest.raises(SystemExit, match=r"README\.md must have the lines"):
        elsewhere.main([])


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
