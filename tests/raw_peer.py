"""A peer that shakes hands as it should and then sends whatever a test wants, over a simulated network or real sockets."""

from __future__ import annotations

import random
from typing import Generic, Protocol, TypeVar

import trio

from trioton import Limits
from trioton.protocol import codec, control
from trioton.protocol.control import encode_control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.handshake import Hello
from trioton.protocol.identity import ContextId
from trioton.protocol.packages import PackageTemplate
from trioton.protocol.session import Role, Session


class ByteStream(Protocol):
    """What Trio's streams and the transports have in common."""

    async def send_all(self, data: bytes, /) -> None: ...

    async def receive_some(self, max_bytes: int, /) -> bytes | bytearray: ...


S = TypeVar("S", bound=ByteStream)


def local_port(stream: trio.SocketStream) -> int:
    port: int = stream.socket.getsockname()[1]
    return port


async def read_to_end(stream: ByteStream) -> bytes:
    """All that comes until the other end closes; a reset is an end, too."""
    received = b""
    try:
        while data := await stream.receive_some(65536):
            received += data
    except trio.BrokenResourceError:
        pass
    return received


def make_hello(seed: int | None = None) -> Hello:
    """The greeting of a context that is called ``raw``; without a seed it is another one each time."""
    rng = random.Random(seed)
    return Hello(
        id=ContextId.from_parts(rng.getrandbits(96), 0),
        name="raw",
        pid=1,
        host=rng.randbytes(16),
        max_package=1 << 24,
        window_bytes=1 << 23,
        reassembly_bytes=1 << 25,
        lease=10.0,
        returns=False,
    )


class RawPeer(Generic[S]):
    """The client's end of a link, frame by frame.

    Attributes:
        events: All that was heard from the other end.
    """

    def __init__(self, stream: S, slot: str, *, seed: int | None = None) -> None:
        self.stream = stream
        self.slot = slot
        self.hello = make_hello(seed)
        self.id = self.hello.id.to_wire()
        self.session = Session(Role.CLIENT, Limits())
        self.events: list[object] = []

    async def shake_hands(self) -> None:
        await self.stream.send_all(self.hello.to_frame(FrameKind.HELLO))
        while not self.events:
            await self.read()
        assert isinstance(self.events[0], Hello)
        self.events += self.session.accept_peer()
        await self.stream.send_all(encode_control(control.Sync()) + encode_control(control.Synced()))
        while control.Synced() not in self.events:
            await self.read()

    async def read(self) -> None:
        """Hear what comes next."""
        data = await self.stream.receive_some(65536)
        assert data, "the other end has closed"
        self.events += self.session.receive_data(data)

    async def read_to_end(self) -> str:
        """Why the other end closed, as it said."""
        self.events += self.session.receive_data(await read_to_end(self.stream))
        assert isinstance(self.events[-1], control.Close)
        return self.events[-1].reason

    def package(
        self,
        body: bytes,
        *,
        first: int = 0,
        count: int = 1,
        source: bytes | None = None,
        destination: bytes | None = None,
    ) -> bytes:
        header = PackageTemplate(source or self.id, self.slot, 0, destination).header(first, count)
        return encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body

    def opening(self, size: int, body: bytes = bytes(4096), tag: int = 1) -> bytes:
        inner = PackageTemplate(self.id, self.slot, 0).header(0, 1)
        header = codec.encode_header([tag, size, inner])
        return encode_prefix(FrameKind.OPENING, 0, len(header), len(body)) + header + body
