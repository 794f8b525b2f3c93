"""Describe a table to people: its label, its columns, and what is left out."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import numpy as np

from fastsm._command._output import printable
from fastsm.data import Choice, Number, Splits, Table
from fastsm.data._fitting import LABELS

__all__ = ["column_lines", "table_lines"]

_MANY = 50  # classes that are whole numbers, more than people give to classes
_WIDTH, _WORDS = 80, 34


def table_lines(table: Table, splits: Splits, asked: bool) -> list[str]:
    """Return what the command says of a table before it trains; `asked` is whether the label was given."""
    parts = [part for part in (splits.train, splits.val, splits.test) if part is not None]
    why = "as asked" if asked else "by its name" if table.label.lower() in LABELS else "the last column"
    name = printable(table.label[:30])
    head = f"{printable(splits.name)}: {sum(map(len, parts)):,} rows; label `{name}` ({why}): "
    if table.classes:
        counts = np.bincount(np.concatenate([part.y for part in parts]), minlength=len(table.classes))
        if len(table.classes) > 2:
            head += f"{len(table.classes)} classes, "
        words = (f"{printable(c[:20])} {n:,}" for c, n in zip(table.classes, counts, strict=True))
        lines = [head + _few(words, max(_WIDTH - len(head), 30))]
    else:
        lines = [f"{head}numbers, mean {table.scale[0]:.4g}, deviation {table.scale[1]:.4g}"]
    if len(table.classes) > _MANY and all(name.lstrip("-").isdecimal() for name in table.classes):
        lines.append("  the classes are numbers: to learn their values, --task regression")
    if table.order[:1] == ("column 1",):
        lines.append(
            "  no header: the first line is data, and the columns are called column 1, column 2, ..."
        )
    return lines + column_lines(table)


def column_lines(table: Table) -> list[str]:
    """Return a line for each kind of column, and for each reason to leave columns out."""
    numbers = [c for c in table.columns if isinstance(c, Number)]
    choices = [c for c in table.columns if isinstance(c, Choice)]
    if table.shape is not None:
        sides = " x ".join(map(str, table.shape))
        lines = [_line("pixels", (c.name for c in numbers), f"images of {sides}, bytes divided by 255")]
    else:
        missing = any(c.median is not None for c in numbers)
        what = "scaled; missing: the median, noted" if missing else "scaled"
        lines = [_line("numbers", map(_number, numbers), what)] if numbers else []
    if choices:
        other = "; rare ones: other" if any(c.other for c in choices) else ""
        lines.append(
            _line("choices", (f"{c.name} ({len(c.values)})" for c in choices), f"one input each{other}")
        )
    for reason in dict.fromkeys(table.left_out.values()):
        names = [name for name, its in table.left_out.items() if its == reason]
        advice = "" if reason == "as asked" else f"--keep {shlex.quote(names[0])}"
        lines.append(_line("left out", names, advice, f" ({reason})"))
    return lines


def _number(column: Number) -> str:
    share = f"{column.missing:.0%}" if column.missing >= 0.005 or not column.missing else "< 1 %"
    return (
        column.name
        if column.median is None
        else f"{column.name} ({share.replace('%', ' %')} missing)".replace("  ", " ")
    )


def _line(kind: str, names: Iterable[str], what: str, after: str = "") -> str:
    words = _few(map(printable, names), _WORDS - len(after)) + after
    return printable(f"  {kind:<8} {words:<{_WORDS}} {what}".rstrip())


def _few(words: Iterable[str], width: int) -> str:
    """Return as many words as fit, and how many there are besides."""
    words = list(words)
    shown = ", ".join(words)
    count = len(words)
    while len(shown) > width and count > 1:
        count -= 1
        shown = f"{', '.join(words[:count])}, {len(words) - count:,} more"
    return shown if len(shown) <= 2 * width else f"{shown[:width]}..."
