"""What the tests of TCP share: an address to listen at, and the sockets behind transports."""

from __future__ import annotations

import socket

from trioton.transports.address import parse_address
from trioton.transports.base import Transport
from trioton.transports.tcp import TcpTransport

LOCAL = parse_address("localhost:0")


def socket_of(transport: Transport) -> socket.socket:
    assert isinstance(transport, TcpTransport)
    return transport._socket


def reset_when_closed(transport: Transport) -> None:
    """Let the other end see a reset instead of an end when this one is closed."""
    socket_of(transport).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
