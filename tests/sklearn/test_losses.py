"""Losses of the estimators: by name or the user's own, over logits, for classes, labels and numbers."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

import fastsm
from fastsm import nn, testing
from fastsm.sklearn._losses import CLASSIFICATION, REGRESSION, OverLogits, classifier_loss, regressor_loss

RNG = np.random.default_rng(0)
Z = RNG.standard_normal((6, 3))
LABELS = np.array([0, 2, 1, 1, 0, 2])
SOFT = RNG.dirichlet([1, 1, 1], 6)
MARKS = (RNG.random((6, 3)) < 0.5).astype(float)
WEIGHT = np.array([1, 0, 2.5, 1, 0.5, 3])


@nn.loss(on="probs")
def hellinger(p, y):
    """Half the squared distance."""
    return 1 - np.sqrt(p * y).sum(axis=1), -0.5 * np.sqrt(y / p)


@nn.loss(on="log_probs")
def likelihood(log_p, y):
    """Cross-entropy once more."""
    return -(log_p * y).sum(axis=1), -y


@nn.loss(on="logits")
def squares(z, y):
    """Logits of their own."""
    return (z * z * y).sum(axis=1), 2 * z * y


OWN = [hellinger, likelihood, squares, nn.NLLLoss(), nn.CrossEntropyLoss(class_weight=[1.0, 2.0, 3.0])]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("loss", [*CLASSIFICATION, *OWN], ids=str)
def test_gradients_of_classes(loss, smoothing):
    """They are those of the values, for labels and for soft labels."""
    made = classifier_loss(loss, "softmax", smoothing)
    for targets in (LABELS, SOFT):
        assert testing.check_grads(made, Z, targets).ok


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("loss", [*CLASSIFICATION, *OWN[:-1]], ids=str)
def test_gradients_of_labels(loss, smoothing):
    """The same for two classes with one output, and for several labels a row."""
    made = classifier_loss(loss, "logistic", smoothing)
    assert testing.check_grads(made, Z, MARKS).ok
    assert testing.check_grads(made, Z[:, :1], MARKS[:, :1]).ok


@pytest.mark.parametrize("loss", [*CLASSIFICATION, *OWN[:-1]], ids=str)
def test_one_output_is_two_classes(loss):
    """Values and gradients are those of softmax over the logits [0, z]; those of several labels are added."""
    single, double = classifier_loss(loss, "logistic", 0.1), classifier_loss(loss, "softmax", 0.1)
    value, grad = single.value_and_grad(Z, MARKS, sample_weight=WEIGHT)
    total = 0.0
    for i in range(3):
        logits = np.stack([np.zeros(6), Z[:, i]], axis=1)
        one, two = double.value_and_grad(logits, MARKS[:, i].astype(int), sample_weight=WEIGHT)
        total += one
        np.testing.assert_allclose(grad[:, i], two[:, 1], rtol=1e-12, atol=1e-15)
    assert value == pytest.approx(total, rel=1e-12)
    assert single(Z, MARKS, sample_weight=WEIGHT) == pytest.approx(value, rel=1e-12)
    assert single.total_weight(MARKS, WEIGHT) == pytest.approx(WEIGHT.sum())


@pytest.mark.parametrize("loss", list(CLASSIFICATION))
def test_labels_are_one_hot_rows(loss):
    """A label is a soft label that is sure."""
    made = classifier_loss(loss, "softmax", 0.0)
    assert made(Z, LABELS, sample_weight=WEIGHT) == pytest.approx(
        made(Z, np.eye(3)[LABELS], sample_weight=WEIGHT), rel=1e-12
    )
    assert made.total_weight(LABELS, WEIGHT) == made.total_weight(SOFT, WEIGHT) == WEIGHT.sum()


def test_they_are_the_losses_of_nn():
    """On the probabilities that `predict_proba` gives."""
    p = fastsm.softmax(Z)
    for name, loss in {"focal": nn.FocalLoss(on="probs"), "brier": nn.BrierLoss()}.items():
        assert classifier_loss(name, "softmax")(Z, LABELS) == pytest.approx(loss(p, LABELS), rel=1e-12)
    for name, loss in {"mse": nn.MSELoss(), "mae": nn.MAELoss(), "kl_div": nn.KLDivLoss(on="probs")}.items():
        assert classifier_loss(name, "softmax")(Z, SOFT) == pytest.approx(loss(p, SOFT), rel=1e-12)


@pytest.mark.parametrize("out_activation", ["softmax", "logistic"])
def test_smoothing_moves_the_targets(out_activation):
    """By the same formula for all losses: cross-entropy, which has it built in, too."""
    targets = LABELS if out_activation == "softmax" else MARKS
    built_in = classifier_loss("cross_entropy", out_activation, 0.3)
    outside = OverLogits(likelihood, out_activation == "logistic", 0.3)
    assert built_in(Z, targets) == pytest.approx(outside(Z, targets), rel=1e-12)
    np.testing.assert_allclose(
        built_in.value_and_grad(Z, targets)[1], outside.value_and_grad(Z, targets)[1], rtol=1e-12, atol=1e-15
    )


def test_extreme_logits():
    """No NaN and no infinity in the gradient, where a probability is 0."""
    z = np.array([[800.0, 0.0, -800.0]])
    for name in CLASSIFICATION:
        for out_activation, targets in (
            ("softmax", np.array([2])),
            ("logistic", np.array([[0.0, 1.0, 1.0]])),
        ):
            value, grad = classifier_loss(name, out_activation).value_and_grad(z, targets)
            assert np.isfinite(value)
            assert np.isfinite(grad).all()


@pytest.mark.parametrize("loss", ["brier", hellinger], ids=str)
@pytest.mark.parametrize("out_activation", ["softmax", "logistic"])
def test_out_may_be_the_outputs(loss, out_activation):
    """As solvers call it; float32 stays float32."""
    made = classifier_loss(loss, out_activation)
    targets = LABELS if out_activation == "softmax" else MARKS.astype(np.float32)
    z = Z.astype(np.float32)
    _, expected = made.value_and_grad(z, targets)
    assert expected.dtype == np.float32
    _, grad = made.value_and_grad(z, targets, out=z)
    assert grad is z
    np.testing.assert_array_equal(grad, expected)


@pytest.mark.parametrize("loss", list(REGRESSION))
def test_gradients_of_numbers(loss):
    """Those of scikit-learn are the prediction minus the target."""
    y = RNG.random((6, 3))
    made = regressor_loss(loss)
    assert testing.check_grads(made, Z, y).ok
    if loss in ("squared_error", "poisson"):
        predicted = np.exp(Z) if loss == "poisson" else Z
        np.testing.assert_allclose(made.value_and_grad(Z, y)[1] * 6, predicted - y, rtol=1e-12)


def test_pickles():
    """Losses are part of estimators, which are sent to other processes."""
    for loss in (classifier_loss("focal", "logistic", 0.1), classifier_loss("brier", "softmax")):
        twin = pickle.loads(pickle.dumps(loss))
        assert twin(Z, MARKS) == loss(Z, MARKS)


def test_what_is_no_loss():
    """A class, a function, and a loss on probabilities for numbers."""
    with pytest.raises(TypeError, match=r"got the class FocalLoss: write FocalLoss\(\)"):
        classifier_loss(nn.FocalLoss, "softmax")
    with pytest.raises(TypeError, match=r"make a loss of it with @nn\.loss"):
        regressor_loss(len)
    with pytest.raises(ValueError, match="must be on the output of a regressor"):
        regressor_loss(nn.BrierLoss())


def test_binary_loss_is_refused():
    """It would be applied to pairs of classes, or to classes that are not independent."""
    with pytest.raises(ValueError, match=r"^`loss` must be on classes, got BCELoss\(\): 'cross_entropy' is"):
        classifier_loss(nn.BCELoss(), "logistic")
