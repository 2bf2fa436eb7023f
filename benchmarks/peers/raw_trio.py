"""Trio's own socket streams: the floor that a library on Trio can reach."""

from __future__ import annotations

import struct

import trio

from ..control import (
    LARGE,
    LARGE_BYTES,
    SMALL,
    SMALL_BYTES,
    Answer,
    Control,
    clock,
    latencies,
    pinging_async,
    ponging_async,
    sending_async,
)
from .raw_sockets import listen, tune

STAMP = struct.Struct("d92x")
"""A moment, filled up to a small message."""


async def receive_exactly(stream: trio.SocketStream) -> bytes:
    """One small message."""
    data = await stream.receive_some(4096)
    while len(data) < SMALL:
        data += await stream.receive_some(4096)
    return bytes(data)


async def receive(control: Control) -> None:
    """The far side: sends back small messages, swallows large ones."""
    with listen(control) as plain:
        sock, _ = await trio.socket.from_stdlib_socket(plain).accept()
    async with trio.SocketStream(sock) as stream:
        tune(sock)  # type: ignore[arg-type]

        async def one_way(count: int) -> Answer:
            taken = []
            for _ in range(count):
                data = await receive_exactly(stream)
                taken.append(clock() - STAMP.unpack(data)[0])
                await stream.send_all(data)
            return latencies(taken)

        async def large(count: int) -> Answer:
            missing = count * LARGE
            while missing:
                missing -= len(await stream.receive_some(LARGE))
            return {"end": clock()}

        await control.serve_async(
            {
                "round_trip": ponging_async(stream.send_all, lambda: receive_exactly(stream)),
                "one_way": one_way,
                "large": large,
            }
        )


async def send(control: Control, address: str) -> None:
    """The near side."""
    if control.transport == "tcp":
        stream = await trio.open_tcp_stream("127.0.0.1", int(address))
    else:
        stream = await trio.open_unix_socket(address)
        tune(stream.socket)  # type: ignore[arg-type]
    async with stream:

        async def one_way(count: int) -> Answer:
            for _ in range(count):
                await stream.send_all(STAMP.pack(clock()))
                await receive_exactly(stream)
            return {}

        await control.serve_async(
            {
                "round_trip": pinging_async(stream.send_all, lambda: receive_exactly(stream), SMALL_BYTES),
                "one_way": one_way,
                "large": sending_async(stream.send_all, LARGE_BYTES),
            }
        )


def receiver(control: Control) -> None:
    """See `receive`."""
    trio.run(receive, control)


def sender(control: Control, address: str) -> None:
    """See `send`."""
    trio.run(send, control, address)
