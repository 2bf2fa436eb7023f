"""The kernel: a process that runs user code, and talks to a broker.

``python -m examples.kernel.kernel ADDRESS GENERATION``, started by the broker. There are two threads: the main thread runs user code
(see `interpreter`), and another one runs Trio. `Line` is what each of them has of the other. So the kernel answers questions and
heartbeats while user code computes, and is silent only while C code holds the GIL.

It ends when it is told to, when user code exits, and when the broker is gone.
"""

from __future__ import annotations

import keyword
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import trio

import trioton

from . import protocol
from .interpreter import AtRest, Interpreter, LineWriter
from .introspection import Introspection
from .protocol import Activity, Chunk, InterpreterStatus, Startup, to_kernel

assert sys.platform != "win32", "the kernel is interrupted by signals as Linux and macOS have them"

T = TypeVar("T")

GRACE = 2.0
"""Seconds that what was printed may take to be received when the kernel ends."""

PATIENCE = 1.0
"""Seconds that user code has to come to an end when the broker is gone."""


class Control(trioton.RepChannel):
    """What the broker asks of the kernel."""

    def __init__(self, ctx: trioton.Context, slot: str, line: Line) -> None:
        super().__init__(ctx, slot)
        self._line = line

    async def end(self) -> None:
        """Take no more tasks. What runs goes on; if it reads from stdin it finds the end of it."""
        self._line.end()


class Line:
    """What connects the two threads. Methods are marked with the thread that calls them.

    Args:
        ctx: The kernel's context.
        generation: Which process of the broker's this is.
    """

    def __init__(self, ctx: trioton.Context, generation: int) -> None:
        self.generation = generation
        self.interpreter = Interpreter(self)
        self._ctx = ctx
        self._token = trio.lowlevel.current_trio_token()
        self._activity = trioton.StateChannel[InterpreterStatus](ctx, protocol.INTERPRETER, trioton.OBJECT)
        self._folder = trioton.StateChannel(ctx, protocol.FOLDER)
        self._frames = trioton.StateChannel(ctx, protocol.FRAMES, trioton.OBJECT)
        self._startup = trioton.StateChannel[Startup](ctx, protocol.STARTUP, trioton.OBJECT)
        self._prompt = trioton.PubChannel(ctx, protocol.PROMPT)
        self._echo = trioton.PubChannel(ctx, protocol.ECHO)
        self._lines = trioton.SubChannel(ctx, to_kernel(protocol.LINES, generation))
        self._code = trioton.SubChannel[Chunk](ctx, to_kernel(protocol.CODE, generation), trioton.OBJECT)
        self._tasks = trioton.merge(self._lines, self._code)
        self._rest: trio.CancelScope | None = None
        self.stdout = LineWriter(trioton.PubChannel(ctx, protocol.OUT))
        self.stderr = LineWriter(trioton.PubChannel(ctx, protocol.ERR))
        # Lines are for whoever asks for one: for the prompt while nothing runs, and else for `input()`, as in a terminal.
        self.stdin = trioton.FileWrapper(self._lines, echo=self._echo, isatty=True)
        Introspection(ctx, to_kernel(protocol.INTROSPECT, generation), self.interpreter.namespace)
        Control(ctx, to_kernel(protocol.CONTROL, generation), self)

    # ---------------------------------------------------------------- Trio's thread

    async def _next(self) -> str | Chunk | AtRest | None:
        pair = None
        with trio.CancelScope() as self._rest:
            pair = await anext(self._tasks, None)
        was_interrupted, self._rest = self._rest.cancelled_caught, None
        if was_interrupted:
            return AtRest.INTERRUPTED
        if pair is None:
            return None  # both channels were closed
        channel, task = pair
        if channel is self._lines:
            await self._echo.send(task)
        return task  # type: ignore[no-any-return]  # each of the two channels has its type

    def end(self) -> None:
        """There are no more tasks, and no more lines to read."""
        self._lines.close()
        self._code.close()

    def _interrupt_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()

    def introduce(self) -> None:
        """Say what kind of Python this is."""
        self._startup.send_nowait(
            {
                "generation": self.generation,
                "pid": os.getpid(),
                "version": sys.version,
                "executable": sys.executable,
                "keywords": [*keyword.kwlist, *keyword.softkwlist],
            }
        )

    # ---------------------------------------------------------------- the main thread

    def next_task(self) -> str | Chunk | AtRest | None:
        """Wait for something to do; None if there will be nothing more."""
        try:
            return self._call(self._next)  # type: ignore[no-any-return]
        except (trio.ClosedResourceError, trio.RunFinishedError, trio.Cancelled):  # noqa: ASYNC103  # this is no task
            return None  # noqa: ASYNC104

    def prompt(self, text: str) -> None:
        """Show a prompt."""
        try:
            self._call(self._prompt.send, text)
        except (trio.ClosedResourceError, trio.RunFinishedError, trio.Cancelled):  # noqa: ASYNC103  # this is no task
            pass  # noqa: ASYNC104  # nobody can see it any more

    def say_activity(self, activity: Activity) -> None:
        """Tell all clients what the interpreter does."""
        self._post(self._activity.send_nowait, InterpreterStatus(generation=self.generation, activity=activity))
        try:
            folder = os.getcwd()
        except OSError:
            folder = "?"
        self._post(self._folder.send_nowait, folder)

    def say_frames(self, frames: list[tuple[str, int, str]]) -> None:
        """Tell all clients where the debugger is."""
        self._post(self._frames.send_nowait, [list(frame) for frame in frames])

    def interrupted_at_rest(self) -> None:
        """Ctrl-C while no user code runs; called by a signal handler."""
        self._post(self._interrupt_rest)

    def _call(self, async_fn: Callable[..., Any], *args: object) -> Any:
        return trio.from_thread.run(async_fn, *args, trio_token=self._token)

    def _post(self, function: Callable[..., object], *args: object) -> None:
        def call() -> None:
            try:
                function(*args)
            except trio.ClosedResourceError:
                pass  # it is all over

        try:
            self._token.run_sync_soon(call)
        except trio.RunFinishedError:
            pass


