"""Where threads take what has come: a queue on their side, which the loop fills when somebody waits.

A thread that wants a message looks into the queue first. Only when that is empty it asks the loop, which then brings as much as there
is; so most messages cost no visit to the loop. Whatever the loop brings lies in the queue before anybody is woken: a thread that is
interrupted while it waits leaves it there, for the next one.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

import trio

from ..errors import MessageDecodeError
from .portal import Deadline, Loop, new_waiter, wait_released

if TYPE_CHECKING:
    import _thread

_COPIED: Final = (trio.ClosedResourceError, trio.BrokenResourceError, trio.EndOfChannel, MessageDecodeError)

T_co = TypeVar("T_co", covariant=True)


class Failure:
    """Stands in the queue for what the `receive` raises that comes to it."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Fetch:
    """The loop on its way to bring something.

    Attributes:
        most: How many messages it may bring; None for any number.
        scope: What ends its waiting, while it waits.
        has_begun: Whether the loop knows of it.
        is_cancelled: Whether nobody waits for it any more.
    """

    __slots__ = ("has_begun", "is_cancelled", "most", "scope")

    def __init__(self, most: int | None) -> None:
        self.most = most
        self.has_begun = False
        self.scope: trio.CancelScope | None = None
        self.is_cancelled = False


class Source(Generic[T_co]):
    """What messages come out of. Any number of threads may use it at once; each message goes to one of them.

    Args:
        loop: The loop that has what is received from.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._ready: deque[Any] = deque()
        self._waiters: list[_thread.LockType] = []
        self._fetch: Fetch | None = None
        self._end: Exception | None = None

    # ---------------------------------------------------------------- what subclasses say

    def _take_nowait(self, most: int | None) -> list[Any]:
        """In the loop: what is there, at least one.

        Raises:
            trio.WouldBlock: Nothing is.
        """
        raise NotImplementedError

    async def _take(self, most: int | None) -> list[Any]:
        """In the loop: what is there, or comes next."""
        raise NotImplementedError

    def _is_end(self, error: Exception) -> bool:
        """Whether nothing can follow such an error."""
        return not isinstance(error, MessageDecodeError)

    def _most(self) -> int | None:
        """How many messages the loop may bring when one is asked for."""
        return 1

    def _reclaim(self) -> bool:
        """In a thread: whether something is ready after all, which somebody else had at hand."""
        return False

    # ---------------------------------------------------------------- for users

    def receive(self, timeout: float | None = None) -> T_co:
        """Receive the next message; see the subclasses."""
        if self._loop.is_forked:
            self._loop.check()
        # Ctrl-C is looked for at calls only, so none comes between the three steps in which a message is taken. If one
        # comes after them, the message goes back: it is lost in no case.
        is_taken, message = False, None
        try:
            with self._lock:
                if self._ready:
                    message = self._ready[0]
                    del self._ready[0]
                    is_taken = True
            if is_taken and type(message) is not Failure:
                return message  # type: ignore[return-value]
            if not is_taken:
                messages = self._take_or_wait(timeout, 1, self._most())
                is_taken, message = True, messages[0]
                if type(message) is not Failure:
                    return message  # type: ignore[no-any-return]
        except BaseException:
            if is_taken:
                self._give_back([message])
            raise
        assert isinstance(message, Failure)
        raise _again(message.error)

    def receive_nowait(self) -> T_co:
        """Receive the next message if one is there; it asks the loop, which takes a moment.

        Raises:
            trio.WouldBlock: None is.
            Exception: As `receive`.
        """
        try:
            return self.receive(timeout=0)
        except TimeoutError:
            raise trio.WouldBlock from None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T_co:
        """As `receive`, and ends the loop where that raises `trio.EndOfChannel`."""
        try:
            return self.receive()
        except trio.EndOfChannel:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close; see the subclasses."""
        if self._loop.is_forked:
            return
        self._loop.run_sync(self._close_in_loop)
        self._drop(trio.ClosedResourceError(f"{self!r} was closed"))

    def _close_in_loop(self) -> None:
        raise NotImplementedError

    # ---------------------------------------------------------------- taking and waiting, in the threads

    def _take_or_wait(self, timeout: float | None, most: int | None, fetch_most: int | None) -> list[Any]:
        """Take what is ready, at most so many, or wait for it; a failure comes alone.

        Raises:
            TimeoutError: Nothing came in time.
            Exception: Nothing can come any more.
        """
        deadline = Deadline(timeout)
        self._loop.check()
        while True:
            messages = self._take_ready(most)
            if messages:
                return messages
            if self._reclaim():
                continue
            if not self._wait_ready(deadline.left, fetch_most):
                messages = self._take_ready(most)
                if messages:
                    return messages
                raise TimeoutError(f"nothing came from {self!r} within {timeout:g} s")

    def _give_out(self, timeout: float | None, most: int | None, fetch_most: int | None) -> list[Any]:
        """As `_take_or_wait`, and raises a failure."""
        messages = self._take_or_wait(timeout, most, fetch_most)
        try:
            if type(messages[0]) is not Failure:
                return messages
        except BaseException:
            self._give_back(messages)
            raise
        raise _again(messages[0].error)

    def _take_ready(self, most: int | None) -> list[Any]:
        """Take what is ready, none if nothing is."""
        messages: list[Any] = []
        is_taken = False
        try:
            with self._lock:
                if not self._ready:
                    return messages
                if most == 1 or type(self._ready[0]) is Failure:
                    messages.append(self._ready[0])
                    del self._ready[0]
                    is_taken = True
                else:
                    messages, rest = _split(self._ready, most)
                    self._ready = rest
                    is_taken = True
            return messages
        except BaseException:
            if is_taken:
                self._give_back(messages)
            raise

    def _give_back(self, messages: list[Any]) -> None:
        with self._lock:
            self._ready.extendleft(reversed(messages))
        self._wake()

    def _wait_ready(self, timeout: float | None, most: int | None) -> bool:
        """Wait until something may be ready; False if there was nothing in time, and the loop does not look for it any more."""
        waiter = new_waiter()
        fetch: Fetch | None = None
        try:
            with self._lock:
                if self._ready:
                    return True
                if self._end is not None:
                    raise _again(self._end)
                self._waiters.append(waiter)
                if self._fetch is None:
                    self._fetch = Fetch(most)
                fetch = self._fetch
            if not fetch.has_begun:
                self._begin(fetch)
            if wait_released(waiter, timeout):
                return True
            if self._leave(waiter):
                wait_released(waiter, None)
            return False
        except BaseException:
            if fetch is not None and not fetch.has_begun:
                self._begin(fetch)  # if Ctrl-C came before the first time; once more does nothing
            self._leave(waiter)
            raise

    def _leave(self, waiter: _thread.LockType) -> bool:
        """Do not wait any more; whether the loop was told to give up, and will say so to the waiter."""
        with self._lock:
            if waiter not in self._waiters:
                return False  # it was woken just now
            fetch = self._fetch
            if fetch is None or len(self._waiters) > 1:
                self._waiters.remove(waiter)
                return False
        try:
            self._loop.call_soon(self._cancel, fetch)
        except trio.ClosedResourceError:
            return False
        return True

    def _wake(self) -> None:
        """Let all look again; who finds nothing waits anew."""
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.release()

    def _begin(self, fetch: Fetch) -> None:
        """Let the loop look for something. After its end the thread does it, as then nobody else uses what was in the loop."""
        try:
            self._loop.call_soon(self._look, fetch)
        except trio.ClosedResourceError:
            self._look_after_end(fetch)

    def _look_after_end(self, fetch: Fetch) -> None:
        if fetch.has_begun:
            self._fail(fetch, trio.EndOfChannel())
            return
        fetch.has_begun = True
        try:
            self._bring(fetch, self._take_nowait(fetch.most))
        except trio.WouldBlock:
            self._fail(fetch, trio.EndOfChannel())
        except Exception as error:  # noqa: BLE001  # the caller gets it
            self._fail(fetch, error)

    # ---------------------------------------------------------------- bringing, in the loop

    def _look(self, fetch: Fetch) -> None:
        if fetch.has_begun:
            return
        fetch.has_begun = True
        try:
            self._bring(fetch, self._take_nowait(fetch.most))
        except trio.WouldBlock:
            try:
                self._loop.spawn(self._wait_and_bring, fetch)
            except trio.ClosedResourceError:
                self._fail(fetch, trio.EndOfChannel())
        except Exception as error:  # noqa: BLE001  # the caller gets it
            self._fail(fetch, error)

    async def _wait_and_bring(self, fetch: Fetch) -> None:
        messages: list[Any] = []
        try:
            with trio.CancelScope() as fetch.scope:
                if fetch.is_cancelled:
                    fetch.scope.cancel()
                messages = await self._take(fetch.most)
        except Exception as error:  # noqa: BLE001  # the caller gets it
            self._fail(fetch, error)
        except trio.Cancelled:
            self._fail(fetch, trio.EndOfChannel())
            raise
        else:
            self._bring(fetch, messages)

    def _cancel(self, fetch: Fetch) -> None:
        fetch.is_cancelled = True
        if fetch.scope is not None:
            fetch.scope.cancel()

    def _bring(self, fetch: Fetch, messages: list[Any]) -> None:
        with self._lock:
            if self._end is None:
                self._ready.extend(messages)
            if self._fetch is fetch:
                self._fetch = None
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.release()

    def _fail(self, fetch: Fetch, error: Exception) -> None:
        if not self._is_end(error):
            self._bring(fetch, [Failure(error)])
            return
        with self._lock:
            if self._end is None:
                self._end = error
        self._bring(fetch, [])

    def _drop(self, end: Exception) -> None:
        """Forget what is ready: nothing comes any more."""
        with self._lock:
            self._ready.clear()
            self._end = end
        self._wake()


def _split(ready: deque[Any], most: int | None) -> tuple[list[Any], deque[Any]]:
    """The first messages up to a failure, at most so many, and the rest."""
    messages: list[Any] = []
    for message in ready:
        if len(messages) == most or type(message) is Failure:
            return messages, deque(list(ready)[len(messages) :])
        messages.append(message)
    return messages, deque()


def _again(error: Exception) -> Exception:
    """Such an error for one more caller: one object should not be raised in several threads, where it can be copied."""
    if not isinstance(error, _COPIED):
        return error
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
