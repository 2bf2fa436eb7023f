"""How often a busy task gives the others their turn.

A checkpoint costs several times what a message does. So `send` and `receive` check for cancellation each time, and yield only
when the context has done `OPERATIONS` of them, or when `SECONDS` have passed since the last yield, or when they must wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

OPERATIONS: Final = 128
SECONDS: Final = 0.001
MOST_QUANTUM: Final = 32
"""Operations that a channel does before it asks again, as long as so many take only a small part of `SECONDS`."""

_strict = 0


class Pace:
    """What the tasks of one context may do before one of them yields.

    Args:
        has_clock: Whether time counts too; not in a simulation, where only the count is the same in every run.

    Attributes:
        quantum: Operations that a channel may do without asking; 1 if each of them must yield.
    """

    __slots__ = ("_has_clock", "_left", "_looked", "_operations", "_started", "quantum")

    def __init__(self, *, has_clock: bool) -> None:
        self.quantum = 1 if _strict else MOST_QUANTUM
        self._operations = 1 if _strict else OPERATIONS
        self._has_clock = has_clock and not _strict
        self._left = 0
        self._started = self._looked = 0.0
        self.refill()

    def refill(self) -> None:
        """A task has yielded: it, and those whose turn came with that, have done nothing yet."""
        self._left = self._operations
        if self._has_clock:
            self._started = self._looked = time.perf_counter()

    def spend(self, operations: int) -> bool:
        """Take note of operations; whether the task that did them must yield now."""
        self._left -= operations
        is_spent = self._left <= 0
        if self._has_clock:
            now = time.perf_counter()
            is_spent = is_spent or now - self._started > SECONDS
            self._adapt((now - self._looked) / operations)
            self._looked = now
        if is_spent:
            self.refill()
        return is_spent

    def _adapt(self, seconds: float) -> None:
        """So much one operation took, with what its caller did: ask often enough that the next ones cannot take much too long."""
        self.quantum = max(1, min(MOST_QUANTUM, int(SECONDS / 4 / max(seconds, 1e-9))))


@contextmanager
def always_yield() -> Iterator[None]:
    """Make every `send` and `receive` of the contexts opened inside the block a full checkpoint, as Trio's own channels are.

    For tests that rely on the tasks taking turns at each message, and to find code that relies on them not doing so.
    """
    global _strict
    _strict += 1
    try:
        yield
    finally:
        _strict -= 1
