"""Call everything on arrays of huge shapes with 2 GB of memory; print the numbers of results and errors."""

import resource
import sys
import warnings

import numpy as np
from numpy.lib.stride_tricks import as_strided

import fastsm
from fastsm import nn
from fastsm.training import metrics


def like(value, *shape):
    """Return an array of this shape whose elements are one number in memory."""
    return as_strided(np.array(value), shape, (0,) * len(shape))


number = np.negative(getattr(np, sys.argv[1])(1))
calls = []
large = 2**31 + 5
shapes = [((large, 3), 1), ((3, large), 0), ((2**16, 2**16, 2), 1), ((2**40, 2), 1), ((2**59, 1), 1)]
shapes.append(((2**59, 0), 0))
for shape, axis in shapes:
    x = like(number, *shape)
    labels = like(np.int64(0), *shape[:axis], *shape[axis + 1 :])
    calls += [
        *(
            (function, (x,), {"axis": axis})
            for function in (fastsm.softmax, fastsm.log_softmax, fastsm.logsumexp)
        ),
        *((f, (x, x), {"axis": axis}) for f in (fastsm.softmax_vjp, fastsm.log_softmax_vjp)),
        (fastsm.cross_entropy, (x, labels), {"axis": axis}),
        (fastsm.cross_entropy_with_grad, (x, labels), {"axis": axis}),
    ]
calls.append((fastsm.softmax_jacobian, (like(number, 2, 2**33),), {}))
tall, labels = like(number, 2**33, 3), like(np.int64(1), 2**33)
layers = [nn.Linear(3, 2, rng=0), nn.ReLU(), nn.GELU(), nn.Softmax(), nn.LayerNorm(3), nn.Dropout(0.5, rng=0)]
for layer in layers:
    calls += [(layer.forward, (tall,), {}), (layer, (tall,), {})]
calls.append((nn.MLP([3, 4, 2], rng=0), (tall,), {}))
for loss in (nn.CrossEntropyLoss(), nn.NLLLoss(), nn.BrierLoss(), nn.FocalLoss()):
    calls += [(loss, (tall, labels), {}), (loss.value_and_grad, (tall, labels), {})]
calls += [(nn.MSELoss(), (tall, tall), {}), (nn.MAELoss().value_and_grad, (tall, tall), {})]
for metric in (metrics.accuracy, metrics.nll, metrics.brier, metrics.top_k(2)):
    calls.append((metric, (tall, labels), {}))
calls.append((fastsm.fit, (nn.MLP([3, 4], rng=0), tall, labels), {}))

warnings.simplefilter("ignore", fastsm.SingleClassWarning)
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
done = errors = 0
for function, arguments, options in calls:
    try:
        function(*arguments, **options)
        done += 1
    except (MemoryError, ValueError):
        errors += 1
print(done, errors, len(calls))
