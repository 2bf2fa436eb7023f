"""Threads that cannot be stopped: what they cost, and whom."""

from __future__ import annotations

import threading

import pytest
import trio

import trioton
from trioton import RepChannel, ReqChannel

pytestmark = [pytest.mark.net]


class Stuck(RepChannel):
    """Has threads that end when they are told to."""

    def __init__(self, ctx: trioton.Context, who: str) -> None:
        super().__init__(ctx, "stuck", max_running=2)
        self._who = who
        self._release = threading.Event()
        self._begun = threading.Semaphore(0)

    def stick(self) -> None:
        self._begun.release()
        self._release.wait(60)

    def who(self) -> str:
        return self._who


async def test_a_thread_that_goes_on_takes_room_until_it_ends() -> None:
    async with trioton.open_context("client") as client, trioton.open_context("a") as a, trioton.open_context("b") as b:
        listener = await client.bind("mem://stuck-threads")
        await a.connect(listener.address)
        await b.connect(listener.address)
        first, second = Stuck(a, "a"), Stuck(b, "b")
        try:
            req = ReqChannel(client, "stuck")
            await req.wait_repliers(2)
            futures = [req.to(a.id).stick() for _ in range(2)]
            for _ in futures:
                await trio.to_thread.run_sync(first._begun.acquire)
            for future in futures:
                future.cancel()
                await future.wait()
            assert [await req.who() for _ in range(6)] == ["b"] * 6, (
                "a request must not wait behind a thread that is stuck"
            )
            while first.statistics().abandoned < 2 or first.statistics().running:
                await trio.lowlevel.checkpoint()
            assert second.statistics().abandoned == 0

            first._release.set()
            with trio.fail_after(20):
                assert await req.to(a.id).who() == "a"
            assert first.statistics().abandoned == 0
        finally:
            first._release.set()
            second._release.set()
