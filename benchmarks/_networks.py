"""The networks of the training benchmark, and the data that they are trained on."""

import gzip
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

LEARNING_RATE = 0.1
# Where Debian's package dataset-fashion-mnist puts the files.
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@dataclass(frozen=True)
class Network:
    """A network with one training setting: plain SGD with the mean cross-entropy."""

    sizes: tuple[int, ...]
    activation: str
    batch_size: int

    @property
    def name(self) -> str:
        """Such as ``784-128-10 relu, batch 128``."""
        return f"{'-'.join(map(str, self.sizes))} {self.activation}, batch {self.batch_size}"

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the initial weights (n_in, n_out) and biases that all candidates start from."""
        rng = np.random.default_rng(0)
        return [
            (
                (rng.standard_normal((n_in, n_out)) * np.sqrt(2 / n_in)).astype(np.float32),
                np.zeros(n_out, np.float32),
            )
            for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False)
        ]


NETWORKS = (
    Network((784, 128, 10), "relu", 128),
    Network((784, 128, 10), "relu", 32),
    Network((784, 512, 512, 10), "relu", 128),
    Network((2, 500, 2), "tanh", 200),
)


@dataclass
class Data:
    """Rows as they come (uint8 images or float32 points), and labels."""

    raw: np.ndarray
    labels: np.ndarray

    @cached_property
    def scaled(self) -> np.ndarray:
        """The rows in float32, images from 0 to 1."""
        return self.raw.astype(np.float32) / np.float32(255) if self.raw.dtype == np.uint8 else self.raw


def data_for(network: Network, rows: int | None) -> tuple[Data, str]:
    """Return the data and a word on where it comes from; the first `rows` rows of it."""
    if network.sizes[0] == 2:
        data, source = _spiral(20_000 if rows is None else rows), "two spirals"
    else:
        data, source = _images(rows)
    return data, source


def _images(rows: int | None) -> tuple[Data, str]:
    folder = Path(os.environ.get("FASTSM_DATA_DIR", SYSTEM_FOLDER))
    if (folder / IMAGES).is_file():
        with gzip.open(folder / IMAGES) as file:
            images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
        with gzip.open(folder / LABELS) as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
        source = "Fashion-MNIST"
    else:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (60_000, 784), dtype=np.uint8)
        labels = rng.integers(0, 10, 60_000)
        source = "random images (Fashion-MNIST is not there: set FASTSM_DATA_DIR)"
    return Data(images[:rows], labels[:rows]), source


def _spiral(rows: int) -> Data:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, rows)
    angle = 3 * np.pi * np.sqrt(rng.random(rows))
    turned = angle + np.pi * labels
    points = np.stack([angle * np.cos(turned), angle * np.sin(turned)], axis=1) / 10
    points = (points + 0.02 * rng.standard_normal(points.shape)).astype(np.float32)
    return Data(points, labels)
