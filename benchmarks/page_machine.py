"""What the page says about one machine, for benchmarks/page.py."""

from typing import Any

import page_tables as tables
from fastsm._bench import reading
from page_tables import escaped

Document = dict[str, Any]
Cell = dict[str, Any]
# The address of each picture that there is, by its name.
Images = dict[str, str]

LOGITS = {"wide": "wide-range logits", "masked": "masked rows"}
# The candidate that stands for the timing loop itself, among the calls of the footprint.
EMPTY = "empty loop"


def section(name: str, document: Document, images: Images) -> str:
    """Return all that there is to say: the overview, then every table."""
    parts = [
        f"## {escaped(document['machine']['cpu'])}",
        about(name, document),
        *overview(document, images),
        *faster(document),
    ]
    for operation in dict.fromkeys(cell["operation"] for cell in document.get("kernels", [])):
        parts += kernels(document, operation, images)
    parts += networks(document, images, "training", "Seconds an epoch", 1e9)
    parts += networks(document, images, "inference", "Microseconds a call", 1e3)
    parts += estimators(document.get("estimators", []))
    parts += footprint(document.get("footprint", {}), images)
    return "\n\n".join(part for part in parts if part)


def about(name: str, document: Document) -> str:
    """Return the machine, the versions, and what is missing."""
    found, versions = document["machine"], document["versions"]
    caches = ", ".join(f"{level} {size}" for level, size in found.get("caches", {}).items())
    memory = "" if found.get("memory_gb") is None else f", {found['memory_gb']:g} GB"
    lines = [
        f"fastsm {document['fastsm']}, {found.get('instruction_set', 'unknown')} kernels, {document['date']}",
        f"{found['cores']} cores{memory}{f'; caches: {caches}' if caches else ''}; {found['platform']}",
        ", ".join([found["python"], *(f"{library} {version}" for library, version in versions.items())]),
    ]
    lines += [f"missing: {library}: {why}" for library, why in document["missing"].items()]
    lines += [f"FAILED: {what}: {why}" for what, why in document["failed"].items()]
    lines = [f"- {escaped(line)}" for line in lines]
    lines.append(f"- all figures: `benchmarks/results/{name}.json`")
    if document["quick"]:
        lines.insert(
            0, "- **A quick run, few cells and few rounds: to show what there is, not to be quoted.**"
        )
    return "\n".join(lines)


def overview(document: Document, images: Images) -> list[str]:
    """Return the picture and the table that a reader wants first."""
    cells = reading.usual(document)
    if "overview" not in images:
        return []
    shapes = len({reading.label(cell) for cell in cells})
    words = (
        f"How many times as fast as each library fastsm is: float32, {threads(cells[0])}; geometric means"
        f" over {shapes} shapes, then the least and the most. {tables.MARK} where the library is faster for"
        " some shape."
    )
    return [
        "### At a glance",
        image(images, "overview", "Speed over each library, operation by operation"),
        words,
        tables.overview(cells),
    ]


def faster(document: Document) -> list[str]:
    """Return every cell where a peer wins, of all parts."""
    named = [(kernel_name(cell), cell) for cell in document.get("kernels", [])]
    for part in ("training", "inference"):
        named += [(f"{part}: {network_name(cell)}", cell) for cell in document.get(part, [])]
    named += [(f"estimators: {estimator_name(cell)}", cell) for cell in document.get("estimators", [])]
    compared = [(name, cell) for name, cell in named if reading.comparisons([cell])]
    count = sum(bool(reading.wins(cell)) for _, cell in compared)
    words = f"In {count} of {len(compared)} cells, those with the largest differences first."
    return ["### Where another library is faster", words, tables.wins(compared)]


def kernels(document: Document, operation: str, images: Images) -> list[str]:
    """Return the picture and the tables of one operation."""
    cells = [cell for cell in document["kernels"] if cell["operation"] == operation]
    parts = [
        f"### {operation}",
        image(images, operation, f"Times of {operation}"),
        "Nanoseconds an element; for a single row nanoseconds a call.",
    ]
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(setting(cell), []).append(cell)
    for title, group in groups.items():
        parts += [f"**{title}**", tables.times(group, reading.label, reading.per_element, "of the sweep")]
    return [*parts, tables.rejections((kernel_name(cell), cell) for cell in cells)]


def networks(document: Document, images: Images, part: str, unit: str, nanoseconds: float) -> list[str]:
    """Return the pictures and the table of training or inference."""
    cells = document.get(part, [])
    if not cells:
        return []
    data = dict.fromkeys(f"{cell['rows']:,} rows of {cell['data']}" for cell in cells if cell.get("data"))
    return [
        f"### {part.capitalize()}",
        *(image(images, name, f"Times of {part}") for name in images if name.partition("-")[0] == part),
        f"{unit}{''.join(f'; {source}' for source in data)}.",
        tables.times(cells, network_name, lambda _, time: time / nanoseconds, "of the products"),
        tables.rejections((network_name(cell), cell) for cell in cells),
    ]


