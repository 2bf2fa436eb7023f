"""``trioton demo``: the terminal's side.

The terminal starts two processes at once, a broker and a worker. Both the terminal and the worker connect to the broker, at Unix sockets
in a directory that only this user may enter, and find each other through it (see `trioton.cli.ways`). The worker runs the program (see
`trioton.cli.worker`); what that writes comes over Trioton and is shown; at the end a line says what went over the wire. A broker that
dies is started again, and the program goes on meanwhile.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Final

assert sys.platform != "win32", "the demo needs process groups and pipes as Linux and macOS have them"

import attrs  # noqa: E402
import trio  # noqa: E402
from rich.console import Console  # noqa: E402

import trioton  # noqa: E402

from . import worker  # noqa: E402
from .demo_processes import GRACE, BrokerKeeper, DemoError, Meeting, last_words, started, worker_command  # noqa: E402
from .output import ERR, OUT, Feed  # noqa: E402
from .screen import LiveScreen, PlainScreen, Screen  # noqa: E402
from .ways import BrokerLink, Place, open_contexts  # noqa: E402

SETTLE: Final = 0.25
"""Seconds without news after which all has come that a dead worker has sent."""

TICK: Final = 0.25
"""Seconds between two looks at what goes over the wire."""

SMOOTHING: Final = 0.3
"""How much of the shown rate is that of the last tick."""


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
        packages: Packages that came through the broker.
        brokers: How many brokers there were, one after the other.
        failure: Why the program's own end is not known, if it is not.
    """

    code: int
    seconds: float
    messages: int
    size: int
    dropped: int
    transport: str
    packages: int = 0
    brokers: int = 1
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


