"""Files: everything comes back bit for bit, nothing bad gets in, and a failing write leaves the old file."""

import copy
import errno
import io
import json
import os
import pickle
import stat
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

import fastsm
from fastsm import nn, optim
from fastsm._files import _archive, _container


class Scale:
    """A layer of the user's: a factor for each feature, and a state with an array."""

    undecayed = frozenset({"factor"})

    def __init__(self, n, start=1.0):
        self.n, self.start = n, start
        self.params = {"factor": np.full(n, start)}
        self.grads = {"factor": np.zeros(n)}
        self.seen = np.zeros((1, n))

    def forward(self, x):
        self.x = x
        return x * self.params["factor"]

    def backward(self, dy):
        self.grads["factor"][...] = (dy * self.x).sum(axis=0)
        return dy * self.params["factor"]

    def config(self):
        return {"n": self.n, "start": self.start}

    def state(self):
        return {"seen": self.seen, "count": 3}

    def set_state(self, state):
        self.seen = state["seen"]


class Plain:
    """A layer of the user's without anything."""

    def forward(self, x):
        return x * 2

    def backward(self, dy):
        return dy * 2


class Needy(Plain):
    """A layer that needs an argument and does not tell it."""

    def __init__(self, n):
        self.n = n


MODELS = {
    "mlp": lambda dtype: nn.MLP([4, 8, 3], dropout=0.25, layer_norm=True, head="softmax", dtype=dtype, rng=1),
    "all": lambda dtype: nn.Sequential(
        nn.Linear(4, 5, bias=False, init="orthogonal"), nn.ReLU(), nn.LeakyReLU(0.2), nn.Tanh(), nn.GELU(),
        nn.SiLU(), nn.Sigmoid(), nn.Dropout(0.1), nn.LayerNorm(5, epsilon=1e-3), nn.Linear(5, 3),
        nn.LogSoftmax(2.0), dtype=dtype, rng=1,
    ),
    "own": lambda dtype: nn.Sequential(nn.Linear(4, 3), Scale(3, 2.0), Plain(), dtype=dtype, rng=1),
    "empty": lambda dtype: nn.Sequential(nn.Softmax(), dtype=dtype),
    "function": lambda dtype: nn.Sequential(
        nn.Linear(4, 3, init=lambda rng, shape, dtype: np.ones(shape, dtype)), dtype=dtype
    ),
}  # fmt: skip


