"""The requesting end of a slot: each of its methods is one of the repliers'."""

from __future__ import annotations

import heapq
import math
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import trio

from ..._arguments import check_count, check_flag, check_seconds
from ...errors import NoReplierError
from ...network.arguments import check_context_id
from ...protocol.plain import encode_plain
from ...protocol.requests import MAX_METHOD, encode_plain_body
from .. import references
from ..base import check_context, slot_name
from ..messages import OBJECT, value_encoder
from .desk import RequestDesk
from .future import Future, Stage
from .stream import ResultStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...network.context import Context

PATTERN: Final = "req-rep"

MOST_REMEMBERED: Final = 64
"""Attributes that a channel may have before it forgets by which names it has called its repliers."""

MAX_PENDING: Final = 1_000_000


class RequestStatistics(NamedTuple):
    """What a requesting channel has done."""

    sent: int
    """Requests that were made."""
    pending: int
    """Those that are not done: they wait for a replier, or run there."""
    running: int
    """Those of them that were sent to a replier."""
    repliers: int
    """Channels that answer on the slot, in all contexts."""


class _Methods:
    """What calls methods of repliers: all of them, or those of one context."""

    _channel: ReqChannel
    _target: bytes | None = None

    def __getattr__(self, name: str) -> Callable[..., Future[Any]]:
        if name.startswith("_"):
            raise AttributeError(
                f"{type(self).__name__!r} has no attribute {name!r}; names that begin with '_' are never called"
            )
        method = _Method(self._channel, name, self._target)
        if len(self.__dict__) < MOST_REMEMBERED:
            self.__dict__[name] = method  # the next look finds it there, and does not come here
        return method

    async def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Make a request and wait for its value; if the channel has `max_pending` requests, wait for room first.

        For names that the channel has itself, such as ``call`` and ``close``, too. Cancelled, and failing, it does as
        `Future.result`; cancelled while it waits for room, nothing was sent.

        Args:
            method: The name of the method.
            *args: What it gets.
            **kwargs: And by name.

        Raises:
            TypeError: `method` is not a text.
            MessageTypeError: An argument cannot be sent.
            ValueError: The name or the request is too long.
        """
        channel = self._channel
        await trio.lowlevel.checkpoint_if_cancelled()
        channel._check_open()
        body = _encode(method, args, kwargs)
        leaving = references.take_leaving()
        while channel._pending >= channel._max_pending:
            await channel._room.park()
            channel._check_open()
        return await channel._add(Future(channel, method, body, leaving, target=self._target))

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> ResultStream:
        """Call a generator of a replier, and receive its items as they come, with back-pressure.

        Use it as ``async with req.stream("count", 10) as items``, and then ``async for item in items``. Leaving the block
        stops the generator, as `Future.result` says of cancelling.

        Args:
            method: The name of the method.
            *args: What it gets.
            **kwargs: And by name.

        Raises:
            TypeError: `method` is not a text.
            MessageTypeError: An argument cannot be sent.
            ValueError: The name or the request is too long.
            trio.ClosedResourceError: The channel, or its context, was closed.
        """
        self._channel._check_open()
        body = _encode(method, args, kwargs)
        return ResultStream(self._channel, method, body, references.take_leaving(), self._target)


class _Method:
    """A method of repliers, by its name."""

    __slots__ = ("_channel", "_name", "_plain", "_target")

    def __init__(self, channel: ReqChannel, name: str, target: bytes | None) -> None:
        self._channel = channel
        self._name = name
        self._target = target
        self._plain = encode_plain(name) if 1 <= len(name) <= MAX_METHOD else None

    def __call__(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Make a request; it starts at once.

        Raises:
            MessageTypeError: An argument cannot be sent.
            ValueError: The request is too long.
            trio.WouldBlock: The channel has `max_pending` requests.
            trio.ClosedResourceError: The channel, or its context, was closed.
        """
        channel = self._channel
        if channel._closed or channel._context._closing:
            channel._check_open()
        if channel._pending >= channel._max_pending:
            raise trio.WouldBlock
        body = None if kwargs or self._plain is None else encode_plain_body(self._plain, args)
        if body is not None:
            return channel._add(Future(channel, self._name, body, target=self._target))
        body = _encode(self._name, args, kwargs)
        return channel._add(Future(channel, self._name, body, references.take_leaving(), target=self._target))

    def __repr__(self) -> str:
        return f"<method {self._name!r} of {self._channel!r}>"


