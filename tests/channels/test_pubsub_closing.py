"""Publishers, subscriptions and contexts that close: what was sent arrives, who waits is woken, and nothing more is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import OBJECT, Block, PubChannel, SubChannel

if TYPE_CHECKING:
    from tests.conftest import OpenPair, Pair


# ------------------------------------------------------------------------------------------------------------- channels


async def test_what_was_sent_before_closing_arrives(autojump_clock: object, pair: Pair) -> None:
    sub = SubChannel(pair.b, "chat")
    async with PubChannel(pair.a, "chat") as pub:
        await pub.wait_subscribers()
        await pub.send_many(["one", "two"])
    assert pub.closed
    await pub.aclose()
    pub.close()
    another = PubChannel(pair.a, "chat")
    await another.send("three")
    another.close()
    assert [await sub.receive() for _ in range(3)] == ["one", "two", "three"]
    with trio.move_on_after(10) as scope:
        await sub.receive()
    assert scope.cancelled_caught  # after the last publisher has gone it just waits


async def test_a_closed_publisher_refuses(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "chat")
    SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    await pub.send("opens the short path")
    pub.close()
    for _ in range(2):
        with pytest.raises(trio.ClosedResourceError):
            await pub.send("text")
        with pytest.raises(trio.ClosedResourceError):
            pub.send_nowait("text")
        with pytest.raises(trio.ClosedResourceError):
            await pub.send_many(["text"])
        with pytest.raises(trio.ClosedResourceError):
            await pub.wait_subscribers(2)
    assert pub.statistics().sent == 1


async def test_closing_wakes_the_tasks_that_wait_to_send_and_no_others(autojump_clock: object, pair: Pair) -> None:
    pub, other = PubChannel(pair.a, "n", OBJECT), PubChannel(pair.a, "n", OBJECT)
    sub = SubChannel(pair.b, "n", OBJECT, policy=Block(1))
    await pub.wait_subscribers()
    await pub.send(0)

    async def fail_to_send() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await pub.send("never")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_to_send)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(other.send, 1)
        await trio.testing.wait_all_tasks_blocked()
        pub.close()
        await trio.testing.wait_all_tasks_blocked()
        assert other.statistics().waiting == 1
        assert await sub.receive() == 0
    assert await sub.receive() == 1


async def test_a_closed_subscription_refuses(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    await pub.send_many(["taken", "dropped", "dropped"])
    assert await sub.receive() == "taken"
    sub.close()
    sub.close()
    await sub.aclose()
    assert sub.closed
    assert sub.pending == 0
    with pytest.raises(trio.ClosedResourceError):
        await sub.receive()
    with pytest.raises(trio.ClosedResourceError):
        sub.receive_nowait()
    with pytest.raises(trio.ClosedResourceError):
        await sub.receive_many()
    with pytest.raises(trio.ClosedResourceError):
        sub.receive_all_nowait()
    with pytest.raises(trio.ClosedResourceError):
        async for _ in sub:
            pass
    assert sub.statistics().taken == 1


async def test_closing_wakes_all_who_wait_to_receive(autojump_clock: object, pair: Pair) -> None:
    sub = SubChannel(pair.b, "chat")

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await sub.receive()

    async def receive_many() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await sub.receive_many()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        nursery.start_soon(receive_many)
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        sub.close()


# ------------------------------------------------------------------------------------------------------------- contexts


async def test_an_iteration_ends_when_its_context_closes_and_gives_out_all_that_waits(
    autojump_clock: object, open_pair: OpenPair
) -> None:
    async with open_pair() as pair:
        pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
        await pub.wait_subscribers()
        received: list[int] = []

        async def iterate() -> None:
            async for number in sub:
                received.append(number)  # noqa: PERF401  # the list is looked at in between

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(iterate)
                await pub.send(0)
                await trio.sleep(1)
                nursery.start_soon(pair.b.aclose)
            assert received == [0]
            with pytest.raises(trio.EndOfChannel):
                await sub.receive()
            with pytest.raises(trio.EndOfChannel):
                sub.receive_nowait()
            with pytest.raises(trio.EndOfChannel):
                await sub.receive_many()
            assert sub.receive_all_nowait() == []
        assert not sub.closed


async def test_what_waits_may_be_taken_after_the_context_has_closed(
    autojump_clock: object, open_pair: OpenPair
) -> None:
    async with open_pair() as pair:
        pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
        await pub.wait_subscribers()
        await pub.send_many(range(100))
        await trio.sleep(1)
        await pair.b.aclose()
        assert [number async for number in sub] == list(range(100))


@pytest.mark.parametrize("message_type", [trioton.TEXT, OBJECT])
async def test_a_closed_context_takes_nothing(
    autojump_clock: object, open_pair: OpenPair, message_type: trioton.MessageType[str]
) -> None:
    async with open_pair() as pair:
        pub = PubChannel(pair.a, "chat", message_type)
        SubChannel(pair.b, "chat", message_type)
        await pub.wait_subscribers()
        await pub.send("before")
        await pair.a.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await pub.send("after")
        with pytest.raises(trio.ClosedResourceError):
            pub.send_nowait("after")
        with pytest.raises(trio.ClosedResourceError):
            await pub.send_many(["after"])
        with pytest.raises(trio.ClosedResourceError):
            PubChannel(pair.a, "chat")
        with pytest.raises(trio.ClosedResourceError):
            SubChannel(pair.a, "chat")
        with pytest.raises(trio.ClosedResourceError):
            trioton.open_channel(pair.a)
        assert pub.statistics().sent == 1


@pytest.mark.parametrize("message_type", [trioton.TEXT, OBJECT])
async def test_a_context_that_is_being_closed_takes_nothing_more(
    autojump_clock: object, open_pair: OpenPair, message_type: trioton.MessageType[str]
) -> None:
    """While it waits for what was sent to leave, nothing is added to that."""
    async with open_pair() as pair:
        pub = PubChannel(pair.a, "n", message_type)
        sub = SubChannel(pair.b, "n", message_type)
        await pub.wait_subscribers()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.a.aclose)
            await trio.sleep(0.001)
            with pytest.raises(trio.ClosedResourceError):
                await pub.send("late")
            with pytest.raises(trio.ClosedResourceError):
                await pub.send_many(["late"])
            with pytest.raises(trio.ClosedResourceError):
                pub.send_nowait("late")
        await trio.sleep(1)
        assert sub.receive_all_nowait() == []
