"""Contexts of plain threads: their network, their events, and what is left of them."""

from __future__ import annotations

import threading

import pytest
import trio

import trioton
from trioton import blocking

from .conftest import DEADLINE, Pair


def test_they_see_each_other(pair: Pair) -> None:
    assert [peer.name for peer in pair.a.peers] == ["b"]
    assert [info.name for info in pair.b.contexts] == ["a"]
    assert pair.b.wait_context(pair.a.id).name == "a"
    assert pair.b.connection("a") is pair.b.connections[0] is pair.to_a
    assert (pair.to_a.name, pair.to_a.peer.name, pair.to_a.address) == ("a", "a", "mem://a")
    assert (pair.to_a.is_connected, pair.to_a.is_closed, pair.to_a.transport) == (True, False, "memory")
    assert pair.to_a.kind == "trusted"
    pair.to_a.timeout = 3.0
    assert pair.to_a.timeout == 3.0
    assert pair.to_a.rtt is None or pair.to_a.rtt >= 0
    pair.to_a.flush(timeout=DEADLINE)
    assert pair.to_a.statistics().state == "connected"
    assert pair.a.statistics().connections == 1
    assert "Connection" in repr(pair.to_a)
    assert repr(pair.a) == "<blocking <Context 'a', 1 connections>>"
    with pytest.raises(TimeoutError):
        pair.to_a.wait_closed(timeout=0.01)
    with pytest.raises(KeyError):
        pair.a.connection("c")


def test_a_stub_learns_only_what_it_needs(pair: Pair) -> None:
    with blocking.open_context("c") as ctx:
        ctx.connect("mem://a", stub=True)
        assert [info.name for info in ctx.contexts] == ["a"]
        assert ctx.wait_context("b").hops == 2
        with pytest.raises(ValueError, match="this context is a stub"):
            ctx.connect("mem://b")


def test_events_come_in_order(pair: Pair) -> None:
    with pair.a.events() as events:
        with pytest.raises(trio.WouldBlock):
            events.receive_nowait()
        pair.to_a.close("enough")
        assert pair.to_a.close_reason == "enough"
        kinds = [events.receive(timeout=DEADLINE) for _ in range(2)]
        assert {type(event) for event in kinds} == {trioton.Disconnected, trioton.ContextDied}
        for event in kinds:
            if isinstance(event, trioton.Disconnected):
                assert pair.a.connection(event.connection).close_reason == "enough"
        pair.a.close()
        assert list(events) == []
        assert events.dropped == 0
    pair.to_a.wait_closed(timeout=DEADLINE)


def test_nobody_answers(no_thread_left: None) -> None:
    with blocking.open_context() as ctx:
        with pytest.raises(trioton.ConnectError):
            ctx.connect("mem://nobody")
        with pytest.raises(TimeoutError):
            ctx.connect("mem://nobody", wait=True, timeout=0.05)
        with ctx.bind("mem://somebody") as listener:
            assert (listener.address, listener.port) == ("mem://somebody", None)
            assert "Listener" in repr(listener)
        with pytest.raises(trioton.BindError):
            ctx.bind("mem://one")
            ctx.bind("mem://one")


def test_wrong_arguments_leave_nothing(no_thread_left: None) -> None:
    with pytest.raises(TypeError, match="name must be"):
        blocking.open_context(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="grace"):
        blocking.open_context(grace=-1)


def test_all_share_one_thread_which_ends_with_the_last(no_thread_left: None) -> None:
    def loops() -> int:
        return sum(thread.name == "trioton.blocking" for thread in threading.enumerate())

    first = blocking.open_context("first")
    second = blocking.open_context("second")
    assert loops() == 1
    first.close()
    first.close()
    assert loops() == 1
    assert second.peers == []
    second.close()
    assert loops() == 0
    with pytest.raises(trio.ClosedResourceError):
        second.flush()
    with pytest.raises(trio.ClosedResourceError):
        blocking.PubChannel(second, "slot")
    assert second.statistics().connections == 0
    with blocking.open_context("third"):
        assert loops() == 1


def test_what_was_received_can_be_taken_after_the_end(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot")
    pub = blocking.PubChannel(pair.a, "slot")
    pub.wait_subscribers(timeout=DEADLINE)
    pub.send_many(["one", "two"])
    while sub.pending < 2:
        pass
    pair.a.close()
    pair.b.close()
    assert list(sub) == ["one", "two"]
    with pytest.raises(trio.EndOfChannel):
        sub.receive()


def test_an_exception_leaves_as_itself(no_thread_left: None) -> None:
    with pytest.raises(ZeroDivisionError), blocking.open_context():
        1 / 0  # noqa: B018


def test_a_call_in_the_loop_itself_is_refused(pair: Pair) -> None:
    class Curious(trioton.MessageType[str]):
        name = "curious"

        def encode(self, message: str) -> str:
            return str(pair.a.peers)

        def decode(self, value: object) -> str:
            return str(value)

    pub = blocking.PubChannel(pair.a, "slot", Curious)
    with pytest.raises(trioton.MessageTypeError, match="would wait for itself"):
        pub.send("who?")


def test_closing_gives_up_after_its_timeout(pair: Pair) -> None:
    sub = blocking.SubChannel(pair.b, "slot", policy=trioton.Block(1))
    pub = blocking.PubChannel(pair.a, "slot", ahead=100)
    pub.wait_subscribers(timeout=DEADLINE)
    for number in range(50):
        pub.send(str(number))
    with pytest.raises(TimeoutError):
        pair.a.close(timeout=0.01)
    with pytest.raises(trio.ClosedResourceError):
        pub.send("more")
    assert sub.receive(timeout=DEADLINE) == "0"


def test_a_failure_inside_is_told_by_close_and_touches_nobody_else(pair: Pair) -> None:
    async def fail() -> None:
        raise RuntimeError("inside")

    sub = blocking.SubChannel(pair.a, "slot")
    pair.a._loop.run_sync(pair.a._inner.start_soon, fail)
    assert list(sub) == []
    with pytest.raises(ExceptionGroup) as caught:
        pair.a.close()
    assert caught.group_contains(RuntimeError, match="inside")
    pair.a.close()
    pair.to_a.wait_closed(timeout=DEADLINE)
    assert pair.b.peers == []
