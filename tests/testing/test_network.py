from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioton.errors import BindError, ConnectError
from trioton.testing import Host, Network, SimulatedListener, SimulatedTransport
from trioton.transports.address import parse_address
from trioton.transports.base import Network as BaseNetwork

Join = Callable[[Network, str, str, int], Awaitable[tuple[SimulatedTransport, SimulatedTransport]]]


async def bind(host: Host, address: str) -> SimulatedListener:
    return await host.listen(parse_address(address))


async def dial(host: Host, address: str) -> SimulatedTransport:
    transport = await host.dial(parse_address(address))
    assert isinstance(transport, SimulatedTransport)
    return transport


# Hosts


def test_a_host_is_what_a_context_takes_for_the_world() -> None:
    net = Network(seed=7)
    a = net.host("a")
    assert isinstance(a, BaseNetwork)
    assert a.is_simulated
    assert a.uid == 1000
    assert len(a.host_id) == 16
    assert a.process_is_alive(a.pid)
    assert not a.process_is_alive(a.pid + 1)
    assert net.host("a") is net.host("A") is net.hosts["a"] is a
    assert list(net.hosts) == ["a"]


def test_what_a_host_is_depends_on_seed_and_name_alone() -> None:
    first, second = Network(seed=7), Network(seed=7)
    second.host("other")
    a, again = first.host("a"), second.host("a")
    assert (a.host_id, a.pid) == (again.host_id, again.pid)
    assert a.random.random() == again.random.random()
    assert a.host_id != first.host("b").host_id
    assert a.random.random() != Network(seed=8).host("a").random.random()


@pytest.mark.parametrize(
    "name",
    ["", "localhost", "127.0.0.1", "[::1]", "::1", "publichost", "publichost2", "0.0.0.0", "a:1", "a b", "tcp://a"],
)
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name must be") as caught:
        Network().host(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("seed", [None, 1.5, True, b"x"])
def test_a_seed_is_an_int_or_a_str(seed: object) -> None:
    with pytest.raises(TypeError, match="seed must be an int or a str, not"):
        Network(seed=seed)  # type: ignore[arg-type]


def test_wrong_arguments_are_named() -> None:
    net = Network()
    for name in "ab":
        net.host(name)
    calls: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: Network(latency=-0.1), ValueError, "latency.*-0.1"),
        (lambda: Network(chunk=(0, 1)), ValueError, "chunk"),
        (lambda: net.host(5), TypeError, "name must be a str, not 5"),  # type: ignore[arg-type]
        (lambda: net.partition({"a"}, {"x"}), ValueError, "second must be.*'a', 'b'.*not 'x'"),
        (lambda: net.partition({"x"}, {"b"}), ValueError, "first must be.*not 'x'"),
        (lambda: net.partition({"a", "b"}, {"b"}), ValueError, r"in common, not \['b'\]"),
        (lambda: net.partition(set(), {"b"}), ValueError, "first must name at least one host"),
        (lambda: net.partition({"a"}, [1]), TypeError, "second must be the name of a host, not 1"),  # type: ignore[list-item]
        (lambda: net.heal({"x"}), ValueError, "first must be.*not 'x'"),
        (lambda: net.heal({"a"}, {"x"}), ValueError, "second must be.*not 'x'"),
        (lambda: net.cut("a", "x"), ValueError, "b must be.*not 'x'"),
        (lambda: net.link("x", "a", latency=1), ValueError, "a must be.*not 'x'"),
        (lambda: net.link("a", "b", latency=-1), ValueError, "latency.*-1"),
        (lambda: net.link("a", "b", latency=None), TypeError, "latency.*None"),  # type: ignore[arg-type]
        (lambda: net.link("a", "b", chunk=(2, 1)), ValueError, "chunk"),
        (lambda: Network().cut("a", "b"), ValueError, "none yet"),
    ]
    for call, error, message in calls:
        with pytest.raises(error, match=message):
            call()


# Listening and dialling


async def test_two_hosts_talk(autojump_clock: MockClock, net: Network) -> None:
    listener = await bind(net.host("a"), "a:1")
    assert (listener.address, listener.port) == ("tcp://a:1", 1)
    client = await dial(net.host("b"), listener.address)
    server = await listener.accept()
    await client.send_all(b"hello")
    assert await server.receive_some() == b"hello"
    await server.send_all(b"hello yourself")
    assert await client.receive_some() == b"hello yourself"
    assert client.remote_address == server.local_address == "tcp://a:1"
    assert client.local_address == server.remote_address == "tcp://b:42000"
    for end in (client, server):
        assert end.kind == "simulated"
        assert end.can_try_send
        assert not end.is_loopback
        assert end.peer_uid == 1000


