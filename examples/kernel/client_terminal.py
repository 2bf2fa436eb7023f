"""A client for the terminal: ``python -m examples.kernel.client_terminal ADDRESS``.

Ctrl-C interrupts the kernel, Ctrl-R restarts it, Tab completes, the arrows go through what was typed before, and Ctrl-D on an empty line
leaves. It needs prompt_toolkit: ``pip install "trioton[kernel]"``.

prompt_toolkit belongs to asyncio, so Trio runs as its guest, in the same thread: what Trio's tasks learn they show at once, and what is
typed goes to them through a memory channel.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import outcome
import trio

import trioton

from .client import Client, Output, open_client

assert sys.platform != "win32", "asyncio handles signals on Linux and macOS only"

try:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import FormattedText
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.renderer import print_formatted_text
    from prompt_toolkit.styles import Style
except ImportError:
    sys.exit('the terminal client needs prompt_toolkit: pip install "trioton[kernel]"')

STYLES = {"err": "ansired", "raw": "ansiyellow", "echo": "ansigreen", "started": "ansicyan", "ended": "ansicyan"}


class Guest:
    """Trio's part: the client, and what the user wants of it.

    Args:
        show: Is called with what there is to show.
        changed: Is called when the kernel has changed its state.
    """

    def __init__(self, show: Callable[[Output], None], changed: Callable[[], None]) -> None:
        self._show = show
        self._changed = changed
        self._client: Client | None = None
        self._nursery: trio.Nursery
        self._token: trio.lowlevel.TrioToken
        self._scope = trio.CancelScope()
        self._lines_in, self._lines = trio.open_memory_channel[str](1000)

    @property
    def status(self) -> str:
        """What the kernel is doing."""
        return "starting" if self._client is None else self._client.status

    async def run(self, address: str) -> None:
        """Show what comes and send what is typed, until the user leaves or the broker has gone."""
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with open_client(address, "terminal") as self._client, trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._follow_states, self._client)
                self._nursery.start_soon(self._send_lines, self._client)
                async for output in self._client.output():
                    self._show(output)
                self._nursery.cancel_scope.cancel()

    async def _follow_states(self, client: Client) -> None:
        while True:
            self._changed()
            await client.wait_changed()

    async def _send_lines(self, client: Client) -> None:
        async for line in self._lines:
            await client.type_line(line)

    # ---------------------------------------------------------------- called by asyncio, between Trio's turns

    def send(self, line: str) -> None:
        """Send a line to the kernel, after those before."""
        self._token.run_sync_soon(self._lines_in.send_nowait, line)

    def interrupt(self) -> None:
        """Interrupt what runs in the kernel."""
        self._ask_broker("interrupt")

    def restart(self) -> None:
        """End the kernel, and start another one."""
        self._ask_broker("restart")

    def leave(self) -> None:
        """End Trio's part."""
        self._token.run_sync_soon(self._scope.cancel)

    async def complete(self, text: str) -> list[str]:
        """The names that the end of a text may become; for asyncio."""
        names: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

        async def ask() -> None:
            found = None if self._client is None else await self._client.ask("complete", text)
            if not names.done():
                names.set_result(found or [])

        self._start(ask)
        return await names

    def _ask_broker(self, method: str) -> None:
        async def ask() -> None:
            assert self._client is not None
            try:
                await self._client.broker.call(method)
            except (trioton.DeadError, trio.ClosedResourceError):
                pass  # the broker has gone, and `output` ends

        self._start(ask)

    def _start(self, async_fn: Callable[[], Awaitable[None]]) -> None:
        if self._client is not None:
            self._token.run_sync_soon(self._nursery.start_soon, async_fn)


