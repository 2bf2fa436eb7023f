"""A text file over channels: what is printed is published, and what is read was published by somebody."""

from __future__ import annotations

import errno
import io
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TextIO, cast

import trio

from .._arguments import check_count, check_flag
from .messages import TEXT
from .outflow import MAX_PIECE, Outflow
from .pubsub import PubChannel, SubChannel


class FileWrapper(io.TextIOBase):
    """A text file over a channel, for `sys.stdout` and its like: over a `PubChannel` to write, over a `SubChannel` to read.

    **Writing.** Each ``write`` is one message, or as many as `chunksize` makes of it. A task of the context sends them, in the order in
    which they were written, by whichever thread; the messages of one ``write`` follow each other.

    * In other threads than Trio's, ``write`` waits while more than 64 KiB are to be sent: while a subscriber is out of room.
    * In the thread that runs Trio it never waits. Up to 1 MiB is kept to be sent; what comes beyond goes to the real stream.
    * If nobody listens any more, text goes to the real stream. Before anybody has listened it waits in the channel's backlog, and what
      finds no place there goes to the real stream.
    * When the context closes it sends first what was written before, within its `grace`. What is left then, and all that is written
      later, goes to the real stream. So does everything in a process that was forked from this one.

    The first text that goes to the real stream is preceded by a warning in the log. Only if there is no real stream is it lost.

    **Reading.** Each message is a line, such as what somebody has typed; a newline is added if it has none. Reading waits for messages in
    other threads than Trio's, one at a time, and ends with the channel. In Trio's thread it gives what is there, or raises
    `BlockingIOError`. If the thread belongs to ``trio.to_thread.run_sync``, cancelling that ends the wait, of a reader or a writer, with
    `trio.Cancelled`.

    It is a context manager, closed by ``with``, which does not wait in Trio's thread, or by ``async with``, which waits until all is sent.
    Closing it closes its channel.

    Args:
        channel: A `PubChannel` or `SubChannel` of `TEXT`.
        chunksize: The most characters of a message, at most 16,000; 0 stands for these.
        echo: A `PubChannel` of `TEXT` that sends again each message that is read; not for writing.
        isatty: What ``isatty()`` gives.
        fallback: The real stream, which this file never closes. By default it is ``sys.__stderr__`` while this file is `sys.stderr`, and
            ``sys.__stdout__`` otherwise.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `chunksize` is out of range, or `echo` does not fit.
        RuntimeError: It is not made in the thread that runs Trio.
        trio.ClosedResourceError: The context was closed.
    """

    encoding: str = "utf-8"
    errors: str | None = "strict"
    newlines: str | tuple[str, ...] | None = None

    def __init__(
        self,
        channel: PubChannel[str] | SubChannel[str],
        chunksize: int = 0,
        echo: PubChannel[str] | None = None,
        isatty: bool = False,
        *,
        fallback: TextIO | None = None,
    ) -> None:
        super().__init__()
        self._closed = True  # until it is made: Python closes what was not, too
        if not _is_of_text(channel, PubChannel, SubChannel):
            raise TypeError(f"channel must be a PubChannel or SubChannel of TEXT, not {channel!r}")
        if echo is not None and not _is_of_text(echo, PubChannel):
            raise TypeError(f"echo must be a PubChannel of TEXT or None, not {echo!r}")
        if echo is not None and isinstance(channel, PubChannel):
            raise ValueError("echo is for files that are read, over a SubChannel")
        if fallback is not None and (
            isinstance(fallback, FileWrapper) or not callable(getattr(fallback, "write", None))
        ):
            raise TypeError(f"fallback must be a real text file or None, not {fallback!r}")
        chunk = _checked_chunksize(chunksize)
        self._isatty = check_flag("isatty", isatty)
        self._channel = channel
        self._fallback = fallback
        self._network = channel._context._network
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._outflow = Outflow(channel, self._real_stream, chunk) if isinstance(channel, PubChannel) else None
        self._echo = None if echo is None else Outflow(echo, None)
        self._arrived: deque[str] = deque()
        self._lock = threading.RLock()
        self._turn = trio.Lock()
        self._rest = ""
        self._closed = False

    # ---------------------------------------------------------------- what it is

    @property
    def name(self) -> str:
        """The slot of its channel."""
        return self._channel.slot

    @property
    def closed(self) -> bool:
        """Whether it was closed. A file whose context was closed is not: its text goes to the real stream."""
        return self._closed

    def readable(self) -> bool:
        """Whether one can read from it.

        Raises:
            ValueError: It was closed.
        """
        self._check_open()
        return self._outflow is None

    def writable(self) -> bool:
        """Whether one can write to it.

        Raises:
            ValueError: It was closed.
        """
        self._check_open()
        return self._outflow is not None

    def isatty(self) -> bool:
        """What was said when it was made.

        Raises:
            ValueError: It was closed.
        """
        self._check_open()
        return self._isatty

    def __repr__(self) -> str:
        return (
            f"<FileWrapper {self.name!r}{', closed' if self._closed else ''}>"
            if hasattr(self, "_network")
            else "<FileWrapper>"
        )

    # ---------------------------------------------------------------- writing

    def write(self, text: str, /) -> int:
        """Send a text; an empty one sends nothing.

        Raises:
            TypeError: `text` is no str.
            ValueError: The file was closed, or the text has lone surrogates (a `UnicodeEncodeError`).
            io.UnsupportedOperation: The file is one to be read.
            OSError: The text had to go to the real stream, and that failed.
            trio.Cancelled: The thread is one of Trio's, and its task was cancelled while it waited; nothing was written.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {text!r:.200}")
        self._check_open()
        if self._outflow is None:
            raise io.UnsupportedOperation("not writable")
        size = len(text) if text.isascii() else len(text.encode())
        if not self._network.is_own_process():
            _write_real(self._real_stream(), text)
        elif text:
            self._outflow.write(text, size)
        return len(text)

    def flush(self) -> None:
        """Wait until what was written before has been handed to the channel, or to the real stream; in Trio's thread, do not wait.

        What that is good for: ``await ctx.flush()`` waits until it has been received.

        Raises:
            ValueError: The file was closed.
            OSError: Text had gone to the real stream, and that failed.
            trio.Cancelled: As `write`.
        """
        self._check_open()
        if not self._network.is_own_process():
            stream = self._real_stream()
            if stream is not None:
                stream.flush()
        elif self._outflow is not None:
            self._outflow.flush()

    def _real_stream(self) -> TextIO | None:
        if self._fallback is not None:
            return self._fallback
        return sys.__stderr__ if cast("object", sys.stderr) is self else sys.__stdout__

    # ---------------------------------------------------------------- reading

    def read(self, size: int | None = -1, /) -> str:
        """Read so many characters, or all until the channel ends; fewer only if it ends.

        Raises:
            ValueError: The file was closed.
            io.UnsupportedOperation: The file is one to be written.
            BlockingIOError: This is Trio's thread, and there is not enough; what there is can still be read.
            OSError: The subscription was ended by its policy.
            trio.Cancelled: The thread is one of Trio's, and its task was cancelled while it waited; nothing is lost.
        """
        wanted = _checked_size(size)
        self._check_readable()
        if not self._network.is_own_process():
            return sys.__stdin__.read(wanted) if sys.__stdin__ is not None else ""
        while (wanted < 0 or len(self._rest) < wanted) and self._fill():
            pass
        return self._take(len(self._rest) if wanted < 0 else wanted)

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]  # IOBase's is of bytes
        """Read a line with its newline, or so many characters of it; an empty text at the end.

        Raises:
            ValueError: As `read`; and so are all others.
        """
        wanted = _checked_size(size)
        self._check_readable()
        if not self._network.is_own_process():
            return sys.__stdin__.readline(wanted) if sys.__stdin__ is not None else ""
        while wanted:
            with self._lock:
                end = self._rest.find("\n") + 1
                if end:
                    return self._take(end if wanted < 0 else min(end, wanted))
            if not self._fill():
                break
        return ""

    def _take(self, count: int) -> str:
        with self._lock:
            text, self._rest = self._rest[:count], self._rest[count:]
        return text

    def _fill(self) -> bool:
        """Receive one more message; whether there was one."""
        is_in_trio = threading.get_ident() == self._thread
        while not self._take_arrived():
            if not (self._receive_nowait() if is_in_trio else self._receive_in_trio()):
                return False
        if self._echo is not None and not is_in_trio:
            self._echo.flush()  # what the reader writes now, to whichever file, comes after it
        return True

    def _take_arrived(self) -> bool:
        with self._lock:
            if not self._arrived:
                return False
            # Ctrl-C comes at calls only, and here are none: the line is in one of both places.
            self._rest += self._arrived[0]
            del self._arrived[0]
        return True

    def _receive_in_trio(self) -> bool:
        """Let Trio's thread receive a message, and wait. If Ctrl-C ends that, no message is taken, or the next reader gets it."""
        scope = trio.CancelScope()
        is_done = False
        try:
            is_there = _call_in_trio(self._token, self._receive, scope)
            is_done = True
        finally:
            if not is_done:
                _post(self._token, scope.cancel)
        return is_there

    def _receive_nowait(self) -> bool:
        assert isinstance(self._channel, SubChannel)
        try:
            self._received(self._channel.receive_nowait())
            return True
        except trio.WouldBlock:
            raise BlockingIOError(
                errno.EAGAIN, "nothing to read now, and Trio's thread must not wait: use await channel.receive()"
            ) from None
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return False
        except trio.BrokenResourceError as error:
            raise OSError(str(error)) from error

    async def _receive(self, scope: trio.CancelScope) -> bool:
        assert isinstance(self._channel, SubChannel)
        with scope:
            async with self._turn:
                if self._arrived:
                    return True  # for a reader who was interrupted just then
                try:
                    self._received(await self._channel.receive())
                    return True
                except (trio.EndOfChannel, trio.ClosedResourceError):
                    return False
                except trio.BrokenResourceError as error:
                    raise OSError(str(error)) from error
        return False

    def _received(self, message: str) -> None:
        self._arrived.append(message if message.endswith("\n") else f"{message}\n")
        if self._echo is not None:
            self._echo.write(message, len(message.encode()))

    # ---------------------------------------------------------------- closing

    def close(self) -> None:
        """Close; what was written is still sent. Other threads than Trio's wait until it is on the channel. May be called twice.

        In a forked process this does nothing, so that the real stream stays open.
        """
        if self._closed or not self._network.is_own_process():
            return
        try:
            self.flush()
        finally:
            self._closed = True
            if self._outflow is not None:
                self._outflow.close()
            elif threading.get_ident() == self._thread and trio.lowlevel.in_trio_run():
                self._channel.close()
            else:
                _post(self._token, self._channel.close)
            if self._echo is not None:
                self._echo.close()

    async def aclose(self) -> None:
        """Close, and wait until what was written has left, at most for the context's `grace`; what is left then goes to the real stream.

        It waits as `PubChannel.aclose` does. Cancelled, the file is closed all the same.
        """
        self.close()
        outflows = [outflow for outflow in (self._outflow, self._echo) if outflow is not None]
        try:
            with trio.move_on_after(self._channel._context._grace):
                for outflow in outflows:
                    await outflow.wait_passed_on()
        finally:
            for outflow in outflows:
                outflow.give_up()
            self._channel.close()
        await self._channel.aclose()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("I/O operation on closed file")

    def _check_readable(self) -> None:
        self._check_open()
        if self._outflow is not None:
            raise io.UnsupportedOperation("not readable")


