"""``fastsm predict``."""

from __future__ import annotations

import argparse

from fastsm._command._errors import OK
from fastsm._command._options import Option, add_options, flag, given_flags, resolve, whole
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
A model that was trained on bytes takes bytes, integers from 0 to 255, or other
numbers from 0 to 1.

examples:
  fastsm predict fastsm-runs/digits-1 seven.png           a drawn digit
  fastsm predict fastsm-runs/digits-1 rows.csv --top 3    the 3 best classes
  fastsm predict fastsm-runs/digits-1 rows.npy --json     a JSON object per row
"""

_OPTIONS = [
    Option("top", whole(1), 1, "the number of classes to show, the most probable first", "N"),
    Option("invert", flag, False, "exchange black and white in pictures; without it this is found out"),
    *OUTPUT,
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", help="the folder of a run, or a model file")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="a file with inputs")
    add_options(parser, _OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Print predictions."""
    settings = resolve(_OPTIONS, given_flags(arguments, _OPTIONS))
    output = Output(settings)

    from fastsm._command._inputs import as_trained_on, check_features
    from fastsm._command._models import load_trained
    from fastsm._command._reading import read_rows, with_pictures
    from fastsm._command._report import predict_numbers, predict_probs

    trained = load_trained(arguments.model)
    top = min(settings["top"], len(trained.classes))
    for name in with_pictures(arguments.inputs):
        notes: list[str] = []
        x = read_rows(name, trained, invert=settings["invert"], notes=notes)
        for note in notes:
            output.note(printable(f"{name}: {note}"))
        check_features(x, trained.features, name)
        x = as_trained_on(x, trained.dtype, name)
        if not trained.classes:
            for row, value in enumerate(predict_numbers(trained.model, x).tolist()):
                output.result(f"{name}\t{row}\t{value:.6g}", input=name, row=row, prediction=value)
            continue
        probs = predict_probs(trained.model, x)
        best = (-probs).argsort(axis=1, kind="stable")[:, :top]
        for row, (order, of_row) in enumerate(zip(best.tolist(), probs, strict=True)):
            answers = [
                {"class": trained.classes[i], "index": i, "probability": float(of_row[i])} for i in order
            ]
            words = "\t".join(f"{printable(trained.classes[i])}\t{float(of_row[i]):.4f}" for i in order)
            about = {**answers[0], "top": answers, **({"notes": notes} if notes else {})}
            output.result(f"{name}\t{row}\t{words}", input=name, row=row, **about)
    return OK
