"""Single requests by text, without a context: ask a program something, or tell it something, and get its answer.

It is for what is so small that a network of contexts would be too much: a program that is started a second time tells the first one
which file to open; a script asks a server how it is. Each request has a connection of its own. What travels is described in
`trioton.protocol.text_requests`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from ._arguments import check_count, check_flag, check_seconds
from .errors import ProtocolError
from .errors import RequestError as RequestError
from .network.arguments import check_secure
from .network.listener import listen
from .protocol.limits import MIB
from .protocol.text_requests import TextKind, TextMessage, TextReader, encode_text
from .transports import base
from .transports.address import parse_address
from .transports.system import system_network

if TYPE_CHECKING:
    import ssl

__all__ = ["Handler", "RequestError", "do_request", "serve_requests"]

logger = logging.getLogger("trioton.clientserver")

Handler = Callable[[str], str | Awaitable[str]]
"""What answers requests: a plain or an async function from text to text."""

MAX_THREADS: Final = 20
"""How many plain handlers of one server run at once; more wait their turn."""

LINGER: Final = 0.5
"""Seconds that a client has to take the last bytes off a connection before it is closed."""

_CHUNK: Final = 64 * 1024
_REQUESTS: Final = frozenset({TextKind.REQUEST})
_REPLIES: Final = frozenset(TextKind) - _REQUESTS


async def do_request(
    address: str,
    text: str,
    *,
    network: base.Network | None = None,
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    max_size: int = MIB,
) -> str:
    """Send one request to a program that runs `serve_requests`, and wait for its reply.

    It waits as long as the handler takes: put a time limit around it, as in ``with trio.fail_after(2)``. Cancelled, the connection is
    closed, and the server cancels the handler, if that has begun and is async.

    Args:
        address: Where the server listens; see `trioton.transports.address`.
        text: The request. Any text will do; lines may end as they like.
        network: Where the address lives: the system's sockets by default, or a host of a `trioton.testing.Network`.
        ssl_context: For ``tls://``; by default the system's trusted authorities.
        insecure: Must be True to ask another machine without TLS.
        max_size: The most bytes, as UTF-8, that a reply may have.

    Returns:
        The reply.

    Raises:
        RequestError: The handler has raised, or the server refused the request; `RequestError.was_refused` tells which.
        AddressError: The address cannot be understood.
        ConnectError: Nobody listens there.
        ProtocolError: What answers is no such server, or its reply is larger than `max_size`.
        trio.BrokenResourceError: The connection broke before the reply was there; whether the request was handled is unknown.
        TypeError: An argument is of the wrong type.
        ValueError: `text` has lone surrogates, a number is out of range, `ssl_context` does not fit, or `insecure` is needed.
    """
    request = _encode_request(text)
    network = _check_network(network)
    check_flag("insecure", insecure)
    check_count("max_size", max_size)
    parsed = parse_address(address)
    check_secure(network, parsed, insecure=insecure, verb="ask")
    transport = await network.dial(parsed, ssl_context=ssl_context)
    try:
        reply = await _exchange(transport, request, TextReader(_REPLIES, max_size))
    except ProtocolError as error:
        raise ProtocolError(f"{address}: {error}") from None
    finally:
        transport.close()
    if reply is None:
        raise trio.BrokenResourceError(
            f"{address}: the connection ended before the reply; the request may have been handled"
        )
    if reply.kind is TextKind.REPLY:
        return reply.text
    raise RequestError(reply.text, was_refused=reply.kind is TextKind.REFUSED)


async def _exchange(transport: base.Transport, request: bytes, reader: TextReader) -> TextMessage | None:
    """Send a request and receive the reply, which may come before all is sent; None if the connection ends first."""
    reply: TextMessage | None = None
    failure: ProtocolError | trio.BrokenResourceError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_request, transport, request)
        try:
            reply = await _receive(transport, reader)
        except (ProtocolError, trio.BrokenResourceError) as error:
            failure = error
        nursery.cancel_scope.cancel()
    if isinstance(failure, ProtocolError):
        raise failure
    return reply


async def _send_request(transport: base.Transport, request: bytes) -> None:
    """Send, as far as the server takes it: one that refuses need not read all, and says why."""
    try:
        await transport.send_all(request)
    except trio.BrokenResourceError:
        pass


async def _receive(transport: base.Transport, reader: TextReader) -> TextMessage | None:
    """Receive one message; None if the stream ends first."""
    while data := await transport.receive_some(_CHUNK):
        message = reader.receive_data(data)
        if message is not None:
            return message
    return None


async def serve_requests(
    address: str,
    handler: Handler,
    *,
    network: base.Network | None = None,
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    max_tries: int = 1,
    max_size: int = MIB,
    max_connections: int = 100,
    client_deadline: float = 10.0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Answer requests at an address until cancelled.

    ::

        async with trio.open_nursery() as nursery:
            address = await nursery.start(serve_requests, "localhost:0", str.upper)
            assert await do_request(address, "hello") == "HELLO"

    Requests are handled at the same time, each in a task of its own. An async handler runs there, and is cancelled if the client goes
    away. A plain one runs in a worker thread, which nothing can stop; on a simulated network it runs inline. What a handler raises is
    logged, and reaches the client as a `RequestError` with the name of its type and its text; the server goes on.

    Clients that send something else, or too much, are told so and sent away; so are those that are too slow. If there are
    `max_connections` and one more comes, the one that has been sending its request for the longest has to go; if all have sent
    theirs, the new one is refused. When the server is cancelled, its connections are closed and async handlers are cancelled.

    Args:
        address: Where to listen; see `trioton.transports.address`. A port of 0 lets the system choose.
        handler: Gets the text of a request, and gives the text of the reply.
        network: Where the address lives: the system's sockets by default, or a host of a `trioton.testing.Network`.
        ssl_context: The certificate for ``tls://``.
        insecure: Must be True to listen without TLS where other machines can connect.
        max_tries: How many ports to try, the named one first and others above it in growing steps.
        max_size: The most bytes, as UTF-8, that a request or a reply may have.
        max_connections: How many clients may be connected at once.
        client_deadline: Seconds that a client may take to send its request, and again to take its reply.
        task_status: Gets the bound address, as text for `do_request`, when the server listens.

    Raises:
        AddressError: The address cannot be understood.
        BindError: It is in use or not ours, or no port of those tried is free.
        TypeError: An argument is of the wrong type.
        ValueError: A number is out of range, `ssl_context` does not fit, or `insecure` is needed.
    """
    network = _check_network(network)
    if not callable(handler):
        raise TypeError(f"handler must be a function from text to text, not {handler!r}")
    check_flag("insecure", insecure)
    check_count("max_tries", max_tries)
    check_count("max_size", max_size)
    check_count("max_connections", max_connections)
    check_seconds("client_deadline", client_deadline, may_be_zero=False)
    parsed = parse_address(address)
    check_secure(network, parsed, insecure=insecure, verb="listen")
    server = _Server(handler, max_size, max_connections, client_deadline, runs_inline=network.is_simulated)
    listener = await listen(network, parsed, max_tries, ssl_context)
    try:
        async with trio.open_nursery() as nursery:
            task_status.started(listener.address)
            while True:
                nursery.start_soon(server.welcome, await listener.accept())
    finally:
        listener.close()
    raise AssertionError("a server ends only if it is cancelled")


