from collections.abc import AsyncIterator

import trio

import trioton


class Kernel(trioton.RepChannel):
    """What others may ask of the kernel."""

    async def complete(self, text: str) -> list[str]:
        return [word for word in ("print", "printer", "import") if word.startswith(text)]

    async def evaluate(self, source: str) -> object:
        return eval(source)

    async def variables(self) -> AsyncIterator[tuple[str, int]]:
        for name in "abc":
            yield name, ord(name)

    async def sleep(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            print("kernel: I may stop sleeping")


async def main() -> None:
    async with trioton.open_context("kernel") as kernel, trioton.open_context("ide") as ide:
        listener = await kernel.bind("localhost:0")
        await ide.connect(listener.address)
        Kernel(kernel, "kernel")
        req = trioton.ReqChannel(ide, "kernel")

        print(await req.complete("pri"))

        futures = [req.evaluate(f"{number} ** 2") for number in range(4)]
        print([await future for future in futures])

        try:
            await req.evaluate("1 / 0")
        except ZeroDivisionError as error:
            print("it raised:", error)

        async with req.stream("variables") as variables:
            async for name, value in variables:
                print(name, "=", value)

        with trio.move_on_after(0.1):
            await req.sleep()
        print("ide: I have waited long enough")


if __name__ == "__main__":
    trio.run(main)
