"""The way from plain threads into Trio: one background thread with a Trio loop, and calls that wait for what is done there.

`trio.from_thread` is not used, because Ctrl-C does not reach a main thread that waits in it, and each of its calls takes a task. Here
a thread waits for a lock, which a signal handler may interrupt, and what can be done without waiting is done without a task.

All blocking contexts of a process share one loop. It begins with the first of them and ends with the last. In a forked child there is
no such thread any more: everything that was made before the fork says so, and new contexts get a new loop.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import trio

from ..errors import TriotonError
from ..transports.system import SystemNetwork

T = TypeVar("T")

LOOK: Final = 0.1 if sys.platform == "win32" else None
"""Seconds after which a thread that waits looks whether Ctrl-C was pressed, where that does not end the waiting by itself."""

THREAD_NAME: Final = "trioton.blocking"


class ForkedError(TriotonError, RuntimeError):
    """What is used here was made in the parent process: a forked child has no part in the connections of its parent."""


def check_timeout(timeout: object) -> None:
    """Refuse what is no number of seconds.

    Raises:
        TypeError: It is neither a number nor None.
        ValueError: It is negative, or not a number.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"timeout must not be negative, not {timeout!r}")


class Deadline:
    """When a call with several steps must be done.

    Args:
        timeout: Seconds for all of them; None for ever.

    Raises:
        TypeError: `timeout` is neither a number nor None.
        ValueError: It is negative, or not a number.
    """

    __slots__ = ("_at", "timeout")

    def __init__(self, timeout: float | None) -> None:
        check_timeout(timeout)
        self.timeout = timeout
        self._at = None if timeout is None else time.monotonic() + timeout

    @property
    def left(self) -> float | None:
        """Seconds until then, at least 0; None for ever."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())


def new_waiter() -> _thread.LockType:
    """A lock that is taken: who waits takes it once more, and is let go on by its release from another thread."""
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock


def wait_released(lock: _thread.LockType, timeout: float | None) -> bool:
    """Wait for such a lock; whether it was released within so many seconds. Ctrl-C in the main thread ends the waiting."""
    if LOOK is None:
        return lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
    deadline = Deadline(timeout)
    while True:
        left = deadline.left
        if lock.acquire(timeout=LOOK if left is None else min(LOOK, left)):
            return True
        if left == 0:
            return False


class Call(Generic[T]):
    """Something that is done in the loop while a thread waits for it.

    Args:
        loop: The loop.
        async_fn: What to do; None if `first` never finds that it must wait.
        args: Its arguments.
        first: A plain function that is tried first, with the same arguments; `trio.WouldBlock` means that `async_fn` is needed.
        undo: What to do in the loop with a result that nobody is left to take.
    """

    __slots__ = (
        "_args",
        "_async_fn",
        "_done",
        "_error",
        "_first",
        "_has_begun",
        "_is_cancelled",
        "_is_finished",
        "_loop",
        "_scope",
        "_undo",
        "_value",
    )

    def __init__(
        self,
        loop: Loop,
        async_fn: Callable[..., Awaitable[T]] | None,
        args: tuple[Any, ...],
        first: Callable[..., T] | None,
        undo: Callable[[T], object] | None,
    ) -> None:
        self._loop = loop
        self._async_fn = async_fn
        self._args = args
        self._first = first
        self._undo = undo
        self._done = new_waiter()
        self._scope: trio.CancelScope | None = None
        self._has_begun = False
        self._is_cancelled = False
        self._is_finished = False
        self._value: T
        self._error: BaseException | None = None

    # ---------------------------------------------------------------- in the thread

    def wait(self, timeout: float | None) -> T:
        """Let it begin, and wait for what comes of it.

        Raises:
            TimeoutError: It has taken longer than `timeout` seconds, and has been cancelled.
            KeyboardInterrupt: Ctrl-C; it has been cancelled, or what came of it was undone.
            BaseException: Whatever it raises.
        """
        try:
            self._loop.call_soon(self._begin)
            if not wait_released(self._done, timeout):
                self._loop.call_soon(self._cancel)
                wait_released(self._done, None)  # it may just have been done
        except BaseException:
            self._abandon()
            raise
        if self._error is None:
            return self._value
        if isinstance(self._error, trio.Cancelled):
            raise TimeoutError(f"this has taken longer than {timeout:g} s") from None
        error, self._error = self._error, None
        try:
            raise error
        finally:
            del error

    def _abandon(self) -> None:
        """Cancel it, and wait until it is known whether it was done, so that nothing happens behind the caller's back later."""
        try:
            self._loop.call_soon(self._cancel)
            self._loop.call_soon(self._begin)  # if Ctrl-C came before the first time; else it does nothing
            if not self._is_finished:
                wait_released(self._done, None)
            if self._error is None and self._is_finished and self._undo is not None:
                self._loop.call_soon(self._undo, self._value)
        except trio.ClosedResourceError:
            pass  # all that was in the loop has ended with it

    # ---------------------------------------------------------------- in the loop

    def _begin(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        if self._is_cancelled:
            self._finish(None, trio.ClosedResourceError("the call was given up"))
            return
        try:
            if self._first is not None:
                self._finish(self._first(*self._args), None)
                return
        except trio.WouldBlock as error:
            if self._async_fn is None:
                self._finish(None, error)
                return
        except Exception as error:  # noqa: BLE001  # the caller gets it
            self._finish(None, error)
            return
        try:
            self._loop.spawn(self._run)
        except trio.ClosedResourceError as error:
            self._finish(None, error)

    async def _run(self) -> None:
        assert self._async_fn is not None
        with trio.CancelScope() as self._scope:
            if self._is_cancelled:
                self._scope.cancel()
            try:
                value = await self._async_fn(*self._args)
            except trio.Cancelled as error:
                if self._is_cancelled:
                    self._finish(None, error)
                else:
                    self._finish(None, trio.ClosedResourceError("the context was closed"))
                raise
            except BaseException as error:  # noqa: BLE001  # the caller gets it, and the loop goes on
                self._finish(None, error)
            else:
                self._finish(value, None)

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def _finish(self, value: Any, error: BaseException | None) -> None:
        self._value, self._error = value, error
        self._is_finished = True
        self._done.release()


class Loop:
    """A thread that runs Trio, for all blocking contexts of the process.

    Attributes:
        is_forked: Whether this is a copy in a child process, in which no such thread runs.
        network: The network of the contexts in it. Names behind ``mem://`` are those of this loop, as memory leads to no other.
    """

    def __init__(self) -> None:
        self.is_forked = False
        self.network = SystemNetwork()
        self.users = 0
        self._is_over = False
        self._started = new_waiter()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), name=THREAD_NAME, daemon=True)
        self._token: trio.lowlevel.TrioToken
        self._nursery: trio.Nursery

    def start(self) -> None:
        """Start the thread, and wait until the loop runs."""
        self._thread.start()
        wait_released(self._started, None)

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        try:
            async with trio.open_nursery() as self._nursery:
                self._started.release()
                await trio.sleep_forever()
        finally:
            self._is_over = True

    def check(self) -> None:
        """Refuse to go on in a forked child, and in the loop's own thread, which would wait for itself.

        Raises:
            ForkedError: This is a child process.
            RuntimeError: This is the loop's own thread.
        """
        if self.is_forked:
            raise ForkedError(
                "this belongs to the parent process; a forked child opens its own context, or is started with spawn"
            )
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError("trioton.blocking was called in its own loop, which would wait for itself")

    @property
    def is_over(self) -> bool:
        """Whether the loop has ended, so that nobody but the caller can use what was in it."""
        return self._is_over and not self._thread.is_alive()

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Let the loop call a function that raises nothing.

        Raises:
            trio.ClosedResourceError: The loop has ended.
        """
        if self._is_over:
            raise trio.ClosedResourceError("the context was closed")
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            raise trio.ClosedResourceError("the context was closed") from None

    def spawn(self, async_fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Start a task that raises nothing but `trio.Cancelled`; to be called in the loop.

        Raises:
            trio.ClosedResourceError: The loop is about to end.
        """
        if self._is_over:
            raise trio.ClosedResourceError("the context was closed")
        self._nursery.start_soon(async_fn, *args)

    async def start_task(self, async_fn: Callable[..., Awaitable[object]], *args: Any) -> Any:
        """Start a task and wait for what it says when it has started; to be called in the loop."""
        return await self._nursery.start(async_fn, *args)

    def run(
        self,
        async_fn: Callable[..., Awaitable[T]],
        *args: Any,
        timeout: float | None = None,
        first: Callable[..., T] | None = None,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """Run an async function in the loop and wait for it; see `Call`.

        Raises:
            TimeoutError: It has taken longer than `timeout` seconds, and was cancelled.
            trio.ClosedResourceError: The loop has ended.
            BaseException: Whatever it raises.
        """
        check_timeout(timeout)
        self.check()
        return Call(self, async_fn, args, first, undo).wait(timeout)

    def run_sync(self, function: Callable[..., T], *args: Any, undo: Callable[[T], object] | None = None) -> T:
        """Run a plain function in the loop; in this thread if the loop has ended, as then nobody else uses what was in it.

        Raises:
            BaseException: Whatever it raises.
        """
        self.check()
        if not self.is_over:
            try:
                return Call(self, None, args, function, undo).wait(None)
            except trio.ClosedResourceError:
                if not self._is_over:
                    raise
                self._thread.join()
        return function(*args)

    def stop(self) -> None:
        """End the loop and wait for its thread."""
        try:
            self.call_soon(lambda: self._nursery.cancel_scope.cancel())
        except trio.ClosedResourceError:
            pass  # it has ended by itself
        self._thread.join()


_lock = threading.Lock()
_current: Loop | None = None
_loops: Final[set[Loop]] = set()


def enter_loop() -> Loop:
    """The loop of the process, for one user more; it is started for the first one."""
    global _current
    with _lock:
        if _current is None:
            loop = Loop()
            try:
                loop.start()
            except BaseException:
                wait_released(loop._started, 1.0)
                loop.stop()
                raise
            _current = loop
            _loops.add(loop)
        _current.users += 1
        return _current


def leave_loop(loop: Loop) -> None:
    """One user has gone; the last one ends the loop."""
    global _current
    with _lock:
        loop.users -= 1
        if loop.users:
            return
        if _current is loop:
            _current = None
        _loops.discard(loop)
    loop.stop()


def _after_fork_in_child() -> None:
    """Threads are not copied: what was theirs is of no use here. A lock may have been copied while another thread held it."""
    global _lock, _current
    _lock = threading.Lock()
    _current = None
    for loop in _loops:
        loop.is_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
