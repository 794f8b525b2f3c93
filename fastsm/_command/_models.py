"""Load trained models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import fastsm
from fastsm import nn
from fastsm._command import _runs
from fastsm._command._errors import BAD_DATA, CommandError
from fastsm._command._options import Settings

__all__ = ["Trained", "load_trained"]


@dataclass
class Trained:
    """A model, its history, and the description in its folder."""

    path: Path
    model: nn.Sequential
    history: fastsm.History
    features: int
    classes: list[str]  # empty for a model of numbers
    shape: tuple[int, ...] | None
    dtype: str | None  # of the training data
    settings: Settings


def load_trained(name: str) -> Trained:
    """Return a model; without a description of its run, the classes are called 0, 1, ..."""
    path, description = _runs.find_model(name)
    history = fastsm.History()
    try:
        model = fastsm.load(path, history=history)
    except ValueError as error:
        raise CommandError(str(error), BAD_DATA) from error
    matrices = [array.shape for _, array in model.named_parameters() if array.ndim == 2]
    if not matrices:
        raise CommandError(f"{path} must hold a network with linear layers, got {model!r}", BAD_DATA)
    features, count, table = matrices[0][0], matrices[-1][1], model.table
    about = description.get("data", {})
    settings = description.get("settings", {})
    if not isinstance(about, dict) or not isinstance(settings, dict):
        raise CommandError(f"{path.parent / _runs.CONFIG} must be the description of a run", BAD_DATA)
    classes, lengths, dtype = about.get("classes"), about.get("shape"), about.get("dtype")
    shape: tuple[int, ...] | None
    if table is not None:
        shape = table.shape
        dtype = "float32" if shape is None else "uint8"
        return Trained(path, model, history, features, list(table.classes), shape, dtype, settings)
    if not (isinstance(classes, list) and len(classes) == count and all(type(c) is str for c in classes)):
        classes = [str(i) for i in range(count)]
    shape = None if model.pictures is None else model.pictures.shape
    if isinstance(lengths, list) and all(type(n) is int and n > 0 for n in lengths):
        shape = tuple(lengths) if math.prod(lengths) == features else shape
    return Trained(
        path, model, history, features, classes, shape, dtype if isinstance(dtype, str) else None, settings
    )
