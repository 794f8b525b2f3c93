"""Classes sharded over ranks: every option of cross-entropy, infinities, a layer, a training."""

import copy
import itertools
import re

import numpy as np
import pytest
from mpi4py import MPI

import fastsm
from fastsm import data, distributed, nn, optim

comm = MPI.COMM_WORLD
rng = np.random.default_rng(0)  # the same numbers on all ranks
N, C = 7, 11
start, stop = distributed.class_range(C, comm)
spread = {"comm": comm, "class_start": start, "n_classes": C}

# ---- every combination of options ----
# A few roundings of numbers up to 20: 2e-7 and 4e-16 each.
TOLERANCE = {"float32": 1e-5, "float64": 1e-13}
options = itertools.product(
    TOLERANCE,
    ("labels", "probabilities"),
    (False, True),
    (False, True),
    (None, 3),
    ((0.0, 1.0), (0.1, 2.5), (1.0, 1.0)),
    ("mean", "sum", "none"),
)
for dtype, kind, by_class, by_row, ignored, (smoothing, temperature), reduction in options:
    if kind == "probabilities" and ignored is not None:
        continue
    logits = (rng.standard_normal((N, C)) * 4).astype(dtype)
    y = rng.integers(0, C, N) if kind == "labels" else rng.random((N, C)).astype(dtype)
    if ignored is not None:
        y[2] = ignored
    own_y = y if kind == "labels" else y[:, start:stop]
    given = {
        "class_weight": rng.random(C) if by_class else None,
        "sample_weight": rng.random(N) if by_row else None,
        "ignore_index": ignored,
        "label_smoothing": smoothing,
        "temperature": temperature,
        "reduction": reduction,
    }
    expected, gradient = fastsm.cross_entropy_with_grad(logits, y, **given)
    shard = logits[:, start:stop].copy()
    loss, grad = distributed.sharded_cross_entropy_with_grad(shard, own_y, **spread, **given)
    assert (shard == logits[:, start:stop]).all()
    assert grad.dtype == loss.dtype == dtype
    limits = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    np.testing.assert_allclose(loss, expected, **limits)
    np.testing.assert_allclose(grad, gradient[:, start:stop], **limits)
    only = distributed.sharded_cross_entropy(shard, own_y, **spread, **given)
    np.testing.assert_array_equal(only, loss)
    again, in_place = distributed.sharded_cross_entropy_with_grad(shard, own_y, out=shard, **spread, **given)
    assert in_place is shard
    np.testing.assert_array_equal(in_place, grad)
    np.testing.assert_array_equal(again, loss)

# ---- near zero, infinities, NaN: as unsharded ----
inf = np.inf
for row, label in [
    ([0.0, -40.0, -60.0, -80.0], 0),
    ([120.0, 0.0, 0.0, 0.0], 1),
    ([-inf, 0.0, 0.0, 1.0], 0),
    ([-inf, 0.0, 0.0, -inf], 1),
    ([np.nan, 0.0, 0.0, 1.0], 1),
    ([-inf] * 4, 1),
    ([inf, 0.0, 0.0, 0.0], 1),
]:
    first, last = distributed.class_range(4, comm)
    expected, gradient = fastsm.cross_entropy_with_grad([row], [label])
    loss, grad = distributed.sharded_cross_entropy_with_grad(
        np.array([row])[:, first:last], [label], comm=comm, class_start=first, n_classes=4
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-14)
    np.testing.assert_allclose(grad, gradient[:, first:last], rtol=1e-13)

# ---- other arrays for `out`, and wrong arguments ----
logits, y = rng.standard_normal((N, C)), rng.integers(0, C, N)
for out in (np.empty((stop - start, N)).T, np.empty((N, stop - start))[::-1]):
    _, grad = distributed.sharded_cross_entropy_with_grad(logits[:, start:stop], y, out=out, **spread)
    assert grad is out
    np.testing.assert_allclose(grad, fastsm.cross_entropy_with_grad(logits, y)[1][:, start:stop], atol=1e-15)
for arguments, message in (
    ((logits[:, start:stop], y + C), "`targets` must lie in [0, 11)"),
    ((logits[0], y), "`logits_shard` must have shape (N, c)"),
    ((logits[:, start : stop - 1], y), "`logits_shard` must have 11 classes on all ranks together"),
):
    with pytest.raises(ValueError, match=re.escape(message)):
        distributed.sharded_cross_entropy(*arguments, **spread)
assert (
    distributed.sharded_argmax(logits[:, start:stop], comm=comm, class_start=start) == logits.argmax(1)
).all()
ties = np.zeros((3, stop - start))
assert (distributed.sharded_argmax(ties, comm=comm, class_start=start) == 0).all()

# ---- training with a sharded last layer: as unsharded ----
X, y = data.load_digits()
X, y = X[:300], y[:300]
start, stop = distributed.class_range(10, comm)
whole = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10), dtype="float64", rng=0)
head = distributed.ShardedLinear(16, 10, comm, rng=1)
model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), head, dtype="float64", rng=0)
model.layers[0].params["weight"] = whole.layers[0].params["weight"]
head.params["weight"] = whole.layers[2].params["weight"][:, start:stop]
weights = rng.random(10)
for network, loss in (
    (whole, nn.CrossEntropyLoss(class_weight=weights, label_smoothing=0.1)),
    (model, distributed.ShardedCrossEntropyLoss(10, comm, class_weight=weights, label_smoothing=0.1)),
):
    history = fastsm.fit(
        network, X, y, loss=loss, optimizer=optim.AdamW(1e-2), metrics=(), epochs=5, batch_size=32, rng=0
    )
    last = history["loss"][-1]
np.testing.assert_allclose(model.layers[0].params["weight"], whole.layers[0].params["weight"], rtol=1e-10)
gathered = head.gathered()
np.testing.assert_allclose(gathered.params["weight"], whole.layers[2].params["weight"], rtol=1e-10)
np.testing.assert_allclose(gathered.params["bias"], whole.layers[2].params["bias"], rtol=1e-10, atol=1e-12)
np.testing.assert_allclose(history["loss"][-1], last)
together = nn.Sequential(*copy.deepcopy(model.layers[:2]), gathered)
found = distributed.sharded_argmax(model(X), comm=comm, class_start=start)
assert (found == together(X).argmax(axis=1)).all()
