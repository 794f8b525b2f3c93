"""Loss and metrics of a model: over data, and running over the batches of a training."""

from __future__ import annotations

import math

import numpy as np

from fastsm import nn
from fastsm.nn._objective import Objective, unused_rows, without_unused
from fastsm.nn._structure import output_shapes
from fastsm.training._batches import Rows
from fastsm.training._ranks import ALONE, Alone
from fastsm.training.metrics._metric import Metric, Running
from fastsm.typing import Array

__all__ = ["BLOCK", "Evaluation", "Recorder"]

# Rows that go through the model together where no gradient is needed, and that metrics are computed of.
BLOCK = 1024


class Evaluation:
    """What the metrics of a model with a loss are computed from."""

    def __init__(self, objective: Objective, metrics: list[Metric]) -> None:
        self.objective, self.metrics = objective, metrics
        model, loss = objective.model, objective.loss
        self.ignored: int | None = getattr(loss, "ignore_index", None)
        emits = model.emits
        self.model_emits = "output"
        self.binary = isinstance(loss, nn.BCELoss)
        if objective.stop is not None:  # a softmax or sigmoid that is taken together with the loss
            self.on, self.temperature = "logits", float(getattr(model.layers[-1], "temperature", 1.0))
            self.model_emits = "probs"
        elif emits in ("probs", "log_probs"):
            self.on, self.temperature = emits, 1.0
        else:
            self.on = getattr(loss, "on", "output")
            self.temperature = float(getattr(loss, "temperature", 1.0))

    @property
    def names(self) -> tuple[str, ...]:
        """What is evaluated."""
        return ("loss", *(metric.name for metric in self.metrics))

    @np.errstate(all="ignore")  # data that are not finite are reported by `check`
    def __call__(self, rows: Rows, batch_size: int, ranks: Alone = ALONE) -> dict[str, float]:
        """Return the loss and the metrics over data, without dropout; ranks share the work."""
        objective, running = self.objective, self.running()
        total = weights = 0.0
        for x, y, weight in rows.batches(batch_size, self.positions(rows, ranks)):
            x = np.asarray(without_unused(x, unused_rows(objective.loss, y, weight)))
            outputs = objective.model._infer_through(x, objective.stop)
            block_weight = objective.inner_loss.total_weight(y, weight)
            total += objective.inner_loss(outputs, y, sample_weight=weight) * block_weight
            weights += block_weight
            self.update(running, outputs, y, weight)
        total, weights = ranks.sum_numbers([total, weights])
        return {"loss": total / weights if weights else 0.0, **running.results(ranks)}

    def check(self, rows: Rows, results: dict[str, float]) -> None:
        """Raise ValueError if the loss is not finite because the data are not."""
        fault = None if math.isfinite(results["loss"]) else rows.first_fault(self.ignored)
        if fault is not None:
            raise ValueError(f"{fault}: data must be finite in all rows that count")

    def check_metrics(self, rows: Rows) -> None:
        """Raise ValueError, before any step, if the metrics do not take the single output of the model."""
        model = self.objective.model
        if len(rows) and output_shapes(model.layers)[-1] == (1,):
            for x, y, weight in rows.batches(1, np.arange(1)):
                self.update(self.running(), model._infer_through(x, self.objective.stop), y, weight)

    def positions(self, rows: Rows, ranks: Alone) -> Array:
        """Return the rows that are evaluated here: all, or a rank's part of them."""
        return ranks.evaluated_rows(len(rows))

    def running(self) -> Running:
        """Return means to which `update` adds."""
        return Running(self.metrics, self.on, self.temperature, self.model_emits, self.binary)

    def update(self, running: Running, outputs: Array, targets: Array, weight: Array | None) -> None:
        """Add the rows that count."""
        if self.ignored is not None and targets.ndim == 1:
            kept = targets != self.ignored
            outputs, targets = outputs[kept], targets[kept]
            weight = None if weight is None else weight[kept]
        running.update(outputs, targets, weight)


class Recorder:
    """Keeps the outputs of many small batches, so that metrics are computed for a thousand rows at once."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self._running = evaluation.running()
        self._outputs: Array | None = None
        self._targets = self._weight = np.empty(0)
        self._count = 0

    def add(self, outputs: Array, targets: Array, weight: Array | None) -> None:
        """Copy the outputs and targets of a batch."""
        start, end = self._count, self._count + len(targets)
        if self._outputs is None or end > len(self._outputs):
            self._flush()
            start, end = 0, len(targets)
            if self._outputs is None or end > len(self._outputs):
                size = max(BLOCK, end)
                self._outputs = np.empty((size, *outputs.shape[1:]), outputs.dtype)
                self._targets = np.empty((size, *targets.shape[1:]), targets.dtype)
                self._weight = np.ones(size)
        self._outputs[start:end] = outputs
        self._targets[start:end] = targets
        if weight is not None:
            self._weight[start:end] = weight
        self._count = end

    def results(self, ranks: Alone = ALONE) -> dict[str, float]:
        """Return the metrics over all that was added, by all ranks, and start again."""
        self._flush()
        return self._running.results(ranks)

    def _flush(self) -> None:
        n = self._count
        if n and self._outputs is not None:
            self.evaluation.update(self._running, self._outputs[:n], self._targets[:n], self._weight[:n])
        self._count = 0
