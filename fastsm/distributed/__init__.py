"""Networks whose classes are spread over the processes of an MPI communicator.

This is for problems where the logits or the weights of the last layer fill the memory of one machine. Each
rank holds the weights, logits and gradients of its own classes only, as in the vocabulary-parallel
cross-entropy of M. Shoeybi et al., "Megatron-LM", arXiv:1909.08053, section 3. All ranks see the same rows.

To spread the rows instead, pass a communicator to `fastsm.fit`: ``fit(..., comm=MPI.COMM_WORLD)``.
Communicators come from mpi4py (``pip install fastsm[mpi]``).

>>> import numpy as np
>>> from mpi4py import MPI
>>> from fastsm import distributed
>>> comm = MPI.COMM_WORLD
>>> start, stop = distributed.class_range(1000, comm)
>>> logits = np.zeros((2, stop - start))  # this rank's classes
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
