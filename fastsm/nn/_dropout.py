"""Dropout."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm._arguments import integer
from fastsm._kernels import kernels
from fastsm.nn._layer import Layer
from fastsm.typing import Array, Config, DType

__all__ = ["Dropout"]

# The count of elements starts again from 0 here, in the kernel too.
WRAP = 2**64


class Dropout(Layer):
    r"""Set elements to 0 at random in training, and divide the others by ``1 - probability``.

    Input and output have the same shape. Without ``training=True`` the output equals the input.

    Parameters
    ----------
    probability : float, default 0.5
        The probability that an element becomes 0; in [0, 1).
    rng : None, int or numpy.random.Generator
        The source of the layer's seed; by default the `rng` of the model.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or value.

    Notes
    -----
    ``y = x * keep / (1 - probability)`` and ``dx = dy * keep / (1 - probability)`` [1]_. Whether an element
    is kept is a function of the seed and of the number of elements before it. So no mask is in memory: the
    backward pass computes it again, and needs neither input nor output.

    References
    ----------
    .. [1] N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov, "Dropout: a simple way
       to prevent neural networks from overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> layer = nn.Dropout(0.2, rng=0)
    >>> x = np.ones((100, 100))
    >>> y = layer.forward(x, training=True)
    >>> sorted({float(value) for value in y.flat})
    [0.0, 1.25]
    >>> bool((layer.backward(x) == y).all())
    True
    >>> bool((layer(x) == x).all())
    True
    """

    def __init__(self, probability: float = 0.5, *, rng: int | np.random.Generator | None = None) -> None:
        super().__init__()
        self.probability = _arguments.below_1("probability", probability)
        self._seed = None if rng is None else _draw_seed(_arguments.generator(rng))
        #: The number of elements that have passed in training.
        self._count = 0
        #: The number before the last batch; None if nothing was dropped from it.
        self._first: int | None = None
        self._part: tuple[int, int] | None = None

    def initialize(self, rng: np.random.Generator, dtype: DType) -> None:
        """Draw the seed, unless the layer has one.

        Parameters
        ----------
        rng : numpy.random.Generator
            The source of the seed.
        dtype : numpy.dtype
            Ignored.
        """
        if self._seed is None:
            self._seed = _draw_seed(rng)

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        """Return the layer's output and keep what `backward` needs.

        Parameters
        ----------
        x : array_like
            Any shape, with one row for each sample.
        training : bool, default False
            Whether to drop anything.

        Returns
        -------
        ndarray
            A buffer of the layer, valid until the next call.
        """
        return self._forward(self._enter(x), _arguments.flag("training", training), reuse=False)

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON; `state` has the seed."""
        return {"probability": self.probability}

    def state(self) -> dict[str, int]:
        """Return what determines the elements that will be dropped, in the types of JSON.

        Returns
        -------
        dict
            ``"seed"``, and ``"count"``: the number of elements that have passed in training.
        """
        if self._seed is None:
            self._seed = _draw_seed(np.random.default_rng())
        return {"seed": self._seed, "count": self._count}

    def set_state(self, state: dict[str, int]) -> None:
        """Continue from a state: drop the same elements as from when `state` returned it.

        Parameters
        ----------
        state : dict
            As `state` returns it.

        Raises
        ------
        TypeError, ValueError
            If `state` is anything else.
        """
        if not isinstance(state, dict):
            raise TypeError(f"`state` must be a dict with a seed and a count, got {_arguments.shown(state)}")
        seed, count = (integer(state.get(name)) for name in ("seed", "count"))
        if len(state) != 2 or seed is None or count is None or not (0 <= seed < WRAP and 0 <= count < WRAP):
            message = f"`state` must have a seed and a count in [0, 2**64), got {_arguments.shown(state)}"
            raise ValueError(message)
        self._seed, self._count = seed, count

    def _set_part(self, part: tuple[int, int] | None) -> None:
        """Take the next rows as a part of a batch that processes share: (rows before them, all rows)."""
        self._part = part

    def _forward(self, x: Array, training: bool, reuse: bool) -> Array:
        y = x if reuse else self._output.like(x)
        self._saved = y
        if training and self.probability > 0:
            if self._seed is None:
                self._seed = _draw_seed(np.random.default_rng())
            before, size = 0, x.size
            if self._part is not None:
                before, size = (rows * (x.size // len(x)) for rows in self._part)
            self._first = (self._count + before) % WRAP
            self._count = (self._count + size) % WRAP
            kernels.dropout(x, y, self.probability, self._seed, self._first)
        else:
            self._first = None
            if not reuse:
                y[...] = x
        return y

    def _backward(self, dy: Array, input_grad: bool, reuse: bool) -> Array | None:
        # The Jacobian is the diagonal matrix of the forward pass, which does not depend on x.
        if not input_grad:
            return None
        dx = dy if reuse else self._input_gradient.like(dy)
        if self._first is not None:
            kernels.dropout(dy, dx, self.probability, self._seed or 0, self._first)
        elif not reuse:
            dx[...] = dy
        return dx

    def _infer(self, x: Array, reuse: bool) -> Array:
        return x if reuse else x.copy()


def _draw_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**64, dtype=np.uint64))
