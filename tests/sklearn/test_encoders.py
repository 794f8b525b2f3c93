"""What `y` may be, and what networks are trained on for it."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn.utils.class_weight import compute_sample_weight

from fastsm.sklearn._encoders import ClassEncoder, NumberEncoder

SOFT = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.0, 0.25, 0.75]])
MARKS = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]])


# ---- what it is


@pytest.mark.parametrize(
    ("y", "kind", "classes", "out_activation"),
    [
        (["no", "yes", "no"], "binary", ["no", "yes"], "logistic"),
        ([3, 3, 3], "binary", [3], "logistic"),
        ([2.0, 5.0, 7.0], "multiclass", [2.0, 5.0, 7.0], "softmax"),
        ([True, False], "binary", [False, True], "logistic"),
        (MARKS, "multilabel", [0, 1, 2], "logistic"),
        (MARKS.astype(float), "multilabel", [0, 1, 2], "logistic"),
        (np.eye(3), "multilabel", [0, 1, 2], "logistic"),
        (SOFT, "soft", [0, 1, 2], "softmax"),
        (SOFT.astype(np.float32), "soft", [0, 1, 2], "softmax"),
    ],
    ids=str,
)
def test_kinds(y, kind, classes, out_activation):
    """Labels of any type, sets of labels, and probabilities."""
    targets = ClassEncoder(np.asarray(y))
    assert (targets.kind, targets.out_activation) == (kind, out_activation)
    assert targets.classes.tolist() == classes
    assert targets.outputs == (1 if kind == "binary" else 3)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.5, 1.5], "Unknown label type: continuous"),
        ([[0.5, 0.6], [0.5, 0.5]], r"sum of 1, got \[0.5 0.6\] in row 0"),
        ([[0.5, 0.5], [1.5, -0.5]], "in row 1"),
        ([[0, 2], [1, 1]], "Multioutput target data is not supported"),
    ],
)
def test_wrong_targets(y, message):
    """Numbers, rows that sum to something else, and several labels with more than two values."""
    with pytest.raises(ValueError, match=message):
        ClassEncoder(np.asarray(y))


def test_strings_are_numbered_in_order():
    """Both ways, and after pickling."""
    y = np.array(["b", "c", "a", "b"])
    targets = pickle.loads(pickle.dumps(ClassEncoder(y)))
    labels = targets.encode(y, "float32")
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 2, 0, 1]
    assert targets.decode(np.eye(3)[labels]).tolist() == y.tolist()
    assert targets.hard(y) is y


def test_two_classes_have_one_column():
    """Its sign is the prediction."""
    targets = ClassEncoder(np.array(["no", "yes"]))
    encoded = targets.encode(np.array(["yes", "no", "yes"]), "float32")
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[1], [0], [1]]
    assert targets.decode(encoded - 0.5).tolist() == ["yes", "no", "yes"]


def test_a_single_class():
    """The only class is always predicted."""
    targets = ClassEncoder(np.array([7, 7]))
    assert targets.encode(np.array([7]), "float64").tolist() == [[0]]
    assert targets.decode(np.array([[5.0], [-5.0]])).tolist() == [7, 7]


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, sparse.csr_array])
def test_several_labels(container):
    """A column each, from dense and sparse matrices."""
    targets = ClassEncoder(container(MARKS), classes=[0, 1])  # the classes of scikit-learn's users
    encoded = targets.encode(container(MARKS), "float64")
    assert encoded.tolist() == MARKS.tolist()
    assert targets.decode(encoded - 0.5).tolist() == MARKS.tolist()


def test_soft_labels():
    """They stay as they are, one-hot rows may follow, and for scores the most probable class counts."""
    targets = ClassEncoder(SOFT, classes=range(3))
    np.testing.assert_array_equal(targets.encode(SOFT, "float64"), SOFT)
    np.testing.assert_array_equal(targets.encode(np.eye(3), "float64"), np.eye(3))
    assert targets.hard(SOFT).tolist() == [1, 0, 2]
    assert targets.decode(np.log(SOFT + 1e-9)).tolist() == [1, 0, 2]
    with pytest.raises(ValueError, match="a column for each of 4 classes, got 3"):
        ClassEncoder(SOFT, classes=range(4))


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ([1, 2], [1, 3], "previously unseen labels"),
        ([1, 2], MARKS, "must be labels as before, got zeros and ones"),
        (SOFT, [1, 2], "must be soft labels as before, got labels"),
        (MARKS, [1, 2], "must be zeros and ones with a column for each label as before"),
        (MARKS, MARKS[:, :2], "must have 3 columns as before, got 2"),
        (SOFT, [[0.5, 0.5]], "must have 3 columns as before, got 2"),
    ],
)
def test_later_targets_must_match(before, now, message):
    """An unknown class, another kind, other columns."""
    targets = ClassEncoder(np.asarray(before))
    with pytest.raises(ValueError, match=message):
        targets.encode(np.asarray(now), "float64")


# ---- weights of classes


@pytest.mark.parametrize("y", [[1, 1, 2, 3, 3, 3], [0, 1, 1, 1], ["a", "b", "b"]])
def test_balanced_as_scikit_learn_has_it(y):
    """For labels."""
    y = np.array(y)
    targets = ClassEncoder(y)
    weights = targets.class_weights(y, "balanced")
    np.testing.assert_allclose(
        targets.row_weights(y, weights, None), compute_sample_weight("balanced", y), rtol=1e-15
    )
    own = np.arange(len(y)) + 0.5
    np.testing.assert_allclose(
        targets.row_weights(y, weights, own), own * compute_sample_weight("balanced", y), rtol=1e-15
    )


@pytest.mark.parametrize("class_weight", ["balanced", [{0: 1, 1: 3}, {0: 2, 1: 1}, {0: 5, 1: 7}]])
def test_weights_of_several_labels(class_weight):
    """They are multiplied, as scikit-learn does."""
    targets = ClassEncoder(MARKS)
    weights = targets.class_weights(MARKS, class_weight)
    assert weights.shape == (3, 2)
    np.testing.assert_allclose(
        targets.row_weights(MARKS, weights, None), compute_sample_weight(class_weight, MARKS), rtol=1e-15
    )
    np.testing.assert_array_equal(
        targets.row_weights(sparse.csr_array(MARKS), weights, None), targets.row_weights(MARKS, weights, None)
    )


def test_weights_of_soft_labels():
    """The mean of the classes' weights; balanced, all classes count the same in sum."""
    targets = ClassEncoder(SOFT)
    weights = targets.class_weights(SOFT, {1: 3.0})
    assert weights.tolist() == [1, 3, 1]
    np.testing.assert_allclose(targets.row_weights(SOFT, weights, None), SOFT @ [1, 3, 1])
    balanced = targets.class_weights(SOFT, "balanced")
    np.testing.assert_allclose(SOFT.sum(axis=0) * balanced, 1)


