"""What happens in a simulated network, in order: its events, to be looked at, and their digest, to be compared.

Every piece of bytes that leaves a host passes through the `Tap` of its direction. If the stream is one of Trioton's, the tap finds
where its frames end, so that an event is a frame; nothing is decoded before somebody looks.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import attrs

from ..errors import ProtocolError
from ..protocol.control import CONTROL_KINDS, parse_control
from ..protocol.frames import FLAG_END, FLAG_RETAINED, PREFACE, PREFIX, PREFIX_SIZE, FrameKind
from ..protocol.handshake import Hello
from ..protocol.identity import ID_BYTES, ContextId
from ..protocol.packages import PackageHeader, parse_fragment, parse_opening, parse_package_header

KEPT: Final = 10_000
"""Events that a trace keeps; older ones are counted and in the digest, and no longer shown."""

NOISE: Final = frozenset({"PING", "PONG", "CREDIT", "KEPT"})
"""The frames that a report leaves out: heartbeats, and news of what was taken."""

_KINDS: Final = {int(kind) for kind in FrameKind}

EventKind = Literal["frame", "bytes", "dial", "refused", "open", "end", "close", "reset", "fault", "note"]
"""What an event is.

``"frame"``: one frame of Trioton's protocol left a host; ``"bytes"``: a piece of any other stream did. ``"dial"``, ``"refused"`` and
``"open"``: a host dials another, and how that ended. ``"end"``, ``"close"``, ``"reset"``: of a stream. ``"fault"``: something was done to
the network. ``"note"``: the test said something.
"""


@attrs.frozen
class TraceEvent:
    """Something that happened in a simulated network."""

    number: int
    """Its place in the order of all events, from 1."""
    time: float
    """Trio's time, in seconds."""
    kind: EventKind
    source: str
    """The host that did it, or that a fault concerns, or ""; several with commas between them."""
    target: str
    """The host that it goes to, or "". Of a fault, the other side."""
    connection: int
    """The number of the connection in its network, from 1; 0 if there is none."""
    size: int
    """Bytes."""
    arrival: float | None
    """When it arrives if nothing comes between; infinity if the way is cut; None if it does not travel."""
    content: bytes | str
    """The head of the frame, or words."""

    @property
    def what(self) -> str:
        """In a word: the kind of the frame, or of the event."""
        if isinstance(self.content, str) or self.kind != "frame":
            return self.kind
        kind = self.content[0]
        return FrameKind(kind).name if kind in _KINDS else f"frame {kind}"

    @property
    def details(self) -> str:
        """What else there is to say: the fields of a frame, or the words of the event."""
        if isinstance(self.content, str):
            return self.content
        return _describe_frame(self.content) if self.kind == "frame" else ""

    def __str__(self) -> str:
        arrow = "and" if self.kind == "fault" else "->"
        where = f"{self.source} {arrow} {self.target}" if self.target else self.source
        words = [f"{self.time:12.6f}", where, f"#{self.connection}" if self.connection else "", self.what, self.details]
        if self.size:
            words.append(f"({self.size} bytes)")
        return " ".join(word for word in words if word)


class Trace:
    """The events of a simulated network: iterate over it for those that it still keeps, oldest first.

    Args:
        kept: How many events to keep.

    Attributes:
        total: How many events there have been.
    """

    def __init__(self, kept: int = KEPT) -> None:
        if isinstance(kept, bool) or not isinstance(kept, int):
            raise TypeError(f"kept must be a number of events, not {kept!r}")
        if kept < 1:
            raise ValueError(f"kept must be at least 1, not {kept!r}")
        self.total = 0
        self._events: deque[TraceEvent] = deque(maxlen=kept)
        self._hash = hashlib.blake2b(digest_size=16)

    def __repr__(self) -> str:
        return f"<Trace of {self.total} events, digest {self.digest()[:12]}>"

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[TraceEvent]:
        return iter(self._events)

    def last(self, count: int) -> list[TraceEvent]:
        """The newest events, at most `count` of them, oldest first."""
        return list(self._events)[-count:] if count > 0 else []

    def digest(self) -> str:
        """32 hexadecimal digits that two runs share only if the same was sent in the same order at the same times."""
        return self._hash.hexdigest()

    def add(
        self,
        time: float,
        kind: EventKind,
        source: str = "",
        target: str = "",
        *,
        connection: int = 0,
        content: bytes | str = "",
        size: int = 0,
        arrival: float | None = None,
    ) -> None:
        """Take note of an event."""
        if not isinstance(content, bytes):
            self._hash.update(
                f"{time!r} {kind} {source} {target} {connection} {content}\n".encode(errors="backslashreplace")
            )
        self.total += 1
        self._events.append(TraceEvent(self.total, time, kind, source, target, connection, size, arrival, content))

    def hash_bytes(self, time: float, way: str, data: bytes) -> None:
        """Let the digest depend on bytes that were sent."""
        self._hash.update(f"{time!r} {way} {len(data)}\n".encode())
        self._hash.update(data)


