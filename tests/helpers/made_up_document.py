"""A small document as `fastsm bench --json` writes it, with made-up figures."""

from typing import Any

SOFTMAX = {
    (1, 10): {
        "fastsm": 180,
        "numpy": 2900,
        "numpy out=": 1750,
        "scipy": 9000,
        "torch": 235,
        "onnxruntime": 660,
        "jax": 1560,
        "sweep": 150,
    },
    (60000, 10): {
        "fastsm": 0.7,
        "numpy": 22,
        "numpy out=": 18.9,
        "scipy": 40,
        "torch": 28,
        "onnxruntime": 3.7,
        "jax": 3.4,
        "sweep": 0.2,
    },
    (256, 1000): {
        "fastsm": 0.36,
        "numpy": 4.1,
        "numpy out=": 3.2,
        "scipy": 9.1,
        "torch": 0.99,
        "onnxruntime": 0.33,
        "jax": 1.58,
        "sweep": 0.08,
    },
}
NETWORKS = {
    "784-128-10 relu": {"fastsm": 0.3, "numpy": 0.4, "torch": 0.59, "jax": 0.29, "products": 0.24},
    "2-500-2 tanh": {"fastsm": 0.05, "numpy": 0.075, "torch": 0.3, "products": 0.018},
}


def document() -> dict[str, Any]:
    """Return a fresh document: three shapes of softmax, some other cells, two networks, and the footprint."""
    softmax = [cell("softmax", rows, classes, times) for (rows, classes), times in SOFTMAX.items()]
    others = [
        cell("softmax", 60000, 10, {"fastsm": 1.4, "torch": 9.0}, dtype="float64"),
        cell("softmax", 60000, 10, {"fastsm": 1.0, "torch": 2.0}, axis=0),
        cell("softmax", 60000, 10, {"fastsm": 0.8, "torch": 2.5}, logits="masked"),
        cell("softmax", 60000, 10, {"fastsm": 0.4, "torch": 5.0}, threads=2),
        cell("logsumexp", 256, 1000, {"fastsm": 0.31, "jax": 0.9, "sweep": 0.05}),
    ]
    others[-1]["rejected"] = {"torch (default)": "differs by 3 times the tolerance"}
    return {
        "schema": 1,
        "fastsm": "0.1.0",
        "date": "2026-11-22",
        "quick": False,
        "machine": {
            "cpu": "Made-Up CPU <2>",
            "caches": {"L1d": "32K", "L2": "1M"},
            "platform": "Linux-6.1-x86_64",
            "python": "CPython 3.13.1",
            "cores": 2,
            "memory_gb": 8.0,
            "instruction_set": "avx2",
        },
        "versions": {"fastsm": "0.1.0", "numpy": "2.4.6", "torch": "2.13.0"},
        "missing": {"thinc": "No module named 'thinc'"},
        "failed": {"kernels, 4 threads": "Killed"},
        "kernels": softmax + others,
        "training": [
            network(
                name,
                {who: seconds * 1e9 for who, seconds in times.items()},
                data="Fashion-MNIST",
                rows=60000,
                batch_size=128,
            )
            for name, times in NETWORKS.items()
        ],
        "inference": [
            network("784-128-10 relu", {"fastsm": 4e3, "torch": 2e4}, rows=1),
            network("784-128-10 relu", {"fastsm": 2.1e7, "torch": 2.4e7}, rows=10000),
        ],
        "estimators": [
            network(
                "784-100-10 relu",
                {"fastsm": 9e8, "sklearn": 2.1e9},
                operation="fit",
                rows=60000,
                epochs=5,
                batch_size=200,
                data="Fashion-MNIST",
                mean_accuracy={"fastsm": 0.8512, "sklearn": 0.8509},
                accuracies={"fastsm": [0.8512], "sklearn": [0.8509]},
            ),
            network("784-100-10 relu", {"fastsm": 2e4, "sklearn": 1.1e5}, operation="predict_proba", rows=1),
        ],
        "footprint": {
            "imports": [
                {"candidate": "fastsm", "ms": 95.0, "after_numpy_ms": 12.0},
                {"candidate": "numpy", "ms": 83.0, "after_numpy_ms": None},
                {"candidate": "torch", "ms": 1400.0, "after_numpy_ms": 1300.0},
            ],
            "installed": [
                {"candidate": "fastsm", "bytes": 61_000_000, "packages": {"fastsm": 1e6, "numpy": 6e7}},
                {"candidate": "torch", "bytes": 830_000_000, "packages": {"torch": 7e8, "sympy": 1.3e8}},
            ],
            "memory": [
                memory("softmax(x, out=x)", "fastsm", 0.01),
                memory("training 784-128-10 relu, batches of 128", "fastsm", 58.0),
                memory("training 784-128-10 relu, batches of 128", "torch", 390.0),
            ],
            "calls": [
                {"candidate": "empty loop", "best_ns": 10.0},
                timing("softmax(x)", 310.0),
                timing("numpy: softmax by its formula", 2900.0),
            ],
        },
    }


def cell(operation: str, rows: int, classes: int, times: dict[str, float], **more: Any) -> dict[str, Any]:
    """Return a cell of the kernels; times are ns an element (one row: ns a call)."""
    factor = 1 if rows == 1 else rows * classes
    timings = [timing(name, value * factor) for name, value in times.items()]
    timings += [timing("fastsm", times["fastsm"] * factor * 1.2, "out=")]
    usual = {"dtype": "float32", "axis": -1, "logits": "usual", "threads": 1}
    shape = {"operation": operation, "rows": rows, "classes": classes}
    return shape | usual | more | {"timings": timings, "rejected": {}}


def network(name: str, times: dict[str, float], **more: Any) -> dict[str, Any]:
    """Return a cell of training or inference; times are ns."""
    timings = [timing(who, value) for who, value in times.items()]
    return {"network": name, "threads": 1} | more | {"timings": timings, "rejected": {}}


def timing(candidate: str, nanoseconds: float, variant: str | None = None) -> dict[str, Any]:
    """Return one timing."""
    if variant is None:
        variant = "in place" if candidate == "fastsm" else "as usual"
    figures = {"calls": 1, "rounds": 20, "best_ns": nanoseconds, "median_ns": 1.1 * nanoseconds}
    return {"candidate": candidate, "variant": variant} | figures


def memory(what: str, candidate: str, megabytes: float) -> dict[str, Any]:
    """Return what a call or training takes."""
    figures = {"data_mb": 47.0, "tracemalloc_mb": 0.001, "mb": megabytes}
    return {"what": what, "candidate": candidate, "in_place": "out=" in what} | figures
