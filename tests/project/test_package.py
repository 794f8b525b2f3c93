"""The installed package: names, signatures, documentation, variants, and what it consists of."""

import importlib.util
import inspect
import pydoc
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from processes import python

import fastsm
from fastsm import _kernels

PACKAGE = Path(fastsm.__file__).parent
SOURCES = Path(__file__).parents[2] / "src"

LOSS_OPTIONS = (
    "axis=-1, where=None, class_weight=None, sample_weight=None, ignore_index=None, "
    "label_smoothing=0.0, temperature=1.0, reduction='mean', num_threads=None"
)
BINARY_OPTIONS = "pos_weight=None, sample_weight=None, label_smoothing=0.0, reduction='mean'"
SIGNATURES = {
    "softmax": "(x, /, *, axis=-1, temperature=1.0, where=None, out=None, num_threads=None)",
    "log_softmax": "(x, /, *, axis=-1, temperature=1.0, where=None, out=None, num_threads=None)",
    "logsumexp": "(x, /, *, axis=-1, where=None, keepdims=False, out=None, num_threads=None)",
    "softmax_vjp": "(y, dy, /, *, axis=-1, temperature=1.0, out=None, num_threads=None)",
    "log_softmax_vjp": "(log_y, dy, /, *, axis=-1, temperature=1.0, out=None, num_threads=None)",
    "logsumexp_vjp": "(x, lse, dy, /, *, axis=-1, out=None, num_threads=None)",
    "softmax_jacobian": "(y)",
    "cross_entropy": f"(logits, targets, /, *, {LOSS_OPTIONS})",
    "cross_entropy_with_grad": f"(logits, targets, /, *, {LOSS_OPTIONS}, out=None)",
    "binary_cross_entropy": f"(logits, targets, /, *, {BINARY_OPTIONS})",
    "binary_cross_entropy_with_grad": f"(logits, targets, /, *, {BINARY_OPTIONS}, out=None)",
    "set_num_threads": "(n)",
    "get_num_threads": "()",
    "show_versions": "()",
}
# Names that are imported on first use.
TRAINING = (
    "History",
    "TrainingDiverged",
    "callbacks",
    "data",
    "fit",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grad",
    "load",
    "nn",
    "optim",
    "save",
    "testing",
)


# ---- names, signatures, documentation ----


def test_public_names():
    """The public names are exactly the promised ones."""
    assert sorted(fastsm.__all__) == sorted([*SIGNATURES, *TRAINING, "SingleClassWarning", "__version__"])
    assert all(hasattr(fastsm, name) for name in fastsm.__all__)
    assert set(fastsm.__all__) <= set(dir(fastsm))
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", fastsm.__version__)


def test_lazy_import_of_training():
    """Importing fastsm does not import training; its names are available."""
    code, output, errors = python(
        "-c",
        "import sys, fastsm\n"
        "names = ('nn', 'optim', 'training', 'testing', 'data', '_saving')\n"
        "print({f'fastsm.{name}' for name in names} & set(sys.modules))\n"
        f"from fastsm import {', '.join(TRAINING)}\n"
        "print(fit is fastsm.fit, fastsm.nn is nn)",
    )
    assert (code, output, errors) == (0, "set()\nTrue True\n", "")


def test_modules_are_imported_when_used():
    """Every public module is an attribute; dir() shows public names only."""
    extras = {"sklearn": "sklearn", "distributed": "mpi4py"}
    names = [
        "reference",
        "special",
        "training",
        "typing",
        *(n for n, p in extras.items() if importlib.util.find_spec(p)),
    ]
    listed = ", ".join(f"fastsm.{name}" for name in names)
    code, output, errors = python("-c", f"import fastsm; print({listed})")
    assert (code, errors) == (0, "")
    assert all(f"'fastsm.{name}'" in output for name in names)
    assert [name for name in dir(fastsm) if name.startswith("_")] == ["__version__"]
    assert all(hasattr(fastsm, name) for name in dir(fastsm))


def test_missing_name():
    """Missing names give the usual AttributeError."""
    with pytest.raises(AttributeError, match="module 'fastsm' has no attribute 'softmin'"):
        fastsm.softmin  # noqa: B018


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    """The signature is the promised one."""
    signature = inspect.signature(getattr(fastsm, name))
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(parameters)) == SIGNATURES[name]


