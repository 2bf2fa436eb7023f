"""What a context tells about itself: its links, its slots, and how far everything has come.

`inspect` makes a report, `ContextReport.to_message` makes a message of it, and `ContextReport.from_message` reads one and checks
all of it: reports come from other processes, which may be of another version or tell nonsense. All counts are totals since
something began; who wants to know how fast it goes compares two reports.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import attrs

from .._version import __version__
from ..errors import TriotonError
from ..protocol.flow import UNLIMITED
from ..protocol.identity import ID_BYTES
from ..protocol.policies import Block, Disconnect, DropNewest, DropOldest, Latest, Mode, Policy
from ..protocol.shown import shown
from .local import LOCAL

if TYPE_CHECKING:
    from ..protocol.flow import Branch
    from .connection import Connection
    from .context import Context
    from .receiving.subscription import Subscription
    from .sending.outlet import Outlet

C = TypeVar("C")

VERSION: Final = 1
"""Of the shape of reports. A later one may have more entries under the same number; another number has another meaning."""

MOST_TEXT: Final = 600
"""Characters of a text that are read; the rest is cut off. The longest slot has fewer."""

MOST_READ: Final = 1000
"""Entries of a list that are read; a report with more is refused."""

MOST_COUNT: Final = 1 << 63
MOST_SECONDS: Final = 1e12


class ReportError(TriotonError):
    """A message is no report that can be understood; it says why."""


# ---------------------------------------------------------------- checks


def _refuse(where: str, what: str, value: object) -> ReportError:
    return ReportError(f"{where} of a report must be {what}, not {shown(value)}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _refuse(where, "a text", value)
    return value[:MOST_TEXT]


def _identity(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) != 2 * ID_BYTES or not set(value) <= set("0123456789abcdef"):
        raise _refuse(where, f"{2 * ID_BYTES} hexadecimal digits", value)
    return value


def _count(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MOST_COUNT:
        raise _refuse(where, "a count", value)
    return value


def _seconds(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < MOST_SECONDS:
        raise _refuse(where, "a number of seconds", value)
    return float(value)


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _refuse(where, "true or false", value)
    return value


def _perhaps(read: Callable[[object, str], C]) -> Callable[[object, str], C | None]:
    return lambda value, where: None if value is None else read(value, where)


def _list_of(read: Callable[[object, str], C]) -> Callable[[object, str], tuple[C, ...]]:
    def read_all(value: object, where: str) -> tuple[C, ...]:
        if not isinstance(value, (list, tuple)) or len(value) > MOST_READ:
            raise _refuse(where, f"a list of at most {MOST_READ}", value)
        return tuple(read(each, where) for each in value)

    return read_all


def _read(cls: type[C], value: object, where: str) -> C:
    """Make an object of one of the classes below of a dict that came; what else is in it is of a later version, and left out."""
    if not isinstance(value, dict):
        raise _refuse(where, "a dict", value)
    found: dict[str, Any] = {}
    for attribute in attrs.fields(cls):  # type: ignore[arg-type]  # it is an attrs class
        if attribute.name not in value:
            if attribute.default is not attrs.NOTHING:
                continue  # of an earlier version
            raise ReportError(f"{where} of a report lacks {attribute.name!r}")
        found[attribute.name] = attribute.metadata["read"](value[attribute.name], f"{where}: {attribute.name}")
    return cls(**found)


def _objects(cls: type[C], **options: Any) -> Any:
    return attrs.field(metadata={"read": _list_of(lambda value, where: _read(cls, value, where))}, **options)


def _field(read: Callable[[object, str], object]) -> Any:
    return attrs.field(metadata={"read": read})


# ---------------------------------------------------------------- what is in a report


@attrs.frozen(kw_only=True)
class LinkReport:
    """The connection to a neighbour, over all the transports that it has had."""

    peer: str = _field(_identity)
    """The neighbour's identity, in hexadecimal digits."""
    name: str = _field(_text)
    """The neighbour's name; may be empty."""
    address: str = _field(_text)
    transport: str | None = _field(_perhaps(_text))
    """The kind of transport in use, or None while there is none."""
    state: str = _field(_text)
    rtt: float | None = _field(_perhaps(_seconds))
    """Seconds that the last heartbeat took to be answered."""
    bytes_sent: int = _field(_count)
    bytes_received: int = _field(_count)
    messages_sent: int = _field(_count)
    messages_received: int = _field(_count)
    dropped: int = _field(_count)
    """Messages dropped by subscribers' policies before they were written."""
    queued: int = _field(_count)
    """Packages that wait to be written."""
    lost: int = _field(_count)
    """Transports that it has lost."""


