# A team of threads that share the work of a kernel, without Python and its lock.
#
# One thread at a time posts work, cut into blocks, and takes blocks itself; helpers that are awake take others. Nobody
# waits for a helper that has not taken a block: with none, as after a fork, the posting thread does all of them.
# Helpers look for work for some 100 us, as the kernels of a training step follow each other at such distances, and
# then sleep. A kernel gives the same bits however its work is cut. Helpers are threads of Python's, which are started
# when there is work for them, and never see Python again.

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock, PyThread_type_lock,
    WAIT_LOCK,
)

cdef extern from "threads.h" nogil:
    uint64_t atomic_get(uint64_t *p)
    void atomic_set(uint64_t *p, uint64_t value)
    uint64_t atomic_swap(uint64_t *p, uint64_t value)
    void atomic_count(uint64_t *p)
    bint atomic_replace(uint64_t *p, uint64_t before, uint64_t after)
    void pause_thread()
    void yield_thread()

cdef enum:
    MOST_HELPERS = 255
    LOOKS = 4000            # for work, before a helper sleeps
    BLOCKS = 4              # for each thread, of at least PLENTY times what makes another thread pay
    PLENTY = 8
    BLOCK_BITS = 16         # of a ticket: blocks that nobody has taken; above them the number of the work

# For kernels that go from element to element: between two threads' parts, and for each of several threads at least.
cdef enum:
    CACHE_LINE = 64
    ELEMENTS_SHARE = 1 << 15

ctypedef void (*Part)(void *work, Py_ssize_t first, Py_ssize_t last) noexcept nogil

cdef struct Helper:
    PyThread_type_lock bed      # held while the helper is awake or sleeps on it
    uint64_t sleeps

cdef struct Team:
    uint64_t busy               # whether somebody has posted work
    uint64_t ticket
    uint64_t finished           # blocks
    Part part
    void *work
    Py_ssize_t count
    Py_ssize_t size             # of a block
    uint64_t threads            # that work may be shared by, the posting one included
    uint64_t helpers            # these two are also read without Python's lock
    Helper[MOST_HELPERS] helper

cdef Team team
team.threads = 1
cdef object start_helper = None


cdef bint take_block() noexcept nogil:
    """Do one block of the posted work; False if none is left."""
    cdef uint64_t ticket = atomic_get(&team.ticket)
    cdef Py_ssize_t left, first
    while True:
        left = <Py_ssize_t>(ticket & ((1 << BLOCK_BITS) - 1))
        if left == 0:
            return False
        if atomic_replace(&team.ticket, ticket, ticket - 1):
            break
        ticket = atomic_get(&team.ticket)
    # The work cannot change before this block is finished, and is that of the ticket, whose number never comes again.
    first = (left - 1) * team.size
    team.part(team.work, first, min(first + team.size, team.count))
    atomic_count(&team.finished)
    return True


cdef inline Py_ssize_t useful_threads(Py_ssize_t count, Py_ssize_t least) noexcept nogil:
    return min(<Py_ssize_t>atomic_get(&team.threads), count // max(least, 1))


cdef inline Py_ssize_t helpers() noexcept nogil:
    return <Py_ssize_t>atomic_get(&team.helpers)


cdef PyThreadState *begin(Py_ssize_t elements, Py_ssize_t count, Py_ssize_t least) except? NULL:
    """Before `share`: start the helpers that it has use for, and release the GIL if that pays for so many elements."""
    while helpers() < MOST_HELPERS and helpers() + 1 < useful_threads(count, least) and start_helper is not None:
        if not start_helper():
            break
    return let_go(elements)


cdef void share(Part part, void *work, Py_ssize_t count, Py_ssize_t unit, Py_ssize_t least) noexcept nogil:
    """Do part(work, first, last) for ranges that make up `count`: of a multiple of `unit`, none much below `least`."""
    cdef Py_ssize_t threads = min(useful_threads(count, least), helpers() + 1), blocks
    cdef uint64_t ticket
    cdef int i, looks = 0
    if threads < 2 or atomic_swap(&team.busy, 1):
        part(work, 0, count)
        return
    # Where there is plenty, more blocks than threads: whoever is held up leaves its share to the others.
    blocks = max(threads, min(BLOCKS * threads, count // (PLENTY * max(least, 1))))
    team.part, team.work, team.count = part, work, count
    team.size = (count + blocks - 1) // blocks
    team.size = (team.size + unit - 1) // unit * unit
    blocks = (count + team.size - 1) // team.size
    atomic_set(&team.finished, 0)
    ticket = (atomic_get(&team.ticket) >> BLOCK_BITS) + 1
    atomic_set(&team.ticket, (ticket << BLOCK_BITS) + <uint64_t>blocks)
    for i in range(<int>threads - 1):
        if atomic_swap(&team.helper[i].sleeps, 0):
            PyThread_release_lock(team.helper[i].bed)
    while take_block():
        pass
    while atomic_get(&team.finished) < <uint64_t>blocks:
        looks += 1
        if looks < LOOKS:
            pause_thread()
        else:
            yield_thread()
    atomic_set(&team.busy, 0)


cdef void help_forever(Helper *helper) noexcept nogil:
    cdef int looks = 0
    while True:
        if take_block():
            looks = 0
        elif looks < LOOKS:
            looks += 1
            pause_thread()
        else:
            atomic_set(&helper.sleeps, 1)
            # Work that was posted before is seen here; whoever posts any from now on sees that this helper sleeps.
            if (atomic_get(&team.ticket) & ((1 << BLOCK_BITS) - 1)) == 0 or not atomic_swap(&helper.sleeps, 0):
                PyThread_acquire_lock(helper.bed, WAIT_LOCK)
            looks = 0


def help_team(ready):
    """Be a helper, to the end of the process, after a call of `ready`; for threads that nobody waits for.

    Returns at once if there are as many as there can be: several may be started at the same time.
    """
    cdef uint64_t place = atomic_get(&team.helpers)
    cdef PyThread_type_lock bed = PyThread_allocate_lock()
    if bed == NULL:
        raise MemoryError()
    PyThread_acquire_lock(bed, WAIT_LOCK)
    while place < MOST_HELPERS and not atomic_replace(&team.helpers, place, place + 1):
        place = atomic_get(&team.helpers)
    if place == MOST_HELPERS:
        PyThread_release_lock(bed)
        PyThread_free_lock(bed)
        ready()
        return
    team.helper[place].bed = bed        # nobody looks at it before the helper has said that it sleeps
    ready()
    with nogil:
        help_forever(&team.helper[place])


def set_team(int threads, start):
    """Let kernels share their work among so many threads; `start()` starts a helper, and says whether it could."""
    global start_helper
    atomic_set(&team.threads, <uint64_t>min(threads, MOST_HELPERS + 1))
    start_helper = start


def forget_team():
    """Be alone again, as the child of a fork is."""
    cdef int i
    for i in range(MOST_HELPERS):
        atomic_set(&team.helper[i].sleeps, 0)
    atomic_set(&team.helpers, 0)
    atomic_set(&team.ticket, atomic_get(&team.ticket) >> BLOCK_BITS << BLOCK_BITS)
    atomic_set(&team.busy, 0)


def team_size():
    """The number of threads that there are, helpers and the calling one."""
    return helpers() + 1
