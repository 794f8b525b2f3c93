"""The classes of metrics, and their values over many rows that come in blocks."""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments, functional, nn
from fastsm.training._ranks import ALONE, Alone
from fastsm.typing import Array, Domain

__all__ = ["Metric", "RowFunction", "Running", "Whole"]

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
        self.rows, self.finish = rows, finish
        self._describe({"rows": rows, "finish": finish}, name, takes, larger_is_better)

    def _describe(
        self, functions: dict[str, Any], name: str | None, takes: str, larger_is_better: bool | None
    ) -> None:
        """Check the arguments, and take the name and documentation of the first function."""
        for argument, function in functions.items():
            if not callable(function):
                raise TypeError(f"`{argument}` must be callable, got {_arguments.shown(function)}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"`name` must be a string, got {_arguments.shown(name)}")
        if larger_is_better is not None:
            _arguments.flag("larger_is_better", larger_is_better)
        self.takes, self.larger_is_better = _arguments.one_of("takes", takes, TAKES), larger_is_better
        function = next(iter(functions.values()))
        functools.update_wrapper(self, function)
        self.name: str = name or getattr(function, "__name__", None) or type(function).__name__

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle a metric that a decorator made by its name, as the name of its function means the metric."""
        name = getattr(self, "__name__", "")
        if getattr(sys.modules.get(self.__module__), name, None) is self:
            return name
        return super().__reduce_ex__(protocol)

    def start(self) -> Any:
        """Return the value of no rows, to which those of blocks are added."""
        return np.zeros(())

    def part(self, outputs: Array, targets: Array, weight: Array | None) -> Any:
        """Return what a block adds: the weighted sum of the values of its rows."""
        values = _arguments.array(f"what {self.name} returns", self.rows(outputs, targets))
        rows = values.astype(np.float64)
        if rows.shape[:1] != outputs.shape[:1] or rows.ndim > 2:
            advice = ": fastsm.training.metrics.Whole calls a function with all rows" * (rows.ndim == 0)
            raise ValueError(
                f"`{self.name}` must return a value for each of the {len(outputs)} rows, got shape"
                f" {rows.shape}{advice}"
            )
        return rows.sum(axis=0) if weight is None else weight @ rows

    def result(self, total: Any, weight: float) -> float:
        """Return the metric, given what all blocks added and the sum of the weights of their rows."""
        return float(self.finish(total / weight))

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


class Whole(Metric):
    """A metric of all rows at once, which is no mean over them.

    All outputs are kept until the end of an epoch, in the memory of each of the ranks of `fit`'s `comm`.

    Parameters
    ----------
    function : callable
        ``function(outputs, targets)`` returns the metric of all rows that count, a number. If rows have
        weights other than 1, it is called with ``sample_weight=`` too, of shape (N,).
    name : str, optional
        The name in a history; by default the name of the function.
    takes : {"output", "scores", "probs", "log_probs"}, default "output"
        The outputs that the function takes: see `Metric`.
    larger_is_better : bool, optional
        Whether larger values are better; None if that is not known.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; when it is computed, if the function takes no weights and rows have them, or
        returns no number.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm.training import metrics
    >>> worst = metrics.Whole(lambda y, t: np.abs(y - t).max(), "worst", larger_is_better=False)
    >>> worst([[0.5], [1.0]], [[1.0], [0.75]])
    0.5
    """

    def __init__(
        self,
        function: Callable[..., float],
        name: str | None = None,
        *,
        takes: str = "output",
        larger_is_better: bool | None = None,
    ) -> None:
        self.function = function
        self._describe({"function": function}, name, takes, larger_is_better)

    def start(self) -> list[tuple[Array, Array, Array]]:
        """Return no blocks."""
        return []

    def part(self, outputs: Array, targets: Array, weight: Array | None) -> list[tuple[Array, Array, Array]]:
        """Return a copy of a block: its memory is used again for the next."""
        return [(outputs.copy(), targets.copy(), np.ones(len(outputs)) if weight is None else weight.copy())]

    def result(self, total: list[tuple[Array, Array, Array]], weight: float) -> float:
        """Return the metric of all blocks."""
        outputs, targets, weights = (np.concatenate(arrays) for arrays in zip(*total, strict=True))
        weighted = {} if (weights == 1).all() else {"sample_weight": weights}
        if weighted and not _takes_weight(self.function):
            raise ValueError(f"`{self.name}` must take sample_weight=, as rows have weights other than 1")
        value = self.function(outputs, targets, **weighted)
        return _arguments.number(
            f"what {self.name} returns", value[()] if isinstance(value, np.ndarray) else value
        )


def _takes_weight(function: Callable[..., object]) -> bool:
    """Whether a function can be called with ``sample_weight=``."""
    try:
        inspect.signature(function).bind(None, None, sample_weight=None)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


class Running:
    """Metrics of rows that come in blocks.

    The blocks hold outputs of kind `on`, logits of this temperature for instance, and metrics on "output" get
    the kind `model_emits`. The two differ if the loss computes the last softmax of a model. If the outputs
    are `binary`, yes-or-no questions, metrics on classes get two classes for each, and rows have the mean;
    but a `Whole` gets several questions as they are, a column each.
    """

    def __init__(
        self,
        metrics: list[Metric],
        on: str,
        temperature: float = 1.0,
        model_emits: str = "output",
        binary: bool = False,
    ) -> None:
        self.metrics, self.on, self.temperature, self.model_emits = metrics, on, temperature, model_emits
        self.binary = binary
        self._start()

    def _start(self) -> None:
        self._totals = [metric.start() for metric in self.metrics]
        self._weight = 0.0

    def update(self, outputs: Array, targets: Array, weight: Array | None) -> None:
        """Add a block of rows, all with weight 1 if `weight` is None; rows of weight 0 may hold anything."""
        if weight is not None and not weight.all():
            used = weight != 0
            outputs, targets, weight = outputs[used], targets[used], weight[used]
        classes, labels, share, converted = outputs, targets, weight, dict[str, Array]()
        if self.binary:
            fused = self.on == "logits" and self.model_emits == "probs"
            converted["output"] = nn.Sigmoid()(outputs) if fused else outputs
            classes, labels = _two_classes(outputs, targets, self.on)
            if outputs.shape[1] > 1:
                rows = np.ones(len(outputs)) if weight is None else weight
                share = np.repeat(rows / outputs.shape[1], outputs.shape[1])
        for i, metric in enumerate(self.metrics):
            takes = metric.takes
            y, w = (targets, weight) if takes == "output" else (labels, share)
            if takes == "output" and not self.binary:
                takes = self.model_emits
            if self.binary and takes != "output" and isinstance(metric, Whole) and outputs.shape[1] > 1:
                flat = convert_outputs(outputs.reshape(-1, 1), self.on, takes, self.temperature)
                x, y, w = flat.reshape(outputs.shape), targets, weight
            else:
                if takes not in converted:
                    converted[takes] = convert_outputs(classes, self.on, takes, self.temperature)
                x = converted[takes]
            self._totals[i] = self._totals[i] + metric.part(x, y, w)
        self._weight += len(outputs) if weight is None else float(weight.sum())

    def results(self, ranks: Alone = ALONE) -> dict[str, float]:
        """Return the metrics of all rows on all ranks, NaN without weight, and start again."""
        # The sum of lists of blocks is the list of all blocks.
        *totals, weight = ranks.sum_numbers([*self._totals, self._weight])
        results = {
            metric.name: metric.result(total, weight) if weight else math.nan
            for metric, total in zip(self.metrics, totals, strict=True)
        }
        self._start()
        return results


def _two_classes(outputs: Array, targets: Array, on: str) -> tuple[Array, Array]:
    """Return each yes-or-no output and target as those of two classes, no and yes: rows of their own."""
    yes, y = outputs.reshape(-1), targets.reshape(-1)
    no = np.zeros_like(yes) if on == "logits" else 1 - yes
    return np.stack([no, yes], axis=1), np.stack([1 - y, y], axis=1) if y.dtype.kind == "f" else y


def convert_outputs(outputs: Array, on: str, takes: str, temperature: float) -> Array:
    """Return outputs of the kind that a metric takes, given outputs of kind `on`."""
    if takes in ("output", "scores") or takes == on:
        return outputs
    if on == "logits" and outputs.shape[1] == 1:  # of a sigmoid: a softmax of one class is 1
        log_probs = -np.logaddexp(0, -outputs.astype(np.float64))
        return np.asarray(np.exp(log_probs) if takes == "probs" else log_probs)
    if on == "logits":
        function = functional.softmax if takes == "probs" else functional.log_softmax
        return np.asarray(function(outputs, temperature=temperature))
    if on == "log_probs":
        return np.exp(outputs)
    if on == "probs":
        with np.errstate(divide="ignore", invalid="ignore"):  # log 0 = -inf is right, and NaN stays NaN
            return np.asarray(np.log(outputs, dtype=np.float64))  # where different numbers stay different
    raise ValueError(
        f"`metrics` must not need {takes}, which the model does not return: end it in nn.Softmax()"
    )
