"""Requests: one context asks, another answers; with a plain function, a stream, an error, and a request that is cancelled."""

from collections.abc import AsyncIterator

import trio

import trioton


class Calculator(trioton.RepChannel):
    """Every public method can be called from other contexts."""

    async def add(self, a: float, b: float) -> float:
        return a + b

    def slow_square(self, n: int) -> int:
        """A plain function: it runs in a worker thread, and holds up nothing else."""
        return n * n

    async def count(self, n: int) -> AsyncIterator[int]:
        """An async generator: its items go to ``req.stream(...)`` as they come."""
        for i in range(n):
            yield i

    async def divide(self, a: float, b: float) -> float:
        return a / b

    async def think(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            print("server: nobody waits for that any more")


async def main() -> None:
    async with trioton.open_context("server") as server, trioton.open_context("client") as client:
        listener = await server.bind("localhost:0")
        await client.connect(listener.address)
        Calculator(server, "math")

        req = trioton.ReqChannel(client, "math")
        print("3 + 4 =", await req.add(3, 4))
        print("5 squared =", await req.slow_square(5))

        futures = [req.add(i, i) for i in range(5)]  # all at once
        print("doubled:", [await future for future in futures])

        async with req.stream("count", 5) as items:
            print("counted:", [item async for item in items])

        try:
            await req.divide(1, 0)
        except ZeroDivisionError as error:
            print("the handler raised:", error)

        with trio.move_on_after(0.1):
            await req.think()  # the handler has come to its end when this block is left


if __name__ == "__main__":
    trio.run(main)
