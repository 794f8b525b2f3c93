"""PyTorch compiled: the functions and formulas through ``torch.compile``, for each shape anew."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from fastsm._bench.kernels.cells import Cell
from fastsm._bench.kernels.peers.torch import read, tensor
from fastsm._bench.timing import Call

CALLED = (
    "`torch.compile(dynamic=False)` of the function or formula, compiled for each shape before it is timed,"
    " in inference mode; allocating its result, and copying it into an output, which the compiler may fuse."
    " As each takes seconds to compile, only for rows of float32 logits of the usual kind, on one thread."
)

Function = Callable[..., Any]

_is_single = True


def setup(threads: int) -> str:
    """Set the number of threads, and return the version."""
    global _is_single
    _is_single = threads == 1
    torch.set_num_threads(threads)
    return str(torch.__version__)


def calls(cell: Cell) -> list[Call]:
    """Return the compiled ways; they are compiled by their first call."""
    if not _is_single or (cell.dtype, cell.axis, cell.logits) != ("float32", -1, "usual"):
        return []
    torch.compiler.reset()  # what was compiled for other cells would count against a limit
    function, *names = _function(cell)
    arguments = [_argument(cell, name) for name in names]
    compiled = torch.compile(function, dynamic=False)
    found = [_call("allocating", lambda: compiled(*arguments))]
    if cell.operation in ("softmax", "log_softmax", "softmax_vjp", "log_softmax_vjp"):
        out = tensor(cell, "out")
        into = torch.compile(lambda out, *arguments: out.copy_(function(*arguments)), dynamic=False)
        found.append(_call("out.copy_", lambda: into(out, *arguments)))
    return found


def _argument(cell: Cell, name: str) -> torch.Tensor:
    return torch.from_numpy(cell.targets) if name == "targets" else tensor(cell, name)


def _call(variant: str, run: Callable[[], object]) -> Call:
    return Call("torch.compile", variant, run, read=read, context=torch.inference_mode)


def _function(cell: Cell) -> tuple[Any, ...]:
    """Return what is compiled, and the names of its arguments."""
    axis, rows, operation = cell.axis, cell.rows, cell.operation

    def softmax_vjp(y: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        return y * (dy - (y * dy).sum(axis, True))

    def log_softmax_vjp(log_y: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        return dy - log_y.exp() * dy.sum(axis, True)

    def loss(x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(*((x, targets) if axis == -1 else (x[None], targets[None])))

    def loss_and_grad(x: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_p = torch.log_softmax(x, axis)
        is_target = F.one_hot(targets, x.shape[axis])
        is_target = is_target if axis == -1 else is_target.T
        return -log_p.gather(axis, targets.unsqueeze(axis)).mean(), (log_p.exp() - is_target) * (1 / rows)

    if operation.startswith("cross_entropy"):
        return (loss if operation == "cross_entropy" else loss_and_grad), "x", "targets"
    if operation == "softmax_vjp":
        return softmax_vjp, "y", "dy"
    if operation == "log_softmax_vjp":
        return log_softmax_vjp, "log_y", "dy"
    of_torch = getattr(torch, operation)
    return (lambda x: of_torch(x, axis)), "x"
