"""Contexts: who they are, whom they know, their listeners and tasks, and what they count."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import OBJECT, BindError, Block, ConnectError, ContextId, PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import OpenPair, Pair


# ---------------------------------------------------------------- who it is


async def test_identities_are_ints_of_their_own(autojump_clock: object) -> None:
    host = Network(seed=1).host("a")
    ids = []
    for _ in range(10):
        async with trioton.open_context(network=host) as context:
            ids.append(context.id)
    assert len(set(ids)) == 10
    assert {type(each) for each in ids} == {ContextId}
    assert {each.number for each in ids} == {0}
    assert all(re.fullmatch(r"<context 0 of realm [0-9a-f]{24}>", repr(each)) for each in ids)


async def test_reprs(autojump_clock: object) -> None:
    net = Network(seed=1)
    async with trioton.open_context("kernel", network=net.host("a")) as named:
        assert repr(named) == "<Context 'kernel', 0 connections>"
        assert str(named) == "kernel"
        async with trioton.open_context(network=net.host("b")) as nameless:
            assert repr(nameless) == f"<Context {nameless.id}, 0 connections>"
            await named.bind("a:1")
            await nameless.connect("a:1")
            assert repr(nameless) == f"<Context {nameless.id}, 1 connections>"
        assert repr(nameless) == f"<Context {nameless.id}, closed>"


async def test_yotons_counting_of_connections(autojump_clock: object) -> None:
    """Yoton's cases 1 to 3: three contexts that connect one after another, and go one after another."""
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("c1", network=net.host("c1")) as c1:
        assert c1.connections == []
        await c1.bind("c1:1")
        async with trioton.open_context("c2", network=net.host("c2")) as c2:
            await c2.connect("c1:1")
            await c1.wait_context("c2")
            assert (len(c1.connections), len(c2.connections)) == (1, 1)
            await c1.bind("c1:2")
            async with trioton.open_context("c3", network=net.host("c3")) as c3:
                await c3.connect("c1:2")
                await c1.wait_context("c3")
                assert [len(context.connections) for context in (c1, c2, c3)] == [2, 1, 1]
                await c1.aclose()
                await trio.sleep(1)
                assert [len(context.connections) for context in (c1, c2, c3)] == [0, 0, 0]


async def test_whom_a_context_knows(pair: Pair) -> None:
    assert [peer.name for peer in pair.a.peers] == ["b"]
    [info] = pair.a.contexts
    assert (info.id, info.name, info.pid, info.hops) == (pair.b.id, "b", pair.net.host("b").pid, 1)


@pytest.mark.parametrize("by", ["name", "id"])
async def test_wait_context(autojump_clock: object, by: str) -> None:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trio.open_nursery() as nursery,
    ):
        await a.bind("a:1")
        found: list[trioton.ContextInfo] = []

        async def wait() -> None:
            found.append(await a.wait_context(b.name if by == "name" else b.id))

        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.sleep(10)
        assert found == []
        await b.connect("a:1")
        await trio.sleep(1)
        assert [info.id for info in found] == [b.id, b.id]
        with trio.testing.assert_checkpoints():
            await a.wait_context("b")


async def test_wait_context_ends_with_the_context(open_pair: OpenPair) -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError, match="the context a is closed"):
                await pair.a.wait_context("nobody")

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await pair.a.aclose()


# ---------------------------------------------------------------- connect and bind


async def test_connect_returns_when_each_side_knows_what_the_other_listens_to(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.1)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        at_a = [SubChannel(a, f"to a {number}", OBJECT) for number in range(50)]
        at_b = [SubChannel(b, f"to b {number}", OBJECT, policy=trioton.Latest()) for number in range(50)]
        from_a = [PubChannel(a, f"to b {number}", OBJECT, backlog=0) for number in range(50)]
        from_b = [PubChannel(b, f"to a {number}", OBJECT, backlog=0) for number in range(50)]
        await b.connect("a:1")
        for pub in (*from_a, *from_b):
            pub.send_nowait(pub.slot)
        await trio.sleep(1)
        for sub in (*at_a, *at_b):
            assert sub.receive_nowait() == sub.slot


