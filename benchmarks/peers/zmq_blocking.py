"""pyzmq with blocking sockets: REQ/REP for round trips, PUB/SUB for the rest; raw bytes, or pickles (`send_pyobj`)."""

from __future__ import annotations

from functools import partial

import zmq

from ..control import LARGE_BYTES, RECORD, SMALL_BYTES, Control, pinging, ponging, receiving, sending


def endpoint(control: Control, name: str) -> str:
    """Where to bind: any free port, or a socket file."""
    return "tcp://127.0.0.1:*" if control.transport == "tcp" else f"ipc://{control.folder}/{name}"


def prepare(socket: zmq.Socket[bytes]) -> None:
    """PUB drops messages at its high-water mark: without a mark nothing is lost, and lost messages are not counted."""
    socket.set(zmq.SNDHWM, 0)
    socket.set(zmq.RCVHWM, 0)


def receiver(control: Control, address: str) -> None:
    """The far side."""
    to_req, to_pub = address.split()
    with zmq.Context() as context, context.socket(zmq.REP) as rep, context.socket(zmq.SUB) as sub:
        prepare(sub)
        sub.subscribe(b"")
        rep.connect(to_req)
        sub.connect(to_pub)
        control.serve(
            {
                "round_trip": ponging(rep.send, rep.recv),
                "small": receiving(sub.recv),
                "objects": receiving(sub.recv_pyobj),
                "large": receiving(sub.recv),
            }
        )


def sender(control: Control) -> None:
    """The near side."""
    # XPUB is PUB that also tells of subscriptions: with it we know that the first message finds its subscriber.
    with (
        zmq.Context() as context,
        context.socket(zmq.REQ) as req,
        context.socket(zmq.XPUB) as pub,
    ):
        prepare(pub)
        req.bind(endpoint(control, "req"))
        pub.bind(endpoint(control, "pub"))
        control.listening(f"{req.last_endpoint.decode()} {pub.last_endpoint.decode()}")
        pub.recv()
        control.serve(
            {
                "round_trip": pinging(req.send, req.recv, SMALL_BYTES),
                "small": sending(pub.send, SMALL_BYTES),
                "objects": sending(pub.send_pyobj, RECORD),
                "large": sending(partial(pub.send, copy=False), LARGE_BYTES),
            }
        )
