"""The broker: starts a kernel, looks after it, and stands between it and any number of clients.

``python -m examples.kernel.broker`` listens at a Unix socket in a folder that only this user can enter, and prints its address: who can
connect can run code. It ends when it is told to, or when its last client has gone.

The broker is a context like any other: what kernel and clients say to each other goes through it, without a line of code here. What it
does by itself is to know whether the kernel's process lives, and whether its interpreter runs: that is what it can tell when the kernel
cannot.
"""

from __future__ import annotations

import argparse
import codecs
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from math import inf
from pathlib import Path

import trio

import trioton

from . import kernel, protocol
from .protocol import Health, KernelStatus, Notice, to_kernel

assert sys.platform != "win32", "the broker needs signals and process groups as Linux and macOS have them"

VERY_BUSY = 0.5
"""Seconds without a sign of life after which the kernel's interpreter is said not to run."""

POLITE = 0.5
"""Seconds that a kernel has to end when it was asked to."""

INTERRUPTS = 4
"""How often it is interrupted after that, while it does not end ..."""

INTERRUPT_PAUSE = 0.1
"""... and the seconds after each of these."""

END_WITHIN = 2.0
"""Seconds that all this may take. Then the process is killed."""

FIRST_CLIENT_WITHIN = 30.0
"""Seconds without any client after which a new broker ends: whoever has started it has died."""

LAST_WORDS = 1.0
"""Seconds that may go by after the end of a process until all is read that it has written."""

READ_SIZE = 8000


def kernel_command(address: str, generation: int) -> list[str]:
    """The command line of a kernel."""
    return [sys.executable, "-m", kernel.__name__, address, str(generation)]


