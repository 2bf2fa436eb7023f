"""What is said over a link: how a talk begins, and who in the context hears what the peer says.

What a peer says about the link itself is answered here; what it says about flows is in `flow_talk`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import trio

from ..errors import ProtocolError
from ..protocol import control
from ..protocol.limits import MIB
from ..protocol.memory import INTEREST_BYTES, MemoryUse
from ..protocol.routed import LAST_ROUND, RoutedReceived
from ..protocol.session import PackageReceived, RecordsReceived, RetainedReceived
from ..protocol.shown import shown
from .flow_talk import FLOW_HANDLERS
from .receiving.claims import DIRECT_PREFIX
from .states import State, Tie

if TYPE_CHECKING:
    from ..protocol.handshake import Hello
    from ..protocol.session import Event
    from .connection import Connection
    from .link import Link
    from .mesh.retaining import LinkLane

MAX_ANSWER_BYTES: Final = 2 * MIB
"""Bytes of answers to what the peer has said that may wait until it reads."""


class Talk:
    """The talk of a connection with its peer, over the link that there is now.

    It begins with a snapshot from either side: all that it listens to, then SYNC, which is answered by SYNCED. When either side has heard
    both, every blocking subscriber has given room, and each side has the values of states that the other had, the session is up.

    Args:
        connection: The connection.

    Attributes:
        was_asked: Whether the peer has asked over this link for all that is known here of others.
        has_heard_all: Whether the peer has said over this link what it listens to.
        words: What came over this link, but for packages and pings.
        lane: What is told over this link of the values of states; None if the peer keeps none.
    """

    __slots__ = (
        "_answer_bytes",
        "_connection",
        "_context",
        "_interest",
        "_outbox",
        "_relays",
        "has_heard_all",
        "lane",
        "was_asked",
        "words",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._context = connection._context
        self._outbox = connection.outbox
        self._relays = connection._context._mesh.relays
        self._answer_bytes = 0
        self._interest = MemoryUse(connection.memory)
        self.was_asked = self.has_heard_all = False
        self.words = 0
        self.lane: LinkLane | None = None

    def begin(self, link: Link) -> None:
        """A new link is up: all that was said over the last one is told anew, by either side."""
        connection, context = self._connection, self._context
        association = connection.association
        context._mesh.membership.link_up(connection)
        context._denials.link_up(connection)
        self.lane = context._mesh.retaining.begin(connection)
        association.awaits_snapshot, association.is_answered = True, False
        association.announced.clear()
        self._answer_bytes = self.words = 0
        self.was_asked = self.has_heard_all = False
        connection.conduct.begin()
        if connection.timeout != context._heartbeat.timeout:
            connection._apply_timeout(link)
        listening = context._traffic.listening
        announced = listening.announce(association, association.peer.wire_id)
        link.send_control(control.Sync(listening.record, announced, association.round))
        # Either side measures the round trip once: later the answers to one side's pings are heartbeats enough.
        link.send_control(control.Ping(link.machine.next_ping(trio.current_time())))
        context._traffic.branches.ask_again(association)
        link.try_write()

    def heard(self, received: list[Event]) -> None:
        """Do what has come over the link, in its order.

        Raises:
            ProtocolError: The peer says what it may not.
        """
        # Each package passes here: no call more than it takes.
        connection, outbox = self._connection, self._outbox
        relays, own_peer = self._relays, connection.peer.wire_id
        answered, waiting = False, outbox.control_bytes
        for event in received:
            if type(event) is PackageReceived:
                if event[0][1] == own_peer and not relays.is_router:
                    self._context._reception.package(connection.association, event)
                else:
                    relays.package(connection, event)
            else:
                self.words += 1
                handler = FLOW_HANDLERS.get(type(event))
                if type(event) is RecordsReceived:
                    before = outbox.control_bytes
                    self._context._mesh.records_came(connection, event)
                    if connection.tie is not Tie.STUB:
                        # It may ask only once, and the answer is as long as it must be.
                        waiting += outbox.control_bytes - before
                elif handler is None:
                    _HANDLERS[type(event)](connection, event)
                elif connection.association.connection is connection:
                    handler(connection.association, event)
                answered = True
        if connection._state is not State.CONNECTED:
            self._check_settled()
        relays.write()
        if answered and outbox:
            self._answer_bytes += outbox.control_bytes - waiting
            connection.try_write()
            if not outbox.control_bytes:
                self._answer_bytes = 0
            elif min(self._answer_bytes, outbox.control_bytes) > MAX_ANSWER_BYTES:
                raise ProtocolError("the peer asks on and on, and does not read the answers")

    # ---------------------------------------------------------------- whether the peer behaves

    def expect_pings(self, hello: Hello) -> None:
        """The heart of a peer may beat faster than most."""
        if hello.interval is not None:
            self._connection.conduct.beats(hello.interval, trio.current_time())

    def pinged(self, link: Link) -> None:
        """A ping came.

        Raises:
            ProtocolError: It is one of too many.
        """
        self.words -= 1
        self._connection.conduct.ping(trio.current_time(), link.session.packages_received + self.words)

    @property
    def interest_bytes(self) -> int:
        """Bytes that are charged for what the peer listens to."""
        return self._interest.size

    def interest_changed(self) -> None:
        """The peer has said that it listens to a slot, or does no longer.

        Raises:
            OverMemoryError: What it listens to takes too much memory.
        """
        connection, now = self._connection, trio.current_time()
        slots = self._context._traffic.interests.count_of(connection.association)
        self._interest.set(slots * INTEREST_BYTES)
        connection.conduct.interest_changed(now)
        self._wait_if_due(now)

    def record_came(self, *, is_node: bool) -> None:
        """A peer that is not trusted has said anew what it, or a stub of it, is connected to, or else what that listens to."""
        connection, now = self._connection, trio.current_time()
        if is_node:
            connection.conduct.record_changed(now)
        else:
            connection.conduct.interest_changed(now)
        self._wait_if_due(now)

    def _wait_if_due(self, now: float) -> None:
        link = self._connection._link
        if link is not None and self._connection.conduct.pause(now):
            link.makes_wait = True

    def pause(self) -> float:
        """Seconds for which the peer should not be read, at first; not so long that it would count as silent."""
        connection = self._connection
        return min(connection.conduct.pause(trio.current_time()), connection._timeout / 4)

    def end(self) -> None:
        """The connection has ended."""
        self._interest.set(0)

    def _check_settled(self) -> None:
        """If both sides know what the other listens to, and every blocking subscriber has given room, the session is up."""
        connection = self._connection
        association = connection.association
        if association.awaits_snapshot or not association.is_answered:
            return
        if self.lane is not None and not self.lane.lane.is_settled:
            return
        if connection.tie is Tie.PARENT and not self._context._mesh.upward.is_settled:
            return
        is_awaited = connection._state in {State.CONNECTING, State.SUSPENDED}
        if is_awaited and not self._context._traffic.progress.has_unready(association):
            connection.life.came_up()


def _ping_came(connection: Connection, message: control.Ping) -> None:
    link = connection.open_link
    if link is not None:
        connection.talk.pinged(link)
        link.send_control(control.Pong(message.nonce))  # written with all other answers
        link.machine.answered()
        if not link.session.has_unfinished:
            connection._context._heart.postpone(
                link
            )  # most idle links thus never wake the heart of the end that answers


def _pong_came(connection: Connection, message: control.Pong) -> None:
    if connection._link is not None:
        if not connection._link.machine.pong(message.nonce, trio.current_time()):
            connection.conduct.strike(trio.current_time(), "the answer to a ping that was never sent, or is answered")
        connection._changed.unpark_all()


def _beat_came(connection: Connection, message: control.Beat) -> None:
    link = connection._link
    if link is not None and link.machine.peer_wants(message.milliseconds / 1000):
        connection._context._heart.watch(link)


def _close_came(connection: Connection, message: control.Close) -> None:
    connection.goodbye.heard(message)


def _sync_came(connection: Connection, message: control.Sync) -> None:
    association, talk = connection.association, connection.talk
    if talk.has_heard_all:
        connection.send_control(control.Synced())  # and no more: to look at all that the peer listens to takes long
        return
    talk.has_heard_all = True
    if association.awaits_snapshot:
        connection._context._traffic.audience.forget_unannounced(association, association.announced)
    connection._context._mesh.snapshot_came(connection, message)
    connection._context._mesh.membership.link_settled(connection)
    association.awaits_snapshot = association.goes_on = False
    association.round = max(association.round, min(message.round, LAST_ROUND))
    connection.send_control(control.Synced())


def _synced_came(connection: Connection, _message: control.Synced) -> None:
    connection.association.is_answered = True


def _subscribe_came(connection: Connection, message: control.Subscribe) -> None:
    limits = connection._context._limits
    if not 1 <= len(message.slot.encode()) <= limits.slot_length:
        raise ProtocolError(f"the peer subscribed to a slot of {len(message.slot)} characters")
    # All of this is told to others in a record, and they would take it for nonsense of this context.
    if message.mode > 2 or message.size < 1 or message.count < 1:
        raise ProtocolError(
            f"the peer subscribed with mode {message.mode}, size {message.size} and count {message.count}"
        )
    if not message.record and not message.slot.startswith(DIRECT_PREFIX):
        raise ProtocolError(f"the peer subscribed to {shown(message.slot)} in a record without a number")
    context, association = connection._context, connection.association
    association.announced[message.slot] = None
    context._traffic.audience.subscribe(association, message)
    connection.talk.interest_changed()
    if context._traffic.interests.count_of(association) > limits.subscriptions:
        raise ProtocolError(f"the peer subscribed to more than {limits.subscriptions} slots")
    context._mesh.subscribed(connection, message)


def _unsubscribe_came(connection: Connection, message: control.Unsubscribe) -> None:
    if not 1 <= len(message.slot.encode()) <= connection._context._limits.slot_length or not message.record:
        raise ProtocolError(f"the peer ceased to listen to {shown(message.slot)} by record {message.record}")
    connection._context._traffic.audience.unsubscribe(connection.association, message)
    connection.association.announced.pop(message.slot, None)
    connection.talk.interest_changed()
    connection._context._mesh.unsubscribed(connection, message)


def _routed_came(connection: Connection, event: RoutedReceived) -> None:
    connection._context._mesh.relays.routed(connection, event)


def _retained_came(connection: Connection, event: RetainedReceived) -> None:
    connection._context._mesh.retaining.came(connection, event)


_HANDLERS: Final[dict[type, Callable[[Connection, Any], None]]] = {
    control.Ping: _ping_came,
    control.Pong: _pong_came,
    control.Beat: _beat_came,
    control.Close: _close_came,
    control.Sync: _sync_came,
    control.Synced: _synced_came,
    control.Subscribe: _subscribe_came,
    control.Unsubscribe: _unsubscribe_came,
    RoutedReceived: _routed_came,
    RetainedReceived: _retained_came,
}
