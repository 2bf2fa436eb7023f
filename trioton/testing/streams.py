"""Simulated connections: streams of bytes with latency, back-pressure and faults, driven by Trio's clock alone.

No task runs behind them. A reader waits for the moment at which the next bytes arrive, or to be woken because something
changed; so under `trio.testing.MockClock` with autojump an hour of silence costs nothing, and whatever order the
scheduler runs tasks in, the same bytes arrive at the same moments.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import trio

from ..transports.base import RECEIVE_SIZE, Buffer, Transport
from .paths import Path
from .quality import BUFFER_SIZE, Chunk, Latency, LinkQuality

if TYPE_CHECKING:
    from .trace import EventKind, Tap

StreamState = Literal["open", "eof", "partitioned", "closed", "reset"]
"""How a stream is; where several are true, the last of them in this list is named.

``"open"``; ``"eof"``: one of the two directions has ended; ``"partitioned"``: a direction is cut and its bytes wait;
``"closed"``: this end was closed (of a connection: both ends were); ``"reset"``: it was broken.
"""

MAX_BUFFERS = 512
"""How many buffers one `SimulatedTransport.try_send` looks at."""


class _Waiter:
    """Where one task waits until it is woken or a moment comes."""

    __slots__ = ("_event", "_scope")

    def __init__(self) -> None:
        self._event: trio.Event | None = None
        self._scope = trio.CancelScope()

    def wake(self) -> None:
        if self._event is not None:
            self._event.set()

    def wait_no_longer_than(self, moment: float) -> None:
        """The moment that is waited for may be an earlier one: that costs less than to wake the task."""
        if self._event is not None and moment < self._scope.deadline:
            self._scope.deadline = moment

    async def wait_until(self, moment: float) -> None:
        """Wait for `wake`, or until Trio's clock shows `moment`."""
        event = self._event = trio.Event()
        try:
            with trio.CancelScope(deadline=moment) as self._scope:
                await event.wait()
        finally:
            self._event = None


