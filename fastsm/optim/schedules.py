"""Learning rate schedules: objects that are called with the number of steps done so far.

An optimizer takes any callable: it calls ``lr(step)``, `step` counted from 0, before each step. A step is one
mini-batch; an epoch has ``ceil(N / batch_size)`` steps. After its last step a schedule keeps its final rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fastsm import _arguments

__all__ = ["constant", "cosine", "one_cycle", "step", "warmup_cosine"]

# Larger numbers of steps count as this one.
MOST_STEPS = 1 << 62


def _steps(name: str, value: object, least: int = 1) -> int:
    """Return a number of steps, of at least `least`."""
    return min(_arguments.integer_from(name, value, least), MOST_STEPS)


def _half_cosine(start: float, end: float, fraction: float) -> float:
    """Return the point of half a cosine wave from `start` to `end`, for a fraction from 0 to 1."""
    return end + (start - end) * ((1 + math.cos(math.pi * min(fraction, 1.0))) / 2)


@dataclass(frozen=True)
class constant:
    """The same learning rate at every step.

    Parameters
    ----------
    lr : float
        The learning rate, at least 0.

    Examples
    --------
    >>> from fastsm.optim import schedules
    >>> schedules.constant(0.1)(1000)
    0.1
    """

    lr: float

    def __post_init__(self) -> None:
        """Check the arguments."""
        _arguments.at_least_0("lr", self.lr)

    def __call__(self, step: int) -> float:
        """Return the learning rate of this step."""
        _steps("step", step, 0)
        return self.lr


@dataclass(frozen=True)
class step:
    r"""A factor every `every` steps: :math:`\text{lr} \cdot f^{\lfloor t / n \rfloor}`.

    Parameters
    ----------
    lr : float
        The learning rate at the start.
    every : int
        The number of steps between two changes, at least 1.
    factor : float, default 0.1
        The factor, at least 0.

    Examples
    --------
    >>> from fastsm.optim import schedules
    >>> rate = schedules.step(0.5, every=100, factor=0.5)
    >>> rate(99), rate(100), rate(200)
    (0.5, 0.25, 0.125)
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        """Check the arguments."""
        _arguments.at_least_0("lr", self.lr)
        _steps("every", self.every)
        _arguments.at_least_0("factor", self.factor)

    def __call__(self, step: int) -> float:
        """Return the learning rate of this step."""
        changes = _steps("step", step, 0) // self.every
        try:
            return self.lr * self.factor**changes
        except OverflowError:  # for a factor above 1; optimizers raise for an infinite rate
            return math.inf


@dataclass(frozen=True)
class cosine:
    r"""Half a cosine wave down: :math:`e + (\text{lr} - e)(1 + \cos(\pi t / n)) / 2`.

    This is SGDR [1]_ without the restarts.

    Parameters
    ----------
    lr : float
        The learning rate at step 0.
    steps : int
        The number of steps :math:`n`, at least 1.
    final : float, default 0.0
        The learning rate :math:`e` after them.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017,
       equation 5.

    Examples
    --------
    >>> from fastsm.optim import schedules
    >>> rate = schedules.cosine(1.0, 100)
    >>> rate(0), rate(50), rate(100)
    (1.0, 0.5, 0.0)
    """

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        _arguments.at_least_0("lr", self.lr)
        _steps("steps", self.steps)
        _arguments.at_least_0("final", self.final)

    def __call__(self, step: int) -> float:
        """Return the learning rate of this step."""
        return _half_cosine(self.lr, self.final, _steps("step", step, 0) / self.steps)


