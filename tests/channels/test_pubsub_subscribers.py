"""Who listens: subscribers are counted and waited for, one by one or many at once; and what channels show of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import OBJECT, Block, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import OpenPair, Pair


# ---------------------------------------------------------------------------------------------------------- who listens


async def test_wait_subscribers_counts_those_of_other_contexts(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "chat")
    SubChannel(pair.a, "chat")
    await pub.wait_subscribers(0)
    assert pub.subscribers == 0
    with trio.move_on_after(1) as scope:
        await pub.wait_subscribers()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pub.wait_subscribers, 2)
        await trio.sleep(1)
        SubChannel(pair.b, "chat")
        await trio.sleep(1)
        assert pub.subscribers == 1
        second = SubChannel(pair.b, "chat")
    assert pub.subscribers == pub.statistics().subscribers == 2
    second.close()
    await trio.sleep(1)
    assert pub.subscribers == 1


@pytest.mark.parametrize("what", ["channel", "context"])
async def test_wait_subscribers_ends_when_it_is_closed(autojump_clock: object, open_pair: OpenPair, what: str) -> None:
    async with open_pair() as pair:
        pub, other = PubChannel(pair.a, "chat"), PubChannel(pair.a, "chat")

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await pub.wait_subscribers()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                if what == "channel":
                    pub.close()
                else:
                    await pair.a.aclose()
        assert not other.closed


async def test_subscribers_of_a_context_that_has_gone_no_longer_count(autojump_clock: object, pair: Pair) -> None:
    pub = PubChannel(pair.a, "chat")
    SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    await pair.b.aclose()
    await trio.sleep(1)
    assert pub.subscribers == 0
    await pub.send("to nobody")
    await trio.sleep(1)
    assert pub.statistics().unheard == 1


async def test_many_contexts_and_one_publisher(autojump_clock: object) -> None:
    net = Network(seed=5, latency=(0.001, 0.05))
    async with trioton.open_context("hub", network=net.host("hub")) as hub, trio.open_nursery() as nursery:
        await hub.bind("hub:1")
        pub = PubChannel(hub, "n", OBJECT)
        received: dict[int, list[int]] = {}

        async def subscribe(number: int) -> None:
            name = f"s{number}"
            async with trioton.open_context(name, network=net.host(name)) as context:
                sub = SubChannel(context, "n", OBJECT, policy=Block(number + 1))
                await context.connect("hub:1")
                received[number] = [await sub.receive() for _ in range(50)]

        for number in range(10):
            nursery.start_soon(subscribe, number)
        await pub.wait_subscribers(10)
        with trio.fail_after(100):
            await pub.send_many(range(50))
    assert received == {number: list(range(50)) for number in range(10)}


async def test_many_that_come_and_go_at_once_are_told_of_together(autojump_clock: object, pair: Pair) -> None:
    """The publisher hears how many there are, not of each one."""
    pub = PubChannel(pair.a, "n")
    first = SubChannel(pair.b, "n")
    await pub.wait_subscribers()
    before = pair.to_a.statistics().bytes_sent
    subs = [SubChannel(pair.b, "n") for _ in range(500)]
    await pub.wait_subscribers(501)
    await pub.send("x")
    for sub in subs:
        assert await sub.receive() == "x"
        sub.close()
    await trio.sleep(1)
    assert pub.statistics().subscribers == 1
    assert pair.to_a.statistics().bytes_sent - before < 1000
    assert await first.receive() == "x"


# -------------------------------------------------------------------------------------------------------- what is shown


async def test_statistics(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    for _ in range(3):
        await pub.send("x")
    pub.send_nowait("x")
    await pub.send_many(["x"] * 6)
    await trio.sleep(1)
    sending = pub.statistics()
    assert (sending.sent, sending.subscribers, sending.backlog, sending.unheard, sending.waiting) == (10, 1, 0, 0, 0)
    for _ in range(4):
        await sub.receive()
    receiving = sub.statistics()
    assert (receiving.received, receiving.taken, receiving.pending, receiving.dropped) == (10, 4, 6, 0)
    assert receiving.bytes >= 20
    assert receiving.waiting == 0
    sub.receive_all_nowait()
    assert sub.statistics().taken == 10
    await pair.a.flush()
    assert pub.statistics().unconfirmed == 0


async def test_reprs(autojump_clock: object, pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "Chat"), SubChannel(pair.b, "chat", policy=Block(5))
    assert repr(pub) == "<PubChannel 'chat.txt.pub-sub' of a, 0 subscribers>"
    assert repr(sub) == "<SubChannel 'chat.txt.pub-sub' of b, Block(size=5), 0 pending>"
    await pub.wait_subscribers()
    await pub.send_many(["one", "two"])
    await trio.sleep(1)
    assert repr(pub) == "<PubChannel 'chat.txt.pub-sub' of a, 1 subscribers>"
    assert repr(sub) == "<SubChannel 'chat.txt.pub-sub' of b, Block(size=5), 2 pending>"
    pub.close()
    sub.close()
    assert repr(pub) == "<PubChannel 'chat.txt.pub-sub' of a, closed>"
    assert repr(sub) == "<SubChannel 'chat.txt.pub-sub' of b, Block(size=5), closed>"
    latest = SubChannel(pair.b, "chat", policy=trioton.Latest())
    await pair.b.aclose()
    assert repr(latest) == "<SubChannel 'chat.txt.pub-sub' of b, Latest(), ended>"


async def test_channels_are_those_of_trio(autojump_clock: object, pair: Pair) -> None:
    assert isinstance(PubChannel(pair.a, "chat"), trio.abc.SendChannel)
    assert isinstance(SubChannel(pair.a, "chat"), trio.abc.ReceiveChannel)