async def test_one_listener_takes_many(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    async with trioton.open_context("hub", network=net.host("hub")) as hub, trio.open_nursery() as nursery:
        await hub.bind("hub:1")
        sub = SubChannel(hub, "n", OBJECT)

        async def join(number: int) -> None:
            async with trioton.open_context(f"c{number}", network=net.host(f"h{number}")) as context:
                await context.connect("hub:1")
                pub = PubChannel(context, "n", OBJECT)
                await pub.wait_subscribers()
                await pub.send(number)

        for number in range(30):
            nursery.start_soon(join, number)
        assert sorted([await sub.receive() for _ in range(30)]) == list(range(30))


async def test_listeners(autojump_clock: object) -> None:
    net = Network(seed=1)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        async with await a.bind("a:0") as listener:
            assert listener.port is not None
            assert listener.address == f"tcp://a:{listener.port}"
            assert repr(listener) == f"<Listener at tcp://a:{listener.port}>"
            connection = await b.connect(listener.address)
            assert a.statistics().listeners == 1
        assert repr(listener).endswith(", closed>")
        assert a.statistics().listeners == 0
        assert connection.is_connected  # those who are in stay
        await listener.aclose()
        await connection.aclose()
        with pytest.raises(ConnectError, match="nobody listens there"):
            await b.connect(listener.address)
        again = await a.bind(listener.address)
        assert again.port == listener.port


async def test_a_listener_that_closed_does_not_take_back_who_was_suspended(pair: Pair, open_pair: OpenPair) -> None:
    """A suspended client cannot come back where nobody listens; it can as soon as somebody does."""
    async with open_pair(Network(seed=2, latency=0.01)) as other:
        [listener] = other.a._listeners
        await listener.aclose()
        other.net.cut("a", "b")
        await trio.sleep(5)
        assert not other.to_a.is_connected
        await other.a.bind("a:1")
        await trio.sleep(10)
        assert other.to_a.is_connected


async def test_bind_tries_further_ports(autojump_clock: object) -> None:
    """Yoton's case 42."""
    net = Network(seed=1)
    async with trioton.open_context("a", network=net.host("a")) as a:
        first = await a.bind("a:9000")
        assert first.port == 9000
        with pytest.raises(BindError, match="in use") as caught:
            await a.bind("a:9000")
        assert isinstance(caught.value, OSError)
        second = await a.bind("a:9000", max_tries=3)
        assert second.port is not None
        assert second.port > 9000
        third = await a.bind("a:9000", max_tries=3)
        with pytest.raises(BindError, match="could not listen on any of the 3 ports tried from") as caught:
            await a.bind("a:9000", max_tries=3)
        assert isinstance(caught.value.__cause__, BindError)
        assert third.port not in {first.port, second.port}


async def test_names_of_ports_are_hashed_as_yoton_does(autojump_clock: object) -> None:
    net = Network(seed=1)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        assert (await a.bind("a:test")).port == 56337
        assert (await a.bind("a:test+1")).port == 56338
        assert (await b.connect("a:test+1")).is_connected


async def test_a_failed_connect_leaves_nothing(autojump_clock: object) -> None:
    net = Network(seed=1, latency=0.01)
    net.host("a")
    async with trioton.open_context("b", network=net.host("b")) as b:
        for address in ("a:1", "nowhere:1", "b:1"):
            with pytest.raises(ConnectError):
                await b.connect(address)
        assert b.connections == []
        assert b.statistics().connections == 0
        assert net.statistics().open == 0


# ---------------------------------------------------------------- tasks


async def test_tasks_of_a_context_end_with_it(autojump_clock: object) -> None:
    net = Network(seed=1)
    ended: list[str] = []

    async def run(name: str, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            task_status.started(name.upper())
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async with trioton.open_context("a", network=net.host("a")) as a:
        a.start_soon(run, "one")
        assert await a.start(run, "two") == "TWO"
        await trio.sleep(100)
        assert ended == []
    assert sorted(ended) == ["one", "two"]
    for start in (a.start_soon, a.start):
        with pytest.raises(trio.ClosedResourceError, match="the context a is closed"):
            result = start(run, "late")
            if result is not None:
                await result


async def test_tasks_of_a_context_may_use_it_while_they_are_cancelled(autojump_clock: object) -> None:
    """Background tasks that wait for anything in the context end quietly when it is left."""
    net = Network(seed=1, latency=0.01)
    for hurry in (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 1.0):
        async with (
            trioton.open_context("a", network=net.host("a")) as a,
            trioton.open_context("b", network=net.host("b")) as b,
        ):
            await a.bind("a:1")
            await b.connect("a:1")
            pub, sub = PubChannel(a, "n", OBJECT), SubChannel(b, "n", OBJECT, policy=Block(2))
            empty = SubChannel(a, "empty")

            async def send(pub: PubChannel[object]) -> None:
                while True:
                    await pub.send(0)
                    await trio.sleep(0.0005)  # a loop that is never idle would stop this clock

            async def receive(sub: SubChannel[object]) -> None:
                while True:
                    await sub.receive()
                    await trio.sleep(0.001)

            a.start_soon(send, pub)
            a.start_soon(empty.receive)
            a.start_soon(pub.wait_subscribers, 2)
            a.start_soon(a.wait_context, "nobody")
            a.start_soon(a.connections[0].wait_closed)
            a.start_soon(a.events().receive)
            a.start_soon(a.flush)
            b.start_soon(receive, sub)
            await trio.sleep(hurry)


# ---------------------------------------------------------------- what it counts


async def test_statistics(pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
    unheard = PubChannel(pair.a, "unheard", backlog=3)
    await pub.wait_subscribers()
    for number in range(10):
        await pub.send(number)
        await unheard.send("x")
        await sub.receive()
    here, there = pair.a.statistics(), pair.b.statistics()
    assert (here.connections, here.listeners, here.slots_sent, here.slots_received) == (1, 1, 2, 0)
    assert (there.connections, there.listeners, there.slots_sent, there.slots_received) == (1, 0, 0, 1)
    assert here.messages_sent == there.messages_received == 10
    assert here.messages_unheard == 7
    assert here.messages_dropped == 0
    assert here.bytes_sent > 100
    unheard.close()
    assert pair.a.statistics().messages_unheard == 10


async def test_what_closed_connections_did_still_counts(pair: Pair) -> None:
    pub, sub = PubChannel(pair.a, "n", OBJECT), SubChannel(pair.b, "n", OBJECT)
    for count in range(1, 4):
        await pub.wait_subscribers()
        await pub.send(count)
        await sub.receive()
        assert pair.a.statistics().messages_sent == pair.b.statistics().messages_received == count
        before = pair.a.statistics().bytes_sent
        await pair.b.connections[0].aclose()
        await trio.sleep(1)
        assert pair.a.statistics().messages_sent == pair.b.statistics().messages_received == count
        assert pair.a.statistics().bytes_sent >= before
        assert pair.a.statistics().connections == 0
        await pair.b.connect("a:1")
