"""What a context has to do with one other: what they send to each other, whichever way it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import control

if TYPE_CHECKING:
    from ..protocol.outbox import Outbox
    from .connection import Connection
    from .context import Context
    from .link import Link
    from .peer import Peer


class Association:
    """This context and one other, as long as each can reach the other.

    Args:
        context: The context.
        peer: The other one.

    Attributes:
        peer: The other context.
        connection: The connection to it, while what is sent goes over that; else None.
        outbox: Where packages for it go.
        window_bytes: Bytes that a flow may be ahead of what has been taken, on either side.
        max_package: Bytes of the largest message that it, and all on the way there, take.
        awaits_snapshot: Whether the other is still telling how far it is.
        announced: The slots that it has told of since the way to it is the present one.
        is_answered: Whether it has read what this context has told.
        is_over: Whether the other cannot be reached any more.
    """

    __slots__ = (
        "announced",
        "awaits_snapshot",
        "connection",
        "context",
        "is_answered",
        "is_over",
        "max_package",
        "outbox",
        "peer",
        "window_bytes",
    )

    def __init__(self, context: Context, peer: Peer) -> None:
        self.context = context
        self.peer = peer
        self.connection: Connection | None = None
        self.outbox: Outbox
        self.window_bytes = context._limits.window_bytes
        self.max_package = context._limits.max_package
        self.awaits_snapshot = True
        self.announced: dict[str, None] = {}
        self.is_answered = False
        self.is_over = False

    @property
    def open_link(self) -> Link | None:
        """The link straight to the other context, if that is open."""
        return None if self.connection is None else self.connection.open_link

    @property
    def is_same_user(self) -> bool:
        """Whether the system vouches that the other context is a neighbour that the same user runs."""
        return self.connection is not None and self.connection.is_same_user

    def send_control(self, message: control.Control) -> None:
        """Say something about flows. Where there is no way now nothing is said, since a new one begins with a talk about all of it."""
        if self.connection is not None:
            self.connection.send_control(message)

    def try_write(self) -> None:
        """Write what waits, as far as the transport takes it at once."""
        if self.connection is not None:
            self.connection.try_write()

    def __repr__(self) -> str:
        way = "over" if self.is_over else "direct"
        return f"<Association with {self.peer}, {way}>"
