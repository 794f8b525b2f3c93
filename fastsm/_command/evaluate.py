"""``fastsm evaluate``."""

import argparse
from typing import Any

from fastsm._command._errors import DATA as DATA_CODE
from fastsm._command._errors import OK, CommandError, UsageError
from fastsm._command._options import Option, add_options, given_flags, one_of, resolve
from fastsm._command._output import Output, bold
from fastsm._command._train_options import DATA, OUTPUT

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = """\
Measure a trained model: accuracy; precision, recall and F1 of each class; the confusion matrix; and
calibration: whether it is right as often as it is confident.
"""

EPILOG = """\
precision  of the rows that were given this answer, the part that is right
recall     of the rows of this class, the part that was found
F1         the harmonic mean of the two
NLL        negative log-likelihood of the classes, in nats; the Brier score likewise is smaller if better
ECE        expected calibration error: the mean gap between confidence and accuracy, 0 at best

examples:
  fastsm evaluate fastsm-runs/digits-1                          on the test part of the data it was trained on
  fastsm evaluate fastsm-runs/digits-1 --part train             on what it has seen
  fastsm evaluate model.safetensors --data table.csv --json  all figures, as one JSON object
"""

_DATA = Option("data", DATA[0].convert, None, f"{DATA[0].help} [that of the run]", "NAME|PATH", group="data")
_OPTIONS = [
    _DATA,
    *DATA[1:],
    Option("part", one_of("test", "train"), "test", "which part of the data: test or train", "PART"),
    *OUTPUT,
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", help="the folder of a run, or a file of fastsm.save")
    add_options(parser, _OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate."""
    settings = resolve(_OPTIONS, given_flags(arguments, _OPTIONS))
    output = Output(settings)

    from fastsm._command._models import load_trained

    trained = load_trained(arguments.model)
    if settings["data"] is None:
        if not isinstance(trained.settings.get("data"), str):
            raise UsageError(f"--data is needed, as {arguments.model} does not say what it was trained on")
        for key in ("data", "data_dir", "label"):
            its = trained.settings.get(key)
            if isinstance(its, str) and its and (settings[key] is None or key == "label"):
                settings[key] = its
    figures = _figures(trained, settings)
    if output.json:
        output.result("", model=str(trained.path), data=settings["data"], part=settings["part"], **figures)
        return OK

    from fastsm._command._report import confusion_table, report_table

    print(f"accuracy {bold(format(figures['accuracy'], '.2%'))} on {figures['rows']} rows\n")
    print(f"{report_table(figures)}\n")
    print(f"{confusion_table(figures)}\n")
    print(f"NLL {figures['nll']:.4f}   Brier {figures['brier']:.4f}   ECE {figures['ece']:.4f}")
    return OK


def _figures(trained: Any, settings: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    from fastsm._command._inputs import as_trained_on, check_features, load_splits
    from fastsm._command._report import predict_probs, report
    from fastsm.data._dataset import listed

    splits = load_splits(settings)
    part = splits.test if settings["part"] == "test" else splits.train
    check_features(part.X, trained.features, splits.source)
    if not len(part.y):
        raise CommandError(f"{splits.source} must have rows in its {settings['part']} part", DATA_CODE)
    labels = part.y
    if list(part.classes) != trained.classes:
        # Other data may have some of the classes only, or have them in another order.
        numbers = {name: i for i, name in enumerate(trained.classes)}
        strange = [name for name in part.classes if name not in numbers]
        if strange:
            raise CommandError(
                f"{splits.source} has the class {strange[0]!r:.50}, which the model does not know:"
                f" {listed(trained.classes)}",
                DATA_CODE,
            )
        labels = np.array([numbers[name] for name in part.classes])[labels]
    probs = predict_probs(trained.model, as_trained_on(part.X, trained.dtype))
    return report(probs, labels, trained.classes)
