"""The command ``fastsm``: train, evaluate, predict and look, from a shell.

Only what a subcommand needs is imported, when it is called: ``fastsm --help`` is quick.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from fastsm._command import _errors
from fastsm._command._errors import CommandError, UsageError
from fastsm._command._output import printable, red
from fastsm._version import __version__

__all__ = ["main"]

_EPILOG = """\
exit codes:
  0  all is well                       3  the data are missing, damaged or do not fit
  1  something failed                  4  the training diverged: the loss became NaN or infinite
  2  the command was called wrongly    130  interrupted from the keyboard

Results go to the standard output, everything else to the standard error. NO_COLOR=1 turns colours off.

start here:
  fastsm train                         train on handwritten digits, which come with fastsm: a few seconds
  fastsm evaluate fastsm-runs/digits-1 what it gets right and wrong
"""

_COMMANDS = {
    "train": "train a classifier, and keep the model, plots and figures in a folder",
    "evaluate": "measure a trained model: accuracy, classes, confusion, calibration",
    "predict": "let a trained model classify your inputs",
    "info": "describe a trained model, or this installation",
    "demo": "show in seconds what the library does",
    "bench": "measure the speed on this machine, beside other libraries",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def _parser(only: str | None) -> argparse.ArgumentParser:
    """Return the parser; the options of one subcommand are enough."""
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
            sub.set_defaults(run=module.run)
        else:
            commands.add_parser(name, help=summary)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in arguments if word in _COMMANDS), None)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of classes and files may have characters that the terminal lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            code = _run(arguments, command)
        except SystemExit as leaving:  # argparse, after --help and --version
            code = leaving.code if isinstance(leaving.code, int) else _errors.FAILURE
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except CommandError as error:
        return _fail(str(error), command, error.code)
    except KeyboardInterrupt:
        return _fail("interrupted", command, _errors.INTERRUPTED)
    except OSError as error:
        _give_up_stdout()
        if isinstance(error, BrokenPipeError):  # who read our output has left, as `head` does
            return _errors.FAILURE
        return _fail(str(error), command, _errors.FAILURE)
    except ImportError as error:  # a wrong FASTSM_NUM_THREADS, or FASTSM_ISA
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
    parsed, unknown = parser.parse_known_args(arguments)
    if parsed.command is None:
        parser.error("a command is missing")
    if unknown:  # argparse would name the help of all commands
        raise UsageError(f"unrecognized arguments: {' '.join(unknown)} (see fastsm {parsed.command} --help)")
    code: int = parsed.run(parsed)
    return code


def _give_up_stdout() -> None:
    """If the standard output cannot be written to, spare Python the complaint when it flushes at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, command: str | None, code: int) -> int:
    prog = f"fastsm {command}" if command else "fastsm"
    print(f"{prog}: {red('error')}: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code