class _Server:
    """Serves any number of clients, so that none of them harms the others."""

    def __init__(
        self, handler: Handler, max_size: int, max_connections: int, client_deadline: float, *, runs_inline: bool
    ) -> None:
        self._handler = handler
        self._max_size = max_size
        self._max_connections = max_connections
        self._client_deadline = client_deadline
        self._runs_inline = runs_inline
        self._is_async = _is_async(handler)
        self._threads = trio.CapacityLimiter(MAX_THREADS)
        self._connections = 0
        self._reading: dict[base.Transport, trio.CancelScope] = {}

    async def welcome(self, transport: base.Transport) -> None:
        """Serve one client, and close its connection. Never raises for anything that the client does."""
        is_crowded = self._connections >= self._max_connections and not self._send_slowest_away()
        self._connections += 1
        try:
            if is_crowded:
                logger.warning(
                    "%s: %d clients are here already; refused", transport.remote_address, self._max_connections
                )
                answer: bytes | None = encode_text(TextKind.REFUSED, "the server is busy")
            else:
                answer = await self._serve(transport)
            if answer is not None:
                await self._say(transport, answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            logger.debug("%s: lost: %s", transport.remote_address, error.__cause__ or error)
        finally:
            self._connections -= 1
            transport.close()

    def _send_slowest_away(self) -> bool:
        """Make room by giving up the client that has been sending its request for the longest; whether there was one."""
        for transport, scope in self._reading.items():
            del self._reading[transport]
            scope.cancel()
            return True
        return False

    async def _serve(self, transport: base.Transport) -> bytes | None:
        """What to answer a client; None if it has gone away, or has to."""
        reader = TextReader(_REQUESTS, self._max_size)
        request: TextMessage | None = None
        with trio.move_on_after(self._client_deadline) as scope:
            self._reading[transport] = scope
            try:
                request = await _receive(transport, reader)
            except ProtocolError as error:
                logger.warning("%s: %s; refused", transport.remote_address, error)
                return encode_text(TextKind.REFUSED, str(error))
            finally:
                was_sent_away = self._reading.pop(transport, None) is None
        if request is not None:
            return await self._answer(transport, request.text)
        if was_sent_away:
            return encode_text(TextKind.REFUSED, "others came while this request was still being sent")
        if scope.cancelled_caught:
            return encode_text(TextKind.REFUSED, f"the request was not whole within {self._client_deadline:g} s")
        return None

    async def _answer(self, transport: base.Transport, text: str) -> bytes | None:
        """Handle a request while its client stays; None if it does not."""
        answer: bytes | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, transport, nursery.cancel_scope)
            answer = await self._handle(text)
            nursery.cancel_scope.cancel()
        return answer

    async def _handle(self, text: str) -> bytes:
        """Let the handler answer; what it raises becomes an answer, too."""
        try:
            reply = await self._call(text)
            if not isinstance(reply, str):
                raise TypeError(f"the handler of requests must return a str, not {reply!r:.200}")
            size = len(reply.encode())
            if size > self._max_size:
                raise ValueError(f"the reply takes {size} bytes; at most {self._max_size} are sent")
            return encode_text(TextKind.REPLY, reply)
        except Exception as error:
            logger.exception("the handler of a text request failed")
            words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            whole = words.encode(errors="backslashreplace")
            return encode_text(TextKind.FAILED, whole[: self._max_size].decode(errors="ignore"))

    async def _call(self, text: str) -> object:
        if self._is_async or self._runs_inline:
            await trio.lowlevel.checkpoint()
            result: object = self._handler(text)
        else:
            result = await trio.to_thread.run_sync(self._handler, text, limiter=self._threads)
        return await result if inspect.isawaitable(result) else result

    async def _say(self, transport: base.Transport, answer: bytes) -> None:
        """Send an answer, and wait a moment for the client to go, so that our close does not destroy what it has not read."""
        with trio.move_on_after(self._client_deadline):
            await transport.send_all(answer)
            try:
                await transport.send_eof()
            except NotImplementedError:
                pass  # TLS has no half-closed connections
            with trio.move_on_after(LINGER):
                while await transport.receive_some(_CHUNK):
                    pass


async def _cancel_when_gone(transport: base.Transport, scope: trio.CancelScope) -> None:
    """Cancel a scope when the client closes its connection, or sends more than its request."""
    try:
        await transport.receive_some(1)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


def _is_async(handler: Handler) -> bool:
    """Whether calling the handler only makes a coroutine, which takes no time."""
    if isinstance(handler, partial):
        return _is_async(handler.func)
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def _encode_request(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {text!r}")
    try:
        return encode_text(TextKind.REQUEST, text)
    except UnicodeEncodeError:
        raise ValueError(f"text must not have lone surrogates, not {text!r:.200}") from None


def _check_network(network: object) -> base.Network:
    if network is None:
        return system_network()
    if not isinstance(network, base.Network):
        raise TypeError(f"network must be a network, such as a host of trioton.testing.Network, not {network!r}")
    return network
