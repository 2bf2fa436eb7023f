"""Merging: the order in which messages came, over several slots."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trioton
from trioton import OBJECT, Block, Disconnect, DropOldest, PubChannel, SubChannel, merge, open_channel

if TYPE_CHECKING:
    from tests.conftest import OpenPair, Pair

Item = tuple[str, int]


async def open_slots(
    pair: Pair, names: str, **options: Any
) -> tuple[dict[str, PubChannel[Item]], dict[str, SubChannel[Item]]]:
    pubs = {name: PubChannel[Item](pair.a, name, OBJECT) for name in names}
    subs = {name: SubChannel[Item](pair.b, name, OBJECT, **options) for name in names}
    for pub in pubs.values():
        await pub.wait_subscribers()
    return pubs, subs


async def test_batches_over_three_slots(autojump_clock: object, pair: Pair) -> None:
    """The example of Yoton's manual."""
    pubs, subs = await open_slots(pair, "abc")
    order = ["a0", "a1", "b2", "b3", "a4", "c5", "c6", "b7", "a8"]
    for text in order:
        await pubs[text[0]].send((text[0], int(text[1])))
    received = []
    async for channel, (name, number) in merge(*subs.values()):
        assert channel is subs[name]
        received.append(f"{name}{number}")
        if len(received) == len(order):
            break
    assert received == order


