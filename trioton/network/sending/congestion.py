"""Tells of tasks that wait in `send` for long, and for whom."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

import trio

from ..events import Congested
from ..local import LOCAL

if TYPE_CHECKING:
    from ..events import EventHub
    from .outlet import Outlet

logger = logging.getLogger("trioton.context")

CONGESTED_AFTER: Final = 5.0
"""Seconds that a task waits in `send` before a `Congested` event tells of it."""


class CongestionWatch:
    """Looks at outlets on which tasks wait.

    Args:
        hub: Where events go.
    """

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub
        self._lot = trio.lowlevel.ParkingLot()
        self._maybe_congested: dict[Outlet, None] = {}

    def watch(self, outlet: Outlet) -> None:
        """A task waits for room on an outlet."""
        self._maybe_congested[outlet] = None
        self._lot.unpark()

    @trio.lowlevel.enable_ki_protection
    async def run_forever(self) -> None:
        """Tell of tasks that have waited in `send` for long."""
        while True:
            if not self._maybe_congested:
                await self._lot.park()
            since = math.inf
            for outlet in list(self._maybe_congested):
                waiting_since = outlet.congested_since()
                # Sums are compared, as the sleep below has it: a difference would round otherwise, and we would not sleep at all.
                if waiting_since + CONGESTED_AFTER <= trio.current_time():
                    self._tell(outlet, trio.current_time() - waiting_since)
                    waiting_since = math.inf
                if waiting_since is math.inf:
                    del self._maybe_congested[outlet]
                since = min(since, waiting_since)
            if since < math.inf:
                await trio.sleep_until(since + CONGESTED_AFTER)

    def _tell(self, outlet: Outlet, seconds: float) -> None:
        outlet.told_congestion()
        branch = outlet.flow.slowest()
        if branch is not None and branch.key is not LOCAL:
            peer = branch.key.peer  # type: ignore[attr-defined]  # keys are associations, or LOCAL
            self._hub.emit(Congested(outlet.flow.slot, peer.id, seconds))
            logger.info("send on %r has waited %.1f s for %s", outlet.flow.slot, seconds, peer)
