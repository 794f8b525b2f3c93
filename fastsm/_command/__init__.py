"""The command ``fastsm``: train, evaluate and predict from a shell.

Each subcommand imports what it needs when it runs, so that ``fastsm --help`` is quick.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from fastsm._command import _errors
from fastsm._command._errors import CommandError, UsageError, did_you_mean
from fastsm._command._output import printable, red
from fastsm._version import __version__

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["main"]

_EPILOG = """\
exit codes:
  0    success
  1    failure
  2    wrong usage
  3    the data are missing, damaged or do not match the model
  4    the training diverged: the loss became NaN or infinite
  130  interrupted, by Ctrl-C or SIGTERM

Results go to the standard output, everything else to the standard error.
NO_COLOR=1 turns colours off.

start here:
  fastsm train                          train on the digits included in fastsm
  fastsm evaluate fastsm-runs/digits-1  show what the model gets right and wrong
  fastsm runs                           compare the runs so far
"""

_COMMANDS = {
    "train": "train a classifier; write the model, plots and results to a folder",
    "evaluate": "measure a model: accuracy, classes, confusion, calibration",
    "predict": "classify inputs with a trained model",
    "runs": "list runs with their settings and results, the best first",
    "info": "describe a trained model or this installation",
    "demo": "show in seconds what the library does",
    "bench": "compare the speed with other libraries on this machine",
}


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors as UsageError."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # The original says nothing if the output cannot be written.
        if message and file is not None:
            file.write(message)


def _parser(only: str | None) -> argparse.ArgumentParser:
    """Return the parser, with options only for the subcommand `only`."""
    parser = _Parser(
        prog="fastsm",
        description="Train classifiers on the CPU with fastsm: softmax and backpropagation for NumPy.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastsm {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name, summary in _COMMANDS.items():
        if name == only:
            module = importlib.import_module(f"fastsm._command.{name}")
            sub = commands.add_parser(
                name,
                help=summary,
                description=module.DESCRIPTION,
                epilog=module.EPILOG,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
            module.add_arguments(sub)
            sub.set_defaults(run=module.run, flags=list(sub._option_string_actions))
        else:
            commands.add_parser(name, help=summary)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in arguments if word in _COMMANDS), None)
    with _terminated_as_interrupted():
        return _main(arguments, command)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Handle SIGTERM, which ends programs, like Ctrl-C: with advice, and without temporary files."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _main(arguments: list[str], command: str | None) -> int:
    """Run the command, and turn errors into lines and exit codes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The names of classes and files may have characters that the terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            code = _run(arguments, command)
        except SystemExit as exit_:  # from argparse, after --help and --version
            code = exit_.code if isinstance(exit_.code, int) else _errors.FAILURE
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except CommandError as error:
        return _fail(str(error), command, error.code)
    except KeyboardInterrupt:
        return _fail("interrupted", command, _errors.INTERRUPTED)
    except OSError as error:
        _discard_stdout()
        if isinstance(error, BrokenPipeError):  # the reader of our output has ended, as `head` does
            return _errors.FAILURE
        return _fail(str(error), command, _errors.FAILURE)
    except ImportError as error:  # a wrong FASTSM_NUM_THREADS or FASTSM_ISA
        if not (error.name or "").startswith("FASTSM_"):
            raise
        return _fail(str(error), command, _errors.USAGE)
    except MemoryError as error:
        return _fail(f"not enough memory: {error}", command, _errors.FAILURE)


def _run(arguments: list[str], command: str | None) -> int:
    parser = _parser(command)
    if not arguments:
        parser.print_help()
        return _errors.OK
    if not arguments[0].startswith("-") and arguments[0] not in _COMMANDS:
        parser.error(f"there is no command {arguments[0]!r}{did_you_mean(arguments[0], _COMMANDS)}")
    parsed, unknown = parser.parse_known_args(arguments)
    if parsed.command is None:
        parser.error("a command is missing")
    if unknown:  # argparse would refer to the help of all commands
        word, advice = unknown[0], ""
        if word.startswith("-"):
            advice = did_you_mean(word.partition("=")[0], parsed.flags)
        elif "--data" in parsed.flags:
            advice = f": did you mean --data {word}?"
        what = f"unrecognized arguments: {' '.join(unknown)}"
        raise UsageError(what + (advice or f" (see fastsm {parsed.command} --help)"))
    code: int = parsed.run(parsed)
    return code


def _discard_stdout() -> None:
    """Redirect a standard output that cannot be written, so that Python does not fail to flush it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, command: str | None, code: int) -> int:
    prog = f"fastsm {command}" if command else "fastsm"
    print(f"{prog}: {red('error')}: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code
