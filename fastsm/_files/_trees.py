"""Trees of dicts, lists, numbers, texts and arrays in a file of the safetensors layout.

The tree is JSON in the metadata of the file, under ``fastsm``, where an array is ``{"$array": its name}``.
``fastsm_version`` is the version of this format. ``fastsm_crc32`` is a sum over the tree and all arrays, in
whatever order these lie in the file; a program that changes the arrays may leave it out.
"""

import contextlib
import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from fastsm._arguments import Array
from fastsm._files import _json, _safetensors
from fastsm._files._safetensors import Tensors

__all__ = ["reading", "write"]

# Raised when files change so that this version of the code would misread them.
_VERSION = "1"
_TREE, _OF_VERSION, _SUM = "fastsm", "fastsm_version", "fastsm_crc32"
_ARRAY, _FLOAT = "$array", "$float"


def write(path: str | os.PathLike[str], tree: dict[str, Any], tensors: Mapping[str, Array]) -> None:
    """Write a tree, and other arrays by their names; the file is either as it was or complete.

    Raises TypeError or ValueError, before anything is written, for what such a file cannot hold.
    """
    arrays = dict(tensors)
    text = json.dumps(_pack(tree, "", arrays), allow_nan=False, separators=(",", ":"))
    arrays = {name: _safetensors.stored(array) for name, array in arrays.items()}
    rows = ((name, a.dtype.name, list(a.shape), _safetensors.crc(a)) for name, a in arrays.items())
    metadata = {_TREE: text, _OF_VERSION: _VERSION, _SUM: _checksum(text, rows)}
    _safetensors.write(path, metadata, arrays)


def _checksum(text: str, rows: Iterable[tuple[str, str, list[int], int]]) -> str:
    """Return the sum over a tree and the arrays' names, dtypes, shapes and own sums."""
    return f"{zlib.crc32(json.dumps([text, sorted(rows)]).encode()):08x}"


def _pack(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    """Return a value as JSON; arrays go to `arrays`, floats that JSON lacks become texts."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place or 'a file'} must have texts as keys, got {key!r}")
            if key.startswith("$"):
                raise ValueError(f"{place or 'a file'} must have no key that starts with $, got {key!r}")
        return {key: _pack(item, f"{place}.{key}" if place else key, arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item, f"{place}.{i}", arrays) for i, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        if value.dtype.name not in _safetensors.CODES:
            raise TypeError(f"{place} must have a real dtype to be saved, got {value.dtype}")
        name = re.sub(r"[^\w.]", "_", place, flags=re.ASCII)[:80]
        while name in arrays or name == _safetensors.METADATA:
            name = f"{name}.{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{place} must be numbers, texts, arrays, lists or dicts to be saved, got {type(value).__name__}"
    )


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[tuple[dict[str, Any], Tensors]]:
    """Open a file, and give its tree and the arrays beside it, all of which must then be read.

    Raises ValueError, in one sentence, for a file that is not as `write` leaves it; OSError as `open` does.
    """
    with _safetensors.opened(path) as tensors:
        text, version = (tensors.metadata.get(name) for name in (_TREE, _OF_VERSION))
        if text is None:
            raise ValueError(
                "it has arrays but no model of fastsm: make the model, load the arrays with the package"
                " safetensors, and copy them into the params of its layers"
            )
        if version != _VERSION:
            raise ValueError(f"it has version {str(version)[:50]!r}, and this fastsm reads {_VERSION!r}")
        try:
            tree = _unpack(_json.parse(text, "its settings"), tensors)
        except RecursionError:
            raise ValueError("its settings must not be nested so deeply") from None
        yield tree, tensors
        if tensors.unread:
            raise ValueError(f"its settings do not mention its array {min(tensors.unread)[:50]!r}")
        wanted = tensors.metadata.get(_SUM)
        if wanted is not None and wanted != _checksum(text, tensors.rows):
            raise ValueError(
                f"its checksum differs: it is damaged, or was changed by a program that kept {_SUM}"
            )


def _unpack(value: Any, tensors: Tensors) -> Any:
    """Return the tree with its arrays, each of which serves once."""
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _FLOAT in value:
        if value[_FLOAT] not in ("nan", "inf", "-inf") or len(value) != 1:
            raise ValueError("its settings have a number that is none")
        return float(value[_FLOAT])
    if _ARRAY in value:
        if not isinstance(value[_ARRAY], str) or len(value) != 1:
            raise ValueError("its settings have an array without a name")
        return tensors.read(value[_ARRAY])
    return {key: _unpack(item, tensors) for key, item in value.items()}
