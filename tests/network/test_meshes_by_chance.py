"""Meshes drawn by chance, also with stubs at their edges, in which links are cut, networks fall apart, and contexts die and start again.

For a long search: ``TRIOTON_MESHES=1000 pytest tests/network/test_meshes_by_chance.py``; ``nox -s soak`` runs large ones.
"""

from __future__ import annotations

import os
import random
from functools import partial
from typing import Final

import pytest
import trio
import trio.testing

import trioton
from tests.network.mesh_worlds import StubWorld, World, hosts_of
from trioton.testing import Chaos, Cut, Host, Isolation, Kill, Network, Partition, Pause, run_simulation

SEEDS: Final = os.environ.get("TRIOTON_MESHES")

WORLDS: Final = [
    pytest.param(World, int(SEEDS or 100), id="ordinary"),
    pytest.param(StubWorld, int(SEEDS or 60), id="stubs"),
]
"""What is drawn, and from how many seeds."""

LARGE_SEEDS: Final = int(os.environ.get("TRIOTON_LARGE_MESHES", "3"))

TREE: Final = int(os.environ.get("TRIOTON_TREE", "60"))
"""Contexts of the tree."""

NUMBERS: Final = 8

CALM: Final = 2.0
"""Seconds in which all find each other: a session that is lost before both ends know it may take something with it."""


def size_of(net: Network) -> int:
    """From three to seven contexts."""
    return random.Random(f"size {net.seed}").randint(3, 7)


async def outages(world_class: type[World], net: Network) -> None:
    """No outage is as long as the resume window."""
    world = world_class(net, hosts_of(size_of(net)), pause=3)
    world.start()
    world.send_up_to(NUMBERS)
    with trio.fail_after(300):
        await world.wait_all_have_come()
        await world.wait_states_agree()
    world.check_nothing_lost()


@pytest.mark.long
@pytest.mark.parametrize(("world_class", "seeds"), WORLDS)
def test_nothing_is_lost_doubled_or_reordered_while_links_come_back(world_class: type[World], seeds: int) -> None:
    run_simulation(
        partial(outages, world_class),
        seeds=range(seeds),
        hosts=hosts_of(7),
        faults=Chaos(after=CALM, seconds=12, gap=0.5, longest=6, kinds=(Partition, Isolation, Cut)),
        network={"latency": (0.001, 0.05)},
    )


async def deaths(world_class: type[World], net: Network) -> None:
    """Contexts are killed and start again, and some outages are longer than the resume window."""
    world = world_class(net, hosts_of(size_of(net)), pause=3)
    world.start()
    world.send_up_to(NUMBERS)
    await trio.sleep(115)
    net.freeze_faults()
    with trio.fail_after(120):
        await world.wait_all_see_all()
    world.send_up_to(NUMBERS + 5)
    with trio.fail_after(120):
        await world.wait_all_have_come()
        await world.wait_states_agree()
    world.check_orders()
    world.check_deaths()


@pytest.mark.long
@pytest.mark.parametrize(("world_class", "seeds"), WORLDS)
def test_all_find_each_other_again_after_deaths_and_long_outages(world_class: type[World], seeds: int) -> None:
    run_simulation(
        partial(deaths, world_class),
        seeds=range(seeds),
        hosts=hosts_of(7),
        faults=Chaos(seconds=60, gap=3, longest=50, kinds=(Partition, Isolation, Cut, Kill, Pause)),
        network={"latency": (0.001, 0.05)},
    )


async def many(net: Network) -> None:
    """Fifty contexts, of which each listens to some others."""
    world = World(net, hosts_of(50), extra=30, listening=0.05)
    world.start()
    world.send_up_to(5)
    with trio.fail_after(300):
        await world.wait_all_have_come()
        await world.wait_states_agree()
    world.check_nothing_lost()


@pytest.mark.long
def test_fifty_contexts() -> None:
    run_simulation(
        many,
        seeds=range(LARGE_SEEDS),
        hosts=hosts_of(50),
        faults=Chaos(after=CALM, seconds=15, gap=1, longest=6, kinds=(Partition, Isolation, Cut)),
        network={"latency": (0.001, 0.05)},
    )


async def grow(net: Network) -> None:
    """A tree in which each context connects to the one above it: all join, and settle; then a branch is cut off, and comes back."""
    names = list(net.hosts)
    contexts: list[trioton.Context] = []

    async def join(host: Host, above: str | None) -> None:
        async with trioton.open_context(host.name, network=host) as context:
            contexts.append(context)
            await context.bind(f"{host.name}:1")
            if above is not None:
                await context.connect(f"{above}:1", wait=True)
            await trio.sleep_forever()

    async def wait_all_see(count: int) -> None:
        for context in contexts:
            async with context.events() as events:
                while len(context.contexts) != count - 1:
                    await anext(events)

    below: set[str] = set()
    for number, name in enumerate(names):
        above = names[(number - 1) // 10] if number else None
        net.start_soon(name, join, above)
        if number == 1 or above in below:
            below.add(name)
    await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(60):
        await wait_all_see(len(names))
    net.partition(names[1], names[0])
    await trio.sleep(60)
    for context in contexts:
        is_below = context.name in below
        assert len(context.contexts) == (len(below) if is_below else len(names) - len(below)) - 1
    net.heal()
    with trio.fail_after(60):
        await wait_all_see(len(names))


@pytest.mark.long
def test_a_tree_of_many() -> None:
    run_simulation(
        grow,
        seeds=[1],
        hosts=hosts_of(TREE),
        network={"latency": (0.001, 0.01)},
    )
