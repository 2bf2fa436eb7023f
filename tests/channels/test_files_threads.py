"""Text files over channels as threads use them: real threads, a real clock, and what is printed in a process of its own."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest
import trio

import trioton
import trioton.testing
from trioton import FileWrapper, PubChannel, SubChannel
from trioton.channels.outflow import PATIENCE, ROOM

pytestmark = pytest.mark.net

in_thread = trio.to_thread.run_sync


@attrs.frozen
class Ends:
    """A context that writes and one that reads, joined in memory."""

    writer: trioton.Context
    reader: trioton.Context


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    with trio.fail_after(60):
        async with (
            trioton.testing.leak_check(),
            trioton.open_context("writer", grace=1.0) as writer,
            trioton.open_context("reader", grace=1.0) as reader,
        ):
            await writer.bind("mem://files")
            await reader.connect("mem://files")
            yield Ends(writer, reader)


async def make(
    ends: Ends,
    policy: trioton.Policy = trioton.Block(1024),  # noqa: B008
    **options: Any,
) -> tuple[FileWrapper, SubChannel[str]]:
    pub, sub = PubChannel(ends.writer, "out"), SubChannel(ends.reader, "out", policy=policy)
    await pub.wait_subscribers()
    return FileWrapper(pub, **options), sub


async def receive_text(sub: SubChannel[str], size: int) -> str:
    text = ""
    while len(text) < size:
        text += await sub.receive()
    return text


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110  # threads set no events of Trio
            await trio.sleep(0.005)


async def test_prints_of_a_thread_all_arrive_in_order_though_the_reader_is_slow(ends: Ends) -> None:
    """K2, in small: the writer is held up, and nothing is lost."""
    file, sub = await make(ends, trioton.Block(64))
    count, seen = 20_000, []

    def work() -> None:
        for number in range(count):
            print(number, file=file)
            if number % 1000 == 0:
                seen.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, work)
        await until(lambda: bool(seen))
        await trio.sleep(0.2)
        assert seen[-1] < count - 1000  # it waits
        size = sum(len(str(number)) + 1 for number in range(count))
        text = await receive_text(sub, size)
    assert text.split() == [str(number) for number in range(count)]


async def test_a_thread_waits_while_the_reader_is_out_of_room(ends: Ends) -> None:
    file, sub = await make(ends, trioton.Block(1))
    written = []

    def work() -> None:
        for _ in range(100):
            file.write("x" * 10_000)
            written.append(10_000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, work)
        await until(lambda: sum(written) >= ROOM)
        await trio.sleep(0.3)
        assert ROOM <= sum(written) <= ROOM + 50_000
        assert len(await receive_text(sub, 1_000_000)) == 1_000_000
    assert len(written) == 100


async def test_whole_writes_of_threads_do_not_mix(ends: Ends) -> None:
    file, sub = await make(ends, trioton.Block(64), chunksize=7)
    word_size, words, threads = 50, 200, 4

    def work(letter: str) -> None:
        for number in range(words):
            file.write(f"{letter}{number:04}" + letter * (word_size - 6) + "\n")

    async with trio.open_nursery() as nursery:
        for letter in "abcd":
            nursery.start_soon(in_thread, work, letter)
        file.write("M" * (word_size - 1) + "\n")
        text = await receive_text(sub, (threads * words + 1) * word_size)
    lines = text.splitlines()
    assert {len(set(line) - set("0123456789")) for line in lines} == {1}
    for letter in "abcd":
        assert [int(line[1:5]) for line in lines if line[0] == letter] == list(range(words))


async def test_a_thread_that_waits_goes_on_when_the_reader_leaves(ends: Ends) -> None:
    real = io.StringIO()
    file, sub = await make(ends, trioton.Block(1), fallback=real)
    done = threading.Event()

    def work() -> None:
        for number in range(3000):
            file.write(f"{number:099}\n")
        done.set()
        file.flush()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, work)
        await trio.sleep(0.2)
        assert not done.is_set()
        await sub.aclose()
    numbers = [int(line) for line in real.getvalue().splitlines()]
    assert numbers == list(range(numbers[0], 3000))
    assert numbers[0] < 10


async def test_flush_of_a_thread_waits_until_all_is_on_the_channel(ends: Ends) -> None:
    file, _sub = await make(ends)

    def work() -> None:
        for number in range(100):
            file.write(str(number))
        file.flush()
        sent.append(file._channel.statistics().sent)  # type: ignore[union-attr]

    sent: list[int] = []
    await in_thread(work)
    assert sent == [100]


async def test_close_of_a_thread_sends_all(ends: Ends) -> None:
    file, sub = await make(ends)

    def work() -> None:
        with file:
            file.writelines(f"{number} " for number in range(1000))

    await in_thread(work)
    assert file.closed
    assert (await receive_text(sub, 3890)).split() == [str(number) for number in range(1000)]


async def test_cancelled_worker_leaves_its_write(ends: Ends) -> None:
    file, _sub = await make(ends, trioton.Block(1))
    outcomes = []

    def work() -> None:
        try:
            while True:
                file.write("x" * 10_000)
        except trio.Cancelled:
            outcomes.append("cancelled")
            raise

    with trio.move_on_after(0.3) as scope:
        await in_thread(work)
    assert scope.cancelled_caught
    assert outcomes == ["cancelled"]


async def test_a_thread_that_holds_a_lock_which_trio_waits_for_is_let_go(ends: Ends) -> None:
    """The handler's lock is held by a thread inside ``write``, and a task of Trio logs, too: neither may wait for the other for ever."""
    file, sub = await make(ends, trioton.Block(1))
    logger = logging.getLogger("test_files_threads")
    handler = logging.StreamHandler(file)
    logger.addHandler(handler)
    logger.propagate = False
    try:

        def work() -> None:
            for _ in range(20):
                logger.error("x" * 10_000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_thread, work)
            await trio.sleep(0.3)
            begun = trio.current_time()
            logger.error("from Trio")
            assert trio.current_time() - begun < 10 * PATIENCE
            text = await receive_text(sub, 20 * 10_001 + len("from Trio\n"))
        assert text.count("x" * 10_000 + "\n") == 20
        assert "\nfrom Trio\n" in text
    finally:
        logger.removeHandler(handler)


