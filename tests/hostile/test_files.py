"""Hostile files: each is read or refused by a documented error, at bounded cost.

Mutations are made at every depth: of the file, and of what is compressed, archived or described in it, with
what is around it intact, so that checksums do not catch them first. `FASTSM_FUZZ=20000 pytest
tests/hostile/test_files.py` is the campaign.
"""

import dataclasses
import datetime
import gzip
import io
import json
import math
import os
import struct
import sys
import tempfile
import tracemalloc
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from campaign import campaign
from data_files import idx, npy, npy_header, npz
from data_files import npy_text as header
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import put_together, rewrite, taken_apart, with_settings
from processes import fail, run_program

try:
    import pandas
except ImportError:
    pandas = None

import fastsm
from fastsm import callbacks, data, nn, optim
from fastsm._command import main
from fastsm._command._errors import CommandError
from fastsm._command._models import Trained, load_trained
from fastsm._command._options import resolve
from fastsm._command._reading import read_rows
from fastsm._command._train_options import TRAIN
from fastsm._command.train import _configuration
from fastsm._files import _safetensors

MEGABYTE = 1 << 20
# All files have at most 100 kB, and decompressed data at most 64 MB.
PEAK = 80 * MEGABYTE

TOKENS = [
    b"\xff" * 4, b"\xff" * 8, bytes(8), b"\x7f\xff\xff\xff", b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6",
    b"PK\6\7", b"\x1f\x8b\x08", b"\x93NUMPY\2\0", b"9" * 19, b"1" * 5000, b"-1", b"NaN", b"1e999", b"-0.0",
    b"'", b'"', b'",\n"', b"(", b"[" * 3000, b"{", b"]", b"}", b")", b",", b":", b"\n", b"\r", b"\\",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"True", b"null", b"'|O'", b"'<U9'", b"'<f8'", b"\x1b[2J",
    b'{"$array": "layers.0.weight"}', b'{"$float": "nan"}', b'"BF16"', b'"BOOL"', b'"__metadata__"',
    b'"data_offsets":[0,18446744073709551615]', b'\\"', b'"\\ud800"',
]  # fmt: skip
PLACE = st.integers(0, 1 << 17)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), PLACE, st.integers(0, 255)),
        st.tuples(st.just("flip"), PLACE, st.integers(0, 7)),
        st.tuples(st.just("insert"), PLACE, st.sampled_from(TOKENS) | st.binary(max_size=8)),
        st.tuples(st.just("replace"), PLACE, st.sampled_from(TOKENS) | st.binary(max_size=8)),
        st.tuples(st.just("cut"), PLACE, st.integers(1, 64)),
        st.tuples(st.just("copy"), PLACE, PLACE),
        st.tuples(st.just("end"), PLACE, st.none()),
    ),
    min_size=1,
    max_size=4,
)


def mutated(content, edits):
    """Return the bytes with these changes."""
    content = bytearray(content)
    for kind, place, value in edits:
        i = place % (len(content) + 1)
        if kind == "set" and i < len(content):
            content[i] = value
        elif kind == "flip" and i < len(content):
            content[i] ^= 1 << value
        elif kind == "insert":
            content[i:i] = value
        elif kind == "replace":
            content[i : i + len(value)] = value
        elif kind == "cut":
            del content[i : i + value]
        elif kind == "copy":
            other = value % (len(content) + 1)
            content[i:i] = content[other : other + 40]
        elif kind == "end":
            del content[i:]
    return bytes(content)


def archive(members, compression=zipfile.ZIP_STORED):
    """Return a zip file; names may come twice."""
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "w", compression) as target:
        for name, content in members:
            target.writestr(name, content)
    return file.getvalue()


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        return [(entry.filename, source.read(entry)) for entry in source.infolist()]


def inside(content, number, edits, compression=zipfile.ZIP_STORED):
    """Return an archive with one changed member and right checksums."""
    parts = members(content)
    name, old = parts[number % len(parts)]
    parts[number % len(parts)] = name, mutated(old, edits)
    return archive(parts, compression)


