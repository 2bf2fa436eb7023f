"""A console that changes a setting, and goes on when all programs of the network know it."""

import trio

import trioton


async def switch(context: trioton.Context, mode: str) -> None:
    async with trioton.StateChannel(context, "mode") as state:
        await state.send(mode)
        with trio.move_on_after(5) as patience:
            await state.wait_synced()
        if patience.cancelled_caught:
            print("not everybody has answered; who comes back later gets it all the same")
        else:
            print("known to", ", ".join(each.name for each in context.contexts))


async def main() -> None:
    async with trioton.open_context("console") as console:
        listener = await console.bind("localhost:0")
        async with trioton.open_context("pump") as pump:
            await pump.connect(listener.address)
            mode = trioton.StateChannel(pump, "mode")
            await switch(console, "night")
            print("mode of the pump:", mode.value)


if __name__ == "__main__":
    trio.run(main)
