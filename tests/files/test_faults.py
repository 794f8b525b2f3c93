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
from processes import environment, fail, needs_fork, run_program

import fastsm
from fastsm import nn, optim

posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and users of POSIX")


# ---- killed ----


@needs_fork
def test_killed_at_random_moments(tmp_path):
    """A training that is killed and resumed several times ends with the same bits."""
    run_program("killed_at_random_moments.py", tmp_path, examples(12))


@needs_fork
def test_killed_at_any_call_of_a_write(tmp_path):
    """After a kill at any system call the file is the old one or the new one, complete."""
    run_program("killed_at_any_call.py", tmp_path)


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
    run_program("resumed_after_full_disk.py", tmp_path)


ON_A_FULL_DISK = """
mount -t tmpfs -o size=200k none "$1" && cd "$1" || exit 77
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


# An interrupt between the last line of a `with` and its end leaves the file to the garbage collector.
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
    run_program("interrupted_at_random_moments.py", tmp_path, examples(25))


# ---- forks and exits ----


@needs_fork
def test_trainings_in_forked_workers(tmp_path):
    """Forks during trainings and shared work of the parent's threads: the same bits in all of them."""
    run_program("forked_workers.py", tmp_path)


@pytest.mark.parametrize("kind", ["daemon", "ordinary"])
def test_exit_during_a_training(kind):
    """The interpreter exits without output while threads of a training work."""
    for _ in range(examples(1)):
        assert run_program("exit_during_training.py", kind) == "done\n"


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
    # Not the first: Python caches stack traces.
    assert max(taken[2:]) - taken[1] < 4000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_process_memory_does_not_grow(tmp_path):
    """The memory of the process stays constant, with threads and files."""
    run_program("memory_of_process.py", tmp_path)
