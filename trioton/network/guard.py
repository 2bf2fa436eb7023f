"""What a neighbour says that is not trusted is held against its permissions, before anything else hears of it.

There is one guard for each link to such a neighbour, at our end. All that comes over the link passes it, whoever it is from: of the
neighbour itself, of those who are below it, and of those in whose name it speaks though it should not. So the rights depend on the link
alone. Links to neighbours that are trusted have no guard, and pay nothing.

What is refused is dropped, counted and told: by an event and the log here, and to the one who wanted it by a DENIED.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import ProtocolError
from ..protocol import control
from ..protocol.frames import PREFIX_SIZE, FrameKind
from ..protocol.identity import ContextId
from ..protocol.permissions import MOST_KNOWN, Permissions, Right
from ..protocol.policies import Mode
from ..protocol.records import InterestRecord, InterestSnapshot, Route, encode_record, parse_record
from ..protocol.retained import Row, Value, encode_rows, parse_rows
from ..protocol.routed import RoutedReceived, encode_routed
from ..protocol.session import PackageReceived, RecordsReceived, RetainedReceived
from . import events
from .receiving.claims import DIRECT_PREFIX
from .sending.addressed import plain_slot
from .states import Tie
from .talk import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from ..protocol.session import Event
    from ..transports.base import Transport
    from .connection import Connection

MOST_TOLD: Final = 1000
"""Of how many slots and rights, and of how many flows, a link remembers that their refusal was told of. More are only counted."""

_OF_FLOWS: Final = frozenset({FrameKind.OFFER, FrameKind.STARTED, FrameKind.KEPT, FrameKind.FLUSH})
_GUARDED_WORDS: Final = _OF_FLOWS | {FrameKind.CREDIT, FrameKind.ASK_STATE, FrameKind.STATE_KNOWN}

F = TypeVar("F", control.Offer, control.Started, control.Kept, control.Flush)


class _Flows(dict[str, "Right | None"]):
    """The right that is lacking for a flow, by its slot: one look-up for each package."""

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions

    def __missing__(self, slot: str) -> Right | None:
        if len(self) >= MOST_KNOWN:
            self.clear()
        lacking = self[slot] = self._find(slot)
        return lacking

    def _find(self, slot: str) -> Right | None:
        """Requests and jobs are addressed, and still need a right; answers, streams and one-to-one channels do not."""
        name = plain_slot(slot)
        if slot.startswith(DIRECT_PREFIX) and name.endswith(".req-rep"):
            return None if self._permissions.may_call(name) else Right.CALL
        if slot.startswith(DIRECT_PREFIX) and not name.endswith(".push-pull"):
            return None
        return None if self._permissions.may_publish(name) else Right.PUBLISH


class Guard:
    """Holds a neighbour to its permissions, over one link.

    Args:
        connection: The connection to it.
        permissions: What it may do.
        transport: The link's transport, for the log.
    """

    def __init__(self, connection: Connection, permissions: Permissions, transport: Transport) -> None:
        self._connection = connection
        self._context = connection._context
        self._permissions = permissions
        self._transport = transport
        self._peer = connection.peer.wire_id
        self._slot_length = connection._context._limits.slot_length
        self._flows = _Flows(permissions)
        self._told: dict[tuple[Right, str], None] = {}
        self._denied: dict[tuple[bytes, str, int], None] = {}
        self._answers: list[bytes] = []
        self._answer_bytes = 0

    def heard(self, received: list[Event]) -> None:
        """Hand on what has come over the link, but for what the neighbour may not.

        Raises:
            ProtocolError: The peer breaks the protocol.
        """
        passed: list[Event] = []
        for event in received:
            check = _CHECKS.get(type(event))
            permitted = event if check is None else check(self, event)
            if permitted is not None:
                passed.append(permitted)
        if passed:
            self._connection.talk.heard(passed)
        if self._answers:
            self._write_answers()

    def may_read(self, slot: str) -> bool:
        """Whether the neighbour may know the value of a state."""
        return self._permissions.may_subscribe(slot)

    def is_waited_for(self, slot: str) -> bool:
        """Whether others wait until the neighbour knows the value of a state: it may hold them up, or was chosen by this context."""
        return (self._permissions.block or self._connection.life.has_dialled) and self.may_read(slot)

    # ---------------------------------------------------------------- what comes

    def _package_came(self, event: PackageReceived) -> PackageReceived | None:
        header = event.header
        lacking = self._flows[header.slot]
        if lacking is None:
            return event
        self._refuse_flow(header.source, header.slot, header.stream, lacking, header.count)
        return None

    def _flow_came(self, message: F) -> F | None:
        lacking = self._flows[message.slot]
        if lacking is None:
            return message
        is_asked = type(message) is control.Offer
        self._refuse_flow(message.source, message.slot, message.stream, lacking, int(is_asked), is_asked=is_asked)
        return None

    def _credit_came(self, message: control.Credit) -> control.Credit | None:
        """Room for what we publish: it would make us wait."""
        return message if self._permissions.block or message.slot.startswith(DIRECT_PREFIX) else None

    def _subscribe_came(self, message: control.Subscribe) -> control.Subscribe | control.Unsubscribe | None:
        slot = message.slot
        if slot.startswith(DIRECT_PREFIX) or len(slot) > self._slot_length:
            return message  # addressed to us; or nonsense, which others refuse
        lacking = self._lacks_to_listen(self._peer, slot, message.mode)
        if lacking is None:
            return message
        if lacking is Right.BLOCK:
            return message._replace(mode=Mode.DROP_NEWEST, blocks_since=None)
        # At the end of a snapshot, what it has not told of counts as withdrawn.
        return None if self._connection.association.awaits_snapshot else control.Unsubscribe(slot, message.record)

    def _records_came(self, event: RecordsReceived) -> RecordsReceived:
        return event._replace(records=[self._check_record(data) for data in event.records])

    def _check_record(self, data: bytes) -> bytes:
        """Take out of a record what those who speak through the neighbour must not listen to."""
        try:
            record = parse_record(data, slot_length=self._slot_length)
        except ProtocolError:
            return data  # which ends the link, when its turn comes
        checked = record
        if isinstance(record, InterestRecord):
            checked = self._check_interest(record)
        elif isinstance(record, (InterestSnapshot, Route)):
            interests = tuple(self._check_interest(interest) for interest in record.interests)
            if interests != record.interests:
                checked = record._replace(interests=tuple(each for each in interests if each.count))
        return data if checked is record else encode_record(checked)

    def _check_interest(self, interest: InterestRecord) -> InterestRecord:
        lacking = self._lacks_to_listen(interest.origin, interest.slot, interest.mode) if interest.count else None
        if lacking is None:
            return interest
        if lacking is Right.BLOCK:
            return interest._replace(mode=Mode.DROP_NEWEST, blocks_since=None)
        return interest._replace(mode=0, size=0, count=0, blocks_since=None)

    def _lacks_to_listen(self, origin: bytes, slot: str, mode: int) -> Right | None:
        """Which right a context lacks to listen as it would; it hears of that."""
        lacking = self._permissions.listening_right(slot)
        if lacking is None and mode == Mode.BLOCK and not self._permissions.block:
            lacking = Right.BLOCK
        if lacking is not None:
            self._connection.refused += 1
            self._refuse_slot(origin, slot, lacking)
        return lacking

    def _retained_came(self, event: RetainedReceived) -> RetainedReceived:
        try:
            rows = parse_rows(event.body, slot_length=self._slot_length)
        except ProtocolError:
            return event  # which ends the link, when its turn comes
        permitted = [row for row in rows if self._may_tell(row)]
        return event if len(permitted) == len(rows) else event._replace(body=encode_rows(permitted))

    def _may_tell(self, row: Row) -> bool:
        if isinstance(row, Value) and not self._permissions.may_publish(row.slot):
            self._connection.refused += 1
            self._refuse_slot(self._peer, row.slot, Right.PUBLISH)
            return False
        return True

    def _state_asked(self, message: control.AskState) -> control.AskState | None:
        if self.may_read(message.slot):
            return message
        self._refuse_slot(self._peer, message.slot, Right.SUBSCRIBE, is_asked=True)
        return None

    def _state_known(self, message: control.StateKnown) -> control.StateKnown | None:
        """Nobody has asked who does not wait for it; and nobody shall wait for what it may not tell."""
        slot = message.slot
        if not self.is_waited_for(slot):
            return None
        known = self._context._mesh.retaining.store.version(slot)
        if self._permissions.may_publish(slot) or message[1:] <= known:
            return message
        return control.StateKnown(slot, *known)

    # ---------------------------------------------------------------- what comes for others, or from others

    def _routed_came(self, event: RoutedReceived) -> RoutedReceived | None:
        kind = event.fields[0]
        if type(kind) is not int or kind not in _GUARDED_WORDS:
            return event
        try:
            message = event.message()
        except ProtocolError:
            return None
        match message:
            case control.Credit():
                return None if self._credit_came(message) is None else event
            case control.StateKnown():
                known = self._state_known(message)
                return None if known is None else event if known is message else _say_instead(event, known)
            case control.AskState():
                is_permitted = self.may_read(message.slot)
                stream, lacking = 0, Right.SUBSCRIBE
            case control.Offer() | control.Started() | control.Kept() | control.Flush():
                found = self._flows[message.slot]
                is_permitted, stream, lacking = found is None, message.stream, found or Right.PUBLISH
            case _:
                return event
        if is_permitted:
            return event
        self._refuse_routed(event, message.slot, stream, lacking, is_asked=isinstance(message, control.Offer))
        return None

    def _refuse_routed(self, event: RoutedReceived, slot: str, stream: int, lacking: Right, *, is_asked: bool) -> None:
        """Refuse what was to go on to another context: the answer comes in the place of that one's, and counts only for the way there."""
        self._connection.refused += is_asked
        self._tell(event.source, plain_slot(slot), lacking)
        if self._speaks_for(event.source) and len(slot) <= self._slot_length:
            denied = control.Denied(event.source, slot, stream, lacking, self._context._wire_id)
            self._answers.append(encode_routed(event.destination, event.source, event.round, denied))

    def answer_for(self, event: RoutedReceived) -> control.StateKnown | None:
        """What to answer in the neighbour's place to a question that another context asks, if nobody shall wait for it; else None."""
        if event.fields[0] != FrameKind.ASK_STATE:
            return None
        try:
            message = event.message()
        except ProtocolError:
            return None
        if not isinstance(message, control.AskState) or self.is_waited_for(message.slot):
            return None
        # The neighbour knows no more than it was told here.
        return control.StateKnown(message.slot, *self._context._mesh.retaining.store.tell(message.slot))

    # ---------------------------------------------------------------- refusing

    def _refuse_flow(
        self, source: bytes, slot: str, stream: int, lacking: Right, count: int, *, is_asked: bool = False
    ) -> None:
        """Refuse something of a flow. The source hears of it once, and whenever it asks for room."""
        self._connection.refused += count
        if len(slot) > self._slot_length:
            return
        self._tell(source, plain_slot(slot), lacking)
        key = source, slot, stream
        if key not in self._denied:
            # It may have been permitted over an earlier link: what it had is for others.
            incoming = self._context._traffic.incoming
            flow = incoming.find(source, slot, stream)
            if flow is not None:
                incoming.forget(flow)
            if len(self._denied) < MOST_TOLD:
                self._denied[key] = None
        elif not is_asked:
            return
        self._deny(source, slot, stream, lacking)

    def _refuse_slot(self, origin: bytes, slot: str, lacking: Right, *, is_asked: bool = False) -> None:
        """Refuse something that is no flow. Its origin hears of it once, and whenever it asks."""
        if self._tell(origin, slot, lacking) or is_asked:
            self._deny(origin, slot, 0, lacking)

    def _tell(self, source: bytes, slot: str, lacking: Right) -> bool:
        """Tell the program and the log, once for each slot and right; gives whether this was the first time."""
        key = lacking, slot
        if key in self._told or len(self._told) >= MOST_TOLD or len(slot) > self._slot_length:
            return False
        self._told[key] = None
        context = self._context
        who = ContextId.from_wire(source if self._speaks_for(source) else self._peer)
        context._hub.emit(events.Refused(who, slot, lacking.word, context.id))
        identity = self._connection.standing.identity
        proved = "which has proved nothing of itself" if identity is None else f"which has proved to be {identity!r}"
        text = f"{self._connection.peer}, {proved}, may not {lacking.deed} {slot!r}"
        level = logging.WARNING if lacking.loses_something else logging.INFO
        context._doorman.refusals.tell(level, self._transport, text, what="not permitted")
        return True

    def _speaks_for(self, source: bytes) -> bool:
        """Whether the neighbour may speak in the name of a context: its own, or of one below it."""
        if source == self._peer:
            return True
        connection = self._connection
        return connection.tie is Tie.STUB and self._context._mesh.parenthood.may_speak_for(connection, source)

    def _deny(self, source: bytes, slot: str, stream: int, lacking: Right) -> None:
        """Tell a context what it may not. Others, in whose name the neighbour speaks, hear nothing of it."""
        context = self._context
        denied = control.Denied(source, slot, stream, lacking, context._wire_id)
        if source == self._peer:
            self._answers.append(control.encode_control(denied))
        elif self._speaks_for(source):
            association = context._associations.get(source)
            if association is not None:
                self._answers.append(encode_routed(context._wire_id, source, association.round, denied))

    def _write_answers(self) -> None:
        """Send what is to be answered.

        Raises:
            ProtocolError: The peer does not read the answers.
        """
        answers, self._answers = self._answers, []
        connection = self._connection
        outbox = connection.outbox
        if connection.open_link is None:
            return
        for frame in answers:
            outbox.add_control(frame)
            self._answer_bytes += len(frame)
        connection.try_write()
        if not outbox.control_bytes:
            self._answer_bytes = 0
        elif min(self._answer_bytes, outbox.control_bytes) > MAX_ANSWER_BYTES:
            raise ProtocolError("the peer asks on and on for what it may not, and does not read the answers")


def _say_instead(event: RoutedReceived, message: control.Control) -> RoutedReceived:
    """The same frame, with another message in it."""
    frame = encode_routed(event.source, event.destination, event.round, message)
    return event._replace(header=frame[PREFIX_SIZE:], fields=[event.fields[0], *message])


_CHECKS: Final[dict[type, Callable[[Guard, Any], Any]]] = {
    PackageReceived: Guard._package_came,
    control.Offer: Guard._flow_came,
    control.Started: Guard._flow_came,
    control.Kept: Guard._flow_came,
    control.Flush: Guard._flow_came,
    control.Credit: Guard._credit_came,
    control.Subscribe: Guard._subscribe_came,
    control.AskState: Guard._state_asked,
    control.StateKnown: Guard._state_known,
    RecordsReceived: Guard._records_came,
    RetainedReceived: Guard._retained_came,
    RoutedReceived: Guard._routed_came,
}
"""How each kind of message is checked that needs a right: gives what may pass, or None."""
