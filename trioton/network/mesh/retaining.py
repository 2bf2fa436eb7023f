"""Retained values spread: each context keeps the newest value of every state slot, and tells its neighbours of each that is new.

As with records, changes gather for a moment, and two neighbours that meet find out what the other lacks. But values may be large, and
take their turn with all else that is sent over a link.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from ...errors import NotPermittedError
from ...protocol import control
from ...protocol.identity import ContextId
from ...protocol.limits import MAX_RUN_BYTES
from ...protocol.outbox import LatePackage
from ...protocol.retained import UNKNOWN, Known, RetainedStore, Value, Version, parse_rows
from ...protocol.retained_lane import RetainedLane
from ...protocol.way import Way
from ..events import BadMessage

if TYPE_CHECKING:
    from ...protocol.packages import Package
    from ...protocol.retained import Retained
    from ...protocol.session import RetainedReceived
    from ..association import Association
    from ..connection import Connection
    from ..context import Context

logger = logging.getLogger("trioton.context")

GATHER: Final = 0.02
"""Seconds that changes gather after neighbours were told of some, before they are told of the next."""

FIRST_LOOK: Final = 0.02
"""Seconds after which others are asked again whether they know what they should."""

LONGEST_LOOK: Final = 0.5
"""The longest time between two such questions."""


class LinkLane:
    """The lane of one link, in the outbox of its connection; stands there for the flow that its packages belong to."""

    slot = ""
    cut_to = 0

    def __init__(self, connection: Connection, store: RetainedStore) -> None:
        guard, belief = connection.guard, connection.belief
        may_read = None if guard is None else guard.may_read
        may_tell = None if belief.hears_others and not belief.is_leaf else belief.hears_value_of
        self.lane = RetainedLane(store, connection.max_package, may_read, may_tell)
        self._connection = connection
        self._way = Way(connection)
        self._is_queued = False
        self._has_warned = False

    def marker(self, position: int) -> Package:
        """Nothing is ever dropped here, so nobody asks for it."""
        raise NotImplementedError(position)

    def queue(self) -> None:
        """If there is anything to tell, see that its turn comes."""
        if self.lane and not self._is_queued and self._connection.open_link is not None:
            self._is_queued = True
            self._way.add(LatePackage(self._make), self)
            self._connection._context._dispatcher.will_write(self._connection.association)

    def _make(self) -> Package | None:
        self._is_queued = False
        package = self.lane.next_package()
        self.queue()
        if self.lane.too_large and not self._has_warned:
            self._has_warned = True
            logger.warning("%s: the value of a state is too large for %s", self._connection, self._connection.peer)
        return package


class _Poll:
    """What others have answered to one who waits until all know what any of them knew.

    Attributes:
        own: The version that was known here when it began.
        first: The first answer of each, by identity.
        last: The last one.
    """

    __slots__ = ("first", "last", "own")

    def __init__(self, own: Version) -> None:
        self.own = own
        self.first: dict[bytes, Version] = {}
        self.last: dict[bytes, Version] = {}


class Retaining:
    """Keeps the values of states, and spreads them.

    Args:
        context: The context.

    Attributes:
        store: The values.
    """

    def __init__(self, context: Context) -> None:
        self.store = RetainedStore(context._wire_id, context._limits.retained)
        self._context = context
        self._pending: dict[str, Connection | None] = {}
        self._lot = trio.lowlevel.ParkingLot()
        self._last_flush = -math.inf
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        self._polls: dict[str, list[_Poll]] = {}
        self._denied: dict[str, tuple[str, int]] = {}  # why, and by whom
        self._answered = trio.lowlevel.ParkingLot()
        self._has_warned = False

    # ---------------------------------------------------------------- for channels

    def watch(self, slot: str, on_change: Callable[[], None]) -> None:
        """Hold the value of a slot, and call a function whenever that changes, and when the context is closed."""
        if self.store.use(slot):
            for connection in self._context._neighbours.with_session():
                lane = connection.talk.lane
                if lane is not None:
                    lane.lane.ask(slot)
                    lane.queue()
        self._watchers.setdefault(slot, []).append(on_change)

    def unwatch(self, slot: str, on_change: Callable[[], None]) -> None:
        """Hold the value of a slot no longer for this function."""
        watchers = self._watchers[slot]
        watchers.remove(on_change)
        if not watchers:
            del self._watchers[slot]
            self._denied.pop(slot, None)
        self.store.release(slot)
        self._answered.unpark_all()
        self._check_room()

    def count(self, slot: str) -> int:
        """How many hold the value of a slot."""
        return len(self._watchers.get(slot, ()))

    def get(self, slot: str) -> Retained | None:
        """The value of a slot, if there is one."""
        return self.store.get(slot)

    def put(self, slot: str, data: bytes) -> bool:
        """Write a value; gives whether it is another than before.

        Raises:
            ValueError: It is too large for another context, or the slot cannot change any more.
        """
        self._check_size(len(data))
        is_new = self.store.put(slot, data)
        if is_new:
            self._spread(slot, None)
        return is_new

    def _check_size(self, size: int) -> None:
        topology = self._context._mesh.topology
        if size > MAX_RUN_BYTES:  # all contexts take that much
            for wire_id in topology.contexts():
                node = topology.node(wire_id)
                if node is not None and size > node.max_package:
                    who = ContextId.from_wire(wire_id)
                    raise ValueError(f"the value takes {size} bytes; {node.name or who} takes {node.max_package}")

    def end(self) -> None:
        """The context is closed."""
        for watchers in list(self._watchers.values()):
            for on_change in list(watchers):
                on_change()
        self._answered.unpark_all()

    # ---------------------------------------------------------------- telling

    def begin(self, connection: Connection) -> LinkLane | None:
        """A link is new: tell the neighbour how much is known here, if it keeps states, too."""
        if not connection.peer_retains:
            return None
        lane = LinkLane(connection, self.store)
        lane.queue()
        return lane

    def _spread(self, slot: str, heard_from: Connection | None) -> None:
        """A slot has a new value here: tell all who use it, and all neighbours but the one that it came from."""
        self._pending[slot] = heard_from
        self._lot.unpark()
        for on_change in list(self._watchers.get(slot, ())):
            on_change()
        if slot in self._polls:
            self._answered.unpark_all()
        self._check_room()

    def _check_room(self) -> None:
        if self.store.given_way and not self._has_warned:
            self._has_warned = True
            limit = self._context._limits.retained
            logger.warning(
                "%s: states take over %d bytes: what is old, and not used here, gives way", self._context, limit
            )

    def flush(self) -> None:
        """Tell now what has gathered."""
        if not self._pending:
            return
        pending, self._pending = self._pending, {}
        for connection in self._context._neighbours.with_session():
            lane = connection.talk.lane
            if lane is not None and connection.open_link is not None:
                for slot, heard_from in pending.items():
                    if heard_from is not connection:
                        lane.lane.changed(slot)
                lane.queue()
        self._last_flush = trio.current_time()

    @trio.lowlevel.enable_ki_protection
    async def run_forever(self) -> None:
        """Tell what has gathered: a lone change at once, those that follow it closely together."""
        while True:
            if not self._pending:
                await self._lot.park()
            if trio.current_time() < self._last_flush + GATHER:
                await trio.sleep_until(self._last_flush + GATHER)
            else:
                await trio.lowlevel.checkpoint()
            self.flush()

    # ---------------------------------------------------------------- hearing

    def came(self, connection: Connection, event: RetainedReceived) -> None:
        """A neighbour tells of values.

        Raises:
            ProtocolError: What it tells makes no sense, or it speaks for others too often.
        """
        lane = connection.talk.lane
        if lane is None:
            return
        for row in parse_rows(event.body, slot_length=self._context._limits.slot_length):
            if isinstance(row, Value):
                if connection.standing.may_speak_for_others or connection.belief.believes(row.writer):
                    self._learn(connection, row)
            elif isinstance(row, Known):
                lane.lane.knows(row)
            else:
                lane.lane.hear(row)
        lane.queue()

    def _learn(self, connection: Connection, value: Value) -> None:
        objection = self.store.objection(value)
        if objection is not None:
            writer = ContextId.from_wire(value.writer)
            logger.warning("%s: a value from %s on %r is dropped: %s", self._context, writer, value.slot, objection)
            self._context._hub.emit(BadMessage(writer, value.slot, objection))
        elif self.store.learn(value):
            self._denied.pop(value.slot, None)
            self._spread(value.slot, connection)

    # ---------------------------------------------------------------- what others know

    async def wait_synced(self, slot: str, check: Callable[[], None]) -> None:
        """Wait until this context, and all that it can reach, know the newest version that any of them knew when it was asked.

        Args:
            slot: The slot.
            check: Raises if there is no use in waiting any more.

        Raises:
            NotPermittedError: Somebody on the way to others does not let this context read the slot, or not write what it has written.
        """
        poll = _Poll(self.store.tell(slot))
        polls = self._polls.setdefault(slot, [])
        polls.append(poll)
        delay = FIRST_LOOK
        try:
            self.flush()
            self._check_denied(slot)
            while lagging := self._lagging(slot, poll):
                for association in lagging:
                    self._ask(association, slot)
                with trio.move_on_after(delay):
                    while self._lagging(slot, poll):
                        await self._answered.park()
                        check()
                        self._check_denied(slot)
                check()
                self._check_denied(slot)
                delay = min(2 * delay, LONGEST_LOOK)
        finally:
            polls.remove(poll)
            if not polls:
                self._polls.pop(slot, None)

    def denied(self, slot: str, reason: str, by: int) -> None:
        """Others will never know what this context knows of a slot, or it never what they do; until there is news of it."""
        if slot in self._watchers:
            self._denied[slot] = reason, by
            self._answered.unpark_all()

    def forget_denials(self, by: int) -> None:
        """Somebody who has refused something may think otherwise now."""
        self._denied = {slot: denied for slot, denied in self._denied.items() if denied[1] != by}

    def _check_denied(self, slot: str) -> None:
        if slot in self._denied:
            reason, by = self._denied[slot]
            raise NotPermittedError(reason, slot=slot, by=by)

    def _lagging(self, slot: str, poll: _Poll) -> list[Association]:
        """Who must be asked, once more or for the first time, before all know what any of them knew.

        If it is only this context that lags, all are asked: one of them tells.
        """
        reached = [info.id.to_wire() for info in self._context.contexts]
        found = [
            association for wire_id in reached if (association := self._context._associations.get(wire_id)) is not None
        ]
        others = [
            each
            for each in found
            if (each.is_remote or self._lane_of(each) is not None) and self._is_waited_for(each, slot)
        ]
        goal = max([poll.own, *(poll.first.get(each.peer.wire_id, UNKNOWN) for each in others)])
        others = [each for each in others if self._can_know(each, goal)]
        lagging = [each for each in others if each.peer.wire_id not in poll.last or poll.last[each.peer.wire_id] < goal]
        return lagging or (others if self.store.version(slot) < goal else [])

    @staticmethod
    def _can_know(association: Association, version: Version) -> bool:
        """Whether somebody can be told of a version from here: a neighbour may not believe it."""
        connection, writer = association.connection, version.writer
        if connection is None or version == UNKNOWN or writer == association.peer.wire_id:
            return True
        return connection.belief.hears_value_of(writer)

    @staticmethod
    def _is_waited_for(association: Association, slot: str) -> bool:
        """Whether a context may make others wait until it knows a value; one that may not even read that never will."""
        guard = None if association.via is None else association.via.guard
        return guard is None or guard.is_waited_for(slot)

    @staticmethod
    def _lane_of(association: Association) -> LinkLane | None:
        return None if association.connection is None else association.connection.talk.lane

    @staticmethod
    def _ask(association: Association, slot: str) -> None:
        speaker = association.the_routed if association.is_remote else association
        speaker.send_control(control.AskState(slot))

    def asked(self, association: Association, message: control.AskState) -> None:
        """Somebody asks which version of a slot is known here."""
        association.send_control(control.StateKnown(message.slot, *self.store.tell(message.slot)))

    def answered(self, association: Association, message: control.StateKnown) -> None:
        """Somebody says which version of a slot it knows."""
        version = Version(message.counter, message.writer, message.check)
        connection = association.connection
        if connection is not None and not connection.belief.may_speak_for(version.writer):
            # What it knows beyond that, this context would not believe.
            version = min(version, self.store.version(message.slot))
        for poll in self._polls.get(message.slot, ()):
            poll.first.setdefault(association.peer.wire_id, version)
            poll.last[association.peer.wire_id] = version
        self._answered.unpark_all()
