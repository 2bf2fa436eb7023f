"""What all stream sockets have in common: sending and receiving, connecting, accepting."""

from __future__ import annotations

import abc
import errno
import functools
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

import trio

from ..errors import BindError, ConnectError
from .base import Buffer, Transport, TransportListener
from .polled import PolledTransport

logger = logging.getLogger("trioton.transports")

BACKLOG: Final = 0xFFFF
"""How many connections may wait to be accepted: as many as the system allows (it cuts larger numbers down to its own)."""

CAPACITY_PAUSE: Final = 0.1
"""Seconds that a listener waits when the process or the system has no descriptors or memory left for another socket."""

FULL_BACKLOG_PAUSE: Final = 0.01
"""Seconds between two attempts to connect to a Unix socket whose backlog is full."""

_CAPACITY_ERRNOS: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}

_GONE_BEFORE_ACCEPT: Final = {
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "ECONNRESET",
        "EPROTO",
        "EPERM",
        "ETIMEDOUT",
        "ENETDOWN",
        "ENETUNREACH",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENOPROTOOPT",
        "ENONET",
    )
    if hasattr(errno, name)
}
"""What accept() says of a connection that was over, or refused by a firewall, before it was accepted."""


SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes] | str
"""What Python's sockets take for an address; the third is what typeshed has for one that cannot occur here."""


