"""Promises 1 to 4 of `docs/explain/promises.rst`, one short test each, named after its number; the depth is in the tests of each part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import FAST, send_numbers, warnings_of
from trioton import Block, DropOldest, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


# ---------------- order


async def test_promise_1_order(autojump_clock: object) -> None:
    """Messages from one sender on one channel reach one receiver in the order in which they were sent."""
    net = Network(seed=1, latency=(0.001, 0.1))
    received: dict[str, list[int]] = {"b": [], "c": []}
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
        trio.open_nursery() as nursery,
    ):
        await a.bind("a:1")
        sub = SubChannel(a, "numbers", trioton.OBJECT, policy=Block(7))
        for context in (b, c):
            await context.connect("a:1")
            pub = PubChannel(context, "numbers", trioton.OBJECT)
            await pub.wait_subscribers()
            nursery.start_soon(pub.send_many, [[context.name, number] for number in range(300)])
        for _ in range(600):
            name, number = await sub.receive()
            received[name].append(number)
    assert received == {"b": list(range(300)), "c": list(range(300))}


async def test_promise_1_merge_gives_the_order_of_arrival(autojump_clock: object, pair: Pair) -> None:
    """There is no order between senders; `trioton.merge` gives the order of arrival."""
    subs = [SubChannel(pair.a, slot, trioton.OBJECT) for slot in ("near", "far")]
    near, far = PubChannel(pair.a, "near", trioton.OBJECT, local=True), PubChannel(pair.b, "far", trioton.OBJECT)
    await far.wait_subscribers()
    for number in range(0, 20, 2):
        await far.send(number)  # it takes longer to arrive than the next one
        await near.send(number + 1)
        await trio.sleep(1)
    merged = trioton.merge(*subs)
    received = [await anext(merged) for _ in range(20)]
    assert [number for _, number in received] == [number ^ 1 for number in range(20)]
    assert [channel is subs[number % 2 == 0] for channel, number in received] == [True] * 20


# ---------------- delivery


async def test_promise_2_block_delivers_exactly_once(autojump_clock: object, open_pair: OpenPair) -> None:
    """Under ``Block``, each message arrives exactly once, also when the transport breaks and the connection is resumed."""
    async with open_pair(reconnect=FAST) as pair, trio.open_nursery() as nursery:
        pub, sub = (
            PubChannel(pair.a, "numbers", trioton.OBJECT),
            SubChannel(pair.b, "numbers", trioton.OBJECT, policy=Block(20)),
        )
        await pub.wait_subscribers()
        nursery.start_soon(send_numbers, pub, 500, 0.002)

        async def cut() -> None:
            for _ in range(10):
                await trio.sleep(0.09)
                pair.net.cut("a", "b")

        nursery.start_soon(cut)
        assert [await sub.receive() for _ in range(500)] == list(range(500))
        await pair.a.flush()
        await trio.sleep(5)
        assert sub.pending == 0
        assert pair.to_a.statistics().transports > 5


async def test_promise_2_no_silent_gap(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    """Where a policy drops messages, the receiver can read how many (``sub.statistics()`` and the `trioton.Gap` event)."""
    events = watch(pair.b)
    pub, sub = (
        PubChannel(pair.a, "numbers", trioton.OBJECT),
        SubChannel(pair.b, "numbers", trioton.OBJECT, policy=DropOldest(5)),
    )
    await pub.wait_subscribers()
    await send_numbers(pub, 100)
    await pair.to_b.flush()
    received = sub.receive_all_nowait()
    assert received == list(range(95, 100))
    assert sub.statistics().dropped == 95
    assert sum(gap.count for gap in events.all(trioton.Gap)) == 95


async def test_promise_2_both_sides_hear_of_a_lost_session(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    """If a connection cannot be resumed in time, both sides are told by ``SessionLost``."""
    at_a, at_b = watch(pair.a), watch(pair.b)
    pair.net.partition("a", "b")
    assert (await at_a.wait_for(trioton.SessionLost)).connection is pair.to_b
    assert (await at_b.wait_for(trioton.SessionLost)).connection is pair.to_a


async def test_promise_2_what_a_lost_transport_took_is_counted(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    """There is no silent gap: what was on its way under a policy that drops is counted, though nothing follows it."""
    events = watch(pair.b)
    pub = PubChannel(pair.a, "numbers", trioton.OBJECT)
    sub = SubChannel(pair.b, "numbers", trioton.OBJECT, policy=DropOldest(1000))
    await pub.wait_subscribers()
    await pub.send(0)
    assert await sub.receive() == 0
    await send_numbers(pub, 10)
    await trio.sleep(0.005)  # all of it is on its way, and nothing has arrived
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Resumed)
    await trio.sleep(1)
    assert sub.pending == 0
    assert sub.statistics().dropped == 10
    assert [(gap.source, gap.count) for gap in events.all(trioton.Gap)] == [(pair.a.id, 10)]


async def test_promise_3_sent_means_accepted_by_every_subscriber(autojump_clock: object) -> None:
    """When ``await send()`` returns, the message has been accepted into the window of every blocking subscriber."""
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
    ):
        await a.bind("a:1")
        subs = []
        for context, size in ((b, 3), (c, 50)):
            await context.connect("a:1")
            subs.append(SubChannel(context, "numbers", trioton.OBJECT, policy=Block(size)))
        pub = PubChannel(a, "numbers", trioton.OBJECT)
        await pub.wait_subscribers(2)
        with trio.move_on_after(10):
            await send_numbers(pub, 10)
        assert pub.statistics().sent == 3
        await trio.sleep(1)
        assert [sub.receive_all_nowait() for sub in subs] == [[0, 1, 2]] * 2


async def test_promise_3_cancelled_means_not_sent(autojump_clock: object, pair: Pair) -> None:
    """If it is cancelled, the message was not sent."""
    pub, sub = (
        PubChannel(pair.a, "numbers", trioton.OBJECT),
        SubChannel(pair.b, "numbers", trioton.OBJECT, policy=Block(1)),
    )
    await pub.wait_subscribers()
    sent = []
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            while True:
                received.append(await sub.receive())
                await trio.sleep(0.05)

        received: list[object] = []
        nursery.start_soon(receive)
        for number in range(300):
            with trio.move_on_after(0.013):
                await pub.send(number)
                sent.append(number)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert 10 < len(sent) < 290
    assert received == sent


async def test_promise_4_closing_delivers_first(autojump_clock: object, open_pair: OpenPair) -> None:
    """What is sent stays sent: closing delivers first, for at most ``grace`` seconds."""
    async with open_pair(Network(seed=1, latency=0.2, buffer_size=500)) as pair:
        pub, sub = PubChannel(pair.b, "numbers", trioton.OBJECT), SubChannel(pair.a, "numbers", trioton.OBJECT)
        await pub.wait_subscribers()
        await send_numbers(pub, 500)
        await pair.b.aclose()
        assert sub.receive_all_nowait() == list(range(500))


async def test_promise_4_what_grace_cut_off_is_counted(
    autojump_clock: object, open_pair: OpenPair, caplog: pytest.LogCaptureFixture
) -> None:
    """What ``grace`` cut off is counted and logged once."""
    async with open_pair(Network(seed=1, latency=0.2, buffer_size=500), b_options={"grace": 1}) as pair:
        pub = PubChannel(pair.b, "numbers", trioton.BINARY)
        SubChannel(pair.a, "numbers", trioton.BINARY)
        await pub.wait_subscribers()
        pair.net.partition("a", "b")
        await pub.send_many([bytes(100_000)] * 10)
        start = trio.current_time()
        await pair.b.aclose()
        assert trio.current_time() - start == pytest.approx(1, abs=0.1)
        lost = pair.to_a.statistics().messages_dropped
        assert lost >= 9
        [line] = warnings_of(caplog)
        assert f"closed before {lost} messages were sent" in line


async def test_promise_4_a_cancelled_context_only_says_goodbye(autojump_clock: object, watch: MakeWatch) -> None:
    """When the surrounding scope is cancelled, nothing more is delivered; only a goodbye is tried."""
    net = Network(seed=1, latency=0.02, buffer_size=500)
    async with trioton.open_context("a", network=net.host("a")) as a:
        await a.bind("a:1")
        events = watch(a)
        sub = SubChannel(a, "numbers", trioton.BINARY)
        with trio.CancelScope() as scope:
            async with trioton.open_context("b", network=net.host("b")) as b:
                await b.connect("a:1")
                pub = PubChannel(b, "numbers", trioton.BINARY)
                await pub.wait_subscribers()
                start = trio.current_time()
                for _ in range(500):
                    pub.send_nowait(bytes(200))
                    await trio.lowlevel.cancel_shielded_checkpoint()
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert trio.current_time() - start < 0.5
        assert (await events.wait_for(trioton.ContextDied)).reason == "the context was closed"
        assert sub.pending < 20  # no more than the transport took at once
