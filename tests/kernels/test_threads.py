"""Threads: the same bits as one thread, after forks, at exit, under interrupts; and the number of threads."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from processes import needs_fork, run_python
from teams import sharing

import fastsm
from fastsm import _kernels
from fastsm.functional import _cores, _threads

# The beginning of scripts: an array large enough to be split.
PREAMBLE = """
import atexit, os, sys, threading, time, warnings
import numpy as np
import fastsm
from fastsm.functional import _cores, _threads

# Python 3.12 and up: fork in a process with threads.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
x = np.random.default_rng(0).standard_normal((600, 1000), dtype=np.float32)
from fastsm._kernels import kernels
"""


@pytest.fixture
def split():
    """Share arrays of any size."""
    with sharing():
        yield


def all_functions(shape, seed=0):
    """Return calls of all functions on shared inputs, by name."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape, dtype=np.float32)
    y, log_y = fastsm.softmax(x), fastsm.log_softmax(x)
    labels = rng.integers(0, shape[1], shape[0])
    for array in (x, y, log_y, labels):
        array.flags.writeable = False
    return {
        "softmax": lambda **threads: fastsm.softmax(x, **threads),
        "softmax of columns": lambda **threads: fastsm.softmax(x, axis=0, **threads),
        "log_softmax": lambda **threads: fastsm.log_softmax(x, **threads),
        "logsumexp": lambda **threads: fastsm.logsumexp(x, **threads),
        "softmax_vjp": lambda **threads: fastsm.softmax_vjp(y, x, **threads),
        "log_softmax_vjp": lambda **threads: fastsm.log_softmax_vjp(log_y, x, **threads),
        "in place": lambda **threads: fastsm.softmax((c := x.copy()), out=c, **threads),
        "cross_entropy": lambda **threads: fastsm.cross_entropy(x, labels, **threads),
        "of probabilities": lambda **threads: fastsm.cross_entropy(x, y, **threads),
        "with gradient": lambda **threads: fastsm.cross_entropy_with_grad(x, labels, **threads)[1],
        "smoothed": lambda **threads: fastsm.cross_entropy(x, labels, label_smoothing=0.1, **threads),
    }


# ---- results ----


@pytest.mark.usefixtures("split")
@pytest.mark.parametrize("shape", [(300, 10), (100, 200)], ids=str)
def test_hammering(isa, shape):
    """Eight Python threads calling all functions on shared inputs, each with helpers, get the serial bits."""
    functions = all_functions(shape)
    serial = {name: function(num_threads=1).tobytes() for name, function in functions.items()}
    barrier = threading.Barrier(8)

    def hammer(seed):
        barrier.wait(60)
        wrong = []
        for name in np.random.default_rng(seed).permutation(list(functions) * 3):
            threads = [None, 1, 2, 3][seed % 4]
            if functions[name](num_threads=threads).tobytes() != serial[name]:
                wrong.append(str(name))
        return wrong

    with ThreadPoolExecutor(8) as executor:
        assert list(executor.map(hammer, range(8))) == [[]] * 8


@pytest.mark.usefixtures("split")
def test_inside_an_executor():
    """Calls from more tasks than threads, each waiting for helpers, do not deadlock."""
    functions = all_functions((50, 20))
    serial = [function(num_threads=1).tobytes() for function in functions.values()]

    def task(number):
        return [function(num_threads=4).tobytes() for function in functions.values()] == serial

    with ThreadPoolExecutor(3) as executor:
        assert all(executor.map(task, range(30)))


def test_calls_from_short_lived_threads():
    """The team outlives the thread that first used it."""
    functions = all_functions((600, 1000))
    expected = functions["softmax"]().tobytes()
    results = []
    for _ in range(3):
        thread = threading.Thread(
            target=lambda: results.append(functions["softmax"](num_threads=2).tobytes())
        )
        thread.start()
        thread.join()
    assert results == [expected] * 3


# ---- what is shared ----


def test_small_arrays_stay():
    """Small arrays stay on the calling thread; with one thread, all calls do."""
    code = """
for n in (10, 100):
    small = x[:20, :n].copy()
    fastsm.softmax(small), fastsm.softmax(small, num_threads=8)
fastsm.softmax(x, num_threads=1)
fastsm.set_num_threads(1)
fastsm.softmax(x)
print(kernels.team_size())
"""
    assert run_python(PREAMBLE + code) == "1\n"


