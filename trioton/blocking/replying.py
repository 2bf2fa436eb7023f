"""Answering requests on a thread of one's own choice."""

from __future__ import annotations

import functools
import inspect
import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import trio

import trioton

from .base import OnSlot
from .objects import unwrap_senders, wrap_senders
from .portal import Deadline, check_timeout
from .source import Source

if TYPE_CHECKING:
    from .context import Context
    from .portal import Loop

_END: Final = object()


class _Job:
    """One call of a handler, on its way from the loop to the thread that runs it, and back.

    Args:
        function: What to call in the thread.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self.done = trio.Event()
        self.value: Any = None
        self.error: BaseException | None = None
        self._function = function
        self._lock = threading.Lock()
        self._has_started = False
        self._is_cancelled = False

    def start(self) -> bool:
        """In the thread: begin; whether somebody still wants it."""
        with self._lock:
            self._has_started = not self._is_cancelled
            return self._has_started

    def run(self) -> None:
        """In the thread: run it.

        Raises:
            KeyboardInterrupt: Ctrl-C, which is for the program and not for the requester.
        """
        try:
            self.value = self._function()
        except BaseException as error:  # noqa: ASYNC103  # the requester hears of it, also where it would end a program
            # Ctrl-C comes in the main thread, and nowhere else.
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                self.error = RuntimeError("the thread that ran the handler was ended by a KeyboardInterrupt")
                raise
            self.error = error

    def cancel(self) -> bool:
        """In the loop: nobody wants it any more; whether it has not begun, and never will."""
        with self._lock:
            self._is_cancelled = True
            return not self._has_started


class _Jobs(Source[_Job]):
    """The jobs of a replier that wait for a thread."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self._queue: deque[_Job] = deque()
        self._arrived = trio.Event()
        self._is_closed = False

    def put(self, job: _Job) -> None:
        """In the loop."""
        self._queue.append(job)
        self._arrived.set()

    def end(self) -> None:
        """In the loop: there will be no more."""
        self._is_closed = True
        self._arrived.set()

    def _take_nowait(self, most: int | None) -> list[Any]:  # noqa: ARG002
        if self._queue:
            return [self._queue.popleft()]
        if self._is_closed:
            raise trio.EndOfChannel
        raise trio.WouldBlock

    async def _take(self, most: int | None) -> list[Any]:
        while not self._queue and not self._is_closed:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._take_nowait(most)


