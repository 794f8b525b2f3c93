"""Faults around a training: kills, full disks, interrupts, forks, exits. Nothing is lost, and nothing hangs.

Moments are chosen at random, anew in each run; `FASTSM_FUZZ=300 pytest tests/files` is a campaign.
"""

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from campaign import examples
from processes import environment, fail, needs_fork, run_python

import fastsm
from fastsm import nn, optim

posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and users of POSIX")

# What scripts begin with: a training whose checkpoints take about as long as its steps, and how it ends.
TRAINING = """
import os, random, signal, sys, threading, time
import numpy as np
import fastsm
from fastsm import callbacks, nn, optim

rng = np.random.default_rng(0)
X, y = rng.standard_normal((200, 40), dtype=np.float32), rng.integers(0, 5, 200)
folder = os.environ["FOLDER"]
path = os.path.join(folder, "run.safetensors")
EPOCHS = 20

def train(path, epochs=EPOCHS, resume=None, **options):
    model = nn.MLP([40, 120, 5], dropout=0.3, rng=0)
    both = [callbacks.EarlyStopping("loss", patience=100, restore_best=False), callbacks.Checkpoint(path)]
    history = fastsm.fit(model, X, y, optimizer=optim.Adam(), epochs=epochs, batch_size=20, callbacks=both,
                         rng=0, resume_from=resume, **options)
    return model.params.copy(), history.get("loss"), history

whole, losses, _ = train(path)
os.unlink(path)

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child
"""


# ---- killed ----


@needs_fork
def test_killed_at_random_moments(tmp_path):
    """A training that is killed and resumed several times ends with the same bits."""
    code = f"""
started, kills, epochs = time.perf_counter(), {examples(12)}, set()
train(path, 3)
pace = (time.perf_counter() - started) / 3
while kills > 0 or len(epochs) < 2:
    kills -= 1
    pace *= 1 if len(epochs) > 1 else 1.2  # on a busy machine the first ones may come too early
    child = in_child(lambda: train(path, resume=path))
    time.sleep(random.uniform(0, 6 * pace))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    history = fastsm.History()
    fastsm.load(path, history=history)
    epochs.add(history.epochs)
    if history.epochs == EPOCHS:
        os.unlink(path)
        train(path, 1)
params, found, _ = train(path, resume=path)
assert (params == whole).all() and found == losses, (epochs, found)
"""
    run_python(TRAINING + code, FOLDER=str(tmp_path))


@needs_fork
def test_killed_at_any_call_of_a_write(tmp_path):
    """After a kill at any system call the file is the old one or the new one, complete."""
    code = f"""
train(path, 1)


def content(path):
    with open(path, "rb") as file:
        return file.read()

old = content(path)
other = os.path.join(folder, "other.safetensors")
train(other, 2)
new = fastsm.load(other)
fastsm.save(other, new)

def killed(count):
    left = count

    def watch(frame, event, argument):
        nonlocal left
        if event == "c_call":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)
    fastsm.save(path, new)
    sys.setprofile(None)
    os.write(pipe[1], (count - left).to_bytes(4, "little"))

pipe = os.pipe()
os.waitpid(in_child(lambda: killed(1 << 30)), 0)
calls = int.from_bytes(os.read(pipe[0], 4), "little")
assert calls > 50
complete = {{old: 0, content(other): 0}}
for count in sorted(random.sample(range(1, calls + 1), min(calls, {examples(60)}))):
    with open(path, "wb") as file:
        file.write(old)
    child = in_child(lambda: killed(count))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    complete[content(path)] += 1
    assert fastsm.load(path).params.size == whole.size
assert complete[old]
left = {{name.rpartition(".")[2] for name in os.listdir(folder)}}
assert left == {{"safetensors", "tmp"}}, left
"""
    run_python(TRAINING + code, FOLDER=str(tmp_path))


# ---- full disks and permissions ----


@pytest.fixture
def folder():
    """Return a folder that other users may read, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextlib.contextmanager
def largest_file(size):
    """Limit the size of files; larger ones fail as on a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
