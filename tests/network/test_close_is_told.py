"""Closing a connection or a context is told: reasons reach the peer, channels end, and nothing is accepted any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import warnings_of
from trioton import OBJECT, Block, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


# ---------------- reasons


@pytest.mark.parametrize(
    "reason",
    [
        "enough for today",
        "going home\nat last",
        "  spaces \n and\tlines  ",
        "x" * 600,
        "x" * 10_000,
        "Gr\u00fc\u00dfe \U0001f44b",
    ],
    ids=lambda reason: repr(reason[:20]),
)
async def test_a_reason_reaches_the_peer(autojump_clock: object, pair: Pair, watch: MakeWatch, reason: str) -> None:
    """In one line, and not a long one."""
    at_a, at_b = watch(pair.a), watch(pair.b)
    await pair.to_a.aclose(reason)
    assert pair.to_a.is_closed
    assert pair.to_a.close_reason == reason
    await pair.to_b.wait_closed()
    assert pair.to_b.is_closed
    line = " ".join(reason.split())
    expected = line if len(line) <= 512 else line[:511] + "\N{HORIZONTAL ELLIPSIS}"
    assert pair.to_b.close_reason == expected
    assert (await at_a.wait_for(trioton.Disconnected)).reason == expected
    assert (await at_a.wait_for(trioton.ContextDied)).reason == expected
    assert at_b.names == at_a.names == ["Disconnected", "ContextDied"]
    assert pair.a.connections == pair.b.connections == []
    assert pair.a.peers == pair.b.contexts == []


@pytest.mark.parametrize("who", ["who dialled", "who listens"])
async def test_without_a_reason_both_sides_still_have_one(
    autojump_clock: object, pair: Pair, watch: MakeWatch, who: str
) -> None:
    there = watch(pair.a if who == "who dialled" else pair.b)
    await (pair.to_a if who == "who dialled" else pair.to_b).aclose()
    assert (await there.wait_for(trioton.Disconnected)).reason == "closed on command"
    assert pair.to_a.close_reason == pair.to_b.close_reason == "closed on command"


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


async def test_both_ends_close_at_once(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.to_a.aclose, "b says")
            nursery.start_soon(pair.to_b.aclose, "a says")
        assert trio.current_time() - start < 1
        assert pair.to_a.close_reason == "b says"
        assert pair.to_b.close_reason == "a says"


async def test_a_goodbye_that_comes_before_the_own_is_said(
    autojump_clock: object, open_pair: OpenPair, caplog: pytest.LogCaptureFixture
) -> None:
    """Who closes while much is still to be written hears the peer's goodbye first. Nobody is gone without one then."""
    net = Network(seed=1, latency=0.1, buffer_size=3000)
    async with open_pair(net) as pair:
        pub = PubChannel(pair.a, "n", OBJECT)
        _sub = SubChannel(pair.b, "n", OBJECT, policy=Block(10_000))
        await pub.wait_subscribers()
        await pub.send_many(range(3000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.to_b.aclose, "a says")
            await pair.to_a.aclose("b says")
            assert pair.to_b.close_reason == "a says"
    [warning] = warnings_of(caplog)
    assert "messages were sent" in warning  # what was still to be written is lost, and that is said


async def test_a_reason_must_be_a_text(autojump_clock: object, pair: Pair) -> None:
    with pytest.raises(TypeError, match="reason must be a str, not 3"):
        await pair.to_a.aclose(3)  # type: ignore[arg-type]
    assert pair.to_a.is_connected


# ---------------- connections


async def test_closing_twice_keeps_the_first_reason(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.to_a.aclose, "first")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(pair.to_a.aclose, "second")
    await pair.to_a.aclose("third")
    assert pair.to_a.close_reason == "first"
    await pair.to_b.wait_closed()
    assert pair.to_b.close_reason == "first"


async def test_the_context_goes_on_and_may_connect_again(pair: Pair) -> None:
    sub = SubChannel(pair.b, "n")
    for number in range(5):
        await pair.b.connections[0].aclose()
        await pair.b.connect("a:1")
        pub = PubChannel(pair.a, "n")
        await pub.wait_subscribers()
        await pub.send(str(number))
        assert await sub.receive() == str(number)


async def test_what_was_sent_before_arrives_before_the_end(open_pair: OpenPair) -> None:
    net = Network(seed=1, latency=0.1, buffer_size=3000)
    async with open_pair(net) as pair:
        pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT, policy=Block(10_000))
        await pub.wait_subscribers()
        await pub.send_many(range(3000))
        await pair.to_b.aclose()
        await pair.to_a.wait_closed()
        assert sub.receive_all_nowait() == list(range(3000))


async def test_closing_while_others_send_harms_nobody(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """What is sent after the goodbye must not follow it onto the link."""
    forth, there = PubChannel(pair.a, "forth", OBJECT), SubChannel(pair.b, "forth", OBJECT, policy=Block(3))
    back, here = PubChannel(pair.b, "back", OBJECT), SubChannel(pair.a, "back", OBJECT, policy=trioton.Latest())
    await forth.wait_subscribers()
    await back.wait_subscribers()

    async def send(pub: PubChannel[object]) -> None:
        while True:
            await pub.send(0)
            await trio.sleep(0.001)

    async def receive() -> None:
        async for _ in there:
            await trio.sleep(0.002)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, forth)
        nursery.start_soon(send, back)
        nursery.start_soon(receive)
        await trio.sleep(0.5)
        await pair.to_a.aclose("enough")
        await pair.to_b.wait_closed()
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert pair.to_b.close_reason == "enough"
    assert here.statistics().received > 100
    assert not [record for record in caplog.records if "goes on after its goodbye" in record.message]


async def test_no_heartbeat_follows_a_goodbye(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    pair.net.partition("a", "b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.to_a.aclose, "enough")
        await trio.sleep(4.5)
        pair.net.heal()
        with trio.fail_after(0.4):
            await pair.to_b.wait_closed()
            await pair.to_a.wait_closed()
    assert pair.to_b.close_reason == "enough"
    assert warnings_of(caplog) == []


async def test_wait_closed(pair: Pair) -> None:
    with trio.move_on_after(100) as scope:
        await pair.to_a.wait_closed()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.to_a.wait_closed)
        nursery.start_soon(pair.to_b.wait_closed)
        await trio.testing.wait_all_tasks_blocked()
        await pair.to_b.aclose()
    with trio.testing.assert_checkpoints():
        await pair.to_a.wait_closed()


async def test_a_suspended_connection_can_be_closed(pair: Pair, watch: MakeWatch) -> None:
    at_a, at_b = watch(pair.a), watch(pair.b)
    pair.net.partition("a", "b")
    await at_b.wait_for(trioton.Suspended)
    start = trio.current_time()
    await pair.to_a.aclose("given up")
    assert trio.current_time() - start < 0.1
    assert pair.to_a.close_reason == "given up"
    assert at_b.names[-2:] == ["Disconnected", "ContextDied"]
    assert pair.b.connections == []
    # The peer cannot know; for it the session ends with the window.
    await at_a.wait_for(trioton.ContextDied)


# ---------------- contexts


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
