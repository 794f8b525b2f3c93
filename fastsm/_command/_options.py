"""Options, each with a flag, an environment variable, a key in the configuration file, and a default.

A flag takes precedence over the variable ``FASTSM_<NAME>``, the variable over the file of ``--config``, and
the file over the default. All values go through the same conversion.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from fastsm._command._errors import UsageError, did_you_mean

__all__ = [
    "Option", "Settings", "add_options", "flag", "given_flags", "names", "one_of", "real", "resolve", "sizes",
    "text", "whole",
]  # fmt: skip

_LARGEST = (1 << 63) - 1  # the largest integer
_LONGEST = 60  # characters of a wrong value that are shown
Settings: TypeAlias = dict[str, Any]  # the value of each option, by its key


@dataclass(frozen=True)
class Option:
    """An option of a command."""

    name: str  # as in the flag: "batch-size"
    convert: Callable[[object], object]  # raises ValueError("must be ...")
    default: object
    help: str
    metavar: str | None = None  # None if the option is on or off
    variable: str | None = None
    group: str = "settings"

    @property
    def key(self) -> str:
        """The name in settings and files."""
        return self.name.replace("-", "_")

    @property
    def environment(self) -> str:
        """The name of the environment variable."""
        return self.variable or f"FASTSM_{self.key.upper()}"


# ---- conversions of strings and of the values in files ----


def text(value: object) -> str:
    """Convert to a string that is not empty."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be a string that is not empty")
    return value


def flag(value: object) -> bool:
    """Convert to True or False."""
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else None
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be true or false (or 1 or 0)")


def one_of(*choices: str) -> Callable[[object], str]:
    """Return a conversion to one of the choices."""

    def convert(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}", did_you_mean(value, choices))
        return value

    return convert


def whole(least: int) -> Callable[[object], int]:
    """Return a conversion to an integer of at least `least`."""

    def convert(value: object) -> int:
        number = value
        if isinstance(value, str):
            try:
                number = int(value)
            except ValueError:
                number = None
        if type(number) is not int or number < least:
            raise ValueError(f"must be an integer of at least {least}")
        if number > _LARGEST:
            raise ValueError(f"must be an integer of at most {_LARGEST}")
        return number

    return convert


def real(least: float, below: float = math.inf, *, above: bool = False) -> Callable[[object], float]:
    """Return a conversion to a number from `least` (or above it) to below `below`."""
    limit = f"above {least:g}" if above else f"of at least {least:g}"
    if below < math.inf:
        limit += f" and below {below:g}"

    def convert(value: object) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not least <= number < below or (above and number == least):
            raise ValueError(f"must be a number {limit}")
        return number

    return convert


def sizes(value: object) -> list[int]:
    """Convert to a list of integers, given as "512,512" or "none"."""
    parts: object = value
    if isinstance(value, str):
        parts = [] if value.strip().lower() == "none" else value.split(",")
    elif type(value) is int:
        parts = [value]
    one = whole(1)
    if isinstance(parts, list):
        try:
            return [one(part) for part in parts]
        except ValueError:
            pass
    raise ValueError("must be sizes as 512,512, or none")


def names(value: object) -> list[str]:
    """Convert to a list of names, given as "id,date" or none."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) and part for part in parts):
        raise ValueError("must be names as id,date")
    return parts


# ---- flags ----


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """Add the flags to a parser; its results hold only those that are given."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in options:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        shown = option.default
        if isinstance(shown, list):
            shown = ",".join(map(str, shown)) or "none"
        if isinstance(shown, bool):
            shown = "on" if shown else "off"
        known = "" if shown is None else f" [{shown}]"
        add = partial(
            groups[option.group].add_argument,
            f"--{option.name}",
            dest=option.key,
            default=argparse.SUPPRESS,
            help=(option.help + known).replace("%", "%%"),
        )
        if option.metavar is None:
            add(action=argparse.BooleanOptionalAction)
        else:
            add(metavar=option.metavar)


def given_flags(arguments: argparse.Namespace, options: Iterable[Option]) -> Settings:
    """Return the converted values of the flags that were given."""
    return {
        option.key: _converted(option, getattr(arguments, option.key), f"--{option.name}")
        for option in options
        if hasattr(arguments, option.key)
    }


def resolve(
    options: Iterable[Option],
    flags: Mapping[str, object],
    file: Mapping[str, object] | None = None,
    file_name: str = "",
    *,
    environment: bool = True,
) -> Settings:
    """Return the value of each option: from the flag, the variable, the file, or the default."""
    options, file = list(options), dict(file or {})
    result: Settings = {}
    for option in options:
        variable = os.environ.get(option.environment, "") if environment else ""
        names = [name for name in dict.fromkeys((option.name, option.key)) if name in file]
        if len(names) > 1:
            raise UsageError(f"{file_name} has both `{names[0]}` and `{names[1]}`: leave one out")
        in_file = [file.pop(name) for name in names]
        if option.key in flags:
            result[option.key] = flags[option.key]
        elif variable:
            result[option.key] = _converted(option, variable, option.environment)
        elif in_file and not (in_file[0] is None and option.default is None):
            result[option.key] = _converted(option, in_file[0], f"`{names[0]}` in {file_name}")
        else:
            result[option.key] = option.default
    if file:
        unknown = next(iter(file))
        advice = did_you_mean(unknown, [option.name for option in options])
        raise UsageError(f"{file_name} has {unknown!r}, which is not an option{advice}")
    return result


def _converted(option: Option, value: object, source: str) -> object:
    try:
        return option.convert(value)
    except ValueError as error:
        got = repr(value)
        got = got if len(got) <= _LONGEST else f"{got[:_LONGEST]}... ({len(got)} characters)"
        what, *advice = error.args
        raise UsageError(f"{source} {what}, got {got}{''.join(advice)}") from None