@attrs.frozen(kw_only=True)
class BranchReport:
    """The way of what is sent on a slot to one neighbour with subscribers."""

    peer: str = _field(_identity)
    """The neighbour's identity; the context's own for its own subscriptions."""
    name: str = _field(_text)
    mode: str = _field(_text)
    """``"block"``, ``"drop-oldest"`` or ``"drop-newest"``."""
    subscriptions: int = _field(_count)
    ready: bool = _field(_flag)
    """Whether it gets what is sent now: one that blocks must first say how much room it has."""
    taken: int | None = _field(_perhaps(_count))
    """Messages before this number have been taken; None where nobody blocks, and so nobody says."""
    limit: int | None = _field(_perhaps(_count))
    """Messages before this number may be sent; None where nobody blocks."""
    queued: int = _field(_count)
    """Messages that wait to be written."""


@attrs.frozen(kw_only=True)
class SendingReport:
    """What a context sends on one slot, on all its channels together."""

    slot: str = _field(_text)
    stream: int = _field(_count)
    """Which life of the slot's flow this is: `sent` begins anew with each."""
    sent: int = _field(_count)
    subscribers: int = _field(_count)
    """Subscriptions in other contexts that get what is sent now."""
    backlog: int = _field(_count)
    """Messages that wait for the first subscriber."""
    unheard: int = _field(_count)
    """Messages that nobody listened to, or that fell out of the backlog."""
    waiting: int = _field(_count)
    """Tasks that wait for room."""
    unconfirmed: int = _field(_count)
    """Messages that the slowest blocking subscriber has not taken yet, as far as is known."""
    room: int | None = _field(_perhaps(_count))
    """Messages that blocking subscribers still have room for, or None if nobody blocks."""
    branches: tuple[BranchReport, ...] = _objects(BranchReport)


@attrs.frozen(kw_only=True)
class ReceivingReport:
    """What a context receives on one slot, on all its channels together."""

    slot: str = _field(_text)
    subscriptions: int = _field(_count)
    policies: tuple[str, ...] = _field(_list_of(_text))
    """The policies of the subscriptions, each once, as ``trioton sub --policy`` names them."""
    received: int = _field(_count)
    pending: int = _field(_count)
    """Messages that wait to be received."""
    dropped: int = _field(_count)
    waiting: int = _field(_count)
    """Tasks that wait for a message."""
    room: int | None = _field(_perhaps(_count))
    """Messages for which the fullest blocking subscription has room, or None if none blocks."""


@attrs.frozen(kw_only=True)
class AskingReport:
    """The requests that a context makes on one slot, on all its channels together."""

    slot: str = _field(_text)
    channels: int = _field(_count)
    made: int = _field(_count)
    """Requests of the channels that are open."""
    pending: int = _field(_count)
    """Those that are not done."""
    running: int = _field(_count)
    """Those of them that were sent to a replier."""
    repliers: int = _field(_count)
    """Channels that answer on the slot, in all contexts."""


@attrs.frozen(kw_only=True)
class AnsweringReport:
    """The requests that a context answers on one slot, on all its channels together."""

    slot: str = _field(_text)
    channels: int = _field(_count)
    taken: int = _field(_count)
    """Requests that the channels that are open have taken."""
    running: int = _field(_count)
    """Those that are not answered yet."""
    failed: int = _field(_count)
    """Those whose handler has raised something."""


