"""Requests over real sockets: handlers in threads, processes that are killed, Ctrl-C, and what ten thousand requests take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel

import trioton
from trioton import DeadError, RemoteError, RepChannel, ReqChannel, RequestCancelled
from trioton.testing import leak_check

pytestmark = pytest.mark.net

PATIENCE = 20.0
"""Seconds of real time after which a test has failed."""

REPLIER = """
import sys, trio, trioton

class Work(trioton.RepChannel):
    async def work(self, number):
        print(number, flush=True)
        await trio.sleep_forever()

    async def interrupt(self):
        import os, signal
        os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep_forever()

async def main():
    async with trioton.open_context("replier") as ctx:
        await ctx.connect(sys.argv[1])
        Work(ctx, "work", max_running=200)
        await trio.sleep_forever()

trio.run(main)
"""

REQUESTER = """
import sys, trio, trioton

async def main():
    async with trioton.open_context("requester") as ctx:
        await ctx.connect(sys.argv[1])
        req = trioton.ReqChannel(ctx, "work")
        for number in range(10):
            req.hold(number)
        await trio.sleep_forever()

trio.run(main)
"""


class Plain:
    """What blocks, and so runs in threads."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.blocks = trio.Event()
        self.threads: set[int] = set()
        self.closed = 0

    def add(self, a: int, b: int) -> int:
        self.threads.add(threading.get_ident())
        return a + b

    def block(self) -> str:
        trio.from_thread.run_sync(self.blocks.set)
        self.release.wait(PATIENCE)
        return "released"

    def fail(self) -> None:
        raise KeyError("in a thread")

    def count(self, number: int) -> Iterator[int]:
        try:
            for each in range(number):
                self.threads.add(threading.get_ident())
                yield each
        finally:
            self.closed += 1

    def count_and_block(self) -> Iterator[int]:
        try:
            yield 1
            self.release.wait(PATIENCE)
            yield 2
        finally:
            self.closed += 1


@attrs.frozen
class Pair:
    here: trioton.Context
    there: trioton.Context
    address: str


@asynccontextmanager
async def open_pair() -> AsyncIterator[Pair]:
    async with leak_check():
        with trio.fail_after(PATIENCE):
            async with trioton.open_context("here") as here, trioton.open_context("there") as there:
                listener = await here.bind("127.0.0.1:0")
                await there.connect(listener.address)
                yield Pair(here, there, listener.address)


async def test_plain_functions_run_in_threads_and_hold_nothing_up() -> None:
    async with open_pair() as pair:
        plain = Plain()
        RepChannel(pair.there, "x", target=plain, methods=["add", "block", "fail", "count"])
        req = ReqChannel(pair.here, "x")
        blocked = req.block()
        assert await req.add(1, 2) == 3
        with pytest.raises(KeyError, match="in a thread"):
            await req.fail()
        async with req.stream("count", 20) as items:
            assert [item async for item in items] == list(range(20))
        assert plain.closed == 1
        assert threading.get_ident() not in plain.threads
        plain.release.set()
        assert await blocked == "released"


async def test_a_thread_that_cannot_be_stopped_is_said_to_go_on() -> None:
    async with open_pair() as pair:
        plain = Plain()
        RepChannel(pair.there, "x", target=plain, methods=["block", "add"], max_running=2)
        req = ReqChannel(pair.here, "x", cancel_grace=PATIENCE)
        future = req.block()
        await plain.blocks.wait()
        start = time.perf_counter()
        future.cancel()
        with pytest.raises(RequestCancelled, match="a thread that cannot be stopped") as caught:
            await future
        assert not caught.value.is_clean
        assert time.perf_counter() - start < 5
        assert await req.add(1, 2) == 3
        plain.release.set()


async def test_a_plain_generator_that_blocks_is_said_to_go_on_too() -> None:
    async with open_pair() as pair:
        plain = Plain()
        RepChannel(pair.there, "x", target=plain, methods=["count_and_block"])
        req = ReqChannel(pair.here, "x", cancel_grace=PATIENCE)
        start = time.perf_counter()
        async with req.stream("count_and_block") as items:
            assert await anext(items) == 1
            await trio.sleep(0.1)
            future = items._future
        assert time.perf_counter() - start < 5
        assert future is not None
        error = future._error
        assert isinstance(error, RequestCancelled)
        assert not error.is_clean, "its thread is still in it"
        plain.release.set()


