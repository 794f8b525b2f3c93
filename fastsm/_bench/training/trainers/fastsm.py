"""fastsm: `fastsm.fit` on images of bytes, and a model that is called."""

from typing import Any

import fastsm
from fastsm import nn, optim
from fastsm._bench.timing import Call
from fastsm._bench.training.networks import LEARNING_RATE, Array, Network, Task, Weights

__all__ = ["CALLED", "estimator", "from_sklearn", "predictors", "setup", "trainers"]

CALLED = (
    "`fastsm.fit` with `nn.MLP`, `nn.CrossEntropyLoss` and `optim.SGD`, images as uint8 and shuffled by it;"
    " with several threads both as it decides and with `num_threads`. Inference: the model ends in"
    " `nn.Softmax` and is called. Estimators: `fastsm.sklearn.MLPClassifier` as scikit-learn's."
)
_threads = 1


def setup(threads: int) -> str:
    """Set the number of threads, and return the version."""
    global _threads
    _threads = threads
    fastsm.set_num_threads(threads)
    return fastsm.__version__


class Fit:
    """`fastsm.fit`, an epoch a call."""

    candidate = "fastsm"

    def __init__(self, task: Task, num_threads: int | None) -> None:
        self.variant = "fit" if num_threads is None else f"fit(num_threads={num_threads})"
        self.num_threads, self.data, self.batch = num_threads, task.data, task.batch_size
        self.model = nn.MLP(list(task.network.sizes), activation=task.network.activation, rng=0)
        _set_weights(self.model, task.network)
        self.loss, self.optimizer = nn.CrossEntropyLoss(), optim.SGD(LEARNING_RATE)

    def epoch(self, order: Array) -> None:
        """Train once over all rows; fit draws the order."""
        self._fit(len(order), shuffle=True)

    def in_order(self, rows: int) -> None:
        """Train once over the first rows in their order."""
        self._fit(rows, shuffle=False)

    def _fit(self, rows: int, shuffle: bool) -> None:
        fastsm.fit(
            self.model, self.data.raw[:rows], self.data.labels[:rows], loss=self.loss,
            optimizer=self.optimizer, epochs=1, batch_size=self.batch, metrics=(), shuffle=shuffle, rng=0,
            num_threads=self.num_threads,
        )  # fmt: skip

    def weights(self) -> Weights:
        """Return the weights as they are now."""
        return [(layer.params["weight"], layer.params["bias"]) for layer in _linear(self.model)]


def _linear(model: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in model.layers if isinstance(layer, nn.Linear)]


def _set_weights(model: nn.Sequential, network: Network) -> None:
    for layer, (w, b) in zip(_linear(model), network.weights(), strict=True):
        layer.params["weight"][...] = w
        layer.params["bias"][...] = b


def trainers(task: Task) -> list[Fit]:
    """Return fit as it decides, and with all threads."""
    return [Fit(task, None)] + ([Fit(task, _threads)] if _threads > 1 else [])


def predictors(network: Network, x: Array) -> list[Call]:
    """Return the call of a model."""
    activation = nn.ReLU if network.activation == "relu" else nn.Tanh
    layers: list[Any] = []
    for n_in, n_out in zip(network.sizes, network.sizes[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), activation()]
    model = nn.Sequential(*layers[:-1], nn.Softmax(), rng=0)
    _set_weights(model, network)
    return [Call("fastsm", "model(x)", lambda: model(x))]


def estimator(**parameters: Any) -> Any:
    """Return the classifier that stands in for scikit-learn's, not yet fitted."""
    from fastsm.sklearn import MLPClassifier

    return MLPClassifier(**parameters)


def from_sklearn(model: Any) -> Any:
    """Return the classifier with the weights of one of scikit-learn's."""
    from fastsm.sklearn import from_sklearn as convert

    return convert(model)
