"""Test the sdist in clean roots of other systems, and print one table: `make everywhere` calls this.

    python tests/everywhere.py dist/fastsm-0.1.0.tar.gz [sid-clang trixie-gcc ...] [--folder FOLDER]

Each cell of the table is a Debian with one Python, one compiler and one processor. In each: unpack the
sdist, build and install it with pip, run the quick tests, and run tests/bits.py, which prints a digest of
what the kernels return with each instruction set.

- debootstrap makes the roots in FOLDER, and the next run uses them again. To begin anew, delete one.
- QEMU emulates the other processors, slowly: they run the tests of the kernels only. It stays registered
  with Linux until the next start.
- On 32 bits setup.py refuses to build. The table then says "refused", and that is no failure.
- Mounts of a root are private to a step, and end with it.

FOLDER/CELL.log has all that a cell printed. The exit status is 1 if a cell failed. Without root, Linux on
x86-64 or debootstrap nothing is tested, and it is 0; the other processors need qemu-user-static, too.
"""

import argparse
import ast
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

QEMU = {"arm64": "aarch64", "s390x": "s390x", "armhf": "arm"}
REFUSAL = "fastsm needs a Python of 64 bits"
LIMIT = 3600  # seconds that one step may take
# What an emulated processor runs: all that looks at the kernels' numbers, and errors.
FEW = [
    *(
        "functional",
        "kernels/test_layer_kernels.py",
        "kernels/test_memory_safety.py",
        "kernels/test_products.py",
    ),
    *("kernels/test_team.py", "kernels/test_machine_code.py"),
]
# What these tests need, and what comes from Debian where PyPI has no wheels.
NEEDED = ["numpy", "hypothesis", "ml-dtypes", "mpmath", "pytest", "pytest-xdist", "scipy", "threadpoolctl"]
DEBIAN = {"s390x": NEEDED, "i386": ["numpy"], "armhf": ["numpy"]}
AUTHORITIES = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")


class Cell(NamedTuple):
    """One line of the table."""

    suite: str
    compiler: str
    processor: str = "amd64"
    python: str = "python3"
    constraint: str = ""  # on what is there to build, and on what is there to run

    @property
    def root(self) -> str:
        """Return the name of the root."""
        return self.suite if self.processor == "amd64" else f"{self.suite}-{self.processor}"

    @property
    def name(self) -> str:
        """Return the name of the cell."""
        return "-".join([self.root, self.compiler, *([self.python] if self.python != "python3" else [])])

    @property
    def packages(self) -> list[str]:
        """Return the Debian packages that the root needs."""
        packages = ["gcc", "g++", "libc6-dev", self.compiler, f"{self.python}-venv", f"{self.python}-dev"]
        return [*packages, *(f"python3-{name}" for name in DEBIAN.get(self.processor, []))]


CELLS = [
    Cell("bookworm", "gcc", constraint="numpy==2.0.*"),
    Cell("bookworm", "clang"),
    Cell("trixie", "gcc"),
    Cell("trixie", "clang"),
    Cell("sid", "gcc"),
    Cell("sid", "clang"),
    Cell("sid", "gcc", python="python3.15"),
    Cell("trixie", "gcc", "arm64"),
    Cell("sid", "gcc", "arm64"),
    Cell("sid", "clang", "arm64"),
    Cell("sid", "gcc", "s390x"),
    Cell("trixie", "gcc", "i386"),
    Cell("trixie", "gcc", "armhf"),
]

Variables = dict[str, str]


class Failed(Exception):
    """A step failed."""


