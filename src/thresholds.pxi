# At how many elements a second thread is used, and why: all numbers that decide it.
#
# One rule: the work of a thread must take several times as long as handing it over. Kinds of work differ in the cost of
# an element and in how it is handed over, so each has its own number.

cdef enum:
    # From this many elements on the short paths and the kernels of training release Python's lock (the GIL), so that
    # other threads of Python run meanwhile; below, a call is over before that pays. (`compute_rows` and
    # `cross_entropy`, which large arrays go through, release it always.)
    ELEMENTS_WITHOUT_GIL = 1 << 12
    # Multiplications of a matrix product that count as one element there.
    MULTIPLICATIONS_PER_ELEMENT = 64
    # Kernels of training that go from element to element, shared by the team of team.pxi: elements for each thread, at
    # least. A helper of the team is woken up, if it sleeps at all, within microseconds.
    ELEMENTS_PER_THREAD = 1 << 15
    # Matrix products, shared by the team too: multiplications for each thread, at least; some 10 us.
    MULTIPLICATIONS_PER_THREAD = 1 << 19

# softmax, its relatives and cross-entropy, shared by the pool of fastsm/functional/_threads.py: elements of a call, at
# least. The pool has threads of Python, which take longer to wake up than the team. An estimate, not yet measured shape
# by shape.
PARALLEL_ELEMENTS = 1 << 18
# Products that are left to BLAS, which shares them as it likes (fastsm/training/_blas_threads.py): multiply-adds of the
# largest one of a training step from which on BLAS gets more than one thread. 784-512-512-10 in batches of 128 is above
# and gains from a second thread; 784-128-10 is below and loses.
LARGE_PRODUCT = 1 << 25
