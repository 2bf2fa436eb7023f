"""`check_at_rest` accepts contexts that hold nothing, and names what others hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioton import Block, PubChannel, SubChannel, open_channel
from trioton.testing import check_at_rest

if TYPE_CHECKING:
    from tests.conftest import Pair


async def test_contexts_that_have_sent_and_received_all_are_at_rest(pair: Pair) -> None:
    await check_at_rest()
    await check_at_rest(pair.a, pair.b)
    pub, sub = PubChannel(pair.a, "x"), SubChannel(pair.b, "x", policy=Block(100))
    await pub.wait_subscribers()
    for number in range(10):
        await pub.send(str(number))
    assert [await sub.receive() for _ in range(10)]
    assert pub.statistics().unconfirmed
    await check_at_rest(pair.a, pair.b)
    await pub.aclose()
    await sub.aclose()
    await check_at_rest(pair.a, pair.b)


async def test_a_context_that_was_closed_is_at_rest(pair: Pair) -> None:
    PubChannel(pair.a, "x").send_nowait("into the backlog")
    await pair.a.aclose()
    await check_at_rest(pair.a)


async def test_a_backlog_is_named(pair: Pair) -> None:
    pub = PubChannel(pair.a, "x")
    pub.send_nowait("1")
    with pytest.raises(AssertionError, match=r"not at rest:\ncontext a: 1 message in the backlog of 'x.txt.pub-sub'$"):
        await check_at_rest(pair.a, pair.b)


async def test_what_was_not_received_is_named_at_both_sides(pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "x"), SubChannel(pair.b, "x", policy=Block(3))
    await pub.wait_subscribers()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            await pub.send(str(number))
        nursery.start_soon(pub.send, "one more")
        await wait_all_tasks_blocked()
        with pytest.raises(AssertionError) as caught:
            await check_at_rest(pair.a, pair.b, patience=5)
        assert str(caught.value).splitlines() == [
            "not at rest:",
            f"context a: 3 messages not confirmed by {pair.to_b.peer}",
            "context a: 1 task waiting for room on 'x.txt.pub-sub'",
            "context b: 3 messages not received on 'x.txt.pub-sub'",
        ]
        assert [await sub.receive() for _ in range(4)] == ["0", "1", "2", "one more"]
    await check_at_rest(pair.a, pair.b)


async def test_what_waits_for_a_peer_that_cannot_be_reached_is_named(pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "x"), SubChannel(pair.b, "x", policy=Block(100))
    await pub.wait_subscribers()
    pair.net.partition({"a"}, {"b"})
    await trio.sleep(12)  # the lease is over, and the connection suspended
    await pub.send("lost in space")
    with pytest.raises(AssertionError, match="context a: 1 message not confirmed by "):
        await check_at_rest(pair.a, pair.b, patience=1)
    pair.net.heal()
    assert await sub.receive() == "lost in space"
    await check_at_rest(pair.a, pair.b)


async def test_what_was_not_written_is_named(pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "x"), SubChannel(pair.b, "x", policy=Block(100))
    await pub.wait_subscribers()
    pair.net.partition({"a"}, {"b"})
    for _ in range(20):
        pub.send_nowait("x" * 40_000)  # together more than may be under way
    with pytest.raises(AssertionError, match=r"context a: [0-9]+ packages queued for 'b'"):
        await check_at_rest(pair.a, pair.b, patience=1)
    pair.net.heal()
    for _ in range(20):
        await sub.receive()
    await check_at_rest(pair.a, pair.b)


async def test_a_channel_at_home_is_looked_at(pair: Pair) -> None:
    sender, receiver = open_channel(pair.a)
    await sender.send("x")
    with pytest.raises(AssertionError, match=r"context a: 1 message not received on '~"):
        await check_at_rest(pair.a, patience=1)
    await receiver.receive()
    await check_at_rest(pair.a)


async def test_wrong_arguments_are_named(autojump_clock: MockClock) -> None:
    with pytest.raises(TypeError, match="contexts must be contexts, as open_context gives them, not 'a'"):
        await check_at_rest("a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=re.escape("patience must be a positive number of seconds, not 0")):
        await check_at_rest(patience=0)


async def test_what_is_counted_and_not_held_is_named(pair: Pair) -> None:
    pair.to_a.memory.charge(17)
    with pytest.raises(AssertionError, match=r"not at rest:\ncontext b: 17 bytes are charged to its peers$"):
        await check_at_rest(pair.a, pair.b)
