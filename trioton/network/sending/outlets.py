"""Which outlets a context has: those that are open, and those that were closed and whose flows still have to end."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .outlet import Outlet


class Outlets:
    """The outlets of a context. They are put in and taken out by `Lives`.

    Attributes:
        open: The open outlets by slot.
        ending: Those that were closed, by slot and stream.
        dropped: Messages that nobody listened to, of outlets that have ended.
        on_open: Called with each new outlet of a slot on which anybody may listen.
        on_end: Called with the slot when such an outlet is gone.
    """

    def __init__(self) -> None:
        self.open: dict[str, Outlet] = {}
        self.ending: dict[tuple[str, int], Outlet] = {}
        self.dropped = 0
        self.on_open: Callable[[Outlet], None] = lambda _outlet: None
        self.on_end: Callable[[str], None] = lambda _slot: None

    def all(self) -> list[Outlet]:
        """Those that are open and those that still have to end."""
        return [*self.open.values(), *self.ending.values()]

    def on(self, slot: str) -> list[Outlet]:
        """The outlets of a slot, older ones first."""
        ending = [outlet for key, outlet in self.ending.items() if key[0] == slot]
        return [*ending, self.open[slot]] if slot in self.open else ending

    def find(self, slot: str, stream: int) -> Outlet | None:
        """The outlet of one flow, or None."""
        outlet = self.open.get(slot)
        if outlet is not None and outlet.flow.stream == stream:
            return outlet
        return self.ending.get((slot, stream))

    def has_older(self, key: Hashable, outlet: Outlet) -> bool:
        """Whether an earlier flow on the same slot has not ended yet for one who gets them."""
        flow = outlet.flow
        return any(older.flow.stream < flow.stream and key in older.flow.branches for older in self.on(flow.slot))

    @property
    def unheard(self) -> int:
        """Messages so far that nobody listened to."""
        return self.dropped + sum(outlet.dropped for outlet in self.all())
