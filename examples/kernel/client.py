"""What every client does, whatever it looks like: follow the kernel, show what it says, and send it what the user wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

import trio

import trioton

from . import protocol
from .protocol import Chunk, InterpreterStatus, KernelStatus, Notice, to_kernel

INTROSPECT_WITHIN = 0.5
"""Seconds after which an answer about a name would come too late to be of use."""

Kind = Literal["out", "err", "echo", "prompt", "raw", "started", "ended"]


class Output(NamedTuple):
    """Something to show."""

    kind: Kind
    text: str


class Outputs:
    """What there is to show: an async iterator, made by `Client.output`.

    Args:
        kinds: Channels of text, and what they carry.
        notices: What the broker tells.
    """

    def __init__(self, kinds: dict[trioton.SubChannel[str], Kind], notices: trioton.SubChannel[Notice]) -> None:
        self._kinds = {id(channel): kind for channel, kind in kinds.items()}
        self._merged = trioton.merge(*kinds, notices)

    def __aiter__(self) -> Outputs:
        return self

    async def __anext__(self) -> Output:
        channel, message = await anext(self._merged)
        if id(channel) in self._kinds:
            return Output(self._kinds[id(channel)], message)
        return Output(message["what"], message["text"])


class ToKernel:
    """The channels that lead to one kernel process. The next one gets others."""

    def __init__(self, ctx: trioton.Context, generation: int) -> None:
        self.generation = generation
        self.lines = trioton.PubChannel(ctx, to_kernel(protocol.LINES, generation))
        self.code = trioton.PubChannel[Chunk](ctx, to_kernel(protocol.CODE, generation), trioton.OBJECT)
        self.introspect = trioton.ReqChannel(ctx, to_kernel(protocol.INTROSPECT, generation), cancel_grace=0)

    def close(self) -> None:
        """Forget what this kernel has not taken: it is not for another one."""
        for channel in (self.lines, self.code, self.introspect):
            channel.close()


class Client:
    """A client's end of everything; made by `open_client`.

    Attributes:
        kernel: The state of the kernel's process, as the broker sees it.
        interpreter: The state of its interpreter, as that tells.
        startup: What kind of Python it is.
        folder: Its current folder.
        frames: Where its debugger is.
        broker: Requests to the broker: ``interrupt()``, ``restart()``, ``terminate()``, ``shut_down()``.
        connection: The connection to the broker.
    """

    connection: trioton.Connection

    def __init__(self, ctx: trioton.Context) -> None:
        self._ctx = ctx
        self.kernel = trioton.StateChannel[KernelStatus](ctx, protocol.KERNEL, trioton.OBJECT)
        self.interpreter = trioton.StateChannel[InterpreterStatus](ctx, protocol.INTERPRETER, trioton.OBJECT)
        self.startup = trioton.StateChannel[protocol.Startup](ctx, protocol.STARTUP, trioton.OBJECT)
        self.folder = trioton.StateChannel(ctx, protocol.FOLDER)
        self.frames = trioton.StateChannel[list[Any]](ctx, protocol.FRAMES, trioton.OBJECT)
        self.broker = trioton.ReqChannel(ctx, protocol.BROKER_REQUESTS)
        self._kinds: dict[trioton.SubChannel[str], Kind] = {
            trioton.SubChannel(ctx, protocol.OUT): "out",
            trioton.SubChannel(ctx, protocol.ERR): "err",
            trioton.SubChannel(ctx, protocol.ECHO): "echo",
            trioton.SubChannel(ctx, protocol.PROMPT): "prompt",
            trioton.SubChannel(ctx, protocol.RAW): "raw",
        }
        self._notices = trioton.SubChannel[Notice](ctx, protocol.BROKER, trioton.OBJECT)
        self._to: ToKernel | None = None
        self._changed = trio.Event()
        for state in (self.kernel, self.interpreter, self.startup, self.folder, self.frames):
            ctx.start_soon(self._follow, state)

    # ---------------------------------------------------------------- what to show

    @property
    def status(self) -> str:
        """What the kernel is doing, in one word."""
        return protocol.shown(self.kernel.value or None, self.interpreter.value or None)

    async def wait_changed(self) -> None:
        """Wait until one of the states changes."""
        await self._changed.wait()

    async def wait_status(self, *wanted: str) -> str:
        """Wait until the kernel is doing one of these; what it does only for a moment may be missed."""
        while self.status not in wanted:
            await self.wait_changed()
        return self.status

    def output(self) -> Outputs:
        """All that there is to show, in the order in which it came. Who does not ask for the next makes ``print`` wait."""
        return Outputs(self._kinds, self._notices)

    async def _follow(self, state: trioton.StateChannel[Any]) -> None:
        async for _ in state:
            kernel = self.kernel.value
            if kernel and (self._to is None or self._to.generation != kernel["generation"]):
                if self._to is not None:
                    self._to.close()
                self._to = ToKernel(self._ctx, kernel["generation"])
            self._changed.set()
            self._changed = trio.Event()

    # ---------------------------------------------------------------- what the user wants

    async def to_kernel(self) -> ToKernel:
        """The channels to the present kernel; waits for the first one."""
        while self._to is None:
            await self.wait_changed()
        return self._to

    async def type_line(self, line: str) -> None:
        """A line was typed: a command for the prompt, or what a program that runs asks for."""
        to = await self.to_kernel()
        await to.lines.send(f"{line}\n")

    async def run(self, source: str, filename: str = "<editor>", line: int = 1) -> None:
        """Run a piece of a file.

        Args:
            source: The code.
            filename: What tracebacks call it.
            line: The number of its first line in there.
        """
        to = await self.to_kernel()
        await to.code.send(Chunk(source=source, filename=filename, line=line))

    async def ask(self, question: str, *args: str) -> Any:
        """Ask the kernel about a name or an expression, with a method of `introspection.Introspection`; None if that takes too long."""
        to = await self.to_kernel()
        with trio.move_on_after(INTROSPECT_WITHIN):
            try:
                return await to.introspect.call(question, *args)
            except (trioton.DeadError, trio.ClosedResourceError):
                pass  # this kernel has ended; the next one may know
        return None


@asynccontextmanager
async def open_client(address: str, name: str = "client") -> AsyncIterator[Client]:
    """Connect to a broker, and know all its states.

    Args:
        address: Where it listens.
        name: What to call this client.

    Raises:
        trioton.ConnectError: Nobody listens there.
    """
    async with trioton.open_context(name, heartbeat=protocol.HEARTBEAT, grace=1.0) as ctx:
        client = Client(ctx)
        client.connection = await ctx.connect(address, name="broker", reconnect=None)
        yield client
