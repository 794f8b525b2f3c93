"""Rows that do not count may hold anything: results are those without them, in every function and loss."""

import numpy as np
import pytest

import fastsm
from fastsm import nn, optim, reference
from fastsm.training import evaluate, metrics

BAD = [np.nan, np.inf, -np.inf]
LARGE = float(np.finfo(np.float32).max)  # what a model makes of it overflows
UNUSED = 2  # of four rows


def logits(classes, dtype, bad):
    x = np.random.default_rng(classes).standard_normal((4, classes)).astype(dtype)
    x[UNUSED] = bad
    return x


def cases(classes, dtype):
    """Yield targets and options with which one row does not count."""
    weight, rng = np.array([1, 2, 0, 0.5]), np.random.default_rng(0)
    labels, soft = np.array([0, 1, 1, 0]), rng.dirichlet(np.ones(classes), 4).astype(dtype)
    by_class = np.ones(classes)
    by_class[classes - 1] = 0
    own = np.array([0, 1, classes - 1, 0])
    yield labels, {"sample_weight": weight}
    yield labels, {"sample_weight": weight, "label_smoothing": 0.1, "temperature": 2.0}
    yield soft, {"sample_weight": weight}
    if classes > 2:
        yield own, {"class_weight": by_class}
    yield np.array([0, 1, -1, 0]), {"ignore_index": -1}
    yield np.array([0, 1, -1, 0]), {"ignore_index": -1, "label_smoothing": 0.1}


def without(targets, options):
    """Return the same for the rows that count."""
    kept = np.arange(4) != UNUSED
    weight = options.get("sample_weight")
    return targets[kept], {**options, "sample_weight": None if weight is None else weight[kept]}, kept


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 10, 33, 70])
def test_cross_entropy(isa, classes, dtype, order, bad):
    x = np.array(logits(classes, dtype, bad), order=order)
    for targets, options in cases(classes, dtype):
        kept_targets, kept_options, kept = without(targets, options)
        for reduction in ("mean", "sum"):
            loss, grad = fastsm.cross_entropy_with_grad(x, targets, reduction=reduction, **options)
            expected, expected_grad = fastsm.cross_entropy_with_grad(
                x[kept], kept_targets, reduction=reduction, **kept_options
            )
            np.testing.assert_allclose(loss, expected, rtol=4 * np.finfo(dtype).eps)
            np.testing.assert_allclose(grad[kept], expected_grad, rtol=1e-5, atol=1e-7)
            assert (grad[UNUSED] == 0).all()
        assert fastsm.cross_entropy(x, targets, reduction="none", **options)[UNUSED] == 0


@pytest.mark.parametrize("bad", BAD)
def test_reference(bad):
    x = logits(5, np.float64, bad)
    for targets, options in cases(5, np.float64):
        ours = fastsm.cross_entropy_with_grad(x, targets, **options)
        theirs = reference.cross_entropy_with_grad(x, targets, **options)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_known_values():
    x, weight = np.array([[1.0, 0], [np.nan, 0]]), np.array([[1.0, 2], [3, 4]])
    loss, (d_x, d_weight, _) = fastsm.linear_cross_entropy_with_grad(x, weight, [0, -1], ignore_index=-1)
    assert loss == 1.3132616875182228
    np.testing.assert_allclose(d_weight, [[-0.7310586, 0.7310586], [0, 0]], rtol=1e-7)
    assert (d_x[1] == 0).all()
    assert fastsm.cross_entropy([[0, 0], [np.nan, 0]], [0, 0], sample_weight=[1, 0]) == np.log(2)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("chunk", [1, 3, None])
