"""The part of the kernel that runs on the main thread: user code, the prompt, Ctrl-C and the debugger. Nothing here is async."""

from __future__ import annotations

import builtins
import code
import enum
import linecache
import pdb
import signal
import sys
import threading
import traceback
from types import CodeType, FrameType
from typing import Any, ClassVar, Protocol

import trioton

from .protocol import Activity, Chunk

CHUNK_SIZE = 8000
"""Characters of a message: what is below 32 KiB keeps its place among the messages of other slots."""


class AtRest(enum.Enum):
    """A task that is no code."""

    INTERRUPTED = "Ctrl-C while nothing ran: forget what was begun, and show a new prompt"


class Streams(Protocol):
    """What the interpreter wants of the network; `kernel.Line` is the real one."""

    def say_activity(self, activity: Activity) -> None: ...

    def say_frames(self, frames: list[tuple[str, int, str]]) -> None: ...

    def prompt(self, text: str) -> None: ...

    def next_task(self) -> str | Chunk | AtRest | None: ...

    def interrupted_at_rest(self) -> None: ...


class LineWriter(trioton.FileWrapper):
    """A file over a channel, buffered by lines as that of a terminal.

    A `trioton.FileWrapper` sends a message for each ``write``, and ``print("a", 1)`` writes four times. Several of these files keep the
    order in which a thread writes to them: whoever writes to another one than before waits until the one before has sent.
    """

    _latest: ClassVar[LineWriter | None] = None

    def __init__(self, channel: trioton.PubChannel[str]) -> None:
        super().__init__(channel, CHUNK_SIZE, isatty=True)
        self._lock = threading.RLock()
        self._begun: list[str] = []

    def write(self, text: str, /) -> int:
        """Send what makes whole lines, with what was begun before."""
        latest, LineWriter._latest = LineWriter._latest, self
        if latest is not None and latest is not self:
            latest.flush()
        if "\n" not in text:
            with self._lock:
                self._begun.append(text)
                is_long = len(self._begun) > CHUNK_SIZE
            if is_long:
                self._send_begun()
            return len(text)
        with self._lock:
            begun, self._begun = self._begun, []
        # Not under the lock: this may wait for the reader, and Trio's thread may have something to print meanwhile.
        super().write("".join(begun) + text)
        return len(text)

    def flush(self) -> None:
        """Send also a line that is only begun, and wait until all is on the channel."""
        self._send_begun()
        super().flush()

    def _send_begun(self) -> None:
        with self._lock:
            begun, self._begun = self._begun, []
        if begun:
            super().write("".join(begun))


class Debugger(pdb.Pdb):
    """The debugger: tells where it stands while it waits for its commands."""

    def __init__(self, streams: Streams) -> None:
        # Its own Ctrl-C handler would replace the kernel's.
        super().__init__(stdin=sys.stdin, stdout=sys.stdout, nosigint=True)
        self._streams = streams

    def interaction(self, frame: FrameType | None, tb_or_exc: Any) -> None:
        """Let the user look around."""
        found = traceback_frames(frame, tb_or_exc)
        self._streams.say_frames(found)
        self._streams.say_activity("debug")
        try:
            super().interaction(frame, tb_or_exc)
        finally:
            self._streams.say_activity("busy")
            self._streams.say_frames([])


def traceback_frames(frame: FrameType | None, tb_or_exc: Any) -> list[tuple[str, int, str]]:
    """The frames that the debugger shows, the innermost last, without those of the kernel itself."""
    before = [] if frame is None else [(each, line) for each, line in traceback.walk_stack(frame)][::-1]
    after = traceback.walk_tb(getattr(tb_or_exc, "__traceback__", tb_or_exc))
    frames = [(each.f_code.co_filename, line, each.f_code.co_name) for each, line in (*before, *after)]
    own = [number for number, (filename, _, _) in enumerate(frames) if filename == __file__]
    return frames[own[-1] + 1 if own else 0 :]


