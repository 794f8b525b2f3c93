"""Model files: bit for bit round trips, refused bad files, and writes that keep the old file on failure."""

import copy
import errno
import io
import json
import os
import pickle
import stat
import sys
import tracemalloc

import numpy as np
import pytest
from extras import BFLOAT16
from model_files import array_entry, checksum, put_together, taken_apart, tree_of, with_settings

import fastsm
from fastsm import nn, optim
from fastsm._files import _safetensors
from fastsm._files._trees import open_tree, write_tree


class Scale:
    """A user layer: a factor for each feature, and a state with an array."""

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
    """A user layer without parameters or options."""

    def forward(self, x):
        return x * 2

    def backward(self, dy):
        return dy * 2


class Needy(Plain):
    """A user layer with an argument that its config lacks."""

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
    fastsm.save(tmp_path / "m.safetensors", model)
    assert_same(fastsm.load(str(tmp_path / "m.safetensors"), layers=[Scale, Plain]), model)


def test_state_of_own_layers(tmp_path):
    model = MODELS["own"]("float32")
    model.layers[1].seen[...] = 7
    fastsm.save(tmp_path / "m.safetensors", model)
    again = fastsm.load(tmp_path / "m.safetensors", layers=[Scale, Plain])
    np.testing.assert_array_equal(again.layers[1].seen, np.full((1, 3), 7.0))


def test_special_numbers(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), rng=0)
    model.params[:3] = [np.nan, np.inf, -0.0]
    history = fastsm.History({"loss": [1.0, float("nan")], "val_loss": [float("inf"), -float("inf")]})
    fastsm.save(tmp_path / "m.safetensors", model, history=history)
    again = fastsm.History({"other": [1.0]})
    loaded = fastsm.load(tmp_path / "m.safetensors", history=again)
    assert loaded.params.tobytes() == model.params.tobytes()
    assert repr(again) == repr(history)


def test_optimizer(tmp_path):
    model = nn.MLP([4, 3], rng=0)
    optimizer = optim.Adam()
    model.grads[...] = 0.1
    for _ in range(3):
        optimizer.step(model.params, model.grads)
    fastsm.save(tmp_path / "m.safetensors", model, optimizer=optimizer)
    other = optim.Adam()
    again = fastsm.load(tmp_path / "m.safetensors", optimizer=other)
    assert other.steps == 3
    again.grads[...] = 0.1
    optimizer.step(model.params, model.grads)
    other.step(again.params, again.grads)
    np.testing.assert_array_equal(model.params, again.params)
    # Other layers do not fit.
    fastsm.save(tmp_path / "plain.safetensors", model)
    for path, wrong, message in (
        ("m.safetensors", optim.SGD(0.1), "`optimizer` must be optim.Adam as in the file, got SGD"),
        ("plain.safetensors", optim.Adam(), "`optimizer` must be None for a file without one"),
    ):
        with pytest.raises(ValueError, match=message):
            fastsm.load(tmp_path / path, optimizer=wrong)
        assert wrong.steps == 0
    sgd = optim.SGD(0.1, momentum=0.9)
    sgd.step(model.params, model.grads)
    fastsm.save(tmp_path / "s.safetensors", model, optimizer=sgd)
    with pytest.raises(ValueError, match=r"must remember \['velocity'\] as in the file, got \[\]"):
        fastsm.load(tmp_path / "s.safetensors", optimizer=optim.SGD(0.1))


def test_layout_of_the_file(tmp_path):
    """The layout, byte by byte: without a time; the name is the given one."""
    model = nn.MLP([4, 3, 2], rng=0)
    fastsm.save(tmp_path / "a.safetensors", model)
    fastsm.save(tmp_path / "b", model)
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "b"]
    content = (tmp_path / "b").read_bytes()
    assert (tmp_path / "a.safetensors").read_bytes() == content
    header, data = taken_apart(content)
    assert (len(content) - len(data)) % 8 == 0
    assert data == model.params.astype("<f4").tobytes()
    metadata = header.pop("__metadata__")
    assert metadata["fastsm_version"] == "1"
    assert tree_of(content)["model"]["dtype"] == "float32"
    assert list(header) == ["layers.0.weight", "layers.2.weight", "layers.0.bias", "layers.2.bias"]
    assert header["layers.0.weight"] == {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}


