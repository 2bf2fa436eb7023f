"""TCP: dialling and listening."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Sequence
from typing import Final

import trio

from .address import Address, format_host_port, is_loopback_host
from .base import Transport
from .sockets import BACKLOG, SocketListener, SocketTransport, bind_error, connect_error, connect_socket

KEEPALIVE_IDLE: Final = 10
"""Seconds of silence after which the system begins to ask whether the other end is there."""

KEEPALIVE_INTERVAL: Final = 3
"""Seconds between two of its questions."""

KEEPALIVE_COUNT: Final = 3
"""How many of them may go unanswered."""

USER_TIMEOUT: Final = 18
"""Seconds that sent data may go unacknowledged before the connection is given up.

A little less than the 19 s of the keepalive, as the two must agree for a connection with data underway. Both are only the
second line: heartbeats notice a peer that hangs while its system still answers.
"""

_SAME_PORT_TRIES: Final = 16

Target = tuple[int, str, tuple[int, ...]]
"""A family of addresses, a numeric host in it, and what Python wants behind the port (for IPv6)."""


class TcpTransport(SocketTransport):
    """A TCP connection, set up to send without delay and to notice a peer that is gone."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected socket; an OSError, with the socket left open, means that it is connected no more."""
        configure(sock)
        local, remote = sock.getsockname(), sock.getpeername()
        super().__init__(
            sock,
            kind="tcp",
            local_address=f"tcp://{format_host_port(*local[:2])}",
            remote_address=f"tcp://{format_host_port(*remote[:2])}",
            is_loopback=is_loopback_host(remote[0]),
        )


class TcpListener(SocketListener):
    """Listens on all addresses of one host name, on the same port."""

    def _wrap(self, sock: socket.socket) -> Transport:
        return TcpTransport(sock)


def configure(sock: socket.socket) -> None:
    """Set what a link needs: no delay, keepalive, a limit for unacknowledged data; each where the system has it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
        ("TCP_KEEPALIVE", KEEPALIVE_IDLE),  # what macOS calls TCP_KEEPIDLE
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT * 1000),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


# Dialling


async def dial_tcp(address: Address) -> TcpTransport:
    """Connect to the host and port of `address`, whatever its scheme; a checkpoint.

    If the host has several addresses, they are tried as RFC 6555 ("happy eyeballs") has it.

    Raises:
        ConnectError: None of the host's addresses could be reached, or it has none.
    """
    try:
        sock = await _connect(await _host_to_dial(address), _port_of(address))
        try:
            if sock.getsockname() == sock.getpeername():
                # Dialling a port of the range for outgoing connections on the loopback can pick that very port for
                # its own end, and TCP then connects the socket to itself. In truth nobody listens there.
                raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused (it had reached itself)")
            return TcpTransport(sock)
        except BaseException:
            sock.close()
            raise
    except (OSError, UnicodeError) as error:
        raise connect_error(address, _reasons(error)) from error


async def _connect(host: str, port: int) -> socket.socket:
    try:
        # A numeric address needs neither a thread nor a nursery; this is the usual case on the loopback.
        targets = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        stream = await trio.open_tcp_stream(host, port)
        if hasattr(trio.socket, "TCP_NOTSENT_LOWAT"):
            # Trio has limited the unsent bytes in the kernel to 16 KiB; a link's own queue knows better.
            try:
                stream.setsockopt(socket.IPPROTO_TCP, trio.socket.TCP_NOTSENT_LOWAT, 0)
            except OSError:
                pass  # a matter of speed alone
        return socket.socket(fileno=stream.socket.detach())
    family, kind, protocol, _, target = targets[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await connect_socket(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


def _reasons(error: Exception) -> Exception:
    """Trio's `open_tcp_stream` hides the reasons in a group behind a general error; put them into words."""
    if not isinstance(error.__cause__, ExceptionGroup):
        return error
    failures = [failure for failure in error.__cause__.exceptions if isinstance(failure, OSError)]
    words = dict.fromkeys(failure.strerror or str(failure) for failure in failures)
    return OSError(failures[0].errno, "; ".join(words))


# Listening


async def listen_tcp(address: Address) -> TcpListener:
    """Listen on all addresses of the host of `address`, whatever its scheme, all on the same port; a checkpoint.

    Raises:
        BindError: One of them is in use, is not ours or may not be used, or the host has no address.
    """
    try:
        host = await _host_to_dial(address)
        port = _port_of(address)
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        targets = list(dict.fromkeys((int(family), str(where[0]), where[2:]) for family, _, _, _, where in found))
        sockets, port = _bind_all(targets, port)
    except (OSError, UnicodeError) as error:
        raise bind_error(address, error) from error
    shown = address if address.public_index is None else Address(address.scheme, host)
    return TcpListener(sockets, address=str(shown.with_port(port)), port=port)


def _bind_all(targets: Sequence[Target], port: int) -> tuple[list[socket.socket], int]:
    """Bind all `targets` to one port: `port`, or one that is free on all of them if it is 0."""
    for attempt in range(_SAME_PORT_TRIES):
        sockets: list[socket.socket] = []
        chosen = port
        try:
            for family, numeric_host, rest in targets:
                sock = _bind(family, (numeric_host, chosen, *rest))
                if sock is None:
                    continue
                sockets.append(sock)
                chosen = sock.getsockname()[1]
            if not sockets:
                raise OSError(errno.EAFNOSUPPORT, "This system has no sockets for any address of this host")
            return sockets, chosen
        except OSError as error:
            for sock in sockets:
                sock.close()
            # A port that was free on the first address need not be free on the second: let the system choose another.
            if port or not sockets or error.errno != errno.EADDRINUSE or attempt == _SAME_PORT_TRIES - 1:
                raise
    raise AssertionError("the last attempt returns or raises")  # pragma: no cover


def _bind(family: int, target: tuple[str | int, ...]) -> socket.socket | None:
    """A listening socket, or None if the system has no sockets of that family."""
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return None
        raise
    try:
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(target)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


# Hosts


def _port_of(address: Address) -> int:
    if address.port is None:
        raise ValueError(f"address must have a port: {address}")
    return address.port


async def _host_to_dial(address: Address) -> str:
    """The host as the resolver is to have it."""
    if address.host == "localhost":
        return "127.0.0.1"
    index = address.public_index
    if index is None:
        return address.host
    return await trio.to_thread.run_sync(public_host, index)


def public_host(index: int) -> str:
    """The IPv4 address by which others know this machine: the one that the `index`-th of its names and routes gives.

    Addresses of the loopback come last, as some systems give their own name nothing else. It may block for as long as the
    resolver takes.

    Raises:
        OSError: This machine has fewer than `index + 1` addresses.
    """
    found: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            # Connecting a datagram socket sends nothing; it makes the system choose the way out. The address is one
            # that is reserved for documentation, so the way is the default one.
            sock.connect(("192.0.2.1", 9))
            found.append(sock.getsockname()[0])
        except OSError:
            pass
    try:
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError:
        pass
    hosts = sorted(dict.fromkeys(found), key=is_loopback_host)
    if index >= len(hosts):
        raise OSError(f"this machine has {len(hosts)} addresses, and number {index} (from 0) was asked for")
    return hosts[index]