def inside_model(content, depth, edits):
    """Return a model file changed at some depth, with right checksums."""
    if depth == 0:
        return mutated(content, edits)
    header, rest = taken_apart(content)
    if depth == 1:
        return put_together(mutated(json.dumps(header).encode(), edits), rest)
    if depth == 2:

        def change(tree):
            return mutated(json.dumps(tree).encode(), edits).decode(errors="surrogateescape")

        return with_settings(content, change)
    del header["__metadata__"]["fastsm_crc32"]
    if depth == 3:
        return put_together(header, mutated(rest, edits)[: len(rest)].ljust(len(rest), b"\xff"))
    name = list(header)[1 + depth % (len(header) - 1)]
    place = json.dumps({name: None}).encode()[1:-5]  # with what follows, until the next name
    text = json.dumps(header).encode()
    start = text.index(place)
    stop = text.index(b"}", start) + 1
    return put_together(text[:start] + mutated(text[start:stop], edits) + text[stop:], rest)


FOLDER = tempfile.TemporaryDirectory()
FRAME = pandas.DataFrame({"n": [1.0, np.nan], "c": ["x", "y"]}) if pandas else None


def written(content, name):
    path = Path(FOLDER.name) / name
    path.write_bytes(content)
    return path


def attempt(function, *allowed):
    """Return the result of reading a file at bounded cost; None if it is refused in one sentence."""
    tracemalloc.start()
    try:
        return function()
    except allowed as error:
        refusal = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < PEAK
    assert type(refusal) in allowed, repr(refusal)
    assert str(refusal)
    assert "\n" not in str(refusal) or isinstance(refusal, CommandError)  # which is printed as one line
    return None


def bounded(few):
    """Return the profile with this number of examples, `few` in the ordinary run, of 20 seconds each."""
    return settings(campaign(few), deadline=datetime.timedelta(seconds=20))


# ---- mutations ----

X = np.random.default_rng(0).standard_normal((20, 3)).astype("f4")
Y = np.arange(20) % 2


def training(path, model=None, resume=None, epochs=2):
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.LayerNorm(4), nn.Linear(4, 2), rng=0)
    numbers, choice = data.Number("n", 1.0, 2.0, 0.5, 0.25), data.Choice("c", ("x",))
    model.table = data.Table((numbers, choice), "label", ("a", "b"), order=("n", "c", "label"))
    both = [callbacks.EarlyStopping(monitor="loss"), callbacks.Checkpoint(path)]
    fastsm.fit(model, X, Y, optimizer=optim.Adam(), epochs=epochs, callbacks=both, rng=0, resume_from=resume)
    return model


@pytest.fixture(scope="module")
def checkpoint():
    """Return the bytes of a checkpoint with all optional parts."""
    path = Path(FOLDER.name) / "original.safetensors"
    training(path)
    return path.read_bytes()


@bounded(40)
@given(edits=EDITS, depth=st.integers(0, 9))
def test_mutated_models(checkpoint, edits, depth):
    content = inside_model(checkpoint, depth, edits)
    path, history = written(content, "m.safetensors"), fastsm.History()
    model = attempt(lambda: fastsm.load(path, history=history), ValueError)
    if model is not None:
        assert model(np.zeros((2, 3), "f4")).shape == (2, 2)
    if model is not None and model.table is not None and FRAME is not None:
        rows = attempt(lambda: model.table.prepare(FRAME), data.DataError)
        assert rows is None or rows.shape == (2, 3)


@bounded(30)
@given(edits=EDITS, depth=st.integers(0, 9))
def test_mutated_checkpoints(checkpoint, edits, depth):
    content = inside_model(checkpoint, depth, edits)
    path = written(content, "c.safetensors")
    attempt(
        lambda: training(Path(FOLDER.name) / "new.safetensors", resume=path),
        ValueError,
        fastsm.TrainingDiverged,
    )


ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F64", "F32", "F16", "I64", "U8", "BOOL", "F128", 3]),
        "shape": st.lists(st.integers(0, 3) | st.sampled_from([1 << 40, -1, True, 2.0, None]), max_size=3),
    }
)
LENGTHS = {"F64": 8, "F32": 4, "F16": 2, "I64": 8, "U8": 1, "BOOL": 1}


