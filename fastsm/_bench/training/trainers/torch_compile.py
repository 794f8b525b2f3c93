"""PyTorch compiled: the whole step, or the whole network, in one graph."""

from typing import Any

import numpy as np
import torch

from fastsm._bench.timing import Call
from fastsm._bench.training.networks import LEARNING_RATE, Array, Network, Task, Weights
from fastsm._bench.training.trainers.torch import network_in_torch

__all__ = ["CALLED", "predictors", "setup", "trainers"]

CALLED = (
    "`torch.compile(fullgraph=True, dynamic=False)` of the whole step: gathering, forward, loss, gradients"
    " (`torch.func`) and the update in place; whole batches only, so that it is compiled once. Inference:"
    " `torch.compile` of network and softmax in `inference_mode`, also with `freezing`. It needs a C++"
    " compiler."
)


def setup(threads: int) -> str:
    """Limit its threads, when computing and when compiling."""
    import torch._inductor.config as inductor

    torch.set_num_threads(threads)
    inductor.compile_threads = 1
    return str(torch.__version__)


class Compiled:
    """One compiled function a batch."""

    candidate, variant = "torch.compile", "whole step"

    def __init__(self, task: Task) -> None:
        self.batch = task.batch_size
        self.x, self.y = torch.from_numpy(task.data.scaled), torch.from_numpy(task.data.labels)
        self.layers = [(torch.from_numpy(w.T.copy()), torch.from_numpy(b)) for w, b in task.network.weights()]
        activation = torch.relu if task.network.activation == "relu" else torch.tanh

        def loss(layers: Any, x: Any, y: Any) -> Any:
            for w, b in layers[:-1]:
                x = activation(torch.nn.functional.linear(x, w, b))
            return torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, *layers[-1]), y)

        def step(layers: Any, x: Any, y: Any, rows: Any) -> None:
            grads = torch.func.grad(loss)(layers, x[rows], y[rows])
            for values, changes in zip(layers, grads, strict=True):
                for value, change in zip(values, changes, strict=True):
                    value.sub_(change, alpha=LEARNING_RATE)

        self.step = torch.compile(step, fullgraph=True, dynamic=False)

    def epoch(self, order: Array) -> None:
        """Train once over all rows but those of a last, smaller batch."""
        all_rows = torch.from_numpy(order)
        with torch.no_grad():
            for start in range(0, len(order) - self.batch + 1, self.batch):
                self.step(self.layers, self.x, self.y, all_rows[start : start + self.batch])

    def in_order(self, rows: int) -> None:
        """Train once over the first rows in their order."""
        self.epoch(np.arange(rows))

    def weights(self) -> Weights:
        """Return the weights as they are now."""
        return [(w.numpy().T, b.numpy()) for w, b in self.layers]


def trainers(task: Task) -> list[Compiled]:
    """Return the compiled step."""
    # Each task compiles functions of the same code: without this the compiler would give up after some.
    torch.compiler.reset()
    return [Compiled(task)]


def predictors(network: Network, x: Array) -> list[Call]:
    """Return the compiled network, with its weights as arguments and as constants."""
    torch.compiler.reset()
    model, rows = (
        torch.nn.Sequential(network_in_torch(network), torch.nn.Softmax(-1)).eval(),
        torch.from_numpy(x),
    )
    compiled = torch.compile(model, fullgraph=True, dynamic=False)
    frozen = torch.compile(model, fullgraph=True, dynamic=False, options={"freezing": True})
    return [
        Call("torch.compile", "inference_mode", lambda: compiled(rows), context=torch.inference_mode),
        Call("torch.compile", "inference_mode, freezing", lambda: frozen(rows), context=torch.inference_mode),
    ]