def test_full_disk_keeps_old_file(folder):
    """At any limit the error is the system's, and the old file stays."""
    path = folder / "m.safetensors"
    fastsm.save(path, nn.MLP([40, 120, 5], rng=0))
    before = path.read_bytes()
    for size in (0, 1, 100, 4096, 8192, len(before) // 2, len(before) - 1):
        with largest_file(size), pytest.raises(OSError, match="File too large") as caught:
            fastsm.save(path, nn.MLP([40, 120, 5], rng=1))
        assert caught.value.errno == errno.EFBIG
        assert os.listdir(folder) == ["m.safetensors"]
    assert path.read_bytes() == before


@posix
def test_resumed_after_full_disk(tmp_path):
    """The error ends the training, and its last checkpoint is that of the epoch before."""
    code = """
import resource
train(path, 3)
size = os.path.getsize(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, resource.RLIM_INFINITY))
try:
    train(path, resume=path)
except OSError as error:
    assert "File too large" in str(error)
else:
    raise SystemExit("no error")
assert os.listdir(folder) == ["run.safetensors"]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
params, found, _ = train(path, resume=path)
assert (params == whole).all() and found == losses
"""
    run_python(TRAINING + code, FOLDER=str(tmp_path))


ON_A_FULL_DISK = """
mount -t tmpfs -o size=160k none "$1" && cd "$1" || exit 77
"$2" -P -m fastsm train --hidden 128 --epochs 3 --no-plots --quiet --out run
code=$?
ls -A run
exit $code
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs namespaces of Linux")
def test_full_disk_ends_command(folder):
    """There is room for one checkpoint, but not for its replacement."""
    try:
        result = subprocess.run(
            ["unshare", "-rm", "sh", "-c", ON_A_FULL_DISK, "sh", str(folder), sys.executable],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if result.returncode == 77 or "unshare" in result.stderr:
        pytest.skip("this user may make no disks")
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["fastsm train: error: [Errno 28] No space left on device"]
    assert "checkpoint.safetensors" in result.stdout
    assert ".tmp" not in result.stdout


@contextlib.contextmanager
def ordinary_user(*paths):
    """Drop the rights of root, if root runs the tests, and own these files."""
    if os.geteuid():
        yield
        return
    for path in paths:
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@posix
def test_no_permission_keeps_old_file(folder):
    """An unwritable folder, and an unreadable file."""
    path, table = folder / "m.safetensors", folder / "t.npz"
    fastsm.save(path, nn.MLP([4, 3], rng=0))
    before = path.read_bytes()
    table.touch()
    with ordinary_user(folder, path, table):
        folder.chmod(0o555)
        with pytest.raises(PermissionError):
            fastsm.save(path, nn.MLP([4, 3], rng=1))
        assert path.read_bytes() == before
        path.chmod(0)
        with pytest.raises(PermissionError):
            fastsm.load(path)
        table.chmod(0)
        with pytest.raises(fastsm.data.DataError, match="cannot be read: Permission denied"):
            fastsm.data.load(table)
        path.chmod(0o644)
        folder.chmod(0o755)
    assert sorted(os.listdir(folder)) == ["m.safetensors", "t.npz"]
    fastsm.load(path)


@posix
def test_no_permission_ends_the_command(folder):
    """Exit code 1 and the system's reason."""
    (folder / "runs").write_text("a file in the place of a folder")
    assert "runs" in fail(1, "train", "--out", folder / "runs" / "one", "--epochs", 1)
    assert fail(1, "train", "--out", "/proc/fastsm", "--epochs", 1).startswith("fastsm train: error: ")


@posix
@pytest.mark.parametrize("name", ["x" * 250, "ü" * 125])
def test_longest_file_names(tmp_path, name):
    """The temporary file has a longer name, which must fit too."""
    model = nn.MLP([2, 2], rng=0)
    fastsm.save(tmp_path / name, model)
    assert (fastsm.load(tmp_path / name).params == model.params).all()


# ---- interrupted ----


# Between the last line of a `with` and its end Python leaves a file to be closed when it is collected.
@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning")
def test_interrupted_at_any_line_of_write(tmp_path):
    """The file is the old one or the new one, and nothing else is left."""
    path, left = tmp_path / "m.safetensors", 0

    def trace(frame, event, argument):
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    def save(model, count):
        nonlocal left
        left, before = count, sys.gettrace()
        sys.settrace(trace)
        try:
            fastsm.save(path, model)
        finally:
            sys.settrace(before)
        return count - left

    models = [nn.MLP([4, 3], rng=seed) for seed in (0, 1)]
    contents = []
    for model in models:
        lines = save(model, 1 << 40)
        contents.append(path.read_bytes())
    for count in np.unique(np.linspace(1, lines, examples(150)).astype(int)).tolist():
        path.write_bytes(contents[0])
        with pytest.raises(KeyboardInterrupt):
            save(models[1], count)
        assert path.read_bytes() in contents
        assert os.listdir(tmp_path) == ["m.safetensors"]


@posix
def test_interrupted_at_random_moments(tmp_path):
    """After Ctrl-C with busy threads `fit` returns or raises, its checkpoint is good, and calls work."""
    code = f"""
def interrupt(*arguments):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
# Python swallows interrupts that come within a destructor, and warns of a file that was opened just then.
sys.unraisablehook = lambda unraisable: None
fastsm.set_num_threads(3)
big = rng.standard_normal((600, 1000), dtype=np.float32)
expected = fastsm.softmax(big, num_threads=1)
stop = False

def loop():
    while not stop:
        assert (fastsm.softmax(big) == expected).all()

other = threading.Thread(target=loop, daemon=True)
other.start()
started = time.perf_counter()
train(path, num_threads=2)
seconds = time.perf_counter() - started
os.unlink(path)
ends = set()
for _ in range({examples(25)}):
    resume = path if os.path.exists(path) else None
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, seconds / 3))
        end = train(path, resume=resume, num_threads=2)[2].stopped
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        end = "raised"
    ends.add(end)
    if end == "epochs":
        os.unlink(path)
    assert fastsm.get_num_threads() == 3
    assert (fastsm.softmax(big) == expected).all()
    left = set(os.listdir(folder))
    assert left <= {{"run.safetensors"}}, left
stop = True
other.join()
params, found, _ = train(path, resume=path if os.path.exists(path) else None)
assert (params == whole).all() and found == losses
assert "interrupted" in ends, ends
"""
    run_python(TRAINING + code, FOLDER=str(tmp_path))


# ---- forks and exits ----


@needs_fork
def test_trainings_in_forked_workers(tmp_path):
    """Forks during trainings and shared work of the parent's threads: the same bits in all of them."""
    code = """
import multiprocessing, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
fastsm.set_num_threads(3)
big = np.ones((600, 1000), np.float32)
fastsm.softmax(big)
stop, wrong = False, []

def loop(name):
    while not stop:
        if (train(os.path.join(folder, name))[0] != whole).any():
            wrong.append(name)
        fastsm.softmax(big)

threads = [threading.Thread(target=loop, args=(f"{i}.safetensors",), daemon=True) for i in range(2)]
for thread in threads:
    thread.start()

def work(i):
    return (train(os.path.join(folder, f"worker{i}.safetensors"), num_threads=1 + i % 3)[0] == whole).all()

with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map_async(work, range(4)).get(100)
stop = True
for thread in threads:
    thread.join()
assert all(results) and not wrong
"""
    run_python(TRAINING + code, FOLDER=str(tmp_path))


@pytest.mark.parametrize("daemon", [True, False])
def test_exit_during_a_training(tmp_path, daemon):
    """The interpreter exits without output while threads of a training work."""
    code = f"""
fastsm.set_num_threads(3)
big = np.ones((2000, 400), np.float32)

def loop():
    for _ in range({10**6 if daemon else 3}):
        fastsm.fit(nn.MLP([400, 300, 10], rng=0), big, np.zeros(2000, int), epochs=1, num_threads=3)
        fastsm.softmax(big)

threading.Thread(target=loop, daemon={daemon}).start()
time.sleep(random.uniform(0, 0.2))
print("done")
"""
    for _ in range(examples(1)):
        assert run_python(TRAINING + code, FOLDER=str(tmp_path)) == "done\n"


# ---- memory ----


def test_memory_does_not_grow():
    """Python's memory stays constant over 10,000 steps, calls, and refused calls."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((100, 8), dtype=np.float32), np.arange(100) % 3
    taken = []

    class Watch:
        def on_epoch_end(self, run):
            run.history.clear()  # which grows by design
            if run.epoch % 250 == 0:
                for _ in range(1000):
                    fastsm.softmax(X)
                    with contextlib.suppress(ValueError):
                        fastsm.cross_entropy(X, y + 7)
                taken.append(tracemalloc.get_traced_memory()[0])

    model = nn.MLP([8, 16, 3], dropout=0.2, layer_norm=True, rng=0)
    tracemalloc.start()
    try:
        fastsm.fit(
            model,
            X,
            y,
            optimizer=optim.Adam(),
            epochs=1000,
            batch_size=10,
            callbacks=[Watch()],
            metrics=[],
            rng=0,
        )
    finally:
        tracemalloc.stop()
    assert len(taken) == 4
    # Not the first, after which Python has a stack trace or two in its caches.
    assert max(taken[2:]) - taken[1] < 4000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_process_memory_does_not_grow(tmp_path):
    """The memory of the process stays constant, with threads and files."""
    code = """
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

taken = []
for i in range(8):
    fastsm.fit(nn.MLP([40, 120, 5], dropout=0.3, rng=0), X, y, optimizer=optim.Adam(), epochs=125,
               batch_size=20, metrics=[], rng=0, num_threads=2)  # 1250 steps: 10,000 in all
    for j in range(5):
        fastsm.save(path, nn.MLP([40, 120, 5]))
        fastsm.load(path)
    taken.append(resident())
assert max(taken[3:]) - taken[2] < 1 << 20, taken
"""
    run_python(TRAINING + code, FOLDER=str(tmp_path))
