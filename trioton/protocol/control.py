"""The control lane: short frames that speak about the link and its flows, never blocked by data.

Each kind is a header with named fields and no body. One table says which fields a kind has; it serves to write, to read and to
check. Numbers in these frames are absolute, so that one that is lost or repeated does no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..errors import ProtocolError
from . import codec
from .frames import FrameKind, encode_frame
from .identity import ID_BYTES
from .packages import MAX_SEQUENCE
from .shown import shown

MAX_REASON: Final = 512
"""Characters of a reason that travel; a longer one is cut."""

MAX_CHECK: Final = 8
"""Bytes of the check of a state's value."""


class Ping(NamedTuple):
    """Asks for a `Pong` with the same nonce."""

    nonce: int


class Pong(NamedTuple):
    """Answers a `Ping`."""

    nonce: int


class Beat(NamedTuple):
    """Asks the peer to send something at least every so many milliseconds."""

    milliseconds: int


class Close(NamedTuple):
    """The goodbye: nothing of this side follows it."""

    reason: str


class Sync(NamedTuple):
    """The end of the snapshot of what this side is interested in, and how far it is.

    Attributes:
        record: The largest number of a record of its interest so far.
        announced: How many slots the snapshot has told of.
        round: The round of talks by way of others that this is the end of, or behind which it comes.
    """

    record: int = 0
    announced: int = 0
    round: int = 0


class Synced(NamedTuple):
    """The peer's snapshot has been installed."""


class Subscribe(NamedTuple):
    """This context wants what is published on a slot; said again when anything about it changes.

    Attributes:
        slot: The slot.
        record: Grows with every change of this slot's interest.
        mode: What to do when it has no room, a `policies.Mode`.
        size: Messages that may wait for it.
        count: How many subscriptions stand behind it.
        stream: On a resumed session, the life of the peer's flow that is known here, else None.
        expected: The sequence number that is expected next on that flow, else None.
        blocks_since: The record since which there has always been a subscription that blocks, or None if none blocks now.
    """

    slot: str
    record: int
    mode: int
    size: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    stream: int | None
    expected: int | None
    blocks_since: int | None


class Unsubscribe(NamedTuple):
    """Ends the interest with this record and all before it."""

    slot: str
    record: int


class Offer(NamedTuple):
    """The source would publish to a blocking subscriber, and asks for room."""

    source: bytes
    slot: str
    stream: int


class Credit(NamedTuple):
    """What a blocking receiver has taken and how far the source may send.

    Attributes:
        source: Whose flow it is.
        slot: The flow's slot.
        stream: The flow's life.
        taken: All before this sequence number has been taken; None in the answer to an `Offer`.
        limit: Messages before this sequence number may be sent; counted from the flow's start in the answer to an `Offer`.
    """

    source: bytes
    slot: str
    stream: int
    taken: int | None
    limit: int


class Started(NamedTuple):
    """The source sends to this subscriber from sequence number `first` on.

    Attributes:
        source: Whose flow it is.
        slot: The flow's slot.
        stream: The flow's life.
        first: The first sequence number that this subscriber gets.
        agreed: The record of the subscriber's interest when it gave the room that the source keeps to; None if it keeps to none.
    """

    source: bytes
    slot: str
    stream: int
    first: int
    agreed: int | None


class Kept(NamedTuple):
    """The source's answer to a `Credit` that lowers its limit: it keeps to `limit` from now on."""

    source: bytes
    slot: str
    stream: int
    limit: int


class Flush(NamedTuple):
    """Asks for a `Credit` as soon as all before `up_to` has been taken."""

    source: bytes
    slot: str
    stream: int
    up_to: int


class Position(NamedTuple):
    """How far a flow has come here; said to sources that are not neighbours.

    Attributes:
        slot: The flow's slot.
        stream: The flow's life.
        expected: The sequence number that is expected next, or None if nothing is known yet.
    """

    slot: str
    stream: int
    expected: int | None


class AskState(NamedTuple):
    """Asks for a `StateKnown`."""

    slot: str


class StateKnown(NamedTuple):
    """Which version of the value of a state is known.

    Attributes:
        slot: The slot.
        counter: The counter of the version, or 0 if none is known.
        writer: Who wrote it, or no bytes if none is known.
        check: Of the value's bytes, or no bytes if none is known.
    """

    slot: str
    counter: int
    writer: bytes
    check: bytes


class Unreachable(NamedTuple):
    """What the source sends on this flow reaches nobody, and why."""

    source: bytes
    slot: str
    stream: int
    reason: str


