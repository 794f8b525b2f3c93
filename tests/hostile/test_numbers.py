"""Every public function with one wrong argument: documented errors only, and nothing is changed.

The product of a table of right calls and a list of hostile values: all of it on demand (FASTSM_FUZZ), a
part in the ordinary tests.
"""

import decimal
import fractions
import random

import numpy as np
import pytest
from campaign import ASKED, campaign
from hypothesis import given
from hypothesis import strategies as st

import fastsm
from fastsm import nn, optim, testing, training
from fastsm.optim import schedules
from fastsm.training import metrics


class Index:
    def __index__(self):
        return 1


class WrongIndex:
    def __index__(self):
        return 1.5


class Float(float):
    """An object that converts to a float."""


class NoRepr:
    def __repr__(self):
        raise RuntimeError("no text either")


VALUES = [
    None, True, False, 0, -1, 1, 2, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**400,
    10**5000, -(2**70), 0.0, -0.0, 0.5, -1.5, np.nan, np.inf, -np.inf, 5e-324, 1e300,
    Float(0.5), "a", "", "mean", "probs", b"x", 1j,
    decimal.Decimal(1), fractions.Fraction(1, 2), object(), object, NoRepr(), Index(), WrongIndex(),
    len, [], (), {}, [1], (0.9,), (0.9, 0.99, 3), {1: 2}, set(), range(2), slice(1), Ellipsis,
    NotImplemented,
    np.float32(0.5), np.float16(1), np.int8(1), np.uint64(2**63), np.bool_(True), np.longdouble(1),
    np.datetime64("NaT", "s"), np.array(1), np.array(1.0), np.array([1, 2]), np.zeros((2, 3)),
    np.zeros((0, 3)), np.zeros((2, 0)), np.zeros((2, 3, 4)), np.zeros((2, 3), object),
    np.zeros(2, [("a", float)]), np.ma.zeros((2, 3)), np.zeros((2, 3), ">f4"), np.array(["a", "b"]),
    np.array([np.nan, 1]),
    np.array([2**63, 1]),
    np.array([-1, 5]), memoryview(b"ab"), [[1, 2], [3]],
]  # fmt: skip
# Sizes that would be honoured: their need of memory depends on the machine.
LARGE = [v for v in VALUES if isinstance(v, (int, np.uint64)) and v > 1000]


def x():
    return np.arange(6.0).reshape(2, 3)


PROBS = np.full((2, 3), 1 / 3)
LABELS = np.array([0, 2])


def model():
    return nn.Sequential(nn.Linear(3, 4, rng=0), nn.Tanh(), nn.Linear(4, 3, rng=1), dtype="float64", rng=0)


def ran(layer):
    """Return a layer or a model after a forward pass."""
    layer.forward(x())
    return layer


def step_of(make):
    """Return a function that makes an optimizer and does a step."""

    def use(*positional, **options):
        optimizer, params = make(*positional, **options), np.ones(4)
        optimizer.step(params, np.ones(4), decayed=2)
        return repr(optimizer), params

    return use


def rate_of(make):
    """Return a function that makes a schedule and returns a rate."""

    def use(at=3, **options):
        rate = make(**options)(at)
        if not rate >= 0:
            raise ValueError("`rate` must be at least 0")
        return rate

    return use


def checked(**options):
    return testing.check_grads(nn.CrossEntropyLoss(), x(), LABELS, **options)


SOFTMAX = {"axis": -1, "temperature": 1.0, "out": None, "num_threads": None}
CROSS_ENTROPY = {
    "axis": -1, "class_weight": None, "sample_weight": None, "ignore_index": None, "label_smoothing": 0.0,
    "temperature": 1.0, "reduction": "mean", "num_threads": None,
}  # fmt: skip
DECAY = {"weight_decay": 0.1, "decay_biases": True}
FIT = {
    "loss": None, "optimizer": None, "batch_size": 2, "sample_weight": None, "validation_data": None,
    "metrics": ("accuracy",), "callbacks": (), "clip_norm": None, "rng": 0, "num_threads": None,
    "shuffle": True,
}  # fmt: skip

