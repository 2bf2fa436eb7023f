"""Contexts with many neighbours: what joins and leaves there is told in few bytes, and all hear of it, near and far."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import trio

import trioton
from tests.network.mesh_shapes import Mesh, open_mesh, receive
from trioton import ContextDied, ContextJoined
from trioton.protocol.topology import FEW_ENTRIES

if TYPE_CHECKING:
    from tests.conftest import MakeWatch

LEAVES = string.ascii_lowercase[: FEW_ENTRIES + 4]
STAR = " ".join(f"{leaf}x" for leaf in LEAVES)
BEHIND = f"{STAR} wa"
"""One more hangs on the first leaf."""

FEW_BYTES = 250
"""What is said of one context that joins: its own record, and its link as the hub says it."""


def records_told(mesh: Mesh, source: str, target: str, since: int) -> list[int]:
    """The sizes of the frames with records that one context has sent to another after an event."""
    return [
        event.size
        for event in mesh.net.trace
        if event.number > since and event.what == "RECORDS" and (event.source, event.target) == (source, target)
    ]


async def test_who_joins_a_large_star_is_told_in_few_bytes(autojump_clock: object, watch: MakeWatch) -> None:
    async with open_mesh(BEHIND) as mesh:
        watches = [watch(mesh[name]) for name in "xwab"]
        await trio.sleep(5)
        for turn in (1, 2):
            since = mesh.net.trace.total
            async with trioton.open_context("late", network=mesh.net.host("late")) as late:
                await late.connect("x:1")
                await trio.sleep(1)
                assert {info.name for info in late.contexts} == mesh.contexts.keys()
                for source, target in ("xb", "xa", "aw"):
                    assert 0 < sum(records_told(mesh, source, target, since)) < FEW_BYTES
                for each in watches:
                    assert [event.name for event in each.all(ContextJoined)] == ["late"] * turn
            await trio.sleep(1)
            for each in watches:
                assert [event.name for event in each.all(ContextDied)] == ["late"] * turn
            assert "late" not in mesh.hops("w")


async def test_messages_find_their_way_through_a_star_that_changes(autojump_clock: object) -> None:
    async with open_mesh(BEHIND) as mesh:
        sub, pub = mesh.sub("w"), mesh.pub("c")
        await pub.wait_subscribers()
        for turn in range(2 * len(LEAVES)):
            async with trioton.open_context("late", network=mesh.net.host("late")) as late:
                await late.connect("x:1")
                late_sub = trioton.SubChannel(late, "flow", trioton.OBJECT)
                with trio.fail_after(10):
                    await pub.wait_subscribers(2)
                await pub.send(turn)
                assert await receive(sub, 1) == await receive(late_sub, 1) == [turn]
        await trio.sleep(1)
        assert sum(info.name == "late" for info in mesh["w"].contexts) == 0


async def test_a_link_of_a_star_that_is_lost_and_comes_back_is_told_to_all(autojump_clock: object) -> None:
    async with open_mesh(f"{BEHIND} wb") as mesh:
        await trio.sleep(5)
        assert mesh.hops("w")["c"] == 3
        mesh.net.partition("a", "x")
        await trio.sleep(20)
        assert mesh.hops("a")["c"] == 4, "over the one behind it, and the next leaf"
        mesh.net.heal()
        await trio.sleep(20)
        assert mesh.hops("a")["c"] == 2
        ways = {mesh[name]._mesh.topology.way(mesh["w"]._wire_id, mesh["c"]._wire_id) for name in mesh.contexts}
        assert len(ways) == 1, "all know the same"
