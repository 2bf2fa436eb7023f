"""How jobs find room: how many each pusher may send to a puller, and who is next when there is not enough. No I/O, no clock.

A puller has room for as many jobs as tasks ask there, and for some that may wait. It tells each pusher how many it may send (its *room*),
and counts down what comes. A pusher whose room is used up is remembered, in turn, and is told as soon as there is room again, which is
kept for it, for a moment. So a pusher that was told once never sends what there is no room for, unless it had left that room unused and
others have got it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

P = TypeVar("P", bound=Hashable)

KEPT_FOR: Final = 0.1
"""Seconds that room is kept for a pusher, if somebody else wants it: a round trip, generously."""


class Turns(Generic[P]):
    """The room of a puller, for pushers of any kind.

    Attributes:
        free: Jobs for which there is room now, whoever sends them. The owner keeps it up to date.
    """

    def __init__(self) -> None:
        self.free = 0
        self._told: dict[P, int] = {}
        self._waiting: dict[P, None] = {}
        self._kept: dict[P, tuple[int, float]] = {}

    @property
    def spare(self) -> int:
        """Room that is kept for nobody; negative if more is kept than there is."""
        return self.free - sum(count for count, _ in self._kept.values())

    @property
    def must_expire(self) -> bool:
        """Whether room is kept that others wait for."""
        return bool(self._kept and self._waiting)

    def enter(self, pusher: P, now: float) -> bool:
        """A job has come: whether there is room. If so the owner lowers `free` by one."""
        kept, since = self._kept.pop(pusher, (0, 0.0))
        if kept > 1:
            self._kept[pusher] = kept - 1, since
        if not kept and self.spare <= 0:
            self.expire(now)
        may = self.free > 0 if kept else self.spare > 0
        self._told[pusher] = left = self._told.get(pusher, 1) - 1
        if not may:
            self._kept.pop(pusher, None)
        if not may or left <= 0:
            self._wait(pusher)
        return may

    def refused(self, pusher: P) -> None:
        """A job was turned away, whatever room there is: the pusher is told again. `to_invite` is to follow."""
        self._kept.pop(pusher, None)
        self._wait(pusher)

    def _wait(self, pusher: P) -> None:
        self._told[pusher] = 0
        self._waiting.setdefault(pusher, None)

    def room_for(self, pusher: P) -> int:
        """The room to tell a pusher of, with an answer that it gets anyway; it is remembered if there is none.

        That room is kept for nobody. So where there are several pushers they get what `to_invite` gives them, and no more.
        """
        room = self._kept.get(pusher, (0, 0.0))[0]
        if len(self._told) <= 1:
            room = max(room, self.spare)
        room = min(self.free, room)
        if room > 0:
            self._told[pusher] = room
            self._waiting.pop(pusher, None)
        else:
            self._wait(pusher)
        return max(0, room)

    def to_invite(self, now: float) -> list[tuple[P, int]]:
        """Those who wait and for whom there is room now, each with how much; it is kept for them."""
        invited: list[tuple[P, int]] = []
        while self._waiting and (spare := self.spare) > 0:
            pusher = next(iter(self._waiting))
            room = spare if len(self._waiting) == 1 else 1
            del self._waiting[pusher]
            room += self._kept.get(pusher, (0, 0.0))[0]
            self._kept[pusher] = room, now
            self._told[pusher] = room
            invited.append((pusher, room))
        return invited

    def passed(self, pusher: P) -> None:
        """A pusher has nothing to send into the room that was kept for it. `to_invite` is to follow."""
        self._kept.pop(pusher, None)

    def forget(self, pusher: P) -> None:
        """A pusher is gone. `to_invite` is to follow."""
        self._kept.pop(pusher, None)
        self._waiting.pop(pusher, None)
        self._told.pop(pusher, None)

    def expire(self, now: float) -> None:
        """Let go of room that was kept in vain. `to_invite` is to follow."""
        for pusher in [pusher for pusher, (_, since) in self._kept.items() if now - since >= KEPT_FOR]:
            del self._kept[pusher]