async def test_a_signal_handler_may_print_inside_a_print(ends: Ends) -> None:
    """The lock of the queue may be taken again by the thread that holds it."""
    file, sub = await make(ends)
    assert file._outflow is not None
    with file._outflow._condition:
        file.write("inside")
    assert await sub.receive() == "inside"


# ---------------------------------------------------------------- reading


async def test_input_waits_for_a_line_in_a_thread(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """K4: prompt, answer and echo."""
    out, out_sub = await make(ends)
    typing, typed = PubChannel(ends.reader, "in"), SubChannel(ends.writer, "in")
    echo, echoed = PubChannel(ends.writer, "echo"), SubChannel(ends.reader, "echo")
    await typing.wait_subscribers()
    await echo.wait_subscribers()
    source = FileWrapper(typed, echo=echo, isatty=True)
    monkeypatch.setattr(sys, "stdin", source)
    monkeypatch.setattr(sys, "stdout", out)
    answers: list[str] = []

    def ask() -> None:
        answers.append(input("name? "))
        with contextlib.suppress(EOFError):
            answers.append(input("more? "))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, ask)
        assert await out_sub.receive() == "name? "
        await typing.send("Ann")
        assert await echoed.receive() == "Ann"
        assert await out_sub.receive() == "more? "
        typed.close()  # the end of the input, wherever the thread is
    assert answers == ["Ann"]


async def test_cancelled_worker_leaves_its_read_and_loses_nothing(ends: Ends) -> None:
    typing, typed = PubChannel(ends.reader, "in"), SubChannel(ends.writer, "in")
    await typing.wait_subscribers()
    file = FileWrapper(typed)
    with trio.move_on_after(0.1) as scope:
        await in_thread(file.readline)
    assert scope.cancelled_caught
    await typing.send("hello")
    assert await in_thread(file.readline) == "hello\n"
    assert await in_thread(file.read, 0) == ""


async def test_threads_that_trio_does_not_know() -> None:
    """They read to the end when Trio ends, and what they print then goes to the real stream."""
    real = io.StringIO()
    got: list[str] = []
    begun = trio.Event()

    def work() -> None:
        trio.from_thread.run_sync(begun.set, trio_token=token)
        got.extend(list(source))
        got.append("end")
        out.write("late")
        out.flush()
        out.close()
        source.close()

    async with trioton.open_context() as ctx:
        token = trio.lowlevel.current_trio_token()
        source = FileWrapper(SubChannel(ctx, "in"))
        out = FileWrapper(PubChannel(ctx, "out"), fallback=real)
        thread = threading.Thread(target=work)
        thread.start()
        await begun.wait()
        await trio.sleep(0.05)
    await until(lambda: not thread.is_alive())
    assert got == ["end"]
    assert real.getvalue() == "late"


