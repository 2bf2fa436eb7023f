"""Links that drop are suspended and resumed: what was sent meanwhile arrives, and channels may come and go in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import FAST, send_numbers
from trioton import Block, Limits, PubChannel, Reconnect, SubChannel
from trioton.network.link import LinkEnd
from trioton.testing import Network
from trioton.testing.streams import SimulatedTransport

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


# ---------------- suspended and resumed


async def test_a_cut_link_is_suspended_and_resumes(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    at_a, at_b = watch(pair.a), watch(pair.b)
    pair.net.cut("a", "b")
    suspended = await at_b.wait_for(trioton.Suspended)
    assert suspended.connection is pair.to_a
    assert "was cut" in suspended.reason
    assert not pair.to_a.is_connected
    assert not pair.to_a.is_closed
    assert pair.to_a.transport is None
    resumed = await at_b.wait_for(trioton.Resumed)
    assert resumed.connection is pair.to_a
    assert pair.to_a.is_connected
    assert (await at_a.wait_for(trioton.Resumed)).connection is pair.to_b
    assert at_a.names == at_b.names == ["Suspended", "Resumed"]
    assert pair.to_a.statistics().transports == pair.to_b.statistics().transports == 2
    assert pair.b.connections == [pair.to_a]
    assert [info.name for info in pair.b.contexts] == ["a"]


async def test_what_is_sent_while_suspended_arrives(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.b)
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    await pub.send("before")
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    await pub.send("meanwhile")
    assert [await sub.receive() for _ in range(2)] == ["before", "meanwhile"]
    assert pair.to_a.is_connected


async def test_both_directions_go_on(autojump_clock: object, pair: Pair) -> None:
    forth, there = PubChannel(pair.a, "forth"), SubChannel(pair.b, "forth")
    back, here = PubChannel(pair.b, "back"), SubChannel(pair.a, "back")
    await forth.wait_subscribers()
    await back.wait_subscribers()
    for number in range(5):
        await forth.send(str(number))
        pair.net.cut("a", "b")
        await back.send(str(number))
        assert await there.receive() == str(number)
        assert await here.receive() == str(number)
    assert forth.statistics().subscribers == back.statistics().subscribers == 1


async def test_a_large_message_survives_a_cut_in_its_middle(autojump_clock: object, open_pair: OpenPair) -> None:
    net = Network(seed=1, latency=0.01, buffer_size=65536)
    async with open_pair(net, reconnect=FAST) as pair, trio.open_nursery() as nursery:
        pub = PubChannel(pair.a, "blob", trioton.BINARY)
        sub = SubChannel(pair.b, "blob", trioton.BINARY)
        await pub.wait_subscribers()
        blobs = [bytes([number]) * 3_000_000 for number in range(3)]
        nursery.start_soon(pub.send_many, blobs)
        for _ in range(10):
            await trio.sleep(0.1)
            net.cut("a", "b")
        with trio.fail_after(100):
            assert [await sub.receive() for _ in blobs] == blobs


async def test_silence_past_the_lease_suspends_and_a_healed_way_resumes(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    at_a, at_b = watch(pair.a), watch(pair.b)
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    start = trio.current_time()
    pair.net.partition("a", "b")
    await pub.send("into the dark")
    suspended = await at_b.wait_for(trioton.Suspended)
    assert suspended.reason == "the peer was silent for 10 s"
    assert trio.current_time() - start == pytest.approx(10, abs=2.6)
    await at_a.wait_for(trioton.Suspended)
    await trio.sleep(10)
    pair.net.heal()
    assert await sub.receive() == "into the dark"
    await at_a.wait_for(trioton.Resumed)
    assert at_a.names == at_b.names == ["TimedOut", "Suspended", "Resumed"]


# ---------------- when it is dialled again


async def test_waits_grow_until_a_link_has_held(open_pair: OpenPair, watch: MakeWatch) -> None:
    """A server that keeps dropping us is not dialled ever faster; one that has held for `stable` seconds is dialled at once."""
    reconnect = Reconnect(first=1, factor=4, maximum=16, stable=100)
    totals: dict[float, float] = {}
    for pause in (50, 200):
        async with open_pair(Network(seed=1), reconnect=reconnect, limits=Limits(resume_window=1000)) as pair:
            events = watch(pair.b)
            totals[pause] = 0.0
            for number in range(1, 11):
                await trio.sleep(pause)
                start = trio.current_time()
                pair.net.cut("a", "b")
                await events.wait_for(trioton.Resumed, number)
                totals[pause] += trio.current_time() - start
    assert totals[200] <= 10
    assert totals[50] > 30


async def test_no_wait_is_so_long_that_the_session_is_lost(open_pair: OpenPair, watch: MakeWatch) -> None:
    """After so many drops the waits would be half an hour; but who comes back within the window finds its session."""
    async with open_pair(Network(seed=1), reconnect=Reconnect(first=100, factor=100, maximum=2000)) as pair:
        events = watch(pair.b)
        for number in range(1, 11):
            pair.net.cut("a", "b")
            with trio.fail_after(4):
                await events.wait_for(trioton.Resumed, number)


# ---------------- channels that come and go meanwhile


async def test_a_subscription_replaced_during_a_drop_starts_afresh(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    """The new one has a window of its own, and does not get what was sent for the old one."""
    events = watch(pair.b)
    pub, old = PubChannel(pair.a, "chat", trioton.OBJECT), SubChannel(pair.b, "chat", trioton.OBJECT, policy=Block(4))
    await pub.wait_subscribers()
    await pub.send("old")
    assert await old.receive() == "old"
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    old.close()
    new = SubChannel(pair.b, "chat", trioton.OBJECT, policy=Block(4))
    await events.wait_for(trioton.Resumed)
    await pub.wait_subscribers()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_numbers, pub, 100)
            assert [await new.receive() for _ in range(100)] == list(range(100))


async def test_a_subscription_closed_during_a_drop_no_longer_holds_the_sender(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    events = watch(pair.b)
    pub, sub = PubChannel(pair.a, "chat", trioton.OBJECT), SubChannel(pair.b, "chat", trioton.OBJECT, policy=Block(2))
    await pub.wait_subscribers()
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    sub.close()
    with trio.fail_after(10):
        await send_numbers(pub, 100)
    assert pub.subscribers == 0


async def test_a_publisher_replaced_during_a_drop_loses_nothing(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    events = watch(pair.b)
    sub = SubChannel(pair.b, "chat", trioton.OBJECT)
    old = PubChannel(pair.a, "chat", trioton.OBJECT)
    await old.wait_subscribers()
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    await send_numbers(old, 10)
    old.close()
    new = PubChannel(pair.a, "chat", trioton.OBJECT)
    await send_numbers(new, 10)
    with trio.fail_after(10):
        assert [await sub.receive() for _ in range(20)] == [*range(10), *range(10)]
        await pair.a.flush()


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.012, 0.025, 0.05, 1.0])
async def test_what_still_comes_over_a_link_that_was_taken_over_is_not_heard(
    delay: float, autojump_clock: object, open_pair: OpenPair, watch: MakeWatch
) -> None:
    """The dialling side has given a link up and resumes over another, while the first still leads to the other side."""
    async with open_pair(reconnect=FAST) as pair:
        events = watch(pair.a)
        pub = PubChannel(pair.b, "numbers", trioton.OBJECT)
        sub = SubChannel(pair.a, "numbers", trioton.OBJECT, policy=Block(100))
        await pub.wait_subscribers()
        link = pair.to_a._link
        assert link is not None
        transport = link.transport
        assert isinstance(transport, SimulatedTransport)
        transport.connection.set_held(forth=True, back=False)
        for number in range(10):
            await pub.send(number)
        link.end(LinkEnd.LOST, "given up by the test")
        await trio.sleep(delay)
        transport.connection.set_held(forth=False, back=False)
        for number in range(10, 20):
            await pub.send(number)
        with trio.fail_after(10):
            assert [await sub.receive() for _ in range(20)] == list(range(20))
        await trio.sleep(60)
        assert sub.pending == 0
        assert pair.to_b.statistics().transports == pair.to_a.statistics().transports == 2
        assert events.names == ["Suspended", "Resumed"]
        assert pair.a.connections == [pair.to_b]