def test_absent_classes_weigh_one():
    """As in the first call of `partial_fit`."""
    targets = ClassEncoder(np.array([0, 0, 2]), classes=[0, 1, 2])
    assert targets.class_weights(np.array([0, 0, 2]), {0: 0.5, 2: 4}).tolist() == [0.5, 1, 4]
    assert targets.class_weights(np.array([0, 0, 2]), "balanced").tolist() == [0.75, 1, 1.5]
    assert targets.class_weights(np.array([0]), None) is None


@pytest.mark.parametrize(
    ("y", "class_weight", "message"),
    [
        ([0, 1], {2: 1.0}, r"classes as its keys, got \[2\], none of \[0, 1\]"),
        ([0, 1], [{0: 1}], "must be a dict or 'balanced'"),
        (SOFT, {"a": 1.0}, "classes as its keys"),
        (MARKS, {0: 1.0}, "list with a dict for each column"),
        (MARKS, [{0: 1.0}], "list with a dict for each column"),
        (MARKS, [{0: 1.0}, 2.0, {0: 1.0}], "must have dicts or 'balanced' in its list, got 2.0"),
        ([0, 1], {1: -1.0}, "`class_weight` must be finite and at least 0 everywhere, got -1.0 for 1"),
        ([0, 1], {0: np.nan}, "at least 0 everywhere, got nan for 0"),
        (["a", "b"], {"b": np.inf}, "at least 0 everywhere, got inf for 'b'"),
        (SOFT, {0: None}, "at least 0 everywhere, got None for 0"),
        (MARKS, [{1: "2"}] * 3, "at least 0 everywhere, got '2' for 1"),
    ],
)
def test_wrong_weights(y, class_weight, message):
    """Unknown classes and wrong forms."""
    targets = ClassEncoder(np.asarray(y))
    with pytest.raises(ValueError, match=message):
        targets.class_weights(np.asarray(y), class_weight)


# ---- numbers


def test_numbers():
    """One output or several, in both directions."""
    one, two = NumberEncoder(np.arange(3.0)), NumberEncoder(np.ones((3, 2)))
    assert (one.outputs, two.outputs, one.out_activation) == (1, 2, "identity")
    assert one.encode(np.arange(3), "float32").tolist() == [[0], [1], [2]]
    assert one.decode(np.ones((3, 1))).shape == (3,)
    assert two.decode(np.ones((3, 2))).shape == (3, 2)
    with pytest.raises(ValueError, match="must have 2 columns as before, got 1"):
        two.encode(np.arange(3.0), "float32")


def test_counts():
    """The loss "poisson" is for numbers of at least 0, and its prediction is an exponential."""
    targets = NumberEncoder(np.arange(3.0), "poisson")
    assert targets.out_activation == "exp"
    assert targets.decode(np.zeros((2, 1))).tolist() == [1, 1]
    with pytest.raises(ValueError, match="out of the valid range"):
        targets.encode(np.array([-1.0]), "float64")
