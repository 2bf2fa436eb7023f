"""How often a busy task gives the others their turn.

A checkpoint costs twenty times what a message does. So `send` and `receive` check for cancellation each time, and yield only
when the context has done `OPERATIONS` of them, or when `SECONDS` have passed since the last yield, or when they must wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

OPERATIONS: Final = 64
SECONDS: Final = 0.001
_CLOCK_EVERY: Final = 8

_strict = 0


class Budget:
    """What the tasks of one context may do before one of them yields.

    Args:
        has_clock: Whether time counts too; not in a simulation, where only the count is the same in every run.

    Attributes:
        left: Operations until the clock is looked at or a yield is due. Users subtract what they do, and call `spend` below 0.
    """

    __slots__ = ("_has_clock", "_rounds", "_started", "left")

    def __init__(self, *, has_clock: bool) -> None:
        self._has_clock = has_clock
        self._rounds = 0
        self._started = 0.0
        self.left = 0
        self._refill()

    def _refill(self) -> None:
        self._rounds = 0 if _strict else OPERATIONS // _CLOCK_EVERY - 1
        self.left = 0 if _strict else _CLOCK_EVERY - 1
        if self._has_clock:
            self._started = time.perf_counter()

    async def spend(self) -> None:
        """Yield if the whole budget is spent; called when `left` has fallen below 0. A checkpoint only then."""
        if self._rounds > 0 and not (self._has_clock and time.perf_counter() - self._started > SECONDS):
            self._rounds -= 1
            self.left += _CLOCK_EVERY
            if self.left >= 0:
                return
        self._refill()
        await trio.lowlevel.cancel_shielded_checkpoint()


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
