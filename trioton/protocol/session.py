"""One transport's worth of the protocol: bytes go in, events come out.

A session starts in the handshake and leaves it once, when the owner has accepted the peer. It never decides anything itself: what
came is given out as events in the order of arrival, and what should be sent is encoded by the owner with the functions of
`control`, `handshake` and `packages`. Any damage raises `ProtocolError` and nothing else, and ends the session.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import ProtocolError
from .control import CONTROL_KINDS, Control, parse_control
from .frames import FLAG_END, FLAG_RETAINED, PREFIX_SIZE, Frame, FrameKind, FrameReader
from .handshake import Hello, parse_refusal
from .limits import MAX_OPEN_FRAGMENTED, MAX_RUN_BYTES, MIN_FRAGMENT, Limits
from .packages import PackageHeader, PackageHeaderReader, parse_fragment, parse_opening, parse_package_header
from .records import parse_batch
from .retained import MAX_ROW_HEAD
from .routed import RoutedReceived, parse_routed

if TYPE_CHECKING:
    from .memory import MemoryScope

SLOWEST: Final = 1024
"""Bytes a second that the slowest line brings on which large packages make sense."""

MOST_PATIENCE: Final = 300.0
"""Seconds more than `Limits.reassembly_deadline` that a large package may wait because other things come, slowly."""

ARRAY_HEAD: Final = 3
"""Bytes in front of the messages of a package."""


class Role(enum.Enum):
    """Which end of a link this is."""

    CLIENT = enum.auto()
    SERVER = enum.auto()


class Refused(NamedTuple):
    """The server turned us away."""

    reason: str
    source: bytes
    """The 16 bytes of the server's identity."""

    unproved: bool = False
    """Whether it wants a proof of who we are, so that coming again does not help."""


class PackageReceived(NamedTuple):
    """A package came whole."""

    header: PackageHeader
    is_last: bool
    body: bytes
    is_lone_bytes: bool = False
    """Whether `body` is the content of the one byte string that the package carries, ready to be given to the user."""
    flags: int = 0
    """The flags of its frame."""


class RecordsReceived(NamedTuple):
    """Records about contexts came, which are not decoded yet."""

    records: list[bytes]


class RetainedReceived(NamedTuple):
    """Values that are retained came, or what neighbours say about them, which is not decoded yet."""

    body: bytes


Event = Hello | Refused | PackageReceived | RecordsReceived | RetainedReceived | RoutedReceived | Control

_EXPECTED_IN_HANDSHAKE = {
    Role.SERVER: frozenset({FrameKind.HELLO}),
    Role.CLIENT: frozenset({FrameKind.WELCOME, FrameKind.REFUSE}),
}


class _Assembly:
    """The fragments of one large package so far; without a header it is what a RETAINED frame would hold.

    Attributes:
        watched: What was missing when somebody last looked and it had grown, when that was, and how many bytes the link had brought by then.
    """

    __slots__ = ("flags", "header", "missing", "parts", "watched")

    def __init__(self, header: PackageHeader | None, *, flags: int, size: int) -> None:
        self.header = header
        self.flags = flags
        self.missing = size
        self.parts: list[bytes] = []
        self.watched = 0, 0.0, 0

    def add(self, part: bytes) -> None:
        if len(part) > self.missing:
            raise ProtocolError(
                f"a fragment of {len(part)} bytes exceeds the {self.missing} that its package still lacks"
            )
        if len(part) < min(self.missing, MIN_FRAGMENT):
            raise ProtocolError(f"a fragment of {len(part)} bytes is too small")
        self.parts.append(part)
        self.missing -= len(part)


