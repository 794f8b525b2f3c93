"""The reports of `check_grads`: on each array, on all arrays, and as an error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ArrayReport", "GradientError", "GradientReport"]


@dataclass(frozen=True)
class ArrayReport:
    """The result for the gradient over one array.

    Attributes
    ----------
    name : str
        The name of the array.
    shape : tuple of int
        Its shape.
    checked : str
        What was checked, such as ``"12 entries"`` or ``"4 directions"``.
    wrong : int
        How many of these are wrong.
    index : tuple of int or None
        The index of the worst entry; None for a direction.
    analytic, numeric : float
        The given gradient there, and that of finite differences.
    scale : float
        The largest entry of the two gradients; for directions, the size that a product may have.
    hint : str
        A simple explanation of the difference, or nothing.
    left_out : int
        How many entries of the array are NaN or infinite, and therefore not checked.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import testing
    >>> report = testing.check_grads(lambda x: ((x**2).sum(), 2 * x), np.array([1.0, 3.0]))
    >>> report.arrays[0].name, report.arrays[0].checked, report.arrays[0].wrong
    ('x', '2 entries', 0)
    """

    name: str
    shape: tuple[int, ...]
    checked: str
    wrong: int
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    scale: float
    hint: str = ""
    left_out: int = 0

    @property
    def error(self) -> float:
        """The difference at the worst entry, relative to the largest entry of the gradient."""
        return abs(self.analytic - self.numeric) / self.scale if self.scale else 0.0

    def __str__(self) -> str:
        """Return one line, or two if something is wrong."""
        place = "a direction" if self.index is None else f"[{', '.join(map(str, self.index))}]"
        left_out = f" ({self.left_out} that are not finite left out)" if self.left_out else ""
        head = f"{self.name} {self.shape}: {self.checked}{left_out}, "
        if not self.wrong:
            return f"{head}largest error {self.error:.1e}"
        text = (
            f"{head}{self.wrong} wrong; the worst is {place}:"
            f" given {self.analytic:.9g}, finite differences {self.numeric:.9g}"
        )
        return f"{text}\n    {self.hint}" if self.hint else text


@dataclass(frozen=True)
class GradientReport:
    """The result of `check_grads`, array by array; `print` shows it.

    Attributes
    ----------
    mode : str
        ``"directional"`` or ``"full"``.
    tolerance : float
        The relative error that is allowed.
    arrays : tuple of ArrayReport
        The result for each array.
    left_out : int
        How many entries of the output are NaN or infinite, and therefore not checked.

    Examples
    --------
    >>> from fastsm import nn, testing
    >>> report = testing.check_grads(nn.Tanh(), [[0.5, -1.0]])
    >>> report.ok, report.worst.name, report.worst.error < 1e-8
    (True, 'x', True)
    """

    mode: str
    tolerance: float
    arrays: tuple[ArrayReport, ...]
    left_out: int = 0

    @property
    def ok(self) -> bool:
        """Whether all gradients are right."""
        return not any(array.wrong for array in self.arrays)

    @property
    def worst(self) -> ArrayReport:
        """The array with the largest error, among the wrong arrays if there are any."""
        return max(self.arrays, key=lambda array: (array.wrong > 0, np.nan_to_num(array.error, nan=np.inf)))

    def __str__(self) -> str:
        """Return a line for each array, after a line that says whether they are right."""
        wrong = ", ".join(array.name for array in self.arrays if array.wrong)
        head = f"wrong gradient over {wrong}" if wrong else "gradients agree with finite differences"
        left_out = f"; {self.left_out} outputs that are not finite left out" if self.left_out else ""
        lines = [f"{head} ({self.mode}, tolerance {self.tolerance:g}{left_out})", *map(str, self.arrays)]
        return "\n".join(lines).replace("\n", "\n  ")


class GradientError(AssertionError):
    """A gradient is wrong; the message says where, and `report` has the numbers.

    Attributes
    ----------
    report : GradientReport
        The full result.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import testing
    >>> try:
    ...     testing.check_grads(lambda x: ((x**2).sum(), x), np.array([1.0, 3.0, 2.0]))
    ... except testing.GradientError as error:
    ...     print(error.report.worst.hint)
    the gradient given is 0.5 times the true one: a missing constant, such as 1/T, or one too much?
    """

    __module__ = "fastsm.testing"  # where users find it

    def __init__(self, message: str, report: GradientReport | None = None) -> None:
        super().__init__(message)
        self.report = report
