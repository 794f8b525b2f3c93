"""What people hand over instead of arrays of numbers: read if its meaning is plain, else what to do about it.

An advice is the end of a message: empty, or ": " and what to do.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastsm.typing import Array

__all__ = [
    "about_axis",
    "about_bools",
    "about_class_weight",
    "about_labels",
    "about_numbers",
    "did_you_mean",
    "is_masked",
    "read_table",
    "shown",
]

LONGEST_SHOWN = 500  # characters


def did_you_mean(word: object, choices: Iterable[str]) -> str:
    """Return the choice that is most like a misspelt or shortened word, as the end of a message."""
    if not isinstance(word, str) or not word:
        return ""
    names = list(choices)
    longer = [name for name in names if name.startswith(word.lower())]
    close = longer or difflib.get_close_matches(word.lower(), names, 1)
    return f": did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """Return a value as text for a message: of bounded length, and without raising."""
    try:
        text = repr(value)
    except Exception:  # as for an integer of 10,000 digits
        return f"something of type {type(value).__name__}"
    text = " ".join(text.split())  # arrays may be shown in several lines
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def is_masked(value: object) -> bool:
    """Whether `value` is a masked array or a list that holds one, found out without importing numpy.ma."""
    masked = sys.modules.get("numpy.ma")
    return masked is not None and _holds(value, masked.MaskedArray)


def _holds(value: object, kind: type) -> bool:
    if not isinstance(value, (list, tuple)):
        return isinstance(value, kind)
    kinds = set(map(type, value))  # of a million numbers, one
    if any(issubclass(k, kind) for k in kinds):
        return True
    return any(issubclass(k, (list, tuple)) for k in kinds) and any(_holds(item, kind) for item in value)


def read_table(name: str, value: Any) -> Any:
    """Return a frame or series of pandas as an array, if it has numbers of several types or nullable ones.

    Anything else is returned as it is: NumPy reads it.
    """
    if not _is_table(value):
        return value
    dtypes = [value.dtype] if value.ndim == 1 else list(value.dtypes)
    if all(isinstance(d, np.dtype) for d in dtypes) and len({d.kind == "b" for d in dtypes}) < 2:
        return value
    arrays = []
    for column in _columns(value):
        wanted = getattr(column.dtype, "numpy_dtype", column.dtype)  # of a nullable type
        if getattr(wanted, "kind", "O") not in "biuf":
            wanted = None
        elif hasattr(wanted, "fill_value"):  # a sparse column
            wanted = wanted.subtype
        elif not isinstance(column.dtype, np.dtype) and (missing := np.asarray(column.isna())).any():
            where = f" of column {column.name!r}" if value.ndim == 2 else ""
            raise ValueError(
                f"`{name}` must have no missing values, got one in row {int(missing.argmax())}{where}: fill"
                " it in, or leave the row out"
            )
        array = column.to_numpy(wanted)
        if array.dtype.kind not in "biuf":
            return value
        arrays.append(array)
    return np.stack(arrays, axis=1) if value.ndim == 2 else arrays[0]


def _is_table(value: Any) -> bool:
    """Whether this is a frame or a series of pandas, which need not be imported for this."""
    return hasattr(value, "iloc") and hasattr(value, "isna") and getattr(value, "ndim", 0) in (1, 2)


def _columns(value: Any) -> list[Any]:
    """Return the columns of a frame, or the series, that a table of pandas is."""
    return [value] if value.ndim == 1 else [value.iloc[:, i] for i in range(value.shape[1])]


def about_numbers(name: str, value: Any, array: Array) -> str:
    """Advise on what `value` is, as its array does not hold numbers."""
    if hasattr(value, "toarray"):
        return f", a sparse matrix: give {name}.toarray(), or take the estimators of fastsm.sklearn"
    columns = _columns(value) if _is_table(value) and array.ndim == 2 else []
    if not columns and array.dtype == object and array.ndim == 2:
        columns = list(array.T)
    bad = []
    for position, column in enumerate(columns):
        found = np.asarray(column)
        if found.dtype.kind in "biuf":
            continue
        others = [x for x in found if not isinstance(x, (bool, int, float, np.bool_, np.number))]
        if others:
            bad.append(f"{getattr(column, 'name', position)!r} ({shown(others[0])})")
    if bad:
        return f": columns that are not numbers, as {', '.join(bad[:5])}"
    return f": give {name}.astype(float)" if columns else ""


def about_labels(name: str, y: Array, shape: tuple[int, ...], rows: tuple[int, ...], axis: int) -> str:
    """Advise on targets that have the shape neither of labels (`rows`) nor of probabilities (`shape`)."""
    integers = y.dtype.kind in "iu"
    missing = np.zeros((), bool) if integers else np.isnan(y)
    if not integers and not (y.size and ((np.floor(y) == y) | missing).all()):
        return ""
    if y.shape == rows:
        if missing.any():
            return f": labels are integers, and NaN is none: leave out the rows where np.isnan({name})"
        return f": labels are integers, give {name}.astype(int)"
    if y.ndim > len(rows) and [n for n in y.shape if n != 1] == [n for n in rows if n != 1]:
        flat = f"np.ravel({name})" if len(rows) == 1 else f"{name}.reshape{rows}"  # frames have no ravel
        return f": give {flat}{'' if integers else '.astype(int)'} as labels"
    if integers and y.shape == shape:
        return f": one-hot rows are floating, or give {name}.argmax(axis={axis}) as labels"
    return ""


def about_bools(name: str, y: Array, rows: tuple[int, ...]) -> str:
    """Advise on targets that are bools: labels, or one-hot rows."""
    if y.dtype.kind != "b":
        return ""
    return f": give {name}.astype({'int' if y.shape == rows else 'float'})"


def about_axis(value: object) -> str:
    """Advise on axes that are not one: all of them, or several."""
    if value is None:
        return ": fastsm.special takes None, for all elements"
    if isinstance(value, (tuple, list)):
        return ": fastsm.special takes several axes"
    return ""


def about_class_weight(name: str, value: object, classes: object) -> str:
    """Return the message for class weights that only estimators take; empty for others."""
    if not (
        name == "class_weight"
        and (isinstance(value, Mapping) or (isinstance(value, str) and value == "balanced"))
    ):
        return ""
    advice = (
        "[weights.get(k, 1.0) for k in range(C)]"
        if isinstance(value, Mapping)
        else "N / (C * np.bincount(y))"
    )
    return (
        f"`class_weight` must have shape {classes}, got {shown(value)}: give {advice}; the estimators of"
        " fastsm.sklearn take it"
    )
