"""Frames: how everything lies on a link, and how a stream of bytes becomes frames again.

A connection starts with a preface of 8 bytes. Then come frames: 8 bytes of prefix (kind, flags, length of the header, length of
the body), a header that is one CBOR array, and a body that only the final receiver reads. Lengths are checked against limits
before anything is allocated. `FrameReader` takes the bytes however the network cut them and gives the same frames for any cut.
"""

from __future__ import annotations

import enum
import io
import struct
from typing import Final, NamedTuple

from ..errors import ProtocolError
from .limits import LARGE_FRAGMENT, Limits

VERSION: Final = 1
MAGIC: Final = b"trioton"
PREFACE: Final = MAGIC + bytes([VERSION])

SEALED_PREFACE: Final = b"triseal" + bytes([1])
"""How a connection starts whose ends prove that they know a secret, see `sealing`; its own version is at the end."""


class SealedError(ProtocolError):
    """The peer begins a sealed link, and there is no secret here that it could be shown."""


PREFIX: Final = struct.Struct(">BBHI")
PREFIX_SIZE: Final = PREFIX.size

FLAG_END: Final = 1
"""The package is the last of its flow."""

FLAG_SKIPPED: Final = 2
"""The package stands for the one message before its number, which was left out."""

FLAG_RETAINED: Final = 4
"""What comes in fragments is no package but the body of a RETAINED frame."""

MAX_RECORDS: Final = 8 * 1024 * 1024
"""Bytes of records in one frame: all that a context listens to, if it uses every limit, is one record."""

LARGE_BODY: Final = 64 * 1024
"""From this size on, a body that has not arrived whole gets a buffer of its own which the transport can fill directly."""


class FrameKind(enum.IntEnum):
    """What a frame is. Numbers below 16 belong to the link, below 48 to the control lane, the rest carry data."""

    HELLO = 1
    WELCOME = 2
    REFUSE = 3
    CLOSE = 5
    PING = 6
    PONG = 7
    BEAT = 8
    SYNC = 9
    SYNCED = 10
    SUBSCRIBE = 16
    UNSUBSCRIBE = 17
    OFFER = 18
    CREDIT = 19
    STARTED = 20
    KEPT = 21
    FLUSH = 22
    UNREACHABLE = 23
    RECORDS = 24
    ROUTED = 25
    POSITION = 26
    ASK_STATE = 27
    STATE_KNOWN = 28
    DENIED = 29
    PACKAGE = 48
    OPENING = 49
    FRAGMENT = 50
    RETAINED = 51


HANDSHAKE_KINDS: Final = frozenset({FrameKind.HELLO, FrameKind.WELCOME, FrameKind.REFUSE})
BODY_KINDS: Final = frozenset(
    {FrameKind.PACKAGE, FrameKind.OPENING, FrameKind.FRAGMENT, FrameKind.RECORDS, FrameKind.RETAINED}
)
LINK_KINDS: Final = frozenset(FrameKind) - HANDSHAKE_KINDS - {FrameKind.POSITION}
"""What may come over a link behind the handshake. A POSITION is for contexts that are no neighbours, and only travels in a ROUTED."""

_KINDS: Final = {int(kind): kind for kind in FrameKind}
_PACKAGE: Final = int(FrameKind.PACKAGE)
_unpack_prefix: Final = PREFIX.unpack_from


class Frame(NamedTuple):
    """One frame as it came: nothing in it has been decoded."""

    kind: FrameKind
    flags: int
    header: bytes
    body: bytes
    is_lone_bytes: bool = False
    """Whether `body` is the content of the one byte string that the body's array holds, and not the body itself."""


def encode_frame(kind: FrameKind, header: bytes, *, flags: int = 0) -> bytes:
    """Give the bytes of a frame without a body."""
    return PREFIX.pack(kind, flags, len(header), 0) + header


def encode_prefix(kind: FrameKind, flags: int, header_size: int, body_size: int) -> bytes:
    """Give the bytes that precede a header and a body of these sizes."""
    return PREFIX.pack(kind, flags, header_size, body_size)


