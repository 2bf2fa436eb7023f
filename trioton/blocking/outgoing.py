"""The queue of a channel that lets threads be ahead of the loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import trio

import trioton
from trioton import BINARY, TEXT, MessageType, MessageTypeError

from .portal import Deadline, Loop, new_waiter, wait_released

if TYPE_CHECKING:
    import _thread

MAX_AHEAD: Final = 1_000_000
MAX_BYTES: Final = 1024 * 1024
CHUNK: Final = 256
"""The most messages that the loop takes out of the queue at a time."""


class Ready:
    """A message that has been encoded already, by the thread that sends it: it may change afterwards, and a mistake shows at once."""

    __slots__ = ("buffers", "size")

    def __init__(self, buffers: tuple[Any, ...]) -> None:
        self.buffers = buffers
        self.size = sum(map(len, buffers))


class ReadyType(MessageType[Any]):
    """A message type whose messages may be `Ready`.

    Args:
        inner: The type of the others.
    """

    def __init__(self, inner: MessageType[Any]) -> None:
        self.name = inner.name
        self._inner = inner

    def encode(self, message: Any) -> object:
        """As the type itself."""
        return self._inner.encode(message)

    def decode(self, value: Any) -> Any:
        """As the type itself."""
        return self._inner.decode(value)

    def encode_buffers(self, message: Any, encode_extra: Any = None) -> tuple[Any, ...]:
        """The buffers that were made before, or else as the type itself."""
        if type(message) is Ready:
            return message.buffers
        return self._inner.encode_buffers(message, encode_extra)

    def prepare(self, message: Any) -> Ready:
        """Encode a message.

        Raises:
            MessageTypeError: It is not of this type, or there is a sending end in it.
        """
        return Ready(self._inner.encode_buffers(message, None))


def ready_type(message_type: Any) -> Any:
    """The message type for a channel with a queue. Texts and bytes do not change, so they may wait as they are."""
    if isinstance(message_type, type) and issubclass(message_type, MessageType):
        message_type = message_type()
    if not isinstance(message_type, MessageType) or message_type is TEXT or message_type is BINARY:
        return message_type
    return ReadyType(message_type)


class Outgoing:
    """Messages on their way from threads to the loop, in the order in which they were put in.

    Args:
        loop: The loop.
        channel: What the loop sends them on; nobody else does.
        message_type: As `ready_type` gave it.
        size: How many may wait.
    """

    def __init__(self, loop: Loop, channel: trioton.PubChannel[Any], message_type: Any, size: int) -> None:
        self._loop = loop
        self._channel = channel
        self._type = message_type
        self._size = size
        self._lock = threading.Lock()
        self._queue: deque[tuple[Any, int]] = deque()
        # Those in the queue, and those that the loop has taken out and not sent yet.
        self._count = 0
        self._bytes = 0
        self._is_pumping = False
        self._waiters: list[_thread.LockType] = []
        self._error: Exception | None = None
        self._emptied: trio.Event | None = None

    # ---------------------------------------------------------------- in the threads

    def put(self, message: Any, timeout: float | None) -> bool:
        """Put a message in as soon as there is room; False if it has to be sent at once, when the queue is empty.

        Raises:
            TimeoutError: There was no room in time.
            trio.ClosedResourceError: The channel was closed.
            trioton.MessageTypeError: It is not of the channel's type.
            Exception: What went wrong with an earlier one; this one was not sent.
        """
        if self._loop.is_forked:
            self._loop.check()
        entry = self._prepare(message)
        if entry is None:
            self.wait_handed_over(timeout)
            return False
        deadline: Deadline | None = None
        while not self._try_put(entry):
            if deadline is None:
                deadline = Deadline(timeout)
            self._wait_changed(deadline)
        return True

    def _try_put(self, entry: tuple[Any, int]) -> bool:
        must_start = False
        try:
            with self._lock:
                self._raise_error()
                if self._count and (self._count >= self._size or self._bytes + entry[1] > MAX_BYTES):
                    return False
                # Not a call, after which Ctrl-C might come: the message is in, and whoever is to send it is told.
                self._queue += (entry,)
                self._count += 1
                self._bytes += entry[1]
                must_start = not self._is_pumping
            return True
        finally:
            if must_start:
                self._start()

    def _prepare(self, message: Any) -> tuple[Any, int] | None:
        """The message as it waits, and its size; None if there is a sending end in it, which travels at once or not at all."""
        if self._channel.closed:
            raise trio.ClosedResourceError(f"{self._channel!r} was closed")
        type_ = self._type
        if type_ is TEXT:
            if type(message) is str and message.isascii():
                return message, len(message)
            return message, sum(map(len, TEXT.encode_buffers(message)))
        if type_ is BINARY:
            data = BINARY.encode(message)
            return data, len(data)
        try:
            ready = type_.prepare(message)
        except MessageTypeError:
            from .objects import holds_senders
            from .sending import Sender

            if holds_senders(message, (Sender, trioton.Sender)):
                return None
            raise
        return ready, ready.size

    def _wait_changed(self, deadline: Deadline) -> None:
        waiter = new_waiter()
        with self._lock:
            if not self._queue and not self._is_pumping:
                return
            self._waiters.append(waiter)
        self._start()  # if Ctrl-C had come before somebody could
        if not wait_released(waiter, deadline.left):
            raise TimeoutError(f"{self._channel!r} had no room within {deadline.timeout:g} s")

    def wait_handed_over(self, timeout: float | None) -> None:
        """Wait until all that was put in has been sent.

        Raises:
            TimeoutError: It was not in time.
            Exception: What went wrong with one of them.
        """
        deadline = Deadline(timeout)
        while True:
            with self._lock:
                self._raise_error()
                if not self._queue and not self._is_pumping:
                    return
            self._wait_changed(deadline)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _start(self) -> None:
        self._loop.call_soon(self._begin)

    # ---------------------------------------------------------------- in the loop

    def _begin(self) -> None:
        with self._lock:
            if self._is_pumping or not self._queue:
                return
            self._is_pumping = True
        try:
            self._loop.spawn(self._pump)
        except trio.ClosedResourceError as error:
            self._stop(error)

    async def _pump(self) -> None:
        # Half of them at a time, so that threads can go on meanwhile.
        most = min(CHUNK, max(1, self._size // 2))
        try:
            while True:
                with self._lock:
                    entries = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
                    if not entries:
                        self._is_pumping = False
                        break
                await self._send([message for message, _ in entries])
                with self._lock:
                    self._count -= len(entries)
                    self._bytes -= sum([size for _, size in entries])
                self._wake()
        except trio.Cancelled:
            self._stop(trio.ClosedResourceError("the context was closed"))
            raise
        self._wake()

    async def _send(self, messages: Sequence[Any]) -> None:
        """Send messages; of one that cannot be sent the next `send` hears, and the others go on."""
        while messages:
            before = self._channel.statistics().sent
            try:
                await self._channel.send_many(messages)
            except Exception as error:  # noqa: BLE001  # the next caller gets it
                with self._lock:
                    self._error = error
                messages = messages[self._channel.statistics().sent - before + 1 :]
            else:
                return

    def _stop(self, error: Exception) -> None:
        with self._lock:
            self._queue.clear()
            self._count = self._bytes = 0
            self._is_pumping = False
            self._error = error
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, []
            if self._emptied is not None and not self._queue and not self._is_pumping:
                self._emptied.set()
        for waiter in waiters:
            waiter.release()

    async def wait_empty(self) -> None:
        """In the loop: wait until all that was put in has been sent."""
        self._begin()
        while True:
            with self._lock:
                if not self._queue and not self._is_pumping:
                    break
                if self._emptied is None or self._emptied.is_set():
                    self._emptied = trio.Event()
                event = self._emptied
            await event.wait()
        await trio.lowlevel.checkpoint()
