"""``fastsm train``."""

from __future__ import annotations

import argparse
import os
import tomllib
from pathlib import Path

from fastsm._command import _runs
from fastsm._command._errors import UsageError
from fastsm._command._options import Settings, add_options, given_flags, resolve
from fastsm._command._output import Output
from fastsm._command._train_options import CHANGEABLE, NAMED, OUTPUT, TRAIN, complete
from fastsm._files._json import parse_json

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = """\
Train a classifier, test it, and write everything to a folder. Without options
it trains on the digits included in fastsm, in a few seconds.
"""

EPILOG = """\
Every option can also be set by an environment variable (--batch-size by
FASTSM_BATCH_SIZE, --threads by FASTSM_NUM_THREADS) or in the file of --config:
TOML (batch-size = 128, hidden = [512, 512]), or the config.json of another run.
A flag takes precedence over the variable, the variable over the file, the file
over the default in brackets.

the folder of a run:
  model.safetensors       the trained model, for evaluate, predict, fastsm.load
  checkpoint.safetensors  the last completed epoch, for --resume
  config.json             the settings, the classes, and the shape of the data
  metrics.jsonl           loss and accuracy: a JSON object per epoch
  results.json            the figures on the test data
  report.html             all of it to look at, in a browser
  curves.png, confusion.png, mistakes.png
                          with matplotlib: pip install fastsm[train]

examples:
  fastsm train                                  digits, 64-128-10
  fastsm train --hidden 256,256 --dropout 0.3   better on digits, takes longer
  fastsm train --data table.csv --label species a table with a column of classes
  fastsm train --data photos --size 32          photos/cat/1.jpg, photos/dog/...
  fastsm train --data homes.csv --label price --task regression
  fastsm train --resume fastsm-runs/digits-1    continue an interrupted run;
                                                --data FILE if the file moved
  mpirun -n 4 fastsm train --mpi                four processes (fastsm[mpi])

test accuracy on Fashion-MNIST, the mean of five seeds (by default 88.5 %):
  89.8 %  fastsm train --data fashion-mnist --hidden 512,512 --epochs 25
          --batch-size 256 --lr 0.002 --dropout 0.3 --val-split 0.05 --last
"""

_LARGEST = 1 << 20  # bytes of a file of options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--config", metavar="FILE", help="a file with options: TOML, or a run's config.json")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="continue the run in this folder after its last epoch, with its settings; the result is"
        " bit-identical to an uninterrupted run. A new --epochs also changes the length of the schedule",
    )
    add_options(parser, TRAIN)


def run(arguments: argparse.Namespace) -> int:
    """Train a classifier."""
    flags = given_flags(arguments, TRAIN)
    folder: Path | None = None
    description: dict[str, object] = {}
    if arguments.resume is not None:
        if arguments.config is not None:
            raise UsageError("--resume takes the settings of the run: leave out --config")
        folder = Path(arguments.resume)
        settings, description = _resumed(folder, flags)
    elif arguments.config is not None:
        settings = resolve(TRAIN, flags, _configuration(arguments.config), arguments.config)
    else:
        settings = resolve(TRAIN, flags)
    for key in ("data_dir", "data", "val", "test"):
        # Absolute paths let the run be resumed from another folder.
        name = settings[key]
        if name not in (None, *NAMED) and (Path(name).exists() or Path(name).parent != Path()):
            settings[key] = str(Path(name).resolve())

    from fastsm._command._training import Training  # imports NumPy and more

    return Training(complete(settings), Output(settings), folder, description).run()


def _configuration(name: str) -> dict[str, object]:
    """Return the options in a file in TOML, or in the config.json of a run."""
    if os.path.exists(name) and not os.path.isfile(name):  # reading a pipe or a device may never end
        raise UsageError(f"--config must be a regular file, got {name!r}")
    try:
        with open(name, "rb") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST} bytes")
        if text.lstrip().startswith(b"{"):
            stored = parse_json(text.decode(), "it").get("settings")
            if not isinstance(stored, dict):
                raise ValueError("it has no settings")
            return {key: value for key, value in stored.items() if key != "out"}
        return tomllib.loads(text.decode())
    except OSError as error:
        raise UsageError(f"--config must be a file that can be read: {error}") from None
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(
            f"--config must be a file in TOML, or the {_runs.CONFIG} of a run, and {name} is not: {why}"
        ) from None


def _resumed(folder: Path, flags: Settings) -> tuple[Settings, dict[str, object]]:
    """Return the settings of a run, changed by the flags, and its description."""
    if not (folder / _runs.CONFIG).is_file():
        raise UsageError(f"--resume must be the folder of a run, and {folder} has no {_runs.CONFIG}")
    fixed = next((key for key in flags if key not in CHANGEABLE), None)
    if fixed is not None:
        allowed = ", ".join(f"--{key.replace('_', '-')}" for key in CHANGEABLE)
        raise UsageError(f"--{fixed.replace('_', '-')} cannot change when a run is resumed, only {allowed}")
    description = _runs.read_json(folder / _runs.CONFIG)
    stored = description.get("settings")
    if not isinstance(stored, dict):
        raise UsageError(f"--resume must be the folder of a run, and {folder}/{_runs.CONFIG} has no settings")
    settings = resolve(TRAIN, flags, stored, str(folder / _runs.CONFIG), environment=False)
    # The form of the output is not a setting of the run.
    return {**settings, **resolve(OUTPUT, flags)}, description
