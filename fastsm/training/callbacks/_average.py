"""The callback that averages the parameters over the steps."""

from __future__ import annotations

import numpy as np

from fastsm import _arguments
from fastsm.training._run import Run
from fastsm.training.callbacks._best import Ordered, are_counts, check_params
from fastsm.typing import Array

__all__ = ["Average"]


class Average(Ordered):
    r"""Gives the model a running mean of its parameters over the steps, which often generalises better.

    After step :math:`t` the mean is :math:`m_t = \sum_i \beta^{t - i} w_i / \sum_i \beta^{t - i}` of the
    parameters after all steps: an exponential moving average [1]_ without the initial parameters.

    Training itself is not changed. The model has the mean from the last step of an epoch on: for the
    validation, for other callbacks' ``on_epoch_end`` (so `EarlyStopping` and `Checkpoint` keep the mean), and
    at the end. For the steps in between it has the parameters that are trained. Checkpoints have both, so
    that a training is resumed to the same bits, and `fastsm.load` reads the mean.

    Parameters
    ----------
    decay : float, default 0.99
        The factor :math:`\beta`, at least 0 and below 1: about the last :math:`1 / (1 - \beta)` steps count.

    Raises
    ------
    TypeError, ValueError
        If `decay` is wrong.

    References
    ----------
    .. [1] B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM
       Journal on Control and Optimization 30, 1992; with the weights of Adam's means (see `optim.Adam`).

    Examples
    --------
    >>> import fastsm
    >>> from fastsm import callbacks, data, nn, optim
    >>> X, y = data.load_digits()
    >>> model = nn.MLP([64, 32, 10], rng=0)
    >>> history = fastsm.fit(model, X[:1500], y[:1500], optimizer=optim.Adam(0.01), epochs=5, rng=0,
    ...                      validation_data=(X[1500:], y[1500:]), callbacks=[callbacks.Average()])
    >>> history["val_accuracy"][-1] > 0.85
    True
    """

    order = -1  # before those that keep or save the parameters

    def __init__(self, decay: float = 0.99) -> None:
        self.decay = _arguments.below_1("decay", decay)
        self._steps = 0
        self._mean: Array | None = None
        #: The parameters that are trained, while the model has the mean.
        self._trained: Array | None = None

    def on_train_begin(self, run: Run) -> None:
        """Forget earlier trainings, unless this one is resumed."""
        if run.epoch == 0:
            self._steps, self._mean, self._trained = 0, None, None

    def on_epoch_begin(self, run: Run) -> None:
        """Give the model the parameters that are trained."""
        if self._trained is not None:
            run.model.params[...] = self._trained
            self._trained = None

    def on_batch_end(self, run: Run) -> None:
        """Update the mean; after the last step of the epoch give it to the model."""
        params = run.model.params
        self._steps += 1
        if self._mean is None:
            self._mean = params.copy()
        else:
            rate = (1 - self.decay) / (1 - self.decay**self._steps)
            self._mean += rate * (params - self._mean)
        if run.step == run.steps:
            self._trained = params.copy()
            params[...] = self._mean

    def on_train_end(self, run: Run) -> None:
        """Give the model the mean, also if the training was interrupted between two steps."""
        if self._mean is not None and self._trained is None:
            run.model.params[...] = self._mean

    def state(self) -> dict[str, object]:
        """Return the state for a checkpoint."""
        arrays = {"mean": self._mean, "trained": self._trained}
        return {"steps": self._steps, **{name: a for name, a in arrays.items() if a is not None}}

    def check_state(self, state: dict[str, object], run: Run) -> None:
        """Raise ValueError if the parameters do not match the model in `run`."""
        check_params(state, run, mean="mean", trained="trained parameters")

    def set_state(self, state: dict[str, object]) -> None:
        """Continue from a state; raise ValueError for a wrong one."""
        steps, mean, trained = (state.get(name) for name in ("steps", "mean", "trained"))
        if not are_counts(steps) or not all(a is None or isinstance(a, np.ndarray) for a in (mean, trained)):
            raise ValueError("`state` must be that of an Average")
        self._steps, self._mean, self._trained = steps, mean, trained  # type: ignore[assignment]
