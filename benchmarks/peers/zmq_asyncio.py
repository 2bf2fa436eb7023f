"""pyzmq under asyncio: REQ/REP for round trips, PUB/SUB for the rest; raw bytes."""

from __future__ import annotations

import asyncio
from functools import partial

import zmq
import zmq.asyncio

from ..control import LARGE_BYTES, SMALL_BYTES, Control, pinging_async, ponging_async, receiving_async, sending_async
from .zmq_blocking import endpoint, prepare


async def receive(control: Control, address: str) -> None:
    """The far side."""
    to_req, to_pub = address.split()
    with (
        zmq.asyncio.Context() as context,
        context.socket(zmq.REP) as rep,
        context.socket(zmq.SUB) as sub,
    ):
        prepare(sub)
        sub.subscribe(b"")
        rep.connect(to_req)
        sub.connect(to_pub)
        await control.serve_asyncio(
            {
                "round_trip": ponging_async(rep.send, rep.recv),
                "small": receiving_async(sub.recv),
                "large": receiving_async(sub.recv),
            }
        )


async def send(control: Control) -> None:
    """The near side."""
    with (
        zmq.asyncio.Context() as context,
        context.socket(zmq.REQ) as req,
        context.socket(zmq.XPUB) as pub,
    ):
        prepare(pub)
        req.bind(endpoint(control, "req"))
        pub.bind(endpoint(control, "pub"))
        control.listening(f"{req.last_endpoint.decode()} {pub.last_endpoint.decode()}")
        await pub.recv()
        await control.serve_asyncio(
            {
                "round_trip": pinging_async(req.send, req.recv, SMALL_BYTES),
                "small": sending_async(pub.send, SMALL_BYTES),
                "large": sending_async(partial(pub.send, copy=False), LARGE_BYTES),
            }
        )


def receiver(control: Control, address: str) -> None:
    """See `receive`."""
    asyncio.run(receive(control, address))


def sender(control: Control) -> None:
    """See `send`."""
    asyncio.run(send(control))
