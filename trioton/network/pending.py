"""The connections that are in the handshake: a few at once, so that strangers who take their time keep nobody else out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from ..protocol.limits import Limits
    from ..transports.base import Transport

SLOW: Final = 0.5
"""Seconds after which a handshake makes room for another one, where there are too many. An honest one takes a few round trips."""

_LOCAL: Final = frozenset({"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"})


class Place:
    """One connection in the handshake.

    Attributes:
        host: Where on the network it comes from; empty if that is here.
        since: When it came.
        scope: What the handshake runs in.
        made_room: Whether it was ended because others want to come in.
    """

    __slots__ = ("host", "made_room", "scope", "since")

    def __init__(self, host: str, since: float, deadline: float) -> None:
        self.host = host
        self.since = since
        self.scope = trio.CancelScope(deadline=deadline)
        self.made_room = False


class Pending:
    """All connections in the handshake, over all listeners of a context.

    Args:
        limits: The context's bounds.
    """

    def __init__(self, limits: Limits) -> None:
        self._most = limits.pending_handshakes
        self._most_of_one = limits.pending_handshakes_per_address
        self._deadline = limits.handshake_deadline
        self._by_host: dict[str, dict[Place, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, transport: Transport, now: float) -> Place | None:
        """Give a connection that has come a place; None if it must be closed.

        When all are taken, whoever comes from an address with fewer places takes one from the address that has most, and otherwise the
        place of the slowest: so it takes as many addresses as there are places to keep others out, and half a second is all that helps.
        """
        host = host_of(transport)
        own = self._by_host.get(host, {})
        if host and len(own) >= self._most_of_one:
            return None
        if self._count >= self._most and not self._make_room(len(own), now):
            return None
        place = Place(host, now, now + self._deadline)
        self._by_host.setdefault(host, {})[place] = None
        self._count += 1
        return place

    def _make_room(self, own: int, now: float) -> bool:
        largest = max(self._by_host.values(), key=len)
        oldest = next(iter(largest))
        if len(largest) <= own + 1:
            oldest = min((next(iter(places)) for places in self._by_host.values()), key=lambda place: place.since)
            if now - oldest.since < SLOW:
                return False
        oldest.made_room = True
        oldest.scope.cancel()
        self.leave(oldest)
        return True

    def leave(self, place: Place) -> None:
        """A handshake is over. May be called twice."""
        places = self._by_host.get(place.host)
        if places is not None and place in places:
            del places[place]
            self._count -= 1
            if not places:
                del self._by_host[place.host]


def host_of(transport: Transport) -> str:
    """Where on the network a transport comes from, or an empty text if that is here: those are not counted one by one."""
    if transport.kind not in {"tcp", "tls"}:
        return ""
    address = transport.remote_address.rpartition(":")[0]
    return "" if address.rpartition("/")[2] in _LOCAL else address
