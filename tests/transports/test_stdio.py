"""Pipes: to a child, to the parent, and what becomes of the descriptors."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from trioton.transports import stdio
from trioton.transports.stdio import FdTransport, from_process, stdio_transport

pytestmark = pytest.mark.net

ECHO_IN_CAPITALS = "import sys; [sys.stdout.write(line.upper()) or sys.stdout.flush() for line in sys.stdin]"

STDIO_CHILD = """
import subprocess, sys
import trio
from trioton.transports.stdio import stdio_transport

async def main():
    async with stdio_transport() as transport:
        print("printed")
        subprocess.run([sys.executable, "-c", "print('by a child', input('asked'))"])
        assert sys.stdin.read() == ""
        while data := await transport.receive_some():
            await transport.send_all(data[::-1])
        await transport.send_all(b"end")

trio.run(main)
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    for fd in (read_fd, write_fd):
        try:
            os.close(fd)
        except OSError:
            pass


async def start(*argv: str) -> trio.Process:
    process = await trio.lowlevel.open_process(
        [sys.executable, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(stdio.__file__).parents[2])},
    )
    assert isinstance(process, trio.Process)
    return process


@pytest.mark.slow
async def test_talking_to_a_child() -> None:
    process = await start("-u", "-c", ECHO_IN_CAPITALS)
    assert process.stderr is not None
    async with process.stderr:
        transport = from_process(process)
        assert transport.kind == "stdio"
        assert not transport.is_loopback
        assert transport.peer_uid is None
        assert transport.remote_address == f"stdio:process {process.pid}"
        assert transport.local_address == f"stdio:process {os.getpid()}"
        async with transport:
            assert transport.try_send([b"hel", b"lo\n"]) == 6
            assert await transport.receive_some() == b"HELLO\n"
            await transport.send_eof()
            await transport.send_eof()
            assert await transport.receive_some() == b""
        assert await process.wait() == 0
    assert process.stdin is not None
    with pytest.raises(trio.ClosedResourceError):
        await process.stdin.send_all(b"x")


@pytest.mark.slow
async def test_talking_to_the_parent() -> None:
    process = await start("-c", STDIO_CHILD)
    assert process.stderr is not None
    printed = bytearray()
    async with process.stderr, from_process(process, is_loopback=True) as transport:
        assert transport.is_loopback
        await transport.send_all(b"olleh")
        assert await transport.receive_some() == b"hello"
        await transport.send_eof()
        assert await transport.receive_some() == b"end"
        assert await transport.receive_some() == b""
        assert await process.wait() == 0
        async for data in process.stderr:
            printed += data
    assert b"printed" in printed
    assert b"asked" in printed
    assert b"EOFError" in printed


@pytest.mark.slow
async def test_a_process_without_pipes() -> None:
    process = await trio.lowlevel.open_process([sys.executable, "-c", ""])
    with pytest.raises(ValueError, match="stdin=PIPE and stdout=PIPE"):
        from_process(process)
    await process.wait()


async def test_taking_over_descriptors(pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    read_fd, write_fd = pipe
    stray_read, stray_write = os.pipe()
    transport = stdio_transport(read_fd, write_fd, stray_output=stray_write)
    assert os.read(read_fd, 10) == b""
    os.write(write_fd, b"stray")
    assert os.read(stray_read, 10) == b"stray"
    os.close(stray_read)
    os.close(stray_write)
    await transport.send_all(b"x")
    assert await transport.receive_some() == b"x"
    transport.close()


def test_descriptors_that_cannot_be_waited_for(tmp_path: Path, pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    with open(tmp_path / "file", "w+b") as file, open(os.devnull, "rb") as nothing:
        for other in (file.fileno(), nothing.fileno()):
            with pytest.raises(
                ValueError, match=f"write_fd must be a pipe, a socket or a terminal, and descriptor {other}"
            ):
                FdTransport(read_fd, other)
            with pytest.raises(ValueError, match="read_fd must be a pipe"):
                FdTransport(other, write_fd)
            with pytest.raises(ValueError, match="stdout must be a pipe"):
                stdio_transport(read_fd, other)
    with pytest.raises(ValueError, match="must be two descriptors"):
        FdTransport(read_fd, read_fd)
    os.close(write_fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        FdTransport(read_fd, write_fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        stdio_transport(read_fd, write_fd)
    assert os.get_blocking(read_fd)


def test_taking_over_fails_halfway(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    dup = os.dup
    allowed = 1

    def dup_once(fd: int) -> int:
        nonlocal allowed
        if not allowed:
            raise OSError(errno.EMFILE, "Too many open files")
        allowed -= 1
        return dup(fd)

    monkeypatch.setattr(os, "dup", dup_once)
    with pytest.raises(OSError, match="Too many open files"):
        stdio_transport(*pipe)


async def test_the_blocking_mode_is_restored(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    os.set_blocking(write_fd, False)
    transport = FdTransport(os.dup(read_fd), os.dup(write_fd))
    assert not os.get_blocking(read_fd)
    assert not os.get_blocking(write_fd)
    await transport.aclose()
    assert os.get_blocking(read_fd)
    assert not os.get_blocking(write_fd)


async def test_the_blocking_mode_of_a_shared_file_is_restored() -> None:
    left, right = socket.socketpair()
    with left, right:
        transport = FdTransport(os.dup(left.fileno()), os.dup(left.fileno()))
        assert not os.get_blocking(left.fileno())
        await transport.aclose()
        assert os.get_blocking(left.fileno())


async def test_the_end_reaches_the_other_side_of_a_socket() -> None:
    left, right = socket.socketpair()
    with right:
        fd = left.detach()
        async with FdTransport(fd, os.dup(fd)) as transport:
            await transport.send_eof()
            assert right.recv(10) == b""
            right.send(b"but this still comes")
            assert await transport.receive_some() == b"but this still comes"


async def test_closing_wakes_a_reader_on_pipes(pipe: tuple[int, int]) -> None:
    transport = FdTransport(*map(os.dup, pipe))
    await transport.send_eof()

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await transport.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        transport.close()


async def test_nobody_reads(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    async with FdTransport(os.dup(read_fd), os.dup(write_fd)) as transport:
        other_read, _ = os.pipe()
        os.close(_)
        os.dup2(other_read, read_fd)
        os.dup2(other_read, transport._read_handle)
        os.close(other_read)
        with pytest.raises(trio.BrokenResourceError, match="Broken pipe"):
            transport.try_send([b"x"])
        with pytest.raises(trio.BrokenResourceError, match="Broken pipe"):
            await transport.send_all(b"x")


def test_a_forgotten_transport_is_closed_with_a_warning(pipe: tuple[int, int]) -> None:
    transport = FdTransport(*map(os.dup, pipe), local_address="here", remote_address="there")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport
    assert [str(warning.message) for warning in caught] == ["unclosed transport <FdTransport here to there>"]
    assert caught[0].category is ResourceWarning


def test_windows(monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(NotImplementedError, match="Windows"):
        FdTransport(*pipe)
