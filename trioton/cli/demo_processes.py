"""The processes of ``trioton demo`` beside the terminal's own: how they are started and ended, and how the terminal finds the worker."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

import trio

import trioton

from . import demo_broker, worker
from .ways import RECONNECT, BrokerLink, Place

assert sys.platform != "win32", "the demo needs process groups and pipes as Linux and macOS have them"

START_DEADLINE: Final = 60.0
"""Seconds that broker and worker have to connect; they take a fraction of one."""

GRACE: Final = 5.0
"""Seconds that the worker has to end once the terminal has let go of it."""

BROKER_STARTS: Final = 4
"""How often the broker is started; if it dies even then, the demo goes on without it."""

LAST_LINES: Final = 4000
"""Characters of what a failed worker complained of that are shown."""


class DemoError(Exception):
    """The demo cannot begin or go on, for the reason given."""


def _python() -> list[str]:
    """The start of the command line of a process of ours."""
    # Modules in the current folder must not stand in for the library's, unless it is there that we come from ourselves.
    is_from_here = Path(trioton.__file__).resolve().parents[1] == Path.cwd()
    return [sys.executable, *([] if is_from_here else ["-P"]), "-m"]


def worker_command(place: Place, program: Path, args: Sequence[str]) -> list[str]:
    """The command line of the worker."""
    return [*_python(), worker.__name__, place.directory, place.token, str(program), *args]


def broker_command(place: Place) -> list[str]:
    """The command line of the broker."""
    return [*_python(), demo_broker.__name__, place.directory, place.token]


@asynccontextmanager
async def started(command: Sequence[str], output: IO[bytes], *, at_once: bool = False) -> AsyncIterator[trio.Process]:
    """A process that lives until its stdin ends.

    At the end of the block that happens, and it has `GRACE` to end by itself, or with `at_once` no time at all.
    """
    # In a session of its own, so that Ctrl-C in the terminal is ours alone.
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        with trio.move_on_after(0 if at_once else GRACE, shield=True):
            await process.stdin.aclose()
            await process.wait()
        if process.returncode is None:
            process.kill()
            with trio.move_on_after(GRACE, shield=True):
                await process.wait()


def _how_it_ended(process: trio.Process) -> str:
    code = process.returncode or 0
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"


class BrokerKeeper:
    """Starts the broker, and starts it again if it ends.

    Args:
        place: Where it listens.
        output: A file for what it says.
        tell: Is told in words what happens to it.

    Attributes:
        pid: The process of the last one.
        starts: How often it was started.
        has_given_up: Set when it has ended too often.
    """

    def __init__(self, place: Place, output: IO[bytes], tell: Callable[[str], None]) -> None:
        self._command = broker_command(place)
        self._output = output
        self._tell = tell
        self.pid = 0
        self.starts = 0
        self.has_given_up = trio.Event()

    async def run(self) -> None:
        """Keep it running, until it has ended too often."""
        while self.starts < BROKER_STARTS:
            # Who ends it has no use for it any more: all have said goodbye to it, or are to end at once.
            async with started(self._command, self._output, at_once=True) as process:
                self.starts += 1
                self.pid = process.pid
                await process.wait()
            what_now = "starting it again" if self.starts < BROKER_STARTS else "going on without it"
            self._tell(f"the broker, process {process.pid}, {_how_it_ended(process)}; {what_now}")
        self.has_given_up.set()


class Meeting:
    """How the terminal finds its worker: through the broker, and also the other way.

    Args:
        place: Where.
        context: The terminal's context.
        bypass: The one beside it.
        keeper: Keeps the broker running.
        process: The worker's process.

    Attributes:
        link: The connection to the broker.
        transport: The kind of its transport.
        worker: The worker's context.
    """

    worker: trioton.ContextInfo

    def __init__(
        self,
        place: Place,
        context: trioton.Context,
        bypass: trioton.Context,
        keeper: BrokerKeeper,
        process: trio.Process,
    ) -> None:
        self._place = place
        self._context = context
        self._bypass = bypass
        self._keeper = keeper
        self._process = process
        self.link = BrokerLink(context, place)
        self.transport = ""

    async def wait(self, output: IO[bytes], broker_output: IO[bytes]) -> None:
        """Wait for it; the files have what the worker and the broker say.

        Raises:
            DemoError: One of them has ended first, or it takes too long.
        """
        has_happened = False
        async with trio.open_nursery() as nursery:

            async def give_up_after(wait: Callable[[], Awaitable[object]]) -> None:
                await wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up_after, self._process.wait)
            nursery.start_soon(give_up_after, self._keeper.has_given_up.wait)
            with trio.move_on_after(START_DEADLINE):
                connection = await self._context.start(self.link.keep)
                self.transport = connection.transport or ""
                self.worker = await self._context.wait_context(self._place.name_of("worker"))
                # It listens there since before it went to the broker.
                await self._bypass.connect(self._place.bypass_address, wait=True, reconnect=RECONNECT)
                has_happened = True
            nursery.cancel_scope.cancel()
        if not has_happened:
            raise DemoError(self._why_not(output, broker_output))

    def _why_not(self, output: IO[bytes], broker_output: IO[bytes]) -> str:
        if self._process.returncode is not None:
            return f"the worker ended before it had connected; it said: {last_words(output) or 'nothing'}"
        if self._keeper.has_given_up.is_set():
            return f"the broker ended before anybody had connected; it said: {last_words(broker_output) or 'nothing'}"
        return f"the worker did not connect within {START_DEADLINE:g} s"


def last_words(output: IO[bytes]) -> str:
    """The end of what a process has said."""
    output.seek(0)
    return output.read().decode(errors="backslashreplace")[-LAST_LINES:].strip()
