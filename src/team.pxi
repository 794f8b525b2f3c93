# A team of threads that share the work of a kernel, without Python and its lock. When they do: thresholds.pxi.
#
# One thread at a time posts work, cut into blocks, and takes blocks itself; helpers that are awake take others. The
# posting thread does not wait for helpers that have taken no block: without any, as after a fork, it does all of them.
# Helpers look for work for some 100 us, as the kernels of a training step follow each other at such distances, and
# then sleep. A kernel gives the same bits however its work is cut. Helpers are threads of Python's, which are started
# when there is work for them, and never see Python again.

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock, PyThread_type_lock,
    WAIT_LOCK,
)
from libc.stdint cimport uint64_t

cdef extern from "threads.h" nogil:
    uint64_t shared_load(uint64_t *p)
    void shared_store(uint64_t *p, uint64_t value)
    uint64_t shared_exchange(uint64_t *p, uint64_t value)
    void shared_increment(uint64_t *p)
    bint shared_compare_exchange(uint64_t *p, uint64_t before, uint64_t after)
    void pause_thread()
    void yield_thread()

cdef enum:
    MOST_HELPERS = 255
    SPINS = 4000            # looks for work, before a helper sleeps
    # Blocks for each thread where each of them has this many times what makes another thread pay.
    BLOCKS_PER_THREAD = 4
    PLENTY = 8
    BLOCK_BITS = 16         # of a ticket: blocks that are not taken yet; above them the number of the work
    CACHE_LINE = 64         # elements: parts begin at multiples, so that no two threads write to one line

