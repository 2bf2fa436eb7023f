"""Meshes drawn by chance, in which links are cut, networks fall apart, and contexts die and start again.

A few seeds run each time with few contexts. For a long search: ``TRIOTON_MESHES=1000 pytest tests/network/test_meshes_by_chance.py``.
"""

from __future__ import annotations

import os
import random
from typing import Final

import pytest
import trio

from tests.network.mesh_worlds import World, hosts_of
from trioton.testing import Chaos, Cut, Isolation, Kill, Network, Partition, Pause, run_simulation

SEEDS: Final = int(os.environ.get("TRIOTON_MESHES", "100"))

NUMBERS: Final = 15

CALM: Final = 2.0
"""Seconds in which all find each other: a session that is lost before both ends know it may take something with it."""


def size_of(net: Network) -> int:
    """From three to seven contexts."""
    return random.Random(f"size {net.seed}").randint(3, 7)


async def outages(net: Network) -> None:
    """No outage is as long as the resume window."""
    world = World(net, hosts_of(size_of(net)), pause=3)
    world.start()
    world.send_up_to(NUMBERS)
    with trio.fail_after(300):
        await world.wait_all_have_come()
    world.check_nothing_lost()


def test_nothing_is_lost_doubled_or_reordered_while_links_come_back() -> None:
    run_simulation(
        outages,
        seeds=range(SEEDS),
        hosts=hosts_of(7),
        faults=Chaos(after=CALM, seconds=20, gap=0.7, longest=6, kinds=(Partition, Isolation, Cut)),
        network={"latency": (0.001, 0.05)},
    )


async def deaths(net: Network) -> None:
    """Contexts are killed and start again, and some outages are longer than the resume window."""
    world = World(net, hosts_of(size_of(net)), pause=3)
    world.start()
    world.send_up_to(NUMBERS)
    await trio.sleep(150)
    net.freeze_faults()
    with trio.fail_after(120):
        await world.wait_all_see_all()
    world.send_up_to(NUMBERS + 5)
    with trio.fail_after(120):
        await world.wait_all_have_come()
    world.check_orders()
    world.check_deaths()


def test_all_find_each_other_again_after_deaths_and_long_outages() -> None:
    run_simulation(
        deaths,
        seeds=range(SEEDS),
        hosts=hosts_of(7),
        faults=Chaos(seconds=80, gap=4, longest=50, kinds=(Partition, Isolation, Cut, Kill, Pause)),
        network={"latency": (0.001, 0.05)},
    )


@pytest.mark.parametrize("count", [50])
def test_fifty_contexts(count: int) -> None:
    async def scenario(net: Network) -> None:
        world = World(net, hosts_of(count), extra=30, listening=0.05)
        world.start()
        world.send_up_to(5)
        with trio.fail_after(300):
            await world.wait_all_have_come()
        world.check_nothing_lost()

    run_simulation(
        scenario,
        seeds=range(3),
        hosts=hosts_of(count),
        faults=Chaos(after=CALM, seconds=15, gap=1, longest=6, kinds=(Partition, Isolation, Cut)),
        network={"latency": (0.001, 0.05)},
    )
