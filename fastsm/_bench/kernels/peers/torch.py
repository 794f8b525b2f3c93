"""PyTorch eager, in inference mode: the library's function, its backward operators, and the formulas by hand.

Its tensors begin at multiples of 64 bytes, as those of its own allocator do.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from fastsm._bench.kernels.cells import Cell
from fastsm._bench.timing import Call

CALLED = (
    "Eager, in inference mode, on tensors aligned to 64 bytes: the library's function with `out=`, in place"
    " and allocating; the operators that its autograd runs (`_softmax_backward_data`); and the formulas by"
    " hand. Loss and gradient also by autograd itself."
)


def setup(threads: int) -> str:
    """Set the number of threads, and return the version."""
    torch.set_num_threads(threads)
    return str(torch.__version__)


def calls(cell: Cell) -> list[Call]:
    """Return all ways that may be the fastest."""
    return _BUILDERS[cell.operation](cell)


def tensor(cell: Cell, name: str) -> torch.Tensor:
    """Return one of the cell's arrays as a tensor that shares its memory."""
    array = cell.aligned(name)
    if cell.dtype == "bfloat16":  # which NumPy itself does not know
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


def read(returned: Any) -> object:
    """Return results as arrays."""
    if isinstance(returned, tuple):
        return tuple(read(value) for value in returned)
    return returned.float().numpy() if returned.dtype == torch.bfloat16 else returned.numpy()


def _call(variant: str, run: Callable[[], object]) -> Call:
    return Call("torch", variant, run, read=read, context=torch.inference_mode)


def _in_place(cell: Cell, variant: str, run: Callable[[], object]) -> Call:
    call = _call(variant, run)
    call.restore, call.most_calls = cell.refill, cell.most_in_place
    return call


def _activation(cell: Cell) -> list[Call]:
    function = getattr(torch, cell.operation)
    x, out, z, axis = tensor(cell, "x"), tensor(cell, "out"), tensor(cell, "scratch"), cell.axis
    by_hand = _softmax_by_hand if cell.operation == "softmax" else _log_softmax_by_hand
    return [
        _call("out=", lambda: function(x, axis, out=out)),
        _in_place(cell, "out=x", lambda: function(z, axis, out=z)),
        _call("allocating", lambda: function(x, axis)),
        _call("by hand", lambda: by_hand(x, out, axis)),
    ]


def _softmax_by_hand(x: torch.Tensor, out: torch.Tensor, axis: int) -> torch.Tensor:
    torch.sub(x, torch.amax(x, axis, True), out=out)
    out.exp_()
    return out.mul_(out.sum(axis, True).reciprocal_())


