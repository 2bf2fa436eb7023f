"""The same story on every kind of transport, the move to a Unix socket, and two real processes."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing
import trustme

import trioton
from trioton import UNSET, Block, DropOldest, Heartbeat, PubChannel, Reconnect, StateChannel, SubChannel
from trioton.testing import Network, leak_check
from trioton.transports.address import Address
from trioton.transports.base import Transport
from trioton.transports.system import SystemNetwork

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

PATIENCE = 15.0
"""Seconds of real time after which a test has failed."""

FAST = Reconnect(first=0.01, maximum=0.05)

needs_unix = pytest.mark.skipif(sys.platform == "win32", reason="Python has no Unix sockets on Windows")

REAL = [
    pytest.param("tcp", marks=pytest.mark.net),
    pytest.param("tcp6", marks=pytest.mark.net),
    pytest.param("moved", marks=[pytest.mark.net, needs_unix]),
    pytest.param("unix", marks=[pytest.mark.net, needs_unix]),
    pytest.param("tls", marks=pytest.mark.net),
]
KINDS = [*REAL, "mem"]


@attrs.frozen
class Ways:
    """How to listen and to connect for each kind of transport."""

    authority: trustme.CA
    directory: Path

    def bind_options(self, kind: str) -> dict[str, Any]:
        if kind != "tls":
            return {}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        return {"ssl_context": context}

    def connect_options(self, kind: str) -> dict[str, Any]:
        options: dict[str, Any] = {"local_shortcut": kind == "moved"}
        if kind == "tls":
            options["ssl_context"] = ssl.create_default_context()
            self.authority.configure_trust(options["ssl_context"])
        return options

    def address(self, kind: str) -> str:
        return {
            "tcp": "127.0.0.1:0",
            "tcp6": "[::1]:0",
            "moved": "localhost:0",
            "unix": f"unix://{self.directory}/here.sock",
            "tls": "tls://127.0.0.1:0",
            "mem": "mem://story",
        }[kind]


@pytest.fixture
def ways(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Ways:
    return Ways(authority, tmp_path_factory.mktemp("s"))


def transport_of(kind: str) -> str:
    return {"tcp": "tcp", "tcp6": "tcp", "moved": "unix", "unix": "unix", "tls": "tls", "mem": "memory"}[kind]


@attrs.frozen
class Two:
    """A context that listens, one that has dialled it, and the connection as each sees it."""

    server: trioton.Context
    client: trioton.Context
    to_client: trioton.Connection
    to_server: trioton.Connection


@asynccontextmanager
async def open_two(ways: Ways, kind: str, *, reconnect: trioton.Reconnect | None = FAST) -> AsyncIterator[Two]:
    async with leak_check():
        with trio.fail_after(PATIENCE):
            async with trioton.open_context("server") as server, trioton.open_context("client") as client:
                if kind == "tcp6" and not socket.has_ipv6:
                    pytest.skip("there is no IPv6 here")
                listener = await server.bind(ways.address(kind), **ways.bind_options(kind))
                to_server = await client.connect(listener.address, reconnect=reconnect, **ways.connect_options(kind))
                await server.wait_context("client")
                yield Two(server, client, server.connection("client"), to_server)


async def test_waiting_does_not_help_against_a_certificate_that_is_not_trusted(ways: Ways) -> None:
    async with trioton.open_context("server") as server, trioton.open_context("client") as client:
        listener = await server.bind(ways.address("tls"), **ways.bind_options("tls"))
        with trio.fail_after(PATIENCE), pytest.raises(trioton.ConnectError, match="is not accepted"):
            await client.connect(listener.address, wait=True)
        assert client.connections == []


def sever(connection: trioton.Connection) -> None:
    """Cut the transport under a connection, so that neither end knows why."""
    assert connection._link is not None
    transport: Any = connection._link.transport
    transport = getattr(transport, "_transport", transport)  # that under TLS
    transport._socket.shutdown(socket.SHUT_RDWR)


# ---------------------------------------------------------------- one story


async def tell_story(
    server: trioton.Context, client: trioton.Context, to_server: trioton.Connection, watch: MakeWatch
) -> list[object]:
    """What two contexts see of each other: messages both ways, back-pressure, drops, large messages, and an end with a reason."""
    history: list[object] = []
    events = watch(server)
    pub, sub = PubChannel(client, "story", trioton.OBJECT), SubChannel(server, "story", trioton.OBJECT, policy=Block(4))
    back, here = PubChannel(server, "back"), SubChannel(client, "back")
    await pub.wait_subscribers()
    await back.wait_subscribers()

    for value in (1, "two", b"three", [4.5, None, {"six": True}]):
        await pub.send(value)
        history.append(await sub.receive())
    await back.send("and back")
    history.append(await here.receive())
    await client.flush()

    accepted = 0
    with pytest.raises(trio.WouldBlock):
        while True:
            pub.send_nowait(accepted)
            accepted += 1
    history.append(("room", accepted))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pub.send_many, range(accepted, 200))
        history.append([await sub.receive() for _ in range(200)])

    sender, receiver = PubChannel(client, "large", trioton.BINARY), SubChannel(server, "large", trioton.BINARY)
    await sender.wait_subscribers()
    large = bytes(range(256)) * 12_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_many, [large, b"small", large])
        history.append([await receiver.receive() == large, await receiver.receive(), await receiver.receive() == large])

    dropping, kept = (
        PubChannel(client, "drop", trioton.OBJECT),
        SubChannel(server, "drop", trioton.OBJECT, policy=DropOldest(3)),
    )
    await dropping.wait_subscribers()
    for number in range(10):
        await dropping.send(number)
    await client.flush()
    await to_server.flush()
    history.append((kept.receive_all_nowait(), kept.statistics().dropped))

    for number in range(3):
        await pub.send(number)
    await to_server.aclose("the story is over")
    died = await events.wait_for(trioton.ContextDied)
    history.append((died.name, died.reason, sub.receive_all_nowait()))
    history.append([name for name in events.names if name != "Gap"])
    history.append((server.connections, client.connections, pub.subscribers))
    return history


@pytest.fixture
def simulated_history(watch: MakeWatch) -> list[object]:
    """How the story goes on a simulated network."""
    history: list[object] = []

    async def main() -> None:
        net = Network(seed=1, latency=0.001)
        async with (
            trioton.open_context("server", network=net.host("s")) as server,
            trioton.open_context("client", network=net.host("c")) as client,
        ):
            await server.bind("s:1")
            to_server = await client.connect("s:1")
            await server.wait_context("client")
            history.extend(await tell_story(server, client, to_server, watch))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return history


@pytest.mark.parametrize("kind", KINDS)
async def test_the_story_is_the_same_on_all_transports(
    ways: Ways, kind: str, watch: MakeWatch, simulated_history: list[object]
) -> None:
    async with open_two(ways, kind) as two:
        assert two.to_server.transport == two.to_client.transport == transport_of(kind)
        assert await tell_story(two.server, two.client, two.to_server, watch) == simulated_history
    assert simulated_history[5] == ("room", 4)


@pytest.mark.parametrize("kind", REAL)
async def test_a_cut_is_resumed(ways: Ways, kind: str, watch: MakeWatch) -> None:
    async with open_two(ways, kind) as two:
        at_server, at_client = watch(two.server), watch(two.client)
        pub, sub = (
            PubChannel(two.client, "chat", trioton.OBJECT),
            SubChannel(two.server, "chat", trioton.OBJECT, policy=Block(8)),
        )
        await pub.wait_subscribers()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pub.send_many, range(3000))
            for number in range(3000):
                assert await sub.receive() == number
                if number % 1000 == 500:
                    sever(two.to_server if number < 2000 else two.to_client)
                    await at_client.wait_for(trioton.Resumed, number // 1000 + 1)
        await at_server.wait_for(trioton.Resumed, 3)
        assert at_client.names == at_server.names == ["Suspended", "Resumed"] * 3
        assert two.to_server.transport == transport_of(kind)
        assert two.to_server.statistics().transports == 4


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancelled_context_still_says_goodbye(ways: Ways, kind: str, watch: MakeWatch) -> None:
    async with leak_check():
        with trio.fail_after(PATIENCE):
            async with trioton.open_context("server") as server:
                events = watch(server)
                listener = await server.bind(ways.address(kind), **ways.bind_options(kind))
                with trio.CancelScope() as scope:
                    async with trioton.open_context("client") as client:
                        connection = await client.connect(listener.address, **ways.connect_options(kind))
                        await server.wait_context("client")
                        await connection.flush()
                        scope.cancel()
                        await trio.sleep_forever()
                died = await events.wait_for(trioton.ContextDied)
                assert died.reason == "the context was closed"
                assert "Suspended" not in events.names


@pytest.mark.parametrize("kind", REAL)
async def test_a_connection_without_reconnect_ends_with_its_transport(ways: Ways, kind: str, watch: MakeWatch) -> None:
    async with open_two(ways, kind, reconnect=None) as two:
        events = watch(two.server)
        sever(two.to_server)
        await two.to_server.wait_closed()
        assert two.to_server.close_reason
        await events.wait_for(trioton.ContextDied)
        assert two.server.connections == two.client.connections == []


# ---------------------------------------------------------------- the move to a Unix socket


@pytest.mark.net
@needs_unix
async def test_neighbours_on_one_host_move_to_a_unix_socket(ways: Ways) -> None:
    async with open_two(ways, "moved") as two:
        assert two.to_server.transport == two.to_client.transport == "unix"
        assert two.to_server.kind == two.to_client.kind == "trusted"
        assert two.to_server.address.startswith("tcp://127.0.0.1:")  # as it was named
    async with open_two(ways, "tcp") as two:
        assert two.to_server.transport == two.to_client.transport == "tcp"
        assert two.to_server.kind == two.to_client.kind == "unauthenticated"


class WithoutUnixSockets(SystemNetwork):
    """A network where the offered socket cannot be dialled, as from within a container that shares the host's network."""

    def __init__(self, error: Callable[[Address], Exception]) -> None:
        super().__init__()
        self.dialled: list[str] = []
        self._error = error

    async def dial(self, address: Address, *, ssl_context: ssl.SSLContext | None = None) -> Transport:
        self.dialled.append(address.scheme)
        if address.scheme == "unix":
            raise self._error(address)
        return await super().dial(address, ssl_context=ssl_context)


