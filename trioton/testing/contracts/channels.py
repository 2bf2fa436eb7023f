"""`check_channel`: whether the two ends of a channel keep what Trioton's channels promise under a policy that blocks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias

import trio
import trio.testing

from .rules import PATIENCE, check_patience, check_rule, expect, require, show
from .sweep import CancelAt

MOST_UNDERWAY: Final = 200_000
"""Messages that a channel with back-pressure never takes without somebody who receives."""

_MOST_MOMENTS: Final = 1000
"""Moments of a few sends or receives at which they are cancelled, at most."""

_NEVER_ALONE: Final = 20_000
"""Messages while which another task must have run."""

_COUNTS: Final = ("sent", "unheard", "received", "taken", "dropped", "bytes")
"""What an end counts, in the statistics of ours; these never fall."""


Ends: TypeAlias = tuple[trio.abc.SendChannel[Any], trio.abc.ReceiveChannel[Any]]
MakeEnds: TypeAlias = Callable[[], Awaitable[Ends] | AbstractAsyncContextManager[Ends]]


async def check_channel(
    make_ends: MakeEnds,
    *,
    make_message: Callable[[int], Any] = str,
    ends_with_sender: bool = True,
    patience: float = PATIENCE,
) -> None:
    """Check a kind of channel: what Trioton's channels promise one sender, and one receiver for whom it waits.

    The ends are a `trio.abc.SendChannel` and a `trio.abc.ReceiveChannel` which have `send_nowait` and `receive_nowait`, too. Of what
    their `statistics` give, if they have it, those counts are checked that `trioton.SendStatistics` and `trioton.ReceiveStatistics` name.

    Args:
        make_ends: An async function that gives a sending and a receiving end that are connected with each other, or a function that
            gives an async context manager of them. They are used with nobody else.
        make_message: Gives the message of a number; those of different numbers must differ.
        ends_with_sender: Whether the receiving end gets `trio.EndOfChannel` when the sending end was closed. It is so for the ends of
            `trioton.open_channel`; a `trioton.SubChannel` goes on to wait.
        patience: Seconds of Trio's clock after which a rule that is still being checked is taken for broken.

    Raises:
        AssertionError: A rule is broken; the text says which.
        ValueError: `patience` is not positive.
    """
    check_patience(patience)
    rules = _Rules(make_ends, make_message, ends_with_sender=ends_with_sender, patience=patience)
    for words, check in rules.of_all():
        await check_rule(words, patience, check)


class _Rules:
    """The rules, each as words and a check."""

    def __init__(
        self, make_ends: MakeEnds, make_message: Callable[[int], Any], *, ends_with_sender: bool, patience: float
    ) -> None:
        self._make_ends = make_ends
        self._message = make_message
        self._ends_with_sender = ends_with_sender
        self._patience = patience / 2  # so that what is missing can be named before the rule's own is over

    def of_all(self) -> Sequence[tuple[str, Callable[[], Awaitable[None]]]]:
        return (
            ("messages arrive in the order in which they were sent, each exactly once", self.order),
            ("send_nowait() and receive_nowait() raise trio.WouldBlock instead of waiting", self.nowait),
            ("a sender waits while the receiver is slow, and goes on when it receives", self.back_pressure),
            ("a send() that is cancelled has sent nothing, and one that returns has sent once", self.cancelled_send),
            ("a receive() that is cancelled loses and doubles nothing", self.cancelled_receive),
            ("send() and receive() check for cancellation always", self.cancelled_before),
            ("send() and receive() let other tasks run, also if they never wait", self.lets_others_run),
            ("what was sent before the sending end was closed still arrives, and then comes the end", self.end),
            ("an end that was closed refuses to be used", self.closed),
            ("closing the receiving end wakes a task that receives", self.closing_wakes_receiver),
            (
                "closing the sending end wakes a task that waits for room, and does not send its message",
                self.closing_wakes_sender,
            ),
            ("an end may be closed twice, and is closed also if aclose() is cancelled", self.aclose),
            ("statistics() counts what was done, and its counts never fall", self.statistics),
        )

    @asynccontextmanager
    async def _ends(self) -> AsyncIterator[tuple[Any, Any]]:
        made = self._make_ends()
        if isinstance(made, AbstractAsyncContextManager):
            async with made as ends:
                yield ends
            return
        sender, receiver = await made
        try:
            yield sender, receiver
        finally:
            await trio.aclose_forcefully(sender)
            await trio.aclose_forcefully(receiver)

    # ---------------------------------------------------------------- steps that many rules have

    async def _send(self, sender: Any, *numbers: int) -> None:
        for number in numbers:
            await sender.send(self._message(number))

    def _fill(self, sender: Any, first: int = 0) -> int:
        """Send until there is no room; gives the number of the message that found none."""
        for number in range(first, first + MOST_UNDERWAY):
            try:
                sender.send_nowait(self._message(number))
            except trio.WouldBlock:
                return number
        raise AssertionError(f"there is no back-pressure: {MOST_UNDERWAY} messages were taken that nobody receives")

    async def _expect(self, receiver: Any, numbers: Sequence[int]) -> None:
        """Receive as many messages, which must be those of these numbers."""
        received = []
        with trio.move_on_after(self._patience):
            for _ in numbers:
                received.append(await receiver.receive())  # noqa: PERF401  # what came is looked at, if not all does
        self._compare(received, numbers)

    async def _expect_nothing_more(self, receiver: Any) -> None:
        """After the sending end was closed and all was received: the end, or nothing."""
        with trio.move_on_after(self._patience if self._ends_with_sender else 0.0) as scope:
            message = await anext(aiter(receiver), self)
            require(message is self and self._ends_with_sender, f"receive() gave {show(message)}")
        if not self._ends_with_sender:
            with expect(trio.WouldBlock, "receive_nowait() when all was received"):
                receiver.receive_nowait()
            return
        require(not scope.cancelled_caught, "receive() still waits for more")
        for _ in range(2):
            with expect(trio.EndOfChannel, "receive() at the end"):
                await receiver.receive()
            with expect(trio.EndOfChannel, "receive_nowait() at the end"):
                receiver.receive_nowait()

    async def _receive_until(self, receiver: Any, last: int) -> list[Any]:
        """Receive all up to the message of this number, or what comes of it."""
        received: list[Any] = []
        with trio.move_on_after(self._patience):
            while not received or received[-1] != self._message(last):
                received.append(await receiver.receive())
        return received

    def _compare(self, received: list[Any], numbers: Sequence[int]) -> None:
        """Check what was received against the numbers of what was sent."""
        expected = [self._message(number) for number in numbers]
        if received == expected:
            return
        strange = [each for each in received if each not in expected]
        doubled = [each for place, each in enumerate(received) if each in received[:place]]
        lost = [each for each in expected if each not in received]
        for what, messages in (("received without having been sent", strange), ("doubled", doubled), ("lost", lost)):
            require(not messages, f"{what}: {show(messages)}")
        place = next(place for place, (one, two) in enumerate(zip(received, expected, strict=True)) if one != two)
        raise AssertionError(f"out of order: {show(received[place])} came where {show(expected[place])} was sent")

    # ---------------------------------------------------------------- sending and receiving

    async def order(self) -> None:
        async with self._ends() as (sender, receiver), trio.open_nursery() as nursery:
            numbers = range(300)  # a channel may take one at a time, and the way be long
            nursery.start_soon(partial(self._send, sender, *numbers))
            await trio.testing.wait_all_tasks_blocked()  # so that some wait
            await self._expect(receiver, numbers)

    async def nowait(self) -> None:
        async with self._ends() as (sender, receiver):
            with expect(trio.WouldBlock, "receive_nowait() where nothing waits"):
                receiver.receive_nowait()
            count = self._fill(sender)
            require(count, "send_nowait() raised trio.WouldBlock though nothing was sent before")
            received: list[Any] = []
            with trio.move_on_after(self._patience):
                while len(received) < count:
                    try:
                        received.append(receiver.receive_nowait())
                    except trio.WouldBlock:  # it may still be under way
                        await trio.sleep(0.01)
            self._compare(received, range(count))
            with expect(trio.WouldBlock, "receive_nowait() where nothing waits any more"):
                receiver.receive_nowait()

    async def back_pressure(self) -> None:
        async with self._ends() as (sender, receiver), trio.open_nursery() as nursery:
            last = self._fill(sender)
            is_sent = trio.Event()

            async def send() -> None:
                await self._send(sender, last)
                is_sent.set()

            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            require(not is_sent.is_set(), "send() does not wait where send_nowait() finds no room")
            with expect(trio.WouldBlock, "send_nowait() while a task waits for room"):
                sender.send_nowait(self._message(last + 1))
            await self._expect(receiver, range(last + 1))
            await is_sent.wait()
            await self._send(sender, last + 1)
            await self._expect(receiver, [last + 1])

    # ---------------------------------------------------------------- cancelling

    async def cancelled_send(self) -> None:
        async with self._ends() as (sender, receiver):
            last = -1
            for moment in range(1, _MOST_MOMENTS):
                first, last = last + 1, self._fill(sender, last + 1)
                sent = [*range(first, last)]
                cancel = CancelAt(moment)

                async def send(number: int, sent: list[int]) -> None:
                    for each in range(number, number + 3):
                        await self._send(sender, each)
                        sent.append(each)

                async def send_last(ended: trio.Event, number: int) -> None:
                    await ended.wait()
                    await self._send(sender, number)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel.run, partial(send, last, sent))
                    await trio.testing.wait_all_tasks_blocked()
                    last += 3
                    nursery.start_soon(send_last, cancel.ended, last)
                    received = await self._receive_until(receiver, last)
                    self._compare(received, [*sent, last])
                if not cancel.is_done:
                    return

    async def cancelled_receive(self) -> None:
        async with self._ends() as (sender, receiver):
            for moment in range(1, _MOST_MOMENTS):
                numbers = range(moment * 4, moment * 4 + 4)
                cancel = CancelAt(moment)
                received: list[Any] = []

                async def receive(received: list[Any]) -> None:
                    for _ in range(3):
                        received.append(await receiver.receive())  # noqa: PERF401  # what came before it was cancelled

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel.run, partial(receive, received))
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(partial(self._send, sender, *numbers))
                    await cancel.ended.wait()
                    rest = await self._receive_until(receiver, numbers[-1])
                    self._compare(received + rest, numbers)
                if not cancel.is_done:
                    return

    async def cancelled_before(self) -> None:
        async with self._ends() as (sender, receiver):
            for number in range(0, 9, 3):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await self._send(sender, number)
                require(scope.cancelled_caught, "send() goes on in a scope that was cancelled")
                await self._send(sender, number + 1)
                await self._expect(receiver, [number + 1])
                await self._send(sender, number + 2)
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await receiver.receive()
                require(scope.cancelled_caught, "receive() goes on in a scope that was cancelled")
                await self._expect(receiver, [number + 2])

    async def lets_others_run(self) -> None:
        async with self._ends() as (sender, receiver), trio.open_nursery() as nursery:
            has_run = trio.Event()

            async def run() -> None:
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                has_run.set()

            nursery.start_soon(run)
            for number in range(_NEVER_ALONE):
                await self._send(sender, number)
                await receiver.receive()
                if has_run.is_set():
                    break
            else:
                raise AssertionError(f"no other task has run while {_NEVER_ALONE} messages were sent and received")

    # ---------------------------------------------------------------- closing

    async def end(self) -> None:
        async with self._ends() as (sender, receiver), trio.open_nursery() as nursery:
            count = self._fill(sender)
            nursery.start_soon(sender.aclose)
            received: list[Any] = []
            with trio.move_on_after(self._patience):
                while len(received) < count:
                    try:
                        received.append(await receiver.receive())
                    except trio.EndOfChannel:
                        break
            self._compare(received, range(count))
            await self._expect_nothing_more(receiver)

    async def closed(self) -> None:
        async with self._ends() as (sender, receiver):
            await self._send(sender, 0)
            await self._expect(receiver, [0])
            await self._send(sender, 1)
            await receiver.aclose()
            with expect(trio.ClosedResourceError, "receive() on a closed end"):
                await receiver.receive()
            with expect(trio.ClosedResourceError, "receive_nowait() on a closed end"):
                receiver.receive_nowait()
            with expect(trio.ClosedResourceError, "a loop over a closed end"):
                async for _ in receiver:
                    pass
            await sender.aclose()
            with expect(trio.ClosedResourceError, "send() on a closed end"):
                await self._send(sender, 2)
            with expect(trio.ClosedResourceError, "send_nowait() on a closed end"):
                sender.send_nowait(self._message(2))

    async def closing_wakes_receiver(self) -> None:
        async def receive(receiver: Any) -> None:
            with expect(trio.ClosedResourceError, "receive() of an end that is closed meanwhile"):
                await receiver.receive()

        async with self._ends() as (_, receiver), trio.open_nursery() as nursery:
            nursery.start_soon(receive, receiver)
            await trio.testing.wait_all_tasks_blocked()
            await receiver.aclose()

    async def closing_wakes_sender(self) -> None:
        async def send(sender: Any, number: int) -> None:
            with expect(trio.ClosedResourceError, "send() of an end that is closed meanwhile"):
                await self._send(sender, number)

        async with self._ends() as (sender, receiver):
            count = self._fill(sender)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, sender, count)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(sender.aclose)
            await self._expect(receiver, range(count))
            await self._expect_nothing_more(receiver)

    async def aclose(self) -> None:
        async with self._ends() as (sender, receiver):
            for end in (sender, sender, receiver, receiver):
                await end.aclose()
        async with self._ends() as (sender, receiver):
            for end in (sender, receiver):
                with trio.CancelScope() as scope:
                    await trio.aclose_forcefully(end)
                require(not scope.cancelled_caught, "aclose() let a cancellation out that nobody asked for")
            with expect(trio.ClosedResourceError, "send() after an aclose() that was cancelled"):
                await self._send(sender, 0)
            with expect(trio.ClosedResourceError, "receive() after an aclose() that was cancelled"):
                await receiver.receive()

    # ---------------------------------------------------------------- counting

    async def statistics(self) -> None:
        async with self._ends() as (sender, receiver):
            sent, taken = counts = (_Counts(sender), _Counts(receiver))
            for number in range(5):
                await self._send(sender, number)
                await receiver.receive()
                for each in counts:
                    each.look()
            last = self._fill(sender, 5)
            await self._expect(receiver, range(5, last))
            sent.look(sent=last)
            taken.look(taken=last)
            await sender.aclose()
            await receiver.aclose()
            sent.look(sent=last)
            taken.look(taken=last)


class _Counts:
    """The counts of an end, as often as one has looked; without statistics there are none."""

    def __init__(self, end: Any) -> None:
        self._end = end
        self._seen = self._first = self._read()

    def _read(self) -> dict[str, float]:
        statistics = self._end.statistics() if hasattr(self._end, "statistics") else None
        return {name: getattr(statistics, name) for name in _COUNTS if hasattr(statistics, name)}

    def look(self, **expected: int) -> None:
        """Look again; the counts named must have grown by so much since the first time."""
        now = self._read()
        for name, count in now.items():
            require(count >= self._seen[name], f"{name} fell from {self._seen[name]} to {count}")
            grown = count - self._first[name]
            require(grown == expected.get(name, grown), f"{name} grew by {grown} instead of {expected.get(name)}")
        self._seen = now
