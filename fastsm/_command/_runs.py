"""The folders of runs: what is in them, making new ones, and finding what they hold."""

import json
import os
import re
from pathlib import Path
from typing import Any

from fastsm._command._errors import DATA, CommandError, UsageError
from fastsm._command._output import plain
from fastsm._files import _atomic
from fastsm._version import __version__

__all__ = [
    "CHECKPOINT", "CONFIG", "METRICS", "MODEL", "RESULTS",
    "find_model", "new_folder", "read_json", "write_json",
]  # fmt: skip

MODEL, CHECKPOINT, CONFIG = "model.safetensors", "checkpoint.safetensors", "config.json"
METRICS, RESULTS = "metrics.jsonl", "results.json"

# A description is small; what is larger is none.
_LARGEST = 1 << 24


def new_folder(out: str | None, data: str) -> Path:
    """Make the folder of a new run; one that exists must be empty."""
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


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a file such that there is always a complete one."""
    text = json.dumps({"fastsm": __version__, **plain(values)}, indent=1, allow_nan=False) + "\n"
    _atomic.write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Return what `write_json` wrote."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large")
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise CommandError(f"{path} must be the description of a run: {why}", DATA) from None
    return values


def find_model(name: str) -> tuple[Path, dict[str, Any]]:
    """Return the file of a model, and the description of its run, empty if there is none.

    A folder whose training is not at its end has its latest checkpoint.
    """
    path = Path(name)
    if path.is_dir():
        folder = path
        path = next((p for p in (folder / MODEL, folder / CHECKPOINT) if p.is_file()), folder / MODEL)
    if not path.is_file():
        raise CommandError(f"there is no model in {name}: MODEL is the folder of a run, or its {MODEL}", DATA)
    config = path.parent / CONFIG
    return path, read_json(config) if config.is_file() else {}
