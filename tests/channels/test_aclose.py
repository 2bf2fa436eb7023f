"""For what `aclose` of a sending channel waits, and what becomes of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
import trio.testing

import trioton
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import Pair

GRACE = 5.0


async def test_it_does_not_wait_for_a_subscriber_that_takes_nothing(
    autojump_clock: trio.testing.MockClock, pair: Pair
) -> None:
    pub = trioton.PubChannel(pair.a, "slot")
    sub = trioton.SubChannel(pair.b, "slot", policy=trioton.Block(4))
    await pub.wait_subscribers()
    await pub.send_many("1234")
    start = trio.current_time()
    await pub.aclose()
    assert trio.current_time() == start
    with trio.move_on_after(60) as scope:
        await pair.a.flush()
    assert scope.cancelled_caught
    assert sub.receive_all_nowait() == list("1234")
    await pair.a.flush()


async def test_it_does_not_wait_for_a_suspended_connection(autojump_clock: trio.testing.MockClock) -> None:
    net = Network(seed=1, latency=0.01)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        connection = await b.connect("a:1")
        pub = trioton.PubChannel(a, "slot")
        sub = trioton.SubChannel(b, "slot")
        await pub.wait_subscribers()
        net.partition({"a"}, {"b"})
        await trio.sleep(15)
        assert not connection.is_connected
        await pub.send("late")
        start = trio.current_time()
        await pub.aclose()
        assert trio.current_time() == start
        net.heal()
        assert await sub.receive() == "late"


async def test_it_waits_for_room_for_the_backlog(autojump_clock: trio.testing.MockClock, pair: Pair) -> None:
    pub = trioton.PubChannel(pair.a, "slot")
    await pub.send_many("12345678")
    sub = trioton.SubChannel(pair.b, "slot", policy=trioton.Block(4))
    await pub.wait_subscribers()
    start = trio.current_time()
    await pub.aclose()
    assert trio.current_time() == start + GRACE
    with trio.fail_after(5):
        assert [await sub.receive() for _ in range(8)] == list("12345678")


async def test_a_backlog_that_nobody_listens_to_is_dropped_and_counted(
    autojump_clock: trio.testing.MockClock, pair: Pair
) -> None:
    pub = trioton.PubChannel(pair.a, "slot")
    await pub.send_many("1234")
    start = trio.current_time()
    await pub.aclose()
    assert trio.current_time() == start
    assert (pub.statistics().backlog, pub.statistics().unheard) == (0, 4)