class KernelCompleter(Completer):
    """Completes names by asking the kernel."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> list[Completion]:  # noqa: ARG002
        """Nothing: asking takes a while."""
        return []

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002
    ) -> AsyncGenerator[Completion, None]:
        """Ask the kernel, without making the user wait for it."""
        text = document.text_before_cursor
        for name in await self._guest.complete(text):
            known = next((size for size in range(len(name), 0, -1) if text.endswith(name[:size])), 0)
            yield Completion(name, start_position=-known)


class Terminal:
    """asyncio's part: the line that is edited, and above it all that was said so far.

    What the user types is not shown where it was typed, but as the kernel echoes it: so all clients have the same transcript.
    """

    def __init__(self) -> None:
        self._guest = Guest(self._show, self._redraw)
        self._prompt = ""
        self._begun = ""
        self._unprinted: list[tuple[str, str]] = []
        self._session: PromptSession[str] = PromptSession(
            self._message,
            bottom_toolbar=lambda: f" kernel: {self._guest.status}   Ctrl-C interrupt   Ctrl-R restart   Ctrl-D leave",
            completer=KernelCompleter(self._guest),
            complete_while_typing=False,
            erase_when_done=True,
            key_bindings=self._keys(),
        )

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.reset()
            self._guest.interrupt()

        @keys.add("c-r")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.reset()
            self._guest.restart()

        return keys

    def _message(self) -> str:
        return self._begun or self._prompt

    def _redraw(self) -> None:
        self._session.app.invalidate()

    def _show(self, output: Output) -> None:
        kind, text = output
        if kind == "prompt":
            if self._begun:
                self._print(kind, f"{self._begun}\n")
            self._begun, self._prompt = "", text
        elif kind == "echo":
            self._print(kind, f"{self._message()}{text}")
            self._begun = ""
        elif kind in {"started", "ended"}:
            self._begun = self._prompt = ""
            self._print(kind, f"[{text}]\n")
        else:
            whole, newline, self._begun = f"{self._begun}{text}".rpartition("\n")
            self._print(kind, whole + newline)
        self._redraw()

    def _print(self, kind: str, text: str) -> None:
        if not self._unprinted:
            # Soon, with what else comes until then: the line that is edited is drawn anew each time.
            asyncio.get_running_loop().call_soon(self._print_all)
        self._unprinted.append((STYLES.get(kind, ""), text))

    def _print_all(self) -> None:
        pieces, self._unprinted = self._unprinted, []
        app = self._session.app
        if app.is_running:
            app.renderer.erase()
        # prompt_toolkit's own way makes the terminal take keys for itself while it prints.
        print_formatted_text(app.output, FormattedText(pieces), Style([]))
        app.output.flush()
        if app.is_running:
            app.renderer.request_absolute_cursor_position()
            app.invalidate()

    async def run(self, address: str) -> None:
        """Read lines and send them, until the user leaves or the broker has gone."""
        loop = asyncio.get_running_loop()
        # Between two lines that are edited, the terminal takes Ctrl-C for a signal.
        loop.add_signal_handler(signal.SIGINT, self._guest.interrupt)
        reading = asyncio.ensure_future(self._read_lines())
        ended: asyncio.Future[outcome.Outcome[None]] = loop.create_future()

        def guest_ended(result: outcome.Outcome[None]) -> None:
            ended.set_result(result)
            reading.cancel()

        trio.lowlevel.start_guest_run(
            self._guest.run,
            address,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=guest_ended,
            host_uses_signal_set_wakeup_fd=True,
        )
        await asyncio.wait([reading])
        if not ended.done():
            self._guest.leave()
        (await ended).unwrap()

    async def _read_lines(self) -> None:
        while True:
            try:
                line = await self._session.prompt_async(handle_sigint=False)
            except EOFError:
                return
            self._guest.send(line)


def main(args: Sequence[str] | None = None) -> None:
    """Run a client in this terminal."""
    parser = argparse.ArgumentParser(prog="client_terminal", description="A client of a Python kernel, in a terminal.")
    parser.add_argument("address", help="where the broker listens")
    options: Any = parser.parse_args(args)
    try:
        asyncio.run(Terminal().run(options.address))
    except* trioton.ConnectError as group:
        sys.exit(str(group.exceptions[0]))


if __name__ == "__main__":
    main()
