"""Exit codes, and errors that are printed in one line."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "BAD_DATA", "DIVERGED", "FAILURE", "INTERRUPTED", "OK", "USAGE",
    "CommandError", "UsageError", "did_you_mean",
]  # fmt: skip

OK, FAILURE, USAGE, BAD_DATA, DIVERGED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class CommandError(Exception):
    """An error that ends the command with one line on the standard error and this exit code."""

    def __init__(self, message: str, code: int = FAILURE) -> None:
        super().__init__(message)
        self.code = code


class UsageError(CommandError):
    """The command was called wrongly."""

    def __init__(self, message: str) -> None:
        super().__init__(message, USAGE)


def did_you_mean(word: object, choices: Iterable[str]) -> str:
    """Return the choice that is most like a misspelt word, as the end of a message."""
    try:  # not above: a wrong variable such as FASTSM_ISA is reported later, in one line
        from fastsm import _arguments
    except ImportError:
        return ""
    return _arguments.did_you_mean(word, choices)
