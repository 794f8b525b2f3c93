"""``python -m fastsm.special script.py`` runs a script with `patch_scipy`."""

from __future__ import annotations

import argparse
import os
import runpy
import sys

from fastsm.special import patch_scipy

__all__: list[str] = []


def main() -> None:
    """Run the script or module of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fastsm.special",
        description="Run a program with fastsm's logsumexp, softmax and log_softmax in the place of SciPy's.",
    )
    parser.add_argument("--sklearn", action="store_true", help="replace scikit-learn's own logsumexp, too")
    parser.add_argument("-m", dest="is_module", action="store_true", help="run a module, as python -m does")
    parser.add_argument("program", help="a script, or the name of a module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the program's own arguments")
    options = parser.parse_args()
    try:
        changed = patch_scipy(sklearn=options.sklearn)
    except (ImportError, RuntimeError) as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    print(f"{parser.prog}: replaced {', '.join(changed)}", file=sys.stderr)
    sys.argv[:] = [options.program, *options.arguments]
    if options.is_module:
        runpy.run_module(options.program, run_name="__main__", alter_sys=True)
    else:
        if not sys.flags.safe_path:
            sys.path[0] = os.path.dirname(os.path.abspath(options.program))
        runpy.run_path(options.program, run_name="__main__")


if __name__ == "__main__":
    main()
