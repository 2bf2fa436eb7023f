"""A transport over descriptors which the system can be asked to wait for: sockets and pipes.

Theory of operation. All system calls are non-blocking. A read that filled less than it was offered has emptied the
kernel's buffer, so the next one waits before it tries (one system call less on a link that is mostly idle); a read that
was filled tries at once. A write that was taken in part has filled the buffer, so `send_all` waits before it goes on.
Every method of Trio's contract yields exactly when Trio's own streams do; `try_send` never does.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import trio

from .base import RECEIVE_SIZE, Buffer, Transport

MAX_BUFFERS: Final = 512
"""How many buffers one `try_send` looks at; every system takes that many in one call (POSIX's limit is 1024 in practice)."""

FIRST_RECEIVE_SIZE: Final = 64 * 1024
"""What `receive_some` asks for when the caller names no number and the last read did not fill as much.

Python makes a bytes object of that size before it reads; beyond 128 KiB that is a fresh mapping of memory each time, which
costs several times what the read of a small message does.
"""

_CLOSED_ERRNOS: Final = {errno.EBADF, errno.ENOTSOCK}

ArgumentT = TypeVar("ArgumentT")
ResultT = TypeVar("ResultT")


class PolledTransport(Transport):
    """Trio's stream contract, `try_send` and `receive_into` on top of the system calls that a subclass provides.

    A subclass sets the six attributes below in its `__init__`, before or after calling this one, and implements
    `_end_writing` and `_close_handles`. The calls raise `OSError`, `BlockingIOError` if they would have to wait.

    Attributes:
        _read: Reads at most so many bytes.
        _read_into: Reads into a buffer and returns how many bytes.
        _write: Writes some of a buffer and returns how many bytes.
        _write_vector: The same for several buffers.
        _read_handle: What to wait for before reading, as `trio.lowlevel.wait_readable` takes it.
        _write_handle: What to wait for before writing.
    """

    can_try_send = True

    _read: Callable[[int], bytes]
    _read_into: Callable[[memoryview], int]
    _write: Callable[[Buffer], int]
    _write_vector: Callable[[Sequence[Buffer]], int]
    _read_handle: int
    _write_handle: int

    def __init__(self, *, kind: str, local_address: str, remote_address: str, is_loopback: bool) -> None:
        self.kind = kind
        self.local_address = local_address
        self.remote_address = remote_address
        self.is_loopback = is_loopback
        self._closed = False
        self._send_ended = False  # after send_eof or close
        self._sending = False  # a task is inside send_all or send_eof
        self._awaiting_room = False  # a task is inside wait_send_all_might_not_block
        self._receiving = False
        self._last_read_was_full = False
        self._reset_by: OSError | None = None

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<{type(self).__name__} {self.local_address} to {self.remote_address}{state}>"

    def _end_writing(self) -> None:
        """Tell the other end that nothing more will come; may raise OSError."""
        raise NotImplementedError

    def _close_handles(self, *, wake: Callable[[int], None] | None) -> None:
        """Close what this transport owns; `wake`, if given, must be called with each handle before it is closed."""
        raise NotImplementedError

    # Sending

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        """Write what the system takes at once; see `Transport.try_send`."""
        if self._sending or self._send_ended:
            self._check_can_send()
        try:
            if len(buffers) == 1:
                return self._write(buffers[0])
            return self._write_vector(buffers if len(buffers) <= MAX_BUFFERS else buffers[:MAX_BUFFERS])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._failure(error) from error

    async def send_all(self, data: Buffer) -> None:
        """Send all of `data`; a checkpoint. If it is cancelled, any part of `data` may have been sent.

        Raises:
            trio.BrokenResourceError: The other end is gone.
            trio.ClosedResourceError: This end was closed, now or meanwhile, or `send_eof` was called.
            trio.BusyResourceError: Another task is sending.
        """
        self._check_can_send(waiting_is_busy=True)
        self._sending = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            with memoryview(data) as whole, whole.cast("B") as view:
                yielded = await self._send_view(view)
            if not yielded:
                await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._sending = False

    async def _send_view(self, view: memoryview) -> bool:
        """Write all of `view`; return whether it had to wait."""
        sent, size, yielded = 0, len(view), False
        while sent < size:
            try:
                with view[sent:] as rest:
                    sent += self._write(rest)
            except BlockingIOError:
                pass
            except OSError as error:
                raise self._failure(error) from error
            if sent < size:
                await trio.lowlevel.wait_writable(self._write_handle)
                self._check_open()
                yielded = True
        return yielded

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` or `try_send` may find room; may return too early, as Trio's contract allows.

        Raises:
            trio.ClosedResourceError: This end was closed, now or meanwhile, or `send_eof` was called.
            trio.BusyResourceError: Another task is sending or waiting.
        """
        self._check_can_send(waiting_is_busy=True)
        self._awaiting_room = True
        try:
            await trio.lowlevel.wait_writable(self._write_handle)
        finally:
            self._awaiting_room = False

    async def send_eof(self) -> None:
        """Tell the other end that nothing more will come; a checkpoint. It may be called again, to no effect.

        Raises:
            trio.BrokenResourceError: The connection failed.
            trio.ClosedResourceError: This end was closed.
            trio.BusyResourceError: A task is sending.
        """
        if self._sending or self._awaiting_room:
            raise self._busy("sending")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_open()
            if self._send_ended:
                return
            try:
                self._end_writing()
            except OSError as error:
                raise self._failure(error) from error
            self._send_ended = True
        finally:
            self._sending = False

    # Receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least 1 and at most `max_bytes` bytes; a checkpoint. If it is cancelled, nothing was received.

        Args:
            max_bytes: None for 64 KiB, or 256 KiB when as much came the last time.

        Returns:
            The bytes; ``b""`` at the end of the stream.

        Raises:
            trio.BrokenResourceError: The connection failed.
            trio.ClosedResourceError: This end was closed, now or meanwhile.
            trio.BusyResourceError: Another task is receiving.
        """
        if max_bytes is None:
            max_bytes = RECEIVE_SIZE if self._last_read_was_full else FIRST_RECEIVE_SIZE
        elif not isinstance(max_bytes, int):
            raise TypeError(f"max_bytes must be an int or None, not {max_bytes!r}")
        elif max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more, not {max_bytes}")
        if self._closed or self._receiving:
            self._check_can_receive()
        self._receiving = True
        try:
            data = await self._receive_more(self._read, max_bytes) if self._last_read_was_full else None
            while data is None:
                await trio.lowlevel.wait_readable(self._read_handle)
                data = self._try_receive(self._read, max_bytes)
        finally:
            self._receiving = False
        self._note_received(len(data), max_bytes)
        return data

    async def receive_into(self, buffer: memoryview) -> int:
        """Receive into `buffer`, without a copy; see `Transport.receive_into`. If it is cancelled, nothing was received."""
        if not len(buffer):
            raise ValueError("buffer must not be empty")
        if self._closed or self._receiving:
            self._check_can_receive()
        self._receiving = True
        try:
            size = await self._receive_more(self._read_into, buffer) if self._last_read_was_full else None
            while size is None:
                await trio.lowlevel.wait_readable(self._read_handle)
                size = self._try_receive(self._read_into, buffer)
            total = more = size
            while more and total < len(buffer):  # what came while that was copied saves a visit to the scheduler
                more = self._try_receive(self._read_into, buffer[total:]) or 0
                total += more
        finally:
            self._receiving = False
        self._note_received(total, len(buffer))
        return total

    def _try_receive(self, read: Callable[[ArgumentT], ResultT], argument: ArgumentT) -> ResultT | None:
        """What is there now, or None if nothing is."""
        self._check_open()
        try:
            return read(argument)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._failure(error) from error

    async def _receive_more(self, read: Callable[[ArgumentT], ResultT], argument: ArgumentT) -> ResultT | None:
        """After a read that was filled: what is there now, with a checkpoint, or None if nothing is."""
        await trio.lowlevel.checkpoint_if_cancelled()
        result = self._try_receive(read, argument)
        if result is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return result

    def _note_received(self, size: int, wanted: int) -> None:
        self._last_read_was_full = size >= FIRST_RECEIVE_SIZE or size >= wanted
        if not size and self._reset_by is not None:
            # The system tells the reason of a reset once. If a sender has had it, the reader would see a clean end.
            raise self._failure(self._reset_by) from self._reset_by

    # Closing

    def close(self) -> None:
        """Close at once; tasks that wait inside this transport get `trio.ClosedResourceError`. May be called twice."""
        if self._closed:
            return
        self._closed = self._send_ended = True
        # Outside of a Trio run (at the end of a program, in a finalizer) nobody can be waiting.
        self._close_handles(wake=trio.lowlevel.notify_closing if trio.lowlevel.in_trio_run() else None)

    async def aclose(self) -> None:
        """Close as `close` does, and yield once; a checkpoint. If it is cancelled, it has closed all the same."""
        self.close()
        await trio.lowlevel.checkpoint()

    # What can be wrong

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(f"this {self.kind} transport was closed")

    def _check_can_receive(self) -> None:
        if self._receiving:
            raise self._busy("receiving")
        self._check_open()

    def _check_can_send(self, *, waiting_is_busy: bool = False) -> None:
        if self._sending or (waiting_is_busy and self._awaiting_room):
            raise self._busy("sending")
        self._check_open()
        if self._send_ended:
            raise trio.ClosedResourceError(f"the end of the stream was already sent on this {self.kind} transport")

    def _busy(self, doing: str) -> trio.BusyResourceError:
        return trio.BusyResourceError(f"another task is {doing} on this {self.kind} transport")

    def _failure(self, error: OSError) -> trio.BrokenResourceError | trio.ClosedResourceError:
        """The exception of Trio's that stands for what a system call raised."""
        if self._closed or error.errno in _CLOSED_ERRNOS:
            return trio.ClosedResourceError(f"this {self.kind} transport was closed")
        if error.errno != errno.EPIPE:
            self._reset_by = error
        reason = error.strerror or str(error)
        return trio.BrokenResourceError(f"the {self.kind} link to {self.remote_address} broke: {reason}")