@attrs.frozen(kw_only=True)
class StateReport:
    """What a context knows of one state; all contexts keep all states, whether their programs look at them or not."""

    slot: str = _field(_text)
    channels: int = _field(_count)
    """Channels of the context on the slot."""
    counter: int = _field(_count)
    """Grows with each value. Where two contexts know another counter or writer, one of them has older news."""
    writer: str = _field(_identity)
    """The identity of the context that has sent the value; it may be gone."""
    size: int = _field(_count)
    """Bytes of the value as it was encoded."""


@attrs.frozen(kw_only=True)
class ContextReport:
    """What a context is and does."""

    id: str = _field(_identity)
    """Its identity, in 32 hexadecimal digits: another one for each life."""
    name: str = _field(_text)
    pid: int = _field(_count)
    """Its process, as its own host counts."""
    library: str = _field(_text)
    """The version of Trioton."""
    uptime: float = _field(_seconds)
    """Seconds for which it has been open."""
    links: tuple[LinkReport, ...] = _objects(LinkReport)
    sending: tuple[SendingReport, ...] = _objects(SendingReport)
    receiving: tuple[ReceivingReport, ...] = _objects(ReceivingReport)
    asking: tuple[AskingReport, ...] = _objects(AskingReport, default=())
    answering: tuple[AnsweringReport, ...] = _objects(AnsweringReport, default=())
    states: tuple[StateReport, ...] = _objects(StateReport, default=())
    omitted: int = _field(_count)
    """Links, slots and branches that had no place in the report."""

    def to_message(self) -> dict[str, Any]:
        """Give it as a dict of plain values: what is sent, and what is written as JSON."""
        return {"version": VERSION, **attrs.asdict(self, value_serializer=_plain)}

    @classmethod
    def from_message(cls, message: object) -> Self:
        """Read a report that came.

        Raises:
            ReportError: It is none, or of a version that is not known here.
        """
        if not isinstance(message, dict):
            raise ReportError(f"a report must be a dict, not {shown(message)}")
        version = message.get("version")
        if isinstance(version, bool) or version != VERSION:
            raise ReportError(f"a report must have version {VERSION}, not {shown(version)}")
        return _read(cls, message, "context")