def environment() -> dict[str, str]:
    """What processes of ours need to find their modules; and nobody shall open a pager on them."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TERM": "dumb"}


class Generation:
    """One kernel process, from its start to its end.

    Attributes:
        number: Counted from 1.
        process: The process; it leads a process group of its own.
        connection: How it is connected, or None before it is.
        has_left: Set when it is connected no more, or the process has ended without.
        has_ended: Set when all is over with it.
    """

    def __init__(self, number: int, process: trio.Process) -> None:
        self.number = number
        self.process = process
        self.connection: trioton.Connection | None = None
        self.has_left = trio.Event()
        self.has_ended = trio.Event()

    @property
    def name(self) -> str:
        """The name of its context."""
        return f"kernel-{self.number}"

    def interrupt(self) -> None:
        """Ctrl-C, to the process that has said hello: the one that was started may be a shell, or a container's door."""
        if self.connection is not None and self.process.returncode is None:
            os.kill(self.connection.peer.pid, signal.SIGINT)

    def kill(self) -> None:
        """End it and all that it has started and that is still in its process group."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # all have ended; macOS says it with EPERM


class Broker(trioton.RepChannel):
    """Looks after kernels, and answers the requests of clients.

    Args:
        ctx: Its context.
        address: Where that listens, for kernels.
        keep: Whether to live on when the last client has gone.
    """

    def __init__(self, ctx: trioton.Context, address: str, *, keep: bool = False) -> None:
        super().__init__(ctx, protocol.BROKER_REQUESTS)
        self._ctx = ctx
        self._address = address
        self._keep = keep
        self._status = trioton.StateChannel[KernelStatus](ctx, protocol.KERNEL, trioton.OBJECT)
        self._notices = trioton.PubChannel[Notice](ctx, protocol.BROKER, trioton.OBJECT)
        self._raw = trioton.PubChannel(ctx, protocol.RAW)
        self._current: Generation | None = None
        self._count = 0
        self._is_wanted = True
        self._wanted = trio.Event()
        self._changed = trio.Event()
        self._scope = trio.CancelScope()

    # ---------------------------------------------------------------- what clients ask

    async def interrupt(self) -> None:
        """Ctrl-C for user code."""
        if self._current is not None:
            self._current.interrupt()

    async def terminate(self) -> None:
        """End the kernel, and return when it has ended."""
        self._is_wanted = False
        if self._current is not None:
            await self._end(self._current)
        while self._current is not None:
            await self._current.has_ended.wait()

    async def restart(self) -> int:
        """End the kernel if there is one, and return the number of a new one when that is being started."""
        before = self._count
        self._is_wanted = True
        self._wanted.set()
        if self._current is not None:
            await self._end(self._current)
        while self._count == before:
            await self._changed.wait()
        return self._count

    async def shut_down(self) -> None:
        """End the kernel, and then the broker."""
        self._scope.cancel()

    # ---------------------------------------------------------------- its life

    async def run(self) -> None:
        """Look after kernels until it is to shut down, or has no more clients; then no process is left."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._listen)
                while True:
                    self._wanted = trio.Event()
                    if self._is_wanted:
                        self._is_wanted = False
                        await self._run_generation()
                    else:
                        await self._wanted.wait()

    def _say(self, generation: Generation, health: Health) -> None:
        self._status.send_nowait(KernelStatus(generation=generation.number, health=health, pid=generation.process.pid))

    async def _tell(self, number: int, what: str, text: str) -> None:
        await self._notices.send(Notice(generation=number, what=what, text=text))

    async def _listen(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow who comes, who goes, and who is silent."""
        clients: set[int] = set()
        async with self._ctx.events() as events:
            task_status.started()
            self._scope.deadline = inf if self._keep else trio.current_time() + FIRST_CLIENT_WITHIN
            async for event in events:
                if isinstance(event, trioton.ContextJoined) and not event.name.startswith("kernel-"):
                    clients.add(event.id)
                    self._scope.deadline = inf
                elif isinstance(event, trioton.ContextDied) and event.id in clients:
                    clients.discard(event.id)
                    if not clients and not self._keep:
                        self._scope.cancel()
                elif self._current is not None:
                    self._follow_kernel(self._current, event)

    def _follow_kernel(self, current: Generation, event: trioton.Event) -> None:
        connection = getattr(event, "connection", None)
        if connection is None or connection.peer.name != current.name:
            return
        if isinstance(event, trioton.Connected):
            current.connection = connection
            connection.timeout = VERY_BUSY
            self._say(current, "running")
        elif isinstance(event, trioton.TimedOut):
            self._say(current, "very busy")
        elif isinstance(event, trioton.Recovered):
            self._say(current, "running")
        elif isinstance(event, (trioton.Suspended, trioton.Disconnected)):
            current.has_left.set()

    async def _run_generation(self) -> None:
        """Start a kernel, and stay with it until it has ended and all that it said has gone on to clients."""
        self._count += 1
        process = await trio.lowlevel.open_process(
            kernel_command(self._address, self._count),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the broker's terminal is not for the kernel
            env=environment(),
        )
        generation = self._current = Generation(self._count, process)
        try:
            self._say(generation, "starting")
            self._changed.set()
            self._changed = trio.Event()
            await self._tell(generation.number, protocol.STARTED, f"kernel {generation.number}, process {process.pid}")
            await self._follow_process(generation)
            await self._tell(generation.number, protocol.ENDED, f"kernel {generation.number} {how_it_ended(process)}")
        finally:
            with trio.CancelScope(shield=True):  # which takes at most as long as `_end` does
                await self._end(generation)
            self._say(generation, "dead")
            self._current = None
            generation.has_ended.set()

    async def _follow_process(self, generation: Generation) -> None:
        """Pass on what comes out of the process past Trioton, until it has ended."""
        process = generation.process
        assert process.stdout is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_raw, process.stdout)
            await process.wait()
            generation.kill()  # what it has started, and left
            nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS
            if generation.connection is not None:
                await generation.has_left.wait()

    async def _pass_raw(self, stream: trio.abc.ReceiveStream) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
        while data := await stream.receive_some(READ_SIZE):
            await self._raw.send(decoder.decode(data))

    async def _end(self, generation: Generation) -> None:
        """Ask the kernel to end, interrupt it some times if it does not, and then kill it."""
        process = generation.process
        with trio.move_on_after(END_WITHIN):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._urge, generation)
                await process.wait()
                nursery.cancel_scope.cancel()
        generation.kill()
        await process.wait()

    async def _urge(self, generation: Generation) -> None:
        slot = to_kernel(protocol.CONTROL, generation.number)
        async with trioton.ReqChannel(self._ctx, slot, cancel_grace=0) as control:
            with trio.move_on_after(POLITE):
                try:
                    await control.end()
                except (trioton.DeadError, trio.ClosedResourceError):
                    pass
                await trio.sleep_forever()
            for _ in range(INTERRUPTS):
                generation.interrupt()
                await trio.sleep(INTERRUPT_PAUSE)


def how_it_ended(process: trio.Process) -> str:
    """How a process has ended, in words."""
    code = process.returncode or 0
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"


async def run_broker(
    address: str, *, keep: bool = False, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Listen, look after a kernel, and return when it is all over.

    Args:
        address: Where to listen, for kernels and clients.
        keep: Whether to live on when the last client has gone.
        task_status: Is told the address.
    """
    async with trioton.open_context("broker", heartbeat=protocol.HEARTBEAT) as ctx:
        listener = await ctx.bind(address)
        task_status.started(listener.address)
        await Broker(ctx, listener.address, keep=keep).run()


async def _main(address: str, *, keep: bool) -> None:
    async with trio.open_nursery() as nursery:
        print(await nursery.start(partial(run_broker, address, keep=keep)), flush=True)


def main(args: Sequence[str] | None = None) -> None:
    """Run a broker."""
    parser = argparse.ArgumentParser(
        prog="broker", description="Looks after a Python kernel for any number of clients."
    )
    parser.add_argument("address", nargs="?", help="where to listen; by default a Unix socket in a new folder")
    parser.add_argument("--keep", action="store_true", help="live on when the last client has gone")
    options = parser.parse_args(args)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends in good order, as with Ctrl-C
    try:
        with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
            trio.run(partial(_main, options.address or f"unix://{folder}/socket", keep=options.keep))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
