"""Meshes drawn by chance in which some may not speak for others: what is promised holds among those who can reach each other.

For a long search: ``TRIOTON_LEAVES=1000 pytest tests/trust/test_leaves_by_chance.py``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Final

import attrs
import pytest
import trio

from tests.common import Card
from tests.network.mesh_worlds import World, hosts_of
from trioton.testing import Chaos, Cut, Isolation, Kill, Network, Partition, Pause, run_simulation
from trioton.transports.base import Security, Transport

SEEDS: Final = int(os.environ.get("TRIOTON_LEAVES", "10"))

NUMBERS: Final = 8

CALM: Final = 2.0
"""Seconds in which all find each other."""


class LeafWorld(World):
    """The same, with some contexts that are leaves, which may be the only link between two parts: those do not reach each other then."""

    def __init__(self, net: Network, names: Sequence[str]) -> None:
        draw = random.Random(f"leaves {net.seed}")
        self.leaves = {name for name in names if draw.random() < 0.4}
        super().__init__(net, names, pause=3)
        for number, name in enumerate(self.names):
            net.host(name).uid = self.uid_of(name, number)
        self.reached = {name: self._reached(name) for name in self.names}
        for name, sources in self.sources.items():
            sources[:] = [source for source in sources if self.may_listen(name, source)]

    def uid_of(self, _name: str, number: int) -> int:
        return 2000 + number  # nothing is believed but the cards

    def security_of(self, name: str) -> Security | None:
        return Card(name, may_route=name not in self.leaves)

    def _reached(self, name: str) -> set[str]:
        """Who is linked with a context over any number of others that are no leaves."""
        found, to_go = {name}, [name]
        while to_go:
            near = to_go.pop()
            if near == name or near not in self.leaves:
                others = {b if a == near else a for a, b in self.links if near in (a, b)} - found
                found |= others
                to_go += others
        return found - {name}

    def may_listen(self, name: str, source: str) -> bool:
        """Whether one may listen to another, and block it."""
        return source in self.reached[name]

    def seen(self, name: str) -> set[str]:
        return {info.name for info in self.current()[name].context.contexts}

    async def wait_all_see_what_they_can(self) -> None:
        """Wait until each context sees those that it can reach, and nobody else."""
        while not all(name in self.current() and self.seen(name) == self.reached[name] for name in self.names):
            await self.changed.park()

    def check_nobody_lied(self) -> None:
        """Nobody was told what it does not believe: each knew what the other believes."""
        assert [life.context.statistics().spoofed for life in self.lives] == [0] * len(self.lives)


class Loner(Card):
    """Trusts nobody, whatever card is shown."""

    async def _exchange(self, transport: Transport) -> Transport:
        transport = await super()._exchange(transport)
        if transport.credentials is not None:
            transport.credentials = attrs.evolve(transport.credentials, may_route=False)
        return transport


class StrangerWorld(LeafWorld):
    """The same, where leaves trust nobody either: each reaches its neighbours only.

    They have cards all the same: over a network, publishers wait only for those who have proved who they are.
    """

    def uid_of(self, name: str, number: int) -> int:
        return 2000 + number if name in self.leaves else 1000

    def security_of(self, name: str) -> Security:
        return Loner(name, may_route=False) if name in self.leaves else Card(name)

    def may_listen(self, name: str, source: str) -> bool:
        return source in self.reached[name] and not {name, source} & self.leaves  # strangers from afar may not block

    def _reached(self, name: str) -> set[str]:
        others = {b if a == name else a for a, b in self.links if name in (a, b)}
        return (
            others
            if name in self.leaves
            else others | {other for other in super()._reached(name) if other not in self.leaves}
        )


def world_of(net: Network) -> LeafWorld:
    names = hosts_of(random.Random(f"size {net.seed}").randint(3, 8))
    return (LeafWorld if int(net.seed) % 2 else StrangerWorld)(net, names)


async def outages(net: Network) -> None:
    """No outage is as long as the resume window."""
    world = world_of(net)
    world.start()
    world.send_up_to(NUMBERS)
    with trio.fail_after(300):
        await world.wait_all_have_come()
        await world.wait_all_see_what_they_can()
    world.check_nothing_lost()
    world.check_nobody_lied()


@pytest.mark.long
def test_nothing_is_lost_doubled_or_reordered_around_leaves() -> None:
    run_simulation(
        outages,
        seeds=range(SEEDS),
        hosts=hosts_of(8),
        faults=Chaos(after=CALM, seconds=12, gap=0.5, longest=6, kinds=(Partition, Isolation, Cut)),
        network={"latency": (0.001, 0.05)},
    )


async def deaths(net: Network) -> None:
    """Contexts are killed and start again, and some outages are longer than the resume window."""
    world = world_of(net)
    world.start()
    world.send_up_to(NUMBERS)
    await trio.sleep(115)
    net.freeze_faults()
    with trio.fail_after(120):
        await world.wait_all_see_what_they_can()
    world.send_up_to(NUMBERS + 5)
    with trio.fail_after(120):
        await world.wait_all_have_come()
    world.check_orders()
    world.check_deaths()
    world.check_nobody_lied()


@pytest.mark.long
def test_those_who_can_find_each_other_again_after_deaths_and_long_outages() -> None:
    run_simulation(
        deaths,
        seeds=range(SEEDS),
        hosts=hosts_of(8),
        faults=Chaos(seconds=60, gap=3, longest=50, kinds=(Partition, Isolation, Cut, Kill, Pause)),
        network={"latency": (0.001, 0.05)},
    )
