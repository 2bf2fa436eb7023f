"""The promises of `docs/explain/promises.rst` for contexts that are no neighbours, one short test each; the depth is in ``tests/network``.

Two contexts have no connection to each other here, but both to routers between them: to one, or to one on the left and one on the right.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

import trioton
from tests.common import FAST, send_numbers
from tests.raw_peer import RawPeer
from trioton import Block, DropOldest, PubChannel, SubChannel
from trioton.protocol import control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.records import LinkRecord, NodeRecord, encode_batch, encode_record
from trioton.protocol.routed import encode_routed
from trioton.testing import Network
from trioton.transports.address import parse_address

if TYPE_CHECKING:
    from tests.conftest import MakeWatch


@attrs.define
class Detour:
    """A source and a sink with a router on the left and one on the right of them: ``source - left - sink - right - source``.

    Attributes:
        net: The network; its hosts are named like the contexts.
        source: The context that sends here.
        sink: The context that receives.
        routers: Those between them, by their names.
        used: The name of the router over which what the source sends to the sink goes at first.
        spare: The name of the other.
    """

    net: Network
    source: trioton.Context
    sink: trioton.Context
    routers: dict[str, trioton.Context]
    used: str
    spare: str


@pytest.fixture
async def detour(autojump_clock: trio.testing.MockClock) -> AsyncIterator[Detour]:
    """A ring of four contexts, of which two are no neighbours of each other."""
    net = Network(seed=7, latency=0.01)
    async with AsyncExitStack() as stack:
        contexts = {}
        for name in ("source", "sink", "left", "right"):
            contexts[name] = await stack.enter_async_context(trioton.open_context(name, network=net.host(name)))
        source, sink = contexts["source"], contexts["sink"]
        for router in ("left", "right"):
            await contexts[router].bind(f"{router}:1")
            await source.connect(f"{router}:1", reconnect=FAST)
            await sink.connect(f"{router}:1", reconnect=FAST)
        assert (await source.wait_context("sink")).hops == 2
        await sink.wait_context("source")
        routers = {name: contexts[name] for name in ("left", "right")}
        used, spare = sorted(routers, key=lambda name: routers[name].id.to_wire())
        yield Detour(net, source, sink, routers, used, spare)


async def test_promise_1_order_beyond_neighbours(detour: Detour) -> None:
    """Messages from one sender on one channel reach one receiver in the order in which they were sent, over any number of routers."""
    detour.net.link("left", "sink", latency=(0.001, 0.3))
    detour.net.link("right", "sink", latency=(0.001, 0.3))
    pub, sub = PubChannel(detour.source, "numbers", trioton.OBJECT), SubChannel(detour.sink, "numbers", trioton.OBJECT)
    await pub.wait_subscribers()
    await send_numbers(pub, 300)
    assert [await sub.receive() for _ in range(300)] == list(range(300))


@pytest.mark.parametrize(
    "what", ["the link is cut", "the link is silent", "the router is gone", "the router says goodbye"]
)
async def test_promise_2_block_survives_the_loss_of_a_router(detour: Detour, watch: MakeWatch, what: str) -> None:
    """Under ``Block`` each message arrives exactly once, also when a link or a router on the way is lost and another way exists."""
    events, net = watch(detour.sink), detour.net
    pub, sub = PubChannel(detour.source, "numbers", trioton.OBJECT), SubChannel(detour.sink, "numbers", trioton.OBJECT)
    await pub.wait_subscribers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_numbers, pub, 300, 0.1)
        got = [await sub.receive() for _ in range(50)]
        if what == "the link is cut":
            net.partition("source", detour.used)
            net.cut("source", detour.used)
        elif what == "the link is silent":
            net.partition("source", detour.used)
        elif what == "the router is gone":
            net.isolate(detour.used)
        else:
            await detour.routers[detour.used].aclose()
        longest = 0.0
        while len(got) < 300:
            before = trio.current_time()
            got.append(await sub.receive())
            longest = max(longest, trio.current_time() - before)
    assert got == list(range(300))
    lease = 10 if what in {"the link is silent", "the router is gone"} else 0
    assert longest < lease + 1.5
    assert [event.id for event in events.all(trioton.ContextDied)] in ([], [detour.routers[detour.used].id])
    assert events.all(trioton.Gap) == []


async def test_promise_2_no_silent_gap_beyond_neighbours(detour: Detour, watch: MakeWatch) -> None:
    """What a policy drops on the way, where a link is slow or lost, is counted where it is missing."""
    events = watch(detour.sink)
    detour.net.link(detour.used, "sink", bandwidth=20_000)
    pub = PubChannel(detour.source, "numbers", trioton.BINARY)
    sub = SubChannel(detour.sink, "numbers", trioton.BINARY, policy=DropOldest(3))
    await pub.wait_subscribers()
    for number in range(400):
        await pub.send(number.to_bytes(2, "big") * 500)
        await trio.sleep(0.01)
        if number == 200:
            detour.net.partition("source", detour.used)
            detour.net.cut("source", detour.used)
    await trio.sleep(60)
    got = [int.from_bytes(message[:2], "big") for message in sub.receive_all_nowait()]
    assert got == [397, 398, 399]
    assert sub.statistics().dropped == 397
    assert sum(event.count for event in events.all(trioton.Gap)) == 397


async def test_promise_2_a_parting_is_told_on_both_sides(detour: Detour, watch: MakeWatch) -> None:
    """Contexts that could not reach each other for too long begin anew, and each hears that the other had died, then that it has joined."""
    watches = [watch(detour.source), watch(detour.sink)]
    pub, sub = PubChannel(detour.source, "numbers", trioton.OBJECT), SubChannel(detour.sink, "numbers", trioton.OBJECT)
    await pub.wait_subscribers()
    detour.net.isolate("source")
    await trio.sleep(100)
    detour.net.heal()
    await trio.sleep(60)
    for events, other in zip(watches, (detour.sink, detour.source), strict=True):
        told = [event for event in events.events if isinstance(event, (trioton.ContextDied, trioton.ContextJoined))]
        kinds = [type(event) for event in told if event.id == other.id]
        assert kinds[:2] == kinds[-2:] == [trioton.ContextDied, trioton.ContextJoined]
    await pub.wait_subscribers()
    await pub.send("anew")
    assert await sub.receive() == "anew"


async def test_promise_3_sent_means_accepted_beyond_neighbours(detour: Detour) -> None:
    """When ``send`` returns, every blocking subscriber has room for the message, however far it is away."""
    pub = PubChannel(detour.source, "numbers", trioton.OBJECT)
    sub = SubChannel(detour.sink, "numbers", trioton.OBJECT, policy=Block(10))
    await pub.wait_subscribers()
    with trio.move_on_after(60) as scope:
        await send_numbers(pub, 100)
    assert scope.cancelled_caught
    assert (pub.statistics().sent, sub.pending) == (10, 10)
    assert sub.receive_all_nowait() == list(range(10))


async def test_promise_4_closing_delivers_beyond_neighbours(detour: Detour, watch: MakeWatch) -> None:
    """A context that closes waits until contexts that are no neighbours have got all, at most for `grace`."""
    events = watch(detour.sink)
    pub, sub = PubChannel(detour.source, "numbers", trioton.OBJECT), SubChannel(detour.sink, "numbers", trioton.OBJECT)
    await pub.wait_subscribers()
    await send_numbers(pub, 500)
    await detour.source.aclose()
    await events.wait_for(trioton.ContextDied)
    assert sub.receive_all_nowait() == list(range(500))


async def test_promise_5_who_is_dead_beyond_neighbours(detour: Detour, watch: MakeWatch) -> None:
    """A context that is no neighbour is dead when no way leads to it any more, and that is told once; a suspended link is still a way."""
    events, start = watch(detour.sink), trio.current_time()
    source = detour.source.id
    detour.net.partition("source", {"left", "right"})
    died = [await events.wait_for(trioton.ContextDied)]
    assert died[0].id == source
    assert 30 <= trio.current_time() - start <= 41  # the lease, and the resume window
    detour.net.heal()
    assert (await events.wait_for(trioton.ContextJoined)).id == source
    await detour.source.aclose()
    assert (await events.wait_for(trioton.ContextDied, 2)).id == source
    await trio.sleep(100)
    assert len(events.all(trioton.ContextDied)) == 2


async def test_promise_5_who_can_be_reached_another_way_is_not_dead(detour: Detour, watch: MakeWatch) -> None:
    """A neighbour to which another way leads does not die with the connection, and nothing is lost."""
    router = detour.routers[detour.used]
    events, pub = watch(detour.source), PubChannel(detour.source, "numbers", trioton.OBJECT)
    sub = SubChannel(router, "numbers", trioton.OBJECT, policy=Block(50))
    await pub.wait_subscribers()
    detour.net.partition("source", detour.used)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_numbers, pub, 600, 0.1)
        assert [await sub.receive() for _ in range(600)] == list(range(600))
    assert [info.hops for info in detour.source.contexts if info.id == router.id] == [3]
    detour.net.heal()
    await events.wait_for(trioton.Connected)
    assert [info.hops for info in detour.source.contexts if info.id == router.id] == [1]
    assert events.all(trioton.SessionLost)
    assert events.all(trioton.ContextDied) == events.all(trioton.ContextJoined) == []


async def test_promise_6_a_slow_receiver_beyond_neighbours_holds_up_nobody_else(detour: Detour) -> None:
    """A stopped receiver behind a router blocks its publisher after a window, and neither other channels nor the router."""
    stopped, running = PubChannel(detour.source, "stopped", trioton.BINARY), PubChannel(detour.source, "running")
    sub = SubChannel(detour.sink, "stopped", trioton.BINARY, policy=Block(10))
    other = SubChannel(detour.sink, "running", policy=Block(5))
    await stopped.wait_subscribers()
    await running.wait_subscribers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stopped.send_many, [bytes(50_000)] * 100)
        await trio.sleep(10)
        for number in range(100):
            with trio.fail_after(1):
                await running.send(str(number))
                assert await other.receive() == str(number)
        assert (stopped.statistics().sent, sub.pending) == (10, 10)
        for router in detour.routers.values():
            assert [connection.statistics().packages_queued for connection in router.connections] == [0, 0]
        nursery.cancel_scope.cancel()


async def test_promise_6_one_copy_for_all_behind_a_link(detour: Detour) -> None:
    """What is published crosses each link once, and only links behind which somebody listens."""
    router = detour.routers[detour.used]
    pub = PubChannel(detour.source, "numbers", trioton.OBJECT)
    subs = [SubChannel(context, "numbers", trioton.OBJECT) for context in (detour.sink, detour.sink, router)]
    await pub.wait_subscribers(3)
    await pub.send(0)
    for sub in subs:
        await sub.receive()
    before = {each.name: each.statistics().messages_sent for each in detour.source.connections}
    for number in range(1, 101):
        await pub.send(number)
    for sub in subs:
        assert [await sub.receive() for _ in range(100)] == list(range(1, 101))
    sent = {each.name: each.statistics().messages_sent - before[each.name] for each in detour.source.connections}
    assert sent == {detour.used: 100, detour.spare: 0}


async def test_promise_7_who_passes_on_damage_keeps_its_link(detour: Detour, watch: MakeWatch) -> None:
    """Damage in a body of a context that is no neighbour is told and costs that message; the neighbour that passed it on keeps its link."""
    events, router = watch(detour.sink), detour.routers[detour.used]
    sub = SubChannel(detour.sink, "numbers", trioton.OBJECT, policy=DropOldest(10))
    transport = await detour.net.host("raw").dial(parse_address(f"{detour.used}:1"))
    peer = RawPeer(transport, sub.slot, seed=3)
    await peer.shake_hands()
    links = {router.id.to_wire(): LinkRecord(is_suspended=False, generation=1)}
    [records] = encode_batch([encode_record(NodeRecord(peer.id, 1, "raw", 1, 1 << 24, 1 << 23, links, {}))])
    await transport.send_all(encode_prefix(FrameKind.RECORDS, 0, 1, len(records)) + b"\x80" + records)
    await detour.sink.wait_context("raw")
    started = control.Started(peer.id, sub.slot, 0, 0, 0)
    await transport.send_all(encode_routed(peer.id, detour.sink.id.to_wire(), 0, started))
    no_time = b"\x81\xc0\x61x"  # a time whose text is none
    for first, body in enumerate([b"\x81\x01", no_time, b"\x81\x02"]):
        await transport.send_all(peer.package(body, first=first))
    assert [await sub.receive() for _ in range(2)] == [1, 2]
    assert sub.statistics().dropped == 1
    assert {(bad.source, bad.slot) for bad in events.all(trioton.BadMessage)} == {(peer.hello.id, sub.slot)}
    assert {each.name for each in detour.sink.peers} == {"left", "right"}
    assert {each.statistics().transports for each in detour.sink.connections} == {1}
    transport.close()
