"""PyTorch eager, in inference mode: the library's function, its backward operators, and the formulas by hand.

Its tensors begin at multiples of 64 bytes, as those of its own allocator do.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from _cells import Cell
from _timing import Call


def setup(threads: int) -> str:
    torch.set_num_threads(threads)
    return str(torch.__version__)


def calls(cell: Cell) -> list[Call]:
    return _BUILDERS[cell.operation](cell)


def _tensor(cell: Cell, name: str) -> torch.Tensor:
    return torch.from_numpy(cell.aligned(name))


def _call(variant: str, run: Callable[[], object], restore: Callable[[], None] | None = None) -> Call:
    return Call("torch", variant, run, restore=restore, context=torch.inference_mode)


def _activation(cell: Cell) -> list[Call]:
    function = getattr(torch, cell.operation)
    x, out, z = _tensor(cell, "x"), _tensor(cell, "out"), _tensor(cell, "scratch")
    by_hand = _softmax_by_hand if cell.operation == "softmax" else _log_softmax_by_hand
    return [
        _call("out=", lambda: function(x, -1, out=out)),
        _call("out=x", lambda: function(z, -1, out=z), restore=cell.refill),
        _call("allocating", lambda: function(x, -1)),
        _call("by hand", lambda: by_hand(x, out)),
    ]


def _softmax_by_hand(x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    torch.sub(x, torch.amax(x, -1, True), out=out)
    out.exp_()
    return out.mul_(out.sum(-1, True).reciprocal_())


def _log_softmax_by_hand(x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return torch.sub(x, torch.logsumexp(x, -1, True), out=out)


def _logsumexp(cell: Cell) -> list[Call]:
    x, out = _tensor(cell, "x"), _tensor(cell, "out")
    return [
        _call("out=", lambda: torch.logsumexp(x, -1, out=out)),
        _call("allocating", lambda: torch.logsumexp(x, -1)),
    ]


def _softmax_vjp(cell: Cell) -> list[Call]:
    y, dy, out, z = (_tensor(cell, name) for name in ("y", "dy", "out", "scratch"))
    backward, dtype = torch._softmax_backward_data, y.dtype

    def by_hand() -> torch.Tensor:
        torch.mul(y, dy, out=out)
        torch.sub(dy, out.sum(-1, True), out=out)
        return out.mul_(y)

    in_place = _call("grad_input=dy", lambda: backward(z, y, -1, dtype, grad_input=z), restore=cell.refill)
    in_place.most_calls = cell.most_vjps
    return [
        _call("_softmax_backward_data", lambda: backward(dy, y, -1, dtype, grad_input=out)),
        in_place,
        _call("by hand", by_hand),
    ]


def _log_softmax_vjp(cell: Cell) -> list[Call]:
    log_y, dy, out, z = (_tensor(cell, name) for name in ("log_y", "dy", "out", "scratch"))
    backward, dtype = torch._log_softmax_backward_data, log_y.dtype

    def by_hand() -> torch.Tensor:
        torch.exp(log_y, out=out)
        out.mul_(dy.sum(-1, True))
        return torch.sub(dy, out, out=out)

    in_place = _call("out=dy", lambda: backward(z, log_y, -1, dtype, out=z), restore=cell.refill)
    in_place.most_calls = cell.most_vjps
    return [
        _call("_log_softmax_backward_data", lambda: backward(dy, log_y, -1, dtype, out=out)),
        in_place,
        _call("by hand", by_hand),
    ]


def _cross_entropy(cell: Cell) -> list[Call]:
    x, targets = _tensor(cell, "x"), torch.from_numpy(cell.targets)
    column = targets[:, None]

    def by_hand() -> torch.Tensor:
        return (torch.logsumexp(x, -1) - x.gather(-1, column)[:, 0]).mean()

    return [_call("F.cross_entropy", lambda: F.cross_entropy(x, targets)), _call("by hand", by_hand)]


def _cross_entropy_with_grad(cell: Cell) -> list[Call]:
    return [
        Call("torch", "autograd", _autograd(cell), context=torch.enable_grad),
        _call("aten operators", _aten_operators(cell)),
        _call("by hand", _by_hand(cell, "x", "out")),
        _call("by hand in place", _by_hand(cell, "scratch", "scratch"), cell.refill),
    ]


def _autograd(cell: Cell) -> Callable[[], object]:
    x, targets = _tensor(cell, "x").requires_grad_(), torch.from_numpy(cell.targets)

    def run() -> object:
        loss = F.cross_entropy(x, targets)
        (grad,) = torch.autograd.grad(loss, x)
        return loss.detach(), grad

    return run


def _aten_operators(cell: Cell) -> Callable[[], object]:
    """What autograd runs, without its bookkeeping and with the last result's memory reused."""
    x, out, targets = _tensor(cell, "x"), _tensor(cell, "out"), torch.from_numpy(cell.targets)
    aten, mean, one, no_index = torch.ops.aten, 1, torch.ones((), dtype=x.dtype), -100

    def run() -> object:
        log_p = torch._log_softmax(x, -1, False)
        loss, weight = aten.nll_loss_forward(log_p, targets, None, mean, no_index)
        d_log_p = aten.nll_loss_backward(one, log_p, targets, None, mean, no_index, weight)
        return loss, torch._log_softmax_backward_data(d_log_p, log_p, -1, x.dtype, out=out)

    return run


def _by_hand(cell: Cell, source: str, target: str) -> Callable[[], object]:
    x, out, column = _tensor(cell, source), _tensor(cell, target), torch.from_numpy(cell.targets)[:, None]
    minus_one = torch.full(column.shape, -1.0, dtype=x.dtype)

    def run() -> object:
        torch.log_softmax(x, -1, out=out)
        loss = out.gather(-1, column).mean().neg_()
        out.exp_()
        out.scatter_add_(-1, column, minus_one)
        return loss, out.mul_(1 / len(x))

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
