"""What the tests of the outbox share: flows that fill it, and the other end of its link, which judges what is written."""

from __future__ import annotations

from typing import Any

import attrs

from trioton.protocol import control
from trioton.protocol.codec import bytes_head
from trioton.protocol.flow import Branch, SendFlow
from trioton.protocol.frames import PREFIX, PREFIX_SIZE, FrameKind
from trioton.protocol.handshake import Hello
from trioton.protocol.identity import ContextId
from trioton.protocol.limits import Limits
from trioton.protocol.outbox import Outbox
from trioton.protocol.packages import Buffer
from trioton.protocol.policies import Mode
from trioton.protocol.session import PackageReceived, Role, Session
from trioton.protocol.values import encode_value

SOURCE = bytes(range(16))
KIB = 1024
MIB = KIB * KIB
HELLO = Hello(
    id=ContextId(1), name="", pid=1, host=bytes(16), max_package=1, window_bytes=1, reassembly_bytes=1, lease=1
)


class Peer:
    """The other end of the link: it reads what is written, and judges it as the protocol demands."""

    def __init__(self, reassembly_bytes: int = 32 * MIB, max_package: int = 16 * MIB) -> None:
        self.session = Session(Role.SERVER, Limits(reassembly_bytes=reassembly_bytes, max_package=max_package))
        self.session.receive_data(HELLO.to_frame(FrameKind.HELLO))
        self.session.accept_peer()
        self.events: list[Any] = []

    def read(self, buffers: list[Buffer]) -> list[Any]:
        events = self.session.receive_data(b"".join(buffers))
        self.events += events
        return events

    @property
    def numbers(self) -> list[int]:
        """The numbers of the messages of all packages, in order of arrival."""
        packages = [event.header for event in self.events if isinstance(event, PackageReceived)]
        return [number for header in packages for number in range(header.first, header.first + header.count)]


@attrs.define
class Written:
    """One frame that was written."""

    kind: int
    header: bytes
    size: int


def frames_of(buffers: list[Buffer]) -> list[Written]:
    data = b"".join(buffers)
    frames, position = [], 0
    while position < len(data):
        kind, _, header_size, body_size = PREFIX.unpack_from(data, position)
        position += PREFIX_SIZE
        frames.append(Written(kind, data[position : position + header_size], body_size))
        position += header_size + body_size
    assert position == len(data)
    return frames


def ping(nonce: int) -> bytes:
    return control.encode_control(control.Ping(nonce))


def open_branch(
    outbox: Outbox, mode: Mode = Mode.BLOCK, size: int = 100, slot: str = "slot", stream: int = 1
) -> tuple[SendFlow, Branch]:
    """A flow with one branch, which may send a thousand messages if it blocks."""
    flow = SendFlow(SOURCE, slot, stream, window_bytes=1 << 40)
    branch = Branch("peer", outbox, mode, size, 1)
    flow.add_branch(branch)
    if mode is Mode.BLOCK:
        flow.grant_first(branch, 1000, now=0)
    return flow, branch


def send(flow: SendFlow, size: int = 1, count: int = 1) -> None:
    """Send `count` packages of one message each, with about `size` bytes."""
    for _ in range(count):
        if size < 16 * KIB:
            flow.add(encode_value(bytes(size)))
            flow.cut()
        else:
            flow.add_large((bytes_head(size), bytes(size)), len(bytes_head(size)) + size)


def drain(outbox: Outbox) -> list[Buffer]:
    buffers: list[Buffer] = []
    while outbox:
        buffers += outbox.next_buffers()
    assert outbox.queued == 0
    return buffers
