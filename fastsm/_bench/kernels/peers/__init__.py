"""How each library is called, each at its best setting: one module a library, imported only when asked for.

A module has ``CALLED``, which says how the library is called; ``setup(threads)``, which returns its version;
and ``calls(cell)``, which returns the ways to do the cell's operation: an empty list where the library has
nothing for it. Where there are several ways, all of them are timed and the fastest stands for the library.
"""

__all__ = ["LIBRARIES"]

# Candidates, in the order of the tables, and the modules that call them; numpy has "numpy out=" too.
LIBRARIES = {
    "fastsm": "fastsm",
    "numpy": "numpy",
    "scipy": "scipy",
    "torch": "torch",
    "torch.compile": "torch_compile",
    "onnxruntime": "onnxruntime",
    "jax": "jax",
    "sklearn": "sklearn",
    "thinc": "thinc",
    "numba": "numba",
    "sweep": "sweep",
}
