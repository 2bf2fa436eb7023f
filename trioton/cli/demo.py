"""``trioton demo``: the terminal's side.

The terminal listens at a Unix socket in a directory that only this user may enter, and starts a worker process, which connects
back and runs the program (see `trioton.cli.worker`). What the program writes comes over Trioton and is shown; at the end a line says
what went over the wire.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final

import attrs
import trio
from rich.console import Console

import trioton

from . import worker
from .output import ERR, OUT, Feed
from .screen import LiveScreen, PlainScreen, Screen

assert sys.platform != "win32", "the demo needs process groups and pipes as Linux and macOS have them"

MAX_SOCKET_PATH: Final = 100
"""Bytes of a Unix socket's path that every system takes."""

START_DEADLINE: Final = 60.0
"""Seconds that the worker has to connect; it takes a fraction of one."""

GRACE: Final = 5.0
"""Seconds that the worker has to end once the terminal has let go of it."""

TICK: Final = 0.25
"""Seconds between two looks at what goes over the wire."""

SMOOTHING: Final = 0.3
"""How much of the shown rate is that of the last tick."""

LAST_LINES: Final = 4000
"""Characters of what a failed worker complained of that are shown."""


class DemoError(Exception):
    """The demo cannot begin or go on, for the reason given."""


class BadProgramError(DemoError):
    """There is no such program, or it is not Python."""


@attrs.frozen
class Outcome:
    """How a program ended, and what went over the wire meanwhile.

    Attributes:
        code: The exit code for the shell.
        seconds: How long the program ran.
        messages: Messages that came from the worker.
        size: Bytes that came from it, all included.
        dropped: Messages that were lost, as far as either side knows.
        transport: The kind of transport.
        failure: Why the program's own end is not known, if it is not.
    """

    code: int
    seconds: float
    messages: int
    size: int
    dropped: int
    transport: str
    failure: str | None = None


def check_program(path: Path) -> None:
    """See that `path` can be run: a Python source, or a folder or zip file with a ``__main__.py``.

    Raises:
        BadProgramError: It cannot.
    """
    try:
        if path.is_dir():
            path /= "__main__.py"
        if path.suffix == ".pyc" or zipfile.is_zipfile(path):
            return
        source = path.read_bytes()
    except OSError as error:
        raise BadProgramError(f"cannot read {str(path)!r}: {error.strerror}") from error
    try:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are the program's, and come again when it runs
            compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f" in line {error.lineno}" if error.lineno else ""
        raise BadProgramError(f"{str(path)!r} is not a Python program: {error.msg}{where}") from error
    except ValueError as error:
        raise BadProgramError(f"{str(path)!r} is not a Python program: {error}") from error


def worker_command(address: str, program: Path, args: Sequence[str]) -> list[str]:
    """The command line of a worker that dials `address`."""
    # Modules in the current folder must not stand in for the library's, unless it is there that we come from ourselves.
    is_from_here = Path(trioton.__file__).resolve().parents[1] == Path.cwd()
    flags = [] if is_from_here else ["-P"]
    return [sys.executable, *flags, "-m", worker.__name__, address, str(program), *args]


@asynccontextmanager
async def start_worker(
    address: str, program: Path, args: Sequence[str], output: IO[bytes]
) -> AsyncIterator[trio.Process]:
    """Start a worker that dials `address`; at the end of the block it has `GRACE` to end by itself."""
    command = worker_command(address, program, args)
    # In a session of its own, so that Ctrl-C in the terminal is ours alone.
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    try:
        yield process
    finally:
        with trio.move_on_after(GRACE, shield=True):
            await process.wait()
        if process.returncode is None:
            process.kill()
            with trio.move_on_after(GRACE, shield=True):
                await process.wait()