class Tap:
    """Takes note of all that one end of a connection sends.

    Args:
        trace: Where to.
        source: The host that sends.
        target: The host that receives.
        connection: The number of the connection.
    """

    def __init__(self, trace: Trace, source: str, target: str, connection: int) -> None:
        self._trace = trace
        self._source = source
        self._target = target
        self._connection = connection
        self._way = f"{source} {target} {connection}"
        self._is_ours: bool | None = None
        self._rest = b""
        self._skipped = 0

    def sent(self, data: bytes, now: float, arrival: float) -> None:
        """The end has sent `data`, of which the last byte arrives at `arrival`."""
        self._trace.hash_bytes(now, self._way, data)
        if self._is_ours is None:
            self._is_ours = self._begin(data)
            if self._is_ours:
                data = data[len(PREFACE) :]
        if self._is_ours:
            self._find_frames(data, now, arrival)
        else:
            self._add("bytes", now, b"", len(data), arrival)

    def happened(self, kind: EventKind, now: float, words: str = "", arrival: float | None = None) -> None:
        """Something else than bytes: the end of the stream, a close, a reset."""
        self._trace.add(
            now, kind, self._source, self._target, connection=self._connection, content=words, arrival=arrival
        )

    @staticmethod
    def _begin(data: bytes) -> bool:
        """Whether a stream that begins like this is one of Trioton's, which begins with the preface, and at once."""
        return data.startswith(PREFACE)

    def _find_frames(self, data: bytes, now: float, arrival: float) -> None:
        if self._skipped:
            skipped = min(self._skipped, len(data))
            self._skipped -= skipped
            data = data[skipped:]
        if self._rest:
            data = self._rest + data
        start = 0
        while len(data) - start >= PREFIX_SIZE:
            _, _, header_size, body_size = PREFIX.unpack_from(data, start)
            head_end = start + PREFIX_SIZE + header_size
            if len(data) < head_end:
                break
            self._add("frame", now, data[start:head_end], head_end + body_size - start, arrival)
            start = head_end + body_size
        self._skipped += max(0, start - len(data))
        self._rest = data[start:]

    def _add(self, kind: EventKind, now: float, content: bytes, size: int, arrival: float) -> None:
        self._trace.add(
            now,
            kind,
            self._source,
            self._target,
            connection=self._connection,
            content=content,
            size=size,
            arrival=arrival,
        )


def tell_last(events: Sequence[TraceEvent], count: int) -> list[str]:
    """Lines for a report: the newest events, at most `count`, without those that are mostly noise there."""
    told: list[str] = []
    for event in reversed(events):
        if event.what not in NOISE:
            told.append(f"    {event}")
        if len(told) == count:
            break
    return [f"the last {len(told)} of {len(events)} events, without heartbeats and credit:", *reversed(told)]


def _describe_frame(frame: bytes) -> str:
    """What the head of a frame says, in words."""
    kind, flags, _, _ = PREFIX.unpack_from(frame)
    header = frame[PREFIX_SIZE:]
    try:
        if kind in CONTROL_KINDS:
            message = parse_control(FrameKind(kind), header)
            return " ".join(f"{name}={_show(value)}" for name, value in message._asdict().items())
        if kind == FrameKind.PACKAGE:
            return _describe_package(parse_package_header(header), is_last=bool(flags & FLAG_END))
        if kind == FrameKind.OPENING:
            tag, size, inner = parse_opening(header)
            if flags & FLAG_RETAINED:
                return f"part of {size} bytes, tag {tag}: the value of a state"
            return f"part of {size} bytes, tag {tag}: " + _describe_package(parse_package_header(inner), is_last=False)
        if kind == FrameKind.FRAGMENT:
            return f"tag {parse_fragment(header)}"
        if kind in (FrameKind.HELLO, FrameKind.WELCOME):
            return f"name={Hello.from_header(FrameKind(kind), header).name!r}"
    except ProtocolError as error:
        return f"cannot be read: {error}"
    return ""


def _describe_package(header: PackageHeader, *, is_last: bool) -> str:
    _, _, stream, first, slot, count, _ = header
    numbers = f"at {first}" if not count else f"{first}" if count == 1 else f"{first} to {first + count - 1}"
    return f"{slot} {stream}: {numbers}{', the end' if is_last else ''}"


def _show(value: object) -> str:
    # Most bytes among the fields of control frames are identities.
    if not isinstance(value, bytes):
        return str(value)
    return str(ContextId.from_wire(value)) if len(value) == ID_BYTES else value.hex()
