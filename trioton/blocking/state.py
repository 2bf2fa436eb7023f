"""States for plain threads."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

import trio

import trioton
from trioton import MessageDecodeError

from .portal import Deadline
from .source import Failure, Source

if TYPE_CHECKING:
    from trioton import ContextId, StateStatistics

    from .context import Context

T = TypeVar("T")


class _Missing(enum.Enum):
    MISSING = enum.auto()


class StateChannel(Source[T]):
    """A value that all contexts of a network share; see `trioton.StateChannel`. A context manager and an iterator, for any number of threads.

    Args:
        ctx: The context.
        slot: The name of the state. Case does not matter.
        message_type: What the values are; others must use the same type.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name, or one of the library's own.
        trio.ClosedResourceError: The context was closed.
        ForkedError: The context belongs to the parent of this process.
    """

    @overload
    def __init__(self: StateChannel[str], ctx: Context, slot: str) -> None: ...

    @overload
    def __init__(
        self, ctx: Context, slot: str, message_type: trioton.MessageType[T] | type[trioton.MessageType[T]]
    ) -> None: ...

    def __init__(self, ctx: Context, slot: str, message_type: Any = trioton.TEXT) -> None:
        inner = ctx._check()

        def make() -> trioton.StateChannel[Any]:
            return trioton.StateChannel(inner, slot, message_type)

        super().__init__(ctx._loop)
        self._context = ctx
        self._channel = ctx._loop.run_sync(make, undo=trioton.StateChannel.close)
        self._joined = 0
        """Values that were never given out, since a newer one came after Ctrl-C had kept them here."""

    # ---------------------------------------------------------------- what the value is

    @property
    def slot(self) -> str:
        """The full name of the slot: ``base.type.state``."""
        return self._channel.slot

    @property
    def closed(self) -> bool:
        """Whether the channel was closed here."""
        return self._channel.closed

    @property
    def value(self) -> T | trioton.Unset:
        """The newest value that is known here, or `trioton.UNSET`. Looking at it takes nothing away, and it stays when the channel is closed.

        It is the same object each time, for all threads: do not change it. If the newest value makes no sense here, it is the one before.
        """
        return self._loop.run_sync(lambda: self._channel.value)

    @property
    def writer(self) -> ContextId | None:
        """The context that has sent the newest value, which may be gone; None before any."""
        return self._loop.run_sync(lambda: self._channel.writer)

    # ---------------------------------------------------------------- sending and receiving

    def send(self, value: T) -> None:
        """Replace the value, here at once and elsewhere soon. It never waits for others, so there is no timeout.

        If values follow each other quickly, others may get only the last. A value that is encoded to the same bytes as the present one
        changes nothing, and nobody is told of it. If it is interrupted by Ctrl-C, ``statistics().sent`` tells whether it was sent.

        Raises:
            trio.ClosedResourceError: The channel, or its context, was closed.
            trioton.MessageTypeError: The message type cannot carry this value.
            ValueError: The value is larger than `trioton.Limits.max_package`, here or in another context that can be reached.
            ForkedError: The channel belongs to the parent of this process.
        """
        self._loop.run_sync(self._channel.send_nowait, value)

    send_nowait = send

    def receive(self, timeout: float | None = None) -> T:
        """Wait for a value that this channel object has not given out yet, and give the newest.

        What is there when the channel is made counts as not given out, and so does what is sent here. Several changes may be joined, but
        the last is never lost. If several threads wait, only one gets a value.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: There was none in time, and none was taken.
            trio.ClosedResourceError: The channel was closed here, before or while it waited.
            trio.EndOfChannel: The context was closed, and the last value has been given out.
            trioton.MessageDecodeError: The message type made no sense of the newest value; the next call goes on with the next one.
            KeyboardInterrupt: Ctrl-C, in the main thread; no value was taken.
            ForkedError: The channel belongs to the parent of this process.
        """
        if self._ready:  # from a call that was interrupted; there may be a newer value by now
            self._loop.run_sync(self._refresh)
        return super().receive(timeout)

    def _refresh(self) -> None:
        with self._lock:
            if not self._ready:
                return
            try:
                self._ready.append(self._channel.receive_nowait())
            except MessageDecodeError as error:
                self._ready.append(Failure(error))
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                pass  # what is at hand is the newest
            self._joined += len(self._ready) - 1
            self._ready = deque([self._ready[-1]])

    def _take_nowait(self, most: int | None) -> list[Any]:  # noqa: ARG002
        return [self._channel.receive_nowait()]

    async def _take(self, most: int | None) -> list[Any]:  # noqa: ARG002
        return [await self._channel.receive()]

    # ---------------------------------------------------------------- waiting

    @overload
    def wait_value(self, value: T, *, timeout: float | None = ...) -> T: ...

    @overload
    def wait_value(self, *, predicate: Callable[[T], bool], timeout: float | None = ...) -> T: ...

    def wait_value(
        self,
        value: Any = _Missing.MISSING,
        *,
        predicate: Callable[[Any], bool] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Wait until the value equals one, or until a function says that it is the right one.

        A value that is replaced at once may be missed. For `receive` this takes nothing away.

        Args:
            value: The value to wait for.
            predicate: A function, not an async one, that is called with each value, in this thread; what it raises is raised here.
            timeout: Seconds to wait; None waits for ever.

        Returns:
            The value that was waited for.

        Raises:
            TimeoutError: It was not the right one in time.
            TypeError: Not exactly one of `value` and `predicate` was given, or `predicate` is no function or an async one.
            trioton.MessageTypeError: The message type cannot carry `value`, so nobody will ever send it.
            trio.ClosedResourceError: The channel was closed here, before or while it waited.
            trio.EndOfChannel: The context was closed, and the last value is not the right one.
            ForkedError: The channel belongs to the parent of this process.
        """
        arguments = {"predicate": predicate} if value is _Missing.MISSING else {"predicate": predicate, "value": value}
        condition = self._channel._condition(**arguments)
        deadline = Deadline(timeout)
        if predicate is None:
            return self._wait_right(condition, deadline)[0]
        seen: int | None = None
        while True:
            # The function may take its time, so the loop only says when there is another value.
            found, seen = self._wait_right(partial(self._is_another, seen), deadline)
            if condition(found):
                return found

    def _is_another(self, seen: int | None, _found: object) -> bool:
        return self._changes() != seen

    def _changes(self) -> int:
        return self._channel.statistics().changes

    def _wait_right(self, is_right: Callable[[Any], bool], deadline: Deadline) -> tuple[Any, int]:
        """Wait until a function, which is called in the loop, finds the value right; the value, and how often it had changed."""

        def look() -> tuple[Any, int]:
            if self._channel.closed:
                raise trio.ClosedResourceError(f"{self!r} was closed")
            found = self._channel.value
            if found is trioton.UNSET or not is_right(found):
                raise trio.WouldBlock
            return found, self._changes()

        async def wait() -> tuple[Any, int]:
            found = await self._channel.wait_value(predicate=is_right)
            return found, self._changes()

        try:
            return self._loop.run(wait, timeout=deadline.left, first=look)
        except trio.ClosedResourceError:
            if self._channel.closed:
                raise
        try:
            return self._loop.run_sync(look)  # what the context knew when it was closed
        except trio.WouldBlock:
            raise trio.EndOfChannel from None

    def wait_synced(self, timeout: float | None = None) -> None:
        """Wait until this context and all that it can reach have the same news of this state; see `trioton.StateChannel.wait_synced`.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: Not all had answered in time.
            trio.ClosedResourceError: The channel was closed here, before or while it waited.
            trio.EndOfChannel: The context was closed.
            ForkedError: The channel belongs to the parent of this process.
        """
        try:
            self._loop.run(self._channel.wait_synced, timeout=timeout)
        except trio.ClosedResourceError:
            if self._channel.closed:
                raise
            raise trio.EndOfChannel from None

    # ---------------------------------------------------------------- the end

    def close(self) -> None:
        """Close at once. Threads that wait get `trio.ClosedResourceError`; what was sent still leaves. May be called twice."""
        super().close()

    def _close_in_loop(self) -> None:
        self._channel.close()

    def statistics(self) -> StateStatistics:
        """What the channel has done so far. Threads that wait in `receive` together count as one that waits."""
        statistics = self._loop.run_sync(self._channel.statistics)
        with self._lock:
            return statistics._replace(taken=statistics.taken - self._joined - len(self._ready))

    def __repr__(self) -> str:
        state = "closed" if self._channel.closed else "open"
        return f"<blocking StateChannel {self._channel.slot!r} of {self._context}, {state}>"
