"""The bytes of data files: IDX, and NumPy's .npy and .npz."""

import io
import struct

import numpy as np

IDX_TYPES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array, dtype="u1"):
    """Return the bytes of an IDX file."""
    array = np.asarray(array)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, IDX_TYPES[dtype], array.ndim]) + sizes + array.astype(dtype).tobytes()


def npy(array):
    """Return the bytes of a .npy file, pickled if the array has objects."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def npy_header(text, payload=b"", version=1):
    """Return a .npy file with any text as its header."""
    text = text.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + payload


def npy_text(shape, descr="|u1"):
    """Return the header of a .npy file with any shape and dtype."""
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


def npz(compressed=False, **arrays):
    """Return the bytes of a .npz file."""
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()
