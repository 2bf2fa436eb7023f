"""How requests find room: which replier gets the next one, and whom a replier lets in next. No I/O, no clock.

A requester sends to a replier no more requests at once than that runs (its *capacity*), and spreads them by room. Other requesters
do the same, so a replier may have no room left for one. Then it says so, and the request is as free as if it had never been sent.
The replier remembers who was turned away, in turn, and keeps the next free room for them, for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, Protocol, TypeVar

R = TypeVar("R", bound=Hashable)

KEPT_FOR: Final = 0.1
"""Seconds that room is kept for one who was turned away, if somebody else wants it: a round trip, generously."""


class Candidate:
    """A replier, as a requester sees it.

    Attributes:
        capacity: Requests that it runs at once.
        running: Those that this requester has sent and that have not ended.
        is_full: Whether it has turned a request away and has not said since that there is room.
        last_chosen: A number that grows with each choice.
    """

    __slots__ = ("capacity", "is_full", "last_chosen", "running")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.running = 0
        self.is_full = False
        self.last_chosen = 0

    @property
    def room(self) -> int:
        """Requests that may be sent to it, as far as is known."""
        return 0 if self.is_full else self.capacity - self.running

    def ended(self) -> None:
        """One of this requester's requests has ended there, so there may be room again."""
        self.running -= 1
        self.is_full = False

    def turned_away(self) -> None:
        """It had no room for a request."""
        self.running -= 1
        self.is_full = True


class HasRoom(Protocol):
    """What `Choice` needs to know.

    Attributes:
        last_chosen: A number that grows with each choice; 0 at first.
    """

    last_chosen: int

    @property
    def room(self) -> int:
        """What may be sent to it, as far as is known."""


C = TypeVar("C", bound=HasRoom)


class Choice(Generic[C]):
    """Chooses among repliers: the one with most room, and of several such the one that was not chosen for longest."""

    def __init__(self) -> None:
        self._count = 0

    def choose(self, candidates: Iterable[C], is_reachable: Callable[[C], bool]) -> C | None:
        """Give the replier that shall get the next request, or None if none has room; those out of reach come last."""
        best: C | None = None
        best_key: tuple[bool, int, int] | None = None
        for candidate in candidates:
            room = candidate.room
            if room > 0:
                key = is_reachable(candidate), room, -candidate.last_chosen
                if best_key is None or key > best_key:
                    best, best_key = candidate, key
        if best is not None:
            self._count += 1
            best.last_chosen = self._count
        return best


class Rooms(Generic[R]):
    """The room of a replier, for requesters of any kind.

    Attributes:
        capacity: Requests that run at once.
        running: Those that run.
    """

    def __init__(self) -> None:
        self.capacity = 0
        self.running = 0
        self._waiting: dict[R, None] = {}
        self._kept: dict[R, float] = {}

    def enter(self, requester: R, clock: Callable[[], float]) -> bool:
        """A request has come: whether it may start. If not, its requester is remembered, in turn.

        Args:
            requester: Whose it is.
            clock: Tells the time, if that is needed.
        """
        # Even what was kept may be gone if there is less room in all.
        if self._kept and self._kept.pop(requester, None) is not None and self.running < self.capacity:
            self.running += 1
            return True
        if self.running + len(self._kept) >= self.capacity:
            self._drop_old(clock())
        if self.running + len(self._kept) < self.capacity and not self._waiting:
            self.running += 1
            return True
        self._waiting[requester] = None
        return False

    def leave(self) -> None:
        """A request has ended. `to_invite` is to follow."""
        self.running -= 1

    def passed(self, requester: R) -> None:
        """A requester does not need the room that was kept for it. `to_invite` is to follow."""
        self._kept.pop(requester, None)

    def forget(self, requester: R) -> None:
        """A requester is gone. `to_invite` is to follow."""
        self._kept.pop(requester, None)
        self._waiting.pop(requester, None)

    def to_invite(self, clock: Callable[[], float]) -> list[R]:
        """Those who were turned away and for whom there is room now; it is kept for them."""
        invited: list[R] = []
        while self._waiting and self.running + len(self._kept) < self.capacity:
            requester = next(iter(self._waiting))
            del self._waiting[requester]
            self._kept[requester] = clock()
            invited.append(requester)
        return invited

    @property
    def is_wanted(self) -> bool:
        """Whether somebody was turned away and waits, so that what is kept must not be kept for long."""
        return bool(self._waiting)

    @property
    def has_kept(self) -> bool:
        """Whether room is kept for anybody."""
        return bool(self._kept)

    def expire(self, now: float) -> None:
        """Let go of room that was kept in vain. `to_invite` is to follow."""
        self._drop_old(now)

    def _drop_old(self, now: float) -> None:
        old = [requester for requester, since in self._kept.items() if now - since >= KEPT_FOR]
        for requester in old:
            del self._kept[requester]
