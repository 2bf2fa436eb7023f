import sys

import trio

import trioton


def user_code() -> None:
    """Is plain Python, and does not know where it runs."""
    for number in range(3):
        print("step", number)


async def show(ctx: trioton.Context) -> None:
    """Shows what comes, in a way of its own."""
    async for text in trioton.SubChannel(ctx, "stdout"):
        print(text.upper(), end="", file=sys.__stdout__)


async def main() -> None:
    async with trioton.open_context("ide") as ide, trioton.open_context("kernel") as kernel:
        listener = await kernel.bind("localhost:0")
        await ide.connect(listener.address)
        ide.start_soon(show, ide)

        real = sys.stdout
        sys.stdout = trioton.FileWrapper(trioton.PubChannel(kernel, "stdout"))
        try:
            await trio.to_thread.run_sync(user_code)
            await kernel.flush()
        finally:
            sys.stdout = real


if __name__ == "__main__":
    trio.run(main)
