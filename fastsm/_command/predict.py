"""``fastsm predict``."""

from __future__ import annotations

import argparse
import os

from fastsm._command._errors import OK, UsageError
from fastsm._command._options import Option, add_options, flag, given_flags, resolve, text, whole
from fastsm._command._output import Output, printable
from fastsm._command._train_options import OUTPUT

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = """\
Classify inputs with a trained model: a line for each row, with the answer and
its probability.
"""

EPILOG = """\
inputs:
  .npy, .npz     rows of numbers, or images; in a .npz the array X, x, images or
                 x_test, or the only one
  .csv, ...      a table: the columns of the training, in any order; others are
                 ignored. For models that were not trained on a table: rows of
                 numbers; a header and a column "label" are skipped
  .png, ...      a picture, or a folder of them: it gets the size and the
                 colours of the training pictures; if they are ink on a plain
                 background, as MNIST, black and white are exchanged where
                 needed, and the ink is cropped and centred; needs Pillow
  other names    IDX, the format of MNIST, plain or compressed by gzip
  -              the standard input: a table, .npy, .npz, .png or .jpg
A model that was trained on bytes takes bytes, integers from 0 to 255, or other
numbers from 0 to 1.

examples:
  fastsm predict fastsm-runs/digits-1 seven.png           a drawn digit
  fastsm predict fastsm-runs/digits-1 rows.csv --top 3    the 3 best classes
  fastsm predict fastsm-runs/digits-1 rows.npy --json     a JSON object per row
  fastsm predict fastsm-runs/churn-1 new.csv --csv answers.csv
  head -3 new.csv | fastsm predict fastsm-runs/churn-1 -
"""

_OPTIONS = [
    Option("top", whole(1), 1, "the number of classes to show, the most probable first", "N"),
    Option(
        "csv",
        text,
        None,
        "write a table instead: input, row, the ids, the prediction and all probabilities",
        "FILE",
    ),
    Option("invert", flag, False, "exchange black and white in pictures; without it this is found out"),
    *OUTPUT,
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", help="the folder of a run, or a model file")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="a file with inputs, or -")
    add_options(parser, _OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Print predictions."""
    settings = resolve(_OPTIONS, given_flags(arguments, _OPTIONS))
    output = Output(settings)

    from fastsm._command._answers import Answers, as_file, read_ids
    from fastsm._command._inputs import as_trained_on, check_features
    from fastsm._command._models import load_trained
    from fastsm._command._reading import read_rows, with_pictures

    trained = load_trained(arguments.model)
    answers = Answers(trained, settings["top"])
    names, target, all_notes = with_pictures(arguments.inputs), settings["csv"], []
    for name in names if target and os.path.exists(target) else ():
        if os.path.exists(name) and os.path.samefile(name, target):
            raise UsageError(f"--csv must be another file than the input {name}")
    for name in names:
        notes: list[str] = []
        with as_file(name) as path:
            x = read_rows(path, trained, invert=settings["invert"], notes=notes)
            ids = read_ids(path, trained) if target else {}
        own = [printable(f"{name}: {note}") for note in notes]
        all_notes += own
        for note in own:
            output.note(note)
        check_features(x, trained.features, name)
        answers.add(name, as_trained_on(x, trained, name), ids, notes)
        if not target:
            answers.print(output)
    if target:
        count = answers.write(target)
        output.result(printable(f"{target}: {count:,} rows"), csv=target, rows=count, notes=all_notes)
    return OK
