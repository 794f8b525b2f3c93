"""Text about one machine: its section of docs/benchmarks.md, and the table of the README."""

from collections.abc import Iterable

import reading
from reading import Cell, factor, short
from records import LIMIT, OURS, Record

# A searchable mark, next to bold text.
MARK = "◄"
# Of each suite: its title, how its times are shown, the unit's nanoseconds, and a note.
SUITES = {
    "training": ("Training", "milliseconds an epoch", 1e6, "60,000 images of Fashion-MNIST; two spirals."),
    "inference": ("Inference", "microseconds a call", 1e3, "The probabilities of one row and of many."),
    "estimators": (
        "Estimators",
        "seconds",
        1e9,
        "`fastsm.sklearn.MLPClassifier` beside scikit-learn's, same parameters, on Fashion-MNIST; *accuracy*"
        " is that on the test images, in percent, the mean over the seeds.",
    ),
    "footprint": (
        "Footprint",
        "milliseconds, megabytes",
        1.0,
        "Import in a new process, which for fastsm includes NumPy; space on the disk with all that a library"
        " needs; the rise of the peak of memory over Python with NumPy, in an epoch of training.",
    ),
}
FOLDER = "benchmarks"  # of the pictures, beside the page
# Alternative texts of a machine's pictures.
PICTURES = {"overview": "Speed over each library", "networks": "Training and inference"}
# The columns of the README's table: operations, then one network.
OPERATIONS = {
    "softmax": "softmax",
    "softmax_vjp": "its VJP",
    "cross_entropy_with_grad": "cross-entropy and gradient",
}
NETWORK = "784-128-10 relu, batch 128"
# Features of each library that fastsm lacks, independent of measurements.
HAS = {
    "numpy": "arrays, which fastsm stands on",
    "scipy": "softmax and logsumexp in a library for all of science",
    "torch": "automatic differentiation, GPUs, every kind of layer",
    "onnxruntime": "networks of any other library, GPUs; no training here",
    "jax": "automatic differentiation and compilation of your own functions, GPUs",
    "sklearn": "a hundred other estimators",
    "numba": "compiles loops of your own",
}


def section(name: str, found: list[Record], about: dict[str, str]) -> str:
    """Return the section of one machine."""
    cells = reading.cells(found)
    parts = [
        f"## {about['cpu']}",
        "\n".join(f"- {key}: {value}" for key, value in about.items() if key != "cpu"),
        f"All figures: `benchmarks/results/{name}.csv`.",
        "### At a glance",
        image(name, "overview"),
        "How many times as fast as each library fastsm is: float32, one thread; geometric means over the"
        f" shapes, then the least and the most. {MARK} where the library is faster for some shape.",
        overview(reading.usual(cells)),
        "### Where another library is faster",
        faster(cells),
    ]
    kernels = [cell for cell in cells if cell[OURS].suite == "kernels"]
    for operation in dict.fromkeys(operation_of(cell) for cell in kernels):
        parts += [f"### {operation}", "Microseconds a call; rows x classes."]
        for threads in sorted({cell[OURS].threads for cell in kernels}):
            chosen = [c for c in kernels if operation_of(c) == operation and c[OURS].threads == threads]
            if chosen:
                parts += [f"**{in_words(threads)}**", times(chosen, 1e3)]
    parts.append(rejected(record for record in found if record.suite == "kernels"))
    for suite, (title, unit, nanoseconds, note) in SUITES.items():
        chosen = [cell for cell in cells if cell[OURS].suite == suite]
        if chosen:
            parts += [f"### {title}", image(name, "networks") if suite == "training" else ""]
            parts += [f"{unit.capitalize()}. {note}", times(chosen, nanoseconds)]
            parts.append(rejected(record for record in found if record.suite == suite))
    return "\n\n".join(part for part in parts if part)


def overview(operations: dict[str, list[Cell]]) -> str:
    """Return the geometric means over each peer, operation by operation, with the extremes."""
    every = [cell for cells in operations.values() for cell in cells]
    peers = reading.peers(every)
    rows = []
    for operation, cells in {**operations, "all of these": every}.items():
        row = [f"`{operation}`" if operation in operations else operation]
        for peer in peers:
            values = reading.ratios(cells, peer)
            row.append("")
            if values:
                least, most = (factor(value).removesuffix("x") for value in (min(values), max(values)))
                row[-1] = marked(f"{factor(reading.mean(values))} ({least} to {most})", min(values) < 1)
        rows.append(row)
    return table(["", *peers], rows)


def faster(cells: list[Cell]) -> str:
    """Return every cell where a peer wins, those with the largest differences first."""
    compared = [cell for cell in cells if cell[OURS].suite != "footprint" and cell[OURS].unit != "%"]
    lost: dict[str, list[Cell]] = {}
    for cell in compared:
        if reading.wins(cell):
            ours = cell[OURS]
            group = ours.group if ours.suite == "kernels" else ours.suite
            lost.setdefault(f"{group}, {in_words(ours.threads)}", []).append(cell)
    count = sum(map(len, lost.values()))
    rows = []
    for group, found in sorted(lost.items(), key=lambda item: min(map(least, item[1]))):
        words = [
            f"{cell[OURS].cell}: {', '.join(f'{p} {factor(r)}' for p, r in reading.wins(cell).items())}"
            for cell in sorted(found, key=least)
        ]
        rows.append([group, "<br>".join(words)])
    words = f"In {count} of {len(compared)} cells, the largest differences first."
    return words + "\n\n" + table(["", "time over fastsm's"], rows, words=2) if rows else words


