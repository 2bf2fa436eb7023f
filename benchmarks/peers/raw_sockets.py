"""Blocking sockets and nothing else: what the system itself can do."""

from __future__ import annotations

import socket

from ..control import LARGE, LARGE_BYTES, SMALL, SMALL_BYTES, Answer, Control, clock, pinging, ponging, sending

BUFFER = 2 << 20


def tune(sock: socket.socket) -> None:
    """Send at once on TCP; on a Unix socket make room for whole large messages."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)


def listen(control: Control) -> socket.socket:
    """A listening socket on loopback, of which the runner has been told."""
    if control.transport == "tcp":
        listener = socket.create_server(("127.0.0.1", 0))
        control.listening(str(listener.getsockname()[1]))
    else:
        path = f"{control.folder}/raw"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        control.listening(path)
    return listener


def receive_exactly(sock: socket.socket) -> bytes:
    """One small message."""
    return sock.recv(SMALL, socket.MSG_WAITALL)


def receiver(control: Control) -> None:
    """The far side: sends back small messages, swallows large ones."""
    with listen(control) as listener:
        sock, _ = listener.accept()
    with sock:
        tune(sock)
        buffer = bytearray(LARGE)

        def large(count: int) -> Answer:
            for _ in range(count):
                sock.recv_into(buffer, LARGE, socket.MSG_WAITALL)
            return {"end": clock()}

        control.serve({"round_trip": ponging(sock.sendall, lambda: receive_exactly(sock)), "large": large})


def sender(control: Control, address: str) -> None:
    """The near side."""
    if control.transport == "tcp":
        sock = socket.create_connection(("127.0.0.1", int(address)))
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address)
    with sock:
        tune(sock)
        control.serve(
            {
                "round_trip": pinging(sock.sendall, lambda: receive_exactly(sock), SMALL_BYTES),
                "large": sending(sock.sendall, LARGE_BYTES),
            }
        )
