"""Trioton with one sender and a hundred receivers, each a context with a connection of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import trio

import trioton

from ..control import Answer, AsyncHandler, Control, clock
from .trioton_pubsub import TEXT_MESSAGE, bind, connect

STALLED_ROOM = 16
"""How many messages the receiver that never receives keeps; the rest is dropped."""


class Counted(trioton.MessageType[str]):
    """Text that counts how often it is encoded."""

    name = "counted"
    encoded = 0

    def encode(self, message: str) -> str:
        """Count."""
        self.encoded += 1
        return message

    def decode(self, value: Any) -> str:
        """Nothing to do."""
        return str(value)


def sending(pub: trioton.PubChannel[str]) -> AsyncHandler:
    """A handler that sends as often as it is told to."""

    async def run(count: int) -> Answer:
        start = clock()
        for _ in range(count):
            await pub.send(TEXT_MESSAGE)
        return {"start": start}

    return run


def receiving(subs: Sequence[trioton.SubChannel[str]]) -> AsyncHandler:
    """A handler that is done when each of `subs` has received its messages."""

    async def receive(sub: trioton.SubChannel[str], count: int) -> None:
        while count:
            await sub.receive()
            count -= 1

    async def run(count: int) -> Answer:
        async with trio.open_nursery() as nursery:
            for sub in subs:
                nursery.start_soon(receive, sub, count)
        return {"end": clock()}

    return run


async def send(control: Control) -> None:
    """The one sender."""
    links = control.options["links"]
    async with trioton.open_context("sender") as ctx:
        counted = Counted()
        plain, stalled = trioton.PubChannel(ctx, "plain"), trioton.PubChannel(ctx, "stalled")
        once = trioton.PubChannel(ctx, "once", counted)
        await bind(control, ctx)
        await plain.wait_subscribers(links)
        await stalled.wait_subscribers(links + 1)
        await once.wait_subscribers(links)
        send_once = sending(once)

        async def encoded_once(count: int) -> Answer:
            await send_once(count)
            return {"encodings": counted.encoded / count}

        await control.serve_async(
            {"fan_out": sending(plain), "fan_out_stalled": sending(stalled), "encoded_once": encoded_once}
        )


async def receive(control: Control, address: str) -> None:
    """All receivers, in one process."""
    async with contextlib.AsyncExitStack() as stack:
        plain, stalled, once = [], [], []
        for number in range(control.options["links"]):
            ctx = await stack.enter_async_context(trioton.open_context(f"receiver {number}"))
            plain.append(trioton.SubChannel(ctx, "plain"))
            stalled.append(trioton.SubChannel(ctx, "stalled"))
            once.append(trioton.SubChannel(ctx, "once", Counted()))
            await connect(ctx, address)
        idler = await stack.enter_async_context(trioton.open_context("idler"))
        stack.enter_context(
            contextlib.closing(trioton.SubChannel(idler, "stalled", policy=trioton.DropOldest(STALLED_ROOM)))
        )
        await connect(idler, address)
        receive_once = receiving(once)

        async def encoded_once(count: int) -> Answer:
            await receive_once(count)
            return {}

        await control.serve_async(
            {"fan_out": receiving(plain), "fan_out_stalled": receiving(stalled), "encoded_once": encoded_once}
        )


def sender(control: Control) -> None:
    """See `send`."""
    trio.run(send, control)


def receivers(control: Control, address: str) -> None:
    """See `receive`."""
    trio.run(receive, control, address)