class SocketTransport(PolledTransport):
    """A transport over a connected stream socket, which it owns and puts into non-blocking mode."""

    def __init__(
        self, sock: socket.socket, *, kind: str, local_address: str, remote_address: str, is_loopback: bool
    ) -> None:
        super().__init__(kind=kind, local_address=local_address, remote_address=remote_address, is_loopback=is_loopback)
        sock.setblocking(False)
        self._socket = sock
        self._read = sock.recv
        self._read_into = sock.recv_into
        self._write = sock.send
        if sys.platform == "win32":
            self._write_vector = functools.partial(send_in_turn, sock.send)
        else:
            self._write_vector = sock.sendmsg
        self._read_handle = self._write_handle = sock.fileno()

    def _end_writing(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def _close_handles(self, *, wake: Callable[[int], None] | None) -> None:
        if wake is not None:
            wake(self._read_handle)
        self._socket.close()


def send_in_turn(send: Callable[[Buffer], int], buffers: Sequence[Buffer]) -> int:
    """Do what ``sendmsg`` does, one buffer after the other, for systems that do not have it.

    Raises:
        OSError: The first buffer with anything in it could not be sent. An error after that comes again with the next call.
    """
    total = 0
    for buffer in buffers:
        size = buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
        if not size:
            continue
        try:
            sent = send(buffer)
        except OSError:
            if total:
                break
            raise
        total += sent
        if sent < size:
            break
    return total


async def connect_socket(sock: socket.socket, address: SocketAddress) -> None:
    """Connect a non-blocking socket; a checkpoint. The caller closes the socket if this raises or is cancelled.

    Raises:
        OSError: The system's reason why it could not.
    """
    while True:
        await trio.lowlevel.checkpoint()
        try:
            sock.connect(address)
            return
        except BlockingIOError as wait:
            if wait.errno == errno.EAGAIN and isinstance(address, str):
                # A Unix socket whose backlog is full; nothing was begun, and nothing tells when there is room.
                await trio.sleep(FULL_BACKLOG_PAUSE)
                continue
        await trio.lowlevel.wait_writable(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        return


def connect_error(where: object, error: BaseException | str) -> ConnectError:
    """The `ConnectError` which says that `where` cannot be reached, and why; the caller raises it from `error`."""
    number, reason = _reason(error)
    text = f"cannot connect to {where}: {reason}"
    return ConnectError(text) if number is None else ConnectError(number, text)


def bind_error(where: object, error: BaseException | str) -> BindError:
    """The `BindError` which says that `where` cannot be listened on, and why; the caller raises it from `error`."""
    number, reason = _reason(error)
    text = f"cannot listen on {where}: {reason}"
    return BindError(text) if number is None else BindError(number, text)


def _reason(error: BaseException | str) -> tuple[int | None, str]:
    if isinstance(error, OSError):
        # The numbers of getaddrinfo's errors are not those of errno.
        number = None if isinstance(error, socket.gaierror) else error.errno
        return number, error.strerror or str(error)
    return None, str(error)


class SocketListener(TransportListener):
    """Accepts from one or more listening sockets, which it owns."""

    def __init__(self, sockets: Sequence[socket.socket], *, address: str, port: int | None) -> None:
        if not sockets:
            raise ValueError("sockets must not be empty")
        for sock in sockets:
            sock.setblocking(False)
        self.address = address
        self.port = port
        self._sockets = list(sockets)
        self._closed = trio.Event()
        self._accepting = False
        self._out_of_capacity = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}{' closed' if self._closed.is_set() else ''}>"

    @abc.abstractmethod
    def _wrap(self, sock: socket.socket) -> Transport:
        """Make the transport for an accepted socket; may raise OSError if the connection is over already."""

    async def accept(self) -> Transport:
        """Wait for the next connection; a checkpoint. If it is cancelled, no connection is lost.

        When descriptors or memory run out, it says so once in the log (``trioton.transports``), and tries again every 100 ms.

        Raises:
            trio.ClosedResourceError: This listener was closed, now or meanwhile.
            trio.BusyResourceError: Another task is accepting.
        """
        self._check_open()
        if self._accepting:
            raise trio.BusyResourceError("another task is accepting from this listener")
        self._accepting = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            transport = self._accept_now()
            if transport is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return transport
            while transport is None:
                await self._wait_for_connection()
                self._check_open()
                transport = self._accept_now()
            return transport
        finally:
            self._accepting = False

    def _accept_now(self) -> Transport | None:
        """Accept a connection that is there already, or return None."""
        self._sockets = [*self._sockets[1:], self._sockets[0]]  # so that no socket is always served before the others
        for sock in self._sockets:
            try:
                transport = self._accept_from(sock)
            except OSError as error:
                if error.errno not in _CAPACITY_ERRNOS:
                    raise
                if not self._out_of_capacity:
                    self._out_of_capacity = True
                    pause = round(CAPACITY_PAUSE * 1000)
                    logger.error("cannot accept on %s: %s; trying every %d ms", self.address, error.strerror, pause)
                return None
            self._out_of_capacity = False
            if transport is not None:
                return transport
        return None

    def _accept_from(self, sock: socket.socket) -> Transport | None:
        """The next connection, or None if there is none, or if it was over before it was accepted."""
        try:
            accepted, _ = sock.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _GONE_BEFORE_ACCEPT:
                return None
            raise
        try:
            return self._wrap(accepted)
        except OSError:
            accepted.close()
            return None

    async def _wait_for_connection(self) -> None:
        """Wait until a connection may be there, or the pause for want of capacity is over, or this was closed."""
        if self._out_of_capacity:
            with trio.move_on_after(CAPACITY_PAUSE):
                await self._closed.wait()
        elif len(self._sockets) == 1:
            await trio.lowlevel.wait_readable(self._sockets[0])
        else:
            async with trio.open_nursery() as nursery:
                for sock in self._sockets:
                    nursery.start_soon(_cancel_when_readable, sock, nursery.cancel_scope)

    def close(self) -> None:
        """Stop listening at once; a task in `accept` gets `trio.ClosedResourceError`. May be called twice."""
        if self._closed.is_set():
            return
        self._closed.set()
        in_trio_run = trio.lowlevel.in_trio_run()
        for sock in self._sockets:
            if in_trio_run:
                trio.lowlevel.notify_closing(sock)
            sock.close()

    async def aclose(self) -> None:
        """Close as `close` does, and yield once; a checkpoint. If it is cancelled, it has closed all the same."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise trio.ClosedResourceError(f"the listener on {self.address} was closed")


async def _cancel_when_readable(sock: socket.socket, scope: trio.CancelScope) -> None:
    try:
        await trio.lowlevel.wait_readable(sock)
    except trio.ClosedResourceError:
        pass  # the listener was closed; who waits for this nursery looks at that next
    scope.cancel()
