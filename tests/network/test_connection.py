"""Connections: what they say of themselves, and what their two ends make of each other's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import warnings_of
from trioton import BINARY, OBJECT, Block, DropOldest, PubChannel, SubChannel
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
    assert here.peer.uid == 1000  # a simulation vouches for its users
    assert here.peer.identity is None
    assert here.kind == there.kind == "trusted"
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


# ---------------------------------------------------------------- what its two ends make of each other's words


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
    pair.b._traffic.audience.unreachable(object(), lie)
    await there.send("y")
    assert await receiver.receive() == "y"
    pair.b._traffic.audience.unreachable(pair.to_a.association, lie)
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
        told = [
            line
            for line in warnings_of(caplog)
            if "nobody else listens to 'n0.txt.pub-sub'" in line and "and 2 others" in line
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
