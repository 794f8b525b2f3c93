"""Make the folders of runs, and read and write the files in them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from fastsm._command._errors import BAD_DATA, CommandError, UsageError
from fastsm._command._output import json_value
from fastsm._files._atomic import write_atomically
from fastsm._files._json import parse_json
from fastsm._version import __version__

__all__ = [
    "CHECKPOINT", "CONFIG", "METRICS", "MODEL", "REPORT", "RESULTS",
    "find_model", "new_folder", "read_json", "write_json",
]  # fmt: skip

MODEL, CHECKPOINT, CONFIG = "model.safetensors", "checkpoint.safetensors", "config.json"
METRICS, RESULTS, REPORT = "metrics.jsonl", "results.json", "report.html"

_LARGEST = 1 << 24  # bytes of a description


def new_folder(out: str | None, data: str) -> Path:
    """Make the folder of a new run; an existing folder must be empty."""
    if out is not None:
        folder = Path(out)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UsageError(f"--out must be a folder, and {out} is a file") from None
        if any(folder.iterdir()):
            raise UsageError(
                f"--out must be a new folder, and {out} has files in it: take another, or --resume {out}"
            )
        return folder
    name = re.sub(r"[^\w-]+", "-", Path(data).name.split(".")[0]).strip("-").lower() or "data"
    parent = Path("fastsm-runs")
    parent.mkdir(exist_ok=True)
    numbers = [re.fullmatch(rf"{re.escape(name)}-(\d{{1,9}})", entry) for entry in os.listdir(parent)]
    number = 1 + max((int(match[1]) for match in numbers if match), default=0)
    while True:
        try:
            (parent / f"{name}-{number}").mkdir()  # fails if another process was faster
            return parent / f"{name}-{number}"
        except FileExistsError:
            number += 1


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write a JSON file atomically."""
    text = json.dumps(json_value({"fastsm": __version__, **values}), indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, object]:
    """Return the values that `write_json` wrote."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        return parse_json(path.read_text(encoding="utf-8"), "it")
    except ValueError as error:
        raise CommandError(f"{path} must be the description of a run: {error}", BAD_DATA) from None


def find_model(name: str) -> tuple[Path, dict[str, object]]:
    """Return the file of a model, and the description of its run, empty without one.

    The folder of a training that has not ended has its last checkpoint.
    """
    path = Path(name)
    if path.is_dir():
        folder = path
        path = next((p for p in (folder / MODEL, folder / CHECKPOINT) if p.is_file()), folder / MODEL)
    if not path.is_file():
        raise CommandError(
            f"there is no model in {name}: MODEL is the folder of a run, or its {MODEL}", BAD_DATA
        )
    config = path.parent / CONFIG
    return path, read_json(config) if config.is_file() else {}
