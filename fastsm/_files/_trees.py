"""Read and write trees of dicts, lists, numbers, strings and arrays in the safetensors layout.

The tree is JSON under ``fastsm`` in the metadata of the file; ``{"$array": name}`` stands for an array.
``fastsm_version`` is the version of this format. ``fastsm_crc32`` is a checksum of the tree and all arrays,
independent of their order; a program that changes the arrays may remove it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import numpy as np

from fastsm._files import _safetensors
from fastsm._files._json import parse_json
from fastsm._files._safetensors import Tensors
from fastsm.typing import Array

__all__ = ["Tree", "open_tree", "write_tree"]

Tree: TypeAlias = dict[str, object]

# A change of the format that this code would misread takes a new version.
_VERSION = "1"
_TREE, _FORMAT, _CHECKSUM = "fastsm", "fastsm_version", "fastsm_crc32"
_ARRAY, _FLOAT = "$array", "$float"
_DEEPEST = 100


def write_tree(path: str | os.PathLike[str], tree: Tree, tensors: Mapping[str, Array]) -> None:
    """Write a tree and other arrays by name, atomically.

    Raise TypeError or ValueError for what such a file cannot hold, before anything is written.
    """
    arrays = dict(tensors)
    text = json.dumps(_pack(tree, "", arrays, 0), allow_nan=False, separators=(",", ":"))
    arrays = {name: _safetensors.as_stored(array) for name, array in arrays.items()}
    rows = ((name, a.dtype.name, list(a.shape), _safetensors.checksum_of(a)) for name, a in arrays.items())
    metadata = {_TREE: text, _FORMAT: _VERSION, _CHECKSUM: _checksum(text, rows)}
    _safetensors.write_tensors(path, metadata, arrays)


def _checksum(text: str, rows: Iterable[tuple[str, str, list[int], int]]) -> str:
    """Return the checksum of a tree and of the arrays' names, dtypes, shapes and checksums."""
    return f"{zlib.crc32(json.dumps([text, sorted(rows)]).encode()):08x}"


def _pack(value: object, place: str, arrays: dict[str, Array], depth: int) -> object:
    """Return a value in the types of JSON; arrays go to `arrays`, NaN and infinities become strings."""
    if depth > _DEEPEST:
        raise ValueError(f"{place[:80]}... must be nested at most {_DEEPEST} deep to be saved")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place or 'a file'} must have strings as keys, got {key!r}")
            if key.startswith("$"):
                raise ValueError(f"{place or 'a file'} must have no key that starts with $, got {key!r}")
        return {
            key: _pack(item, f"{place}.{key}" if place else key, arrays, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_pack(item, f"{place}.{i}", arrays, depth + 1) for i, item in enumerate(value)]
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
        f"{place} must be numbers, strings, arrays, lists or dicts to be saved, got {type(value).__name__}"
    )


@contextlib.contextmanager
def open_tree(path: str | os.PathLike[str]) -> Iterator[tuple[Tree, Tensors]]:
    """Open a file and yield its tree and the other arrays, all of which must be read inside the block.

    Raise ValueError, in one sentence, unless `write_tree` can have written the file; OSError as `open` does.
    """
    with _safetensors.open_tensors(path) as tensors:
        text, version = (tensors.metadata.get(name) for name in (_TREE, _FORMAT))
        if text is None:
            raise ValueError(
                "it has arrays but no model of fastsm: make the model, load the arrays with the package"
                " safetensors, and copy them into the params of its layers"
            )
        if version != _VERSION:
            raise ValueError(f"it has version {str(version)[:50]!r}, and this fastsm reads {_VERSION!r}")
        try:
            tree = {key: _unpack(item, tensors) for key, item in parse_json(text, "its settings").items()}
        except RecursionError:
            raise ValueError("its settings must not be nested so deeply") from None
        yield tree, tensors
        if tensors.unread:
            raise ValueError(f"its settings do not mention its array {min(tensors.unread)[:50]!r}")
        wanted = tensors.metadata.get(_CHECKSUM)
        if wanted is not None and wanted != _checksum(text, tensors.rows):
            raise ValueError(
                f"its checksum differs: it is damaged, or was changed by a program that kept {_CHECKSUM}"
            )


def _unpack(value: object, tensors: Tensors) -> object:
    """Return the tree with its arrays, each of which may occur once."""
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _FLOAT in value:
        if value[_FLOAT] not in ("nan", "inf", "-inf") or len(value) != 1:
            raise ValueError(f"its settings have a {_FLOAT} other than nan, inf and -inf")
        return float(value[_FLOAT])
    if _ARRAY in value:
        if not isinstance(value[_ARRAY], str) or len(value) != 1:
            raise ValueError("its settings have an array without a name")
        return tensors.read(value[_ARRAY])
    return {key: _unpack(item, tensors) for key, item in value.items()}
