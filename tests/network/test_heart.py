"""One task keeps the heartbeats of all links: each is looked at when it is due, and many of them at once."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

import trioton
from trioton.network.heart import PAUSE, Heart
from trioton.testing import Network

if TYPE_CHECKING:
    from tests.conftest import MakeWatch
    from trioton.network.link import Link


class FakeLink:
    """Wants to be looked at each `interval` seconds; stands for its own heartbeat machine."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.due = trio.current_time() + interval
        self.late: list[float] = []
        self.times: list[float] = []

    @property
    def machine(self) -> FakeLink:
        return self

    def next_wake(self) -> float:
        return self.due

    def beat(self, now: float) -> None:
        self.times.append(now)
        self.late.append(now - self.due)
        self.due = now + self.interval


class Wakes(trio.abc.Instrument):
    """Counts how often any task goes on."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


def watch_all(heart: Heart, links: list[FakeLink]) -> None:
    for link in links:
        heart.watch(cast("Link", link))


@pytest.mark.parametrize("pause", [0.0, PAUSE])
async def test_each_link_is_looked_at_when_it_is_due(
    autojump_clock: object, nursery: trio.Nursery, pause: float
) -> None:
    rng = random.Random(1)
    heart = Heart(pause)
    nursery.start_soon(heart.run_forever)
    await trio.testing.wait_all_tasks_blocked()
    links = [FakeLink(rng.uniform(1, 3)) for _ in range(100)]
    watch_all(heart, links)
    await trio.sleep(30)
    for link in links:
        assert len(link.times) >= 30 / (link.interval + pause) - 1
        assert all(0 <= late <= pause for late in link.late)
    nursery.cancel_scope.cancel()


async def test_many_links_are_looked_at_together(autojump_clock: object, nursery: trio.Nursery) -> None:
    heart = Heart(PAUSE)
    nursery.start_soon(heart.run_forever)
    links: list[FakeLink] = []
    for _ in range(1000):
        links.append(FakeLink(2.5))
        watch_all(heart, links[-1:])
        await trio.sleep(0.0025)
    for link in links:
        link.times.clear()
    await trio.sleep(10)
    assert len({time for link in links for time in link.times}) <= 10 / PAUSE + 1
    assert all(len(link.times) >= 3 for link in links)
    nursery.cancel_scope.cancel()


async def test_one_that_is_watched_anew_is_looked_at_once(autojump_clock: object, nursery: trio.Nursery) -> None:
    heart = Heart(0.0)
    nursery.start_soon(heart.run_forever)
    link, other = FakeLink(5), FakeLink(7)
    watch_all(heart, [link, other])
    await trio.sleep(1)
    link.due = trio.current_time() + 1
    for _ in range(3):
        watch_all(heart, [link])
    start = trio.current_time() - 1
    await trio.sleep(6.5)
    assert [round(time - start, 6) for time in link.times] == [2.0, 7.0]
    assert [round(time - start, 6) for time in other.times] == [7.0]
    nursery.cancel_scope.cancel()


async def test_what_the_heart_sleeps_for_may_be_put_off(autojump_clock: object, nursery: trio.Nursery) -> None:
    heart = Heart(0.0)
    first, second = FakeLink(5), FakeLink(6)
    heart.postpone(cast("Link", first))  # it is not even watched
    watch_all(heart, [first, second])
    nursery.start_soon(heart.run_forever)
    start = trio.current_time()
    instrument = Wakes()
    await trio.sleep(1)
    trio.lowlevel.add_instrument(instrument)
    for _ in range(20):
        for link in (first, second):
            link.due = trio.current_time() + 3
            heart.postpone(cast("Link", link))
        await trio.sleep(2)
    trio.lowlevel.remove_instrument(instrument)
    assert first.times == second.times == []
    assert instrument.count <= 40  # twenty are those of this task
    await trio.sleep(2)
    for link in (first, second):
        assert [time - start for time in link.times] == [pytest.approx(42)]
        assert max(link.late) < 1e-6
    nursery.cancel_scope.cancel()


async def test_what_was_forgotten_is_never_looked_at(autojump_clock: object, nursery: trio.Nursery) -> None:
    heart = Heart(0.0)
    nursery.start_soon(heart.run_forever)
    for _ in range(1000):
        link = FakeLink(5)
        watch_all(heart, [link])
        heart.forget(cast("Link", link))
        heart.forget(cast("Link", link))
        assert len(heart._due) <= 34
    await trio.sleep(20)
    assert not link.times
    nursery.cancel_scope.cancel()


async def test_one_of_many_that_falls_silent(autojump_clock: object, watch: MakeWatch) -> None:
    net = Network(seed=1, latency=0.01)
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(trioton.open_context("hub", network=net.host("hub")))
        await hub.bind("hub:1")
        for number in range(40):
            leaf = trioton.open_context(f"leaf {number}", network=net.host(f"leaf{number}"))
            await (await stack.enter_async_context(leaf)).connect("hub:1")
            await trio.sleep(0.1)
        events = watch(hub)
        await trio.sleep(20)
        assert not events.events
        net.partition("hub", "leaf7")
        start = trio.current_time()
        event: Any = await events.wait_for(trioton.TimedOut)
        assert event.connection.peer.name == "leaf 7"
        assert 2.5 <= trio.current_time() - start <= 5.1
        await trio.sleep(2)
        net.heal()
        await events.wait_for(trioton.Recovered)
        assert {type(event) for event in events.events} == {trioton.TimedOut, trioton.Recovered}
