"""Who is at the other end of a connection, and what one context knows of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..protocol.handshake import Hello
from ..protocol.identity import ContextId

if TYPE_CHECKING:
    from ..transports.base import Transport


@attrs.frozen
class Peer:
    """A neighbouring context."""

    id: ContextId
    """Its identity: another one for each life."""

    name: str
    """The name it gave itself; may be empty."""

    pid: int
    """Its process, as its own host counts it."""

    uid: int | None
    """The user it runs as: vouched for by the system on Unix sockets, else None."""

    identity: str | None = None
    """Whom it has proved to be, or None where nothing was proved."""

    wire_id: bytes = attrs.field(repr=False, kw_only=True)
    host: bytes = attrs.field(repr=False, kw_only=True)

    @classmethod
    def from_hello(cls, hello: Hello, *, transport: Transport) -> Peer:
        """Make a peer of what it said in the handshake, and of what the transport proves."""
        identity = None if transport.credentials is None else transport.credentials.identity
        wire_id = hello.id.to_wire()
        return cls(hello.id, hello.name, hello.pid, transport.peer_uid, identity, wire_id=wire_id, host=hello.host)

    def __str__(self) -> str:
        return f"{self.name!r} ({self.id})" if self.name else str(self.id)


@attrs.frozen
class ContextInfo:
    """A context that can be reached from here."""

    id: ContextId
    """Its identity: another one for each life."""

    name: str
    """The name it gave itself; may be empty."""

    pid: int
    """Its process, as its own host counts it."""

    hops: int
    """How many links lead there; 1 for a neighbour."""
