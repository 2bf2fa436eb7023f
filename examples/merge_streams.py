"""Several slots in one loop: what one context sends on several slots comes in the order in which it was sent."""

import trio

import trioton


async def program(kernel: trioton.Context) -> None:
    out = trioton.PubChannel(kernel, "out")
    err = trioton.PubChannel(kernel, "err")
    state = trioton.PubChannel(kernel, "state", trioton.OBJECT)
    # What is sent before somebody listens waits in each channel by itself, and then the order between them is lost.
    for channel in (out, err, state):
        await channel.wait_subscribers(1)

    await out.send("compiling")
    for number in range(3):
        await err.send(f"warning {number}")
        await out.send(f"file {number} is done")
    await state.send({"exit_code": 0})


async def main() -> None:
    async with trioton.open_context("kernel") as kernel, trioton.open_context("ide") as ide:
        listener = await kernel.bind("localhost:0")
        await ide.connect(listener.address)

        out = trioton.SubChannel(ide, "out")
        err = trioton.SubChannel(ide, "err")
        state = trioton.SubChannel(ide, "state", trioton.OBJECT)
        kernel.start_soon(program, kernel)

        async for channel, message in trioton.merge(out, err, state):
            if channel is state:
                print("the program has ended:", message)
                break
            print("err" if channel is err else "out", "|", message)


if __name__ == "__main__":
    trio.run(main)
