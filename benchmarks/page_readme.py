"""What the README shows of one machine, for benchmarks/page.py: a picture, and a row for each peer."""

import math
from typing import Any

import page_machine
import page_tables as tables
from fastsm._bench import reading

Document = dict[str, Any]
Cell = dict[str, Any]

OPERATIONS = {
    "softmax": "softmax",
    "softmax_vjp": "its VJP",
    "cross_entropy_with_grad": "cross-entropy and gradient",
}
NETWORK = {"network": "784-128-10 relu", "batch_size": 128, "threads": 1}
# What a library has that fastsm has not; the same in any measurement, and no figure.
HAS = {
    "numpy": "arrays, which fastsm stands on",
    "scipy": "softmax and logsumexp in a library for all of science",
    "torch": "automatic differentiation, GPUs, every kind of layer",
    "onnxruntime": "networks of any other library, GPUs; no training here",
    "jax": "automatic differentiation and compilation of your own functions, GPUs",
    "sklearn": "a hundred other estimators",
    "thinc": "layers that wrap PyTorch's and TensorFlow's, configuration files",
    "numba": "compiles loops of your own",
}


def brief(document: Document, images: page_machine.Images) -> str:
    """Return the picture and the table of all peers."""
    cells = reading.usual(document)
    if not cells:
        return ""
    trained = [c for c in document.get("training", []) if all(c[key] == NETWORK[key] for key in NETWORK)]
    shapes = len({reading.label(cell) for cell in cells})
    found = document["machine"]
    words = (
        f"How many times as fast fastsm is, on one thread of an {tables.escaped(found['cpu'])}"
        f" ({found.get('instruction_set', 'unknown')}), float32: geometric means over {shapes} shapes, and"
        f" an epoch of {reading.network_label(NETWORK)}. {tables.MARK} where the other is faster for some"
        " shape. Installed: megabytes with all that a library needs."
    )
    columns = ["", *OPERATIONS.values(), "an epoch", "installed", "what it has and fastsm has not"]
    peers = [name for name in reading.candidates([*cells, *trained]) if name != reading.OURS]
    rows = [_row(peer, cells, trained, document) for peer in peers]
    ours = [f"**{reading.OURS}**", *["1x"] * (len(OPERATIONS) + 1), _installed(reading.OURS, document), ""]
    return "\n\n".join(
        part
        for part in (
            page_machine.image(images, "overview", "Speed over each library, operation by operation"),
            words,
            tables.table(columns, [ours, *rows], last=1),
        )
        if part
    )


def _row(peer: str, cells: list[Cell], trained: list[Cell], document: Document) -> list[str]:
    row = [peer]
    for operation in OPERATIONS:
        compared = reading.comparisons(cell for cell in cells if cell["operation"] == operation)
        mean = next(((one.mean, one.least) for one in compared if one.peer == peer), None)
        row.append("" if mean is None else _factor(*mean))
    ratio = reading.ratio(trained[0], peer) if trained else math.nan
    row.append("" if math.isnan(ratio) else _factor(ratio, ratio))
    return [*row, _installed(peer, document), HAS.get(peer, "")]


def _factor(mean: float, least: float) -> str:
    return reading.factor(mean) + f" {tables.MARK}" * (least < 1)


def _installed(library: str, document: Document) -> str:
    sizes = document.get("footprint", {}).get("installed", [])
    return next((tables.number(one["bytes"] / 1e6, 0) for one in sizes if one["candidate"] == library), "")
