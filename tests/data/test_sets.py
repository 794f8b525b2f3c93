"""`data.load`: search paths, downloads from a local server, and validation splits."""

import functools
import gzip
import hashlib
import http.server
import os
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from data_files import idx

from fastsm import data
from fastsm.data import _dataset, _download, _sets

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def contents(seed=0, classes=10):
    """Return the contents of the four files: 30 images to train on, 20 to test on."""
    rng = np.random.default_rng(seed)
    return (
        idx(rng.integers(0, 256, (30, 4, 5))), idx(np.arange(30) % classes),
        idx(rng.integers(0, 256, (20, 4, 5))), idx(np.arange(20) % classes),
    )  # fmt: skip


def put(folder, files=None, name="{}", compress=False):
    """Write the four files."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in zip(FILES, files or contents(), strict=True):
        (folder / name.format(file)).write_bytes(gzip.compress(content) if compress else content)
    return folder


def seed_of(splits):
    """Return the seed with which the files were made."""
    return next(seed for seed in range(20) if splits.train.X.tobytes() == contents(seed)[0][16:])


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path, monkeypatch):
    """Hide data sets of the system, the environment variable, and pooch."""
    monkeypatch.setattr(_sets, "_SYSTEM", str(tmp_path / "system"))
    monkeypatch.delenv("FASTSM_DATA_DIR", raising=False)
    monkeypatch.setattr(_sets, "pooch_or_none", lambda: None)


def test_digits():
    """All digits are loaded, always with the same fifth of each to test on."""
    splits = data.load("digits")
    assert (splits.name, splits.source) == ("digits", "bundled with fastsm")
    assert splits.train.X.shape == (1437, 64)
    assert splits.test.X.shape == (360, 64)
    assert splits.train.shape == (8, 8)
    assert splits.train.classes == tuple("0123456789")
    assert np.bincount(splits.test.y).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    images, labels = data.load_digits()
    both = np.concatenate([splits.train.X, splits.test.X])
    assert sorted(map(bytes, both)) == sorted(map(bytes, images))
    assert np.bincount(splits.train.y).tolist() == (np.bincount(labels) - np.bincount(splits.test.y)).tolist()
    assert hashlib.sha256(splits.test.y.astype("<i8").tobytes()).hexdigest().startswith("f9291f465e62b5bb")


@pytest.mark.parametrize("name", ["{}", "{}.gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_folder(tmp_path, name, dotted):
    """Four files, plain or compressed, in either spelling of their names."""
    folder = tmp_path / "my set"
    folder.mkdir()
    for file, content in zip(FILES, contents(), strict=True):
        path = folder / name.format(file.replace("-idx", ".idx") if dotted else file)
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    splits = data.load(folder)
    assert (splits.name, splits.source) == ("my set", str(folder))
    assert splits.train.X.shape == (30, 20)
    assert splits.train.X.dtype == np.uint8
    assert splits.train.shape == (4, 5)
    assert splits.train.classes == tuple("0123456789")
    assert splits.train.y.tolist() == [i % 10 for i in range(30)]
    assert seed_of(splits) == 0


def test_names_of_classes(tmp_path):
    """Names of classes are known for named sets; otherwise they are the labels."""
    put(tmp_path / "mnist", contents(classes=3))
    assert data.load("mnist", data_dir=tmp_path).train.classes == tuple("0123456789")
    assert data.load(tmp_path / "mnist").train.classes == ("0", "1", "2")
    fashion = data.load("fashion-mnist", data_dir=tmp_path / "mnist")
    assert fashion.train.classes[::9] == ("T-shirt/top", "Ankle boot")
    put(tmp_path / "kmnist", contents(classes=11))
    with pytest.raises(data.DataError, match="labels from 0 to 9, got 0 to 10"):
        data.load("kmnist", data_dir=tmp_path)


def test_search_path_of_named_sets(tmp_path, monkeypatch):
    """The given folder is searched, then that of the variable, then that of the system."""
    monkeypatch.setenv("FASTSM_DATA_DIR", str(tmp_path / "variable"))
    (tmp_path / "given").mkdir()
    (tmp_path / "variable").mkdir()
    places = ["system/mnist", "variable", "variable/mnist", "given", "given/mnist"]
    for seed, place in enumerate(places):
        put(tmp_path / place, contents(seed), compress=seed % 2 == 1, name="{}.gz" if seed % 2 else "{}")
        splits = data.load("mnist", data_dir=tmp_path / "given")
        assert seed_of(splits) == seed
        assert Path(splits.source) == tmp_path / place
        assert splits.name == "mnist"


@pytest.mark.skipif(not os.path.isdir("/usr/share/datasets/fashion-mnist"), reason="needs Debian's data set")
def test_fashion_mnist_of_the_system(monkeypatch):
    """6,000 images of each class to train on and 1,000 to test on."""
    monkeypatch.setattr(_sets, "_SYSTEM", "/usr/share/datasets")
    splits = data.load("fashion-mnist", download=False)
    assert np.bincount(splits.train.y).tolist() == [6000] * 10
    assert np.bincount(splits.test.y).tolist() == [1000] * 10
    assert splits.test.shape == (28, 28)
    assert 72 < splits.train.X.mean() < 74


def test_unknown_names_and_paths(tmp_path, monkeypatch):
    """The message says what to do."""
    with pytest.raises(
        data.DataError, match="'mnits' is neither a data set nor a path: give digits, fashion-mnist"
    ):
        data.load("mnits")
    (tmp_path / "file.doc").write_text("x")
    with pytest.raises(data.DataError, match=r"must be a folder, or end in .npz, .csv, .parquet or the like"):
        data.load(tmp_path / "file.doc")
    with pytest.raises(data.DataError, match=r"must have a folder of pictures for each .* got file.doc"):
        data.load(tmp_path)
    with pytest.raises(data.DataError, match="must be a folder with data sets"):
        data.load("mnist", data_dir=tmp_path / "absent")
    with pytest.raises(data.DataError, match=r"mnist is not on this computer: `pip install fastsm\[data\]`"):
        data.load("mnist", data_dir=tmp_path)
    with pytest.raises(TypeError):
        data.load(None)
    monkeypatch.setenv("FASTSM_DATA_DIR", str(tmp_path / "absent"))
    with pytest.raises(data.DataError, match="must be a folder with data sets"):
        data.load("mnist")


def put_emnist(folder, name, compress=False, mapping=""):
    """Write four files and a mapping as those of EMNIST; return the images, upright, and the labels."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (30, 4, 5)), 1 + np.arange(30) % 3
    for part in ("train", "test"):
        for kind, array in (("images-idx3", images.transpose(0, 2, 1)), ("labels-idx1", labels)):
            path = folder / f"{name}-{part}-{kind}-ubyte{'.gz' * compress}"
            path.write_bytes(gzip.compress(idx(array)) if compress else idx(array))
    if mapping:
        (folder / f"{name}-mapping.txt").write_text(mapping)
    return images.reshape(30, -1), labels