class ReqChannel(_Methods):
    """Calls methods of the repliers on a slot: ``await req.add(3, 4)``. An async context manager; usable at once.

    Any attribute that the channel does not have is a method of the repliers. Calling it makes a request, which starts at once and
    is a `Future`. Each request is run by one replier, and by none twice: the one with most room gets it, and if none has room, or
    there is none, it waits. Repliers of the same context are asked only if `local` is set.

    Args:
        ctx: The context.
        slot: What repliers must name, too. Case does not matter.
        local: Whether repliers of the same context are asked, too.
        max_pending: Requests that may be under way at once.
        patience: Seconds until some replier must have taken a request; None to wait for ever.
        cancel_grace: Seconds that a cancelled request waits for its handler to come to an end.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `slot` is no name, or a number is out of range.
        trio.ClosedResourceError: The context was closed.
    """

    def __init__(
        self,
        ctx: Context,
        slot: str,
        *,
        local: bool = False,
        max_pending: int = 10_000,
        patience: float | None = None,
        cancel_grace: float = 1.0,
    ) -> None:
        context = check_context(ctx)
        check_flag("local", local)
        check_count("max_pending", max_pending, 1, MAX_PENDING)
        if patience is not None:
            check_seconds("patience", patience)
        check_seconds("cancel_grace", cancel_grace)
        self._slot = slot_name(slot, OBJECT, PATTERN)
        context._check_open()
        value_encoder()
        self._channel = self
        self._context = context
        self._max_pending = max_pending
        self._patience = math.inf if patience is None else patience
        self._cancel_grace = cancel_grace
        self._closed = False
        self._pending = 0
        self._made = 0
        self._futures: dict[int, Future[Any]] = {}
        self._room = trio.lowlevel.ParkingLot()
        self._impatient: list[tuple[float, int, Future[Any]]] = []  # a heap
        self._nap: trio.CancelScope | None = None
        desks: dict[str, RequestDesk] = context._shared.setdefault("requests", {})
        self._desk = desks.get(self._slot) or RequestDesk(context, self._slot)
        desks[self._slot] = self._desk
        self._desk.channels[self] = None
        self._is_local = local
        if local:
            self._desk.use_own()

    # ---------------------------------------------------------------- repliers

    @property
    def slot(self) -> str:
        """The full name of the slot: ``base.type.pattern``."""
        return self._slot

    @property
    def repliers(self) -> int:
        """Channels that answer on the slot now, as far as is known."""
        return self._desk.count(is_local=self._is_local)

    async def wait_repliers(self, count: int) -> None:
        """Wait until at least so many channels answer.

        Raises:
            TypeError: `count` is not an int.
            ValueError: It is negative.
            trio.ClosedResourceError: The channel, or its context, was closed.
        """
        check_count("count", count, 0)
        await trio.lowlevel.checkpoint()
        self._check_open()
        while self.repliers < count:
            await self._desk.wait_changed()
            self._check_open()

    def to(self, context_id: int) -> RequestTarget:
        """Give what calls methods in one context only.

        If that cannot be reached, requests fail with `DeadError`; if nobody answers there, they wait. It may be the channel's own
        context, also if `local` is not set.

        Args:
            context_id: The identity of the context, as `ContextInfo.id` has it.

        Raises:
            TypeError: It is no identity.
            ValueError: It is out of range.
        """
        target = check_context_id("context_id", context_id)
        if target == self._context._wire_id:
            self._desk.use_own()
        return RequestTarget(self, target)

    # ---------------------------------------------------------------- requests

    def _add(self, future: Future[Any]) -> Future[Any]:
        self._made += 1
        self._pending += 1
        self._futures[future._id] = future
        if self._patience != math.inf:
            future._impatient_at = trio.current_time() + self._patience
        self._desk.add(future)
        if self._patience != math.inf and future._stage < Stage.SENT:
            self._watch_patience(future)
        return future

    def _ended(self, future: Future[Any]) -> None:
        """A future is done."""
        if self._futures.pop(future._id, None) is not None:
            self._pending -= 1
            if self._room:
                self._room.unpark()

    def _watch_patience(self, future: Future[Any]) -> None:
        """A request waits for a replier, perhaps not for long."""
        if future._impatient_at == math.inf:
            return
        heapq.heappush(self._impatient, (future._impatient_at, future._id, future))
        if self._nap is not None:
            self._nap.deadline = self._impatient[0][0]
        else:
            self._nap = trio.CancelScope()
            self._context._start_soon(self._lose_patience)

    async def _lose_patience(self) -> None:
        while self._impatient:
            deadline, _, future = self._impatient[0]
            if future._stage < Stage.SENT and deadline > trio.current_time():
                with trio.CancelScope(deadline=deadline) as self._nap:
                    await trio.sleep_forever()
                continue
            heapq.heappop(self._impatient)
            if future._stage < Stage.SENT:
                self._desk.fail(future, self._out_of_patience(future))
        self._nap = None

    def _out_of_patience(self, future: Future[Any]) -> NoReplierError:
        return NoReplierError(f"no replier took {future.method!r} on {self._slot!r} within {self._patience:g} s")

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(f"{self!r} was closed")
        if self._context._closing:
            raise trio.ClosedResourceError(f"the context of {self!r} was closed")

    # ---------------------------------------------------------------- the end

    @property
    def closed(self) -> bool:
        """Whether the channel was closed here."""
        return self._closed

    def close(self) -> None:
        """Close at once: requests that are under way are cancelled, and end with `trio.ClosedResourceError`. May be called twice."""
        if self._closed:
            return
        self._closed = True
        for future in list(self._futures.values()):
            if future._stage is Stage.SENT:
                future._stop()
            self._desk.fail(future, trio.ClosedResourceError(f"{self!r} was closed"))
        self._room.unpark_all()
        self._desk.leave(self)

    @trio.lowlevel.enable_ki_protection
    async def aclose(self) -> None:
        """Cancel the requests that are under way, wait until their handlers have come to an end as `Future.result` says, and close.

        Cancelled, the channel is closed all the same.
        """
        try:
            futures = list(self._futures.values())
            for future in futures:
                future.cancel()
            for future in futures:
                await future.wait()
        finally:
            self.close()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def statistics(self) -> RequestStatistics:
        """What the channel has done so far."""
        running = sum(future._stage is Stage.SENT for future in self._futures.values())
        return RequestStatistics(self._made, self._pending, running, self.repliers)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self._pending} pending"
        return f"<ReqChannel {self._slot!r} of {self._context}, {state}>"


class RequestTarget(_Methods):
    """Calls methods of the repliers in one context; made by `ReqChannel.to`. It ends with the channel."""

    def __init__(self, channel: ReqChannel, target: bytes) -> None:
        self._channel = channel
        self._target = target

    def __repr__(self) -> str:
        return f"<{self._channel!r} to {int.from_bytes(self._target or b'', 'big'):x}>"


def _encode(method: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {method!r}")
    if not 1 <= len(method) <= MAX_METHOD:
        raise ValueError(f"the name of a method has 1 to {MAX_METHOD} characters, not {len(method)}: {method[:40]!r}")
    references.forget_leaving()
    return OBJECT.encode_message([method, list(args), kwargs], references.ENCODE_EXTRA)
