"""Measure fastsm beside other libraries, as many as are installed.

    python benchmarks/run.py kernels --threads 1,2 --csv mine.csv
    python benchmarks/run.py all --quick --only numpy,torch

Suites: kernels (softmax, log-softmax, their VJPs, cross-entropy with its gradient, on arrays of many shapes),
training (epochs and calls of small networks), estimators (`fastsm.sklearn` beside scikit-learn), footprint
(import, installed size, memory of training), all. Each suite runs in its own process for each number of
threads: limits on threads only hold for libraries imported later, and if a library crashes, the other figures
survive.
"""

import argparse
import datetime
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import machine
import records
from peers import LIBRARIES, load

# The suites, and whether each is measured with every number of threads or only with one.
SUITES = {"kernels": True, "training": True, "estimators": True, "footprint": False}


def main(arguments: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("suite", choices=(*SUITES, "all"))
    parser.add_argument("--threads", default="1", metavar="N,...", help="once with each number (default: 1)")
    parser.add_argument("--only", metavar="NAME,...", help=f"only these of {', '.join(LIBRARIES)}")
    parser.add_argument("--rounds", type=int, help="minimum number of rounds for each cell")
    parser.add_argument("--quick", action="store_true", help="few cells and rounds, for a trial")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="file for the results (default: print them)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    only = options.only.split(",") if options.only else list(LIBRARIES)
    if unknown := set(only) - set(LIBRARIES):
        parser.error(f"--only must be names out of {', '.join(LIBRARIES)}, got {', '.join(sorted(unknown))}")
    if options.child:
        measure(options.suite, int(options.threads), only, options.rounds, options.quick)
        return 0
    found, about, failed = [], {}, []
    for suite in SUITES if options.suite == "all" else [options.suite]:
        for threads in options.threads.split(",") if SUITES[suite] else ["1"]:
            command = [sys.executable, __file__, suite, "--child", "--threads", threads]
            command += [f"--only={','.join(only)}", *["--quick"] * options.quick]
            command += [f"--rounds={options.rounds}"] * bool(options.rounds)
            environment = machine.environment(int(threads))
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                failed.append(f"{suite}, {threads} threads: exit status {done.returncode}")
            else:
                lines, told = records.read(done.stdout)
                found += lines
                about = about or told
    text = records.write(found, about)
    if options.csv is None:
        print(text, end="")
    else:
        options.csv.write_text(text, encoding="utf-8")
    print(*failed, sep="\n", file=sys.stderr, end="\n" * bool(failed))
    return 1 if failed else 0


def measure(suite: str, threads: int, only: list[str], rounds: int | None, quick: bool) -> None:
    """Measure one suite in this process, and print the results."""
    # Output of libraries goes to the standard error: the standard output has only the results.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    about = machine.describe()
    machine.bind_to_cores(threads)
    libraries, versions = load(only, threads)
    found = []
    for record in import_module(suite).measure(libraries, threads, rounds, quick):
        found.append(record)
        best = record.note or f"{record.best:.5g} {record.unit}"
        print(f"{record.group}, {record.cell}, {threads}: {record.candidate} {best}", file=sys.stderr)
    from fastsm._info import versions as of_fastsm

    about = {
        "fastsm": f"{of_fastsm()['fastsm']}, {of_fastsm()['instruction set']} kernels",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **about,
        **({"quick": "few cells and rounds, not to be quoted"} if quick else {}),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    with output:
        output.write(records.write(found, about))


if __name__ == "__main__":
    sys.exit(main())