class Kernel:
    """The kernel's process: brings both threads together.

    Args:
        address: Where the broker listens.
        generation: Which process of the broker's this is.
    """

    def __init__(self, address: str, generation: int) -> None:
        self._address = address
        self._generation = generation
        self._line: Line | None = None
        self._has_started = threading.Event()
        self._has_finished: trio.Event
        self._token: trio.lowlevel.TrioToken
        self._thread = threading.Thread(target=self._run_trio, name="trio", daemon=True)

    def run(self) -> None:
        """Connect, run user code until the end, and leave when all that it printed has been received."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing runs yet that Ctrl-C may interrupt
        self._thread.start()
        self._has_started.wait()
        if self._line is None:
            sys.exit(f"nobody listens at {self._address}")
        real = sys.stdin, sys.stdout, sys.stderr
        sys.stdin, sys.stdout, sys.stderr = self._line.stdin, self._line.stdout, self._line.stderr
        try:
            print(f"Python {sys.version.splitlines()[0]}")
            self._line.interpreter.run()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            sys.stdin, sys.stdout, sys.stderr = real
            try:
                self._token.run_sync_soon(self._finish)
            except trio.RunFinishedError:
                pass
            self._thread.join()

    def _finish(self) -> None:
        self._has_finished.set()

    def _run_trio(self) -> None:
        try:
            trio.run(self._main)
        except* trioton.ConnectError:
            pass  # `run` says so
        finally:
            self._has_started.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._has_finished = trio.Event()
        name = f"kernel-{self._generation}"
        async with trioton.open_context(name, heartbeat=protocol.HEARTBEAT, grace=GRACE) as ctx:
            line = Line(ctx, self._generation)
            connection = await ctx.connect(self._address, name="broker", reconnect=None)
            ctx.start_soon(self._watch, connection, line)
            line.introduce()
            self._line = line
            self._has_started.set()
            await self._has_finished.wait()

    async def _watch(self, connection: trioton.Connection, line: Line) -> None:
        """Without a broker the kernel has nobody to live for: let user code end, and if it does not, end it."""
        await connection.wait_closed()
        line.end()
        os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep(PATIENCE)
        os._exit(1)


if __name__ == "__main__":
    Kernel(sys.argv[1], int(sys.argv[2])).run()
