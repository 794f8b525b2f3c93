"""One process that measures one part: ``python -P -m fastsm._bench --part kernels --threads 1``.

It prints one JSON object on its standard output, and what it is doing on its standard error. The module
`runs` starts it, with limits on threads in its environment: they only hold if they are set before NumPy is
imported, so nothing here imports NumPy early.
"""

import argparse
import json
import os
import sys
from importlib import import_module
from typing import Any

from fastsm._bench import LIMITS, PARTS, Settings, machine

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Measure the part, and print the JSON object."""
    options = _parser().parse_args(arguments)
    against = None if options.against is None else tuple(options.against.split(","))
    settings = Settings(options.quick, options.threads, options.rounds, against)
    # What libraries print goes to the standard error: the standard output has nothing but the object.
    result = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    machine.bind_to_cores(settings.threads)
    try:
        measured = import_module(f"fastsm._bench.{options.part}").measure(settings, _tell)
    except KeyboardInterrupt:
        return 130
    with result:
        json.dump({**measured, **_about(measured.get("versions", {}))}, result, allow_nan=False)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastsm._bench", allow_abbrev=False)
    parser.add_argument("--part", choices=tuple(PARTS), required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--against", help="candidates, with commas between them")
    parser.add_argument("--quick", action="store_true")
    return parser


def _about(versions: dict[str, str]) -> dict[str, Any]:
    """Return what the document says of fastsm and NumPy themselves; `versions` has the candidates'."""
    import numpy as np

    from fastsm._info import versions as of_fastsm

    own = of_fastsm()
    # The limits are no libraries, torch.compile is no other one, and fastsm has a place of its own.
    unsaid = ("fastsm", "torch.compile", *LIMITS)
    others = {name: version for name, version in versions.items() if name not in unsaid}
    return {
        "fastsm": own["fastsm"],
        "machine": {"instruction_set": own["instruction set"]},
        "versions": {"numpy": np.__version__, **others},
    }


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