# name: (function, positional arguments, options): calls that are right
CALLS = {
    "softmax": (fastsm.softmax, [x()], {**SOFTMAX, "where": None}),
    "log_softmax": (fastsm.log_softmax, [x()], {**SOFTMAX, "where": None}),
    "logsumexp": (
        fastsm.logsumexp,
        [x()],
        {"axis": -1, "where": None, "keepdims": False, "out": None, "num_threads": None},
    ),
    "softmax_vjp": (fastsm.softmax_vjp, [PROBS, x()], SOFTMAX),
    "log_softmax_vjp": (fastsm.log_softmax_vjp, [-PROBS, x()], SOFTMAX),
    "softmax_jacobian": (fastsm.softmax_jacobian, [PROBS], {}),
    "cross_entropy": (fastsm.cross_entropy, [x(), LABELS], CROSS_ENTROPY),
    "cross_entropy_with_grad": (
        fastsm.cross_entropy_with_grad,
        [x(), LABELS],
        {**CROSS_ENTROPY, "out": None},
    ),
    "Linear": (nn.Linear, [3, 2], {"bias": True, "init": "ones", "rng": None}),
    "LeakyReLU": (nn.LeakyReLU, [0.1], {}),
    "Softmax": (nn.Softmax, [1.0], {}),
    "LogSoftmax": (nn.LogSoftmax, [1.0], {}),
    "Dropout": (nn.Dropout, [0.5], {"rng": None}),
    "LayerNorm": (nn.LayerNorm, [3], {"epsilon": 1e-5}),
    "Sequential": (nn.Sequential, [nn.ReLU()], {"dtype": "float32", "rng": 0}),
    "MLP": (
        nn.MLP,
        [[3, 4, 2]],
        {
            "activation": "relu",
            "dropout": 0.0,
            "layer_norm": False,
            "head": None,
            "init": None,
            "dtype": "float32",
            "rng": 0,
        },
    ),
    "forward": (lambda v, t: model().forward(v, training=t), [x(), True], {}),
    "inference": (lambda v: model()(v), [x()], {}),
    "backward": (lambda v, g: ran(model()).backward(v, input_grad=g), [x(), True], {}),
    "astype": (lambda v: model().astype(v), ["float32"], {}),
    "layer": (lambda v: nn.Linear(3, 2, rng=0).forward(v), [x()], {}),
    "layer backward": (lambda v, g: ran(nn.GELU()).backward(v, g), [x(), True], {}),
    "dropout": (lambda v, t: nn.Dropout(rng=0).forward(v, training=t), [x(), True], {}),
    "dropout state": (lambda s: nn.Dropout().set_state(s), [{"seed": 1, "count": 2}], {}),
    "dropout at": (
        lambda s, c: [
            f(nn.Dropout()) for f in [lambda d: (d.set_state({"seed": s, "count": c}), d.forward(x(), True))]
        ],
        [1, 2**64 - 1],
        {},
    ),
    "value_and_grad": (
        nn.value_and_grad,
        [model(), nn.CrossEntropyLoss(), x(), LABELS],
        {"sample_weight": None, "input_grad": False},
    ),
    "CrossEntropyLoss": (
        lambda **o: nn.CrossEntropyLoss(**o).value_and_grad(x(), LABELS),
        [],
        {
            "on": "logits",
            "class_weight": None,
            "ignore_index": None,
            "label_smoothing": 0.0,
            "temperature": 1.0,
        },
    ),
    "NLLLoss": (
        lambda **o: nn.NLLLoss(**o)(-PROBS, LABELS),
        [],
        {"class_weight": None, "ignore_index": None},
    ),
    "FocalLoss": (
        lambda **o: nn.FocalLoss(**o).value_and_grad(x(), LABELS),
        [],
        {"gamma": 2.0, "on": "logits", "class_weight": None, "ignore_index": None},
    ),
    "KLDivLoss": (nn.KLDivLoss, [], {"on": "probs"}),
    "user loss": (lambda f, on: nn.loss(f, on=on), [len, "probs"], {}),
    "what it returns": (
        lambda v, g: nn.loss(lambda a, y: (v, g), on="output").value_and_grad(x(), LABELS),
        [np.ones(2), x()],
        {},
    ),
    **{
        f"{name} on arrays": (
            lambda a, y, w, o, make=make: make().value_and_grad(a, y, sample_weight=w, out=o),
            [
                PROBS,
                LABELS if name in ("CrossEntropyLoss", "NLLLoss", "BrierLoss", "FocalLoss") else PROBS,
                None,
                None,
            ],
            {},
        )
        for name in (
            "CrossEntropyLoss",
            "NLLLoss",
            "BrierLoss",
            "FocalLoss",
            "MSELoss",
            "MAELoss",
            "KLDivLoss",
        )
        for make in [getattr(nn, name)]
    },
    "SGD": (step_of(optim.SGD), [0.1], {"momentum": 0.5, "nesterov": False, **DECAY}),
    "RMSprop": (step_of(optim.RMSprop), [0.1], {"decay": 0.9, "momentum": 0.0, "epsilon": 1e-8, **DECAY}),
    "Adam": (step_of(optim.Adam), [0.1], {"betas": (0.9, 0.99), "epsilon": 1e-8, **DECAY}),
    "AdamW": (step_of(optim.AdamW), [0.1], {"betas": (0.9, 0.99), "epsilon": 1e-8, **DECAY}),
    "step": (
        lambda w, g, **o: optim.AdamW(0.1, weight_decay=0.1, decay_biases=False).step(w, g, **o),
        [np.ones(4), np.ones(4)],
        {"decayed": 2, "scale": 1.0},
    ),
    "restore": (lambda s, d: optim.Adam().restore(s, d), [0, {}], {}),
    "restored array": (lambda a: optim.SGD(0.1, momentum=0.5).restore(1, {"velocity": a}), [np.ones(4)], {}),
    "constant": (rate_of(schedules.constant), [], {"lr": 0.1, "at": 3}),
    "steps": (rate_of(schedules.step), [], {"lr": 0.1, "every": 2, "factor": 0.1, "at": 3}),
    "cosine": (rate_of(schedules.cosine), [], {"lr": 0.1, "steps": 10, "final": 0.0, "at": 3}),
    "warmup_cosine": (
        rate_of(schedules.warmup_cosine),
        [],
        {"lr": 0.1, "steps": 10, "warmup": 2, "final": 0.0, "at": 3},
    ),
    "one_cycle": (
        rate_of(schedules.one_cycle),
        [],
        {"lr": 0.1, "steps": 10, "warmup": 0.3, "start_factor": 25.0, "final_factor": 1e4, "at": 3},
    ),
    "fit": (
        lambda a, b, **o: fastsm.fit(model(), a, b, epochs=1, **o),
        [np.ones((5, 3)), np.zeros(5, int)],
        FIT,
    ),
    "fit a model": (lambda m: fastsm.fit(m, x(), LABELS, epochs=1), [model()], {}),
    "resume": (lambda path: fastsm.fit(model(), x(), LABELS, resume_from=path, epochs=1), [None], {}),
    "validation": (
        lambda *data: fastsm.fit(model(), x(), LABELS, validation_data=data, epochs=1),
        [x(), LABELS, np.ones(2)],
        {},
    ),
    "evaluate": (
        lambda a, b, **o: training.evaluate(model(), a, b, **o),
        [x(), LABELS],
        {"loss": None, "metrics": ("accuracy",), "sample_weight": None, "batch_size": 2},
    ),
    **{
        f"metric {metric.name}": (metric, [PROBS, LABELS], {"sample_weight": None, "on": "probs"})
        for metric in (
            metrics.accuracy,
            metrics.nll,
            metrics.brier,
            metrics.expected_calibration_error(),
            metrics.top_k(2),
        )
    },
    "top_k": (lambda k: metrics.top_k(k)(PROBS, LABELS), [2], {}),
    "bins": (lambda n: metrics.expected_calibration_error(n)(PROBS, LABELS), [2], {}),
    "Metric": (
        lambda **o: metrics.Metric(lambda a, y: np.ones(2), **o)(PROBS, LABELS),
        [],
        {"name": "one", "takes": "output", "finish": float, "larger_is_better": None},
    ),
    "check_grads": (
        checked,
        [],
        {"sample_weight": None, "mode": "full", "directions": 4, "tolerance": 1e-5, "rng": 0},
    ),
    "check_grads of arrays": (
        lambda a, b: testing.check_grads(nn.CrossEntropyLoss(), a, b),
        [x(), LABELS],
        {},
    ),
    "check_grads of a layer": (lambda a: testing.check_grads(nn.Tanh(), a), [x()], {}),
    "check_grads of": (lambda f: testing.check_grads(f, x()), [nn.ReLU()], {}),
}

