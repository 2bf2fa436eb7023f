"""What a target may cost: so long for so many bytes, on a machine that is as fast as this one is now."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable
from typing import Final

from .violation import Violation

PER_BLOCK: Final = 0.010
"""Seconds that a block of bytes, or a part of one, may take."""

BLOCK: Final = 64 * 1024

_REFERENCE: Final = 0.005
"""Seconds that `_work` takes on the machine for which `PER_BLOCK` was set."""

_MEMORY_FACTOR: Final = 4
_MEMORY_CONSTANT: Final = 2 * 1024 * 1024  # a large body has a buffer of up to 1028 KiB as soon as it is announced
_TRIES: Final = 3


def _work() -> int:
    total = 0
    for number in range(60_000):
        total = (total * 31 + number) & 0xFFFF
    return total


def measure_slowness() -> float:
    """How many times slower than the reference this machine is now; at least 1."""
    return max(1.0, min(seconds_of(_work) for _ in range(3)) / _REFERENCE)


def seconds_of(run: Callable[[], object]) -> float:
    """The computing time that a function takes."""
    started = time.thread_time()
    run()
    return time.thread_time() - started


def check_time(target: Callable[[bytes], None], data: bytes, most: float) -> float:
    """Run a target, again if it took too long, since something else may have been the cause; gives the seconds that it took.

    Args:
        target: The target.
        data: Its bytes.
        most: Seconds that each block of the data may take.

    Raises:
        Violation: It took too long each time.
    """
    allowed = most * math.ceil(max(1, len(data)) / BLOCK)
    took = math.inf
    for _ in range(_TRIES):
        took = min(took, seconds_of(lambda: target(data)))
        if took <= allowed:
            return took
    raise Violation(f"{len(data)} bytes took {took * 1000:.1f} ms of computing time; {allowed * 1000:.1f} are allowed")


def check_memory(target: Callable[[bytes], None], data: bytes) -> int:
    """Run a target, and see how much memory it takes at most; gives that.

    Raises:
        Violation: It was more than four times the data and two MiB.
    """
    allowed = _MEMORY_FACTOR * len(data) + _MEMORY_CONSTANT
    tracemalloc.start()
    try:
        target(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    if peak > allowed:
        raise Violation(f"{len(data)} bytes took {peak} bytes of memory; {allowed} are allowed")
    return peak