@dataclass(frozen=True)
class warmup_cosine:
    r"""A linear warm-up, then half a cosine wave down.

    Step :math:`t` of the first :math:`w` has the learning rate :math:`\text{lr} (t + 1) / w` [1]_; the others
    follow `cosine` over the remaining steps.

    Parameters
    ----------
    lr : float
        The highest learning rate.
    steps : int
        The total number of steps.
    warmup : int
        The number :math:`w` of warm-up steps, less than `steps`.
    final : float, default 0.0
        The learning rate at the end.

    References
    ----------
    .. [1] P. Goyal et al., "Accurate, large minibatch SGD: Training ImageNet in 1 hour", 2017, section 2.2.

    Examples
    --------
    >>> from fastsm.optim import schedules
    >>> rate = schedules.warmup_cosine(1.0, 110, warmup=10)
    >>> rate(0), rate(9), rate(60), rate(110)
    (0.1, 1.0, 0.5, 0.0)
    """

    lr: float
    steps: int
    warmup: int
    final: float = 0.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        _arguments.at_least_0("lr", self.lr)
        _steps("steps", self.steps)
        _steps("warmup", self.warmup, 0)
        _arguments.at_least_0("final", self.final)
        if self.warmup >= self.steps:
            shown = _arguments.shown(self.steps), _arguments.shown(self.warmup)
            raise ValueError(f"`warmup` must be less than `steps`, {shown[0]}, got {shown[1]}")

    def __call__(self, step: int) -> float:
        """Return the learning rate of this step."""
        step = _steps("step", step, 0)
        if step < self.warmup:
            rate, steps = self.lr * (step + 1), min(self.warmup, MOST_STEPS)
            return rate / steps if rate < math.inf else self.lr * ((step + 1) / steps)
        return _half_cosine(self.lr, self.final, (step - self.warmup) / (self.steps - self.warmup))


@dataclass(frozen=True)
class one_cycle:
    r"""Half a cosine wave up to a peak, then another down to almost nothing.

    The rate starts at ``lr / start_factor``, reaches `lr` after the part `warmup` of the steps, and ends at
    ``lr / start_factor / final_factor`` in the last step. Momentum does not change. The idea is from [1]_;
    the cosine waves and the defaults are those of ``torch.optim.lr_scheduler.OneCycleLR``.

    Parameters
    ----------
    lr : float
        The learning rate at the peak.
    steps : int
        The total number of steps, at least 2.
    warmup : float, default 0.3
        The part of the steps before the peak, above 0 and below 1.
    start_factor : float, default 25.0
        The peak rate divided by the start rate, at least 1.
    final_factor : float, default 1e4
        The start rate divided by the final rate, at least 1.

    References
    ----------
    .. [1] L. N. Smith and N. Topin, "Super-convergence: Very fast training of neural networks using large
       learning rates", 2018, section 3.

    Examples
    --------
    >>> from fastsm.optim import schedules
    >>> rate = schedules.one_cycle(1.0, 101, warmup=0.5)
    >>> [round(rate(t), 4) for t in (0, 50, 100)]
    [0.04, 0.9998, 0.0]
    """

    lr: float
    steps: int
    warmup: float = 0.3
    start_factor: float = 25.0
    final_factor: float = 1e4

    def __post_init__(self) -> None:
        """Check the arguments."""
        _arguments.at_least_0("lr", self.lr)
        _steps("steps", self.steps, 2)
        _arguments.between_0_and_1("warmup", self.warmup)
        _arguments.at_least_1("start_factor", self.start_factor)
        _arguments.at_least_1("final_factor", self.final_factor)

    def __call__(self, step: int) -> float:
        """Return the learning rate of this step."""
        step, start = _steps("step", step, 0), self.lr / self.start_factor
        steps = min(self.steps, MOST_STEPS)
        peak, last = self.warmup * steps - 1, steps - 1
        if step < peak:
            return _half_cosine(start, self.lr, step / peak)
        # With few steps the peak may lie before the first one.
        return _half_cosine(self.lr, start / self.final_factor, (step - peak) / (last - peak))


#: Schedules by name, for `fit`, the command and the estimators: functions of the highest learning rate and
#: the total number of steps.
SCHEDULES: dict[str, Callable[[float, int], Callable[[int], float]]] = {
    "constant": lambda lr, steps: constant(lr),
    "cosine": cosine,
    "warmup_cosine": lambda lr, steps: warmup_cosine(lr, max(steps, 2), warmup=max(steps // 20, 1)),
    "one_cycle": lambda lr, steps: one_cycle(lr, max(steps, 2)),
    "step": lambda lr, steps: step(lr, every=-(-steps // 3)),
}
