"""A model with a loss: whether they fit, and which way the gradients take.

After `Softmax`, the gradient of a loss on probabilities has two ways back to the logits. The general one is
the softmax's vector-Jacobian product. For cross-entropy and its relatives the gradient over the probabilities
is ``-y / p``, infinite where p is 0. So they are computed from the logits, together with the softmax: the
product then simplifies to ``p - y`` on paper instead of in floating point.
"""

from __future__ import annotations

from typing import Any, Literal, overload
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.nn._activations import Sigmoid
from fastsm.nn._buffers import Buffer
from fastsm.nn._layer import Layer
from fastsm.nn._softmax import Softmax
from fastsm.nn.losses._row_loss import DOMAINS, FusedLoss
from fastsm.typing import Array, Loss, ModelLike

__all__ = ["Objective", "check_domains", "value_and_grad"]


class Objective:
    """A model followed by a loss: what training minimises.

    Attributes
    ----------
    model, loss
        The two arguments.
    stop : int or None
        If the loss includes the model's last layer, only ``layers[:stop]`` are run.
    inner_loss
        The loss on the outputs of these layers.
    last_outputs : ndarray or None
        The outputs of these layers in the last step.
    """

    def __init__(self, model: ModelLike, loss: Loss, buffer: Buffer | None = None) -> None:
        check_domains(model, loss)
        self.model: Any = model  # a Sequential, where `stop` is not None
        self.loss = loss
        self._buffer = Buffer() if buffer is None else buffer
        self.last_outputs: Array | None = None
        self.stop: int | None = None
        self.inner_loss = loss
        head = _head(model)
        if isinstance(loss, FusedLoss) and loss.on == "probs" and isinstance(head, loss.head):
            self.stop = len(getattr(model, "layers", ())) - 1
            self.inner_loss = loss.over_logits(getattr(head, "temperature", 1.0))

    def value_and_grad(
        self, x: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, input_grad: bool = False
    ) -> tuple[float, Array | None]:
        """Return the loss of a batch, and with `input_grad` its gradient over `x`; fill ``model.grads``."""
        model, stop = self.model, self.stop
        x = without_unused(x, unused_rows(self.loss, y, sample_weight))
        if stop is None:
            outputs = model.forward(x, training=True)
        else:
            outputs = model._forward_through(x, training=True, stop=stop)
        self.last_outputs = outputs
        # Not in place: layers may need their outputs in the backward pass.
        out = self._buffer.like(outputs)
        value, gradient = self.inner_loss.value_and_grad(outputs, y, sample_weight=sample_weight, out=out)
        if stop is None:
            dx = model.backward(gradient, input_grad=input_grad)
        else:
            dx = model._backward_through(gradient, input_grad, stop)
        return value, dx


def unused_rows(loss: Loss, y: ArrayLike, sample_weight: ArrayLike | None) -> Array | None:
    """Return which rows do not count, as their weight is 0 or their label is ignored; None if all count."""
    ignore_index: int | None = getattr(loss, "ignore_index", None)
    unused: Array | None = None
    if sample_weight is not None:
        unused = np.asarray(sample_weight) == 0
    if ignore_index is not None and np.ndim(y) == 1:
        ignored = np.asarray(y) == ignore_index
        unused = ignored if unused is None else unused | ignored
    return unused if unused is not None and unused.any() else None


def without_unused(x: ArrayLike, unused: Array | None) -> ArrayLike:
    """Return the inputs with 0 in rows that do not count: 0 times NaN, or times what overflows, is NaN."""
    if unused is None:
        return x
    x = _arguments.array("x", x)
    if x.shape[:1] == unused.shape:  # else the loss raises an error
        x = x.copy()
        x[unused] = 0
    return x


def check_domains(model: ModelLike | None, loss: Loss) -> None:
    """Check that the loss takes the outputs of the model: logits, log-probabilities or probabilities.

    Models without `emits` and losses without `on` are accepted.

    Parameters
    ----------
    model : Sequential
        `emits` says what its outputs are.
    loss : loss
        `on` says which outputs it takes.

    Raises
    ------
    TypeError
        If `loss` is not a loss.
    ValueError
        If the two do not fit: for example, if softmax would be applied twice.
    """
    if isinstance(loss, type):
        raise TypeError(f"`loss` must be a loss, got the class {loss.__name__}: write {loss.__name__}()")
    if not hasattr(loss, "value_and_grad"):
        advice = ": make a loss of it with @nn.loss(on=...)" if callable(loss) else ""
        raise TypeError(f"`loss` must be a loss, got {type(loss).__name__}{advice}")
    on, emits = getattr(loss, "on", None), getattr(model, "emits", None)
    if on not in DOMAINS or emits is None or on in ("output", emits):
        if on == "probs" and isinstance(loss, FusedLoss) and emits == "probs":
            _check_distribution(model, loss)
        return
    # A loss made of a user's function has the function's name.
    name, head = getattr(loss, "__name__", type(loss).__name__), type(_head(model)).__name__
    own = getattr(loss, "head", Softmax).__name__
    if on == "logits" and emits in ("probs", "log_probs"):
        instead = 'the loss with on="probs"' if emits == "probs" else "nn.NLLLoss() as the loss"
        reason, drop = f"the loss applies {own.lower()} itself", f"drop nn.{head}() at the end of the model"
        if own in head:
            reason, drop = f"{own.lower()} would be applied twice", f"{drop}, or take {instead}"
        raise ValueError(f"`loss` must not be on logits after nn.{head}, got {name}: {reason}; {drop}")
    if on == "logits":
        return
    wanted = own if on == "probs" else "LogSoftmax"
    raise ValueError(
        f"`model` must end in nn.{wanted}() for a loss on {on.replace('_', '-')}, got {name} after nn.{head}"
    )


