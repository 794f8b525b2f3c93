"""Run tests against a build with sanitizers: `make sanitize` calls this, once for each kind of build.

    python tests/sanitize.py address build/by/address/site [--quick] [arguments for pytest]

The build is what `FASTSM_SANITIZE=address pip install --target=...` leaves (setup.py has the flags). Kinds:

address  AddressSanitizer and UndefinedBehaviorSanitizer (GCC's). Python's own allocator is switched off, so
         that what is wrong with Python's objects is found too. With --quick leaks count, where the kernels
         allocated; other tests fork, and what a child of a fork does not own looks like leaks.
checks   Cython's checks, and variables on the stack that begin as garbage.
thread   ThreadSanitizer: the tests of threads only. What the kernels read and write is seen, and every lock
         and thread; not what Python, NumPy and BLAS do with memory. So a race is one with the kernels in it.

With --quick a few files; without it all tests, with every instruction set.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent
LIBRARIES = {"address": ["libasan.so", "libubsan.so"], "thread": ["libtsan.so"], "checks": []}
OPTIONS = {
    # No use after return: its stacks do not align vectors of 64 bytes in GCC 12 (crashes of correct code).
    "ASAN_OPTIONS": (
        "allocator_may_return_null=1:detect_stack_use_after_return=0:malloc_context_size=2:"
        "quarantine_size_mb=64:detect_leaks={quick}"
    ),
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "LSAN_OPTIONS": "suppressions={leaks}:print_suppressions=0",
    "TSAN_OPTIONS": "suppressions={races}:exitcode=66:die_after_fork=0:history_size=4",
}
# Only the place that allocated is compared: these are the places outside fastsm.
LEAKS = [
    "libpython",
    "/bin/python",
    "site-packages/",
    "lib-dynload/",
    "libc.so",
    "ld-linux",
    "libstdc++",
    "libtcl",
]
# ThreadSanitizer does not see how OpenBLAS waits for its threads.
RACES = ["race:openblas", "called_from_lib:openblas"]
# The machine code of these builds is not checked, and compilers do not run under a sanitizer.
COMPILED = ["kernels/test_machine_code.py", "kernels/test_compilers.py", "project/test_adding.py"]
NOT_MEANT = {
    "address": [
        *COMPILED,
        # These measure the size of the package, and of memory.
        "project/test_package.py::test_no_sources_inside",
        "benchmarks/test_suite.py::test_footprint_follows_requirements",
        "files/test_faults.py::test_process_memory_does_not_grow",
        "command/test_options.py::test_failures",  # the sanitizer says something about memory, too
        "hostile/test_arrays.py::test_huge_shapes",  # limit the memory of a process
        "hostile/test_files.py::test_bombs_under_memory_limit",
    ],
    "checks": [
        *COMPILED,
        "project/test_package.py::test_no_sources_inside",
        "benchmarks/test_suite.py::test_footprint_follows_requirements",
    ],
    "thread": ["kernels/test_threads.py::test_labels_changing_all_the_time"],  # whose race is meant
}
# Every kernel with every instruction set, the team of threads, and the ways out through errors.
QUICK = ["kernels/test_memory_safety.py", "kernels/test_team.py", "functional/test_errors.py"]
THREADS = [
    "kernels/test_team.py",
    "kernels/test_threads.py",
    "kernels/test_memory_safety.py::test_as_many_helpers_as_can_be",
]


def environment(kind: str, site: str, folder: str, *, quick: bool) -> dict[str, str]:
    """Return the environment of the tests."""
    leaks, races = Path(folder, "leaks"), Path(folder, "races")
    leaks.write_text("".join(f"leak:{name}\n" for name in LEAKS))
    races.write_text("".join(f"{race}\n" for race in RACES))
    paths = {"leaks": leaks, "races": races, "quick": int(quick)}
    libraries = [
        subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()
        for name in LIBRARIES[kind]
    ]
    return {
        **os.environ,
        **{name: value.format(**paths) for name, value in OPTIONS.items()},
        "LD_PRELOAD": " ".join(libraries),
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONMALLOC": "malloc" if kind == "address" else "default",
        "PYTHONPATH": str(Path(site).resolve()),
        "PYTHONSAFEPATH": "1",
    }


def main(kind: str, site: str, *arguments: str) -> int:
    """Run the tests; return the exit code."""
    quick, arguments = "--quick" in arguments, tuple(text for text in arguments if text != "--quick")
    files = THREADS if kind == "thread" else QUICK if quick else [""]
    with tempfile.TemporaryDirectory() as folder:
        variables = environment(kind, site, folder, quick=quick)
        listed = "import fastsm._kernels; print(*fastsm._kernels.available)"
        names = subprocess.check_output([sys.executable, "-c", listed], env=variables, text=True).split()
        # The best instruction set: all tests. The others: those that do not go through all of them anyway.
        others = ["-k", " and ".join(f"not {name}" for name in names)]
        codes = [
            subprocess.call(
                [
                    *(sys.executable, "-m", "pytest", "-q", "-m", "not memory", "-p", "no:cacheprovider"),
                    *(() if quick or kind == "thread" else ("--numprocesses=auto", "--maxprocesses=4")),
                    "--capture=sys",  # what a sanitizer says before the end of a process is not captured
                    *(f"--deselect={TESTS.name}/{name}" for name in NOT_MEANT[kind]),
                    *(others if name != names[0] else []),
                    *arguments,
                    *(str(TESTS / file) for file in files),
                ],
                env={**variables, "FASTSM_ISA": name},
            )
            for name in (names[:1] if quick else names)
        ]
    return max(map(abs, codes))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
