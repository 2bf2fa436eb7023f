"""Sessions that are lost for good: both sides hear of it, the next session knows all channels, and without `reconnect` there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import FAST
from trioton import Block, Limits, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


async def test_a_partition_longer_than_the_window_loses_the_session(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    at_a, at_b = watch(pair.a), watch(pair.b)
    pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat")
    await pub.wait_subscribers()
    pair.net.partition("a", "b")
    start = trio.current_time()
    await pub.send("lost")
    for events, peer in ((at_a, pair.b), (at_b, pair.a)):
        died = await events.wait_for(trioton.ContextDied)
        assert (died.id, died.name) == (peer.id, peer.name)
        assert 40 <= trio.current_time() - start < 45
    assert (await at_b.wait_for(trioton.SessionLost)).connection is pair.to_a
    assert pub.subscribers == 0
    assert pair.b.contexts == pair.b.peers == []
    assert not pair.to_a.is_closed  # it goes on dialling

    pair.net.heal()
    joined = await at_b.wait_for(trioton.ContextJoined)
    assert joined.id == pair.a.id
    await pub.wait_subscribers()
    await pub.send("after")
    assert await sub.receive() == "after"
    assert at_b.names == ["TimedOut", "Suspended", "SessionLost", "ContextDied", "ContextJoined", "Connected"]
    assert pair.b.connections == [pair.to_a]
    assert pair.to_a.is_connected


async def test_a_new_session_resumes_like_the_first(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    """The token of the session that was lost must not be the one that the next resume shows."""
    at_b = watch(pair.b)
    pair.net.partition("a", "b")
    await at_b.wait_for(trioton.SessionLost)
    pair.net.heal()
    await at_b.wait_for(trioton.Connected)
    for number in range(1, 4):
        pair.net.cut("a", "b")
        with trio.fail_after(5):
            await at_b.wait_for(trioton.Resumed, number)
    assert len(at_b.all(trioton.SessionLost)) == 1


async def test_what_is_subscribed_while_the_session_is_lost_is_known_to_the_next(
    autojump_clock: object, pair: Pair, watch: MakeWatch
) -> None:
    at_b = watch(pair.b)
    pub = PubChannel(pair.a, "chat", backlog=0)
    pair.net.partition("a", "b")
    await at_b.wait_for(trioton.SessionLost)
    early = SubChannel(pair.b, "chat")
    pair.net.heal()
    # While the new session is being set up, nobody knows yet that the peer is there.
    late = SubChannel(pair.b, "other")
    other = PubChannel(pair.a, "other", backlog=0)
    with trio.fail_after(60):
        await pub.wait_subscribers()
        await other.wait_subscribers()
    await pub.send("early")
    await other.send("late")
    assert await early.receive() == "early"
    assert await late.receive() == "late"


@pytest.mark.parametrize("seed", range(5))
async def test_channels_opened_at_any_moment_of_a_new_session_work(
    autojump_clock: object, open_pair: OpenPair, seed: int
) -> None:
    """Also those between the loss of the session and the end of the next handshake."""
    net = Network(seed=seed, latency=0.02)
    async with open_pair(net, reconnect=FAST, limits=Limits(resume_window=1)) as pair:
        await trio.sleep(1)
        net.partition("a", "b")
        await trio.sleep(20)
        net.heal()
        pubs, subs = [], []
        for number in range(40):
            pubs.append(PubChannel(pair.a, str(number), backlog=0))
            subs.append(SubChannel(pair.b, str(number), policy=Block(2)))
            await trio.sleep(0.005)
        for pub, sub in zip(pubs, subs, strict=True):
            with trio.fail_after(30):
                await pub.wait_subscribers()
                for number in range(10):
                    await pub.send(f"{number}")
                    assert await sub.receive() == f"{number}"


async def test_a_peer_that_comes_back_as_another_joins_anew(autojump_clock: object, watch: MakeWatch) -> None:
    net = Network(seed=3, latency=0.01)
    async with trioton.open_context("b", network=net.host("b")) as b:
        events = watch(b)
        async with trioton.open_context("a", network=net.host("a")) as first:
            await first.bind("a:1")
            connection = await b.connect("a:1")
            net.partition("a", "b")  # so that no goodbye arrives
        net.cut("a", "b")
        net.heal()
        async with trioton.open_context("a", network=net.host("a")) as second:
            await second.bind("a:1")
            await events.wait_for(trioton.Connected, 2)
            assert [each.id for each in events.all(trioton.ContextDied)] == [first.id]
            assert [each.id for each in events.all(trioton.ContextJoined)] == [first.id, second.id]
            assert connection.peer.id == second.id
            assert b.connections == [connection]
            net.cut("a", "b")  # the token of the new session must be known
            with trio.fail_after(5):
                await events.wait_for(trioton.Resumed)


async def test_without_reconnect_a_drop_is_final_on_both_sides(
    autojump_clock: object, open_pair: OpenPair, watch: MakeWatch
) -> None:
    async with open_pair(reconnect=None) as pair:
        at_a, at_b = watch(pair.a), watch(pair.b)
        start = trio.current_time()
        pair.net.cut("a", "b")
        await pair.to_a.wait_closed()
        await pair.to_b.wait_closed()
        assert trio.current_time() - start < 1
        assert pair.to_a.close_reason is not None
        assert "was cut" in pair.to_a.close_reason
        assert at_a.names == at_b.names == ["Disconnected", "ContextDied"]
        again = await pair.b.connect("a:1", reconnect=None)
        assert again.is_connected


async def test_a_drop_without_reconnect_may_be_dialled_anew_at_once(
    autojump_clock: object, open_pair: OpenPair
) -> None:
    async with open_pair(reconnect=None) as pair:
        for _ in range(3):
            pair.net.cut("a", "b")
            await trio.testing.wait_all_tasks_blocked()
            connection = await pair.b.connect("a:1", reconnect=None)
            assert connection.is_connected
