"""How a test of an outage looks: a network of three hosts in one process, under a clock that jumps.

In a test suite `main` would be a test function that takes the fixtures ``autojump_clock`` and ``trioton_network``.
"""

import time

import trio
import trio.testing

import trioton
import trioton.testing


async def main() -> None:
    net = trioton.testing.Network(seed=7, latency=(0.01, 0.05))
    hosts = {name: net.host(name) for name in ("hub", "near", "far")}
    net.link("hub", "far", latency=0.5)
    async with (
        trioton.open_context("hub", network=hosts["hub"]) as hub,
        trioton.open_context("near", network=hosts["near"]) as near,
        trioton.open_context("far", network=hosts["far"]) as far,
    ):
        await hub.bind("hub:9000")
        await near.connect("hub:9000")
        await far.connect("hub:9000")
        news = trioton.PubChannel(hub, "news")
        near_news = trioton.SubChannel(near, "news")
        far_news = trioton.SubChannel(far, "news")
        await news.wait_subscribers(2)

        start = trio.current_time()
        await news.send("it rains")
        await near_news.receive()
        print(f"the near host knows after {trio.current_time() - start:.2f} s")
        await far_news.receive()
        print(f"the far host knows after {trio.current_time() - start:.2f} s")

        async with hub.events() as events:
            start = trio.current_time()
            net.partition({"hub"}, {"far"})
            async for event in events:
                print(f"{trio.current_time() - start:4.0f} s  {type(event).__name__}")
                if isinstance(event, trioton.ContextDied):
                    break
        assert [peer.name for peer in hub.peers] == ["near"]


if __name__ == "__main__":
    real_start = time.monotonic()
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    print("all in less than two real seconds:", time.monotonic() - real_start < 2)
