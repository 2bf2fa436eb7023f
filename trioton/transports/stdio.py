"""A transport over two descriptors: the pipes of a child process, or this process's own standard input and output.

Pipes are put into non-blocking mode, which holds for everybody who shares them; closing the transport restores what was.
There is nothing of the kind on Windows, where making one raises `NotImplementedError`.
"""

from __future__ import annotations

import functools
import os
import socket
import stat
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from .base import Buffer
from .polled import PolledTransport

# There is nothing here for Windows, and type checkers need not look for it there.
assert not TYPE_CHECKING or sys.platform != "win32"

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2


class FdTransport(PolledTransport):
    """A transport that reads from one descriptor and writes to another, and owns both.

    The descriptors may be pipes, stream sockets or terminals. `send_eof` closes the one for writing.
    """

    def __init__(
        self,
        read_fd: int,
        write_fd: int,
        *,
        local_address: str = "stdio:here",
        remote_address: str = "stdio:there",
        is_loopback: bool = False,
    ) -> None:
        """Take over `read_fd` and `write_fd`; if this raises, they are still the caller's.

        Args:
            read_fd: What is read from.
            write_fd: What is written to; a descriptor of its own, even where both lead to the same socket.
            local_address: What this end is called in the log.
            remote_address: What the other end is called in the log.
            is_loopback: Whether the bytes certainly stay on this machine; no pipe can tell that by itself.

        Raises:
            ValueError: The two are the same, or one is a file that cannot be waited for.
            OSError: One of them is not open.
            NotImplementedError: On Windows.
        """
        if sys.platform == "win32":
            raise NotImplementedError("pipes cannot be waited for on Windows")
        if read_fd == write_fd:
            raise ValueError(f"read_fd and write_fd must be two descriptors, not both {read_fd}")
        _check_can_be_waited_for(read_fd=read_fd, write_fd=write_fd)
        super().__init__(
            kind="stdio", local_address=local_address, remote_address=remote_address, is_loopback=is_loopback
        )
        # Both modes are read before either is changed, as the two may share one.
        self._was_blocking = {fd: os.get_blocking(fd) for fd in (read_fd, write_fd)}
        for fd in self._was_blocking:
            os.set_blocking(fd, False)
        self._read_handle = read_fd
        self._write_handle = write_fd
        self._read = functools.partial(os.read, read_fd)
        self._read_into = functools.partial(_read_into, read_fd)
        self._write = functools.partial(os.write, write_fd)
        self._write_vector = functools.partial(_write_vector, write_fd)

    def __del__(self) -> None:
        """Close descriptors that were forgotten, with a warning as for a forgotten socket."""
        if not getattr(self, "_closed", True) and hasattr(self, "_was_blocking"):
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self)
            self._close_handles(wake=None)

    def _end_writing(self) -> None:
        fd = self._write_handle
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            # Another descriptor, the one for reading, may hold the same socket open.
            with socket.socket(fileno=os.dup(fd)) as sock:
                sock.shutdown(socket.SHUT_WR)
        self._close_handle(fd, wake=trio.lowlevel.notify_closing)

    def _close_handles(self, *, wake: Callable[[int], None] | None) -> None:
        for fd in list(self._was_blocking):
            self._close_handle(fd, wake=wake)

    def _close_handle(self, fd: int, *, wake: Callable[[int], None] | None) -> None:
        if wake is not None:
            wake(fd)
        was_blocking = self._was_blocking.pop(fd)
        os.set_blocking(fd, was_blocking)
        os.close(fd)


def _check_can_be_waited_for(**fds: int) -> None:
    for name, fd in fds.items():
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)):
            raise ValueError(f"{name} must be a pipe, a socket or a terminal, and descriptor {fd} is none")


def _read_into(fd: int, buffer: memoryview) -> int:
    return os.readv(fd, [buffer])


def _write_vector(fd: int, buffers: Sequence[Buffer]) -> int:
    return os.writev(fd, buffers) if buffers else 0


def from_process(process: trio.Process, *, is_loopback: bool = False) -> FdTransport:
    """A transport to a child that was started with pipes for its standard input and output.

    It takes the two pipes over: `process.stdin` and `process.stdout` are closed streams afterwards. Closing the transport
    closes the pipes; the process itself stays the caller's.

    Args:
        process: What `trio.lowlevel.open_process` returned for ``stdin=subprocess.PIPE, stdout=subprocess.PIPE``.
        is_loopback: Whether the bytes certainly stay on this machine; not so if the child is ``ssh``.

    Raises:
        ValueError: The process has no such pipes.
    """
    streams = (process.stdout, process.stdin)
    pipes = [stream for stream in streams if isinstance(stream, trio.lowlevel.FdStream)]
    if len(pipes) < len(streams):
        raise ValueError("process must have been started with stdin=PIPE and stdout=PIPE")
    read_fd, write_fd = (os.dup(pipe.fileno()) for pipe in pipes)
    for pipe in pipes:
        pipe.close()
    return FdTransport(
        read_fd,
        write_fd,
        local_address=f"stdio:process {os.getpid()}",
        remote_address=f"stdio:process {process.pid}",
        is_loopback=is_loopback,
    )


def stdio_transport(
    stdin: int = STDIN, stdout: int = STDOUT, *, stray_output: int = STDERR, is_loopback: bool = False
) -> FdTransport:
    """A transport over this process's own standard input and output, to whoever has started it.

    It takes the two over for good: from then on descriptor `stdin` is at its end and what is written to `stdout` goes to
    `stray_output`, so that no `print` and no child process can cut into the stream. Call it before anything has read from
    `sys.stdin`, which may take more than it hands out.

    Args:
        stdin: The descriptor to read from.
        stdout: The descriptor to write to.
        stray_output: Where to send what is printed from now on.
        is_loopback: Whether the bytes certainly stay on this machine.

    Raises:
        ValueError: One of the descriptors is a file that cannot be waited for.
        OSError: One of the descriptors is not open.
        NotImplementedError: On Windows.
    """
    # Before anything is duplicated: where one of them is closed, the copy of another could take its number.
    _check_can_be_waited_for(stdin=stdin, stdout=stdout)
    os.fstat(stray_output)
    fds: list[int] = []
    try:
        for fd in (stdin, stdout):
            fds.append(os.dup(fd))  # noqa: PERF401 - an error must leave what is there already in the list
        transport = FdTransport(
            *fds,
            local_address=f"stdio:process {os.getpid()}",
            remote_address=f"stdio:process {os.getppid()}",
            is_loopback=is_loopback,
        )
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, stdin)
    finally:
        os.close(nothing)
    os.dup2(stray_output, stdout)
    return transport