def _plain(_owner: object, _attribute: object, value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


# ---------------------------------------------------------------- how it is made


class _Room:
    """How many entries still have a place in a report."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most
        self.omitted = 0

    def take(self, things: Collection[C]) -> list[C]:
        """Those of the things that are told of: as many as there is room for."""
        kept = list(islice(things, self._left))
        self._left -= len(kept)
        self.omitted += len(things) - len(kept)
        return kept

    def begin_again(self) -> None:
        """Something of another kind follows, and has a room of its own."""
        self._left = self._most


def inspect(context: Context, most: int = 200) -> ContextReport:
    """Make a report of a context.

    Args:
        context: The context.
        most: Of how many links, slots, slots with requests, states and branches it tells in detail, each.
    """
    traffic, room = context._traffic, _Room(most)
    links = [_link(connection) for connection in room.take(context.connections)]
    room.begin_again()
    outlets = room.take([outlet for outlet in traffic.outlets.all() if not outlet.is_own])
    slots = room.take(traffic.subscriptions.by_slot.items())
    room.begin_again()
    # What the channels of requests have in common; they lie above this layer, and only their counts are of interest.
    asking = room.take(context._shared.get("requests", {}).values())
    answering = room.take([each for each in context._shared.get("services", {}).values() if each.channels])
    room.begin_again()
    states = room.take(context._mesh.retaining.store.slots())
    room.begin_again()
    return ContextReport(
        id=_digits(context.id),
        name=context.name,
        pid=context._network.pid,
        library=__version__,
        uptime=context._inspector.uptime,
        links=tuple(links),
        sending=tuple(_sending(context, outlet, room) for outlet in outlets),
        receiving=tuple(_receiving(slot, subscriptions) for slot, subscriptions in slots),
        asking=tuple(map(_asking, asking)),
        answering=tuple(map(_answering, answering)),
        states=tuple(_state(context, slot) for slot in states),
        omitted=room.omitted,
    )


def _digits(identity: int) -> str:
    return f"{identity:0{2 * ID_BYTES}x}"


def _link(connection: Connection) -> LinkReport:
    counts, peer = connection.statistics(), connection.peer
    return LinkReport(
        peer=_digits(peer.id),
        name=peer.name,
        address=connection.address,
        transport=counts.transport,
        state=counts.state,
        rtt=counts.rtt,
        bytes_sent=counts.bytes_sent,
        bytes_received=counts.bytes_received,
        messages_sent=counts.messages_sent,
        messages_received=counts.messages_received,
        dropped=counts.messages_dropped,
        queued=counts.packages_queued,
        lost=counts.transports - (counts.transport is not None),
    )


def _sending(context: Context, outlet: Outlet, room: _Room) -> SendingReport:
    flow = outlet.flow
    return SendingReport(
        slot=flow.slot,
        stream=flow.stream,
        sent=flow.next - flow.is_ended,  # the end has a number, too
        subscribers=outlet.subscribers,
        backlog=outlet.backlog,
        unheard=outlet.dropped,
        waiting=outlet.waiting,
        unconfirmed=max(0, flow.next - flow.taken),
        room=None if flow.limit >= UNLIMITED else max(0, flow.limit - flow.next),
        branches=tuple(_branch(context, branch) for branch in room.take(flow.branches.values())),
    )


def _branch(context: Context, branch: Branch) -> BranchReport:
    # Keys are what leads to a neighbour, or LOCAL.
    who: Any = context if branch.key is LOCAL else branch.key.peer  # type: ignore[attr-defined]
    says_room = branch.mode is Mode.BLOCK and branch.is_ready
    return BranchReport(
        peer=_digits(who.id),
        name=who.name,
        mode=branch.mode.name.lower().replace("_", "-"),
        subscriptions=branch.subscriptions,
        ready=branch.is_ready,
        taken=branch.taken if says_room else None,
        limit=branch.limit if says_room else None,
        queued=branch.queued_messages,
    )


_POLICY_WORDS: Final[dict[type, str]] = {
    Block: "block",
    DropOldest: "drop-oldest",
    DropNewest: "drop-newest",
    Disconnect: "disconnect",
}


def _policy(policy: Policy) -> str:
    return "latest" if isinstance(policy, Latest) else f"{_POLICY_WORDS[type(policy)]}:{policy.size}"


def _receiving(slot: str, subscriptions: list[Subscription]) -> ReceivingReport:
    inboxes = [subscription.inbox for subscription in subscriptions]
    rooms = [max(0, inbox.window.size - inbox.pending) for inbox in inboxes if inbox.window is not None]
    return ReceivingReport(
        slot=slot,
        subscriptions=len(inboxes),
        policies=tuple(sorted({_policy(inbox.policy) for inbox in inboxes})),
        received=sum(inbox.counts.received for inbox in inboxes),
        pending=sum(inbox.pending for inbox in inboxes),
        dropped=sum(inbox.counts.dropped for inbox in inboxes),
        waiting=sum(subscription.waiting for subscription in subscriptions),
        room=min(rooms, default=None),
    )


def _asking(desk: Any) -> AskingReport:
    counts = [channel.statistics() for channel in desk.channels]
    return AskingReport(
        slot=desk.slot,
        channels=len(counts),
        made=sum(each.sent for each in counts),
        pending=sum(each.pending for each in counts),
        running=sum(each.running for each in counts),
        repliers=max((each.repliers for each in counts), default=0),
    )


def _answering(service: Any) -> AnsweringReport:
    counts = [channel.statistics() for channel in service.channels]
    return AnsweringReport(
        slot=service.slot,
        channels=len(counts),
        taken=sum(each.started for each in counts),
        running=sum(each.running for each in counts),
        failed=sum(each.failed for each in counts),
    )


def _state(context: Context, slot: str) -> StateReport:
    retaining = context._mesh.retaining
    retained = retaining.get(slot)
    assert retained is not None
    assert retained.data is not None
    return StateReport(
        slot=slot,
        channels=retaining.count(slot),
        counter=retained.version.counter,
        writer=retained.version.writer.hex(),
        size=len(retained.data),
    )
