"""What two neighbours believe of what the other says of others, and so what they tell each other.

A neighbour that is not trusted is believed what it says and sends of itself, and, if it is a stub, of those below it. All else is dropped.
Honest neighbours do not say it in the first place: the handshake tells each side what the other believes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from ..protocol.identity import ContextId
from .states import Tie
from .trust import Kind

if TYPE_CHECKING:
    from ..protocol.handshake import Hello
    from .connection import Connection

logger = logging.getLogger("trioton.link")


class Belief:
    """What a context and one neighbour believe of each other.

    Args:
        connection: The connection to the neighbour.

    Attributes:
        is_leaf: Whether the neighbour does not trust this context, as it says.
        hears_others: Whether the neighbour believes what this context says of others.
        is_free: Whether the neighbour may speak for anybody.
        spoofed: How much the neighbour has said and sent in the name of others.
    """

    __slots__ = ("_connection", "_has_warned", "hears_others", "is_free", "is_leaf", "spoofed")

    def __init__(self, connection: Connection) -> None:
        self.is_leaf = False
        self.hears_others = True
        self.is_free = False
        self.spoofed = 0
        self._connection = connection
        self._has_warned = False

    def begin(self, hello: Hello) -> None:
        """A new link is up: the neighbour has said what it believes. A parent believes its stub what it says of those below it."""
        self.is_leaf = bool(hello.leaf)
        self.hears_others = not self.is_leaf or self._connection.tie is Tie.PARENT
        self.is_free = self._connection.standing.may_speak_for_others and self._connection.tie is not Tie.STUB
        self._has_warned = False

    # ---------------------------------------------------------------- what is told

    def hears_of(self, source: bytes) -> bool:
        """Whether the neighbour takes what comes from a context through this one."""
        return self.hears_others or source == self._connection._context._wire_id

    def hears_value_of(self, writer: bytes) -> bool:
        """Whether the neighbour takes the value of a state that a context has written. What it has written itself it knows."""
        connection = self._connection
        context = connection._context
        if not self.is_leaf or writer == context._wire_id:
            return True
        way = context._mesh.topology.next_hop(context._wire_id, writer)
        return connection.tie is Tie.PARENT and way not in {None, connection.peer.wire_id}

    @property
    def is_apart(self) -> bool:
        """Whether neither believes the other anything of others: so nobody else can reach the neighbour over this link."""
        connection = self._connection
        return not self.hears_others and not connection.standing.may_speak_for_others and connection.tie is Tie.PEERS

    @property
    def bound(self) -> int:
        """For whom the neighbour may speak, for the record of the link."""
        connection = self._connection
        return connection.standing.bound(is_stub=connection.tie is Tie.STUB)

    # ---------------------------------------------------------------- what is heard

    def believes(self, origin: bytes) -> bool:
        """Whether what the neighbour says of a context is believed; what is not counts as a lie.

        Raises:
            ProtocolError: It lies too often.
        """
        is_believed = self.may_speak_for(origin)
        if not is_believed and self._connection.tie is Tie.STUB:
            self._connection._context._mesh.parenthood.reconsider(self._connection)
            is_believed = self.may_speak_for(origin)
        if not is_believed:
            self.spoke_for_other(origin)
        return is_believed

    def may_speak_for(self, origin: bytes) -> bool:
        """Whether the neighbour is believed what it says of a context."""
        connection = self._connection
        if origin == connection.peer.wire_id:
            return True
        if connection.tie is Tie.STUB:
            return connection._context._mesh.parenthood.may_speak_for(connection, origin)
        return connection.standing.may_speak_for_others

    def takes_from(self, source: bytes) -> bool:
        """Whether what comes from another context may come over this link: that is known, and the neighbour may speak for it.

        Raises:
            ProtocolError: The neighbour speaks too often for those for whom it may not.
        """
        context = self._connection._context
        if source != context._wire_id and context._mesh.topology.node(source) is not None:
            return self.is_free or self.believes(source)
        if not self.is_free:
            self.spoke_for_other(source)
        return False

    def spoke_for_other(self, origin: bytes) -> None:
        """The neighbour has spoken, or sent something, in the name of a context for which it may not speak: that was dropped.

        Raises:
            ProtocolError: It has done so too often, and is not trusted: its link must be closed.
        """
        connection = self._connection
        if connection.tie is Tie.STUB and connection._context._mesh.parenthood.has_spoken_for(connection, origin):
            return  # what was below it until a moment ago may still have something on the way
        self.spoofed += 1
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s: %s speaks for others, first for %s, which is not believed, %s",
                connection._context,
                connection.peer,
                ContextId.from_wire(origin),
                self.why_not,
            )
        if connection.standing.may_speak_for_others:
            return
        what = f"the peer speaks for others, which is not believed, {self.why_not}"
        connection.conduct.strike(trio.current_time(), what)

    @property
    def why_not(self) -> str:
        """Why the neighbour may not speak for others, and what to do about that."""
        standing = self._connection.standing
        if self._connection.tie is Tie.STUB:
            return "since it is a stub, and they are not below it"
        if standing.kind is Kind.PEER:
            return f"since {standing.identity!r} has proved only who it is; one of the two must be a router, by its certificate"
        return "since its link proves nothing of it; give both a trioton.Secret, or the one in the middle a router's certificate"
