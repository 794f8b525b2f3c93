"""Processes that measure what can only be seen once: an import, or the highest use of memory."""

import os
import subprocess
import sys

__all__ = ["MODULES", "output_of"]

# Candidates, and the modules that are imported for them.
MODULES = {
    "numpy": "numpy",
    "scipy": "scipy.special",
    "torch": "torch",
    "onnxruntime": "onnxruntime",
    "jax": "jax.numpy",
    "sklearn": "sklearn.neural_network",
    "thinc": "thinc.api",
    "numba": "numba",
}


def output_of(*arguments: str) -> str:
    """Return what Python prints, run with the same packages; an error if it fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    command = [sys.executable, "-P", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"exit code {done.returncode}")
    return done.stdout
