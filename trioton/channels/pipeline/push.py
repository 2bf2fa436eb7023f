"""The pushing end of a pipeline."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Self, TypeVar, overload

import trio

from ..._arguments import check_count, check_flag
from ...errors import JobFailed
from ...protocol.jobs import MAX_HEAD
from .. import references
from ..base import check_context, slot_name
from ..messages import TEXT, MessageType, as_message_type, value_encoder
from .desk import Job, PushDesk

if TYPE_CHECKING:
    from ...network.context import Context

T_contra = TypeVar("T_contra", contravariant=True)

PATTERN: Final = "push-pull"
MAX_PENDING: Final = 1_000_000
MAX_FAILURES: Final = 1000
"""Failures that are kept for `wait_done`; older ones were logged, and are counted."""

logger = logging.getLogger("trioton.pipeline")


class PushStatistics(NamedTuple):
    """What a pushing channel has done."""

    sent: int
    """Jobs that were pushed."""
    done: int
    """Those that are done."""
    waiting: int
    """Those that wait for somebody who has room."""
    running: int
    """Those that are with somebody."""
    redelivered: int
    """How often one was sent again after somebody may have got it."""
    failed: int
    """Those that were given up; see `JobFailed`."""
    dropped: int
    """Those that were not done when the channel was closed."""


class PushChannel(trio.abc.SendChannel[T_contra], Generic[T_contra]):
    """Pushes jobs on a slot: each is done by one of those who pull there. An async context manager; usable at once.

    A job goes to the puller with most room, as soon as one asks; until then it is kept here. It is done when that puller says so. If the
    puller dies before, or gives it back, another gets it: so each job is done at least once, and never by two at a time, unless one
    of them is dead, or so long out of reach that it counts as dead. After the deaths of three pullers over it a job is given up.

    It may travel inside an OBJECT message, or as an argument of a request, if its message type is TEXT, BINARY or OBJECT, and arrives as a
    channel of the receiver's context, on the same slot.

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
        message_type: MessageType[T_contra] | type[MessageType[T_contra]],
        *,
        local: bool = ...,
        max_pending: int = ...,
    ) -> None: ...

    def __init__(
        self, ctx: Context, slot: str, message_type: Any = TEXT, *, local: bool = False, max_pending: int = 1000
    ) -> None:
        context = check_context(ctx)
        type_ = as_message_type(message_type)
        check_flag("local", local)
        check_count("max_pending", max_pending, 1, MAX_PENDING)
        context._check_open()
        self._set_up(context, slot_name(slot, type_, PATTERN), type_, max_pending)
        present = self._desks.get(self._slot)
        if present is not None and present.is_local != local:
            raise ValueError(f"local={local!r}, but another channel on {self._slot!r} has local={present.is_local!r}")
        self._open(is_local=local)

    def _set_up(self, context: Context, slot: str, message_type: MessageType[Any], max_pending: int) -> None:
        value_encoder()
        self._context = context
        self._slot = slot
        self._type = message_type
        self._room = trio.Semaphore(max_pending)
        self._changed = trio.lowlevel.ParkingLot()
        self._desks: dict[str, PushDesk] = context._shared.setdefault("pushes", {})
        self._desk: PushDesk | None = None
        self._closed = False
        self._pending = 0
        self._sent = self._done = self._redelivered = self._failed = self._dropped = 0
        self._failures: deque[JobFailed] = deque(maxlen=MAX_FAILURES)

    @classmethod
    def _arrived(cls, context: Context, slot: str, message_type: MessageType[Any]) -> PushChannel[Any]:
        """Make one of a reference that has come; it costs nothing before it is used."""
        channel: PushChannel[Any] = cls.__new__(cls)
        channel._set_up(context, slot_name(slot, message_type, PATTERN), message_type, 1000)
        return channel

    def _open(self, *, is_local: bool = False) -> PushDesk:
        """Give the desk. A channel that has travelled gets it when it is first used."""
        if self._desk is None:
            self._check_open()
            desk = self._desks.get(self._slot)
            if desk is None:
                desk = self._desks[self._slot] = PushDesk(self._context, self._slot, is_local=is_local)
            desk.channels[self] = None
            self._desk = desk
        return self._desk

    # ---------------------------------------------------------------- pullers

    @property
    def slot(self) -> str:
        """The full name of the slot: ``base.type.pattern``."""
        return self._slot

    @property
    def closed(self) -> bool:
        """Whether the channel was closed here."""
        return self._closed

    @property
    def pullers(self) -> int:
        """Channels that pull on the slot now, as far as is known; one that nobody has asked yet for a job does not count.

        Raises:
            trio.ClosedResourceError: The channel has travelled here, and the context was closed before it was used.
        """
        return 0 if self._closed else self._open().count

    async def wait_pullers(self, count: int = 1) -> None:
        """Wait until at least so many channels pull; a checkpoint.

        Raises:
            TypeError: `count` is not an int.
            ValueError: It is negative.
            trio.ClosedResourceError: The channel, or its context, was closed.
        """
        check_count("count", count, 0)
        await trio.lowlevel.checkpoint()
        self._check_open()
        desk = self._open()
        while desk.count < count:
            await desk.wait_changed()
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_open()

    # ---------------------------------------------------------------- jobs

    @trio.lowlevel.enable_ki_protection
    async def send(self, value: T_contra) -> None:
        """Push a job, when less than `max_pending` are not done.

        It checks for cancellation always and yields when the context's budget is spent or when it must wait. Cancelled, nothing was
        pushed. Returned, the job is kept here until it is done.

        Raises:
            trio.ClosedResourceError: The channel, or its context, was closed, before or while it waited.
            MessageTypeError: The message type cannot carry this message, or there is a closed channel in it.
            ValueError: The message is larger than `Limits.max_package`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        job = self._job(value)
        if self._context._pace.spend(1):
            await trio.lowlevel.cancel_shielded_checkpoint()
        try:
            self._room.acquire_nowait()
        except trio.WouldBlock:
            await self._room.acquire()
        if self._closed or self._context._closing:
            self._room.release()
            self._check_open()
        self._push(job)

    def send_nowait(self, value: T_contra) -> None:
        """Push a job if less than `max_pending` are not done, and no task waits to push.

        Raises:
            trio.WouldBlock: `send` would wait.
            trio.ClosedResourceError: As `send`; and so are `MessageTypeError` and `ValueError`.
        """
        job = self._job(value)
        self._room.acquire_nowait()
        self._push(job)

    async def send_many(self, values: Iterable[T_contra]) -> None:
        """Push jobs one after another. Cancelled or failed, the first were pushed: as many as `statistics().sent` has grown by.

        Raises:
            trio.ClosedResourceError: As `send`; and so are `MessageTypeError` and `ValueError`.
            Exception: Whatever the iterable raises, when all that it gave before has been pushed.
        """
        await trio.lowlevel.checkpoint()
        for value in values:
            await self.send(value)

    def _job(self, value: T_contra) -> Job:
        self._check_open()
        self._open()
        references.forget_leaving()
        buffers = self._type.encode_buffers(value, references.ENCODE_EXTRA)
        leaving = references.take_leaving()
        size = sum(map(len, buffers))
        most = self._context._limits.max_package - MAX_HEAD - 1
        if size > most:
            raise ValueError(f"the job takes {size} bytes; limits.max_package leaves room for {most}")
        return Job(self, value, (buffers, size), leaving)

    def _push(self, job: Job) -> None:
        self._sent += 1
        self._pending += 1
        self._open().add(job)

    def _ended(self, failure: JobFailed | None) -> None:
        """A job is done, or given up."""
        self._pending -= 1
        if failure is None:
            self._done += 1
        else:
            self._failed += 1
            self._failures.append(failure)
        self._room.release()
        if not self._pending:
            self._changed.unpark_all()

    async def wait_done(self) -> None:
        """Wait until all jobs are done that were pushed before, and those that are pushed meanwhile; a checkpoint. Cancelled, they go on.

        Raises:
            JobFailed: Some were given up since the last call. The first is raised, and has the ``others``; it comes when all the rest
                is done.
            trio.ClosedResourceError: The channel, or its context, was closed before all were done.
        """
        await trio.lowlevel.checkpoint()
        while self._pending:
            self._check_open()
            await self._changed.park()
            await trio.lowlevel.checkpoint_if_cancelled()
        if self._dropped:
            self._check_open()
        if self._failures:
            first, *others = self._failures
            self._failures.clear()
            first.others = tuple(others)
            raise first

    # ---------------------------------------------------------------- the end

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(f"{self!r} was closed")
        if self._context._closing:
            raise trio.ClosedResourceError(f"the context of {self!r} was closed")

    def close(self) -> None:
        """Close at once. Jobs that are not done are dropped, which is counted and logged once; those that run are run to their end.

        May be called twice.
        """
        if self._closed:
            return
        self._closed = True
        if self._pending:
            self._dropped, self._pending = self._pending, 0
            logger.warning("%r was closed with %d jobs that are not done", self, self._dropped)
        for _ in range(self._room.statistics().tasks_waiting):
            self._room.release()
        self._changed.unpark_all()
        if self._desk is not None:
            self._desk.leave(self)

    @trio.lowlevel.enable_ki_protection
    async def aclose(self) -> None:
        """Wait until all jobs are done or given up, at most for the context's `grace`; then `close`.

        Cancelled, the channel is closed all the same.
        """
        try:
            with trio.move_on_after(self._context._grace):
                while self._pending:
                    await self._changed.park()
            await trio.lowlevel.checkpoint()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # What failed here must not wait for the work of others.
        if exc is None:
            await self.aclose()
        else:
            self.close()

    def statistics(self) -> PushStatistics:
        """What the channel has done so far."""
        running = 0
        if self._desk is not None and not self._closed:
            running = self._desk.count_running(self)
        return PushStatistics(
            sent=self._sent,
            done=self._done,
            waiting=self._pending - running,
            running=running,
            redelivered=self._redelivered,
            failed=self._failed,
            dropped=self._dropped,
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self._pending} pending"
        return f"<PushChannel {self._slot!r} of {self._context}, {state}>"


references.register_pusher(PushChannel)