@pytest.mark.parametrize("compress", [False, True])
def test_emnist(tmp_path, compress):
    """Names with a prefix, labels from 1 with their characters, images turned upright."""
    images, labels = put_emnist(tmp_path, "emnist-letters", compress, "1 65 97\n2 66 98\n3 67 99\n")
    splits = data.load(tmp_path)
    assert splits.train.classes == ("A", "B", "C")
    assert splits.train.shape == (4, 5)
    np.testing.assert_array_equal(splits.train.X, images)
    np.testing.assert_array_equal(splits.test.X, images)
    np.testing.assert_array_equal(splits.test.y, labels - 1)
    part = data.load(tmp_path, part=(1, 2)).train
    np.testing.assert_array_equal(part.X, images[15:])
    assert part.classes == ("A", "B", "C")


def test_emnist_with_several_sets(tmp_path):
    """The begin of the names says which; without a mapping the labels are the names."""
    put_emnist(tmp_path, "emnist-letters")
    images, _ = put_emnist(tmp_path, "emnist-digits", mapping="no mapping\n")
    with pytest.raises(data.DataError, match=r"has several data sets: give one, '.*emnist-digits' or so"):
        data.load(tmp_path)
    splits = data.load(tmp_path / "emnist-digits")
    assert (splits.name, splits.train.classes) == ("emnist-digits", ("1", "2", "3"))
    np.testing.assert_array_equal(splits.train.X, images)
    (tmp_path / "emnist-digits-test-labels-idx1-ubyte").unlink()
    with pytest.raises(data.DataError, match="lacks emnist-digits-test-labels-idx1-ubyte"):
        data.load(tmp_path / "emnist-digits")


def test_incomplete_folder(tmp_path):
    """The message names the missing file; files of other names are not used."""
    put(tmp_path)
    (tmp_path / FILES[3]).rename(tmp_path / "labels")
    with pytest.raises(data.DataError, match=r"lacks t10k-labels-idx1-ubyte \(plain or .gz\): put it there"):
        data.load(tmp_path)


