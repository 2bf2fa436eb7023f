"""TLS: who is trusted, what is said when it fails, and where the stream was cut."""

from __future__ import annotations

import datetime
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
import trustme

from trioton.errors import ConnectError
from trioton.transports.address import Address, parse_address
from trioton.transports.base import Transport
from trioton.transports.memory import memory_transport_pair
from trioton.transports.system import SystemNetwork
from trioton.transports.tcp import TcpTransport
from trioton.transports.tls import TlsListener, TlsTransport, tls_reason

if TYPE_CHECKING:
    from .conftest import Pair

pytestmark = pytest.mark.net

LOCAL = parse_address("tls://localhost:0")

CUTS_ARE_SEEN = sys.version_info >= (3, 11, 4)
"""Older releases of Python with OpenSSL 3 take any end of the stream for a clean one; the session above notices a cut all the same."""

Connect = Callable[[], Awaitable["Pair"]]


def server_context_for(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


@pytest.fixture
def tls_pair(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> Callable[[], tuple[TlsTransport, TlsTransport]]:
    """A client and a server over memory, before the handshake."""

    def make() -> tuple[TlsTransport, TlsTransport]:
        left, right = memory_transport_pair()
        client = TlsTransport(left, client_context, server_side=False, server_hostname="localhost")
        return client, TlsTransport(right, server_context, server_side=True)

    return make


async def fail_to_dial(
    network: SystemNetwork, server: ssl.SSLContext, client: ssl.SSLContext | None, host: str = "localhost"
) -> tuple[ConnectError, BaseException | None]:
    """What the two sides are told when the handshake fails."""
    accepting: list[BaseException] = []

    async def serve(listener: trio.abc.Listener[Transport]) -> None:
        transport = await listener.accept()
        async with transport:
            try:
                await transport.receive_some()
            except trio.BrokenResourceError as error:
                accepting.append(error)

    async with await network.listen(LOCAL, ssl_context=server) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(serve, listener)
        with pytest.raises(ConnectError) as caught:
            await network.dial(Address("tls", host, listener.port), ssl_context=client)
        assert f"cannot connect to tls://{host}:{listener.port}: " in str(caught.value)
    return caught.value, accepting[0] if accepting else None


async def test_both_sides_are_encrypted_and_known(network: SystemNetwork, ca: trustme.CA) -> None:
    server = server_context_for(ca.issue_cert("localhost"))
    server.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    ca.issue_cert("alice@example.org").configure_cert(client)
    accepted: list[Transport] = []

    async def accept(listener: trio.abc.Listener[Transport]) -> None:
        transport = await listener.accept()
        assert isinstance(transport, TlsTransport)
        assert transport.tls_version is None
        assert transport.peer_certificate() is None
        assert transport.peer_names() == {}
        assert "before the handshake" in repr(transport)
        await transport.handshake()
        accepted.append(transport)

    async with await network.listen(LOCAL, ssl_context=server) as listener:
        assert listener.address == f"tls://localhost:{listener.port}"
        assert listener.address in repr(listener)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, listener)
            dialled = await network.dial(parse_address(listener.address), ssl_context=client)
        async with dialled, accepted[0]:
            assert isinstance(dialled, TlsTransport)
            there = accepted[0]
            assert isinstance(there, TlsTransport)
            assert dialled.kind == there.kind == "tls"
            assert dialled.tls_version == there.tls_version == "TLSv1.3"
            assert dialled.remote_address == there.local_address == f"tls://127.0.0.1:{listener.port}"
            assert isinstance(dialled.peer_certificate(), bytes)
            assert ("email", "alice@example.org") in there.peer_names()["subjectAltName"]  # type: ignore[operator]
            assert ("DNS", "localhost") in dialled.peer_names()["subjectAltName"]  # type: ignore[operator]
            await dialled.handshake()  # once more does nothing
            await dialled.send_all(b"x" * 100_000)
            assert (await there.receive_some())[:1] == b"x"
    listener.close()


async def test_the_default_context_trusts_the_systems_authorities_and_no_others(
    network: SystemNetwork, server_context: ssl.SSLContext
) -> None:
    error, _ = await fail_to_dial(network, server_context, None)
    assert "the certificate of the other end is not accepted: unable to get local issuer certificate" in str(error)
    assert network._default_client_context() is network._default_client_context()
    assert network._default_client_context().minimum_version == ssl.TLSVersion.TLSv1_3


async def test_another_authority(network: SystemNetwork, client_context: ssl.SSLContext) -> None:
    other = server_context_for(trustme.CA().issue_cert("localhost"))
    error, accepting = await fail_to_dial(network, other, client_context)
    assert "not accepted: unable to get local issuer certificate" in str(error)
    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
    assert isinstance(accepting, trio.BrokenResourceError)
    assert "could not be set up: " in str(accepting)


async def test_an_expired_certificate(network: SystemNetwork, ca: trustme.CA, client_context: ssl.SSLContext) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    expired = ca.issue_cert("localhost", not_before=past, not_after=past + datetime.timedelta(days=1))
    error, _ = await fail_to_dial(network, server_context_for(expired), client_context)
    assert "not accepted: certificate has expired" in str(error)


async def test_a_certificate_for_another_name(
    network: SystemNetwork, ca: trustme.CA, client_context: ssl.SSLContext
) -> None:
    other = server_context_for(ca.issue_cert("elsewhere.example"))
    error, _ = await fail_to_dial(network, other, client_context)
    assert "not accepted: Hostname mismatch" in str(error)
    error, _ = await fail_to_dial(network, other, client_context, host="127.0.0.1")
    assert "not accepted: IP address mismatch" in str(error)


async def test_a_numeric_address_in_the_certificate(
    network: SystemNetwork, client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    async with await network.listen(LOCAL, ssl_context=server_context) as listener:
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                async with await listener.accept() as transport:
                    assert await transport.receive_some() == b""

            nursery.start_soon(serve)
            address = Address("tls", "127.0.0.1", listener.port)
            async with await network.dial(address, ssl_context=client_context):
                pass


async def test_a_client_without_a_certificate(
    network: SystemNetwork, ca: trustme.CA, client_context: ssl.SSLContext
) -> None:
    server = server_context_for(ca.issue_cert("localhost"))
    server.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(server)
    async with await network.listen(LOCAL, ssl_context=server) as listener:

        async def serve() -> None:
            async with await listener.accept() as transport:
                with pytest.raises(trio.BrokenResourceError, match="peer did not return a certificate"):
                    await transport.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            # In TLS 1.3 the client is done before the server has looked at its certificate.
            async with await network.dial(parse_address(listener.address), ssl_context=client_context) as transport:
                if CUTS_ARE_SEEN:
                    with pytest.raises(trio.BrokenResourceError):
                        await transport.receive_some()
                else:
                    assert await transport.receive_some() == b""


async def test_dialling_what_speaks_no_tls(network: SystemNetwork, client_context: ssl.SSLContext) -> None:
    async with await network.listen(parse_address("localhost:0")) as listener:

        async def serve() -> None:
            async with await listener.accept() as transport:
                await transport.send_all(b"220 hello, this is mail\r\n" * 10)
                await transport.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(ConnectError, match="the other end does not speak TLS"):
                await network.dial(Address("tls", "localhost", listener.port), ssl_context=client_context)


@pytest.mark.parametrize("text", [b"GET / HTTP/1.0\r\n\r\n", b"\0" * 100, b"hello, world, are you there? " * 10])
async def test_accepting_who_speaks_no_tls(network: SystemNetwork, server_context: ssl.SSLContext, text: bytes) -> None:
    async with await network.listen(LOCAL, ssl_context=server_context) as listener:
        async with await network.dial(Address("tcp", "127.0.0.1", listener.port)) as plain:
            await plain.send_all(text)
            async with await listener.accept() as transport:
                with pytest.raises(trio.BrokenResourceError, match="does not speak TLS") as caught:
                    await transport.receive_some()
                assert isinstance(caught.value.__cause__, ssl.SSLError)
                with pytest.raises(trio.BrokenResourceError, match="failed or was cancelled"):
                    await transport.send_all(b"x")


async def test_the_other_end_goes_away_in_the_handshake(
    network: SystemNetwork, client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    async with await network.listen(parse_address("localhost:0")) as listener:

        async def serve() -> None:
            async with await listener.accept() as transport:
                await transport.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(ConnectError, match="closed the connection without a word"):
                await network.dial(Address("tls", "localhost", listener.port), ssl_context=client_context)
    async with await network.listen(LOCAL, ssl_context=server_context) as tls_listener:
        (await network.dial(Address("tcp", "127.0.0.1", tls_listener.port))).close()
        async with await tls_listener.accept() as accepted:
            with pytest.raises(trio.BrokenResourceError, match="closed the connection without a word"):
                await accepted.receive_some()


async def test_nobody_listens(network: SystemNetwork) -> None:
    async with await network.listen(parse_address("localhost:0")) as listener:
        port = listener.port
    with pytest.raises(ConnectError, match=f"tls://localhost:{port}: Connection refused"):
        await network.dial(Address("tls", "localhost", port))


async def test_a_silent_client_keeps_nobody_waiting(
    network: SystemNetwork, client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    async with await network.listen(LOCAL, ssl_context=server_context) as listener:
        async with await network.dial(Address("tcp", "127.0.0.1", listener.port)):
            silent = await listener.accept()

            async def serve() -> None:
                async with await listener.accept() as transport:
                    await transport.send_all(b"x")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                async with await network.dial(parse_address(listener.address), ssl_context=client_context) as transport:
                    assert await transport.receive_some() == b"x"
                    assert await transport.receive_some() == b""
            # Closing one before its handshake does not wait for one.
            await silent.aclose()


async def test_a_dial_that_is_cancelled_in_the_handshake(
    network: SystemNetwork, client_context: ssl.SSLContext
) -> None:
    async with await network.listen(parse_address("localhost:0")) as listener:
        async with trio.open_nursery() as nursery:

            async def dial() -> None:
                await network.dial(Address("tls", "localhost", listener.port), ssl_context=client_context)

            nursery.start_soon(dial)
            async with await listener.accept() as transport:
                assert await transport.receive_some()
                nursery.cancel_scope.cancel()


# The stream


async def test_a_stream_that_was_cut_is_broken(tls_pair: Callable[[], tuple[TlsTransport, TlsTransport]]) -> None:
    client, server = tls_pair()

    async def send_and_vanish() -> None:
        await server.send_all(b"half of what I had to s")
        server.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_and_vanish)
        assert await client.receive_some() == b"half of what I had to s"
    if CUTS_ARE_SEEN:
        with pytest.raises(trio.BrokenResourceError, match="closed the connection without a word") as caught:
            await client.receive_some()
        assert isinstance(caught.value.__cause__, ssl.SSLError)
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"x")
    else:
        assert await client.receive_some() == b""
    await client.aclose()
    await client.aclose()


async def test_a_reset_below_tls(
    network: SystemNetwork, client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    async with await network.listen(LOCAL, ssl_context=server_context) as listener:

        async def serve() -> None:
            transport = await listener.accept()
            assert await transport.receive_some() == b"hello"
            assert isinstance(transport, TlsTransport)
            assert isinstance(transport._transport, TcpTransport)
            transport._transport._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            transport.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            client = await network.dial(parse_address(listener.address), ssl_context=client_context)
            async with client:
                await client.send_all(b"hello")
                with pytest.raises(trio.BrokenResourceError, match="Connection reset by peer"):
                    await client.receive_some()


async def test_reader_and_writer_share_one_handshake(tls_pair: Callable[[], tuple[TlsTransport, TlsTransport]]) -> None:
    client, server = tls_pair()

    async def read() -> None:
        assert await server.receive_some() == b"ping"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(server.send_all, b"pong")
        await client.send_all(b"ping")
        assert await client.receive_some() == b"pong"
    client.close()
    server.close()


async def test_whoever_waits_for_the_handshake_hears_of_its_end(
    tls_pair: Callable[[], tuple[TlsTransport, TlsTransport]],
) -> None:
    for close in (True, False):
        client, server = tls_pair()
        expected = trio.ClosedResourceError if close else trio.BrokenResourceError

        async def read(server: TlsTransport = server, expected: type[Exception] = expected) -> None:
            with pytest.raises(expected):
                await server.receive_some()

        async def write(server: TlsTransport = server, expected: type[Exception] = expected) -> None:
            with pytest.raises(expected):
                await server.send_all(b"x")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked()
            (server if close else client).close()
        client.close()
        server.close()


async def test_sending_is_for_one_task(tls_pair: Callable[[], tuple[TlsTransport, TlsTransport]]) -> None:
    client, server = tls_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"x")  # waits in the handshake
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await client.send_all(b"x")
        with pytest.raises(trio.BusyResourceError):
            await client.wait_send_all_might_not_block()
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"x")
    client.close()
    server.close()


# Contexts


async def test_contexts_that_do_not_fit(
    network: SystemNetwork, client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    with pytest.raises(ValueError, match="ssl_context must be given"):
        await network.listen(LOCAL)
    with pytest.raises(ValueError, match="must be one for servers"):
        await network.listen(LOCAL, ssl_context=client_context)
    async with await network.listen(LOCAL, ssl_context=server_context) as listener:
        with pytest.raises(ValueError, match=r"ssl_context cannot be used here: .*client"):
            await network.dial(parse_address(listener.address), ssl_context=server_context)
        assert isinstance(listener, TlsListener)
        listener._ssl_context = client_context
        with pytest.raises(ValueError, match=r"ssl_context cannot be used here: .*server"):
            await listener.accept()


@pytest.mark.parametrize("text", ["localhost:0", "mem://x", "unix:///tmp/x"])
async def test_contexts_where_there_is_no_tls(
    network: SystemNetwork, client_context: ssl.SSLContext, text: str
) -> None:
    with pytest.raises(ValueError, match="ssl_context is for tls:// addresses"):
        await network.listen(parse_address(text), ssl_context=client_context)
    with pytest.raises(ValueError, match="ssl_context is for tls:// addresses"):
        await network.dial(parse_address(text), ssl_context=client_context)


# Words


def ssl_error(kind: type[ssl.SSLError], reason: str | None) -> ssl.SSLError:
    error = kind(1, "text")
    error.reason = reason  # type: ignore[assignment]
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ssl_error(ssl.SSLError, "WRONG_VERSION_NUMBER"), "the other end does not speak TLS (wrong version number)"),
        (ssl_error(ssl.SSLError, "TLSV1_ALERT_UNKNOWN_CA"), "the other end refused (tlsv1 alert unknown ca)"),
        (ssl_error(ssl.SSLError, "NO_SHARED_CIPHER"), "no shared cipher"),
        (ssl_error(ssl.SSLError, None), "text"),
        (ssl_error(ssl.SSLEOFError, None), "the other end closed the connection without a word"),
        (ssl_error(ssl.SSLZeroReturnError, None), "the other end closed the connection without a word"),
        (ssl_error(ssl.SSLSyscallError, None), "the other end closed the connection without a word"),
        (ssl_error(ssl.SSLError, "UNEXPECTED_EOF_WHILE_READING"), "the other end closed the connection without a word"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (trio.BrokenResourceError("words"), "words"),
        (trio.BrokenResourceError(), "BrokenResourceError"),
    ],
)
def test_tls_reason(error: BaseException, words: str) -> None:
    assert tls_reason(error) == words
