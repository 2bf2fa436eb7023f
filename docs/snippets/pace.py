"""One sender, and two receivers who think differently about what may be lost."""

import trio

import trioton


async def main() -> None:
    async with trioton.open_context("sensor") as sensor, trioton.open_context("desk") as desk:
        listener = await sensor.bind("localhost:0")
        await desk.connect(listener.address)

        readings = trioton.PubChannel(sensor, "readings", trioton.OBJECT)
        log = trioton.SubChannel(desk, "readings", trioton.OBJECT)
        screen = trioton.SubChannel(desk, "readings", trioton.OBJECT, policy=trioton.Latest())
        await readings.wait_subscribers(2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(readings.send_many, range(10_000))
            for expected in range(10_000):
                assert await log.receive() == expected

        print("the screen shows", await screen.receive())
        print(screen.statistics())


if __name__ == "__main__":
    trio.run(main)
