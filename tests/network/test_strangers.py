"""Who is no peer at all, on real sockets: a stranger is closed with one clear line in the log, and harms nobody."""

from __future__ import annotations

import functools
import random
import ssl
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

import trioton
from tests.common import warnings_of
from tests.raw_peer import local_port, make_hello, read_to_end
from trioton import Limits, PubChannel, SubChannel
from trioton.errors import ProtocolError
from trioton.protocol import codec
from trioton.protocol.frames import PREFACE, FrameKind, encode_frame, encode_prefix
from trioton.protocol.handshake import STRANGER_REPLY
from trioton.protocol.session import Refused, Role, Session
from trioton.testing import leak_check

if TYPE_CHECKING:
    from .conftest import Stage

pytestmark = pytest.mark.net

PATIENCE = 20.0
"""Seconds of real time after which a test has failed."""


# ---------------- strangers at our port


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
    """Yoton's case 44, and others that are none of ours."""
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


def test_the_line_for_strangers_can_be_read() -> None:
    lines = STRANGER_REPLY.decode("ascii").split("\r\n")
    assert lines[0].startswith("HTTP/1.1 400")
    assert "this is a Trioton port" in lines[-2]
    with pytest.raises(ProtocolError, match="HTTP"):
        Session(Role.CLIENT, Limits()).receive_data(STRANGER_REPLY)


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
    lines = warnings_of(caplog)
    assert len(lines) == 2
    assert f"127.0.0.1:{port}" in lines[0]
    assert "tls" in lines[0].lower()


async def test_who_only_looks_leaves_no_warning(stage: Stage) -> None:
    """A port scanner, or the health check of a load balancer."""
    async with await trio.open_tcp_stream("127.0.0.1", stage.port) as stream:
        await stream.send_eof()
        assert await read_to_end(stream) == b""
    await stage.check_innocent()
    assert stage.warnings() == []


# ---------------- handshakes that are never finished


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
    [line] = stage.warnings()  # the others are from the same address
    assert "too many handshakes at once; closed" in line
    for stream in streams:
        await stream.aclose()
    await stage.check_innocent()


# ---------------- strange servers


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
