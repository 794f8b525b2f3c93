"""PyTorch eager."""

from typing import Any

import numpy as np
import torch

from fastsm._bench.timing import Call
from fastsm._bench.training.networks import LEARNING_RATE, Array, Network, Task, Weights

__all__ = ["CALLED", "network_in_torch", "predictors", "setup", "trainers", "weights_of"]

CALLED = (
    "Eager: `nn.Sequential`, `F.cross_entropy`, `backward()` and `optim.SGD`, both `foreach` and `fused`;"
    " images as float32. Inference: the module and `softmax` in `inference_mode`."
)


def setup(threads: int) -> str:
    """Limit its threads."""
    torch.set_num_threads(threads)
    return str(torch.__version__)


def network_in_torch(network: Network) -> Any:
    """Return an `nn.Sequential` with the initial weights; it ends in logits."""
    layers: list[Any] = []
    for w, b in network.weights():
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T.copy()))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.ReLU() if network.activation == "relu" else torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def weights_of(model: Any) -> Weights:
    """Return the weights of an `nn.Sequential`, (n_in, n_out) and biases."""
    linear = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
    return [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in linear]


class Eager:
    """A loop over batches, as in PyTorch's tutorials."""

    candidate = "torch"

    def __init__(self, task: Task, **options: bool) -> None:
        self.variant = f"SGD({next(iter(options))})"
        self.batch = task.batch_size
        self.model = network_in_torch(task.network)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE, **options)
        self.x, self.y = torch.from_numpy(task.data.scaled), torch.from_numpy(task.data.labels)

    def epoch(self, order: Array) -> None:
        """Train once over all rows."""
        all_rows = torch.from_numpy(order)
        for start in range(0, len(order), self.batch):
            rows = all_rows[start : start + self.batch]
            self.optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(self.model(self.x[rows]), self.y[rows]).backward()
            self.optimizer.step()

    def in_order(self, rows: int) -> None:
        """Train once over the first rows in their order."""
        self.epoch(np.arange(rows))

    def weights(self) -> Weights:
        """Return the weights as they are now."""
        return weights_of(self.model)


def trainers(task: Task) -> list[Eager]:
    """Return both ways of the optimizer to handle many arrays."""
    return [Eager(task, foreach=True), Eager(task, fused=True)]


def predictors(network: Network, x: Array) -> list[Call]:
    """Return the call of a module, in inference mode."""
    model, rows = network_in_torch(network), torch.from_numpy(x)
    return [
        Call(
            "torch",
            "inference_mode",
            lambda: torch.softmax(model(rows), -1),
            context=torch.inference_mode,
        )
    ]