class _BodyBuffer:
    """A body of known size that is being received, filled in place, and handed out as bytes without a copy.

    If the body is an array of one byte string, only the string's content is kept, so that it can be given to the user as it is.
    Memory for more than `LARGE_FRAGMENT` bytes is taken only as they come: who announces many records need not send them.
    """

    __slots__ = ("_file", "_view", "filled", "is_lone_bytes", "size")

    def __init__(self, kind: FrameKind, size: int, start: memoryview) -> None:
        head = _lone_bytes_head(start, size) if kind is FrameKind.PACKAGE else 0
        self.is_lone_bytes = head > 0
        self.size = size - head
        # The bytes object inside a BytesIO is the only one that Python lets us fill in place and then hand out.
        self._file = io.BytesIO()
        self._view = self._file.getbuffer()
        self.filled = 0
        self._enlarge(min(self.size, LARGE_FRAGMENT))
        self.add(start[head:])

    def _enlarge(self, size: int) -> None:
        self._view.release()
        self._file.seek(size - 1)
        self._file.write(b"\0")
        self._view = self._file.getbuffer()

    def add(self, data: memoryview) -> None:
        end = self.filled + len(data)
        if end > len(self._view):
            self._enlarge(min(self.size, max(end, 2 * len(self._view))))
        self._view[self.filled : end] = data
        self.filled = end

    def free_part(self) -> memoryview:
        if self.filled == len(self._view) < self.size:
            self._enlarge(min(self.size, 2 * self.filled))
        return self._view[self.filled :]

    def finish(self) -> bytes:
        self._view.release()
        return self._file.getvalue()


def _lone_bytes_head(start: memoryview, size: int) -> int:
    """The size of the heads of a body that is an array of one byte string of 64 KiB to 4 GiB; 0 if it is none."""
    if bytes(start[:2]) == b"\x81\x5a" and len(start) >= 6 and int.from_bytes(start[2:6], "big") == size - 6:
        return 6
    return 0


