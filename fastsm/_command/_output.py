"""What a command tells: results on the standard output, everything else on the standard error."""

import json
import math
import os
import sys
from typing import Any, TextIO

__all__ = ["Output", "Silence", "bold", "plain", "printable", "red", "table"]


def _colours(stream: TextIO) -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and stream is not None and stream.isatty()


def bold(words: str) -> str:
    """Return the words in bold face, if the standard output is a terminal that may show it."""
    return f"\033[1m{words}\033[0m" if _colours(sys.stdout) else words


def red(words: str) -> str:
    """Return the words in red, if the standard error is a terminal that may show it."""
    return f"\033[31m{words}\033[0m" if _colours(sys.stderr) else words


def printable(words: str) -> str:
    """Return text from a file as one line for a terminal, which control characters would command."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)


class Output:
    """Lines for people, or with --json an object a line for programs."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.json = bool(settings.get("json"))
        self.quiet = bool(settings.get("quiet"))

    def result(self, words: str, **values: Any) -> None:
        """Print a result; flushed, so that a program that reads along sees it now."""
        if self.json:
            print(json.dumps(plain(values), allow_nan=False), flush=True)
        else:
            print(words, flush=True)

    def note(self, words: str) -> None:
        """Tell what should be known."""
        if not self.quiet:
            print(words, file=sys.stderr, flush=True)

    def progress(self, words: str) -> None:
        """Tell what is going on, if somebody looks."""
        if sys.stderr is not None and sys.stderr.isatty():
            self.note(words)


class Silence(Output):
    """Of the ranks of a training one tells, and the others are silent."""

    def __init__(self) -> None:
        super().__init__({"quiet": True})

    def result(self, words: str, **values: Any) -> None:
        """Say nothing."""


def plain(value: Any) -> Any:
    """Return a value as JSON can have it: NaN and infinities become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(rows: list[list[str]]) -> str:
    """Return lines of columns, the first one aligned to the left and the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
