"""Parse JSON from files that are not trusted."""

from __future__ import annotations

import json
import math
from typing import NoReturn

__all__ = ["parse_json"]


def parse_json(text: str, what: str) -> dict[str, object]:
    """Return the object in a JSON text, without duplicate keys, NaN or numbers that overflow.

    Raise ValueError for anything else, in one sentence that begins with `what`.
    """

    def no_constant(name: str) -> NoReturn:
        raise ValueError(f"{what} must be JSON, which has no {name}")

    def finite(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"{what} must have numbers of double precision, got {digits:.40}")
        return value

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError(f"{what} must have each key once, and has one twice")
        return result

    try:
        value = json.loads(text, parse_constant=no_constant, parse_float=finite, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError(f"{what} must not be nested so deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} must be JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object, got {type(value).__name__}")
    return value