# ---- the package safetensors ----


def test_safetensors_reads_our_files(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    path, model = tmp_path / "m.safetensors", MODELS["own"]("float64")
    optimizer = optim.Adam()
    optimizer.step(model.params, model.grads)
    fastsm.save(path, model, optimizer=optimizer)
    arrays = numpy.load_file(path)
    for name, value in model.named_parameters():
        np.testing.assert_array_equal(arrays.pop(f"layers.{name}"), value)
    assert sorted(arrays) == ["model.layers.1.state.seen", "optimizer.state.mean", "optimizer.state.square"]


@pytest.mark.parametrize("name", MODELS)
def test_we_read_safetensors_files(tmp_path, name):
    """Files of safetensors with our settings are read, without a checksum too."""
    numpy = pytest.importorskip("safetensors.numpy")
    from safetensors import safe_open

    path, model, loaded = tmp_path / "m.safetensors", MODELS[name]("float32"), optim.Adam()
    optimizer = optim.Adam()
    optimizer.step(model.params, model.grads)
    fastsm.save(path, model, optimizer=optimizer)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    arrays = numpy.load_file(path)
    numpy.save_file(arrays, path, metadata)
    assert_same(fastsm.load(path, layers=[Scale, Plain], optimizer=loaded), model)
    assert loaded.steps == 1
    halved = {name: value / 2 for name, value in arrays.items()}
    numpy.save_file(halved, path, metadata)
    if model.params.any():
        with pytest.raises(ValueError, match=r"its checksum differs: .* a program that kept fastsm_crc32"):
            fastsm.load(path, layers=[Scale, Plain])
    del metadata["fastsm_crc32"]
    numpy.save_file(halved, path, metadata)
    again = fastsm.load(path, layers=[Scale, Plain])
    np.testing.assert_array_equal(again.params, model.params / 2)


def test_safetensors_files_without_model(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({"weight": np.zeros((2, 3))}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"'.*w\.safetensors': it has arrays but no model of fastsm: make"):
        fastsm.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize("big", [False, True])
def test_all_dtypes_both_ways(tmp_path, big):
    """All dtypes, in either byte order."""
    numpy = pytest.importorskip("safetensors.numpy")
    kinds = [*"fdebBhHiIqQ?", *(BFLOAT16 if not big else [])]
    tree = {np.dtype(k).name: np.array([[0, 1, 1]], np.dtype(k)) for k in kinds}
    swapped = {name: a.astype(a.dtype.newbyteorder(">")) if big else a for name, a in tree.items()}
    write_tree(tmp_path / "ours", swapped, {})
    numpy.save_file(tree, tmp_path / "its", taken_apart((tmp_path / "ours").read_bytes())[0]["__metadata__"])
    with open_tree(tmp_path / "ours") as (ours, _), open_tree(tmp_path / "its") as (its, _):
        theirs = numpy.load_file(tmp_path / "ours")
    for name, array in tree.items():
        for found in (ours[name], its[name], theirs[name]):
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


def test_unsaveable_models(tmp_path):
    path = tmp_path / "m.safetensors"
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
            "must be numbers, strings, arrays, lists or dicts to be saved, got builtin_function",
        ),
        (keyed, TypeError, "must have strings as keys, got 3"),
        (dollar, ValueError, r"must have no key that starts with \$"),
        (complex_state, TypeError, "must have a real dtype to be saved, got complex128"),
        (
            nn.Sequential(Needy(3)),
            TypeError,
            r"Needy must have config\(\), which returns a dict of its arguments",
        ),
    ):
        with pytest.raises(error, match=message):
            fastsm.save(path, model)
        assert os.listdir(tmp_path) == []


# ---- bad files ----


