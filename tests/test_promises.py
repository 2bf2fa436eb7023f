"""The promises of `docs/explain/promises.rst`, one short test each, named after its number; the depth is in the tests of each part."""

from __future__ import annotations

import logging
import random
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import Block, DropOldest, Limits, PubChannel, Reconnect, SubChannel
from trioton.protocol import control
from trioton.protocol.control import encode_control
from trioton.protocol.frames import FrameKind, encode_prefix
from trioton.protocol.handshake import Hello
from trioton.protocol.identity import ContextId
from trioton.protocol.packages import PackageTemplate
from trioton.protocol.session import Role, Session
from trioton.testing import Network, leak_check
from trioton.transports.address import parse_address
from trioton.transports.base import Transport

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair

FAST = Reconnect(first=0.01, maximum=0.1)

SLOT = "numbers.obj.pub-sub"


async def send_numbers(pub: PubChannel[object], count: int, pause: float = 0.0) -> None:
    for number in range(count):
        await pub.send(number)
        if pause:
            await trio.sleep(pause)


# ---------------------------------------------------------------- order


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


# ---------------------------------------------------------------- delivery


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
    await at_a.wait_for(trioton.SessionLost)
    await at_b.wait_for(trioton.SessionLost)


async def test_promise_2_what_a_lost_transport_took_is_counted(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    """There is no silent gap: what was on its way under a policy that drops is counted, though nothing follows it."""
    events = watch(pair.b)
    pub = PubChannel(pair.a, "numbers", trioton.OBJECT)
    sub = SubChannel(pair.b, "numbers", trioton.OBJECT, policy=DropOldest(1000))
    await pub.wait_subscribers()
    await send_numbers(pub, 10)
    await trio.sleep(0.005)  # all of it is on its way, and nothing has arrived
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Resumed)
    await trio.sleep(1)
    assert sub.pending == 0
    assert sub.statistics().dropped == 10
    assert sum(gap.count for gap in events.all(trioton.Gap)) == 10


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
        lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(lines) == 1
        assert f"closed before {lost} messages were sent" in lines[0]


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


# ---------------------------------------------------------------- failure


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
    await send_numbers(pub, 50)
    await pair.b.aclose()
    await events.wait_for(trioton.ContextDied)
    assert sub.receive_all_nowait() == list(range(50))
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


async def test_promise_6_a_slow_receiver_holds_up_nobody_else(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    """A slow or stopped receiver never holds up other channels, other senders' receivers or heartbeats."""
    events = watch(pair.a)
    slow, fast = PubChannel(pair.a, "slow", trioton.BINARY), PubChannel(pair.a, "fast", trioton.OBJECT)
    stopped = SubChannel(pair.b, "slow", trioton.BINARY, policy=Block(10))
    sub = SubChannel(pair.b, "fast", trioton.OBJECT)
    await slow.wait_subscribers()
    await fast.wait_subscribers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.send_many, [bytes(100_000)] * 100)
        await trio.sleep(100)
        with trio.fail_after(1):
            await fast.send("in time")
            assert await sub.receive() == "in time"
        assert "TimedOut" not in events.names
        assert pair.to_a.is_connected
        assert stopped.pending == 10
        nursery.cancel_scope.cancel()


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


