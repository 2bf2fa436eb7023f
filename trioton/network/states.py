"""Where a connection stands, and what is said of its end."""

from __future__ import annotations

import enum
from typing import Final

CLOSED_BY_PEER: Final = "closed by the peer"
CLOSED_HERE: Final = "closed on command"
CONTEXT_CLOSED: Final = "the context was closed"

CLOSE_DEADLINE: Final = 1.0
"""Seconds that the tasks of a connection may take to end when they are cancelled; they need none unless something is wrong."""


class State(enum.Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"