def good(tmp_path):
    """Return the bytes of a file with all optional parts, and its tree."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.LayerNorm(3), nn.Softmax(), rng=0)
    optimizer = optim.SGD(0.1, momentum=0.5)
    optimizer.step(model.params, model.grads)
    path = tmp_path / "good.safetensors"
    fastsm.save(path, model, optimizer=optimizer, history={"loss": [0.5]})
    return path.read_bytes(), model


def load_bytes(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    return fastsm.load(path)


def refused(tmp_path, content, reason=None):
    """Check that a file is refused with a ValueError of one sentence."""
    with pytest.raises(ValueError, match=reason) as caught:
        load_bytes(tmp_path, content)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith("`path` must be a ")
    assert "\n" not in str(caught.value)


def test_truncated_files(tmp_path):
    content, _ = good(tmp_path)
    for length in {*range(0, len(content), 13), *range(len(content) - 100, len(content))}:
        refused(tmp_path, content[:length])


def test_flipped_bits_refused_or_harmless(tmp_path):
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
        harmless += 1  # the name of the checksum: nothing else
        np.testing.assert_array_equal(loaded.params, model.params)
    assert harmless < 20


def test_random_damage(tmp_path):
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
    arrays, array = io.BytesIO(), io.BytesIO()
    np.savez(arrays, params=np.zeros(3))
    np.save(array, np.zeros(3))
    zipped = "it is a zip archive such as .npz, and models are in the safetensors layout"
    cut = "its header does not fit into it: it is cut off, or not in the safetensors layout"
    for content, reason in (
        (b"", cut),
        (b"PK", zipped),
        (b"hello" * 100, cut),
        (array.getvalue(), cut),
        (pickle.dumps({"format": "fastsm"}), cut),
        (arrays.getvalue(), zipped),
        (b"PK\5\6" + bytes(18), zipped),
        (bytes(8), "its header must begin with a brace"),
        (put_together({}, b""), "it has arrays but no model"),
        (put_together({"__metadata__": {"format": "pt"}}, b""), "it has arrays but no model"),
    ):
        refused(tmp_path, content, reason)
    with pytest.raises(FileNotFoundError):
        fastsm.load(tmp_path / "absent.safetensors")
    with pytest.raises(OSError):  # noqa: PT011 - a folder: the error differs between systems
        fastsm.load(tmp_path)


def test_tricks_with_the_layout(tmp_path):
    content, _ = good(tmp_path)
    header, data = taken_apart(content)
    small = array_entry(np.zeros(2))

    def entry(**changed):
        """Return the header with this entry of an array at the end."""
        return {**header, "x": {**small, "data_offsets": [len(data)] * 2, **changed}}

    for changed, reason in (
        (b" " + json.dumps(header).encode(), "must begin with a brace"),
        (b"[]", "must begin with a brace"),
        (b"{}" + b"x" * 8, "its header must be JSON: Extra data"),
        (b'{"\xff": 1}', "codec"),
        (json.dumps(header).encode("utf-16"), "must begin with a brace"),
        (b'{"a": {}, "a": {}}', "must have each key once"),
        (b'{"a": NaN}', "must be JSON, which has no NaN"),
        (b'{"a": 1e999}', "must have numbers of double precision, got 1e999"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "digits"),
        (b'{"a": ' * 100_000, "must not be nested so deeply"),
        ({**header, "__metadata__": []}, "must be an object of strings"),
        ({**header, "__metadata__": {"fastsm": 3}}, "must be an object of strings"),
        ({**header, "x": []}, "must have a dtype, a shape and data_offsets, and nothing else"),
        (entry(more=1), "must have a dtype, a shape and data_offsets, and nothing else"),
        ({**header, "x": {"dtype": "F32", "shape": []}}, "must have a dtype, a shape and data_offsets"),
        *(
            (entry(dtype=code), "must have one of the dtypes")
            for code in ("F8", "f4", "O", "", None, ["F32"])
        ),
        *(
            (entry(shape=shape), "must have a shape of at most 32")
            for shape in (3, [-1], [True], [0.0], ["1"])
        ),
        (entry(shape=[1] * 33), "must have a shape of at most 32"),
        (entry(shape=[1 << 62]), "must have a shape of at most 32"),
        (entry(shape=[0, 1 << 61]), "that fits into memory"),
        (entry(shape=[1 << 30] * 32), "that fits into memory"),
        (entry(shape=[3]), "must have data_offsets that match"),
        *(
            (entry(data_offsets=o), "must have two data_offsets")
            for o in (0, [0], [0] * 3, [-8, 0], [0.0, 8])
        ),
        (entry(data_offsets=[8, 0]), "must have data_offsets that match"),
        (entry(data_offsets=[0, 1 << 61]), "must have data_offsets that match"),
        (entry(data_offsets=[0, 8]), "must begin where the one before ends"),
        (entry(data_offsets=[len(data) + 8, len(data) + 16]), "must begin where the one before ends"),
        (entry(data_offsets=[len(data), len(data) + 8]), "it ends before its arrays do"),
        (
            entry(shape=[1 << 50], data_offsets=[len(data), len(data) + (1 << 52)]),
            "it ends before its arrays",
        ),
        (entry(shape=[0]), "its settings do not mention its array 'x'"),
        ({str(i): entry(shape=[0])["x"] for i in range(70_000)}, "it has 70000 arrays, more than 65536"),
    ):
        refused(tmp_path, put_together(changed, data), reason)
    refused(tmp_path, content + b"junk", "it goes on after its arrays")
    refused(tmp_path, b"#!/bin/sh\n" + content, "its header does not fit into it")
    refused(
        tmp_path, (1 << 25).to_bytes(8, "little") + b"{" * (1 << 25), "its header has 33554432 bytes, more"
    )
    refused(tmp_path, b"\xff" * 8 + content[8:], "its header does not fit")


def test_tricks_with_arrays(tmp_path):
    """Arrays of another dtype or shape, missing ones and extra ones, with the right checksum."""
    content, _ = good(tmp_path)
    header, data = taken_apart(content)
    weight = header["layers.0.weight"]
    assert weight["shape"] == [2, 3]
    for name, changed, reason in (
        ("layers.0.weight", {**weight, "shape": [3, 2]}, "layer 0 must have an array 'weight' of its shape"),
        ("layers.0.weight", {**weight, "shape": [6]}, "layer 0 must have an array 'weight' of its shape"),
        ("layers.0.weight", {**weight, "dtype": "F64", "shape": [3]}, "layer 0 must have an array 'weight'"),
        ("layers.0.other", weight, "layer 0 must have an array 'weight' of its shape in the file"),
        ("optimizer.state.other", header["optimizer.state.velocity"], "is missing, or named twice"),
    ):
        old = "layers.0.weight" if name.startswith("layers") else "optimizer.state.velocity"
        other = {name if key == old else key: changed if key == old else header[key] for key in header}
        other["__metadata__"] = {**header["__metadata__"], "fastsm_crc32": checksum(other, data)}
        refused(tmp_path, put_together(other, data), reason)
    wide = {key: dict(entry) for key, entry in header.items()}
    for entry in list(wide.values())[1:]:
        entry["dtype"] = "F64"
        entry["data_offsets"] = [2 * place for place in entry["data_offsets"]]
    refused(tmp_path, put_together(wide, data * 2), "must have float32 and .*, got float64 and")


def test_bools_other_than_0_and_1(tmp_path):
    write_tree(tmp_path / "t", {"flags": np.array([True, False])}, {})
    header, data = taken_apart((tmp_path / "t").read_bytes())
    assert data == b"\1\0"
    header["__metadata__"]["fastsm_crc32"] = checksum(header, b"\1\2")
    (tmp_path / "t").write_bytes(put_together(header, b"\1\2"))
    with (
        pytest.raises(ValueError, match="'flags' of bools must hold zeros and ones"),
        open_tree(tmp_path / "t"),
    ):
        pass


def test_shrinking_files(tmp_path):
    path = tmp_path / "m"
    fastsm.save(path, nn.MLP([400, 1000]))  # more than Python reads ahead

    def cut_and_read():
        with open_tree(path) as (_, tensors):
            os.truncate(path, path.stat().st_size - 800_000)
            for name in list(tensors.unread):
                tensors.read(name)

    with pytest.raises(ValueError, match="it became shorter while it was read"):
        cut_and_read()


def test_bfloat16_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    entry = {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}
    refused(tmp_path, put_together({"x": entry}, b"ab"), "which needs the package ml_dtypes")


def test_large_promises_take_no_memory(tmp_path):
    """Headers of more than 16 MB are not read."""
    path = tmp_path / "m"
    with open(path, "wb") as file:
        file.write((1 << 30).to_bytes(8, "little") + b"{")
        file.truncate(1 << 31)
    tracemalloc.start()
    with pytest.raises(ValueError, match="its header has 1073741824 bytes, more than 16777216"):
        fastsm.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_parameters_read_in_place(tmp_path):
    """Loading takes little more memory than the parameters and their gradients."""
    path, model = tmp_path / "m", nn.MLP([500, 2000, 500], init="zeros")
    fastsm.save(path, model)
    size = model.params.nbytes
    del model
    tracemalloc.start()
    fastsm.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.1 * size


def test_tricks_with_json(tmp_path):
    content, _ = good(tmp_path)
    texts = {
        "": "its settings must be JSON: Expecting value",
        "[]": "its settings must be a JSON object, got list",
        '"x"': "its settings must be a JSON object, got str",
        '{"model": NaN}': "must be JSON, which has no NaN",
        '{"model": 1e999}': "must have numbers of double precision",
        '{"a": 1, "a": 2}': "must have each key once",
        "[" * 100_000: "must not be nested so deeply",
        '{"a": ' * 100_000: "must not be nested so deeply",
        '{"a": {"$float": "1"}}': "a .float other than nan",
        '{"a": {"$float": ["nan"]}}': "a .float other than nan",
        '{"a": {"$float": "nan", "b": 1}}': "a .float other than nan",
        '{"a": {"$array": "optimizer.state.velocity", "b": 1}}': "an array without a name",
        '{"a": {"$array": ["x"]}}': "an array without a name",
        '{"a": {"$array": "x"}}': "is missing",
        '{"a": {"$array": "__metadata__"}}': "is missing",
        '{"a": 1' + "0" * 5000 + "}": "digits",
        "\udcff": "must be JSON",
    }
    for text, reason in texts.items():
        refused(tmp_path, with_settings(content, lambda tree, text=text: text), reason)
    twice = json.dumps([{"$array": "layers.0.weight"}] * 2)
    refused(tmp_path, with_settings(content, lambda tree: f'{{"a": {twice}}}'), "named twice in the settings")
    deep = '{"a": ' + "[" * 900 + "]" * 900 + "}"
    refused(tmp_path, with_settings(content, lambda tree: deep), "nested so deeply|its model is missing")
    for version in ("2", "", "1.0"):
        header, data = taken_apart(content)
        header["__metadata__"]["fastsm_version"] = version
        refused(
            tmp_path, put_together(header, data), f"it has version '{version}', and this fastsm reads '1'"
        )


def test_checked_settings(tmp_path):
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

    huge = {"n_in": 1 << 40, "n_out": 1 << 40, "bias": True}
    for change, reason in (
        (at("model", value=[]), "its model is missing"),
        (at("model", "dtype", value="float16"), "the dtype of the model must be"),
        (at("model", "dtype", value="float64"), "must have float64 and .*, got float32 and"),
        (at("model", "dtype", value=["float32"]), "the dtype of the model must be"),
        (at("model", "layers", value={}), "its layers is missing"),
        (at("model", "layers", value=[]), "at least one layer"),
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
        (layer(**{"class": "Linear", "config": huge}), "layer 0 must have an array 'weight'"),
        (layer(**{"class": "Linear", "config": {"n_in": 3, "n_out": 2}}), "layer 0 must have an array"),
        (layer(**{"class": "ReLU"}), "the names of the parameters do not match"),
        (layer(**{"class": "LayerNorm", "config": {"n": 1 << 60}}), "layer 0 must have an array 'gain'"),
        (at("model", "parameters", value=[]), "the names of the parameters do not match"),
        (at("model", "layers", 1, "state", value={"seed": -1, "count": 0}), "`state` must have a seed"),
        (at("model", "layers", 1, "state", value=3), "its state is missing"),
        (at("model", "layers", 3, "state", value={}), "in the file or in the code, but not in both"),
        (
            at("model", "parameters", value=["0.bias", "0.weight", "2.gain", "2.bias"]),
            "do not match the layers",
        ),
        (at("optimizer", value=3), "its optimizer is missing"),
        (at("optimizer", "steps", value=-1), "no class or no number of steps"),
        (at("optimizer", "steps", value=1.5), "no class or no number of steps"),
        (at("optimizer", "steps", value=True), "no class or no number of steps"),
        (at("optimizer", "state", "other", value=3), "does not match the parameters"),
        (at("history", value=[]), "its history is missing"),
        (at("history", "loss", value="text"), "is not a list of numbers"),
        (at("history", "loss", value=[None]), "is not a list of numbers"),
        (at("training", value=3), "its training is missing"),
    ):
        tracemalloc.start()
        refused(tmp_path, with_settings(content, change), reason)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20


def test_nothing_is_loaded_by_half(tmp_path):
    content, _ = good(tmp_path)
    path = tmp_path / "bad.safetensors"
    path.write_bytes(with_settings(content, lambda header: header["history"].update(loss=[1])))
    optimizer, history = optim.SGD(0.1, momentum=0.5), fastsm.History({"loss": [9.0]})
    with pytest.raises(ValueError, match="history"):
        fastsm.load(path, optimizer=optimizer, history=history)
    assert (optimizer.steps, optimizer.state, history) == (0, {}, {"loss": [9.0]})


# ---- writing ----


class Broken(OSError):
    """The error of a full disk."""


def fails(*arguments, **options):
    raise Broken(errno.ENOSPC, "No space left on device")


class Full:
    """A file with room for the header and one array."""

    def __init__(self, file, error):
        self.file, self.error, self.left = file, error, 2

    def write(self, data):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.file.write(data)


@pytest.mark.parametrize("what", ["replace", "fsync", "array", "interrupt"])
def test_failed_write_keeps_old_file(tmp_path, monkeypatch, what):
    path = tmp_path / "m.safetensors"
    old = nn.MLP([4, 3], rng=0)
    fastsm.save(path, old)
    before = path.read_bytes()
    error = KeyboardInterrupt() if what == "interrupt" else Broken(errno.ENOSPC, "No space left on device")
    write = _safetensors.write_atomically
    if what in ("replace", "fsync"):
        monkeypatch.setattr(os, what, fails)
    else:
        monkeypatch.setattr(
            _safetensors,
            "write_atomically",
            lambda path, fill: write(path, lambda file: fill(Full(file, error))),
        )
    with pytest.raises(type(error)):
        fastsm.save(path, nn.MLP([4, 3], rng=1))
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["m.safetensors"]
    assert path.read_bytes() == before
    assert_same(fastsm.load(path), old)


def test_synced_before_renamed(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b))[1])
    fastsm.save(tmp_path / "m.safetensors", nn.MLP([4, 3]))
    assert order == ["fsync", "replace", "fsync"] if hasattr(os, "O_DIRECTORY") else ["fsync", "replace"]


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastsm.save(tmp_path / "absent" / "m.safetensors", nn.MLP([4, 3]))


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are those of POSIX")
def test_links_and_modes(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "m.safetensors"
    link.symlink_to(tmp_path / "real" / "m.safetensors")
    mask = os.umask(0o027)
    try:
        fastsm.save(link, nn.MLP([4, 3]))
    finally:
        os.umask(mask)
    assert link.is_symlink()
    assert stat.S_IMODE((tmp_path / "real" / "m.safetensors").stat().st_mode) == 0o640
    assert_same(fastsm.load(link), fastsm.load(tmp_path / "real" / "m.safetensors"))


# ---- trees by themselves ----


def read_tree(path):
    with open_tree(path) as (tree, _):
        return tree


def test_trees(tmp_path):
    tree = {
        "none": None, "flag": True, "whole": 2**100, "float": 0.1, "text": "ä\0\ud7ff", "list": [1, [2, {}]],
        "arrays": {k: np.arange(6, dtype=k).reshape(2, 1, 3) for k in ("f2", "f4", "f8", "i1", "u2", "i8")},
        "__metadata__": np.arange(3.0), "empty": np.zeros((0, 4)), "zero_d": np.array(3.0),
        "big_endian": np.arange(3, dtype=">i4"), "strided": np.arange(10)[::-2], "x" * 300: np.zeros(1),
        "x" * 299: np.ones(1), "a b/../c": np.ones(1), "a b....c": np.ones(2), "a_b____c.1": np.ones(3),
        "bools": np.array([[True], [False]]),
    }  # fmt: skip
    path = tmp_path / "t"
    write_tree(path, tree, {})
    again = read_tree(path)

    def same(a, b):
        if isinstance(a, dict):
            return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
        if isinstance(a, np.ndarray):
            return a.shape == b.shape and a.dtype.newbyteorder("=") == b.dtype and (a == b).all()
        return type(a) is type(b) and a == b

    assert same(tree, again)
    header, _ = taken_apart(path.read_bytes())
    assert all("/" not in name for name in header)
    sizes = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "U16": 2, "I8": 1, "BOOL": 1}
    assert all(
        e["data_offsets"][0] % sizes[e["dtype"]] == 0 for n, e in header.items() if n != "__metadata__"
    )
    again["arrays"]["f4"][...] = 1  # not shared


def test_numpy_scalars(tmp_path):
    write_tree(tmp_path / "t", {"a": np.float64(0.5), "b": np.int32(3), "c": (1, 2), "d": np.bool_(True)}, {})
    assert read_tree(tmp_path / "t") == {"a": 0.5, "b": 3, "c": [1, 2], "d": True}


def test_too_much(tmp_path):
    for tree in ({"a": "x" * (1 << 25)}, {str(i): np.zeros(1) for i in range(70_000)}):
        with pytest.raises(ValueError, match="cannot hold so much besides its arrays"):
            write_tree(tmp_path / "t", tree, {})
    assert os.listdir(tmp_path) == []


# ---- arguments that would make a file that nothing can load ----


class Odd(nn.Dropout):
    """A layer of the user's whose methods return what a test gives them."""

    def __init__(self, config=None, state=None):
        super().__init__(0.5)
        self.returned = ({} if config is None else config, {} if state is None else state)

    def config(self):
        return self.returned[0]

    def state(self):
        return self.returned[1]