class Place:
    """The root of a cell, and the steps in it."""

    def __init__(self, cell: Cell, folder: Path, mirror: str) -> None:
        self.cell, self.mirror = cell, mirror
        self.root, self.log = folder / cell.root, folder / f"{cell.name}.log"
        self.source = self.root / "src" / cell.name
        self.log.write_text("")

    def call(self, step: str, command: list[str]) -> str:
        """Run a command, its output in the log; return the output."""
        print(f"{self.cell.name}: {step}", file=sys.stderr, flush=True)
        with self.log.open("a+", encoding="utf-8", errors="replace") as log:
            print(f"\n== {step}: {command[-1]}", file=log, flush=True)
            start, nothing = log.tell(), subprocess.DEVNULL
            try:
                subprocess.run(command, stdin=nothing, stdout=log, stderr=log, timeout=LIMIT, check=True)
            except subprocess.CalledProcessError as error:
                raise Failed(f"{step}: exit status {error.returncode}") from None
            except subprocess.TimeoutExpired:
                raise Failed(f"{step}: not done after {LIMIT} seconds") from None
            log.seek(start)
            return log.read()

    def inside(self, step: str, script: str, variables: Variables) -> str:
        """Run a shell script in the root, with these environment variables only; return the output."""
        known = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", **variables}
        if self.cell.processor == "arm64":  # QEMU's own choice signs pointers, which is ten times as slow
            known["QEMU_CPU"] = "cortex-a72"
        alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={self.root}/proc"]
        mount = ["sh", "-ec", 'mount --rbind /dev "$0/dev"; exec chroot "$0" "$@"', str(self.root)]
        # In the background Ctrl-C is ignored; the tests must not ignore it.
        bare = [
            "env",
            "-i",
            "--default-signal=INT",
            *(f"{name}={value}" for name, value in known.items()),
            "sh",
            "-ec",
            script,
        ]
        return self.call(step, [*alone, *mount, *bare])

    def python(self, step: str, arguments: str, variables: Variables) -> str:
        """Run the virtual environment's Python where the sdist is unpacked; return the output."""
        return self.inside(step, f"cd /src/{self.cell.name}; v/bin/python {arguments}", variables)

    def make(self) -> None:
        """Make the root unless it exists, and install what the cell needs."""
        if not (self.root / "usr").exists() or (self.root / "debootstrap").exists():
            self.call("remove what is left", ["rm", "-rf", "--one-file-system", str(self.root)])
            options = ["--variant=minbase", f"--arch={self.cell.processor}", self.cell.suite]
            self.call("debootstrap", ["debootstrap", *options, str(self.root), self.mirror])
        copies = {"/etc/resolv.conf": "resolv.conf", "/etc/hosts": "hosts", AUTHORITIES: "authorities.pem"}
        for source, name in copies.items():
            if Path(source).exists():
                shutil.copy(source, self.root / "etc" / name)
        packages = " ".join(self.cell.packages)
        # A mirror may lag behind.
        update = "apt-get -q -o Acquire::Check-Valid-Until=false update"
        install = f"apt-get -qy --no-install-recommends install {packages}"
        variables = {**settings(), "DEBIAN_FRONTEND": "noninteractive"}
        script = f"dpkg --status {packages} > /dev/null || {{ {update}; {install}; }}"
        self.inside("packages", script, variables)

    def install(self, sdist: Path) -> bool:
        """Install the sdist, and what its tests need, in a virtual environment; say whether it was built."""
        shutil.rmtree(self.source, ignore_errors=True)
        self.source.mkdir(parents=True)
        self.call("unpack", ["tar", "-C", str(self.source), "--strip-components=1", "-xzf", str(sdist)])
        debian = self.cell.processor in DEBIAN
        options = "--system-site-packages" if debian else ""
        self.inside("venv", f"{self.cell.python} -m venv {options} /src/{self.cell.name}/v", {})
        variables = {
            **settings(),
            "CC": self.cell.compiler,
            "PIP_ONLY_BINARY": ":all:",
            "PIP_NO_COMPILE": "1",
        }
        if self.cell.constraint:
            (self.source / "constraint").write_text(self.cell.constraint)
            for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"):
                variables[name] = f"/src/{self.cell.name}/constraint"
        if debian:
            self.python("what builds", "-m pip install 'setuptools>=77' 'cython>=3.3,<3.4'", variables)
        what = f". {' '.join(NEEDED)}" if self.cell.processor in QEMU else "'.[test]'"
        how = "--no-build-isolation --no-deps ." if debian else what
        output = self.python("install", f"-m pip install {how} || echo not built", variables)
        built = not output.endswith("\nnot built\n")
        if not built and REFUSAL not in output:
            raise Failed("install: not built")
        return built

    def versions(self) -> list[str]:
        """Return the versions of Python, NumPy and the compiler."""
        ask = "-c 'import platform as p, numpy as n; print(p.python_version(), n.__version__)'"
        ask += f"; {self.cell.compiler} -dumpfullversion 2> /dev/null || {self.cell.compiler} -dumpversion"
        numbers, compiler = self.python("versions", ask, {}).strip().splitlines()[-2:]
        python, numpy = numbers.split()
        return [python, numpy, f"{self.cell.compiler} {compiler}"]

    def test(self) -> list[str]:
        """Run the tests; return how many passed, failed and were skipped."""
        # A fork of QEMU's process hangs where its other threads are at work.
        few = "-k 'not fork' " + " ".join(f"tests/{name}" for name in FEW)
        files = few if self.cell.processor in QEMU else "tests"
        run = f"-m pytest -q -n 2 -m 'not slow and not memory' {files}"
        # 1: some failed. All else is no result.
        output = self.python("tests", f"{run} || [ $? = 1 ]", {"PYTHONSAFEPATH": "1"})
        last = output.strip().rpartition("\n")[2]
        found = {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
        if "passed" not in found:
            raise Failed(f"tests: {last}")
        failed = found.get("failed", 0) + found.get("error", 0)
        return [str(found.get("passed", 0)), str(failed), str(found.get("skipped", 0))]

    def digests(self) -> dict[str, str]:
        """Return the digest of the kernels' results by instruction set."""
        output = self.python("bits", "tests/bits.py", {"PYTHONSAFEPATH": "1"})
        found = dict(re.findall(r"^(\w+) ([0-9a-f]{8})[0-9a-f]*$", output, re.MULTILINE))
        if not found:
            raise Failed("bits: no digests")
        return found


def settings() -> Variables:
    """Return the environment variables of proxies and of pip that mean the same inside of a root."""
    listed = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True)
    found = {"PIP_CERT": "/etc/authorities.pem"} if Path(AUTHORITIES).exists() else {}
    found |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    for name, value in re.findall(r"\.([\w-]+)=('.*')", listed):
        if name in {"index-url", "extra-index-url", "trusted-host", "default-timeout", "timeout", "proxy"}:
            words = [word for word in ast.literal_eval(value).split() if not word.startswith(("file:", "/"))]
            found |= {f"PIP_{name.upper().replace('-', '_')}": " ".join(words)} if words else {}
    return found


