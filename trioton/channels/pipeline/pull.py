"""The pulling end of a pipeline."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Self, TypeVar, overload

import trio

from ..._arguments import check_count
from ...protocol.jobs import Pull
from ..base import check_context, slot_name
from ..messages import TEXT, DecodeFailure, MessageType, as_message_type, value_encoder
from .intake import Intake, Taken
from .push import PATTERN

if TYPE_CHECKING:
    import contextlib
    from collections.abc import AsyncIterator

    from ...network.context import Context

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_PREFETCH: Final = 100_000


class PullStatistics(NamedTuple):
    """What a pulling channel has done."""

    done: int
    """Jobs that were done here."""
    running: int
    """Jobs that tasks have here."""
    given_back: int
    """Jobs that somebody had here and gave back."""
    failed: int
    """Jobs of which the message type made no sense."""


class PullChannel(trio.abc.ReceiveChannel[T_co], Generic[T_co]):
    """Pulls jobs from a slot, whoever pushes them. An async context manager.

    ``async for job in pull`` gets one job after the other. A job is done when the next one is asked for. If the loop is left before, by
    ``break`` or by an exception, it is given back, and somebody else gets it. `take` does the same for one job. Any number of tasks may
    loop over one channel; each job goes to one of them.

    Jobs come only as somebody asks for them; beyond that up to `prefetch` wait here, so that the next one need not travel first. That
    is faster where jobs are short, and less fair where they are long.

    Args:
        ctx: The context.
        slot: What pushers name, too. Case does not matter.
        message_type: What the jobs are; pushers must use the same type.
        prefetch: Jobs that may wait here.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name, or `prefetch` is out of range.
        trio.ClosedResourceError: The context was closed.
    """

    @overload
    def __init__(self: PullChannel[str], ctx: Context, slot: str, *, prefetch: int = ...) -> None: ...

    @overload
    def __init__(
        self,
        ctx: Context,
        slot: str,
        message_type: MessageType[T_co] | type[MessageType[T_co]],
        *,
        prefetch: int = ...,
    ) -> None: ...

    def __init__(self, ctx: Context, slot: str, message_type: Any = TEXT, *, prefetch: int = 0) -> None:
        context = check_context(ctx)
        type_ = as_message_type(message_type)
        check_count("prefetch", prefetch, 0, MAX_PREFETCH)
        self._slot = slot_name(slot, type_, PATTERN)
        context._check_open()
        value_encoder()
        self._context = context
        self._type: MessageType[Any] = type_
        self._prefetch = prefetch
        self._has_asked = False
        self._held: dict[Taken, None] = {}
        self._ended_by: type[trio.ClosedResourceError | trio.EndOfChannel] | None = None
        self._redelivered = False
        self._counts = dict.fromkeys((Pull.DONE, Pull.BACK, Pull.FAILED), 0)
        self._intake = Intake.of(context, self._slot)
        self._intake.add(self)

    # ---------------------------------------------------------------- jobs

    @property
    def slot(self) -> str:
        """The full name of the slot: ``base.type.pattern``."""
        return self._slot

    @property
    def redelivered(self) -> bool:
        """Whether the job that was handed out last may have been given to somebody before, who gave it back or died.

        Where several tasks use the channel, look at it before you await anything else.
        """
        return self._redelivered

    def __aiter__(self) -> AsyncIterator[T_co]:  # type: ignore[override]  # it holds the job, so that leaving the loop gives that back
        return _Jobs(self)

    def take(self) -> contextlib.AbstractAsyncContextManager[T_co]:
        """Get one job: ``async with pull.take() as job``. Leaving the block finishes it; leaving it by an exception gives it back.

        Entering the block waits for a job, and raises what `receive` raises; cancelled meanwhile, no job was taken.
        """
        return _Take(self)

    @trio.lowlevel.enable_ki_protection
    async def receive(self) -> T_co:
        """Get one job, which is done with that: if this program dies over it, nobody else gets it.

        It is a checkpoint. Cancelled, no job was taken.

        Raises:
            trio.ClosedResourceError: The channel was closed here, before or while it waited.
            trio.EndOfChannel: The context was closed.
            MessageDecodeError: The message type made no sense of this job, which has failed with that; the next call goes on with the
                next one.
        """
        taken, message = await self._next(None)
        self._intake.done(taken)
        return message

    async def __anext__(self) -> T_co:
        """As `receive`, and ends the loop where that raises `trio.EndOfChannel`."""
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def _next(self, before: Taken | None) -> tuple[Taken, T_co]:
        taken = await self._intake.next(self, before)
        (message,) = self._type.decode_many([taken.job.message])
        if isinstance(message, DecodeFailure):
            self._intake.failed(taken, str(message.error))
            raise message.error
        self._redelivered = taken.job.again
        return taken, message

    def _count(self, kind: Pull) -> None:
        self._counts[kind] += 1

    # ---------------------------------------------------------------- the end

    @property
    def closed(self) -> bool:
        """Whether the channel was closed."""
        return self._ended_by is not None

    def _check_open(self) -> None:
        if self._ended_by is not None:
            raise self._ended_by(f"{self!r} was closed")
        if self._context._closing:
            raise trio.EndOfChannel

    def _end(self, error: type[trio.ClosedResourceError | trio.EndOfChannel]) -> None:
        if self._ended_by is None:
            self._ended_by = error
            self._intake.remove(self)

    def close(self) -> None:
        """Close at once. Jobs that tasks have here are given back, as are those that wait here. May be called twice."""
        self._end(trio.ClosedResourceError)

    async def aclose(self) -> None:
        """Close, as `close`; a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def statistics(self) -> PullStatistics:
        """What the channel has done so far."""
        counts = self._counts
        return PullStatistics(counts[Pull.DONE], len(self._held), counts[Pull.BACK], counts[Pull.FAILED])

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self._held)} running"
        return f"<PullChannel {self._slot!r} of {self._context}, {state}>"


class _Jobs(Generic[T]):
    """One loop over a channel, with the job that it is at."""

    def __init__(self, channel: PullChannel[T]) -> None:
        self._channel = channel
        self._taken: Taken | None = None

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> T:
        """Finish the job that the loop is at, and get the next one."""
        before, self._taken = self._taken, None
        try:
            self._taken, message = await self._channel._next(before)
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        return message

    def __del__(self) -> None:
        if self._taken is not None:
            self._channel._intake.give_back(self._taken)


class _Take(Generic[T]):
    """One job, for the time of a block."""

    def __init__(self, channel: PullChannel[T]) -> None:
        self._channel = channel
        self._taken: Taken | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> T:
        if self._taken is not None:
            raise RuntimeError("a job can be taken only once; call take() again")
        self._taken, message = await self._channel._next(None)
        return message

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._taken is not None
        if exc is None:
            self._channel._intake.done(self._taken)
        else:
            self._channel._intake.give_back(self._taken)
        await trio.lowlevel.checkpoint()  # noqa: ASYNC102  # all is done before it
