"""A state that three programs share: who comes late knows it at once, and each may change it."""

import trio

import trioton


async def main() -> None:
    async with (
        trioton.open_context("kernel") as kernel,
        trioton.open_context("broker") as broker,
        trioton.open_context("ide") as ide,
    ):
        at_kernel = trioton.StateChannel(kernel, "status")
        print("at first:", at_kernel.value)
        await at_kernel.send("ready")

        listener = await broker.bind("localhost:0")
        await kernel.connect(listener.address)
        await ide.connect(listener.address)
        at_ide = trioton.StateChannel(ide, "status")
        print("who comes late:", at_ide.value)

        await at_kernel.send("busy")
        print("a change:", await at_ide.wait_value("busy"))

        await trioton.StateChannel(broker, "status").send("kernel is gone")
        await at_ide.wait_synced()
        print("by another:", at_kernel.value, "/", at_ide.value)


if __name__ == "__main__":
    trio.run(main)
