"""The room of one blocking subscription, shared out over all sources that send to it.

Each source holds a room: messages that it may send beyond what has been taken. Together the rooms never exceed the size of the
window, except that every source may always send one. A source alone gets everything. With several, one that has used up its room
(it is *hungry*) gets up to its fair share; one that is alone in being hungry gets all that is free.
"""

from __future__ import annotations

from collections.abc import Hashable


class Room:
    """What one source holds of a window. All numbers are sequence numbers of its flow.

    Attributes:
        taken: All before this number has been taken.
        received: All before this number has come.
        limit: The source may send what is before this number.
        asked_back: Whether the source was asked for room back, and has not answered yet.
        is_short: Whether the source was hungry when room was last shared out, and got less than its fair share.
        is_ended: Whether the source sends nothing more.
    """

    __slots__ = ("asked_back", "is_ended", "is_short", "limit", "received", "taken")

    def __init__(self, position: int) -> None:
        self.taken = self.received = self.limit = position
        self.asked_back = False
        self.is_short = False
        self.is_ended = False

    def __repr__(self) -> str:
        return f"<Room {self.taken} taken, {self.received} received, limit {self.limit}>"

    @property
    def size(self) -> int:
        """Messages that the source may be ahead of what has been taken."""
        return self.limit - self.taken

    @property
    def is_hungry(self) -> bool:
        """Whether the source has used all that it may."""
        return self.received >= self.limit and not self.is_ended


class Window:
    """Shares `size` messages out over sources.

    Args:
        size: Messages that may wait for the subscription.

    Attributes:
        rooms: What each source holds.
        orphans: Messages that wait and whose sources are gone.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rooms: dict[Hashable, Room] = {}
        self.orphans = 0

    @property
    def free(self) -> int:
        """Messages that no source holds; may be negative by one for each source beyond the size."""
        return self.size - self.orphans - sum([room.size for room in self.rooms.values()])

    @property
    def least(self) -> int:
        """Messages that every source may always send: one, but for the time in which sources that are gone have filled the window."""
        return 1 if self.orphans < self.size else 0

    @property
    def fair_share(self) -> int:
        """What each of the present sources may hold if all want more."""
        return max(1, self.size // max(1, len(self.rooms)))

    def join(self, source: Hashable, position: int) -> Room:
        """A source will send from `position` on; gives its first room."""
        room = self.rooms[source] = Room(position)
        room.limit = position + max(self.least, min(self.fair_share, self.free))
        return room

    def leave(self, source: Hashable) -> None:
        """A source is gone."""
        self.rooms.pop(source, None)

    def end(self, source: Hashable, position: int) -> None:
        """A source sends nothing from `position` on: what it holds beyond is free, and it leaves when the rest has been taken."""
        room = self.rooms.get(source)
        if room is not None:
            room.is_ended = True
            room.received = room.limit = position
            self.take(source, room.taken)

    def received(self, source: Hashable, end: int) -> None:
        """All before `end` came from a source."""
        room = self.rooms[source]
        room.received = max(room.received, end)

    def take(self, source: Hashable, position: int) -> None:
        """All before `position` has been taken; room is granted by `share` only."""
        room = self.rooms[source]
        room.taken = max(room.taken, position)
        room.received = max(room.received, position)
        room.limit = max(room.limit, position)
        if room.is_ended and not room.size:
            self.leave(source)

    def is_starved(self, source: Hashable) -> bool:
        """Whether a source has used up less than its fair share."""
        room = self.rooms.get(source)
        return room is not None and room.is_hungry and room.size < self.fair_share

    def share(self) -> None:
        """Grant the free room."""
        if len(self.rooms) > 1:
            self._share_among_many()
            return
        for room in self.rooms.values():
            if not room.is_ended:
                room.limit = max(room.limit, room.taken + max(self.least, self.size - self.orphans))

    def _share_among_many(self) -> None:
        free = self.free
        hungry = [room for room in self.rooms.values() if room.is_hungry]
        for room in self.rooms.values():
            room.is_short = False
        for room in hungry:
            most = self.fair_share if len(hungry) > 1 else self.size
            extra = min(most - room.size, free)
            if extra <= 0 and room.size == 0:
                extra = self.least
            if extra > 0:
                room.limit += extra
                free -= extra
            room.is_short = room.size < self.fair_share

    def to_ask_back(self) -> list[tuple[Hashable, int]]:
        """Sources that sit on more than their share while another is short of room: each with the limit to ask for."""
        share = self.fair_share
        if self.free > 0 or not any(
            (room.is_hungry or room.is_short) and room.size < share for room in self.rooms.values()
        ):
            return []
        asked: list[tuple[Hashable, int]] = []
        for source, room in self.rooms.items():
            if room.limit > room.received and room.size > share and not room.asked_back:
                room.asked_back = True
                asked.append((source, max(room.received, room.taken + share)))
        return asked

    def kept(self, source: Hashable, limit: int) -> None:
        """A source that was asked back keeps to `limit` from now on."""
        room = self.rooms[source]
        if room.asked_back:
            room.asked_back = False
            room.limit = max(room.received, min(room.limit, limit))