class RawPeer:
    """A peer that shakes hands as it should, and then sends what the test wants."""

    def __init__(self, transport: Transport) -> None:
        rng = random.Random(3)
        self.transport = transport
        self.session = Session(Role.CLIENT, Limits())
        self.events: list[object] = []
        self.hello = Hello(
            id=ContextId.from_parts(rng.getrandbits(96), 0),
            name="raw",
            pid=1,
            host=rng.randbytes(16),
            max_package=1 << 24,
            window_bytes=1 << 23,
            reassembly_bytes=1 << 25,
            lease=10.0,
            returns=False,
        )

    async def read(self) -> bool:
        try:
            data = await self.transport.receive_some(65536)
        except trio.BrokenResourceError:
            return False
        self.events += self.session.receive_data(data)
        return bool(data)

    async def shake_hands(self) -> None:
        await self.transport.send_all(self.hello.to_frame(FrameKind.HELLO))
        while not self.events:
            await self.read()
        self.events += self.session.accept_peer()
        await self.transport.send_all(encode_control(control.Sync()) + encode_control(control.Synced()))
        while control.Synced() not in self.events:
            await self.read()

    def package(self, body: bytes, first: int) -> bytes:
        header = PackageTemplate(self.hello.id.to_wire(), SLOT, 0).header(first, 1)
        return encode_prefix(FrameKind.PACKAGE, 0, len(header), len(body)) + header + body


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
        peer = RawPeer(transport)
        await peer.shake_hands()
        await transport.send_all(damage if number < 3 else peer.package(damage, 0))
        while await peer.read():
            pass
        transport.close()
        assert isinstance(peer.events[-1], control.Close)
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
    peer = RawPeer(transport)
    await peer.shake_hands()
    await transport.send_all(encode_control(control.Started(peer.hello.id.to_wire(), sub.slot, 0, 0, waits=True)))
    no_time = b"\x81\xc0\x61x"  # a time whose text is none
    for first, body in enumerate([b"\x81\x01", no_time, b"\x81\x02"]):
        await transport.send_all(peer.package(body, first))
    assert [await sub.receive() for _ in range(2)] == [1, 2]
    assert sub.statistics().dropped == 1
    [bad] = events.all(trioton.BadMessage)
    assert (bad.source, bad.slot) == (peer.hello.id, SLOT)
    assert "raw" in [each.name for each in pair.a.peers]
    transport.close()


# ---------------------------------------------------------------- life


async def test_promise_8_nothing_outlives_its_owner(autojump_clock: object, open_pair: OpenPair) -> None:
    """Nothing outlives its owner: no task, no thread, no socket file."""
    async with leak_check(), open_pair() as pair:
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
        await pub.wait_subscribers()
        await pub.send("x")
        assert await sub.receive() == "x"
        pair.a.start_soon(trio.sleep_forever)


@pytest.mark.net
async def test_promise_8_nothing_outlives_its_owner_on_real_sockets() -> None:
    """Nothing outlives its owner: no task, no thread, no socket file."""
    with trio.fail_after(30):
        async with leak_check(), trioton.open_context("a") as a, trioton.open_context("b") as b:
            listener = await a.bind("127.0.0.1:0")
            connection = await b.connect(listener.address)
            assert connection.is_connected
            a.start_soon(trio.sleep_forever)


async def test_promise_9_every_wait_is_measured_by_the_clock_of_trio(
    autojump_clock: object, open_pair: OpenPair, watch: MakeWatch
) -> None:
    """It can be cancelled and is measured by Trio's clock, so it is instant under `trio.testing.MockClock`."""
    async with open_pair() as pair:
        pub = PubChannel(pair.a, "numbers", trioton.OBJECT)
        sub = SubChannel(pair.b, "numbers", trioton.OBJECT, policy=Block(1))
        await pub.wait_subscribers()
        await pub.send(0)
        pair.net.partition("a", "b")
        waits: dict[str, Callable[[], Awaitable[object]]] = {
            "send": lambda: pub.send(1),
            "send_many": lambda: pub.send_many([1]),
            "wait_subscribers": lambda: pub.wait_subscribers(5),
            "receive": sub.receive,
            "receive_many": sub.receive_many,
            "flush": pair.a.flush,
            "flush a connection": pair.to_b.flush,
            "connect": lambda: pair.b.connect("a:99", wait=True),
            "wait_context": lambda: pair.b.wait_context("nobody"),
            "wait_closed": pair.to_a.wait_closed,
            "wait for an event": pair.b.events().receive,
            "aclose": pair.to_a.aclose,
        }
        for name, wait in waits.items():
            start = trio.current_time()
            with trio.move_on_after(0.3) as scope:
                await wait()
            assert scope.cancelled_caught, name
            assert trio.current_time() - start == pytest.approx(0.3), name
