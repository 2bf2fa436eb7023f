"""What the tests of the session share: sessions behind the handshake, and the bytes of packages for them."""

from __future__ import annotations

import pytest

from trioton.errors import ProtocolError
from trioton.protocol.codec import encode_header
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.handshake import Hello
from trioton.protocol.identity import ContextId
from trioton.protocol.limits import MIN_FRAGMENT, Limits
from trioton.protocol.packages import PackageTemplate
from trioton.protocol.session import Event, PackageReceived, Role, Session

KIB = 1024
SOURCE = bytes(range(16))
LIMITS = Limits(max_package=200 * KIB, reassembly_bytes=300 * KIB, max_header=600)
HELLO = Hello(
    id=ContextId(1),
    name="client",
    pid=1,
    host=bytes(16),
    max_package=1,
    window_bytes=1,
    reassembly_bytes=1,
    lease=1.0,
    session=SOURCE,
)
FIRST = {Role.SERVER: FrameKind.HELLO, Role.CLIENT: FrameKind.WELCOME}
PARTS = [bytes([number]) * MIN_FRAGMENT for number in range(3)]


def open_session(limits: Limits = LIMITS, role: Role = Role.SERVER) -> Session:
    """A session behind the handshake."""
    session = Session(role, limits)
    assert session.receive_data(HELLO.to_frame(FIRST[role])) == [HELLO]
    assert session.accept_peer() == []
    return session


def refusal(session: Session, data: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        session.receive_data(data)
    return str(caught.value)


def package_header(stream: int = 1, count: int = 1) -> bytes:
    return PackageTemplate(SOURCE, "slot", stream).header(5, count)


def package(body: bytes, *, count: int = 1, flags: int = 0) -> bytes:
    header = package_header(count=count)
    return encode_prefix(FrameKind.PACKAGE, flags, len(header), len(body)) + header + body


def opening(tag: int, size: int, part: bytes, *, flags: int = 0) -> bytes:
    header = encode_header([tag, size, package_header(tag)])
    return encode_prefix(FrameKind.OPENING, flags, len(header), len(part)) + header + part


def fragment(tag: int, part: bytes) -> bytes:
    header = encode_header([tag])
    return encode_prefix(FrameKind.FRAGMENT, 0, len(header), len(part)) + header + part


def as_sent(event: Event) -> Event:
    """A package with its whole body, whether or not the reader took a lone byte string out of it."""
    if isinstance(event, PackageReceived) and event.is_lone_bytes:
        return event._replace(body=b"\x81\x5a" + len(event.body).to_bytes(4, "big") + event.body, is_lone_bytes=False)
    return event
