"""pynng on its Trio backend: Req/Rep for round trips, Push/Pull for the rest (its Pub/Sub loses messages)."""

from __future__ import annotations

import pynng
import trio

from ..control import LARGE_BYTES, SMALL_BYTES, Control, pinging_async, ponging_async, receiving_async, sending_async


def endpoint(control: Control, name: str) -> str:
    """Where to listen: any free port, or a socket file."""
    return "tcp://127.0.0.1:0" if control.transport == "tcp" else f"ipc://{control.folder}/{name}"


async def receive(control: Control) -> None:
    """The far side."""
    with pynng.Rep0(listen=endpoint(control, "rep")) as rep, pynng.Pull0(listen=endpoint(control, "pull")) as pull:
        control.listening(" ".join(str(end.listeners[0].local_address) for end in (rep, pull)))
        await control.serve_async(
            {
                "round_trip": ponging_async(rep.asend, rep.arecv),
                "small": receiving_async(pull.arecv),
                "large": receiving_async(pull.arecv),
            }
        )


async def send(control: Control, address: str) -> None:
    """The near side."""
    scheme = "tcp" if control.transport == "tcp" else "ipc"
    to_rep, to_pull = (f"{scheme}://{part}" for part in address.split())
    with pynng.Req0(dial=to_rep, block_on_dial=True) as req, pynng.Push0(dial=to_pull, block_on_dial=True) as push:
        await control.serve_async(
            {
                "round_trip": pinging_async(req.asend, req.arecv, SMALL_BYTES),
                "small": sending_async(push.asend, SMALL_BYTES),
                "large": sending_async(push.asend, LARGE_BYTES),
            }
        )


def receiver(control: Control) -> None:
    """See `receive`."""
    trio.run(receive, control)


def sender(control: Control, address: str) -> None:
    """See `send`."""
    trio.run(send, control, address)