def test_linear_cross_entropy(chunk, bad):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((4, 3)), rng.standard_normal((3, 5))
    x[UNUSED] = bad
    kept = np.arange(4) != UNUSED
    for targets, options in cases(5, np.float64):
        if targets.ndim == 2:
            continue
        kept_targets, kept_options, kept = without(targets, options)
        loss, grads = fastsm.linear_cross_entropy_with_grad(x, weight, targets, chunk=chunk, **options)
        expected, expected_grads = fastsm.linear_cross_entropy_with_grad(
            x[kept], weight, kept_targets, chunk=chunk, **kept_options
        )
        np.testing.assert_allclose(loss, expected, rtol=1e-14)
        np.testing.assert_allclose(grads[1], expected_grads[1], rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(grads[0][kept], expected_grads[0], rtol=1e-12)
        assert (grads[0][UNUSED] == 0).all()


def test_sharded_cross_entropy():
    comm = pytest.importorskip("mpi4py.MPI").COMM_SELF
    from fastsm import distributed

    x = logits(5, np.float64, np.nan)
    options = {"comm": comm, "class_start": 0, "n_classes": 5, "sample_weight": [1, 1, 0, 1]}
    loss, grad = distributed.sharded_cross_entropy_with_grad(x, [0, 1, 2, 3], **options)
    kept = np.arange(4) != UNUSED
    expected, expected_grad = fastsm.cross_entropy_with_grad(x[kept], [0, 1, 3])
    np.testing.assert_allclose(loss, expected, rtol=1e-14)
    np.testing.assert_allclose(grad[kept], expected_grad, rtol=1e-12)
    assert (grad[UNUSED] == 0).all()


def squares(outputs, targets):
    return ((outputs - targets) ** 2).sum(axis=1), 2 * (outputs - targets)


LOSSES = {
    "cross entropy": (nn.CrossEntropyLoss, True),
    "cross entropy on probs": (lambda **o: nn.CrossEntropyLoss(on="probs", **o), True),
    "nll": (nn.NLLLoss, True),
    "focal": (nn.FocalLoss, True),
    "brier": (nn.BrierLoss, True),
    "kl": (nn.KLDivLoss, False),
    "bce": (nn.BCELoss, False),
    "bce on probs": (lambda **o: nn.BCELoss(on="probs", **o), False),
    "mse": (nn.MSELoss, False),
    "mae": (nn.MAELoss, False),
    "user": (lambda: nn.loss(squares, on="output"), False),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, bad):
    make, takes_labels = LOSSES[name]
    x = np.random.default_rng(0).dirichlet(np.ones(3), 4)
    targets = np.array([0, 1, 2, 0]) if takes_labels else np.eye(3)[[0, 1, 2, 0]]
    kept = np.arange(4) != UNUSED
    expected, expected_grad = make().value_and_grad(x[kept], targets[kept])
    x[UNUSED] = bad
    loss, grad = make().value_and_grad(x, targets, sample_weight=kept.astype(float))
    np.testing.assert_allclose(loss, expected, rtol=1e-14)
    np.testing.assert_allclose(grad[kept], expected_grad, rtol=1e-12)
    assert (grad[UNUSED] == 0).all()
    assert make()(x, targets, sample_weight=kept.astype(float)) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("head", [nn.LogSoftmax, nn.Softmax, None])
def test_models(head, bad):
    """Nothing of an ignored row reaches a gradient over the parameters or over the inputs."""
    loss = {nn.LogSoftmax: nn.NLLLoss, nn.Softmax: lambda **o: nn.CrossEntropyLoss(on="probs", **o)}
    loss = loss.get(head, nn.CrossEntropyLoss)(ignore_index=-1)
    layers = [nn.Linear(2, 5, rng=0), nn.Tanh(), nn.Linear(5, 3, rng=1)]
    model = nn.Sequential(*layers, *([] if head is None else [head()]), dtype="float64")
    x = np.random.default_rng(0).standard_normal((4, 2))
    x[UNUSED] = bad
    kept = np.arange(4) != UNUSED
    expected = nn.value_and_grad(model, loss, x[kept], np.array([0, 1, 2]))
    grads = model.grads.copy()
    value, dx = nn.value_and_grad(model, loss, x, np.array([0, 1, -1, 2]), input_grad=True)
    assert value == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(model.grads, grads, rtol=1e-12, atol=1e-16)
    assert (dx[UNUSED] == 0).all()


def test_metrics():
    """NaN is no class, and rows of weight 0 are in no metric."""
    outputs, labels, weight = np.array([[np.nan, 1.0], [1.0, 0.0]]), [0, 0], [0.0, 1.0]
    assert metrics.accuracy(outputs, labels) == 0.5
    assert metrics.top_k(1)(outputs, labels) == metrics.top_k(2)(outputs, labels) == 0.5
    for metric in (metrics.accuracy, metrics.nll, metrics.brier, metrics.expected_calibration_error()):
        assert metric(outputs, labels, sample_weight=weight) == metric(outputs[1:], labels[1:])


def data(rows=40):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 3))
    return x, (x[:, 0] > 0).astype(int)


