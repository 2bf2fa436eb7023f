"""Trioton over three processes: the two of `trioton_pubsub`, which know only a third."""

from __future__ import annotations

import trio

import trioton

from ..control import Control
from .trioton_pubsub import bind, receiver, sender

__all__ = ["receiver", "relay", "sender"]


async def serve(control: Control) -> None:
    """A context without channels."""
    async with trioton.open_context("relay") as ctx:
        await bind(control, ctx)

        async def nothing(_: int) -> dict[str, object]:
            return {}

        await control.serve_async({"round_trip": nothing, "small": nothing})


def relay(control: Control) -> None:
    """See `serve`."""
    trio.run(serve, control)
