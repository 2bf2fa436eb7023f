"""What a replier lets others call, and how each kind of function is run."""

from __future__ import annotations

import dis
import inspect
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import trio

if TYPE_CHECKING:
    from ..direct import Sender

F = TypeVar("F", bound=Callable[..., Any])


class Threads(Protocol):
    """Hears of threads that go on though they are of no use any more."""

    def left_behind(self) -> None:
        """One goes on."""

    def ended(self) -> None:
        """One of those has ended; called in Trio's thread."""


class _Visit:
    """One call of a plain function in a thread."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._runs = False
        self._is_abandoned = False
        self._token = trio.lowlevel.current_trio_token()

    def run(self, function: Callable[..., Any], args: Iterable[Any], kwargs: dict[str, Any]) -> Any:
        """Call the function; in the thread."""
        with self._lock:
            if self._is_abandoned:
                return None
            self._runs = True
        try:
            return function(*args, **kwargs)
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._runs = False
            if self._is_abandoned:
                with suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._threads.ended)

    def abandon(self) -> None:
        """Nobody waits for it any more; in Trio's thread."""
        with self._lock:
            self._is_abandoned = True
            if self._runs:
                self._threads.left_behind()


_HIDDEN: Final = "__trioton_hidden__"
_END: Final = object()


def hidden(function: F) -> F:
    """Keep a public method of a `RepChannel` from being called by others; a decorator.

    Raises:
        TypeError: It decorates anything else than a function, a static method or a class method.
    """
    method: Any = function
    if isinstance(function, (staticmethod, classmethod)):
        method = function.__func__
    if not callable(method) or isinstance(method, type):
        raise TypeError(f"hidden is for methods, not for {function!r}")
    setattr(method, _HIDDEN, True)
    return function


def exposed_methods(cls: type, base: type) -> frozenset[str]:
    """The names of the public methods that are defined in a class and its bases, down to `base`."""
    names: dict[str, bool] = {}
    for each in cls.__mro__:
        if each is base:
            break
        for name, value in vars(each).items():
            if name.startswith("_") or name in names:
                continue
            function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            names[name] = (
                callable(function) and not isinstance(function, type) and not getattr(function, _HIDDEN, False)
            )
    return frozenset(name for name, is_exposed in names.items() if is_exposed)


class Runner:
    """Runs handlers: async ones in their task, plain ones in a thread.

    Args:
        threads: How many threads may be busy at once.
        is_simulated: Plain functions run inline then, since a thread would not keep to the simulated clock.
    """

    def __init__(self, threads: int, *, is_simulated: bool) -> None:
        self._limiter = trio.CapacityLimiter(threads)
        self._is_simulated = is_simulated
        self._kinds: dict[Any, bool] = {}
        self._quick: dict[Any, bool] = {}

    def is_plain(self, function: Callable[..., Any]) -> bool:
        """Whether a function has to run in a thread: it is neither async nor a generator."""
        key = getattr(function, "__func__", function)
        try:
            return self._kinds[key]
        except KeyError:
            is_plain = self._kinds[key] = not (
                inspect.iscoroutinefunction(function)
                or inspect.isasyncgenfunction(function)
                or inspect.isgeneratorfunction(function)
            )
            return is_plain
        except TypeError:  # it has no hash
            return not inspect.iscoroutinefunction(function)

    def is_quick(self, function: Callable[..., Any]) -> bool:
        """Whether a function is async and awaits nothing, so that it can be run at once, without a task."""
        key = getattr(function, "__func__", function)
        try:
            return self._quick[key]
        except KeyError:
            is_quick = self._quick[key] = inspect.iscoroutinefunction(function) and not _awaits(key)
            return is_quick
        except TypeError:  # it has no hash
            return False

    async def call(
        self,
        function: Callable[..., Any],
        args: list[Any],
        kwargs: dict[str, Any],
        sender: Sender[Any] | None,
        threads: Threads,
    ) -> Any:
        """Run a handler; its items go to `sender`, if it is a generator.

        `threads` hears of a thread that goes on though it is of no use any more.

        Returns:
            What it returns; None for a generator.

        Raises:
            TypeError: It is a generator and was not asked for its items, or it is none and was.
            Exception: Whatever it raises.
        """
        if self.is_plain(function):
            result = await self._in_thread(function, args, kwargs, threads)
        else:
            result = function(*args, **kwargs)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, AsyncIterator):
            await self._send_items(result, _check_wanted(sender))
            return None
        if inspect.isgenerator(result):
            await self._send_plain_items(result, _check_wanted(sender), threads)
            return None
        if sender is None:
            return result
        if isinstance(result, AsyncIterable):
            await self._send_items(aiter(result), sender)
            return None
        raise TypeError("it gives one value and no items: call it, or await it, instead of asking for a stream")

    async def _in_thread(
        self, function: Callable[..., Any], args: Iterable[Any], kwargs: dict[str, Any], threads: Threads
    ) -> Any:
        if self._is_simulated:
            await trio.lowlevel.checkpoint()
            return function(*args, **kwargs)
        visit = _Visit(threads)
        try:
            return await trio.to_thread.run_sync(
                visit.run, function, args, kwargs, abandon_on_cancel=True, limiter=self._limiter
            )
        except trio.Cancelled:
            visit.abandon()
            raise

    async def _send_items(self, items: AsyncIterator[Any], sender: Sender[Any]) -> None:
        close = getattr(items, "aclose", None)
        if close is None:
            async for item in items:
                await sender.send(item)
            return
        async with aclosing(items):  # type: ignore[type-var]
            async for item in items:
                await sender.send(item)

    async def _send_plain_items(self, items: Iterator[Any], sender: Sender[Any], threads: Threads) -> None:
        """Each item of a plain generator is made in a thread."""
        try:
            while True:
                item = await self._in_thread(next, (items, _END), {}, threads)
                if item is _END:
                    return
                await sender.send(item)
        finally:
            _close_generator(items)


def _awaits(function: Any) -> bool:
    """Whether a coroutine function may ever wait, by its code; True if that cannot be seen."""
    code = getattr(function, "__code__", None)
    if code is None or not code.co_flags & inspect.CO_COROUTINE:
        return True
    return any(instruction.opname in _WAITING for instruction in dis.get_instructions(code))


_WAITING: Final = {"SEND", "GET_AWAITABLE", "GET_ANEXT", "BEFORE_ASYNC_WITH", "END_ASYNC_FOR", "YIELD_VALUE"}


def run_quickly(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Run a coroutine function that awaits nothing; gives what it returns.

    Raises:
        Exception: Whatever it raises.
    """
    coroutine = function(*args, **kwargs)
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError(f"{function!r} was taken for one that awaits nothing")


def _close_generator(items: Iterator[Any]) -> None:
    """Close a generator, unless its thread was abandoned and still runs in it."""
    close: Callable[[], None] | None = getattr(items, "close", None)
    if close is not None and not getattr(items, "gi_running", False):
        close()


def _check_wanted(sender: Sender[Any] | None) -> Sender[Any]:
    if sender is None:
        raise TypeError("it gives items, one after another: ask for them with stream()")
    return sender
