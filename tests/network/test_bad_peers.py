"""Peers that speak nonsense, on real sockets: each ends its own link, with one clear line in the log, and harms nobody else."""

from __future__ import annotations

import functools
import logging
import random
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Callable

import attrs
import pytest
import trio
import trustme

import trioton
from trioton import Block, Limits, PubChannel, SubChannel
from trioton.errors import ProtocolError
from trioton.network import connection
from trioton.protocol import codec, control
from trioton.protocol.control import encode_control
from trioton.protocol.frames import PREFACE, FrameKind, encode_frame, encode_prefix
from trioton.protocol.handshake import STRANGER_REPLY, Hello
from trioton.protocol.identity import ContextId
from trioton.protocol.packages import PackageTemplate
from trioton.protocol.session import Refused, Role, Session
from trioton.testing import leak_check

pytestmark = pytest.mark.net

PATIENCE = 20.0
"""Seconds of real time after which a test has failed."""

SLOT = "flow.obj.pub-sub"


@attrs.frozen
class Stage:
    """A context that listens, an innocent one whose messages reach it, and the log."""

    server: trioton.Context
    listener: trioton.Listener
    connection: trioton.Connection
    pub: PubChannel[object]
    sub: SubChannel[object]
    caplog: pytest.LogCaptureFixture

    @property
    def port(self) -> int:
        assert self.listener.port is not None
        return self.listener.port

    async def check_innocent(self) -> None:
        """The innocent flow goes on, over the same transport."""
        for number in range(300):
            await self.pub.send(number)
            assert await self.sub.receive() == number
        assert self.connection.is_connected
        assert self.connection.statistics().transports == 1
        assert [peer.name for peer in self.server.peers] == ["innocent"]

    def warnings(self) -> list[str]:
        """What the log has of links, as a reader who wants to know of trouble sees it."""
        return [
            record.getMessage()
            for record in self.caplog.records
            if record.name.startswith("trioton") and record.levelno >= logging.WARNING
        ]


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
async def stage(limits: Limits, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Stage]:
    caplog.set_level(logging.DEBUG, logger="trioton")
    async with leak_check():
        with trio.fail_after(PATIENCE):
            async with (
                trioton.open_context("server", limits=limits) as server,
                trioton.open_context("innocent") as innocent,
            ):
                listener = await server.bind("127.0.0.1:0")
                connection = await innocent.connect(f"127.0.0.1:{listener.port}", local_shortcut=False)
                pub = PubChannel(innocent, "flow", trioton.OBJECT)
                sub = SubChannel(server, "flow", trioton.OBJECT, policy=Block(8))
                await pub.wait_subscribers()
                yield Stage(server, listener, connection, pub, sub, caplog)


async def read_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    """All that comes until the other end closes; a reset is an end, too."""
    received = b""
    try:
        async for data in stream:
            received += data
    except trio.BrokenResourceError:
        pass
    return received


def local_port(stream: trio.SocketStream) -> int:
    port: int = stream.socket.getsockname()[1]
    return port


# ---------------------------------------------------------------- before the handshake is over


STRANGERS = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "the peer seems to speak HTTP"),
    "HTTP 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "the peer seems to speak HTTP"),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n", "the peer seems to speak SSH"),
    "noise": (random.Random(5).randbytes(3000), "the peer seems to speak not Trioton"),
    "zeros": (bytes(64), "the peer seems to speak not Trioton"),
    "one byte": (b"\xff", "the peer seems to speak not Trioton"),
    "another version": (PREFACE[:-1] + b"\x63", "the peer speaks version 99 of the protocol, this is version 1"),
    "a huge greeting": (PREFACE + encode_prefix(FrameKind.HELLO, 0, 65535, 0), "a header of 65535 bytes"),
    "a greeting with a body": (PREFACE + encode_prefix(FrameKind.HELLO, 0, 10, 2**32 - 1), "a body of 4294967295 bytes"),
    "an empty greeting": (PREFACE + encode_frame(FrameKind.HELLO, codec.encode_header([{}])), "a HELLO lacks the field id"),
    "a deep greeting": (PREFACE + encode_frame(FrameKind.HELLO, b"\x81" * 4000 + b"\0"), "deep"),
    "a package at once": (PREFACE + encode_prefix(FrameKind.PACKAGE, 0, 40, 10), "a frame of kind PACKAGE is out of place here"),
    "a server's greeting": (PREFACE + encode_frame(FrameKind.WELCOME, codec.encode_header([{}])), "a WELCOME is out of place"),
    "an unknown frame": (PREFACE + encode_prefix(FrameKind(1), 0, 0, 0).replace(b"\x01", b"\xee", 1), "unknown kind of frame 238"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGERS)
