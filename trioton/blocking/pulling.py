"""Pulling jobs in plain threads.

The loop has the job, for as long as a thread works at it. A thread that leaves says once what becomes of the job; whatever interrupts
the thread while it gets one leads to a job that is given back, and so is never held by nobody.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import AbstractContextManager
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

import trio

import trioton

from .base import OnSlot
from .objects import wrap_senders
from .portal import check_timeout

if TYPE_CHECKING:
    from trioton import PullStatistics

    from .context import Context

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Held:
    """A job that the loop holds for a thread.

    Attributes:
        job: What has come.
        again: Whether somebody may have had it before.
        is_done: Whether its pusher was told that it is done.
        is_over: Whether it was said what becomes of it.
    """

    def __init__(self, channel: trioton.PullChannel[Any]) -> None:
        self.job: Any = None
        self.again = False
        self.is_done = False
        self._channel = channel
        self._taking = channel.take()
        self._has_job = False
        self.is_over = False

    async def get(self, before: _Held | None, seconds: float | None) -> None:
        """Get the job; the one that the thread had before is done.

        Raises:
            TimeoutError: None came in time.
        """
        if before is not None:
            await before.leave(is_done=True)
        with trio.move_on_after(inf if seconds is None else seconds):
            self.job = await self._taking.__aenter__()
            self._has_job = True
            self.again = self._channel.redelivered
        if not self._has_job:
            raise TimeoutError(f"no job came within {seconds:g} s")
        if self.is_over:  # the thread has gone meanwhile
            self.is_over = False
            await self.leave(is_done=False)

    async def leave(self, *, is_done: bool) -> None:
        """Finish the job, or give it back; if that was said before, do nothing."""
        if self.is_over:
            return
        # In this order, as threads look at both: what is over and not done never will be done.
        self.is_done = is_done and self._has_job
        self.is_over = True
        if not self._has_job:
            return
        if is_done:
            await self._taking.__aexit__(None, None, None)
        else:
            error = trio.ClosedResourceError("the job is given back")
            await self._taking.__aexit__(type(error), error, None)


class PullChannel(OnSlot, Generic[T_co]):
    """Pulls jobs from a slot, whoever pushes them; see `trioton.PullChannel`. A context manager, for any number of threads.

    ``for job in pull`` gets one job after the other. A job is done when the next one is asked for. If the loop is left before, by
    ``break`` or by an exception, Ctrl-C among them, it is given back, and somebody else gets it. `take` does the same for one job. Any
    number of threads may loop over one channel; each job goes to one of them.

    Args:
        ctx: The context.
        slot: What pushers name, too. Case does not matter.
        message_type: What the jobs are; pushers must use the same type.
        prefetch: Jobs that may wait here, so that the next one need not travel first.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name, or `prefetch` is out of range.
        trio.ClosedResourceError: The context was closed.
        ForkedError: The context belongs to the parent of this process.
    """

    @overload
    def __init__(self: PullChannel[str], ctx: Context, slot: str, *, prefetch: int = ...) -> None: ...

    @overload
    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: trioton.MessageType[T_co] | type[trioton.MessageType[T_co]],
        *,
        prefetch: int = ...,
    ) -> None: ...

    def __init__(self, ctx: Context, slot: str, message_type: Any = trioton.TEXT, *, prefetch: int = 0) -> None:
        inner = ctx._check()

        def make() -> trioton.PullChannel[Any]:
            return trioton.PullChannel(inner, slot, message_type, prefetch=prefetch)

        super().__init__(ctx, ctx._loop.run_sync(make, undo=trioton.PullChannel.close))
        self._channel: trioton.PullChannel[Any]
        self._may_hold_senders = message_type is trioton.OBJECT
        self._here = threading.local()
        self._lock = threading.Lock()
        self._left: deque[_Held] = deque()
        """Jobs that Ctrl-C has kept from whoever called `receive`: each is done, or is being given back."""
        self._is_closed_here = False

    # ---------------------------------------------------------------- jobs

    @property
    def redelivered(self) -> bool:
        """Whether the job that this thread got last may have been given to somebody before, who gave it back or died."""
        return getattr(self._here, "redelivered", False)

    def __iter__(self) -> _Jobs[T_co]:  # it holds the job, so that leaving the loop gives that back
        return _Jobs(self)

    def take(self, timeout: float | None = None) -> AbstractContextManager[T_co]:
        """Get one job: ``with pull.take() as job``. Leaving the block finishes it; leaving it by an exception gives it back.

        Entering the block waits for a job, and raises what `receive` raises; then no job was taken.

        Args:
            timeout: Seconds to wait for a job; None waits for ever.

        Raises:
            TypeError: `timeout` is neither a number nor None.
            ValueError: It is negative, or not a number.
        """
        check_timeout(timeout)
        return _Take(self, timeout)

    def receive(self, timeout: float | None = None) -> T_co:
        """Get one job, which is done with that: if this program dies over it, nobody else gets it.

        Args:
            timeout: Seconds to wait for a job; None waits for ever, and 0 takes one that waits here already.

        Raises:
            TimeoutError: None came in time, and none was taken.
            trio.ClosedResourceError: The channel was closed here, before or while it waited.
            trio.EndOfChannel: The context was closed.
            trioton.MessageDecodeError: The message type made no sense of this job, which has failed with that; the next call goes on with
                the next one.
            KeyboardInterrupt: Ctrl-C, in the main thread; the job was given back, or waits for the next call.
            ForkedError: The channel belongs to the parent of this process.
        """
        receiving = _Receiving(self)
        try:
            held = self._take_left(receiving)
            if held is None:
                held = receiving.held = _Held(self._channel)
                self._get(held, None, timeout)
                self._leave(held, is_done=True)
            job = self._job(held)
            # No calls from here on, so Ctrl-C cannot come before it is returned.
            receiving.held = None
            return job  # type: ignore[no-any-return]
        except BaseException as error:
            receiving.let_go(is_certain=isinstance(error, Exception))
            raise

    def _take_left(self, receiving: _Receiving) -> _Held | None:
        """A job that is done, and that nobody has got; None if there is none."""
        while self._left:
            with self._lock:
                if self._left:
                    # No calls, so Ctrl-C cannot come between them.
                    receiving.held = self._left[0]
                    del self._left[0]
            held = receiving.held
            if held is not None and not held.is_over:
                self._leave(held, is_done=False)  # unless it is done before that has its turn
            if held is not None and held.is_done:
                return held
            receiving.held = None
        return None

    def _get(self, held: _Held, before: _Held | None, timeout: float | None) -> None:
        check_timeout(timeout)
        try:
            self._loop.run(held.get, before, timeout)
        except trio.ClosedResourceError:
            if self._is_closed_here:
                raise
            raise trio.EndOfChannel from None

    def _job(self, held: _Held) -> Any:
        self._here.redelivered = held.again
        return wrap_senders(self._context, held.job) if self._may_hold_senders else held.job

    def _leave(self, held: _Held, *, is_done: bool) -> None:
        """Say what becomes of a job, and wait until that is known in the loop."""
        if self._loop.is_forked:
            return

        async def leave() -> None:
            await held.leave(is_done=is_done)

        try:
            self._loop.run(leave)
        except trio.ClosedResourceError:
            pass  # the context has given back what there was

    def _leave_soon(self, held: _Held, *, is_done: bool) -> None:
        """As `_leave`, and does not wait, so that it can be called whenever Python forgets something."""

        async def leave() -> None:
            await held.leave(is_done=is_done)

        def start() -> None:
            try:
                self._loop.spawn(leave)
            except trio.ClosedResourceError:
                pass  # all has ended with the loop

        if not self._loop.is_forked:
            try:
                self._loop.call_soon(start)
            except trio.ClosedResourceError:
                pass

    def _forget(self, held: _Held) -> None:
        """Give a job back that nobody can finish any more, even if Ctrl-C comes just now."""
        if held.is_over:
            return
        try:
            self._leave_soon(held, is_done=False)
        except BaseException:
            self._leave_soon(held, is_done=False)
            raise

    # ---------------------------------------------------------------- the end

    def close(self) -> None:
        """Close at once. Jobs that threads have here are given back, as are those that wait here. May be called twice."""
        if not self._loop.is_forked:
            self._is_closed_here = True
            self._loop.run_sync(self._channel.close)

    def statistics(self) -> PullStatistics:
        """What the channel has done so far."""
        return self._loop.run_sync(self._channel.statistics)


class _Receiving:
    """One call of `receive`, which Ctrl-C may interrupt anywhere, and once more while that is dealt with.

    Attributes:
        held: What is on its way to the caller.
    """

    held: _Held | None = None

    def __init__(self, channel: PullChannel[Any]) -> None:
        self._channel = channel

    def let_go(self, *, is_certain: bool) -> None:
        """Give the job back, unless it is done: then it waits for the next call. If that is not known yet, the next call finds out."""
        held = self.held
        if held is None:
            return
        channel = self._channel
        channel._leave_soon(held, is_done=False)
        if is_certain and not held.is_done:
            self.held = None
            return
        # No calls from here on: it is in the queue, and nobody puts it there a second time.
        channel._left += (held,)
        self.held = None

    def __del__(self) -> None:
        self.let_go(is_certain=False)


class _Jobs(Generic[T]):
    """One loop over a channel, with the job that it is at."""

    _held: _Held | None = None
    _before: _Held | None = None
    """The job that was worked on, until it is known that the loop has heard of its end."""

    def __init__(self, channel: PullChannel[T]) -> None:
        self._channel = channel

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Finish the job that the loop is at, and get the next one."""
        channel = self._channel
        self._finish_before()
        held = _Held(channel._channel)
        before = self._before = self._held
        self._held = held
        try:
            channel._get(held, before, None)
            self._before = None
            return channel._job(held)  # type: ignore[no-any-return]
        except trio.EndOfChannel:
            raise StopIteration from None
        except BaseException:
            self._finish_before()
            channel._leave_soon(held, is_done=False)
            raise

    def _finish_before(self) -> None:
        """The job before is done, also if Ctrl-C has kept that from the loop."""
        if self._before is not None:
            self._channel._leave_soon(self._before, is_done=True)
            self._before = None

    def __del__(self) -> None:
        self._finish_before()
        if self._held is not None:
            self._channel._forget(self._held)


class _Take(AbstractContextManager[T]):
    """One job, for the time of a block."""

    _held: _Held | None = None

    def __init__(self, channel: PullChannel[T], timeout: float | None) -> None:
        self._channel = channel
        self._timeout = timeout

    def __enter__(self) -> T:
        if self._held is not None:
            raise RuntimeError("a job can be taken only once; call take() again")
        channel = self._channel
        held = self._held = _Held(channel._channel)
        try:
            channel._get(held, None, self._timeout)
            return channel._job(held)  # type: ignore[no-any-return]
        except BaseException:
            channel._leave_soon(held, is_done=False)
            raise

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._held is not None
        try:
            self._channel._leave(self._held, is_done=exc_type is None)
        except BaseException:
            self._channel._leave_soon(self._held, is_done=exc_type is None)
            raise

    def __del__(self) -> None:
        if self._held is not None:
            self._channel._forget(self._held)
