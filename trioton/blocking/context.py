"""Contexts for plain threads: opened, used and closed with calls that wait."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import trio

import trioton
from trioton import ContextId, ContextInfo, Heartbeat, Limits, Peer, Permissions, Reconnect

from ..transports.base import Network, Security
from .connection import Connection, Listener
from .portal import Deadline, Loop, check_timeout, enter_loop, leave_loop
from .receiving import EventStream

if TYPE_CHECKING:
    import ssl

    from .sending import SendingEnd


class _Host:
    """The task in the loop that a context lives in."""

    def __init__(self, loop: Loop, settings: dict[str, Any]) -> None:
        self.failure: Exception | None = None
        self.grace: float = settings["grace"]
        self.channels: set[SendingEnd[Any]] = set()
        self._loop = loop
        self._settings = settings
        self._closing = trio.Event()
        self._closed = trio.Event()
        self._scope = trio.CancelScope()

    async def open(self) -> trioton.Context:
        """Open the context; it lives until it is told to close."""
        context: trioton.Context = await self._loop.start_task(self._live)
        return context

    async def _live(self, task_status: trio.TaskStatus[trioton.Context] = trio.TASK_STATUS_IGNORED) -> None:
        has_started = False
        try:
            with self._scope:
                async with trioton.open_context(**self._settings) as context:
                    has_started = True
                    task_status.started(context)
                    await self._closing.wait()
                    with trio.move_on_after(self.grace):
                        for channel in list(self.channels):
                            assert channel._outgoing is not None
                            await channel._outgoing.wait_empty()
        except Exception as error:
            if not has_started:
                raise
            self.failure = error  # a task of the context has failed: whoever closes it gets to know
        finally:
            self._closed.set()

    def close_soon(self) -> None:
        """Begin to close."""
        self._closing.set()

    async def close(self) -> None:
        """Close, in good order; if that is cancelled, at once."""
        self._closing.set()
        try:
            await self._closed.wait()
        except trio.Cancelled:
            self._scope.cancel()
            with trio.CancelScope(shield=True):  # there is no more than a goodbye to say
                await self._closed.wait()
            raise


class Context:
    """A node of the network, for plain threads; made by `open_context`. See `trioton.Context`. A context manager.

    Attributes:
        id: The context's identity, a `trioton.ContextId`.
        name: The name given to `open_context`, or an empty text.
    """

    def __init__(self, loop: Loop, host: _Host, context: trioton.Context) -> None:
        self.id: ContextId = context.id
        self.name: str = context.name
        self._loop = loop
        self._host = host
        self._inner = context
        self._grace: float = host.grace
        self._connections: dict[trioton.Connection, Connection] = {}
        self._lock = threading.Lock()
        self._has_left = False

    # ---------------------------------------------------------------- the network

    def bind(
        self,
        address: str,
        *,
        max_tries: int = 1,
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
        timeout: float | None = None,
    ) -> Listener:
        """Listen at an address, for any number of peers; see `trioton.Context.bind`.

        Args:
            address: Where.
            max_tries: How many ports to try, the named one first.
            ssl_context: The certificate for ``tls://``.
            insecure: Must be True to listen without TLS where other machines can connect.
            timeout: Seconds that it may take; None waits for ever.

        Raises:
            TimeoutError: It has taken longer, and nothing listens.
            trioton.AddressError: The address cannot be understood.
            trioton.BindError: It is in use or not ours, or no port of those tried is free.
            ValueError: An argument is out of range, or `insecure` is needed.
            trio.ClosedResourceError: The context was closed.
        """

        async def bind() -> trioton.Listener:
            return await self._inner.bind(address, max_tries=max_tries, ssl_context=ssl_context, insecure=insecure)

        listener = self._loop.run(bind, timeout=timeout, undo=trioton.Listener.close)
        return Listener(self._loop, listener)

    def connect(
        self,
        address: str,
        *,
        name: str = "",
        reconnect: Reconnect | None = Reconnect(),  # noqa: B008  # frozen
        wait: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
        identity: str | None = None,
        local_shortcut: bool = True,
        stub: bool = False,
        timeout: float | None = None,
    ) -> Connection:
        """Connect to a listener, and return when each side knows what the other listens to; see `trioton.Context.connect`.

        Args:
            address: Whom to dial.
            name: What to call the connection; the peer's own name by default.
            reconnect: How to dial again when the transport is lost; None makes a loss final.
            wait: Dial again until somebody answers and takes us in, instead of failing.
            ssl_context: For ``tls://``; by default the system's trusted authorities.
            insecure: Must be True to connect without TLS to another machine.
            identity: Whom to expect there: the name in its certificate.
            local_shortcut: Move to the Unix socket that a listener on the same host offers.
            stub: Make this context a stub of the listener's, which learns only of those contexts that it has to do with.
            timeout: Seconds that it may take; None waits for ever.

        Raises:
            TimeoutError: It has taken longer, and nothing is left of the attempt.
            trioton.AddressError: The address cannot be understood.
            trioton.AuthError: Who answers there does not prove to belong to us, or does not take us for one of its own.
            trioton.ConnectError: Nobody answers there as a context does, or it refuses; `name` is taken.
            ValueError: `ssl_context` does not fit, or `insecure` is needed; nothing there would prove an `identity`. This context is a stub already, or `stub` is True and it has
                connections to others than its stubs.
            trio.ClosedResourceError: The context was closed.
        """

        async def connect() -> trioton.Connection:
            return await self._inner.connect(
                address,
                name=name,
                reconnect=reconnect,
                wait=wait,
                ssl_context=ssl_context,
                insecure=insecure,
                identity=identity,
                local_shortcut=local_shortcut,
                stub=stub,
            )

        def undo(connection: trioton.Connection) -> None:
            self._loop.spawn(connection.aclose)

        return self._wrap(self._loop.run(connect, timeout=timeout, undo=undo))

    @property
    def connections(self) -> list[Connection]:
        """All connections that are not closed."""
        return [self._wrap(each) for each in self._loop.run_sync(lambda: self._inner.connections)]

    def connection(self, which: str | trioton.Connection) -> Connection:
        """Give the connection with this name, or the one that an event is about.

        Raises:
            KeyError: There is none with this name.
        """
        if isinstance(which, trioton.Connection):
            return self._wrap(which)
        return self._wrap(self._loop.run_sync(self._inner.connection, which))

    def _wrap(self, connection: trioton.Connection) -> Connection:
        with self._lock:
            for known in [each for each in self._connections if each.is_closed and each is not connection]:
                del self._connections[known]
            return self._connections.setdefault(connection, Connection(self._loop, connection))

    @property
    def peers(self) -> list[Peer]:
        """The neighbours: the contexts that are connected to this one now."""
        return self._loop.run_sync(lambda: self._inner.peers)

    @property
    def contexts(self) -> list[ContextInfo]:
        """All contexts that can be reached, over a connection or over others, however many links away."""
        return self._loop.run_sync(lambda: self._inner.contexts)

    def wait_context(self, name_or_id: str | int, timeout: float | None = None) -> ContextInfo:
        """Wait until another context with this name or identity can be reached, over whichever way.

        Several may have one name: any of them will do, and this context itself is none of them.

        Args:
            name_or_id: Which.
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: It could not be reached in time.
            TypeError: It is neither a text nor an int.
            ValueError: No context can have this name or identity, or it is the identity of this context itself.
            trio.ClosedResourceError: The context was closed.
        """
        return self._loop.run(self._inner.wait_context, name_or_id, timeout=timeout)

    def events(self) -> EventStream:
        """Listen to what happens in the network: ``with ctx.events() as events: for event in events: ...``.

        Raises:
            trio.ClosedResourceError: The context was closed.
        """
        return EventStream(self._loop, self._loop.run_sync(self._inner.events, undo=trioton.EventStream.close))

    # ---------------------------------------------------------------- its life

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was sent before has been taken by every blocking receiver that listens, wherever it is.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            TimeoutError: It has taken longer.
            trio.ClosedResourceError: The context was closed.
            Exception: What went wrong behind the queue of a channel with `ahead`.
        """
        deadline = Deadline(timeout)
        self._loop.check()
        for channel in list(self._host.channels):
            assert channel._outgoing is not None
            channel._outgoing.wait_handed_over(deadline.left)
        self._loop.run(self._inner.flush, timeout=deadline.left)

    def close(self, timeout: float | None = None) -> None:
        """Close everything: what was sent is drained, at most for `grace`, and peers hear a goodbye. May be called twice.

        Leaving the context's block does this, and so does the end of the process. In a forked child it does nothing.

        Args:
            timeout: Seconds that draining may take, if that is less than `grace`; the context is closed all the same.

        Raises:
            TimeoutError: What was sent could not be drained in time.
            KeyboardInterrupt: Ctrl-C while it was drained; the context is closed all the same.
            ExceptionGroup: A task of the context had failed.
        """
        check_timeout(timeout)
        if self._loop.is_forked:
            return
        try:
            self._loop.run(self._host.close, timeout=timeout)
        except trio.ClosedResourceError:
            pass  # it was closed before, and the loop with it
        finally:
            with self._lock:
                is_first, self._has_left = not self._has_left, True
            if is_first:
                _open.discard(self)
                leave_loop(self._loop)
        failure, self._host.failure = self._host.failure, None
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def statistics(self) -> trioton.ContextStatistics:
        """What the context holds and has done so far."""
        return self._loop.run_sync(self._inner.statistics)

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"

    def __str__(self) -> str:
        return str(self._inner)

    # ---------------------------------------------------------------- for the rest of the package

    def _close_soon(self) -> None:
        """Begin to close, and do not wait."""
        try:
            self._loop.call_soon(self._host.close_soon)
        except trio.ClosedResourceError:
            pass  # it is closed, and the loop has ended

    def _check(self) -> trioton.Context:
        self._loop.check()
        return self._inner

    def _remember(self, channel: SendingEnd[Any]) -> None:
        """A channel has a queue, which is to be emptied before the context closes."""
        self._host.channels.add(channel)

    def _forget(self, channel: SendingEnd[Any]) -> None:
        self._host.channels.discard(channel)


