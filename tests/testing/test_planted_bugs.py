"""Bugs that are planted into Trioton are found within a hundred seeds, and shown with few faults.

Each is a fault that such libraries have had. The switch is the monkeypatch: no code of Trioton knows of it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio

import trioton
from trioton.network.sending.outlet import Outlet
from trioton.protocol.flow import Branch, SendFlow
from trioton.protocol.inbox import ReceiveFlow
from trioton.protocol.window import Window
from trioton.testing import Chaos, Cut, Host, Network, Partition, SimulationFailed, run_simulation

MESSAGES = 150


async def publish(host: Host, name: str, pause: float, count: int) -> None:
    async with trioton.open_context(name, network=host) as ctx, trioton.PubChannel(ctx, "numbers") as pub:
        await ctx.connect("hub:1", wait=True)
        for number in range(count):
            await pub.send(f"{name} {number}")
            await trio.sleep(pause)
        await ctx.flush()


async def everything_comes_once_and_in_order(net: Network) -> None:
    """A publisher and a subscriber; the links between them suffer."""
    async with trioton.open_context("hub", network=net.host("hub")) as hub:
        await hub.bind("hub:1")
        async with trioton.SubChannel(hub, "numbers", policy=trioton.Block(1)) as sub, trio.open_nursery() as nursery:
            nursery.start_soon(publish, net.host("a"), "a", 0.2, MESSAGES)
            received: list[str] = []
            with trio.fail_after(600):
                while len(received) < MESSAGES:
                    received.append(await sub.receive())
            assert received == [f"a {number}" for number in range(MESSAGES)]


async def everybody_has_a_turn(net: Network) -> None:
    """Three publishers that send as fast as they may, and one slow subscriber."""
    async with trioton.open_context("hub", network=net.host("hub")) as hub:
        await hub.bind("hub:1")
        async with trioton.SubChannel(hub, "numbers", policy=trioton.Block(12)) as sub, trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(publish, net.host(name), name, 0, 10_000)
            await trio.sleep(10)
            turns: Counter[str] = Counter()
            for _ in range(100):
                turns[(await sub.receive()).split()[0]] += 1
                await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
    assert len(turns) == 3, turns
    assert min(turns.values()) > 15, turns


def find(scenario: Any) -> SimulationFailed:
    with pytest.raises(SimulationFailed) as caught:
        simulate(scenario, 100)
    return caught.value


def simulate(scenario: Any, seeds: int) -> None:
    run_simulation(
        scenario,
        seeds=range(seeds),
        hosts=["hub", "a", "b", "c"],
        faults=Chaos(seconds=30, gap=3, longest=5, kinds=(Partition, Cut)),
        network={"latency": (0.01, 0.2)},
        time_limit=700,
    )


@pytest.mark.long
def test_nothing_is_found_where_nothing_is_planted() -> None:
    simulate(everything_comes_once_and_in_order, 30)


def test_turns_are_fair_where_nothing_is_planted() -> None:
    run_simulation(everybody_has_a_turn, seeds=range(3), hosts=["hub", "a", "b", "c"], network={"latency": (0.01, 0.2)})


def test_a_double_delivery_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was not confirmed when a link was lost is sent again, and nobody looks whether it has come before."""
    resume, receive = SendFlow.resume, ReceiveFlow.receive

    def resume_from_confirmed(flow: SendFlow, branch: Branch, expected: int) -> None:
        resume(flow, branch, branch.taken)

    def receive_twice(flow: ReceiveFlow, header: Any, *, is_last: bool) -> tuple[int, int]:
        _, missing = receive(flow, header, is_last=is_last)
        return 0, missing

    monkeypatch.setattr(SendFlow, "resume", resume_from_confirmed)
    monkeypatch.setattr(ReceiveFlow, "receive", receive_twice)
    failure = find(everything_comes_once_and_in_order)
    assert isinstance(failure.__cause__, AssertionError)
    assert 1 <= len(failure.faults) <= 5


def test_a_lost_wake_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that wait for room are not woken by the first news of it that comes over a new link."""

    def resume_and_forget(flow: SendFlow, branch: Branch, expected: int) -> None:
        resume(flow, branch, expected)
        deaf[flow] = 2  # the subscription comes first, and then the room

    def changed(outlet: Outlet) -> None:
        if deaf[outlet.flow]:
            deaf[outlet.flow] -= 1
        else:
            wake(outlet)

    deaf: Counter[SendFlow] = Counter()
    resume, wake = SendFlow.resume, Outlet.changed
    monkeypatch.setattr(SendFlow, "resume", resume_and_forget)
    monkeypatch.setattr(Outlet, "changed", changed)
    failure = find(everything_comes_once_and_in_order)
    assert "TooSlowError" in str(failure)
    assert 1 <= len(failure.faults) <= 5


def test_an_unfair_queue_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is hungry first gets all the room there is, and keeps it."""
    monkeypatch.setattr(Window, "fair_share", property(lambda window: window.size))
    monkeypatch.setattr(Window, "to_ask_back", lambda window: [])
    failure = find(everybody_has_a_turn)
    assert "Counter" in str(failure)
    assert len(failure.faults) <= 5
