"""``fastsm info``."""

from __future__ import annotations

import argparse
import importlib.util

from fastsm._command._errors import OK
from fastsm._command._options import add_options, given_flags, resolve
from fastsm._command._output import Output, printable
from fastsm._command._train_options import OUTPUT

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = """\
Describe a trained model: its layers, its training and its accuracy. Without
MODEL, describe this installation for a bug report.
"""

EPILOG = """\
examples:
  fastsm info                       versions, instruction set, threads, packages
  fastsm info fastsm-runs/digits-1  the model of a run
"""

_OPTIONAL = {
    "matplotlib": "pictures of runs",
    "pandas": "tables",
    "PIL": "images as inputs of fastsm predict",
    "pooch": "downloads of data sets",
    "threadpoolctl": "the number of threads of matrix products",
    "tqdm": "a progress bar",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", nargs="?", help="the folder of a run, or a model file")
    add_options(parser, OUTPUT)


def run(arguments: argparse.Namespace) -> int:
    """Describe a model or the installation."""
    output = Output(resolve(OUTPUT, given_flags(arguments, OUTPUT)))
    if arguments.model is None:
        _installation(output)
    else:
        _model(arguments.model, output)
    return OK


def _installation(output: Output) -> None:
    from fastsm._info import versions

    values = versions()
    found = {name: importlib.util.find_spec(name) is not None for name in _OPTIONAL}
    lines = [f"{name:<27} {value}" for name, value in values.items()]
    lines += [
        f"{name:<27} {'installed' if installed else 'missing'} ({_OPTIONAL[name]})"
        for name, installed in found.items()
    ]
    output.result("\n".join(lines), **values, optional=found)


def _model(name: str, output: Output) -> None:
    import io

    from fastsm._command import _runs
    from fastsm._command._models import load_trained
    from fastsm._command._table_lines import column_lines

    trained = load_trained(name)
    table = trained.model.table
    results_file = trained.path.parent / _runs.RESULTS
    results = _runs.read_json(results_file) if results_file.is_file() else {}
    accuracy, r2 = (
        value if isinstance(value, float) else None
        for value in map(results.get, ("test_accuracy", "test_r2"))
    )
    values: dict[str, object] = {
        "model": str(trained.path),
        "layers": [repr(layer) for layer in trained.model.layers],
        "parameters": int(trained.model.params.size),
        "dtype": trained.model.dtype.name,
        "features": trained.features,
        "classes": trained.classes,
        "shape": trained.shape,
        "table": None if table is None else table.record(),
        "pictures": None if trained.model.pictures is None else trained.model.pictures.record(),
        "epochs": trained.history.epochs,
        "test_accuracy": accuracy,
        "test_r2": r2,
        "settings": trained.settings,
    }
    summary = io.StringIO()
    trained.model.summary(file=summary)
    lines = [f"{trained.path}", "", summary.getvalue().rstrip(), ""]
    names = ", ".join(printable(name[:40]) for name in trained.classes[:20]) or "none: it predicts numbers"
    lines.append(f"{'classes':<16} {names}{', ...' * (len(trained.classes) > 20)}")
    if table is not None:
        lines += ["", f"a table with the label {printable(table.label[:40])}", *column_lines(table), ""]
    if trained.model.pictures is not None:
        lines.append(f"{'pictures':<16} {trained.model.pictures.words()}")
    if trained.settings:
        lines += [f"{printable(key):<16} {_shown(value)}" for key, value in trained.settings.items()]
    lines.append(f"{'epochs done':<16} {trained.history.epochs}")
    for column in ("loss", "val_loss", "val_accuracy"):
        if trained.history.get(column):
            lines.append(f"{column:<16} {trained.history[column][-1]:.4f} after the last epoch")
    if accuracy is not None:
        lines.append(f"{'test accuracy':<16} {100 * accuracy:.1f} %")
    if r2 is not None:
        lines.append(f"{'test R2':<16} {r2:.4f}")
    output.result("\n".join(lines), **values)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return printable(",".join(map(str, value))) or "none"
    return "-" if value is None else printable(str(value))
