"""Write docs/benchmarks.md, its pictures and the table of the README from the results in benchmarks/results.

    python benchmarks/page.py            write them (pictures need matplotlib)
    python benchmarks/page.py --check    write nothing; exit status 1 if they do not show the stored results
    python benchmarks/page.py --slug     print the name of this machine's file of results

Every figure comes from the CSV files that `benchmarks/run.py` writes, one a machine; what the page says about
how a library is called is the string CALLED of the module that calls it.
"""

import argparse
import ast
import hashlib
import re
import sys
from pathlib import Path

import machine
import reading
import records
from records import Record
from sections import PICTURES, brief, section

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
# The README has the picture and the table of the first machine between these lines.
FIRST_LINE, LAST_LINE = "<!-- written by benchmarks/page.py -->", "<!-- until here -->"

HEAD = """\
<!-- Written by benchmarks/page.py from benchmarks/results/*.csv, and not by hand: see `make page`. -->

# Benchmarks

fastsm beside other libraries on the CPU, each called in its best way, and beside what limits it: one pass
over the same memory, or the bare matrix products of a training step. `fastsm bench` compares on your own
machine in a few seconds; `python benchmarks/run.py` measures all that is on this page.

In the tables:

- `1.25 (2.9x)` is a library's time, and how many times fastsm's time that is;
- **0.33 (0.92x)** ◄ marks a time that is shorter than fastsm's. No such cell is left out;
- a library that can be called in several ways is shown by its fastest, and so is fastsm, which may work in
  place;
- *limit* is the limit's time as a share of fastsm's: 100 % would be the limit;
- shapes are rows x classes.
"""
METHOD = """\
## How it is measured

`benchmarks/run.py` starts a process for each suite and each number of threads, in which every library is
limited to that many threads and the process is bound to as many cores. All candidates of a cell run in one
process and take turns: a round times a block of calls of each, beginning with another one each time, so that
a change of clock or load meets all of them. Before a block there is a call that is not timed. Before anything
is timed, each candidate's result must agree with a reference in float64, and in training the weights must
agree after some steps. The figures here are the best of all rounds; the medians are in the files, too. The
empty timing loop (tens of nanoseconds) is part of the figures.
"""


def main(arguments: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    parser.add_argument("--slug", action="store_true", help="print the name of this machine's results")
    options = parser.parse_args(arguments)
    if options.slug:
        print(slug(machine.cpu_model()))
        return 0
    results = records.read_all(RESULTS)
    if not results:
        sys.exit(f"No results in {RESULTS}: run `make bench`")
    changed = []
    for path, text in {PAGE: page(results), README: readme(*next(iter(results.items())))}.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            changed.append(path)
            if not options.check:
                path.write_text(text, encoding="utf-8")
    changed += pictures(results, write=not options.check)
    for path in changed:
        print(f"{path.relative_to(ROOT)}{' is out of date: run `make page`' if options.check else ''}")
    return 1 if options.check and changed else 0


def slug(name: str) -> str:
    """Return a name for files: "AMD EPYC 9B14" becomes "amd-epyc-9b14"."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")


def pictures(results: dict[str, tuple[list[Record], dict[str, str]]], write: bool) -> list[Path]:
    """Draw the pictures whose metadata do not match these results, and return their files.

    The output of matplotlib depends on its version, so files are not compared byte for byte.
    """
    folder = PAGE.with_suffix("")
    strays = set(folder.glob("*.svg"))
    changed = []
    for name, result in results.items():
        shows = f"Results {hashlib.sha256(records.write(*result).encode()).hexdigest()}"
        paths = {kind: folder / f"{name}-{kind}.svg" for kind in PICTURES}
        strays -= set(paths.values())
        stale = {
            kind: path
            for kind, path in paths.items()
            if not path.exists() or shows not in path.read_text(encoding="utf-8")
        }
        if write and stale:
            from pictures import draw

            draw(reading.cells(result[0]), result[1], stale, shows)
        changed += stale.values()
    if write:
        for path in strays:
            path.unlink()
    return [*changed, *sorted(strays)]


def page(results: dict[str, tuple[list[Record], dict[str, str]]]) -> str:
    """Return the page: a section for every machine, then the method."""
    parts = [HEAD, *(section(name, *results[name]) for name in results), METHOD, called()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def readme(name: str, result: tuple[list[Record], dict[str, str]]) -> str:
    """Return the README with the picture and the table of this machine."""
    before, first, rest = README.read_text(encoding="utf-8").partition(FIRST_LINE)
    _, last, after = rest.partition(LAST_LINE)
    if not first or not last:
        sys.exit(f"README.md must have the lines {FIRST_LINE} and {LAST_LINE}")
    return f"{before}{first}\n\n{brief(name, *result)}\n\n{last}{after}"


def called() -> str:
    """Return each module's description of its calls, without importing it."""
    lines = ["## How each library is called", ""]
    for path in sorted((Path(__file__).parent / "peers").glob("[a-z]*.py")):
        words = next(
            ast.literal_eval(statement.value)
            for statement in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "CALLED"
        )
        lines.append(f"- `{path.stem.replace('_', '.')}`: {words}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
