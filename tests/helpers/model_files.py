"""Reading, changing and writing model files, in plain Python and by the package."""

import json
import zlib

import numpy as np

from fastsm._files._trees import open_tree, write_tree


def taken_apart(content):
    """Return the header and the bytes of the arrays."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header, data):
    """Return the bytes of a file; the header is an object or raw bytes."""
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + data


def tree_of(content):
    """Return the tree of settings without the arrays."""
    return json.loads(taken_apart(content)[0]["__metadata__"]["fastsm"])


def checksum(header, data):
    """Return the checksum of a file."""
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "BOOL": "bool"}
    rows = sorted(
        [name, names[entry["dtype"]], entry["shape"], zlib.crc32(data[slice(*entry["data_offsets"])])]
        for name, entry in header.items()
        if name != "__metadata__"
    )
    return f"{zlib.crc32(json.dumps([header['__metadata__']['fastsm'], rows]).encode()):08x}"


def with_settings(content, change):
    """Return the file with changed settings and the right checksum: `change` edits them or returns a text."""
    header, data = taken_apart(content)
    tree = tree_of(content)
    text = change(tree)
    header["__metadata__"]["fastsm"] = json.dumps(tree) if text is None else text
    header["__metadata__"]["fastsm_crc32"] = checksum(header, data)
    return put_together(header, data)


def rewrite(source, target, change):
    """Write a file with a changed tree that contains its arrays."""
    with open_tree(source) as (tree, tensors):
        others = {name: tensors.read(name) for name in sorted(tensors.unread)}
    change(tree)
    write_tree(target, tree, others)


def array_entry(array, start=0):
    """Return the entry of a float32 array in the header."""
    array = np.asarray(array, "f4")
    return {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, start + array.nbytes]}
