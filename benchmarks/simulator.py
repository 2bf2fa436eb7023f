"""``python -m benchmarks.simulator``: how much simulated network one core can do.

No other library has anything like it, so there is nothing to measure beside; the figures are for one machine only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import trio

import trioton
from trioton.testing import Host, Network, run_simulation

PAIRS = 10
MESSAGES = 1000


async def exchange(net: Network) -> None:
    """Ten publishers send a message each ten milliseconds, each to a subscriber on another host."""

    async def publish(host: Host, name: str) -> None:
        async with trioton.open_context(name, network=host) as ctx, trioton.PubChannel(ctx, "numbers") as pub:
            await ctx.bind(f"{host.name}:1")
            await pub.wait_subscribers()
            for number in range(MESSAGES):
                await pub.send(str(number))
                await trio.sleep(0.01)
            await ctx.flush()

    async def subscribe(host: Host, publisher: str) -> None:
        async with trioton.open_context(host.name, network=host) as ctx, trioton.SubChannel(ctx, "numbers") as sub:
            await ctx.connect(f"{publisher}:1", wait=True)
            for _ in range(MESSAGES):
                await sub.receive()

    async with trio.open_nursery() as nursery:
        for number in range(PAIRS):
            nursery.start_soon(publish, net.host(f"p{number}"), f"p{number}")
            nursery.start_soon(subscribe, net.host(f"s{number}"), f"p{number}")


def idle_line(contexts: int, hours: float) -> Callable[[Network], Awaitable[None]]:
    """Contexts in a line that have nothing to say to each other but heartbeats."""

    async def scenario(net: Network) -> None:
        async with AsyncExitStack() as stack:
            for number in range(contexts):
                host = net.host(f"c{number}")
                ctx = await stack.enter_async_context(trioton.open_context(host.name, network=host))
                await ctx.bind(f"{host.name}:1")
                if number:
                    await ctx.connect(f"c{number - 1}:1")
            await trio.sleep(3600 * hours)

    return scenario


def measure(name: str, scenario: Callable[[Network], Awaitable[None]]) -> None:
    """Run a scenario with one seed (which `run_simulation` does twice) and print how long that takes."""
    began = time.perf_counter()
    report = run_simulation(scenario, seeds=[1], time_limit=100_000, network={"latency": (0.001, 0.05)})
    seconds = (time.perf_counter() - began) / 2
    [run] = report.runs
    print(
        f"{name:32} {seconds:6.2f} s for {run.seconds:7.1f} s of simulated time, {run.seconds / seconds:8.0f} times as fast; "
        f"{run.events:7} frames, {run.events / seconds:7.0f} a second"
    )


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description=main.__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="of idling (default 1)")
    hours = parser.parse_args().hours
    measure("10 pairs, 1000 messages each", exchange)
    measure(f"10 idle contexts, {hours:g} h", idle_line(10, hours))
    measure(f"100 idle contexts, {hours:g} h", idle_line(100, hours))


if __name__ == "__main__":
    main()
