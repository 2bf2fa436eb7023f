"""The worker of ``trioton demo``: runs a program, and publishes what it prints.

``python -m trioton.cli.worker DIRECTORY TOKEN PROGRAM [ARGS...]`` connects to the demo's broker (see `trioton.cli.ways`), waits for the
terminal's context, and publishes on the slots

* ``strm-out`` and ``strm-err`` (BINARY): what the program writes, a line for each message as a rule;
* ``demo-state`` (OBJECT): dicts with ``state``: ``started`` (with ``pid``), ``progress`` (with ``done``, ``total``, ``text``) and,
  last of all, ``ended`` (with ``code``, and ``dropped``: the messages that the worker knows to be lost).

It listens to ``demo-control`` (OBJECT): ``interrupt`` is Ctrl-C, ``kill`` is for those who do not listen to that.

All subscribers block, so nothing is lost: if the terminal is slow, `send` waits here, the program's pipe fills, and its `print`
waits. The program runs in a process group of its own (see `trioton.cli.runner`), which is ended when the terminal is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio

import trioton

from . import runner
from .ways import BrokerLink, Place, open_contexts, wait_terminal_gone

assert sys.platform != "win32", "the demo needs process groups and pipes as Linux and macOS have them"

OUT_SLOT: Final = "strm-out"
ERR_SLOT: Final = "strm-err"
STATE_SLOT: Final = "demo-state"
CONTROL_SLOT: Final = "demo-control"

GRACE: Final = 1.0
"""Seconds that closing may take when the terminal has got all that it was sent."""

INTERRUPT_GRACE: Final = 3.0
"""Seconds that the program has to end after Ctrl-C, and after the terminal has gone."""

LINGER: Final = 0.5
"""Seconds that processes which the program left behind may go on writing after its end."""

READ_SIZE: Final = 32768

MAX_REST: Final = 1024 * 1024
"""Bytes that are still read after that: more than the pipes can hold, and an end to those who write for ever."""

INTERRUPT: Final = "interrupt"
KILL: Final = "kill"


def program_command(records: int, program: str, args: Sequence[str]) -> list[str]:
    """The command line of the program's process; `records` is the descriptor of the pipe for its output."""
    return [sys.executable, str(Path(runner.__file__).resolve()), str(records), str(os.getpid()), program, *args]


@attrs.define(eq=False)
class Program:
    """The process that runs the program, and the pipes that lead out of it.

    Attributes:
        process: The process; leads a process group of its own.
        records: What it writes through `sys.stdout` and `sys.stderr`, as records.
        out: What is written to its descriptor 1 otherwise.
        err: The same for descriptor 2.
    """

    process: subprocess.Popen[bytes]
    records: trio.lowlevel.FdStream
    out: trio.lowlevel.FdStream
    err: trio.lowlevel.FdStream

    @classmethod
    def start(cls, program: str, args: Sequence[str]) -> Program:
        """Start it. To be called in the worker's main thread: the system takes that for the parent."""
        read_ends, write_ends = zip(*(os.pipe() for _ in range(3)), strict=True)
        records, out, err = write_ends
        try:
            process = subprocess.Popen(  # noqa: S603 - it is the program that the user named
                program_command(records, program, args),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=[records],
                process_group=0,
            )
        finally:
            for fd in write_ends:
                os.close(fd)
        return cls(process, *map(trio.lowlevel.FdStream, read_ends))

    def signal_group(self, number: int) -> None:
        """Send a signal to the program and all that it has started and that did not leave its group."""
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # all have ended; macOS says it with EPERM

    async def wait(self) -> int:
        """Wait until the process has ended.

        Returns:
            Its exit code, or 128 and the number of the signal that killed it.
        """
        code = await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
        return code if code >= 0 else 128 - code

    async def end(self) -> None:
        """End it if it has not ended, as if its terminal had been closed, and close the pipes; takes `INTERRUPT_GRACE` at most."""
        if self.process.poll() is None:
            self.signal_group(signal.SIGHUP)
            with trio.move_on_after(INTERRUPT_GRACE, shield=True):
                await self.wait()
        self.signal_group(signal.SIGKILL)
        self.process.wait()
        for stream in (self.records, self.out, self.err):
            stream.close()


class RecordReader:
    """Cuts what comes out of the pipe of records into records."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Give the kinds and bodies of all records that are whole now."""
        self._data += data
        records: list[tuple[int, bytes]] = []
        position, available = 0, len(self._data)
        while position + runner.HEAD.size <= available:
            kind, size = runner.HEAD.unpack_from(self._data, position)
            start = position + runner.HEAD.size
            if start + size > available:
                break
            position = start + size
            records.append((kind, bytes(self._data[start:position])))
        del self._data[:position]
        return records