def model():
    return nn.MLP([3, 4, 2], dtype="float64", rng=0)


def test_fit_and_evaluate():
    """Rows of weight 0 change nothing, whatever they hold."""
    (x, y), weight = data(), np.ones(40)
    weight[[3, 30]] = 0
    options = {"optimizer": optim.SGD(0.1), "epochs": 3, "batch_size": 40, "rng": 0}
    clean, dirty = model(), model()
    history = fastsm.fit(clean, x, y, sample_weight=weight, **options)
    x[[3, 30]] = [[np.nan], [np.inf]]
    again = fastsm.fit(dirty, x, y, sample_weight=weight, **{**options, "optimizer": optim.SGD(0.1)})
    np.testing.assert_allclose(clean.params, dirty.params, rtol=1e-12)
    np.testing.assert_allclose(history["accuracy"], again["accuracy"])
    assert evaluate(dirty, x, y, sample_weight=weight)["accuracy"] == pytest.approx(
        evaluate(dirty, np.delete(x, [3, 30], 0), np.delete(y, [3, 30]))["accuracy"]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("fill", [np.nan, LARGE, 1e300])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # of what the test itself makes
def test_models_overflow(fill, dtype):
    """Rows that do not count do not overflow inside a model either."""
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x, y = np.random.default_rng(0).standard_normal((4, 3)).astype(dtype), np.array([0, 1, 1, 0])
    net, weight, loss = nn.MLP([3, 5, 2], rng=0), np.array([1, 2, 0, 1]), nn.CrossEntropyLoss()
    kept = weight > 0
    value, grads = (
        nn.value_and_grad(net, loss, x[kept], y[kept], sample_weight=weight[kept]),
        net.grads.copy(),
    )
    x[UNUSED] = fill
    assert nn.value_and_grad(net, loss, x, y, sample_weight=weight) == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(net.grads, grads, rtol=1e-5, atol=1e-6)
    ignoring = nn.CrossEntropyLoss(ignore_index=-1)
    history = fastsm.fit(net, x, np.where(kept, y, -1), loss=ignoring, epochs=1)
    assert np.isfinite(history["loss"]).all()


def test_faults_in_data_are_named():
    x, y = data()
    bad = x.copy()
    bad[7, 1] = np.nan
    with pytest.raises(fastsm.TrainingDiverged, match=r"`X` has nan in row 7, column 1$") as caught:
        fastsm.fit(model(), bad, y, epochs=1)
    assert caught.value.fault == "`X` has nan in row 7, column 1"
    message = r"`validation_data\[0\]` has nan in row 7, column 1: data must be finite"
    with pytest.raises(ValueError, match=message):
        fastsm.fit(model(), x, y, epochs=1, validation_data=(bad, y))
    with pytest.raises(ValueError, match="`X` has nan in row 7, column 1: data must be finite"):
        evaluate(model(), bad, y)
    bad[7, 1] = 1e300
    message = r"`X` has 1e\+300, too large for float32, in row 7, column 1$"
    with pytest.raises(fastsm.TrainingDiverged, match=message):
        fastsm.fit(nn.MLP([x.shape[1], 4, 2]), bad, y, epochs=1)
    wrong = np.arange(3000) // 2999 * 7
    with pytest.raises(ValueError, match=r"`y` must lie in \[0, 2\), got 7 at position 2999$"):
        evaluate(nn.MLP([1, 2]), np.zeros((3000, 1)), wrong)
    values = np.stack([y, y], axis=1).astype(float)
    values[5, 1] = np.inf
    with pytest.raises(fastsm.TrainingDiverged, match=r"`y` has inf in row 5, column 1$"):
        fastsm.fit(model(), x, values, loss=nn.MSELoss(), metrics=[], epochs=1)