class Denied(NamedTuple):
    """What a context wanted to do on a slot did not happen, since a neighbour on the way does not permit it.

    Attributes:
        source: The context that may not.
        slot: The slot, as it was named in what was refused.
        stream: The flow that was refused, or 0 if it was none.
        right: The right that is lacking, a `permissions.Right`.
        by: Who has refused.
    """

    source: bytes
    slot: str
    stream: int
    right: int
    by: bytes


Control = (
    Ping
    | Pong
    | Beat
    | Close
    | Sync
    | Synced
    | Subscribe
    | Unsubscribe
    | Offer
    | Credit
    | Started
    | Kept
    | Flush
    | Unreachable
    | Position
    | AskState
    | StateKnown
    | Denied
)


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < MAX_SEQUENCE


def _is_number_or_none(value: object) -> bool:
    return value is None or _is_number(value)


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_identity(value: object) -> bool:
    return type(value) is bytes and len(value) == ID_BYTES


def _is_identity_or_empty(value: object) -> bool:
    return value == b"" or _is_identity(value)


def _is_check(value: object) -> bool:
    return type(value) is bytes and len(value) <= MAX_CHECK


_CHECKS: Final[dict[str, Callable[[object], bool]]] = {
    "reason": _is_text,
    "slot": _is_text,
    "source": _is_identity,
    "by": _is_identity,
    "stream": _is_number,
    "taken": _is_number_or_none,
    "agreed": _is_number_or_none,
    "blocks_since": _is_number_or_none,
    "expected": _is_number_or_none,
    "writer": _is_identity_or_empty,
    "check": _is_check,
}
_SUBSCRIBE_CHECKS: Final = {"stream": _is_number_or_none}

CONTROL_KINDS: Final[dict[FrameKind, type[Any]]] = {
    FrameKind.PING: Ping,
    FrameKind.PONG: Pong,
    FrameKind.BEAT: Beat,
    FrameKind.CLOSE: Close,
    FrameKind.SYNC: Sync,
    FrameKind.SYNCED: Synced,
    FrameKind.SUBSCRIBE: Subscribe,
    FrameKind.UNSUBSCRIBE: Unsubscribe,
    FrameKind.OFFER: Offer,
    FrameKind.CREDIT: Credit,
    FrameKind.STARTED: Started,
    FrameKind.KEPT: Kept,
    FrameKind.FLUSH: Flush,
    FrameKind.UNREACHABLE: Unreachable,
    FrameKind.POSITION: Position,
    FrameKind.ASK_STATE: AskState,
    FrameKind.STATE_KNOWN: StateKnown,
    FrameKind.DENIED: Denied,
}
_KIND_OF: Final = {cls: kind for kind, cls in CONTROL_KINDS.items()}
_FIELD_CHECKS: Final[dict[FrameKind, tuple[Callable[[object], bool], ...]]] = {
    kind: tuple(
        (_SUBSCRIBE_CHECKS if cls is Subscribe else _CHECKS).get(name) or _CHECKS.get(name, _is_number)
        for name in cls._fields
    )
    for kind, cls in CONTROL_KINDS.items()
}


def encode_control(message: Control) -> bytes:
    """Give the frame of a control message."""
    return encode_frame(_KIND_OF[type(message)], codec.encode_header(list(message)))


def control_kind(message: Control) -> FrameKind:
    """The kind of the frame of a control message."""
    return _KIND_OF[type(message)]


def parse_control(kind: FrameKind, header: bytes) -> Control:
    """Read and check the header of a control frame.

    Raises:
        ProtocolError: A field is missing, too many or of the wrong type or size.
    """
    return check_control(kind, codec.decode_header(header))


def check_control(kind: FrameKind, fields: list[Any]) -> Control:
    """Check the fields of a control message, and give it.

    Raises:
        ProtocolError: A field is missing, too many or of the wrong type or size.
    """
    checks = _FIELD_CHECKS[kind]
    if len(fields) != len(checks):
        raise ProtocolError(f"a {kind.name} has {len(fields)} fields instead of {len(checks)}")
    cls = CONTROL_KINDS[kind]
    for name, check, value in zip(cls._fields, checks, fields, strict=True):
        if not check(value):
            raise ProtocolError(f"the field {name} of a {kind.name} is wrong: {shown(value)}")
    message: Control = cls(*fields)
    if type(message) is Close or type(message) is Unreachable:
        message = message._replace(reason=shorten_reason(message.reason))
    return message


def shorten_reason(reason: str) -> str:
    """Cut a reason to what may travel, and make it one line that can be encoded."""
    line = " ".join(reason.encode("utf-8", "replace").decode().split())
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "\N{HORIZONTAL ELLIPSIS}"
