"""Time several candidates, interleaved: a change of clock or load affects all of them.

One round times a block of calls of each candidate, one candidate after the other. Every block begins with a
call that is not timed, which brings the data into the caches as far as it fits there, and with fresh inputs
where calls overwrite them. The best block is what the code can do; the median tells how quiet the machine
was.
"""

import contextlib
import gc
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter_ns
from typing import Any

BLOCK_NS = 1_000_000
# A call this long gains little from a warm-up: its data fits in no cache, or its work hides the loading.
NO_WARM_UP_NS = 20_000_000
# Ways to call a library that are this much slower than its best are dropped after a few rounds.
SLOW_WAY = 1.5
TRIAL_ROUNDS = 3
# Short cells run more rounds than requested until their time is used up, up to this multiple.
MOST_ROUNDS = 10


@dataclass
class Call:
    """One way of doing an operation: the timed function, and functions to check and repeat it."""

    candidate: str  # such as "torch"
    way: str  # how it is called, such as "softmax(out=)"
    run: Callable[[], object]
    read: Callable[[Any], object] = lambda returned: returned  # what `run` returned -> array(s)
    restore: Callable[[], None] | None = None  # refills what `run` overwrites
    context: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    most_calls: int | None = None  # limits calls on their own results, which would end in subnormal numbers

    def once(self) -> object:
        """Run one call from fresh inputs and return its result."""
        if self.restore is not None:
            self.restore()
        with self.context():
            return self.read(self.run())


@dataclass
class Timing:
    """Nanoseconds a call, over the blocks of all rounds."""

    candidate: str
    way: str
    calls: int
    blocks: list[float]

    @property
    def best(self) -> float:
        """The best block."""
        return min(self.blocks)

    @property
    def median(self) -> float:
        """The median block: far above the best if the machine was busy."""
        return statistics.median(self.blocks)


def interleave(calls: Sequence[Call], rounds: int, seconds: float = 0.0) -> list[Timing]:
    """Time `calls` for at least `rounds` rounds, and on until `seconds` are over."""
    timings = [Timing(call.candidate, call.way, _calls_per_block(call), []) for call in calls]
    pairs = list(zip(calls, timings, strict=True))
    start = perf_counter_ns()
    done = 0
    gc.collect()
    gc.disable()
    try:
        while done < rounds or (_since(start) < seconds and done < MOST_ROUNDS * rounds):
            # Start with a different one each time, so that no call always follows the same one.
            first = done % max(1, len(pairs))
            for call, timing in pairs[first:] + pairs[:first]:
                timing.blocks.append(_block(call, timing.calls, warm_up=_is_short(timing)))
            done += 1
            if done == TRIAL_ROUNDS:
                pairs = _without_slow_ways(pairs)
    finally:
        gc.enable()
    return timings


def fastest(timings: Iterable[Timing]) -> dict[str, Timing]:
    """Return the best way of calling each candidate."""
    best: dict[str, Timing] = {}
    for timing in timings:
        if timing.candidate not in best or timing.best < best[timing.candidate].best:
            best[timing.candidate] = timing
    return best


def attempt(rejected: dict[Any, str], name: Any, function: Callable[..., Any], *arguments: object) -> Any:
    """Run a library's code: report its exceptions instead of ending the benchmark."""
    try:
        return function(*arguments)
    except Exception as error:
        rejected[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        return None


def _block(call: Call, count: int, warm_up: bool) -> float:
    run = call.run
    if warm_up:
        call.once()
    if call.restore is not None:
        call.restore()
    with call.context():
        start = perf_counter_ns()
        for _ in repeat(None, count):
            run()
        return (perf_counter_ns() - start) / count


def _calls_per_block(call: Call) -> int:
    """Return the number of calls that fill a block, found by doubling until a trial is long enough."""
    count = 1
    most = call.most_calls or BLOCK_NS
    while True:
        each = _block(call, count, warm_up=False)
        if count >= most or each * count >= BLOCK_NS / 4:
            return max(1, min(most, round(BLOCK_NS / each)))
        count = min(most, count * 2)


def _is_short(timing: Timing) -> bool:
    return not timing.blocks or timing.best < NO_WARM_UP_NS


def _without_slow_ways(pairs: list[tuple[Call, Timing]]) -> list[tuple[Call, Timing]]:
    best = fastest(timing for _, timing in pairs)
    return [(call, timing) for call, timing in pairs if timing.best <= SLOW_WAY * best[timing.candidate].best]


def _since(start: int) -> float:
    return (perf_counter_ns() - start) * 1e-9