@pytest.mark.parametrize("name", all_functions((2, 3)))
def test_large_arrays_are_shared(name):
    """Every function shares large arrays with other threads, as many as it is told or as there may be."""
    code = f"""
sys.path.insert(0, {str(Path(__file__).parent)!r})
sys.path.insert(0, {str(Path(__file__).parents[1] / "helpers")!r})
from test_threads import all_functions
fastsm.set_num_threads(1)
function = all_functions((600, 1000))[{name!r}]
fastsm.set_num_threads(2)
function(num_threads=1)
before = kernels.team_size()
function()
print(before, kernels.team_size(), end=" ")
function(num_threads=3)
print(kernels.team_size())
"""
    assert run_python(PREAMBLE + code) == "1 2 3\n"


def test_wrong_label_found_by_a_helper(split, monkeypatch):
    """The caller gets a ValueError from any helper's block."""
    logits, labels = np.zeros((400, 10)), np.zeros(400, np.int64)
    labels[399] = 10
    for _ in range(5):
        with pytest.raises(ValueError, match="at position 399"):
            fastsm.cross_entropy_with_grad(logits, labels, num_threads=3)
    labels[399] = 0
    assert fastsm.cross_entropy(logits, labels, num_threads=3) == pytest.approx(np.log(10))


@pytest.mark.parametrize("name", _kernels.available)
def test_labels_changing_all_the_time(name):
    """While a thread keeps writing garbage into the labels, a call returns or raises; it never crashes."""
    code = """
labels = np.zeros(20_000, np.int64)
garbage = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, labels.size)
logits = np.zeros(200_000, np.float32)
kernels.set_team(3, _threads._start_helper, least_work=1 << 12)
done = False

def write():
    while not done:
        labels[...] = garbage
        labels[...] = 0
        time.sleep(0)

writer = threading.Thread(target=write)
writer.start()
for classes in (10, 50):
    x = logits.reshape(-1, classes)
    for options in ({}, {"num_threads": 1}, {"num_threads": 3}, {"label_smoothing": 0.1}, {"axis": 0}):
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            try:
                matrix = x.reshape(classes, -1) if "axis" in options else x
                fastsm.cross_entropy_with_grad(matrix, labels[: len(x)], out=matrix, **options)
            except ValueError as error:
                assert str(error).startswith(
                    (f"`targets` must lie in [0, {classes})", "`targets` must not change during the call")
                ), error
        assert np.isfinite(logits).all()
done = True
writer.join()
print("done")
"""
    assert run_python(PREAMBLE + code, FASTSM_ISA=name) == "done\n"


# ---- fork, exit, interrupts ----


@needs_fork
@pytest.mark.parametrize("helpers", [1, 0])
def test_fork(helpers):
    """A forked child starts its own threads, whether the parent had any or not, and exits normally."""
    code = f"""
import signal
expected = fastsm.softmax(x, num_threads={1 + helpers})
assert kernels.team_size() == {1 + helpers}
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    alone = kernels.team_size() == 1
    same = (fastsm.softmax(x, num_threads=2) == expected).all()
    sys.exit(0 if same and alone and kernels.team_size() == 2 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
assert (fastsm.softmax(x, num_threads=2) == expected).all()
"""
    assert run_python(PREAMBLE + code) == "0\n"


@needs_fork
def test_fork_during_calls():
    """A fork works while other threads of the parent are inside calls."""
    code = """
import signal
expected = fastsm.softmax(x)
done = False

def loop():
    while not done:
        fastsm.softmax(x, num_threads=2)

threads = [threading.Thread(target=loop) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(10):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        done = True
        sys.exit(0 if (fastsm.softmax(x, num_threads=2) == expected).all() else 1)
    # Otherwise the children would write the parent's buffer again.
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), end=" ", flush=True)
done = True
for thread in threads:
    thread.join()
"""
    assert run_python(PREAMBLE + code).split() == ["0"] * 10


