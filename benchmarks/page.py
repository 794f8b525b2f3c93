"""Write docs/benchmarks.md, its pictures and the table of the README from the results in benchmarks/results.

    python benchmarks/page.py            write them
    python benchmarks/page.py --check    write nothing; exit status 1 if they are not what would be written
    python benchmarks/page.py --slug     print the name of this machine's file of results

Every figure on the page comes from the JSON files that `fastsm bench --json` writes, one a machine; what the
page says about how a library is called is the string CALLED of the module that calls it.
"""

import argparse
import ast
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

from fastsm._bench import LIMITS, SCHEMA, machine, plots, reading
from page_machine import section
from page_readme import brief

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
# Between these lines of the README are the picture and the table of the first of the machines.
FIRST_LINE, LAST_LINE = "<!-- written by benchmarks/page.py -->", "<!-- until here -->"

Document = dict[str, Any]

HEAD = """\
<!-- Written by benchmarks/page.py from benchmarks/results/*.json, and not by hand: see `make page`. -->

# Benchmarks

fastsm beside other libraries on the CPU, each called in its best way, and beside what limits it: one pass
over the same memory, or the bare matrix products of a training step. `fastsm bench --quick` shows the same of
your own machine in under a minute, beside the libraries that are installed there.

In the tables:

- `1.25 (2.9x)` is a library's time, and how many times fastsm's time that is;
- **0.33 (0.92x)** ◄ marks a time that is shorter than fastsm's. No such cell is left out;
- a library that can be called in several ways is shown by its fastest. So is fastsm, which may work in place;
  the column `fastsm out=` is fastsm where the input is kept;
- *of the sweep*, *of the products*: the limit's time as a share of fastsm's; 100 % would be the limit;
- shapes are rows x classes.
"""
METHOD = """\
## How it is measured

`fastsm bench` starts a process for each part and each number of threads, in which every library is limited to
that many threads and the process is bound to as many cores. All candidates of a cell run in one process and
take turns: a round times a block of calls of each, beginning with another one each time, so that a change of
clock or load meets all of them. Before a block there is a call that is not timed. Before anything is timed,
each candidate's result must agree with a reference in float64, and in training the weights must agree after
some steps. The figures here are the best of all rounds; the medians are in the files, too. The empty timing
loop (tens of nanoseconds) is part of the figures.

The sweep is `np.multiply(x, 1, out=x)` on the same array, or the maximum of the array where the operation
writes none. It is a limit for large arrays only: in small ones calls are what takes time.
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
    wanted = files(read(RESULTS))
    known = [PAGE, README, *pictures_folder().glob("*.svg")]
    there = {path: path.read_bytes() for path in known if path.exists()}
    changed = sorted(path for path in {*wanted, *there} if wanted.get(path) != there.get(path))
    for path in changed:
        print(f"{path.relative_to(ROOT)}{' is out of date: run `make page`' if options.check else ''}")
        if not options.check:
            write(path, wanted.get(path))
    return 1 if options.check and changed else 0


def pictures_folder() -> Path:
    """Return where the pictures lie: beside the page, in a folder of its name."""
    return PAGE.with_suffix("")


def slug(name: str) -> str:
    """Return a name for files: "AMD EPYC 9B14" becomes "amd-epyc-9b14"."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")


def read(folder: Path) -> dict[str, Document]:
    """Return the results by the names of their files."""
    documents = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    for name, document in documents.items():
        if document["schema"] != SCHEMA:
            sys.exit(f"{name}.json has schema {document['schema']}, not {SCHEMA}: measure again")
    if not documents:
        sys.exit(f"No results in {folder}: run `make bench`")
    return documents


def files(documents: dict[str, Document]) -> dict[Path, bytes]:
    """Return what is to be written: the page and all pictures."""
    found: dict[Path, bytes] = {}
    sections = []
    for number, (name, document) in enumerate(documents.items()):
        pictures = plots.pictures(document)
        found |= {pictures_folder() / f"{name}-{p}.svg": svg.encode() for p, svg in pictures.items()}
        images = {p: f"{pictures_folder().name}/{name}-{p}.svg" for p in pictures}
        sections.append(section(name, document, images))
        if number == 0:
            found[README] = readme(
                document, {p: f"{PAGE.parent.name}/{i}" for p, i in images.items()}
            ).encode()
    parts = [HEAD, *sections, METHOD, called()]
    page = "\n\n".join(part.strip() for part in parts) + "\n"
    return {PAGE: page.encode()} | found


def readme(document: Document, images: dict[str, str]) -> str:
    """Return the README with the picture and the table of this machine."""
    text = README.read_text(encoding="utf-8")
    before, first, rest = text.partition(FIRST_LINE)
    _, last, after = rest.partition(LAST_LINE)
    if not first or not last:
        sys.exit(f"README.md must have the lines {FIRST_LINE} and {LAST_LINE}")
    return f"{before}{first}\n\n{brief(document, images)}\n\n{last}{after}"


def write(path: Path, content: bytes | None) -> None:
    """Write a file, or remove one that is no longer wanted."""
    if content is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def called() -> str:
    """Return how each module says that it calls its library."""
    parts = ["## How each library is called"]
    for title, package in (
        ("Kernels", "fastsm._bench.kernels.peers"),
        ("Training and inference", "fastsm._bench.training.trainers"),
    ):
        lines = [f"- `{library}`: {words}" for library, words in called_in(package).items()]
        parts += [f"### {title}", "\n".join(lines)]
    return "\n\n".join(parts)


def called_in(package: str) -> dict[str, str]:
    """Return the string CALLED of each module of a package, without importing any: no library is needed."""
    specification = importlib.util.find_spec(package)
    if specification is None or not specification.submodule_search_locations:
        sys.exit(f"{package} is missing")
    found = {}
    for file in sorted(Path(specification.submodule_search_locations[0]).glob("*.py")):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "CALLED":
                found[file.stem.replace("_", ".")] = ast.literal_eval(statement.value)
    order = {library: number for number, library in enumerate((reading.OURS, *found, *LIMITS))}
    return dict(sorted(found.items(), key=lambda pair: order[pair[0]]))


if __name__ == "__main__":
    sys.exit(main())
