import sys

import trio

import trioton


def work() -> None:
    """Knows nothing of Trio, and prints."""
    name = input("What is your name? ")
    print("Hello,", name)


async def screen(ctx: trioton.Context) -> None:
    """Shows what is printed, and types an answer."""
    keyboard = trioton.PubChannel(ctx, "stdin")
    await keyboard.send("Ann")
    async for text in trioton.SubChannel(ctx, "stdout"):
        print(text, end="", file=sys.__stdout__)


async def main() -> None:
    async with trioton.open_context("ide") as ide, trioton.open_context("kernel") as kernel:
        listener = await kernel.bind("localhost:0")
        await ide.connect(listener.address)
        ide.start_soon(screen, ide)

        real = sys.stdin, sys.stdout
        sys.stdout = trioton.FileWrapper(trioton.PubChannel(kernel, "stdout"))
        sys.stdin = trioton.FileWrapper(trioton.SubChannel(kernel, "stdin"))
        try:
            await trio.to_thread.run_sync(work)
            await kernel.flush()
        finally:
            sys.stdin, sys.stdout = real


if __name__ == "__main__":
    trio.run(main)
