"""What a context tells of its network: in order, to everybody who listens, without ever waiting for one who does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import OBJECT, DropOldest, PubChannel, SubChannel
from trioton.network.events import QUEUE_SIZE, EventHub
from trioton.protocol.identity import ContextId
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


def identity(number: int) -> ContextId:
    return ContextId.from_parts(1, number)


def gap(number: int, count: int = 1) -> trioton.Gap:
    return trioton.Gap("slot", identity(number), count)


def died(number: int) -> trioton.ContextDied:
    return trioton.ContextDied(identity(number), "", "gone")


def drain(stream: trioton.EventStream) -> list[trioton.Event]:
    events: list[trioton.Event] = []
    while True:
        try:
            events.append(stream.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return events


def test_identities_are_shown_in_the_short_form() -> None:
    identity = ContextId.from_parts(0x7D2F46EAAB72_0123456789AB, 3)
    shown = [
        repr(trioton.ContextJoined(identity, "ann")),
        repr(trioton.ContextDied(identity, "ann", "gone")),
        repr(trioton.Gap("slot", identity, 2)),
        repr(trioton.BadMessage(identity, "slot", "damaged")),
        repr(trioton.Congested("slot", identity, 1.5)),
    ]
    assert shown == [
        "ContextJoined(id=3@7d2f46eaab72, name='ann')",
        "ContextDied(id=3@7d2f46eaab72, name='ann', reason='gone')",
        "Gap(slot='slot', source=3@7d2f46eaab72, count=2)",
        "BadMessage(source=3@7d2f46eaab72, slot='slot', reason='damaged')",
        "Congested(slot='slot', subscriber=3@7d2f46eaab72, seconds=1.5)",
    ]


# ---------------------------------------------------------------- the life of a peer


@asynccontextmanager
async def peer_of(net: Network) -> AsyncIterator[trioton.Context]:
    async with trioton.open_context("peer", network=net.host("peer")) as peer:
        await peer.connect("hub:1")
        yield peer


async def test_a_peer_comes_and_goes(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("hub", network=net.host("hub")) as hub, hub.events() as events:
        await hub.bind("hub:1")
        async with peer_of(net) as peer:
            joined = await events.receive()
            assert joined == trioton.ContextJoined(peer.id, "peer")
            connected = await events.receive()
            assert isinstance(connected, trioton.Connected)
            assert connected.connection.peer.id == peer.id
            assert connected.connection.is_connected
        disconnected = await events.receive()
        assert disconnected == trioton.Disconnected(connected.connection, "the context was closed")
        assert connected.connection.is_closed
        assert await events.receive() == trioton.ContextDied(peer.id, "peer", "the context was closed")
        with pytest.raises(trio.WouldBlock):
            events.receive_nowait()


async def test_everybody_hears_everything_from_when_they_listen(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("hub", network=net.host("hub")) as hub:
        await hub.bind("hub:1")
        early = hub.events()
        async with peer_of(net):
            await hub.wait_context("peer")
            late = hub.events()
        await trio.sleep(1)
        assert [type(event).__name__ for event in drain(late)] == ["Disconnected", "ContextDied"]
        assert [type(event).__name__ for event in drain(early)] == [
            "ContextJoined",
            "Connected",
            "Disconnected",
            "ContextDied",
        ]


async def test_an_iteration_ends_with_the_context(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    names: list[str] = []

    async def listen(stream: trioton.EventStream) -> None:
        async with stream:
            names.extend([type(event).__name__ async for event in stream])
            with pytest.raises(trio.EndOfChannel):
                await stream.receive()

    async with trio.open_nursery() as nursery:
        async with trioton.open_context("hub", network=net.host("hub")) as hub:
            await hub.bind("hub:1")
            nursery.start_soon(listen, hub.events())
            async with peer_of(net):
                await hub.wait_context("peer")
    assert names == ["ContextJoined", "Connected", "Disconnected", "ContextDied"]


async def test_what_happens_while_closing_can_still_be_read(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        stream = pair.b.events()
    assert [type(event).__name__ async for event in stream] == ["Disconnected", "ContextDied"]


async def test_a_closed_stream_refuses(pair: Pair) -> None:
    stream = pair.a.events()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError, match="this stream of events was closed"):
                await stream.receive()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        stream.close()
        stream.close()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive()
    pair.net.cut("a", "b")
    await trio.sleep(1)
    with pytest.raises(trio.ClosedResourceError):
        stream.receive_nowait()


async def test_a_closed_context_has_no_more_events(pair: Pair) -> None:
    await pair.a.aclose()
    with pytest.raises(trio.ClosedResourceError):
        pair.a.events()


async def test_two_tasks_share_a_stream(pair: Pair) -> None:
    """Each event goes to one of them, and a task that was cancelled has taken none."""
    stream = pair.b.events()
    received: list[trioton.Event] = []

    async def take() -> None:
        received.append(await stream.receive())

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await stream.receive()
        nursery.start_soon(take)
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        pair.net.cut("a", "b")
    assert {type(event) for event in received} == {trioton.Suspended, trioton.Resumed}


# ---------------------------------------------------------------- who does not listen


def test_a_thousand_events_wait_as_they_came() -> None:
    hub = EventHub()
    stream = hub.open()
    for _ in range(QUEUE_SIZE):
        hub.emit(gap(0))
    assert drain(stream) == [gap(0)] * QUEUE_SIZE
    assert stream.dropped == 0


def test_beyond_that_gaps_of_one_subject_add_up() -> None:
    hub = EventHub()
    stream = hub.open()
    for number in range(QUEUE_SIZE):
        hub.emit(gap(number))
    for _ in range(10):
        hub.emit(gap(5, 3))
    hub.emit(gap(6, 1))
    events = drain(stream)
    assert len(events) == QUEUE_SIZE
    assert events[-2:] == [gap(5, 31), gap(6, 2)]
    assert events[:5] == [gap(number) for number in range(5)]
    assert stream.dropped == 0


def test_no_message_is_lost_from_the_count_of_gaps() -> None:
    hub = EventHub()
    stream = hub.open()
    for number in range(10 * QUEUE_SIZE):
        hub.emit(gap(number % 7, number % 3))
    assert sum(event.count for event in drain(stream) if isinstance(event, trioton.Gap)) == sum(
        number % 3 for number in range(10 * QUEUE_SIZE)
    )


async def test_of_the_states_of_a_connection_the_newest_is_kept(pair: Pair) -> None:
    hub = EventHub()
    stream = hub.open()
    for number in range(QUEUE_SIZE - 1):
        hub.emit(gap(number))
    hub.emit(trioton.TimedOut(pair.to_a))
    hub.emit(trioton.Recovered(pair.to_a))
    hub.emit(trioton.TimedOut(pair.to_b))
    hub.emit(trioton.Suspended(pair.to_a, "why"))
    events = drain(stream)
    assert len(events) == QUEUE_SIZE
    assert events[-2:] == [trioton.TimedOut(pair.to_b), trioton.Suspended(pair.to_a, "why")]
    assert stream.dropped == 1  # the oldest gap, for the second connection


def test_the_oldest_gives_way_if_nothing_can_be_merged() -> None:
    hub = EventHub()
    stream = hub.open()
    for number in range(QUEUE_SIZE + 10):
        hub.emit(gap(number))
    events = drain(stream)
    assert events == [gap(number) for number in range(10, QUEUE_SIZE + 10)]
    assert stream.dropped == 10


def test_deaths_are_never_dropped() -> None:
    hub = EventHub()
    stream = hub.open()
    for number in range(10):
        hub.emit(died(number))
    for number in range(5 * QUEUE_SIZE):
        hub.emit(gap(number))
    for number in range(10, 2 * QUEUE_SIZE):
        hub.emit(died(number))
    events = drain(stream)
    assert [event.id for event in events if isinstance(event, trioton.ContextDied)] == [
        identity(number) for number in range(2 * QUEUE_SIZE)
    ]


def test_one_who_does_not_listen_takes_nothing_from_another() -> None:
    hub = EventHub()
    lazy, eager = hub.open(), hub.open()
    count = 0
    for number in range(5 * QUEUE_SIZE):
        hub.emit(gap(number))
        count += len(drain(eager))
    assert count == 5 * QUEUE_SIZE
    assert len(drain(lazy)) == QUEUE_SIZE
    assert lazy.dropped == 4 * QUEUE_SIZE
    assert eager.dropped == 0


async def test_a_flood_of_gaps_hides_no_death(pair: Pair, watch: MakeWatch) -> None:
    stream = pair.b.events()
    pub, _sub = PubChannel(pair.a, "news", OBJECT), SubChannel(pair.b, "news", OBJECT, policy=DropOldest(1))
    await pub.wait_subscribers()
    for number in range(3000):
        await pub.send(number)
        await trio.sleep(0.001)
    await pair.a.aclose()
    await trio.sleep(1)
    events = drain(stream)
    assert isinstance(events[-1], trioton.ContextDied)
    assert sum(event.count for event in events if isinstance(event, trioton.Gap)) == 2999
    assert len(events) <= QUEUE_SIZE
