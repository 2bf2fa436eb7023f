"""Heartbeats: when silence is told of, when it ends a link, and that a quiet link is not a silent one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import Heartbeat, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


async def test_an_idle_link_stays_up_for_a_day(open_pair: OpenPair, watch: MakeWatch) -> None:
    """Yoton's case 40."""
    slow = Heartbeat(interval=30, timeout=60, lease=120)
    async with open_pair(heartbeat=slow) as pair:
        at_a, at_b = watch(pair.a), watch(pair.b)
        sent = pair.to_b.statistics().bytes_sent
        await trio.sleep(86_400)
        assert at_a.names == at_b.names == []
        assert pair.to_a.is_connected
        assert pair.to_a.statistics().transports == 1
        # A ping and a pong in half a minute, of some ten bytes each.
        assert pair.to_b.statistics().bytes_sent - sent < 86_400 / 30 * 2 * 16


async def test_an_idle_link_is_never_late_by_the_defaults(open_pair: OpenPair, watch: MakeWatch) -> None:
    net = Network(seed=1, latency=(0.0, 1.0))
    async with open_pair(net) as pair:
        at_a, at_b = watch(pair.a), watch(pair.b)
        await trio.sleep(3600)
        assert at_a.names == at_b.names == []


async def test_a_busy_link_needs_no_heartbeats(pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    back, here = PubChannel(pair.b, "back"), SubChannel(pair.a, "back")
    await pub.wait_subscribers()
    await back.wait_subscribers()
    await trio.sleep(0.1)
    rtt = pair.to_a.rtt
    for _ in range(100):
        await pub.send("x")
        await back.send(await sub.receive())
        await here.receive()
        await trio.sleep(1)
    assert pair.to_a.rtt == rtt


async def test_both_sides_measure_the_round_trip_when_a_link_comes_up(open_pair: OpenPair, watch: MakeWatch) -> None:
    async with open_pair(Network(seed=1, latency=0.25)) as pair:
        events = watch(pair.b)
        await trio.sleep(0.6)
        for connection in (pair.to_a, pair.to_b):
            assert connection.rtt == connection.statistics().rtt == pytest.approx(0.5)
        pair.net.link("a", "b", latency=0.1)
        pair.net.cut("a", "b")
        await events.wait_for(trioton.Resumed)
        await trio.sleep(0.3)
        for connection in (pair.to_a, pair.to_b):
            assert connection.rtt == pytest.approx(0.2)


@pytest.mark.parametrize("patience", [0.5, 5.0])
async def test_silence_is_told_once_and_so_is_its_end(open_pair: OpenPair, watch: MakeWatch, patience: float) -> None:
    """Yoton's case 38."""
    beat = Heartbeat(interval=patience / 2, timeout=patience, lease=100)
    async with open_pair(heartbeat=beat) as pair:
        events = watch(pair.a)
        await trio.sleep(20)
        for number in range(1, 4):
            pair.net.partition("a", "b")
            start = trio.current_time()
            told = await events.wait_for(trioton.TimedOut, number)
            assert told.connection is pair.to_b
            assert patience / 2 - 0.02 <= trio.current_time() - start <= patience + 0.02
            assert pair.to_b.is_connected
            await trio.sleep(10 * patience)
            pair.net.heal()
            start = trio.current_time()
            assert (await events.wait_for(trioton.Recovered, number)).connection is pair.to_b
            assert trio.current_time() - start == pytest.approx(0.01, abs=0.001)
            await trio.sleep(10 * patience)
        assert events.names == ["TimedOut", "Recovered"] * 3


async def test_one_way_silence_is_told_where_nothing_comes(open_pair: OpenPair, watch: MakeWatch) -> None:
    async with open_pair(heartbeat=Heartbeat(lease=100)) as pair:
        at_a, at_b = watch(pair.a), watch(pair.b)
        pair.net.partition("b", "a", oneway=True)
        await at_a.wait_for(trioton.TimedOut)
        await trio.sleep(20)
        assert at_b.names == []
        pair.net.heal()
        await at_a.wait_for(trioton.Recovered)


async def test_messages_that_are_sent_in_the_silence_arrive_after_it(open_pair: OpenPair, watch: MakeWatch) -> None:
    """Yoton's peer that is stuck in foreign code for ten seconds: the connection stays, and nothing is lost."""
    async with open_pair(heartbeat=Heartbeat(interval=0.25, timeout=0.5, lease=60)) as pair:
        events = watch(pair.a)
        pub, sub = PubChannel(pair.a, "chat", trioton.OBJECT), SubChannel(pair.b, "chat", trioton.OBJECT)
        await pub.wait_subscribers()
        pair.net.partition("a", "b")
        await events.wait_for(trioton.TimedOut)
        await pub.send_many(range(100))
        await trio.sleep(10)
        pair.net.heal()
        assert [await sub.receive() for _ in range(100)] == list(range(100))
        await events.wait_for(trioton.Recovered)
        assert events.names == ["TimedOut", "Recovered"]
        assert pair.to_b.statistics().transports == 1


@pytest.mark.parametrize("lease", [5.0, 10.0, 31.0])
async def test_the_lease_ends_a_link(open_pair: OpenPair, watch: MakeWatch, lease: float) -> None:
    async with open_pair(heartbeat=Heartbeat(lease=lease)) as pair:
        events = watch(pair.a)
        await trio.sleep(7)
        pair.net.partition("a", "b")
        start = trio.current_time()
        suspended = await events.wait_for(trioton.Suspended)
        assert suspended.reason == f"the peer was silent for {lease:g} s"
        assert lease - 2.6 <= trio.current_time() - start <= lease + 0.1
        assert not pair.to_b.is_connected


async def test_a_shorter_timeout_asks_the_peer_to_be_heard_more_often(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    assert pair.to_b.timeout == 5
    pair.to_b.timeout = 0.5
    assert pair.to_b.timeout == 0.5
    await trio.sleep(600)
    assert events.names == []  # the peer does what it was asked for
    start = trio.current_time()
    pair.net.partition("a", "b")
    await events.wait_for(trioton.TimedOut)
    assert trio.current_time() - start <= 0.52
    assert pair.to_a.timeout == 5  # for the peer nothing has changed


async def test_a_longer_timeout_also_makes_the_lease_longer(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pair.to_b.timeout = 60
    pair.net.partition("a", "b")
    start = trio.current_time()
    await events.wait_for(trioton.Suspended)
    assert trio.current_time() - start == pytest.approx(60, abs=2.6)


async def test_a_timeout_outlives_the_link(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pair.to_b.timeout = 0.5
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Resumed)
    await trio.sleep(60)
    assert "TimedOut" not in events.names
    pair.net.partition("a", "b")
    with trio.fail_after(0.6):
        await events.wait_for(trioton.TimedOut)


async def test_a_timeout_set_while_suspended_counts_from_the_next_link_on(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    pair.to_b.timeout = 0.5
    await events.wait_for(trioton.Resumed)
    await trio.sleep(60)
    pair.net.partition("a", "b")
    with trio.fail_after(0.6):
        await events.wait_for(trioton.TimedOut)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("5", TypeError),
        (None, TypeError),
        (True, TypeError),
        (0, ValueError),
        (-1, ValueError),
        (0.001, ValueError),
        (float("inf"), ValueError),
        (float("nan"), ValueError),
    ],
)
async def test_a_wrong_timeout_is_refused(pair: Pair, value: object, error: type[Exception]) -> None:
    """Yoton's case 39; ours may be shorter than half a second."""
    with pytest.raises(error, match=r"^timeout must be"):
        pair.to_b.timeout = value  # type: ignore[assignment]
    assert pair.to_b.timeout == 5


async def test_hosts_that_beat_differently(open_pair: OpenPair, watch: MakeWatch) -> None:
    """One beats every 50 s; the other gives up after 10 s of silence, and says so in time."""
    lazy, eager = Heartbeat(interval=50, timeout=100, lease=200), Heartbeat()
    async with open_pair(a_options={"heartbeat": lazy}, b_options={"heartbeat": eager}) as pair:
        at_a, at_b = watch(pair.a), watch(pair.b)
        await trio.sleep(1000)
        assert at_a.names == at_b.names == []


SHORT = Heartbeat(interval=0.5, timeout=1, lease=2)
TIGHT = Heartbeat(interval=0.5, timeout=0.6, lease=0.6)
LAZY = Heartbeat(interval=50, timeout=100, lease=200)


@pytest.mark.parametrize("sender", ["a", "b"])
@pytest.mark.parametrize(
    ("at_a", "at_b"),
    [(one, Heartbeat()) for one in (SHORT, TIGHT, LAZY)] + [(Heartbeat(), one) for one in (SHORT, TIGHT, LAZY)],
    ids=[f"{name} at {end}" for end in "ab" for name in ("short", "tight", "lazy")],
)
async def test_traffic_in_one_direction_hides_no_sign_of_life(
    open_pair: OpenPair, watch: MakeWatch, sender: str, at_a: Heartbeat, at_b: Heartbeat
) -> None:
    """Who sends all the time would never ping, and a peer that only receives says nothing by itself."""
    async with open_pair(a_options={"heartbeat": at_a}, b_options={"heartbeat": at_b}) as pair:
        events = [watch(pair.a), watch(pair.b)]
        source, target = (pair.a, pair.b) if sender == "a" else (pair.b, pair.a)
        pub, sub = PubChannel(source, "chat"), SubChannel(target, "chat", policy=trioton.DropOldest(1000))
        await pub.wait_subscribers()
        for _ in range(200):
            await pub.send("x")
            await trio.sleep(0.3)
        assert [watched.names for watched in events] == [[], []]
        await sub.aclose()


@pytest.mark.parametrize("sender", ["a", "b"])
async def test_on_a_link_with_equal_settings_one_side_pings_whoever_sends(pair: Pair, sender: str) -> None:
    source, target = (pair.a, pair.b) if sender == "a" else (pair.b, pair.a)
    pub, sub = PubChannel(source, "chat"), SubChannel(target, "chat", policy=trioton.DropOldest(1000))
    await pub.wait_subscribers()
    await trio.sleep(1)
    assert pair.to_a._link is not None
    assert pair.to_b._link is not None
    machines = [pair.to_b._link.machine, pair.to_a._link.machine]  # of a, where the link was accepted, and of b
    before = [machine._nonce for machine in machines]
    for _ in range(600):
        await pub.send("x")
        await trio.sleep(0.1)
    pings = [machine._nonce - nonce for machine, nonce in zip(machines, before, strict=True)]
    assert pings == [pytest.approx(60 / 2.5, abs=1), 0]
    await sub.aclose()


async def test_a_process_that_was_stopped_does_not_blame_its_peer(open_pair: OpenPair, watch: MakeWatch) -> None:
    """Our own clock jumps: what the peer said meanwhile lies unread, and its silence proves nothing yet."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    async with open_pair(heartbeat=Heartbeat(interval=2.5, timeout=5, lease=10)) as pair:
        events = watch(pair.a)
        await trio.sleep(100.1)
        clock.jump(8)
        await trio.sleep(100)
        assert "Suspended" not in events.names