class Session:
    """Turns the bytes of one transport into events.

    Args:
        role: Which end this is.
        limits: The bounds of the context.

    Attributes:
        bytes_received: All bytes so far.
        packages_received: Packages that came whole.
        messages_received: The messages that their headers announce.
        memory: What is charged for large packages under way; None before it is known whose they are.
    """

    __slots__ = (
        "_answered",
        "_assemblies",
        "_assembly_bytes",
        "_headers",
        "_in_handshake",
        "_is_closed",
        "_max_assembly_bytes",
        "_max_body",
        "_reader",
        "_role",
        "_deadline",
        "bytes_received",
        "memory",
        "messages_received",
        "packages_received",
    )

    def __init__(self, role: Role, limits: Limits) -> None:
        self._role = role
        self._deadline = limits.reassembly_deadline
        self._max_body = max(limits.max_package, MAX_RUN_BYTES) + ARRAY_HEAD
        self._max_assembly_bytes = max(limits.reassembly_bytes, self._max_body + MAX_ROW_HEAD)
        self._reader = FrameReader(limits)
        self._in_handshake = True
        self._answered = False
        self._is_closed = False
        self._headers = PackageHeaderReader()
        self._assemblies: dict[int, _Assembly] = {}
        self._assembly_bytes = 0
        self.bytes_received = 0
        self.packages_received = 0
        self.messages_received = 0
        self.memory: MemoryScope | None = None

    @property
    def has_greeted(self) -> bool:
        """Whether the peer has shown that it speaks this protocol."""
        return self._reader.preface_seen

    @property
    def in_handshake(self) -> bool:
        """Whether the owner has not accepted the peer yet."""
        return self._in_handshake

    @property
    def is_mid_frame(self) -> bool:
        """Whether something has begun and not ended: a frame, or a package in fragments."""
        return self._reader.is_mid_frame or bool(self._assemblies)

    def charge_to(self, memory: MemoryScope) -> None:
        """It is known now who is at the other end: what it makes us hold is charged to `memory` from now on.

        Raises:
            OverMemoryError: What is held already is too much.
        """
        memory.charge(self._assembly_bytes)
        self.memory = memory

    def release_memory(self) -> None:
        """The transport is gone: large packages that are under way will not end."""
        if self.memory is not None:
            self.memory.release(self._assembly_bytes)
        self._assemblies.clear()
        self._assembly_bytes = 0

    def check_progress(self, now: float) -> None:
        """See whether all large packages that are under way grow. To be called every few seconds.

        Raises:
            ProtocolError: One does not.
        """
        for tag, assembly in self._assemblies.items():
            missing, since, received = assembly.watched
            if missing != assembly.missing:
                assembly.watched = assembly.missing, now, self.bytes_received
                continue
            # An honest sender goes on with each in turn, and all that comes meanwhile takes its time on a slow line.
            patience = self._deadline + min((self.bytes_received - received) / SLOWEST, MOST_PATIENCE)
            if now - since >= patience:
                raise ProtocolError(
                    f"the package in fragments with the tag {tag} has not grown for {now - since:.0f} s"
                )

    @property
    def has_unfinished(self) -> bool:
        """Whether large packages are under way."""
        return bool(self._assemblies)

    def accept_peer(self) -> list[Event]:
        """The handshake is over; gives the events of what has come behind it already."""
        self._in_handshake = False
        self._reader.accept_all_kinds()
        return self._events(self._reader.receive_data(b""))

    def receive_data(self, data: bytes | bytearray) -> list[Event]:
        """Take bytes as they came.

        Returns:
            What they complete. In the handshake at most one event: what follows waits for `accept_peer`.

        Raises:
            ProtocolError: The peer breaks the format or its rules. The session is over.
        """
        self.bytes_received += len(data)
        data = bytes(data)
        lone = self._reader.lone_package(data)
        if lone is None or self._is_closed:
            return self._events(self._reader.receive_data(data))
        flags, body_at = lone
        header = self._headers.read(data, PREFIX_SIZE, body_at)
        return [self._package(header, flags, data[body_at:])]

    def wanted_buffer(self) -> memoryview | None:
        """A buffer that the transport may receive straight into, because a large body is under way, or None."""
        return self._reader.wanted_buffer()

    def buffer_filled(self, count: int) -> list[Event]:
        """Take `count` bytes that were written to the start of `wanted_buffer()`; otherwise as `receive_data`."""
        self.bytes_received += count
        return self._events(self._reader.buffer_filled(count))

    def receive_end(self) -> None:
        """The peer's stream has ended.

        Raises:
            ProtocolError: It ended in the middle of something.
        """
        if self.is_mid_frame:
            raise ProtocolError("the connection ended in the middle of a frame")

    def _events(self, frames: list[Frame]) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            if self._is_closed:
                raise ProtocolError("the peer goes on after its goodbye")
            if frame.kind is FrameKind.PACKAGE:
                header = self._headers.read(frame.header)
                events.append(self._package(header, frame.flags, frame.body, is_lone_bytes=frame.is_lone_bytes))
            elif self._in_handshake:
                events.append(self._handshake(frame))
            elif frame.kind in CONTROL_KINDS:
                event = parse_control(frame.kind, frame.header)
                self._is_closed = frame.kind is FrameKind.CLOSE
                events.append(event)
            elif frame.kind is FrameKind.ROUTED:
                events.append(parse_routed(frame.header, frame.flags))
            elif frame.kind is FrameKind.RECORDS:
                events.append(RecordsReceived(parse_batch(frame.body)))
            elif frame.kind is FrameKind.RETAINED:
                self._check_size(len(frame.body) - MAX_ROW_HEAD)
                events.append(RetainedReceived(frame.body))
            elif frame.kind is FrameKind.OPENING:
                self._open(frame)
            else:
                event_or_none = self._continue(frame)
                if event_or_none is not None:
                    events.append(event_or_none)
        return events

    def _handshake(self, frame: Frame) -> Event:
        if frame.kind not in _EXPECTED_IN_HANDSHAKE[self._role]:
            raise ProtocolError(f"a {frame.kind.name} is out of place here")
        if self._answered:
            raise ProtocolError(f"a second {frame.kind.name} came")
        self._answered = True
        if frame.kind is FrameKind.REFUSE:
            return Refused(*parse_refusal(frame.header))
        return Hello.from_header(frame.kind, frame.header)

    def _package(
        self, header: PackageHeader, flags: int, body: bytes, *, is_lone_bytes: bool = False
    ) -> PackageReceived:
        if is_lone_bytes and header.count != 1:
            raise ProtocolError(f"a run that is not an array of {header.count} messages")
        self._check_size(len(body))
        self.packages_received += 1
        self.messages_received += header.count
        return tuple.__new__(PackageReceived, (header, bool(flags & FLAG_END), body, is_lone_bytes, flags))

    def _check_size(self, size: int) -> None:
        if size > self._max_body:
            raise ProtocolError(f"a package of {size} bytes is over the limit of {self._max_body}")

    def _open(self, frame: Frame) -> None:
        tag, size, inner = parse_opening(frame.header)
        is_retained = bool(frame.flags & FLAG_RETAINED)
        self._check_size(size - MAX_ROW_HEAD if is_retained else size)
        if tag in self._assemblies:
            raise ProtocolError(f"a package in fragments with the tag {tag} is under way already")
        if len(self._assemblies) >= MAX_OPEN_FRAGMENTED:
            raise ProtocolError(f"more than {MAX_OPEN_FRAGMENTED} packages in fragments are under way")
        if self._assembly_bytes + size > self._max_assembly_bytes:
            raise ProtocolError(f"packages in fragments take over {self._max_assembly_bytes} bytes")
        if len(frame.body) >= size:
            raise ProtocolError("the opening fragment of a package holds all of it")
        assembly = _Assembly(None if is_retained else parse_package_header(inner), flags=frame.flags, size=size)
        assembly.add(frame.body)
        if self.memory is not None:
            self.memory.charge(size)
        self._assemblies[tag] = assembly
        self._assembly_bytes += size

    def _continue(self, frame: Frame) -> PackageReceived | RetainedReceived | None:
        tag = parse_fragment(frame.header)
        assembly = self._assemblies.get(tag)
        if assembly is None:
            raise ProtocolError(f"a fragment continues {tag}, which is not under way")
        assembly.add(frame.body)
        if assembly.missing:
            return None
        del self._assemblies[tag]
        body = b"".join(assembly.parts)
        self._assembly_bytes -= len(body)
        if self.memory is not None:
            self.memory.release(len(body))
        if assembly.header is None:
            return RetainedReceived(body)
        return self._package(assembly.header, assembly.flags, body)
