"""Where a connection stands, and what is said of its end."""

from __future__ import annotations

import enum
from typing import Final

CLOSED_BY_PEER: Final = "closed by the peer"
CLOSED_HERE: Final = "closed on command"
CONTEXT_CLOSED: Final = "the context was closed"

CLOSE_DEADLINE: Final = 1.0
"""Seconds that the tasks of a connection may take to end when they are cancelled; they need none unless something is wrong."""


class Tie(enum.Enum):
    """What the contexts at both ends of a connection are to each other."""

    PEERS = "peers"
    PARENT = "parent"
    """The peer is the parent of this context, which is a stub."""
    STUB = "stub"
    """The peer is a stub, and this context its parent."""


class State(enum.Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"
