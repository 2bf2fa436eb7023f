"""Stubs whose link is lost, whose parent dies, and behind whose parent ways change."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio

import trioton
from tests.common import FAST
from tests.network.mesh_shapes import receive
from tests.network.stub_shapes import add_stub, open_stubs, wait_known
from trioton import ContextDied, ContextJoined, Gap

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

RING = "ab bd ac cd"
"""From a to d by b or c."""


async def test_numbers_go_on_when_the_link_of_a_stub_is_cut(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab bc", "sa tc us") as mesh, trio.open_nursery() as nursery:
        watches = [watch(mesh[name]) for name in "stu"]
        subs = {name: mesh.sub(name, f"to {name}") for name in "su"}
        pubs = {name: mesh.pub("t", f"to {name}") for name in "su"}
        back = {name: mesh.pub(name, "back") for name in "su"}
        back_sub = mesh.sub("t", "back")
        for pub in (*pubs.values(), *back.values()):
            await pub.wait_subscribers()
        for pub in (*pubs.values(), *back.values()):
            nursery.start_soon(pub.send_many, list(range(3000)))
        for _ in range(4):
            await trio.sleep(0.3)
            mesh.net.cut("s", "a")
            mesh.net.cut("t", "c")
        for sub in subs.values():
            assert await receive(sub, 3000) == [*range(3000)]
        assert sorted(await receive(back_sub, 6000)) == sorted([*range(3000)] * 2)
        for each in watches:
            assert [*each.all(ContextDied), *each.all(Gap)] == []


async def test_what_changed_while_a_stub_was_cut_off(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab bc", "sa") as mesh, AsyncExitStack() as stack:
        heard = watch(mesh["s"])
        await add_stub(mesh, stack, "tc")
        mesh.sub("t")
        pub = mesh.pub("s")
        await pub.wait_subscribers()
        mesh.net.partition("s", "a")
        await trio.sleep(3)
        await stack.aclose()
        late = mesh.sub("c")
        await trio.sleep(3)
        assert [each.name for each in heard.all(ContextDied)] == []
        mesh.net.heal()
        with trio.fail_after(30):
            while mesh.hops("s").keys() != {"a", "c"}:  # noqa: ASYNC110  # no event tells of both
                await trio.sleep(0.1)
        await pub.send(1)
        assert await receive(late, 1) == [1]
        assert [each.name for each in heard.all(ContextDied)] == ["t"]


@pytest.mark.parametrize("ends", ["ab", "cd"])
async def test_a_way_behind_the_parents_fails(ends: str, autojump_clock: object, watch: MakeWatch) -> None:
    """Neither stub has a link that is lost: their parents tell them that another way leads there."""
    async with open_stubs(RING, "sa td") as mesh, trio.open_nursery() as nursery:
        watches = [watch(mesh[name]) for name in "st"]
        sub, back_sub = mesh.sub("t"), mesh.sub("s", "back")
        pub, back = mesh.pub("s"), mesh.pub("t", "back")
        await pub.wait_subscribers()
        await back.wait_subscribers()

        async def send(channel: trioton.PubChannel[object]) -> None:
            for number in range(500):
                await channel.send(number)
                await trio.sleep(0.01)

        nursery.start_soon(send, pub)
        nursery.start_soon(send, back)
        await trio.sleep(1)
        mesh.net.kill({"ab": "b", "cd": "c"}[ends])
        start = trio.current_time()
        assert await receive(sub, 500) == await receive(back_sub, 500) == [*range(500)]
        assert trio.current_time() - start < 30
        for each in watches:
            assert [*each.all(ContextDied), *each.all(Gap)] == []


async def test_the_other_side_of_the_parent_falls_away_and_comes_back(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab bc", "sa tc") as mesh:
        watches = {name: watch(mesh[name]) for name in "st"}
        sub, pub = mesh.sub("t"), mesh.pub("s")
        await pub.wait_subscribers()
        await pub.send(0)
        assert await receive(sub, 1) == [0]
        mesh.net.partition("a", "b")
        await trio.sleep(60)
        assert pub.statistics().subscribers == 0
        assert mesh.hops("s") == {"a": 1}
        mesh.net.heal()
        with trio.fail_after(60):
            await pub.wait_subscribers()
        await pub.send(1)
        assert await receive(sub, 1) == [1]
        for name, other in ("st", "ts"):
            assert [each.name for each in watches[name].all(ContextDied)] == [other]
            assert [each.name for each in watches[name].all(ContextJoined)] == [other, other]


async def test_a_stub_whose_parent_starts_again(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_stubs("ab", "") as mesh, AsyncExitStack() as stack:
        for name in "st":
            await add_stub(mesh, stack, name)
        sub = mesh.sub("a")
        pubs = [mesh.pub(name) for name in "st"]
        async with trioton.open_context("p", network=mesh.net.host("p")) as parent:
            await parent.bind("p:1")
            await parent.connect("a:1")
            await mesh["s"].connect("p:1", stub=True, reconnect=FAST)
            await mesh["t"].connect("s:1", stub=True, reconnect=FAST)
            for pub in pubs:
                await pub.wait_subscribers()
                await pub.send("before")
            assert await receive(sub, 2) == ["before"] * 2
            mesh.net.kill("p")
        await wait_known(mesh, "s", "t")
        await wait_known(mesh, "t", "s")
        assert [pub.statistics().subscribers for pub in pubs] == [0, 0]
        mesh.net.restart("p")
        async with trioton.open_context("p", network=mesh.net.host("p")) as parent:
            await parent.bind("p:1")
            await parent.connect("a:1")
            for pub in pubs:
                with trio.fail_after(60):
                    await pub.wait_subscribers()
                await pub.send("after")
            assert await receive(sub, 2) == ["after"] * 2
