"""Layers, models, losses, optimizers and training with overlapping and unusual arrays.

The oracle is the same call with plain copies of everything, in a fresh object.
"""

import copy
import warnings

import numpy as np
import pytest
from campaign import campaign
from hypothesis import given
from hypothesis import strategies as st
from layouts import lay_out
from numpy.lib.stride_tricks import as_strided

import fastsm
from fastsm import nn, optim
from fastsm.training import metrics

N = 4  # features in and out, so that outputs can be inputs

LAYERS = {
    "Linear": lambda: nn.Linear(N, N, rng=0),
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Softmax": nn.Softmax,
    "LogSoftmax": nn.LogSoftmax,
    "LayerNorm": lambda: nn.LayerNorm(N),
    "Dropout": lambda: nn.Dropout(0.5, rng=0),
}
MODELS = {
    **{
        f"of {name}": lambda make=make: nn.Sequential(make(), dtype="float64")
        for name, make in LAYERS.items()
    },
    "ending in Linear": lambda: nn.Sequential(nn.ReLU(), nn.Linear(N, N, rng=0), dtype="float64"),
    "ending in Tanh": lambda: nn.Sequential(nn.Linear(N, N, rng=0), nn.Tanh(), dtype="float64"),
    "MLP": lambda: nn.MLP([N, 5, N], dropout=0.5, layer_norm=True, dtype="float64", rng=0),
    "with a head": lambda: nn.MLP([N, 5, N], activation="gelu", head="softmax", dtype="float64", rng=0),
}


def numbers(seed, rows=3):
    return np.random.default_rng(seed).standard_normal((rows, N))


def gradients(layer):
    """Return copies of all gradients."""
    grads = layer.grads if hasattr(layer, "grads") else {}
    return {"": grads.copy()} if isinstance(grads, np.ndarray) else {k: v.copy() for k, v in grads.items()}


@pytest.mark.parametrize("make", [*LAYERS.values(), *MODELS.values()], ids=[*LAYERS, *MODELS])
@campaign(15)
@given(choices=st.lists(st.tuples(st.sampled_from("fbi"), st.integers(0, 9)), min_size=2, max_size=8))
def test_outputs_as_inputs(make, choices):
    """Arrays that a layer returned may be its next input or gradient, as if copied."""
    layer, other = make(), make()
    owned = [numbers(0)]  # what the layer returned, or the first input; and copies
    layer.forward(owned[0])
    other.forward(owned[0].copy())
    for kind, choice in choices:
        array = owned[choice % len(owned)]
        plain = array.copy()
        if kind == "f":
            result, same = layer.forward(array), other.forward(plain)
        elif kind == "b":
            result, same = layer.backward(array), other.backward(plain)
            for name, value in gradients(other).items():
                np.testing.assert_array_equal(gradients(layer)[name], value)
        else:
            result, same = layer(array), other(plain)
        np.testing.assert_array_equal(result, same)
        owned.append(result)


STRANGE = {
    "one row, odd stride": lambda: as_strided(numbers(1), (1, N), (7, 8)),
    "one row, huge stride": lambda: as_strided(numbers(1), (1, N), (2**62, 8)),
    "no rows, huge stride": lambda: as_strided(numbers(1), (0, N), (2**62, 8)),
    "repeated row": lambda: np.broadcast_to(numbers(1)[:1], (5, N)),
    "windows": lambda: as_strided(numbers(1), (5, N), (8, 8)),
    "backwards": lambda: numbers(1)[::-1, ::-1],
    "byte-swapped": lambda: numbers(1).astype(">f8"),
    "misaligned": lambda: lay_out(numbers(1), "misaligned"),
    "Fortran": lambda: np.asfortranarray(numbers(1)),
    "float16": lambda: numbers(1).astype(np.float16),
    "bool": lambda: numbers(1) > 0,
    "read-only": lambda: np.frombuffer(numbers(1).tobytes()).reshape(-1, N),
    "memoryview": lambda: memoryview(numbers(1)),
    "lists": lambda: numbers(1).tolist(),
    "subclass": lambda: numbers(1).view(Sub),
}


class Sub(np.ndarray):
    """A subclass of NumPy's arrays."""


@pytest.mark.parametrize("make", [*LAYERS.values(), *MODELS.values()], ids=[*LAYERS, *MODELS])
@pytest.mark.parametrize("strange", STRANGE)
def test_strange_arrays(make, strange):
    """Inputs of any kind give the right results as plain arrays, and are unchanged."""
    value = STRANGE[strange]()
    plain = np.array(np.asarray(value), order="C", dtype=np.asarray(value).dtype.newbyteorder("="))
    layer, other = make(), make()
    np.testing.assert_array_equal(layer.forward(value), other.forward(plain))
    if plain.dtype.kind == "f" and plain.dtype.itemsize == 8:
        results = [layer.backward(value), layer(value), other.backward(plain), other(plain)]
        assert all(type(r) is np.ndarray for r in results)
        np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(layer(value), other(plain))
    np.testing.assert_array_equal(np.asarray(value), plain)


