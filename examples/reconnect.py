"""An outage of eight seconds, simulated: the connection is cut, dialled again, and nothing is lost. It takes no time at all."""

import trio
import trio.testing

import trioton
import trioton.testing


async def main() -> None:
    net = trioton.testing.Network(seed=1, latency=0.02)
    async with (
        trioton.open_context("server", network=net.host("server")) as server,
        trioton.open_context("client", network=net.host("client")) as client,
    ):
        await server.bind("server:9000")
        connection = await client.connect("server:9000")
        news = trioton.PubChannel(server, "news", trioton.OBJECT)
        reader = trioton.SubChannel(client, "news", trioton.OBJECT)
        await news.wait_subscribers(1)

        start = trio.current_time()
        async with client.events() as events, trio.open_nursery() as nursery:

            async def publish() -> None:
                for number in range(100):
                    await news.send(number)
                    await trio.sleep(0.1)

            async def read() -> None:
                received = [await reader.receive() for _ in range(100)]
                print("received all in order:", received == list(range(100)))

            async def tell() -> None:
                async for event in events:
                    print(f"{trio.current_time() - start:5.1f} s  {type(event).__name__}")
                    if isinstance(event, trioton.Resumed):
                        return

            nursery.start_soon(publish)
            nursery.start_soon(read)
            nursery.start_soon(tell)
            await trio.sleep(1)
            print(f"{trio.current_time() - start:5.1f} s  the network fails")
            net.partition({"server"}, {"client"})
            net.cut("server", "client")
            await trio.sleep(8)
            print(f"{trio.current_time() - start:5.1f} s  the network is well again")
            net.heal()

        print("the connection had", connection.statistics().transports, "transports")


if __name__ == "__main__":
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