@overload
def value_and_grad(
    model: ModelLike, loss: Loss, x: ArrayLike, y: ArrayLike, *,
    sample_weight: ArrayLike | None = None, input_grad: Literal[False] = False,
) -> float: ...  # fmt: skip
@overload
def value_and_grad(
    model: ModelLike, loss: Loss, x: ArrayLike, y: ArrayLike, *,
    sample_weight: ArrayLike | None = None, input_grad: Literal[True],
) -> tuple[float, Array]: ...  # fmt: skip
def value_and_grad(
    model: ModelLike,
    loss: Loss,
    x: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    input_grad: bool = False,
) -> float | tuple[float, Array]:
    """Return the loss of a model on a batch, and write the gradient over its parameters to ``model.grads``.

    Parameters
    ----------
    model : Sequential
        The model; it runs forward as in training (with dropout), then backward.
    loss : loss
        A loss of this package, or a function made into one by `fastsm.nn.loss`.
    x : array_like
        The batch, shape (N, features).
    y : array_like
        The targets that the loss takes: labels, shape (N,), or numbers, shape (N, C).
    sample_weight : array_like, optional
        A factor for each row, shape (N,).
    input_grad : bool, default False
        Whether to return the gradient over `x` too.

    Returns
    -------
    value : float
        The weighted mean over the rows.
    dx : ndarray
        The gradient over `x`, only with `input_grad`; a buffer that the next call overwrites.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If a shape or value is wrong, or if the loss does not take the model's outputs.

    Notes
    -----
    After `Softmax`, `CrossEntropyLoss`, `FocalLoss` and `KLDivLoss` on probabilities are computed from the
    logits, together with the softmax and its temperature; so is `BCELoss` after `Sigmoid`. Other losses go
    through `fastsm.softmax_vjp`, or the sigmoid's derivative.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> model = nn.Sequential(nn.Linear(2, 3, init="zeros"), nn.Softmax())
    >>> round(nn.value_and_grad(model, nn.CrossEntropyLoss(on="probs"), [[1.0, 2.0]], [0]), 4)
    1.0986
    >>> model.layers[0].grads["bias"].round(4)
    array([-0.6667,  0.3333,  0.3333], dtype=float32)
    """
    if isinstance(model, type) or not (hasattr(model, "forward") and hasattr(model, "backward")):
        raise TypeError(f"`model` must be a model, got {_arguments.shown(model)}")
    if isinstance(model, Layer):
        raise TypeError(f"`model` must be a model, got a layer: give nn.Sequential({model!r})")
    input_grad = _arguments.flag("input_grad", input_grad)
    buffer = _buffers.get(model)
    if buffer is None:
        buffer = _buffers[model] = Buffer()
    objective = Objective(model, loss, buffer)
    value, dx = objective.value_and_grad(x, y, sample_weight=sample_weight, input_grad=input_grad)
    return (value, dx) if input_grad else value  # type: ignore[return-value]


# Memory for the gradient over the outputs of each model.
_buffers: WeakKeyDictionary[ModelLike, Buffer] = WeakKeyDictionary()


def _head(model: object) -> object:
    """Return the last layer of a model, or the model if it has no layers."""
    layers = getattr(model, "layers", None)
    return layers[-1] if layers else model


def _check_distribution(model: object, loss: FusedLoss) -> None:
    """Check that the probabilities of a row sum to 1, as the loss wants it; those of Sigmoid need not."""
    head, name = _head(model), type(loss).__name__
    if isinstance(head, loss.head):
        return
    if isinstance(head, Sigmoid):
        raise ValueError(
            f"`model` must end in nn.Softmax() for {name}, got nn.Sigmoid: its probabilities do not sum to 1;"
            ' for yes-or-no outputs take nn.BCELoss(on="probs")'
        )
    if isinstance(head, Softmax):
        raise ValueError(
            f"`model` must end in nn.{loss.head.__name__}() for {name}, got nn.Softmax: its outputs are not"
            ' independent; for one class among several take nn.CrossEntropyLoss(on="probs")'
        )