class Interpreter(code.InteractiveInterpreter):
    """Runs what clients send, one thing after the other, in the thread that calls `run`: the main thread.

    Args:
        streams: Where its tasks come from, and what it says about itself.
    """

    def __init__(self, streams: Streams) -> None:
        super().__init__({"__name__": "__main__", "__builtins__": __builtins__})
        self._streams = streams
        self._lines: list[str] = []
        self._may_interrupt = False
        self._was_interrupted = False

    @property
    def namespace(self) -> dict[str, Any]:
        """The global variables of user code."""
        return self.locals

    def run(self) -> None:
        """Run tasks until there are no more, or one of them exits."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        sys.breakpointhook = self._on_breakpoint
        builtins.input = read_line
        self._be_ready()
        while (task := self._next_task()) is not None:
            self._streams.say_activity("busy")
            try:
                if task is AtRest.INTERRUPTED:
                    self._lines = []
                    self.write("\nKeyboardInterrupt\n")
                elif isinstance(task, str):
                    self._run_line(task)
                else:
                    self._run_chunk(task)
            except SystemExit as error:
                if error.code not in (None, 0):
                    print(error.code, file=sys.stderr)
                break
            self._be_ready()

    def _next_task(self) -> str | Chunk | AtRest | None:
        self._was_interrupted = False  # from here on it is for what comes now
        return self._streams.next_task()

    def _be_ready(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._streams.prompt("... " if self._lines else ">>> ")
        self._streams.say_activity("more" if self._lines else "ready")

    def _run_line(self, line: str) -> None:
        self._lines.append(line.rstrip("\n"))
        if not self.runsource("\n".join(self._lines), "<shell>"):
            self._lines = []

    def _run_chunk(self, chunk: Chunk) -> None:
        self._lines = []
        source, filename, line = chunk["source"], chunk["filename"], chunk["line"]
        _remember_source(filename, line - 1, source.splitlines(keepends=True))
        try:
            compiled = compile("\n" * (line - 1) + source, filename, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, OverflowError):
            self.showsyntaxerror(filename)
            return
        self.runcode(compiled)

    def runcode(self, code: CodeType) -> None:
        """Run compiled code: only here Ctrl-C gets through."""
        try:
            self._may_interrupt = True
            if self._was_interrupted:
                raise KeyboardInterrupt  # it came after this task, and before its first step
            exec(code, self.namespace)
            self._may_interrupt = False
        except SystemExit:
            self._may_interrupt = False
            raise
        except BaseException:  # noqa: ASYNC103, BLE001  # whatever user code raises, the kernel lives on
            self._may_interrupt = False
            self.showtraceback()

    def showtraceback(self) -> None:
        """Print where the exception comes from, without the frames that are ours."""
        kind, error, traceback_ = sys.exc_info()
        assert kind is not None
        sys.last_type, sys.last_value, sys.last_traceback = kind, error, traceback_  # for `pdb.pm()`
        shown: traceback.TracebackException | None = traceback.TracebackException(kind, error, traceback_)  # type: ignore[arg-type]
        assert shown is not None
        text = shown
        while shown is not None:
            shown.stack[:] = [frame for frame in shown.stack if frame.filename != __file__]
            shown = shown.__cause__ or shown.__context__
        self.write("".join(text.format()))

    # ---------------------------------------------------------------- Ctrl-C, and the debugger

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """SIGINT. It always comes in the main thread, at whatever it is doing, so it must not disturb anything but user code."""
        if self._may_interrupt:
            raise KeyboardInterrupt
        self._was_interrupted = True
        self._streams.interrupted_at_rest()

    def _on_breakpoint(self, *_args: object, **_keywords: object) -> None:
        Debugger(self._streams).set_trace(sys._getframe(1))


def read_line(prompt: object = "", /) -> str:
    """What ``input()`` is in a kernel: Python's own swallows a Ctrl-C that comes while it flushes stdout."""
    print(prompt, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _remember_source(filename: str, start: int, lines: list[str]) -> None:
    """Let tracebacks show these lines, whether or not they are in a file."""
    known = [*linecache.getlines(filename)]
    known += ["\n"] * (start - len(known))
    known[start : start + len(lines)] = lines
    linecache.cache[filename] = (sum(map(len, known)), None, known, filename)
