"""TCP: options, errors, names with several addresses, and listening."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trioton.errors import BindError, ConnectError
from trioton.transports import sockets, tcp
from trioton.transports.address import Address, parse_address
from trioton.transports.base import Transport
from trioton.transports.system import SystemNetwork
from trioton.transports.tcp import TcpListener, TcpTransport

if TYPE_CHECKING:
    from .conftest import Dial

pytestmark = pytest.mark.net

LOCAL = parse_address("localhost:0")


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


def socket_of(transport: Transport) -> socket.socket:
    assert isinstance(transport, TcpTransport)
    return transport._socket


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


# Dialling


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


# Listening


async def test_a_port_that_is_taken(network: SystemNetwork) -> None:
    async with await network.listen(LOCAL) as listener:
        with pytest.raises(BindError) as caught:
            await network.listen(parse_address(listener.address))
        assert caught.value.errno == errno.EADDRINUSE
        assert listener.address in str(caught.value)
        assert "Address already in use" in str(caught.value)
    async with await network.listen(parse_address(listener.address)):
        pass  # at once after the other was closed


async def test_an_address_that_is_not_ours(network: SystemNetwork) -> None:
    with pytest.raises(BindError, match="Cannot assign requested address"):
        await network.listen(parse_address("198.51.100.1:0"))


@pytest.mark.parametrize("host", ["two", "twice", "mixed"])
async def test_a_name_with_several_addresses(network: SystemNetwork, names: Names, host: str) -> None:
    async with await network.listen(Address("tcp", host, 0)) as listener:
        assert isinstance(listener, TcpListener)
        numeric = list(dict.fromkeys(names.names[host]))
        assert [sock.getsockname()[:2] for sock in listener._sockets] == [(one, listener.port) for one in numeric]
        assert listener.address == f"tcp://{host}:{listener.port}"
        for one in numeric * 2:
            transport = await network.dial(Address("tcp", one, listener.port))
            async with transport, await listener.accept() as accepted:
                await transport.send_all(b"x")
                assert await accepted.receive_some() == b"x"
        # And when it has to wait.
        accepted_later: list[Transport] = []

        async def accept() -> None:
            accepted_later.append(await listener.accept())

        for one in numeric:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept)
                await trio.testing.wait_all_tasks_blocked()
                (await network.dial(Address("tcp", one, listener.port))).close()
            accepted_later.pop().close()


async def test_the_same_port_on_all_addresses_even_if_the_first_choice_is_taken(
    network: SystemNetwork, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = tcp._bind
    clashes = 3

    def bind_with_clashes(family: int, target: tuple[str | int, ...]) -> socket.socket | None:
        nonlocal clashes
        if target[0] == "127.0.0.2" and clashes:
            clashes -= 1
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return bind(family, target)

    monkeypatch.setattr(tcp, "_bind", bind_with_clashes)
    async with await network.listen(Address("tcp", "two", 0)) as listener:
        assert isinstance(listener, TcpListener)
        assert len({sock.getsockname()[1] for sock in listener._sockets}) == 1
        clashes = 1
        with pytest.raises(BindError):
            await network.listen(Address("tcp", "two", 1 + (listener.port or 0)))
    clashes = 10**6
    with pytest.raises(BindError):
        await network.listen(Address("tcp", "two", 0))


async def test_a_system_without_ipv6(network: SystemNetwork, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoIPv6(socket.socket):
        def __init__(self, family: int = -1, *args: int, **kwargs: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *args, **kwargs)

    monkeypatch.setattr(socket, "socket", NoIPv6)
    async with await network.listen(Address("tcp", "mixed", 0)) as listener:
        assert isinstance(listener, TcpListener)
        assert len(listener._sockets) == 1
    with pytest.raises(BindError, match="has no sockets for any address"):
        await network.listen(parse_address("[::1]:0"))


async def test_ipv6_does_not_take_ipv4_too(network: SystemNetwork) -> None:
    async with await network.listen(parse_address("[::1]:0")) as listener:
        assert listener.address == f"tcp://[::1]:{listener.port}"
        async with await network.listen(LOCAL.with_port(listener.port or 0)):
            pass


async def test_accept_is_for_one_task_and_ends_with_the_listener(network: SystemNetwork, names: Names) -> None:
    for host in ("127.0.0.1", "two"):
        listener = await network.listen(Address("tcp", host, 0))

        async def accept_until_closed(listener: trio.abc.Listener[Transport] = listener) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_until_closed)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await listener.accept()
            await listener.aclose()
        await accept_until_closed()
        await listener.aclose()
        listener.close()


async def test_a_cancelled_accept_loses_no_connection(network: SystemNetwork) -> None:
    async with await network.listen(LOCAL) as listener:
        async with await network.dial(parse_address(listener.address)) as transport:
            with trio.CancelScope() as scope:
                scope.cancel()
                await listener.accept()
            assert scope.cancelled_caught
            with trio.testing.assert_checkpoints():
                accepted = await listener.accept()
            async with accepted:
                assert accepted.remote_address == transport.local_address


async def test_many_are_accepted_and_one_that_went_away_stops_nobody(network: SystemNetwork) -> None:
    async with await network.listen(LOCAL) as listener:
        gone = await network.dial(parse_address(listener.address))
        socket_of(gone).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.close()  # with a reset
        diallers = [await network.dial(parse_address(listener.address)) for _ in range(50)]
        accepted = [await listener.accept() for _ in range(50)]
        remote = {transport.remote_address for transport in accepted}
        assert remote >= {transport.local_address for transport in diallers[:49]}
        for transport in diallers + accepted:
            transport.close()


def test_a_listener_without_sockets() -> None:
    with pytest.raises(ValueError, match="sockets must not be empty"):
        TcpListener([], address="", port=None)


class FailingSocket:
    """A listening socket whose accept() fails as told, and then works."""

    def __init__(self, sock: socket.socket, *errors: int) -> None:
        self.sock = sock
        self.errors = list(errors)

    def __getattr__(self, name: str) -> object:
        return getattr(self.sock, name)

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, f"error {number}")
        return self.sock.accept()


@pytest.fixture
def failing() -> Callable[..., TcpListener]:
    def make(listener: TcpListener, *errors: int) -> TcpListener:
        listener._sockets = [FailingSocket(sock, *errors) for sock in listener._sockets]  # type: ignore[misc]
        return listener

    return make


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_without_descriptors_or_memory_it_says_so_once_and_waits(
    network: SystemNetwork,
    number: int,
    mock_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    failing: Callable[..., TcpListener],
) -> None:
    listener = await network.listen(LOCAL)
    assert isinstance(listener, TcpListener)
    async with failing(listener, number, number, number), await network.dial(parse_address(listener.address)):
        accepted: list[Transport] = []

        async def accept() -> None:
            accepted.append(await listener.accept())

        with caplog.at_level(logging.INFO, "trioton.transports"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept)
                for _ in range(3):
                    await trio.testing.wait_all_tasks_blocked(0.001)
                    assert not accepted
                    mock_clock.jump(sockets.CAPACITY_PAUSE)
        accepted[0].close()
        assert len(caplog.records) == 1
        assert caplog.records[0].levelno == logging.ERROR
        assert f"{listener.address}: error {number}; trying every 100 ms" in caplog.text
        assert "Traceback" not in caplog.text


async def test_closing_while_it_waits_for_descriptors(
    network: SystemNetwork, mock_clock: trio.testing.MockClock, failing: Callable[..., TcpListener]
) -> None:
    listener = await network.listen(LOCAL)
    assert isinstance(listener, TcpListener)
    failing(listener, errno.EMFILE)

    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()  # no clock moves


async def test_real_descriptors_run_out(
    network: SystemNetwork, caplog: pytest.LogCaptureFixture, mock_clock: trio.testing.MockClock
) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with await network.listen(LOCAL) as listener:
        async with await network.dial(parse_address(listener.address)):
            accepted: list[Transport] = []

            async def accept() -> None:
                accepted.append(await listener.accept())

            async with trio.open_nursery() as nursery:
                with socket.socket() as probe:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (probe.fileno(), before[1]))
                try:
                    nursery.start_soon(accept)
                    await trio.testing.wait_all_tasks_blocked()
                    assert not accepted
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, before)
                mock_clock.jump(sockets.CAPACITY_PAUSE)
            accepted[0].close()
    assert "Too many open files" in caplog.text


async def test_other_errors_of_accept(network: SystemNetwork, failing: Callable[..., TcpListener]) -> None:
    listener = await network.listen(LOCAL)
    assert isinstance(listener, TcpListener)
    async with failing(listener, errno.ECONNABORTED, errno.EPROTO, errno.EINVAL):
        async with await network.dial(parse_address(listener.address)):
            with pytest.raises(OSError, match="error 22"):
                await listener.accept()  # the first two speak of one connection, the third of the socket


async def test_a_connection_that_cannot_be_set_up_is_passed_over(
    network: SystemNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure = tcp.configure
    failures = 1

    def fail_once(sock: socket.socket) -> None:
        nonlocal failures
        if failures and sock.getsockname()[1] == listener.port:
            failures -= 1
            raise OSError(errno.EINVAL, "it was over")
        configure(sock)

    async with await network.listen(LOCAL) as listener:
        monkeypatch.setattr(tcp, "configure", fail_once)
        async with await network.dial(parse_address(listener.address)) as first:
            async with (
                await network.dial(parse_address(listener.address)) as second,
                await listener.accept() as accepted,
            ):
                assert accepted.remote_address == second.local_address
                assert await first.receive_some() == b""


# Errors on a connection


async def test_a_reset_is_broken_for_sender_and_reader(network: SystemNetwork, dial: Dial) -> None:
    async with await network.listen(LOCAL) as listener:
        left, right = await dial(listener)
        socket_of(right).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
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
            socket_of(right).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            right.close()


async def test_a_reset_after_a_full_read(network: SystemNetwork, dial: Dial) -> None:
    async with await network.listen(LOCAL) as listener:
        left, right = await dial(listener)
        async with left:
            await right.send_all(b"x")
            assert await left.receive_some(1) == b"x"  # so full that it will look for more at once
            with trio.move_on_after(0):
                await left.receive_some(1)
            socket_of(right).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
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


async def test_a_listener_is_closed_outside_of_trio(network: SystemNetwork) -> None:
    listener = await network.listen(LOCAL)
    await trio.to_thread.run_sync(listener.close)


async def test_no_descriptor_is_left_to_listen(network: SystemNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*args: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(BindError, match="Too many open files"):
        await network.listen(LOCAL)


# publichost


async def test_publichost(network: SystemNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "public_host", ["127.0.0.3", "127.0.0.4"].__getitem__)
    async with await network.listen(parse_address("publichost:0")) as listener:
        assert listener.address == f"tcp://127.0.0.3:{listener.port}"
        async with await network.dial(Address("tcp", "publichost", listener.port)) as transport:
            assert transport.remote_address == listener.address
    async with await network.listen(parse_address("publichost1:0")) as listener:
        assert listener.address == f"tcp://127.0.0.4:{listener.port}"


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
