"""Dialling: at once or in the end, again after giving up, and two at each other: there is one connection, whatever the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import trioton
from trioton import PubChannel, SubChannel
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


async def check_pair(a: trioton.Context, b: trioton.Context) -> None:
    """Each has one connection, to the other, and messages go both ways."""
    with trio.fail_after(10):
        await a.wait_context(b.id)
        await b.wait_context(a.id)
    assert [(connection.peer.id, connection.is_connected) for connection in b.connections] == [(a.id, True)]
    assert [(connection.peer.id, connection.is_connected) for connection in a.connections] == [(b.id, True)]
    for sender, receiver in ((a, b), (b, a)):
        async with PubChannel(sender, "check") as pub, SubChannel(receiver, "check") as sub:
            await pub.wait_subscribers()
            await pub.send("hello")
            assert await sub.receive() == "hello"


# ---------------- given up, and dialled again


@pytest.mark.parametrize("steps", range(60))
async def test_cancelled_after_any_number_of_checkpoints(autojump_clock: object, steps: int) -> None:
    async with trioton.open_context("a") as a, trioton.open_context("b") as b:
        await a.bind("mem://connect-again")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(b.connect, "mem://connect-again")
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        if not any(connection.is_connected for connection in b.connections):
            assert b.connections == []
            with trio.fail_after(1):
                await b.connect("mem://connect-again")
        await check_pair(a, b)


@pytest.mark.parametrize("tenths", range(0, 70, 5))
async def test_cancelled_at_any_moment(autojump_clock: object, tenths: int) -> None:
    """Half a millisecond apart, over all of a handshake; once it is dialled again at once, once when the other end has heard of it."""
    for pause in (0.0, 0.05):
        net = Network(seed=5, latency=0.001)
        async with (
            trioton.open_context("a", network=net.host("a")) as a,
            trioton.open_context("b", network=net.host("b")) as b,
        ):
            await a.bind("a:1")
            with trio.move_on_after(tenths / 10_000):
                await b.connect("a:1")
            await trio.sleep(pause)
            if not any(connection.is_connected for connection in b.connections):
                assert b.connections == []
                with trio.fail_after(1):
                    await b.connect("a:1")
            await check_pair(a, b)


async def test_cancelled_while_it_moves_to_a_unix_socket() -> None:
    """Over real sockets, where the number of steps that each part takes differs from run to run."""
    async with trioton.open_context("a") as a, trioton.open_context("b") as b:
        listener = await a.bind("tcp://127.0.0.1:0")
        for steps in range(0, 120, 3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(b.connect, listener.address)
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            with trio.fail_after(20):
                if not b.connections:
                    await b.connect(listener.address)
                await check_pair(a, b)
                await b.connections[0].aclose()
                while a.connections:
                    await trio.lowlevel.checkpoint()


async def test_a_goodbye_that_came_before_a_write_failed_is_heard(autojump_clock: object) -> None:
    async with trioton.open_context("a") as a, trioton.open_context("b") as b:
        await a.bind("mem://connect-again")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(b.connect, "mem://connect-again")
                while not b.connections:
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert b.connections == []
        await trio.sleep(0.1)
        assert a.connections == []


async def test_a_session_that_its_client_has_given_up_ends_when_that_dials_again(
    open_pair: OpenPair, watch: MakeWatch
) -> None:
    """The goodbye was lost with the link; what was kept for it is counted as lost, and nobody takes the new one for the old."""
    async with open_pair() as pair:
        events = watch(pair.a)
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat", policy=trioton.Block(4))
        await pub.wait_subscribers()
        with trio.fail_after(1):
            await pub.send("first")
            assert await sub.receive() == "first"
        pair.net.cut("a", "b")
        pair.net.partition("a", "b")
        await events.wait_for(trioton.Suspended)
        await pub.send("kept")
        await pair.to_a.aclose()
        pair.net.heal()
        assert pair.a.connections == [pair.to_b]
        with trio.fail_after(1):
            await pair.b.connect("a:1")
        await check_pair(pair.a, pair.b)
        assert events.names[-5:] == ["SessionLost", "Disconnected", "ContextDied", "ContextJoined", "Connected"]
        assert pair.to_b.is_closed
        assert pair.to_b.close_reason == "the peer has given it up and connected anew"
        await pub.wait_subscribers()
        await pub.send("second")
        assert await sub.receive() == "second"


async def test_another_process_does_not_end_a_suspended_session(open_pair: OpenPair, watch: MakeWatch) -> None:
    """It cannot be the same context, whatever identity it names."""
    async with open_pair() as pair:
        thief = pair.net.host("thief")
        async with trioton.open_context("b", network=thief) as false:
            false.id, false._wire_id = pair.b.id, pair.b._wire_id
            events = watch(pair.a)
            pair.net.cut("a", "b")
            pair.net.partition("a", "b")
            await events.wait_for(trioton.Suspended)
            with pytest.raises(trioton.ConnectError, match="refused: b is connected already"):
                await false.connect("a:1")
            pair.net.heal()
            await events.wait_for(trioton.Resumed)


@pytest.mark.parametrize("offset", range(-14, 15))
async def test_two_who_dial_each_other_have_one_connection(autojump_clock: object, offset: int) -> None:
    """Whatever the moment and whoever has the smaller identity: one returns, the other hears at once that there is a connection."""
    for seed in (1, 2, 3, 4):
        net = Network(seed=seed, latency=0.001)
        results: list[str] = []

        async def dial(context: trioton.Context, address: str, delay: float, results: list[str] = results) -> None:
            await trio.sleep(delay)
            try:
                connection = await context.connect(address, wait=True)
            except trioton.ConnectError as error:
                assert "connected" in str(error)
                results.append("refused")
            else:
                assert connection in context.connections
                results.append("connected")

        async with (
            trioton.open_context("a", network=net.host("a")) as a,
            trioton.open_context("b", network=net.host("b")) as b,
        ):
            await a.bind("a:1")
            await b.bind("b:1")
            with trio.fail_after(1):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(dial, a, "b:1", max(0, offset) * 0.0005)
                    nursery.start_soon(dial, b, "a:1", max(0, -offset) * 0.0005)
            await check_pair(a, b)
            await trio.sleep(60)
            await check_pair(a, b)
        assert sorted(results) == ["connected", "refused"], seed


# ---------------- at once, or whenever there is somebody


async def test_connect_fails_at_once_and_waits_if_told_to(autojump_clock: object) -> None:
    net = Network(seed=3, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trio.open_nursery() as nursery,
    ):
        with pytest.raises(trioton.ConnectError, match="nobody listens there") as caught:
            await b.connect("a:1")
        assert isinstance(caught.value, OSError)
        connected = trio.Event()

        async def connect() -> None:
            connection = await b.connect("a:1", wait=True)
            assert connection.is_connected
            connected.set()

        nursery.start_soon(connect)
        await trio.sleep(1000)
        assert not connected.is_set()
        await a.bind("a:1")
        with trio.fail_after(31):
            await connected.wait()


@pytest.mark.parametrize("wait", [False, True])
async def test_a_cut_at_any_moment_of_the_handshake(autojump_clock: object, wait: bool) -> None:
    for step in range(40):
        net = Network(seed=step, latency=0.01)
        async with (
            trioton.open_context("a", network=net.host("a")) as a,
            trioton.open_context("b", network=net.host("b")) as b,
            trio.open_nursery() as nursery,
        ):
            await a.bind("a:1")

            async def cut(after: float, net: Network) -> None:
                await trio.sleep(after)
                net.cut("a", "b")

            nursery.start_soon(cut, step * 0.003, net)
            with trio.fail_after(30):
                try:
                    await b.connect("a:1", wait=wait)
                except trioton.ConnectError:
                    assert not wait
                    await b.connect("a:1", wait=True)
                await trio.sleep(5)
            assert [connection.is_connected for connection in b.connections] == [True]
            assert [connection.is_connected for connection in a.connections] == [True]


async def test_waiting_to_connect_survives_many_cuts(autojump_clock: object) -> None:
    net = Network(seed=3, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
        trio.open_nursery() as nursery,
    ):
        await a.bind("a:1")

        async def cut() -> None:
            for _ in range(40):
                await trio.sleep(0.013)
                net.cut("a", "b")

        nursery.start_soon(cut)
        with trio.fail_after(30):
            connection = await b.connect("a:1", wait=True)
            await trio.sleep(5)
        assert connection.is_connected


async def test_what_no_waiting_would_change_is_raised_at_once(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        await pair.b.bind("b:1")
        with trio.fail_after(1):
            with pytest.raises(trioton.ConnectError, match="refused: b is connected already"):
                await pair.b.connect("a:1", wait=True)
            with pytest.raises(trioton.ConnectError, match="refused: a is connected already"):
                await pair.a.connect("b:1", wait=True)
            with pytest.raises(trioton.ConnectError, match="refused: a context cannot connect to itself"):
                await pair.b.connect("b:1", wait=True)
        assert pair.to_a.is_connected
        assert pair.to_b.is_connected


async def test_waiting_to_connect_ends_when_cancelled(autojump_clock: object) -> None:
    net = Network(seed=3)
    net.host("a")
    async with trioton.open_context("b", network=net.host("b")) as b:
        with trio.move_on_after(100) as scope:
            await b.connect("a:1", wait=True)
        assert scope.cancelled_caught
        assert b.connections == []


# ---------------- who may not


async def test_a_context_cannot_connect_to_itself(autojump_clock: object) -> None:
    """Yoton's case 43."""
    net = Network(seed=1)
    async with trioton.open_context("a", network=net.host("a")) as a:
        listener = await a.bind("a:1")
        with pytest.raises(trioton.ConnectError, match="a context cannot connect to itself"):
            await a.connect("a:1")
        assert a.connections == []
        async with trioton.open_context("b", network=net.host("b")) as b:
            assert (await b.connect(listener.address)).is_connected


async def test_two_contexts_are_connected_once(pair: Pair) -> None:
    await pair.b.bind("b:1")
    for context, address in ((pair.b, "a:1"), (pair.a, "b:1")):
        with pytest.raises(trioton.ConnectError, match="already"), trio.fail_after(10):
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
            except trioton.ConnectError:
                outcomes.append(False)

        nursery.start_soon(connect, a, "b:1")
        nursery.start_soon(connect, b, "a:1")
        await trio.sleep(20)
        if not any(outcomes):
            # Each has turned the other away; one that tries again gets through.
            await a.connect("b:1")
        await check_pair(a, b)


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
        with pytest.raises(trioton.ConnectError, match="there is a connection named 'one' already"):
            await c.connect("b:1", name="one")
        await c.connect("b:1", name="two")
        await c.connection("one").aclose()
        await c.connect("a:1", name="one")
