"""Who can be reached: contexts join and are gone as the records say, and what is sent to them takes the way that there is now."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from ...protocol import control
from ...protocol.identity import ContextId
from ...protocol.records import MAX_PARTINGS
from .. import events
from ..peer import ContextInfo
from ..states import State, Tie

if TYPE_CHECKING:
    from ...protocol.records import Route
    from ...protocol.topology import Topology
    from ..association import Association
    from ..connection import Connection
    from ..context import Context
    from .flooding import Flooding

logger = logging.getLogger("trioton.context")

SUSPENDED_AFTER: Final = 1.0
"""Seconds after which a link that was lost is used only where no other way leads."""

FORGOTTEN_AFTER: Final = 60.0
"""Seconds after which records of contexts that cannot be reached are forgotten; they come anew with those."""

GIVEN_UP: Final = "it could not reach this context for too long"

NO_WAY: Final = "no way leads there any more"

MOST_PARTINGS: Final = 1 << 29
"""How often two contexts may have parted; more is not believed, since rounds would get numbers beyond all bounds."""

_UNSUBSCRIBE_ALL: Final = (1 << 62) - 1


class Membership:
    """Keeps the associations of a context in step with what is known of the network.

    Args:
        context: The context.
        topology: What is known of all contexts.
        flooding: Tells the others of changes here.
    """

    def __init__(self, context: Context, topology: Topology, flooding: Flooding) -> None:
        self._context = context
        self._topology = topology
        self._flooding = flooding
        self._joined: dict[bytes, tuple[str, int]] = {}
        self._used: dict[Association, None] = {}
        self._parted: dict[bytes, int] = {}
        self._lost: dict[bytes, bool] = {}  # whether the other is still to hear of it
        self._version = topology.version
        self._forgets = False

    def contexts(self) -> list[ContextInfo]:
        """All contexts that can be reached now."""
        found = []
        for wire_id, (name, pid) in self._joined.items():
            connection = self._context._neighbours.route(wire_id)
            is_direct = connection is not None and connection.is_connected
            if is_direct or self._is_routed(wire_id):
                hops = 1 if is_direct else self._topology.hops(wire_id)
                found.append(ContextInfo(ContextId.from_wire(wire_id), name, pid, hops))
        return found

    def _is_routed(self, wire_id: bytes) -> bool:
        association = self._context._associations.known(wire_id)
        return self._topology.reaches(wire_id) if association is None else association.is_remote

    def can_reach(self, wire_id: bytes) -> bool:
        """Whether a context has joined, as far as all conclusions have been drawn, and a way leads there."""
        is_known = wire_id in self._joined or self._flooding.upward.is_presumed(wire_id)
        return is_known and self._topology.reaches(wire_id)

    # ---------------------------------------------------------------- links of this context

    def link_up(self, connection: Connection) -> None:
        """A link to a neighbour is up, the first one or another."""
        if connection.life.has_joined:
            self.link_settled(connection)
        # Of a parting it must hear before anything else is said: what went on for it begins anew.
        tells_itself = not connection.life.has_joined and self.parted(connection.peer.wire_id) > 0
        self._flooding.begin(connection, tells_itself=tells_itself)

    def link_settled(self, connection: Connection) -> None:
        """A neighbour has heard and said all that the beginning of a link needs: others may be reached over it."""
        neighbour, generation = connection.peer.wire_id, connection._totals.transports
        bound = connection.belief.bound
        if self._topology.set_link(neighbour, is_suspended=False, generation=generation, bound=bound):
            self._flooding.introduce(connection)
            self.update()

    def link_lost(self, connection: Connection) -> None:
        """A link is lost, and the session may still be resumed: for a moment all waits for that."""
        self._context._start_soon(self._suspend_later, connection)

    async def _suspend_later(self, connection: Connection) -> None:
        transports = connection._totals.transports
        await trio.sleep(SUSPENDED_AFTER)
        is_same = connection._totals.transports == transports
        if is_same and connection._state is State.SUSPENDED and self._is_current(connection):
            bound = connection.belief.bound
            self._topology.set_link(connection.peer.wire_id, is_suspended=True, generation=transports, bound=bound)
            self._flooding.own_changed()
            self.update()

    def session_over(self, connection: Connection) -> None:
        """A neighbour is one no longer."""
        if self._topology.remove_link(connection.peer.wire_id):
            self._flooding.own_changed()
        if connection.tie is Tie.PARENT:
            self._flooding.upward.over()
        self.update()
        if connection.tie is Tie.PARENT:
            self._flooding.parenthood.give_up_asking()
            self._flooding.upward.settle()
        self._flooding.parenthood.forget(connection)

    def _is_current(self, connection: Connection) -> bool:
        return self._context._neighbours.route(connection.peer.wire_id) is connection

    # ---------------------------------------------------------------- who joins and who is gone

    def joined(self, wire_id: bytes, name: str, pid: int) -> None:
        """A context can be reached: tell the program, unless it knows."""
        if wire_id not in self._joined:
            self._joined[wire_id] = name, pid
            if self._context._hub.is_heard:
                self._context._hub.emit(events.ContextJoined(ContextId.from_wire(wire_id), name))
            self._wake()

    def gone(self, wire_id: bytes, reason: str) -> None:
        """A context cannot be reached any more: tell the program, if it knew."""
        self._lose(wire_id)
        joined = self._joined.pop(wire_id, None)
        if joined is not None:
            if self._context._hub.is_heard:
                self._context._hub.emit(events.ContextDied(ContextId.from_wire(wire_id), joined[0], reason))
            self._wake()

    def _wake(self) -> None:
        waiting = self._context._changed
        if waiting:
            waiting.unpark_all()

    def _log(self, level: int, wire_id: bytes, what: str) -> None:
        if logger.isEnabledFor(level):  # this is done for each context of the network
            name, _ = self._joined.get(wire_id, ("", 0))
            logger.log(level, "%s: %r (%s) %s", self._context, name, ContextId.from_wire(wire_id), what)

    def _lose(self, wire_id: bytes) -> None:
        _make_room(self._lost)
        self._lost[wire_id] = True

    def heard_interest(self, changed: Iterable[tuple[bytes, str]]) -> None:
        """Records about interests have come, of contexts that may be no neighbours."""
        with self._context._traffic.audience.together():
            self.update()
            for wire_id, slot in changed:
                self._flooding.parenthood.interest_changed(wire_id, slot)
                association = self._context._associations.get(wire_id)
                if association is not None and association.is_remote:
                    self._apply_interest(association, slot)

    def update(self) -> None:
        """Draw the conclusions from records that have changed."""
        topology, associations = self._topology, self._context._associations
        changes = topology.update()
        parenthood = self._flooding.parenthood
        for wire_id in changes.gone:
            self._lose(wire_id)
            parenthood.gone(wire_id)
            association = associations.known(wire_id)
            if association is None or association.is_remote:
                self._end(wire_id, NO_WAY)
        if changes.gone and not self._forgets:
            self._forgets = True
            self._context._start_soon(self._forget_in_time)
        with self._context._traffic.audience.together():
            for wire_id in changes.joined:
                self._flooding.repeat(wire_id)
                parenthood.joined(wire_id)
                if associations.known(wire_id) is None:
                    self._join(wire_id)
                self._lost.pop(wire_id, None)
        if topology.version != self._version:
            self._version = topology.version
            self._find_ways()
            parenthood.ways_changed()

    # ---------------------------------------------------------------- partings

    def meet_again(self, wire_id: bytes) -> None:
        """A context can be reached, maybe one that could not be for a while. It must hear of that, since it may not have noticed itself."""
        if self._lost.pop(wire_id, False):
            self._set_parted(wire_id, min(self.parted(wire_id) + 1, MOST_PARTINGS))
            self._flooding.own_changed()

    def parted(self, wire_id: bytes) -> int:
        """How often this context and another have given each other up, as far as is known."""
        return self._parted.get(wire_id, 0)

    def heard_parting(self, wire_id: bytes, count: int) -> None:
        """Another context says how often both have given each other up: if that is news, what they have in common begins anew."""
        if not self.parted(wire_id) < count <= MOST_PARTINGS:
            return
        self._set_parted(wire_id, count)
        if wire_id in self._lost:
            self._lost[wire_id] = False  # both have noticed, and it was one parting
        known = self._context._associations.get(wire_id)
        self.update()  # ways cannot be asked for while there are records of which no conclusions have been drawn
        association = self._context._associations.get(wire_id)
        if association is None or association is not known or not (association.is_remote or association.goes_on):
            return
        connection = association.connection
        self._end(wire_id, GIVEN_UP)
        self._lost.pop(wire_id, None)
        if connection is not None:
            self._context._associations.attach(connection)
        elif self._topology.node(wire_id) is not None:
            self._join(wire_id)

    def _set_parted(self, wire_id: bytes, count: int) -> None:
        _make_room(self._parted)
        self._parted[wire_id] = count
        self._topology.set_parting(wire_id, count)

    def _end(self, wire_id: bytes, reason: str) -> None:
        association = self._context._associations.known(wire_id)
        if association is not None:
            self._context._associations.end(association)
        # Nothing tells from here whether one to whom no way leads has said goodbye to its neighbours, as most have.
        self._log(logging.DEBUG if reason == NO_WAY else logging.INFO, wire_id, f"is gone: {reason}")
        self.gone(wire_id, reason)

    async def _forget_in_time(self) -> None:
        """Forget the records of contexts that could not be reached for long, as long as there are any."""
        while marked := self._topology.unreachable():
            await trio.sleep(FORGOTTEN_AFTER)
            self.update()
            neighbours = self._context._neighbours
            self._topology.forget_unreachable([each for each in marked if neighbours.route(each) is None])
        self._forgets = False

    def _join(self, wire_id: bytes) -> None:
        node = self._topology.node(wire_id)
        assert node is not None
        self.meet_again(wire_id)
        if not self._flooding.upward.is_presumed(wire_id):
            self.joined(wire_id, node.name, node.pid)
        if self._topology.slots_of(wire_id):
            association = self._context._associations.get(wire_id)
            assert association is not None
            self.learn_all(association)
        self._log(logging.DEBUG, wire_id, "has joined")

    def confirmed(self, route: Route) -> None:
        """A context that was only presumed to be somewhere is, as the parent says."""
        wire_id = route.origin
        association = self._context._associations.known(wire_id)
        if association is not None:
            association.peer = attrs.evolve(association.peer, name=route.name, pid=route.pid)
        if self._topology.reaches(wire_id):
            self.joined(wire_id, route.name, route.pid)

    def learn_all(self, association: Association) -> None:
        """Take over all that is known of what a context that is no neighbour listens to."""
        for slot in self._topology.slots_of(association.peer.wire_id):
            self._apply_interest(association, slot)

    def _apply_interest(self, association: Association, slot: str) -> None:
        audience = self._context._traffic.audience
        record = self._topology.interest(association.peer.wire_id, slot)
        if record is None:
            audience.unsubscribe(association, control.Unsubscribe(slot, _UNSUBSCRIBE_ALL))
        else:
            _, _, number, mode, size, count, blocks_since = record
            audience.subscribe(
                association, control.Subscribe(slot, number, mode, size, count, None, None, blocks_since)
            )

    # ---------------------------------------------------------------- ways

    def use(self, association: Association) -> None:
        """Something is said to a context that is no neighbour, or it says something: its way is kept an eye on from now on."""
        if association not in self._used:
            self._used[association] = None
            if association.the_routed.find_way():
                self._context._associations.rebind(association)

    def forget(self, association: Association) -> None:
        """An association is over."""
        self._used.pop(association, None)

    def _find_ways(self) -> None:
        """Links have come or gone: some ways may be others now."""
        associations, own = self._context._associations, self._context._wire_id
        for connection in self._context._neighbours.with_session():
            association = connection.association
            if connection.open_link is not None or association.is_remote:
                continue
            if self._topology.next_hop(own, connection.peer.wire_id) not in {None, connection.peer.wire_id}:
                associations.leave_straight(association)
        for association in list(self._used):
            routed = association.routed
            if association.is_remote and routed is not None and routed.find_way():
                associations.rebind(association)
                if routed.via is not None:
                    routed.begin_round()


def _make_room(known: dict[bytes, Any]) -> None:
    """Forget the oldest of what is known of contexts that are gone, if that gets too much."""
    while len(known) >= MAX_PARTINGS:
        del known[next(iter(known))]
