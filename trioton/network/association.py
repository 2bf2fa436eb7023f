"""What a context has to do with one other: what they send to each other, whichever way it takes.

Most associations are with neighbours, and lead over the connection to them. Those with other contexts lead through a neighbour: what is
said there travels in ROUTED frames. When that way changes, something of what was under way may be lost or come late. So each way has a
*round* of its own: it begins with a new talk about how far all flows have come, as a new link does, and what belongs to an earlier
round is not heard any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import control

if TYPE_CHECKING:
    from ..protocol.flow import Branch
    from ..protocol.memory import MemoryScope
    from ..protocol.outbox import Outbox
    from .connection import Connection
    from .context import Context
    from .link import Link
    from .mesh.routed import Routed
    from .peer import Peer


class Association:
    """This context and one other, as long as each can reach the other.

    Args:
        context: The context.
        peer: The other one.

    Attributes:
        peer: The other context.
        connection: The connection to it, while what is sent goes over that; else None.
        routed: What leads to it through a neighbour, if that was ever needed.
        round: The number of the round that the talk is in, while it leads through a neighbour; the last such number otherwise.
        window_bytes: Bytes that a flow may be ahead of what has been taken, on either side.
        max_package: Bytes of the largest message that it, and all on the way there, take.
        awaits_snapshot: Whether the other is still telling how far it is.
        announced: The slots that it has told of since the way to it is the present one.
        is_answered: Whether it has read what this context has told.
        goes_on: Whether it was there before the connection, over which the other has not said yet that this is so for it, too.
        is_over: Whether the other cannot be reached any more.
    """

    __slots__ = (
        "announced",
        "awaits_snapshot",
        "connection",
        "context",
        "goes_on",
        "is_answered",
        "is_over",
        "max_package",
        "peer",
        "round",
        "routed",
        "window_bytes",
    )

    def __init__(self, context: Context, peer: Peer) -> None:
        self.context = context
        self.peer = peer
        self.connection: Connection | None = None
        self.routed: Routed | None = None
        self.round = 0
        self.window_bytes = context._limits.window_bytes
        self.max_package = context._limits.max_package
        self.awaits_snapshot = True
        self.announced: dict[str, None] = {}
        self.is_answered = False
        self.goes_on = False
        self.is_over = False

    @property
    def is_remote(self) -> bool:
        """Whether the way there leads through a neighbour."""
        return self.connection is None

    @property
    def the_routed(self) -> Routed:
        """What leads there through a neighbour; made when it is first needed."""
        if self.routed is None:
            from .mesh.routed import Routed  # see `Context`

            self.routed = Routed(self)
        return self.routed

    @property
    def outbox(self) -> Outbox | Routed:
        """Where packages for the other context go."""
        return self.the_routed if self.connection is None else self.connection.outbox

    @property
    def via(self) -> Connection | None:
        """The connection over which what is sent leaves, or None while there is no way."""
        if self.connection is not None:
            return self.connection
        return None if self.routed is None else self.routed.via

    def equip(self, branch: Branch) -> None:
        """Let what goes to a branch take the way that there is now."""
        if self.is_remote:
            self.context._mesh.membership.use(self)
        branch.outbox = self.outbox
        branch.lane = self.via
        branch.address = self.peer.wire_id
        branch.is_remote = self.is_remote

    @property
    def memory(self) -> MemoryScope | None:
        """What is charged for what waits here of the other context: the link that it comes over, as far as is known."""
        connection = self.connection or self.via
        return None if connection is None else connection.memory

    @property
    def open_link(self) -> Link | None:
        """The link straight to the other context, if that is open."""
        return None if self.connection is None else self.connection.open_link

    def send_control(self, message: control.Control) -> None:
        """Say something about flows. Where there is no way now nothing is said, since a new one begins with a talk about all of it."""
        if self.connection is not None:
            self.connection.send_control(message)
        elif self.routed is not None:
            self.routed.send_control(message)

    def try_write(self) -> None:
        """Write what waits, as far as the transport takes it at once."""
        via = self.via
        if via is not None:
            via.try_write()

    def __repr__(self) -> str:
        way = "over" if self.is_over else "routed" if self.is_remote else "direct"
        return f"<Association with {self.peer}, {way}>"