@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn"])
def test_multiprocessing(tmp_path, method):
    """Workers of a process pool compute with threads, after the parent has used its own."""
    script = tmp_path / "script.py"
    script.write_text(
        PREAMBLE
        + f"""
import multiprocessing

def work(seed):
    return fastsm.softmax(x + np.float32(seed), num_threads=2).tobytes()

if __name__ == "__main__":
    expected = [work(seed) for seed in range(4)]
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map(work, range(4)) == expected
        pool.close()
        pool.join()
    print("done")
"""
    )
    assert run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')") == "done\n"


def test_exit_with_helpers():
    """The interpreter exits while helpers wait for work."""
    assert run_python(PREAMBLE + "fastsm.softmax(x, num_threads=4); print('done')") == "done\n"


@pytest.mark.parametrize("threads", [1, 2])
def test_exit_during_a_call(threads):
    """The interpreter exits while a daemon thread is inside a call."""
    code = f"""
x = np.tile(x, (10, 1))
started = threading.Event()

def loop():
    while True:
        fastsm.softmax(x, out=x, num_threads={threads})
        started.set()

threading.Thread(target=loop, daemon=True).start()
started.wait(60)
print("done")
"""
    for _ in range(3):
        assert run_python(PREAMBLE + code) == "done\n"


@pytest.mark.parametrize("before", ["fastsm.softmax(x, num_threads=3)", "pass"])
def test_atexit(before):
    """Exit handlers can still compute, although no thread can be started any more."""
    code = f"""
{before}
expected = fastsm.softmax(x, num_threads=1)
atexit.register(lambda: print((fastsm.softmax(x, num_threads=3) == expected).all()))
"""
    assert run_python(PREAMBLE + code) == "True\n"


def test_keyboard_interrupt():
    """Ctrl-C in the calling thread ends the call, and the next one works."""
    code = """
import _thread
expected = fastsm.softmax(x, num_threads=1)
for attempt in range(20):
    try:
        threading.Timer(0.001 * attempt, _thread.interrupt_main).start()
        while True:
            fastsm.softmax(x, num_threads=3)
    except KeyboardInterrupt:
        assert (fastsm.softmax(x, num_threads=3) == expected).all()
print("done")
"""
    assert run_python(PREAMBLE + code) == "done\n"


# ---- the number of threads ----


@pytest.fixture
def restore_threads():
    """Restore the number of threads."""
    before = fastsm.get_num_threads()
    yield
    fastsm.set_num_threads(before)


@pytest.mark.usefixtures("restore_threads")
def test_set_and_get():
    """get_num_threads returns the number set, as an int, and calls use it."""
    for number in (1, 2, np.int64(3), 7):
        fastsm.set_num_threads(number)
        assert fastsm.get_num_threads() == number
        assert type(fastsm.get_num_threads()) is int


SHOW = "import fastsm; print(fastsm.get_num_threads())"


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("3", 3), (" 2 ", 2), ("1000", 1000)])
def test_environment(text, number):
    """FASTSM_NUM_THREADS sets the number."""
    assert run_python(SHOW, FASTSM_NUM_THREADS=text) == f"{number}\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
@pytest.mark.parametrize("text", ["", "0"])
def test_default(text):
    """Without the variable, or with 0, the number is the cores that the process may use."""
    cores = _cores.usable_cores()
    assert run_python(SHOW, FASTSM_NUM_THREADS=text, OMP_NUM_THREADS="") == f"{cores}\n"
    code = "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]);"
    assert run_python(code + SHOW, FASTSM_NUM_THREADS=text, OMP_NUM_THREADS="") == "1\n"


def test_openmp_variable():
    """OMP_NUM_THREADS lowers the default; FASTSM_NUM_THREADS takes precedence."""
    assert run_python(SHOW, OMP_NUM_THREADS="1,2", FASTSM_NUM_THREADS="") == "1\n"
    assert run_python(SHOW, OMP_NUM_THREADS="1", FASTSM_NUM_THREADS="3") == "3\n"


@pytest.mark.parametrize(
    ("text", "number"),
    [("2,1", 2), (" 3 ", 3), ("4", 4), ("", None), ("0", None), ("-1", None), ("x,2", None), (",2", None)],
)
def test_openmp_numbers(monkeypatch, text, number):
    """The first number counts; nonsense is ignored."""
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert _cores.openmp_threads() == number
    assert _cores.default_threads() == min(_cores.usable_cores(), number or 10**6)


