"""Trioton: two contexts, one link, a slot for each case."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections import deque
from pathlib import Path
from typing import Any

import attrs
import trio

import trioton

from ..control import (
    LARGE_BYTES,
    RECORD,
    SMALL,
    Answer,
    AsyncHandler,
    Control,
    clock,
    latencies,
    pinging_async,
    ponging_async,
    sending_async,
)

CHUNK = 1_000
"""Messages in one call of `send_many`."""
TEXT_MESSAGE = "x" * SMALL


@attrs.frozen
class Record:
    """What `RECORD` is when it has a class."""

    name: str
    time: float
    count: int
    ok: bool
    tags: list[str]


def stream_types() -> dict[str, Any]:
    """The message type of each one-way case; `typed` only where its extra is installed."""
    types: dict[str, Any] = {
        "small": trioton.TEXT,
        "small_many": trioton.TEXT,
        "objects": trioton.OBJECT,
        "large": trioton.BINARY,
    }
    with contextlib.suppress(ImportError):
        types["typed"] = trioton.typed(Record)
    return types


def security(control: Control) -> trioton.Secret | trioton.Mutual | None:
    """How the two ends prove who they are; the first of them makes what that takes."""
    folder = Path(control.folder)
    if control.transport == "secret":
        if not (folder / "secret").exists():
            trioton.Secret.generate().save(folder / "secret")
        return trioton.Secret.from_file(folder / "secret")
    if control.transport == "tls":
        if not (folder / "keys").exists():
            from trioton.cli.authority import Authority

            authority = Authority(folder / "keys")
            authority.create(1)
            authority.issue("node", is_router=True, days=1)
        node = folder / "keys" / "node.pem"
        return trioton.Mutual(certificate=node, key=node.with_suffix(".key"), authority=node.with_name("authority.pem"))
    return None


async def bind(control: Control, ctx: trioton.Context) -> None:
    """Listen on what is measured, and tell where."""
    if control.transport == "unix":
        address = f"unix://{control.folder}/trioton"
        await ctx.bind(address)
    else:
        scheme = "tls" if control.transport == "tls" else "tcp"
        listener = await ctx.bind(f"{scheme}://localhost:0")
        address = f"{scheme}://localhost:{listener.port}"
    control.listening(address)


async def connect(ctx: trioton.Context, address: str) -> None:
    """Connect, and stay on the transport that was named."""
    await ctx.connect(address, local_shortcut=False)


def receiving_many(sub: trioton.SubChannel[str]) -> AsyncHandler:
    """A handler that takes what is there at once."""

    async def run(count: int) -> Answer:
        while count:
            count -= len(await sub.receive_many(count))
        return {"end": clock()}

    return run


def receiving_each(sub: trioton.SubChannel[Any]) -> AsyncHandler:
    """A handler that takes one after the other with ``async for``."""

    async def run(count: int) -> Answer:
        async for _ in sub:
            count -= 1
            if not count:
                break
        return {"end": clock()}

    return run


def sending_many(pub: trioton.PubChannel[str]) -> AsyncHandler:
    """A handler that hands over a thousand at a time."""
    chunk = [TEXT_MESSAGE] * CHUNK

    async def run(count: int) -> Answer:
        start = clock()
        while count:
            part = chunk if count >= CHUNK else chunk[:count]
            await pub.send_many(part)
            count -= len(part)
        return {"start": start}

    return run


def stamped_pongs(sub: trioton.SubChannel[str], pub: trioton.PubChannel[str]) -> AsyncHandler:
    """A handler that sends back what it receives, and reads from it how long it was on its way."""

    async def run(count: int) -> Answer:
        taken = []
        for _ in range(count):
            message = await sub.receive()
            taken.append(clock() - float(message))
            await pub.send(message)
        return latencies(taken)

    return run


def stamped_pings(pub: trioton.PubChannel[str], sub: trioton.SubChannel[str]) -> AsyncHandler:
    """A handler that sends the time of sending, filled up to a small message."""

    async def run(count: int) -> Answer:
        for _ in range(count):
            await pub.send(f"{clock():<{SMALL}.9f}")
            await sub.receive()
        return {}

    return run


class Echo(trioton.RepChannel):
    """Answers requests."""

    async def back(self, message: str) -> str:
        """Give a message back."""
        return message

    async def later(self, message: str) -> str:
        """Give a message back in an hour."""
        await trio.sleep(3600)
        return message


def requesting(req: trioton.ReqChannel) -> AsyncHandler:
    """A handler that makes one request after the other."""

    async def run(count: int) -> Answer:
        taken = []
        for _ in range(count):
            start = clock()
            await req.back(TEXT_MESSAGE)
            taken.append(clock() - start)
        return latencies(taken)

    return run


def requesting_many(req: trioton.ReqChannel) -> AsyncHandler:
    """A handler that keeps up to a thousand requests in flight."""

    async def run(count: int) -> Answer:
        start = clock()
        under_way: deque[trioton.Future[str]] = deque()
        for _ in range(count):
            if len(under_way) >= CHUNK:
                await under_way.popleft()
            under_way.append(req.back(TEXT_MESSAGE))
        for future in under_way:
            await future
        return {"start": start, "end": clock()}

    return run


def measuring_pending(req: trioton.ReqChannel) -> AsyncHandler:
    """A handler that looks at what requests cost that nobody has answered."""

    async def run(count: int) -> Answer:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        futures = [req.later(TEXT_MESSAGE) for _ in range(count)]
        await trio.sleep(1)
        memory = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        for future in futures:
            future.cancel()
        for future in futures:
            await future.wait()
        return {"memory": memory / count / 1024}

    return run


async def receive(control: Control, address: str = "") -> None:
    """The far side; with an address it connects to a relay instead of listening."""
    async with trioton.open_context("receiver", security=security(control)) as ctx:
        ping, pong = trioton.SubChannel(ctx, "ping"), trioton.PubChannel(ctx, "pong")
        subs = {case: trioton.SubChannel(ctx, case, kind) for case, kind in stream_types().items()}
        if address:
            await connect(ctx, address)
        else:
            await bind(control, ctx)
        Echo(ctx, "requests", max_running=CHUNK)
        await pong.wait_subscribers(1)
        handlers = {case: receiving_each(sub) for case, sub in subs.items()}
        handlers["small_many"] = receiving_many(subs["small_many"])
        handlers["round_trip"] = ponging_async(pong.send, ping.receive)
        handlers["one_way"] = stamped_pongs(ping, pong)
        handlers |= dict.fromkeys(("request", "requests", "pending"), wait)
        await control.serve_async(handlers)


async def send(control: Control, address: str) -> None:
    """The near side."""
    async with trioton.open_context("sender", security=security(control)) as ctx:
        ping, pong = trioton.PubChannel(ctx, "ping"), trioton.SubChannel(ctx, "pong")
        types = stream_types()
        pubs = {case: trioton.PubChannel(ctx, case, kind) for case, kind in types.items()}
        await connect(ctx, address)
        for pub in (ping, *pubs.values()):
            await pub.wait_subscribers(1)
        messages = {"small": TEXT_MESSAGE, "objects": RECORD, "typed": Record(**RECORD), "large": LARGE_BYTES}
        handlers = {case: sending_async(pubs[case].send, messages[case]) for case in messages if case in pubs}
        handlers["small_many"] = sending_many(pubs["small_many"])
        handlers["round_trip"] = pinging_async(ping.send, pong.receive, TEXT_MESSAGE)
        handlers["one_way"] = stamped_pings(ping, pong)
        req = trioton.ReqChannel(ctx, "requests")
        await req.wait_repliers(1)
        handlers["request"] = requesting(req)
        handlers["requests"] = requesting_many(req)
        handlers["pending"] = measuring_pending(req)
        await control.serve_async(handlers)


async def wait(_count: int) -> Answer:
    """What a relay does for a job: nothing but its own."""
    await trio.lowlevel.checkpoint()
    return {}


async def pass_on(control: Control) -> None:
    """A context in the middle, to which both sides connect."""
    async with trioton.open_context("relay", security=security(control)) as ctx:
        await bind(control, ctx)
        await ctx.wait_context("receiver")
        await control.serve_async(dict.fromkeys(("round_trip", "request", "one_way", *stream_types()), wait))


def relay(control: Control) -> None:
    """See `pass_on`."""
    trio.run(pass_on, control)


def receiver(control: Control, address: str = "") -> None:
    """See `receive`."""
    trio.run(receive, control, address)


def sender(control: Control, address: str) -> None:
    """See `send`."""
    trio.run(send, control, address)
