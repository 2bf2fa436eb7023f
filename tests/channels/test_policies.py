"""What survives under each policy, how much is counted as lost, and the events that tell of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import trioton
from trioton import OBJECT, Block, Disconnect, DropNewest, DropOldest, Gap, Latest, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair

COUNT = 100


async def publish(pub: PubChannel[int], numbers: range, style: str) -> None:
    """In one package, in a few, or in one for each message."""
    if style == "at once":
        await pub.send_many(numbers)
    elif style == "by tens":
        for start in range(numbers.start, numbers.stop, 10):
            await pub.send_many(numbers[start - numbers.start : start - numbers.start + 10])
            await trio.sleep(0.1)
    else:
        for number in numbers:
            await pub.send(number)
            await trio.sleep(0.1)
    await trio.sleep(1)


styles = pytest.mark.parametrize("style", ["at once", "by tens", "one by one"])


SIZES = [1, 2, 7, 10, 99, 100, 101]


@styles
@pytest.mark.parametrize(
    ("policy", "survivors"),
    [
        *[(DropOldest(size), range(COUNT)[-size:]) for size in SIZES],
        *[(DropNewest(size), range(COUNT)[:size]) for size in SIZES],
        (Latest(), range(COUNT)[-1:]),
    ],
    ids=str,
)
async def test_what_survives_and_how_much_was_dropped(
    autojump_clock: object, pair: Pair, watch: MakeWatch, style: str, policy: trioton.Policy, survivors: range
) -> None:
    events = watch(pair.b)
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=policy)
    await pub.wait_subscribers()
    await publish(pub, range(COUNT), style)
    dropped = COUNT - len(survivors)
    assert sub.pending == len(survivors)
    assert sub.receive_all_nowait() == list(survivors)
    assert sub.statistics().dropped == dropped
    assert sub.statistics().received == COUNT
    gaps = events.all(Gap)
    assert sum(gap.count for gap in gaps) == dropped
    assert {(gap.slot, gap.source) for gap in gaps} <= {(pub.slot, pair.a.id)}
    await publish(pub, range(COUNT, COUNT + 1), style)
    assert await sub.receive() == COUNT  # there is room again
    assert sub.statistics().dropped == dropped


@styles
@pytest.mark.parametrize("size", [1, 7, 99])
async def test_disconnect_ends_after_what_fits(autojump_clock: object, pair: Pair, style: str, size: int) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Disconnect(size))
    other = SubChannel(pair.b, "n", OBJECT, policy=DropOldest(1000))
    await pub.wait_subscribers(2)
    await publish(pub, range(COUNT), style)
    assert [await sub.receive() for _ in range(size)] == list(range(size))
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError, match=r"messages? waited"):
            await sub.receive()
        with pytest.raises(trio.BrokenResourceError):
            sub.receive_nowait()
        with pytest.raises(trio.BrokenResourceError):
            await sub.receive_many()
    assert sub.statistics().dropped >= 1
    assert other.receive_all_nowait() == list(range(COUNT))  # the link, and others on it, go on
    assert pair.to_a.is_connected
    assert not sub.closed


async def test_disconnect_that_is_never_too_slow_goes_on(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Disconnect(10))
    await pub.wait_subscribers()
    for start in range(0, 100, 10):
        await publish(pub, range(start, start + 10), "at once")
        assert sub.receive_all_nowait() == list(range(start, start + 10))
    assert sub.statistics().dropped == 0


async def test_disconnect_that_overflows_while_its_messages_are_being_taken(autojump_clock: object, pair: Pair) -> None:
    """Those taken already make room; those decoded but not taken do not."""
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Disconnect(10))
    await pub.wait_subscribers()
    await publish(pub, range(10), "at once")
    assert [await sub.receive() for _ in range(3)] == [0, 1, 2]
    await publish(pub, range(10, 20), "at once")
    with pytest.raises(trio.BrokenResourceError, match=r"messages? waited"):
        async for number in sub:
            assert number < 13
            last = number
    assert last == 12


@styles
async def test_drop_oldest_drops_messages_that_have_been_decoded(
    autojump_clock: object, pair: Pair, style: str
) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=DropOldest(10))
    await pub.wait_subscribers()
    await publish(pub, range(10), "at once")
    assert await sub.receive() == 0
    await publish(pub, range(10, 15), style)
    assert sub.pending == 10
    assert [await sub.receive() for _ in range(3)] == [5, 6, 7]
    await publish(pub, range(15, 50), style)
    assert sub.receive_all_nowait() == list(range(40, 50))
    statistics = sub.statistics()
    assert (statistics.received, statistics.taken, statistics.dropped) == (50, 14, 36)


@styles
async def test_block_keeps_everything(autojump_clock: object, pair: Pair, watch: MakeWatch, style: str) -> None:
    events = watch(pair.b)
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Block(7))
    await pub.wait_subscribers()
    received: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish, pub, range(COUNT), style)
        await trio.sleep(50)
        assert sub.pending == 7
        while len(received) < COUNT:
            received.append(await sub.receive())
    assert received == list(range(COUNT))
    assert sub.statistics().dropped == 0
    assert events.all(Gap) == []


@styles
async def test_policies_side_by_side(autojump_clock: object, pair: Pair, style: str) -> None:
    """Each subscription of a slot has its own: the sender waits for the one that blocks, and others drop for themselves only."""
    pub = PubChannel(pair.a, "n", OBJECT)
    block = SubChannel(pair.b, "n", OBJECT, policy=Block(50))
    oldest = SubChannel(pair.b, "n", OBJECT, policy=DropOldest(10))
    newest = SubChannel(pair.b, "n", OBJECT, policy=DropNewest(10))
    latest = SubChannel(pair.b, "n", OBJECT, policy=Latest())
    ending = SubChannel(pair.b, "n", OBJECT, policy=Disconnect(10))
    await pub.wait_subscribers(5)
    await publish(pub, range(50), style)
    with pytest.raises(trio.WouldBlock):
        pub.send_nowait(50)
    assert block.receive_all_nowait() == list(range(50))
    assert oldest.receive_all_nowait() == list(range(40, 50))
    assert newest.receive_all_nowait() == list(range(10))
    assert latest.receive_all_nowait() == [49]
    assert [await ending.receive() for _ in range(10)] == list(range(10))
    with pytest.raises(trio.BrokenResourceError):
        await ending.receive()
    assert [sub.statistics().dropped for sub in (block, oldest, newest, latest)] == [0, 40, 40, 49]
    await trio.sleep(1)
    block.close()
    await trio.sleep(1)
    await publish(pub, range(100), style)
    assert oldest.receive_all_nowait() == list(range(90, 100))
    assert newest.receive_all_nowait() == list(range(10))


async def test_a_subscription_that_blocks_joins_others_that_do_not(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "n", OBJECT)
    oldest = SubChannel(pair.b, "n", OBJECT, policy=DropOldest(1000))
    latest = SubChannel(pair.b, "n", OBJECT, policy=Latest())
    await pub.wait_subscribers(2)
    await publish(pub, range(50), "at once")
    block = SubChannel(pair.b, "n", OBJECT, policy=Block(3))
    await pub.wait_subscribers(3)
    for number in range(50, 53):
        pub.send_nowait(number)
    with pytest.raises(trio.WouldBlock):
        pub.send_nowait(53)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish, pub, range(53, 100), "one by one")
        await trio.sleep(1)
        assert pub.statistics().sent == 53
        with trio.fail_after(30):
            assert [await block.receive() for _ in range(50)] == list(range(50, 100))
    assert oldest.receive_all_nowait() == list(range(100))
    assert latest.receive_all_nowait() == [99]
    assert block.statistics().dropped == 0
    assert oldest.statistics().dropped == 0


@pytest.mark.parametrize("policy", [DropOldest(10), DropNewest(10), Latest()])
async def test_what_a_slow_link_drops_is_counted_too(
    autojump_clock: object, open_pair: OpenPair, watch: MakeWatch, policy: trioton.Policy
) -> None:
    """Behind a thin link the sender's queue applies the policy, and the gaps add up all the same."""
    net = Network(seed=2, latency=0.2, buffer_size=2000)
    async with open_pair(net) as pair:
        events = watch(pair.b)
        pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=policy)
        await pub.wait_subscribers()
        received: list[tuple[int, bytes]] = []

        async def receive() -> None:
            while True:
                received.append(await sub.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            with trio.fail_after(5):
                for number in range(300):
                    await pub.send((number, bytes(500)))
                    await trio.sleep(0.01)
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
        numbers = [number for number, _ in received]
        assert numbers == sorted(set(numbers))
        assert len(numbers) < 300
        if policy.mode is trioton.DropOldest.mode:
            assert numbers[-1] == 299
        assert len(numbers) + sub.statistics().dropped == 300
        assert sum(gap.count for gap in events.all(Gap)) == sub.statistics().dropped
