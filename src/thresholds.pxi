# At how many elements a second thread is used, and why: all numbers that decide it.
#
# One rule: the work of a thread must take several times as long as handing it over. Kinds of work differ in the cost of
# an element and in how it is handed over, so each has its own number.

cdef enum:
    # From this many elements on kernels release Python's lock (the GIL), so that other threads of Python run meanwhile;
    # below, a call is over before that pays.
    ELEMENTS_WITHOUT_GIL = 1 << 12
    # Multiplications of a matrix product that count as one element there.
    MULTIPLICATIONS_PER_ELEMENT = 64
    # Kernels of training that go from element to element, shared by the team of team.pxi: elements for each thread, at
    # least. A helper of the team is woken up, if it sleeps at all, within microseconds.
    ELEMENTS_PER_THREAD = 1 << 15
    # Matrix products: multiplications for each thread, at least; some 10 us.
    MULTIPLICATIONS_PER_THREAD = 1 << 19
    # softmax, its relatives and cross-entropy: work for each thread, at least; some 25 us. The unit is what softmax's
    # VJP does with an element of float32; double counts twice, and an exponential as many times as here. Callers may
    # pause for any time between these calls, so helpers mostly sleep: a call of 50 us is as fast with one that first
    # has to wake up, and 1.9 times as fast with one that is awake.
    WORK_PER_THREAD = 1 << 17
    EXPONENTIAL_WORK = 3

# Products that are left to BLAS, which shares them as it likes (fastsm/training/_blas_threads.py): multiply-adds of the
# largest one of a training step from which on BLAS gets more than one thread. 784-512-512-10 in batches of 128 is above
# and gains from a second thread; 784-128-10 is below and loses.
LARGE_PRODUCT = 1 << 25
