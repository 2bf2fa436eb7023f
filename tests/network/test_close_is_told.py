"""Closing is told: reasons reach the peer, channels end, and nothing is accepted any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import Block, PubChannel, SubChannel

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


# ---------------- reasons


async def test_the_reason_reaches_the_peer(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    at_a, at_b = watch(pair.a), watch(pair.b)
    await pair.to_a.aclose("going home\nat last")
    assert pair.to_a.is_closed
    assert pair.to_a.close_reason == "going home\nat last"
    assert (await at_a.wait_for(trioton.Disconnected)).reason == "going home at last"
    assert (await at_a.wait_for(trioton.ContextDied)).reason == "going home at last"
    assert pair.to_b.close_reason == "going home at last"
    assert pair.to_b.is_closed
    assert at_b.names == at_a.names == ["Disconnected", "ContextDied"]


async def test_without_a_reason_both_sides_still_have_one(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.b)
    await pair.to_b.aclose()
    assert pair.to_b.close_reason == "closed on command"
    assert (await events.wait_for(trioton.Disconnected)).reason == "closed on command"


async def test_a_goodbye_is_not_dialled_again(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.b)
    await pair.to_b.aclose("enough")
    await events.wait_for(trioton.ContextDied)
    await pair.to_a.wait_closed()
    assert pair.to_a.close_reason == "enough"
    await trio.sleep(100)
    assert events.names == ["Disconnected", "ContextDied"]
    assert pair.a.connections == pair.b.connections == []
    assert pair.net.statistics().dialled == 1


async def test_a_long_reason_is_cut_for_the_peer(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    await pair.to_a.aclose("x" * 10_000)
    reason = (await events.wait_for(trioton.Disconnected)).reason
    assert reason.startswith("xxx")
    assert reason.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert len(reason) <= 512


async def test_both_ends_close_at_once(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.to_a.aclose, "b says")
            nursery.start_soon(pair.to_b.aclose, "a says")
        assert trio.current_time() - start < 1
        assert pair.to_a.close_reason == "b says"
        assert pair.to_b.close_reason == "a says"


async def test_a_reason_must_be_a_text(autojump_clock: object, pair: Pair) -> None:
    with pytest.raises(TypeError, match="reason must be a str, not 3"):
        await pair.to_a.aclose(3)  # type: ignore[arg-type]
    assert pair.to_a.is_connected


# ---------------- what is closed takes nothing


async def test_closing_in_the_block_does_not_cancel_it(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        await pair.b.aclose()
        await pair.b.aclose()
        await trio.lowlevel.checkpoint()
        await trio.sleep(10)
        with pytest.raises(trio.ClosedResourceError):
            await pair.b.bind("b:2")
        with pytest.raises(trio.ClosedResourceError):
            await pair.b.connect("a:1")
        with pytest.raises(trio.ClosedResourceError):
            pair.b.start_soon(trio.sleep_forever)
        with pytest.raises(trio.ClosedResourceError):
            PubChannel(pair.b, "chat")
        with pytest.raises(trio.ClosedResourceError):
            pair.b.events()
        reached = True
    assert reached


async def test_receivers_end_and_senders_fail_when_the_context_closes(
    autojump_clock: object, open_pair: OpenPair
) -> None:
    async with open_pair() as pair:
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat", policy=Block(1))
        await pub.wait_subscribers()
        await pub.send("waits")
        outcomes = []

        async def send() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await pub.send("no room")
            outcomes.append("send")

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await pub.wait_subscribers(5)
            outcomes.append("wait")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.1)
            with trio.fail_after(20):
                await pair.a.aclose()
        assert sorted(outcomes) == ["send", "wait"]
        await pair.b.aclose()
        assert await sub.receive() == "waits"
        with pytest.raises(trio.EndOfChannel):
            await sub.receive()


@pytest.mark.parametrize("message", ["text", 7])
async def test_nothing_is_accepted_once_closing_has_begun(
    autojump_clock: object, open_pair: OpenPair, message: object
) -> None:
    """Also what would go the shortest way; what was accepted before still leaves, from the backlog too."""
    async with open_pair(grace=50) as pair:
        held, quick = PubChannel(pair.b, "held"), PubChannel(pair.b, "quick", trioton.OBJECT)
        if message == "text":
            quick = PubChannel(pair.b, "quick")
        slow = SubChannel(pair.a, "held", policy=Block(1))
        sub: SubChannel[object] = SubChannel(pair.a, "quick", quick._type, policy=Block(1000))
        for _ in range(5):
            await held.send("x")
        await quick.wait_subscribers()
        await quick.send(message)
        await quick.send(message)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.b.aclose)
            await trio.sleep(0.1)
            assert pair.to_a.statistics().state == "closing"
            for _ in range(3):
                with pytest.raises(trio.ClosedResourceError):
                    await quick.send(message)
            assert [await slow.receive() for _ in range(5)] == ["x"] * 5
            for _ in range(3):
                with pytest.raises(trio.ClosedResourceError):
                    await quick.send(message)
        await pair.to_b.wait_closed()
        assert sub.receive_all_nowait() == [message] * 2
