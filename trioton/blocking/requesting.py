"""Making requests from plain threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import trio

import trioton
from trioton import ContextId, MessageTypeError

from .base import OnSlot
from .objects import holds_senders, unwrap_senders, wrap_senders
from .sending import Sender
from .source import Source

if TYPE_CHECKING:
    from .context import Context

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Future(Generic[T_co]):
    """A request that is under way; made by `ReqChannel`. It has the methods of `concurrent.futures.Future`, for any thread.

    A timeout leaves the request alone: it goes on, and one may ask again. Ctrl-C in `result` and `exception` cancels it, since then nobody
    waits for it any more.

    Attributes:
        method: The name of the method.
    """

    def __init__(self, ctx: Context, future: trioton.Future[Any]) -> None:
        self.method: str = future.method
        self._context = ctx
        self._loop = ctx._loop
        self._future = future

    def result(self, timeout: float | None = None) -> T_co:
        """Wait for the value.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: It was not done in time, and goes on.
            Exception: Whatever the handler raised; see `trioton.Future.result` for what else may come.
            KeyboardInterrupt: Ctrl-C, in the main thread; the request was cancelled.
        """
        try:
            value = self._loop.run(self._result, timeout=timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise
        return wrap_senders(self._context, value)  # type: ignore[no-any-return]

    async def _result(self) -> Any:
        await self._future.wait()
        return await self._future.result()

    def exception(self, timeout: float | None = None) -> Exception | None:
        """Wait until it is done, and give what `result` would raise; None if it has a value.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: It was not done in time, and goes on.
            trioton.RequestCancelled: The request was cancelled.
            KeyboardInterrupt: Ctrl-C, in the main thread; the request was cancelled.
        """
        try:
            return self._loop.run(self._exception, timeout=timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise

    async def _exception(self) -> Exception | None:
        await self._future.wait()
        return await self._future.exception()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it is done, whatever comes out. Ctrl-C leaves it alone, too.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: It was not done in time, and goes on.
        """
        self._loop.run(self._future.wait, timeout=timeout)

    def cancel(self) -> bool:
        """Ask that the request be cancelled, wherever it is; does not wait. False if it is done already."""
        return self._loop.run_sync(self._future.cancel)

    def done(self) -> bool:
        """Whether it has a value, a failure, or was cancelled."""
        return self._future.done()

    def running(self) -> bool:
        """Whether it was sent to a replier that has not answered yet."""
        return self._future.running()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._future.cancelled()

    @property
    def replier(self) -> ContextId | None:
        """The context that it was sent to last, or None while it waits for one."""
        return self._future.replier

    def add_done_callback(self, callback: Callable[[Future[T_co]], object]) -> None:
        """Call a function with the future as soon as it is done, or now if it is.

        It runs in the loop's thread: it must not wait, and may not use anything of `trioton.blocking` but what is known without asking,
        such as `done`. To put something into a `queue.Queue` is what it is for.

        Raises:
            TypeError: `callback` cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"callback must be a function of the future, not {callback!r}")
        self._loop.run_sync(self._future.add_done_callback, lambda _: callback(self))

    def __repr__(self) -> str:
        return f"<blocking {self._future!r}>"


class _Methods:
    """What calls methods of repliers: all of them, or those of one context."""

    _context: Context
    _inner: trioton.ReqChannel | trioton.RequestTarget

    def __getattr__(self, name: str) -> Callable[..., Future[Any]]:
        if name.startswith("_"):
            raise AttributeError(
                f"{type(self).__name__!r} has no attribute {name!r}; names that begin with '_' are never called"
            )
        if hasattr(type(self._inner), name):
            raise AttributeError(
                f"{type(self).__name__!r} has no attribute {name!r}; for a method of that name use call()"
            )

        def request(*args: Any, **kwargs: Any) -> Future[Any]:
            """Make a request; it starts at once.

            Raises:
                trioton.MessageTypeError: An argument cannot be sent.
                ValueError: The request is too long.
                trio.WouldBlock: The channel has `max_pending` requests.
                trio.ClosedResourceError: The channel, or its context, was closed.
            """
            method = getattr(self._inner, name)
            future = self._send(lambda args, kwargs: method(*args, **kwargs), args, kwargs)
            return Future(self._context, future)

        request.__name__ = request.__qualname__ = name
        return request

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Make a request and wait for its value; if the channel has `max_pending` requests, wait for room first.

        For names that the channel has itself, such as ``call`` and ``close``, too. To wait for a while only, make a `Future`.

        Args:
            method: The name of the method.
            *args: What it gets.
            **kwargs: And by name.

        Raises:
            TypeError: `method` is not a text.
            trioton.MessageTypeError: An argument cannot be sent.
            ValueError: The name or the request is too long.
            Exception: As `Future.result`.
            KeyboardInterrupt: Ctrl-C, in the main thread; the request was cancelled, and so was its handler.
        """
        inner = self._inner

        async def call() -> Any:
            return await inner.call(method, *unwrap_senders(args), **unwrap_senders(kwargs))

        return wrap_senders(self._context, self._context._loop.run(call))

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> ResultStream:
        """Call a generator of a replier, and receive its items as they come, with back-pressure.

        Use it as ``with req.stream("count", 10) as items``, and then ``for item in items``. Leaving the block stops the generator.

        Args:
            method: The name of the method.
            *args: What it gets.
            **kwargs: And by name.

        Raises:
            TypeError: `method` is not a text.
            trioton.MessageTypeError: An argument cannot be sent.
            ValueError: The name or the request is too long.
            trio.ClosedResourceError: The channel, or its context, was closed.
        """
        stream = self._send(lambda args, kwargs: self._inner.stream(method, *args, **kwargs), args, kwargs)
        return ResultStream(self._context, stream)

    def _send(self, make: Callable[[Any, Any], T], args: Any, kwargs: Any) -> T:
        """Do in the loop what encodes the arguments; sending ends among them are made fit to travel if there are any."""
        loop = self._context._loop
        try:
            return loop.run_sync(make, args, kwargs, undo=_undo)
        except MessageTypeError:
            if not holds_senders((args, kwargs), Sender):
                raise
        return loop.run_sync(make, unwrap_senders(args), unwrap_senders(kwargs), undo=_undo)


