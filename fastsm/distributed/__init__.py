"""Networks whose classes are spread over the processes of an MPI communicator.

For so many classes that logits or the last layer's weights fill the memory of one machine: each rank has the
weights, the logits and their gradients of its own classes only, as the vocabulary-parallel cross-entropy of
M. Shoeybi et al., "Megatron-LM", arXiv:1909.08053, section 3. All ranks see the same rows.

To spread the rows and not the classes, give `fastsm.fit` a communicator: ``fit(..., comm=MPI.COMM_WORLD)``.
Communicators come from mpi4py (``pip install fastsm[mpi]``).

>>> import numpy as np
>>> from mpi4py import MPI
>>> from fastsm import distributed
>>> comm = MPI.COMM_WORLD
>>> start, stop = distributed.class_range(1000, comm)
>>> logits = np.zeros((2, stop - start))  # those of this rank
>>> loss = distributed.sharded_cross_entropy(
...     logits, [3, 999], comm=comm, class_start=start, n_classes=1000)
>>> round(float(loss), 6)  # log(1000)
6.907755
"""

from fastsm.distributed._cross_entropy import (
    ShardedCrossEntropyLoss,
    sharded_cross_entropy,
    sharded_cross_entropy_with_grad,
)
from fastsm.distributed._linear import ShardedLinear, class_range, sharded_argmax

__all__ = [
    "ShardedCrossEntropyLoss",
    "ShardedLinear",
    "class_range",
    "sharded_argmax",
    "sharded_cross_entropy",
    "sharded_cross_entropy_with_grad",
]
