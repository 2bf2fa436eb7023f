"""The neighbours of a context: which connections there are, and what is told and forgotten when they come and go."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING

from . import events
from .states import CONTEXT_CLOSED, Tie
from .statistics import ContextTotals

if TYPE_CHECKING:
    from .connection import Connection
    from .context import Context
    from .peer import Peer

logger = logging.getLogger("trioton.context")


class Neighbours:
    """All connections of a context that are not closed, by the identity of the peer.

    Args:
        context: The context.

    Attributes:
        doubted: The connections whose peers are not trusted, by the identity of the peer.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._by_id: dict[bytes, Connection] = {}
        self._told_all: dict[bytes, Connection] = {}
        self._told_own: dict[bytes, Connection] = {}
        self.doubted: dict[bytes, Connection] = {}
        self._parent: Connection | None = None
        self._without_session: dict[Connection, None] = {}
        self._closed = ContextTotals()

    # ---------------------------------------------------------------- who is there

    @property
    def count(self) -> int:
        """How many contexts there is a session with."""
        return len(self._by_id)

    def all(self) -> list[Connection]:
        """All connections that are not closed."""
        return [*self._by_id.values(), *self._without_session]

    def with_session(self) -> list[Connection]:
        """The connections whose peers must hear what changes here, now or when they are back."""
        return list(self._by_id.values())

    @property
    def told_all(self) -> list[Connection]:
        """The connections whose peers are told of all contexts: those that are no stubs of this one, and believe what it says."""
        return list(self._told_all.values())

    @property
    def told_own(self) -> list[Connection]:
        """The connections whose peers believe what this context says of itself only, and so are told no more."""
        return list(self._told_own.values())

    def told_all_but(self, connection: Connection | None) -> int:
        """How many are told of all contexts, without this one."""
        return len(self._told_all) - (connection is not None and connection.peer.wire_id in self._told_all)

    @property
    def told_all_count(self) -> int:
        """How many those are."""
        return len(self._told_all)

    @property
    def parent(self) -> Connection | None:
        """The connection to the parent, if this context is a stub."""
        # Asked for each client that comes, however many there are.
        parent = self._parent
        if parent is None or parent in self._without_session or self._by_id.get(parent.peer.wire_id) is parent:
            return parent
        return None

    def route(self, wire_id: bytes) -> Connection | None:
        """Give the connection that leads to a context, or None."""
        return self._by_id.get(wire_id)

    def objection(self, peer: Peer) -> str | None:
        """Why the context cannot have a connection to a peer that it has dialled, or None."""
        if peer.id == self._context.id:
            return "a context cannot connect to itself"
        if peer.wire_id in self._by_id:
            return f"this context is connected to {peer} already"
        return CONTEXT_CLOSED if self._context._closing else None

    def objection_to(self, *, is_stub: bool) -> str | None:
        """Why the context cannot dial anybody, as a stub or not, or None."""
        parent = self.parent
        if parent is not None:
            return f"this context is a stub of {parent.peer}, and has no other way out"
        others = [connection for connection in self.all() if connection.tie is not Tie.STUB]
        if is_stub and others:
            return f"a stub has one way out, and there is a connection to {others[0].peer}"
        return None

    def has_session(self, wire_id: bytes) -> bool:
        """Whether a context is this one or connected to it, so that it must refuse another connection."""
        return wire_id == self._context._wire_id or wire_id in self._by_id

    def totals(self) -> ContextTotals:
        """What has gone over all connections that there are and have been."""
        totals = copy.copy(self._closed)
        for connection in self.all():
            totals.add(connection.statistics())
        return totals

    # ---------------------------------------------------------------- who comes and who goes

    def add(self, connection: Connection) -> None:
        """A session begins; what happens to interest from now on must be told to its peer."""
        self._without_session.pop(connection, None)
        if connection.tie is Tie.PARENT:
            self._parent = connection
        self._by_id[connection.peer.wire_id] = connection
        if connection.tie is not Tie.STUB:
            self._told_all[connection.peer.wire_id] = connection
        self._context._associations.attach(connection)
        self._count_changed()

    def sort(self, connection: Connection) -> None:
        """A link is up: the peer has said whether it believes what this context says of others, and has proved what it could."""
        wire_id = connection.peer.wire_id
        if self._by_id.get(wire_id) is not connection:
            return
        self.doubted.pop(wire_id, None)
        if not connection.standing.may_speak_for_others:
            self.doubted[wire_id] = connection
        if connection.tie is Tie.STUB:
            return
        told, others = self._told_own, self._told_all
        if connection.belief.hears_others:
            told, others = others, told
        others.pop(wire_id, None)
        told[wire_id] = connection

    def came_up(self, connection: Connection, *, is_new: bool) -> None:
        """A session is up, for the first time or again."""
        context = self._context
        if is_new:
            context._mesh.membership.joined(connection.peer.wire_id, connection.peer.name, connection.peer.pid)
            context._hub.emit(events.Connected(connection))
        else:
            context._hub.emit(events.Resumed(connection))
        logger.info("%s: %s %r", context, "connected" if is_new else "resumed", connection)
        if connection.belief.is_apart and len(self._by_id) > 1:
            text = "%s: nothing is passed on between %s and others, %s"
            logger.info(text, context, connection.peer, connection.belief.why_not)
        context._changed.unpark_all()

    def lost_session(self, connection: Connection, reason: str, *, has_joined: bool) -> None:
        """A session is over, though its connection may start another one."""
        context = self._context
        self._forget(connection)
        self._without_session[connection] = None
        if has_joined:
            context._hub.emit(events.SessionLost(connection, reason))
            self._tell_gone(connection, reason)
        logger.info("%s: %r: session lost: %s", context, connection, reason)

    def closed(self, connection: Connection, *, has_joined: bool) -> None:
        """A connection has ended for good."""
        context, reason = self._context, connection.close_reason or ""
        self._forget(connection)
        self._without_session.pop(connection, None)
        self._closed.add(connection.statistics())
        if has_joined:
            context._hub.emit(events.Disconnected(connection, reason))
            self._tell_gone(connection, reason)
        logger.info("%s: %r: %s", context, connection, reason)
        context._changed.unpark_all()

    def _tell_gone(self, connection: Connection, reason: str) -> None:
        # If there is an association, it began anew when the other was heard of again, or leads another way.
        if self._context._associations.get(connection.peer.wire_id) is None:
            self._context._mesh.membership.gone(connection.peer.wire_id, reason)

    def _count_changed(self) -> None:
        # With one neighbour there is nobody to pass anything on to, and what comes from it goes the shorter way.
        self._context._mesh.relays.is_router = len(self._by_id) > 1

    def _forget(self, connection: Connection) -> None:
        """Nothing comes from a peer any more, nor goes there."""
        context, wire_id = self._context, connection.peer.wire_id
        if self._by_id.get(wire_id) is connection:
            del self._by_id[wire_id]
            self._told_all.pop(wire_id, None)
            self._told_own.pop(wire_id, None)
            self.doubted.pop(wire_id, None)
            self._count_changed()
        deserted = context._associations.detach(connection)
        if deserted and not connection.goodbye.was_said and not context._closing:
            slots = ", ".join(map(repr, deserted[:3])) + (
                f" and {len(deserted) - 3} others" if len(deserted) > 3 else ""
            )
            text = "%s: %s is gone without a goodbye, and nobody else listens to %s: what is sent there is lost until somebody does"
            logger.warning(text, context, connection.peer, slots)
