"""Training in several processes, started by mpiexec with the scripts of `mpi/`.

Two cores are shared by all of them; this is about correctness, not about speed.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastsm
from fastsm import data
from fastsm.data._folder import FILES

pytest.importorskip("mpi4py", reason="needs mpi4py: pip install fastsm[mpi]", exc_type=ImportError)

SCRIPTS = Path(__file__).parent / "mpi"
# The wheels of MPI libraries bring it into the virtual environment.
MPIEXEC = shutil.which(
    "mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)

pytestmark = [
    pytest.mark.skipif(MPIEXEC is None, reason="needs an MPI library: pip install mpich"),
    pytest.mark.slow,
]


def mpirun(ranks, *arguments, expected=0, **environment):
    """Run Python in `ranks` processes, and return its output."""
    command = [MPIEXEC, "-n", str(ranks), sys.executable, "-W", "error", *map(str, arguments)]
    # One thread each: there are more processes than cores already.
    variables = os.environ | {"FASTSM_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} | environment
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
    said = f"{result.stdout}\n{result.stderr}"
    assert (result.returncode == 0) == (expected == 0), said
    if expected is not None and expected > 0:
        assert result.returncode == expected, said
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the results of the same trainings on 1, 2 and 4 ranks."""
    results = {}
    for ranks in (1, 2, 4):
        file = tmp_path_factory.mktemp("trained") / "results.npz"
        mpirun(ranks, SCRIPTS / "trains.py", file)
        with np.load(file) as arrays:
            results[ranks] = dict(arrays)
    return results


# Some hundred steps of AdamW in each: what rounding does to them was 1e-15 and 1e-6 when this was written.
@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("dropout", 1e-12),
        ("float32", 2e-5),
        ("clipped", 1e-12),
        ("idle", 1e-12),
        ("weighted", 1e-12),
        ("best", 1e-12),
    ],
)
def test_same_model_on_any_ranks(trained, name, tolerance, ranks):
    for key in (name, f"{name} history"):
        np.testing.assert_allclose(trained[ranks][key], trained[1][key], rtol=tolerance, atol=tolerance)


def test_one_rank(trained):
    """A communicator of one process gives the same bits."""
    np.testing.assert_array_equal(trained[1]["dropout"], trained[1]["dropout without comm"])


@pytest.mark.parametrize(("before", "after"), [(1, 2), (4, 1)])
def test_resumed_on_other_ranks(tmp_path, trained, before, after):
    checkpoint, results = tmp_path / "checkpoint.safetensors", tmp_path / "results.npz"
    mpirun(before, SCRIPTS / "checkpoints.py", checkpoint, 2)
    mpirun(after, SCRIPTS / "checkpoints.py", checkpoint, 3, results)
    with np.load(results) as arrays:
        np.testing.assert_allclose(arrays["params"], trained[1]["dropout"], rtol=1e-12, atol=1e-12)
        assert arrays["epochs"] == 3


@pytest.mark.parametrize("ranks", [2, 3])
def test_shards(ranks):
    """Each rank has different rows, in uneven numbers; each epoch takes each row once."""
    mpirun(ranks, SCRIPTS / "shards.py")


@pytest.mark.parametrize("ranks", [2, 3])
def test_classes_over_ranks(ranks):
    """Loss, gradient and training agree with those of unsharded classes."""
    mpirun(ranks, SCRIPTS / "classes.py")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("argument", "TypeError: `X` must have dtype"),
        ("argument of one", "rank 1 cannot train: TypeError: `X` must have dtype"),
        ("models", "`model` must be the same on all ranks"),
        ("rows", "`X` must be the same on all ranks"),
        ("callback", "ZeroDivisionError"),
        ("diverged", "TrainingDiverged"),
        ("keyboard", "KeyboardInterrupt"),
        ("no rows", "`X` must have at least one row"),
    ],
)
def test_error_on_one_rank(case, message):
    result = mpirun(2, SCRIPTS / "fails.py", case, expected=-1)
    assert message in result.stderr
    assert "went on" not in result.stdout


def test_output_of_first_rank_only(tmp_path):
    result = mpirun(2, SCRIPTS / "writes.py", tmp_path)
    assert [json.loads(line) for line in result.stdout.splitlines()] == [["first rank", 0, 2]]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.csv", "log.jsonl", "saved-1.safetensors"]


QUICK = (
    "-P",
    "-m",
    "fastsm",
    "train",
    "--mpi",
    "--epochs",
    4,
    "--hidden",
    16,
    "--no-plots",
    "--dtype",
    "float64",
)


def params(folder):
    return fastsm.load(folder / "model.safetensors").params


def test_command(tmp_path):
    """Any number of processes gives the same model, one folder and one output."""
    folders = {}
    for ranks in (1, 2, 4):
        folders[ranks] = tmp_path / f"run-{ranks}"
        result = mpirun(ranks, *QUICK, "--dropout", 0.2, "--json", "--out", folders[ranks])
        events = [json.loads(line)["event"] for line in result.stdout.splitlines()]
        assert events == ["start", *["epoch"] * 4, "end"]
        assert result.stderr.count("training 64-16-10 on 1,295 rows") == 1  # of the first process
    for ranks in (2, 4):
        np.testing.assert_allclose(params(folders[ranks]), params(folders[1]), rtol=1e-12, atol=1e-12)
    mpirun(2, "-m", "fastsm", "train", "--resume", folders[4], "--epochs", 5)
    mpirun(1, "-m", "fastsm", "train", "--resume", folders[1], "--epochs", 5, "--no-mpi")
    np.testing.assert_allclose(params(folders[4]), params(folders[1]), rtol=1e-12, atol=1e-12)


def test_command_with_shards(tmp_path):
    """Each process reads its rows of IDX files, whose labels need not begin at 0."""
    X, y = data.load_digits()
    folder = tmp_path / "digits"
    folder.mkdir()
    for name, array in zip(FILES, (X[:1200], y[:1200] + 5, X[1200:], y[1200:] + 5), strict=True):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (folder / name).write_bytes(
            header + (array * 255 if array.ndim > 1 else array).astype(np.uint8).tobytes()
        )
    run = tmp_path / "run"
    options = ("--data", folder, "--shard-data", "--class-weight", "balanced", "--lr", 0.01, "--out", run)
    result = mpirun(3, *QUICK, *options)
    assert float(result.stdout.split("%")[0].split()[-1]) > 60  # after four epochs; guessing has 10
    described = json.loads((run / "config.json").read_text())
    assert described["data"]["classes"] == [str(label) for label in range(5, 15)]
    mpirun(2, "-m", "fastsm", "train", "--resume", run, "--epochs", 5)
    mpirun(1, "-m", "fastsm", "train", "--resume", run, "--epochs", 6, "--no-mpi", "--no-shard-data")
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--data", "nowhere"), 3, "fastsm train: error: 'nowhere' is neither a data set nor a path"),
        (("--lr", 1e30, "--dtype", "float32"), 4, "fastsm train: error: the loss became"),
    ],
)
def test_command_errors_told_once(tmp_path, options, code, message):
    result = mpirun(2, *QUICK, *options, "--out", tmp_path / "run", expected=code)
    assert result.stderr.count("fastsm train: error") == 1
    assert message in result.stderr
