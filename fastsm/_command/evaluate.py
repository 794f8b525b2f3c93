"""``fastsm evaluate``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fastsm._command import _errors
from fastsm._command._errors import CommandError, UsageError
from fastsm._command._options import Option, Settings, add_options, given_flags, one_of, resolve
from fastsm._command._output import Output, bold, printable
from fastsm._command._train_options import DATA, OUTPUT

if TYPE_CHECKING:
    from fastsm._command._models import Trained
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
    Option(
        "part",
        one_of("train", "val", "test", "all"),
        None,
        "the part of the data: train, val, test or all [test; all of a file that is not the run's]",
        "PART",
    ),
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
    from fastsm._command._report import measure, measure_numbers, predict_numbers, predict_probs

    trained = load_trained(arguments.model)
    if settings["data"] is None:
        if not isinstance(trained.settings.get("data"), str):
            raise UsageError(f"--data is needed: {arguments.model} does not name its training data")
        for key in ("data", "data_dir"):
            stored = trained.settings.get(key)
            if isinstance(stored, str) and stored and settings[key] is None:
                settings[key] = stored
    x, y, part, notes = _rows(trained, settings)
    for words in notes:
        output.note(printable(words))
    about = {"model": str(trained.path), "data": settings["data"], "part": part, "notes": notes}
    if not trained.classes:
        errors = measure_numbers(predict_numbers(trained.model, x), y)
        words = f"R2 {bold(format(errors['r2'], '.4f'))} on {errors['rows']} rows\n\n"
        output.result(f"{words}MSE {errors['mse']:.6g}   MAE {errors['mae']:.6g}", **about, **errors)
        return _errors.OK
    figures = measure(predict_probs(trained.model, x), y, trained.classes)
    if output.json:
        output.result("", **about, **figures)
        return _errors.OK

    from fastsm._command._report import accuracy_words, class_table, confusion_table

    print(f"{accuracy_words(figures)}\n")
    print(f"{class_table(figures)}\n")
    print(f"{confusion_table(figures)}\n")
    print(f"NLL {figures['nll']:.4f}   Brier {figures['brier']:.4f}   ECE {figures['ece']:.4f}")
    return _errors.OK


def _rows(trained: Trained, settings: Settings) -> tuple[Array, Array, str, list[str]]:
    """Return the inputs and labels to measure with, which part of the data they are, and what was done."""
    from fastsm._command._inputs import as_trained_on, check_features, part_of
    from fastsm.data import DataError
    from fastsm.data._dataset import renumbered

    notes: list[str] = []
    try:
        whole, part = part_of(trained, settings, notes)
        check_features(whole.X, trained.features, settings["data"])
        labels = renumbered(settings["data"], whole, trained.classes)
    except (DataError, OSError) as error:
        raise CommandError(str(error), _errors.BAD_DATA) from error
    if not len(labels):
        raise CommandError(f"{settings['data']} must have rows in its {part} part", _errors.BAD_DATA)
    return as_trained_on(whole.X, trained, settings["data"]), labels, part, notes