_open: Final[set[Context]] = set()


def open_context(
    name: str = "",
    *,
    network: Network | None = None,
    security: Security | None = None,
    permissions: Permissions | Callable[[Peer], Permissions] = Permissions(),  # noqa: B008  # frozen
    limits: Limits = Limits(),  # noqa: B008  # frozen
    heartbeat: Heartbeat = Heartbeat(),  # noqa: B008  # frozen
    grace: float = 5.0,
) -> Context:
    """Open a context for plain threads: ``with trioton.blocking.open_context() as ctx:``, or without ``with`` and with `Context.close`.

    It lives in a Trio loop in a background thread, which begins with the first such context of the process and ends with the last.
    Any thread may use it and its channels. Those that are open when the process ends are closed then, as at the end of a block.

    Args:
        name: What other contexts see; need not be unique.
        network: Where addresses live: the system's sockets by default.
        security: How neighbours prove to each other who they are: a `trioton.Secret` or a `trioton.Mutual`.
        permissions: What neighbours may do that are not trusted; see `trioton.open_context`. A function is called in the loop's thread.
        limits: The bounds that protect the context.
        heartbeat: How links are watched.
        grace: Seconds that closing may take.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `name` is too long or not printable, or `grace` is negative or infinite.
    """
    loop = enter_loop()
    try:
        settings = {"network": loop.network if network is None else network, "grace": grace}
        guards = {"security": security, "permissions": permissions, "limits": limits, "heartbeat": heartbeat}
        host = _Host(loop, {"name": name, **guards, **settings})

        def undo(_context: trioton.Context) -> None:
            host.close_soon()

        context = Context(loop, host, loop.run(host.open, undo=undo))
    except BaseException:
        leave_loop(loop)
        raise
    _open.add(context)
    return context


def _close_all() -> None:
    """At the end of the process: all at once, so that they take no longer than one; Ctrl-C cuts it short."""
    contexts = [context for context in _open if not context._loop.is_forked]
    try:
        for context in contexts:
            context._close_soon()
        for context in contexts:
            context.close()
    except KeyboardInterrupt:
        for context in contexts:
            try:
                context.close(timeout=0)
            except TimeoutError:
                pass


atexit.register(_close_all)
