"""The worker's end of the pipes to the runner, one JSON object a line, and the loops that all libraries share."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

import attrs

Answer = dict[str, Any]
Handler = Callable[[int], Answer]
AsyncHandler = Callable[[int], Awaitable[Answer]]

SMALL: Final = 100
"""Bytes in a small message."""
LARGE: Final = 1 << 20
"""Bytes in a large message."""
SMALL_BYTES: Final = b"x" * SMALL
LARGE_BYTES: Final = b"x" * LARGE
RECORD: Final[dict[str, Any]] = {
    "name": "sensor-7",
    "time": 1_700_000_000.25,
    "count": 42,
    "ok": True,
    "tags": ["north", "roof"],
}
"""The message of the cases `objects` and `typed`: a dict of five keys."""

JOB_LIMIT: Final = 90
"""Seconds after which a worker is ended by the system, whatever it does and whether or not the runner still lives."""

clock = time.monotonic
"""On Linux and macOS one clock for all processes, so that a start here and an end there can be compared."""


@attrs.frozen
class Control:
    """What a worker knows and says.

    Attributes:
        transport: ``"tcp"``, ``"unix"`` or ``"pipe"``; ``"secret"`` or ``"tls"`` is TCP with that.
        folder: A private directory for socket files; the runner removes it.
        options: What the case asks for beyond that, such as a number of links.
    """

    transport: str
    folder: str
    options: Mapping[str, Any]
    _out: int = 1

    def tell(self, event: str, **fields: Any) -> None:
        """Send one line to the runner."""
        os.write(self._out, json.dumps({"event": event, **fields}).encode() + b"\n")

    def ask(self) -> dict[str, Any]:
        """Wait for one line of the runner; the worker ends when the runner has closed the pipe."""
        line = sys.stdin.readline()
        signal.alarm(JOB_LIMIT)
        return json.loads(line) if line else {}

    def listening(self, address: str) -> None:
        """Tell the runner where the other workers can reach this one."""
        self.tell("listening", address=address)

    def serve(self, handlers: Mapping[str, Handler]) -> None:
        """Say that everything is connected, then do the jobs that the runner names until it closes the pipe."""
        self.tell("connected")
        while job := self.ask():
            self.tell("ready")
            self.tell("result", **handlers[job["case"]](job["count"]))

    async def serve_async(
        self, handlers: Mapping[str, AsyncHandler], to_thread: Callable[..., Awaitable[Any]] | None = None
    ) -> None:
        """As `serve`, for Trio; for asyncio with ``to_thread=asyncio.to_thread``."""
        if to_thread is None:
            import trio

            to_thread = trio.to_thread.run_sync
        self.tell("connected")
        while job := await to_thread(self.ask):
            self.tell("ready")
            self.tell("result", **await handlers[job["case"]](job["count"]))

    async def serve_asyncio(self, handlers: Mapping[str, AsyncHandler]) -> None:
        """As `serve`, for asyncio."""
        await self.serve_async(handlers, asyncio.to_thread)


def fail(text: str) -> NoReturn:
    """End this worker with one line that says why."""
    raise SystemExit(text)


def latencies(seconds: list[float]) -> Answer:
    """Median and 99th percentile, in microseconds."""
    ordered = sorted(seconds)
    return {"median": ordered[len(ordered) // 2] * 1e6, "p99": ordered[int(len(ordered) * 0.99)] * 1e6}


# The loops take bound functions of the library, so that nothing of ours stands between the clock and the library.


def sending(send: Callable[[Any], object], message: object) -> Handler:
    """A handler that sends `message` as often as it is told to."""

    def run(count: int) -> Answer:
        start = clock()
        for _ in range(count):
            send(message)
        return {"start": start}

    return run


def receiving(receive: Callable[[], object]) -> Handler:
    """A handler that receives as many messages as it is told to."""

    def run(count: int) -> Answer:
        for _ in range(count):
            receive()
        return {"end": clock()}

    return run


def pinging(send: Callable[[Any], object], receive: Callable[[], object], message: object) -> Handler:
    """A handler that sends, waits for the reply and notes how long that took."""

    def run(count: int) -> Answer:
        taken = []
        for _ in range(count):
            start = clock()
            send(message)
            receive()
            taken.append(clock() - start)
        return latencies(taken)

    return run


def ponging(send: Callable[[Any], object], receive: Callable[[], object]) -> Handler:
    """A handler that sends back what it receives."""

    def run(count: int) -> Answer:
        for _ in range(count):
            send(receive())
        return {}

    return run


def sending_async(send: Callable[[Any], Awaitable[object]], message: object) -> AsyncHandler:
    """As `sending`."""

    async def run(count: int) -> Answer:
        start = clock()
        for _ in range(count):
            await send(message)
        return {"start": start}

    return run


def receiving_async(receive: Callable[[], Awaitable[object]]) -> AsyncHandler:
    """As `receiving`."""

    async def run(count: int) -> Answer:
        for _ in range(count):
            await receive()
        return {"end": clock()}

    return run


def pinging_async(
    send: Callable[[Any], Awaitable[object]], receive: Callable[[], Awaitable[object]], message: object
) -> AsyncHandler:
    """As `pinging`."""

    async def run(count: int) -> Answer:
        taken = []
        for _ in range(count):
            start = clock()
            await send(message)
            await receive()
            taken.append(clock() - start)
        return latencies(taken)

    return run


def ponging_async(send: Callable[[Any], Awaitable[object]], receive: Callable[[], Awaitable[Any]]) -> AsyncHandler:
    """As `ponging`."""

    async def run(count: int) -> Answer:
        for _ in range(count):
            await send(await receive())
        return {}

    return run
