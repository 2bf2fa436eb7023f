from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trioton.errors
from trioton.testing import Host, Network, SimulatedListener, SimulatedTransport
from trioton.transports.address import parse_address
from trioton.transports.base import Transport

Join = Callable[[Network, str, str, int], Awaitable[tuple[SimulatedTransport, SimulatedTransport]]]


async def bind(host: Host, address: str) -> SimulatedListener:
    return await host.listen(parse_address(address))


async def dial(host: Host, address: str) -> SimulatedTransport:
    transport = await host.dial(parse_address(address))
    assert isinstance(transport, SimulatedTransport)
    return transport


# The ways between hosts


async def test_dial_and_data_take_the_latency_of_the_pair(autojump_clock: MockClock, net: Network, join: Join) -> None:
    net = Network(latency=0.25)
    b, a = await join(net, "b", "a", 1)
    assert trio.current_time() == 0.5
    await b.send_all(b"x")
    await a.receive_some()
    assert trio.current_time() == 0.75

    net.link("a", "b", latency=2)
    await a.send_all(b"x")
    await b.receive_some()
    assert trio.current_time() == 2.75
    b, a = await join(net, "b", "a", 2)
    assert trio.current_time() == 6.75


async def test_within_a_host_nothing_takes_time_unless_asked_for(
    autojump_clock: MockClock, net: Network, join: Join
) -> None:
    net = Network(latency=0.25)
    client, server = await join(net, "a", "a", 1)
    await client.send_all(b"x")
    await server.receive_some()
    assert trio.current_time() == 0
    net.link("a", "a", latency=1)
    await client.send_all(b"x")
    await server.receive_some()
    assert trio.current_time() == 1


async def test_chunks_can_be_set_and_taken_back(autojump_clock: MockClock, net: Network, join: Join) -> None:
    b, a = await join(net, "b", "a", 1)
    net.link("b", "a", chunk=(2, 3))
    await b.send_all(bytes(100))
    assert len(await a.receive_some()) in (2, 3)
    net.link("b", "a", chunk=None)
    assert len(await a.receive_some()) >= 97
    net = Network(chunk=(5, 5), buffer_size=10)
    b, a = await join(net, "b", "a", 1)
    assert b.try_send([bytes(100)]) == 10
    assert await a.receive_some() == bytes(5)