def test_a_thread_outlives_trio() -> None:
    real = io.StringIO()
    files: list[FileWrapper] = []

    async def main() -> None:
        async with trioton.open_context() as ctx:
            files.append(FileWrapper(PubChannel(ctx, "out"), fallback=real))
            files.append(FileWrapper(SubChannel(ctx, "in")))
            files[0].write("early ")

    trio.run(main)
    got: list[str] = []

    def work() -> None:
        files[0].write("late")
        files[0].flush()
        got.append(files[1].readline())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert got == [""]
    assert real.getvalue() == "late"
    for file in files:
        file.close()


# ---------------------------------------------------------------- processes


PROGRAM = """
import os, sys, threading, trio, trioton

async def main():
    async with trioton.open_context("writer") as writer, trioton.open_context("reader") as reader:
        await writer.bind("mem://x")
        await reader.connect("mem://x")
        pub, sub = trioton.PubChannel(writer, "out"), trioton.SubChannel(reader, "out")
        await pub.wait_subscribers()
        sys.stdout = trioton.FileWrapper(pub)
        print("over the channel")
        pid = os.fork()
        if not pid:
            print("of the child")
            sys.stdout.flush()
            sys.stdout.close()
            os._exit(0)
        os.waitpid(pid, 0)
        got = [await sub.receive(), await sub.receive()]
        sys.__stdout__.write(f"{got}\\n")
    print("after the context")

trio.run(main)
print("after Trio")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_and_one_whose_context_is_closed_print_to_the_real_stream() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines() == [
        "of the child",
        "['over the channel', '\\n']",
        "after the context",
        "after Trio",
    ]


INTERRUPTED_READER = """
import os, signal, threading
import trio
import trioton

ready = threading.Event()


async def main():
    global file, token, told
    token, told = trio.lowlevel.current_trio_token(), trio.Event()
    async with trioton.open_context() as a, trioton.open_context() as b:
        await a.bind("mem://files")
        await b.connect("mem://files")
        lines, typing = trioton.SubChannel(a, "in"), trioton.PubChannel(b, "in")
        file = trioton.FileWrapper(lines)
        await typing.wait_subscribers()
        ready.set()
        while not lines.statistics().waiting:
            await trio.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        await told.wait()
        await typing.send("first")
        await typing.send("second")
        await trio.sleep_forever()


threading.Thread(target=trio.run, args=(main,), daemon=True).start()
ready.wait()
try:
    file.readline()
except KeyboardInterrupt:
    token.run_sync_soon(told.set)
print(file.readline() + file.readline(), end="")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_reader_that_ctrl_c_interrupts_takes_no_line() -> None:
    command = [sys.executable, "-c", INTERRUPTED_READER]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (result.stdout, result.stderr) == ("first\nsecond\n", "")


async def test_several_threads_share_the_lines(ends: Ends) -> None:
    typing, typed = PubChannel(ends.reader, "in"), SubChannel(ends.writer, "in")
    await typing.wait_subscribers()
    file = FileWrapper(typed)
    lines: list[str] = []

    def read() -> None:
        while line := file.readline():
            lines.append(line)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(in_thread, read)
        for number in range(400):
            await typing.send(f"{number:03}")
        await until(lambda: len(lines) == 400)
        typed.close()
    assert sorted(lines) == [f"{number:03}\n" for number in range(400)]


async def test_what_a_reader_writes_comes_after_the_echo(ends: Ends) -> None:
    """Two files have two tasks that send, and chance decides which of them is first when both may go on."""
    typing, typed = PubChannel(ends.reader, "in"), SubChannel(ends.writer, "in")
    echo, echoed = PubChannel(ends.writer, "echo"), SubChannel(ends.reader, "echo")
    out, said = await make(ends)
    await typing.wait_subscribers()
    await echo.wait_subscribers()
    source = FileWrapper(typed, echo=echo)
    count = 200

    def answer() -> None:
        for _ in range(count):
            out.write(source.readline())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, answer)
        for number in range(count):
            await typing.send(f"{number}\n")
        seen: list[tuple[bool, str]] = []
        async for channel, text in trioton.merge(echoed, said):
            seen.append((channel is echoed, text))
            if len(seen) == 2 * count:
                break
    assert seen == [(is_echo, f"{number}\n") for number in range(count) for is_echo in (True, False)]
