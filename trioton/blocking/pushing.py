"""Pushing jobs from plain threads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import trio

import trioton

from .base import OnSlot
from .objects import unwrap_senders
from .portal import Deadline, check_timeout

if TYPE_CHECKING:
    from trioton import PushStatistics

    from .context import Context

T_contra = TypeVar("T_contra", contravariant=True)


class PushChannel(OnSlot, Generic[T_contra]):
    """Pushes jobs on a slot: each is done by one of those who pull there. See `trioton.PushChannel`.

    A context manager, for any number of threads.

    Args:
        ctx: The context.
        slot: What pullers must name, too. Case does not matter.
        message_type: What the jobs are; pullers must use the same type.
        local: Whether pullers of the same context get jobs, too.
        max_pending: Jobs that may be pushed and not done; beyond that `send` waits.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name, a number is out of range, or another channel of this context and slot has another `local`.
        trio.ClosedResourceError: The context was closed.
        ForkedError: The context belongs to the parent of this process.
    """

    @overload
    def __init__(
        self: PushChannel[str], ctx: Context, slot: str, *, local: bool = ..., max_pending: int = ...
    ) -> None: ...

    @overload
    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: trioton.MessageType[T_contra] | type[trioton.MessageType[T_contra]],
        *,
        local: bool = ...,
        max_pending: int = ...,
    ) -> None: ...

    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: Any = trioton.TEXT,
        *,
        local: bool = False,
        max_pending: int = 1000,
    ) -> None:
        inner = ctx._check()

        def make() -> trioton.PushChannel[Any]:
            return trioton.PushChannel(inner, slot, message_type, local=local, max_pending=max_pending)

        super().__init__(ctx, ctx._loop.run_sync(make, undo=trioton.PushChannel.close))
        self._channel: trioton.PushChannel[Any]

    # ---------------------------------------------------------------- pullers

    @property
    def pullers(self) -> int:
        """Channels that pull on the slot now, as far as is known; one that nobody has asked yet for a job does not count."""
        return self._loop.run_sync(lambda: self._channel.pullers)

    def wait_pullers(self, count: int = 1, timeout: float | None = None) -> None:
        """Wait until at least so many channels pull.

        Args:
            count: How many.
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: There were fewer all the time.
            TypeError: `count` is not an int.
            trio.ClosedResourceError: The channel, or its context, was closed.
        """
        self._loop.run(self._channel.wait_pullers, count, timeout=timeout)

    # ---------------------------------------------------------------- jobs

    def send(self, value: T_contra, timeout: float | None = None) -> None:
        """Push a job, when less than `max_pending` are not done. Returned, the job is kept here until it is done.

        If it raises, nothing was pushed; but after Ctrl-C ``statistics().sent`` tells.

        Args:
            value: The job.
            timeout: Seconds to wait for room; None waits for ever.

        Raises:
            TimeoutError: There was no room in time.
            trio.ClosedResourceError: The channel, or its context, was closed, before or while it waited.
            trioton.MessageTypeError: The message type cannot carry this message, or there is a closed channel in it.
            ValueError: The message is larger than `trioton.Limits.max_package`.
            KeyboardInterrupt: Ctrl-C, in the main thread; the job was pushed or not, and will not be later.
            ForkedError: The channel belongs to the parent of this process.
        """
        job = unwrap_senders(value)
        self._loop.run(self._channel.send, job, timeout=timeout, first=self._channel.send_nowait)

    def send_nowait(self, value: T_contra) -> None:
        """Push a job if less than `max_pending` are not done, and nobody waits to push.

        Raises:
            trio.WouldBlock: `send` would wait.
            trio.ClosedResourceError: As `send`; and so are the others there.
        """
        self._loop.run_sync(self._channel.send_nowait, unwrap_senders(value))

    def send_many(self, values: Iterable[T_contra], timeout: float | None = None) -> None:
        """Push jobs one after another. If it raises, the first were pushed: as many as ``statistics().sent`` has grown by.

        Args:
            values: The jobs. What makes them, if it is a generator, runs in this thread.
            timeout: Seconds that all of them may take; None waits for ever.

        Raises:
            TimeoutError: There was no room for all of them in time.
            trio.ClosedResourceError: As `send`; and so are the others there.
            Exception: Whatever the iterable raises, when all that it gave before has been pushed.
        """
        deadline = Deadline(timeout)
        for value in values:
            self.send(value, deadline.left)

    def wait_done(self, timeout: float | None = None) -> None:
        """Wait until all jobs are done that were pushed before, and those that are pushed meanwhile.

        Args:
            timeout: Seconds to wait; None waits for ever. The jobs go on all the same.

        Raises:
            TimeoutError: Not all were done in time.
            trioton.JobFailed: Some were given up since the last call. The first is raised, and has the ``others``; it comes when all
                the rest is done.
            trio.ClosedResourceError: The channel, or its context, was closed before all were done.
            ForkedError: The channel belongs to the parent of this process.
        """

        def look() -> None:
            statistics = self._channel.statistics()
            if statistics.waiting or statistics.running:
                raise trio.WouldBlock

        check_timeout(timeout)
        if timeout == 0:  # what has failed is told by the call that waits, which would not even begin
            try:
                self._loop.run_sync(look)
            except trio.WouldBlock:
                raise TimeoutError(f"{self!r} has jobs that are not done") from None
            timeout = None
        self._loop.run(self._channel.wait_done, timeout=timeout)

    # ---------------------------------------------------------------- the end

    def close(self, timeout: float | None = None) -> None:
        """Wait until all jobs are done or given up, at most for the context's `grace`; then close. What is not done is dropped.

        Args:
            timeout: Seconds to wait, if that is less; the channel is closed all the same.

        Raises:
            TimeoutError: Not all were done in time.
        """
        self._close_within(timeout, self._close_in_loop)

    async def _close_in_loop(self) -> None:
        try:
            await self._channel.aclose()
        finally:
            self._channel.close()

    def statistics(self) -> PushStatistics:
        """What the channel has done so far."""
        return self._loop.run_sync(self._channel.statistics)