@pytest.mark.parametrize("make", [*LAYERS.values(), *MODELS.values()], ids=[*LAYERS, *MODELS])
@pytest.mark.parametrize(
    "shape", [(), (0,), (N,), (N + 1,), (3, N + 1), (3, 0), (2, 3, N), (1,) * 30, (0, 2**40)], ids=str
)
def test_wrong_shapes(make, shape):
    """Wrong shapes are a ValueError; others give a gradient of their shape."""
    for value in (np.ones(shape), as_strided(np.ones(1), shape, (0,) * len(shape))):
        layer = make()
        try:
            y = layer.forward(value)
        except ValueError as error:
            assert str(error)[0] in "`l"  # noqa: PT017 - of some values only
            continue
        assert y.shape[:1] == shape[:1]
        for wrong in (np.ones((*y.shape, 1)), np.ones(()), np.ones((7, 7, 7))):
            with pytest.raises(ValueError, match=r"^`dy` must have shape"):
                layer.backward(wrong)


def test_labels_changed_before_backward():
    """An input whose shape or dtype changes before `backward` gives an error or a result, never a crash."""
    for make in (*LAYERS.values(), *MODELS.values()):
        for change in ({"shape": (N, 3)}, {"shape": (1, 3 * N)}, {"dtype": np.float32}, {"dtype": np.int64}):
            layer, x = make(), numbers(0)
            layer.forward(x)
            for name, value in change.items():
                x_is_changed(x, name, value)
            try:
                layer.backward(numbers(1))
            except (TypeError, ValueError):
                continue


def x_is_changed(x, name, value):
    """Set the shape or dtype of an array, without NumPy's warning."""
    with warnings.catch_warnings(action="ignore"):
        setattr(x, name, value)


# ---- losses ----

LOSSES = {
    "cross-entropy": nn.CrossEntropyLoss,
    "on probabilities": lambda: nn.CrossEntropyLoss(on="probs"),
    "NLL": nn.NLLLoss,
    "MSE": nn.MSELoss,
    "MAE": nn.MAELoss,
    "Brier": nn.BrierLoss,
    "KL": nn.KLDivLoss,
    "focal": nn.FocalLoss,
}


@pytest.mark.parametrize("name", LOSSES)
@campaign(15)
@given(offset=st.integers(-8, 8), backwards=st.booleans(), targets_too=st.booleans())
def test_overlapping_gradient(name, offset, backwards, targets_too):
    """`out` is the outputs, or separate, or refused; targets are never overwritten."""
    loss, memory = LOSSES[name](), np.random.default_rng(0).random(40) + 0.1
    x = memory[10:22].reshape(3, 4)
    out = memory[10 + offset : 22 + offset].reshape(3, 4)[:: -1 if backwards else 1]
    targets = memory[22:34].reshape(3, 4) if targets_too else np.full((3, 4), 0.25)
    before = memory.copy()
    plain = loss.value_and_grad(x.copy(), targets.copy())
    same = offset == 0 and not backwards
    wrong = (not same and abs(offset) < 12) or (targets_too and offset > 0)
    if wrong:
        with pytest.raises(ValueError, match=r"^`out` must not overlap `(outputs|logits|targets)`"):
            loss.value_and_grad(x, targets, out=out)
        assert memory.tobytes() == before.tobytes()
    else:
        value, grad = loss.value_and_grad(x, targets, out=out)
        assert grad is out
        np.testing.assert_allclose(value, plain[0], rtol=1e-14)
        np.testing.assert_allclose(grad, plain[1], rtol=1e-14)