class SimulatedConnection:
    """Both ends and both directions of one connection, where faults strike it.

    Attributes:
        client: The end that dialled.
        server: The end that was accepted.
        forth: The way from the client to the server.
        back: The way from the server to the client.
        reset_reason: Why the connection broke, or None.
        is_silent: Whether nothing passes any more, for good, because a host has lost its power.
        on_end: Called once when the connection was reset or both its ends were closed.
    """

    def __init__(
        self,
        forth: Path,
        back: Path,
        *,
        addresses: tuple[str, str] = ("client", "server"),
        is_loopback: bool = False,
        uids: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self.forth = forth
        self.back = back
        self.reset_reason: str | None = None
        self.is_silent = False
        self.on_end: Callable[[], None] | None = None
        here, there = addresses
        own, other = uids
        self.client = SimulatedTransport(self, back, forth, here, there, is_loopback=is_loopback, peer_uid=other)
        self.server = SimulatedTransport(self, forth, back, there, here, is_loopback=is_loopback, peer_uid=own)

    def __repr__(self) -> str:
        return f"<SimulatedConnection {self.client.local_address} -> {self.client.remote_address}, {self.state}>"

    @property
    def state(self) -> StreamState:
        """How the connection as a whole is."""
        if self.reset_reason is not None:
            return "reset"
        if self.client.is_closed and self.server.is_closed:
            return "closed"
        if self.forth.is_held or self.back.is_held:
            return "partitioned"
        return "eof" if self.forth.has_ended or self.back.has_ended else "open"

    def set_held(self, *, forth: bool, back: bool) -> None:
        """Cut or mend each direction: while it is cut its bytes wait, as TCP sends them again until they pass."""
        forth, back = forth or self.is_silent, back or self.is_silent
        if (forth, back) == (self.forth.is_held, self.back.is_held):
            return
        now = trio.current_time()
        for path, is_held in ((self.forth, forth), (self.back, back)):
            if is_held:
                path.hold(now)
            else:
                path.release(now)
        self.wake_all()

    def silence(self) -> None:
        """Let nothing pass any more: a host has lost its power."""
        self.is_silent = True
        self.set_held(forth=True, back=True)

    def reset(self, reason: str = "connection reset") -> None:
        """Break the connection at once and for both ends: what is on its way or unread is lost."""
        if self.reset_reason is None and self.state != "closed":
            self.reset_reason = reason
            self.forth.discard()
            self.back.discard()
            self.client.tell("reset", reason)
            self.wake_all()
            self._end()

    def end_closed(self) -> None:
        """One of the ends tells that it was closed."""
        if self.state == "closed":
            self._end()

    def wake_all(self) -> None:
        """Let every waiting task look again."""
        self.client.wake()
        self.server.wake()

    def _end(self) -> None:
        if self.on_end is not None:
            self.on_end()
            self.on_end = None


class SimulatedTransport(Transport):
    """One end of a simulated connection; made by `simulated_pair` and by dialling in a `Network`.

    Bytes that were sent and not read, wherever they are, are at most `LinkQuality.buffer_size` in each direction; the
    room that a read makes is known to the sender at once. A reader hears of a close behind the bytes sent before it; a
    sender hears of the other end's close when that has travelled, and gets `trio.BrokenResourceError` from then on.

    Attributes:
        connection: The connection that this is an end of.
        is_closed: Whether this end was closed.
    """

    kind = "simulated"
    can_try_send = True

    def __init__(
        self,
        connection: SimulatedConnection,
        incoming: Path,
        outgoing: Path,
        local_address: str,
        remote_address: str,
        *,
        is_loopback: bool,
        peer_uid: int | None,
    ) -> None:
        self.connection = connection
        self.local_address = local_address
        self.remote_address = remote_address
        self.is_loopback = is_loopback
        self.peer_uid = peer_uid
        self.is_closed = False
        self._incoming = incoming
        self._outgoing = outgoing
        self._reading = _Waiter()
        self._writing = _Waiter()
        self._is_receiving = False
        self._sender: str | None = None  # the method that a task is in
        self._tap: Tap | None = None
        self._is_killed = False

    def __repr__(self) -> str:
        return f"<SimulatedTransport {self.local_address} -> {self.remote_address}, {self.state}>"

    @property
    def state(self) -> StreamState:
        """How this end is."""
        state = self.connection.state
        return "closed" if self.is_closed and state != "reset" else state

    @property
    def peer(self) -> SimulatedTransport:
        """The other end."""
        return self.connection.server if self is self.connection.client else self.connection.client

    def set_tap(self, tap: Tap) -> None:
        """Tell `tap` from now on what this end sends."""
        self._tap = tap

    def tell(self, kind: EventKind, words: str = "", arrival: float | None = None) -> None:
        """Let the trace know what has happened here, if there is one."""
        if self._tap is not None:
            self._tap.happened(kind, trio.current_time(), words, arrival)

    def pause(self) -> None:
        """The host is paused: this end gets nothing, and what it sends waits."""
        self._incoming.is_reader_stopped = True
        self._outgoing.stop_writer()
        self.wake()

    def resume(self) -> None:
        """The host goes on."""
        self._incoming.is_reader_stopped = False
        self._outgoing.start_writer(trio.current_time())
        self.connection.wake_all()

    def kill(self) -> None:
        """The process is gone: the system closes this end behind what had left, and no task here can say a word more."""
        self._incoming.is_reader_stopped = False
        self._outgoing.forget_stopped()
        self._is_killed = True
        self.close()

    def wake(self) -> None:
        """Let the tasks that wait at this end look again."""
        self.wake_reader()
        self.wake_writer()

    def wake_reader(self) -> None:
        """Let the task that waits for bytes look again."""
        self._reading.wake()

    def bytes_sent(self) -> None:
        """Something is on its way to this end."""
        self._reading.wait_no_longer_than(self._incoming.next_arrival())

    def wake_writer(self) -> None:
        """Let the task that waits for room look again."""
        self._writing.wake()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what has arrived, at least one byte and at most `max_bytes`; a checkpoint.

        Cancelled, it has taken nothing.

        Args:
            max_bytes: The most bytes to return; None: `trioton.transports.base.RECEIVE_SIZE`.

        Returns:
            The bytes; ``b""`` at the end of the stream.

        Raises:
            ValueError: `max_bytes` is below 1.
            trio.BrokenResourceError: The connection was reset.
            trio.ClosedResourceError: This end was closed, before or meanwhile.
            trio.BusyResourceError: Another task is receiving.
        """
        limit = RECEIVE_SIZE if max_bytes is None else operator.index(max_bytes)
        if limit < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}")
        now = await self._wait_arrival()
        data = self._incoming.take(limit, now)
        self._make_room()
        return data

    async def receive_into(self, buffer: memoryview) -> int:
        """Receive what has arrived into `buffer`; like `receive_some` otherwise.

        Raises:
            ValueError: `buffer` is empty: 0 would be taken for the end of the stream.
        """
        view = buffer.cast("B")
        if not view:
            raise ValueError("buffer must have room for at least 1 byte, not 0")
        now = await self._wait_arrival()
        count = self._incoming.take_into(view, now)
        self._make_room()
        return count

    async def _wait_arrival(self) -> float:
        """Wait until a read would return something, and give the time it is then; always yields."""
        if self._is_receiving:
            raise trio.BusyResourceError("another task is already receiving from this stream")
        self._is_receiving = True
        try:
            has_yielded = False
            while True:
                self._check_receivable()
                now = trio.current_time()
                if not self._incoming.has_arrived(now):
                    await self._reading.wait_until(self._incoming.next_arrival())
                elif not has_yielded:
                    await trio.lowlevel.checkpoint()
                else:
                    return now
                has_yielded = True
        finally:
            self._is_receiving = False

    def _check_receivable(self) -> None:
        self._check_alive()
        if self.is_closed:
            raise trio.ClosedResourceError("this end of the stream was closed")
        if self.connection.reset_reason is not None:
            raise trio.BrokenResourceError(self.connection.reset_reason)

    def _make_room(self) -> None:
        if self._incoming.has_much_room:
            self.peer.wake_writer()

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        """Send as much as there is room for, as one piece, and never wait: see `Transport.try_send`."""
        if self._sender == "send_all":
            raise trio.BusyResourceError("another task is inside send_all")
        now = trio.current_time()
        self._check_sendable(now)
        parts: list[Buffer] = []
        room = self._outgoing.room
        for buffer in buffers[:MAX_BUFFERS]:
            if room <= 0:
                break
            part = buffer if len(buffer) <= room and not isinstance(buffer, memoryview) else _bytes_of(buffer)[:room]
            parts.append(part)
            room -= len(part)
        return self._push(b"".join(parts), now)

    async def send_all(self, data: Buffer) -> None:
        """Send all of `data`; waits while the buffer is full; a checkpoint. Cancelled, some of it may have been sent.

        Raises:
            trio.BrokenResourceError: The connection was reset, or it is known that the other end was closed.
            trio.ClosedResourceError: This end was closed, before or meanwhile, or `send_eof` was called.
            trio.BusyResourceError: Another task is sending or waiting to send.
        """
        view = _bytes_of(data)
        self._begin_sending("send_all")
        try:
            self._check_sendable(trio.current_time())
            await trio.lowlevel.checkpoint()
            while True:
                now = trio.current_time()
                self._check_sendable(now)
                room = self._outgoing.room
                if isinstance(data, bytes) and len(view) == len(data) <= room:
                    self._push(data, now)  # whole and unchangeable: no copy
                    return
                sent = self._push(bytes(view[:room]), now)
                view = view[sent:]
                if not view:
                    return
                await self._wait_room()
        finally:
            self._sender = None

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room to send; a checkpoint. Raises what `send_all` raises."""
        self._begin_sending("wait_send_all_might_not_block")
        try:
            self._check_sendable(trio.current_time())
            if self._outgoing.room:
                await trio.lowlevel.checkpoint()
            else:
                await self._wait_room()
        finally:
            self._sender = None

    def _push(self, data: bytes, now: float) -> int:
        if data:
            arrival = self._outgoing.push(data, now)
            if self._tap is not None:
                self._tap.sent(data, now, arrival)
            if self._outgoing.breaks():
                self.connection.reset("the connection was reset by chance")
            self.peer.bytes_sent()
        return len(data)

    async def _wait_room(self) -> None:
        while not self._outgoing.has_much_room:
            # The other end's close also ends the wait, when it gets here.
            await self._writing.wait_until(self._incoming.close_arrival())
            self._check_sendable(trio.current_time())

    def _begin_sending(self, method: str) -> None:
        if self._sender is not None:
            raise trio.BusyResourceError(f"another task is inside {self._sender}")
        self._sender = method

    def _check_alive(self) -> None:
        if self._is_killed:
            raise trio.BrokenResourceError("the host was killed")

    def _check_sendable(self, now: float) -> None:
        self._check_alive()
        if self.is_closed:
            raise trio.ClosedResourceError("this end of the stream was closed")
        if self.connection.reset_reason is not None:
            raise trio.BrokenResourceError(self.connection.reset_reason)
        if self._outgoing.has_ended:
            raise trio.ClosedResourceError("send_eof was called: nothing more can be sent")
        if self._incoming.close_arrival() <= now:
            raise trio.BrokenResourceError("the other end was closed")

    async def send_eof(self) -> None:
        """End the stream in this direction, behind all bytes sent; a checkpoint. May be called twice.

        Raises:
            trio.BrokenResourceError: The connection was reset, or it is known that the other end was closed.
            trio.ClosedResourceError: This end was closed.
            trio.BusyResourceError: Another task is sending or waiting to send.
        """
        self._begin_sending("send_eof")
        try:
            await trio.lowlevel.checkpoint()
            if self._outgoing.has_ended and not self.is_closed:
                return
            now = trio.current_time()
            self._check_sendable(now)
            self._outgoing.push_end(now)
            self.tell("end", arrival=self._outgoing.end_arrival())
            self.peer.wake_reader()
        finally:
            self._sender = None

    def close(self) -> None:
        """Close this end at once; bytes on their way still arrive, and then ``b""``. May be called twice."""
        if self.is_closed:
            return
        self.is_closed = True
        self._incoming.discard()
        if self.connection.reset_reason is None:
            self._outgoing.push_close(trio.current_time())
            self.tell("close", arrival=self._outgoing.close_arrival())
        self.wake()
        self.peer.wake()
        self.connection.end_closed()

    async def aclose(self) -> None:
        """Close this end, like `close`, and yield; cancelled, it is closed all the same."""
        self.close()
        await trio.lowlevel.checkpoint()


def _bytes_of(data: Buffer) -> memoryview:
    """Look at `data` byte by byte, whatever its items are."""
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def simulated_pair(
    *,
    seed: int | str = 0,
    latency: Latency = 0.0,
    chunk: Chunk | None = None,
    buffer_size: int = BUFFER_SIZE,
) -> tuple[SimulatedTransport, SimulatedTransport]:
    """Make both ends of a simulated connection that belongs to no network.

    Faults are brought upon it by its `SimulatedTransport.connection`.

    Args:
        seed: What the latencies and chunks are drawn from.
        latency: Seconds, or a range (low, high), that bytes are under way.
        chunk: (low, high): cut what is sent into pieces of so many bytes, and give them to the reader one by one.
        buffer_size: Bytes on their way or unread, in one direction, before a sender must wait.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
    """
    quality = LinkQuality(latency=latency, chunk=chunk, buffer_size=buffer_size)
    forth = Path(random.Random(f"{seed}/client/server"), quality)
    back = Path(random.Random(f"{seed}/server/client"), quality)
    connection = SimulatedConnection(forth, back)
    return connection.client, connection.server