class Terminal:
    """Shows what one worker's program does.

    Args:
        context: The terminal's context.
        screen: Where to show it.
    """

    def __init__(self, context: trioton.Context, screen: Screen) -> None:
        self._context = context
        self._screen = screen
        self._out = trioton.SubChannel(context, worker.OUT_SLOT, trioton.BINARY)
        self._err = trioton.SubChannel(context, worker.ERR_SLOT, trioton.BINARY)
        self._state: trioton.SubChannel[Any] = trioton.SubChannel(context, worker.STATE_SLOT, trioton.OBJECT)
        self._control: trioton.PubChannel[Any] = trioton.PubChannel(context, worker.CONTROL_SLOT, trioton.OBJECT)
        self._feed = Feed(self._out, self._err, self._state)
        self._group: int | None = None
        self._started_at = trio.current_time()
        self._end: dict[str, Any] | None = None

    async def show(self, connection: trioton.Connection) -> Outcome:
        """Show all that comes, and return when the program has ended or its worker is gone.

        Raises:
            OSError: The output cannot be written.
        """
        self._started_at = trio.current_time()
        transport = connection.transport or ""
        failure: OSError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed.watch, connection)
            nursery.start_soon(self._count, connection)
            try:
                await self._show_all(connection)
            except OSError as error:
                failure = error  # raised below, so that it leaves as itself and not in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        seconds = trio.current_time() - self._started_at
        traffic = connection.statistics()
        dropped = sum(channel.statistics().dropped for channel in (self._out, self._err, self._state))
        end = self._end
        return Outcome(
            code=1 if end is None else end["code"],
            seconds=seconds,
            messages=traffic.messages_received,
            size=traffic.bytes_received,
            dropped=dropped + (0 if end is None else end["dropped"]),
            transport=transport,
            failure=None if end is not None else "its worker is gone",
        )

    async def _show_all(self, connection: trioton.Connection) -> None:
        while self._end is None:
            received = await self._feed.receive()
            if received is None:
                break
            channel, message = received
            if channel is self._state:
                self._note(message, connection)
            else:
                self._screen.feed(OUT if channel is self._out else ERR, message)
            if self._screen.is_full or not self._feed.pending:
                await self._screen.flush()
        await self._screen.flush()

    def _note(self, state: dict[str, Any], connection: trioton.Connection) -> None:
        match state["state"]:
            case "started":
                self._group = state["pid"]
                way = describe_transport(connection.transport)
                self._screen.remark(f"process {self._group}, run by worker process {connection.peer.pid}, over {way}")
                self._started_at = trio.current_time()
            case "progress":
                self._screen.progress(state["done"], state["total"], state["text"])
            case "ended":
                self._end = state

    async def _count(self, connection: trioton.Connection) -> None:
        last, rate = 0, 0.0
        while True:
            await trio.sleep(TICK)
            messages = connection.statistics().messages_received
            rate += ((messages - last) / TICK - rate) * SMOOTHING
            self._screen.traffic(messages, rate)
            last = messages

    def interrupt(self) -> None:
        """Ask the worker to interrupt the program, and to end it if it does not end soon."""
        self._screen.rename("stopping; Ctrl-C again ends it at once")
        try:
            self._control.send_nowait(worker.INTERRUPT)
        except (trio.WouldBlock, trio.ClosedResourceError):
            pass  # it has heard it often enough, or all is over

    def end_program(self) -> None:
        """End what a dead worker has left behind."""
        if self._end is None and self._group is not None:
            try:
                os.killpg(self._group, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass


class Demo:
    """One run of ``trioton demo``.

    Args:
        program: The program's path.
        args: Its arguments.
        screen: Where to show it.
    """

    def __init__(self, program: Path, args: Sequence[str], screen: Screen) -> None:
        self._program = program
        self._args = args
        self._screen = screen
        self._signal: int | None = None
        self._terminal: Terminal | None = None

    async def run(self) -> Outcome:
        """Run it to its end.

        Ctrl-C (or SIGTERM or SIGHUP) interrupts the program; a second one gives up at once.

        Raises:
            DemoError: The worker could not be started.
            OSError: The output cannot be written.
        """
        outcome: Outcome | None = None
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(self._listen_to_signals, nursery.cancel_scope)
            try:
                outcome = await self._run()
            except (DemoError, OSError) as error:
                failure = error  # raised below, so that it leaves as itself and not in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if self._signal is None:
            assert outcome is not None
            return outcome
        if outcome is None:
            outcome = Outcome(0, 0, 0, 0, 0, "", failure="stopped before it had ended")
        return attrs.evolve(outcome, code=128 + self._signal)

    async def _listen_to_signals(
        self, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if self._terminal is None or self._signal is not None:
                    scope.cancel()
                else:
                    self._terminal.interrupt()
                self._signal = number

    async def _run(self) -> Outcome:
        with ExitStack() as stack:
            output = stack.enter_context(tempfile.TemporaryFile())
            directory = tempfile.TemporaryDirectory(prefix="trioton-demo-", ignore_cleanup_errors=True)
            stack.callback(directory.cleanup)
            path = os.path.join(directory.name, "socket")
            address = f"unix://{path}" if len(os.fsencode(path)) < MAX_SOCKET_PATH else "localhost:0"
            async with trioton.open_context("terminal", heartbeat=worker.HEARTBEAT, grace=GRACE) as context:
                terminal = Terminal(context, self._screen)
                listener = await context.bind(address)
                async with start_worker(listener.address, self._program, self._args, output) as process:
                    try:
                        connection = await self._wait_connected(context, process, output)
                        # It has found us; nobody else shall, and nothing is left behind if we are killed.
                        listener.close()
                        directory.cleanup()
                        self._terminal = terminal
                        outcome = await terminal.show(connection)
                    finally:
                        terminal.end_program()
                        with trio.move_on_after(GRACE, shield=True):
                            for each in context.connections:
                                await each.aclose("the demo is over")
            return outcome if outcome.failure is None else _with_reason(outcome, process, output)

    async def _wait_connected(
        self, context: trioton.Context, process: trio.Process, output: IO[bytes]
    ) -> trioton.Connection:
        connection: trioton.Connection | None = None
        async with trio.open_nursery() as nursery:

            async def stop_with_worker() -> None:
                await process.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop_with_worker)
            with trio.move_on_after(START_DEADLINE):
                await context.wait_context(worker.NAME)
                connection = context.connection(worker.NAME)
            nursery.cancel_scope.cancel()
        if connection is not None:
            return connection
        if process.returncode is None:
            raise DemoError(f"the worker did not connect within {START_DEADLINE:g} s")
        raise DemoError(f"the worker ended before it had connected; it said: {_last_words(output) or 'nothing'}")


def _with_reason(outcome: Outcome, process: trio.Process, output: IO[bytes]) -> Outcome:
    """Say what became of a worker that did not say it itself."""
    code = process.returncode or 0
    if code < 0:
        failure = f"its worker was killed by {signal.Signals(-code).name} before it had ended"
    else:
        failure = f"its worker has failed: {_last_words(output) or f'exit code {code}'}"
    return attrs.evolve(outcome, failure=failure)


def _last_words(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="backslashreplace")[-LAST_LINES:].strip()


def choose_screen(name: str, *, plain: bool) -> Screen:
    """A `LiveScreen` if our stdout is a terminal that can move its cursor, unless `plain`; else a `PlainScreen`."""
    console = Console()
    if plain or not sys.stdout.isatty() or not os.environ.get("TERM") or console.is_dumb_terminal:
        return PlainScreen(name)
    return LiveScreen(console, name, with_errors=sys.stderr.isatty())


def describe_transport(kind: str | None) -> str:
    """A transport in words."""
    return {"unix": "a Unix socket", "tcp": "TCP", None: "nothing"}.get(kind, str(kind))


def describe(name: str, outcome: Outcome) -> str:
    """What is said at the end: how the program ended, and what went over the wire."""
    if outcome.failure is not None:
        ending = f"{name}: {outcome.failure}"
    elif outcome.code == 0:
        ending = f"{name} has ended after {outcome.seconds:.1f} s"
    else:
        ending = f"{name} has ended with exit code {outcome.code} after {outcome.seconds:.1f} s"
    if not outcome.transport:
        return ending
    rate = outcome.messages / outcome.seconds if outcome.seconds else 0.0
    traffic = (
        f"{outcome.messages:,} message{'s' * (outcome.messages != 1)}, {_size(outcome.size)}, {rate:,.0f} messages/s"
        f" over {describe_transport(outcome.transport)}; dropped = {outcome.dropped}"
    )
    return f"{ending}\n{traffic}"


def _size(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def run_demo(program: Path, args: Sequence[str], *, plain: bool) -> int:
    """Run a program and show it in this terminal; gives the exit code.

    Raises:
        BadProgramError: There is no such program.
        DemoError: The worker could not be started.
        BrokenPipeError: Nobody reads our stdout any more.
    """
    check_program(program)
    name = program.name or str(program.resolve().name)
    with choose_screen(name, plain=plain) as screen:
        outcome = trio.run(Demo(program, args, screen).run)
    Console(stderr=True, highlight=False).print(describe(name, outcome), style="dim", markup=False, soft_wrap=True)
    return outcome.code
