"""Requests over a mesh whose links and routers come and go: none runs twice, none is forgotten."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress

import trio

import trioton
from tests.requests.desks import check_rest
from tests.requests.handlers import Handlers
from trioton import DeadError, ReqChannel, RequestCancelled
from trioton.testing import Chaos, Cut, Host, Isolation, Kill, Network, Partition, run_simulation

HOSTS = ["asks", "router", "other", "answers", "too"]
LINKS = [("router", "asks"), ("other", "asks"), ("router", "answers"), ("other", "answers"), ("router", "too")]


class World:
    """Requesters and repliers that reach each other through two routers."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.begun: Counter[object] = Counter()
        self.reqs: list[ReqChannel] = []
        self.reps: list[Handlers] = []
        for name in HOSTS:
            net.start_soon(name, self.run)

    async def run(self, host: Host) -> None:
        async with trioton.open_context(host.name, network=host) as context, trio.open_nursery() as nursery:
            await context.bind(f"{host.name}:1")
            if host.name in ("answers", "too"):
                rep = Handlers(context, "math", max_running=3)
                rep.begun = self.begun
                self.reps.append(rep)
            if host.name == "asks":
                self.reqs.append(ReqChannel(context, "math"))
            for router, end in LINKS:
                if end == host.name:
                    nursery.start_soon(self.connect, context, f"{router}:1")
            await trio.sleep_forever()

    @staticmethod
    async def connect(context: trioton.Context, address: str) -> None:
        await context.connect(address, wait=True)

    async def ask(self, number: int, draw: random.Random, outcomes: dict[int, bool]) -> None:
        await trio.sleep(draw.random() * 12)
        with suppress(DeadError, RequestCancelled), trio.move_on_after(draw.choice([0.5, 1000])) as scope:
            assert await self.reqs[0].work(number, draw.random()) == number
            outcomes[number] = not scope.cancel_called


async def outages(net: Network) -> None:
    """No outage is as long as the resume window, so nothing is lost either."""
    world = World(net)
    await trio.sleep(1)
    outcomes: dict[int, bool] = {}
    draw = random.Random(f"requests {net.seed}")
    with trio.fail_after(500):
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(world.ask, number, draw, outcomes)
        await trio.sleep(100)
    assert set(world.begun.values()) == {1}
    assert all(world.begun[number] == 1 for number in outcomes)
    check_rest(*world.reqs, *world.reps)


def test_no_request_runs_twice_while_links_come_back() -> None:
    run_simulation(
        outages,
        seeds=range(20),
        hosts=HOSTS,
        faults=Chaos(after=2, seconds=12, gap=0.5, longest=6, kinds=(Partition, Isolation, Cut)),
        network={"latency": (0.001, 0.05)},
    )


async def deaths(net: Network) -> None:
    """Routers and repliers are killed and start again."""
    world = World(net)
    await trio.sleep(1)
    outcomes: dict[int, bool] = {}
    draw = random.Random(f"requests {net.seed}")
    with trio.fail_after(1500):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(world.ask, number, draw, outcomes)
        await trio.sleep(200)
    assert max(world.begun.values(), default=1) == 1
    assert all(world.begun[number] == 1 for number in outcomes)
    check_rest(*world.reqs)


def test_no_request_runs_twice_whoever_dies() -> None:
    run_simulation(
        deaths,
        seeds=range(20),
        hosts=HOSTS,
        faults=Chaos(after=2, seconds=20, gap=2, longest=30, kinds=(Partition, Isolation, Cut, Kill), spared=("asks",)),
        network={"latency": (0.001, 0.05)},
    )
