"""Pairs of each kind of transport, certificates, names that only tests know, and a watch over descriptors."""

from __future__ import annotations

import gc
import os
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from trioton.transports.address import parse_address
from trioton.transports.base import Transport, TransportListener
from trioton.transports.memory import MemoryTransport, memory_transport_pair
from trioton.transports.sockets import SocketTransport
from trioton.transports.stdio import FdTransport
from trioton.transports.system import SystemNetwork
from trioton.transports.tls import TlsTransport

Pair = tuple[Transport, Transport]
Maker = Callable[[], Awaitable[Pair]]

TLS_RECORD_OVERHEAD = 22
"""Bytes that TLS 1.3 adds to what one record carries."""


def open_fds() -> set[str]:
    """The descriptors of this process, each with what it leads to; nothing where the system does not tell."""
    found: set[str] = set()
    if not os.path.isdir("/proc/self/fd"):
        return found
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            pass  # the one that listed the directory
    return found


@pytest.fixture(autouse=True)
def no_fd_leaks(trustme_files: None) -> Iterator[None]:
    """Every test here must leave the descriptors as they were."""
    before = open_fds()
    yield
    if open_fds() != before:
        gc.collect()
    assert open_fds() == before


@pytest.fixture(scope="session")
def trustme_files() -> None:
    """What making keys opens once for the process is no leak of the first test."""
    trustme.CA().issue_cert("warm-up")


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


@pytest.fixture
def network() -> SystemNetwork:
    return SystemNetwork()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty folder whose name is so short that socket files still fit into folders of it; `tmp_path` may be very long."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:  # its name is made up, and only we may read it
        yield Path(folder).resolve()


Dial = Callable[[TransportListener], Awaitable[Pair]]


@pytest.fixture
def dial(network: SystemNetwork) -> Dial:
    """Dials a listener; gives the dialling end and the accepted one."""

    async def dial_listener(listener: TransportListener) -> Pair:
        return await accept_and_dial(network, listener)

    return dial_listener


class Names(trio.abc.HostnameResolver):
    """Knows what each name's addresses are, so that no test asks the network's resolver."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names

    async def getaddrinfo(  # type: ignore[override]
        self,
        host: bytes | None,
        port: int,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[object, ...]]:
        assert host is not None
        await trio.lowlevel.checkpoint()
        found: list[tuple[object, ...]] = []
        for numeric in self.names.get(host.decode(), []):
            found += socket.getaddrinfo(numeric, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        await trio.lowlevel.checkpoint()
        raise NotImplementedError


@pytest.fixture
async def names() -> Names:
    await trio.lowlevel.checkpoint()  # the resolver is set for a run of Trio, so it must be set inside of one
    resolver = Names(
        nothing=[], two=["127.0.0.1", "127.0.0.2"], twice=["127.0.0.1", "127.0.0.1"], mixed=["::1", "127.0.0.1"]
    )
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver


async def accept_and_dial(
    network: SystemNetwork, listener: TransportListener, *, context: ssl.SSLContext | None = None
) -> Pair:
    """A pair: the dialling end and the accepted one."""
    accepted: list[Transport] = []

    async def accept() -> None:
        transport = await listener.accept()
        if isinstance(transport, TlsTransport):
            await transport.handshake()
        accepted.append(transport)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        dialled = await network.dial(parse_address(listener.address), ssl_context=context)
    return dialled, accepted[0]


async def clog(pair: Pair) -> None:
    """Fill both directions until they take nothing more."""
    for transport in pair:
        if isinstance(transport, SocketTransport):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # or else TCP grows its buffers by and by
                transport._socket.setsockopt(socket.SOL_SOCKET, option, 65536)
    refused = 0
    while refused < 5:
        taken = sum(transport.try_send([bytes(size), b"x"]) for transport in pair for size in (65536, 1))
        refused = 0 if taken else refused + 1
        await trio.testing.wait_all_tasks_blocked()


async def clog_tls(transport: TlsTransport, peer: TlsTransport) -> None:
    """Fill the memory transport below with whole records, as TLS cannot be stopped inside one."""
    await transport.send_all(b"x")  # takes along what TLS itself has to send after the handshake
    assert await peer.receive_some(10) == b"x"
    memory = transport._transport
    assert isinstance(memory, MemoryTransport)
    pipe = memory._outgoing
    assert not pipe.data
    await transport.send_all(bytes(pipe.capacity - TLS_RECORD_OVERHEAD))
    assert len(pipe.data) == pipe.capacity


class Makers:
    """What makes connected pairs of one kind, empty ones and ones that are clogged in both directions."""

    def __init__(self, pair: Maker, *, two_way_only: bool = False) -> None:
        self.pair = pair
        self.two_way_only = two_way_only

    async def clogged(self) -> Pair:
        pair = await self.pair()
        await clog(pair)
        return pair


class TlsOverMemory(Makers):
    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        super().__init__(self.make, two_way_only=True)
        self.client = client
        self.server = server

    async def make(self) -> Pair:
        return await self._make()

    async def _make(self) -> tuple[TlsTransport, TlsTransport]:
        left, right = memory_transport_pair(8192)
        client = TlsTransport(left, self.client, server_side=False, server_hostname="localhost")
        server = TlsTransport(right, self.server, server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.handshake)
            nursery.start_soon(server.handshake)
        return client, server

    async def clogged(self) -> Pair:
        client, server = await self._make()
        await clog_tls(client, server)
        await clog_tls(server, client)
        return client, server


def fd_pair() -> tuple[FdTransport, FdTransport]:
    """Two transports over two pipes."""
    there_read, there_write = os.pipe()
    back_read, back_write = os.pipe()
    return FdTransport(back_read, there_write), FdTransport(there_read, back_write)


@pytest.fixture(params=["tcp", "tcp6", "unix", "tls", "tls over memory", "memory", "stdio"])
def makers(
    request: pytest.FixtureRequest,
    network: SystemNetwork,
    tmp_path: Path,
    client_context: ssl.SSLContext,
    server_context: ssl.SSLContext,
) -> Makers:
    kind: str = request.param
    addresses = {"tcp": "localhost:0", "tcp6": "[::1]:0", "unix": f"unix://{tmp_path}/s", "tls": "tls://localhost:0"}

    async def over_network() -> Pair:
        server = server_context if kind == "tls" else None
        client = client_context if kind == "tls" else None
        async with await network.listen(parse_address(addresses[kind]), ssl_context=server) as listener:
            return await accept_and_dial(network, listener, context=client)

    async def in_memory() -> Pair:
        await trio.lowlevel.checkpoint()
        return memory_transport_pair()

    async def over_pipes() -> Pair:
        await trio.lowlevel.checkpoint()
        return fd_pair()

    if kind == "tls over memory":
        return TlsOverMemory(client_context, server_context)
    return Makers({"memory": in_memory, "stdio": over_pipes}.get(kind, over_network), two_way_only=kind == "tls")