def _undo(made: object) -> None:
    if isinstance(made, trioton.Future):
        made.cancel()


class ReqChannel(OnSlot, _Methods):
    """Calls methods of the repliers on a slot: ``req.add(3, 4).result()``. See `trioton.ReqChannel`. A context manager.

    Any attribute that the channel does not have is a method of the repliers. Calling it makes a request, which starts at once and
    is a `Future`. Any number of threads may make requests.

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
        ForkedError: The context belongs to the parent of this process.
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
        inner = ctx._check()

        def make() -> trioton.ReqChannel:
            return trioton.ReqChannel(
                inner, slot, local=local, max_pending=max_pending, patience=patience, cancel_grace=cancel_grace
            )

        self._inner = ctx._loop.run_sync(make, undo=trioton.ReqChannel.close)
        super().__init__(ctx, self._inner)
        self._channel: trioton.ReqChannel

    @property
    def repliers(self) -> int:
        """Channels that answer on the slot now, as far as is known."""
        return self._context._loop.run_sync(lambda: self._channel.repliers)

    def wait_repliers(self, count: int, timeout: float | None = None) -> None:
        """Wait until at least so many channels answer.

        Args:
            count: How many.
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: There were fewer all the time.
            TypeError: `count` is not a number.
            trio.ClosedResourceError: The channel, or its context, was closed.
        """
        self._context._loop.run(self._channel.wait_repliers, count, timeout=timeout)

    def to(self, context_id: int) -> RequestTarget:
        """Give what calls methods in one context only; see `trioton.ReqChannel.to`.

        Raises:
            TypeError: It is no identity.
            ValueError: It is out of range.
        """
        return RequestTarget(self._context, self._channel.to(context_id))

    def close(self, timeout: float | None = None) -> None:
        """Cancel the requests that are under way, wait until their handlers have come to an end, and close. May be called twice.

        Args:
            timeout: Seconds that this may take; the channel is closed all the same.

        Raises:
            TimeoutError: Not all had come to an end in time.
        """
        self._close_within(timeout, self._channel.aclose)

    def statistics(self) -> trioton.RequestStatistics:
        """What the channel has done so far."""
        return self._context._loop.run_sync(self._channel.statistics)


class RequestTarget(_Methods):
    """Calls methods of the repliers in one context; made by `ReqChannel.to`. It ends with the channel."""

    def __init__(self, ctx: Context, target: trioton.RequestTarget) -> None:
        self._context = ctx
        self._inner = target

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"


class ResultStream(Source[Any]):
    """The items that a replier's generator yields; made by ``req.stream(...)``. A context manager, and in its block an iterator."""

    def __init__(self, ctx: Context, stream: trioton.ResultStream) -> None:
        super().__init__(ctx._loop)
        self._context = ctx
        self._stream = stream

    def receive(self, timeout: float | None = None) -> Any:
        """Receive the next item.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: None came in time, and the generator goes on.
            trio.EndOfChannel: There are no more.
            Exception: Whatever the generator raised, after its last item; see `trioton.Future.result` for what else may come.
        """
        return super().receive(timeout)

    def __enter__(self) -> Self:
        self._loop.run(self._stream.__aenter__, undo=lambda _: self._loop.spawn(self._stop))
        return self

    def close(self) -> None:
        """Stop the generator; the end of the block does it."""
        if self._loop.is_forked:
            return
        try:
            self._loop.run(self._stop)
        except trio.ClosedResourceError:
            pass  # with its context

    async def _stop(self) -> None:
        await self._stream.__aexit__(None, None, None)

    def _take_nowait(self, most: int | None) -> list[Any]:  # noqa: ARG002
        raise trio.WouldBlock  # only `_take` can tell

    async def _take(self, most: int | None) -> list[Any]:  # noqa: ARG002
        try:
            item = await anext(self._stream)
        except StopAsyncIteration:
            raise trio.EndOfChannel from None
        return [wrap_senders(self._context, item)]

    def __repr__(self) -> str:
        return f"<blocking {self._stream!r}>"
