"""JSON from files that are not trusted."""

import json
import math
from typing import Any

__all__ = ["parse"]


def parse(text: str, what: str) -> dict[str, Any]:
    """Return the object in a JSON text, strictly: no key twice, no NaN, no number that overflows.

    Raises ValueError, in one sentence that begins with `what`, for anything else.
    """

    def no_constant(name: str) -> Any:
        raise ValueError(f"{what} must be JSON, which has no {name}")

    def finite(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"{what} must have numbers of double precision, got {digits:.40}")
        return value

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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
