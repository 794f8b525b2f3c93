"""Losses, optimizers and schedules by name in `fit` and `evaluate`: the same as the objects."""

import numpy as np
import pytest
from checks import raises

import fastsm
from fastsm import nn, optim, training
from fastsm.nn.losses import LOSSES
from fastsm.optim._optimizers import OPTIMIZERS
from fastsm.optim.schedules import SCHEDULES

X = np.random.default_rng(0).standard_normal((60, 4))
LABELS = np.random.default_rng(1).integers(0, 3, 60)
ROWS = np.eye(3)[LABELS]


def fitted(head=None, y=LABELS, **options):
    model = nn.MLP([4, 3], head=head, rng=0)
    history = fastsm.fit(model, X, y, batch_size=16, epochs=3, rng=0, **options)
    return model, history


@pytest.mark.parametrize(
    ("name", "head", "loss", "y"),
    [
        ("cross_entropy", None, nn.CrossEntropyLoss(), LABELS),
        ("cross_entropy", "softmax", nn.CrossEntropyLoss(on="probs"), LABELS),
        ("cross_entropy", "log_softmax", nn.NLLLoss(), LABELS),
        ("nll", "log_softmax", nn.NLLLoss(), LABELS),
        ("focal", None, nn.FocalLoss(), LABELS),
        ("focal", "softmax", nn.FocalLoss(on="probs"), LABELS),
        ("kl_div", "softmax", nn.KLDivLoss(on="probs"), ROWS),
        ("kl_div", "log_softmax", nn.KLDivLoss(), ROWS),
        ("brier", "softmax", nn.BrierLoss(), ROWS),
        ("mse", None, nn.MSELoss(), ROWS),
        ("mae", "softmax", nn.MAELoss(), ROWS),
    ],
)
def test_losses(name, head, loss, y):
    named, objects = fitted(head, y, loss=name)[0], fitted(head, y, loss=loss)[0]
    np.testing.assert_array_equal(named.params, objects.params)
    assert training.evaluate(named, X, y, loss=name) == training.evaluate(named, X, y, loss=loss)
    assert name in LOSSES


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    kind = {"sgd": optim.SGD, "rmsprop": optim.RMSprop, "adam": optim.Adam, "adamw": optim.AdamW}[name]
    named, objects = fitted(optimizer=name)[0], fitted(optimizer=kind())[0]
    np.testing.assert_array_equal(named.params, objects.params)
    assert repr(name) in repr(fastsm.fit.__doc__).replace('"', "'")


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    optimizer = optim.SGD(0.5)
    _, history = fitted(optimizer=optimizer, schedule=name)
    own = {
        "constant": optim.schedules.constant(0.5),
        "cosine": optim.schedules.cosine(0.5, 12),
        "warmup_cosine": optim.schedules.warmup_cosine(0.5, 12, warmup=1),
        "one_cycle": optim.schedules.one_cycle(0.5, 12),
        "step": optim.schedules.step(0.5, every=4),
    }[name]
    assert history["learning_rate"] == [own(0), own(4), own(8)]
    assert optimizer.lr == own or name == "constant"
    assert repr(name) in repr(fastsm.fit.__doc__).replace('"', "'")


def test_schedule_resumed(tmp_path):
    def train(**options):
        return fitted(optimizer="adamw", schedule="one_cycle", **options)[0].params

    train(callbacks=[fastsm.callbacks.Checkpoint(tmp_path / "{epoch}")])
    np.testing.assert_array_equal(train(resume_from=tmp_path / "2"), train())
    optimizer = optim.SGD(0.5)
    with pytest.raises(ValueError, match="must be"):
        fitted(optimizer=optimizer, schedule="cosine", resume_from=tmp_path / "2")
    assert optimizer.lr == 0.5


USED, SCHEDULED = optim.SGD(0.1), optim.SGD(optim.schedules.constant(0.1))
USED.restore(3, {})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"loss": "cros_entropy"},
            ValueError,
            f"`loss` must be one of {', '.join(LOSSES)} if it is a name, got 'cros_entropy':"
            " did you mean 'cross_entropy'?",
        ),
        (
            {"optimizer": "AdamW"},
            ValueError,
            "`optimizer` must be one of sgd, rmsprop, adam, adamw if it is a name, got 'AdamW':"
            " did you mean 'adamw'?",
        ),
        (
            {"optimizer": "lbfgs"},
            ValueError,
            "`optimizer` must be one of sgd, rmsprop, adam, adamw if it is a name, got 'lbfgs'",
        ),
        (
            {"schedule": "cosin"},
            ValueError,
            "`schedule` must be one of constant, cosine, warmup_cosine, one_cycle, step if it is a name, got"
            " 'cosin': did you mean 'cosine'?",
        ),
        (
            {"schedule": 3},
            TypeError,
            "`schedule` must be a name (an optimizer takes a schedule of your own as its `lr`), got 3",
        ),
        (
            {"schedule": "cosine", "optimizer": USED},
            ValueError,
            "`schedule` must be None with an optimizer that has done steps, got 'cosine'",
        ),
        (
            {"schedule": "cosine", "optimizer": SCHEDULED},
            ValueError,
            "`schedule` must be None with an optimizer whose lr is a schedule, got 'cosine'",
        ),
    ],
)
def test_wrong_names(options, error, message):
    with raises(error, message):
        fitted(**options)
