import trio
import trio.testing

import trioton
import trioton.testing


async def test_a_broker_is_lost(autojump_clock: trio.testing.MockClock) -> None:
    net = trioton.testing.Network(seed=7, latency=0.05)
    async with (
        trioton.open_context("left", network=net.host("left")) as left,
        trioton.open_context("right", network=net.host("right")) as right,
        trioton.open_context("press", network=net.host("press")) as press,
        trioton.open_context("reader", network=net.host("reader")) as reader,
    ):
        for broker in (left, right):
            await broker.bind(f"{broker.name}:1")
            await press.connect(f"{broker.name}:1")
            await reader.connect(f"{broker.name}:1")
        assert (await press.wait_context("reader")).hops == 2

        news = trioton.PubChannel(press, "news", trioton.OBJECT)
        reading = trioton.SubChannel(reader, "news", trioton.OBJECT)
        await news.wait_subscribers(1)

        async def publish() -> None:
            for number in range(300):
                await news.send(number)
                await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            numbers = [await reading.receive() for _ in range(100)]
            net.isolate("left")
            numbers += [await reading.receive() for _ in range(200)]
        assert numbers == list(range(300))
        assert [context.name for context in reader.contexts if context.hops == 2] == ["press"]
