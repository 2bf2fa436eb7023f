"""Which links carry what: the shortest way, one copy for all behind a link, and nothing where nobody listens."""

from __future__ import annotations

import pytest
import trio

from tests.network.mesh_shapes import Mesh, line, nothing_comes, open_mesh, receive
from trioton import Block, DropOldest, Latest, open_channel
from trioton.testing import Network

STAR = "sa sb sc sd"
TREE = "ab bc bd ce cf dg dh"  # b is the middle; behind c are e and f, behind d are g and h


async def send_spaced(mesh: Mesh, name: str, count: int, slot: str = "flow") -> None:
    """Publish so many numbers, each in a package of its own."""
    pub = mesh.pub(name, slot)
    await pub.wait_subscribers()
    await trio.sleep(1)
    for number in range(count):
        await pub.send(number)
        await trio.sleep(0.1)


# ---------------------------------------------------------------- what is published


async def test_each_link_carries_one_copy_however_many_listen_behind_it(autojump_clock: object) -> None:
    async with open_mesh(TREE) as mesh:
        subs = [mesh.sub(name) for name in "befgh"] + [mesh.sub("e"), mesh.sub("h")]
        await send_spaced(mesh, "a", 10)
        for sub in subs:
            assert await receive(sub, 10) == list(range(10))
        assert mesh.carried("flow") == dict.fromkeys(["ab", "bc", "bd", "ce", "cf", "dg", "dh"], 10)


async def test_it_goes_only_into_branches_where_somebody_listens(autojump_clock: object) -> None:
    async with open_mesh(TREE) as mesh:
        sub = mesh.sub("f")
        await send_spaced(mesh, "a", 10)
        assert await receive(sub, 10) == list(range(10))
        assert mesh.carried("flow") == dict.fromkeys(["ab", "bc", "cf"], 10)


async def test_who_no_longer_listens_is_sent_nothing_more(autojump_clock: object) -> None:
    async with open_mesh(TREE) as mesh:
        stays, goes = mesh.sub("f"), mesh.sub("g")
        await send_spaced(mesh, "a", 5)
        assert await receive(goes, 5) == list(range(5))
        await goes.aclose()
        await trio.sleep(1)
        await send_spaced(mesh, "a", 5)
        assert await receive(stays, 10) == [*range(5), *range(5)]
        carried = mesh.carried("flow")
        assert [carried[way] for way in ("ab", "bc", "cf")] == [10, 10, 10]
        assert [carried[way] for way in ("bd", "dg")] == [5, 5]


@pytest.mark.parametrize("policy", [DropOldest(100), Latest(), Block(100)], ids=repr)
async def test_nothing_but_records_crosses_a_link_behind_which_nobody_listens(
    policy: Block | DropOldest | Latest, autojump_clock: object
) -> None:
    async with open_mesh(TREE) as mesh:
        sub = mesh.sub("e", policy=policy)
        await trio.sleep(1)
        begin = mesh.net.trace.total
        await send_spaced(mesh, "a", 10)
        assert (await receive(sub, 10))[-1] == 9 if not isinstance(policy, Latest) else True
        events = [event for event in mesh.net.trace if event.number > begin and event.kind == "frame"]
        crossed = {event.what for event in events if {event.source, event.target} == {"b", "d"}}
        assert crossed <= {"RECORDS", "PING", "PONG", "BEAT"}


async def test_publishing_without_subscribers_sends_nothing(autojump_clock: object) -> None:
    async with open_mesh(TREE) as mesh:
        pub = mesh.pub("a", backlog=0)
        for number in range(10):
            await pub.send(number)
        await trio.sleep(10)
        assert mesh.carried("flow") == {}
        assert pub.statistics().unheard == 10


async def test_in_a_ring_each_link_carries_it_once_at_most_and_none_gets_it_twice(autojump_clock: object) -> None:
    async with open_mesh("ab bc cd da") as mesh:
        subs = [mesh.sub(name, policy=policy) for name in "bcd" for policy in (Block(100), DropOldest(100))]
        await send_spaced(mesh, "a", 10)
        for sub in subs:
            assert await receive(sub, 10) == list(range(10))
            assert await nothing_comes(sub)
        carried = mesh.carried("flow")
        assert [carried["ab"], carried["ad"]] == [10, 10]
        assert sorted([carried["bc"], carried["dc"]]) == [0, 10]
        assert sum(carried.values()) == 30


