"""What contexts and connections have done so far, as `statistics()` gives it."""

from __future__ import annotations

from typing import NamedTuple


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


class LinkTotals:
    """What has gone over the transports that a connection no longer has."""

    __slots__ = ("bytes_received", "bytes_sent", "messages_received", "packages_received", "transports")

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0
        self.packages_received = 0
        self.messages_received = 0
        self.transports = 0


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