def described():
    """Return the public functions and classes with methods of ours, by name."""
    modules = [
        "functional",
        "nn",
        "nn.initializers",
        "optim",
        "optim.schedules",
        "data",
        "special",
        "testing",
    ]
    found = {f"fastsm.{name}": getattr(fastsm, name) for name in fastsm.__all__}
    for module in [*modules, "training", "training.callbacks", "training.metrics", "reference", "typing"]:
        names = importlib.import_module(f"fastsm.{module}")
        found |= {f"{module}.{name}": getattr(names, name) for name in names.__all__}
    return {
        name: value for name, value in found.items() if inspect.isfunction(value) or inspect.isclass(value)
    }


@pytest.mark.parametrize("name", described())
def test_help_is_readable(name):
    """Signatures name types as the source does, not what these stand for."""
    lines = pydoc.plain(pydoc.render_doc(described()[name])).splitlines()
    for line in lines if inspect.isclass(described()[name]) else lines[2:3]:
        if match := re.match(r"[ |]*\w+\((.*)\) -> ", line):
            assert len(match[0]) <= 35 * (2 + match[1].count(",")), line


def test_help_of_softmax():
    """The signature is short, on one line or, since Python 3.13, with one for each parameter."""
    text = " ".join(pydoc.plain(pydoc.render_doc(fastsm.softmax)).split())
    signature = text[text.index("softmax(") :].split("Softmax along", maxsplit=1)[0]
    assert signature.replace("'", "").replace("( ", "(").startswith("softmax(x: ArrayLike, /, *, ")
    assert len(signature) <= 200


def sections(function):
    """Return the sections of a numpydoc docstring by title; the text before the first one is ''."""
    parts = re.split(r"^(\w[\w ]*)\n-+\n", inspect.getdoc(function), flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))


@pytest.mark.parametrize("name", SIGNATURES)
def test_docstring(name):
    """One line of summary, then the sections of numpydoc, with each parameter and an example that runs."""
    function = getattr(fastsm, name)
    found = sections(function)
    assert re.match(r".+\.\n|.+[.`]+$", found[""])
    parameters = inspect.signature(function).parameters
    listed = re.findall(r"^(\w[\w, ]*?)(?: : .+)?$", found.get("Parameters", ""), re.MULTILINE)
    assert ", ".join(listed).replace(" ", "").split(",") == (list(parameters) or [""])
    if parameters:
        assert re.search(r"TypeError(?s:.*)ValueError", found["Raises"])
    assert ("Returns" in found) == (inspect.get_annotations(function)["return"] != "None")
    assert ">>> " in found["Examples"]
    order = ["", "Parameters", "Returns", "Raises", "See Also", "Notes", "References", "Examples"]
    assert list(found) == [title for title in order if title in found]


# ---- variants ----

CHOSEN = """
import fastsm
from fastsm import _kernels
print(_kernels.name, _kernels.kernels.__name__)
fastsm.show_versions()
"""


@pytest.mark.parametrize("name", _kernels.available)
def test_instruction_set(name):
    """FASTSM_ISA chooses the variant, and show_versions names it."""
    code, output, errors = python("-c", CHOSEN, FASTSM_ISA=name)
    assert (code, errors) == (0, "")
    first, *versions = output.splitlines()
    assert first == f"{name} fastsm._kernels.{name}.kernels"
    assert any(line.split() == ["instruction", "set", name] for line in versions)


def test_best_instruction_set():
    """Without FASTSM_ISA the best variant for this CPU is used; baseline is always available."""
    assert _kernels.available[-1] == "baseline"
    output = python("-c", CHOSEN, FASTSM_ISA="")[1]
    assert output.startswith(f"{_kernels.available[0]} ")


@pytest.mark.parametrize("name", ["avx1024", "AVX2", "baseline ", "../baseline"])
def test_unknown_instruction_set(name):
    """An unknown FASTSM_ISA is an ImportError that names the available ones."""
    code, output, errors = python("-c", "import fastsm; fastsm.softmax", FASTSM_ISA=name)
    assert (code, output) == (1, "")
    known = ", ".join(_kernels.available)
    message = f"ImportError: `FASTSM_ISA` must be one of {known} on this machine, got {name!r}"
    assert errors.splitlines()[-1] == message


