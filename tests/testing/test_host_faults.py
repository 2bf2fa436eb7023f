"""Hosts that are killed, paused, started again and cut off one by one, and programs that run on them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import trioton
from trioton.testing import Host, Network, SimulatedTransport
from trioton.transports.address import parse_address

from .conftest import Join

ADDRESS = parse_address("b:1")


async def read_all(end: SimulatedTransport) -> bytes:
    data = b""
    while piece := await end.receive_some():
        data += piece
    return data


# ------------------------------------------------------------------------------------------------------------------- kill


async def test_what_has_left_a_killed_host_arrives_and_then_the_stream_ends(
    net: Network, join: Join, autojump_clock: trio.testing.MockClock
) -> None:
    net.link("a", "b", latency=0.1)
    here, there = await join(net, "a", "b", 1)
    await there.send_all(b"last words")
    net.kill("b")
    for use in (there.receive_some(), there.send_all(b"a ghost")):
        with pytest.raises(trio.BrokenResourceError, match="the host was killed"):
            await use
    assert await read_all(here) == b"last words"
    assert not net.hosts["b"].is_alive


async def test_a_dead_host_neither_listens_nor_dials(net: Network, autojump_clock: trio.testing.MockClock) -> None:
    a, b = net.host("a"), net.host("b")
    await b.listen(ADDRESS)
    net.kill("b")
    net.kill("b")  # once more does nothing
    with pytest.raises(trioton.ConnectError, match="nobody listens there"):
        await a.dial(ADDRESS)
    with pytest.raises(trioton.ConnectError, match="the host 'b' was killed"):
        await b.dial(parse_address("a:1"))
    with pytest.raises(trioton.BindError, match="the host 'b' was killed"):
        await b.listen(ADDRESS)
    pid = b.pid
    net.restart("b")
    assert b.is_alive
    assert b.starts == 2
    assert not b.process_is_alive(pid)
    await b.listen(ADDRESS)
    await a.dial(ADDRESS)


async def test_a_host_without_power_says_nothing_until_it_starts_again(
    net: Network, join: Join, autojump_clock: trio.testing.MockClock
) -> None:
    here, _ = await join(net, "a", "b", 1)
    net.kill("b", silently=True)
    await here.send_all(b"hello?")
    with trio.move_on_after(1000) as scope:
        await here.receive_some()
    assert scope.cancelled_caught
    with trio.move_on_after(1000) as scope:
        await net.host("a").dial(ADDRESS)
    assert scope.cancelled_caught
    async with net:
        net.restart("b", after=5)
        with pytest.raises(trio.BrokenResourceError, match="knows nothing of this connection"):
            await here.receive_some()
    assert trio.current_time() == 2005
    with pytest.raises(trioton.ConnectError):
        await net.host("a").dial(ADDRESS)


async def test_a_context_on_a_killed_host_cannot_say_goodbye(autojump_clock: trio.testing.MockClock) -> None:
    net = Network(seed=1, latency=0.01)
    said: list[str] = []

    async def serve(host: Host) -> None:
        async with trioton.open_context("b", network=host) as ctx:
            await ctx.bind("b:1")
            try:
                await trio.sleep_forever()
            finally:
                said.append("goodbye")

    net.host("b")
    async with net, trioton.open_context("a", network=net.host("a")) as a:
        net.start_soon("b", serve)
        await trio.sleep(0.1)
        connection = await a.connect("b:1")
        before = net.trace.total
        net.kill("b")
        await trio.sleep(1)
        assert said == ["goodbye"]
        assert not connection.is_connected
        after = [
            event for event in net.trace if event.number > before and event.source == "b" and event.kind != "refused"
        ]
        assert [event.what for event in after] == ["fault", "close"]


# --------------------------------------------------------------------------------------------------------------- programs


async def test_programs_start_again_with_their_host(net: Network, autojump_clock: trio.testing.MockClock) -> None:
    log: list[tuple[float, str, int]] = []

    async def program(host: Host, name: str) -> None:
        log.append((trio.current_time(), name, host.starts))
        try:
            await trio.sleep_forever()
        finally:
            log.append((trio.current_time(), f"{name} ends", host.starts))

    async with net:
        net.start_soon("b", program, "first")
        await trio.sleep(1)
        net.start_soon("b", program, "second")
        await trio.sleep(1)
        net.restart("b", after=3)
        await trio.sleep(2)
        net.start_soon("b", program, "third")  # starts when the host does
        await trio.sleep(3)
    assert log[:2] == [(0, "first", 1), (1, "second", 1)]
    assert sorted(log[2:4]) == [(2, "first ends", 1), (2, "second ends", 1)]
    assert sorted(log[4:7]) == [(5, "first", 2), (5, "second", 2), (5, "third", 2)]
    assert sorted(log[7:]) == [(7, "first ends", 2), (7, "second ends", 2), (7, "third ends", 2)]


async def test_what_a_program_raises_goes_out_unless_its_host_was_killed(
    net: Network, autojump_clock: trio.testing.MockClock
) -> None:
    async def fail_late(host: Host) -> None:
        try:
            await trio.sleep(10)
        finally:
            raise ValueError("planted")

    async with net:
        net.start_soon("b", fail_late)
        await trio.sleep(1)
        net.kill("b")
        await trio.sleep(1)
    with pytest.raises(ExceptionGroup) as caught:
        async with net:
            net.start_soon("a", fail_late)
            await trio.sleep(20)
    assert [str(error) for error in caught.value.exceptions] == ["planted"]


async def test_what_needs_an_open_network_says_so(net: Network) -> None:
    async def program(host: Host) -> None: ...

    with pytest.raises(RuntimeError, match="put it into 'async with net:'"):
        net.start_soon("b", program)
    with pytest.raises(RuntimeError, match="put it into"):
        net.restart("b", after=1)
    async with net:
        with pytest.raises(RuntimeError, match="is open already"):
            async with net:
                pass
        with pytest.raises(ValueError, match="'z'"):
            net.start_soon("z", program)
        with pytest.raises(ValueError, match="after must not be negative, not -1"):
            net.restart("b", after=-1)
        with pytest.raises(TypeError, match="after must be a number of seconds, not '1'"):
            net.restart("b", after="1")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------------ pause


async def test_nothing_is_read_on_a_paused_host_and_nothing_leaves_it(
    net: Network, join: Join, autojump_clock: trio.testing.MockClock
) -> None:
    net.link("a", "b", latency=0.1)
    here, there = await join(net, "a", "b", 1)
    await there.send_all(b"before ")
    net.pause("b")
    net.pause("b")
    await there.send_all(b"meanwhile")
    assert await here.receive_some() == b"before "
    await here.send_all(b"for b")
    for end in (here, there):
        with trio.move_on_after(50) as scope:
            await end.receive_some()
        assert scope.cancelled_caught
    now = trio.current_time()
    net.resume("b")
    net.resume("b")
    assert await there.receive_some() == b"for b"
    assert trio.current_time() == now
    assert await here.receive_some() == b"meanwhile"
    assert trio.current_time() == pytest.approx(now + 0.1)


async def test_a_partition_ends_while_a_host_is_paused(
    net: Network, join: Join, autojump_clock: trio.testing.MockClock
) -> None:
    here, there = await join(net, "a", "b", 1)
    net.partition("a", "b")
    await there.send_all(b"before ")
    net.pause("b")
    await there.send_all(b"meanwhile")
    await there.send_eof()
    net.heal()
    assert await here.receive_some() == b"before "
    with trio.move_on_after(50) as scope:
        await here.receive_some()
    assert scope.cancelled_caught
    net.resume("b")
    assert await read_all(here) == b"meanwhile"


async def test_what_a_paused_host_would_have_said_dies_with_it(
    net: Network, join: Join, autojump_clock: trio.testing.MockClock
) -> None:
    here, there = await join(net, "a", "b", 1)
    await there.send_all(b"before")
    net.pause("b")
    await there.send_all(b"never")
    await there.send_eof()
    net.kill("b")
    assert await read_all(here) == b"before"


async def test_a_connection_made_while_a_host_is_paused(
    net: Network, join: Join, autojump_clock: trio.testing.MockClock
) -> None:
    net.pause("b")
    here, there = await join(net, "a", "b", 1)
    await here.send_all(b"x")
    with trio.move_on_after(1) as scope:
        await there.receive_some()
    assert scope.cancelled_caught
    net.resume("b")
    assert await there.receive_some() == b"x"


# ---------------------------------------------------------------------------------------------------------------- swizzle


async def test_hosts_are_cut_off_one_by_one_and_come_back_in_another_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    net = Network(seed=5)
    names = [net.host(name).name for name in "abcdef"]
    await net.swizzle(seconds=30)
    cuts = [event for event in net.trace if event.kind == "fault"]
    gone = [event.source for event in cuts if event.content == "partition"]
    back = [event.source for event in cuts if event.content == "partition ends"]
    assert sorted(gone) == sorted(back) == names
    assert [event.content for event in cuts] == ["partition"] * 6 + ["partition ends"] * 6
    assert gone != back
    assert 15 <= trio.current_time() <= 30
    assert not any(net.is_cut(a, b) for a in names for b in names)
    with pytest.raises(ValueError, match="'z'"):
        await net.swizzle(["z"])


async def test_groups_of_hosts_may_be_any_iterables(net: Network, autojump_clock: trio.testing.MockClock) -> None:
    net.partition((name for name in "a"), (name for name in "BC"), oneway=True)
    net.heal(name for name in "a")
    with net.cut_ways((name for name in "a"), (name for name in "BC"), oneway=False):
        assert net.is_cut("c", "a")
    told = [(event.content, event.source, event.target) for event in net.trace]
    assert told == [
        ("partition, one way", "a", "b,c"),
        ("heal", "a", ""),
        ("partition", "a", "b,c"),
        ("partition ends", "a", "b,c"),
    ]


async def test_two_partitions_at_once(net: Network, autojump_clock: trio.testing.MockClock) -> None:
    with net.cut_ways("a", ["b", "c"], oneway=False):
        with net.cut_ways("a", "b", oneway=True):
            net.heal()
            assert net.is_cut("a", "b")
        assert net.is_cut("a", "b")
        assert net.is_cut("c", "a")
    assert not net.is_cut("a", "b")
