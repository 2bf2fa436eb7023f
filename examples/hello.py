import trio

import trioton


async def main() -> None:
    async with trioton.open_context("kernel") as kernel, trioton.open_context("ide") as ide:
        listener = await kernel.bind("localhost:0")
        await ide.connect(listener.address)

        stdout = trioton.PubChannel(kernel, "stdout")
        shell = trioton.SubChannel(ide, "stdout")
        for line in ["hello", "from the kernel"]:
            await stdout.send(line)

        print(await shell.receive())
        print(await shell.receive())


if __name__ == "__main__":
    trio.run(main)
