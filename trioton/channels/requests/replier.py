"""The replying end of a slot: others call its methods."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

import trio

from ..._arguments import check_count
from ...errors import MessageTypeError
from ...protocol import requests
from ...protocol.failures import encode_failure
from ...protocol.limits import MAX_RUN_BYTES
from ...protocol.plain import encode_plain
from .. import references
from ..base import check_context, slot_name
from ..messages import OBJECT, value_encoder
from .handlers import Runner, exposed_methods, hidden, run_quickly
from .requester import PATTERN
from .service import Service

if TYPE_CHECKING:
    from ...network.context import Context
    from ...protocol.requests import Call
    from .service import Client, Job

logger = logging.getLogger("trioton.requests")

MAX_RUNNING: Final = 100_000
CLOSED: Final = "the channel that answered was closed"


class ReplyStatistics(NamedTuple):
    """What a replying channel has done."""

    started: int
    """Requests that it has taken."""
    running: int
    """Those of them that run."""
    succeeded: int
    """Those that have given a value, or all of their items."""
    failed: int
    """Those that have raised something."""
    cancelled: int
    """Those that were stopped before they came to an end."""
    abandoned: int
    """Those that were stopped and whose threads still run; they take room until these end."""


class RepChannel:
    """Answers requests on a slot: others call its methods. An async context manager; usable at once.

    Subclass it: every public method that is defined below `RepChannel` can be called, with arguments and a result that OBJECT carries,
    except those marked with `hidden`; and so can `echo`. Or give it any object as `target`, and the names of its `methods`.

    An async method is a task of the context, and is cancelled when the requester cancels, or is gone. A plain one runs in a worker
    thread (on a simulated network in the task itself), which cannot be stopped. A generator, async or plain, gives its items to
    ``req.stream(...)``. What a handler raises is raised at the requester; the channel lives on. It takes requests as soon as it is made.

    Args:
        ctx: The context.
        slot: What requesters must name, too. Case does not matter.
        target: The object whose methods are called; the channel itself by default.
        methods: The names that may be called; with a `target` they must be given.
        max_running: Requests that run at once. Further ones go to other repliers, or wait where they come from.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name, a number is out of range, or a name is none of a public method.
        trio.ClosedResourceError: The context was closed.
    """

    _own_names: ClassVar[frozenset[str]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        clashing = sorted(name for name in exposed_methods(cls, RepChannel) if name in _RESERVED)
        if clashing:
            raise TypeError(
                f"{cls.__qualname__}.{clashing[0]} hides what every RepChannel has: give it another name, or use target="
            )

    def __init__(
        self,
        ctx: Context,
        slot: str,
        *,
        target: object = None,
        methods: Iterable[str] | None = None,
        max_running: int = 64,
    ) -> None:
        context = check_context(ctx)
        check_count("max_running", max_running, 1, MAX_RUNNING)
        self._slot = slot_name(slot, OBJECT, PATTERN)
        context._check_open()
        value_encoder()
        self._target = self if target is None else target
        self._methods = self._check_methods(target, methods)
        self._context = context
        self._max_running = max_running
        self._running = 0
        self._counts = {"started": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "abandoned": 0}
        self._jobs: dict[Job, None] = {}
        self._closed = False
        self._idle = trio.lowlevel.ParkingLot()
        self._certain_size = min(context._limits.max_package, MAX_RUN_BYTES)  # what anybody takes
        self._runner = Runner(max_running, is_simulated=context._network.is_simulated)
        self._service = Service.of(context, self._slot)
        self._service.add(self)

    def _check_methods(self, target: object, methods: Iterable[str] | None) -> frozenset[str]:
        if methods is None:
            if target is not None:
                raise TypeError("methods must name what others may call of the target")
            return exposed_methods(type(self), RepChannel) | {"echo"}
        if isinstance(methods, str):
            raise TypeError(f"methods must be several names, not {methods!r}")
        names = frozenset(methods)
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"methods must be names, not {name!r}")
            if name.startswith("_") or not callable(getattr(self._target, name, None)):
                owner = type(self).__name__ if target is None else repr(target)
                raise ValueError(f"methods must be names of public methods of {owner}, not {name!r}")
        return names

    # ---------------------------------------------------------------- what anybody may call

    async def echo(self, arg1: Any, sleep: float = 0.0) -> tuple[Any, str]:
        """Give the argument back, with the identity of this context in hexadecimal digits, after so many seconds."""
        await trio.sleep(sleep)
        return arg1, hex(self._context.id)

    # ---------------------------------------------------------------- running

    def _start(self, job: Job) -> None:
        """Run a request; the service has found room for it."""
        self._counts["started"] += 1
        job.scope = trio.CancelScope()
        self._running += 1
        self._jobs[job] = None
        self._context._user_nursery.start_soon(self._run, job, name=f"{self._slot}: {job.call.method}")

    def _quick_handler(self, method: str) -> Callable[..., Any] | None:
        """The handler for a method, if that awaits nothing."""
        function = self._find(method)
        return function if function is not None and self._runner.is_quick(function) else None

    def _answer_at_once(self, client: Client, call: Call, function: Callable[..., Any]) -> None:
        """Run a handler that awaits nothing, and answer. It has a copy of the context variables, as a task would."""
        self._counts["started"] += 1
        try:
            value = contextvars.copy_context().run(run_quickly, function, call.arguments, call.keywords)
            message = requests.encode_done(call.id, self._encode(call.method, value))
            self._counts["succeeded"] += 1
        except BaseException as error:  # noqa: ASYNC103, BLE001  # nothing is awaited; whatever it is, the requester hears of it
            message = self._failed(call, error)
        if len(message) > self._certain_size:
            objection = self._objection(call, message) or client.end.objection(len(message))
            if objection is not None:
                message = self._failed(call, objection)
        self._service.answer(client, message)

    def _stop(self, job: Job) -> None:
        """Nobody wants the result of a request any more."""
        if job not in self._jobs:
            return  # it is one that awaits nothing, and runs just now
        job.scope.cancel()
        if job.is_cancelled and not job.is_abandoned and self._is_plain(job):
            job.is_abandoned = True
            self._service.answer(job.client, requests.encode_cancelled(job.call.id, is_clean=False))

    def _is_plain(self, job: Job) -> bool:
        function = self._find(job.call.method)
        return function is not None and not self._context._network.is_simulated and self._runner.is_plain(function)

    def _find(self, method: str) -> Callable[..., Any] | None:
        if method not in self._methods:
            return None
        function: Callable[..., Any] | None = getattr(self._target, method, None)
        return function

    async def _run(self, job: Job) -> None:
        call = job.call
        job.task = trio.lowlevel.current_task()
        if call.seconds is not None:
            job.scope.deadline = trio.current_time() + call.seconds
        try:
            with job.scope:
                message = await self._result(job)
            if job.scope.cancelled_caught:
                job.was_stopped = True
                self._counts["cancelled"] += 1
                message = requests.encode_cancelled(call.id, is_clean=not job.is_left_behind)
                if job.gone_reason is not None and not job.is_cancelled:
                    message = requests.encode_gone(call.id, job.gone_reason)
            await self._answer(job, message)
        finally:
            if job.sender is not None:
                job.sender.close()
            job.has_ended = True
            del self._jobs[job]
            self._service.left(job)
            if not job.is_left_behind:
                self._free_room(job)
            self._idle.unpark_all()

    def _free_room(self, job: Job) -> None:
        """Nothing of a request runs any more."""
        self._running -= 1
        self._service.room_is_free(job)

    async def _result(self, job: Job) -> bytes:
        """Run the handler; gives the answer."""
        call = job.call
        function = self._find(call.method)
        try:
            if function is None:
                raise AttributeError(f"{self._slot!r} has no method {call.method!r} that may be called")
            value = await self._runner.call(function, call.arguments, call.keywords, job.sender, job)
            encoded = self._encode(call.method, value)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, the requester hears of it
            _raise_if_cancelled(error)
            if isinstance(error, MessageTypeError) and job.sender is not None:
                error = MessageTypeError(f"an item of {call.method!r} cannot be sent: {error}")
            return self._failed(call, error)
        self._counts["succeeded"] += 1
        return requests.encode_done(call.id, encoded)

    def _failed(self, call: Call, error: BaseException) -> bytes:
        """A handler has raised something, or what it returned cannot be sent; gives the answer."""
        if _is_from_keyboard(error):
            raise error
        self._counts["failed"] += 1
        logger.debug("%r: %s has failed", self, call.method, exc_info=error)
        return requests.encode_failed(call.id, encode_failure(error))

    def _encode(self, method: str, value: object) -> bytes:
        plain = encode_plain(value)
        if plain is not None:
            return plain
        references.forget_leaving()
        try:
            encoded = OBJECT.encode_message(value, references.ENCODE_EXTRA)
        except MessageTypeError as error:
            raise MessageTypeError(f"what {method!r} has returned cannot be sent: {error}") from error
        for sender in references.take_leaving():
            sender._has_left()
        return encoded

    async def _answer(self, job: Job, message: bytes) -> None:
        if job.is_abandoned:
            return  # it was told so, and expects nothing
        service, client = self._service, job.client
        objection = self._objection(job.call, message)
        try:
            if objection is not None:
                raise objection
            await service.answer_when_room(client, ((message,), len(message)))
        except ValueError as error:
            failed = self._failed(job.call, error)
            await service.answer_when_room(client, ((failed,), len(failed)))

    def _objection(self, call: Call, message: bytes) -> ValueError | None:
        """Why an answer is too large to be sent, whoever gets it; None if it is not."""
        most = self._context._limits.max_package
        if len(message) <= most:
            return None
        return ValueError(f"what {call.method!r} has returned takes {len(message)} bytes; limits.max_package is {most}")

    # ---------------------------------------------------------------- the end

    @property
    def slot(self) -> str:
        """The full name of the slot: ``base.type.pattern``."""
        return self._slot

    @property
    def closed(self) -> bool:
        """Whether the channel was closed."""
        return self._closed

    @property
    def context(self) -> Context:
        """The context that the channel belongs to."""
        return self._context

    def _withdraw(self) -> None:
        if not self._closed:
            self._closed = True
            self._service.remove(self)

    def close(self) -> None:
        """Take no more requests, and stop those that run: their requesters get `DeadError`. May be called twice.

        A handler may call it: its own request goes on, and is answered.
        """
        self._withdraw()
        for job in self._others():
            job.gone_reason = CLOSED
            job.scope.cancel()

    def _others(self) -> list[Job]:
        """The requests that run, without the one whose handler asks: it cannot wait for its own end."""
        task = trio.lowlevel.current_task() if self._jobs else None
        return [job for job in self._jobs if job.task is not task]

    async def aclose(self) -> None:
        """Take no more requests, and wait until those that run have ended, at most for the context's `grace`; then `close`.

        A handler may call it: it waits for all requests but its own.

        Cancelled, the channel is closed all the same.
        """
        self._withdraw()
        try:
            with trio.move_on_after(self._context._grace):
                while self._others():
                    await self._idle.park()
            await trio.lowlevel.checkpoint()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def statistics(self) -> ReplyStatistics:
        """What the channel has done so far."""
        return ReplyStatistics(running=self._running - self._counts["abandoned"], **self._counts)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self._running} running"
        return f"<{type(self).__name__} {self._slot!r} of {self._context}, {state}>"


_RESERVED: Final = frozenset({"aclose", "close", "closed", "context", "slot", "statistics"})


def _raise_if_cancelled(error: BaseException) -> None:
    """A group that holds nothing but `trio.Cancelled` is the cancellation itself."""
    if isinstance(error, BaseExceptionGroup):
        _, others = error.split(trio.Cancelled)
        if others is None:
            raise error


def _is_from_keyboard(error: BaseException) -> bool:
    """Whether it is a Ctrl-C that happened to come while the handler ran: that is for the program, not for a requester."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    # Trio's own signal handler is the innermost frame then.
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("trio._core")


__all__ = ["RepChannel", "ReplyStatistics", "hidden"]
