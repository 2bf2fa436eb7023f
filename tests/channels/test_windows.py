"""Windows in company: several publishers, slots and contexts wait for room at once, and each goes on when it may."""

from __future__ import annotations

import random
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import (
    BINARY,
    OBJECT,
    Block,
    Limits,
    PubChannel,
    SubChannel,
)
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


async def fill(pub: PubChannel[object]) -> int:
    """Send without waiting until there is no room, also after what is on its way has arrived; gives how many went."""
    count = 0
    while True:
        try:
            pub.send_nowait(count)
        except trio.WouldBlock:
            return count
        count += 1
        if count % 100 == 0:
            await trio.sleep(1)


@pytest.mark.parametrize("size", [1, 4, 100])
async def test_room_comes_back_one_by_one(pair: Pair, size: int) -> None:
    """A full window gives as much room as was taken, at once, however little that is."""
    pub, sub = PubChannel(pair.a, "jobs", OBJECT), SubChannel(pair.b, "jobs", OBJECT, policy=Block(size))
    await pub.wait_subscribers()
    await fill(pub)
    for _ in range(3 * size):
        await sub.receive()
        await trio.sleep(0.1)
        pub.send_nowait(0)
        with pytest.raises(trio.WouldBlock):
            pub.send_nowait(0)
    assert sub.pending <= size


