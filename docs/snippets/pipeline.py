"""Jobs for whoever has time: two workers of different speed, one of which dies."""

import trio

import trioton
from trioton.testing import Host, Network


async def work(host: Host) -> None:
    async with trioton.open_context(host.name, network=host) as ctx:
        await ctx.connect("boss:1")
        pull = trioton.PullChannel(ctx, "jobs", trioton.OBJECT)
        async for job in pull:
            await trio.sleep(1.0 if host.name == "ann" else 0.1)
            again = ", which somebody may have begun before" if pull.redelivered else ""
            print(f"{host.name}: {job}{again}")


async def main(net: Network) -> None:
    async with trioton.open_context("boss", network=net.host("boss")) as boss:
        await boss.bind("boss:1")
        for name in ("ann", "bob"):
            net.start_soon(net.host(name).name, work)
        push = trioton.PushChannel(boss, "jobs", trioton.OBJECT)
        await push.wait_pullers(2)
        await push.send_many(["one", "two", "three"])
        await trio.sleep(0.5)
        net.kill("ann")
        await push.wait_done()