ctypedef void (*Part)(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil

cdef struct Helper:
    PyThread_type_lock lock     # held while the helper is awake or sleeps on it
    uint64_t sleeps

cdef struct Team:
    uint64_t busy               # whether work is posted
    uint64_t ticket
    uint64_t finished           # blocks
    Part part
    void *work
    Py_ssize_t count
    Py_ssize_t size             # of a block
    uint64_t threads            # that work may be shared by, the posting one included
    Py_ssize_t least_work       # WORK_PER_THREAD, but in tests
    uint64_t helpers            # these two are also read without Python's lock
    Helper[MOST_HELPERS] helper

cdef Team team
team.threads = 1
team.least_work = WORK_PER_THREAD
cdef object start_helper = None


cdef bint take_block() noexcept nogil:
    """Do one block of the posted work; return False if none is left."""
    cdef uint64_t ticket = shared_load(&team.ticket)
    cdef Py_ssize_t left, first
    while True:
        left = <Py_ssize_t>(ticket & ((1 << BLOCK_BITS) - 1))
        if left == 0:
            return False
        if shared_compare_exchange(&team.ticket, ticket, ticket - 1):
            break
        ticket = shared_load(&team.ticket)
    # The work cannot change before this block is finished, and is that of the ticket, whose number never comes again.
    first = (left - 1) * team.size
    team.part(team.work, first, min(first + team.size, team.count))
    shared_increment(&team.finished)
    return True


cdef inline Py_ssize_t useful_threads(Py_ssize_t count, Py_ssize_t least, Py_ssize_t most) noexcept nogil:
    """Return how many threads may share `count` rows or elements: `most`, if not 0, with at least `least` for each."""
    return min(most if most else <Py_ssize_t>shared_load(&team.threads), count // max(least, 1))


cdef inline Py_ssize_t helpers() noexcept nogil:
    """Return how many helpers there are."""
    return <Py_ssize_t>shared_load(&team.helpers)


cdef void share_with_helpers(
    Part part, void *work, Py_ssize_t count, Py_ssize_t unit, Py_ssize_t least, Py_ssize_t most,
) noexcept nogil:
    """Do part(work, first, last) for ranges that make up `count`: multiples of `unit`, none much below `least`."""
    cdef Py_ssize_t threads = min(useful_threads(count, least, most), helpers() + 1), blocks
    cdef uint64_t ticket
    cdef int i, spins = 0
    if threads < 2 or shared_exchange(&team.busy, 1):
        part(work, 0, count)
        return
    # Where there is plenty, more blocks than threads: a thread that is held up leaves its share to the others.
    blocks = max(threads, min(BLOCKS_PER_THREAD * threads, count // (PLENTY * max(least, 1))))
    team.part, team.work, team.count = part, work, count
    team.size = (count + blocks - 1) // blocks
    team.size = (team.size + unit - 1) // unit * unit
    blocks = (count + team.size - 1) // team.size
    shared_store(&team.finished, 0)
    ticket = (shared_load(&team.ticket) >> BLOCK_BITS) + 1
    shared_store(&team.ticket, (ticket << BLOCK_BITS) + <uint64_t>blocks)
    for i in range(<int>threads - 1):
        if shared_exchange(&team.helper[i].sleeps, 0):
            PyThread_release_lock(team.helper[i].lock)
    while take_block():
        pass
    while shared_load(&team.finished) < <uint64_t>blocks:
        spins += 1
        if spins < SPINS:
            pause_thread()
        else:
            yield_thread()
    shared_store(&team.busy, 0)


cdef int share(
    Part part, void *work, Py_ssize_t count, Py_ssize_t unit, Py_ssize_t least, Py_ssize_t elements,
    Py_ssize_t most=0,
) except -1:
    """Do part(work, first, last) for ranges that make up `count`, without the GIL if that pays for `elements`.

    Ranges begin at multiples of `unit`; with less than twice `least` there is no second thread, and never more than
    `most` if that is not 0.
    """
    cdef PyThreadState *state
    cdef Py_ssize_t wanted = min(useful_threads(count, least, most), MOST_HELPERS + 1), before = -1
    while before < helpers() and helpers() + 1 < wanted and start_helper is not None:
        before = helpers()
        if not start_helper(wanted):
            break
    state = release_gil(elements)
    share_with_helpers(part, work, count, unit, least, most)
    restore_gil(state)
    return 0


cdef inline int share_elements(Part part, void *work, Py_ssize_t count) except -1:
    """Share what goes from element to element."""
    return share(part, work, count, CACHE_LINE, ELEMENTS_PER_THREAD, count)


cdef void help_forever(Helper *helper) noexcept nogil:
    """Do blocks of whatever is posted, and sleep when there has been none for a while."""
    cdef int spins = 0
    while True:
        if take_block():
            spins = 0
        elif spins < SPINS:
            spins += 1
            pause_thread()
        else:
            shared_store(&helper.sleeps, 1)
            # Work that was posted before is seen here; a thread that posts from now on sees that this helper sleeps.
            if (shared_load(&team.ticket) & ((1 << BLOCK_BITS) - 1)) == 0 or not shared_exchange(&helper.sleeps, 0):
                PyThread_acquire_lock(helper.lock, WAIT_LOCK)
            spins = 0


def help_team(ready):
    """Be a helper, to the end of the process, after a call of `ready`; for daemon threads.

    Returns at once if there are as many as there can be: several may be started at the same time.
    """
    cdef uint64_t place = shared_load(&team.helpers)
    cdef PyThread_type_lock lock = PyThread_allocate_lock()
    if lock == NULL:
        raise MemoryError()
    PyThread_acquire_lock(lock, WAIT_LOCK)
    while place < MOST_HELPERS and not shared_compare_exchange(&team.helpers, place, place + 1):
        place = shared_load(&team.helpers)
    if place == MOST_HELPERS:
        PyThread_release_lock(lock)
        PyThread_free_lock(lock)
        ready()
        return
    team.helper[place].lock = lock      # not read before the helper has said that it sleeps
    ready()
    with nogil:
        help_forever(&team.helper[place])


def set_team(int threads, start, Py_ssize_t least_work=WORK_PER_THREAD):
    """Let kernels share their work among `threads`.

    `start(threads)` starts a helper unless there are so many threads, and returns whether it could. Tests set
    `least_work`, to share small arrays.
    """
    global start_helper
    team.least_work = least_work
    shared_store(&team.threads, <uint64_t>min(threads, MOST_HELPERS + 1))
    start_helper = start


def forget_team():
    """Forget all helpers, as the child of a fork has none."""
    cdef int i
    for i in range(MOST_HELPERS):
        shared_store(&team.helper[i].sleeps, 0)
    shared_store(&team.helpers, 0)
    shared_store(&team.ticket, shared_load(&team.ticket) >> BLOCK_BITS << BLOCK_BITS)
    shared_store(&team.busy, 0)


def team_size():
    """Return the number of threads, helpers and the calling one."""
    return helpers() + 1