def _is_of_text(channel: object, *kinds: type[PubChannel[Any] | SubChannel[Any]]) -> bool:
    return isinstance(channel, kinds) and channel._type is TEXT


def _write_real(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        stream.write(text)


def _post(token: trio.lowlevel.TrioToken, function: Any) -> None:
    try:
        token.run_sync_soon(function)
    except trio.RunFinishedError:
        pass  # and so has all that could be closed


def _call_in_trio(token: trio.lowlevel.TrioToken, async_fn: Callable[..., Awaitable[bool]], *args: object) -> bool:
    """Call an async function in Trio's thread, and wait; False if Trio has ended, or ends meanwhile.

    Raises:
        trio.Cancelled: This is a thread of the same Trio, and its task was cancelled.
    """
    try:
        is_worker = trio.from_thread.run_sync(trio.lowlevel.current_trio_token) is token
    except RuntimeError:
        is_worker = False
    try:
        return trio.from_thread.run(async_fn, *args, trio_token=None if is_worker else token)
    except trio.RunFinishedError:
        return False
    except trio.Cancelled:  # noqa: ASYNC103  # what is cancelled is no task of this thread, unless it is a worker
        if is_worker:
            raise
        return False  # noqa: ASYNC104


def _checked_chunksize(value: object) -> int:
    return check_count("chunksize", value, 0, MAX_PIECE) or MAX_PIECE


def _checked_size(value: object) -> int:
    if value is None:
        return -1
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"size must be a number of characters or None, not {value!r}")
    return value
