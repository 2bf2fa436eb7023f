"""Counts the words of a book: a boss hands out the chapters, and workers count."""

import math
from collections.abc import Callable, Sequence

import trio

import trioton
from trioton.transports.base import Network

PATIENCE = 5.0
"""Seconds after which a chapter is given to whoever is free."""


async def work(network: Network | None, name: str, address: str) -> None:
    """Count each chapter that the boss sends."""
    async with trioton.open_context(name, network=network) as ctx:
        chapters = trioton.SubChannel(ctx, f"chapters for {name}", trioton.OBJECT)
        counts = trioton.PubChannel(ctx, "counts", trioton.OBJECT)
        await ctx.connect(address, wait=True)
        async for number, text in chapters:
            words = len(text.split())
            await trio.sleep(0.1 * words)  # stands for something slow
            await counts.send((number, words))


class Boss:
    """Has a book counted."""

    def __init__(self, book: Sequence[str], report: Callable[[int, int], object] = print) -> None:
        self.book = book
        self.report = report
        self.handed_out = 0
        self._counted = [trio.Event() for _ in book]
        self._give_back, self._to_do = trio.open_memory_channel[int](math.inf)

    async def run(self, network: Network | None, address: str, workers: Sequence[str]) -> int:
        """Report the words of each chapter, and give their sum."""
        total = 0
        for number in range(len(self.book)):
            self._give_back.send_nowait(number)
        async with trioton.open_context("boss", network=network) as ctx, trio.open_nursery() as nursery:
            counts = trioton.SubChannel(ctx, "counts", trioton.OBJECT)
            await ctx.bind(address)
            for worker in workers:
                nursery.start_soon(self._hand_out, ctx, worker)
            for _ in self.book:
                number, words = await counts.receive()
                self.report(number, words)
                total += words
                self._counted[number].set()
            nursery.cancel_scope.cancel()
        return total

    async def _hand_out(self, ctx: trioton.Context, worker: str) -> None:
        """Give one worker one chapter after the other."""
        chapters = trioton.PubChannel(ctx, f"chapters for {worker}", trioton.OBJECT)
        while True:
            await chapters.wait_subscribers()
            number = await self._to_do.receive()
            self.handed_out += 1
            await chapters.send((number, self.book[number]))
            with trio.move_on_after(PATIENCE) as patience:
                await self._counted[number].wait()
            if patience.cancelled_caught:
                self._give_back.send_nowait(number)


async def main() -> None:
    address = "localhost:words"
    async with trio.open_nursery() as nursery:
        for name in ("ann", "ben"):
            nursery.start_soon(work, None, name, address)
        print(await Boss(["It was night.", "The end."]).run(None, address, ["ann", "ben"]), "words")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
