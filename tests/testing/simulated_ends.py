"""Simulated connections as checkers want them: made anew each time, and clogged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from trioton.testing import SimulatedTransport, simulated_pair
from trioton.testing.quality import Chunk, Latency

Maker = Callable[[], Awaitable[tuple[SimulatedTransport, SimulatedTransport]]]


def make_makers(latency: Latency, chunk: Chunk | None, buffer_size: int) -> tuple[Maker, Maker]:
    async def make() -> tuple[SimulatedTransport, SimulatedTransport]:
        await trio.lowlevel.checkpoint()
        return simulated_pair(latency=latency, chunk=chunk, buffer_size=buffer_size)

    async def make_clogged() -> tuple[SimulatedTransport, SimulatedTransport]:
        a, b = await make()
        for end in (a, b):
            while end.try_send([b"x" * 999]):
                pass
        return a, b

    return make, make_clogged