@pytest.mark.parametrize("sources", [2, 5])
async def test_all_sources_find_room_though_nothing_is_taken(autojump_clock: object, sources: int) -> None:
    """The first gets all the room there is; the others get their share of it when they need it, and not only when something is taken."""
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("hub", network=net.host("hub")) as hub,
        SubChannel(hub, "jobs", OBJECT, policy=Block(100)) as sub,
        trio.open_nursery() as nursery,
    ):
        await hub.bind("hub:1")

        async def publish(name: str) -> None:
            async with (
                trioton.open_context(name, network=net.host(name)) as ctx,
                PubChannel(ctx, "jobs", OBJECT) as pub,
            ):
                await ctx.connect("hub:1")
                for number in range(80 // sources):
                    await pub.send(number)
                    await trio.sleep(0.1)
                sent.append(name)
                await trio.sleep_forever()

        sent: list[str] = []
        for number in range(sources):
            nursery.start_soon(publish, f"source{number}")
        await trio.sleep(60)
        assert len(sent) == sources
        assert sub.pending == 80 // sources * sources
        nursery.cancel_scope.cancel()


async def test_large_messages_wait_for_bytes(open_pair: OpenPair) -> None:
    """The window also has a size in bytes; one message may always be on its way, however large it is."""
    async with open_pair(limits=Limits(window_bytes=100_000)) as pair:
        pub, sub = PubChannel(pair.a, "blobs", BINARY), SubChannel(pair.b, "blobs", BINARY)
        await pub.wait_subscribers()
        for _ in range(3):
            pub.send_nowait(bytes(1_000_000))
            await trio.sleep(1)
            with pytest.raises(trio.WouldBlock):
                pub.send_nowait(b"")
            assert len(await sub.receive()) == 1_000_000
            await trio.sleep(1)
        count = 0
        while count < 1000:
            try:
                pub.send_nowait(bytes(1000))
            except trio.WouldBlock:
                break
            count += 1
        assert 95 <= count <= 100


async def test_a_few_large_messages_and_a_slow_receiver_all_pass(open_pair: OpenPair) -> None:
    async with open_pair(limits=Limits(window_bytes=50_000)) as pair, trio.open_nursery() as nursery:
        pub, sub = PubChannel(pair.a, "blobs", BINARY), SubChannel(pair.b, "blobs", BINARY)
        await pub.wait_subscribers()
        sizes = [random.Random(1).choice([1, 100, 10_000, 200_000]) for _ in range(100)]
        nursery.start_soon(pub.send_many, [bytes(size) for size in sizes])
        for size in sizes:
            with trio.fail_after(10):
                assert len(await sub.receive()) == size


async def test_two_publishers_of_one_context_share_the_window(pair: Pair) -> None:
    first, second = PubChannel(pair.a, "jobs", OBJECT), PubChannel(pair.a, "jobs", OBJECT)
    sub = SubChannel(pair.b, "jobs", OBJECT, policy=Block(10))
    await first.wait_subscribers()
    for _ in range(5):
        first.send_nowait("first")
        second.send_nowait("second")
    for pub in (first, second):
        with pytest.raises(trio.WouldBlock):
            pub.send_nowait("too much")
    await trio.sleep(1)
    assert [await sub.receive() for _ in range(10)] == ["first", "second"] * 5


@pytest.mark.parametrize("size", [1, 2])
async def test_a_ring_of_tiny_windows_goes_round(autojump_clock: object, size: int) -> None:
    """Three contexts in a ring, each passing on what it gets, with room for one: nobody waits for ever."""
    net = Network(seed=5, latency=(0.001, 0.01))
    async with (
        trioton.open_context("x", network=net.host("x")) as x,
        trioton.open_context("y", network=net.host("y")) as y,
        trioton.open_context("z", network=net.host("z")) as z,
        trio.open_nursery() as nursery,
    ):
        ring = [x, y, z]
        for number, context in enumerate(ring):
            await context.bind(f"{context.name}:1")
            if number:
                await context.connect(f"{ring[number - 1].name}:1")
        await x.connect("z:1")
        subs = [SubChannel(context, f"to {context.name}", OBJECT, policy=Block(size)) for context in ring]
        pubs = [PubChannel(context, f"to {ring[(n + 1) % 3].name}", OBJECT) for n, context in enumerate(ring)]
        for pub in pubs:
            await pub.wait_subscribers()
        arrivals = 0
        all_arrived = trio.Event()

        async def pass_on(number: int) -> None:
            nonlocal arrivals
            async for hops in subs[number]:
                if hops < 300:
                    await pubs[number].send(hops + 1)
                    continue
                arrivals += 1
                if arrivals == size:
                    all_arrived.set()

        for number in range(3):
            nursery.start_soon(pass_on, number)
        for _ in range(size):  # one token fewer than there is room for would never fill the ring
            await pubs[0].send(0)
        with trio.fail_after(100):
            await all_arrived.wait()
        nursery.cancel_scope.cancel()


async def test_a_stopped_receiver_blocks_no_heartbeats(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pub, _sub = PubChannel(pair.a, "blobs", BINARY), SubChannel(pair.b, "blobs", BINARY, policy=Block(100))
    await pub.wait_subscribers()
    with trio.move_on_after(300):
        while True:
            await pub.send(bytes(1_000_000))
    assert set(events.names) <= {"Congested"}
    assert pair.to_a.is_connected


async def test_who_waits_goes_first(pair: Pair) -> None:
    """send_nowait does not overtake tasks that wait in send, and those go in the order in which they came."""
    pub, sub = PubChannel(pair.a, "jobs", OBJECT), SubChannel(pair.b, "jobs", OBJECT, policy=Block(1))
    await pub.wait_subscribers()
    await pub.send("first")
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(pub.send, number)
            await trio.testing.wait_all_tasks_blocked()
        received = []
        for _ in range(6):
            with pytest.raises(trio.WouldBlock):
                pub.send_nowait("pushing in")
            received.append(await sub.receive())
    assert received == ["first", 0, 1, 2, 3, 4]


async def test_memory_stays_under_its_bound(open_pair: OpenPair) -> None:
    """What a stopped receiver makes both sides hold is at most the window on each, and what is on the wire."""
    window = 1 << 20
    async with open_pair(limits=Limits(window_bytes=window)) as pair:
        pub, sub = PubChannel(pair.a, "blobs", BINARY), SubChannel(pair.b, "blobs", BINARY, policy=Block(1 << 20))
        await pub.wait_subscribers()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            with trio.move_on_after(100):
                while True:
                    await pub.send(bytes(10_000))
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert pub.statistics().unconfirmed * 10_000 >= window - 10_000
        # The messages themselves on either side, and the network's own buffer.
        assert after - before < 2 * window + 512 * 1024
        assert sub.statistics().received * 10_000 <= window + 64 * 1024


@pytest.mark.parametrize("seed", range(6))
async def test_random_traffic_always_makes_progress(autojump_clock: object, seed: int) -> None:
    """Four contexts, all joined, tiny windows, subscriptions that come and go: whatever waits, goes on."""
    rng = random.Random(seed)
    net = Network(seed=seed, latency=(0.0, 0.01))
    async with trio.open_nursery() as nursery:
        contexts: list[trioton.Context] = []

        async def live(name: str, task_status: trio.TaskStatus[None]) -> None:
            async with trioton.open_context(name, network=net.host(name)) as context:
                contexts.append(context)
                await context.bind(f"{name}:1")
                task_status.started()
                await trio.sleep_forever()

        for name in "wxyz":
            await nursery.start(live, name)
        for number, context in enumerate(contexts):
            for other in contexts[:number]:
                await context.connect(f"{other.name}:1")

        async def publish(pub: PubChannel[object]) -> None:
            for number in range(60):
                with trio.fail_after(200):
                    await pub.send(number)
                await trio.sleep(rng.choice([0, 0, 0.01]))

        async def subscribe(context: trioton.Context, slot: str) -> None:
            while True:
                with closing(SubChannel(context, slot, OBJECT, policy=Block(rng.choice([1, 1, 2, 5])))) as sub:
                    with trio.move_on_after(rng.uniform(0.05, 1)):
                        async for _ in sub:
                            await trio.sleep(rng.choice([0, 0, 0.02]))
                await trio.sleep(rng.uniform(0, 0.1))

        async with trio.open_nursery() as publishers:
            for context in contexts:
                for slot in ("red", "blue"):
                    nursery.start_soon(subscribe, context, slot)
                    nursery.start_soon(subscribe, context, slot)
                    publishers.start_soon(publish, PubChannel(context, slot, OBJECT))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(8))
async def test_sources_and_windows_of_different_size(open_pair: OpenPair, seed: int) -> None:
    """Two senders, three windows on one slot; bytes come in pieces, so each word of either side meets any other on its way."""
    rng = random.Random(seed)
    net = Network(seed=seed, latency=(0.0, 0.02), chunk=(1, 300))
    async with (
        open_pair(net) as pair,
        trioton.open_context("c", network=net.host("c")) as c,
        trio.open_nursery() as nursery,
    ):
        await c.connect("a:1")
        pubs = [PubChannel(context, "news", OBJECT) for context in (pair.b, c)]
        subs = [SubChannel(pair.a, "news", OBJECT, policy=Block(rng.choice([1, 2, 7, 50, 1000]))) for _ in range(3)]
        received: list[list[tuple[int, int]]] = [[] for _ in subs]
        for number, pub in enumerate(pubs):
            await pub.wait_subscribers(3)
            nursery.start_soon(pub.send_many, [(number, count) for count in range(150)])

        async def receive(number: int) -> None:
            while len(received[number]) < 300:
                received[number].append(await subs[number].receive())

        with trio.fail_after(300):
            async with trio.open_nursery() as receivers:
                for number in range(len(subs)):
                    receivers.start_soon(receive, number)
        for messages in received:
            for number in range(2):
                assert [count for sender, count in messages if sender == number] == list(range(150))
        assert all(connection.statistics().transports == 1 for connection in pair.a.connections)


async def test_one_that_blocks_takes_the_place_of_another_in_the_same_moment(
    autojump_clock: object, pair: Pair
) -> None:
    """Between the two nobody blocks, and the publisher must hear of that, or it keeps to room that is no longer counted."""
    pub = PubChannel(pair.a, "n")
    first, always = SubChannel(pair.b, "n", policy=Block(1)), SubChannel(pair.b, "n", policy=trioton.Latest())
    await pub.wait_subscribers(2)
    first.close()
    second = SubChannel(pair.b, "n", policy=Block(100))
    await pub.send("x")
    await trio.sleep(1)
    with trio.fail_after(5):
        for _ in range(50):
            await pub.send("x")
    await trio.sleep(1)
    assert second.pending >= 50
    assert always.pending == 1
