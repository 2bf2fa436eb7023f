"""What contexts and connections have done so far, as `statistics()` gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .link import Link


class ConnectionStatistics(NamedTuple):
    """What has gone over a connection; counts are of its whole life, over all its transports."""

    state: str
    transport: str | None
    """The kind of transport in use, or None while there is none."""
    bytes_sent: int
    bytes_received: int
    packages_sent: int
    packages_received: int
    messages_sent: int
    messages_received: int
    messages_dropped: int
    """Messages that subscribers' policies dropped here, before they were written."""
    packages_queued: int
    rtt: float | None
    """Seconds that the last heartbeat took to be answered."""
    transports: int
    """How many transports it has had."""
    spoofed: int
    """What the peer has said and sent in the name of others, for whom it may not speak; it was dropped."""
    refused: int
    """What the peer wanted and may not, see `Connection.permissions`: messages and values that were dropped, and requests, subscriptions
    and flows that were not let in."""


class LinkTotals:
    """What has gone over the transports that a connection no longer has."""

    __slots__ = ("bytes_received", "bytes_sent", "messages_received", "packages_received", "transports")

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0
        self.packages_received = 0
        self.messages_received = 0
        self.transports = 0

    def add(self, link: Link) -> None:
        """A link is over; count what has gone over it."""
        self.bytes_sent += link.bytes_sent
        self.bytes_received += link.session.bytes_received
        self.packages_received += link.session.packages_received
        self.messages_received += link.session.messages_received


class ContextStatistics(NamedTuple):
    """What a context holds and has done."""

    connections: int
    """Connections that are not closed."""
    listeners: int
    slots_sent: int
    """Slots with an open sending channel."""
    slots_received: int
    """Slots with an open receiving channel."""
    messages_unheard: int
    """Messages sent while nobody listened, or that fell out of a backlog."""
    bytes_sent: int
    bytes_received: int
    messages_sent: int
    messages_received: int
    messages_dropped: int
    """Messages dropped on their way out, by subscribers' policies."""
    states: int
    """State slots whose values are kept here."""
    state_bytes: int
    """Bytes that count for them in `Limits.retained`."""
    states_given_way: int
    """Values of states that had to give way to others."""
    spoofed: int
    """What neighbours have said and sent in the name of others, for whom they may not speak; it was dropped."""
    refused: int
    """What neighbours wanted and may not, as `ConnectionStatistics` has it."""


class ContextTotals:
    """What has gone over connections."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "messages_dropped",
        "messages_received",
        "messages_sent",
        "refused",
        "spoofed",
    )

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0
        self.messages_sent = 0
        self.messages_received = 0
        self.messages_dropped = 0
        self.spoofed = 0
        self.refused = 0

    def add(self, connection: ConnectionStatistics) -> None:
        """Count what has gone over a connection."""
        self.bytes_sent += connection.bytes_sent
        self.bytes_received += connection.bytes_received
        self.messages_sent += connection.messages_sent
        self.messages_received += connection.messages_received
        self.messages_dropped += connection.messages_dropped
        self.spoofed += connection.spoofed
        self.refused += connection.refused
