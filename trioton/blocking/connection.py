"""Connections and listeners, for plain threads."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

import trio

import trioton
from trioton import Peer, Permissions

from .portal import Loop, check_timeout


class Connection:
    """The session between this context and one neighbour, for plain threads; see `trioton.Connection`."""

    def __init__(self, loop: Loop, connection: trioton.Connection) -> None:
        self._loop = loop
        self._inner = connection

    @property
    def name(self) -> str:
        """The name given to `Context.connect`, or the peer's own name."""
        return self._inner.name

    @property
    def address(self) -> str:
        """The address as it was named, or where the client is."""
        return self._inner.address

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        return self._inner.peer

    @property
    def close_reason(self) -> str | None:
        """Why it ended, or None while it has not."""
        return self._inner.close_reason

    @property
    def kind(self) -> str:
        """How far the peer is trusted: ``"trusted"``, ``"peer"`` or ``"unauthenticated"``."""
        return self._loop.run_sync(lambda: self._inner.kind)

    @property
    def permissions(self) -> Permissions | None:
        """What the peer may do; None if it is trusted, and so may do everything."""
        return self._loop.run_sync(lambda: self._inner.permissions)

    @property
    def transport(self) -> str | None:
        """The kind of transport in use: ``"tcp"``, ``"unix"``, ``"tls"``, ..., or None while there is none."""
        return self._loop.run_sync(lambda: self._inner.transport)

    @property
    def is_connected(self) -> bool:
        """Whether the session is up and its transport alive."""
        return self._inner.is_connected

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended for good."""
        return self._inner.is_closed

    @property
    def rtt(self) -> float | None:
        """Seconds that the last heartbeat took to be answered, or None before the first."""
        return self._loop.run_sync(lambda: self._inner.rtt)

    @property
    def timeout(self) -> float:
        """Seconds of the peer's silence before a `trioton.TimedOut` event.

        Raises:
            TypeError: When set to something that is not a number.
            ValueError: When set below 0.01 or to infinity.
        """
        return self._inner.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._loop.run_sync(setattr, self._inner, "timeout", seconds)

    def close(self, reason: str = "", timeout: float | None = None) -> None:
        """Send what was sent before, say goodbye with a reason that the peer sees, and close. May be called twice.

        Args:
            reason: Why, in words.
            timeout: Seconds that it may take, if that is less than `grace`; the connection is closed all the same.

        Raises:
            TypeError: `reason` is not a text.
            TimeoutError: The peer had not got everything in time.
        """
        check_timeout(timeout)
        if self._loop.is_forked:
            return
        try:
            self._loop.run(self._inner.aclose, reason, timeout=timeout)
        except trio.ClosedResourceError:
            pass  # with its context

    def flush(self, timeout: float | None = None) -> None:
        """Wait until this neighbour has got everything that was sent to it before.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: It has taken longer.
            trio.BrokenResourceError: The connection ended first; `close_reason` says why.
        """
        self._loop.run(self._inner.flush, timeout=timeout)

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until the connection has ended for good.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: It still lives.
        """
        if not self._inner.is_closed:
            self._loop.run(self._inner.wait_closed, timeout=timeout)

    def statistics(self) -> trioton.ConnectionStatistics:
        """What has gone over the connection so far."""
        return self._loop.run_sync(self._inner.statistics)

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"


class Listener:
    """A place where peers may connect, for plain threads; made by `Context.bind`. A context manager.

    Attributes:
        address: The bound address as text; a port of 0 was replaced by the real one.
        port: The bound port, or None for Unix sockets and memory.
    """

    def __init__(self, loop: Loop, listener: trioton.Listener) -> None:
        self.address: Final = listener.address
        self.port: Final = listener.port
        self._loop = loop
        self._listener = listener

    def close(self) -> None:
        """Stop listening; connections that were made stay. May be called twice; in a forked child it does nothing."""
        if not self._loop.is_forked:
            self._loop.run_sync(self._listener.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<blocking {self._listener!r}>"