PLACES = [
    (name, place)
    for name, (_, positional, options) in CALLS.items()
    for place in [*range(len(positional)), *options]
]
#: Calls of user functions, whose errors are passed on.
OWN = {("Linear", "init"), ("MLP", "init"), ("MLP", "activation"), ("MLP", "head"), ("Metric", "finish")}
#: Arguments that are counts, which take memory or time.
SIZES = {("Linear", 0), ("Linear", 1), ("LayerNorm", 0), ("MLP", 0), ("bins", 0)}


def with_one_wrong(name, place, value):
    """Call a function with one argument replaced; return its arrays before and after."""
    function, positional, options = CALLS[name]
    positional = [np.copy(a) if isinstance(a, np.ndarray) else a for a in positional]
    before = [np.copy(a) if isinstance(a, np.ndarray) else None for a in positional]
    options = dict(options)
    if isinstance(place, int):
        positional[place] = before[place] = value
    else:
        options[place] = value
    documented = (TypeError, ValueError, testing.GradientError, fastsm.TrainingDiverged, FileNotFoundError)
    try:
        function(*positional, **options)
    except documented as error:  # whether there is one depends on the value
        text = str(error)
        assert "sys.set_int_max_str_digits" not in text
        assert len(text) < 2000
        for array, old in zip(positional, before, strict=True):
            if isinstance(old, np.ndarray) and array is not value:
                assert np.array_equal(array, old), f"{name} wrote to an argument, and raised {error!r}"  # noqa: PT017 - of some values only
        return error
    return None