class Worker:
    """Publishes what one program does.

    Args:
        context: The worker's context.
        program: The program's path.
        args: Its arguments.
    """

    def __init__(self, context: trioton.Context, program: str, args: Sequence[str]) -> None:
        self._context = context
        self._program = program
        self._args = args
        self._outputs = {
            runner.OUT: trioton.PubChannel(context, OUT_SLOT, trioton.BINARY),
            runner.ERR: trioton.PubChannel(context, ERR_SLOT, trioton.BINARY),
        }
        self._state: trioton.PubChannel[Any] = trioton.PubChannel(context, STATE_SLOT, trioton.OBJECT)
        self._control: trioton.SubChannel[Any] = trioton.SubChannel(context, CONTROL_SLOT, trioton.OBJECT)
        self._ready = trio.Event()
        self._reading: set[trio.CancelScope] = set()
        self._is_over = False
        self._rest = MAX_REST

    async def run(self) -> None:
        """Run the program to its end, and return when the terminal has got all that it said."""
        for channel in (*self._outputs.values(), self._state):
            await channel.wait_subscribers(1)
        program = Program.start(self._program, self._args)
        try:
            await self._state.send({"state": "started", "pid": program.process.pid})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, program)
                code = await self._forward(program)
                nursery.cancel_scope.cancel()
        finally:
            await program.end()  # shielded, with a deadline, inside  # noqa: ASYNC102  # shielded, with a deadline, inside
        statistics = self._context.statistics()
        dropped = statistics.messages_dropped + statistics.messages_unheard
        await self._state.send({"state": "ended", "code": code, "dropped": dropped})
        await self._context.flush()

    async def _forward(self, program: Program) -> int:
        """Publish until the program has ended and its pipes are empty; gives its exit code."""
        quiet = trio.Event()

        async def read_pipes() -> None:
            async with trio.open_nursery() as readers:
                readers.start_soon(self._forward_records, program.records)
                readers.start_soon(self._forward_bytes, program.out, runner.OUT)
                readers.start_soon(self._forward_bytes, program.err, runner.ERR)
            quiet.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_pipes)
            code = await program.wait()
            # The pipes end when their last writer does. What the program left running in the background is ended with it, unless it
            # went into a group of its own; that is not waited for. What was written before is, however slow the terminal.
            with trio.move_on_after(LINGER):
                await quiet.wait()
            program.signal_group(signal.SIGKILL)
            self._is_over = True
            for scope in self._reading:
                scope.cancel()
        return code

    async def _forward_records(self, stream: trio.lowlevel.FdStream) -> None:
        reader = RecordReader()
        while data := await self._read(stream):
            for kind, body in reader.feed(data):
                if kind in self._outputs:
                    await self._outputs[kind].send(body)
                elif kind == runner.PROGRESS:
                    await self._state.send(_progress_message(body))
                else:
                    self._ready.set()

    async def _forward_bytes(self, stream: trio.lowlevel.FdStream, kind: int) -> None:
        while data := await self._read(stream):
            await self._outputs[kind].send(data)

    async def _read(self, stream: trio.lowlevel.FdStream) -> bytes:
        """What comes next; nothing at the end, or when after the program's end the pipe is empty."""
        data = b""
        with trio.CancelScope() as scope:
            self._reading.add(scope)
            try:
                if not self._is_over:
                    data = await stream.receive_some(READ_SIZE)
            finally:
                self._reading.discard(scope)
        if self._is_over and not data and self._rest > 0:
            try:
                data = os.read(stream.fileno(), READ_SIZE)
            except BlockingIOError:
                pass
            self._rest -= len(data)
        return data

    async def _obey(self, program: Program) -> None:
        """Do what the terminal says."""
        async with trio.open_nursery() as nursery:
            async for command in self._control:
                if command == INTERRUPT:
                    nursery.start_soon(self._interrupt, program)
                elif command == KILL:
                    program.signal_group(signal.SIGKILL)

    async def _interrupt(self, program: Program) -> None:
        with trio.move_on_after(INTERRUPT_GRACE):
            await self._ready.wait()
            program.signal_group(signal.SIGINT)
            await trio.sleep_forever()
        program.signal_group(signal.SIGKILL)


def _progress_message(body: bytes) -> dict[str, Any]:
    done, total, text = body.decode("utf-8", "replace").split("\0", 2)
    return {"state": "progress", "done": float(done), "total": float(total) if total else None, "text": text}


async def serve(place: Place, program: str, args: Sequence[str]) -> str | None:
    """Run the program for the terminal, and return when it has ended or the terminal is gone; gives what went wrong, if anything."""
    failure: str | None = None
    async with open_contexts(place, "worker", GRACE) as (context, bypass), trio.open_nursery() as nursery:

        async def leave_with_terminal() -> None:
            await wait_terminal_gone()
            nursery.cancel_scope.cancel()
            place.remove()

        async def leave_if_unreachable(events: trioton.EventStream) -> None:
            nonlocal failure
            async for event in events:
                if isinstance(event, trioton.ContextDied) and event.name == place.name_of("terminal"):
                    failure = f"the terminal cannot be reached any more: {event.reason}"
                    nursery.cancel_scope.cancel()

        nursery.start_soon(leave_with_terminal)
        nursery.start_soon(leave_if_unreachable, context.events())
        await bypass.bind(place.bypass_address)
        await nursery.start(BrokerLink(context, place).keep)
        await context.wait_context(place.name_of("terminal"))
        await Worker(context, program, args).run()
        nursery.cancel_scope.cancel()
    return failure


def main() -> None:
    """Run the worker as its command line says."""
    # Ctrl-C is the terminal's business; a handler, unlike SIG_IGN, is not passed on to the program.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    directory, token, program, *args = sys.argv[1:]
    sys.exit(trio.run(serve, Place(directory, token), program, args))


if __name__ == "__main__":
    main()