TWO = "sys/fs/cgroup"
CPU = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("number", "files"),
    [
        (64, {}),
        (64, {"proc/self/cgroup": "0::/\n"}),
        (1, {"proc/self/cgroup": "0::/\n", f"{TWO}/cpu.max": "100000 100000\n"}),
        (2, {"proc/self/cgroup": "0::/\n", f"{TWO}/cpu.max": "150000 100000\n"}),
        (1, {"proc/self/cgroup": "0::/\n", f"{TWO}/cpu.max": "1000 100000\n"}),
        (64, {"proc/self/cgroup": "0::/\n", f"{TWO}/cpu.max": "max 100000\n"}),
        (64, {"proc/self/cgroup": "0::/\n", f"{TWO}/cpu.max": "9900000 100000\n"}),
        # The smallest quota from the process's own group up to the top.
        (3, {"proc/self/cgroup": "0::/a/b\n", f"{TWO}/a/b/cpu.max": "3 1", f"{TWO}/a/cpu.max": "4 1"}),
        (2, {"proc/self/cgroup": "0::/a/b\n", f"{TWO}/a/b/cpu.max": "max 1", f"{TWO}/a/cpu.max": "2 1"}),
        (5, {"proc/self/cgroup": "0::/../../a\n", f"{TWO}/a/cpu.max": "5 1"}),
        (64, {"proc/self/cgroup": "0::/a\n", f"{TWO}/b/cpu.max": "2 1"}),
        (6, {"proc/self/cgroup": "0::/docker/5e\n", f"{TWO}/cpu.max": "6 1"}),
        # Version 1, alone and beside version 2.
        (
            2,
            {
                "proc/self/cgroup": "5:memory:/m\n3:cpu,cpuacct:/docker/5e\n0::/\n",
                f"{CPU}/cpu.cfs_quota_us": "200000\n",
                f"{CPU}/cpu.cfs_period_us": "100000\n",
            },
        ),
        (
            64,
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/\n",
                f"{CPU}/cpu.cfs_quota_us": "-1\n",
                f"{CPU}/cpu.cfs_period_us": "100000\n",
            },
        ),
        (
            4,
            {
                "proc/self/cgroup": "3:cpu:/a\n1:name=systemd:/a\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "350000\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            },
        ),
        (7, {"proc/self/cgroup": "0::/u\n", "sys/fs/cgroup/unified/u/cpu.max": "7 1"}),
        # What is no quota is ignored.
        *(
            (64, {"proc/self/cgroup": "0::/\n", f"{TWO}/cpu.max": text})
            for text in ("", "2", "0 100000", "2 0", "-1 1", "1.5 1", "1 1 1", "a b", "\xb2 1", "9" * 9999)
        ),
        *(
            (64, {"proc/self/cgroup": text})
            for text in ("", "nonsense", ":::", "0:", "\0", "0::/\0\n", "\xff")
        ),
    ],
)
def test_quota_of_a_container(tmp_path, monkeypatch, number, files):
    """The quotas of control groups limit the cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="latin-1")
    assert _cores.usable_cores(str(tmp_path)) == number


def test_unreadable_quota(tmp_path, monkeypatch):
    """A folder in the place of a file is ignored."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4}, raising=False)
    (tmp_path / TWO / "cpu.max").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").mkdir(parents=True)
    assert _cores.usable_cores(str(tmp_path)) == 2


@pytest.mark.parametrize("text", ["-1", "two", "1.5", "1e3", " "])
def test_bad_environment(text):
    """A bad FASTSM_NUM_THREADS is an ImportError that says so."""
    code = """
try:
    from fastsm import nn
except ImportError as error:
    print(error)
"""
    rule = "must be an integer of at least 1, or 0 for the default"
    assert run_python(code, FASTSM_NUM_THREADS=text) == f"`FASTSM_NUM_THREADS` {rule}, got {text!r}\n"


def test_nothing_waits_for_a_lock(split):
    """An interrupted call may leave the lock taken: others start no helpers then, and compute alone."""
    x = np.random.default_rng(0).standard_normal((500, 40))
    expected = fastsm.softmax(x, num_threads=1)
    with _threads._lock:
        np.testing.assert_array_equal(fastsm.softmax(x, num_threads=4), expected)
        fastsm.fit(
            fastsm.nn.MLP([40, 200, 2]), x, np.zeros(500, int), num_threads=4, batch_size=500, epochs=1
        )
