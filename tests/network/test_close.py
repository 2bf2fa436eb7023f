"""Closing: what was sent is delivered within `grace`, what was not is counted, reasons reach the peer, and nothing stays behind."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from trioton import Block, DropOldest, PubChannel, Reconnect, SubChannel
from trioton.network.link import Link
from trioton.protocol import control
from trioton.testing import Network, leak_check
from trioton.testing.streams import SimulatedTransport

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def send_numbers(pub: PubChannel[object], count: int) -> None:
    for number in range(count):
        await pub.send(number)


# ---------------------------------------------------------------- delivering first


@pytest.mark.parametrize("count", [1, 17, 1000])
async def test_leaving_the_block_delivers_what_was_sent(
    autojump_clock: object, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network(seed=3, latency=0.1, buffer_size=2000)
    async with trioton.open_context("b", network=net.host("b")) as b:
        await b.bind("b:1")
        sub = SubChannel(b, "chat", trioton.OBJECT, policy=Block(2000))
        async with trioton.open_context("a", network=net.host("a")) as a:
            await a.connect("b:1")
            pub = PubChannel(a, "chat", trioton.OBJECT)
            await pub.wait_subscribers()
            await send_numbers(pub, count)
        assert sub.pending == count
        assert [await sub.receive() for _ in range(count)] == list(range(count))
    assert warnings_of(caplog) == []


async def test_what_waits_in_the_backlog_is_delivered_as_room_comes(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """The subscriber takes its time, but grace is longer."""
    net = Network(seed=3, latency=0.01)
    received = []
    async with trioton.open_context("b", network=net.host("b")) as b, trio.open_nursery() as nursery:
        await b.bind("b:1")
        sub = SubChannel(b, "chat", trioton.OBJECT, policy=Block(4))

        async def receive() -> None:
            for _ in range(30):
                await trio.sleep(0.1)
                received.append(await sub.receive())

        async with trioton.open_context("a", network=net.host("a"), grace=30) as a:
            pub = PubChannel(a, "chat", trioton.OBJECT)
            await send_numbers(pub, 30)
            await a.connect("b:1")
            nursery.start_soon(receive)
            await pub.wait_subscribers()
    assert received == list(range(30))
    assert warnings_of(caplog) == []


async def test_what_grace_cuts_off_is_counted_and_logged_once(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """The way is cut, and the transport takes little: the rest waits here."""
    net = Network(seed=3, latency=0.01, buffer_size=1000)
    async with trioton.open_context("b", network=net.host("b")) as b:
        await b.bind("b:1")
        sub = SubChannel(b, "chat", trioton.BINARY, policy=Block(100))
        async with trioton.open_context("a", network=net.host("a"), grace=3) as a:
            connection = await a.connect("b:1")
            pub = PubChannel(a, "chat", trioton.BINARY)
            await pub.wait_subscribers()
            net.partition("a", "b")
            for _ in range(20):
                await pub.send(bytes(900))
                await trio.lowlevel.checkpoint()  # each in a package of its own
            start = trio.current_time()
        assert trio.current_time() - start == pytest.approx(3, abs=0.1)
        [line] = warnings_of(caplog)
        lost = connection.statistics().messages_dropped
        assert 15 <= lost <= 20
        assert f"closed before {lost} messages were sent" in line
        assert sub.pending == 0


async def test_what_a_suspended_connection_still_owes_is_counted(
    autojump_clock: object, open_pair: OpenPair, watch: MakeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pair(grace=2) as pair:
        events = watch(pair.b)
        pub, sub = PubChannel(pair.b, "chat", trioton.OBJECT), SubChannel(pair.a, "chat", trioton.OBJECT)
        await pub.wait_subscribers()
        await pub.send(0)
        assert await sub.receive() == 0
        await pair.b.flush()
        pair.net.partition("a", "b")
        pair.net.cut("a", "b")
        await events.wait_for(trioton.Suspended)
        await send_numbers(pub, 7)
        start = trio.current_time()
        await pair.b.aclose()
        assert trio.current_time() - start == pytest.approx(2, abs=0.1)
        [line] = warnings_of(caplog)
        assert "closed before 7 messages were sent" in line
        assert pair.to_a.statistics().messages_dropped == 7


async def test_a_backlog_that_found_no_room_is_counted(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network(seed=3, latency=0.01)
    async with trioton.open_context("b", network=net.host("b")) as b:
        await b.bind("b:1")
        sub = SubChannel(b, "chat", trioton.OBJECT, policy=Block(4))
        async with trioton.open_context("a", network=net.host("a"), grace=1) as a:
            pub = PubChannel(a, "chat", trioton.OBJECT)
            await send_numbers(pub, 30)
            connection = await a.connect("b:1")
            await pub.wait_subscribers()
        assert [await sub.receive() for _ in range(4)] == [0, 1, 2, 3]
        [line] = warnings_of(caplog)
        assert "closed before 26 messages were sent" in line
        assert connection.statistics().messages_dropped == 26


async def test_a_suspended_connection_delivers_when_it_comes_back(
    autojump_clock: object, open_pair: OpenPair, watch: MakeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pair(grace=20, reconnect=Reconnect(first=0.1, maximum=1)) as pair:
        events = watch(pair.b)
        pub, sub = PubChannel(pair.b, "chat", trioton.OBJECT), SubChannel(pair.a, "chat", trioton.OBJECT)
        await pub.wait_subscribers()
        pair.net.partition("a", "b")
        pair.net.cut("a", "b")
        await events.wait_for(trioton.Suspended)
        await send_numbers(pub, 7)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.b.aclose)
            await trio.sleep(5)
            pair.net.heal()
        assert [await sub.receive() for _ in range(7)] == list(range(7))
        assert warnings_of(caplog) == []


async def test_closing_without_anything_to_deliver_is_quick(
    autojump_clock: object, open_pair: OpenPair, watch: MakeWatch
) -> None:
    async with open_pair() as pair:
        events = watch(pair.a)
        start = trio.current_time()
        await pair.b.aclose()
        assert trio.current_time() - start < 0.1
        await pair.a.aclose()
        assert trio.current_time() - start < 0.1
        assert events.names[-1] == "ContextDied"


async def test_a_dead_way_holds_the_end_up_no_longer_than_grace(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair(b_options={"grace": 1.5}) as pair:
        pair.net.partition("a", "b")
        start = trio.current_time()
        await pair.b.aclose()
        assert trio.current_time() - start == pytest.approx(1.5, abs=0.1)
        pair.net.heal()


@pytest.mark.parametrize("grace", [0, 0.001])
async def test_no_grace_at_all(autojump_clock: object, open_pair: OpenPair, grace: float) -> None:
    async with open_pair(b_options={"grace": grace}) as pair:
        pub = PubChannel(pair.b, "chat")
        SubChannel(pair.a, "chat")
        await pub.wait_subscribers()
        await pub.send("perhaps")
        start = trio.current_time()
        await pair.b.aclose()
        assert trio.current_time() - start <= 2 * grace
        assert pair.b.connections == []


async def test_what_is_for_others_does_not_wait_for_one_that_is_stuck(autojump_clock: object) -> None:
    """Each connection of a context has its grace at the same time."""
    net = Network(seed=3, latency=0.01, buffer_size=1000)
    async with (
        trioton.open_context("good", network=net.host("good")) as good,
        trioton.open_context("stuck", network=net.host("stuck")) as stuck,
    ):
        await good.bind("good:1")
        await stuck.bind("stuck:1")
        sub = SubChannel(good, "chat", trioton.OBJECT, policy=Block(1000))
        async with trioton.open_context("a", network=net.host("a"), grace=2) as a:
            await a.connect("stuck:1")
            await a.connect("good:1")
            pub = PubChannel(a, "chat", trioton.OBJECT)
            await pub.wait_subscribers()
            net.partition("a", "stuck")
            await send_numbers(pub, 500)
            start = trio.current_time()
        assert trio.current_time() - start == pytest.approx(2, abs=0.1)
        assert sub.pending == 500


# ---------------------------------------------------------------- cancelled


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


# ---------------------------------------------------------------- reasons


async def test_the_reason_reaches_the_peer(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    at_a, at_b = watch(pair.a), watch(pair.b)
    await pair.to_a.aclose("going home\nat last")
    assert pair.to_a.is_closed
    assert pair.to_a.close_reason == "going home\nat last"
    assert (await at_a.wait_for(trioton.Disconnected)).reason == "going home at last"
    assert (await at_a.wait_for(trioton.ContextDied)).reason == "going home at last"
    assert pair.to_b.close_reason == "going home at last"
    assert pair.to_b.is_closed
    assert at_b.names == at_a.names == ["Disconnected", "ContextDied"]


async def test_without_a_reason_both_sides_still_have_one(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.b)
    await pair.to_b.aclose()
    assert pair.to_b.close_reason == "closed on command"
    assert (await events.wait_for(trioton.Disconnected)).reason == "closed on command"


async def test_a_closed_connection_is_not_dialled_again(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.b)
    await pair.to_b.aclose("no more")
    await events.wait_for(trioton.ContextDied)
    await trio.sleep(100)
    assert events.names == ["Disconnected", "ContextDied"]
    assert pair.a.connections == pair.b.connections == []


async def test_a_long_reason_is_cut_for_the_peer(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    await pair.to_a.aclose("x" * 10_000)
    reason = (await events.wait_for(trioton.Disconnected)).reason
    assert reason.startswith("xxx")
    assert reason.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert len(reason) <= 512


async def test_both_ends_close_at_once(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.to_a.aclose, "b says")
            nursery.start_soon(pair.to_b.aclose, "a says")
        assert trio.current_time() - start < 1
        assert pair.to_a.close_reason == "b says"
        assert pair.to_b.close_reason == "a says"


async def test_the_last_messages_come_before_the_death(autojump_clock: object, pair: Pair, watch: MakeWatch) -> None:
    events = watch(pair.a)
    pub, sub = PubChannel(pair.b, "chat", trioton.OBJECT), SubChannel(pair.a, "chat", trioton.OBJECT)
    await pub.wait_subscribers()
    await send_numbers(pub, 100)
    await pair.b.aclose()
    await events.wait_for(trioton.ContextDied)
    assert sub.receive_all_nowait() == list(range(100))


async def test_a_reason_must_be_a_text(autojump_clock: object, pair: Pair) -> None:
    with pytest.raises(TypeError, match="reason must be a str, not 3"):
        await pair.to_a.aclose(3)  # type: ignore[arg-type]
    assert pair.to_a.is_connected


# ---------------------------------------------------------------- exceptions


async def test_an_exception_of_the_block_leaves_as_itself(autojump_clock: object) -> None:
    net = Network(seed=3)
    error = ValueError("of the block")
    with pytest.raises(ValueError, match="of the block") as caught:
        async with trioton.open_context("a", network=net.host("a")) as a:
            await a.bind("a:1")
            a.start_soon(trio.sleep_forever)
            raise error
    assert caught.value is error


async def test_a_group_of_the_block_leaves_as_itself(autojump_clock: object) -> None:
    """That of a nursery, say; nothing is wrapped around it."""
    net = Network(seed=3)
    error = ExceptionGroup("of the block", [ValueError(1), ExceptionGroup("inner", [KeyError(2)])])
    with pytest.raises(ExceptionGroup) as caught:
        async with trioton.open_context("a", network=net.host("a")) as a:
            a.start_soon(trio.sleep_forever)
            raise error
    assert caught.value is error


async def test_a_failing_nursery_in_the_block(autojump_clock: object, open_pair: OpenPair) -> None:
    async def fail() -> None:
        raise KeyError("of a task")

    with pytest.raises(ExceptionGroup) as caught:
        async with open_pair(), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()
    [inner] = caught.value.exceptions
    assert isinstance(inner, KeyError)


async def test_a_failing_task_of_the_context_leaves_in_a_group(autojump_clock: object) -> None:
    net = Network(seed=3)

    async def fail() -> None:
        raise KeyError("of a task")

    with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
        async with trioton.open_context("a", network=net.host("a")) as a:
            a.start_soon(fail)
            await trio.sleep_forever()


async def test_block_and_task_fail_both(autojump_clock: object) -> None:
    net = Network(seed=3)

    async def fail() -> None:
        raise KeyError("of a task")

    with pytest.RaisesGroup(KeyError, ValueError, flatten_subgroups=True):
        async with trioton.open_context("a", network=net.host("a")) as a:
            a.start_soon(fail)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("of the block")


async def test_an_exception_still_delivers_first(autojump_clock: object) -> None:
    """An error of the program is no reason to lose what it has sent."""
    net = Network(seed=3, latency=0.1)
    async with trioton.open_context("b", network=net.host("b")) as b:
        await b.bind("b:1")
        sub = SubChannel(b, "chat")
        with pytest.raises(ZeroDivisionError):
            async with trioton.open_context("a", network=net.host("a")) as a:
                await a.connect("b:1")
                pub = PubChannel(a, "chat")
                await pub.wait_subscribers()
                await pub.send("last words")
                raise ZeroDivisionError
        assert await sub.receive() == "last words"


# ---------------------------------------------------------------- tasks


async def test_tasks_of_the_context_are_cancelled_first(autojump_clock: object, open_pair: OpenPair) -> None:
    seen = []

    async def work(context: trioton.Context) -> None:
        try:
            await trio.sleep_forever()
        finally:
            seen.append(context.name)

    async with open_pair() as pair:
        pair.a.start_soon(work, pair.a)
        pair.b.start_soon(work, pair.b)
        await trio.testing.wait_all_tasks_blocked()
        await pair.a.aclose()
        assert seen == ["a"]
    assert seen == ["a", "b"]


async def test_closing_in_the_block_does_not_cancel_it(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        await pair.b.aclose()
        await pair.b.aclose()
        await trio.lowlevel.checkpoint()
        await trio.sleep(10)
        with pytest.raises(trio.ClosedResourceError):
            await pair.b.bind("b:2")
        with pytest.raises(trio.ClosedResourceError):
            await pair.b.connect("a:1")
        with pytest.raises(trio.ClosedResourceError):
            pair.b.start_soon(trio.sleep_forever)
        with pytest.raises(trio.ClosedResourceError):
            PubChannel(pair.b, "chat")
        with pytest.raises(trio.ClosedResourceError):
            pair.b.events()
        reached = True
    assert reached


async def test_a_task_of_the_context_may_close_it(autojump_clock: object, open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        pair.b.start_soon(pair.b.aclose)
        with trio.fail_after(1):
            await pair.to_a.wait_closed()
        await trio.sleep(1)


async def test_receivers_end_and_senders_fail_when_the_context_closes(
    autojump_clock: object, open_pair: OpenPair
) -> None:
    async with open_pair() as pair:
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat", policy=Block(1))
        await pub.wait_subscribers()
        await pub.send("waits")
        outcomes = []

        async def send() -> None:
            with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
                await pub.send("no room")
            outcomes.append("send")

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await pub.wait_subscribers(5)
            outcomes.append("wait")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.1)
            with trio.fail_after(20):
                await pair.a.aclose()
        assert sorted(outcomes) == ["send", "wait"]
        await pair.b.aclose()
        assert await sub.receive() == "waits"
        with pytest.raises(trio.EndOfChannel):
            await sub.receive()


@pytest.mark.parametrize("message", ["text", 7])
async def test_nothing_is_accepted_once_closing_has_begun(
    autojump_clock: object, open_pair: OpenPair, message: object
) -> None:
    """Also what would go the shortest way; what was accepted before still leaves, from the backlog too."""
    async with open_pair(grace=50) as pair:
        held, quick = PubChannel(pair.b, "held"), PubChannel(pair.b, "quick", trioton.OBJECT)
        if message == "text":
            quick = PubChannel(pair.b, "quick")
        slow = SubChannel(pair.a, "held", policy=Block(1))
        sub: SubChannel[object] = SubChannel(pair.a, "quick", quick._type, policy=Block(1000))
        for _ in range(5):
            await held.send("x")
        await quick.wait_subscribers()
        await quick.send(message)
        await quick.send(message)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.b.aclose)
            await trio.sleep(0.1)
            assert pair.to_a.statistics().state == "closing"
            for _ in range(3):
                with pytest.raises(trio.ClosedResourceError):
                    await quick.send(message)
            assert [await slow.receive() for _ in range(5)] == ["x"] * 5
            for _ in range(3):
                with pytest.raises(trio.ClosedResourceError):
                    await quick.send(message)
        await pair.to_b.wait_closed()
        assert sub.receive_all_nowait() == [message] * 2


async def test_leaving_leaves_no_task(autojump_clock: object, open_pair: OpenPair) -> None:
    async with leak_check(), open_pair() as pair:
        pub, sub = PubChannel(pair.a, "chat"), SubChannel(pair.b, "chat", policy=DropOldest(3))
        await pub.wait_subscribers()
        await pub.send("x")
        assert await sub.receive() == "x"
        pair.a.start_soon(trio.sleep_forever)
        pair.net.cut("a", "b")


@pytest.mark.parametrize("state", ["suspended", "connecting", "dialling", "silent"])
async def test_leaving_leaves_no_task_in_any_state(
    autojump_clock: object, open_pair: OpenPair, watch: MakeWatch, state: str
) -> None:
    async with leak_check(), open_pair() as pair:
        events = watch(pair.b)
        if state == "dialling":
            pair.b.start_soon(lambda: pair.b.connect("a:99", wait=True))
        elif state == "connecting":
            pair.net.partition("a", "b")
            pair.b.start_soon(lambda: pair.b.connect("a:1"))
        else:
            pair.net.partition("a", "b")
            if state == "suspended":
                pair.net.cut("a", "b")
                await events.wait_for(trioton.Suspended)
            else:
                await events.wait_for(trioton.TimedOut)
        await trio.sleep(0.1)


async def test_an_error_of_the_block_has_no_group_behind_it(autojump_clock: object) -> None:
    """So a traceback shows it once."""
    net = Network(seed=1)
    for error in (ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            async with (
                trioton.open_context("a", network=net.host("a")),
                trioton.open_context("b", network=net.host("b")),
            ):
                raise error
        assert caught.value is error
        assert error.__context__ is error.__cause__ is None


async def test_the_error_of_a_task_is_in_one_group(autojump_clock: object) -> None:
    async def fail() -> None:
        raise ValueError("of a task")

    with pytest.raises(ExceptionGroup) as caught:
        async with trioton.open_context("a", network=Network(seed=1).host("a")) as context:
            context.start_soon(fail)
            await trio.sleep(1)
    [error] = caught.value.exceptions
    assert type(error) is ValueError


async def test_room_that_is_granted_while_a_goodbye_is_prepared(
    autojump_clock: object, pair: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waited for it gathers in that very pass, and must leave before the goodbye."""
    sub = SubChannel(pair.b, "n", policy=Block(100))
    await trio.sleep(0.015)  # the publisher's context knows of it
    pair.net.partition("b", "a", oneway=True)
    pub = PubChannel(pair.a, "n", backlog=10)
    await pub.send_many("01234")
    assert pub.statistics().backlog == 5
    wait_drained = Link.wait_drained

    async def wait_and_grant(link: Link) -> None:
        await wait_drained(link)
        if pub.statistics().backlog:
            flow = pub._flow
            pair.a._dispatcher.heat()
            pair.a._dispatcher.credit(pair.to_b, control.Credit(flow.source, flow.slot, flow.stream, None, 100))
            link.try_write()
            pair.net.heal()

    monkeypatch.setattr(Link, "wait_drained", wait_and_grant)
    await pair.to_b.aclose()
    await trio.sleep(1)
    assert sub.receive_all_nowait() == list("01234")
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
