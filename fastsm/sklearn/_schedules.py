"""Learning rates by the names of the schedules in `fastsm.optim`, over all steps of a training."""

from collections.abc import Callable
from typing import Any

from fastsm.optim import schedules

__all__ = ["LEARNING_RATES", "learning_rate"]

# The part of all steps that leads up, in per cent; and how many parts "step" makes of all steps.
_WARM_UP = 10
_PARTS = 3


def _one_cycle(rate: float, steps: int) -> Any:
    return schedules.one_cycle(rate, max(steps, 2))


def _step(rate: float, steps: int) -> Any:
    return schedules.step(rate, -(-steps // _PARTS))


def _warmup_cosine(rate: float, steps: int) -> Any:
    return schedules.warmup_cosine(rate, steps, warmup=steps * _WARM_UP // 100)


_SCHEDULES: dict[str, Callable[[float, int], Any]] = {
    "cosine": schedules.cosine,
    "one_cycle": _one_cycle,
    "step": _step,
    "warmup_cosine": _warmup_cosine,
}
#: The first three change between epochs, by what the training loop knows.
LEARNING_RATES = ("constant", "invscaling", "adaptive", *_SCHEDULES)


def learning_rate(
    which: str | Callable[[int], float], rate: float, *, steps: int, epochs: int
) -> Callable[[int], float]:
    """Return a schedule, as optimizers take it for their learning rate.

    Parameters
    ----------
    which : str or callable
        "cosine", "one_cycle", "step", "warmup_cosine", or a schedule: ``which(step)``, `step` counted from 0.
    rate : float
        The learning rate at the start, or where it is highest. A callable has its own.
    steps : int
        Steps of an epoch.
    epochs : int
        The largest number of epochs.
    """
    if callable(which):
        return which
    schedule: Callable[[int], float] = _SCHEDULES[which](rate, steps * epochs)
    return schedule