class FrameReader:
    """Cuts a stream of bytes into frames.

    Until `accept_all_kinds` is called, only the frames of a handshake are let in, at the handshake's limits.

    Args:
        limits: The bounds for headers and handshake frames.
    """

    __slots__ = (
        "_allowed",
        "_large",
        "_large_frame",
        "_limits",
        "_max_body",
        "_max_header",
        "_preface_seen",
        "_tail",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tail = b""
        self._preface_seen = False
        self._max_header = limits.max_handshake
        self._max_body = 0
        self._allowed: frozenset[FrameKind] = HANDSHAKE_KINDS
        self._large: _BodyBuffer | None = None
        self._large_frame: tuple[FrameKind, int, bytes] | None = None

    @property
    def preface_seen(self) -> bool:
        """Whether the peer speaks this protocol."""
        return self._preface_seen

    @property
    def is_mid_frame(self) -> bool:
        """Whether a frame, or the preface, has begun and not ended."""
        return bool(self._tail) or self._large is not None

    def accept_all_kinds(self) -> None:
        """The handshake is over: from now on only the other kinds of frames may come."""
        self._allowed = LINK_KINDS
        self._max_header = self._limits.max_header
        self._max_body = LARGE_FRAGMENT

    def receive_data(self, data: bytes) -> list[Frame]:
        """Take bytes as they came and give the frames that are now whole.

        Raises:
            ProtocolError: The bytes are no preface, or a prefix has an unknown kind or a length beyond its limit.
        """
        frames: list[Frame] = []
        if self._large is not None:
            data = self._continue_large(data, frames)
        if self._tail:
            data = self._tail + data
            self._tail = b""
        if not self._preface_seen:
            if len(data) < len(PREFACE):
                check_preface_start(data)
                self._tail = data
                return frames
            check_preface(data[: len(PREFACE)])
            self._preface_seen = True
            data = data[len(PREFACE) :]
        position = self._cut_frames(data, frames)
        if position < len(data) and self._large is None:
            self._tail = data[position:]
        return frames

    def lone_package(self, data: bytes) -> tuple[int, int] | None:
        """The flags and where the body begins, if `data` is exactly the frame of one package; else None, and nothing was taken.

        A quicker way for what comes alone; `receive_data` takes anything, and says what is wrong.
        """
        size = len(data)
        if size < PREFIX_SIZE or self._tail or self._large is not None:
            return None
        kind, flags, header_size, body_size = _unpack_prefix(data)
        if kind != _PACKAGE:
            return None
        header_end = PREFIX_SIZE + header_size
        # In the handshake no frame may have a body.
        if header_end + body_size != size or header_size > self._max_header or not 0 < body_size <= self._max_body:
            return None
        return flags, header_end

    def _cut_frames(self, data: bytes, frames: list[Frame]) -> int:
        position = 0
        size = len(data)
        allowed = self._allowed
        while size - position >= PREFIX_SIZE:
            number, flags, header_size, body_size = PREFIX.unpack_from(data, position)
            kind = _KINDS.get(number)
            if kind not in allowed or header_size > self._max_header or body_size > self._max_body:
                self._refuse(number, header_size, body_size)
            assert kind is not None
            if body_size and kind not in BODY_KINDS:
                raise ProtocolError(f"a frame of kind {kind.name} has a body of {body_size} bytes; it must have none")
            header_end = position + PREFIX_SIZE + header_size
            end = header_end + body_size
            if end > size:
                if body_size >= LARGE_BODY and header_end <= size:
                    self._large = _BodyBuffer(kind, body_size, memoryview(data)[header_end:])
                    self._large_frame = kind, flags, data[position + PREFIX_SIZE : header_end]
                break
            fields = kind, flags, data[position + PREFIX_SIZE : header_end], data[header_end:end], False
            frames.append(tuple.__new__(Frame, fields))  # twice as fast as Frame(...), and most of what this loop costs
            position = end
            if kind in HANDSHAKE_KINDS:
                # What follows is of another phase: the owner decides which kinds may come before it hands the rest back.
                break
        return position

    def _refuse(self, number: int, header_size: int, body_size: int) -> None:
        """Say what is wrong with a frame that is larger than most, or out of place, unless it may be that large."""
        kind = _KINDS.get(number)
        if kind is None:
            raise ProtocolError(f"unknown kind of frame {number}")
        if kind not in self._allowed:
            raise ProtocolError(f"a frame of kind {kind.name} is out of place here")
        if header_size > self._max_header:
            raise ProtocolError(f"a header of {header_size} bytes is over the limit of {self._max_header}")
        most = MAX_RECORDS if kind is FrameKind.RECORDS else self._max_body
        if body_size > most:
            raise ProtocolError(f"a body of {body_size} bytes is over the limit of {most}")

    def wanted_buffer(self) -> memoryview | None:
        """The rest of a large body that the transport may receive straight into, or None; see `buffer_filled`."""
        return None if self._large is None else self._large.free_part()

    def buffer_filled(self, count: int) -> list[Frame]:
        """Say that `count` bytes were written to the start of `wanted_buffer()`, and get the frame if it is whole now."""
        assert self._large is not None
        self._large.filled += count
        return self._finish_large()

    def _continue_large(self, data: bytes, frames: list[Frame]) -> bytes:
        assert self._large is not None
        missing = self._large.size - self._large.filled
        self._large.add(memoryview(data)[:missing])
        frames.extend(self._finish_large())
        return data[missing:]

    def _finish_large(self) -> list[Frame]:
        assert self._large is not None
        assert self._large_frame is not None
        if self._large.filled < self._large.size:
            return []
        kind, flags, header = self._large_frame
        body = self._large.finish()
        is_lone_bytes = self._large.is_lone_bytes
        self._large = self._large_frame = None
        return [Frame(kind, flags, header, body, is_lone_bytes)]


def check_preface_start(data: bytes) -> None:
    """Refuse the start of a connection as soon as it cannot become a preface any more.

    Raises:
        ProtocolError: See `check_preface`.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)] and not SEALED_PREFACE.startswith(data):
        check_preface(data)


def check_preface(data: bytes) -> None:
    """Refuse a connection that does not start as ours do, and say what it seems to be instead.

    Raises:
        SealedError: The connection is to be sealed.
        ProtocolError: These are no 8 bytes of a Trioton preface, or they name another version.
    """
    if data == PREFACE:
        return
    if data == SEALED_PREFACE:
        raise SealedError("this context knows no secret, and the client wants to be shown one")
    if data[: len(MAGIC)] == MAGIC and len(data) > len(MAGIC):
        raise ProtocolError(f"the peer speaks version {data[len(MAGIC)]} of the protocol, this is version {VERSION}")
    if data[:2] == b"\x16\x03":
        seems = "TLS"
    elif data[:4] in {b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"CONN", b"HTTP", b"DELE", b"PATC", b"PRI "}:
        seems = "HTTP"
    elif data[:4] == b"SSH-":
        seems = "SSH"
    else:
        seems = "not Trioton"
    raise ProtocolError(f"the peer seems to speak {seems}: its first bytes are {data[:8]!r}")
