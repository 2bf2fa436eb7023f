"""What is sent before anyone has ever listened waits; what is sent later to nobody is dropped and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import warnings_of
from trioton import BINARY, OBJECT, TEXT, Block, DropOldest, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import OpenPair, Pair

policies = pytest.mark.parametrize("policy", [Block(1), Block(7), Block(2000), DropOldest(2000)], ids=str)


@policies
@pytest.mark.parametrize("message_type", [TEXT, OBJECT], ids=["text", "object"])
async def test_the_first_subscriber_gets_what_waits(
    autojump_clock: object, pair: Pair, policy: trioton.Policy, message_type: trioton.MessageType[str]
) -> None:
    pub = PubChannel(pair.a, "n", message_type)
    texts = [str(number) for number in range(300)]
    for text in texts[:100]:
        await pub.send(text)
    for text in texts[100:200]:
        pub.send_nowait(text)
    await pub.send_many(texts[200:])
    assert pub.statistics().backlog == 300
    assert pub.statistics().sent == 300
    sub = SubChannel(pair.b, "n", message_type, policy=policy)
    with trio.fail_after(60):
        assert [await sub.receive() for _ in texts] == texts
        await pub.send("after")
        assert await sub.receive() == "after"
    assert (pub.statistics().backlog, pub.statistics().unheard) == (0, 0)


async def test_the_oldest_give_way(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "n", OBJECT, backlog=10)
    await pub.send_many(range(25))
    assert (pub.statistics().sent, pub.statistics().backlog, pub.statistics().unheard) == (25, 10, 15)
    sub = SubChannel(pair.b, "n", OBJECT)
    assert [await sub.receive() for _ in range(10)] == list(range(15, 25))


async def test_it_holds_a_thousand_by_default(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "n", OBJECT)
    await pub.send_many(range(1500))
    assert pub.statistics().backlog == 1000
    sub = SubChannel(pair.b, "n", OBJECT)
    assert [await sub.receive() for _ in range(1000)] == list(range(500, 1500))


async def test_it_holds_one_mebibyte(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "n", BINARY)
    for number in range(20):
        await pub.send(bytes([number]) * 100_000)
    assert pub.statistics().backlog == 10
    sub = SubChannel(pair.b, "n", BINARY)
    assert [(await sub.receive())[0] for _ in range(10)] == list(range(10, 20))


async def test_none_is_kept_if_it_is_off(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "n", OBJECT, backlog=0)
    await pub.send_many(range(5))
    assert (pub.statistics().sent, pub.statistics().backlog, pub.statistics().unheard) == (5, 0, 5)
    sub = SubChannel(pair.b, "n", OBJECT)
    await pub.wait_subscribers()
    await pub.send(5)
    assert await sub.receive() == 5


@pytest.mark.parametrize("message_type", [TEXT, OBJECT], ids=["text", "object"])
@pytest.mark.parametrize("stub", [False, True])
async def test_nobody_waits_for_a_first_subscriber_that_is_none(
    autojump_clock: object, message_type: trioton.MessageType[str], stub: bool
) -> None:
    """Tasks wait while somebody may be about to listen, and go on when it turns out that nobody is."""
    net = Network(seed=7, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        await b.connect("a:1", stub=stub)
        pub = PubChannel(b, "n", message_type, backlog=10)  # a stub asks its parent who listens
        if not stub:
            sub = SubChannel(a, "n", message_type)
            await trio.sleep(0.0105)
            sub.close()
        texts = [f"{number:03}" for number in range(100)]
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pub.send_many, texts[:50])
                nursery.start_soon(pub.send_many, texts[50:])
        statistics = pub.statistics()
        assert (statistics.sent, statistics.backlog, statistics.unheard, statistics.waiting) == (100, 10, 90, 0)
        late = SubChannel(a, "n", message_type)
        received = [await late.receive() for _ in range(10)]
        assert received == sorted(received)
        assert set(received) <= set(texts)


async def test_what_nobody_hears_later_is_dropped_and_counted(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
    await pub.wait_subscribers()
    await pub.send(0)
    assert await sub.receive() == 0
    sub.close()
    await trio.sleep(1)
    await pub.send_many(range(1, 6))
    pub.send_nowait(6)
    await trio.testing.wait_all_tasks_blocked()
    assert (pub.statistics().backlog, pub.statistics().unheard) == (0, 6)
    late = SubChannel(pair.b, "n", OBJECT)
    await pub.wait_subscribers()
    await pub.send(7)
    assert await late.receive() == 7
    assert late.statistics().dropped == 0
    assert pair.a.statistics().messages_unheard == 6


async def test_what_is_sent_right_before_a_channel_closes_and_nobody_hears_is_counted(
    autojump_clock: object, pair: Pair
) -> None:
    pub = PubChannel(pair.a, "numbers")
    async with SubChannel(pair.b, "numbers"):
        await pub.wait_subscribers()
    await trio.sleep(1)
    assert not pub.statistics().subscribers
    for number in range(3):
        pub.send_nowait(str(number))
    pub.close()
    assert pub.statistics().unheard == 3
    assert pair.a.statistics().messages_unheard == 3


async def test_all_subscriptions_of_one_update_get_it(autojump_clock: object) -> None:
    """Those that are there when two contexts meet, and those that are made in one go."""
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        pub = PubChannel(a, "n", OBJECT)
        await pub.send_many(range(20))
        subs = [SubChannel(b, "n", OBJECT, policy=policy) for policy in (Block(3), DropOldest(100), Block(100))]
        await a.bind("a:1")
        await b.connect("a:1")
        received: list[list[int]] = [[], [], []]

        async def receive(which: int) -> None:
            received[which] = [await subs[which].receive() for _ in range(20)]

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for which in range(3):
                    nursery.start_soon(receive, which)
        assert received == [list(range(20))] * 3


async def test_sends_during_the_first_subscription_keep_their_order(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "n", OBJECT)
    sent = 0
    for _ in range(5):
        pub.send_nowait(sent)
        sent += 1
    sub = SubChannel(pair.b, "n", OBJECT, policy=Block(8))
    received: list[int] = []
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            nonlocal sent
            for _ in range(100):
                await trio.sleep(0.001)
                await pub.send(sent)
                sent += 1

        nursery.start_soon(send)
        with trio.fail_after(30):
            while len(received) < 105:
                received.append(await sub.receive())
    assert received == list(range(105))


async def test_channels_of_one_slot_share_it(autojump_clock: object, pair: Pair) -> None:
    small, large = PubChannel(pair.a, "n", OBJECT, backlog=3), PubChannel(pair.a, "n", OBJECT, backlog=6)
    for number in range(10):
        (small if number % 2 else large).send_nowait(number)
    sub = SubChannel(pair.b, "n", OBJECT)
    assert [await sub.receive() for _ in range(6)] == list(range(4, 10))


async def test_a_channel_closed_before_anyone_listens_forgets_it(autojump_clock: object, pair: Pair) -> None:
    async with PubChannel(pair.a, "n", OBJECT) as pub:
        await pub.send_many(range(5))
    assert pub.statistics().backlog == 0
    assert pub.statistics().unheard == 5
    sub = SubChannel(pair.b, "n", OBJECT)
    with trio.move_on_after(1) as scope:
        await sub.receive()
    assert scope.cancelled_caught
    assert pair.a.statistics().messages_unheard == 5


async def test_a_channel_closed_while_its_backlog_goes_out_loses_nothing(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "n", OBJECT)
    await pub.send_many(range(100))
    sub = SubChannel(pair.b, "n", OBJECT, policy=Block(10))
    await pub.wait_subscribers()
    pub.close()
    with trio.fail_after(10):
        assert [await sub.receive() for _ in range(100)] == list(range(100))


async def test_a_context_that_closes_drains_the_backlog_that_goes_out(
    autojump_clock: object, open_pair: OpenPair
) -> None:
    async with open_pair() as pair:
        pub = PubChannel(pair.a, "n", OBJECT)
        await pub.send_many(range(100))
        sub = SubChannel(pair.b, "n", OBJECT, policy=Block(10))
        await pub.wait_subscribers()
        received: list[int] = []

        async def receive() -> None:
            async for number in sub:
                received.append(number)  # noqa: PERF401  # the list is looked at in between

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await pair.a.aclose()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert received == list(range(100))


@pytest.mark.parametrize("policy", [Block(10), DropOldest(10)], ids=repr)
@pytest.mark.parametrize("messages", [["x", "x" * 200_000, "y"], ["x", "x" * 200_000], ["x" * 200_000]], ids=len)
async def test_what_is_too_large_for_the_first_subscriber_is_seen_to_be_missing(
    autojump_clock: object,
    open_pair: OpenPair,
    caplog: pytest.LogCaptureFixture,
    policy: trioton.Policy,
    messages: list[str],
) -> None:
    async with open_pair(b_options={"limits": trioton.Limits(max_package=100_000)}) as pair:
        pub = PubChannel(pair.a, "n", backlog=10)
        await pub.send_many(messages)
        sub = SubChannel(pair.b, "n", policy=policy)
        await trio.sleep(1)
        assert sub.receive_all_nowait() == [message for message in messages if len(message) == 1]
        assert sub.statistics().dropped == 1
        assert pub.statistics().unheard == 1
        await pub.send("after")
        assert await sub.receive() == "after"
        with trio.fail_after(5):
            await pair.a.flush()
    [line] = warnings_of(caplog)
    assert "takes at most 100000: it had waited for a subscriber" in line
