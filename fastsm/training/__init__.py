"""Training: `fit`, what it returns and raises, its callbacks and metrics."""

from fastsm.training import callbacks, metrics
from fastsm.training._fit import evaluate, fit
from fastsm.training._history import History
from fastsm.training._run import Run, TrainingDiverged

__all__ = ["History", "Run", "TrainingDiverged", "callbacks", "evaluate", "fit", "metrics"]
