"""No kernel reads or writes outside its arrays, for any arguments; `make sanitize` runs this too."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from campaign import examples
from processes import run_python

import fastsm
from fastsm import _kernels
from fastsm._kernels import kernels

FLOATS = np.ones((20, 100), np.float32)
LABELS = np.zeros(20, np.int64)

needs_guards = pytest.mark.skipif(sys.platform == "win32", reason="no mprotect here")


# In a new process: tests/helpers/guarded.py.
GUARDED = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1] / 'helpers')!r}); import guarded\n"


@needs_guards
@pytest.mark.parametrize("isa", _kernels.available)
def test_nothing_beyond_the_arrays(isa):
    """Run the kernels on arrays between inaccessible pages."""
    rounds = examples(6)
    seed = 0 if rounds == 6 else np.random.SeedSequence().entropy
    assert int(run_python(GUARDED + f"guarded.main({rounds}, {seed})", FASTSM_ISA=isa)) >= 100 * rounds


@needs_guards
@pytest.mark.parametrize("side", ["start", "end"])
def test_the_guards_guard(side):
    """Reading one element beyond an array ends the process."""
    code = f"""
array = guarded.Field().place(guarded.np.zeros(10), {side!r})
step = -8 if {side!r} == "start" else 8
near = guarded.np.lib.stride_tricks.as_strided(array[0 if step < 0 else 9 :], (2,), (step,))
print("inside", near[0], flush=True)
print("beyond", near[1], flush=True)
"""
    result = subprocess.run(
        [sys.executable, "-c", GUARDED + code], capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert result.stdout == "inside 0.0\n"


@needs_guards
def test_the_bytes_around_are_checked():
    from guarded import Field

    field = Field()
    array = field.place(np.zeros(10), "start")
    field.check()
    field.room[array.nbytes] = 0
    with pytest.raises(AssertionError):
        field.check()


@pytest.mark.parametrize("axis", [-1, 2, 9, 2**31 - 1])
def test_axes_that_there_are(axis):
    assert not kernels.compute_rows(kernels.SOFTMAX, FLOATS, None, FLOATS.copy(), axis, 1.0, 0)
    assert kernels.cross_entropy(FLOATS, LABELS, None, FLOATS[:, 0], axis, *OPTIONS) is None


OPTIONS = (None, None, None, 0.0, 1.0, 1.0, 0)


def call_cross_entropy(labels=LABELS, losses=None, by_class=None, by_row=None):
    losses = np.empty(20, np.float32) if losses is None else losses
    kernels.cross_entropy(FLOATS, labels, None, losses, 1, by_class, by_row, None, 0.0, 1.0, 1.0, 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: kernels.compute_rows(
                kernels.LOGSUMEXP, FLOATS, None, np.empty(19, np.float32), 1, 1.0, 0
            ),
            ValueError,
            "`out` must have 20 elements, got 19",
        ),
        (
            lambda: kernels.compute_rows(kernels.LOGSUMEXP, FLOATS, None, np.empty(20), 1, 1.0, 0),
            TypeError,
            "arrays of different types",
        ),
        (lambda: call_cross_entropy(LABELS[:19]), ValueError, "`targets` must have 20 elements, got 19"),
        (
            lambda: call_cross_entropy(losses=np.empty(19, np.float32)),
            ValueError,
            "`losses` must have 20 elements, got 19",
        ),
        (
            lambda: call_cross_entropy(by_class=np.ones(99, np.float32)),
            ValueError,
            "`class_weight` must have 100 elements, got 99",
        ),
        (lambda: call_cross_entropy(by_class=np.ones(100)), TypeError, "arrays of different types"),
        (
            lambda: call_cross_entropy(by_row=np.ones(21, np.float32)),
            ValueError,
            "`sample_weight` must have 20 elements, got 21",
        ),
        (
            lambda: kernels.check_labels(LABELS, 100, None, np.ones(99), None),
            ValueError,
            "`class_weight` must have 100 elements, got 99",
        ),
        (
            lambda: kernels.check_labels(LABELS, 100, None, None, np.ones(20, np.float32)),
            TypeError,
            "arrays of different types",
        ),
        (lambda: kernels.check_labels(LABELS.astype(np.int32), 100, None, None, None), TypeError, "int64"),
        (lambda: kernels.sum_of(np.zeros(8, np.int8)), TypeError, "neither float32 nor float64"),
    ],
)
def test_what_does_not_fit_is_an_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_shape_that_another_thread_changes():
    """The result belongs to one of the shapes, or is an error; memory outside the array is never used."""
    code = """
import threading, warnings, numpy as np, fastsm
sys.setswitchinterval(1e-6)
warnings.filterwarnings("ignore", "Setting the shape", DeprecationWarning)  # NumPy 2.5; it is still done
x = np.zeros((3000, 100), np.float32)
stop = False

def reshape():
    while not stop:
        x.shape = (30, 10000)
        x.shape = (3000, 100)

threading.Thread(target=reshape, daemon=True).start()
for _ in range(200):
    try:
        found = fastsm.logsumexp(x, num_threads=2)
    except ValueError:
        continue
    assert np.allclose(found, np.log(10000 if len(found) == 30 else 100))
stop = True
"""
    run_python("import sys" + code)


def test_as_many_helpers_as_can_be():
    """Helpers started all at once fill only the available slots: the others return."""
    code = """
import threading, time
from fastsm._kernels import kernels
started = []
call = lambda: kernels.help_team(lambda: started.append(1))
threads = [threading.Thread(target=call, daemon=True) for _ in range(300)]
for thread in threads:
    thread.start()
end = time.monotonic() + 60
while sum(thread.is_alive() for thread in threads) > 255 or len(started) < 300:
    assert time.monotonic() < end
    time.sleep(0.01)
assert kernels.team_size() == 256
"""
    run_python(code)


def test_numbers_that_are_not_finite():
    """Arithmetic on the bits of NaN and of unused lanes does not overflow, as sanitizers check."""
    with np.errstate(all="ignore"):
        for dtype in (np.float32, np.float64):
            for value in (np.nan, -np.nan, np.inf, -np.inf, np.finfo(dtype).max, np.finfo(dtype).tiny):
                for classes in (1, 3, 10, 31, 40):
                    x = np.full((37, classes), value, dtype)
                    x[::2, -1] = 0
                    fastsm.log_softmax(x)
                    fastsm.logsumexp(x.T, axis=0)
                    fastsm.softmax_vjp(x, x)
                    fastsm.log_softmax_vjp(x, x)
                    fastsm.cross_entropy_with_grad(x, np.zeros(37, int), label_smoothing=0.1)
                    out = np.empty_like(x)
                    for kind in kernels.ACTIVATIONS.values():
                        kernels.activate(kind, x, out, 0.1)
                        kernels.activate_vjp(kind, x, x, out, 0.1)