@pytest.mark.parametrize("bound", ["localhost:1", "127.0.0.1:1", "[::1]:1", "a:1", "A:1", "0.0.0.0:1", "publichost:1"])
@pytest.mark.parametrize("dialled", ["localhost:1", "127.0.0.1:1", "[::1]:1", "a:1", "publichost:1"])
async def test_a_host_has_several_names_for_itself(
    autojump_clock: MockClock, net: Network, bound: str, dialled: str
) -> None:
    listener = await bind(net.host("a"), bound)
    client = await dial(net.host("a"), dialled)
    server = await listener.accept()
    assert client.is_loopback
    assert server.is_loopback
    again = await dial(net.host("a"), listener.address)
    assert again.remote_address == listener.address


@pytest.mark.parametrize("address", ["localhost:1", "mem://name", "unix:///run/a.sock"])
async def test_what_is_local_cannot_be_reached_from_elsewhere(
    autojump_clock: MockClock, net: Network, address: str
) -> None:
    listener = await bind(net.host("a"), address)
    assert parse_address(listener.address) == parse_address(address)
    with pytest.raises(ConnectError, match="nobody listens"):
        await dial(net.host("b"), address)
    await bind(net.host("b"), address)
    client = await dial(net.host("a"), address)
    server = await listener.accept()
    assert client.is_loopback
    assert client.peer_uid == server.peer_uid == 1000
    with pytest.raises(BindError):
        await bind(net.host("a"), address)
    if address == "localhost:1":
        with pytest.raises(ConnectError, match="from the host itself only"):
            await dial(net.host("b"), "a:1")


async def test_the_private_listener_is_the_hosts_own(autojump_clock: MockClock, net: Network) -> None:
    a = net.host("a")
    listener, other = await a.open_private_listener(), await a.open_private_listener()
    assert listener.address != other.address
    assert listener.port is None
    client = await dial(a, listener.address)
    assert client.peer_uid == a.uid
    with pytest.raises(ConnectError):
        await dial(net.host("b"), listener.address)


async def test_port_0_and_port_names(autojump_clock: MockClock, net: Network) -> None:
    a = net.host("a")
    first, second, named = await bind(a, "a:0"), await bind(a, "localhost:0"), await bind(a, "localhost:test")
    assert (first.address, second.address) == ("tcp://a:32768", "tcp://127.0.0.1:32769")
    assert named.port == 56337
    assert a.listeners == (first, second, named)
    await first.aclose()
    assert (await bind(a, "a:0")).port == 32768
    await dial(a, "localhost:test")


async def test_an_address_in_use_or_of_another_host_cannot_be_bound(autojump_clock: MockClock, net: Network) -> None:
    a = net.host("a")
    listener = await bind(a, "a:1")
    for address in ("a:1", "localhost:1"):
        with pytest.raises(BindError, match="in use"):
            await bind(a, address)
    for address in ("b:1", "nowhere:1", "10.0.0.1:1", "publichost1:1"):
        with pytest.raises(BindError, match="not an address of"):
            await bind(a, address)
    await bind(net.host("b"), "b:1")
    await listener.aclose()
    await listener.aclose()
    await bind(a, "a:1")


