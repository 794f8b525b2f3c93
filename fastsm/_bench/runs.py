"""Start a process for each part and number of threads, and merge what they measured into one document."""

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastsm._bench import PARTS, SCHEMA, Settings, machine
from fastsm._version import __version__

__all__ = ["run"]

Tell = Callable[[str], None]


def run(parts: Iterable[str], settings: Settings, threads: Iterable[int], tell: Tell) -> dict[str, Any]:
    """Measure parts with each number of threads, and return the document.

    Parameters
    ----------
    parts : iterable of str
        Of the names in `PARTS`.
    settings : Settings
        Its number of threads is replaced by each of `threads`.
    threads : iterable of int
        Parts that have no use for several threads are measured once, with one.
    tell : function of a line
        Is told what goes on.

    Notes
    -----
    A process that fails, or that a library crashes, is in the document's "failed" with its last line; the
    others go on. An exception here, such as that of Ctrl-C, ends the process that runs.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "fastsm": __version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "quick": settings.quick,
        "machine": machine.describe(),
        "versions": {},
        "missing": {},
        "failed": {},
    }
    threads = tuple(threads)
    for part in parts:
        for count in threads if PARTS[part] else (1,):
            words = _words(part, settings, count)
            measured, why = _measured(words, count, tell)
            if measured is None:
                document["failed"][f"{part}, {count} thread{'s' * (count > 1)}"] = why
                tell(f"{part} failed: {why}")
            else:
                _merge(document, measured)
    return document


def _words(part: str, settings: Settings, threads: int) -> list[str]:
    words = ["--part", part, "--threads", str(threads)]
    if settings.quick:
        words.append("--quick")
    if settings.rounds is not None:
        words += ["--rounds", str(settings.rounds)]
    if settings.against is not None:
        words.append(f"--against={','.join(settings.against)}")
    return words


def _measured(words: list[str], threads: int, tell: Tell) -> tuple[dict[str, Any] | None, str]:
    """Return what a process prints; None and the reason if it fails."""
    last = ""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as printed,
        _process(words, threads, printed) as process,
    ):
        for line in process.stderr or ():
            if line.strip():
                last = line.strip()
                tell(last)
        code = process.wait()
        if code != 0:
            return None, _reason(code, last)
        printed.seek(0)
        try:
            measured: dict[str, Any] = json.load(printed)
        except ValueError as error:
            return None, f"its output is no JSON: {error}"
        return measured, ""


@contextlib.contextmanager
def _process(words: list[str], threads: int, output: Any) -> Iterator[subprocess.Popen[str]]:
    """Start the process, and leave neither it nor what it started behind."""
    environment = machine.environment(threads)
    # It is to find the same packages as this one, wherever they come from.
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "fastsm._bench", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # a group of its own, which can be ended as one
    )
    try:
        with process:
            try:
                yield process
            except BaseException:
                _end(process)
                raise
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _reason(code: int, last: str) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            last = f"ended by {signal.Signals(-code).name}{f' after: {last}' if last else ''}"
    return last or f"exit code {code}"


def _merge(document: dict[str, Any], measured: dict[str, Any]) -> None:
    """Add what a process measured: lists are continued, and objects completed."""
    for key, value in measured.items():
        if isinstance(value, list):
            document.setdefault(key, []).extend(value)
        elif isinstance(value, dict):
            document.setdefault(key, {}).update(value)
        else:
            document[key] = value
