"""Looks after a while whether what was said to contexts that are no neighbours has come to anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .routed import Routed


class Watch:
    """The moments at which to look. One task looks after all; it sleeps while nothing is open."""

    def __init__(self) -> None:
        self._due: dict[Routed, float] = {}
        self._changed = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        self._wakes_at = 0.0

    def soon(self, routed: Routed, seconds: float) -> None:
        """Look after so many seconds, or earlier."""
        when = trio.current_time() + seconds
        if when < self._due.get(routed, when + 1):
            self._due[routed] = when
            if when < self._wakes_at:
                self._scope.cancel()
            self._changed.unpark()

    def begin(self, routed: Routed, seconds: float) -> None:
        """Look after so many seconds, unless that is to be done anyway."""
        if routed not in self._due:
            self.soon(routed, seconds)

    def forget(self, routed: Routed) -> None:
        """The association is over."""
        self._due.pop(routed, None)

    @trio.lowlevel.enable_ki_protection
    async def run_forever(self) -> None:
        """Look when it is time."""
        while True:
            while not self._due:
                await self._changed.park()
            self._wakes_at = min(self._due.values())
            with trio.CancelScope() as self._scope:
                await trio.sleep_until(self._wakes_at)
            now = trio.current_time()
            for routed in [routed for routed, when in self._due.items() if when <= now]:
                del self._due[routed]
                seconds = routed.check()
                if seconds is not None:
                    self.soon(routed, seconds)
