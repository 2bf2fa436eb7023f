"""Connections: what they say of themselves, closing with a reason, flushing, and who may not be connected to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import BINARY, OBJECT, Block, ConnectError, DropOldest, PubChannel, SubChannel
from trioton.protocol import control
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


# ---------------------------------------------------------------- what it says of itself


async def test_both_ends_describe_the_same(pair: Pair) -> None:
    there, here = pair.to_b, pair.to_a
    assert (here.name, there.name) == ("a", "b")
    assert here.address == "a:1"
    assert there.address.startswith("tcp://b:")
    assert here.peer.id == pair.a.id
    assert there.peer.id == pair.b.id
    assert here.peer.name == "a"
    assert here.peer.pid == pair.net.host("a").pid
    assert here.peer.uid is None  # TCP vouches for nobody
    assert here.peer.identity is None
    assert here.kind == there.kind == "unauthenticated"
    assert here.transport == there.transport == "simulated"
    assert here.is_connected
    assert there.is_connected
    assert here.close_reason is there.close_reason is None


async def test_over_a_unix_socket_the_system_vouches(autojump_clock: object) -> None:
    host = Network(seed=1).host("one")
    async with trioton.open_context("a", network=host) as a, trioton.open_context("b", network=host) as b:
        await a.bind("unix:///run/a.sock")
        connection = await b.connect("unix:///run/a.sock")
        assert connection.kind == "trusted"
        assert connection.peer.uid == host.uid


async def test_names(autojump_clock: object) -> None:
    """A connection is called what the user says, or else what the peer calls itself."""
    net = Network(seed=1)
    async with (
        trioton.open_context("kernel", network=net.host("a")) as a,
        trioton.open_context(network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        connection = await b.connect("a:1", name="my kernel")
        assert connection.name == "my kernel"
        assert b.connection("my kernel") is connection
        with pytest.raises(KeyError, match="no connection named 'kernel'; there are \\['my kernel'\\]"):
            b.connection("kernel")
        await a.wait_context(b.id)
        with pytest.raises(KeyError):
            a.connection("")  # it has no name, and no name finds none
        await connection.aclose()
        with pytest.raises(KeyError):
            b.connection("my kernel")
        assert (await b.connect("a:1")).name == "kernel"


async def test_reprs(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.b)
    peer = str(pair.a.id)
    over = "over simulated, "
    assert repr(pair.to_a) == f"<Connection 'a' to 'a' ({peer}) at a:1 {over}connected>"
    assert repr(pair.b) == "<Context 'b', 1 connections>"
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    assert repr(pair.to_a) == f"<Connection 'a' to 'a' ({peer}) at a:1, suspended>"
    await events.wait_for(trioton.Resumed)
    await pair.to_a.aclose()
    assert repr(pair.to_a) == f"<Connection 'a' to 'a' ({peer}) at a:1, closed>"


async def test_statistics_count_over_all_transports(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.b)
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
    await pub.wait_subscribers()
    for number in range(10):
        await pub.send(number)
        assert await sub.receive() == number
    before = pair.to_b.statistics()
    assert before.state == "connected"
    assert before.transport == "simulated"
    assert before.transports == 1
    assert before.messages_sent == 10
    assert before.packages_sent == 10
    assert before.packages_queued == before.messages_dropped == 0
    there = pair.to_a.statistics()
    assert (there.messages_received, there.packages_received) == (10, 10)
    pair.net.cut("a", "b")
    await events.wait_for(trioton.Suspended)
    suspended = pair.to_a.statistics()
    assert suspended.state == "suspended"
    assert suspended.transport is None
    assert suspended.messages_received == 10
    assert suspended.bytes_received >= there.bytes_received
    await events.wait_for(trioton.Resumed)
    await pub.send(10)
    assert await sub.receive() == 10
    after = pair.to_a.statistics()
    assert after.messages_received == 11
    assert after.transports == 2
    assert after.bytes_received > suspended.bytes_received
    assert pair.to_b.statistics().bytes_sent > before.bytes_sent


async def test_what_one_end_sends_the_other_receives(pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n", BINARY), SubChannel(pair.b, "n", BINARY)
    await pub.wait_subscribers()
    for _ in range(10):
        await pub.send(bytes(100_000))
        await sub.receive()
    await trio.sleep(1)
    here, there = pair.to_b.statistics(), pair.to_a.statistics()
    # All but the handshake, which has no connection yet.
    assert here.bytes_sent == pytest.approx(there.bytes_received, abs=1000)
    assert there.bytes_sent == pytest.approx(here.bytes_received, abs=1000)
    assert here.bytes_sent > 1_000_000


# ---------------------------------------------------------------- closing


@pytest.mark.parametrize(
    "reason", ["enough for today", "  spaces \n and\tlines  ", "x" * 600, "Gr\u00fc\u00dfe \U0001f44b"]
)
async def test_a_reason_reaches_the_peer(pair: Pair, watch: MakeWatch, reason: str) -> None:
    events = watch(pair.a)
    await pair.to_a.aclose(reason)
    assert pair.to_a.is_closed
    assert pair.to_a.close_reason == reason
    await pair.to_b.wait_closed()
    line = " ".join(reason.split())
    expected = line if len(line) <= 512 else line[:511] + "\N{HORIZONTAL ELLIPSIS}"
    assert pair.to_b.close_reason == expected
    assert (await events.wait_for(trioton.Disconnected)).reason == expected
    assert (await events.wait_for(trioton.ContextDied)).reason == expected
    assert pair.a.connections == pair.b.connections == []
    assert pair.a.peers == pair.b.contexts == []


async def test_without_a_reason_both_still_have_one(pair: Pair) -> None:
    await pair.to_a.aclose()
    await pair.to_b.wait_closed()
    assert pair.to_a.close_reason == "closed on command"
    assert pair.to_b.close_reason == "closed on command"


async def test_closing_twice_keeps_the_first_reason(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.to_a.aclose, "first")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(pair.to_a.aclose, "second")
    await pair.to_a.aclose("third")
    assert pair.to_a.close_reason == "first"
    await pair.to_b.wait_closed()
    assert pair.to_b.close_reason == "first"


async def test_both_may_close_at_once(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.to_a.aclose, "from b")
        nursery.start_soon(pair.to_b.aclose, "from a")
    assert (pair.to_a.close_reason, pair.to_b.close_reason) == ("from b", "from a")


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
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


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


# ---------------------------------------------------------------- flushing


async def test_flush_waits_until_the_neighbour_has_everything(open_pair: OpenPair) -> None:
    net = Network(seed=1, latency=0.2, buffer_size=5000)
    async with open_pair(net) as pair:
        pub, sub = PubChannel(pair.a, "n", BINARY), SubChannel(pair.b, "n", BINARY, policy=Block(1000))
        await pub.wait_subscribers()
        await pub.send_many([bytes(1000)] * 50)
        assert sub.pending == 0
        await pair.to_b.flush()
        assert sub.pending == 50


async def test_flush_of_a_quiet_connection_takes_a_round_trip(open_pair: OpenPair) -> None:
    async with open_pair(Network(seed=1, latency=0.2)) as pair:
        start = trio.current_time()
        await pair.to_b.flush()
        assert trio.current_time() - start == pytest.approx(0.4)


async def test_flush_goes_on_over_a_drop(pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pub, sub = PubChannel(pair.a, "n"), SubChannel(pair.b, "n")
    await pub.wait_subscribers()
    async with trio.open_nursery() as nursery:
        await pub.send("hello")
        nursery.start_soon(pair.to_b.flush)
        await trio.testing.wait_all_tasks_blocked()
        pair.net.cut("a", "b")
    assert events.names == ["Suspended", "Resumed"]
    assert sub.pending == 1


async def test_flush_breaks_with_the_connection(pair: Pair) -> None:
    pair.net.partition("a", "b")
    async with trio.open_nursery() as nursery:

        async def flush() -> None:
            with pytest.raises(trio.BrokenResourceError, match="ended: no answer"):
                await pair.to_a.flush()

        nursery.start_soon(flush)
        await trio.sleep(1)
        with trio.move_on_after(1):
            await pair.to_a.aclose("no answer")
    with pytest.raises(trio.BrokenResourceError, match="ended: no answer"):
        await pair.to_a.flush()


# ---------------------------------------------------------------- who may not


async def test_a_context_cannot_connect_to_itself(autojump_clock: object) -> None:
    net = Network(seed=1)
    async with trioton.open_context("a", network=net.host("a")) as a:
        listener = await a.bind("a:1")
        with pytest.raises(ConnectError, match="a context cannot connect to itself"):
            await a.connect("a:1")
        assert a.connections == []
        async with trioton.open_context("b", network=net.host("b")) as b:
            assert (await b.connect(listener.address)).is_connected


async def test_two_contexts_are_connected_once(pair: Pair) -> None:
    await pair.b.bind("b:1")
    for context, address in ((pair.b, "a:1"), (pair.a, "b:1")):
        with pytest.raises(ConnectError, match="already"), trio.fail_after(10):
            await context.connect(address)
    assert pair.a.connections == [pair.to_b]
    assert pair.b.connections == [pair.to_a]
    assert pair.to_a.is_connected


@pytest.mark.parametrize("seed", range(10))
async def test_two_that_dial_each_other_at_once_end_with_one_connection(autojump_clock: object, seed: int) -> None:
    net = Network(seed=seed, latency=(0.001, 0.01))
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trio.open_nursery() as nursery,
    ):
        await a.bind("a:1")
        await b.bind("b:1")
        outcomes: list[bool] = []

        async def connect(context: trioton.Context, address: str) -> None:
            try:
                await context.connect(address)
                outcomes.append(True)
            except ConnectError:
                outcomes.append(False)

        nursery.start_soon(connect, a, "b:1")
        nursery.start_soon(connect, b, "a:1")
        await trio.sleep(20)
        if not any(outcomes):
            # Each has turned the other away; one that tries again gets through.
            await a.connect("b:1")
        assert [connection.is_connected for connection in a.connections] == [True]
        assert [connection.is_connected for connection in b.connections] == [True]
        pub, sub = PubChannel(a, "n"), SubChannel(b, "n")
        await pub.wait_subscribers()
        await pub.send("hello")
        assert await sub.receive() == "hello"


async def test_a_name_is_taken_once(autojump_clock: object) -> None:
    net = Network(seed=1)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trioton.open_context("c", network=net.host("c")) as c,
    ):
        await a.bind("a:1")
        await b.bind("b:1")
        await c.connect("a:1", name="one")
        with pytest.raises(ConnectError, match="there is a connection named 'one' already"):
            await c.connect("b:1", name="one")
        await c.connect("b:1", name="two")
        await c.connection("one").aclose()
        await c.connect("a:1", name="one")


async def test_two_answers_to_two_offers(autojump_clock: object, open_pair: OpenPair) -> None:
    """Two blocking subscriptions that come quickly make the publisher ask twice; if it closes before the second answer, nothing is lost."""
    async with open_pair(Network(seed=1, latency=0.001)) as pair:
        pub = PubChannel(pair.a, "n", backlog=10)
        subs = [SubChannel(pair.b, "n", policy=Block(10)) for _ in range(2)]
        await trio.sleep(0.0025)  # the publisher has asked for room, and no answer has come
        assert not pub.statistics().subscribers
        await pub.send_many("01234")
        pub.close()
        await trio.sleep(3)
        for sub in subs:
            assert sub.receive_all_nowait() == list("01234")
            assert sub.statistics().dropped == 0


async def test_only_the_receiver_itself_can_say_that_it_is_unreachable(autojump_clock: object, pair: Pair) -> None:
    sender, receiver = trioton.open_channel(pair.a)
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
    await pub.wait_subscribers()
    await pub.send(sender)
    there = await sub.receive()
    await there.send("x")
    assert await receiver.receive() == "x"
    flow = there._outlet.flow
    lie = control.Unreachable(flow.source, flow.slot, flow.stream, "a lie")
    pair.b._dispatcher.unreachable(object(), lie)
    await there.send("y")
    assert await receiver.receive() == "y"
    pair.b._dispatcher.unreachable(pair.to_a, lie)
    with pytest.raises(trio.BrokenResourceError, match="a lie"):
        await there.send("z")


@pytest.mark.parametrize("policy", [Block(10), DropOldest(10)], ids=repr)
async def test_a_blocking_subscriber_that_dies_is_told_of_in_the_log(
    autojump_clock: object, open_pair: OpenPair, caplog: pytest.LogCaptureFixture, policy: trioton.Policy
) -> None:
    """From then on nobody keeps the sender waiting, and what it sends is lost; a goodbye is no reason for a warning."""
    beat = trioton.Heartbeat(interval=1, timeout=2, lease=3)
    async with open_pair(heartbeat=beat, limits=trioton.Limits(resume_window=2)) as pair:
        pubs = [PubChannel(pair.a, f"n{number}") for number in range(5)]
        subs = [SubChannel(pair.b, f"n{number}", policy=policy) for number in range(5)]
        for pub in pubs:
            await pub.wait_subscribers()
        pair.net.partition("a", "b")
        await trio.sleep(20)
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        told = [
            line for line in warnings if "nobody else listens to 'n0.txt.pub-sub'" in line and "and 2 others" in line
        ]
        assert len(told) == (1 if isinstance(policy, Block) else 0)
        pair.net.heal()
        for pub in pubs:
            await pub.wait_subscribers()
        caplog.clear()
        await pair.to_a.aclose()
        await trio.sleep(1)
    assert "nobody else listens" not in caplog.text
    del subs


@pytest.mark.parametrize("value", ["no", 1, None])
async def test_flags_are_true_or_false(autojump_clock: object, pair: Pair, value: object) -> None:
    for argument in ("insecure", "wait", "local_shortcut"):
        with pytest.raises(TypeError, match=f"{argument} must be True or False, not {value!r}"):
            await pair.b.connect("a:1", **{argument: value})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"insecure must be True or False, not {value!r}"):
        await pair.b.bind("b:1", insecure=value)  # type: ignore[arg-type]
