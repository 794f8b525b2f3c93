"""Schedules: the formulas, where they start and end, PyTorch where it is installed, and wrong arguments."""

import math

import numpy as np
import pytest
from checks import raises

from fastsm import optim
from fastsm.optim import schedules


def test_constant():
    assert [schedules.constant(0.3)(t) for t in (0, 1, 10**9)] == [0.3] * 3


def test_step():
    rate = schedules.step(0.8, every=10, factor=0.5)
    assert [rate(t) for t in range(40)] == [0.8 * 0.5 ** (t // 10) for t in range(40)]


def test_cosine():
    rate = schedules.cosine(0.8, 40, final=0.2)
    for t in range(41):
        assert rate(t) == pytest.approx(0.2 + 0.6 * math.cos(math.pi * t / 80) ** 2)
    assert rate(0) == 0.8
    assert rate(40) == rate(41) == rate(10**9) == pytest.approx(0.2)


def test_warmup_cosine():
    rate = schedules.warmup_cosine(0.8, 50, warmup=10, final=0.1)
    plain = schedules.cosine(0.8, 40, final=0.1)
    np.testing.assert_allclose([rate(t) for t in range(10)], 0.08 * np.arange(1, 11))
    assert [rate(10 + t) for t in range(60)] == [plain(t) for t in range(60)]
    assert schedules.warmup_cosine(0.8, 40, warmup=0, final=0.1)(0) == 0.8
    assert schedules.warmup_cosine(1e308, 40, warmup=10)(3) == pytest.approx(4e307)


def test_one_cycle():
    rate = schedules.one_cycle(1.0, 100, warmup=0.25, start_factor=10, final_factor=100)
    values = [rate(t) for t in range(100)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == values[24] == 1.0
    assert values[99] == rate(10**6) == pytest.approx(1e-3)
    assert values[:25] == sorted(values[:25])
    assert values[24:] == sorted(values[24:], reverse=True)


@pytest.mark.parametrize("steps", [2, 3, 5])
@pytest.mark.parametrize("warmup", [0.001, 0.3, 0.5, 0.999])
def test_one_cycle_of_few_steps(steps, warmup):
    values = [schedules.one_cycle(1.0, steps, warmup)(t) for t in range(steps + 2)]
    assert all(0 <= value <= 1 for value in values)
    assert values[-1] == pytest.approx(1 / 25 / 1e4)


def test_torch():
    torch = pytest.importorskip("torch")
    lr_scheduler = torch.optim.lr_scheduler

    def theirs(make):
        parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = torch.optim.SGD([parameter], lr=0.5, momentum=0.9)
        scheduler = make(optimizer)
        rates = []
        for _ in range(60):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return rates

    pairs = [
        (schedules.step(0.5, 7, 0.3), lambda o: lr_scheduler.StepLR(o, 7, 0.3)),
        (schedules.cosine(0.5, 60, 0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, 60, 0.1)),
        (schedules.one_cycle(0.5, 61), lambda o: lr_scheduler.OneCycleLR(o, 0.5, total_steps=61)),
    ]
    for mine, make in pairs:
        np.testing.assert_allclose([mine(t) for t in range(60)], theirs(make), rtol=1e-9)


def test_equality():
    assert schedules.cosine(0.1, 5) == schedules.cosine(0.1, 5)
    assert repr(schedules.step(0.1, 5)) == "step(lr=0.1, every=5, factor=0.1)"
    with pytest.raises(AttributeError):
        schedules.constant(0.1).lr = 1


WRONG = [
    (lambda: schedules.constant(-1), ValueError, "`lr` must be finite and at least 0, got -1"),
    (lambda: schedules.constant("a"), TypeError, "`lr` must be a number, got 'a'"),
    (lambda: schedules.step(1, 0), ValueError, "`every` must be an integer of at least 1, got 0"),
    (lambda: schedules.step(1, 1.5), TypeError, "`every` must be an integer of at least 1, got 1.5"),
    (lambda: schedules.step(1, True), TypeError, "`every` must be an integer of at least 1, got True"),
    (lambda: schedules.step(1, 1, -1), ValueError, "`factor` must be finite and at least 0, got -1"),
    (lambda: schedules.cosine(1, 0), ValueError, "`steps` must be an integer of at least 1, got 0"),
    (lambda: schedules.cosine(1, 1, math.inf), ValueError, "`final` must be finite and at least 0, got inf"),
    (lambda: schedules.warmup_cosine(1, 5, 5), ValueError, "`warmup` must be less than `steps`, 5, got 5"),
    (
        lambda: schedules.warmup_cosine(1, 5, -1),
        ValueError,
        "`warmup` must be an integer of at least 0, got -1",
    ),
    (lambda: schedules.one_cycle(1, 1), ValueError, "`steps` must be an integer of at least 2, got 1"),
    (lambda: schedules.one_cycle(1, 5, 1), ValueError, "`warmup` must be above 0 and below 1, got 1"),
    (
        lambda: schedules.one_cycle(1, 5, start_factor=0.5),
        ValueError,
        "`start_factor` must be finite and at least 1, got 0.5",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), WRONG, ids=[m for _, _, m in WRONG])
def test_wrong_arguments(make, error, message):
    with raises(error, message):
        make()


def test_in_an_optimizer():
    optimizer = optim.SGD(schedules.step(1.0, 2, 0.5))
    w = np.zeros(1)
    for _ in range(4):
        optimizer.step(w, np.ones(1))
    assert w[0] == -(1 + 1 + 0.5 + 0.5)


def test_huge_learning_rates():
    """Nothing overflows below the largest number."""
    assert schedules.cosine(1.7e308, 10)(0) == 1.7e308
