"""Text that any thread may write, and that one task of Trio sends: what stands behind `trioton.FileWrapper`.

A thread that writes only puts its text in a queue, in which all threads' texts keep their order, and a task of the context sends it.
So a thread pays for a lock and not for a visit to Trio, as long as the queue is short; when it is long, the thread waits.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

import trio

from ..errors import CongestedError
from ..protocol.limits import MIB

if TYPE_CHECKING:
    from .pubsub import PubChannel

logger = logging.getLogger("trioton.context")

ROOM: Final = 64 * 1024
"""Bytes that may wait to be sent before other threads wait, too."""

BUFFER: Final = MIB
"""Bytes that may wait to be sent before Trio's own thread, which must not wait, writes to the real stream instead."""

MAX_PIECE: Final = 16_000
"""The most characters of one message: so many fit the 64 KiB that everybody takes, whatever they are."""

LOOK: Final = 0.25
"""Seconds after which a thread that waits looks whether it was cancelled, and whether Trio's thread still answers."""

PATIENCE: Final = 1.0
"""Seconds without an answer after which Trio's thread is taken to be stuck, perhaps because it waits for a lock of the thread that waits here."""


class Outflow:
    """Takes texts from all threads and sends them on a channel; what cannot be sent goes to the real stream.

    It is made in Trio's thread. Its task belongs to the context and ends with it.

    Args:
        channel: Where to send.
        real_stream: Gives the stream for what cannot be sent, or None if there is none. If this itself is None, such text is dropped.
        chunk: The most characters of a message.
    """

    def __init__(
        self, channel: PubChannel[str], real_stream: Callable[[], TextIO | None] | None, chunk: int = MAX_PIECE
    ) -> None:
        self._channel = channel
        self._outlet = channel._outlet
        self._context = channel._context
        self._real_stream = real_stream
        self._chunk = chunk
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        # The lock may be taken again: a signal's handler may print inside a print. It is taken by itself: Ctrl-C never comes between
        # taking it and entering the block, while `Condition.__enter__`, as Python code, could be left with the lock held for ever.
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        self._queue: deque[tuple[str, int]] = deque()
        self._bytes = 0
        self._passed = 0
        self._flushes: set[int] = set()
        self._waiting = 0
        self._asked = 0
        self._answered = 0
        self._is_stuck = False
        self._is_awake = False
        self._is_closing = False
        self._is_over = False
        self._has_diverted = False
        self._has_told = False
        self._lot = trio.lowlevel.ParkingLot()
        self._progress = trio.lowlevel.ParkingLot()
        self._context._check_open()
        self._context._gatherers.append(self)
        self._context._start_soon(self._run)

    @property
    def is_in_trio_thread(self) -> bool:
        """Whether the calling thread is the one that runs Trio."""
        return threading.get_ident() == self._thread

    # ---------------------------------------------------------------- for all threads

    def write(self, text: str, size: int) -> None:
        """Put a text of so many bytes in the queue.

        Another thread than Trio's waits first until the queue is short. If there is no place, the text goes to the real stream.

        Raises:
            trio.Cancelled: The thread is one of Trio's, and its task was cancelled while it waited; nothing was written.
            OSError: The real stream failed.
        """
        step = self._chunk
        pieces = [text] if len(text) <= step else [text[start : start + step] for start in range(0, len(text), step)]
        with self._lock:
            if not self.is_in_trio_thread:
                self._wait(lambda: self._bytes < ROOM)
            has_place = not self._is_over and self._bytes < BUFFER
            if has_place:
                for piece in pieces:
                    self._queue.append((piece, size if piece is text else len(piece.encode())))
                self._bytes += size
                has_place = self._wake()
        if not has_place and not self._is_over:
            self._tell("has too much to send, and Trio's thread must not wait")
        if not has_place:
            self._divert(text)

    def flush(self) -> None:
        """Wait until all that was written before is on the channel, or on the real stream; in Trio's thread, do not wait.

        Raises:
            trio.Cancelled: As `write`.
            OSError: The real stream failed.
        """
        if not self.is_in_trio_thread:
            with self._lock:
                target = self._passed + len(self._queue)
                self._flushes.add(target)
                try:
                    self._wait(lambda: self._passed >= target)
                finally:
                    self._flushes.discard(target)
        if self._has_diverted:
            stream = self._stream()
            if stream is not None:
                stream.flush()

    def close(self) -> None:
        """Take nothing more, and close the channel when all is sent."""
        with self._lock:
            self._is_closing = True
            self._wake()

    def _wait(self, is_ready: Callable[[], bool]) -> None:
        """Wait, with the lock held, until something is so, all is over, or Trio's thread does not answer any more."""
        self._waiting += 1
        silence = 0.0
        try:
            while not (is_ready() or self._is_over or self._is_stuck):
                if self._answered == self._asked:
                    silence = 0.0
                    self._asked += 1
                    if not self._post(self._answer, self._asked):
                        return
                if self._condition.wait(LOOK):
                    continue
                _check_cancelled()
                silence += LOOK
                self._is_stuck = silence >= PATIENCE and self._answered != self._asked
        finally:
            self._waiting -= 1

    def _answer(self, number: int) -> None:
        """Trio's thread lives."""
        self._answered = number
        self._is_stuck = False

    def _wake(self) -> bool:
        """Let the task go on, with the lock held; whether there is one."""
        if not self._is_awake:
            self._is_awake = self._post(self._lot.unpark_all)
        return self._is_awake

    def _post(self, function: Callable[..., object], *args: object) -> bool:
        """Call something in Trio's thread; whether there is one."""
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            self._is_over = True
        return not self._is_over

    # ---------------------------------------------------------------- Trio's thread

    async def _run(self) -> None:
        """Send what is in the queue, until the outflow is closed or the context ends."""
        try:
            while not self._is_over:
                piece = self._next()
                if piece is not None:
                    await self._pass_on(piece)
                    self._has_passed()
                elif self._is_closing:
                    self._channel.close()
                    return
                else:
                    await self._lot.park()
        finally:
            self.give_up()

    def _next(self) -> str | None:
        with self._lock:
            if self._queue:
                return self._queue[0][0]
            self._bytes = 0  # as it should be, unless Ctrl-C has come between a text and its size
            self._is_awake = False
            return None

    def _has_passed(self) -> None:
        """The first text of the queue is where it had to go."""
        with self._lock:
            if self._is_over:
                return  # it was given up meanwhile
            _, size = self._queue.popleft()
            self._bytes -= size
            self._passed += 1
            if self._waiting and (self._bytes < ROOM // 2 or self._passed in self._flushes):
                self._condition.notify_all()
        if self._progress:
            self._progress.unpark_all()

    async def _pass_on(self, piece: str) -> None:
        """Send a text, or write it to the real stream if nobody would get it."""
        reason = "has nobody who listens"
        try:
            # With a place in the backlog kept for the first subscriber, no older text is dropped for this one.
            if self._outlet.keeps(len(piece) * 4):
                await self._channel.send(piece)
                if self._channel._is_heard():
                    return
        except (trio.ClosedResourceError, trio.BrokenResourceError, CongestedError, ValueError) as error:
            reason = f"cannot send: {error}"
        if self._is_over:
            return
        self._tell(reason)
        self._divert_quietly(piece)
        await trio.lowlevel.checkpoint()

    async def wait_passed_on(self) -> None:
        """Wait until all that was written before has been handed to the channel; a checkpoint."""
        target = self._passed + len(self._queue)
        await trio.lowlevel.checkpoint()
        while self._passed < target and not self._is_over:
            await self._progress.park()

    def give_up(self) -> None:
        """It is over: what was not sent goes to the real stream, and so does all that is written from now on. May be called twice."""
        with self._lock:
            rest = "".join([piece for piece, _ in self._queue])
            self._queue.clear()
            self._bytes = 0
            was_over, self._is_over = self._is_over, True
            self._condition.notify_all()
        if rest:
            self._tell(f"was closed with {len(rest)} characters that were not sent")
            self._divert_quietly(rest)
        if not was_over and self in self._context._gatherers:
            self._context._gatherers.remove(self)
        self._progress.unpark_all()
        self._lot.unpark_all()

    # ---------------------------------------------------------------- the real stream

    def _divert_quietly(self, text: str) -> None:
        try:
            self._divert(text)
        except (OSError, ValueError) as error:
            logger.debug("the real stream does not take it either: %s", error)

    def _divert(self, text: str) -> None:
        stream = self._stream()
        if stream is not None:
            self._has_diverted = True
            stream.write(text)

    def _stream(self) -> TextIO | None:
        return None if self._real_stream is None else self._real_stream()

    def _tell(self, reason: str) -> None:
        """Say once that text goes elsewhere; to be called without the lock, since who logs may hold others, or write here again."""
        if not self._has_told and self._real_stream is not None:
            self._has_told = True
            logger.warning("%r %s; its text goes to the real stream", self._channel, reason)


def _check_cancelled() -> None:
    """Raise `trio.Cancelled` if this is a thread of Trio's whose task was cancelled."""
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:
        pass  # it is none of Trio's
