import trio.testing

import trioton
import trioton.testing


async def test_a_sensor_is_a_stub(autojump_clock: trio.testing.MockClock) -> None:
    net = trioton.testing.Network(seed=7, latency=0.05)
    async with (
        trioton.open_context("hub", network=net.host("hub")) as hub,
        trioton.open_context("log", network=net.host("log")) as log,
        trioton.open_context("other", network=net.host("other")) as other,
        trioton.open_context("sensor", network=net.host("sensor")) as sensor,
    ):
        await hub.bind("hub:1")
        for context in (log, other):
            await context.connect("hub:1")
        readings = trioton.SubChannel(log, "readings", trioton.OBJECT)
        await hub.wait_context("other")

        await sensor.connect("hub:1", stub=True)
        assert {info.name for info in sensor.contexts} == {"hub"}

        values = trioton.PubChannel(sensor, "readings", trioton.OBJECT)
        await values.send(21.5)
        assert await readings.receive() == 21.5
        assert {info.name for info in sensor.contexts} == {"hub", "log"}

        assert (await sensor.wait_context("other")).hops == 2
        assert (await log.wait_context("sensor")).hops == 2