class Terminal:
    """Shows what one worker's program does.

    Args:
        context: The terminal's context.
        link: Its connection to the broker.
        keeper: Keeps the broker running.
        screen: Where to show it.
    """

    def __init__(self, context: trioton.Context, link: BrokerLink, keeper: BrokerKeeper, screen: Screen) -> None:
        self._context = context
        self._link = link
        self._keeper = keeper
        self._screen = screen
        self._out = trioton.SubChannel(context, worker.OUT_SLOT, trioton.BINARY)
        self._err = trioton.SubChannel(context, worker.ERR_SLOT, trioton.BINARY)
        self._state: trioton.SubChannel[Any] = trioton.SubChannel(context, worker.STATE_SLOT, trioton.OBJECT)
        self._control: trioton.PubChannel[Any] = trioton.PubChannel(context, worker.CONTROL_SLOT, trioton.OBJECT)
        self._feed = Feed(self._out, self._err, self._state)
        self._remarks: list[str] = []
        self._group: int | None = None
        self._started_at = trio.current_time()
        self._end: dict[str, Any] | None = None

    @property
    def _messages(self) -> int:
        """Messages that have come, each counted once, whatever way it came."""
        return sum(channel.statistics().received for channel in (self._out, self._err, self._state))

    async def show(self, info: trioton.ContextInfo, process: trio.Process, transport: str) -> Outcome:
        """Show all that comes, and return when the program has ended or its worker is gone.

        Args:
            info: The worker's context.
            process: Its process.
            transport: The kind of transport that leads to the broker.

        Raises:
            OSError: The output cannot be written.
        """
        self._started_at = trio.current_time()
        failure: OSError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, info, process)
            nursery.start_soon(self._count)
            try:
                await self._show_all(info, transport)
            except OSError as error:
                failure = error  # raised below, so that it leaves as itself and not in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        seconds = trio.current_time() - self._started_at
        dropped = sum(channel.statistics().dropped for channel in (self._out, self._err, self._state))
        end = self._end
        return Outcome(
            code=1 if end is None else end["code"],
            seconds=seconds,
            messages=self._messages,
            size=self._context.statistics().bytes_received,
            dropped=dropped + (0 if end is None else end["dropped"]),
            transport=transport,
            packages=self._link.packages,
            brokers=self._keeper.starts,
            failure=None if end is not None else "its worker is gone",
        )

    async def _watch(self, info: trioton.ContextInfo, process: trio.Process) -> None:
        """Notice that nothing more will come: the worker's process has ended, or no way leads to it any more."""
        async with self._context.events() as events, trio.open_nursery() as nursery:

            async def wait_process() -> None:
                await process.wait()
                count = -1
                while count != self._messages:  # the broker may still have some of what it has sent
                    count = self._messages
                    await trio.sleep(SETTLE)
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_process)
            if any(each.id == info.id for each in self._context.contexts):
                async for event in events:
                    if isinstance(event, trioton.ContextDied) and event.id == info.id:
                        break
            nursery.cancel_scope.cancel()
        self._feed.end()

    async def _show_all(self, info: trioton.ContextInfo, transport: str) -> None:
        while self._end is None and not self._feed.is_over:
            received = await self._feed.receive()
            while self._remarks:
                self._screen.remark(self._remarks.pop(0))
            if received is not None:
                channel, message = received
                if channel is self._state:
                    self._note(message, info, transport)
                else:
                    self._screen.feed(OUT if channel is self._out else ERR, message)
            if self._screen.is_full or not self._feed.pending:
                await self._screen.flush()
        await self._screen.flush()

    def tell(self, words: str) -> None:
        """Show a line of our own among the output."""
        self._remarks.append(words)
        self._feed.wake()

    def _note(self, state: dict[str, Any], info: trioton.ContextInfo, transport: str) -> None:
        match state["state"]:
            case "started":
                self._group = state["pid"]
                self._screen.remark(
                    f"process {self._group}, run by worker process {info.pid}, over {describe_transport(transport)}"
                    f" through broker process {self._keeper.pid}"
                )
                self._started_at = trio.current_time()
            case "progress":
                self._screen.progress(state["done"], state["total"], state["text"])
            case "ended":
                self._end = state

    async def _count(self) -> None:
        last, rate = 0, 0.0
        while True:
            await trio.sleep(TICK)
            messages = self._messages
            rate += ((messages - last) / TICK - rate) * SMOOTHING
            self._screen.traffic(messages, rate)
            last = messages

    def interrupt(self) -> None:
        """Ask the worker to interrupt the program, and to end it if it does not end soon."""
        self._screen.rename("stopping; Ctrl-C again ends it at once")
        with suppress(trio.ClosedResourceError):  # all is over
            self._context.start_soon(self._say, worker.INTERRUPT)

    async def _say(self, command: str) -> None:
        with suppress(trio.ClosedResourceError):
            await self._control.send(command)

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
            try:
                place = stack.enter_context(Place.made())
                output, broker_output = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            except OSError as error:
                raise DemoError(f"there is no place for temporary files: {error.strerror or error}") from error
            async with open_contexts(place, "terminal", GRACE) as (context, bypass):
                keeper = BrokerKeeper(place, broker_output, self._tell)
                context.start_soon(keeper.run)
                async with started(worker_command(place, self._program, self._args), output) as process:
                    meeting = Meeting(place, context, bypass, keeper, process)
                    await meeting.wait(output, broker_output)
                    # Its subscriptions are what the worker waits for, so nothing begins before both ways are there.
                    terminal = self._terminal = Terminal(context, meeting.link, keeper, self._screen)
                    try:
                        outcome = await terminal.show(meeting.worker, process, meeting.transport)
                    finally:
                        terminal.end_program()
            return outcome if outcome.failure is None else _with_reason(outcome, process, output)

    def _tell(self, words: str) -> None:
        if self._terminal is not None:
            self._terminal.tell(words)


def _with_reason(outcome: Outcome, process: trio.Process, output: IO[bytes]) -> Outcome:
    """Say what became of a worker that did not say it itself."""
    code = process.returncode or 0
    if code < 0:
        failure = f"its worker was killed by {signal.Signals(-code).name} before it had ended"
    elif code > 0:
        failure = f"its worker has failed: {last_words(output) or f'exit code {code}'}"
    else:
        failure = "no way leads to its worker any more"
    return attrs.evolve(outcome, failure=failure)


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
    broker = "a broker" if outcome.brokers == 1 else f"{outcome.brokers} brokers, one after the other"
    traffic = (
        f"{outcome.messages:,} message{'s' * (outcome.messages != 1)}, {_size(outcome.size)}, {rate:,.0f} messages/s"
        f" over {describe_transport(outcome.transport)}; {outcome.packages:,} package{'s' * (outcome.packages != 1)}"
        f" came through {broker}; dropped = {outcome.dropped}"
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