def estimators(cells: list[Cell]) -> list[str]:
    """Return the table of the classifier in fastsm.sklearn beside scikit-learn's."""
    if not cells:
        return []
    learned = [
        f"- {estimator_name(cell)}: "
        + ", ".join(f"{name} {accuracy:.2%}" for name, accuracy in cell["mean_accuracy"].items())
        for cell in cells
        if "mean_accuracy" in cell
    ]
    return [
        "### Estimators",
        "`fastsm.sklearn.MLPClassifier` beside scikit-learn's, same parameters; milliseconds a call.",
        tables.times(cells, estimator_name, lambda _, time: time / 1e6, ""),
        "Accuracy on the test images, means over the seeds:\n\n" + "\n".join(learned) if learned else "",
        tables.rejections((estimator_name(cell), cell) for cell in cells),
    ]


def footprint(found: dict[str, Any], images: Images) -> list[str]:
    """Return what libraries cost beside time."""
    imports = [
        [one["candidate"], tables.number(one["ms"], 1), tables.number(one.get("after_numpy_ms"), 1)]
        for one in found.get("imports", [])
    ]
    installed = [
        [one["candidate"], tables.number(one["bytes"] / 1e6, 1), _largest(one["packages"])]
        for one in found.get("installed", [])
    ]
    memory = [
        [
            f"{one['candidate']}: {escaped(one['what'])}",
            *(tables.number(one.get(key), 2) for key in ("data_mb", "tracemalloc_mb", "mb")),
        ]
        for one in found.get("memory", [])
    ]
    loop = min((one["best_ns"] for one in found.get("calls", []) if one["candidate"] == EMPTY), default=0.0)
    calls = [
        [f"`{one['candidate']}`", f"{one['best_ns'] - loop:.0f}"]
        for one in found.get("calls", [])
        if one["candidate"] != EMPTY
    ]
    contents = [
        (
            "Import in a new process, milliseconds; NumPy's is part of fastsm's.",
            ["", "import", "after NumPy"],
            imports,
        ),
        (
            "Installed with all that it needs, megabytes; NumPy is most of fastsm's.",
            ["", "all", "the largest of these"],
            installed,
        ),
        (
            "Memory, megabytes: of a call beyond its arguments, and of training beyond Python with NumPy.",
            ["", "data", "allocated", "rise of the peak"],
            memory,
        ),
        ("One call on one row of ten float32, nanoseconds without the timing loop's own.", ["", "ns"], calls),
    ]
    parts = [
        text for words, columns, rows in contents if rows for text in (words, tables.table(columns, rows))
    ]
    return ["### Footprint", image(images, "footprint", "Import, size and memory"), *parts] if parts else []


def _largest(packages: dict[str, float]) -> str:
    names = sorted(packages, key=lambda name: -packages[name])[:3]
    others = len(packages) - len(names)
    return ", ".join(f"{name} {packages[name] / 1e6:.1f}" for name in names) + f", {others} more" * (
        others > 0
    )


def image(images: Images, name: str, words: str) -> str:
    """Return an image, if there is one; the words are for those who do not see it."""
    return f"![{words}]({images[name]})" if name in images else ""


def kernel_name(cell: Cell) -> str:
    """Return a cell of the kernels in words."""
    return f"{cell['operation']}, {reading.label(cell)}, {setting(cell)}"


def setting(cell: Cell) -> str:
    """Return what sets a cell apart from others beside its shape, such as "float32, axis 0, 2 threads"."""
    words = [cell["dtype"]]
    if cell["axis"] != -1:
        words.append(f"axis {cell['axis']}")
    if cell["logits"] != "usual":
        words.append(LOGITS.get(cell["logits"], cell["logits"]))
    return ", ".join([*words, threads(cell)])


def network_name(cell: Cell) -> str:
    """Return a cell of training or inference in words."""
    return f"{reading.network_label(cell)}, {threads(cell)}"


def estimator_name(cell: Cell) -> str:
    """Return a cell of the estimators in words."""
    rows = "one row" if cell["rows"] == 1 else f"{cell['rows']:,} rows"
    epochs = f", {cell['epochs']} epochs" if "epochs" in cell else ""
    return f"{cell['operation']}, {cell['network']}, {rows}{epochs}, {threads(cell)}"


def threads(cell: Cell) -> str:
    """Return the number of threads in words."""
    return "one thread" if cell["threads"] == 1 else f"{cell['threads']} threads"