async def test_a_larger_buffer_lets_a_waiting_sender_go_on(autojump_clock: MockClock, net: Network, join: Join) -> None:
    b, a = await join(net, "b", "a", 1)
    net.link("b", "a", buffer_size=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(b.send_all, bytes(100))
        await wait_all_tasks_blocked()
        assert net.connections[0].waiting == (10, 0)
        net.link("b", "a", buffer_size=1000)
    assert len(await a.receive_some()) == 100


async def test_another_connection_does_not_change_what_is_drawn(
    autojump_clock: MockClock, net: Network, join: Join
) -> None:
    async def arrivals(*others: str) -> list[float]:
        net = Network(seed="same", latency=(0.1, 0.9))
        ends = [await join(net, other, "a", port) for port, other in enumerate(others, 100)]
        b, a = await join(net, "b", "a", 1)
        start, times = trio.current_time(), []
        for _ in range(5):
            for end, _ in ends:
                await end.send_all(b"x")
            await b.send_all(b"y")
            await a.receive_some()
            times.append(round(trio.current_time() - start, 9))
        return times

    alone = await arrivals()
    assert len(set(alone)) == 5
    assert await arrivals("c") == await arrivals("b", "c", "c") == alone


# Faults


@asynccontextmanager
async def expect_hanging(*waits: Callable[[], Awaitable[object]]) -> AsyncIterator[trio.Nursery]:
    """Start what shall not return within a thousand seconds; it may afterwards."""
    async with trio.open_nursery() as nursery:
        returned: list[object] = []

        async def run(wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            returned.append(wait)

        for wait in waits:
            nursery.start_soon(run, wait)
        await trio.sleep(1000)
        assert not returned
        yield nursery


async def test_a_partition_is_silent_and_heals_without_loss(
    autojump_clock: MockClock, net: Network, join: Join
) -> None:
    net.link("a", "b", latency=0.5)
    b, a = await join(net, "b", "a", 1)
    c, _ = await join(net, "c", "a", 2)
    listener = await bind(net.host("a"), "a:3")
    net.partition({"a"}, {"b"})
    await a.send_all(b"from a")
    await b.send_all(b"from b")
    assert [each.state for each in net.connections] == ["partitioned", "open"]
    await c.send_all(b"not cut")
    async with expect_hanging(a.receive_some, b.receive_some, lambda: dial(net.host("b"), "a:3"), listener.accept):
        net.heal()
        start = trio.current_time()
    assert trio.current_time() == start + 1.0  # the dial took a round trip, the bytes half of it
    assert net.connections[0].state == "open"


async def test_a_partition_can_have_one_direction(autojump_clock: MockClock, net: Network, join: Join) -> None:
    b, a = await join(net, "b", "a", 1)
    net.partition("a", "b", oneway=True)
    await a.send_all(b"from a")
    await b.send_all(b"from b")
    assert await a.receive_some() == b"from b"
    listener = await bind(net.host("a"), "a:2")
    async with expect_hanging(b.receive_some, lambda: dial(net.host("b"), "a:2"), listener.accept):
        net.heal()


async def test_a_partition_during_a_dial_holds_it_up(autojump_clock: MockClock, net: Network) -> None:
    net.link("a", "b", latency=1.0)
    listener = await bind(net.host("a"), "a:1")
    ends: list[Transport] = []

    async def connect() -> None:
        ends.append(await dial(net.host("b"), "a:1"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect)
        nursery.start_soon(listener.accept)
        await trio.sleep(1.5)
        net.partition({"a"}, {"b"}, oneway=True)
        await trio.sleep(8.5)
        assert not ends
        net.partition({"b"}, {"a"}, oneway=True)
        net.heal({"a"}, {"c"})
        await wait_all_tasks_blocked()
        net.heal({"b"}, {"a"})
    assert trio.current_time() == 11.0


async def test_a_connection_can_be_born_with_one_direction_cut(autojump_clock: MockClock, net: Network) -> None:
    net.link("a", "b", latency=1.0)
    listener = await bind(net.host("a"), "a:1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.accept)

        @nursery.start_soon
        async def talk() -> None:
            end = await dial(net.host("b"), "a:1")
            assert end.state == "partitioned"

        await trio.sleep(1.5)
        net.partition("b", "a", oneway=True)


def test_partitions_add_up_and_heal_by_groups(net: Network) -> None:
    def cut_ways() -> set[str]:
        return {a + b for a in "abc" for b in "abc" if net.is_cut(a, b)}

    net.partition({"a"}, {"b", "c"})
    net.partition({"B"}, {"c"}, oneway=True)
    assert cut_ways() == {"ab", "ba", "ac", "ca", "bc"}
    net.heal({"c"}, {"b"})
    assert cut_ways() == {"ab", "ba", "ac", "ca"}
    net.heal({"c"})
    assert cut_ways() == {"ab", "ba"}
    net.heal(second="a")
    assert cut_ways() == set()
    net.partition(["a", "b"], "c")
    net.heal()
    assert cut_ways() == set()


async def test_a_host_is_not_cut_from_itself(autojump_clock: MockClock, net: Network, join: Join) -> None:
    client, server = await join(net, "a", "a", 1)
    net.partition({"a"}, {"b", "c"})
    await client.send_all(b"x")
    assert await server.receive_some() == b"x"


async def test_a_cut_resets_all_connections_of_the_pair_and_no_others(
    autojump_clock: MockClock, net: Network, join: Join
) -> None:
    forth, back = await join(net, "a", "b", 1), await join(net, "b", "a", 1)
    other = await join(net, "c", "a", 2)
    net.partition({"a"}, {"b"})
    net.cut("a", "b")
    for end in (*forth, *back):
        with pytest.raises(trio.BrokenResourceError, match="the connection between 'a' and 'b' was cut"):
            await end.receive_some()
        end.close()
    await other[0].send_all(b"x")
    assert await other[1].receive_some() == b"x"
    net.heal()
    await join(net, "a", "b", 1)
    assert net.statistics().reset == 2
    assert len(net.connections) == 2


async def test_a_partition_delays_the_news_of_a_close(autojump_clock: MockClock, net: Network, join: Join) -> None:
    b, a = await join(net, "b", "a", 1)
    net.partition({"a"}, {"b"})
    await a.aclose()
    await b.send_all(b"are you there?")
    async with expect_hanging(b.receive_some):
        net.heal()
    with pytest.raises(trio.BrokenResourceError):
        await b.send_all(b"?")


# Determinism


def run_scenario(seed: str, hash_seed: str) -> list[list[object]]:
    root = Path(trioton.errors.__file__).parent.parent
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
    script = Path(__file__).with_name("determinism_scenario.py")
    done = subprocess.run([sys.executable, script, seed], env=env, capture_output=True, text=True, check=True)
    record: list[list[object]] = json.loads(done.stdout)
    return record


@pytest.mark.slow
def test_the_same_seed_gives_the_same_record_in_every_process() -> None:
    # Trio's scheduler runs tasks in another order each time, and so do sets of str with another hash seed.
    first = run_scenario("7", "1")
    assert first == run_scenario("7", "2")
    assert first != run_scenario("8", "1")
    assert len(first) > 300
