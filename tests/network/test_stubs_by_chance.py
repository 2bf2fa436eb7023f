"""Meshes drawn by chance with stubs at their edges, in which links are cut, networks fall apart, and contexts die and start again."""

from __future__ import annotations

import os
import random
from typing import Final

import pytest
import trio

from tests.network.mesh_worlds import StubWorld, hosts_of
from trioton.testing import Chaos, Cut, Isolation, Kill, Network, Partition, Pause, run_simulation

SEEDS: Final = int(os.environ.get("TRIOTON_MESHES", "60"))

NUMBERS: Final = 8

CALM: Final = 2.0
"""Seconds in which all find each other: a session that is lost before both ends know it may take something with it."""


def size_of(net: Network) -> int:
    """From three to seven contexts."""
    return random.Random(f"size {net.seed}").randint(3, 7)


async def outages(net: Network) -> None:
    """No outage is as long as the resume window."""
    world = StubWorld(net, hosts_of(size_of(net)), pause=3)
    world.start()
    world.send_up_to(NUMBERS)
    with trio.fail_after(300):
        await world.wait_all_have_come()
        await world.wait_states_agree()
    world.check_nothing_lost()


@pytest.mark.long
def test_nothing_is_lost_doubled_or_reordered_while_links_come_back() -> None:
    run_simulation(
        outages,
        seeds=range(SEEDS),
        hosts=hosts_of(7),
        faults=Chaos(after=CALM, seconds=12, gap=0.5, longest=6, kinds=(Partition, Isolation, Cut)),
        network={"latency": (0.001, 0.05)},
    )


async def deaths(net: Network) -> None:
    """Contexts are killed and start again, and some outages are longer than the resume window."""
    world = StubWorld(net, hosts_of(size_of(net)), pause=3)
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
def test_all_find_each_other_again_after_deaths_and_long_outages() -> None:
    run_simulation(
        deaths,
        seeds=range(SEEDS),
        hosts=hosts_of(7),
        faults=Chaos(seconds=60, gap=3, longest=50, kinds=(Partition, Isolation, Cut, Kill, Pause)),
        network={"latency": (0.001, 0.05)},
    )
