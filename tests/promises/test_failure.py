"""Promises 5 to 7 of `docs/explain/promises.rst`, one short test each, named after its number; the depth is in the tests of each part."""

from __future__ import annotations

import random
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import FAST, send_numbers
from tests.raw_peer import RawPeer
from trioton import Block, DropOldest, Limits, PubChannel, SubChannel
from trioton.protocol import control
from trioton.protocol.control import encode_control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.testing import Network
from trioton.transports.address import parse_address

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


@pytest.mark.parametrize("what", ["silence", "a cut"])
async def test_promise_5_silence_and_cuts_suspend(
    autojump_clock: object, pair: Pair, watch: MakeWatch, what: str
) -> None:
    """Silence beyond the lease, or the end of a stream without a goodbye, makes a connection *suspended*.

    It is dialled again, and nothing fails.
    """
    events = watch(pair.b)
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    if what == "silence":
        pair.net.partition("a", "b")
        await events.wait_for(trioton.Suspended)
        pair.net.heal()
    else:
        pair.net.cut("a", "b")
    await pub.send("still there")
    assert await sub.receive() == "still there"
    await events.wait_for(trioton.Resumed)
    assert "ContextDied" not in events.names


@pytest.mark.parametrize("what", ["the resume window is over", "another identity answers", "it said goodbye"])
async def test_promise_5_when_a_peer_is_dead(autojump_clock: object, what: str, watch: MakeWatch) -> None:
    """A peer is *dead* when the resume window is over, when another identity answers in its place, or when it said goodbye.

    That its process has ended is in `tests/network/test_real_sockets.py`. A dead session is never resumed. That a context has died is
    told once.
    """
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("b", network=net.host("b")) as b:
        events = watch(b)
        with trio.CancelScope() as life:
            async with trioton.open_context("a", network=net.host("a"), grace=0) as a:
                await a.bind("a:1")
                await b.connect("a:1", reconnect=FAST)
                if what != "it said goodbye":
                    net.partition("a", "b")
                life.cancel()
                await trio.sleep_forever()
        if what == "another identity answers":
            net.cut("a", "b")
            net.heal()
        async with trioton.open_context("a", network=net.host("a")) as other:
            await other.bind("a:1")
            died = await events.wait_for(trioton.ContextDied)
            assert died.id == a.id
            net.heal()
            if what != "it said goodbye":
                assert (await events.wait_for(trioton.ContextJoined, 2)).id == other.id
            await trio.sleep(100)
            assert len(events.all(trioton.ContextDied)) == 1
            assert events.all(trioton.Resumed) == []


