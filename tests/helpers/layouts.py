"""Arrays with given values in any memory layout."""

import numpy as np

LAYOUTS = [
    *("C", "F", "permuted", "strided", "structured", "reversed", "byte-swapped"),
    *("misaligned", "misaligned F"),
]
READ_ONLY_LAYOUTS = ["read-only", "repeated rows", "repeated elements"]
FILLER = 77


def lay_out(values, layout):
    """Return an array with these values (a repeated layout repeats some of them)."""
    if layout == "F":
        return np.array(values, order="F")
    if layout in ("permuted", "reversed") and not values.ndim:
        return np.array(values)
    if layout == "permuted":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(values, 0, -1)), -1, 0)
    if layout == "strided":  # every second element of a larger array
        whole = np.full([2 * n + 1 for n in values.shape] or [1], FILLER, values.dtype)
        view = whole[tuple(slice(1, None, 2) for _ in values.shape)].reshape(values.shape)
        view[...] = values
        return view
    if layout == "structured":  # strides are no multiples of the size of an element
        view = np.zeros(values.shape, [("before", np.uint8), ("value", values.dtype)])["value"]
        view[...] = values
        return view
    if layout == "reversed":
        backwards = (slice(None, None, -1),) * values.ndim
        return np.array(values[backwards], order="C")[backwards]
    if layout.startswith("misaligned"):
        return at_offset(values, 1, "F" if layout.endswith("F") else "C")
    if layout == "byte-swapped":
        return np.asarray(values).astype(values.dtype.newbyteorder())
    if layout.startswith("repeated") and values.size:
        axis = 0 if layout == "repeated rows" else -1
        return np.broadcast_to(np.take(values, [0], axis) if values.ndim else values, values.shape)
    result = np.array(values, order="C")
    result.flags.writeable = layout == "C"
    return result


def at_offset(values, offset, order="C"):
    """Return a copy of an array that begins `offset` bytes after a multiple of 64."""
    memory = np.zeros(values.nbytes + 128, np.uint8)
    offset += -memory.ctypes.data % 64
    view = np.ndarray(values.shape, values.dtype, memory, offset=offset, order=order)
    view[...] = values
    return view
