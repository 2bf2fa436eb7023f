import trio

import trioton


async def watch(ctx: trioton.Context) -> None:
    """Shows how the kernel is, until it has ended."""
    async for status in trioton.StateChannel(ctx, "status"):
        print(f"{ctx.name}: the kernel is {status}")
        if status == "gone":
            break


async def main() -> None:
    async with trioton.open_context("ide") as ide, trio.open_nursery() as nursery:
        listener = await ide.bind("localhost:0")
        nursery.start_soon(watch, ide)

        async with trioton.open_context("kernel") as kernel:
            status = trioton.StateChannel(kernel, "status")
            await status.send("busy")
            await kernel.connect(listener.address)
            await status.wait_synced()

        async with trioton.open_context("monitor") as monitor:
            await monitor.connect(listener.address)
            late = trioton.StateChannel(monitor, "status")
            print("monitor: it was", late.value, "when it left")
            await late.send("gone")


if __name__ == "__main__":
    trio.run(main)
