"""Options: each has a flag, an environment variable, a key in the configuration file, and a default.

The flag wins over the variable ``FASTSM_<NAME>``, that over the file of ``--config``, and that over the
default. All four go through the same conversion, so that the same values are right everywhere.
"""

import argparse
import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastsm._command._errors import UsageError

__all__ = [
    "Option", "add_options", "flag", "given_flags", "one_of", "real", "resolve", "sizes", "text", "whole",
]  # fmt: skip

Converter = Callable[[object], Any]


@dataclass(frozen=True)
class Option:
    """An option of a command."""

    name: str  # as in the flag: "batch-size"
    convert: Converter  # raises ValueError("must be ...")
    default: Any
    help: str
    metavar: str | None = None  # None for what is on or off
    variable: str | None = None
    group: str = "options"

    @property
    def key(self) -> str:
        """The name in settings and files."""
        return self.name.replace("-", "_")

    @property
    def environment(self) -> str:
        """The name of the environment variable."""
        return self.variable or f"FASTSM_{self.key.upper()}"


# ---- conversions of strings, and of the values that files have ----


def text(value: object) -> str:
    """Take any string that is not empty."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be a text that is not empty")
    return value


def flag(value: object) -> bool:
    """Take on or off."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False}
    words["off"] = False
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError("must be true or false (or 1 or 0)")


def one_of(*choices: str) -> Converter:
    """Take one of some words."""

    def convert(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            close = difflib.get_close_matches(str(value), choices, 1)
            advice = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"must be one of {', '.join(choices)}{advice}")
        return value

    return convert


def whole(least: int) -> Converter:
    """Take an integer of at least `least`."""

    def convert(value: object) -> int:
        number = value
        if isinstance(value, str):
            try:
                number = int(value)
            except ValueError:
                number = None
        if type(number) is not int or not least <= number < 1 << 63:
            raise ValueError(f"must be an integer of at least {least}")
        return number

    return convert


def real(least: float, below: float = math.inf, *, above: bool = False) -> Converter:
    """Take a number from `least` (or above it) to below `below`."""
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
    """Take integers such as "512,512"; "none" for no layer."""
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


# ---- flags ----


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """Add the flags; a flag that is not given leaves no trace in the result."""
    groups: dict[str, Any] = {}
    for option in options:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        shown = option.default
        if isinstance(shown, list):
            shown = ",".join(map(str, shown)) or "none"
        known = "" if shown is None or option.metavar is None else f" [{shown}]"
        arguments: dict[str, Any] = {"dest": option.key, "default": argparse.SUPPRESS}
        arguments["help"] = (option.help + known).replace("%", "%%")
        if option.metavar is None:
            action = argparse.BooleanOptionalAction
            groups[option.group].add_argument(f"--{option.name}", action=action, **arguments)
        else:
            groups[option.group].add_argument(f"--{option.name}", metavar=option.metavar, **arguments)


def given_flags(arguments: argparse.Namespace, options: Iterable[Option]) -> dict[str, Any]:
    """Return the values of the flags that were given."""
    return {
        option.key: _converted(option, getattr(arguments, option.key), f"--{option.name}")
        for option in options
        if hasattr(arguments, option.key)
    }


def resolve(
    options: Iterable[Option],
    flags: Mapping[str, Any],
    file: Mapping[str, Any] | None = None,
    file_name: str = "",
    *,
    environment: bool = True,
) -> dict[str, Any]:
    """Return the value of each option: of the flag, the variable, the file, or the default."""
    options, file = list(options), dict(file or {})
    result = {}
    for option in options:
        variable = os.environ.get(option.environment, "") if environment else ""
        names = [name for name in (option.name, option.key) if name in file]
        of_file = [file.pop(name) for name in dict.fromkeys(names)]
        if option.key in flags:
            result[option.key] = flags[option.key]
        elif variable:
            result[option.key] = _converted(option, variable, option.environment)
        elif of_file and not (of_file[0] is None and option.default is None):
            result[option.key] = _converted(option, of_file[0], f"`{names[0]}` in {file_name}")
        else:
            result[option.key] = option.default
    if file:
        unknown = next(iter(file))
        close = difflib.get_close_matches(unknown, [option.name for option in options], 1)
        advice = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"{file_name} has {unknown!r}, which is no option{advice}")
    return result


def _converted(option: Option, value: object, source: str) -> Any:
    try:
        return option.convert(value)
    except ValueError as error:
        raise UsageError(f"{source} {error}, got {value!r}") from None
