"""The networks of the benchmarks, their data, and the interface of a library's training."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Weights = list[tuple[Any, Any]]  # (n_in, n_out) and biases

LEARNING_RATE = 0.1
ROWS, SPIRAL_ROWS, QUICK_ROWS = 60_000, 20_000, 6_000


@dataclass(frozen=True)
class Network:
    """Sizes of the layers, and the activation of the hidden ones; it ends in softmax."""

    sizes: tuple[int, ...]
    activation: str  # "relu" or "tanh"

    @property
    def name(self) -> str:
        """Such as "784-128-10 relu"."""
        return f"{'-'.join(map(str, self.sizes))} {self.activation}"

    def weights(self) -> Weights:
        """Return the initial weights (n_in, n_out) and biases that all candidates start from."""
        rng = np.random.default_rng(0)
        return [
            (
                (rng.standard_normal((n_in, n_out)) * np.sqrt(2 / n_in)).astype(np.float32),
                np.zeros(n_out, np.float32),
            )
            for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False)
        ]


@dataclass(frozen=True, eq=False)
class Data:
    """Unscaled rows (uint8 images or float32 points), and labels."""

    raw: Any
    labels: Any

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)

    @cached_property
    def scaled(self) -> Any:
        """The rows in float32, images from 0 to 1."""
        return self.raw.astype(np.float32) / np.float32(255) if self.raw.dtype == np.uint8 else self.raw


@dataclass(frozen=True, eq=False)
class Task:
    """A network and how it is trained: plain SGD with the mean cross-entropy."""

    network: Network
    batch_size: int
    data: Data


class Trainer:
    """One way of training a network with one library."""

    candidate: str  # such as "torch"
    way: str  # such as "SGD(fused)"

    def epoch(self, order: Any) -> None:
        """Train once over all rows, in the given order or in one that the library draws."""
        raise NotImplementedError

    def in_order(self, rows: int) -> None:
        """Train once over the first `rows` rows, whole batches, in their order."""
        self.epoch(np.arange(rows))

    def weights(self) -> Weights | None:
        """Return the current weights; None for the limit, which learns nothing."""
        raise NotImplementedError


_SMALL, _LARGE = Network((784, 128, 10), "relu"), Network((784, 512, 512, 10), "relu")
_SPIRAL = Network((2, 500, 2), "tanh")
EPOCHS = ((_SMALL, 32), (_SMALL, 128), (_SMALL, 1024), (_LARGE, 128), (_SPIRAL, 200))
QUICK_EPOCHS = ((_SMALL, 128), (_SPIRAL, 200))
# One row measures latency, ten thousand measure throughput.
INFERENCE = ((_SMALL, 1), (_SMALL, 10_000))


def data_for(network: Network, quick: bool) -> Data:
    """Return the training data of a network."""
    if network.sizes[0] == 2:
        return _spiral(QUICK_ROWS if quick else SPIRAL_ROWS)
    train, _ = images(QUICK_ROWS if quick else ROWS)
    return train


def images(rows: int = ROWS) -> tuple[Data, Data]:
    """Return at most that many images for training, and others for testing; random images for a trial."""
    from fastsm.data import DataError, load

    try:
        both = load("fashion-mnist", download=False)
    except DataError:
        if rows == ROWS:  # accuracies are published, so random images will not do
            raise
        rng = np.random.default_rng(0)
        train, test = (
            Data(rng.integers(0, 256, (count, 784), dtype=np.uint8), rng.integers(0, 10, count))
            for count in (rows, rows // 6)
        )
        return train, test
    train, test = (Data(part.X[:rows], part.y[:rows]) for part in (both.train, both.test))
    return train, test


def _spiral(rows: int) -> Data:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, rows)
    angle = 3 * np.pi * np.sqrt(rng.random(rows))
    turned = angle + np.pi * labels
    points = np.stack([angle * np.cos(turned), angle * np.sin(turned)], axis=1) / 10
    points = (points + 0.02 * rng.standard_normal(points.shape)).astype(np.float32)
    return Data(points, labels)
