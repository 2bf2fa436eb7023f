"""Runs a program inside its own process and captures what it prints; started by the worker of ``trioton demo``.

It is run as a file, ``python runner.py FD PARENT PROGRAM [ARGS...]``, and imports nothing but the standard library: the program shall
find a process as if it had been started alone, with the main thread and the signals to itself.

What the program writes to `sys.stdout` and `sys.stderr` goes as records into one pipe, the descriptor FD. One pipe has one
order, so the order of the two is exact. A record is at most `PIPE_BUF` bytes long, which the system writes as a whole: threads and
forked processes may write at once, and back-pressure is the pipe being full. A record leaves with each line, as on a terminal,
with `flush`, and when the program turns from one of the two to the other.

What C code, `os.write` and subprocesses write to the descriptors 1 and 2 is not seen here: those are pipes, too, which the
worker reads as it comes. So all of it arrives, in the right order for each of the two, but in relation to records the order is only
about right.
"""

from __future__ import annotations

import io
import os
import runpy
import select
import signal
import struct
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

assert sys.platform != "win32", "the demo needs process groups and pipes as Linux and macOS have them"

READY: Final = 0
"""The kind of the first record: from now on signals reach the program and not its preparation."""
OUT: Final = 1
ERR: Final = 2
PROGRESS: Final = 3

HEAD: Final = struct.Struct("=BH")
"""In front of a record: its kind, and how many bytes follow."""

MAX_BODY: Final = min(getattr(select, "PIPE_BUF", 512), 4096) - HEAD.size

PROGRESS_PAUSE: Final = 0.02
"""Seconds between two records of progress, but for the last one."""

PR_SET_PDEATHSIG: Final = 1
INTERRUPTED: Final = 128 + signal.SIGINT
MODULE: Final = "trioton_demo_runner"


class Capture:
    """Writes records into a pipe, in the order in which they come.

    Args:
        fd: The writing end of the pipe.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._kind = OUT
        self._pending = bytearray()
        # A signal handler may print while its own thread is in here, so the lock must let it in again.
        self._lock = threading.RLock()
        self._last_progress = 0.0
        os.register_at_fork(before=self.flush, after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        """After a fork: another thread may have held the lock when the process was copied."""
        self._lock = threading.RLock()
        self._pending = bytearray()

    def write(self, kind: int, data: bytes) -> None:
        """Add what the program has written; blocks while the pipe is full.

        Raises:
            BrokenPipeError: The worker is gone.
        """
        with self._lock:
            if kind != self._kind:
                self.flush()
                self._kind = kind
            self._pending += data
            if b"\n" in data or b"\r" in data or len(self._pending) >= MAX_BODY:
                self.flush()

    def flush(self) -> None:
        """Write what waits for the end of its line."""
        with self._lock:
            # Taken out first: what a signal handler interrupts is then written once or not at all, never twice.
            pending, self._pending = self._pending, bytearray()
            for start in range(0, len(pending), MAX_BODY):
                self._put(self._kind, pending[start : start + MAX_BODY])

    def _put(self, kind: int, body: bytes | bytearray) -> None:
        os.write(self._fd, HEAD.pack(kind, len(body)) + body)

    def ready(self) -> None:
        """Say that the program is about to begin."""
        self._put(READY, b"")

    def progress(self, done: float, total: float | None, text: str) -> None:
        """Say how far the program is; see `trioton.cli.progress`."""
        now = time.monotonic()
        if now - self._last_progress < PROGRESS_PAUSE and done != total:
            return
        self._last_progress = now
        known = "" if total is None else repr(float(total))
        body = f"{float(done)!r}\0{known}\0".encode() + text.encode("utf-8", "backslashreplace")[:200]
        with self._lock:
            self.flush()
            self._put(PROGRESS, body)


_capture: Capture | None = None


def report(done: float, total: float | None, text: str) -> None:
    """Say how far the program is; see `trioton.cli.progress`."""
    if _capture is not None:
        _capture.progress(done, total, text)


class CapturedBuffer(io.BufferedIOBase):
    """What lies below `sys.stdout` or `sys.stderr`; takes bytes and gives them to the capture.

    Its `fileno` is that of the process's real stream, so that programs may hand it on to their subprocesses.

    Args:
        capture: Where bytes go.
        kind: `OUT` or `ERR`.
        name: As in ``sys.stdout.name``.
    """

    mode = "wb"

    def __init__(self, capture: Capture, kind: int, name: str) -> None:
        super().__init__()
        self._capture = capture
        self._kind = kind
        self.name = name

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor of the real stream."""
        return self._kind  # 1 and 2, on purpose

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes-like `data` whole."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        view = bytes(data)
        self._capture.write(self._kind, view)
        return len(view)

    def flush(self) -> None:
        """Let go what waits for the end of its line."""
        if not self.closed:
            self._capture.flush()


def _text_stream(capture: Capture, kind: int, name: str, errors: str) -> io.TextIOWrapper:
    # Write-through: what is said on the other stream must find this one's text in the capture, not in the wrapper.
    buffer = CapturedBuffer(capture, kind, name)
    stream = io.TextIOWrapper(buffer, "utf-8", errors, newline="\n", line_buffering=True, write_through=True)
    stream.mode = "w"  # type: ignore[misc]  # as in those that Python makes; the constructor does not take it
    return stream


def die_with_parent(parent: int) -> None:
    """Ask the system to kill this process when the worker has died; only Linux can.

    The worker's thread that started us counts as the parent, which is its main thread.
    """
    if sys.platform == "linux":
        try:
            import ctypes

            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        except (ImportError, OSError, AttributeError):
            return  # the worker and the terminal still end us, unless both are killed at once
        if os.getppid() != parent:
            os._exit(1)


def _without_runner(traceback: TracebackType | None) -> TracebackType | None:
    """Leave out the frames that are ours or of runpy: a program that runs alone has none of them."""
    while traceback is not None and _is_ours(traceback.tb_frame):
        traceback = traceback.tb_next
    return traceback


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name in {__file__, runpy.__file__, "<frozen runpy>"}


def run(capture: Capture, program: str) -> int:
    """Run the program as ``__main__``.

    Returns:
        The exit code: 0, 1 after an exception, whose traceback was printed, or 130 if Ctrl-C ended it.

    Raises:
        SystemExit: The program's own.
    """
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        capture.ready()
        runpy.run_path(program, run_name="__main__")
    except SystemExit:
        raise
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the program's and ends it
        error.__traceback__ = _without_runner(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def main() -> int:
    """Prepare the process for the program in `sys.argv`, and run it."""
    global _capture
    fd, parent, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    die_with_parent(parent)
    os.set_inheritable(fd, False)
    capture = _capture = Capture(fd)
    sys.stdout = sys.__stdout__ = _text_stream(capture, OUT, "<stdout>", "strict")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _text_stream(capture, ERR, "<stderr>", "backslashreplace")  # type: ignore[misc]
    sys.modules[MODULE] = sys.modules[__name__]  # where `trioton.cli.progress` looks for `report`
    sys.argv[:] = sys.argv[3:]
    if not sys.flags.safe_path:
        # In place of this file's own folder, as Python does for a program that it runs.
        sys.path[0] = os.path.dirname(os.path.abspath(program))
    return run(capture, program)


if __name__ == "__main__":
    sys.exit(main())
