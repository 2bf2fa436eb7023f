"""Text files over channels, on the simulated network: all in the thread that runs Trio."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from typing import Any

import pytest
import trio
import trio.testing

import trioton
from tests.common import warnings_of
from tests.conftest import OpenPair, Pair
from trioton import FileWrapper, PubChannel, SubChannel
from trioton.channels.outflow import BUFFER, MAX_PIECE


class Real(io.StringIO):
    """A real stream that counts its flushes."""

    flushes = 0

    def flush(self) -> None:
        self.flushes += 1


class Made:
    """A file of context `a`, what listens to it in `b`, and the real stream behind it."""

    def __init__(self, pair: Pair, policy: trioton.Policy | None, **options: Any) -> None:
        self.pair = pair
        self.real = Real()
        self.pub = PubChannel(pair.a, "out")
        self.sub = None if policy is None else SubChannel(pair.b, "out", policy=policy)
        self.file = FileWrapper(self.pub, fallback=self.real, **options)

    async def receive(self, count: int) -> list[str]:
        assert self.sub is not None
        with trio.fail_after(60):
            return [await self.sub.receive() for _ in range(count)]


async def make(pair: Pair, policy: trioton.Policy | None = trioton.Block(1024), **options: Any) -> Made:  # noqa: B008
    made = Made(pair, policy, **options)
    if policy is not None:
        await made.pub.wait_subscribers()
    return made


# ---------------------------------------------------------------- writing


async def test_long_texts_are_sent_in_chunks(pair: Pair) -> None:
    """Case 50: 1000 characters in chunks of 256."""
    made = await make(pair, chunksize=256)
    assert made.file.write("x" * 1000) == 1000
    assert [len(message) for message in await made.receive(4)] == [256, 256, 256, 232]


async def test_without_a_chunksize_a_write_is_a_message(pair: Pair) -> None:
    made = await make(pair)
    print("hello", 3, file=made.file)
    made.file.write("")
    made.file.writelines(["a\n", "b\n"])
    assert await made.receive(5 - 1) == ["hello", " ", "3", "\n"]
    assert await made.receive(2) == ["a\n", "b\n"]


async def test_what_is_too_long_for_a_message_is_cut(pair: Pair) -> None:
    made = await make(pair)
    text = "é🐎" * MAX_PIECE
    made.file.write(text)
    assert await made.receive(2) == [text[:MAX_PIECE], text[MAX_PIECE:]]


async def test_redirected_prints_arrive_in_order(pair: Pair) -> None:
    made = await make(pair)
    with contextlib.redirect_stdout(made.file):
        for number in range(2000):
            print(number)  # noqa: T201  # this is what it is for
    lines = "".join(await made.receive(4000)).splitlines()
    assert lines == [str(number) for number in range(2000)]


async def test_logging_handler(pair: Pair) -> None:
    made = await make(pair)
    logger = logging.getLogger("test_files")
    handler = logging.StreamHandler(made.file)
    logger.addHandler(handler)
    logger.error("it %s", "failed")
    logger.removeHandler(handler)
    assert await made.receive(1) == ["it failed\n"]


async def test_before_anybody_listens_text_waits_in_the_backlog(pair: Pair) -> None:
    made = await make(pair, None)
    made.file.write("early")
    await trio.testing.wait_all_tasks_blocked()
    made.sub = SubChannel(pair.b, "out")
    assert await made.receive(1) == ["early"]
    assert made.real.getvalue() == ""


async def test_what_finds_no_place_in_the_backlog_goes_to_the_real_stream(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """The channel by itself would drop the oldest."""
    made = await make(pair, None)
    for number in range(1010):
        made.file.write(f"{number}\n")
    await trio.testing.wait_all_tasks_blocked()
    assert made.real.getvalue().splitlines() == [str(number) for number in range(1000, 1010)]
    made.sub = SubChannel(pair.b, "out")
    assert await made.receive(1000) == [f"{number}\n" for number in range(1000)]
    assert len(warnings_of(caplog)) == 1


async def test_in_trios_thread_a_write_never_waits(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """The reader takes nothing: up to 1 MiB is kept, more goes to the real stream, and that is said once."""
    made = await make(pair, trioton.Block(4))
    line = "x" * 1023 + "\n"
    for _ in range(1034):
        made.file.write(line)
    assert made.real.getvalue() == line * 10
    assert len(warnings_of(caplog)) == 1
    assert "has too much to send" in warnings_of(caplog)[0]
    assert "".join(await made.receive(BUFFER // 1024)) == line * (BUFFER // 1024)
    made.file.write("again")
    assert await made.receive(1) == ["again"]
    assert len(warnings_of(caplog)) == 1


async def test_gives_way_to_the_real_stream_when_no_reader_is_left(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    made = await make(pair)
    assert made.sub is not None
    made.file.write("one")
    assert await made.receive(1) == ["one"]
    await made.sub.aclose()
    await trio.sleep(1)
    made.file.write("two")
    made.file.write("three")
    await trio.testing.wait_all_tasks_blocked()
    assert made.real.getvalue() == "twothree"
    (warning,) = warnings_of(caplog)
    assert "has nobody who listens; its text goes to the real stream" in warning
    made.sub = SubChannel(pair.b, "out")
    await made.pub.wait_subscribers()
    made.file.write("four")
    assert await made.receive(1) == ["four"]
    made.file.flush()
    assert made.real.flushes == 1


async def test_what_waits_for_a_reader_that_leaves_is_not_lost(pair: Pair) -> None:
    made = await make(pair, trioton.Block(4))
    assert made.sub is not None
    for number in range(50):
        made.file.write(f"{number} ")
    await trio.sleep(1)
    assert made.real.getvalue() == ""
    window = made.pub.statistics().sent
    await made.sub.aclose()
    await trio.sleep(1)
    rest = made.real.getvalue().split()
    assert rest == [str(number) for number in range(50)][-len(rest) :]
    assert len(rest) >= 50 - window


async def test_a_dead_reader_gives_way(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        made = await make(pair, trioton.Block(4))
        for number in range(50):
            made.file.write(f"{number} ")
        pair.net.partition({"a"}, {"b"})
        await trio.sleep(100)
        assert made.real.getvalue().endswith("48 49 ")
        made.file.write("50")
        await trio.testing.wait_all_tasks_blocked()
        assert made.real.getvalue().endswith("49 50")


async def test_block_deadline_of_the_channel_bounds_the_wait(pair: Pair) -> None:
    made = await make(pair, None)
    await made.file.aclose()
    pub = PubChannel(pair.a, "bounded", block_deadline=2.0)
    sub = SubChannel(pair.b, "bounded", policy=trioton.Block(1))
    await pub.wait_subscribers()
    file = FileWrapper(pub, fallback=made.real)
    for number in range(20):
        file.write(f"{number} ")
    await trio.sleep(100)
    taken = sub.receive_all_nowait()
    assert "".join(taken) + made.real.getvalue() == "".join(f"{number} " for number in range(20))
    assert made.real.getvalue()


# ---------------------------------------------------------------- closing


async def test_what_was_printed_before_the_context_closes_arrives(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        made = await make(pair, trioton.Block(4))
        got: list[str] = []

        async def read() -> None:
            assert made.sub is not None
            async for message in made.sub:
                got.append(message)
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for number in range(200):
                made.file.write(f"{number} ")
            await pair.a.aclose()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert got == [f"{number} " for number in range(200)]
        assert made.real.getvalue() == ""


async def test_what_grace_cuts_off_goes_to_the_real_stream(
    open_pair: OpenPair, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pair(grace=3.0) as pair:
        made = await make(pair, trioton.Block(4))
        for number in range(200):
            made.file.write(f"{number} ")
        start = trio.current_time()
        await pair.a.aclose()
        assert 3.0 <= trio.current_time() - start <= 4.5
        made.file.write("later")
        assert made.real.getvalue().endswith(" 198 199 later")
        assert len([text for text in warnings_of(caplog) if "real stream" in text]) == 1
        made.file.flush()
        await made.file.aclose()
        with pytest.raises(ValueError, match="closed file"):
            made.file.write("x")


async def test_a_cancelled_context_keeps_nothing_back(open_pair: OpenPair) -> None:
    real = Real()
    with trio.move_on_after(1):
        async with open_pair() as pair:
            sub = SubChannel(pair.b, "out", policy=trioton.Block(4))
            pub = PubChannel(pair.a, "out")
            await pub.wait_subscribers()
            file = FileWrapper(pub, fallback=real)
            file.write("x" * 100_000)
            await trio.sleep_forever()
    assert sub.closed or sub.pending >= 0
    rest = real.getvalue()
    assert 0 < len(rest) < 100_000
    file.write("y")
    assert real.getvalue() == rest + "y"


async def test_flush_of_the_context_waits_for_what_was_printed(pair: Pair) -> None:
    made = await make(pair, trioton.Block(4))
    for number in range(100):
        made.file.write(f"{number} ")
    flushed: list[int] = []

    async def flush() -> None:
        await pair.a.flush()
        flushed.append(taken)

    taken = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flush)
        for taken in range(1, 101):  # noqa: B007
            await made.receive(1)
            await trio.sleep(0.1)
    assert flushed == [100]


async def test_aclose_waits_until_all_is_sent_and_closes_the_channel(pair: Pair) -> None:
    made = await make(pair)
    async with made.file as file:
        for number in range(100):
            file.write(f"{number} ")
    assert made.pub.statistics().sent == 100
    assert made.file.closed
    with pytest.raises(trio.ClosedResourceError):
        await made.pub.send("x")
    assert await made.receive(100) == [f"{number} " for number in range(100)]
    await made.file.aclose()
    made.file.close()


async def test_with_closes_and_what_was_written_arrives(pair: Pair) -> None:
    """Case 50: it is a context manager."""
    made = await make(pair, trioton.Block(4))
    with made.file as file:
        for number in range(100):
            file.write(f"{number} ")
    assert made.file.closed
    assert await made.receive(100) == [f"{number} " for number in range(100)]
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.ClosedResourceError):
        await made.pub.send("x")


async def test_cancelled_aclose_closes(pair: Pair) -> None:
    made = await make(pair, trioton.Block(4))
    made.file.write("x" * 200_000)
    with trio.move_on_after(1) as scope:
        await made.file.aclose()
    assert scope.cancelled_caught
    assert made.file.closed
    await trio.testing.wait_all_tasks_blocked()
    assert 0 < len(made.real.getvalue()) < 200_000


async def test_channel_closed_under_the_file(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    made = await make(pair)
    made.pub.close()
    made.file.write("x")
    await trio.testing.wait_all_tasks_blocked()
    assert made.real.getvalue() == "x"
    assert "was closed" in warnings_of(caplog)[0]


async def test_leaves_no_task(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        async with trioton.testing.leak_check():
            made = await make(pair, None)
            await made.file.aclose()


# ---------------------------------------------------------------- reading


@pytest.fixture
async def typed(pair: Pair) -> tuple[PubChannel[str], SubChannel[str]]:
    """Where `b` types, and where `a` reads."""
    sub = SubChannel(pair.a, "in")
    pub = PubChannel(pair.b, "in")
    await pub.wait_subscribers()
    return pub, sub


async def send(pub: PubChannel[str], *texts: str) -> None:
    await pub.send_many(texts)
    await trio.sleep(1)


async def test_lines_get_a_newline(typed: tuple[PubChannel[str], SubChannel[str]]) -> None:
    """Case 50: readline appends a newline."""
    pub, sub = typed
    file = FileWrapper(sub)
    await send(pub, "hello", "has one\n", "", "two\nlines", "long line")
    got = [file.readline() for _ in range(5)]
    assert got == ["hello\n", "has one\n", "\n", "two\n", "lines\n"]
    assert [file.readline(4), file.readline(0), file.readline(), file.readable()] == ["long", "", " line\n", True]
    with pytest.raises(BlockingIOError, match="must not wait"):
        file.readline()
    await send(pub, "abc", "d")
    with pytest.raises(BlockingIOError):
        file.read(10)
    assert file.read(2) == "ab"
    sub.close()
    assert file.read() == "c\nd\n"
    assert file.readline() == ""
    assert list(file) == []


async def test_iterating_ends_with_the_context(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        sub, pub = SubChannel(pair.a, "in"), PubChannel(pair.b, "in")
        await pub.wait_subscribers()
        await send(pub, "one", "two")
        file = FileWrapper(sub)
        await pair.a.aclose()
        assert list(file) == ["one\n", "two\n"]
        file.close()
        assert sub.closed


async def test_echo_sends_again_what_was_read(typed: tuple[PubChannel[str], SubChannel[str]], pair: Pair) -> None:
    """Case 50: echo publishes the line."""
    pub, sub = typed
    echo = PubChannel(pair.a, "echo")
    echoed = SubChannel(pair.b, "echo")
    await echo.wait_subscribers()
    file = FileWrapper(sub, echo=echo)
    await send(pub, "hello", "you")
    assert file.readlines(1) == ["hello\n"]
    assert await echoed.receive() == "hello"
    with pytest.raises(trio.WouldBlock):
        echoed.receive_nowait()
    assert file.readline() == "you\n"
    assert await echoed.receive() == "you"
    await file.aclose()


async def test_an_echo_that_nobody_hears_is_dropped(
    typed: tuple[PubChannel[str], SubChannel[str]], pair: Pair, capfd: pytest.CaptureFixture[str]
) -> None:
    pub, sub = typed
    file = FileWrapper(sub, echo=PubChannel(pair.a, "echo", backlog=0))
    await send(pub, "hello")
    assert file.readline() == "hello\n"
    await trio.testing.wait_all_tasks_blocked()
    file.close()
    assert capfd.readouterr() == ("", "")


async def test_reader_whose_policy_has_ended_it(pair: Pair) -> None:
    sub, pub = SubChannel(pair.a, "in", policy=trioton.Disconnect(1)), PubChannel(pair.b, "in")
    await pub.wait_subscribers()
    await send(pub, "one", "two", "three")
    file = FileWrapper(sub)
    assert file.readline() == "one\n"
    with pytest.raises(OSError, match="Disconnect"):
        file.readline()


# ---------------------------------------------------------------- what a text file is


async def test_it_is_a_text_file(pair: Pair) -> None:
    made = await make(pair, isatty=True)
    file = made.file
    assert isinstance(file, io.TextIOBase)
    assert (file.encoding, file.errors, file.newlines) == ("utf-8", "strict", None)
    assert (file.isatty(), file.writable(), file.readable(), file.seekable()) == (True, True, False, False)
    assert file.name == "out.txt.pub-sub"
    assert repr(file) == "<FileWrapper 'out.txt.pub-sub'>"
    for call in (file.fileno, file.tell, file.read, file.readline, file.detach, lambda: file.seek(0), file.truncate):
        with pytest.raises(io.UnsupportedOperation):
            call()
    with pytest.raises(OSError, match="fileno"):
        file.fileno()
    with pytest.raises(UnicodeEncodeError):
        file.write("\ud800")
    for wrong in (b"bytes", None, 3):
        with pytest.raises(TypeError, match="text must be a str"):
            file.write(wrong)  # type: ignore[arg-type]
    await file.aclose()
    assert repr(file) == "<FileWrapper 'out.txt.pub-sub', closed>"
    for use in (file.isatty, file.flush, file.writable, lambda: file.write(""), file.__enter__, lambda: next(file)):
        with pytest.raises(ValueError, match="closed file"):
            use()


async def test_a_reader_cannot_be_written(pair: Pair) -> None:
    file = FileWrapper(SubChannel(pair.a, "in"))
    assert not file.isatty()
    file.flush()
    with pytest.raises(io.UnsupportedOperation, match="not writable"):
        file.write("x")
    with pytest.raises(TypeError, match="size must be"):
        file.read("3")  # type: ignore[arg-type]


async def test_real_stream_is_that_in_whose_place_it_stands(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "__stdout__", out)
    monkeypatch.setattr(sys, "__stderr__", err)
    files = [FileWrapper(PubChannel(pair.a, slot, backlog=0)) for slot in ("out", "err")]
    monkeypatch.setattr(sys, "stderr", files[1])
    files[0].write("to out")
    files[1].write("to err")
    await trio.testing.wait_all_tasks_blocked()
    assert (out.getvalue(), err.getvalue()) == ("to out", "to err")
    monkeypatch.setattr(sys, "__stdout__", None)
    files[0].write("lost")
    await trio.testing.wait_all_tasks_blocked()
    files[0].flush()


async def test_real_stream_that_fails_fails_the_write_but_not_the_context(pair: Pair) -> None:
    class Broken(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    file = FileWrapper(PubChannel(pair.a, "out", backlog=0), fallback=Broken())
    file.write("x")
    await trio.testing.wait_all_tasks_blocked()
    await pair.a.aclose()
    with pytest.raises(BrokenPipeError):
        file.write("y")


@pytest.mark.parametrize(
    ("options", "kind", "complaint"),
    [
        ({"channel": sys.stdout}, TypeError, "channel must be a PubChannel or SubChannel of TEXT, not"),
        ({"slot_type": trioton.OBJECT}, TypeError, "channel must be a PubChannel or SubChannel of TEXT, not"),
        ({"chunksize": -1}, ValueError, "chunksize must be from 0 to 16000, not -1"),
        ({"chunksize": 16001}, ValueError, "chunksize must be from 0 to 16000, not 16001"),
        ({"chunksize": "1"}, TypeError, "chunksize must be an int, not '1'"),
        ({"echo": "x"}, TypeError, "echo must be a PubChannel of TEXT or None, not 'x'"),
        ({"echo": "pub"}, ValueError, "echo is for files that are read"),
        ({"isatty": 1}, TypeError, "isatty must be True or False, not 1"),
        ({"fallback": 3}, TypeError, "fallback must be a real text file or None, not 3"),
    ],
)
async def test_wrong_arguments(options: dict[str, Any], kind: type[Exception], complaint: str, pair: Pair) -> None:
    channel = options.pop("channel", PubChannel(pair.a, "out", options.pop("slot_type", trioton.TEXT)))
    if options.get("echo") == "pub":
        options["echo"] = channel
    with pytest.raises(kind, match=complaint):
        FileWrapper(channel, **options)


async def test_a_closed_context_takes_no_file(pair: Pair) -> None:
    pub = PubChannel(pair.a, "out")
    await pair.a.aclose()
    with pytest.raises(trio.ClosedResourceError):
        FileWrapper(pub)
