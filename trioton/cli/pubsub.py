"""``trioton pub`` and ``trioton sub``: one slot, from and to lines of text."""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

import trioton

from .output import Feed, say, write_out

HINT_AFTER: Final = 1.0
"""Seconds of waiting for somebody after which we say so."""

READ_SIZE: Final = 65536

MAX_LINES: Final = 512
"""Lines that are written at once."""


class BadLineError(ValueError):
    """A line that is no object in JSON."""


@attrs.frozen
class Place:
    """Where a command finds its slot.

    Attributes:
        address: Where to connect or listen.
        slot: The slot's base name.
        type: ``"txt"`` or ``"obj"``.
        bind: Whether to listen.
        insecure: Whether other machines may be involved without TLS.
        wait: Whether to wait until somebody answers at the address.
    """

    address: str
    slot: str
    type: str
    bind: bool = False
    insecure: bool = False
    wait: bool = False

    @property
    def message_type(self) -> trioton.MessageType[Any]:
        """What the messages are."""
        return trioton.TEXT if self.type == "txt" else trioton.OBJECT

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[tuple[trioton.Context, trioton.Connection | None]]:
        """A context that is connected or listens there, and the connection in the first case.

        Raises:
            trioton.AddressError: The address cannot be understood.
            trioton.ConnectError: Nobody answers there, and we do not wait.
            trioton.BindError: One cannot listen there.
            ValueError: It needs `insecure`.
        """
        async with trioton.open_context(name) as context:
            if self.bind:
                listener = await context.bind(self.address, insecure=self.insecure)
                say(f"listening at {listener.address}")
                yield context, None
            else:
                yield context, await dial(context, self.address, insecure=self.insecure, wait=self.wait)


async def dial(context: trioton.Context, address: str, *, insecure: bool, wait: bool) -> trioton.Connection:
    """Connect a context to an address, and say so if that takes long because we wait for somebody there.

    Raises:
        trioton.AddressError: The address cannot be understood.
        trioton.ConnectError: Nobody answers there, and we do not wait.
        ValueError: It needs `insecure`.
    """
    if wait:
        with trio.move_on_after(HINT_AFTER):
            return await context.connect(address, insecure=insecure, wait=True)
        say(f"waiting for somebody who answers at {address}")
    return await context.connect(address, insecure=insecure, wait=wait)


def encode_line(line: str, type_: str) -> Any:
    """The message that a line stands for.

    Raises:
        BadLineError: It is no JSON, for objects.
    """
    if type_ == "txt":
        return line
    try:
        return json.loads(line)
    except ValueError as error:
        raise BadLineError(f"not JSON: {line!r:.200} ({error})") from error


def format_message(message: Any, type_: str) -> str:
    """The line for a message: the text itself, or JSON where that can say it, else as Python would write it."""
    if type_ == "txt":
        return str(message)
    try:
        return json.dumps(message, ensure_ascii=False, default=repr)
    except (TypeError, ValueError):
        return repr(message)


async def publish(place: Place, messages: Sequence[str] | None, subscribers: int) -> int:
    """Publish the messages, or the lines of stdin; gives the exit code."""
    ready = None if messages is None else [encode_line(message, place.type) for message in messages]
    async with place.open("pub") as (context, _):
        pub = trioton.PubChannel(context, place.slot, place.message_type)
        await _wait_subscribers(pub, subscribers, place.slot)
        if ready is not None:
            await pub.send_many(ready)
        else:
            await _publish_stdin(pub, place.type)
        await context.flush()
        unheard = pub.statistics().unheard
    if unheard and subscribers:
        say(f"{unheard} message{'s' * (unheard != 1)} found nobody who listens any more")
        return 1
    return 0


async def _wait_subscribers(pub: trioton.PubChannel[Any], count: int, slot: str) -> None:
    with trio.move_on_after(HINT_AFTER):
        await pub.wait_subscribers(count)
        return
    say(f"waiting for somebody who listens to {slot!r}")
    await pub.wait_subscribers(count)


async def _publish_stdin(pub: trioton.PubChannel[Any], type_: str) -> None:
    # Not through sys.stdin: a thread that waits in there when Ctrl-C comes would hold its lock at the end of the process.
    decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
    rest, is_open = "", True
    while is_open:
        data = await trio.to_thread.run_sync(os.read, sys.stdin.fileno(), READ_SIZE, abandon_on_cancel=True)
        is_open = bool(data)
        *lines, rest = (rest + decoder.decode(data, final=not is_open)).split("\n")
        if rest and not is_open:
            lines.append(rest)
        await pub.send_many([encode_line(line, type_) for line in lines])


async def subscribe(place: Place, policy: trioton.Policy, count: int | None) -> int:
    """Print what comes on the slot; gives the exit code."""
    async with place.open("sub") as (context, connection):
        sub = trioton.SubChannel(context, place.slot, place.message_type, policy=policy)
        feed = Feed(sub)
        if connection is not None:
            context.start_soon(feed.watch, connection)
            context.start_soon(_tell, context.events())
        try:
            is_complete = await _print_all(feed, place.type, count)
        finally:
            dropped = sub.statistics().dropped
            if dropped:
                say("1 message was dropped" if dropped == 1 else f"{dropped} messages were dropped")
        if not is_complete and connection is not None:
            say(f"the connection has ended: {connection.close_reason}")
        return 0 if is_complete or count is None else 1


async def _print_all(feed: Feed, type_: str, count: int | None) -> bool:
    """Print up to `count` messages; whether there were as many."""
    lines: list[str] = []
    left = count
    while left is None or left > 0:
        try:
            received = await feed.receive()
        except trioton.MessageDecodeError as error:
            say(f"a message makes no sense: {error}")
            continue
        if received is None:
            return False
        lines.append(format_message(received[1], type_) + "\n")
        left = None if left is None else left - 1
        if not feed.pending or len(lines) >= MAX_LINES or left == 0:
            await write_out("".join(lines))
            lines.clear()
    return True


async def _tell(events: trioton.EventStream) -> None:
    """Say what happens to the connection."""
    async with events:
        async for event in events:
            match event:
                case trioton.Suspended(reason=reason) | trioton.SessionLost(reason=reason):
                    say(f"connection lost, dialling again: {reason}")
                case trioton.Resumed() | trioton.Connected():
                    say("connected again")
                case _:
                    pass
