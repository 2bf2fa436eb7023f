"""Closing in a cancelled scope: only a goodbye is tried, for a moment at most, and nothing is delivered any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import warnings_of
from trioton import Block, PubChannel, SubChannel
from trioton.testing import Network
from trioton.testing.streams import SimulatedTransport

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, Pair


async def test_a_cancelled_scope_says_goodbye_only(autojump_clock: object, watch: MakeWatch) -> None:
    net = Network(seed=3, latency=0.01, buffer_size=1000)
    async with trioton.open_context("b", network=net.host("b")) as b:
        await b.bind("b:1")
        events = watch(b)
        sub = SubChannel(b, "chat", trioton.BINARY, policy=Block(1000))
        with trio.CancelScope() as scope:
            async with trioton.open_context("a", network=net.host("a")) as a:
                await a.connect("b:1")
                pub = PubChannel(a, "chat", trioton.BINARY)
                await pub.wait_subscribers()
                start = trio.current_time()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() == start
        died = await events.wait_for(trioton.ContextDied)
        assert died.reason == "the context was closed"
        assert "Suspended" not in events.names
        assert sub.pending == 0


async def test_a_cancelled_scope_drains_nothing(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    net = Network(seed=3, latency=0.01, buffer_size=1000)
    async with trioton.open_context("b", network=net.host("b")) as b:
        await b.bind("b:1")
        sub = SubChannel(b, "chat", trioton.BINARY, policy=Block(1000))
        connection: trioton.Connection | None = None
        with trio.CancelScope() as scope:
            async with trioton.open_context("a", network=net.host("a")) as a:
                connection = await a.connect("b:1")
                pub = PubChannel(a, "chat", trioton.BINARY)
                await pub.wait_subscribers()
                start = trio.current_time()
                for _ in range(50):
                    pub.send_nowait(bytes(500))
                    await trio.lowlevel.cancel_shielded_checkpoint()
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert trio.current_time() - start <= 0.5  # for the frame that was under way
        await trio.sleep(20)
        assert sub.pending < 50
        assert connection is not None
        assert f"closed before {connection.statistics().messages_dropped} messages were sent" in "\n".join(
            warnings_of(caplog)
        )
        assert len(warnings_of(caplog)) == 1


@pytest.mark.parametrize(
    ("is_dead", "reason"), [(False, "the context was closed"), (True, "the peer was silent for 10 s")]
)
async def test_a_cancelled_scope_says_goodbye_behind_a_write_that_cannot_be_cut(
    autojump_clock: object, watch: MakeWatch, monkeypatch: pytest.MonkeyPatch, is_dead: bool, reason: str
) -> None:
    """As with TLS: a record that was written in part cannot be continued by another call."""
    monkeypatch.setattr(SimulatedTransport, "can_try_send", False)
    net = Network(seed=3, latency=0.01, buffer_size=1000)
    async with trioton.open_context("b", network=net.host("b"), limits=trioton.Limits(resume_window=1)) as b:
        await b.bind("b:1")
        events = watch(b)
        SubChannel(b, "chat", trioton.BINARY, policy=Block(1000))
        with trio.CancelScope() as scope:
            async with trioton.open_context("a", network=net.host("a")) as a:
                await a.connect("b:1")
                pub = PubChannel(a, "chat", trioton.BINARY)
                await pub.wait_subscribers()
                for _ in range(30):
                    pub.send_nowait(bytes(500))
                await trio.sleep(0.05)
                assert a.connections[0].statistics().bytes_sent < 10_000, "it is being written"
                if is_dead:
                    net.partition("a", "b")
                start = trio.current_time()
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert trio.current_time() - start <= 0.5
        died = await events.wait_for(trioton.ContextDied)
        assert died.reason.startswith(reason)
        assert ("Suspended" in events.names) is is_dead


async def test_a_cancelled_scope_waits_no_longer_than_a_moment_for_a_dead_way(autojump_clock: object) -> None:
    net = Network(seed=3, latency=0.01, buffer_size=1000)
    async with trioton.open_context("b", network=net.host("b")) as b:
        await b.bind("b:1")
        with trio.CancelScope() as scope:
            async with trioton.open_context("a", network=net.host("a")) as a:
                await a.connect("b:1")
                pub = PubChannel(a, "chat", trioton.BINARY)
                sub = SubChannel(b, "chat", trioton.BINARY)
                await pub.wait_subscribers()
                net.partition("a", "b")
                await pub.send(bytes(100_000))
                start = trio.current_time()
                scope.cancel()
        assert trio.current_time() - start <= 0.5
        assert sub.pending == 0


async def test_a_deadline_around_a_context_that_drains(autojump_clock: object) -> None:
    net = Network(seed=3, latency=0.01)
    async with trioton.open_context("b", network=net.host("b")) as b:
        await b.bind("b:1")
        start = trio.current_time()
        with trio.move_on_after(1) as scope:
            async with trioton.open_context("a", network=net.host("a"), grace=100) as a:
                await a.connect("b:1")
                net.partition("a", "b")
        assert scope.cancelled_caught
        assert trio.current_time() - start == pytest.approx(1, abs=0.1)


async def test_a_connection_whose_close_is_cancelled_is_closed(autojump_clock: object, pair: Pair) -> None:
    pair.net.partition("a", "b")
    with trio.move_on_after(0.5) as scope:
        await pair.to_a.aclose("enough")
    assert scope.cancelled_caught
    assert pair.to_a.is_closed
    assert pair.to_a.close_reason == "enough"
    assert pair.b.connections == []
    await pair.to_a.aclose()
