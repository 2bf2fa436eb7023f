"""Listening on TCP: names with several addresses, taken ports, and what goes wrong while connections are accepted."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trioton.errors import BindError
from trioton.transports import sockets, tcp
from trioton.transports.address import Address, parse_address
from trioton.transports.base import Transport
from trioton.transports.system import SystemNetwork
from trioton.transports.tcp import TcpListener

from .tcp_ends import LOCAL, reset_when_closed

if TYPE_CHECKING:
    from .conftest import Names

pytestmark = pytest.mark.net


# ------------------------------------------------------------------------------------------------------------ addresses


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


async def test_no_descriptor_is_left_to_listen(network: SystemNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*args: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(BindError, match="Too many open files"):
        await network.listen(LOCAL)


async def test_publichost(network: SystemNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "public_host", ["127.0.0.3", "127.0.0.4"].__getitem__)
    async with await network.listen(parse_address("publichost:0")) as listener:
        assert listener.address == f"tcp://127.0.0.3:{listener.port}"
        async with await network.dial(Address("tcp", "publichost", listener.port)) as transport:
            assert transport.remote_address == listener.address
    async with await network.listen(parse_address("publichost1:0")) as listener:
        assert listener.address == f"tcp://127.0.0.4:{listener.port}"


def test_a_listener_without_sockets() -> None:
    with pytest.raises(ValueError, match="sockets must not be empty"):
        TcpListener([], address="", port=None)


# ------------------------------------------------------------------------------------------------------------ accepting


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
        reset_when_closed(gone)
        gone.close()  # with a reset
        diallers = [await network.dial(parse_address(listener.address)) for _ in range(50)]
        accepted = [await listener.accept() for _ in range(50)]
        remote = {transport.remote_address for transport in accepted}
        assert remote >= {transport.local_address for transport in diallers[:49]}
        for transport in diallers + accepted:
            transport.close()


async def test_a_listener_is_closed_outside_of_trio(network: SystemNetwork) -> None:
    listener = await network.listen(LOCAL)
    await trio.to_thread.run_sync(listener.close)


# --------------------------------------------------------------------------------------------------------------- errors


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
