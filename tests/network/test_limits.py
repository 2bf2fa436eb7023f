"""The bounds of a context hold: against too many peers, too many subscriptions, and what is too large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import warnings_of
from tests.raw_peer import make_hello, read_to_end
from trioton import BINARY, OBJECT, ConnectError, Limits, PubChannel, SubChannel
from trioton.protocol.control import Subscribe, Sync, encode_control
from trioton.protocol.frames import PREFACE, FrameKind
from trioton.testing import Host, Network
from trioton.transports.address import parse_address

if TYPE_CHECKING:
    from tests.conftest import OpenPair
    from trioton.transports.base import Transport


async def is_closed(transport: Transport) -> bool:
    """Read until the other end closes; False if it does not."""
    with trio.move_on_after(30):
        await read_to_end(transport)
        return True
    return False


async def dial(host: Host, address: str) -> Transport:
    return await host.dial(parse_address(address))


def hello(number: int) -> bytes:
    return make_hello(number).to_frame(FrameKind.HELLO)


# ---------------------------------------------------------------- peers


async def test_pending_handshakes(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    net = Network(seed=1, latency=0.01)
    limits = Limits(pending_handshakes=5, hello_deadline=60, handshake_deadline=60)
    async with (
        trioton.open_context("a", network=net.host("a"), limits=limits) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        pending = [await dial(net.host(f"h{number}"), "a:1") for number in range(5)]
        await trio.sleep(0.1)
        for name in ("late", "later"):
            assert await is_closed(await dial(net.host(name), "a:1"))
        assert len(warnings_of(caplog)) == 2
        assert all("too many handshakes at once" in line and "late" in line for line in warnings_of(caplog))
        with pytest.raises(ConnectError):
            await b.connect("a:1")
        pending.pop().close()
        await trio.sleep(0.1)
        connection = await b.connect("a:1")
        assert connection.is_connected
        assert len(warnings_of(caplog)) == 3
        assert len(a._doorman._pending) == 4
        for transport in pending:
            transport.close()


async def test_pending_handshakes_of_one_address(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    limits = Limits(pending_handshakes_per_address=3, hello_deadline=60, handshake_deadline=60)
    async with (
        trioton.open_context("a", network=net.host("a"), limits=limits) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        evil = net.host("evil")
        pending = [await dial(evil, "a:1") for _ in range(20)]
        await trio.sleep(1)
        assert (await b.connect("a:1")).is_connected
        for transport in pending:
            transport.close()


async def test_a_handshake_that_does_not_end_is_cut_off(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("a", network=net.host("a"), limits=Limits(handshake_deadline=3)) as a:
        await a.bind("a:1")
        for said in (b"", PREFACE, hello(1)[:30], hello(2)):
            transport = await dial(net.host(f"slow{len(said)}"), "a:1")
            start = trio.current_time()
            await transport.send_all(said + b"" if said else PREFACE[:1])
            assert await is_closed(transport)
            assert trio.current_time() - start == pytest.approx(3, abs=0.1)
        assert len(warnings_of(caplog)) == 4
        assert all("no handshake within 3 s" in line for line in warnings_of(caplog))
        assert a.connections == []


async def test_the_deadline_counts_from_the_start_and_not_from_each_byte(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("a", network=net.host("a"), limits=Limits(handshake_deadline=3)) as a:
        await a.bind("a:1")
        transport = await dial(net.host("slow"), "a:1")
        start = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            for byte in hello(1):
                await transport.send_all(bytes([byte]))
                await trio.sleep(0.1)
        assert trio.current_time() - start == pytest.approx(3, abs=0.3)


async def test_a_server_that_does_not_answer_is_given_up(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("b", network=net.host("b"), limits=Limits(handshake_deadline=3)) as b:
        listener = await net.host("a").listen(parse_address("a:1"))
        start = trio.current_time()
        with pytest.raises(ConnectError, match="no handshake within 3 s"):
            await b.connect("a:1")
        assert trio.current_time() - start == pytest.approx(3, abs=0.1)
        listener.close()


async def test_connections(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a"), limits=Limits(connections=2)) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
        trioton.open_context("d", network=net.host("d")) as d,
    ):
        await a.bind("a:1")
        await b.connect("a:1")
        to_a = await c.connect("a:1")
        with pytest.raises(ConnectError, match="refused: 2 connections are open already"):
            await d.connect("a:1")
        # Those who are in may come back over a new transport.
        net.cut("a", "b")
        net.cut("a", "c")
        await trio.sleep(5)
        assert len(a.peers) == 2
        await to_a.aclose()
        await trio.sleep(1)
        assert (await d.connect("a:1")).is_connected


async def test_who_waits_comes_in_when_there_is_a_place(autojump_clock: object) -> None:
    """That a context is full may change by waiting."""
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a"), limits=Limits(connections=1)) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
        trio.open_nursery() as nursery,
    ):
        await a.bind("a:1")
        first = await b.connect("a:1")
        nursery.start_soon(lambda: c.connect("a:1", wait=True))
        await trio.sleep(100)
        assert c.connections == []
        await first.aclose()
        with trio.fail_after(31):
            await c.wait_context("a")


async def test_connections_that_arrive_at_the_same_moment(autojump_clock: object) -> None:
    """The bound holds also for those who pass the door together."""
    net = Network(seed=1, latency=0.01)
    outcomes: list[bool] = []
    async with trioton.open_context("a", network=net.host("a"), limits=Limits(connections=3)) as a:
        await a.bind("a:1")

        async def connect(number: int) -> None:
            async with trioton.open_context(network=net.host(f"h{number}")) as context:
                try:
                    await context.connect("a:1")
                    outcomes.append(True)
                except ConnectError:
                    outcomes.append(False)
                await trio.sleep(10)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(connect, number)
            await trio.sleep(5)
            assert len(a.connections) == 3
            assert sorted(outcomes) == [False] * 7 + [True] * 3


# ---------------------------------------------------------------- what peers say


async def test_subscriptions(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("a", network=net.host("a"), limits=Limits(subscriptions=10)) as a:
        await a.bind("a:1")
        transport = await dial(net.host("greedy"), "a:1")
        await transport.send_all(hello(1))
        await transport.receive_some()
        await transport.send_all(encode_control(Sync()))
        for number in range(11):
            subscribe = Subscribe(f"slot{number}.txt.pub-sub", number + 1, 1, 10, 1, None, None, None)
            await transport.send_all(encode_control(subscribe))
        assert await is_closed(transport)
        assert len(warnings_of(caplog)) == 1
        assert "the peer subscribed to more than 10 slots" in warnings_of(caplog)[0]


async def test_subscriptions_of_our_own_kind(open_pair: OpenPair) -> None:
    async with open_pair(a_options={"limits": Limits(subscriptions=10)}) as pair:
        subs = [SubChannel(pair.b, f"slot{number}") for number in range(10)]
        await trio.sleep(1)
        assert pair.to_a.is_connected
        # Many on one slot are one, and one that has ended does not count.
        more = [SubChannel(pair.b, "slot3") for _ in range(20)]
        subs.pop().close()
        subs.append(SubChannel(pair.b, "another"))
        await trio.sleep(1)
        assert pair.to_a.is_connected
        assert len(subs) + len(more) == 30


@pytest.mark.parametrize("length", [0, 513, 5000])
async def test_slot_length(autojump_clock: object, caplog: pytest.LogCaptureFixture, length: int) -> None:
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("a", network=net.host("a")) as a:
        await a.bind("a:1")
        transport = await dial(net.host("verbose"), "a:1")
        await transport.send_all(hello(1))
        await transport.receive_some()
        await transport.send_all(
            encode_control(Sync()) + encode_control(Subscribe("x" * length, 1, 1, 1, 1, None, None, None))
        )
        assert await is_closed(transport)
        [line] = warnings_of(caplog)
        assert f"a slot of {length} characters" in line


async def test_max_package_of_ours(open_pair: OpenPair) -> None:
    async with open_pair(limits=Limits(max_package=10_000)) as pair:
        pub, sub = PubChannel(pair.a, "blobs", BINARY), SubChannel(pair.b, "blobs", BINARY)
        await pub.wait_subscribers()
        for send in (pub.send, pub.send_nowait):
            with pytest.raises(ValueError, match=r"the message takes 10003 bytes; limits\.max_package is 10000"):
                result = send(bytes(10_000))
                if result is not None:
                    await result
        with pytest.raises(ValueError, match=r"limits\.max_package"):
            await pub.send_many([b"fits", bytes(10_000), b"not reached"])
        await pub.send(bytes(9_990))
        assert await sub.receive() == b"fits"
        assert len(await sub.receive()) == 9_990
        assert pub.statistics().sent == 2


async def test_max_package_of_the_peer(open_pair: OpenPair) -> None:
    """What the peer would not take must not end its link: it is refused at the sender."""
    async with open_pair(b_options={"limits": Limits(max_package=100_000)}) as pair:
        pub = PubChannel(pair.a, "blobs", BINARY)
        await pub.send(bytes(200_000))  # nobody has come yet who does not take it
        sub = SubChannel(pair.b, "blobs", BINARY)
        await pub.wait_subscribers()
        with pytest.raises(ValueError, match=r"the message takes 200005 bytes; 'b' \(.*\) takes at most 100000"):
            await pub.send(bytes(200_000))
        with pytest.raises(ValueError, match="takes at most 100000"):
            pub.send_nowait(bytes(200_000))
        assert pub.statistics().sent == 1
        assert pub.statistics().unheard == 1
        await pub.send(b"small")
        assert await sub.receive() == b"small"
        assert pair.to_a.is_connected
        assert pair.to_a.statistics().transports == 1


async def test_runs_of_small_messages_never_exceed_max_package(open_pair: OpenPair) -> None:
    async with open_pair(limits=Limits(max_package=1000)) as pair:
        pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
        await pub.wait_subscribers()
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pub.send_many, [[number] * 50 for number in range(500)])
                for number in range(500):
                    assert await sub.receive() == [number] * 50
        assert pair.to_a.statistics().transports == 1


@pytest.mark.parametrize(
    ("machine", "limits", "expected"),
    [(1 << 40, Limits(), 512 << 20), (1 << 30, Limits(), 1 << 28), (1 << 30, Limits(memory=5), 5)],
)
async def test_memory_is_what_the_machine_can_spare(
    autojump_clock: object, machine: int, limits: Limits, expected: int
) -> None:
    host = Network(seed=1).host("a")
    host.memory = machine
    async with trioton.open_context("a", network=host, limits=limits) as a:
        assert a._memory.limit == expected
