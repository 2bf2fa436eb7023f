"""Draws docs/_static/trace.svg, the picture of a simulated run that the guide shows: ``python docs/draw_trace.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

import trioton
from trioton.testing import Network, run_simulation, write_diagram

PICTURE = Path(__file__).parent / "_static" / "trace.svg"


async def run(net: Network) -> None:
    """Publish over a way that is cut for a while."""
    async with (
        trioton.open_context("kernel", network=net.host("kernel")) as kernel,
        trioton.open_context("ide", network=net.host("ide")) as ide,
    ):
        await kernel.bind("kernel:1")
        await ide.connect("kernel:1")
        stdout = trioton.PubChannel(kernel, "stdout")
        shell = trioton.SubChannel(ide, "stdout")
        await stdout.wait_subscribers(1)
        await stdout.send("hello")
        await shell.receive()

        await trio.sleep(600)
        net.partition({"kernel"}, {"ide"})
        await stdout.send("are you there?")
        await trio.sleep(8)
        net.heal()
        await shell.receive()
        await trio.sleep(1)


def main(path: str | Path = PICTURE) -> None:
    networks: list[Network] = []

    async def scenario(net: Network) -> None:
        await run(net)
        networks.append(net)

    run_simulation(scenario, seeds=[7], network={"latency": 0.05})
    write_diagram(path, networks[0].trace, title="Ten minutes, and then a partition")


if __name__ == "__main__":
    main(*sys.argv[1:])
