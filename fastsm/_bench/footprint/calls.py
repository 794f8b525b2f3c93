"""What a call costs before it computes anything: each public function on one row of ten."""

from collections.abc import Callable
from typing import Any

import numpy as np

import fastsm
from fastsm._bench import Settings
from fastsm._bench.footprint.tables import EMPTY
from fastsm._bench.timing import Call, empty_call_ns, interleave

__all__ = ["measure"]

ROUNDS, QUICK_ROUNDS = 50, 5


def measure(settings: Settings) -> list[dict[str, Any]]:
    """Return the times beside those of a ufunc and of NumPy's formula; the first is the timing loop's own."""
    rounds = settings.rounds or (QUICK_ROUNDS if settings.quick else ROUNDS)
    timings = interleave([Call(name, "", run) for name, run in _calls().items()], rounds)
    return [{"candidate": EMPTY, "best_ns": empty_call_ns()}, *(timing.to_json() for timing in timings)]


def _calls() -> dict[str, Callable[[], object]]:
    x = np.linspace(-3, 3, 10, dtype=np.float32)[None]
    y, log_y, dy = fastsm.softmax(x), fastsm.log_softmax(x), x[:, ::-1].copy()
    row, out, value, t = x[0], x.copy(), np.empty(1, np.float32), np.array([3])

    def formula() -> Any:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    return {
        "numpy: multiply(x, 1, out=x)": lambda: np.multiply(out, 1, out=out),
        "numpy: softmax by its formula": formula,
        "softmax(row)": lambda: fastsm.softmax(row),
        "softmax(x)": lambda: fastsm.softmax(x),
        "softmax(x, out=out)": lambda: fastsm.softmax(x, out=out),
        "softmax(x, axis=-1, out=out)": lambda: fastsm.softmax(x, axis=-1, out=out),
        "softmax(x, axis=0, out=out)": lambda: fastsm.softmax(x, axis=0, out=out),
        "softmax(x, temperature=2.0, out=out)": lambda: fastsm.softmax(x, temperature=2.0, out=out),
        "log_softmax(x)": lambda: fastsm.log_softmax(x),
        "log_softmax(x, out=out)": lambda: fastsm.log_softmax(x, out=out),
        "logsumexp(x)": lambda: fastsm.logsumexp(x),
        "logsumexp(x, out=value)": lambda: fastsm.logsumexp(x, out=value),
        "softmax_vjp(y, dy)": lambda: fastsm.softmax_vjp(y, dy),
        "softmax_vjp(y, dy, out=out)": lambda: fastsm.softmax_vjp(y, dy, out=out),
        "log_softmax_vjp(log_y, dy)": lambda: fastsm.log_softmax_vjp(log_y, dy),
        "log_softmax_vjp(log_y, dy, out=out)": lambda: fastsm.log_softmax_vjp(log_y, dy, out=out),
        "softmax_jacobian(y)": lambda: fastsm.softmax_jacobian(y),
        "cross_entropy(x, t)": lambda: fastsm.cross_entropy(x, t),
        "cross_entropy(x, y)": lambda: fastsm.cross_entropy(x, y),
        "cross_entropy_with_grad(x, t)": lambda: fastsm.cross_entropy_with_grad(x, t),
        "cross_entropy_with_grad(x, t, out=out)": lambda: fastsm.cross_entropy_with_grad(x, t, out=out),
        "cross_entropy_with_grad(x, y, out=out)": lambda: fastsm.cross_entropy_with_grad(x, y, out=out),
    }
