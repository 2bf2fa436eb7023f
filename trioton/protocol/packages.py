"""Packages: what travels from one context to others, a header that routers read and a body that only receivers do.

A package carries a *run*: consecutive messages of one flow. Its header is the CBOR array ``[kind, source, stream, first, slot,
count]``, followed by the destination unless the kind is `PackageKind.PUBLISH`; its body is one CBOR array of `count` messages.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import ProtocolError
from . import codec
from .frames import FLAG_END, PREFIX, FrameKind, encode_prefix
from .identity import ID_BYTES
from .limits import MAX_RUN_MESSAGES
from .shown import shown

if TYPE_CHECKING:
    from .memory import Held

Buffer = bytes | bytearray | memoryview

_PACKAGE: Final = int(FrameKind.PACKAGE)
_ONE: Final = codec.uint(1)
_UINT_HEADS: Final = {2: 24, 3: 25, 5: 26, 9: 27}
"""The first byte of an unsigned number by the bytes that it takes."""

MAX_SEQUENCE: Final = 1 << 62
"""Sequence numbers stay below this: more than a flow of a billion messages a second sends in a century."""


class PackageKind(enum.IntEnum):
    """Who a package is for: all who listen, one context only, or one context only of those who listen, which may have missed it."""

    PUBLISH = 0
    DIRECT = 1
    AGAIN = 2


class PackageHeader(NamedTuple):
    """What routers and receivers know of a package without a look into its body."""

    kind: int
    source: bytes
    stream: int
    first: int
    slot: str
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    destination: bytes | None


def parse_package_header(header: bytes) -> PackageHeader:
    """Read and check the header of a package.

    Raises:
        ProtocolError: It is not the array that the module's text describes.
    """
    fields = codec.decode_header(header)
    if len(fields) == 6:
        kind, source, stream, first, slot, count = fields
        destination = None
        good = kind == 0
    elif len(fields) == 7:
        kind, source, stream, first, slot, count, destination = fields
        good = (kind == 1 or kind == 2) and type(destination) is bytes and len(destination) == ID_BYTES
    else:
        raise ProtocolError(f"the header of a package has {len(fields)} fields instead of 6 or 7")
    if not (
        good
        and type(kind) is int
        and type(source) is bytes
        and len(source) == ID_BYTES
        and type(stream) is int
        and 0 <= stream < MAX_SEQUENCE
        and type(first) is int
        and 0 <= first < MAX_SEQUENCE
        and type(slot) is str
        and type(count) is int
        and 0 <= count <= MAX_RUN_MESSAGES
    ):
        raise ProtocolError(f"the header of a package is wrong: {shown(fields, 200)}")
    return PackageHeader(kind, source, stream, first, slot, count, destination)


class PackageHeaderReader:
    """Reads the headers of packages, and remembers what is the same in all those of a flow.

    Nearly all headers differ from the last one of their flow in two numbers only; these are read without the decoder.
    """

    __slots__ = ("_known", "_last")

    _STREAM_AT = 19  # behind the heads of the array and the source, the kind, and the source
    _MOST_KNOWN = 1024
    _LONGEST_KNOWN = 256  # so that a peer that makes up flows cannot make us remember much

    def __init__(self) -> None:
        # By what is before the number: what is between it and the count, what is behind that, and the header.
        self._known: dict[bytes, tuple[bytes, bytes, PackageHeader]] = {}
        # Of the last package that was one message of a known flow: what is before its number, and behind it, and its header.
        self._last: tuple[bytes, bytes, PackageHeader] | None = None

    def read(self, data: bytes, start: int = 0, end: int | None = None) -> PackageHeader:
        """Read and check the header that is ``data[start:end]``, or all of `data`; see `parse_package_header`.

        Raises:
            ProtocolError: It is not the array that the module's text describes.
        """
        if end is None:
            end = len(data)
        if self._last is not None:
            before, behind, known = self._last
            first_at = start + len(before)
            if data.startswith(before, start) and data.startswith(behind, end - len(behind)):
                first = _uint_of(data[first_at : end - len(behind)])
                if first is not None:
                    kind, source, stream, _, slot, _, destination = known
                    return tuple.__new__(PackageHeader, (kind, source, stream, first, slot, 1, destination))
        header = data[start:end]
        return self._read_known(header) or self._read_unknown(header)

    def _read_known(self, header: bytes) -> PackageHeader | None:
        """Read a header of a known flow; None if it is none."""
        try:
            stream_head = header[self._STREAM_AT]
            first_at = self._STREAM_AT + 1 + (0 if stream_head < 24 else 1 << (stream_head - 24 & 3))
            middle, after, known = self._known[header[:first_at]]
            first, slot_at = _read_uint(header, first_at)
            if not header.startswith(middle, slot_at):
                return None
            count, end = _read_uint(header, slot_at + len(middle))
        except (KeyError, IndexError, ValueError):
            return None
        if header[end:] != after or count > MAX_RUN_MESSAGES or first >= MAX_SEQUENCE:
            return None
        if count == 1:
            self._last = header[:first_at], middle + _ONE + after, known
        kind, source, stream, _, slot, _, destination = known
        return tuple.__new__(PackageHeader, (kind, source, stream, first, slot, count, destination))

    def _read_unknown(self, header: bytes) -> PackageHeader:
        parsed = parse_package_header(header)
        if parsed.kind != PackageKind.AGAIN and len(header) <= self._LONGEST_KNOWN:
            self._remember(header, parsed)
        return parsed

    def _remember(self, header: bytes, parsed: PackageHeader) -> None:
        template = PackageTemplate(parsed.source, parsed.slot, parsed.stream, parsed.destination)
        if header == template.header(parsed.first, parsed.count):
            if len(self._known) >= self._MOST_KNOWN:
                self._known.clear()
            self._known[template.before] = template.middle, template.after, parsed


def _uint_of(data: bytes) -> int | None:
    """The sequence number whose encoding `data` is; None if it is something else."""
    size = len(data)
    if size == 3 and data[0] == 25:
        return data[1] << 8 | data[2]
    if size == 1:
        return data[0] if data[0] < 24 else None
    if not size or data[0] != _UINT_HEADS.get(size):
        return None
    number = int.from_bytes(data[1:], "big")
    return number if number < MAX_SEQUENCE else None


def _read_uint(data: bytes, position: int) -> tuple[int, int]:
    """Read an unsigned number; gives it and the position behind it.

    Raises:
        ValueError: There is something else.
        IndexError: The data ends before it.
    """
    head = data[position]
    if head < 24:
        return head, position + 1
    if head > 27:
        raise ValueError(head)
    end = position + 1 + (1 << head - 24)
    if end > len(data):
        raise IndexError(end)
    return int.from_bytes(data[position + 1 : end], "big"), end


class Package:
    """A package on its way out, encoded once for all links that it leaves on.

    Attributes:
        first: The sequence number of its first message.
        count: How many messages it carries.
        end: The first sequence number after it. The last package of a flow takes a number for the end itself.
        is_last: Whether it ends its flow.
        flags: The flags of the frames that carry it.
        header: The encoded header.
        body_size: Bytes of the body.
        kind: The kind of the frame that carries all of it.
    """

    __slots__ = ("_body", "_frame", "body_size", "count", "end", "first", "flags", "header", "is_last")

    kind = FrameKind.PACKAGE
    held: Held | None = None
    """What is charged for it in each outbox that it waits in; None for what does not come from others."""

    def __init__(
        self,
        header: bytes,
        body: Sequence[Buffer],
        body_size: int,
        first: int,
        count: int,
        *,
        is_last: bool = False,
        flags: int = 0,
    ) -> None:
        self.flags = flags | FLAG_END if is_last else flags
        self.header = header
        self._body = body
        self.body_size = body_size
        self.first = first
        self.count = count
        self.is_last = is_last
        self.end = first + count + is_last
        self._frame: bytes | None = None

    @property
    def body(self) -> Sequence[Buffer]:
        """The buffers of the body, in order."""
        return self._body if self._frame is None else (memoryview(self._frame)[-self.body_size :],)

    def frame(self) -> bytes:
        """The whole package in one frame, joined once however many links it leaves on. For small packages."""
        frame = self._frame
        if frame is None:
            header = self.header
            prefix = PREFIX.pack(_PACKAGE, self.flags, len(header), self.body_size)
            frame = self._frame = b"".join((prefix, header, *self._body))
            self._body = ()  # the bytes are held once
        return frame

    def __repr__(self) -> str:
        return f"<package of messages {self.first} to {self.end}, {self.body_size} bytes>"


class RelayedPackage(Package):
    """What came from a neighbour and waits to go on. It is charged to the link that it came over."""

    __slots__ = ("held",)


class PackageTemplate:
    """Writes the headers of one flow's packages; what is the same in all of them is encoded once.

    Args:
        source: The 16 bytes of the sending context's identity.
        slot: The flow's slot.
        stream: Which life of the flow this is.
        destination: The identity of the only receiver, or None for all who listen.
        kind: Who the packages are for; by default what follows from the destination.

    Attributes:
        before: The bytes in front of the first sequence number.
        middle: Those between it and the count.
        after: Those behind the count.
    """

    __slots__ = ("_behind_lone", "after", "before", "middle")

    def __init__(
        self,
        source: bytes,
        slot: str,
        stream: int,
        destination: bytes | None = None,
        kind: PackageKind | None = None,
    ) -> None:
        if kind is None:
            kind = PackageKind.PUBLISH if destination is None else PackageKind.DIRECT
        head = codec.array_head(6 if destination is None else 7)
        self.before = head + codec.uint(kind) + codec.bytes_head(len(source)) + source + codec.uint(stream)
        text = slot.encode()
        self.middle = codec.text_head(len(text)) + text
        self.after = b"" if destination is None else codec.bytes_head(len(destination)) + destination
        self._behind_lone = self.middle + _ONE + self.after

    def header(self, first: int, count: int) -> bytes:
        """The header of the package that carries messages `first` to ``first + count``."""
        if count == 1:
            return self.before + codec.uint(first) + self._behind_lone
        return b"".join((self.before, codec.uint(first), self.middle, codec.uint(count), self.after))


class Fragments:
    """A large package that leaves in pieces; each call of `next_buffers` gives the buffers of one frame.

    Args:
        package: What leaves.
        tag: A number that no other unfinished package on the link has.
    """

    __slots__ = ("_buffers", "_index", "_package", "_position", "_started", "remaining", "size", "tag")

    def __init__(self, package: Package, tag: int) -> None:
        self._package = package
        self._buffers = [memoryview(buffer).cast("B") for buffer in package.body]
        self._index = 0
        self._position = 0
        self._started = False
        self.size = self.remaining = package.body_size
        self.tag = tag

    def next_buffers(self, limit: int) -> list[Buffer]:
        """Give the next frame, with at most `limit` bytes of the body.

        The whole package leaves as an ordinary frame if nothing of it has left yet and it fits.
        """
        package = self._package
        size = min(limit, self.remaining)
        if self._started:
            kind, header = FrameKind.FRAGMENT, codec.array_head(1) + codec.uint(self.tag)
        elif size == self.remaining:
            kind, header = package.kind, package.header
        else:
            kind = FrameKind.OPENING
            head = codec.bytes_head(len(package.header)) + package.header
            header = codec.array_head(3) + codec.uint(self.tag) + codec.uint(package.body_size) + head
        self._started = True
        self.remaining -= size
        return [encode_prefix(kind, package.flags, len(header), size) + header, *self._cut(size)]

    def _cut(self, size: int) -> list[Buffer]:
        pieces: list[Buffer] = []
        while size:
            buffer = self._buffers[self._index]
            piece = buffer[self._position : self._position + size]
            pieces.append(piece)
            size -= len(piece)
            self._position += len(piece)
            if self._position == len(buffer):
                self._index += 1
                self._position = 0
        return pieces


def parse_opening(header: bytes) -> tuple[int, int, bytes]:
    """Read the header of the first fragment of a large package: its tag, its size and the package's own header.

    Raises:
        ProtocolError: It is not ``[tag, size, header]``.
    """
    fields = codec.decode_header(header)
    if len(fields) == 3:
        tag, size, inner = fields
        if type(tag) is int and type(size) is int and type(inner) is bytes and tag >= 0 and size > 0:
            return tag, size, inner
    raise ProtocolError(f"the header of an opening fragment is wrong: {shown(fields, 200)}")


def parse_fragment(header: bytes) -> int:
    """Read the header of a further fragment: the tag of what it continues.

    Raises:
        ProtocolError: It is not ``[tag]``.
    """
    fields = codec.decode_header(header)
    if len(fields) == 1 and type(fields[0]) is int:
        return fields[0]
    raise ProtocolError(f"the header of a fragment is wrong: {shown(fields, 200)}")
