"""Print results on the standard output and everything else on the standard error."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import TextIO

__all__ = ["Output", "SilentOutput", "bold", "json_value", "printable", "red", "table"]


def _colours(stream: TextIO) -> bool:
    off = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not off and stream is not None and stream.isatty()


def bold(words: str) -> str:
    """Return the words in bold face if the standard output is a terminal with colours."""
    return f"\033[1m{words}\033[0m" if _colours(sys.stdout) else words


def red(words: str) -> str:
    """Return the words in red if the standard error is a terminal with colours."""
    return f"\033[31m{words}\033[0m" if _colours(sys.stderr) else words


def printable(words: str) -> str:
    """Return text from a file in one line, with control characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)


class Output:
    """Prints lines for people or, with --json, a JSON object per line for programs."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self.json = bool(settings.get("json"))
        self.quiet = bool(settings.get("quiet"))

    def result(self, words: str, **values: object) -> None:
        """Print a result and flush it, so that a program that reads the output gets it at once."""
        if self.json:
            print(json.dumps(json_value(values), allow_nan=False), flush=True)
        else:
            print(words, flush=True)

    def note(self, words: str) -> None:
        """Print a note, unless --quiet is given."""
        if not self.quiet:
            print(words, file=sys.stderr, flush=True)

    def progress(self, words: str) -> None:
        """Print a note if the standard error is a terminal."""
        if sys.stderr is not None and sys.stderr.isatty():
            self.note(words)


class SilentOutput(Output):
    """Prints nothing: for all ranks of a training but the first."""

    def __init__(self) -> None:
        super().__init__({"quiet": True})

    def result(self, words: str, **values: object) -> None:
        """Do nothing."""


def json_value(value: object) -> object:
    """Return a value in the types of JSON; NaN and infinities become null."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if hasattr(value, "tolist"):
        return json_value(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(rows: list[list[str]]) -> str:
    """Return lines of columns, the first aligned to the left and the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
