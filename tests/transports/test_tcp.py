"""TCP: the options of a connection, dialling, resets, and the public addresses of a machine."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trioton.errors import BindError, ConnectError
from trioton.transports import tcp
from trioton.transports.address import Address
from trioton.transports.base import Transport
from trioton.transports.system import SystemNetwork
from trioton.transports.tcp import TcpTransport

from .tcp_ends import LOCAL, reset_when_closed, socket_of

if TYPE_CHECKING:
    from .conftest import Dial, Names

pytestmark = pytest.mark.net


# ---------------------------------------------------------------------------------------------------------- connections


async def test_the_options_that_a_link_needs(network: SystemNetwork, dial: Dial) -> None:
    async with await network.listen(LOCAL) as listener:
        for transport in await dial(listener):
            sock = socket_of(transport)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 3
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 18000
            assert not sock.get_inheritable()
            transport.close()


async def test_each_end_knows_both_addresses(network: SystemNetwork, dial: Dial) -> None:
    async with await network.listen(LOCAL) as listener:
        assert listener.port is not None
        assert listener.port > 0
        assert listener.address == f"tcp://127.0.0.1:{listener.port}"
        assert listener.address in repr(listener)
        left, right = await dial(listener)
        async with left, right:
            assert left.remote_address == right.local_address == listener.address
            assert left.local_address == right.remote_address
            assert left.peer_uid is None
    assert "closed" in repr(listener)


async def test_a_reset_is_broken_for_sender_and_reader(network: SystemNetwork, dial: Dial) -> None:
    async with await network.listen(LOCAL) as listener:
        left, right = await dial(listener)
        reset_when_closed(right)
        right.close()
        async with left:
            # The system tells why only once, here to the one who sends.
            with pytest.raises(trio.BrokenResourceError, match=f"{listener.address} broke: Connection reset") as caught:
                left.try_send([b"x"])
            assert isinstance(caught.value.__cause__, ConnectionResetError)
            with pytest.raises(trio.BrokenResourceError, match="Connection reset"):
                await left.receive_some()
            with pytest.raises(trio.BrokenResourceError, match="Broken pipe"):
                await left.send_all(b"x")
            with pytest.raises(trio.BrokenResourceError):
                await left.send_eof()


async def test_a_reset_wakes_the_reader(network: SystemNetwork, dial: Dial) -> None:
    async with await network.listen(LOCAL) as listener:
        left, right = await dial(listener)

        async def expect_broken() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await left.receive_into(memoryview(bytearray(10)))

        async with left, trio.open_nursery() as nursery:
            nursery.start_soon(expect_broken)
            await trio.testing.wait_all_tasks_blocked()
            reset_when_closed(right)
            right.close()


async def test_a_reset_after_a_full_read(network: SystemNetwork, dial: Dial) -> None:
    async with await network.listen(LOCAL) as listener:
        left, right = await dial(listener)
        async with left:
            await right.send_all(b"x")
            assert await left.receive_some(1) == b"x"  # so full that it will look for more at once
            with trio.move_on_after(0):
                await left.receive_some(1)
            reset_when_closed(right)
            right.close()
            with pytest.raises(trio.BrokenResourceError):
                await left.receive_some(1)


async def test_a_socket_that_was_closed_behind_our_back(network: SystemNetwork, dial: Dial) -> None:
    async with await network.listen(LOCAL) as listener:
        left, right = await dial(listener)
        async with left, right:
            socket_of(left).close()
            with pytest.raises(trio.ClosedResourceError):
                left.try_send([b"x"])


async def test_a_wait_that_ends_too_early(network: SystemNetwork, dial: Dial) -> None:
    async with await network.listen(LOCAL) as listener:
        left, right = await dial(listener)
        async with left, right:
            assert isinstance(left, TcpTransport)
            read, refusals = left._read, 2

            def read_later(max_bytes: int) -> bytes:
                nonlocal refusals
                if refusals:
                    refusals -= 1
                    raise BlockingIOError
                return read(max_bytes)

            left._read = read_later
            await right.send_all(b"x")
            assert await left.receive_some() == b"x"


# ------------------------------------------------------------------------------------------------------------- dialling


async def test_nobody_listens(network: SystemNetwork) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = LOCAL.with_port(taken.getsockname()[1])
        with pytest.raises(ConnectError) as caught:
            await network.dial(address)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ECONNREFUSED
    assert str(address) in str(caught.value)
    assert "Connection refused" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_socket_that_reached_itself_reached_nobody(
    network: SystemNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(sock: socket.socket, address: tuple[str, int]) -> None:
        await trio.lowlevel.checkpoint()
        sock.bind(address)
        sock.setblocking(True)
        sock.connect(address)
        assert sock.getsockname() == sock.getpeername()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = LOCAL.with_port(free.getsockname()[1])
    monkeypatch.setattr(tcp, "connect_socket", connect)
    with pytest.raises(ConnectError, match="it had reached itself") as caught:
        await network.dial(address)
    assert caught.value.errno == errno.ECONNREFUSED


async def test_a_name_that_nobody_knows(network: SystemNetwork, names: Names) -> None:
    with pytest.raises(ConnectError, match="tcp://nothing:1: Name or service not known") as caught:
        await network.dial(Address("tcp", "nothing", 1))
    assert caught.value.errno is None
    with pytest.raises(BindError, match="tcp://nothing:1: Name or service not known"):
        await network.listen(Address("tcp", "nothing", 1))


async def test_a_name_that_cannot_be_written(network: SystemNetwork) -> None:
    address = Address("tcp", "x" * 70, 1)
    with pytest.raises(ConnectError, match="cannot connect"):
        await network.dial(address)
    with pytest.raises(BindError, match="cannot listen"):
        await network.listen(address)


async def test_all_addresses_of_a_name_are_tried(network: SystemNetwork, names: Names) -> None:
    async with await network.listen(Address("tcp", "127.0.0.2", 0)) as listener:
        assert listener.port is not None
        transport = await network.dial(Address("tcp", "two", listener.port))
        async with transport, await listener.accept() as accepted:
            assert transport.remote_address == listener.address
            assert socket_of(transport).getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 0
            assert transport.is_loopback
            await transport.send_all(b"x")
            assert await accepted.receive_some() == b"x"
    with pytest.raises(ConnectError, match="Connection refused") as caught:
        await network.dial(Address("tcp", "two", listener.port))
    assert caught.value.errno == errno.ECONNREFUSED


async def test_an_address_without_a_port(network: SystemNetwork) -> None:
    with pytest.raises(ValueError, match="must have a port"):
        await network.dial(Address("tcp", "localhost"))


async def test_a_dial_that_is_cancelled_leaves_nothing(network: SystemNetwork) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = LOCAL.with_port(full.getsockname()[1])
        reached: list[Transport] = []

        async def dial() -> None:
            reached.append(await network.dial(address))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(dial)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(reached) < 5
            nursery.cancel_scope.cancel()
        for transport in reached:
            transport.close()


# ----------------------------------------------------------------------------------------------------------- publichost


def test_public_host_is_not_of_the_loopback_if_there_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostbyname_ex", lambda name: (name, [], ["127.0.1.1", "198.51.100.7"]))
    hosts: list[str] = []
    with pytest.raises(OSError, match=r"this machine has \d addresses, and number \d \(from 0\) was asked for"):
        hosts.extend(map(tcp.public_host, range(10)))
    assert "198.51.100.7" in hosts
    assert hosts[-1] == "127.0.1.1"
    assert len(hosts) in (2, 3)


def test_public_host_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unconnected(socket.socket):
        def connect(self, address: object) -> None:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")

    def no_name(name: str) -> tuple[str, list[str], list[str]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "socket", Unconnected)
    monkeypatch.setattr(socket, "gethostbyname_ex", no_name)
    with pytest.raises(OSError, match="this machine has 0 addresses"):
        tcp.public_host(0)
