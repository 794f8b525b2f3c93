"""Training and inference beside other libraries, and beside the matrix products alone."""

from collections.abc import Callable
from typing import Any

from fastsm._bench import Settings
from fastsm._bench.training.tables import tables

__all__ = ["measure", "tables"]


def measure(settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure epochs of training and calls of networks, and estimators beside scikit-learn's."""
    from fastsm._bench.libraries import load
    from fastsm._bench.training import epochs, estimators, inference, trainers

    libraries = load(trainers.__name__, trainers.LIBRARIES, settings)
    return {
        "training": epochs.measure(libraries, settings, tell),
        "inference": inference.measure(libraries, settings, tell),
        "estimators": estimators.measure(libraries, settings, tell),
        "versions": libraries.versions,
        "missing": libraries.missing,
    }