async def test_every_port_can_be_taken(
    autojump_clock: MockClock, net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trioton.testing.hosts.FIRST_FREE_PORT", 65535)
    await bind(net.host("a"), "a:0")
    with pytest.raises(BindError, match="every port"):
        await bind(net.host("a"), "a:0")


async def test_a_dial_is_refused_after_a_round_trip(autojump_clock: MockClock, net: Network) -> None:
    net.link("a", "b", latency=0.5)
    with pytest.raises(ConnectError, match="cannot connect to tcp://a:1 from 'b': nobody listens there"):
        await dial(net.host("b"), "a:1")
    assert trio.current_time() == 1.0
    with pytest.raises(ConnectError, match="there is no such host, only a, b, c"):
        await dial(net.host("b"), "nowhere:1")
    assert trio.current_time() == 1.0
    assert net.statistics().refused == 1


async def test_tls_is_refused_and_contexts_are_checked(autojump_clock: MockClock, net: Network) -> None:
    a = net.host("a")
    context = ssl.create_default_context()
    with pytest.raises(ValueError, match="ssl_context"):
        await a.listen(parse_address("tls://a:1"))
    with pytest.raises(BindError, match="no TLS"):
        await a.listen(parse_address("tls://a:1"), ssl_context=context)
    with pytest.raises(ValueError, match="ssl_context"):
        await a.listen(parse_address("a:1"), ssl_context=context)
    with pytest.raises(ValueError, match="ssl_context"):
        await a.dial(parse_address("a:1"), ssl_context=context)
    with pytest.raises(ConnectError, match="no TLS"):
        await a.dial(parse_address("tls://a:1"))


async def test_a_closed_listener_wakes_who_accepts_and_resets_who_waited(
    autojump_clock: MockClock, net: Network
) -> None:
    listener = await bind(net.host("a"), "a:1")
    clients = [await dial(net.host("b"), "a:1") for _ in range(3)]
    listener.close()
    for client in clients:
        with pytest.raises(trio.BrokenResourceError, match="the listener was closed"):
            await client.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    with pytest.raises(ConnectError):
        await dial(net.host("b"), "a:1")

    listener = await bind(net.host("a"), "a:1")

    async def expect_closed() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed)
        nursery.start_soon(expect_closed)
        await wait_all_tasks_blocked()
        await listener.aclose()


async def test_a_listener_that_closes_during_a_dial_refuses_it(autojump_clock: MockClock, net: Network) -> None:
    net.link("a", "b", latency=1.0)
    listener = await bind(net.host("a"), "a:1")

    async def expect_refused() -> None:
        with pytest.raises(ConnectError):
            await dial(net.host("b"), "a:1")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_refused)
        await trio.sleep(1.5)
        listener.close()
    assert net.connections == ()


async def test_a_full_backlog_lets_dials_wait(
    autojump_clock: MockClock, net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trioton.testing.hosts.BACKLOG", 1)
    listener = await bind(net.host("a"), "a:1")
    await dial(net.host("b"), "a:1")
    with trio.move_on_after(10) as scope:
        await dial(net.host("b"), "a:1")
    assert scope.cancelled_caught
    assert len(net.connections) == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial, net.host("b"), "a:1")
        await wait_all_tasks_blocked()
        await listener.accept()
    await listener.accept()


async def test_a_cancelled_dial_leaves_nothing(autojump_clock: MockClock, net: Network) -> None:
    net.link("a", "b", latency=1.0)
    listener = await bind(net.host("a"), "a:1")
    for seconds in (0, 0.5, 1.5):
        with trio.move_on_after(seconds) as scope:
            await dial(net.host("b"), "a:1")
        assert scope.cancelled_caught
    with trio.move_on_after(100) as scope:
        await listener.accept()
    assert scope.cancelled_caught
    assert net.statistics().dialled == 0


# What there is


async def test_statistics(autojump_clock: MockClock, net: Network, join: Join) -> None:
    b, a = await join(net, "b", "a", 1)
    await b.send_all(b"12345")
    await a.receive_some(2)
    await a.send_all(b"123")
    (connection,) = net.connections
    assert (connection.client, connection.server, connection.state) == ("b", "a", "open")
    assert (connection.client_address, connection.server_address) == ("tcp://b:42000", "tcp://a:1")
    assert connection.sent == (5, 3)
    assert connection.waiting == (3, 3)
    b.close()
    assert net.connections[0].state == "eof"
    a.close()
    assert net.connections == ()
    listener = await bind(net.host("c"), "c:1")
    statistics = net.statistics()
    assert (statistics.hosts, statistics.listeners, statistics.open, statistics.dialled) == (3, 1, 0, 1)
    assert (statistics.reset, statistics.refused) == (0, 0)
    assert repr(listener) == "<SimulatedListener tcp://c:1, open>"
    listener.close()
    assert repr(listener) == "<SimulatedListener tcp://c:1, closed>"


async def test_reprs(autojump_clock: MockClock, net: Network, join: Join) -> None:
    b, _ = await join(net, "b", "a", 1)
    assert repr(net) == "<Network seed=7: 3 hosts, 1 connections>"
    assert repr(net.host("a")) == f"<Host 'a' of {net!r}>"
    assert repr(b) == "<SimulatedTransport tcp://b:42000 -> tcp://a:1, open>"
