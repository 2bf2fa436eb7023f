"""A context in a process of its own, which a test may kill or stop: ``python mesh_node.py name interval timeout lease window [port]``.

It listens, says at which port, and passes on what comes. If it is given a port it connects there as well, and publishes numbers: it says
each that has been taken by all who listen.
"""

from __future__ import annotations

import sys

import trio

import trioton

SECRET = trioton.Secret("who knows this may route in these tests")


async def main() -> None:
    """Be a context until the end of this process."""
    name = sys.argv[1]
    interval, timeout, lease, window = map(float, sys.argv[2:6])
    heartbeat = trioton.Heartbeat(interval=interval, timeout=timeout, lease=lease)
    limits = trioton.Limits(resume_window=window)
    async with trioton.open_context(name, heartbeat=heartbeat, limits=limits, security=SECRET) as context:
        listener = await context.bind("127.0.0.1:0")
        sys.stdout.write(f"{listener.port}\n")
        sys.stdout.flush()
        if len(sys.argv) < 7:
            await trio.sleep_forever()
        await context.connect(f"127.0.0.1:{sys.argv[6]}")
        pub = trioton.PubChannel(context, "numbers", trioton.OBJECT)
        await pub.wait_subscribers()
        number = 0
        while True:
            await pub.send(number)
            await context.flush()
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 1


if __name__ == "__main__":
    trio.run(main)