async def test_a_stranger_gets_one_line_and_a_close(stage: Stage, kind: str) -> None:
    data, reason = STRANGERS[kind]
    async with await trio.open_tcp_stream("127.0.0.1", stage.port) as stream:
        port = local_port(stream)
        await stream.send_all(data)
        reply = await read_to_end(stream)
    [line] = stage.warnings()
    assert reason in line
    assert f"127.0.0.1:{port}" in line
    assert "\n" not in line
    assert len(line) < 300
    if data.startswith(PREFACE):
        # It is one of us, and so it is told as one of us.
        [refused] = Session(Role.CLIENT, Limits()).receive_data(reply)
        assert isinstance(refused, Refused)
        assert reason in refused.reason
    else:
        assert reply == STRANGER_REPLY
    await stage.check_innocent()
    assert len(stage.warnings()) == 1


async def test_a_tls_client_on_a_plain_port(stage: Stage) -> None:
    outgoing, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    async with await trio.open_tcp_stream("127.0.0.1", stage.port) as stream:
        port = local_port(stream)
        await stream.send_all(outgoing.read())
        assert await read_to_end(stream) == STRANGER_REPLY
    [line] = stage.warnings()
    assert "the peer seems to speak TLS" in line
    assert f"127.0.0.1:{port}" in line
    await stage.check_innocent()


async def test_who_only_looks_leaves_no_warning(stage: Stage) -> None:
    """A port scanner, or the health check of a load balancer."""
    async with await trio.open_tcp_stream("127.0.0.1", stage.port) as stream:
        await stream.send_eof()
        assert await read_to_end(stream) == b""
    await stage.check_innocent()
    assert stage.warnings() == []


@pytest.mark.slow
@pytest.mark.parametrize("limits", [Limits(handshake_deadline=0.75)])
@pytest.mark.parametrize("sent", [b"", PREFACE[:5], PREFACE + encode_prefix(FrameKind.HELLO, 0, 200, 0) + b"\x81"])
async def test_half_a_handshake_and_then_silence(stage: Stage, sent: bytes, limits: Limits) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", stage.port) as stream:
        port = local_port(stream)
        await stream.send_all(sent)
        await read_to_end(stream)
    [line] = stage.warnings()
    assert "no handshake within 0.75 s; closed" in line
    assert f"127.0.0.1:{port}" in line
    await stage.check_innocent()


@pytest.mark.slow
@pytest.mark.parametrize("limits", [Limits(handshake_deadline=0.75)])
async def test_a_greeting_and_then_silence(stage: Stage, limits: Limits) -> None:
    """The client was told who we are, but never chooses the way that it comes by."""
    async with await trio.open_tcp_stream("127.0.0.1", stage.port) as stream:
        port = local_port(stream)
        await stream.send_all(make_hello().to_frame(FrameKind.HELLO))
        assert (await read_to_end(stream)).startswith(PREFACE)
    [line] = stage.warnings()
    assert "no handshake within 0.75 s; closed" in line
    assert f"127.0.0.1:{port}" in line
    await stage.check_innocent()


