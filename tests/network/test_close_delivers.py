"""Closing delivers first: what was sent arrives within `grace`, and what does not is counted and logged once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import trioton
from tests.common import send_numbers, warnings_of
from trioton import Block, PubChannel, Reconnect, SubChannel
from trioton.network.link import Link
from trioton.protocol import control
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch, OpenPair, Pair


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
            pair.a._traffic.audience.credit(
                pair.to_b.association, control.Credit(flow.source, flow.slot, flow.stream, None, 100)
            )
            link.try_write()
            pair.net.heal()

    monkeypatch.setattr(Link, "wait_drained", wait_and_grant)
    await pair.to_b.aclose()
    await trio.sleep(1)
    assert sub.receive_all_nowait() == list("01234")
    assert warnings_of(caplog) == []


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


# ---------------- what is cut off


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


@pytest.mark.parametrize(("owed", "words"), [(7, "7 messages were sent"), (1, "1 message was sent")])
async def test_what_a_suspended_connection_still_owes_is_counted(
    autojump_clock: object,
    open_pair: OpenPair,
    watch: MakeWatch,
    caplog: pytest.LogCaptureFixture,
    owed: int,
    words: str,
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
        await send_numbers(pub, owed)
        start = trio.current_time()
        await pair.b.aclose()
        assert trio.current_time() - start == pytest.approx(2, abs=0.1)
        [line] = warnings_of(caplog)
        assert line.endswith(f"closed before {words}")
        assert pair.to_a.statistics().messages_dropped == owed


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


# ---------------- how long it takes


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
