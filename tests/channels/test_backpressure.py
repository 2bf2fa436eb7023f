"""How a sender waits for its blocking subscribers: for exactly as many messages and bytes as were promised, and no longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trioton
from trioton import BINARY, OBJECT, TEXT, Block, CongestedError, DropOldest, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair

PACKAGE = 65_536
"""Bytes of small messages that one package gathers."""


def fill(pub: PubChannel[Any], message: object = None) -> int:
    """Send a message, or each time the next number as a text, by `send_nowait` until there is no room; gives how many went."""
    count = 0
    with pytest.raises(trio.WouldBlock):
        while True:
            pub.send_nowait(str(count) if message is None else message)
            count += 1
    return count


@asynccontextmanager
async def two_publishers(
    message_type: trioton.MessageType[Any], policy: Block, *, latency: float = 0.01
) -> AsyncIterator[tuple[list[PubChannel[Any]], SubChannel[Any]]]:
    """Two publishers, each in a context of its own, and the subscription in a third one that hears both."""
    net = Network(seed=4, latency=latency)
    async with (
        trioton.open_context("sub", network=net.host("sub")) as context,
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await context.bind("sub:1")
        await a.connect("sub:1")
        await b.connect("sub:1")
        sub = SubChannel(context, "n", message_type, policy=policy)
        pubs = [PubChannel(each, "n", message_type) for each in (a, b)]
        for pub in pubs:
            await pub.wait_subscribers()
        yield pubs, sub


@pytest.mark.parametrize("message_type", [TEXT, OBJECT], ids=["text", "object"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 511, 512, 513, 1024, 2000])
async def test_exactly_so_many_fit_and_one_more_goes_for_each_that_is_taken(
    autojump_clock: object, pair: Pair, size: int, message_type: trioton.MessageType[str]
) -> None:
    pub = PubChannel(pair.a, "n", message_type)
    sub = SubChannel(pair.b, "n", message_type, policy=Block(size))
    await pub.wait_subscribers()
    assert fill(pub) == size
    await trio.sleep(1)
    assert sub.pending == size
    assert fill(pub) == 0
    for taken in range(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pub.send, str(size + taken))
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(1)
            assert pub.statistics().waiting == 1
            assert await sub.receive() == str(taken)
            with trio.fail_after(0.05):  # the way there and back takes 0.02
                while pub.statistics().waiting:  # noqa: ASYNC110  # there is nothing to wait for
                    await trio.sleep(0.001)
    assert sub.statistics().dropped == 0


@pytest.mark.parametrize("message_type", [TEXT, OBJECT], ids=["text", "object"])
@pytest.mark.parametrize("size", [1, 2, 3, 64, 1024])
async def test_a_block_of_any_size_lets_everything_through(
    autojump_clock: object, pair: Pair, size: int, message_type: trioton.MessageType[str]
) -> None:
    pub = PubChannel(pair.a, "n", message_type)
    sub = SubChannel(pair.b, "n", message_type, policy=Block(size))
    await pub.wait_subscribers()
    texts = [str(number) for number in range(3000)]
    most = 0
    received: list[str] = []
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pub.send_many, texts)
            while len(received) < len(texts):
                received.append(await sub.receive())
                most = max(most, sub.pending + 1)
    assert received == texts
    assert most <= size


async def test_room_is_given_back_however_messages_are_taken(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n", policy=Block(40))
    await pub.wait_subscribers()
    assert fill(pub) == 40
    await trio.sleep(1)
    sub.receive_nowait()
    await trio.sleep(1)
    assert fill(pub) == 1
    await sub.receive_many(10)
    await trio.sleep(1)
    assert fill(pub) == 10
    await trio.sleep(1)
    assert len(sub.receive_all_nowait()) == 40
    await trio.sleep(1)
    assert fill(pub) == 40
    await trio.sleep(1)
    async for _ in sub:
        if sub.pending == 20:
            break
    await trio.sleep(1)
    assert fill(pub) == 20


@pytest.mark.parametrize("size", [1, 2, 10, 1000])
async def test_two_publishers_share_the_room(autojump_clock: object, size: int) -> None:
    async with two_publishers(OBJECT, Block(size)) as (pubs, sub):
        received: list[tuple[int, int]] = []
        most = 0

        async def send(which: int) -> None:
            for number in range(500):
                await pubs[which].send((which, number))

        with trio.fail_after(300):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, 0)
                nursery.start_soon(send, 1)
                while len(received) < 1000:
                    received.append(await sub.receive())
                    most = max(most, sub.pending + 1)
                    if size > 100:
                        await trio.sleep(0.001)
        for which in range(2):
            assert [number for source, number in received if source == which] == list(range(500))
        assert most <= size + 1  # every publisher may always send one
        # Neither is starved: both have most of theirs through before the other is done.
        first_done = min(received.index((0, 499)), received.index((1, 499)))
        assert len(received) - first_done < 600


async def test_a_publisher_that_stops_leaves_its_room_to_the_other(autojump_clock: object) -> None:
    async with two_publishers(TEXT, Block(100)) as ((one, two), sub):
        one_sent, two_sent = fill(one), fill(two)
        assert one_sent + two_sent >= 1
        await trio.sleep(1)
        one_sent, two_sent = one_sent + fill(one), two_sent + fill(two)
        assert one_sent + two_sent <= 101
        one.close()
        received = 0
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(two.send_many, [str(number) for number in range(1000)])
                while received < one_sent + two_sent + 1000:
                    received += len(await sub.receive_many())
        await trio.sleep(1)
        assert 75 < fill(two) <= 100  # what was taken is told when it is a quarter of the window


async def test_a_publisher_that_is_idle_gives_room_to_one_that_is_not(autojump_clock: object) -> None:
    """The first one has been promised everything; the second one must not crawl on, one message for each way there and back."""
    async with two_publishers(OBJECT, Block(100), latency=0.05) as ((idle, busy), sub):
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy.send_many, range(1000))
            assert [await sub.receive() for _ in range(1000)] == list(range(1000))
        assert trio.current_time() - start < 1000 / 25 * 0.1
        await idle.send("late")
        assert await sub.receive() == "late"


# ---------------------------------------------------------------------------------------------------- bytes


async def test_a_window_of_bytes(autojump_clock: object, open_pair: OpenPair) -> None:
    """A flow is ahead of its receiver by no more than `window_bytes` and one package, whatever the count allows."""
    async with open_pair(limits=trioton.Limits(window_bytes=100_000)) as pair:
        pub, sub = PubChannel(pair.a, "n", BINARY), SubChannel(pair.b, "n", BINARY, policy=Block(1000))
        await pub.wait_subscribers()
        count = fill(pub, bytes(10_000))
        assert 100_000 <= count * 10_000 < 100_000 + PACKAGE
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pub.send_many, [bytes(10_000)] * 200)
                for _ in range(200 + count):
                    await trio.sleep(0.01)
                    assert sub.pending * 10_000 < 100_000 + PACKAGE
                    assert len(await sub.receive()) == 10_000


async def test_one_message_larger_than_the_window_always_may(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair(limits=trioton.Limits(window_bytes=1000)) as pair:
        pub, sub = PubChannel(pair.a, "n", BINARY), SubChannel(pair.b, "n", BINARY, policy=Block(1000))
        await pub.wait_subscribers()
        received = []
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pub.send_many, [bytes([number]) * 300_000 for number in range(10)])
                for _ in range(10):
                    await trio.sleep(1)
                    assert sub.pending == 1
                    received.append(await sub.receive())
        assert [(message[0], len(message)) for message in received] == [(number, 300_000) for number in range(10)]


async def test_the_smaller_window_of_the_two_sides_holds(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair(b_options={"limits": trioton.Limits(window_bytes=50_000)}) as pair:
        pub = PubChannel(pair.a, "n", BINARY)
        SubChannel(pair.b, "n", BINARY)
        await pub.wait_subscribers()
        count = fill(pub, bytes(10_000))
        assert 50_000 <= count * 10_000 < 50_000 + PACKAGE


# ---------------------------------------------------------------------------------------------------- waiting too long


@pytest.mark.parametrize("form", ["send", "send_many"])
async def test_a_deadline_names_who_has_no_room(autojump_clock: object, pair: Pair, form: str) -> None:
    pub = PubChannel(pair.a, "n", OBJECT, block_deadline=3)
    sub = SubChannel(pair.b, "n", OBJECT, policy=Block(2))
    await pub.wait_subscribers()
    await pub.send_many([0, 1])
    start = trio.current_time()
    with pytest.raises(CongestedError, match=r"no room on 'n\.obj\.pub-sub' within 3 s: waiting for .*b"):
        if form == "send":
            await pub.send(2)
        else:
            await pub.send_many([2, 3])
    assert trio.current_time() - start == pytest.approx(3)
    assert pub.statistics().sent == 2
    assert pub.statistics().waiting == 0
    assert await sub.receive() == 0
    await pub.send(4)
    assert [await sub.receive() for _ in range(2)] == [1, 4]


async def test_a_deadline_of_zero(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "n", OBJECT, block_deadline=0)
    sub = SubChannel(pair.b, "n", OBJECT, policy=Block(1))
    await pub.wait_subscribers()
    await pub.send(0)
    with pytest.raises(CongestedError):
        await pub.send(1)
    assert await sub.receive() == 0


async def test_congestion_is_told_after_five_seconds(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Block(1))
    await pub.wait_subscribers()
    await pub.send(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pub.send, 1)
        await trio.sleep(4.9)
        assert events.all(trioton.Congested) == []
        await trio.sleep(0.2)
        (event,) = events.all(trioton.Congested)
        assert (event.slot, event.subscriber) == (pub.slot, pair.b.id)
        assert event.seconds == pytest.approx(5)
        await trio.sleep(100)
        assert len(events.all(trioton.Congested)) == 1  # one task, one event
        assert await sub.receive() == 0
    assert await sub.receive() == 1


async def test_waits_that_are_short_tell_of_no_congestion(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Block(1))
    await pub.wait_subscribers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pub.send_many, range(10))
        for number in range(10):
            await trio.sleep(4)
            assert await sub.receive() == number
    assert events.all(trioton.Congested) == []


async def test_a_second_congestion_is_told_again(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Block(1))
    await pub.wait_subscribers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pub.send_many, range(4))
        for number in range(3):
            await trio.sleep(20)
            assert len(events.all(trioton.Congested)) == number + 1
            assert await sub.receive() == number
    assert await sub.receive() == 3


# ---------------------------------------------------------------------------------------------------- one of a hundred


@pytest.mark.long
@pytest.mark.parametrize("policy", [Block(10), DropOldest(1000)], ids=["Block", "DropOldest"])
async def test_one_stopped_subscriber_out_of_a_hundred(autojump_clock: object, policy: trioton.Policy) -> None:
    net = Network(seed=6, latency=0.01, buffer_size=4096)
    received: dict[int, list[int]] = {number: [] for number in range(99)}
    async with (
        trioton.open_context("hub", network=net.host("hub")) as hub,
        trio.open_nursery() as nursery,
        AsyncExitStack() as stack,
    ):
        await hub.bind("hub:1")
        pub = PubChannel(hub, "n", OBJECT)

        async def receive(number: int, sub: SubChannel[int]) -> None:
            async for message in sub:
                received[number].append(message)

        for number in range(100):
            host = net.host(f"s{number}")
            context = await stack.enter_async_context(trioton.open_context(f"s{number}", network=host))
            sub = SubChannel(context, "n", OBJECT, policy=policy)
            await context.connect("hub:1")
            if number < 99:
                nursery.start_soon(receive, number, sub)
        await pub.wait_subscribers(100)
        with trio.move_on_after(4) as scope:
            await pub.send_many(range(200))
        await trio.sleep(1)
        count = 10 if isinstance(policy, Block) else 200
        assert scope.cancelled_caught == isinstance(policy, Block)
        assert pub.statistics().sent == count
        assert received == {number: list(range(count)) for number in range(99)}
        if isinstance(policy, Block):
            sub.close()  # the others no longer wait for it
            with trio.fail_after(4):
                await pub.send_many(range(10, 200))
            await trio.sleep(1)
            assert received == {number: list(range(200)) for number in range(99)}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["it closes", "its link is cut"])
async def test_a_subscriber_that_goes_lets_the_sender_on(autojump_clock: object, open_pair: OpenPair, how: str) -> None:
    async with open_pair(reconnect=None) as pair:
        pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Block(1))
        await pub.wait_subscribers()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pub.send_many, range(10))
            await trio.sleep(1)
            assert pub.statistics().waiting == 1
            if how == "it closes":
                sub.close()
            else:
                pair.net.cut("a", "b")
            await trio.sleep(1)
            assert pub.statistics().sent == 10
