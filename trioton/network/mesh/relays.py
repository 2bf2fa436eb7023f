"""What is for others is passed on: packages by the tree of their source, and what is said between two contexts by its way.

A relay never looks into a body, and decides nothing about a flow: how much may be under way is agreed between the source and those who
listen, so what waits here is bounded by that. What blocks nobody is dropped here, if the next link is slow, by the policy of those
behind it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ...errors import ProtocolError
from ...protocol import codec
from ...protocol.identity import ContextId
from ...protocol.memory import RUN_OVERHEAD, Held, OverMemoryError
from ...protocol.packages import Package, PackageKind, PackageTemplate, RelayedPackage
from ...protocol.policies import Mode
from ...protocol.routed import HOP_SHIFT, LAST_ROUND, MOST_HOPS, encode_routed, pass_on
from ...protocol.session import ARRAY_HEAD
from ...protocol.way import Way
from ..events import BadMessage

if TYPE_CHECKING:
    from ...protocol.interests import MergedInterest
    from ...protocol.memory import MemoryScope
    from ...protocol.packages import PackageHeader
    from ...protocol.routed import RoutedReceived
    from ...protocol.session import PackageReceived
    from ...protocol.topology import Topology
    from ..connection import Connection
    from ..context import Context
    from .flooding import Flooding

logger = logging.getLogger("trioton.context")

MOST_RELAYED: Final = 4096
"""Flows of others whose way is remembered; it is found again for those that are forgotten."""

_FLAGS: Final = (1 << HOP_SHIFT) - 1


class Relay:
    """One flow of another context, on its way through this one.

    Attributes:
        slot: Its slot.
        cut_to: All before this number has been passed on, or need not be.
        ways: Where it goes on.
        branches: From what the ways were made.
    """

    __slots__ = ("_template", "branches", "cut_to", "slot", "ways")

    def __init__(self, source: bytes, slot: str, stream: int, destination: bytes | None, kind: PackageKind) -> None:
        self.slot = slot
        self.cut_to = 0
        self.ways: dict[Connection, Way] = {}
        self.branches: tuple[tuple[bytes, MergedInterest], ...] | None = None
        self._template = PackageTemplate(source, slot, stream, destination, kind)

    def marker(self, position: int) -> Package:
        """An empty package that says that all before `position` was sent or dropped."""
        return Package(self._template.header(position, 0), (codec.array_head(0),), 1, position, 0)

    def package(self, event: PackageReceived, memory: MemoryScope) -> Package:
        """What came over a link, ready to go on; while it waits it is charged to `memory`."""
        header, is_last, body, is_lone_bytes, flags = event
        parts: tuple[bytes, ...] = (body,)
        size = len(body)
        if is_lone_bytes:
            head = codec.array_head(1) + codec.bytes_head(size)
            parts, size = (head, body), size + len(head)
        hops = (flags >> HOP_SHIFT) + 1
        package = RelayedPackage(
            self._template.header(header.first, header.count),
            parts,
            size,
            header.first,
            header.count,
            is_last=is_last,
            flags=flags & _FLAGS | hops << HOP_SHIFT,
        )
        package.held = Held(memory, size // len(self.ways) + RUN_OVERHEAD)
        return package


class Relays:
    """Passes on what comes for others, and hands over what is for this context.

    Args:
        context: The context.
        topology: Knows the ways.
        flooding: Goes before what is passed on.

    Attributes:
        is_router: Whether there may be anybody to pass on to.
        relayed: Packages passed on so far.
        lost: Packages and words for others that found no way.
    """

    def __init__(self, context: Context, topology: Topology, flooding: Flooding) -> None:
        self._context = context
        self._topology = topology
        self._flooding = flooding
        self._relays: dict[tuple[bytes, str, int, bytes | None], Relay] = {}
        self._touched: dict[Connection, None] = {}
        self.is_router = False
        self.relayed = 0
        self.lost = 0

    # ---------------------------------------------------------------- packages

    def package(self, connection: Connection, event: PackageReceived) -> None:
        """Take a package that is not only between a neighbour and this context.

        Raises:
            ProtocolError: The neighbour itself sent nonsense; its link must be closed.
        """
        header = event.header
        own = self._context._wire_id
        if header.source != connection.peer.wire_id and not connection.belief.takes_from(header.source):
            self.lost += 1
            return
        if header.kind == PackageKind.PUBLISH:
            if self.is_router:
                self._publish(connection, event, header)
        elif header.destination != own:
            self._pass_to(connection, event, header)
            return
        self._deliver(connection, event, header)

    def _deliver(self, connection: Connection, event: PackageReceived, header: PackageHeader) -> None:
        association = self._context._associations.get(header.source)
        if association is None:
            return
        try:
            self._context._reception.package(association, event)
        except OverMemoryError:
            raise
        except ProtocolError as error:
            if header.source == connection.peer.wire_id:
                raise
            source = ContextId.from_wire(header.source)
            logger.warning("%s: a package from %s on %r is dropped: %s", self._context, source, header.slot, error)
            self._context._hub.emit(BadMessage(source, header.slot, str(error)))

    def _publish(self, connection: Connection, event: PackageReceived, header: PackageHeader) -> None:
        branches = self._topology.branches(header.source, header.slot)
        if not branches:
            return
        relay = self._relay(header, None)
        end = header.first + header.count + event.is_last
        if end < relay.cut_to or (end == relay.cut_to and end > header.first):
            return  # it came by another way before
        relay.cut_to = end
        if relay.branches is not branches:
            self._arrange(relay, branches, header.source)
        package: Package | None = None
        for neighbour, way in relay.ways.items():
            if neighbour is not connection:
                package = package or relay.package(event, connection.memory)
                if package.flags >> HOP_SHIFT <= MOST_HOPS:
                    self._send(neighbour, way, package, relay, header.source)

    def _send(self, neighbour: Connection, way: Way, package: Package, relay: Relay, source: bytes) -> None:
        if package.body_size > neighbour.max_package + ARRAY_HEAD:
            self.lost += 1  # the source should have known; the neighbour would close the link to this context
            return
        self._flooding.flush_to(neighbour, source)
        way.add(package, relay)
        self._touched[neighbour] = None
        self.relayed += 1

    def _arrange(self, relay: Relay, branches: tuple[tuple[bytes, MergedInterest], ...], source: bytes) -> None:
        known, relay.ways, relay.branches = relay.ways, {}, branches
        for wire_id, interest in branches:
            neighbour = self._context._neighbours.route(wire_id)
            if neighbour is not None and neighbour.belief.hears_of(source):
                way = relay.ways[neighbour] = known.get(neighbour) or Way(neighbour)
                way.mode, way.size = Mode(interest.mode), interest.size

    def _pass_to(self, connection: Connection, event: PackageReceived, header: PackageHeader) -> None:
        """Pass on a package for one context."""
        assert header.destination is not None
        neighbour = self._next(header.source, header.destination)
        if neighbour is None or neighbour is connection or event.flags >> HOP_SHIFT >= MOST_HOPS:
            self.lost += 1
            return
        relay = self._relay(header, header.destination)
        way = relay.ways.get(neighbour)
        if way is None:
            relay.ways.clear()
            way = relay.ways[neighbour] = Way(neighbour)
        if header.first < relay.cut_to:
            neighbour.outbox.remove_branch(way)  # it is sent again from here on: what still waits comes once more
        relay.cut_to = header.first + header.count
        self._send(neighbour, way, relay.package(event, connection.memory), relay, header.source)

    def _relay(self, header: PackageHeader, destination: bytes | None) -> Relay:
        key = header.source, header.slot, header.stream, destination
        relay = self._relays.get(key)
        if relay is None:
            if len(self._relays) >= MOST_RELAYED:
                del self._relays[next(iter(self._relays))]
            relay = self._relays[key] = Relay(
                header.source, header.slot, header.stream, destination, PackageKind(header.kind)
            )
        return relay

    def _next(self, source: bytes, destination: bytes) -> Connection | None:
        """The connection over which something goes on to a context."""
        topology = self._topology
        neighbour = topology.next_hop(source, destination)
        if neighbour is None and topology.is_linked(source, destination):
            neighbour = topology.next_hop(self._context._wire_id, destination)
        connection = None if neighbour is None else self._context._neighbours.route(neighbour)
        return connection if connection is not None and connection.belief.hears_of(source) else None

    # ---------------------------------------------------------------- words

    def routed(self, connection: Connection, event: RoutedReceived) -> None:
        """Take what a context says to one that is no neighbour of it.

        Raises:
            ProtocolError: The neighbour speaks too often for those for whom it may not.
        """
        context = self._context
        belief = connection.belief
        if event.source != connection.peer.wire_id and not belief.is_free and not belief.takes_from(event.source):
            self.lost += 1
            return
        if event.destination == context._wire_id:
            self._hear(event)
            return
        neighbour = self._next(event.source, event.destination)
        if neighbour is None or neighbour.open_link is None or event.hops >= MOST_HOPS or neighbour is connection:
            self.lost += 1
            return
        answer = None if neighbour.guard is None else neighbour.guard.answer_for(event)
        if answer is not None:
            reply = encode_routed(event.destination, event.source, event.round, answer)
            connection.outbox.add_control(reply)
            self._touched[connection] = None
            return
        self._flooding.flush_to(neighbour, event.source)
        neighbour.outbox.add_control(pass_on(event.header, event.hops))
        self._touched[neighbour] = None

    def _hear(self, event: RoutedReceived) -> None:
        associations = self._context._associations
        association = associations.get(event.source)
        if association is None or event.round >= LAST_ROUND:
            return
        if not association.is_remote:
            if event.round <= association.round:
                return  # it was said before there was the connection
            if association.open_link is not None:
                # It was said before the other end knew of the link, or it has lost that, which will show here, too.
                association.round = event.round
                return
            associations.go_round(association)
        try:
            association.the_routed.heard(event.round, event.message())
        except ProtocolError as error:
            logger.warning("%s: what %s says is not heard: %s", self._context, association.peer, error)

    def write(self) -> None:
        """Write what was passed on, as far as the transports take it at once."""
        if self._touched:
            touched, self._touched = self._touched, {}
            for connection in touched:
                connection.try_write()
