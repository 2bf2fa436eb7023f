"""Records spread: each context tells its neighbours what it is and what it has heard of others, once each.

Changes gather for a moment and travel many to a frame. Two neighbours that meet tell each other how much they know (a digest), and
get what they lack. What is passed on for others never goes before the records that it depends on.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import trio

from ...errors import ProtocolError
from ...protocol import codec
from ...protocol.frames import FrameKind, encode_prefix
from ...protocol.records import (
    Digest,
    InterestRecord,
    InterestSnapshot,
    NodeChange,
    NodeRecord,
    NoRoute,
    Record,
    Route,
    Want,
    encode_batch,
    encode_record,
    parse_record,
)
from ...protocol.shown import shown
from ..states import Tie
from .parenthood import Parenthood
from .upward import Upward

if TYPE_CHECKING:
    from ...protocol.records import Guidance
    from ...protocol.topology import Topology
    from ..connection import Connection
    from ..context import Context

GATHER: Final = 0.02
"""Seconds that changes gather after a flood, before the next one, where there are few neighbours."""

FEW_NEIGHBOURS: Final = 8

SHORT: Final = 1024
"""Bytes of records that are remembered for a while: most come several times, by several ways, and are told to many."""

MOST_REMEMBERED: Final = 4096
"""Records of others whose bytes are remembered, to be told again."""

_parse_short = lru_cache(maxsize=MOST_REMEMBERED)(parse_record)
_parse_long = lru_cache(maxsize=4)(parse_record)

_HEADER: Final = codec.array_head(0)


class Flooding:
    """Tells neighbours what changes, and hears it from them.

    Args:
        context: The context.
        topology: What is known of all contexts.

    Attributes:
        suspects: The neighbours who are not trusted, and of whom others have told something.
        upward: Asks the parent for what it tells, if the context is a stub.
        parenthood: Tells stubs of the context, which get no records.
    """

    def __init__(self, context: Context, topology: Topology) -> None:
        self._context = context
        self._topology = topology
        self._pending: dict[Hashable, tuple[int, bytes, Connection | None]] = {}
        self._own_base = topology.own.number  # all neighbours have been told the own record of this number
        self._own_is_due = False  # it has changed since, and they should hear of that
        self._own_news = (0, b"")  # a number of the own record, and what is told of it to those who know the base
        self._encoded: dict[bytes, tuple[NodeRecord, bytes]] = {}
        self._count = 0
        self._told: dict[
            Connection, tuple[int, int]
        ] = {}  # how much was told ahead of the others: a count, and a number
        self._lot = trio.lowlevel.ParkingLot()
        self._last_flood = -math.inf
        self.suspects: set[bytes] = set()
        self.upward = Upward(context, topology, self._send)
        self.parenthood = Parenthood(context, topology, self.upward, self._send, self._lot.unpark)
        self.upward.parenthood = self.parenthood

    # ---------------------------------------------------------------- telling

    def begin(self, connection: Connection, *, tells_itself: bool) -> None:
        """A link is new: who has dialled tells how much is known here, and hears as much of that in answer.

        What this context is, it tells when the link counts, or at once.
        """
        if connection.tie is Tie.STUB:
            self.parenthood.begin(connection)
            return
        records = [encode_record(self._topology.own)] if tells_itself else []
        if connection.life.has_dialled:
            records.append(encode_record(self._digest_for(connection, None)))
        if records:
            self._send(connection, records)
        if connection.tie is Tie.PARENT:
            self.upward.begin(connection)

    def introduce(self, connection: Connection) -> None:
        """The link counts now: tell the neighbour all about this context, and the others that there is the link."""
        own = self._topology.own
        if connection.tie is Tie.STUB:
            self.own_changed()
            return
        self._send(connection, [encode_record(own)])
        self.own_changed()
        told, _ = self._told.get(connection, (0, 0))
        self._told[connection] = told, own.number

    def own_changed(self) -> None:
        """The own record has changed: all neighbours must hear of it."""
        self._own_is_due = True
        self.parenthood.tell_partings(self._topology.own.partings)
        self._lot.unpark()

    def repeat(self, wire_id: bytes) -> None:
        """A context can be reached now: neighbours were not told of it while it could not, or may have forgotten it."""
        neighbours, topology = self._context._neighbours, self._topology
        if neighbours.told_all_count > 1 or (neighbours.told_all_count and wire_id not in topology.routes):
            nearer = topology.next_hop(topology.own.origin, wire_id)  # who leads there knows
            connection = None if nearer is None else neighbours.route(nearer)
            for record in topology.records_of(wire_id):
                if (type(record), record.origin, None) not in self._pending:
                    self.tell(record, connection)

    def tell(self, record: Record, heard_from: Connection | None, data: bytes | None = None) -> None:
        """Spread a record, encoded as `data` if it has come so, to all neighbours but the one that it came from."""
        if heard_from is not None and heard_from.belief.is_apart:
            return  # nobody else can reach the neighbour, and it speaks of nobody but itself
        if self._context._neighbours.told_all_but(heard_from):
            slot = record.slot if isinstance(record, InterestRecord) else None
            # The newest replaces what has not been told yet, but each change is needed.
            key = type(record), record.origin, record.number if isinstance(record, NodeChange) else slot
            self._count += 1
            self._pending.pop(key, None)  # the newest goes behind all that came before it
            self._pending[key] = self._count, encode_record(record) if data is None else data, heard_from
            self._lot.unpark()

    def flush(self) -> None:
        """Tell now what has gathered."""
        sources = {heard_from for _, _, heard_from in self._pending.values()}
        everything = [data for _, data, _ in self._pending.values()] + self._own_records(self._own_base)
        frames = list(_frames(everything))
        for connection in self._context._neighbours.told_all:
            if connection in sources or connection in self._told:
                self.flush_to(connection)
            else:
                self._write(connection, frames)
        for connection in self._context._neighbours.told_own:
            self.flush_to(connection)
        self._pending.clear()
        self._told.clear()
        self.parenthood.flush()
        if self._own_is_due:
            self._own_is_due, self._own_base = False, self._topology.own.number
        self._last_flood = trio.current_time()

    def flush_to(self, connection: Connection, source: bytes | None = None) -> None:
        """Tell one neighbour now what has gathered: something follows that depends on it, and comes from another context if that is given."""
        if connection.tie is Tie.STUB:
            if source is not None:
                self.parenthood.ensure(connection, source)
            return
        if not self._pending and not self._own_is_due:
            return
        told, number = self._told.get(connection, (0, self._own_base))
        records: list[bytes] = []
        if connection.belief.hears_others:
            pending = self._pending.values()
            records += [data for count, data, heard_from in pending if count > told and heard_from is not connection]
        records += self._own_records(number)
        self._told[connection] = self._count, self._topology.own.number if self._own_is_due else number
        if records:
            self._send(connection, records)

    def _own_records(self, known: int) -> list[bytes]:
        """What those must hear of the own record who know that of a number, which is the base or later."""
        own = self._topology.own
        if not self._own_is_due or own.number <= known:
            return []
        if self._own_news[0] != own.number:
            self._own_news = own.number, encode_record(self._topology.own_news(self._own_base))
        return [self._own_news[1]]

    @property
    def _pause(self) -> float:
        """Seconds that changes gather: the more neighbours must hear of each, the longer."""
        return GATHER * max(1.0, self._context._neighbours.told_all_count / FEW_NEIGHBOURS)

    @trio.lowlevel.enable_ki_protection
    async def run_forever(self) -> None:
        """Tell what has gathered: a lone change at once, those that follow it closely together."""
        while True:
            if not self._pending and not self._own_is_due and not self.parenthood.has_news:
                await self._lot.park()
            if trio.current_time() < self._last_flood + self._pause:
                await trio.sleep_until(self._last_flood + self._pause)
            else:
                await trio.lowlevel.checkpoint()
            self.flush()

    def _send(self, connection: Connection, records: Iterable[bytes]) -> None:
        self._write(connection, _frames(records))

    def _write(self, connection: Connection, frames: Iterable[bytes]) -> None:
        if connection.open_link is not None:
            for frame in frames:
                connection.outbox.add_control(frame)
            self._context._dispatcher.will_write(connection.association)

    # ---------------------------------------------------------------- hearing

    def heard(self, connection: Connection, records: list[bytes]) -> list[tuple[bytes, str]]:
        """Learn what a neighbour tells, and spread what is new.

        Returns:
            Whose interest has changed, and on which slot.

        Raises:
            ProtocolError: A record makes no sense, or the neighbour asks too often, or speaks for others too often.
        """
        neighbours, parenthood = self._context._neighbours, self.parenthood
        changed: list[tuple[bytes, str]] = []
        for data in records:
            parse = _parse_short if len(data) <= SHORT else _parse_long
            record = parse(data, slot_length=self._context._limits.slot_length)
            if isinstance(record, Digest):
                self._answer(connection, record)
                continue
            if isinstance(record, (Route, NoRoute, Want)):
                changed += [(_origin(record), slot) for slot in self._guide(connection, record)]
                continue
            if connection.tie is Tie.PARENT:
                raise ProtocolError("a parent tells its stub of others by routes only")
            if not connection.belief.believes(record.origin):
                if connection.tie is Tie.STUB:
                    parenthood.doubt(connection, record.origin)
                continue
            if not connection.standing.may_speak_for_others:
                connection.talk.record_came(is_node=isinstance(record, (NodeRecord, NodeChange)))
            slots = self._learn(record)
            if neighbours.doubted and isinstance(record, (NodeRecord, NodeChange)):
                told_of = neighbours.doubted.keys() & {record.origin, *record.links}
                self.suspects |= told_of - {connection.peer.wire_id}
            if slots is not None:
                self.tell(record, connection, data)
                if isinstance(record, NodeRecord) and neighbours.told_all_count > 1:
                    self._remember(record, data)
                changed += [(record.origin, slot) for slot in slots]
                if isinstance(record, (NodeRecord, NodeChange)):
                    parenthood.changed(record.origin)
        return changed

    def _guide(self, connection: Connection, record: Guidance) -> list[str]:
        """Hear what is only said between a stub and its parent; gives the slots on which the interest of a context has changed.

        Raises:
            ProtocolError: It is said by one who may not.
        """
        if connection.tie is Tie.PARENT:
            return self.upward.heard(record)
        if connection.tie is not Tie.STUB or not isinstance(record, Want):
            raise ProtocolError(f"the peer is in no position to say {shown(record)}")
        self._context._mesh.membership.update()  # what is known must have been thought through before anything is told of it
        self.parenthood.hear(connection, record)
        return []

    def _answer(self, connection: Connection, digest: Digest) -> None:
        """Tell a neighbour what it does not know of others.

        Raises:
            ProtocolError: It asks more than once over a link.
        """
        talk = connection.talk
        if talk.was_asked and connection.tie is not Tie.PARENT:
            raise ProtocolError("the peer asks again for all that is known here")
        talk.was_asked = True
        peer = connection.peer.wire_id
        self._topology.outdate(peer, digest.known.get(peer, (0, 0))[0])
        number, _ = digest.known.get(self._topology.own.origin, (0, 0))
        if connection.belief.is_free and self._topology.heard_number(number):
            self.own_changed()  # somebody has pretended to be this context
        if not connection.life.has_dialled:
            self._send(connection, [encode_record(self._digest_for(connection, digest.known))])
        if connection.tie is Tie.STUB or not connection.belief.hears_others:
            return
        itself = {self._topology.own.origin, peer}
        lacking = [record for record in self._topology.lacking(digest) if record.origin not in itself]
        self._send(connection, [self._encode(record) for record in lacking if not self._is_apart(record.origin)])

    def _digest_for(self, connection: Connection, of: Iterable[bytes] | None) -> Digest:
        """How much is known here, of those of whom the neighbour would be believed."""
        if not connection.standing.may_speak_for_others:
            return self._topology.digest([connection.peer.wire_id])
        return self._topology.digest(of)

    def _is_apart(self, origin: bytes) -> bool:
        """Whether a context is a neighbour that nobody else can reach from here."""
        connection = self._context._neighbours.route(origin)
        return connection is not None and connection.belief.is_apart

    def _encode(self, record: Record) -> bytes:
        known, data = self._encoded.get(record.origin, (None, b""))
        return data if known is record else encode_record(record)

    def _remember(self, record: NodeRecord, data: bytes) -> None:
        """Keep what a short node record looks like: all who come later are told of it."""
        if len(data) <= SHORT:
            if record.origin not in self._encoded and len(self._encoded) >= MOST_REMEMBERED:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[record.origin] = record, data

    def _learn(self, record: Record) -> list[str] | None:
        """Give the slots on which the interest has changed, or None if the record is no news."""
        topology = self._topology
        if isinstance(record, (NodeRecord, NodeChange)):
            is_news = topology.learn_node(record) if isinstance(record, NodeRecord) else topology.learn_change(record)
            if is_news and record.origin == topology.own.origin:
                self.own_changed()  # somebody has older news of this context, or lies
                return None
            if is_news and topology.own.origin in record.partings:
                self._context._mesh.membership.heard_parting(record.origin, record.partings[topology.own.origin])
            return [] if is_news else None
        if isinstance(record, InterestSnapshot):
            return topology.learn_snapshot(record) if topology.is_news(record) else None
        return [record.slot] if topology.learn_interest(record) else None


def _origin(record: Guidance) -> bytes:
    return b"" if isinstance(record, Want) else record.origin


def _frames(records: Iterable[bytes]) -> Iterator[bytes]:
    for body in encode_batch(records):
        yield encode_prefix(FrameKind.RECORDS, 0, len(_HEADER), len(body)) + _HEADER + body