def _log_softmax_by_hand(x: torch.Tensor, out: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.sub(x, torch.logsumexp(x, axis, True), out=out)


def _logsumexp(cell: Cell) -> list[Call]:
    x, out, axis = tensor(cell, "x"), tensor(cell, "out"), cell.axis
    return [
        _call("out=", lambda: torch.logsumexp(x, axis, out=out)),
        _call("allocating", lambda: torch.logsumexp(x, axis)),
    ]


def _softmax_vjp(cell: Cell) -> list[Call]:
    y, dy, out, z = (tensor(cell, name) for name in ("y", "dy", "out", "scratch"))
    backward, dtype, axis = torch._softmax_backward_data, y.dtype, cell.axis

    def by_hand() -> torch.Tensor:
        torch.mul(y, dy, out=out)
        torch.sub(dy, out.sum(axis, True), out=out)
        return out.mul_(y)

    return [
        _call("_softmax_backward_data", lambda: backward(dy, y, axis, dtype, grad_input=out)),
        _in_place(cell, "grad_input=dy", lambda: backward(z, y, axis, dtype, grad_input=z)),
        _call("by hand", by_hand),
    ]


def _log_softmax_vjp(cell: Cell) -> list[Call]:
    log_y, dy, out, z = (tensor(cell, name) for name in ("log_y", "dy", "out", "scratch"))
    backward, dtype, axis = torch._log_softmax_backward_data, log_y.dtype, cell.axis

    def by_hand() -> torch.Tensor:
        torch.exp(log_y, out=out)
        out.mul_(dy.sum(axis, True))
        return torch.sub(dy, out, out=out)

    return [
        _call("_log_softmax_backward_data", lambda: backward(dy, log_y, axis, dtype, out=out)),
        _in_place(cell, "out=dy", lambda: backward(z, log_y, axis, dtype, out=z)),
        _call("by hand", by_hand),
    ]


def _logits_and_targets(cell: Cell) -> tuple[torch.Tensor, torch.Tensor]:
    """Return them as PyTorch's loss takes them: with classes along the columns, as one image (1, C, N)."""
    x, targets = tensor(cell, "x"), torch.from_numpy(cell.targets)
    return (x, targets) if cell.axis == -1 else (x[None], targets[None])


def _cross_entropy(cell: Cell) -> list[Call]:
    x, axis = tensor(cell, "x"), cell.axis
    column = torch.from_numpy(cell.targets).unsqueeze(axis)
    logits, targets = _logits_and_targets(cell)

    def by_hand() -> torch.Tensor:
        return (torch.logsumexp(x, axis) - x.gather(axis, column).squeeze(axis)).mean()

    return [_call("F.cross_entropy", lambda: F.cross_entropy(logits, targets)), _call("by hand", by_hand)]


def _cross_entropy_with_grad(cell: Cell) -> list[Call]:
    found = [
        Call("torch", "autograd", _autograd(cell), read=read, context=torch.enable_grad),
        _call("by hand", _by_hand(cell, "x", "out")),
        _in_place(cell, "by hand in place", _by_hand(cell, "scratch", "scratch")),
    ]
    return found if cell.axis == 0 else [*found, _call("aten operators", _aten_operators(cell))]


def _autograd(cell: Cell) -> Callable[[], object]:
    logits, targets = _logits_and_targets(cell)
    logits.requires_grad_()
    shape = cell.x.shape

    def run() -> object:
        loss = F.cross_entropy(logits, targets)
        (grad,) = torch.autograd.grad(loss, logits)
        return loss.detach(), grad.view(shape)

    return run


def _aten_operators(cell: Cell) -> Callable[[], object]:
    """Return what autograd runs, without its bookkeeping and with the last result's memory reused."""
    x, out, targets = tensor(cell, "x"), tensor(cell, "out"), torch.from_numpy(cell.targets)
    aten, mean, one, no_index = torch.ops.aten, 1, torch.ones((), dtype=x.dtype), -100

    def run() -> object:
        log_p = torch._log_softmax(x, -1, False)
        loss, weight = aten.nll_loss_forward(log_p, targets, None, mean, no_index)
        d_log_p = aten.nll_loss_backward(one, log_p, targets, None, mean, no_index, weight)
        return loss, torch._log_softmax_backward_data(d_log_p, log_p, -1, x.dtype, out=out)

    return run


def _by_hand(cell: Cell, source: str, target: str) -> Callable[[], object]:
    x, out, axis, rows = tensor(cell, source), tensor(cell, target), cell.axis, cell.rows
    column = torch.from_numpy(cell.targets).unsqueeze(axis)
    minus_one = torch.full(column.shape, -1.0, dtype=x.dtype)

    def run() -> object:
        torch.log_softmax(x, axis, out=out)
        loss = out.gather(axis, column).mean().neg_()
        out.exp_()
        out.scatter_add_(axis, column, minus_one)
        return loss, out.mul_(1 / rows)

    return run


_BUILDERS: dict[str, Callable[[Cell], list[Call]]] = {
    "softmax": _activation,
    "log_softmax": _activation,
    "logsumexp": _logsumexp,
    "softmax_vjp": _softmax_vjp,
    "log_softmax_vjp": _log_softmax_vjp,
    "cross_entropy": _cross_entropy,
    "cross_entropy_with_grad": _cross_entropy_with_grad,
}