@pytest.mark.net
@needs_unix
async def test_an_offer_that_cannot_be_dialled_leaves_the_link_on_tcp() -> None:
    network = WithoutUnixSockets(lambda address: trioton.ConnectError(f"no way to {address}"))
    async with leak_check():
        with trio.fail_after(PATIENCE):
            async with (
                trioton.open_context("server") as server,
                trioton.open_context("client", network=network) as client,
            ):
                listener = await server.bind("127.0.0.1:0")
                connection = await client.connect(listener.address)
                assert network.dialled == ["tcp", "unix"]
                assert connection.transport == "tcp"
                pub, sub = PubChannel(client, "chat"), SubChannel(server, "chat")
                await pub.wait_subscribers()
                await pub.send("hello")
                assert await sub.receive() == "hello"
                assert [each.transport for each in server.connections] == ["tcp"]


@pytest.mark.net
@needs_unix
async def test_an_offer_that_leads_to_a_stranger_leaves_the_link_on_tcp(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("s") / "stranger.sock"

    class Misled(SystemNetwork):
        async def dial(self, address: Address, *, ssl_context: ssl.SSLContext | None = None) -> Transport:
            if address.scheme == "unix":
                address = Address(scheme="unix", path=str(path))
            return await super().dial(address, ssl_context=ssl_context)

    async def be_strange(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"SSH-2.0-OpenSSH_9.6\r\n")

    with trio.fail_after(PATIENCE), trio.socket.socket(socket.AF_UNIX) as listening:
        await listening.bind(str(path))
        listening.listen()
        async with (
            trio.open_nursery() as nursery,
            trioton.open_context("server") as server,
            trioton.open_context("client", network=Misled()) as client,
        ):
            nursery.start_soon(trio.serve_listeners, be_strange, [trio.SocketListener(listening)])
            listener = await server.bind("127.0.0.1:0")
            connection = await client.connect(listener.address)
            assert connection.transport == "tcp"
            nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- what is not allowed


@pytest.mark.net
async def test_plain_tcp_off_the_loopback_must_be_asked_for() -> None:
    async with leak_check(), trioton.open_context("server") as server:
        for address in ("0.0.0.0:0", "192.0.2.1:5000", "example.org:80"):
            with pytest.raises(ValueError, match=r"^to listen at tcp://.* takes insecure=True$"):
                await server.bind(address)
            with pytest.raises(ValueError, match=r"^to connect to tcp://.* takes insecure=True$"):
                await server.connect(address)
        assert server.statistics().listeners == 0
        async with await server.bind("0.0.0.0:0", insecure=True) as listener, trioton.open_context("client") as client:
            connection = await client.connect(f"127.0.0.1:{listener.port}", local_shortcut=False)
            assert connection.is_connected


@pytest.mark.net
async def test_a_certificate_that_nobody_vouches_for(ways: Ways) -> None:
    async with leak_check(), trioton.open_context("server") as server, trioton.open_context("client") as client:
        listener = await server.bind("tls://127.0.0.1:0", **ways.bind_options("tls"))
        with trio.fail_after(PATIENCE), pytest.raises(trioton.ConnectError, match="certificate"):
            await client.connect(listener.address)
        assert server.connections == client.connections == []


# ---------------------------------------------------------------- two processes

ECHO = """
import sys, trio, trioton

async def main():
    heartbeat = trioton.Heartbeat(interval=float(sys.argv[1]), timeout=float(sys.argv[2]), lease=float(sys.argv[3]))
    async with trioton.open_context("echo", heartbeat=heartbeat) as ctx:
        there = trioton.SubChannel(ctx, "there", trioton.OBJECT, policy=trioton.Block(16))
        back = trioton.PubChannel(ctx, "back", trioton.OBJECT)
        listener = await ctx.bind("127.0.0.1:0")
        print(listener.port, flush=True)
        state = trioton.StateChannel(ctx, "status")
        await state.send("ready")
        async for message in there:
            await state.send(f"busy with {message}")
            await back.send(message)

trio.run(main)
"""


@asynccontextmanager
async def open_echo(heartbeat: Heartbeat, directory: Path) -> AsyncIterator[tuple[trio.Process, int]]:
    """Another process, whose context sends back all that it hears; gives it and its port."""
    # What is killed cannot tidy up: let its socket file be where pytest does.
    places = {"TMPDIR": str(directory), "XDG_RUNTIME_DIR": str(directory)}
    environment = {**os.environ, **places, "PYTHONPATH": str(Path(trioton.__file__).parents[1])}
    times = [str(heartbeat.interval), str(heartbeat.timeout), str(heartbeat.lease)]
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", ECHO, *times], stdout=subprocess.PIPE, env=environment
    )
    try:
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            line += await process.stdout.receive_some()
        yield process, int(line)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.parametrize("shortcut", [False, True])
