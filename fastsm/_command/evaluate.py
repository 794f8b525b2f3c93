"""``fastsm evaluate``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fastsm._command import _errors
from fastsm._command._errors import CommandError, UsageError
from fastsm._command._options import Option, Settings, add_options, given_flags, one_of, resolve
from fastsm._command._output import Output, bold
from fastsm._command._train_options import DATA, OUTPUT

if TYPE_CHECKING:
    from fastsm._command._models import Trained
    from fastsm._command._report import Figures
    from fastsm.typing import Array

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = """\
Measure a trained model: accuracy; precision, recall and F1 of each class; the
confusion matrix; and calibration, which compares confidence with accuracy.
"""

EPILOG = """\
precision  the fraction of the rows with this answer that are right
recall     the fraction of the rows of this class that are found
F1         the harmonic mean of precision and recall
NLL        negative log-likelihood of the classes, in nats; smaller is better
Brier      squared error of the probabilities, from 0 to 2; smaller is better
ECE        expected calibration error: the mean gap between confidence and
           accuracy; 0 is best

examples:
  fastsm evaluate fastsm-runs/digits-1                  on the run's test data
  fastsm evaluate fastsm-runs/digits-1 --part train     on its training data
  fastsm evaluate model.safetensors --data table.csv --json
                                                        as one JSON object
"""

_DATA = Option("data", DATA[0].convert, None, f"{DATA[0].help} [of the run]", "NAME|PATH", group="data")
_OPTIONS = [
    _DATA,
    *DATA[1:],
    Option("part", one_of("test", "train"), "test", "the part of the data: test or train", "PART"),
    *OUTPUT,
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", help="the folder of a run, or a model file")
    add_options(parser, _OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate a model."""
    settings = resolve(_OPTIONS, given_flags(arguments, _OPTIONS))
    output = Output(settings)

    from fastsm._command._models import load_trained

    trained = load_trained(arguments.model)
    if settings["data"] is None:
        if not isinstance(trained.settings.get("data"), str):
            raise UsageError(f"--data is needed: {arguments.model} does not name its training data")
        for key in ("data", "data_dir", "label"):
            stored = trained.settings.get(key)
            if isinstance(stored, str) and stored and (settings[key] is None or key == "label"):
                settings[key] = stored
    figures = _figures(trained, settings)
    if output.json:
        output.result("", model=str(trained.path), data=settings["data"], part=settings["part"], **figures)
        return _errors.OK

    from fastsm._command._report import class_table, confusion_table

    print(f"accuracy {bold(format(figures['accuracy'], '.2%'))} on {figures['rows']} rows\n")
    print(f"{class_table(figures)}\n")
    print(f"{confusion_table(figures)}\n")
    print(f"NLL {figures['nll']:.4f}   Brier {figures['brier']:.4f}   ECE {figures['ece']:.4f}")
    return _errors.OK


def _figures(trained: Trained, settings: Settings) -> Figures:
    import numpy as np

    from fastsm._command._inputs import as_trained_on, check_features, load_splits
    from fastsm._command._report import measure, predict_probs
    from fastsm.data._dataset import listed

    splits = load_splits(settings)
    part = splits.test if settings["part"] == "test" else splits.train
    check_features(part.X, trained.features, splits.source)
    if not len(part.y):
        raise CommandError(f"{splits.source} must have rows in its {settings['part']} part", _errors.BAD_DATA)
    labels: Array = part.y
    if list(part.classes) != trained.classes:
        # The data may lack classes, or have them in another order.
        numbers = {name: i for i, name in enumerate(trained.classes)}
        unknown = [name for name in part.classes if name not in numbers]
        if unknown:
            raise CommandError(
                f"{splits.source} has the class {unknown[0]!r:.50}, which the model does not know:"
                f" {listed(trained.classes)}",
                _errors.BAD_DATA,
            )
        labels = np.array([numbers[name] for name in part.classes])[labels]
    probs = predict_probs(trained.model, as_trained_on(part.X, trained.dtype))
    return measure(probs, labels, trained.classes)
