"""A replier with handlers of every kind, which remembers what it has run."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import trio

import trioton
from trioton import RepChannel, Sender


class Handlers(RepChannel):
    """Handlers of every kind.

    Attributes:
        begun: How often each request was begun, by what it was called with.
        ended: And how often its clean-up has run.
        most: The most that ran at once.
    """

    def __init__(self, ctx: trioton.Context, slot: str, **options: Any) -> None:
        super().__init__(ctx, slot, **options)
        self.begun: Counter[object] = Counter()
        self.ended: Counter[object] = Counter()
        self.most = 0
        self.order: list[object] = []

    def running(self) -> int:  # a name of its own, which others may call
        """How many requests run."""
        return self.begun.total() - self.ended.total()

    async def add(self, a: Any, b: Any) -> Any:
        return a + b

    async def give(self, value: Any = None, **named: Any) -> Any:
        return (value, named) if named else value

    async def who(self) -> str:
        return self.context.name

    async def work(self, number: object, seconds: float = 0.0) -> object:
        """Takes so long, and is counted."""
        self.begun[number] += 1
        self.order.append(number)
        self.most = max(self.most, self.running())
        try:
            await trio.sleep(seconds)
        finally:
            self.ended[number] += 1
        return number

    async def clean_up(self, number: object, seconds: float) -> None:
        """Runs for ever; its clean-up takes so long."""
        self.begun[number] += 1
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)
            self.ended[number] += 1

    async def fail(self, kind: str, *arguments: Any) -> None:
        kinds: dict[str, type[BaseException]] = {
            "ValueError": ValueError,
            "KeyError": KeyError,
            "KeyboardInterrupt": KeyboardInterrupt,
            "SystemExit": SystemExit,
            "StopIteration": StopIteration,
        }
        raise kinds[kind](*arguments)

    async def count(self, number: int, pause: float = 0.0) -> AsyncIterator[int]:
        """An async generator, whose clean-up takes a moment."""
        self.begun["count"] += 1
        try:
            for each in range(number):
                self.order.append(each)
                yield each
                await trio.sleep(pause)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.05)
            self.ended["count"] += 1

    async def count_and_fail(self, number: int) -> AsyncIterator[int]:
        for each in range(number):
            yield each
        raise ValueError("that was all")

    def count_plainly(self, number: int) -> Iterator[int]:
        self.begun["plain"] += 1
        try:
            yield from range(number)
        finally:
            self.ended["plain"] += 1

    async def send_into(self, sender: Sender[Any], values: list[Any]) -> int:
        async with sender:
            for value in values:
                await sender.send(value)
        return len(values)

    def plain(self, number: int) -> int:
        return number + 1