async def test_two_processes_share_a_state(ways: Ways, shortcut: bool) -> None:
    async with leak_check():
        with trio.fail_after(PATIENCE):
            async with open_echo(Heartbeat(), ways.directory) as (_, port), trioton.open_context("here") as here:
                state = StateChannel(here, "status")
                pub = PubChannel(here, "there", trioton.OBJECT)
                assert state.value is UNSET
                await here.connect(f"127.0.0.1:{port}", local_shortcut=shortcut)
                assert state.value == "ready"
                await pub.send(1)
                await state.wait_value("busy with 1")
                large = "large " * 1_000_000
                await state.send(large)
                await state.wait_synced()
                await pub.send(2)
                await state.wait_value("busy with 2")


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("shortcut", [False, True])
async def test_the_end_of_a_process_is_known_at_once(ways: Ways, shortcut: bool, watch: MakeWatch) -> None:
    async with leak_check():
        with trio.fail_after(PATIENCE):
            async with open_echo(Heartbeat(), ways.directory) as (process, port), trioton.open_context("here") as here:
                events = watch(here)
                pub, sub = PubChannel(here, "there", trioton.OBJECT), SubChannel(here, "back", trioton.OBJECT)
                await here.connect(f"127.0.0.1:{port}", local_shortcut=shortcut)
                await pub.wait_subscribers()
                await pub.send(1)
                assert await sub.receive() == 1
                start = trio.current_time()
                os.kill(process.pid, signal.SIGKILL)
                died = await events.wait_for(trioton.ContextDied)
                assert trio.current_time() - start < 2  # neither the lease nor the resume window had to pass
                assert died.name == "echo"
                assert events.names == ["ContextJoined", "Connected", "Suspended", "SessionLost", "ContextDied"]
                assert pub.subscribers == 0


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize(
    ("heartbeat", "expected"),
    [
        (Heartbeat(interval=0.1, timeout=0.3, lease=20), ["TimedOut", "Recovered"]),
        (Heartbeat(interval=0.1, timeout=0.3, lease=0.6), ["TimedOut", "Suspended", "Resumed"]),
    ],
    ids=["shorter than the lease", "longer than the lease"],
)
async def test_a_process_that_is_stopped_for_a_while_loses_nothing(
    ways: Ways, heartbeat: Heartbeat, expected: list[str], shortcut: bool, watch: MakeWatch
) -> None:
    async with leak_check():
        with trio.fail_after(PATIENCE):
            async with (
                open_echo(Heartbeat(interval=0.1, timeout=0.3, lease=20), ways.directory) as (process, port),
                trioton.open_context("here", heartbeat=heartbeat) as here,
                trio.open_nursery() as nursery,
            ):
                pub, sub = PubChannel(here, "there", trioton.OBJECT), SubChannel(here, "back", trioton.OBJECT)
                connection = await here.connect(f"127.0.0.1:{port}", local_shortcut=shortcut)
                await pub.wait_subscribers()
                events = watch(here)
                nursery.start_soon(pub.send_many, range(400))
                for number in range(100):
                    assert await sub.receive() == number
                os.kill(process.pid, signal.SIGSTOP)
                await events.wait_for(trioton.TimedOut)
                if "Suspended" in expected:
                    await events.wait_for(trioton.Suspended)
                os.kill(process.pid, signal.SIGCONT)
                for number in range(100, 400):
                    assert await sub.receive() == number
                if "Resumed" in expected:
                    await events.wait_for(trioton.Resumed)
                assert events.names == expected
                assert connection.is_connected