def trained(dtype="float32"):
    model, optimizer = nn.MLP([2, 3, 2], dtype=dtype, rng=0), optim.Adam()
    optimizer.step(model.params, model.grads)
    return model, optimizer


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": 3}, TypeError, "`path` must be a path, got 3"),
        ({"path": ""}, ValueError, "`path` must be the name of a file, got ''"),
        ({"path": "a\0b"}, ValueError, "`path` must be the name of a file"),
        ({"optimizer": "adam"}, TypeError, "`optimizer` must be an optimizer, got 'adam'"),
        ({"optimizer": optim.Adam}, TypeError, "`optimizer` must be an optimizer, got <class"),
        (
            {"optimizer": trained("float64")[1]},
            ValueError,
            "`optimizer` must be that of `model`, got one whose",
        ),
        ({"history": [1]}, TypeError, r"`history` must be a History, got \[1\]"),
        ({"history": {"loss": ["a"]}}, TypeError, r"`history\['loss'\]` must be a number, got 'a'"),
        ({"history": {"loss": "12"}}, TypeError, r"`history\['loss'\]` must be a number, got '1'"),
        ({"model": nn.Sequential(Odd(config=3))}, TypeError, r"Odd.config\(\) must return a dict, got 3"),
        ({"model": nn.Sequential(Odd(state=[1]))}, TypeError, r"Odd.state\(\) must return a dict, got \[1\]"),
    ],
)
def test_save_refuses(tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        fastsm.save(**{"path": "a", "model": trained()[0], **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": 0}, "`path` must be a path, got 0"),
        ({"path": True}, "`path` must be a path, got True"),
        ({"layers": None}, "`layers` must be a list of classes, got None"),
        ({"layers": [nn.ReLU()]}, r"`layers` must be a list of classes, got \[ReLU\(\)\]"),
        ({"optimizer": optim.Adam}, "`optimizer` must be an optimizer"),
        ({"history": 3}, "`history` must be a History, got 3"),
    ],
)
def test_load_refuses(tmp_path, arguments, message):
    """Before anything is changed."""
    model, optimizer = trained()
    fastsm.save(tmp_path / "a", model, optimizer=optimizer, history={"loss": [1.0]})
    fresh = optim.Adam()
    with pytest.raises(TypeError, match=message):
        fastsm.load(**{"path": tmp_path / "a", "optimizer": fresh, **arguments})
    assert fresh.steps == 0
