"""Messages that are lost on the way are counted like those that are lost at its end, and subscriptions do not harm each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import (
    BINARY,
    OBJECT,
    Block,
    Disconnect,
    DropNewest,
    DropOldest,
    Gap,
    Latest,
    Limits,
    PubChannel,
    SubChannel,
)
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair, Watch


async def publish(pub: PubChannel[object], numbers: range) -> None:
    """Send numbers so that each is a package of its own."""
    for number in numbers:
        await pub.send(number)
        await trio.sleep(0.001)
    await trio.sleep(1)


def gaps(events: Watch) -> int:
    return sum(gap.count for gap in events.all(Gap))


async def drain(sub: SubChannel[object]) -> list[object]:
    await trio.lowlevel.checkpoint()
    return sub.receive_all_nowait()


async def test_a_broken_subscription_no_longer_counts_as_one(pair: Pair) -> None:
    """Nobody can receive there again: so nobody should go on sending there either."""
    pub, sub = PubChannel(pair.a, "news", OBJECT), SubChannel(pair.b, "news", OBJECT, policy=Disconnect(1))
    await pub.wait_subscribers()
    await publish(pub, range(10))
    assert await sub.receive() == 0
    with pytest.raises(trio.BrokenResourceError):
        await sub.receive()
    before = pair.to_a.statistics().packages_received
    await publish(pub, range(10))
    assert pub.subscribers == 0
    assert pair.to_a.statistics().packages_received == before
    assert sub.statistics().pending == 0


@pytest.mark.parametrize("policy", [DropOldest(10), DropNewest(10), Latest()], ids=str)
async def test_what_does_not_fit_on_the_way_is_counted(
    open_pair: OpenPair, watch: MakeWatch, policy: trioton.Policy
) -> None:
    """A partition stops the link: its queue drops by the policy, and the receiver hears exactly how much is missing."""
    net = Network(seed=1, latency=0.01, buffer_size=4096)
    async with open_pair(net) as pair:
        events = watch(pair.b)
        pub = PubChannel(pair.a, "news", BINARY)
        sub = SubChannel(pair.b, "news", BINARY, policy=policy)
        await pub.wait_subscribers()
        net.partition("a", "b")
        for number in range(200):
            await pub.send(number.to_bytes(2, "big") * 500)
            await trio.sleep(0.001)
        net.heal()
        await trio.sleep(20)
        received = [int.from_bytes(message[:2], "big") for message in sub.receive_all_nowait()]
        assert received == sorted(set(received))
        assert len(received) + sub.statistics().dropped == 200
        assert gaps(events) == sub.statistics().dropped
        assert pair.to_b.statistics().messages_dropped == pair.a.statistics().messages_dropped
        assert 0 < pair.to_b.statistics().messages_dropped <= sub.statistics().dropped
        assert pub.statistics().sent == 200
        if isinstance(policy, DropNewest):
            assert received[:5] == [0, 1, 2, 3, 4]
        else:
            assert received[-1] == 199


async def test_loss_at_the_very_end_is_told(open_pair: OpenPair, watch: MakeWatch) -> None:
    """Nothing follows the messages that were dropped: the gap is told all the same."""
    net = Network(seed=1, latency=0.01, buffer_size=2048)
    async with open_pair(net) as pair:
        events = watch(pair.b)
        pub, sub = PubChannel(pair.a, "news", BINARY), SubChannel(pair.b, "news", BINARY, policy=DropNewest(2))
        await pub.wait_subscribers()
        net.partition("a", "b")
        for _ in range(50):
            await pub.send(bytes(1000))
            await trio.sleep(0.001)
        net.heal()
        await trio.sleep(5)
        assert len(sub.receive_all_nowait()) + sub.statistics().dropped == 50
        assert gaps(events) == sub.statistics().dropped


async def test_the_queue_of_a_link_is_bounded_in_bytes(open_pair: OpenPair) -> None:
    net = Network(seed=1, latency=0.01, buffer_size=4096)
    async with open_pair(net, limits=Limits(queue_bytes=50_000)) as pair:
        pub, sub = PubChannel(pair.a, "news", BINARY), SubChannel(pair.b, "news", BINARY, policy=DropOldest(1_000_000))
        await pub.wait_subscribers()
        net.partition("a", "b")
        for _ in range(200):
            await pub.send(bytes(1000))
            await trio.sleep(0.001)
        queued = pair.to_b.statistics().packages_queued
        assert 45 <= queued <= 50
        net.heal()
        await trio.sleep(5)
        assert sub.statistics().received + sub.statistics().dropped == 200


async def test_disconnect_tolerates_no_gap_on_the_way(open_pair: OpenPair) -> None:
    net = Network(seed=1, latency=0.01, buffer_size=4096)
    async with open_pair(net) as pair:
        pub, sub = PubChannel(pair.a, "news", BINARY), SubChannel(pair.b, "news", BINARY, policy=Disconnect(10))
        await pub.wait_subscribers()
        net.partition("a", "b")
        for number in range(100):
            await pub.send(number.to_bytes(2, "big") * 500)
            await trio.sleep(0.001)
        net.heal()
        received = []
        with pytest.raises(trio.BrokenResourceError):
            while True:
                received.append(int.from_bytes((await sub.receive())[:2], "big"))
        assert received == list(range(len(received)))
        assert len(received) < 100


async def test_a_blocking_subscription_that_goes_leaves_the_others_as_they_are(pair: Pair) -> None:
    pub = PubChannel(pair.a, "news", OBJECT)
    block = SubChannel(pair.b, "news", OBJECT, policy=Block(5))
    latest = SubChannel(pair.b, "news", OBJECT, policy=Latest())
    await pub.wait_subscribers(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish, pub, range(50))
        await trio.sleep(1)
        assert pub.statistics().sent == 5
        block.close()
        await trio.sleep(2)
        assert pub.statistics().sent == 50
    assert await drain(latest) == [49]
    assert latest.statistics().received == 50
    assert latest.statistics().dropped == 49
    assert pub.subscribers == 1


@pytest.mark.parametrize("first", [3, 10])
async def test_the_smaller_window_counts(pair: Pair, first: int) -> None:
    pub = PubChannel(pair.a, "news", OBJECT)
    subs = [SubChannel(pair.b, "news", OBJECT, policy=Block(size)) for size in (first, 13 - first)]
    await pub.wait_subscribers(2)
    with trio.move_on_after(10):
        await pub.send_many(range(100))
    assert pub.statistics().sent == 3
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pub.send_many, range(3, 50))
            for number in range(50):
                for sub in subs:
                    assert await sub.receive() == number


async def test_policies_of_several_contexts_do_not_meet(autojump_clock: object) -> None:
    """Of three contexts one blocks: the sender waits for it, and the others lose only what they are too slow for."""
    net = Network(seed=2, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
    ):
        await a.bind("a:1")
        await b.connect("a:1")
        await c.connect("a:1")
        pub = PubChannel(a, "news", OBJECT)
        block, latest = SubChannel(b, "news", OBJECT, policy=Block(5)), SubChannel(c, "news", OBJECT, policy=Latest())
        await pub.wait_subscribers(2)
        with trio.move_on_after(10):
            await publish(pub, range(50))
        assert pub.statistics().sent == 5
        assert await drain(latest) == [4]
        assert await drain(block) == [0, 1, 2, 3, 4]


async def test_gap_events_name_slot_source_and_count(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.b)
    pub, _sub = PubChannel(pair.a, "news", OBJECT), SubChannel(pair.b, "news", OBJECT, policy=DropOldest(1))
    await pub.wait_subscribers()
    await publish(pub, range(3))
    assert events.all(Gap) == [Gap("news.obj.pub-sub", pair.a.id, 1)] * 2


async def test_the_publisher_knows_nothing_of_drops_at_the_receiver(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pub, _sub = PubChannel(pair.a, "news", OBJECT), SubChannel(pair.b, "news", OBJECT, policy=DropOldest(1))
    await pub.wait_subscribers()
    await publish(pub, range(100))
    assert pub.statistics().sent == 100
    assert pub.statistics().unconfirmed == 0
    assert events.names == []