def least(cell: Cell) -> float:
    """Return the smallest ratio of a cell that a peer wins."""
    return min(reading.wins(cell).values())


def times(cells: list[Cell], nanoseconds: float) -> str:
    """Return a table of the best times of all candidates, with a row for each cell."""
    peers = reading.peers(cells)
    has_limit = any(LIMIT in cell for cell in cells)
    rows = []
    for cell in cells:
        unit = nanoseconds if cell[OURS].unit == "ns" else 1.0
        row = [label(cell), short(cell[OURS].best / unit)]
        for peer in peers:
            value, over = cell[peer].best / unit if peer in cell else 0.0, reading.ratio(cell, peer)
            if peer not in cell:
                row.append("")
            elif cell[OURS].unit == "%":
                row.append(short(value))
            else:
                row.append(marked(f"{short(value)} ({factor(over)})", over < 1, bold=True))
        rows.append(row + [reading.share_of_limit(cell)] * has_limit)
    return table(["", OURS, *peers, *["limit"] * has_limit], rows)


def rejected(found: Iterable[Record]) -> str:
    """Return a list of candidates not timed: each reason once, with the number of cells."""
    reasons: dict[str, list[str]] = {}
    for record in found:
        if record.best is None:
            name = f"{record.candidate}{f' ({record.way})' if record.way else ''}: `{record.note}`"
            place = f"{record.group}, {record.cell}, {in_words(record.threads)}"
            reasons.setdefault(name, []).append(place)
    lines = [
        f"- {reason} ({places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''})"
        for reason, places in reasons.items()
    ]
    return "Not timed, since it failed or did not agree:\n\n" + "\n".join(lines) if lines else ""


def brief(name: str, found: list[Record], about: dict[str, str]) -> str:
    """Return the picture, and a row for each library."""
    cells = reading.cells(found)
    usual = reading.usual(cells)
    columns = [usual.get(operation, []) for operation in OPERATIONS]
    columns.append([c for c in cells if (c[OURS].cell, c[OURS].threads) == (NETWORK, 1)])
    installed = {r.candidate: f"{r.best:,.0f}" for r in found if r.group == "installed"}
    rows = [[f"**{OURS}**", *["1x"] * len(columns), installed.get(OURS, ""), ""]]
    for peer in reading.peers(cell for column in columns for cell in column):
        values = [reading.ratios(column, peer) for column in columns]
        words = [marked(factor(reading.mean(one)), min(one) < 1) if one else "" for one in values]
        rows.append([peer, *words, installed.get(peer, ""), HAS.get(peer, "")])
    words = (
        f"How many times as fast fastsm is, on one thread of an {about['cpu']}, float32: geometric means over"
        f" {len(columns[0])} shapes, and an epoch of {NETWORK}. {MARK} where the other is faster for some"
        " shape. Installed: megabytes with all that a library needs."
    )
    head = ["", *OPERATIONS.values(), "an epoch", "installed", "what it has and fastsm has not"]
    return "\n\n".join([image(name, "overview", "docs/"), words, table(head, rows, last=1)])


def image(name: str, kind: str, folder: str = "") -> str:
    """Return the Markdown of a picture."""
    return f"![{PICTURES[kind]}]({folder}{FOLDER}/{name}-{kind}.svg)"


def operation_of(cell: Cell) -> str:
    """Return the operation of a cell of the kernels."""
    return cell[OURS].group.partition(", ")[0]


def label(cell: Cell) -> str:
    """Return a cell's label in its table."""
    ours = cell[OURS]
    if ours.suite == "kernels":
        return f"{ours.cell}, {ours.group.partition(', ')[2]}"
    if ours.suite == "footprint":
        return f"{ours.group}, {ours.unit}"
    group = f"{ours.group}: " if ours.suite == "estimators" else ""
    return f"{group}{ours.cell}, {in_words(ours.threads)}"


def in_words(threads: int) -> str:
    """Return a number of threads in words."""
    return "one thread" if threads == 1 else f"{threads} threads"


def marked(text: str, is_faster: bool, bold: bool = False) -> str:
    """Mark a peer that is faster."""
    if not is_faster:
        return text
    return f"**{text}** {MARK}" if bold else f"{text} {MARK}"


def table(columns: list[str], rows: list[list[str]], words: int = 1, last: int = 0) -> str:
    """Return a Markdown table; the first and last columns are words, the others numbers."""
    numbers = len(columns) - words - last
    lines = [columns, [*["---"] * words, *["---:"] * numbers, *["---"] * last], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