async def test_promise_5_death_comes_after_the_last_message(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    """That a context has died is told once, as `trioton.ContextDied`, after the last message that came from it."""
    events = watch(pair.a)
    pub, sub = PubChannel(pair.b, "numbers", trioton.OBJECT), SubChannel(pair.a, "numbers", trioton.OBJECT)
    await pub.wait_subscribers()
    await send_numbers(pub, 100)
    await pair.b.aclose()
    await events.wait_for(trioton.ContextDied)
    assert sub.receive_all_nowait() == list(range(100))
    await trio.sleep(100)
    assert events.names.count("ContextDied") == 1


async def test_promise_5_one_that_comes_back_joins_anew(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    """A dead session is never resumed. Who comes back after it joins anew, and is told of once each time."""
    events = watch(pair.a)
    pub, sub = PubChannel(pair.b, "numbers", trioton.OBJECT), SubChannel(pair.a, "numbers", trioton.OBJECT)
    await pub.wait_subscribers()
    for number in range(1, 3):
        pair.net.partition("a", "b")
        assert (await events.wait_for(trioton.ContextDied, number)).id == pair.b.id
        pair.net.heal()
        assert (await events.wait_for(trioton.ContextJoined, number)).id == pair.b.id
        await pub.wait_subscribers()
        await pub.send(number)
        assert await sub.receive() == number
    assert events.all(trioton.Resumed) == []
    assert events.names.count("ContextDied") == events.names.count("ContextJoined") == 2


@pytest.mark.parametrize("size", [1, 100_000])
async def test_promise_6_a_slow_receiver_holds_up_nobody_else(
    autojump_clock: object, pair: Pair, watch: MakeWatch, size: int
) -> None:
    """A slow or stopped receiver never holds up other channels, other senders' receivers or heartbeats."""
    events = watch(pair.a)
    slow, fast = PubChannel(pair.a, "slow", trioton.BINARY), PubChannel(pair.a, "fast", trioton.OBJECT)
    stopped = SubChannel(pair.b, "slow", trioton.BINARY, policy=Block(10))
    running = SubChannel(pair.b, "fast", trioton.OBJECT, policy=Block(5))
    await slow.wait_subscribers()
    await fast.wait_subscribers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.send_many, [bytes(size)] * 100)
        await trio.sleep(100)
        with trio.fail_after(10):
            for number in range(100):
                with trio.fail_after(1):
                    await fast.send(number)
                    assert await running.receive() == number
        assert set(events.names) <= {"Congested"}
        assert pair.to_a.is_connected
        assert stopped.pending == 10
        nursery.cancel_scope.cancel()
    assert slow.statistics().sent == 10


async def test_promise_6_memory_stays_below_a_bound(autojump_clock: object, open_pair: OpenPair) -> None:
    """Memory stays below a bound."""
    limits = Limits(window_bytes=200_000, queue_bytes=200_000, max_package=50_000)
    async with open_pair(limits=limits) as pair, trio.open_nursery() as nursery:
        blocking, dropping = PubChannel(pair.a, "block", trioton.BINARY), PubChannel(pair.a, "drop", trioton.BINARY)
        subs = [
            SubChannel(pair.b, "block", trioton.BINARY, policy=Block(1_000_000)),
            SubChannel(pair.b, "drop", trioton.BINARY, policy=DropOldest(10)),
        ]
        await blocking.wait_subscribers()
        await dropping.wait_subscribers()
        tracemalloc.start()
        try:
            for pub in (blocking, dropping):

                async def flood(pub: PubChannel[bytes]) -> None:
                    for number in range(3000):
                        await pub.send(number.to_bytes(2, "big") * 5000)

                nursery.start_soon(flood, pub)
            await trio.sleep(60)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (
            peak
            < 2 * (limits.queue_bytes + 2 * 1024 * 1024) + 2 * (limits.window_bytes + limits.max_package) + 1024 * 1024
        )
        assert subs[1].statistics().dropped > 1000
        nursery.cancel_scope.cancel()


SLOT = "numbers.obj.pub-sub"


async def test_promise_7_a_peer_ends_its_own_link_and_nothing_else(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    """A peer can end its own link and nothing else. No bytes that it sends crash this process or exhaust it.

    Damage in a frame or a header closes the link, and so does a body that is not even well-formed.
    """
    events = watch(pair.a)
    pub, sub = PubChannel(pair.b, "numbers", trioton.OBJECT), SubChannel(pair.a, "numbers", trioton.OBJECT)
    await pub.wait_subscribers()
    rng = random.Random(1)
    damages = [b"\xff" + rng.randbytes(100), encode_prefix(FrameKind.PACKAGE, 0, 60_000, 2**32 - 1), b"\x81" * 10_000]
    for number, damage in enumerate(damages, 1):
        transport = await pair.net.host("raw").dial(parse_address("a:1"))
        peer = RawPeer(transport, SLOT, seed=3)
        await peer.shake_hands()
        await transport.send_all(damage if number < 3 else peer.package(damage))
        assert await peer.read_to_end()
        transport.close()
        await events.wait_for(trioton.ContextDied, number)
        await pub.send(number)
        assert await sub.receive() == number
    assert [connection.name for connection in pair.a.connections] == ["b"]
    assert pair.to_a.statistics().transports == 1


async def test_promise_7_damage_in_a_body_costs_that_message(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    """A body that is well-formed and makes no sense costs that message: it is dropped, counted and told as `trioton.BadMessage`."""
    events = watch(pair.a)
    sub = SubChannel(pair.a, "numbers", trioton.OBJECT, policy=DropOldest(10))
    assert sub.slot == SLOT
    transport = await pair.net.host("raw").dial(parse_address("a:1"))
    peer = RawPeer(transport, SLOT, seed=3)
    await peer.shake_hands()
    await transport.send_all(encode_control(control.Started(peer.id, sub.slot, 0, 0, 0)))
    no_time = b"\x81\xc0\x61x"  # a time whose text is none
    for first, body in enumerate([b"\x81\x01", no_time, b"\x81\x02"]):
        await transport.send_all(peer.package(body, first=first))
    assert [await sub.receive() for _ in range(2)] == [1, 2]
    assert sub.statistics().dropped == 1
    [bad] = events.all(trioton.BadMessage)
    assert (bad.source, bad.slot) == (peer.hello.id, SLOT)
    assert "raw" in [each.name for each in pair.a.peers]
    transport.close()
