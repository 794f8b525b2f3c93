"""What layers, losses and communicators of your own have: protocols, to read and for type checkers.

Callbacks have no protocol, as each of their methods may be missing: see `fastsm.callbacks`.
"""

from typing import Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Array",
    "Communicator",
    "DType",
    "Domain",
    "Float",
    "LayerLike",
    "Loss",
    "ModelLike",
    "Reduction",
    "Stateful",
]

Array: TypeAlias = NDArray[Any]
DType: TypeAlias = np.dtype[Any]
Domain: TypeAlias = Literal["logits", "log_probs", "probs", "output"]
Float = TypeVar("Float", bound=np.floating[Any])
Reduction: TypeAlias = Literal["mean", "sum", "none"]


class LayerLike(Protocol):
    """A layer that `fastsm.nn.Sequential` takes.

    `forward` keeps what `backward` needs and does not write to `x`; `backward` returns the gradient over `x`.
    They may be ``forward(x, training=False)`` and ``backward(dy, input_grad=True)``. A layer may also have

    * dictionaries ``params`` and ``grads``, made in ``initialize(rng, dtype)`` if you like; `backward` then
      assigns the gradients: ``self.grads["weight"] = ...``;
    * ``undecayed``, the names of parameters that weight decay may leave out;
    * ``emits``, what comes out: "output", "probs" or "log_probs";
    * ``__call__(x)`` for inference, without which `forward` of a shallow copy is called;
    * ``config()``, the arguments that make such a layer, in the types of JSON, for files;
    * ``state()`` and ``set_state(state)``, what else a checkpoint must hold.
    """

    def forward(self, x: Array, /) -> Array:
        """Return the output for `x`, shape (N, features)."""

    def backward(self, dy: Array, /) -> Array | None:
        """Return the gradient over the last `x`, given that over its output."""


class ModelLike(Protocol):
    """A model that `fastsm.nn.value_and_grad` takes: `fastsm.nn.Sequential`, or one of your own."""

    def forward(self, x: ArrayLike, /, training: bool = False) -> Array:
        """Return the output for `x`, shape (N, features)."""

    def backward(self, dy: ArrayLike, /, input_grad: bool = True) -> Array | None:
        """Return the gradient over the last `x`, and leave those over the parameters in the model."""


@runtime_checkable
class Stateful(Protocol):
    """What a layer or callback has that keeps more than its arguments and parameters, for checkpoints."""

    def state(self) -> dict[str, Any]:
        """Return it, as plain values and arrays."""

    def set_state(self, state: dict[str, Any], /) -> None:
        """Continue from it; if it cannot be, raise TypeError or ValueError and change nothing."""


class Loss(Protocol):
    """A loss that `fastsm.fit` takes: those of `fastsm.nn`, and what `fastsm.nn.loss` makes of a function.

    Its ``on`` says what it is given: "logits", "log_probs", "probs" or "output", whatever a model returns.
    """

    @property
    def on(self) -> str:
        """What the loss is given."""

    def __call__(self, outputs: ArrayLike, targets: Any, *, sample_weight: ArrayLike | None = None) -> float:
        """Return the weighted mean over the rows."""

    def value_and_grad(
        self,
        outputs: ArrayLike,
        targets: Any,
        *,
        sample_weight: ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and its gradient over the outputs."""

    def total_weight(self, targets: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return what the mean divides by."""


class Communicator(Protocol):
    """What is used of a communicator of mpi4py, such as ``MPI.COMM_WORLD``."""

    def Get_rank(self) -> int:
        """Return the number of this process."""

    def Get_size(self) -> int:
        """Return the number of processes."""

    def Allreduce(self, sendbuf: Any, recvbuf: Any, op: Any = ..., /) -> None:
        """Combine the arrays of all processes."""

    def allgather(self, sendobj: Any, /) -> list[Any]:
        """Return the objects of all processes."""

    def bcast(self, obj: Any, root: int = ..., /) -> Any:
        """Return the object of one process."""