async def test_what_would_end_a_program_ends_only_the_request() -> None:
    class Ends:
        async def interrupt(self) -> None:
            raise KeyboardInterrupt("from the handler")

        async def leave(self) -> None:
            await trio.lowlevel.checkpoint()
            raise SystemExit(3)

        def leave_thread(self) -> None:
            raise SystemExit(4)

    async with open_pair() as pair:
        RepChannel(pair.there, "x", target=Ends(), methods=["interrupt", "leave", "leave_thread"])
        req = ReqChannel(pair.here, "x")
        for method, name in [
            ("interrupt", "KeyboardInterrupt"),
            ("leave", "SystemExit"),
            ("leave_thread", "SystemExit"),
        ]:
            with pytest.raises(RemoteError) as caught:
                await req.call(method)
            assert caught.value.type_name == name
        with pytest.raises(AttributeError):
            await req.call("nothing")


def start(program: str, address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the end of a process is seen at once on Linux")
async def test_requests_at_a_process_that_is_killed_fail_within_a_second() -> None:
    with trio.fail_after(PATIENCE):
        async with trioton.open_context("here") as here:
            listener = await here.bind("127.0.0.1:0")
            process = start(REPLIER, listener.address)
            try:
                req = ReqChannel(here, "work")
                await req.wait_repliers(1)
                futures = [req.work(number) for number in range(100)]
                assert process.stdout is not None
                lines = [await trio.to_thread.run_sync(process.stdout.readline) for _ in range(100)]
                process.kill()
                begin = time.perf_counter()
                for future in futures:
                    with pytest.raises(DeadError) as caught:
                        await future
                    assert caught.value.started is not False
                assert time.perf_counter() - begin < 1.5
                assert sorted(int(line) for line in lines) == list(range(100))
                assert process.stdout.read() == "", "none ran twice"
            finally:
                process.kill()
                process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the end of a process is seen at once on Linux")
async def test_handlers_of_a_process_that_is_killed_are_cancelled() -> None:
    ended: list[int] = []
    running: list[int] = []
    all_run, all_ended = trio.Event(), trio.Event()

    class Holds(RepChannel):
        async def hold(self, number: int) -> None:
            running.append(number)
            if len(running) == 10:
                all_run.set()
            try:
                await trio.sleep_forever()
            finally:
                ended.append(number)
                if len(ended) == 10:
                    all_ended.set()

    with trio.fail_after(PATIENCE):
        async with trioton.open_context("here") as here:
            listener = await here.bind("127.0.0.1:0")
            Holds(here, "work")
            process = start(REQUESTER, listener.address)
            try:
                await all_run.wait()
                process.kill()
                begin = time.perf_counter()
                await all_ended.wait()
                assert time.perf_counter() - begin < 1.5
                assert sorted(ended) == list(range(10))
            finally:
                process.kill()
                process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
async def test_ctrl_c_ends_a_program_while_a_handler_runs() -> None:
    with trio.fail_after(PATIENCE):
        async with trioton.open_context("here") as here:
            listener = await here.bind("127.0.0.1:0")
            for by_itself in (False, True):
                process = start(
                    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + REPLIER,
                    listener.address,
                )
                try:
                    req = ReqChannel(here, "work")
                    await req.wait_repliers(1)
                    future = req.interrupt() if by_itself else req.work(1)
                    if not by_itself:
                        assert process.stdout is not None
                        await trio.to_thread.run_sync(process.stdout.readline)
                        process.send_signal(signal.SIGINT)
                    with pytest.raises(DeadError):
                        await future
                    _, errors = await trio.to_thread.run_sync(process.communicate)
                    assert "KeyboardInterrupt" in errors
                    assert process.returncode not in (0, None)
                    req.close()
                finally:
                    process.kill()
                    process.communicate()


@pytest.mark.slow
async def test_ten_thousand_requests_in_flight_take_under_four_kibibytes_each() -> None:
    """Both ends live here, and the sum of what they keep is measured."""

    class Waits(RepChannel):
        async def wait(self, number: int) -> int:
            if self.statistics().running == 5_000:
                full.set()
            await go.wait()
            return number

    go, full = trio.Event(), trio.Event()
    async with open_pair() as pair:
        Waits(pair.there, "x", max_running=5_000)
        req = ReqChannel(pair.here, "x")
        await req.wait_repliers(1)
        warm = [req.echo(number) for number in range(100)]
        for future in warm:
            await future
        futures: list[trioton.Future[Any]] = []
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            futures = [req.wait(number) for number in range(10_000)]
            with pytest.raises(trio.WouldBlock):
                req.wait(-1)
            here, _ = tracemalloc.get_traced_memory()
            assert (here - before) / 10_000 < 4096, "at the requester"
        finally:
            tracemalloc.stop()
        await full.wait()
        go.set()
        for number, future in enumerate(futures):
            assert await future == number
