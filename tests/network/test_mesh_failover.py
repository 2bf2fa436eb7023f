"""Where two ways lead to a context, the loss of one costs time and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

import trioton
from tests.network.mesh_shapes import Mesh, open_mesh, receive
from trioton import Block, ContextDied, DropOldest, Gap, Limits, SessionLost, open_channel
from trioton.network.mesh.membership import SUSPENDED_AFTER

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

TWO_WAYS = "ab bd ac cd de"  # from a to e by b or c, and d
LEASE = 10.0
MOMENT = 0.5
"""Seconds in which a new way is found and what was under way is sent again."""


def router_in_use(mesh: Mesh, slot: str = "flow") -> str:
    """Which of b and c passes on what a sends to e."""
    carried = mesh.carried(slot)
    used = [name for name in "bc" if carried[f"a{name}"]]
    assert len(used) == 1
    return used[0]


@asynccontextmanager
async def numbers_from_a_to_e(
    mesh: Mesh, count: int = 1000, pause: float = 0.01
) -> AsyncIterator[tuple[str, list[tuple[int, float]]]]:
    """Let a send numbers to e; gives the router that is in use, and the numbers that have come and when. All must come at last."""
    sub, pub = mesh.sub("e", policy=Block(50)), mesh.pub("a")
    await pub.wait_subscribers()
    got: list[tuple[int, float]] = []
    has_come = trio.Event()

    async def send() -> None:
        for number in range(count):
            await pub.send(number)
            await trio.sleep(pause)

    async def listen() -> None:
        while len(got) < count:
            got.append((await sub.receive(), trio.current_time()))  # others look at it meanwhile
        has_come.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(listen)
        await trio.sleep(2)
        yield router_in_use(mesh), got
        with trio.fail_after(100):
            await has_come.wait()
    assert [number for number, _ in got] == list(range(count))


def longest_silence(got: list[tuple[int, float]]) -> float:
    """The longest time between two messages."""
    return max(later - earlier for (_, earlier), (_, later) in itertools.pairwise(got))


# ---------------------------------------------------------------- a link or a router is lost


@pytest.mark.parametrize("far", [False, True], ids=["the first link", "the second link"])
async def test_a_link_that_is_silent_is_left_after_the_lease_and_a_second(
    far: bool, autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh(TWO_WAYS) as mesh:
        watches = [watch(mesh[name]) for name in "abcde"]
        async with numbers_from_a_to_e(mesh) as (router, got):
            mesh.net.partition("d" if far else "a", router)
        assert LEASE - 5 < longest_silence(got) < LEASE + SUSPENDED_AFTER + MOMENT
        assert all(each.all(ContextDied) + each.all(SessionLost) == [] for each in watches)
        other = "c" if router == "b" else "b"
        assert mesh.carried("flow")[f"a{other}"] > 0


async def test_a_router_that_crashes_is_left_after_a_second(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh(TWO_WAYS) as mesh:
        watches = [watch(mesh[name]) for name in "ade"]
        async with numbers_from_a_to_e(mesh) as (router, got):
            mesh.net.kill(router)
        assert SUSPENDED_AFTER < longest_silence(got) < SUSPENDED_AFTER + MOMENT
        await trio.sleep(100)
        for each in watches:
            assert [event.name for event in each.all(ContextDied)] == [router]


async def test_a_router_that_says_goodbye_is_left_at_once(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh(TWO_WAYS) as mesh:
        watches = [watch(mesh[name]) for name in "ade"]
        async with numbers_from_a_to_e(mesh) as (router, got):
            await mesh[router].aclose()
        assert longest_silence(got) < MOMENT
        for each in watches:
            assert [event.name for event in each.all(ContextDied)] == [router]


async def test_a_link_that_is_reset_and_comes_back_is_kept(autojump_clock: object) -> None:
    async with open_mesh(TWO_WAYS) as mesh:
        async with numbers_from_a_to_e(mesh) as (router, got):
            mesh.net.cut("a", router)
        assert longest_silence(got) < SUSPENDED_AFTER
        assert router_in_use(mesh) == router


async def test_a_link_that_nobody_dials_again_is_left_at_once_when_it_is_reset(
    autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh("bd cd de") as mesh:
        async with trioton.open_context("a", network=mesh.net.host("a")) as a:
            mesh.contexts["a"] = a
            for router in "bc":
                await mesh.link(f"a{router}", reconnect=None)
            await mesh.wait_all_see()
            watches = [watch(mesh[name]) for name in "abcde"]
            async with numbers_from_a_to_e(mesh) as (router, got):
                mesh.net.cut("a", router)
            assert longest_silence(got) < MOMENT
            assert mesh.hops("a")[router] == 3
            assert all(each.all(ContextDied) == [] for each in watches)


async def test_one_way_after_the_other_is_lost_and_comes_back(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh(TWO_WAYS) as mesh:
        watches = [watch(mesh[name]) for name in "abcde"]
        async with numbers_from_a_to_e(mesh, 3000):
            for _ in range(3):
                for router in "bc":
                    mesh.net.partition("a", router)
                    await trio.sleep(15)
                    mesh.net.heal()
                    await trio.sleep(5)
        assert all(each.all(ContextDied) + each.all(SessionLost) == [] for each in watches)


async def test_subscriptions_are_found_again_without_a_word_of_the_program(autojump_clock: object) -> None:
    async with open_mesh("ab bc ad dc", limits=Limits(resume_window=5)) as mesh:
        sub, pub = mesh.sub("c", policy=Block(10)), mesh.pub("a")
        await pub.wait_subscribers()
        mesh.net.isolate("c")
        await trio.sleep(60)
        assert pub.statistics().subscribers == 0
        mesh.net.heal()
        with trio.fail_after(60):
            await pub.wait_subscribers()
        await pub.send("again")
        assert await receive(sub, 1) == ["again"]


async def test_what_a_lost_way_took_of_a_flow_that_drops_is_counted(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh(TWO_WAYS) as mesh, trio.open_nursery() as nursery:
        heard = watch(mesh["e"])
        sub, pub = mesh.sub("e", policy=DropOldest(100)), mesh.pub("a")
        got: list[int] = []

        async def listen() -> None:
            async for number in sub:
                got.append(number)  # noqa: PERF401  # it is cancelled

        nursery.start_soon(listen)
        await pub.wait_subscribers()
        for number in range(2000):
            await pub.send(number)
            await trio.sleep(0.01)
            if number == 200:
                mesh.net.kill(router_in_use(mesh))
        await trio.sleep(10)
        assert got == sorted(set(got))
        assert got[-1] == 1999
        lost = 2000 - len(got)
        assert lost > 0
        assert sum(gap.count for gap in heard.all(Gap)) == sub.statistics().dropped == lost
        nursery.cancel_scope.cancel()


async def test_a_channel_with_one_receiver_takes_the_other_way_too(autojump_clock: object) -> None:
    async with open_mesh(TWO_WAYS) as mesh, trio.open_nursery() as nursery:
        sender, receiver = open_channel(mesh["e"], size=20)
        carrier, hears = mesh.pub("e", "carrier"), mesh.sub("a", "carrier")
        await carrier.wait_subscribers()
        await carrier.send(sender)
        (arrived,) = await receive(hears, 1)
        nursery.start_soon(arrived.send_many, range(500))
        assert await receive(receiver, 100) == list(range(100))
        slot = sender._slot.split(".")[0]
        mesh.net.kill(router_in_use(mesh, slot))
        assert await receive(receiver, 400) == list(range(100, 500))


# ---------------------------------------------------------------- neighbours


async def test_a_neighbour_whose_link_is_lost_is_reached_by_others_until_the_link_is_back(
    autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh("ab bc ca") as mesh, trio.open_nursery() as nursery:
        watches = [watch(mesh[name]) for name in "abc"]
        sub, pub = mesh.sub("b", policy=Block(10)), mesh.pub("a")
        await pub.wait_subscribers()

        async def send() -> None:
            for number in range(1000):
                await pub.send(number)
                await trio.sleep(0.05)

        nursery.start_soon(send)
        assert await receive(sub, 100) == list(range(100))
        assert mesh.carried("flow")["ac"] == 0
        mesh.net.partition("a", "b")
        assert await receive(sub, 300) == list(range(100, 400))
        assert mesh.carried("flow")["ac"] > 0
        assert mesh.hops("a") == {"b": 2, "c": 1}
        mesh.net.heal()
        await mesh.wait_hops("a", {"b": 1, "c": 1})
        await trio.sleep(1)
        around = mesh.carried("flow")["ac"]
        assert await receive(sub, 600) == list(range(400, 1000))
        assert mesh.carried("flow")["ac"] == around
        assert all(each.all(ContextDied) + each.all(SessionLost) == [] for each in watches)


async def test_a_new_connection_takes_over_the_flows_to_a_distant_context(
    autojump_clock: object, watch: MakeWatch
) -> None:
    async with open_mesh("ab bc cd") as mesh, trio.open_nursery() as nursery:
        watches = [watch(mesh[name]) for name in "abcd"]
        there, back = mesh.sub("d", "there", policy=Block(10)), mesh.sub("a", "back", policy=Block(10))
        pubs = [mesh.pub("a", "there"), mesh.pub("d", "back")]
        for pub in pubs:
            await pub.wait_subscribers()

        async def send(pub: trioton.PubChannel[int]) -> None:
            for number in range(1000):
                await pub.send(number)
                await trio.sleep(0.01)

        for pub in pubs:
            nursery.start_soon(send, pub)
        await trio.sleep(2)
        nursery.start_soon(mesh.link, "da")
        for sub in (there, back):
            assert await receive(sub, 1000) == list(range(1000))
        carried = mesh.carried("there")
        assert carried["ab"] + carried["ad"] >= 1000
        assert carried["ad"] > 500
        assert all(each.all(trioton.ContextJoined) + each.all(ContextDied) == [] for each in watches)
