"""The base class of the optimizers: checks, the learning rate, steps, and flat arrays of state."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

import numpy as np

from fastsm import _arguments
from fastsm.typing import Array

__all__ = ["LearningRate", "Optimizer"]

LearningRate: TypeAlias = float | Callable[[int], float]


class Optimizer:
    """Base class of the optimizers: the learning rate, the steps done, and flat arrays of state.

    Use a subclass: `SGD`, `RMSprop`, `Adam`, `AdamW`, or your own, with ``state_names`` and ``update``.

    Attributes
    ----------
    lr : float or callable
        The learning rate, or a schedule: ``lr(step)``, `step` counted from 0. May be set at any time.
    steps : int
        The number of steps done.
    state : dict of str to ndarray
        Arrays kept from step to step, with one value for each parameter; made in the first step.

    Examples
    --------
    An optimizer of your own, which steps by the sign of the gradient:

    >>> import numpy as np
    >>> from fastsm import optim
    >>> class SignDescent(optim.Optimizer):
    ...     def state_names(self):
    ...         return ()
    ...     def update(self, params, grads, *, rate, decay, scale):
    ...         params -= rate * (np.sign(grads) + decay * params)
    >>> w = np.array([1.0, -2.0])
    >>> optimizer = SignDescent(0.5, weight_decay=0.0, decay_biases=True)
    >>> optimizer.step(w, 2 * w)
    >>> w, optimizer.steps
    (array([ 0.5, -1.5]), 1)
    """

    # The arguments of the constructor, which are also attributes.
    _options: ClassVar[tuple[str, ...]] = ("lr", "weight_decay", "decay_biases")

    def __init__(self, lr: LearningRate, weight_decay: float, decay_biases: bool) -> None:
        self.lr = lr
        self.weight_decay = _arguments.at_least_0("weight_decay", weight_decay)
        self.decay_biases = _arguments.flag("decay_biases", decay_biases)
        self.steps = 0
        self.state: dict[str, Array] = {}
        # The arrays that passed the check, which is not repeated for them.
        self._params: Array | None = None
        self._grads: Array | None = None

    def __getstate__(self) -> dict[str, object]:
        """Return the attributes to copy and pickle: all but the arrays, which belong to the model."""
        return {**self.__dict__, "_params": None, "_grads": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Take over the attributes; arrays mapped from a file, as joblib does, become ordinary ones."""
        self.__dict__.update(state)
        self.state = {
            name: np.require(array, None, ["C", "A", "W", "O", "E"]) for name, array in self.state.items()
        }

    def __repr__(self) -> str:
        """Return the call that makes this optimizer."""
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._options)
        return f"{type(self).__name__}({options})"

    @property
    def lr(self) -> LearningRate:
        """The learning rate, or its schedule."""
        return self._lr

    @lr.setter
    def lr(self, value: LearningRate) -> None:
        self._lr = value if callable(value) else _arguments.at_least_0("lr", value)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        rate = self._lr
        return _arguments.at_least_0("lr", rate(self.steps)) if callable(rate) else rate

    def step(self, params: Array, grads: Array, *, decayed: int | None = None, scale: float = 1.0) -> None:
        """Update the parameters in place.

        Parameters
        ----------
        params, grads : ndarray
            Parameters and their gradient: flat, contiguous, both float32 or both float64. Every step must
            have the same length and dtype.
        decayed : int, optional
            How many of the first parameters decay, for ``decay_biases=False``; pass ``model.decayed``.
        scale : float, default 1.0
            A factor of the gradient, such as for clipping.

        Raises
        ------
        TypeError, ValueError
            If the arrays do not fit, or the schedule returns an unusable learning rate.
        """
        if params is not self._params or grads is not self._grads:
            self._accept(params, grads)
        if type(scale) is not float:
            scale = _arguments.number("scale", scale)
        rate, decay, arrays = self.learning_rate, self.weight_decay, self.state.values()
        if decay == 0 or self.decay_biases:
            self.update(params, grads, *arrays, rate=rate, decay=decay, scale=scale)
        elif decayed is None:
            raise ValueError("`decayed` must be given with decay_biases=False: pass model.decayed")
        else:
            stop = _arguments.integer_from("decayed", decayed, 0, params.size)
            for part, its_decay in ((slice(stop), decay), (slice(stop, None), 0.0)):
                parts = [a[part] for a in (params, grads, *arrays)]
                self.update(*parts, rate=rate, decay=its_decay, scale=scale)
        self.steps += 1

    def restore(self, steps: int, state: dict[str, Array]) -> None:
        """Continue from copies of the `steps` and the `state` of another optimizer of this class.

        Parameters
        ----------
        steps : int
            The number of steps done.
        state : dict of str to ndarray
            Empty if no step has been done.

        Raises
        ------
        TypeError, ValueError
            If `steps` is not a number of steps, or the arrays are not those of this optimizer.
        """
        count = _arguments.integer_from("steps", steps, 0, (1 << 62) - 1)
        if not isinstance(state, dict):
            raise TypeError(f"`state` must be a dict of arrays, got {type(state).__name__}")
        if state and set(state) != set(self.state_names()):
            raise ValueError(f"`state` must hold {self.state_names()}, got {_arguments.shown(tuple(state))}")
        copies = {name: _arguments.array(name, state[name]).copy() for name in self.state_names() if state}
        self.steps, self.state = count, copies
        self._params = self._grads = None

    def _accept(self, params: Array, grads: Array) -> None:
        """Check the arrays, and make the state in the first step."""
        for name, array in (("params", params), ("grads", grads)):
            if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
                kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                raise TypeError(f"`{name}` must be an array of float32 or float64, got {kind}")
            if type(array) is not np.ndarray:
                raise TypeError(f"`{name}` must be an ordinary array, got {type(array).__name__}")
            if array.ndim != 1 or not array.flags.c_contiguous:
                raise ValueError(f"`{name}` must be flat and contiguous, got shape {array.shape}")
            if not array.flags.aligned:
                raise ValueError(f"`{name}` must be aligned in memory, got a misaligned array")
        if grads.shape != params.shape or grads.dtype != params.dtype:
            expected, got = f"{params.dtype}{params.shape}", f"{grads.dtype}{grads.shape}"
            raise ValueError(f"`grads` must be like `params`, {expected}, got {got}")
        if not params.flags.writeable:
            raise ValueError("`params` must be writeable, got a read-only array")
        if _arguments.share_memory(params, grads):
            raise ValueError("`grads` must not overlap `params`, got an array that shares its memory")
        self._complete_state(params)
        for array in self.state.values():
            if array.shape != params.shape or array.dtype != params.dtype:
                expected, got = f"{array.dtype}{array.shape}", f"{params.dtype}{params.shape}"
                raise ValueError(f"`params` must be like those of the previous steps, {expected}, got {got}")
        self._params, self._grads = params, grads

    def _complete_state(self, like: Array) -> None:
        """Keep the arrays that `state_names` names, and add zeros for those that are missing."""
        kept = self.state
        self.state = {n: kept[n] if n in kept else np.zeros_like(like) for n in self.state_names()}

    def state_names(self) -> tuple[str, ...]:
        """Return the names of the arrays of state, in the order in which `update` takes them."""
        raise NotImplementedError

    def update(self, *arrays: Array, rate: float, decay: float, scale: float) -> None:
        """Update some parameters, given their gradient and their parts of the arrays of state."""
        raise NotImplementedError
