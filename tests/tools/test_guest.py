"""Contexts in a Trio that is the guest of another event loop, here asyncio's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import outcome
import pytest
import trio

import trioton
from trioton.testing import leak_check

pytestmark = pytest.mark.net


def run_as_guest(async_fn: Callable[..., Awaitable[Any]]) -> Any:
    """Run a Trio function as a guest of asyncio; it is given asyncio's loop."""

    async def host() -> Any:
        loop = asyncio.get_running_loop()
        end: asyncio.Future[outcome.Outcome[Any]] = loop.create_future()
        trio.lowlevel.start_guest_run(
            async_fn,
            loop,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=end.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        async with asyncio.timeout(30):
            return (await end).unwrap()

    with leak_check():
        return asyncio.run(host())


def test_contexts_live_in_a_guest() -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> list[str]:
        got: list[str] = []
        async with trioton.open_context("a") as a, trioton.open_context("b") as b:
            listener = await a.bind("localhost:0")
            await b.connect(listener.address)
            pub, sub = trioton.PubChannel(a, "words"), trioton.SubChannel(b, "words", policy=trioton.Block(4))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pub.send_many, [str(number) for number in range(1000)])
                got.extend([await sub.receive() for _ in range(1000)])
        return got

    assert run_as_guest(main) == [str(number) for number in range(1000)]


def test_handlers_of_the_host_may_print() -> None:
    """They run in Trio's thread, but in no task of it."""

    async def main(loop: asyncio.AbstractEventLoop) -> list[str]:
        async with trioton.open_context("a") as a, trioton.open_context("b") as b:
            await a.bind("mem://guest")
            await b.connect("mem://guest")
            pub, sub = trioton.PubChannel(a, "out"), trioton.SubChannel(b, "out", policy=trioton.Block(4))
            await pub.wait_subscribers()
            file = trioton.FileWrapper(pub)

            def handler() -> None:
                with contextlib.redirect_stdout(file):
                    for number in range(100):
                        print(number)  # noqa: T201
                file.flush()
                file.close()

            loop.call_later(0.05, handler)
            return [await sub.receive() for _ in range(200)]

    assert run_as_guest(main)[::2] == [str(number) for number in range(100)]


def test_error_of_the_guest_comes_out_of_its_outcome() -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> None:
        async with trioton.open_context():
            raise KeyError("x")

    with pytest.raises(KeyError):
        run_as_guest(main)