def register(processor: str) -> None:
    """Register QEMU with Linux for another processor, in roots too."""
    known, name = Path("/proc/sys/fs/binfmt_misc"), f"qemu-{QEMU[processor]}"
    if not (known / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(known)], check=True)
    if not (known / name).exists():
        if not (line := Path(f"/usr/lib/binfmt.d/{name}.conf")).exists():
            raise Failed(f"no {line}: install qemu-user-static")
        (known / "register").write_text(line.read_text())


def run(place: Place, sdist: Path) -> tuple[list[str], dict[str, str], str]:
    """Run all steps of a cell; return its versions and counts, its digests, and its failure."""
    line, digests = ["-"] * 6, {}
    try:
        if place.cell.processor in QEMU:
            register(place.cell.processor)
        place.make()
        built = place.install(sdist)
        line[:3] = place.versions()
        line[3:] = place.test() if built else ["refused", "-", "-"]
        digests = place.digests() if built else {}
    except (Failed, OSError, ValueError, subprocess.SubprocessError) as failure:
        return line, digests, str(failure)
    return line, digests, "" if line[4] in "-0" else f"tests: {line[4]} failed"


def compare(found: dict[Cell, dict[str, str]]) -> list[str]:
    """Print whether all cells have the same bits with the same instruction set; return where not."""
    names: dict[tuple[str, str], dict[str, list[str]]] = {}
    for cell, digests in found.items():
        for isa, digest in digests.items():
            names.setdefault((cell.processor, isa), {}).setdefault(digest, []).append(cell.name)
    different = []
    for (processor, isa), same in sorted(names.items()):
        listed = "; ".join(f"{digest} in {', '.join(cells)}" for digest, cells in same.items())
        print(f"{processor} {isa}: {'the same bits' if len(same) == 1 else 'DIFFERENT BITS'}: {listed}")
        different += [f"{processor} {isa}: different bits"] if len(same) > 1 else []
    return different


def main() -> int:
    """Run the requested cells; return the exit status."""
    plain, names = argparse.RawDescriptionHelpFormatter, [cell.name for cell in CELLS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("sdist", type=Path, help="what `make everywhere` leaves in dist/")
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"some of {', '.join(names)}; or else all")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/fastsm-everywhere"), help="%(default)s")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian", help="Debian's: %(default)s")
    asked = parser.parse_args()
    if unknown := set(asked.cells) - set(names):
        parser.error(f"no cell {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    linux = (sys.platform, platform.machine()) == ("linux", "x86_64")
    there = {"Linux on x86-64": linux, "root": linux and not os.geteuid()}
    there["debootstrap"] = shutil.which("debootstrap") is not None
    alone = ["unshare", "--mount", "--pid", "--fork", "true"]
    there["leave to mount"] = linux and not subprocess.run(alone, capture_output=True, check=False).returncode
    if missing := [name for name, is_there in there.items() if not is_there]:
        print(f"skipped: needs {' and '.join(missing)}")
        return 0
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.folder.stat().st_uid != 0:
        parser.error(f"{asked.folder} belongs to another user")
    head = "cell processor Python NumPy compiler passed failed skipped minutes bits"
    table, digests, failures = [head.split()], {}, []
    try:
        for cell in [cell for cell in CELLS if not asked.cells or cell.name in asked.cells]:
            place, start = Place(cell, asked.folder.resolve(), asked.mirror), time.monotonic()
            line, digests[cell], failure = run(place, asked.sdist)
            shown = " ".join(f"{isa}:{digest}" for isa, digest in digests[cell].items()) or "-"
            table.append([cell.name, cell.processor, *line, f"{(time.monotonic() - start) / 60:.1f}", shown])
            failures += [f"{cell.name} failed: {failure}; see {place.log}"] if failure else []
    except KeyboardInterrupt:
        failures.append("stopped by Ctrl-C")
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    failures += compare(digests)
    print(*failures, sep="\n", end="\n" if failures else "")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
