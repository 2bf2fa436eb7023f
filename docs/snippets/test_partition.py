import trio
import trio.testing

import trioton
import trioton.testing


async def test_partition(autojump_clock: trio.testing.MockClock) -> None:
    net = trioton.testing.Network(seed=7, latency=0.05)
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:1")
        connection = await b.connect("a:1")
        async with b.events() as events:
            net.partition({"a"}, {"b"})
            while not isinstance(await events.receive(), trioton.Suspended):
                pass
            assert not connection.is_connected

            net.heal()
            while not isinstance(await events.receive(), trioton.Resumed):
                pass
            assert connection.is_connected