@pytest.mark.parametrize("late", [False, True], ids=["as they come", "all at the end"])
@pytest.mark.parametrize("seed", range(10))
async def test_any_interleaving_of_one_sender_is_kept(
    autojump_clock: object, pair: Pair, seed: int, late: bool
) -> None:
    rng = random.Random(seed)
    names = "abcd"
    pubs, subs = await open_slots(pair, names, policy=Block(1000))
    expected: list[Item] = []
    received: list[Item] = []

    async def send() -> None:
        for number in range(400):
            name = rng.choice(names)
            item = (name, number)
            expected.append(item)
            if rng.random() < 0.5:
                pubs[name].send_nowait(item)
            else:
                await pubs[name].send(item)
            if rng.random() < 0.05:
                await trio.sleep(rng.choice([0, 0.001, 0.1]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        if late:
            await trio.sleep(100)
        with trio.fail_after(100):
            async for _, item in merge(*subs.values()):
                received.append(item)
                if len(received) == 400:
                    break
    assert received == expected


async def test_it_ends_when_all_have_ended(autojump_clock: object, pair: Pair) -> None:
    pubs, subs = await open_slots(pair, "ab")
    received: list[Item] = []

    async def receive() -> None:
        async for _, item in merge(*subs.values()):
            received.append(item)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await pubs["a"].send(("a", 0))
            await trio.sleep(1)
            subs["a"].close()
            await trio.sleep(1)
            await pubs["b"].send(("b", 1))
            await trio.sleep(1)
            assert len(nursery.child_tasks) == 1
            subs["b"].close()
    assert received == [("a", 0), ("b", 1)]


async def test_it_ends_with_the_context_and_gives_out_what_waits(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        pubs, subs = await open_slots(pair, "ab")
        for number in range(50):
            name = "ab"[number % 2]
            await pubs[name].send((name, number))
        await trio.sleep(1)
        await pair.b.aclose()
        assert [number async for _, (_, number) in merge(*subs.values())] == list(range(50))
        assert [item async for item in merge(*subs.values())] == []


async def test_one_to_one_channels_can_be_merged(autojump_clock: object, pair: Pair) -> None:
    first, second = open_channel(pair.a), open_channel(pair.a)
    received = []

    async def receive() -> None:
        async for channel, message in merge(first[1], second[1]):
            received.append((channel is first[1], message))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await first[0].send(1)
        await second[0].send(2)
        await first[0].send(3)
        first[0].close()
        await second[0].send(4)
        second[0].close()
    assert received == [(True, 1), (False, 2), (True, 3), (False, 4)]


async def test_a_channel_that_breaks_raises_once(autojump_clock: object, pair: Pair) -> None:
    pubs, subs = await open_slots(pair, "a", policy=Disconnect(1))
    other = SubChannel[Item](pair.b, "b", OBJECT)
    pub = PubChannel[Item](pair.a, "b", OBJECT)
    await pub.wait_subscribers()
    merged = merge(subs["a"], other)
    await pubs["a"].send_many([("a", 0), ("a", 1)])
    assert (await merged.__anext__())[1] == ("a", 0)
    with trio.fail_after(10), pytest.raises(trio.BrokenResourceError, match=r"messages? waited"):
        await merged.__anext__()
    await pub.send(("b", 2))
    assert (await merged.__anext__())[1] == ("b", 2)


async def test_a_message_that_cannot_be_decoded_raises_once(autojump_clock: object, pair: Pair) -> None:
    class Picky(trioton.MessageType[int]):
        name = "picky"

        def encode(self, message: int) -> object:
            return message

        def decode(self, value: Any) -> int:
            if value == 1:
                raise ValueError("not this one")
            return int(value)

    pub, sub = PubChannel(pair.a, "n", Picky), SubChannel(pair.b, "n", Picky)
    await pub.wait_subscribers()
    await pub.send_many([0, 1, 2])
    merged = merge(sub)
    assert await merged.__anext__() == (sub, 0)
    with pytest.raises(trioton.MessageDecodeError, match="not this one"):
        await merged.__anext__()
    assert await merged.__anext__() == (sub, 2)


async def test_others_may_take_from_the_same_channels(autojump_clock: object, pair: Pair) -> None:
    pubs, subs = await open_slots(pair, "ab")
    received: list[int] = []

    async def merged() -> None:
        async for _, (_, number) in merge(*subs.values()):
            received.append(number)

    async def direct() -> None:
        async for _, number in subs["a"]:
            received.append(number)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(merged)
            nursery.start_soon(merged)
            nursery.start_soon(direct)
            for number in range(300):
                name = "ab"[number % 2]
                await pubs[name].send((name, number))
            await trio.sleep(10)
            assert sorted(received) == list(range(300))
            nursery.cancel_scope.cancel()


async def test_a_channel_closed_at_any_moment_is_left_out(autojump_clock: object, pair: Pair) -> None:
    """Also while the iteration gives others their turn."""
    for count in range(1, 140):
        pubs, subs = await open_slots(pair, "ab", policy=Block(1000))
        for number in range(200):
            await pubs["a"].send(("a", number))
        await trio.sleep(1)
        received = 0

        async def close(sub: SubChannel[Item] = subs["a"], count: int = count) -> None:
            while received < count:  # noqa: B023
                await trio.lowlevel.checkpoint()
            sub.close()
            pubs["b"].send_nowait(("b", 0))  # noqa: B023

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)
            with trio.fail_after(10):
                async for channel, _ in merge(*subs.values()):
                    received += 1
                    if channel is subs["b"]:
                        break
        for name in "ab":
            pubs[name].close()
            subs[name].close()


async def test_cancelled_it_has_taken_nothing(autojump_clock: object, pair: Pair) -> None:
    pubs, subs = await open_slots(pair, "ab")
    merged = merge(*subs.values())
    with trio.move_on_after(1) as scope:
        await merged.__anext__()
    assert scope.cancelled_caught
    await pubs["b"].send(("b", 0))
    await trio.sleep(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await merged.__anext__()
    assert scope.cancelled_caught
    assert (await merged.__anext__())[1] == ("b", 0)


async def test_what_was_dropped_does_not_disturb_the_order(autojump_clock: object, pair: Pair) -> None:
    pubs, subs = await open_slots(pair, "ab", policy=DropOldest(3))
    for number in range(20):
        name = "ab"[number % 2]
        await pubs[name].send((name, number))
    await trio.sleep(1)
    received = []
    async for _, (_, number) in merge(*subs.values()):
        received.append(number)
        if len(received) == 6:
            break
    assert received == [14, 15, 16, 17, 18, 19]
