"""Finite differences, and the comparison of gradients with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fastsm.testing._reports import ArrayReport, GradientError, GradientReport
from fastsm.typing import Array

__all__ = ["Subject", "compare"]

EPSILON = float(np.finfo(np.float64).eps)
STEP = EPSILON ** (1 / 3)  # the rounding and the truncation error of a central difference are about equal
STEPS = tuple(STEP / 32**k for k in range(4))
MOST_ENTRIES = 2000  # the number to check when a direction is wrong


@dataclass
class Subject:
    """A function of arrays that are changed in place, and the gradients to check."""

    arrays: dict[str, Array]
    evaluate: Callable[[], Array]
    # In the shape of the result, 0 where that is not finite. The gradients are of the sum of their product.
    cotangent: Array
    gradients: dict[str, Array]
    factors: dict[str, float] = field(default_factory=dict)  # factors that may be missing, by name
    size: float = 0.0  # the size of the terms of the value, which rounding errors are relative to


def compare(
    subject: Subject, mode: str, directions: int, tolerance: float, rng: np.random.Generator
) -> GradientReport:
    """Compare all gradients with finite differences; raise GradientError if one is wrong."""
    outputs = np.isfinite(subject.evaluate())
    if outputs.size and not outputs.any():
        raise ValueError(
            "`f` must return a finite result, got none: differences of NaN or infinity say nothing"
        )
    reports = []
    for name, array in subject.arrays.items():
        entries = np.flatnonzero(np.isfinite(array))
        if array.size and not len(entries):
            raise ValueError(f"`{name}` must have finite entries, got none: there is nothing to check")
        if mode == "directional" and len(entries) > directions:
            reports.append(_by_directions(subject, name, directions, tolerance, rng))
        else:
            reports.append(_by_entries(subject, name, entries, tolerance))
    report = GradientReport(mode, tolerance, tuple(reports), int(np.sum(~outputs)))
    if not report.ok:
        raise GradientError(str(report), report)
    return report


def _by_entries(subject: Subject, name: str, entries: Array, tolerance: float) -> ArrayReport:
    """Compare some entries, one at a time."""
    array, gradient = subject.arrays[name], subject.gradients[name]
    finite = np.isfinite(array)
    left_out = int(np.sum(~finite))
    scale = float(np.max(np.abs(gradient), initial=0, where=finite))
    base = array.copy()
    analytic, numeric = gradient.reshape(-1)[entries], np.zeros(len(entries))
    right = np.full(len(entries), True)
    for k, entry in enumerate(entries):
        index = np.unravel_index(entry, array.shape)
        size = max(1.0, abs(float(base[index])))

        def move(step: float, index: tuple[np.intp, ...] = index, size: float = size) -> None:
            array[index] = base[index] + step * size

        # The difference is taken over a step of 1 * size.
        given = float(analytic[k]) * size
        value, right[k] = _slope(subject, move, given, tolerance, scale)
        numeric[k] = value / size
        array[index] = base[index]
    if not len(entries):
        return ArrayReport(name, array.shape, "0 entries", 0, None, 0.0, 0.0, 0.0)
    difference = np.abs(analytic - numeric)
    difference[np.isnan(difference)] = np.inf
    worst = int(np.argmax(np.where(right, -1, difference) if not right.all() else difference))
    found = [int(i) for i in np.unravel_index(entries[worst], array.shape)]
    hint = "" if right.all() else _hint(subject, name, entries, analytic, numeric)
    return ArrayReport(
        name, array.shape, f"{len(entries)} entries", int(np.sum(~right)), tuple(found),
        float(analytic[worst]), float(numeric[worst]), max(scale, float(np.max(np.abs(numeric)))), hint,
        left_out,
    )  # fmt: skip


def _by_directions(
    subject: Subject, name: str, directions: int, tolerance: float, rng: np.random.Generator
) -> ArrayReport:
    """Compare along random directions; if one is wrong, look for the wrong entries."""
    array, base = subject.arrays[name], subject.arrays[name].copy()
    finite = np.isfinite(base)
    left_out = int(np.sum(~finite))
    gradient, sizes = np.where(finite, subject.gradients[name], 0), np.where(finite, np.abs(base), 0)
    worst = (0.0, 0.0, 0.0, 0.0)
    for _ in range(directions):
        direction = rng.standard_normal(array.shape) * np.maximum(finite, sizes)

        def move(step: float, direction: Array = direction) -> None:
            array[...] = base + step * direction

        given = float(np.sum(gradient * direction))
        scale = float(np.linalg.norm((gradient * direction).reshape(-1)))
        numeric, right = _slope(subject, move, given, tolerance, scale)
        array[...] = base
        if not right:
            entries = np.flatnonzero(finite)
            if len(entries) > MOST_ENTRIES:
                largest = np.argsort(-np.abs(gradient.reshape(-1)[entries]))[: MOST_ENTRIES // 2]
                some = rng.choice(len(entries), MOST_ENTRIES // 2, replace=False)
                entries = entries[np.union1d(largest, some)]
            report = _by_entries(subject, name, entries, tolerance)
            if report.wrong:
                return report
            worst = (np.inf, given, numeric, scale)
            break
        worst = max(worst, (abs(given - numeric), given, numeric, scale))
    wrong, checked = int(worst[0] == np.inf), f"{directions} directions"
    return ArrayReport(name, array.shape, checked, wrong, None, *worst[1:], left_out=left_out)


def _slope(
    subject: Subject, move: Callable[[float], None], given: float, tolerance: float, scale: float
) -> tuple[float, bool]:
    """Return the derivative along a line, and whether the given one agrees with it.

    If they differ, smaller steps decide, as the function may have a kink or a bend nearby.
    """
    weight = subject.cotangent

    def values(step: float) -> Array:
        move(step)
        return np.where(weight, subject.evaluate(), 0.0)

    previous = np.nan
    slope, allowed = np.nan, 0.0
    for step in STEPS:
        high, low = values(step), values(-step)
        slope = float(np.sum(weight * (high - low))) / (2 * step)
        size = max(float(np.sum(np.abs(weight) * (np.abs(high) + np.abs(low)))), 2 * subject.size)
        noise = 16 * EPSILON * size / (2 * step)
        allowed = tolerance * (max(abs(given), abs(slope)) + 1e-3 * scale) + noise
        if abs(given - slope) <= allowed:
            return slope, True
        if abs(slope - previous) <= allowed:
            break
        previous = slope
    # At a kink the slopes of the two sides differ for any step, and any slope between them is allowed.
    centre = values(0.0)
    sides = [
        [float(np.sum(weight * (values(sign * step) - centre))) / (sign * step) for sign in (-1, 1)]
        for step in STEPS[:2]
    ]
    gaps = [abs(left - right) for left, right in sides]
    is_kink = gaps[1] > 0.5 * gaps[0] and gaps[1] > 100 * allowed
    if is_kink and min(sides[1]) - allowed <= given <= max(sides[1]) + allowed:
        return given, True
    return slope, False


def _hint(subject: Subject, name: str, entries: Array, analytic: Array, numeric: Array) -> str:
    """Return a simple explanation of the difference, or nothing."""
    shape = subject.arrays[name].shape
    if np.isnan(analytic).any() or not np.isfinite(numeric).all():
        return ""
    size = float(np.linalg.norm(numeric))
    if len(entries) == np.prod(shape) and len(shape) == 2 and shape[0] == shape[1]:
        transposed = numeric.reshape(shape).T.reshape(-1)
        if np.linalg.norm(analytic - transposed) <= 1e-4 * size:
            return "the gradient given is the transpose of the true one"
    if size == 0 or not analytic.any():
        return "" if size == 0 else "the gradient given is 0 everywhere"
    factor = float(analytic @ numeric) / size**2
    unexplained = np.linalg.norm(analytic - factor * numeric)
    if unexplained > 1e-4 * np.linalg.norm(analytic) or abs(factor - 1) < 1e-3:
        return ""
    text = f"the gradient given is {factor:.6g} times the true one"
    if abs(factor + 1) < 1e-3:
        return f"{text}: the wrong sign?"
    for symbol, value in subject.factors.items():
        if value != 1 and abs(factor / value - 1) < 1e-3:
            return f"{text}: a missing 1/{symbol}? ({symbol} = {value:g})"
        if value != 1 and abs(factor * value - 1) < 1e-3:
            return f"{text}: 1/{symbol} too much? ({symbol} = {value:g})"
    return f"{text}: a missing constant, such as 1/T, or one too much?"
