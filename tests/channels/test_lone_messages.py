"""Messages that come one at a time take short ways: past the outbox, past the decoder, and straight to a task that waits."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trioton
from trioton import BINARY, OBJECT, TEXT, Block, DropNewest, DropOldest, Latest, PubChannel, SubChannel, merge
from trioton.protocol.packages import PackageTemplate
from trioton.protocol.values import encode_value
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair

TEXTS = ["", "x", "x" * 23, "x" * 24, "x" * 255, "x" * 256, "x" * 40_000, "ä", "ß" * 12, "€" * 85, "\0"]


class Taker:
    """A task that receives all the time, so that it waits whenever a message comes."""

    def __init__(self, sub: SubChannel[Any]) -> None:
        self.sub = sub
        self.received: list[Any] = []

    async def run(self) -> None:
        async for message in self.sub:
            self.received.append(message)


@pytest.mark.parametrize("policy", [Block(1), Block(3), Block(1024), DropOldest(1), DropNewest(2), Latest()], ids=repr)
@pytest.mark.parametrize(
    ("message_type", "messages"),
    [
        (TEXT, TEXTS),
        (OBJECT, [*TEXTS, None, 0, False, {}, [], b"", {"a": [1, None]}]),
        (BINARY, [text.encode() for text in TEXTS]),
    ],
    ids=["text", "object", "binary"],
)
async def test_each_comes_as_it_was_sent(
    autojump_clock: object,
    pair: Pair,
    policy: trioton.Policy,
    message_type: trioton.MessageType[Any],
    messages: list[Any],
) -> None:
    pub, sub = PubChannel(pair.a, "n", message_type), SubChannel(pair.b, "n", message_type, policy=policy)
    await pub.wait_subscribers()
    taker = Taker(sub)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(taker.run)
        for message in messages * 3:
            await trio.sleep(1)
            await pub.send(message)
        await trio.sleep(1)
        assert taker.received == messages * 3
        assert list(map(type, taker.received)) == list(map(type, messages * 3))
        counts = sub.statistics()
        assert (counts.received, counts.taken, counts.pending, counts.dropped) == (len(taker.received),) * 2 + (0, 0)
        nursery.cancel_scope.cancel()
    to_b, to_a = pair.to_b.statistics(), pair.to_a.statistics()
    assert to_b.messages_sent == to_a.messages_received == len(taker.received)


@pytest.mark.parametrize("buffer_size", [1, 7, 100, 1000])
async def test_what_the_transport_takes_in_parts(open_pair: OpenPair, buffer_size: int) -> None:
    rng = random.Random(buffer_size)
    async with open_pair(Network(seed=1, latency=0.01, buffer_size=buffer_size)) as pair:
        pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n")
        await pub.wait_subscribers()
        texts = ["".join(rng.choices("abc", k=rng.choice([1, 30, 500]))) for _ in range(100)]
        async with trio.open_nursery() as nursery:
            taker = Taker(sub)
            nursery.start_soon(taker.run)
            for text in texts:
                await pub.send(text)
                await trio.sleep(rng.choice([0, 0.0001, 0.02, 1]))
            while len(taker.received) < len(texts):  # noqa: ASYNC110  # it takes as long as it takes
                await trio.sleep(1)
            assert taker.received == texts
            nursery.cancel_scope.cancel()


async def test_a_link_that_is_lost_with_them(autojump_clock: object, pair: Pair) -> None:
    """Each leaves at once, and some of the links break under it: all come once, in order."""
    pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n")
    await pub.wait_subscribers()
    taker = Taker(sub)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(taker.run)
        for number in range(50):
            await pub.send(str(number))
            await trio.sleep(number % 3 * 0.005)
            if number % 5 == 0:
                pair.net.cut("a", "b")
            await trio.sleep(1)
        await trio.sleep(60)
        assert taker.received == list(map(str, range(50)))
        nursery.cancel_scope.cancel()
    assert sub.statistics().dropped == 0


async def test_the_sender_hears_of_what_was_handed_over(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n", policy=Block(8))
    await pub.wait_subscribers()
    taker = Taker(sub)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(taker.run)
        for number in range(100):
            with trio.fail_after(0.5):
                await pub.send(str(number))
            await trio.sleep(0.1)
        with trio.fail_after(1):
            await pair.a.flush()
        assert pub.statistics().unconfirmed == 0
        nursery.cancel_scope.cancel()


async def test_several_that_wait_take_turns(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n")
    await pub.wait_subscribers()
    takers = [Taker(sub) for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for taker in takers:
            nursery.start_soon(taker.run)
            await trio.testing.wait_all_tasks_blocked()
        for number in range(9):
            await pub.send(str(number))
            await trio.sleep(1)
        assert [taker.received for taker in takers] == [["0", "3", "6"], ["1", "4", "7"], ["2", "5", "8"]]
        nursery.cancel_scope.cancel()


async def test_cancelled_after_it_was_handed_over_it_is_still_received(autojump_clock: object) -> None:
    async with trioton.open_context("a", network=Network(seed=1).host("a")) as context:
        pub, sub = PubChannel(context, "n", local=True), SubChannel(context, "n")
        for receive in (sub.receive, sub.receive_many, sub.__anext__):
            received: list[Any] = []

            async def take(scope: trio.CancelScope, receive: Any, received: list[Any]) -> None:
                with scope:
                    received.append(await receive())

            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(take, scope, receive, received)
                await trio.testing.wait_all_tasks_blocked()
                pub.send_nowait("x")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
            assert received in (["x"], [["x"]])
            assert sub.pending == 0


async def test_receive_many_and_merge(autojump_clock: object, pair: Pair) -> None:
    pub, sub, other = PubChannel(pair.a, "n"), SubChannel(pair.b, "n"), SubChannel(pair.b, "n")
    await pub.wait_subscribers(2)
    received: list[Any] = []

    async def take_many() -> None:
        while True:
            received.append(await sub.receive_many())

    async def take_merged() -> None:
        async for channel, message in merge(other):
            received.append((channel is other, message))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_many)
        nursery.start_soon(take_merged)
        for text in ("x", "y"):
            await trio.sleep(1)
            await pub.send(text)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert sorted(map(repr, received)) == sorted(map(repr, [["x"], (True, "x"), ["y"], (True, "y")]))


async def test_one_that_is_none_of_the_type(autojump_clock: object, pair: Pair) -> None:
    """A message that makes no sense is reported as ever; the next one is handed over."""
    pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n")
    await pub.wait_subscribers()
    errors: list[Exception] = []
    received: list[str] = []

    async def take() -> None:
        while True:
            try:
                received.append(await sub.receive())
            except trioton.MessageDecodeError as error:
                errors.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        for message in (1, "x", None, "y", b"", "z"):
            await trio.sleep(1)
            pair.a._dispatcher.added(pub._flow, due=pub._flow.add(encode_value(message)))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert received == ["x", "y", "z"]
    assert len(errors) == 3


async def test_one_that_is_no_utf8(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.b)
    pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n")
    await pub.wait_subscribers()
    taker = Taker(sub)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(taker.run)
        await pub.send("before")
        await trio.sleep(1)
        flow = pub._flow
        flow.add(b"\x62\xff\xff")
        pair.a._dispatcher.added(flow, due=True)
        await trio.sleep(1)
        await pub.send("after")
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert taker.received == ["before", "after"]
    assert len(events.all(trioton.BadMessage)) == 1


async def test_closing_while_one_is_handed_over(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n")
    await pub.wait_subscribers()
    taker = Taker(sub)
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await taker.run()

        nursery.start_soon(take)
        await pub.send("x")
        await trio.sleep(1)
        sub.close()
    assert taker.received == ["x"]


def test_the_frame_of_a_lone_package_is_that_of_any_other() -> None:
    template = PackageTemplate(bytes(16), "slot", 1)
    for first in (0, 23, 24, 255, 256, 65_535, 65_536, 1 << 32):
        for count in (0, 1, 2, 511):
            fields = [0, bytes(16), 1, first, "slot", count]
            assert template.header(first, count) == encode_value(fields)
