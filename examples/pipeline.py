"""A pipeline: one pushes jobs, two pull them; one of those gives a job back, and the other does it."""

import trio

import trioton


async def work(address: str, name: str, results: trioton.Sender[str]) -> None:
    async with trioton.open_context(name) as ctx:
        await ctx.connect(address)
        pull = trioton.PullChannel(ctx, "jobs", trioton.OBJECT)
        while True:
            try:
                async for number in pull:  # a job is done when the next one is asked for
                    if number == 3 and not pull.redelivered:
                        raise ValueError("I do not like 3")
                    await trio.sleep(0.01)
                    await results.send(f"{name}: {number} squared is {number**2}")
            except ValueError as error:
                print(f"{name} gives it back: {error}")


async def main() -> None:
    async with trioton.open_context("boss") as boss, trio.open_nursery() as nursery:
        listener = await boss.bind("localhost:0")
        results, lines = trioton.open_channel(boss)
        for name in ("ann", "bob"):
            nursery.start_soon(work, listener.address, name, results)

        async with trioton.PushChannel(boss, "jobs", trioton.OBJECT) as push:
            await push.send_many(range(6))
            await push.wait_done()
            print("done:", push.statistics().done, "given again:", push.statistics().redelivered)
        for line in sorted(lines.receive_all_nowait(), key=lambda line: line.partition(" ")[2]):
            print(line.partition(" ")[2])
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
