"""Optimizers: against formulas in plain NumPy, against PyTorch where it is installed, and wrong arguments."""

import numpy as np
import pytest
from checks import raises
from optimizers import adam, adamw, rmsprop, several, sgd

from fastsm import optim

# What a kernel may differ by from the same formula in NumPy after a few steps: some roundings each.
TOLERANCE = {"float32": 2e-5, "float64": 1e-13}


CASES = [
    (optim.SGD, sgd, {}),
    (optim.SGD, sgd, {"weight_decay": 0.1}),
    (optim.SGD, sgd, {"momentum": 0.9}),
    (optim.SGD, sgd, {"momentum": 0.9, "nesterov": True}),
    (optim.SGD, sgd, {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {}),
    (optim.RMSprop, rmsprop, {"decay": 0.9, "momentum": 0.9, "weight_decay": 0.1, "epsilon": 1e-3}),
    (optim.Adam, adam, {}),
    (optim.Adam, adam, {"betas": (0.5, 0.9), "epsilon": 1e-3, "weight_decay": 0.1}),
    (optim.Adam, adam, {"betas": (0.0, 0.0)}),
    (optim.AdamW, adamw, {}),
    (optim.AdamW, adamw, {"weight_decay": 0.3, "betas": (0.8, 0.95)}),
]
IDS = [f"{kind.__name__}-{'-'.join(options) or 'plain'}" for kind, _, options in CASES]


def problem(size, dtype, steps=7):
    rng = np.random.default_rng(size)
    w = rng.standard_normal(size)
    return w.astype(dtype), [rng.standard_normal(size).astype(dtype) for _ in range(steps)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kind", "formula", "options"), CASES, ids=IDS)
def test_formula(kind, formula, options, dtype):
    for size in (0, 1, 17, 200):
        start, gradients = problem(size, dtype)
        w, optimizer = start.copy(), kind(0.05, **options)
        for g in gradients:
            kept = g.copy()
            optimizer.step(w, g)
            np.testing.assert_array_equal(g, kept)
        wide = [g.astype(np.float64) for g in gradients]
        expected = several(formula, start.astype(np.float64), wide, lr=0.05, **options)
        np.testing.assert_allclose(w, expected, TOLERANCE[dtype], TOLERANCE[dtype])
        assert optimizer.steps == len(gradients)


@pytest.mark.parametrize(("kind", "formula", "options"), CASES, ids=IDS)
def test_torch(kind, formula, options):
    torch = pytest.importorskip("torch")
    start, gradients = problem(50, "float64")
    names = {"epsilon": "eps", "decay": "alpha"}
    w, theirs = start.copy(), torch.nn.Parameter(torch.from_numpy(start.copy()))
    mine = kind(0.05, **options)
    other = getattr(torch.optim, kind.__name__)(
        [theirs], lr=0.05, **{names.get(k, k): v for k, v in options.items()}
    )
    for g in gradients:
        mine.step(w, g)
        theirs.grad = torch.from_numpy(g)
        other.step()
    np.testing.assert_allclose(w, theirs.detach().numpy(), 1e-13, 1e-13)


@pytest.mark.parametrize(("kind", "formula", "options"), CASES, ids=IDS)
def test_scale_comes_first(kind, formula, options):
    start, gradients = problem(30, "float64")
    w, scaled = start.copy(), start.copy()
    one, two = kind(0.05, **options), kind(0.05, **options)
    for g in gradients:
        one.step(w, g, scale=0.25)
        two.step(scaled, g * 0.25)
    np.testing.assert_allclose(w, scaled, 1e-14, 1e-14)


@pytest.mark.parametrize("decayed", [0, 11, 30])
@pytest.mark.parametrize(("kind", "formula", "options"), CASES, ids=IDS)
def test_decay_without_biases(kind, formula, options, decayed):
    start, gradients = problem(30, "float64")
    w = start.copy()
    optimizer = kind(0.05, decay_biases=False, **options)
    for g in gradients:
        optimizer.step(w, g, decayed=decayed)
    weights = several(formula, start[:decayed], [g[:decayed] for g in gradients], lr=0.05, **options)
    options = options | {"weight_decay": 0.0}
    biases = several(formula, start[decayed:], [g[decayed:] for g in gradients], lr=0.05, **options)
    np.testing.assert_allclose(w, np.concatenate([weights, biases]), 1e-13, 1e-13)


@pytest.mark.parametrize(("kind", "formula", "options"), CASES, ids=IDS)
def test_restored_state(kind, formula, options):
    start, gradients = problem(30, "float32")
    one, two = kind(0.05, **options), kind(0.05, **options)
    w = start.copy()
    for g in gradients[:3]:
        one.step(w, g)
    again = w.copy()
    two.restore(one.steps, one.state)
    for g in gradients[3:]:
        one.step(w, g)
        two.step(again, g)
    np.testing.assert_array_equal(w, again)
    # They share nothing.
    assert not any(np.may_share_memory(one.state[name], two.state[name]) for name in one.state)


def test_quadratic():
    for kind, _, options in CASES:
        w = np.array([3.0, -2.0, 1.0])
        optimizer = kind(optim.schedules.cosine(0.1, 400), **{**options, "weight_decay": 0.0})
        for _ in range(400):
            optimizer.step(w, 2 * w)
        assert abs(w).max() < 1e-2, optimizer


def test_steps_of_schedules():
    seen = []

    def schedule(step):
        seen.append(step)
        return 0.5**step

    w = np.zeros(1)
    optimizer = optim.SGD(schedule)
    for _ in range(3):
        optimizer.step(w, np.ones(1))
    assert seen == [0, 1, 2]
    assert w[0] == -(1 + 0.5 + 0.25)
    assert optimizer.learning_rate == 0.125


def test_changed_learning_rate():
    w, optimizer = np.zeros(1), optim.SGD(1)
    optimizer.step(w, np.ones(1))
    optimizer.lr = 0.5
    optimizer.step(w, np.ones(1))
    assert w[0] == -1.5
    with pytest.raises(ValueError, match=r"`lr` must be finite and at least 0, got -1"):
        optimizer.lr = -1


def test_names_of_states():
    w = np.zeros(3)
    expected = {
        optim.SGD(1.0): [],
        optim.SGD(1.0, momentum=0.5): ["velocity"],
        optim.RMSprop(): ["square"],
        optim.RMSprop(momentum=0.5): ["square", "velocity"],
        optim.Adam(): ["mean", "square"],
        optim.AdamW(): ["mean", "square"],
    }
    for optimizer, names in expected.items():
        assert optimizer.state == {}
        optimizer.step(w, np.ones(3))
        assert list(optimizer.state) == names
        assert all(array.shape == w.shape and array.dtype == w.dtype for array in optimizer.state.values())


def test_repr():
    text = repr(optim.Adam(optim.schedules.cosine(0.1, 5), weight_decay=0.5))
    assert text == (
        "Adam(lr=cosine(lr=0.1, steps=5, final=0.0), betas=(0.9, 0.999), epsilon=1e-08, weight_decay=0.5,"
        " decay_biases=True)"
    )
    assert repr(eval(text, {"Adam": optim.Adam, "cosine": optim.schedules.cosine})) == text


def test_user_optimizer():
    class SignSGD(optim.Optimizer):
        def __init__(self, lr):
            super().__init__(lr, 0.0, True)

        def state_names(self):
            return ()

        def update(self, params, grads, *, rate, decay, scale):
            params -= rate * np.sign(grads)

    w = np.array([1.0, -1.0])
    SignSGD(0.25).step(w, np.array([5.0, -0.1]))
    np.testing.assert_array_equal(w, [0.75, -0.75])


NUMBER = "must be a number, got"
WRONG = [
    (lambda: optim.SGD("1"), TypeError, f"`lr` {NUMBER} '1'"),
    (lambda: optim.SGD(None), TypeError, f"`lr` {NUMBER} None"),
    (lambda: optim.SGD(-1), ValueError, "`lr` must be finite and at least 0, got -1"),
    (lambda: optim.SGD(np.nan), ValueError, "`lr` must be finite and at least 0, got nan"),
    (lambda: optim.SGD(np.inf), ValueError, "`lr` must be finite and at least 0, got inf"),
    (lambda: optim.SGD(1, momentum=1.0), ValueError, "`momentum` must be at least 0 and below 1, got 1.0"),
    (lambda: optim.SGD(1, momentum="a"), TypeError, f"`momentum` {NUMBER} 'a'"),
    (lambda: optim.SGD(1, nesterov=True), ValueError, "`momentum` must be above 0 with nesterov=True, got 0"),
    (lambda: optim.SGD(1, momentum=0.9, nesterov=1), TypeError, "`nesterov` must be True or False, got 1"),
    (
        lambda: optim.SGD(1, weight_decay=-1),
        ValueError,
        "`weight_decay` must be finite and at least 0, got -1",
    ),
    (lambda: optim.SGD(1, decay_biases=0), TypeError, "`decay_biases` must be True or False, got 0"),
    (lambda: optim.RMSprop(decay=1), ValueError, "`decay` must be at least 0 and below 1, got 1"),
    (lambda: optim.RMSprop(epsilon=0), ValueError, "`epsilon` must be finite and above 0, got 0"),
    (lambda: optim.Adam(betas=0.9), TypeError, "`betas` must be two numbers, got 0.9"),
    (lambda: optim.Adam(betas=(0.9,)), ValueError, "`betas` must be two numbers, got 1"),
    (lambda: optim.Adam(betas=(0.9, 1)), ValueError, "`betas[1]` must be at least 0 and below 1, got 1"),
    (lambda: optim.Adam(epsilon=-1), ValueError, "`epsilon` must be finite and above 0, got -1"),
]


@pytest.mark.parametrize(("make", "error", "message"), WRONG, ids=[m for _, _, m in WRONG])
def test_wrong_arguments(make, error, message):
    with raises(error, message):
        make()


def test_wrong_arrays():
    good = np.zeros(4)
    steps = [
        ([0.0], good, TypeError, "`params` must be an array of float32 or float64, got list"),
        (good, np.zeros(4, int), TypeError, "`grads` must be an array of float32 or float64, got int64"),
        (np.zeros((2, 2)), good, ValueError, "`params` must be flat and contiguous, got shape (2, 2)"),
        (np.zeros(8)[::2], good, ValueError, "`params` must be flat and contiguous, got shape (4,)"),
        (good, np.zeros(3), ValueError, "`grads` must be like `params`, float64(4,), got float64(3,)"),
        (good, np.zeros(4, "f"), ValueError, "`grads` must be like `params`, float64(4,), got float32(4,)"),
    ]
    for params, grads, error, message in steps:
        optimizer = optim.Adam()
        with raises(error, message):
            optimizer.step(params, grads)
        assert optimizer.steps == 0
    optimizer = optim.Adam()
    optimizer.step(good, good.copy())
    with pytest.raises(ValueError, match="`params` must be like those of the previous steps"):
        optimizer.step(np.zeros(5), np.zeros(5))
    with pytest.raises(ValueError, match="`decayed` must be given with decay_biases=False"):
        optim.AdamW(decay_biases=False).step(good, good.copy())
    with pytest.raises(ValueError, match="`state` must hold"):
        optimizer.restore(1, {"velocity": good})


def test_wrong_results_of_schedules():
    for bad, error in ((-1.0, ValueError), (np.nan, ValueError), (None, TypeError)):
        with pytest.raises(error, match="`lr` must be"):
            optim.SGD(lambda step, bad=bad: bad).step(np.zeros(1), np.zeros(1))