@pytest.mark.parametrize("name", CALLS)
def test_right(name):
    """The calls of the table succeed."""
    function, positional, options = CALLS[name]
    function(*[np.copy(a) if isinstance(a, np.ndarray) else a for a in positional], **options)


@pytest.mark.filterwarnings("ignore:Setting an item:DeprecationWarning")
@pytest.mark.parametrize(("name", "place"), PLACES, ids=lambda value: str(value))
def test_wrong(name, place):
    """Any value in any argument gives a result, or a documented error with unchanged arrays."""
    values = VALUES if ASKED else random.Random(f"{name} {place}").sample(VALUES, 16)
    for value in values:
        if (name, place) in SIZES and any(value is large for large in LARGE):
            continue
        if (name, place) in OWN and callable(value):
            continue
        if (name, place) == ("resume", 0) and isinstance(value, (str, type(None))):
            continue
        with_one_wrong(name, place, value)


def test_huge_numbers_of_threads():
    """Any number of threads is accepted."""
    before = fastsm.get_num_threads()
    large = np.ones((2000, 200), np.float32)
    try:
        for number in (10**3, 2**31, 2**63, 2**64, 10**400):
            fastsm.set_num_threads(number)
            assert fastsm.get_num_threads() == number
            assert (fastsm.softmax(large) == fastsm.softmax(large, num_threads=number)).all()
            fastsm.fit(model(), np.ones((5, 3)), np.zeros(5, int), epochs=1, num_threads=number)
    finally:
        fastsm.set_num_threads(before)


# ---- weights beyond what float32 holds ----

EXPONENTS = st.integers(-1000, 1000)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("argument", ["class_weight", "sample_weight"])
@campaign(40)
@given(
    exponent=EXPONENTS, spread=st.integers(0, 4), zero=st.booleans(), smoothing=st.sampled_from([0.0, 0.25])
)
def test_mean_with_extreme_weights(dtype, argument, exponent, spread, zero, smoothing):
    """The mean does not depend on the scale of the weights, from 1e-300 to 1e300."""
    rng = np.random.default_rng(spread)
    logits, labels = rng.standard_normal((6, 3)).astype(dtype), np.arange(6) % 3
    weights = rng.random(3 if argument == "class_weight" else 6) * 2.0 ** -(
        spread * np.arange(3 if argument == "class_weight" else 6)
    )
    weights[0] = 0.0 if zero else weights[0]
    options = {"label_smoothing": smoothing}
    loss, grad = fastsm.cross_entropy_with_grad(logits, labels, **{argument: weights}, **options)
    scaled = {argument: np.ldexp(weights, exponent)}
    other, its_grad = fastsm.cross_entropy_with_grad(logits, labels, **scaled, **options)
    np.testing.assert_allclose(np.float64(other), np.float64(loss), rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(its_grad.astype(float), grad.astype(float), atol=4 * np.finfo(dtype).eps)
