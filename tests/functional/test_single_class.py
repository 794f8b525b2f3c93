"""A softmax over an axis of length 1 beside a longer one warns, at the line of the call; nothing else."""

import re
import warnings

import numpy as np
import pytest

import fastsm
from fastsm import nn, optim
from fastsm.training import metrics

pytestmark = pytest.mark.filterwarnings("error")
COLUMN = np.array([[1.0], [2.0], [3.0]])
WARNS = {
    "softmax": lambda: fastsm.softmax(COLUMN),
    "softmax of a row": lambda: fastsm.softmax(COLUMN.T, axis=0),
    "softmax of a list": lambda: fastsm.softmax([[1], [2]]),
    "softmax in float16": lambda: fastsm.softmax(COLUMN.astype(np.float16)),
    "softmax, three axes": lambda: fastsm.softmax(np.ones((2, 1, 3)), axis=1),
    "log_softmax": lambda: fastsm.log_softmax(COLUMN, temperature=2.0),
    "softmax_vjp": lambda: fastsm.softmax_vjp(COLUMN, COLUMN),
    "log_softmax_vjp": lambda: fastsm.log_softmax_vjp(COLUMN, COLUMN),
    "cross_entropy": lambda: fastsm.cross_entropy(COLUMN, [0, 0, 0]),
    "cross_entropy_with_grad": lambda: fastsm.cross_entropy_with_grad(COLUMN, COLUMN, label_smoothing=0.1),
    "softmax_jacobian": lambda: fastsm.softmax_jacobian(COLUMN),
    "linear_cross_entropy": lambda: fastsm.linear_cross_entropy(COLUMN, [[1.0]], [0, 0, 0]),
    "a layer": lambda: nn.Softmax()(COLUMN),
    "a loss": lambda: nn.CrossEntropyLoss()(COLUMN, [0, 0, 0]),
    "a model with a loss": lambda: nn.value_and_grad(
        nn.MLP([1, 1]), nn.CrossEntropyLoss(), COLUMN, np.zeros(3, int)
    ),
    "fit": lambda: fastsm.fit(nn.MLP([1, 1]), COLUMN, np.zeros(3, int), metrics=[], epochs=1),
}


@pytest.mark.parametrize("name", WARNS)
def test_warns_at_the_call(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        WARNS[name]()
    assert {(w.category, w.filename) for w in caught} == {(fastsm.SingleClassWarning, __file__)}
    cure = "axis=1 if samples are rows" if "of a row" in name else "axis=0 if samples are columns"
    assert re.search(f"pass {cure}; for one output use a sigmoid", str(caught[0].message))


def test_once_for_each_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for rows in (3, 2, 4, 3):
            fastsm.softmax(np.ones((rows, 1)))
    assert len(caught) == 1


def test_results_stay():
    with warnings.catch_warnings(action="ignore", category=fastsm.SingleClassWarning):
        np.testing.assert_array_equal(fastsm.softmax(COLUMN), np.ones((3, 1)))
        np.testing.assert_array_equal(fastsm.softmax_vjp(np.ones((3, 1)), COLUMN), np.zeros((3, 1)))
        assert fastsm.cross_entropy(COLUMN, [0, 0, 0]) == 0


def test_silent_elsewhere():
    """Where there is more than one class, only one number, none at all, or where one class is no softmax."""
    fastsm.softmax(COLUMN, axis=0)
    fastsm.softmax([3.0])
    fastsm.softmax(3.0)
    fastsm.softmax(np.ones((1, 1)))
    fastsm.softmax(np.ones((0, 1)))
    fastsm.logsumexp(COLUMN)
    model = nn.MLP([1, 4, 1], rng=0)
    fastsm.fit(model, COLUMN, COLUMN, loss=nn.MSELoss(), metrics=[], optimizer=optim.SGD(0.01), epochs=1)
    nn.Sequential(nn.Linear(1, 1), nn.Sigmoid())(COLUMN)
    assert metrics.accuracy([[1.0, 0.0]], [0]) == 1