class Fickle:
    """An object whose numbers change with each conversion."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def __array__(self, dtype=None, copy=None):
        return self.arrays.pop(0) if len(self.arrays) > 1 else self.arrays[0]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "later", [np.array([0, 1, 2, 3]), np.array([9, 9, 9]), np.ones((3, 5)), np.ones(3), np.array(0)], ids=str
)
def test_changing_targets(name, later):
    """Targets that change between conversions give an error or a result, never a crash."""
    right = np.array([0, 1, 2]) if name not in ("MSE", "MAE") else np.ones((3, 4))
    for ask in (LOSSES[name]().value_and_grad, LOSSES[name]()):
        try:
            ask(np.full((3, 4), 0.25), Fickle(right, later), sample_weight=[1, 2, 3])
        except (TypeError, ValueError) as error:
            assert str(error).startswith("`")  # noqa: PT017 - of some values only


# ---- metrics: targets that NumPy would broadcast ----


@pytest.mark.parametrize(
    "metric",
    [metrics.accuracy, metrics.nll, metrics.brier, metrics.top_k(2), metrics.expected_calibration_error()],
)
@pytest.mark.parametrize("shape", [(2, 1), (2, 2), (2, 0), (2, 3, 1), (2, 1, 3)])
def test_metrics_do_not_broadcast(metric, shape):
    """Targets of another shape than the outputs are an error, also where they would be broadcast."""
    with pytest.raises(ValueError, match=r"^`targets` must have shape \(2, 3\), got "):
        metric(np.full((2, 3), 1 / 3), np.ones(shape))


# ---- optimizers ----

OPTIMIZERS = {
    "SGD": lambda: optim.SGD(0.1),
    "momentum": lambda: optim.SGD(0.1, momentum=0.9, nesterov=True),
    "RMSprop": lambda: optim.RMSprop(0.1, momentum=0.5),
    "Adam": lambda: optim.Adam(0.1),
    "AdamW": lambda: optim.AdamW(0.1, weight_decay=0.1, decay_biases=False),
}


MEMORY = np.ones(12)
WRONG = {
    "the same": (MEMORY, MEMORY, ValueError, "`grads` must not overlap `params`"),
    "shifted": (MEMORY[:8], MEMORY[4:], ValueError, "`grads` must not overlap `params`"),
    "read-only": (lay_out(np.ones(4), "read-only"), np.ones(4), ValueError, "`params` must be writeable"),
    "subclass": (np.ones(4).view(Sub), np.ones(4), TypeError, "`params` must be an ordinary array, got Sub"),
    "masked": (np.ma.ones(4), np.ones(4), TypeError, "`params` must be an ordinary array, got MaskedArray"),
    "misaligned": (
        np.ones(33, np.uint8)[1:].view(float), np.ones(4), ValueError, "`params` must be aligned in memory",
    ),
    "byte-swapped": (np.ones(4, ">f8"), np.ones(4, ">f8"), TypeError, "`params` must be an array of float32"),
    "strided": (np.ones(8)[::2], np.ones(4), ValueError, "`params` must be flat and contiguous"),
    "repeated": (as_strided(np.ones(1), (4,), (0,)), np.ones(4), ValueError, "`params` must be flat"),
    "lists": ([1.0], [1.0], TypeError, "`params` must be an array of float32"),
}  # fmt: skip


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arrays_of_optimizers(make, wrong):
    """Unusable arrays are refused, and neither they nor the optimizer change."""
    params, grads, error, message = WRONG[wrong]
    optimizer, before = make(), copy.deepcopy(params)
    with pytest.raises(error, match=f"^{message}"):
        optimizer.step(params, grads, decayed=0)
    assert optimizer.steps == 0
    assert np.array_equal(params, before)


@pytest.mark.parametrize("value", [-1, 5, 1.5, "2", True, None, 2**70, np.array([1, 2])])
def test_wrong_number_of_decayed(value):
    """A wrong number of decayed parameters is refused, and nothing changes."""
    optimizer, params = OPTIMIZERS["AdamW"](), np.ones(4)
    with pytest.raises((TypeError, ValueError), match=r"^`decayed` must be "):
        optimizer.step(params, np.ones(4), decayed=value)
    assert (params == 1).all()


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("steps", [-1, 2**62, 10**400, 1.5, None, "1", True])
def test_wrong_steps_to_restore(make, steps):
    """An impossible number of steps is refused, and the optimizer is unchanged."""
    optimizer, params = make(), np.ones(4)
    optimizer.step(params, np.ones(4), decayed=2)
    with pytest.raises((TypeError, ValueError), match=r"^`steps` must be an integer"):
        optimizer.restore(steps, dict(optimizer.state))
    assert optimizer.steps == 1


def test_schedules_after_many_steps():
    """Schedules give at least 0 at any step, or infinity, which optimizers refuse."""
    schedules = optim.schedules
    for rate in (
        schedules.constant(0.1), schedules.step(0.1, 1, 10.0), schedules.step(0.1, 2),
        schedules.cosine(1e308, 10**400), schedules.warmup_cosine(0.1, 10**400, 10**399),
        schedules.one_cycle(0.1, 10**400),
    ):  # fmt: skip
        for step in (0, 1, 10**3, 2**63, 10**400):
            assert rate(step) >= 0
    optimizer, params = optim.SGD(schedules.step(0.1, 1, 10.0)), np.ones(1)
    optimizer.restore(400, {})
    with pytest.raises(ValueError, match=r"^`lr` must be finite and at least 0, got inf"):
        optimizer.step(params, np.ones(1))
    assert params[0] == 1


# ---- training ----


@pytest.mark.parametrize(
    "strange", [name for name in STRANGE if name not in ("bool", "no rows, huge stride")]
)
def test_fit_with_strange_arrays(strange):
    """Training on unusual arrays gives the bits of plain copies."""
    value = STRANGE[strange]()
    plain = np.array(np.asarray(value), order="C", dtype=np.asarray(value).dtype.newbyteorder("="))
    labels = np.arange(len(plain)) % N
    results = []
    for x, y in ((value, labels.astype(">i2")), (plain, labels)):
        model = nn.MLP([N, 5, N], dtype="float64", rng=0)
        fastsm.fit(model, x, y, epochs=2, batch_size=2, rng=0, sample_weight=np.ones(len(plain), ">f4"))
        results.append(model.params)
    np.testing.assert_array_equal(*results)
