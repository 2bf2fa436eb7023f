"""A request, as its requester holds it: something to await, to cancel, or to be told by when it is done."""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import outcome
import trio

from ...errors import RequestCancelled
from ...network.cancellation import is_cancelled

if TYPE_CHECKING:
    from ...protocol.identity import ContextId
    from ..direct import Sender
    from .desk import RequestDesk
    from .requester import ReqChannel

T_co = TypeVar("T_co", covariant=True)

logger = logging.getLogger("trioton.requests")

CANCELLED: Final = "the request was cancelled"
UNKNOWN: Final = (
    "the request was cancelled, and the replier did not say that its handler has stopped: the outcome is unknown"
)
ABANDONED: Final = "the request was cancelled; its handler is a thread that cannot be stopped, and goes on"


_OWN_DOING: Final = (RequestCancelled, trio.ClosedResourceError)
"""How requests end by what was done here: that is no news."""


class Stage(enum.IntEnum):
    """How far a request has come."""

    NEW = 0
    QUEUED = 1
    SENT = 2
    DONE = 3


class _Waiter:
    """A task that waits for a future.

    Args:
        future: The future.
        stops: Whether the request is to be cancelled if the task is.

    Attributes:
        task: The task.
        raise_cancel: What it shall raise when the request has ended, since it was cancelled itself.
    """

    __slots__ = ("_future", "_stops", "raise_cancel", "task")

    def __init__(self, future: Future[Any], *, stops: bool) -> None:
        self.task = trio.lowlevel.current_task()
        self.raise_cancel: Callable[[], Any] | None = None
        self._future = future
        self._stops = stops

    def cancelled(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        """The task is cancelled. One that awaited the result leaves when the request has ended."""
        future = self._future
        future._waiters = [each for each in future._waiters if each is not self]
        if self._stops:
            future._stop()
            if future._stage is not Stage.DONE:
                self.raise_cancel = raise_cancel
                future._waiters = [*future._waiters, self]
                return trio.lowlevel.Abort.FAILED
        return trio.lowlevel.Abort.SUCCEEDED


class Future(Generic[T_co]):
    """A request that is under way; awaiting it gives its value, or raises what the handler raised. Made by `ReqChannel`.

    Any number of tasks may await it, as often as they like. A failure that nobody has looked at when the last reference to it goes
    is logged as a warning.

    Args:
        channel: The channel that makes it.
        method: The name of the method.
        body: That, and the arguments, encoded.
        leaving: The sending ends among the arguments.
        target: The identity of the only context that may get it, or None.

    Attributes:
        method: The name of the method.
    """

    # What most requests never have is kept here, for all of them: they are made in two thirds of the time.
    _stage = Stage.NEW
    _stream: bytes | None = None
    _deadline = math.inf
    _impatient_at = math.inf
    _position = 0
    _replier: Any = None
    _ask_to_stop = False
    _is_answered = False
    _value: Any = None
    _error: Exception | None = None
    _waiters: Sequence[_Waiter] = ()
    _callbacks: Sequence[Callable[[Future[Any]], object]] = ()
    _was_looked_at = False

    def __init__(
        self,
        channel: ReqChannel,
        method: str,
        body: bytes,
        leaving: Sequence[Sender[Any]] = (),
        *,
        target: bytes | None = None,
    ) -> None:
        desk = channel._desk
        desk.last_id = number = desk.last_id + 1
        self.method = method
        self._channel = channel
        self._desk: RequestDesk = desk
        self._id = number
        self._body = body
        self._leaving = leaving
        self._target = target

    # ---------------------------------------------------------------- looking

    def done(self) -> bool:
        """Whether it has a value, a failure, or was cancelled."""
        return self._stage is Stage.DONE

    def running(self) -> bool:
        """Whether it was sent to a replier that has not answered yet."""
        return self._stage is Stage.SENT

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._stage is Stage.DONE and type(self._error) is RequestCancelled

    @property
    def replier(self) -> ContextId | None:
        """The context that it was sent to last, or None while it waits for one."""
        return None if self._replier is None else self._replier.id

    # ---------------------------------------------------------------- waiting

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self.result().__await__()

    @trio.lowlevel.enable_ki_protection
    async def result(self) -> T_co:
        """Wait for the value; the same as awaiting the future. Always a checkpoint.

        Cancelled, the request is cancelled too, and so is its handler. That takes until the replier says that the handler has come to
        an end, or cannot be stopped; at most `cancel_grace` of the channel; and no time at all if the replier is out of reach.
        A deadline of the scope in which the future is awaited at once, where it is made, travels with the request.

        Raises:
            Exception: Whatever the handler raised, as the same type if that is a builtin or registered one.
            RemoteError: The handler raised something else.
            RequestCancelled: The request was cancelled.
            DeadError: The replier is gone; `started` says whether it had begun.
            NoReplierError: Nobody took the request within the channel's `patience`.
            ValueError: The request is larger than a replier takes.
            trio.ClosedResourceError: The channel, or its context, was closed.
        """
        if self._stage is Stage.NEW:
            if is_cancelled():
                self._stop()  # before it has begun
                await trio.lowlevel.checkpoint()
            self._desk.start_new(self, trio.current_effective_deadline())
        if self._stage is Stage.DONE:
            await trio.lowlevel.checkpoint()
        else:
            await self._wait(stops=True)
        self._was_looked_at = True
        if self._error is not None:
            try:
                raise self._error
            finally:
                del self  # no cycle of the error, its traceback, and this frame
        return self._value  # type: ignore[no-any-return]

    async def exception(self) -> Exception | None:
        """Wait until it is done, and give what it would raise; None if it has a value. Cancelled, it does as `result`.

        Raises:
            RequestCancelled: The request was cancelled.
        """
        try:
            await self.result()
        except RequestCancelled:
            raise
        except Exception as error:  # it is what was asked for
            if error is self._error:
                return error
            raise
        return None

    async def wait(self) -> None:
        """Wait until it is done, whatever comes out. Cancelled, the request goes on. Always a checkpoint."""
        if self._stage is Stage.DONE:
            await trio.lowlevel.checkpoint()
            return
        self._desk.start_all_new()
        if not self.done():
            await self._wait(stops=False)

    async def _wait(self, *, stops: bool) -> None:
        waiter = _Waiter(self, stops=stops)
        self._waiters = [*self._waiters, waiter]
        await trio.lowlevel.wait_task_rescheduled(waiter.cancelled)

    # ---------------------------------------------------------------- cancelling

    def cancel(self) -> bool:
        """Ask that the request be cancelled, wherever it is; does not wait.

        Returns:
            False if it is done already. Otherwise `result` raises `RequestCancelled`, as soon as its handler has stopped or
            the channel's `cancel_grace` is over.
        """
        if self._stage is Stage.DONE:
            return False
        self._was_looked_at = True
        self._stop()
        return True

    def _stop(self) -> None:
        if not self._ask_to_stop and self._stage is not Stage.DONE:
            self._ask_to_stop = True
            self._desk.stop(self)

    # ---------------------------------------------------------------- callbacks

    def add_done_callback(self, callback: Callable[[Future[T_co]], object]) -> None:
        """Call a function with the future as soon as it is done, or now if it is. In the order in which they were added.

        It runs in Trio's thread and must not wait; what it raises is logged.

        Raises:
            TypeError: `callback` cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"callback must be a function of the future, not {callback!r}")
        if self._stage is Stage.DONE:
            self._call(callback)
        else:
            self._callbacks = [*self._callbacks, callback]

    def _call(self, callback: Callable[[Future[T_co]], object]) -> None:
        try:
            callback(self)
        except Exception:
            logger.exception("%r: a callback has failed", self)

    # ---------------------------------------------------------------- for the desk

    def _finish(self, value: object, error: Exception | None) -> None:
        """It is done."""
        if self._stage is Stage.DONE:
            return
        self._stage = Stage.DONE
        self._value, self._error = value, error
        self._body, self._stream, self._leaving = b"", None, ()
        self._channel._ended(self)
        for waiter in self._waiters:
            if waiter.raise_cancel is None:
                trio.lowlevel.reschedule(waiter.task)
            else:
                trio.lowlevel.reschedule(waiter.task, outcome.capture(waiter.raise_cancel))
        self._waiters = ()
        if self._callbacks:
            callbacks, self._callbacks = self._callbacks, ()
            for callback in callbacks:
                self._call(callback)

    def __del__(self) -> None:
        if self._error is not None and not self._was_looked_at and not isinstance(self._error, _OWN_DOING):
            error = self._error
            logger.warning("%r failed, and nobody looked: %s: %s", self, type(error).__name__, error)

    def __repr__(self) -> str:
        if self._stage is Stage.DONE:
            state = "cancelled" if self.cancelled() else "done" if self._error is None else "failed"
        else:
            state = "running" if self._stage is Stage.SENT else "waiting for a replier"
        return f"<Future of {self.method!r} on {self._desk.slot!r}, {state}>"