def assert_same(a, b):
    assert a.dtype == b.dtype
    assert [type(layer) for layer in a.layers] == [type(layer) for layer in b.layers]
    np.testing.assert_array_equal(a.params, b.params)
    x = np.random.default_rng(0).standard_normal((5, 4))
    np.testing.assert_array_equal(a(x), b(x))
    # Dropout's state, too.
    np.testing.assert_array_equal(a.forward(x, training=True).copy(), b.forward(x, training=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_round_trip(tmp_path, name, dtype):
    model = MODELS[name](dtype)
    model.forward(np.ones((3, 4)), training=True)
    fastsm.save(tmp_path / "m.npz", model)
    assert_same(fastsm.load(str(tmp_path / "m.npz"), layers=[Scale, Plain]), model)


def test_state_of_own_layers(tmp_path):
    model = MODELS["own"]("float32")
    model.layers[1].seen[...] = 7
    fastsm.save(tmp_path / "m.npz", model)
    again = fastsm.load(tmp_path / "m.npz", layers=[Scale, Plain])
    np.testing.assert_array_equal(again.layers[1].seen, np.full((1, 3), 7.0))


def test_special_numbers(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), rng=0)
    model.params[:3] = [np.nan, np.inf, -0.0]
    history = fastsm.History({"loss": [1.0, float("nan")], "val_loss": [float("inf"), -float("inf")]})
    fastsm.save(tmp_path / "m.npz", model, history=history)
    again = fastsm.History({"other": [1.0]})
    loaded = fastsm.load(tmp_path / "m.npz", history=again)
    assert loaded.params.tobytes() == model.params.tobytes()
    assert repr(again) == repr(history)


def test_optimizer(tmp_path):
    model = nn.MLP([4, 3], rng=0)
    optimizer = optim.Adam()
    model.grads[...] = 0.1
    for _ in range(3):
        optimizer.step(model.params, model.grads)
    fastsm.save(tmp_path / "m.npz", model, optimizer=optimizer)
    other = optim.Adam()
    again = fastsm.load(tmp_path / "m.npz", optimizer=other)
    assert other.steps == 3
    again.grads[...] = 0.1
    optimizer.step(model.params, model.grads)
    other.step(again.params, again.grads)
    np.testing.assert_array_equal(model.params, again.params)
    # Others do not fit.
    fastsm.save(tmp_path / "plain.npz", model)
    for path, wrong, message in (
        ("m.npz", optim.SGD(0.1), "`optimizer` must be optim.Adam as in the file, got SGD"),
        ("plain.npz", optim.Adam(), "`optimizer` must be None for a file without one"),
    ):
        with pytest.raises(ValueError, match=message):
            fastsm.load(tmp_path / path, optimizer=wrong)
        assert wrong.steps == 0
    sgd = optim.SGD(0.1, momentum=0.9)
    sgd.step(model.params, model.grads)
    fastsm.save(tmp_path / "s.npz", model, optimizer=sgd)
    with pytest.raises(ValueError, match=r"must remember \['velocity'\] as in the file, got \[\]"):
        fastsm.load(tmp_path / "s.npz", optimizer=optim.SGD(0.1))


def test_the_file(tmp_path):
    model = nn.MLP([4, 3], rng=0)
    fastsm.save(tmp_path / "a.npz", model)
    fastsm.save(tmp_path / "b", model)
    assert (tmp_path / "a.npz").read_bytes() == (
        tmp_path / "b"
    ).read_bytes()  # no time in it, no name appended
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["model.params"], model.params)
        assert json.loads(arrays["header"].tobytes())["format"] == "fastsm"
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "b"]


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "m.npz"
    strange = nn.Sequential(nn.Linear(4, 3), Scale(3))
    strange.layers[1].config = lambda: {"n": 3, "start": print}
    keyed = copy.deepcopy(MODELS["own"]("float32"))
    keyed.layers[1].config = lambda: {3: "n"}
    dollar = copy.deepcopy(MODELS["own"]("float32"))
    dollar.layers[1].config = lambda: {"$array": 3}
    complex_state = copy.deepcopy(MODELS["own"]("float32"))
    complex_state.layers[1].state = lambda: {"z": np.zeros(2, complex)}
    for model, error, message in (
        ("model", TypeError, "`model` must be a Sequential, got str"),
        (
            strange,
            TypeError,
            "must be numbers, texts, arrays, lists or dicts to be saved, got builtin_function",
        ),
        (keyed, TypeError, "must have texts as keys, got 3"),
        (dollar, ValueError, r"must have no key that starts with \$"),
        (complex_state, TypeError, "must have a real dtype to be saved, got complex128"),
        (nn.Sequential(Needy(3)), TypeError, r"Needy must have config\(\), a dict of the arguments"),
    ):
        with pytest.raises(error, match=message):
            fastsm.save(path, model)
        assert os.listdir(tmp_path) == []


# ---- bad files ----


