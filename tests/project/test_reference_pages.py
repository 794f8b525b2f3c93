"""The reference: every public name has a page, a docstring with an example, and documented members."""

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("sklearn", reason="the estimators are public, too")

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
# The public modules.
MODULES = (
    "fastsm",
    "fastsm.callbacks",
    "fastsm.data",
    "fastsm.distributed",
    "fastsm.nn",
    "fastsm.nn.initializers",
    "fastsm.optim",
    "fastsm.optim.schedules",
    "fastsm.reference",
    "fastsm.sklearn",
    "fastsm.special",
    "fastsm.testing",
    "fastsm.training",
    "fastsm.training.metrics",
)


def resolve(name):
    """Return the module or attribute of this name."""
    parent, _, last = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ImportError:
        if not parent:
            raise
        return getattr(resolve(parent), last)


def public():
    """Return all public names but those of modules."""
    for module in MODULES:
        for name in resolve(module).__all__:
            if not isinstance(resolve(f"{module}.{name}"), ModuleType):
                yield f"{module}.{name}"


NAMES = tuple(public())
THINGS = tuple(name for name in NAMES if name != "fastsm.__version__")
# Classes that users get, but never make.
GIVEN = tuple(f"{module}.{name}" for module, name in (
    ("fastsm", "History"), ("fastsm", "SingleClassWarning"), ("fastsm", "TrainingDiverged"),
    ("fastsm.data", "DataError"),
    ("fastsm.testing", "GradientError"), ("fastsm.training", "History"), ("fastsm.training", "Run"),
    ("fastsm.training", "TrainingDiverged"),
))  # fmt: skip
CLASSES = tuple(name for name in THINGS if inspect.isclass(resolve(name)))


def listed():
    """Return the names that the pages of the reference list, each with the page that is made for it."""
    names = []
    for path in sorted(REFERENCE.glob("*.rst")):
        module, inside = "", False
        for line in path.read_text("utf-8").splitlines():
            directive = re.match(r"\.\. (\w+):: *(\S*)", line)
            if directive and directive[1] in ("module", "currentmodule"):
                module = directive[2]
            elif directive and directive[1] == "data":
                names.append(f"{module}.{directive[2]}")
            elif line and not line.startswith(" "):
                inside = bool(directive and directive[1] == "autosummary")
            elif inside and re.fullmatch(r" +[A-Za-z_][\w.]*", line):
                names.append(f"{module}.{line.strip()}")
    return names


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no source tree")
def test_every_public_name_has_a_page():
    """Each public object is listed once, by one of its names, and nothing else is."""
    pages = listed()
    assert sorted(set(pages)) == sorted(pages)
    documented = [resolve(name) for name in pages]
    missing = [name for name in NAMES if not any(resolve(name) is thing for thing in documented)]
    assert missing == []
    things = [resolve(name) for name in NAMES]
    private = [name for name in pages if not any(resolve(name) is thing for thing in things)]
    assert private == []


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no source tree")
def test_every_page_is_reachable():
    """Each list makes pages, and is in the table of contents."""
    contents = (REFERENCE / "index.rst").read_text("utf-8")
    for path in REFERENCE.glob("*.rst"):
        text = path.read_text("utf-8")
        assert text.count(".. autosummary::\n") == text.count(".. autosummary::\n   :toctree: generated\n")
        assert path.stem == "index" or re.search(rf"^   {path.stem}$", contents, re.MULTILINE)


def test_public_modules():
    """Submodules of public modules are public too."""
    for module in MODULES:
        offered = {f"{module}.{name}" for name in resolve(module).__all__}
        modules = {name for name in offered if isinstance(resolve(name), ModuleType)}
        assert {resolve(name) for name in modules} <= {resolve(name) for name in MODULES}
        assert inspect.getdoc(resolve(module))


@pytest.mark.parametrize("name", THINGS)
def test_docstring(name):
    """A summary of one line, and an example."""
    text = inspect.getdoc(resolve(name))
    assert re.match(r"\S.*[.:]\n\n", text)
    assert re.search(r"^Examples\n-{8}\n", text, re.MULTILINE)
    assert re.search(r"^>>> ", text, re.MULTILINE)


def own_members(cls):
    """Return the public methods and properties of a class that this package defines, by name."""
    for name, member in inspect.getmembers(cls):
        definer = next((base for base in cls.__mro__ if name in vars(base)), cls)
        if not definer.__module__.startswith("fastsm") or name.startswith("_"):
            continue
        if isinstance(member, property) or inspect.isroutine(member):
            yield name, member


@pytest.mark.parametrize("name", CLASSES)
def test_members(name):
    """Every public method and property has a docstring."""
    undocumented = [member for member, value in own_members(resolve(name)) if not inspect.getdoc(value)]
    assert undocumented == []


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in GIVEN])
def test_parameters(name):
    """The docstring of a class names every parameter."""
    thing = resolve(name)
    text = inspect.getdoc(thing)
    parameters = inspect.signature(thing).parameters
    assert [name for name in parameters if not re.search(rf"(?<![\w.]){name}\b", text)] == []
