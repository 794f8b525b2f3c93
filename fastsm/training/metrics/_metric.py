"""The class of metrics, and their means over many rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments, functional
from fastsm.training._ranks import ALONE, Alone
from fastsm.typing import Array, Domain

__all__ = ["Metric", "RowFunction", "Running"]

RowFunction: TypeAlias = Callable[[Array, Array], ArrayLike]

TAKES = ("output", "scores", "probs", "log_probs")
ON = ("probs", "logits", "log_probs", "output")


class Metric:
    """A mean over rows of a function of their outputs and targets.

    Parameters
    ----------
    rows : callable
        ``rows(outputs, targets)`` returns the value of each row, shape (N,) or (N, K).
    name : str, optional
        The name in a history; by default the name of the function.
    takes : {"output", "scores", "probs", "log_probs"}, default "output"
        The outputs that `rows` takes: "output" is what the model returns, "scores" anything whose largest
        value decides, and probabilities or their logarithms are computed if necessary.
    finish : callable, default float
        ``finish(mean)`` turns the mean over the rows, which has shape () or (K,), into a number.
    larger_is_better : bool, optional
        Whether larger values are better; None if that is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.training import metrics
    >>> error = metrics.Metric(lambda y, t: np.abs(y - t).sum(axis=1), "absolute_error")
    >>> error([[0.5, 0.5], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]])
    0.5
    """

    def __init__(
        self,
        rows: RowFunction,
        name: str | None = None,
        *,
        takes: str = "output",
        finish: Callable[[Array], float] = float,
        larger_is_better: bool | None = None,
    ) -> None:
        for argument, function in (("rows", rows), ("finish", finish)):
            if not callable(function):
                raise TypeError(f"`{argument}` must be callable, got {_arguments.shown(function)}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"`name` must be a string, got {_arguments.shown(name)}")
        self.rows, self.takes, self.finish = rows, _arguments.one_of("takes", takes, TAKES), finish
        self.larger_is_better = larger_is_better
        functools.update_wrapper(self, rows)
        self.name: str = name or getattr(rows, "__name__", None) or type(rows).__name__

    def __repr__(self) -> str:
        """Return the name."""
        return f"<metric {self.name}>"

    def __call__(
        self,
        outputs: ArrayLike,
        targets: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        on: Domain = "probs",
    ) -> float:
        """Return the metric.

        Parameters
        ----------
        outputs : array_like
            Shape (N, C).
        targets : array_like
            Labels, shape (N,), or probabilities or values, shape (N, C).
        sample_weight : array_like, optional
            A factor for each row, shape (N,).
        on : {"probs", "logits", "log_probs"}, default "probs"
            The kind of the outputs.
        """
        x, y = _arguments.matrix("outputs", outputs), _arguments.array("targets", targets)
        if y.shape[:1] != x.shape[:1]:
            raise ValueError(f"`targets` must have {len(x)} rows, got shape {y.shape}")
        weight = (
            None if sample_weight is None else _arguments.weights("sample_weight", sample_weight, x.shape[:1])
        )
        running = Running([self], _arguments.one_of("on", on, ON))
        running.update(x, y, weight)
        return running.results()[self.name]


class Running:
    """Means of metrics over rows that come in blocks.

    The blocks hold outputs of kind `on`, logits of this temperature for instance, and metrics on "output" get
    the kind `gives`. The two differ if the loss computes the last softmax of a model.
    """

    def __init__(
        self, metrics: list[Metric], on: str, temperature: float = 1.0, model_emits: str = "output"
    ) -> None:
        self.metrics, self.on, self.temperature, self.model_emits = metrics, on, temperature, model_emits
        self._sums = [np.zeros(()) for _ in metrics]
        self._weight = 0.0

    def update(self, outputs: Array, targets: Array, weight: Array | None) -> None:
        """Add a block of rows, all with weight 1 if `weight` is None; rows of weight 0 may hold anything."""
        if weight is not None and not weight.all():
            used = weight != 0
            outputs, targets, weight = outputs[used], targets[used], weight[used]
        converted: dict[str, Array] = {}
        for i, metric in enumerate(self.metrics):
            takes = self.model_emits if metric.takes == "output" else metric.takes
            if takes not in converted:
                converted[takes] = convert_outputs(outputs, self.on, takes, self.temperature)
            values = _arguments.array(f"what {metric.name} returns", metric.rows(converted[takes], targets))
            rows = values.astype(np.float64)
            if rows.shape[:1] != outputs.shape[:1] or rows.ndim > 2:
                raise ValueError(
                    f"`{metric.name}` must return a value for each of the {len(outputs)} rows, got shape"
                    f" {rows.shape}"
                )
            self._sums[i] = self._sums[i] + (rows.sum(axis=0) if weight is None else weight @ rows)
        self._weight += len(outputs) if weight is None else float(weight.sum())

    def results(self, ranks: Alone = ALONE) -> dict[str, float]:
        """Return the metrics of all rows on all ranks, NaN without weight, and start again."""
        *sums, total = ranks.sum_numbers([*self._sums, self._weight])
        results = {
            m.name: float(m.finish(s / total)) if total else float("nan")
            for m, s in zip(self.metrics, sums, strict=True)
        }
        self._sums, self._weight = [np.zeros(()) for _ in self.metrics], 0.0
        return results


def convert_outputs(outputs: Array, on: str, takes: str, temperature: float) -> Array:
    """Return outputs of the kind that a metric takes, given outputs of kind `on`."""
    if takes in ("output", "scores") or takes == on:
        return outputs
    if on == "logits":
        function = functional.softmax if takes == "probs" else functional.log_softmax
        return np.asarray(function(outputs, temperature=temperature))
    if on == "log_probs":
        return np.exp(outputs)
    if on == "probs":
        with np.errstate(divide="ignore", invalid="ignore"):  # log 0 = -inf is right, and NaN stays NaN
            return np.asarray(np.log(outputs))
    raise ValueError(
        f"`metrics` must not need {takes}, which the model does not return: end it in nn.Softmax()"
    )