@bounded(200)
@given(st.lists(ENTRY, max_size=4), st.lists(st.tuples(st.integers(0, 7), st.integers(-9, 9)), max_size=1))
def test_forged_headers(entries, shifts):
    """Files that are read are read as by the package safetensors."""
    offsets = [0]
    for entry in entries:
        usable = all(type(n) is int and 0 <= n < 9 for n in entry["shape"])
        length = math.prod(entry["shape"]) * LENGTHS.get(entry["dtype"], 1) if usable else 8
        offsets += [offsets[-1], offsets[-1] + length]
    offsets, data = offsets[1:], bytes(i % 2 for i in range(offsets[-1]))
    for place, shift in shifts:
        if place < len(offsets):
            offsets[place] += shift
    header = {
        f"{i}": {**entry, "data_offsets": offsets[2 * i : 2 * i + 2]} for i, entry in enumerate(entries)
    }
    path = written(put_together(header, data), "f.safetensors")

    def read():
        with _safetensors.open_tensors(path) as tensors:
            return {name: tensors.read(name) for name in sorted(tensors.unread)}

    arrays = attempt(read, ValueError)
    if arrays is not None and find_spec("safetensors"):
        from safetensors.numpy import load_file

        theirs = load_file(path)
        assert set(arrays) == set(theirs)
        for name, array in arrays.items():
            assert (array.dtype, array.shape) == (theirs[name].dtype, theirs[name].shape)
            assert array.tobytes() == theirs[name].tobytes()


LETTERS = [b"xyz"[i % 3 : i % 3 + 1] for i in range(12)]
PIXELS = np.arange(600).reshape(6, 100) * 7 % 256
SETS = {
    "d.npz": npz(X=X, y=Y),
    "four.npz": npz(
        x_train=X, y_train=Y.astype(str), x_test=X[::2].copy(order="F"), y_test=Y[::2].astype(str)
    ),
    "packed.npz": npz(True, X=(X * 20).astype(np.uint8).repeat(30, axis=1), y=Y),
    "d.csv": b"a,b,label\n" + b"".join(b"%d,%.2f,%s\n" % (i, i / 7, name) for i, name in enumerate(LETTERS)),
    "t.csv": b"a;b;c;d\n"
    + b"".join(b"%d,5;%s;%s;%s\n" % (i, name, name[:i], b"ny"[i % 2 :]) for i, name in enumerate(LETTERS)),
    "p.csv": "\n".join(
        [
            ",".join(["label"] + [f"p{i}" for i in range(100)]),
            *(f"{i % 2}," + ",".join(map(str, row)) for i, row in enumerate(PIXELS)),
        ]
    ).encode(),
}


def changed_set(name, edits, depth):
    content = SETS[name]
    if name.endswith(".npz"):
        compression = zipfile.ZIP_DEFLATED if depth % 2 else zipfile.ZIP_STORED
        return name, mutated(content, edits) if depth < 0 else inside(content, depth, edits, compression)
    if depth < 1:
        return name, mutated(content, edits)
    packed = gzip.compress(content, 1, mtime=0)
    return f"{name}.gz", mutated(packed, edits) if depth < 3 else gzip.compress(
        mutated(content, edits), 1, mtime=0
    )


@bounded(80)
@given(name=st.sampled_from(list(SETS)), edits=EDITS, depth=st.integers(-1, 6))
def test_mutated_tables(name, edits, depth):
    name, content = changed_set(name, edits, depth)
    splits = attempt(lambda: data.load(written(content, name)), data.DataError)
    if splits is not None:
        assert np.isfinite(splits.train.X).all()
        assert len(splits.train) + len(splits.test) > 2


IDX = idx(np.arange(120, dtype=np.uint8).reshape(5, 6, 4))


@bounded(40)
@given(edits=EDITS, kind=st.sampled_from(["plain", "before", "after"]))
def test_mutated_idx(edits, kind):
    content = mutated(IDX, edits) if kind != "after" else mutated(gzip.compress(IDX, 1, mtime=0), edits)
    if kind == "before":
        content = gzip.compress(content, 1, mtime=0)
    array = attempt(lambda: data.load_idx(written(content, "f.idx")), data.DataError)
    if array is not None:
        plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        assert array.shape == struct.unpack(f">{plain[3]}I", plain[4 : 4 + 4 * plain[3]])
        assert len(plain) == 4 + 4 * plain[3] + array.nbytes


TRAINED = Trained(Path("m"), nn.MLP([16, 2], rng=0), fastsm.History(), 16, ["a", "b"], (4, 4), "uint8", {})
TRAINED.model.pictures = data.Pictures((4, 4), None, "dark", 3, (1.5, 1.5))