def test_variants_are_distinct(isa):
    """Each variant is a distinct module that computes."""
    modules = [__import__(f"fastsm._kernels.{name}.kernels", fromlist=["x"]) for name in _kernels.available]
    assert len({module.__file__ for module in modules}) == len(modules)
    assert len({id(module.try_plain) for module in modules}) == len(modules)
    x = np.linspace(-3, 3, 50, dtype=np.float32)
    np.testing.assert_allclose(fastsm.softmax(x), np.exp(x) / np.exp(x).sum(), rtol=1e-6)


def test_show_versions(capsys):
    """It shows all that a bug report needs, one item a line."""
    fastsm.show_versions()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["fastsm", fastsm.__version__]
    for wanted in (f"instruction set +{_kernels.name}", f"threads +{fastsm.get_num_threads()}"):
        assert sum(bool(re.fullmatch(wanted, line)) for line in lines) == 1
    for version in (np.__version__, ".".join(map(str, sys.version_info[:3]))):
        assert any(version in line for line in lines)


# ---- contents of the package ----


def test_typed():
    """The package has py.typed and the stub of the compiled modules."""
    files = resources.files(fastsm)
    assert files.joinpath("py.typed").is_file()
    assert files.joinpath("_kernels", "baseline", "kernels.pyi").is_file()


@pytest.mark.skipif((PACKAGE.parent / ".git").exists(), reason="runs from a source checkout")
def test_no_sources_inside():
    """No C, Cython or object files, and no tests, are installed."""
    files = {path for path in PACKAGE.rglob("*") if path.is_file()} - set(PACKAGE.glob("data/digits.*"))
    suffixes = {path.suffix for path in files}
    assert suffixes <= {".py", ".pyc", ".pyi", ".typed", ".so", ".pyd", ""}
    size = sum(path.stat().st_size for path in PACKAGE.rglob("*") if path.suffix != ".pyc" and path.is_file())
    assert size < 4_000_000


def test_names_in_stub():
    """The stub declares every public name of the compiled module, and no other."""
    stub = resources.files(fastsm).joinpath("_kernels", "baseline", "kernels.pyi").read_text()
    declared = set(re.findall(r"^def (\w+)", stub, re.MULTILINE))
    assert declared == {
        name for name, value in vars(_kernels.kernels).items() if callable(value) and name[0] != "_"
    } - {
        "empty",
        "empty_like",
        "float32",
        "float64",
        "ndarray",
    }


# ---- the import ----

IMPORTS = """
import os, sys, threading
import numpy
TASKS = "/proc/self/task"  # also lists threads that Python does not know
before, running = set(sys.modules), os.path.isdir(TASKS) and os.listdir(TASKS)
import fastsm
assert threading.active_count() == 1
assert not running or os.listdir(TASKS) == running
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_import():
    """Importing fastsm imports NumPy, itself and the standard library; no thread is started."""
    code, output, errors = python("-c", IMPORTS)
    assert (code, errors) == (0, "")
    # The second is a part of Python 3.15's `traceback` that it does not list.
    new = {name for name in output.split() if not re.match("_?cython_|_missing_stdlib_info", name)}
    assert new - sys.stdlib_module_names <= {"fastsm", "numpy"}
    assert not new & {"asyncio", "multiprocessing", "email", "http", "unittest", "tkinter", "sqlite3", "ssl"}


CALLS = """
import sys
import numpy as np
import fastsm
x, labels = np.zeros((3, 4), np.float32), np.zeros(3, np.int64)
before = set(sys.modules)
for threads in (None, 1):
    for value in (x, x.astype(np.float16), x.tolist()):
        y = fastsm.softmax(value, num_threads=threads)
        fastsm.softmax_vjp(y, y, num_threads=threads)
        fastsm.logsumexp(value, where=True, num_threads=threads)
        fastsm.cross_entropy_with_grad(value, labels, num_threads=threads, sample_weight=[1, 2, 3])
print(*sorted(set(sys.modules) - before))
"""


def test_calls_import_nothing():
    """Calls import nothing, not even numpy.ma: no delay, and no import lock in a fork."""
    assert python("-c", CALLS) == (0, "\n", "")


# ---- sources, where available ----


@pytest.mark.skipif(not SOURCES.is_dir(), reason="no source tree")
def test_coefficients():
    """The polynomials in simd.h are those that fit_polynomials.py computes."""
    pytest.importorskip("mpmath")
    script = SOURCES / "fit_polynomials.py"
    result = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