@pytest.mark.parametrize("limits", [Limits(pending_handshakes=10)])
async def test_more_handshakes_than_the_limit_are_closed(stage: Stage, limits: Limits) -> None:
    async with trio.open_nursery() as nursery:
        streams = [await trio.open_tcp_stream("127.0.0.1", stage.port) for _ in range(13)]
        closed = []

        async def read(stream: trio.SocketStream) -> None:
            await read_to_end(stream)
            closed.append(stream)
            if len(closed) == 3:
                nursery.cancel_scope.cancel()

        for stream in streams:
            nursery.start_soon(read, stream)
    assert len(closed) == 3
    assert ["too many handshakes at once; closed" in line for line in stage.warnings()] == [True] * 3
    for stream in streams:
        await stream.aclose()
    await stage.check_innocent()


# ---------------------------------------------------------------- after a proper handshake


def make_hello() -> Hello:
    rng = random.Random()
    return Hello(
        id=ContextId.from_parts(rng.getrandbits(96), 0),
        name="stranger",
        pid=1,
        host=rng.randbytes(16),
        max_package=1 << 24,
        window_bytes=1 << 23,
        reassembly_bytes=1 << 25,
        lease=10.0,
        returns=False,
    )


class RawPeer:
    """A peer that greets as it should and then sends whatever the test wants."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.hello = make_hello()
        self.id = self.hello.id.to_wire()
        self.stream = stream
        self.port = local_port(stream)
        self.session = Session(Role.CLIENT, Limits())
        self.events: list[object] = []

    async def shake_hands(self) -> None:
        await self.stream.send_all(self.hello.to_frame(FrameKind.HELLO))
        while not self.events:
            self.events += self.session.receive_data(await self.stream.receive_some())
        assert isinstance(self.events[0], Hello)
        self.events += self.session.accept_peer()
        await self.stream.send_all(encode_control(control.Sync()) + encode_control(control.Synced()))
        while control.Synced() not in self.events:
            self.events += self.session.receive_data(await self.stream.receive_some())

    async def read_to_end(self) -> str:
        """Why the other end closed, as it said."""
        self.events += self.session.receive_data(await read_to_end(self.stream))
        assert isinstance(self.events[-1], control.Close)
        return self.events[-1].reason

    def package(
        self, body: bytes, *, count: int = 1, source: bytes | None = None, destination: bytes | None = None
    ) -> bytes:
        header = PackageTemplate(source or self.id, SLOT, 0, destination).header(0, count)
        return encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body

    def opening(self, size: int, body: bytes = bytes(4096), tag: int = 1) -> bytes:
        inner = PackageTemplate(self.id, SLOT, 0).header(0, 1)
        header = codec.encode_header([tag, size, inner])
        return encode_prefix(FrameKind.OPENING, 0, len(header), len(body)) + header + body


async def open_raw_peer(stage: Stage) -> RawPeer:
    peer = RawPeer(await trio.open_tcp_stream("127.0.0.1", stage.port))
    await peer.shake_hands()
    return peer


OTHER = b"\7" * 16
BREACHES: dict[str, tuple[Callable[[RawPeer], bytes], str]] = {
    "a body of 2 GiB": (lambda _: encode_prefix(FrameKind.PACKAGE, 0, 40, 2**31), "a body of 2147483648 bytes is over"),
    "a body of 4 GiB": (lambda _: encode_prefix(FrameKind.PACKAGE, 0, 40, 2**32 - 1), "a body of 4294967295 bytes is over"),
    "a fragment of 4 GiB": (lambda _: encode_prefix(FrameKind.FRAGMENT, 0, 2, 2**32 - 1), "a body of 4294967295 bytes"),
    "a header of 64 KiB": (lambda _: encode_prefix(FrameKind.PACKAGE, 0, 65535, 10), "a header of 65535 bytes is over the limit"),
    "an opening of 2^61 bytes": (lambda peer: peer.opening(1 << 61), "a package of 2305843009213693952 bytes is over"),
    "an opening of 4 GiB": (lambda peer: peer.opening(1 << 32), "a package of 4294967296 bytes is over the limit"),
    "too many openings": (lambda peer: b"".join(peer.opening(1 << 24, tag=n) for n in range(20)), "packages in fragments"),
    "tiny fragments": (lambda peer: peer.opening(1 << 20, b"x"), "a fragment of 1 bytes is too small"),
    "a body deeper than any": (lambda peer: peer.package(b"\x81" * 100_000 + b"\0"), "deep"),
    "a header deeper than any": (lambda _: encode_frame(FrameKind.PING, b"\x81" * 8000 + b"\0"), "deep"),
    "a truncated run": (lambda peer: peer.package(b"\x83\x01\x02", count=3), "end"),
    "a run with a wrong count": (lambda peer: peer.package(b"\x82\x01\x02", count=3), "an array of 3"),
    "a run that claims 2^60": (lambda peer: peer.package(b"\x9b" + (1 << 60).to_bytes(8, "big"), count=512), "an array of 512"),
    "a text that claims 2^62": (lambda peer: peer.package(b"\x81\x7b" + (1 << 62).to_bytes(8, "big")), "end"),
    "more messages than a run has": (lambda peer: peer.package(b"\x80", count=10**9), "the header of a package is wrong"),
    "the name of another": (lambda peer: peer.package(b"\x81\x01", source=OTHER), "in the name of another context"),
    "a package for another": (lambda peer: peer.package(b"\x81\x01", destination=OTHER), "a package for another context"),
    "another's flow": (
        lambda _: encode_control(control.Started(OTHER, SLOT, 0, 0, waits=True)), "a flow in the name of another context"
    ),
    "credit for another's flow": (lambda _: encode_control(control.Credit(OTHER, SLOT, 0, 1, 9)), "credit for a flow that is not ours"),
    "the end of another's flow": (
        lambda _: encode_control(control.Unreachable(OTHER, SLOT, 0, "gone")), "spoke of a flow that is not ours"
    ),
    "an unknown frame": (lambda _: b"\xc8\0\0\0\0\0\0\0", "unknown kind of frame 200"),
    "a second greeting": (lambda peer: peer.hello.to_frame(FrameKind.HELLO)[len(PREFACE) :], "a frame of kind HELLO is out of place"),
    "a wrong field": (lambda _: encode_frame(FrameKind.PING, codec.encode_header(["x"])), "the field nonce of a PING is wrong"),
    "too many fields": (lambda _: encode_frame(FrameKind.PING, codec.encode_header([1, 2])), "a PING has 2 fields instead of 1"),
    "a long slot": (lambda _: encode_control(control.Subscribe("x" * 600, 1, 0, 1, 1, None, None)), "a slot of 600 characters"),
    "an unknown mode": (lambda _: encode_control(control.Subscribe(SLOT, 1, 7, 1, 1, None, None)), "with mode 7 and size 1"),
    "words behind the goodbye": (
        lambda _: encode_control(control.Close("bye")) + encode_control(control.Ping(1)), "the peer goes on after its goodbye"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BREACHES)
async def test_a_breach_ends_the_link_and_nothing_else(stage: Stage, kind: str) -> None:
    make_data, reason = BREACHES[kind]
    peer = await open_raw_peer(stage)
    async with peer.stream:
        await peer.stream.send_all(make_data(peer))
        told = await peer.read_to_end()
    [line] = stage.warnings()
    assert reason in line
    assert f"127.0.0.1:{peer.port}" in line
    assert told in line
    assert "\n" not in line
    assert len(line) < 400
    await stage.check_innocent()
    assert len(stage.warnings()) == 1


async def test_damage_in_the_first_word_behind_the_handshake(stage: Stage) -> None:
    """Who has been let in hears what is wrong as every peer does, and gets no line for strangers."""
    async with await trio.open_tcp_stream("127.0.0.1", stage.port) as stream:
        peer = RawPeer(stream)
        await stream.send_all(peer.hello.to_frame(FrameKind.HELLO) + b"\xc8\0\0\0\0\0\0\0")
        received = await read_to_end(stream)
    [welcome] = peer.session.receive_data(received)
    assert isinstance(welcome, Hello)
    [close] = peer.session.accept_peer()
    assert close == control.Close("unknown kind of frame 200")
    [line] = stage.warnings()
    assert "unknown kind of frame 200; closed" in line
    await stage.check_innocent()


@pytest.mark.parametrize("limits", [Limits(subscriptions=100)])
async def test_too_many_subscriptions(stage: Stage, limits: Limits) -> None:
    peer = await open_raw_peer(stage)
    async with peer.stream:
        for number in range(101):
            await peer.stream.send_all(encode_control(control.Subscribe(f"s{number}", 1, 1, 1, 1, None, None)))
        assert await peer.read_to_end() == "the peer subscribed to more than 100 slots"
    [line] = stage.warnings()
    assert f"127.0.0.1:{peer.port}" in line
    await stage.check_innocent()
    assert stage.server._dispatcher._interests == {}


async def test_who_asks_on_and_on_and_never_reads(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it has a bound; one that asks as much, and reads, is served."""
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 600_000)
    pings = encode_control(control.Ping(1)) * 1000
    reader = await open_raw_peer(stage)
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", stage.port))
    peer = RawPeer(trio.SocketStream(sock))
    await peer.shake_hands()
    async with reader.stream, peer.stream, trio.open_nursery() as nursery:

        async def flood(stream: trio.SocketStream, most: int) -> None:
            for _ in range(most // len(pings)):
                await stream.send_all(pings)

        async def read() -> None:
            while True:
                await reader.stream.receive_some()

        nursery.start_soon(read)
        with pytest.raises(trio.BrokenResourceError):
            await flood(peer.stream, 100_000_000)
        await flood(reader.stream, 500_000)
        nursery.cancel_scope.cancel()
    [line] = stage.warnings()
    assert "does not read the answers" in line
    assert f"127.0.0.1:{peer.port}" in line
    await stage.check_innocent()


@pytest.mark.parametrize("seed", range(10))
async def test_noise_behind_a_handshake(stage: Stage, seed: int) -> None:
    peer = await open_raw_peer(stage)
    async with peer.stream:
        await peer.stream.send_all(b"\xff" + random.Random(seed).randbytes(2000))
        await read_to_end(peer.stream)
    [line] = stage.warnings()
    assert "unknown kind of frame 255" in line
    await stage.check_innocent()


async def test_credit_beyond_what_was_sent_frees_nothing_of_others(stage: Stage) -> None:
    """A peer that claims to have taken what was never sent to it, on a flow of ours, harms its own link at most."""
    pub = PubChannel(stage.server, "news", trioton.OBJECT)
    async with trioton.open_context("reader") as reader:
        await reader.connect(f"127.0.0.1:{stage.port}", local_shortcut=False)
        sub = SubChannel(reader, "news", trioton.OBJECT, policy=Block(4))
        await pub.wait_subscribers()
        peer = await open_raw_peer(stage)
        async with peer.stream:
            source = stage.server.id.to_wire()
            slot = pub.slot
            await peer.stream.send_all(encode_control(control.Subscribe(slot, 1, 0, 4, 1, None, None)))
            offers = [event for event in peer.events if isinstance(event, control.Offer)]
            while not offers:
                peer.events += peer.session.receive_data(await peer.stream.receive_some())
                offers = [event for event in peer.events if isinstance(event, control.Offer)]
            stream = offers[0].stream
            for credit in (
                control.Credit(source, slot, stream, None, 4),
                control.Credit(source, slot, stream, (1 << 62) - 1, (1 << 62) - 1),
                control.Credit(source, slot, stream + 5, 17, 18),
                control.Credit(source, "nowhere.text.pub-sub", 3, 1, 2),
            ):
                await peer.stream.send_all(encode_control(credit))
            await pub.wait_subscribers()
            for number in range(4):
                await pub.send(number)
            assert [await sub.receive() for _ in range(4)] == [0, 1, 2, 3]
        with trio.fail_after(5):
            while len(stage.server.connections) > 2:
                await stage.server._changed.park()
        for number in range(50):
            await pub.send(number)
            assert await sub.receive() == number


# ---------------------------------------------------------------- memory


async def test_memory_does_not_grow_with_what_lengths_claim(stage: Stage) -> None:
    kinds = [
        "a body of 2 GiB",
        "a body of 4 GiB",
        "an opening of 2^61 bytes",
        "an opening of 4 GiB",
        "too many openings",
    ]
    kinds += ["a run that claims 2^60", "a text that claims 2^62", "more messages than a run has"]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for kind in kinds:
            tracemalloc.reset_peak()
            peer = await open_raw_peer(stage)
            async with peer.stream:
                await peer.stream.send_all(BREACHES[kind][0](peer))
                await peer.read_to_end()
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 1_500_000, kind
        after, _ = tracemalloc.get_traced_memory()
        assert after - before < 500_000
    finally:
        tracemalloc.stop()
    await stage.check_innocent()


async def test_unfinished_packages_hold_no_more_than_was_sent(stage: Stage) -> None:
    """What a peer announces costs nothing before it comes, as far as it is held back in fragments."""
    peer = await open_raw_peer(stage)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        async with peer.stream:
            await peer.stream.send_all(
                peer.opening(16_000_000) + peer.opening(16_000_000, tag=2) + encode_control(control.Ping(1))
            )
            while control.Pong(1) not in peer.events:
                peer.events += peer.session.receive_data(await peer.stream.receive_some())
            after, _ = tracemalloc.get_traced_memory()
            assert after - before < 500_000
    finally:
        tracemalloc.stop()
    await stage.check_innocent()


# ---------------------------------------------------------------- TLS, and clients that meet a strange server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_a_plain_greeting_on_a_tls_port(authority: trustme.CA, caplog: pytest.LogCaptureFixture) -> None:
    server_ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server_ssl)
    client_ssl = ssl.create_default_context()
    authority.configure_trust(client_ssl)
    with trio.fail_after(PATIENCE):
        async with (
            leak_check(),
            trioton.open_context("server") as server,
            trioton.open_context("innocent") as innocent,
        ):
            listener = await server.bind("tls://127.0.0.1:0", ssl_context=server_ssl)
            await innocent.connect(listener.address, ssl_context=client_ssl)
            pub, sub = PubChannel(innocent, "flow"), SubChannel(server, "flow")
            await pub.wait_subscribers()
            assert listener.port is not None
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                port = local_port(stream)
                await stream.send_all(make_hello().to_frame(FrameKind.HELLO))
                await read_to_end(stream)
            await pub.send("goes on")
            assert await sub.receive() == "goes on"
            with pytest.raises(trioton.ConnectError):
                await server.connect(f"127.0.0.1:{listener.port}")
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 2
    assert f"127.0.0.1:{port}" in lines[0]
    assert "tls" in lines[0].lower()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (PREFACE[:-1] + b"\2", "version 2"),
        (PREFACE + encode_prefix(FrameKind.WELCOME, 0, 10, 2**32 - 1), "a body of 4294967295 bytes"),
        (PREFACE + encode_frame(FrameKind.WELCOME, codec.encode_header([{}])), "lacks the field id"),
        (b"", "closed the connection during the handshake"),
    ],
)
async def test_a_strange_server_is_a_connect_error(answer: bytes, reason: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    with trio.fail_after(PATIENCE):
        async with leak_check(), trioton.open_context("client") as client, trio.open_nursery() as nursery:
            listen = functools.partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
            [listener] = await nursery.start(listen)
            port = listener.socket.getsockname()[1]
            with pytest.raises(trioton.ConnectError, match=reason) as caught:
                await client.connect(f"127.0.0.1:{port}")
            assert f"127.0.0.1:{port}" in str(caught.value)
            assert client.connections == []
            nursery.cancel_scope.cancel()


def test_the_line_for_strangers_can_be_read() -> None:
    lines = STRANGER_REPLY.decode("ascii").split("\r\n")
    assert lines[0].startswith("HTTP/1.1 400")
    assert "this is a Trioton port" in lines[-2]
    with pytest.raises(ProtocolError, match="HTTP"):
        Session(Role.CLIENT, Limits()).receive_data(STRANGER_REPLY)