@pytest.mark.parametrize(
    ("number", "content", "message"),
    [
        (0, idx(np.zeros(30)), "rows of features"),
        (1, idx(np.zeros(29)), "a label for each of its 30 rows"),
        (1, idx(np.zeros((30, 2))), "a label for each of its 30 rows"),
        (2, idx(np.zeros((20, 5, 5))), r"the same features for training and test, got \(4, 5\) and \(5, 5\)"),
        (3, b"lies", "must be an IDX file"),
    ],
)
def test_mismatched_files(tmp_path, number, content, message):
    """Mismatched files give one sentence that names the folder or the file."""
    files = list(contents())
    files[number] = content
    with pytest.raises(data.DataError, match=message) as caught:
        data.load(put(tmp_path, files))
    assert str(tmp_path) in str(caught.value)


class Handler(http.server.SimpleHTTPRequestHandler):
    """A silent server that counts requests."""

    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def server(tmp_path):
    """Serve a folder on localhost."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked, server.folder = [], folder
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def pooch(tmp_path, monkeypatch):
    """Give `load` pooch with a separate cache."""
    pooch = pytest.importorskip("pooch")
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(_sets, "pooch_or_none", _download.pooch_or_none)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return pooch


@pytest.fixture
def published(server, monkeypatch):
    """Publish a set as mnist at two mirrors, of which the first is empty."""
    put(server.folder / "good", name="{}.gz", compress=True)
    sums = tuple(hashlib.sha256((server.folder / "good" / f"{f}.gz").read_bytes()).hexdigest() for f in FILES)
    source = _download.Source((f"{server.url}/first/", f"{server.url}/good/"), sums)
    monkeypatch.setitem(_download.SOURCES, "mnist", source)
    return server


def test_download(published, pooch, tmp_path):
    """The second mirror is used where the first fails; later loads use the cache."""
    splits = data.load("mnist")
    assert seed_of(splits) == 0
    assert Path(splits.source) == tmp_path / "cache" / "fastsm" / "mnist"
    assert len(published.asked) == 8
    assert seed_of(data.load("mnist", download=False)) == 0
    assert len(published.asked) == 8


def test_mirror_with_other_files(published, pooch):
    """Files with a wrong checksum are not used: the next mirror is tried."""
    put(published.folder / "first", contents(seed=1), name="{}.gz", compress=True)
    assert seed_of(data.load("mnist")) == 0


def test_no_mirror_with_the_right_files(published, pooch, tmp_path):
    """Wrong files are deleted, and the message tells the result of each mirror."""
    put(published.folder / "first", contents(seed=1), name="{}.gz", compress=True)
    (published.folder / "good" / f"{FILES[0]}.gz").unlink()
    with pytest.raises(data.DataError, match=r"first/: the SHA-256 sum is wrong; .*good/: 404") as caught:
        data.load("mnist")
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_changed_cache(published, pooch, tmp_path):
    """Changed files of the cache are fetched again, or refused."""
    data.load("mnist")
    (tmp_path / "cache" / "fastsm" / "mnist" / f"{FILES[0]}.gz").write_bytes(
        gzip.compress(contents(seed=1)[0])
    )
    with pytest.raises(data.DataError, match="mnist is not on this computer: allow the download, or put"):
        data.load("mnist", download=False)
    assert seed_of(data.load("mnist")) == 0


def test_no_download_unless_allowed(published, pooch):
    """No request is sent."""
    with pytest.raises(data.DataError, match="allow the download"):
        data.load("mnist", download=False)
    assert published.asked == []


def test_without_pooch(monkeypatch):
    """The message says how to install it."""
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setattr(_sets, "pooch_or_none", _download.pooch_or_none)
    with pytest.raises(data.DataError, match=r"`pip install fastsm\[data\]` to download it, or put"):
        data.load("mnist")


def test_sources():
    """Every named set has more than one mirror and four checksums."""
    assert set(_download.SOURCES) == set(_sets._CLASSES)
    for source in _download.SOURCES.values():
        assert len(source.mirrors) > 1
        assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in source.mirrors)
        assert len(set(source.sums)) == 4
        assert all(len(bytes.fromhex(known)) == 32 for known in source.sums)


@pytest.mark.parametrize(
    ("counts", "test"),
    [
        ((10, 10), (2, 2)), ((7, 8), (1, 2)), ((100, 1), (21, 0)), ((1, 1, 2), (0, 0, 1)), ((1, 1), (0, 0)),
        ((2, 2, 2, 2), (1, 1, 0, 0)), ((5,), (1,)),
    ],
)  # fmt: skip
def test_fifth_of_each_class(counts, test):
    """A fifth of the rows is split off, rounded up; the only row of a class is trained on."""
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    whole = data.Dataset(np.arange(2.0 * len(y)).reshape(-1, 2), y, tuple(map(str, range(len(counts)))))
    first, second = _dataset.split(whole)
    assert tuple(np.bincount(second.y, minlength=len(counts))) == test
    assert sorted([*first.X[:, 0], *second.X[:, 0]]) == whole.X[:, 0].tolist()
    for part in (first, second):
        assert (np.diff(part.X[:, 0]) > 0).all()
        np.testing.assert_array_equal(y[(part.X[:, 0] / 2).astype(int)], part.y)


def test_data_sets_check_their_parts():
    """Wrong dtypes are a TypeError, wrong shapes and labels a ValueError."""
    X, y = np.zeros((2, 6)), np.array([0, 1])
    assert repr(data.Dataset(X, y, ("a", "b"))) == "Dataset(2 x 6 float64, 2 classes)"
    assert len(data.Dataset(X, y, ("a", "b"), (1, 2, 3))) == 2
    for args, error, message in [
        ((X.astype("f2"), y, ("a", "b")), TypeError, "`X` must have dtype"),
        ((X[0], y, ("a", "b")), ValueError, "`X` must be C-contiguous"),
        ((np.asfortranarray(X), y, ("a", "b")), ValueError, "`X` must be C-contiguous"),
        ((X, y.astype("i4"), ("a", "b")), TypeError, "`y` must have dtype int64"),
        ((X, y[:1], ("a", "b")), ValueError, r"`y` must have shape \(2,\)"),
        ((X, y, ("a",)), ValueError, r"`y` must lie in \[0, 1\)"),
        ((X, -y, ("a", "b")), ValueError, r"`y` must lie in \[0, 2\), got -1 to 0"),
        ((X, y, ("a", "b"), (2, 2)), ValueError, "`shape` must have 6 pixels"),
    ]:
        with pytest.raises(error, match=message):
            data.Dataset(*args)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("classes", [10, 3])
def test_parts(tmp_path, compress, classes):
    """Parts sum to the whole, with the same classes and the same rows to test on."""
    folder = put(tmp_path / "set", contents(classes=classes), compress=compress)
    file = tmp_path / "set.npz"
    np.savez(file, x=np.arange(40.0).reshape(20, 2), y=np.arange(20) % 2)
    for where in (folder, file, "digits"):
        whole = data.load(where)
        parts = [data.load(where, part=(number, 3)) for number in range(3)]
        for name in ("X", "y"):
            together = np.concatenate([getattr(part.train, name) for part in parts])
            np.testing.assert_array_equal(together, getattr(whole.train, name))
        for part in parts:
            assert part.train.classes == whole.train.classes
            np.testing.assert_array_equal(part.test.X, whole.test.X)
            np.testing.assert_array_equal(part.test.y, whole.test.y)


@pytest.mark.parametrize("part", [(3, 3), (-1, 3), (0, 0)])
def test_missing_parts(part):
    with pytest.raises(ValueError, match=r"`part` must be \(number, count\)"):
        data.load("digits", part=part)


def test_arguments_of_wrong_types():
    for part in (3, "01", (0.0, 1), (0, "1")):
        with pytest.raises(TypeError, match=r"`part` must be two integers, \(number, count\)"):
            data.load("digits", part=part)
    with pytest.raises(ValueError, match=r"`part` must be \(number, count\)"):
        data.load("digits", part=(0, 1, 2))
    assert len(data.load("digits", part=[np.int64(0), 2]).train) == 718
    with pytest.raises(TypeError, match="`download` must be True or False, got 'no'"):
        data.load("digits", download="no")
    with pytest.raises(TypeError, match=r"`X` must be an array, got list: convert it with np.asarray"):
        data.Dataset([[1.0]], np.array([0]), ("a",))
    with pytest.raises(TypeError, match="`y` must be an array, got list"):
        data.Dataset(np.ones((1, 1)), [0], ("a",))


def test_memory_of_a_part(tmp_path):
    images = np.zeros((3000, 20, 20), np.uint8)
    labels = np.arange(3000) % 10
    folder = put(tmp_path / "set", (idx(images), idx(labels), idx(images[:10]), idx(labels[:10])))
    tracemalloc.start()
    try:
        data.load(folder, part=(1, 10))
        assert tracemalloc.get_traced_memory()[1] < images.nbytes / 3
    finally:
        tracemalloc.stop()
