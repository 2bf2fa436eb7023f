"""Two programs that never connect to each other, and two brokers between them, of which one is killed while numbers go through it.

Each broker is a process of its own. In earnest it would be ``trioton broker``; here it is this file with an argument.
"""

import subprocess
import sys
from functools import partial

import trio

import trioton


async def broker(name: str) -> None:
    """A broker: it listens, says where, and passes on what others send to each other."""
    async with trioton.open_context(name) as context:
        listener = await context.bind("localhost:0")
        print(listener.address, flush=True)
        await trio.sleep_forever()


async def start_broker(nursery: trio.Nursery, name: str) -> tuple[trio.Process, str]:
    """Start a broker in another process, and give that and its address."""
    command = [sys.executable, __file__, name]
    process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE, check=False))
    address = await process.stdout.receive_some()
    return process, address.decode().strip()


async def main() -> None:
    async with (
        trio.open_nursery() as nursery,
        trioton.open_context("press") as press,
        trioton.open_context("reader") as reader,
    ):
        brokers = {}
        for name in ("left", "right"):
            brokers[name], address = await start_broker(nursery, name)
            await press.connect(address)
            await reader.connect(address)
        found = await press.wait_context("reader")
        print(f"the press sees the {found.name}, {found.hops} links away")

        news = trioton.PubChannel(press, "news", trioton.OBJECT)
        reading = trioton.SubChannel(reader, "news", trioton.OBJECT)
        await news.wait_subscribers(1)

        async def publish() -> None:
            for number in range(500):
                await news.send(number)
                await trio.sleep(0.001)

        async with reader.events() as events:
            nursery.start_soon(publish)
            numbers = [await reading.receive() for _ in range(100)]
            used = max(press.connections, key=lambda connection: connection.statistics().messages_sent)
            brokers[used.peer.name].kill()
            print("the broker that all went through is killed")
            numbers += [await reading.receive() for _ in range(400)]
            async for event in events:
                if isinstance(event, trioton.ContextDied):
                    print("the reader has heard of the death:", event.name == used.peer.name)
                    break
        print("all numbers have come, once and in order:", numbers == list(range(500)))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    if sys.argv[1:]:
        trio.run(broker, sys.argv[1])
    else:
        trio.run(main)
