"""Small things that the commands share: writing to stdout and stderr, and receiving until a connection has ended."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import trio

import trioton

OUT: Final = 1
ERR: Final = 2


def write_all(kind: int, data: bytes) -> None:
    """Write bytes to our stdout (`OUT`) or stderr (`ERR`), for as long as that takes. To be called in a thread.

    Raises:
        OSError: It failed; a `BrokenPipeError` if nobody reads there any more.
    """
    # Not through sys.stdout: a thread that is stuck in there would hold its lock when the process ends.
    fd = (sys.stdout if kind == OUT else sys.stderr).fileno()
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


async def write_out(text: str) -> None:
    """Write text to stdout in a thread, so that heartbeats go on however slow the reader; a checkpoint.

    Cancelled, it leaves the writing to itself.

    Raises:
        OSError: As `write_all`.
    """
    await write_bytes(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


async def write_bytes(data: bytes) -> None:
    """Write bytes to stdout, as `write_out` does.

    Raises:
        OSError: As `write_all`.
    """
    await trio.to_thread.run_sync(write_all, OUT, data, abandon_on_cancel=True)


def say(words: str) -> None:
    """Say something about the command itself, on stderr."""
    print(f"trioton: {words}", file=sys.stderr, flush=True)


class Feed:
    """Messages of some channels in the order of their arrival, until a connection has ended and all that came was given out.

    Args:
        channels: The channels.
    """

    def __init__(self, *channels: trioton.SubChannel[Any]) -> None:
        self._channels = channels
        self._merged = trioton.merge(*channels)
        self._is_over = False
        self._is_woken = False
        self._waiting = trio.CancelScope()

    @property
    def pending(self) -> int:
        """Messages that wait."""
        return sum(channel.pending for channel in self._channels)

    @property
    def is_over(self) -> bool:
        """Whether nothing is to come any more, and nothing waits."""
        return self._is_over and not self.pending

    async def watch(self, connection: trioton.Connection) -> None:
        """Wait for the end of the connection; to be run in a task."""
        await connection.wait_closed()
        self.end()

    def end(self) -> None:
        """Nothing is to come any more."""
        self._is_over = True
        self._waiting.cancel()

    def wake(self) -> None:
        """Let who waits in `receive`, or the next one, return without a message: there is something else to do."""
        self._is_woken = True
        self._waiting.cancel()

    async def receive(self) -> tuple[Any, Any] | None:
        """The next message and its channel, or None at the end, or if woken.

        Raises:
            trio.BrokenResourceError: A channel's policy has ended it.
            trioton.MessageDecodeError: This message makes no sense.
        """
        while not (self._is_woken or self.is_over):
            with trio.CancelScope() as self._waiting:
                return await anext(self._merged)
        self._is_woken = False
        return None

    async def receive_many(self, channel: trioton.SubChannel[Any], most: int | None) -> list[Any] | None:
        """All messages that came at once on one of the channels, at most so many, or None at the end.

        Raises:
            trio.BrokenResourceError: As `receive`; and so is `trioton.MessageDecodeError`.
        """
        while not self.is_over:
            with trio.CancelScope() as self._waiting:
                return await channel.receive_many(most)
        try:
            return [channel.receive_nowait()]  # there is nothing, but perhaps an error that ended it
        except (trio.WouldBlock, trio.EndOfChannel):
            return None