@pytest.fixture(scope="module")
def inputs():
    """Return files of every kind that `fastsm predict` reads, by ending."""
    rows = np.arange(48, dtype=np.uint8).reshape(3, 16)
    files = {".npy": npy(rows), ".npz": npz(X=rows), ".idx": IDX, ".f.npy": npy(np.asfortranarray(rows / 3))}
    files[".csv"] = b"".join(b",".join(b"%d" % n for n in row) + b"\n" for row in rows)
    try:
        from PIL import Image
    except ImportError:
        return files
    picture = Image.fromarray(rows.repeat(4, axis=0))
    for ending in (".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".pgm"):
        file = io.BytesIO()
        picture.save(file, {".pgm": "PPM", ".jpg": "JPEG", ".tif": "TIFF"}.get(ending, ending[1:].upper()))
        files[ending] = file.getvalue()
    return files


@bounded(60)
@given(number=st.integers(0, 99), edits=EDITS)
def test_mutated_inputs(inputs, number, edits):
    ending = list(inputs)[number % len(inputs)]
    path = written(mutated(inputs[ending], edits), f"in{ending}")
    with warnings.catch_warnings():
        # Pillow closes some files late.
        warnings.simplefilter("ignore", ResourceWarning)
        attempt(lambda: read_rows(str(path), TRAINED, invert=False), CommandError)


TOML = b'hidden = [512, 64]\nlr = 1e-3\ndata = "digits"\nlayer-norm = true\nepochs = 3\n"loss" = \'mae\'\n'


@bounded(60)
@given(edits=EDITS)
def test_mutated_options(edits):
    path = str(written(mutated(TOML, edits), "c.toml"))
    attempt(
        lambda: resolve(TRAIN, {}, _configuration(path), path), CommandError, *CommandError.__subclasses__()
    )


@pytest.fixture(scope="module")
def run_folder(checkpoint):
    """Return the folder of a run and its configuration."""
    folder = Path(FOLDER.name) / "run"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(checkpoint)
    settings = {"data": "digits", "data_dir": None, "label": "label", "hidden": [4], "lr": 0.1}
    about = {"classes": ["a", "b"], "features": 3, "shape": [3, 1], "dtype": "float32", "fingerprint": 5}
    return folder, json.dumps({"settings": settings, "data": about}).encode()


@bounded(40)
@given(edits=EDITS)
def test_mutated_descriptions(run_folder, edits):
    folder, text = run_folder
    (folder / "config.json").write_bytes(mutated(text, edits))
    (folder / "results.json").write_bytes(mutated(b'{"test_accuracy": 0.5, "x": [1, {}]}', edits))
    if attempt(lambda: load_trained(str(folder)), CommandError) is not None:
        assert main(["info", str(folder)]) in (0, 3)
    assert main(["evaluate", str(folder), "--data-dir", FOLDER.name, "--no-download"]) in (2, 3)


# ---- bombs and lies ----


LABELS = npy(Y)
ZEROS = bytes(70 * MEGABYTE)


def overlapping():
    """Return an archive with four overlapping members."""
    parts = [
        (f"{name}.npy", npy(np.zeros(1000, np.uint8))) for name in ("x_train", "y_train", "x_test", "y_test")
    ]
    content, size = bytearray(archive(parts)), len(parts[0][1])
    # All directory entries begin at the first one, with the size of the whole.
    for name, _ in parts:
        entry = content.rindex(name.encode()) - 46
        struct.pack_into("<LL", content, entry + 20, 4 * size, 4 * size)
        struct.pack_into("<L", content, entry + 42, 0)
    return bytes(content)


def one_member(content, **options):
    return archive([("X.npy", content), ("y.npy", LABELS)], **options)


def with_labels(text):
    """Return an archive with four labels of one letter, in these bytes."""
    return archive([("X.npy", npy(X[:4])), ("y.npy", npy_header(header((4,), "<U1"), text))])


LIES = [
    header((1 << 40, 1 << 20)), header((1 << 62, 0)), header((0, 10**17, 10**17)), header((20, 2), "<U0"),
    header((20, 2), "|O"), header((20, 2), "<f4,<f4"), header((20, 2), "V2"), header((20, 2), "<M8[s]"),
    header((20, 2), "<i99999"), header((20, 2), ""), header("20"), header((20, -2)),
    header("(" + "1," * 40 + ")"), header("(9999999999999999999999, 1)"), header((20, 2)) + "  " * 4990,
    header((20, 2))[:-3] + " 'descr': 'u1'}", "(", "  {'a'\n b", "-" * 9000 + "1", "1" + "+1" * 4000,
    "{" * 4000, "[" * 9000, "", "{}", "\x00" * 100,
]  # fmt: skip
BOMBS = {
    "deflated.npz": lambda: one_member(
        npy_header(header((20, len(ZEROS) // 20)), ZEROS), compression=zipfile.ZIP_DEFLATED
    ),
    "bz2.npz": lambda: one_member(npy(X), compression=zipfile.ZIP_BZIP2),
    "lzma.npz": lambda: one_member(npy(X), compression=zipfile.ZIP_LZMA),
    "overlapping.npz": overlapping,
    "nested.npz": lambda: one_member(one_member(one_member(npy(X)))),
    "twice.npz": lambda: archive([("X.npy", npy(X)), ("X.npy", npy(X)), ("y.npy", LABELS)]),
    "capitals.npz": lambda: archive([("X.npy", npy(X)), ("x.npy", npy(X)), ("y.npy", LABELS)]),
    "paths.npz": lambda: archive([("../X.npy", npy(X)), ("/tmp/y.npy", LABELS), ("C:\\X.npy", npy(X))]),
    "many.npz": lambda: archive([(f"{i}.npy", b"") for i in range(2000)]),
    "pickle.npz": lambda: one_member(npy(np.array([print], object))),
    **{
        f"lie{i}.npz": lambda text=text: one_member(npy_header(text, bytes(40)))
        for i, text in enumerate(LIES)
    },
    "header.npz": lambda: one_member(npy_header(header((20, 2)) + " " * (10 * MEGABYTE), bytes(40), 2)),
    "text.npz": lambda: with_labels(b"\xff" * 16),
    "surrogate.npz": lambda: with_labels(b"\0\xd8\0\0" * 4),
    "long.csv": lambda: b"a,label\n" + b"1" * (17 * MEGABYTE),
    "quoted.csv": lambda: b'"\n","' * (3 * MEGABYTE),
    "lines.csv.gz": lambda: gzip.compress(b"a,label\n" + b"1,b\n" * 300_000),
    "quoted.csv.gz": lambda: gzip.compress(b"a,label\n" + b'"\n","' * (2 * MEGABYTE)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_and_lies_take_no_memory(tmp_path, monkeypatch, name):
    """Declared sizes take no memory, and nothing is written."""
    content, limit = BOMBS[name](), 8 * MEGABYTE
    if name.endswith((".csv", ".csv.gz")):
        limit = (
            200 * MEGABYTE
        )  # of the 16 million letters that a row may have, or the 64 MB that a table may become
        monkeypatch.setattr("fastsm.data._limits._ALWAYS", MEGABYTE // 8)
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(data.DataError) as caught:
        data.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert name in str(caught.value)
    assert peak < limit
    assert os.listdir(tmp_path) == [name]


def test_gzip_bomb_of_idx(tmp_path):
    """A bomb of the declared size is refused for its compression ratio."""
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", len(ZEROS)) + ZEROS, 1))
    tracemalloc.start()
    with pytest.raises(
        data.DataError, match=r"out of proportion to the .* decompress it first, if you trust it"
    ):
        data.load_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * MEGABYTE


def test_proportions_of_honest_files(tmp_path, monkeypatch):
    """Well compressed zeros are read up to a size; uncompressed files have no limit."""
    monkeypatch.setattr("fastsm.data._limits._ALWAYS", MEGABYTE)
    zeros, larger = np.zeros((20, 50_000), np.uint8), np.zeros((20, 60_000), np.uint8)
    np.savez_compressed(tmp_path / "zeros.npz", X=zeros, y=Y)
    assert data.load(tmp_path / "zeros.npz").train.X.shape[1] == 50_000
    np.savez_compressed(tmp_path / "larger.npz", X=larger, y=Y)
    with pytest.raises(data.DataError, match="out of proportion"):
        data.load(tmp_path / "larger.npz")
    np.savez(tmp_path / "larger.npz", X=larger, y=Y)
    assert data.load(tmp_path / "larger.npz").train.X.shape[1] == 60_000


def changed_tree(content, change):
    """Return the tree of a model file, changed."""
    path = written(content, "tree.safetensors")
    rewrite(path, path, change)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree["model"]["layers"].extend([{"class": "ReLU"}] * 30_000), "more than 10000"),
        (
            lambda tree: tree["model"]["layers"][0]["config"].update(n_in=10**4000),
            "layer . must have an array '.*' of its shape in the file",
        ),
        (
            lambda tree: tree["model"]["layers"][0]["config"].update(n_in=1 << 40),
            "layer . must have an array '.*' of its shape in the file",
        ),
        (
            lambda tree: tree["model"]["layers"][2]["config"].update(n=1 << 60),
            "layer . must have an array '.*' of its shape in the file",
        ),
    ],
)
def test_models_that_promise_much(checkpoint, change, message):
    path = changed_tree(checkpoint, change)
    tracemalloc.start()
    with pytest.raises(ValueError, match=message):
        fastsm.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * path.stat().st_size + MEGABYTE


def test_many_layers_take_linear_time(checkpoint):
    """The time to load grows linearly with the number of layers."""
    path = changed_tree(checkpoint, lambda tree: tree["model"]["layers"].extend([{"class": "ReLU"}] * 9000))
    assert len(fastsm.load(path).layers) == 9004
    with pytest.raises(ValueError, match="at most 10000 layers, got 10001"):
        fastsm.save(path, nn.Sequential(*(nn.ReLU() for _ in range(10_001))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda training: training.update(epoch=1 << 61), "with the history of its epochs"),
        (
            lambda training: training["callbacks"][0]["state"].update(params=[0.0] * 34),
            "that of an EarlyStopping",
        ),
        (
            lambda training: training["callbacks"][0]["state"].update(params=np.zeros(3)),
            "best parameters of this model",
        ),
        (lambda training: training["callbacks"][1].update(state={"best": []}), "that of a Checkpoint"),
    ],
)
def test_checkpoints_that_lie(checkpoint, tmp_path, change, message):
    """Wrong checkpoints are refused, and model, optimizer and all callbacks are unchanged."""
    path = changed_tree(checkpoint, lambda tree: change(tree["training"]))
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.LayerNorm(4), nn.Linear(4, 2), rng=0)
    before, stopping, log = model.params.copy(), callbacks.EarlyStopping(monitor="loss"), tmp_path / "log"
    others = [stopping, callbacks.Checkpoint(tmp_path / "c"), callbacks.JSONLogger(log)]
    optimizer = optim.Adam()
    with pytest.raises(ValueError, match=message):
        fastsm.fit(model, X, Y, optimizer=optimizer, callbacks=others, resume_from=path)
    np.testing.assert_array_equal(model.params, before)
    untouched = {"monitor": "loss", "best": None, "best_epoch": 0, "waited": 0}
    assert (stopping.state(), optimizer.steps) == (untouched, 0)
    assert os.listdir(tmp_path) == []


def test_user_callback_state_named_params(tmp_path):
    """A user callback may use the name that EarlyStopping uses."""

    class Own:
        seen = None

        def on_epoch_end(self, run):
            pass

        def state(self):
            return {"params": np.arange(3)}

        def set_state(self, state):
            self.seen = state["params"].tolist()

    path, own = tmp_path / "c", Own()
    for resume in (None, path):
        model = nn.MLP([3, 2], rng=0)
        fastsm.fit(model, X, Y, epochs=1, callbacks=[own, callbacks.Checkpoint(path)], resume_from=resume)
    assert own.seen in (None, [0, 1, 2])
    assert own.seen is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_refused(tmp_path):
    """Pipes and devices are neither read nor replaced."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="`path` must be a regular file"):
            fastsm.load(path)
        with pytest.raises(ValueError, match="`path` must be a regular file"):
            fastsm.save(path, nn.MLP([2, 2]))
        for name in ("in.npy", "in.npz", "in.csv", *(["in.png"] if find_spec("PIL") else []), "in"):
            (tmp_path / name).unlink(missing_ok=True)
            (tmp_path / name).symlink_to(path)
            with pytest.raises(CommandError, match="must be a regular file"):
                read_rows(str(tmp_path / name), TRAINED, invert=False)
    assert Path("/dev/zero").is_char_device()
    assert main(["train", "--config", "/dev/zero"]) == 2


# ---- pictures and terminals ----


def test_other_picture_formats_refused(tmp_path):
    """The format is found from the content; PostScript would start another program."""
    image = pytest.importorskip("PIL.Image").new("L", (4, 4))
    for kind in ("EPS", "ICO", "TGA", "SGI"):
        image.save(tmp_path / "p.png", kind)
        with pytest.raises(CommandError, match="cannot identify image file"):
            read_rows(str(tmp_path / "p.png"), TRAINED, invert=False)


def test_pictures_that_promise_much(tmp_path):
    pytest.importorskip("PIL.Image")
    for size in (9_000, 100_000):
        (tmp_path / "p.pgm").write_bytes(b"P5 %d %d 255\n" % (size, size) + bytes(100))
        with pytest.raises(CommandError, match="pixels"):
            read_rows(str(tmp_path / "p.pgm"), TRAINED, invert=False)


def test_control_characters_are_shown(run_folder, tmp_path, capsys):
    """Control characters in names are escaped."""
    folder, text = run_folder
    description, names = json.loads(text), ("\x1b[2Ja\nb", "\x9b31m\u202e")
    model = fastsm.load(folder / "model.safetensors")
    columns = tuple(dataclasses.replace(column, name=f"\x1b{column.name}") for column in model.table.columns)
    model.table = data.Table(columns, "\x1b[1m", names, left_out=dict([names]))
    fastsm.save(folder / "model.safetensors", model)
    description["settings"]["\x1b]0;x\7"] = "\x1b[31m"
    (folder / "config.json").write_text(json.dumps(description))
    (folder / "results.json").unlink(missing_ok=True)
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "d.npz", X=X, y=np.array(names)[Y])
    for arguments in (
        ["info", folder],
        ["predict", folder, tmp_path / "x.npy"],
        ["evaluate", folder, "--data", tmp_path / "d.npz"],
    ):
        assert main(list(map(str, arguments))) == 0
        shown = capsys.readouterr().out
        assert "\\x1b[2Ja\\nb" in shown
        assert not {"\x1b", "\x9b", "\u202e", "\7"} & set(shown)
    (tmp_path / "bad.csv").write_text("\x1b[2J,b\n1,2\n")
    assert main(["train", "--data", str(tmp_path / "bad.csv"), "--label", "\x1b[1m"]) == 3
    assert "\x1b" not in capsys.readouterr().err


def test_many_classes_are_refused(tmp_path, capsys):
    """Their confusion matrix would take 3 GB."""
    path = tmp_path / "many.csv"
    path.write_text("a,label\n" + "".join(f"{i % 3},{i % 5_000}\n" for i in range(30_000)))
    assert main(["train", "--data", str(path), "--out", str(tmp_path / "run")]) == 3
    assert "must have at most 4096 classes, got 5000" in capsys.readouterr().err
    fastsm.save(tmp_path / "wide.safetensors", nn.MLP([64, 20_000], init="zeros"))
    assert main(["evaluate", str(tmp_path / "wide.safetensors"), "--data", "digits"]) == 3


# ---- all files with a memory limit ----


@pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc are those of Linux")
def test_bombs_under_memory_limit(tmp_path, checkpoint):
    """No MemoryError with 256 MB, memory that tracemalloc does not see included."""
    names = [name for name in BOMBS if name.endswith(".npz")]
    for name in names:
        (tmp_path / name).write_bytes(BOMBS[name]())
    huge = changed_tree(checkpoint, lambda tree: tree["model"]["layers"].extend([{"class": "Tanh"}] * 30_000))
    (tmp_path / "huge.safetensors").write_bytes(huge.read_bytes())
    paths = [str(tmp_path / name) for name in (*names, "huge.safetensors")]
    output = run_program("limited_memory.py", *paths)
    assert [line.split() for line in output.splitlines()] == [
        [path, "ValueError" if path.endswith("safetensors") else "DataError"] for path in paths
    ]


@pytest.mark.parametrize("command", ["train", "info", "bench"])
def test_wrong_variables(command):
    """Wrong environment variables end with exit code 2."""
    line = fail(2, command, FASTSM_ISA="many\x1b[2J\nlines")
    assert "`FASTSM_ISA` must be one of" in line
    assert "\x1b" not in line
    assert "FASTSM_NUM_THREADS` must be an integer" in fail(2, command, FASTSM_NUM_THREADS="-1")
