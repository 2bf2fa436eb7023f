"""Trioton doing nothing: what many links cost in time and in memory, with the default heartbeat."""

from __future__ import annotations

import contextlib
import gc
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

import trioton

from ..control import Answer, Control
from .trioton_pubsub import bind, connect

SETTLING = 5.0
"""Seconds after which a hub has told all its neighbours of the last link that it got: it gathers such news for some seconds."""


def resident() -> float:
    """The memory of this process in KiB (elsewhere than on Linux: the most that it ever had)."""
    gc.collect()
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform == "darwin" else most


def allow_files(count: int) -> None:
    """Raise the limit of open files as far as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def be_idle(seconds: int) -> float:
    """Processor time of this process, in percent of a core, while nothing is asked of it."""
    begin, used = time.monotonic(), time.process_time()
    await trio.sleep(seconds)
    return (time.process_time() - used) / (time.monotonic() - begin) * 100


async def settle(contexts: Sequence[trioton.Context], others: int) -> None:
    """Wait until each knows so many others; then nothing is told any more."""
    for context in contexts:
        while len(context.contexts) < others:  # noqa: ASYNC110 - only the last of many matters
            await trio.sleep(0.1)
    await trio.sleep(SETTLING)


async def send(control: Control) -> None:
    """The end that all links lead to; memory is measured here, where each link adds one end and no second context."""
    links = control.options["idle_links"]
    allow_files(links + 200)
    limits = attrs.evolve(trioton.Limits(), connections=links + 10)
    async with trioton.open_context("hub", limits=limits) as ctx:
        go = trioton.PubChannel(ctx, "go")
        await bind(control, ctx)
        # One link first: what is loaded or made on first use does not belong to the links.
        await go.wait_subscribers(1)
        await settle([ctx], 1)
        before = resident()
        await go.send("the others")
        await settle([ctx], links + 1)
        each = (resident() - before) / links

        async def memory(_: int) -> Answer:
            return {"memory": each, "links": links}

        async def idle(seconds: int) -> Answer:
            return {"hub": await be_idle(seconds), "links": links}

        await control.serve_async({"memory": memory, "idle": idle})


async def leave(control: Control, address: str) -> None:
    """The other ends: one context each, for two contexts have one link at most."""
    links = control.options["idle_links"]
    allow_files(links + 200)
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(trioton.open_context("first"))
        go = trioton.SubChannel(first, "go")
        await connect(first, address)
        await go.receive()
        contexts = [first]
        for number in range(links):
            contexts.append(await stack.enter_async_context(trioton.open_context(f"leaf {number}")))
            await connect(contexts[-1], address)
        await settle(contexts, 1)  # over plain TCP the hub is not believed what it says of others

        async def memory(_: int) -> Answer:
            return {}

        async def idle(seconds: int) -> Answer:
            return {"leaves": await be_idle(seconds)}

        await control.serve_async({"memory": memory, "idle": idle})


def sender(control: Control) -> None:
    """See `send`."""
    trio.run(send, control)


def leaves(control: Control, address: str) -> None:
    """See `leave`."""
    trio.run(leave, control, address)
