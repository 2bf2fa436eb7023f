"""Delivery inside one context: only where it is asked for, and with the same back-pressure as over a link."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import BINARY, OBJECT, TEXT, Block, Disconnect, DropNewest, DropOldest, Latest, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conftest import Pair


@pytest.fixture
async def context(autojump_clock: object) -> AsyncIterator[trioton.Context]:
    async with trioton.open_context("a", network=Network(seed=1).host("a")) as context:
        yield context


async def test_there_is_none_by_default(autojump_clock: object, context: trioton.Context) -> None:
    sub, pub = SubChannel(context, "chat"), PubChannel(context, "chat")
    await pub.send("hello")
    await trio.sleep(1)
    assert sub.pending == 0
    assert pub.subscribers == 0
    assert pub.statistics().backlog == 1


@pytest.mark.parametrize("first", ["pub", "sub"])
async def test_local_delivery(autojump_clock: object, context: trioton.Context, first: str) -> None:
    if first == "pub":
        pub, sub = PubChannel(context, "chat", local=True), SubChannel(context, "chat")
    else:
        sub = SubChannel(context, "chat")
        pub = PubChannel(context, "chat", local=True)
    await pub.send("one")
    pub.send_nowait("two")
    await pub.send_many(["three", "", "ü"])
    with trio.fail_after(1):
        assert [await sub.receive() for _ in range(5)] == ["one", "two", "three", "", "ü"]
    assert pub.subscribers == 0  # it counts those of other contexts


async def test_several_subscriptions_get_everything(autojump_clock: object, context: trioton.Context) -> None:
    pub = PubChannel(context, "n", OBJECT, local=True)
    subs = [SubChannel(context, "n", OBJECT) for _ in range(3)]
    await pub.send_many(range(500))
    for sub in subs:
        assert [await sub.receive() for _ in range(500)] == list(range(500))


@pytest.mark.parametrize("message_type", [TEXT, OBJECT], ids=["text", "object"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_it_has_back_pressure(
    autojump_clock: object, context: trioton.Context, size: int, message_type: trioton.MessageType[str]
) -> None:
    pub = PubChannel(context, "n", message_type, local=True)
    sub = SubChannel(context, "n", message_type, policy=Block(size))
    for number in range(size):
        pub.send_nowait(str(number))
    with pytest.raises(trio.WouldBlock):
        pub.send_nowait("too many")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pub.send, str(size))
        await trio.testing.wait_all_tasks_blocked()
        assert pub.statistics().waiting == 1
        assert await sub.receive() == "0"
        await trio.testing.wait_all_tasks_blocked()
        assert pub.statistics().waiting == 0
    texts = [str(number) for number in range(1, 1000)]
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pub.send_many, texts[size:])
            assert [await sub.receive() for _ in texts] == texts


async def test_one_task_alone_can_send_and_receive_in_turn(autojump_clock: object, context: trioton.Context) -> None:
    pub, sub = PubChannel(context, "n", OBJECT, local=True), SubChannel(context, "n", OBJECT, policy=Block(1))
    with trio.fail_after(10):
        for number in range(1000):
            await pub.send(number)
            assert await sub.receive() == number


@pytest.mark.parametrize(
    ("policy", "left"),
    [(DropOldest(3), [7, 8, 9]), (DropNewest(3), [0, 1, 2]), (Latest(), [9]), (Disconnect(3), [0, 1, 2])],
    ids=str,
)
async def test_policies(
    autojump_clock: object, context: trioton.Context, policy: trioton.Policy, left: list[int]
) -> None:
    pub, sub = PubChannel(context, "n", OBJECT, local=True), SubChannel(context, "n", OBJECT, policy=policy)
    for number in range(10):
        await pub.send(number)
    await trio.testing.wait_all_tasks_blocked()
    assert [sub.receive_nowait() for _ in left] == left
    if isinstance(policy, Disconnect):
        with pytest.raises(trio.BrokenResourceError):
            await sub.receive()
    else:
        assert sub.statistics().dropped == 10 - len(left)


async def test_the_backlog_waits_for_local_subscriptions_too(autojump_clock: object, context: trioton.Context) -> None:
    pub = PubChannel(context, "n", OBJECT, local=True)
    await pub.send_many(range(50))
    assert pub.statistics().backlog == 50
    sub = SubChannel(context, "n", OBJECT, policy=Block(10))
    with trio.fail_after(10):
        assert [await sub.receive() for _ in range(50)] == list(range(50))


async def test_local_and_remote_together(autojump_clock: object, pair: Pair) -> None:
    """The slowest of them all holds the sender, wherever it is."""
    pub = PubChannel(pair.a, "n", OBJECT, local=True)
    here, there = SubChannel(pair.a, "n", OBJECT, policy=Block(5)), SubChannel(pair.b, "n", OBJECT, policy=Block(50))
    await pub.wait_subscribers()
    for number in range(5):
        pub.send_nowait(number)
    with pytest.raises(trio.WouldBlock):
        pub.send_nowait(5)
    received: list[list[int]] = [[], []]

    async def receive(which: int, sub: SubChannel[int]) -> None:
        async for number in sub:
            received[which].append(number)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, 0, here)
            nursery.start_soon(receive, 1, there)
            await pub.send_many(range(5, 500))
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    assert received == [list(range(500))] * 2


async def test_closing_the_subscription_frees_the_sender(autojump_clock: object, context: trioton.Context) -> None:
    pub, sub = PubChannel(context, "n", OBJECT, local=True), SubChannel(context, "n", OBJECT, policy=Block(1))
    await pub.send(0)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pub.send, 1)
            await trio.testing.wait_all_tasks_blocked()
            sub.close()
    again = SubChannel(context, "n", OBJECT, policy=Block(1))
    await pub.send(2)
    assert await again.receive() == 2


async def test_closing_the_publisher_keeps_what_waits(autojump_clock: object, context: trioton.Context) -> None:
    sub = SubChannel(context, "n", OBJECT, policy=Block(100))
    for life in range(3):
        async with PubChannel(context, "n", OBJECT, local=True) as pub:
            for number in range(10):
                await pub.send((life, number))
    with trio.fail_after(10):
        expected = [(life, number) for life in range(3) for number in range(10)]
        assert [await sub.receive() for _ in expected] == expected


async def test_channels_of_a_slot_must_agree(autojump_clock: object, context: trioton.Context) -> None:
    PubChannel(context, "n", local=True)
    with pytest.raises(ValueError, match=r"local=False, but another channel on 'n\.txt\.pub-sub' has local=True"):
        PubChannel(context, "n")
    PubChannel(context, "other")
    with pytest.raises(ValueError, match="local=True, but another channel"):
        PubChannel(context, "other", local=True)


async def test_large_messages(autojump_clock: object, context: trioton.Context) -> None:
    pub, sub = PubChannel(context, "n", BINARY, local=True), SubChannel(context, "n", BINARY)
    for size in (10, 32_767, 32_768, 100_000, 3_000_000):
        await pub.send(bytes(size))
        assert await sub.receive() == bytes(size)


async def test_a_local_subscription_that_blocks_too_long(autojump_clock: object, context: trioton.Context) -> None:
    pub = PubChannel(context, "n", OBJECT, local=True, block_deadline=2)
    SubChannel(context, "n", OBJECT, policy=Block(1))
    await pub.send(0)
    with pytest.raises(trioton.CongestedError, match="waiting for a subscription of this context"):
        await pub.send(1)
