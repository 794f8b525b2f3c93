"""``fastsm bench``."""

import argparse
import difflib
import importlib
from pathlib import Path
from typing import Any

from fastsm._command._errors import FAILURE, OK, CommandError, UsageError
from fastsm._command._options import Option, add_options, flag, given_flags, resolve, text, whole
from fastsm._command._output import Output

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = """\
Measure the speed on this machine, beside NumPy and whatever else of SciPy, PyTorch, ONNX Runtime, JAX,
scikit-learn, thinc and numba is installed. Each is called at its best, results are compared before anything
is timed, and all take turns in one process.

PART is one of:
  kernels    softmax, log_softmax, logsumexp, both gradients, cross-entropy, on arrays of many shapes
  training   epochs of small networks, and their inference; on Fashion-MNIST if it is there, else on noise
  footprint  import time, installed size, peak memory, what a call costs
  all        the three of them (the default)
"""

EPILOG = """\
how to read the tables:
  Times are the best of many rounds; the fastest way to call a library stands for it. Ratios are times over
  fastsm's: below 1 the library wins, and in the kernels' tables the line says so. The limit is what nobody
  can beat: one sweep over the memory (sweep), or the matrix products of the same training alone (products).
  Its time is also shown as a fraction of each library's: 1 would be as fast as the limit.

examples:
  fastsm bench --quick                         a minute, to get an idea
  fastsm bench kernels --against numpy,torch   only these two; torch.compile is one of its own
  fastsm bench all --threads 1,2 --json mine.json --plot plots
                                               everything, once with one thread and once with two: some
                                               hours with all libraries, on a machine with nothing else to do

The process is limited to as many cores as threads. Interrupted from the keyboard, it leaves nothing behind.
"""

_ALL = "all"


def _threads(value: object) -> list[int]:
    """Take counts of threads such as "1,2"."""
    one = whole(1)
    try:
        return list(dict.fromkeys(one(part) for part in str(value).split(",")))
    except ValueError:
        raise ValueError("must be counts of threads such as 1 or 1,2") from None


def _candidates(value: object) -> tuple[str, ...]:
    """Take names such as "numpy,torch"; "none" for fastsm and the limits alone."""
    from fastsm._bench import CANDIDATES

    names = tuple(name.strip() for name in str(value).split(","))
    if names == ("none",):
        return ()
    for name in names:
        if name not in CANDIDATES:
            close = difflib.get_close_matches(name, CANDIDATES, 1)
            advice = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"must be names out of {', '.join(CANDIDATES)}, or none{advice}")
    return names


_OPTIONS = [
    Option("quick", flag, False, "few shapes and rounds: a minute", group="measuring"),
    Option("against", _candidates, None, "only these libraries: numpy,torch", "NAME,...", group="measuring"),
    Option("threads", _threads, [1], "once with each number of threads", "N,...", group="measuring"),
    Option("rounds", whole(1), None, "at least so many rounds of each", "N", group="measuring"),
    Option("json", text, None, "write all figures to a file", "FILE", group="output"),
    Option("plot", text, None, "draw pictures into a folder", "DIR", group="output"),
    Option("quiet", flag, False, "nothing on the standard error but errors", group="output"),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("part", metavar="PART", nargs="?", default=_ALL, help="what to measure [all]")
    add_options(parser, _OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and show."""
    settings = resolve(_OPTIONS, given_flags(arguments, _OPTIONS), environment=False)
    parts = _parts(arguments.part)
    _check_threads(settings["threads"])
    json_file, folder = _places(settings["json"], settings["plot"])
    output = Output({"quiet": settings["quiet"]})
    importlib.import_module("fastsm._kernels._threads")  # a wrong FASTSM_ISA would fail in each child

    from fastsm._bench import Settings, report, runs

    wanted = Settings(quick=settings["quick"], rounds=settings["rounds"], against=settings["against"])
    document = runs.run(parts, wanted, settings["threads"], output.note)
    if json_file is not None:
        from fastsm._command._runs import write_json

        write_json(json_file, document)
    output.result(report.text(document))
    if folder is not None:
        _draw(document, folder, output)
    if document["failed"]:
        why = "; ".join(f"{name}: {reason}" for name, reason in document["failed"].items())
        raise CommandError(f"not everything could be measured: {why}", FAILURE)
    return OK


def _parts(name: str) -> tuple[str, ...]:
    from fastsm._bench import PARTS

    if name == _ALL:
        return tuple(PARTS)
    if name not in PARTS:
        raise UsageError(f"PART must be one of {', '.join(PARTS)}, {_ALL}, got {name!r}")
    return (name,)


def _check_threads(counts: list[int]) -> None:
    from fastsm._bench.machine import usable_cores

    cores = usable_cores()
    if max(counts) > cores:
        raise UsageError(f"--threads must be at most {cores}, the cores that are there, got {max(counts)}")


def _places(json_file: str | None, folder: str | None) -> tuple[Path | None, Path | None]:
    """Find out that a file cannot be written before an hour of measuring, not after it."""
    if json_file is not None and (Path(json_file).is_dir() or not Path(json_file).absolute().parent.is_dir()):
        raise CommandError(f"--json must be a file in a folder that is there, got {json_file}", FAILURE)
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return (
        None if json_file is None else Path(json_file),
        None if folder is None else Path(folder),
    )


def _draw(document: dict[str, Any], folder: Path, output: Output) -> None:
    from fastsm._bench import plots

    for path in plots.draw(document, folder):
        output.note(f"wrote {path}")
