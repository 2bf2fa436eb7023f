"""Two processes: one listens and prints, the other is started by it, connects back and publishes."""

import os
import sys

import trio

import trioton


async def measure(address: str) -> None:
    """The child: publishes a few readings and ends; what it sent is delivered before its context closes."""
    async with trioton.open_context("thermometer") as context:
        await context.connect(address)
        readings = trioton.PubChannel(context, "readings", trioton.OBJECT)
        for number in range(5):
            await readings.send({"number": number, "celsius": 20 + number / 4, "pid": os.getpid()})


async def main() -> None:
    async with trioton.open_context("display") as context:
        listener = await context.bind("localhost:0")
        readings = trioton.SubChannel(context, "readings", trioton.OBJECT)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.run_process, [sys.executable, __file__, listener.address])
            for _ in range(5):
                reading = await readings.receive()
                who = "this process" if reading["pid"] == os.getpid() else "another process"
                print(f"reading {reading['number']} of {who}: {reading['celsius']} C")


if __name__ == "__main__":
    if sys.argv[1:]:
        trio.run(measure, sys.argv[1])
    else:
        trio.run(main)
