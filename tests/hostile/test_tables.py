"""Frames, series, sparse matrices and nested masks: read as numbers, or named in the error."""

import numpy as np
import pytest
from checks import raises

import fastsm
from fastsm import nn, optim
from fastsm.training import evaluate

REAL = "float16, bfloat16, float32, float64, an integer or bool"
Y = np.array([0, 1, 1, 0])


@pytest.fixture
def pd():
    return pytest.importorskip("pandas")


def fit(X, y=Y, loss=None, outputs=2):
    """Return the parameters after a training on these data."""
    model = nn.MLP([np.shape(X)[1], outputs], dtype="float64", rng=0)
    fastsm.fit(model, X, y, loss=loss, epochs=2, batch_size=2, optimizer=optim.Adam(0.1), rng=0)
    return model.params


def frames(pd):
    """Yield frames of numbers that NumPy makes objects or floats of, in the end all the same numbers."""
    a, b, c = [1, 2, 3, 4], [True, False, True, True], [0.5, 1.5, -1.0, 0.0]
    yield pd.DataFrame({"a": np.array(a, np.int8), "b": b, "c": c})
    yield pd.DataFrame({"a": a, "b": b, "c": c}).astype(pd.SparseDtype(float))
    yield pd.DataFrame({"a": pd.array(a, "Int64"), "b": pd.array(b, "boolean"), "c": pd.array(c, "Float64")})
    yield pd.DataFrame({"a": pd.array(a, "UInt8"), "b": np.array(b), "c": np.array(c, np.float32)})


def test_frames_of_several_types(pd):
    x = np.array([[1, 1, 0.5], [2, 0, 1.5], [3, 1, -1], [4, 1, 0]])
    model = nn.MLP([3, 2], dtype="float64", rng=0)
    for frame in frames(pd):
        np.testing.assert_array_equal(fit(frame), fit(x))
        np.testing.assert_array_equal(model(frame), model(x))
        assert evaluate(model, frame, Y) == evaluate(model, x, Y)
        np.testing.assert_array_equal(fastsm.softmax(frame.astype("Float64")), fastsm.softmax(x))


def test_nullable_targets(pd):
    x = np.random.default_rng(0).standard_normal((4, 3))
    np.testing.assert_array_equal(fit(x, pd.Series(Y, dtype="Int64")), fit(x, Y))
    expected = fit(x, Y, nn.BCELoss(), 1)
    for y in (pd.Series(Y == 1, dtype="boolean"), pd.DataFrame({"y": pd.array(Y == 1, "boolean")}), Y == 1):
        np.testing.assert_array_equal(fit(x, y, nn.BCELoss(), 1), expected)
    both = np.stack([Y, 1 - Y], axis=1)
    np.testing.assert_array_equal(fit(x, both, nn.MSELoss()), fit(x, both.astype(float), nn.MSELoss()))


def test_missing_values(pd):
    x = np.zeros((4, 1))
    advice = "fill it in, or leave the row out"
    message = f"must have no missing values, got one in row 2 of column 'age': {advice}"
    for dtype in ("Int64", "boolean", "Float64"):
        frame = pd.DataFrame({"size": [1, 2, 3, 4], "age": pd.array([1, 0, None, 1], dtype)})
        with raises(ValueError, f"`X` {message}"):
            fit(frame)
        with raises(ValueError, f"`x` {message}"):
            nn.MLP([2, 2])(frame)
        with raises(ValueError, f"`X` {message}"):
            evaluate(nn.MLP([2, 2]), frame[["age"]], Y)
        with raises(ValueError, f"`y` must have no missing values, got one in row 2: {advice}"):
            fit(x, frame["age"])


def test_columns_that_are_not_numbers(pd):
    frame = pd.DataFrame({"age": [1, 2], "city": ["Rome", "Oslo"], "day": pd.to_datetime(["2020-01-01"] * 2)})
    message = r"got object: columns that are not numbers, as 'city' \('Rome'\), 'day' \(np.datetime64"
    with pytest.raises(TypeError, match=message):
        fit(frame, Y[:2])
    objects = np.array([[1, "a"], [2, None]], object)
    with raises(
        TypeError, f"`X` must have dtype {REAL}, got object: columns that are not numbers, as 1 ('a')"
    ):
        fit(objects, Y[:2])
    with raises(TypeError, f"`X` must have dtype {REAL}, got object: give X.astype(float)"):
        fit(np.array([[1, 2.5], [3, True]], object), Y[:2])


@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix", "coo_array"])
def test_sparse_matrices(kind):
    matrix = getattr(pytest.importorskip("scipy.sparse"), kind)(np.eye(4))
    advice = "a sparse matrix: give X.toarray(), or take the estimators of fastsm.sklearn"
    with raises(TypeError, f"`X` must have dtype {REAL}, got object, {advice}"):
        fit(matrix)


@pytest.mark.filterwarnings("ignore:Warning. converting a masked element to nan")
@pytest.mark.parametrize("nest", [lambda m: [m], lambda m: [[m], [m]], lambda m: ([0.0, 1.0], (m[1], 1.0))])
def test_nested_masks(nest):
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    with pytest.raises(TypeError, match=r"^`x` must be an ordinary array, got a masked array"):
        fastsm.softmax(nest(masked))
    with pytest.raises(TypeError, match=r"^`logits` must be an ordinary array, got a masked array"):
        fastsm.cross_entropy(nest(masked), [0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.CrossEntropyLoss()(None, [0]),
            TypeError,
            f"`outputs` must have dtype {REAL}, got object",
        ),
        (
            lambda: nn.CrossEntropyLoss(class_weight="balanced"),
            TypeError,
            "`class_weight` must have shape (C,), got 'balanced': give N / (C * np.bincount(y)); the"
            " estimators of fastsm.sklearn take it",
        ),
        (
            lambda: nn.value_and_grad(nn.Linear(2, 2), nn.CrossEntropyLoss(), np.zeros((1, 2)), [0]),
            TypeError,
            "`model` must be a model, got a layer: give nn.Sequential(Linear(2, 2))",
        ),
        (
            lambda: nn.CrossEntropyLoss().total_weight("abc"),
            TypeError,
            f"`targets` must have dtype {REAL}, got <U3",
        ),
        (
            lambda: nn.CrossEntropyLoss().total_weight(1),
            ValueError,
            "`targets` must have one entry for each row, got shape ()",
        ),
        (
            lambda: optim.schedules.constant(0.1)("a"),
            TypeError,
            "`step` must be an integer of at least 0, got 'a'",
        ),
        (
            lambda: fastsm.linear_cross_entropy(np.zeros((2, 3)), np.zeros((3, 5)), [0.0, 1.0]),
            TypeError,
            "`targets` must have an integer dtype (labels), got float64: labels are integers, give"
            " targets.astype(int)",
        ),
    ],
)
def test_messages(call, error, message):
    with raises(error, message):
        call()
