"""Cancels what a task does at its first, second, third, ... moment, so that each moment at which it can happen is tried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


class CancelAt(trio.abc.Instrument):
    """Runs something, and cancels it at one moment: when its task goes to wait, or has been woken and has not gone on yet.

    Args:
        moment: The number of the moment, from 1 on.

    Attributes:
        is_done: Whether the moment has come; if not, what was run had fewer moments.
        ended: Set when what was run has ended, in one way or the other.
    """

    def __init__(self, moment: int) -> None:
        self.is_done = False
        self.ended = trio.Event()
        self._left = moment
        self._task: trio.lowlevel.Task | None = None
        self._scope: trio.CancelScope | None = None

    async def run(self, async_fn: Callable[[], Awaitable[object]]) -> None:
        """Run `async_fn` in this task."""
        self._task = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(self)
        try:
            with trio.CancelScope() as self._scope:
                await async_fn()
        finally:
            trio.lowlevel.remove_instrument(self)
            self.ended.set()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """The task goes to wait, or ends."""
        self._moment_of(task)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """The task was woken."""
        self._moment_of(task)

    def _moment_of(self, task: trio.lowlevel.Task) -> None:
        if task is self._task and self._scope is not None and not self.is_done:
            self._left -= 1
            if not self._left:
                self.is_done = True
                self._scope.cancel()
