"""Stars of stubs: what is told of them grows with their number, not with its square."""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio

import trioton
from tests.network.mesh_shapes import LATENCY, receive
from trioton.testing import Network

COUNT = 100

BYTES_EACH = 700
"""Bytes of all records that come over the link of one stub, which learns of its parent and one other."""


async def test_a_star_of_stubs_costs_what_its_stubs_cost(autojump_clock: object) -> None:
    net = Network(seed=1, latency=LATENCY)
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(trioton.open_context("hub", network=net.host("hub")))
        await hub.bind("hub:1")
        far = await stack.enter_async_context(trioton.open_context("far", network=net.host("far")))
        await far.connect("hub:1")
        sub = trioton.SubChannel(far, "work", trioton.OBJECT, policy=trioton.Block(COUNT))
        leaves = []
        for number in range(COUNT):
            name = f"leaf{number}"
            leaf = await stack.enter_async_context(trioton.open_context(name, network=net.host(name)))
            leaves.append((leaf, trioton.PubChannel(leaf, "work", trioton.OBJECT)))
            await leaf.connect("hub:1", stub=True)
        await trio.sleep(5)
        for number, (leaf, pub) in enumerate(leaves):
            assert {info.name for info in leaf.contexts} == {"hub", "far"}
            assert leaf.statistics().bytes_received < 2 * BYTES_EACH
            await pub.send(number)
        assert sorted(await receive(sub, COUNT)) == [*range(COUNT)]
        assert len(far.contexts) == COUNT + 1
        told = [event for event in net.trace if event.what == "RECORDS" and event.target == f"leaf{COUNT - 1}"]
        assert 0 < sum(event.size for event in told) < BYTES_EACH