def good(tmp_path):
    """Return the bytes of a file with all that there can be, and its tree."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.LayerNorm(3), nn.Softmax(), rng=0)
    optimizer = optim.SGD(0.1, momentum=0.5)
    optimizer.step(model.params, model.grads)
    path = tmp_path / "good.npz"
    fastsm.save(path, model, optimizer=optimizer, history={"loss": [0.5]})
    return path.read_bytes(), model


def load_bytes(tmp_path, content):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    return fastsm.load(path)


def refused(tmp_path, content, reason=None):
    """Check that a file is refused with a ValueError of one sentence."""
    with pytest.raises(ValueError, match=reason) as caught:
        load_bytes(tmp_path, content)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith("`path` must be a ")
    assert "\n" not in str(caught.value)


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), (1, 0))
    return file.getvalue()


def archive(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for name, data in members:
            target.writestr(zipfile.ZipInfo(name) if compression == zipfile.ZIP_STORED else name, data)
    return file.getvalue()


def members_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        return {name: source.read(name) for name in source.namelist()}


def with_header(content, change):
    """Return the file with another header."""
    members = members_of(content)
    header = json.loads(np.lib.format.read_array(io.BytesIO(members["header.npy"])).tobytes())
    text = change(header)
    text = json.dumps(header if text is None else text) if not isinstance(text, (bytes, str)) else text
    text = text.encode() if isinstance(text, str) else text
    members["header.npy"] = npy(np.frombuffer(text, np.uint8))
    return archive(members.items())


def test_every_truncation_is_refused(tmp_path):
    content, _ = good(tmp_path)
    for length in {*range(0, len(content), 13), *range(len(content) - 100, len(content))}:
        refused(tmp_path, content[:length])


def test_flipped_bits_are_refused_or_harmless(tmp_path):
    content, model = good(tmp_path)
    rng = np.random.default_rng(0)
    harmless = 0
    for position in range(0, len(content), 3):
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        try:
            loaded = load_bytes(tmp_path, bytes(changed))
        except ValueError:
            continue
        harmless += 1  # a time, a version: nothing that is used
        np.testing.assert_array_equal(loaded.params, model.params)
    assert harmless < len(content) / 3 / 5


def test_random_damage_is_refused(tmp_path):
    content, model = good(tmp_path)
    rng = np.random.default_rng(1)
    for _ in range(150):
        changed = bytearray(content)
        start = int(rng.integers(len(content)))
        length = int(rng.integers(1, 40))
        kind = rng.integers(4)
        if kind == 0:
            changed[start : start + length] = rng.bytes(length)
        elif kind == 1:
            del changed[start : start + length]
        elif kind == 2:
            changed[start:start] = rng.bytes(length)
        else:
            changed[start : start + 4] = b"\xff\xff\xff\xff"
        try:
            loaded = load_bytes(tmp_path, bytes(changed))
        except ValueError:
            continue
        np.testing.assert_array_equal(loaded.params, model.params)


def test_foreign_files(tmp_path):
    file = io.BytesIO()
    np.savez(file, params=np.zeros(3))
    compressed = io.BytesIO()
    np.savez_compressed(compressed, header=np.zeros(1000, np.uint8))
    for content in (
        b"",
        b"PK",
        b"hello" * 100,
        npy(np.zeros(3)),
        pickle.dumps({"format": "fastsm"}),
        file.getvalue(),
        compressed.getvalue(),
        archive([]),
        archive([("a.txt", b"hello")]),
        b"PK\5\6" + bytes(18),
    ):
        refused(tmp_path, content)
    with pytest.raises(FileNotFoundError):
        fastsm.load(tmp_path / "absent.npz")
    with pytest.raises(OSError):  # noqa: PT011 - a folder: the error differs between systems
        fastsm.load(tmp_path)


def test_tricks_with_zip(tmp_path):
    content, _ = good(tmp_path)
    members = members_of(content)
    refused(tmp_path, archive(members.items(), zipfile.ZIP_DEFLATED), "a member is compressed")
    refused(
        tmp_path, archive([*members.items(), ("extra.npy", b"")]), "member that the header does not mention"
    )
    refused(tmp_path, archive([*members.items(), ("../evil.npy", b"x")]), "the header does not mention")
    refused(tmp_path, archive([*members.items(), ("/tmp/evil", b"x")]), "the header does not mention")
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = archive([*members.items(), ("header.npy", members["header.npy"])])
    refused(tmp_path, twice, "two members have one name")
    refused(tmp_path, b"#!/bin/sh\n" + content, "its directory has a wrong size")
    refused(tmp_path, content + b"junk", "its end is missing")
    commented = content[:-2] + struct.pack("<H", 4) + b"1234"
    refused(tmp_path, commented, "its end is missing")
    # A directory of a gigabyte, or of 65,535 members, is not even looked at.
    for format_, offset, value, reason in (
        ("<L", 12, 1 << 30, "wrong size"),
        ("<L", 16, 1 << 30, "wrong size"),
        ("<H", 10, 65535, "its end is wrong"),
        ("<H", 4, 1, "its end is wrong"),
    ):
        changed = bytearray(content)
        struct.pack_into(format_, changed, len(content) - 22 + offset, value)
        refused(tmp_path, bytes(changed), reason)
    refused(tmp_path, archive([(f"{i}.npy", b"") for i in range(2000)]), "wrong size")
    # Many members over one another would be larger than the file.
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as target:
        target.writestr("header.npy", members["header.npy"])
        for i in range(40):
            target.writestr(f"{i}.npy", b"x")
        for info in target.infolist():
            info.header_offset = 0
            info.file_size = info.compress_size = len(members["header.npy"])
    refused(tmp_path, whole.getvalue(), "larger than the file")


def test_deflate_bomb_takes_no_memory(tmp_path):
    bomb = archive([("header.npy", npy(np.zeros(1 << 26, np.uint8)))], zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    refused(tmp_path, bomb, "compressed")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_tricks_with_npy(tmp_path):
    content, _ = good(tmp_path)
    members = members_of(content)

    class Evil:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "evil"),)

    objects = io.BytesIO()
    np.lib.format.write_array(objects, np.array([Evil()], dtype=object), allow_pickle=True)
    count = len(members["model.params.npy"])
    head = members["model.params.npy"][:128]
    for data, reason in (
        (objects.getvalue(), "not a flat array of numbers"),
        (npy(np.zeros((3, 5), "f4")), "not a flat array of numbers"),
        (npy(np.zeros(15, ">f4")), "not a flat array of numbers"),
        (npy(np.zeros(15, "c8")), "not a flat array of numbers"),
        (npy(np.zeros(15, "U2")), "not a flat array of numbers"),
        (npy(np.zeros(15, "f8")), "the parameters must be a flat array of float32"),
        (npy(np.zeros(14, "f4")), "has not the size of its shape"),
        (b"", "not a flat array"),
        (b"\x93NUMPY", "not a flat array"),
        (head, "has not the size that it declares"),
        (head.replace(b"(15,)", b"(9999999999999,)"), "not a flat array|has not the size"),
        (head.replace(b"(15,), }          ", b"(999999999999,), }"), "has not the size that it declares"),
        (head.replace(b"False", b"True "), "not a flat array"),
        (head.replace(b"'<f4'", b"print"), "not a flat array"),
        (head + bytes(count), "has not the size that it declares"),
    ):
        refused(tmp_path, archive([*{**members, "model.params.npy": data}.items()]), reason)
    assert not (tmp_path / "evil").exists()
    header = members["header.npy"]
    refused(
        tmp_path, archive([*{**members, "header.npy": header.replace(b"|u1", b"|i1")}.items()]), "wrong dtype"
    )


def test_tricks_with_json(tmp_path):
    content, _ = good(tmp_path)
    texts = {
        "": "Expecting value",
        "[]": "its header is not a dict",
        '"x"': "its header is not a dict",
        '{"format": NaN}': "NaN, which is not JSON",
        '{"format": 1e999}': "too large",
        '{"a": 1, "a": 2}': "a key twice",
        "[" * 100_000: "nested too deeply",
        '{"a": ' * 100_000: "nested too deeply",
        '{"a": {"$float": "1"}}': "a number that is none",
        '{"a": {"$float": ["nan"]}}': "a number that is none",
        '{"a": {"$array": "model.params", "shape": [5]}}': "size of its shape",
        '{"a": {"$array": "model.params", "shape": [-15, -1]}}': "no usable shape",
        '{"a": {"$array": "model.params", "shape": [true]}}': "no usable shape",
        '{"a": {"$array": "model.params", "shape": 15}}': "no usable shape",
        '{"a": {"$array": ["x"], "shape": [15]}}': "is missing",
        '{"a": {"$array": "header", "shape": [15]}}': "is missing",
        '{"a": 1' + "0" * 5000 + "}": "digits",
        "\udcff": "codec",
    }
    for text, reason in texts.items():
        data = text.encode("utf-8", "surrogateescape")
        refused(tmp_path, with_header(content, lambda header, data=data: data), reason)
    twice = {"$array": "model.params", "shape": [15]}
    refused(tmp_path, with_header(content, lambda header: {"a": twice, "b": twice}), "is missing")


def test_what_the_header_says_is_checked(tmp_path):
    content, _ = good(tmp_path)

    def at(*keys, value):
        def change(header):
            place = header
            for key in keys[:-1]:
                place = place[key]
            place[keys[-1]] = value

        return change

    def layer(**described):
        return at("model", "layers", 0, value=described)

    UNUSED = "it has a member that the header does not mention"
    huge = {"n_in": 1 << 40, "n_out": 1 << 40, "bias": True}
    for change, reason in (
        (at("format", value="other"), "it is not a file of fastsm"),
        (at("version", value=2), "it has version 2, and this fastsm reads 1"),
        (at("version", value=None), "it has version None"),
        (at("model", value=[]), UNUSED),
        (at("model", "dtype", value="float16"), "the dtype of the model must be"),
        (at("model", "dtype", value="float64"), "a flat array of float64"),
        (at("model", "dtype", value=["float32"]), "the dtype of the model must be"),
        (at("model", "params", value=[1, 2]), UNUSED),
        (at("model", "layers", value={}), "its layers is missing"),
        (at("model", "layers", value=[]), "at least one layer|parameters"),
        (at("model", "layers", 0, value="Linear"), "a layer has no class"),
        (layer(**{"class": 3}), "a layer has no class"),
        *(
            (layer(**{"class": name}), "is not known")
            for name in (
                "os.system",
                "eval",
                "__class__",
                "Sequential",
                "MLP",
                "CrossEntropyLoss",
                "initializers",
            )
        ),
        (layer(**{"class": "Mine", "own": True}), r"'Mine' is not known: pass layers=\[Mine\]"),
        (layer(**{"class": "Linear"}), "missing 2 required"),
        (layer(**{"class": "Linear", "config": []}), "its config is missing"),
        (layer(**{"class": "Linear", "config": {"n_in": 2, "n_out": "3"}}), "`n_out` must be an integer"),
        (layer(**{"class": "Linear", "config": {"n_in": 2, "n_out": 3, "evil": 1}}), "unexpected keyword"),
        (layer(**{"class": "Linear", "config": huge}), "the layers have"),
        (layer(**{"class": "Linear", "config": {"n_in": 3, "n_out": 2}}), "parameters|features"),
        (layer(**{"class": "ReLU"}), "the parameters are not those of the layers"),
        (layer(**{"class": "LayerNorm", "config": {"n": 1 << 60}}), "the layers have"),
        (at("model", "parameters", value=[]), "the parameters are not those of the layers"),
        (at("model", "layers", 1, "state", value={"seed": -1, "count": 0}), "`state` must have a seed"),
        (at("model", "layers", 1, "state", value=3), "its state is missing"),
        (at("model", "layers", 3, "state", value={}), "in the file or in the code, but not in both"),
        (at("optimizer", value=3), UNUSED),
        (at("optimizer", "steps", value=-1), "no class or no number of steps"),
        (at("optimizer", "steps", value=1.5), "no class or no number of steps"),
        (at("optimizer", "steps", value=True), "no class or no number of steps"),
        (at("optimizer", "state", "other", value=3), "does not fit the parameters"),
        (at("history", value=[]), "its history is missing"),
        (at("history", "loss", value="text"), "is not a list of numbers"),
        (at("history", "loss", value=[None]), "is not a list of numbers"),
        (at("training", value=3), "its training is missing"),
    ):
        tracemalloc.start()
        refused(tmp_path, with_header(content, change), reason)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20


def test_nothing_is_loaded_by_half(tmp_path):
    content, _ = good(tmp_path)
    path = tmp_path / "bad.npz"
    path.write_bytes(with_header(content, lambda header: header["history"].update(loss=[1])))
    optimizer, history = optim.SGD(0.1, momentum=0.5), fastsm.History({"loss": [9.0]})
    with pytest.raises(ValueError, match="history"):
        fastsm.load(path, optimizer=optimizer, history=history)
    assert (optimizer.steps, optimizer.state, history) == (0, {}, {"loss": [9.0]})


# ---- writing ----


class Broken(OSError):
    """What a full disk raises here."""


def fails(*arguments, **options):
    raise Broken(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["replace", "fsync", "member", "interrupt"])
def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch, what):
    path = tmp_path / "m.npz"
    old = nn.MLP([4, 3], rng=0)
    fastsm.save(path, old)
    before = path.read_bytes()
    written = _archive.write_member

    def second_fails(file, name, array):
        if array.dtype != np.uint8:
            raise (
                KeyboardInterrupt if what == "interrupt" else Broken(errno.ENOSPC, "No space left on device")
            )
        return written(file, name, array)

    if what in ("replace", "fsync"):
        monkeypatch.setattr(os, what, fails)
    else:
        monkeypatch.setattr(_archive, "write_member", second_fails)
    with pytest.raises(KeyboardInterrupt if what == "interrupt" else Broken):
        fastsm.save(path, nn.MLP([4, 3], rng=1))
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["m.npz"]
    assert path.read_bytes() == before
    assert_same(fastsm.load(path), old)


def test_the_disk_is_told_before_the_name_changes(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b))[1])
    fastsm.save(tmp_path / "m.npz", nn.MLP([4, 3]))
    assert order == ["fsync", "replace", "fsync"] if hasattr(os, "O_DIRECTORY") else ["fsync", "replace"]


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastsm.save(tmp_path / "absent" / "m.npz", nn.MLP([4, 3]))


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are those of POSIX")
def test_links_and_modes(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "m.npz"
    link.symlink_to(tmp_path / "real" / "m.npz")
    mask = os.umask(0o027)
    try:
        fastsm.save(link, nn.MLP([4, 3]))
    finally:
        os.umask(mask)
    assert link.is_symlink()
    assert stat.S_IMODE((tmp_path / "real" / "m.npz").stat().st_mode) == 0o640
    assert_same(fastsm.load(link), fastsm.load(tmp_path / "real" / "m.npz"))


# ---- the container by itself ----


def test_trees(tmp_path):
    tree = {
        "none": None, "flag": True, "whole": 2**100, "float": 0.1, "text": "ä\0\ud7ff", "list": [1, [2, {}]],
        "arrays": {k: np.arange(6, dtype=k).reshape(2, 1, 3) for k in ("f2", "f4", "f8", "i1", "u2", "i8")},
        "header": np.arange(3.0), "empty": np.zeros((0, 4)), "zero_d": np.array(3.0),
        "big_endian": np.arange(3, dtype=">i4"), "strided": np.arange(10)[::-2], "x" * 300: np.zeros(1),
        "a b/../c": np.ones(1), "a b....c": np.ones(2),
    }  # fmt: skip
    path = tmp_path / "t"
    _container.write(path, tree)
    again = _container.read(path)

    def same(a, b):
        if isinstance(a, dict):
            return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
        if isinstance(a, np.ndarray):
            return a.shape == b.shape and a.dtype.newbyteorder("=") == b.dtype and (a == b).all()
        return type(a) is type(b) and a == b

    assert same(tree, again)
    assert all("/" not in name for name in members_of(path.read_bytes()))
    again["arrays"]["f4"][...] = 1  # its own memory


@pytest.mark.parametrize("full", [10, 200, 600])
def test_files_of_more_than_4_gb(tmp_path, monkeypatch, full):
    """Their sizes and places are kept in other fields; here these begin at some bytes."""
    tree = {"a": np.arange(30.0), "b": np.arange(50), "c": np.zeros((0, 3))}
    _container.write(tmp_path / "small", tree)
    monkeypatch.setattr(_archive, "_LARGE", full)
    _container.write(tmp_path / "t", tree)
    for read in (_container.read, lambda path: dict(np.load(path))):
        found = read(tmp_path / "t")
        assert all((found[name].ravel() == tree[name].ravel()).all() for name in tree)
    assert (tmp_path / "t").stat().st_size > (tmp_path / "small").stat().st_size


def test_scalars_of_numpy_become_plain(tmp_path):
    _container.write(
        tmp_path / "t", {"a": np.float64(0.5), "b": np.int32(3), "c": (1, 2), "d": np.bool_(True)}
    )
    assert _container.read(tmp_path / "t") == {"a": 0.5, "b": 3, "c": [1, 2], "d": True}


def test_too_much(tmp_path):
    with pytest.raises(ValueError, match="cannot hold so much besides its arrays"):
        _container.write(tmp_path / "t", {"a": "x" * (1 << 25)})
    with pytest.raises(ValueError, match="cannot hold so much besides its arrays"):
        _container.write(tmp_path / "t", {str(i): np.zeros(1) for i in range(2000)})
    assert os.listdir(tmp_path) == []
