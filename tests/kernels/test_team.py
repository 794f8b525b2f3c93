"""The team of threads: the same bits as one thread, and no wait for a missing helper."""

import threading
import time

import numpy as np
import pytest
from processes import needs_fork, run_python

import fastsm
from fastsm import nn, optim
from fastsm._kernels import kernels

# Large enough for every kernel to be shared.
ROWS, FEATURES, OUTPUTS = 600, 300, 250


@pytest.fixture(autouse=True)
def number_of_threads():
    """Restore the number of threads."""
    before = fastsm.get_num_threads()
    yield
    fastsm.set_num_threads(before)


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((ROWS, FEATURES), dtype=np.float32)
    dy = rng.standard_normal((ROWS, OUTPUTS), dtype=np.float32)
    w = rng.standard_normal((FEATURES, OUTPUTS), dtype=np.float32)
    return x, dy, w


def results(seed=0):
    """Return the results of all kernels that threads may share."""
    x, dy, w = arrays(seed)
    found = []

    def new(shape):
        found.append(np.full(shape, np.nan, np.float32))
        return found[-1]

    kernels.dense(x, w, dy[0].copy(), new((ROWS, OUTPUTS)))
    kernels.dense(x, dy, None, new((FEATURES, OUTPUTS)), left_transposed=True)
    kernels.dense(dy, w, None, new((ROWS, FEATURES)), right_transposed=True)
    kernels.activate(kernels.ACTIVATIONS["gelu"], x, new(x.shape), 0.0)
    kernels.activate_vjp(kernels.ACTIVATIONS["tanh"], x, x, new(x.shape), 0.0)
    kernels.dropout(x, new(x.shape), 0.3, 5, 7)
    kernels.gather(x, np.arange(ROWS)[::-1].copy(), new(x.shape), 0.5)
    for step in (
        lambda p, s, t: kernels.sgd(p, x, s, 0.1, 0.9, True, 0.01, 1.0),
        lambda p, s, t: kernels.rmsprop(p, x, s, t, 0.1, 0.9, 0.5, 1e-8, 0.01, 1.0),
        lambda p, s, t: kernels.adam(p, x, s, t, 0.1, 0.9, 0.99, 1e-8, 0.01, True, 3.0, 1.0),
    ):
        found += [x.copy(), abs(x), abs(x)]
        step(*found[-3:])
    return found


def same(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_same_bits(threads):
    fastsm.set_num_threads(1)
    expected = results()
    fastsm.set_num_threads(threads)
    for _ in range(20):
        assert same(results(), expected)
    assert kernels.team_size() >= threads


@pytest.mark.skipif(not kernels.FAST_DENSE, reason="NumPy's products depend on its threads")
def test_a_training_has_the_same_bits():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (1000, 400), dtype=np.uint8), rng.integers(0, 10, 1000)

    def trained(threads):
        model = nn.MLP([400, 300, 10], dropout=0.2, rng=0)
        fastsm.fit(model, x, y, optimizer=optim.Adam(), epochs=2, rng=0, num_threads=threads)
        return model.params

    assert np.array_equal(trained(1), trained(3))


def test_helpers_wake_up():
    fastsm.set_num_threads(3)
    expected = results()
    for pause in (0, 1e-4, 1e-3, 0.01, 0.1):
        time.sleep(pause)
        assert same(results(), expected)


def test_many_threads_call_at_once():
    """Of several callers one gets the helpers; the others work alone."""
    fastsm.set_num_threads(3)
    expected = [results(seed) for seed in range(6)]
    wrong = []

    def call(seed):
        wrong.extend(seed for _ in range(10) if not same(results(seed), expected[seed]))

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_small_work_stays():
    """With one thread no helper is started."""
    code = """
import numpy as np, fastsm
from fastsm import nn
from fastsm._kernels import kernels
fastsm.set_num_threads(4)
model = nn.MLP([20, 30, 10], rng=0)
fastsm.fit(model, np.ones((100, 20), np.float32), np.zeros(100, int), epochs=2)
assert kernels.team_size() == 1
"""
    run_python(code)


PREAMBLE = """
import os, threading, time, warnings
import numpy as np
import fastsm
from fastsm._kernels import kernels

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
fastsm.set_num_threads(3)
x = np.random.default_rng(0).standard_normal((500, 400), dtype=np.float32)

def product():
    out = np.empty((500, 500), np.float32)
    kernels.dense(x, x, None, out, right_transposed=True)
    return out

expected = product()
"""


@needs_fork
def test_fork():
    """A forked child has no helpers, and starts its own when it has work for them."""
    code = """
assert kernels.team_size() == 3
child = os.fork()
if child == 0:
    alone = kernels.team_size() == 1
    right = np.array_equal(product(), expected) and kernels.team_size() == 3
    os._exit(0 if alone and right else 1)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(product(), expected)
"""
    run_python(PREAMBLE + code)


@needs_fork
def test_fork_during_calls():
    """A fork works while another thread shares its work."""
    code = """
stop = False

def work():
    while not stop:
        product()

threading.Thread(target=work, daemon=True).start()
for _ in range(30):
    child = os.fork()
    if child == 0:
        os._exit(0 if all(np.array_equal(product(), expected) for _ in range(5)) else 1)
    assert os.waitpid(child, 0)[1] == 0
stop = True
"""
    run_python(PREAMBLE + code)


def test_exit():
    """The exit does not wait for helpers, awake or asleep."""
    run_python(PREAMBLE)
    run_python(PREAMBLE + "time.sleep(0.1)")
    code = "threading.Thread(target=lambda: [product() for _ in range(10**6)], daemon=True).start()"
    run_python(PREAMBLE + code)
