"""The heartbeats of all links of a context, kept by one task.

A task for each link would take memory, and a visit to the scheduler and a raised `trio.Cancelled` each time that it has to look at
the clock. On a real network the heart beats at most ten times a second, however many links there are.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from .link import Link

PAUSE: Final = 0.1
"""Seconds between two beats at least, on a real network: what is due meanwhile waits, and is done together."""

BEATS: Final = 25
"""How many beats an interval has at least: where pings are frequent the pause is shorter, so that none is late by much."""

BATCH: Final = 32
"""Links that are looked at before other tasks have their turn."""


class Heart:
    """Lets each link look at its heartbeat when that is due.

    Args:
        pause: Seconds between two beats at least.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._due: list[tuple[float, int, Link]] = []
        self._entries: dict[Link, int] = {}
        self._numbers = itertools.count()
        self._earliest = -math.inf
        self._sleep = trio.CancelScope()
        self._sleeps_until = math.inf

    def watch(self, link: Link) -> None:
        """Look at a link from now on, or anew because the times of its heartbeat have changed."""
        at, number = link.machine.next_wake(), next(self._numbers)
        self._entries[link] = number
        heapq.heappush(self._due, (at, number, link))
        if at < self._sleeps_until:
            self._sleep.cancel()

    def postpone(self, link: Link) -> None:
        """A link need not be looked at as soon as was thought; if it is the one that the heart sleeps for, let it sleep on."""
        due = self._due
        if due and due[0][2] is link and due[0][1] == self._entries.get(link):
            number = self._entries[link] = next(self._numbers)
            heapq.heapreplace(due, (link.machine.next_wake(), number, link))
            at = max(due[0][0], self._earliest)
            if -math.inf < self._sleeps_until < at:
                self._sleep.deadline = self._sleeps_until = at

    def forget(self, link: Link) -> None:
        """A link is over."""
        self._entries.pop(link, None)
        if len(self._due) > 2 * len(self._entries) + BATCH:
            self._due = [entry for entry in self._due if self._entries.get(entry[2]) == entry[1]]
            heapq.heapify(self._due)

    @trio.lowlevel.enable_ki_protection
    async def run_forever(self) -> None:
        """Beat. To be run as a task of the context."""
        while True:
            at = self._sleeps_until = max(self._due[0][0], self._earliest) if self._due else math.inf
            with trio.CancelScope(deadline=at) as self._sleep:
                await trio.sleep_forever()
            self._sleeps_until = -math.inf
            # What has come while we were stopped is read first: silence that ends in the buffer is none.
            await trio.lowlevel.checkpoint()
            await self._beat()

    async def _beat(self) -> None:
        now = trio.current_time()
        self._earliest = now + self._pause
        looked_at = 0
        while self._due and self._due[0][0] <= now:
            _, number, link = heapq.heappop(self._due)
            if self._entries.get(link) != number:
                continue  # it was forgotten, or is watched anew
            link.beat(now)
            if link in self._entries:
                self.watch(link)
            looked_at += 1
            if looked_at % BATCH == 0:
                await trio.lowlevel.checkpoint()
