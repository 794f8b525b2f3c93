"""fastsm.special in the place of SciPy: SciPy's own tests, patches and their removal, the command."""

import importlib.util
import os
import pickle
import re
import sys
import threading
import types

import numpy as np
import pytest
from processes import python

from fastsm import special

scipy_special = pytest.importorskip("scipy.special")

OWN_TESTS = "scipy.special.tests.test_logsumexp"
NAMES = ("log_softmax", "logsumexp", "softmax")
SCIPYS = {name: getattr(scipy_special, name) for name in NAMES}
OURS = {name: getattr(special, name) for name in NAMES}

pytestmark = pytest.mark.skipif("SCIPY_ARRAY_API" in os.environ, reason="SciPy serves other libraries")


@pytest.fixture
def client(monkeypatch):
    """A module that has imported functions from both libraries."""
    module = types.ModuleType("client_of_scipy")
    module.lse, module.ours, module.other = SCIPYS["logsumexp"], OURS["logsumexp"], 3
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield module
    special.unpatch_scipy()


def test_scipys_own_tests():
    """The tests of the installed SciPy pass with these functions in the place of its own."""
    tests = importlib.util.find_spec("scipy.special.tests") and importlib.util.find_spec(OWN_TESTS)
    if not tests:
        pytest.skip("SciPy without its tests")
    code, output, errors = python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "after_collection", "-c", os.devnull),
        *("-W", "ignore::pytest.PytestWarning"),  # its pytest.ini is not installed
        tests.origin,
    )
    assert (code, errors) == (0, ""), output
    assert int(re.search(r"(\d+) passed", output)[1]) > 20


def test_patch_and_unpatch(client):
    """Names that hold SciPy's functions change and change back; those that hold ours do not."""
    changed = special.patch_scipy()
    assert {*(f"scipy.special.{name}" for name in NAMES), "client_of_scipy.lse"} <= set(changed)
    assert special.patch_scipy() == []
    assert client.lse is scipy_special.logsumexp is not SCIPYS["logsumexp"]
    assert client.lse([0.0, -40.0]) > 0
    assert client.lse(np.array([1j])) == SCIPYS["logsumexp"](np.array([1j]))
    assert pickle.loads(pickle.dumps(client.lse)) is client.lse
    client.late = scipy_special.softmax  # as by an import
    undone = special.unpatch_scipy()
    assert sorted(undone) == sorted([*changed, "client_of_scipy.late"])
    assert special.unpatch_scipy() == []
    assert (client.lse, client.late) == (SCIPYS["logsumexp"], SCIPYS["softmax"])
    assert client.ours is special.logsumexp is OURS["logsumexp"]
    assert all(getattr(scipy_special, name) is SCIPYS[name] for name in NAMES)


def test_patch_from_many_threads(client):
    """Patches and removals at the same time leave one of the two."""
    workers = [
        threading.Thread(target=function) for function in [special.patch_scipy, special.unpatch_scipy] * 8
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    special.unpatch_scipy()
    assert client.lse is scipy_special.logsumexp is SCIPYS["logsumexp"]


@pytest.mark.filterwarnings("ignore:Could not find the number of physical cores")  # in bare containers
def test_sklearns_copy(client):
    """scikit-learn's own function is replaced only if asked for."""
    pytest.importorskip("sklearn")
    from sklearn import mixture
    from sklearn.utils import _array_api

    if not (hasattr(_array_api, "_logsumexp") and hasattr(mixture._base, "_logsumexp")):
        pytest.skip("another scikit-learn, without such a copy")
    theirs = _array_api._logsumexp
    assert not any("sklearn" in name and "_logsumexp" in name for name in special.patch_scipy())
    changed = special.patch_scipy(sklearn=True)
    assert {"sklearn.utils._array_api._logsumexp", "sklearn.mixture._base._logsumexp"} <= set(changed)
    x = np.random.default_rng(0).standard_normal((50, 3))
    fast = mixture.GaussianMixture(2, random_state=0).fit(x).score_samples(x)
    special.unpatch_scipy()
    assert mixture._base._logsumexp is _array_api._logsumexp is theirs
    slow = mixture.GaussianMixture(2, random_state=0).fit(x).score_samples(x)
    np.testing.assert_allclose(fast, slow, rtol=1e-12)


def test_no_patch_for_other_libraries(monkeypatch):
    """SciPy keeps its functions where it computes on arrays of other libraries."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    with pytest.raises(RuntimeError, match="`SCIPY_ARRAY_API` must not be set"):
        special.patch_scipy()


def test_without_scipy(monkeypatch):
    """What needs SciPy says so."""
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(ImportError, match=r"^patch_scipy needs SciPy: pip install scipy$"):
        special.patch_scipy()
    with pytest.raises(TypeError, match=r"^`a` of complex128 must be of real numbers of at most 64 bits, or"):
        special.logsumexp([1j])
    with pytest.raises(TypeError, match=r"^`b` of complex128 must"):
        special.logsumexp([1.0], b=[1j])
    for name in ("softmax", "log_softmax"):
        with pytest.raises(TypeError, match=r"^`x` of complex64 must"):
            getattr(special, name)(np.array([1j], np.complex64))


SCRIPT = """
import sys
from scipy.special import logsumexp
print(__name__, sys.argv[1:], logsumexp.__globals__['__name__'], logsumexp([0.0, 0.0]).round(3))
"""


@pytest.mark.parametrize("is_module", [False, True])
def test_command(tmp_path, is_module):
    """`python -m fastsm.special` runs a script or a module with the functions replaced."""
    (tmp_path / "some_script.py").write_text(SCRIPT)
    program = ["-m", "some_script"] if is_module else [tmp_path / "some_script.py"]
    path = os.pathsep.join([os.path.dirname(os.path.dirname(special.__path__[0])), str(tmp_path)])
    code, output, errors = python("-m", "fastsm.special", *program, "--x", "1", PYTHONPATH=path)
    assert (code, output) == (0, "__main__ ['--x', '1'] fastsm.special._functions 0.693\n"), errors
    assert re.fullmatch(r"python -m fastsm.special: replaced .*scipy.special.logsumexp.*\n", errors)


def test_command_fails():
    """Without SciPy, and without a program, the command ends with one line."""
    code, _, errors = python("-m", "fastsm.special", "x.py", SCIPY_ARRAY_API="1")
    assert (code, errors.count("\n")) == (1, 1)
    assert python("-m", "fastsm.special")[0] == 2
