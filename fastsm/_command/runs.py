"""``fastsm runs``."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastsm._command._errors import BAD_DATA, OK, CommandError
from fastsm._command._options import Settings, add_options, given_flags, resolve
from fastsm._command._output import Output, printable, table
from fastsm._command._train_options import OUTPUT, TRAIN

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = """\
List the runs in a folder, the best first: their data, the settings in which
they differ, and their results on the test data.
"""

EPILOG = """\
examples:
  fastsm runs                    the runs in fastsm-runs
  fastsm runs elsewhere --json   a JSON object per run, with all settings
"""

_RESULTS = ("epochs", "restored", "stopped", "seconds", "test_accuracy", "test_r2", "test_rows")
# Those that change nothing in the results, and those that the results show.
_NOT_SHOWN = {
    "data", "data_dir", "download", "epochs", "mpi", "out", "plots", "shard_data", "task", "threads"
}  # fmt: skip
_WIDTH, _CELL = 80, 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "folder", metavar="FOLDER", nargs="?", default="fastsm-runs", help="the folder [fastsm-runs]"
    )
    add_options(parser, OUTPUT)


def run(arguments: argparse.Namespace) -> int:
    """List the runs."""
    output = Output(resolve(OUTPUT, given_flags(arguments, OUTPUT)))
    folder = Path(arguments.folder)
    if not folder.is_dir():
        raise CommandError(f"there is no folder {folder}: fastsm train makes runs in fastsm-runs", BAD_DATA)
    runs = [found for path in sorted(folder.iterdir()) if (found := _read(path, output)) is not None]
    runs.sort(key=lambda one: -max(_number(one["test_accuracy"]), _number(one["test_r2"])))
    if output.json:
        for one in runs:
            output.result("", **one)
    else:
        output.result(_table(runs) if runs else f"there are no runs in {folder}")
    return OK


def _read(path: Path, output: Output) -> Settings | None:
    """Return what is known of a run; None, with a note if it is damaged, if it is none."""
    from fastsm._command import _runs

    if not (path / _runs.CONFIG).is_file():
        return None
    try:
        settings = _runs.read_json(path / _runs.CONFIG).get("settings")
        results = _runs.read_json(path / _runs.RESULTS) if (path / _runs.RESULTS).is_file() else {}
    except CommandError as error:
        output.note(f"left out: {error}")
        return None
    settings = settings if isinstance(settings, dict) else {}
    return {"out": str(path), **{name: results.get(name) for name in _RESULTS}, "settings": settings}


def _number(value: object) -> float:
    return value if isinstance(value, float) else float("-inf")


def _table(runs: list[Settings]) -> str:
    """Return a line for each run: as many of the settings that differ as fit, and the results."""
    rows = [["run", "data"], *([Path(one["out"]).name, _data(one["settings"].get("data"))] for one in runs)]
    results = [["epochs", "test"], *([_shown(one["epochs"]), _result(one)] for one in runs)]
    for option in sorted(TRAIN, key=lambda option: option.group == "data"):
        values = [one["settings"].get(option.key) for one in runs]
        if option.key in _NOT_SHOWN or all(value == values[0] for value in values):
            continue
        wider = [[*row, cell] for row, cell in zip(rows, [option.name, *map(_shown, values)], strict=True)]
        if max(map(len, _joined(wider, results).splitlines())) <= _WIDTH:
            rows = wider
    return _joined(rows, results)


def _joined(rows: list[list[str]], results: list[list[str]]) -> str:
    return table([[*row, *result] for row, result in zip(rows, results, strict=True)])


def _data(value: object) -> str:
    return _shown(Path(value).name if isinstance(value, str) else value)


def _result(one: Settings) -> str:
    if isinstance(one["test_accuracy"], float):
        return f"{100 * one['test_accuracy']:.2f} %"
    return f"R2 {one['test_r2']:.4f}" if isinstance(one["test_r2"], float) else "not finished"


def _shown(value: object) -> str:
    if isinstance(value, list):
        value = ",".join(map(str, value)) or "none"
    text = "-" if value is None else f"{value:g}" if isinstance(value, float) else printable(str(value))
    return text if len(text) <= _CELL else f"{text[: _CELL - 3]}..."