class RepChannel(OnSlot):
    """Answers requests on a slot, on the threads that ask it to; see `trioton.RepChannel`. A context manager.

    Subclass it: every public method that is defined below `RepChannel` can be called, except those marked with `trioton.hidden`; and so
    can ``echo``. Or give it any object as `target`, and the names of its `methods`. Requests wait until a thread calls
    `serve_pending` or `serve_forever`, and are run there; async methods do not wait, and run in the loop.

    What a handler raises is for its requester, as it is in `trioton.RepChannel`; `SystemExit` does not end the thread either. Only a
    `KeyboardInterrupt` in the main thread does, since that is Ctrl-C.

    A handler that runs in a thread cannot be stopped. If its requester cancels, or goes away, before it has begun, it is not run. A plain
    generator gives its items to ``req.stream(...)``; each of them is a turn of its own.

    Args:
        ctx: The context.
        slot: What requesters must name, too. Case does not matter.
        target: The object whose methods are called; the channel itself by default.
        methods: The names that may be called; with a `target` they must be given.
        max_running: Requests that may wait or run here. Further ones go to other repliers, or wait where they come from.

    Raises:
        TypeError: An argument is of the wrong type, or a method hides one that every channel has.
        ValueError: `slot` is no name, a number is out of range, or a name is none of a public method.
        trio.ClosedResourceError: The context was closed.
        ForkedError: The context belongs to the parent of this process.
    """

    def __init__(
        self,
        ctx: Context,
        slot: str,
        *,
        target: object = None,
        methods: Iterable[str] | None = None,
        max_running: int = 64,
    ) -> None:
        inner = ctx._check()
        self._context = ctx
        self._loop = ctx._loop
        self._jobs = _Jobs(ctx._loop)
        names = None if methods is None or isinstance(methods, str) else list(methods)

        def make() -> trioton.RepChannel:
            if target is None and methods is None:
                handlers = {name: staticmethod(self._in_thread(function)) for name, function in self._own_methods()}
                kind = type(type(self).__name__, (trioton.RepChannel,), handlers)
                return kind(inner, slot, max_running=max_running)  # type: ignore[no-any-return]
            source = self if target is None else target
            found = {} if names is None else {name: getattr(source, name, None) for name in map(str, names)}
            proxies = SimpleNamespace(**{name: self._in_thread(each) for name, each in found.items() if callable(each)})
            given = methods if names is None else names
            return trioton.RepChannel(inner, slot, target=proxies, methods=given, max_running=max_running)

        super().__init__(ctx, ctx._loop.run_sync(make, undo=trioton.RepChannel.close))
        self._channel: trioton.RepChannel
        ctx._loop.run_sync(inner.start_soon, self._end_with_context)

    def _own_methods(self) -> Iterable[tuple[str, Any]]:
        """The public functions that are defined below `RepChannel`."""
        classes = type(self).__mro__
        names = {name for cls in classes[: classes.index(RepChannel)] for name in vars(cls) if not name.startswith("_")}
        for name in sorted(names):
            if name in _RESERVED:
                raise TypeError(
                    f"{type(self).__qualname__}.{name} hides what every RepChannel has: give it another name"
                )
            function = inspect.getattr_static(self, name)
            function = getattr(self, name) if not isinstance(function, property) else None
            if callable(function) and not isinstance(function, type):
                yield name, function

    # ---------------------------------------------------------------- in the loop

    def _in_thread(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What the loop calls in the place of a handler: it lets a thread run that, and waits."""
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            return function
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            async def items(*args: Any, **kwargs: Any) -> Any:
                generator = function(*self._wrap(args), **self._wrap(kwargs))
                try:
                    while (item := await self._run(lambda: next(generator, _END))) is not _END:
                        yield item
                finally:
                    self._jobs.put(_Job(generator.close))

            return items

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._run(functools.partial(function, *self._wrap(args), **self._wrap(kwargs)))

        return call

    def _wrap(self, arguments: Any) -> Any:
        return wrap_senders(self._context, arguments)

    async def _end_with_context(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._jobs.end()

    async def _run(self, function: Callable[[], Any]) -> Any:
        job = _Job(function)
        self._jobs.put(job)
        try:
            await job.done.wait()
        except trio.Cancelled:
            if not job.cancel():
                # It runs, and cannot be stopped: the requester is not to be told that it has ended before it has.
                with trio.move_on_after(self._context._grace, shield=True):
                    await job.done.wait()
            raise
        if job.error is not None:
            raise job.error
        return unwrap_senders(job.value)

    # ---------------------------------------------------------------- in the threads

    def serve_pending(self, block: bool | float = False) -> int:
        """Run the requests that wait, in this thread.

        Args:
            block: What to do if none waits: False returns, True waits until one comes, and a number waits for at most so many seconds.

        Returns:
            How many were run; 0 if none came in time, or the channel or its context was closed.

        Raises:
            ForkedError: The channel belongs to the parent of this process.
            KeyboardInterrupt: Ctrl-C, in the main thread. If it came while a handler ran, its requester gets a `RuntimeError`; requests that
                had not begun wait for the next call.
        """
        timeout = (None if block else 0.0) if isinstance(block, bool) else block
        check_timeout(timeout)
        count = 0
        while True:
            try:
                job = self._jobs.receive(timeout)
            except (TimeoutError, trio.EndOfChannel):
                return count
            if self._serve(job):
                count += 1
                timeout = 0.0

    def _serve(self, job: _Job) -> bool:
        has_started = False
        try:
            has_started = job.start()
            if has_started:
                job.run()
            return has_started
        except BaseException:
            if not has_started:
                self._jobs._give_back([job])
            raise
        finally:
            if has_started:
                self._tell(job)

    def _tell(self, job: _Job) -> None:
        try:
            self._loop.call_soon(job.done.set)
        except trio.ClosedResourceError:
            pass  # nobody waits any more

    def serve_forever(self, timeout: float | None = None) -> None:
        """Run requests in this thread until the channel or its context is closed.

        Args:
            timeout: Seconds after which to return in any case; None for never.

        Raises:
            ForkedError: As `serve_pending`, and so is KeyboardInterrupt.
        """
        deadline = Deadline(timeout)
        try:
            while True:
                self._serve(self._jobs.receive(deadline.left))
        except (TimeoutError, trio.EndOfChannel):
            return

    # ---------------------------------------------------------------- the end

    def close(self) -> None:
        """Take no more requests, and stop those that wait: their requesters get `trioton.DeadError`. May be called twice."""
        if not self._loop.is_forked:
            self._loop.run_sync(self._close_in_loop)

    def _close_in_loop(self) -> None:
        self._channel.close()
        self._jobs.end()

    def statistics(self) -> trioton.ReplyStatistics:
        """What the channel has done so far. Those that wait for a thread count as running."""
        return self._loop.run_sync(self._channel.statistics)


_RESERVED: Final = frozenset(
    {"aclose", "close", "closed", "context", "serve_forever", "serve_pending", "slot", "statistics"}
)