async def test_in_a_full_mesh_all_goes_straight(autojump_clock: object) -> None:
    async with open_mesh("ab ac ad bc bd cd") as mesh:
        subs = [mesh.sub(name) for name in "bcd"]
        await send_spaced(mesh, "a", 10)
        for sub in subs:
            assert await receive(sub, 10) == list(range(10))
        assert mesh.carried("flow") == {"ab": 10, "ac": 10, "ad": 10}


async def test_many_flows_through_one_router(autojump_clock: object) -> None:
    async with open_mesh(STAR) as mesh, trio.open_nursery() as nursery:
        subs = {name: mesh.sub(name, "all") for name in "abcd"}
        for name in "abcd":
            nursery.start_soon(send_spaced, mesh, name, 10, "all")
        for sub in subs.values():
            assert sorted(await receive(sub, 30)) == sorted([*range(10)] * 3)
        carried = mesh.carried("all")
        assert [carried[name + "s"] for name in "abcd"] == [10] * 4
        assert [carried["s" + name] for name in "abcd"] == [30] * 4


# ---------------------------------------------------------------- what is for one only


async def test_who_has_one_neighbour_left_passes_nothing_on(autojump_clock: object) -> None:
    async with open_mesh("ab bc") as mesh:
        relays = mesh["b"]._mesh.relays
        far, near = mesh.sub("c"), mesh.sub("b")
        await send_spaced(mesh, "a", 1)
        assert await receive(far, 1) == await receive(near, 1) == [0]
        for number in range(1, 4):
            assert relays.is_router
            await mesh.dialled["bc"].aclose()
            assert not relays.is_router
            await send_spaced(mesh, "a", 1)
            assert await receive(near, 1) == [0]
            assert relays.relayed == number
            await mesh.link("bc")
            await mesh.wait_all_see()
            far = mesh.sub("c", f"flow {number}")
            await send_spaced(mesh, "a", 1, f"flow {number}")
            assert await receive(far, 1) == [0]


async def test_what_is_for_one_takes_the_shortest_way(autojump_clock: object) -> None:
    async with open_mesh("ab bc cd de ea") as mesh:
        sender, receiver = open_channel(mesh["c"])
        carrier, hears = mesh.pub("c", "carrier"), mesh.sub("a", "carrier")
        await carrier.wait_subscribers()
        await carrier.send(sender)
        (arrived,) = await receive(hears, 1)
        for number in range(10):
            await arrived.send(number)
            await trio.sleep(0.1)
        assert await receive(receiver, 10) == list(range(10))
        slot = sender._slot.split(".")[0]
        assert mesh.carried(slot) == {"ab": 10, "bc": 10}


async def test_a_new_link_makes_the_way_shorter(autojump_clock: object) -> None:
    async with open_mesh(line("abcdef")) as mesh:
        sub, pub = mesh.sub("f"), mesh.pub("a")
        await pub.wait_subscribers()
        await pub.send("the long way")
        assert await receive(sub, 1) == ["the long way"]
        await mesh.link("be")
        await mesh.wait_hops("a", {"b": 1, "c": 2, "d": 3, "e": 2, "f": 3})
        await trio.sleep(1)
        await pub.send("the short way")
        assert await receive(sub, 1) == ["the short way"]
        carried = mesh.carried("flow")
        assert carried["be"] == 1
        assert carried["cd"] == 1


async def test_all_contexts_choose_the_same_of_two_equal_ways(autojump_clock: object) -> None:
    for seed in range(5):
        async with open_mesh("ab ac bd cd de", net=Network(seed=seed, latency=(0.001, 0.05))) as mesh:
            sub = mesh.sub("e")
            await send_spaced(mesh, "a", 10)
            assert await receive(sub, 10) == list(range(10))
            carried = mesh.carried("flow")
            assert sum(carried.values()) == 30
            assert sorted([carried["ab"], carried["ac"]]) == [0, 10]
