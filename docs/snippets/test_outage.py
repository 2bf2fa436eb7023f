import trio
import trio.testing

import trioton
import trioton.testing


async def test_message_survives_an_outage(
    autojump_clock: trio.testing.MockClock, trioton_network: trioton.testing.Network
) -> None:
    net = trioton_network
    async with (
        trioton.open_context("a", network=net.host("a")) as a,
        trioton.open_context("b", network=net.host("b")) as b,
    ):
        await a.bind("a:9000")
        await b.connect("a:9000")
        news = trioton.PubChannel(a, "news")
        reader = trioton.SubChannel(b, "news")
        await news.wait_subscribers(1)

        net.partition({"a"}, {"b"})
        await news.send("are you there?")
        await trio.sleep(10)
        net.heal()

        assert await reader.receive() == "are you there?"
        assert reader.pending == 0
