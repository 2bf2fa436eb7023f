"""Transports inside one process, without sockets: pairs, and the names behind ``mem://``."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from .base import RECEIVE_SIZE, Buffer, Transport, TransportListener
from .sockets import bind_error, connect_error

if TYPE_CHECKING:
    from .address import Address

CAPACITY: Final = 64 * 1024
"""Bytes that may be underway in each direction, unless the caller says otherwise."""

MAX_PENDING: Final = 4096
"""Connections to one name that may wait to be accepted."""


class _Pipe:
    """One direction: bytes that were sent and not yet received, at most `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray()
        self.ended = False  # the sender will send no more
        self.dropped = False  # the receiver will take no more
        self.readable = trio.lowlevel.ParkingLot()
        self.writable = trio.lowlevel.ParkingLot()

    def put(self, view: memoryview) -> int:
        """Take as much of `view` as there is room for; return how much."""
        room = self.capacity - len(self.data)
        if room <= 0:
            return 0
        self.data += view[:room]
        self.readable.unpark_all()
        return min(room, len(view))

    def take(self, max_bytes: int) -> bytes:
        """The next bytes, at most `max_bytes`."""
        with memoryview(self.data) as whole, whole[:max_bytes] as part:
            data = bytes(part)
        self._forget(len(data))
        return data

    def take_into(self, buffer: memoryview) -> int:
        """Move the next bytes into `buffer`; return how many."""
        with memoryview(self.data) as whole, whole[: len(buffer)] as part:
            size = len(part)
            buffer[:size] = part
        self._forget(size)
        return size

    def _forget(self, size: int) -> None:
        del self.data[:size]
        self.writable.unpark_all()

    def end(self) -> None:
        """The sender is done: what is here can still be received."""
        self.ended = True
        self.readable.unpark_all()
        self.writable.unpark_all()

    def drop(self) -> None:
        """The receiver is gone, and so is what it has not received."""
        self.dropped = True
        self.data.clear()
        self.readable.unpark_all()
        self.writable.unpark_all()


class MemoryTransport(Transport):
    """One end of a pair; see `memory_transport_pair`."""

    kind = "memory"
    can_try_send = True
    is_loopback = True

    def __init__(self, outgoing: _Pipe, incoming: _Pipe, *, local_address: str, remote_address: str) -> None:
        self.local_address = local_address
        self.remote_address = remote_address
        if sys.platform != "win32":
            self.peer_uid = os.geteuid()
        self._outgoing = outgoing
        self._incoming = incoming
        self._sending = False  # a task is inside send_all, send_eof or wait_send_all_might_not_block
        self._in_send_all = False
        self._receiving = False
        self._closed = False

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<MemoryTransport {self.local_address} to {self.remote_address}{state}>"

    # Sending

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        """Write what there is room for at once; see `Transport.try_send`."""
        if self._in_send_all:
            raise self._busy("sending")
        self._check_can_send()
        total = 0
        for buffer in buffers:
            with memoryview(buffer) as whole, whole.cast("B") as view:
                taken = self._outgoing.put(view)
                total += taken
                if taken < len(view):
                    break
        return total

    async def send_all(self, data: Buffer) -> None:
        """Send all of `data`; a checkpoint. If it is cancelled, any part of `data` may have been sent.

        Raises:
            trio.BrokenResourceError: The other end was closed.
            trio.ClosedResourceError: This end was closed, now or meanwhile, or `send_eof` was called.
            trio.BusyResourceError: Another task is sending.
        """
        self._claim_sending()
        self._in_send_all = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_can_send()
            with memoryview(data) as whole, whole.cast("B") as view:
                sent = self._outgoing.put(view)
                while sent < len(view):
                    await self._outgoing.writable.park()
                    self._check_can_send()
                    sent += self._outgoing.put(view[sent:])
        finally:
            self._sending = self._in_send_all = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room; errors as `send_all`, but for the other end's closing, which only ends the wait."""
        self._claim_sending()
        try:
            await trio.lowlevel.checkpoint()
            self._check_own_side()
            while len(self._outgoing.data) >= self._outgoing.capacity and not self._outgoing.dropped:
                await self._outgoing.writable.park()
                self._check_own_side()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """Tell the other end that nothing more will come; a checkpoint. It may be called again, to no effect.

        Raises:
            trio.ClosedResourceError: This end was closed.
            trio.BusyResourceError: A task is sending.
        """
        if self._sending:
            raise self._busy("sending")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_open()
            self._outgoing.end()
        finally:
            self._sending = False

    # Receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least 1 and at most `max_bytes` bytes; a checkpoint. If it is cancelled, nothing was received.

        Returns:
            The bytes; ``b""`` at the end of the stream, and when the other end was closed.

        Raises:
            trio.ClosedResourceError: This end was closed, now or meanwhile.
            trio.BusyResourceError: Another task is receiving.
        """
        if max_bytes is None:
            max_bytes = RECEIVE_SIZE
        elif not isinstance(max_bytes, int):
            raise TypeError(f"max_bytes must be an int or None, not {max_bytes!r}")
        elif max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more, not {max_bytes}")
        await self._wait_for_data()
        return self._incoming.take(max_bytes)

    async def receive_into(self, buffer: memoryview) -> int:
        """Receive into `buffer`; see `Transport.receive_into`. If it is cancelled, nothing was received."""
        if not len(buffer):
            raise ValueError("buffer must not be empty")
        await self._wait_for_data()
        return self._incoming.take_into(buffer)

    async def _wait_for_data(self) -> None:
        if self._receiving:
            raise self._busy("receiving")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_open()
            while not self._incoming.data and not self._incoming.ended:
                await self._incoming.readable.park()
                self._check_open()
        finally:
            self._receiving = False

    # Closing

    def close(self) -> None:
        """Close at once; tasks that wait inside this transport get `trio.ClosedResourceError`. May be called twice.

        What was sent can still be received; what was not received is gone.
        """
        self._closed = True
        self._outgoing.end()
        self._incoming.drop()

    async def aclose(self) -> None:
        """Close as `close` does, and yield once; a checkpoint. If it is cancelled, it has closed all the same."""
        self.close()
        await trio.lowlevel.checkpoint()

    # What can be wrong

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this memory transport was closed")

    def _check_own_side(self) -> None:
        self._check_open()
        if self._outgoing.ended:
            raise trio.ClosedResourceError("the end of the stream was already sent on this memory transport")

    def _check_can_send(self) -> None:
        self._check_own_side()
        if self._outgoing.dropped:
            raise trio.BrokenResourceError(f"the memory link to {self.remote_address} broke: the other end was closed")

    def _claim_sending(self) -> None:
        if self._sending:
            raise self._busy("sending")
        self._check_own_side()
        self._sending = True

    def _busy(self, doing: str) -> trio.BusyResourceError:
        return trio.BusyResourceError(f"another task is {doing} on this memory transport")


def memory_transport_pair(
    capacity: int = CAPACITY, *, addresses: tuple[str, str] = ("mem://left", "mem://right")
) -> tuple[MemoryTransport, MemoryTransport]:
    """Two transports joined to each other, with real back-pressure and no sockets.

    Args:
        capacity: Bytes that may be underway in each direction.
        addresses: What the two call themselves.

    Raises:
        ValueError: `capacity` is below 1.
    """
    if capacity < 1:
        raise ValueError(f"capacity must be 1 byte or more, not {capacity}")
    there, back = _Pipe(capacity), _Pipe(capacity)
    left, right = addresses
    return (
        MemoryTransport(there, back, local_address=left, remote_address=right),
        MemoryTransport(back, there, local_address=right, remote_address=left),
    )


class MemoryListener(TransportListener):
    """Accepts what is dialled at one name of a `MemoryNames`."""

    def __init__(self, names: MemoryNames, name: str, address: str) -> None:
        self.address = address
        self.port = None
        self._names = names
        self._name = name
        self._pending: deque[MemoryTransport] = deque()
        self._arrived = trio.lowlevel.ParkingLot()
        self._accepting = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<MemoryListener {self.address}{' closed' if self._closed else ''}>"

    async def accept(self) -> MemoryTransport:
        """Wait for the next connection; a checkpoint. If it is cancelled, no connection is lost.

        Raises:
            trio.ClosedResourceError: This listener was closed, now or meanwhile.
            trio.BusyResourceError: Another task is accepting.
        """
        if self._accepting:
            raise trio.BusyResourceError("another task is accepting from this listener")
        self._accepting = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_open()
            while not self._pending:
                await self._arrived.park()
                self._check_open()
            return self._pending.popleft()
        finally:
            self._accepting = False

    def connect(self, dialler: str) -> MemoryTransport | None:
        """Make a connection and return the dialling end, or None if too many wait to be accepted."""
        if len(self._pending) >= MAX_PENDING:
            return None
        ours, theirs = memory_transport_pair(addresses=(self.address, dialler))
        self._pending.append(ours)
        self._arrived.unpark_all()
        return theirs

    def close(self) -> None:
        """Stop listening at once, and close what was not accepted. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._names.forget(self._name)
        while self._pending:
            self._pending.popleft().close()
        self._arrived.unpark_all()

    async def aclose(self) -> None:
        """Close as `close` does, and yield once; a checkpoint. If it is cancelled, it has closed all the same."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(f"the listener on {self.address} was closed")


class MemoryNames:
    """The names behind ``mem://`` of one network: who listens where."""

    def __init__(self) -> None:
        self._listeners: dict[str, MemoryListener] = {}
        self._dialled = 0

    async def listen(self, address: Address) -> MemoryListener:
        """Listen at the name in `address`; a checkpoint.

        Raises:
            BindError: Somebody listens there.
        """
        await trio.lowlevel.checkpoint()
        name = address.path
        if name in self._listeners:
            raise bind_error(address, "somebody listens there already")
        listener = self._listeners[name] = MemoryListener(self, name, str(address))
        return listener

    async def dial(self, address: Address) -> MemoryTransport:
        """Connect to the name in `address`; a checkpoint. It does not wait until it is accepted.

        Raises:
            ConnectError: Nobody listens there, or too many wait to be accepted.
        """
        await trio.lowlevel.checkpoint()
        listener = self._listeners.get(address.path)
        if listener is None:
            raise connect_error(address, "nobody listens there")
        self._dialled += 1
        transport = listener.connect(f"client {self._dialled} of {address}")
        if transport is None:
            raise connect_error(address, f"{MAX_PENDING} connections wait to be accepted there")
        return transport

    def forget(self, name: str) -> None:
        """The listener at `name` was closed."""
        del self._listeners[name]
