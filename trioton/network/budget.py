"""How often a busy task gives the others their turn.

A checkpoint costs several times what a message does. So `send` and `receive` check for cancellation each time, and yield only
when the context has done `OPERATIONS` of them, or when `SECONDS` have passed since the last yield, or when they must wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

OPERATIONS: Final = 64
SECONDS: Final = 0.001
QUANTUM: Final = 8
"""Operations that a channel does before it asks the budget."""

_strict = 0


class Budget:
    """What the tasks of one context may do before one of them yields.

    Args:
        has_clock: Whether time counts too; not in a simulation, where only the count is the same in every run.

    Attributes:
        quantum: Operations that a channel may do without asking; 1 if each of them must yield.
    """

    __slots__ = ("_has_clock", "_left", "_started", "quantum")

    def __init__(self, *, has_clock: bool) -> None:
        self.quantum = 1 if _strict else QUANTUM
        self._has_clock = has_clock
        self._left = 0
        self._started = 0.0
        self.refill()

    def refill(self) -> None:
        """A task has yielded: it, and those whose turn came with that, have done nothing yet."""
        self._left = OPERATIONS if self.quantum > 1 else 1
        if self._has_clock:
            self._started = time.perf_counter()

    def spend(self, operations: int) -> bool:
        """Take note of operations; whether the task that did them must yield now."""
        self._left -= operations
        if self._left > 0 and not (self._has_clock and time.perf_counter() - self._started > SECONDS):
            return False
        self.refill()
        return True


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
