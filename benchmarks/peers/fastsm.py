"""fastsm: its public functions, `fit`, and models that are called."""

from functools import partial

import fastsm
from fastsm import nn, optim
from networks import LEARNING_RATE, Trainer
from timing import Call

from . import ways

CALLED = (
    "The public functions, with `out=` allocated beforehand, and in place. Masked rows are masked by `where=`"
    " in each call; all others get logits that were set to -inf beforehand, which is their best way."
    " Training: `fastsm.fit` with `nn.MLP`, `nn.CrossEntropyLoss` and `optim.SGD`, images as uint8 and"
    " shuffled by it; with several threads both as it decides and with `num_threads`. Inference: the model"
    " ends in `nn.Softmax` and is called."
)
_threads = 1


def setup(threads):
    """Set the number of threads, and return the version."""
    global _threads
    _threads = threads
    fastsm.set_num_threads(threads)
    return fastsm.__version__


def kernels(cell):
    """Return both ways: calls of the public functions, in a lambda."""
    function = getattr(fastsm, cell.operation)
    if cell.axis != -1:
        function = partial(function, axis=cell.axis)
    if cell.where is not None:
        function = partial(function, where=cell.where)
    if cell.is_vjp:
        return ways("fastsm", cell, lambda dy, out: lambda: function(cell.saved, dy, out=out))
    if cell.kept:
        return ways("fastsm", cell, lambda x, out: lambda: function(x, cell.targets, out=out))
    return ways("fastsm", cell, lambda x, out: lambda: function(x, out=out))


class Fit(Trainer):
    """`fastsm.fit`, one epoch per call."""

    candidate = "fastsm"

    def __init__(self, task, num_threads):
        self.way = "fit" if num_threads is None else f"fit(num_threads={num_threads})"
        self.num_threads, self.data, self.batch = num_threads, task.data, task.batch_size
        self.model = nn.MLP(list(task.network.sizes), activation=task.network.activation, rng=0)
        _set_weights(self.model, task.network)
        self.loss, self.optimizer = nn.CrossEntropyLoss(), optim.SGD(LEARNING_RATE)

    def epoch(self, order):
        """Train once over all rows; fit draws the order."""
        self._fit(len(order), shuffle=True)

    def in_order(self, rows):
        """Train once over the first rows in their order."""
        self._fit(rows, shuffle=False)

    def _fit(self, rows, shuffle):
        fastsm.fit(
            self.model, self.data.raw[:rows], self.data.labels[:rows], loss=self.loss,
            optimizer=self.optimizer, epochs=1, batch_size=self.batch, metrics=(), shuffle=shuffle, rng=0,
            num_threads=self.num_threads,
        )  # fmt: skip

    def weights(self):
        """Return the current weights."""
        return [(layer.params["weight"], layer.params["bias"]) for layer in _linear(self.model)]


def trainers(task):
    """Return fit with its default number of threads, and with all threads."""
    return [Fit(task, None)] + ([Fit(task, _threads)] if _threads > 1 else [])


def predictors(network, x):
    """Return the call of a model."""
    activation = nn.ReLU if network.activation == "relu" else nn.Tanh
    layers = []
    for n_in, n_out in zip(network.sizes, network.sizes[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), activation()]
    model = nn.Sequential(*layers[:-1], nn.Softmax(), rng=0)
    _set_weights(model, network)
    return [Call("fastsm", "model(x)", lambda: model(x))]


def _linear(model):
    return [layer for layer in model.layers if isinstance(layer, nn.Linear)]


def _set_weights(model, network):
    for layer, (w, b) in zip(_linear(model), network.weights(), strict=True):
        layer.params["weight"][...] = w
        layer.params["bias"][...] = b
